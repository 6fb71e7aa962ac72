"""The network is a map from one frame to the next: one step size, or a trained range of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pdesurrogates.core import FieldSpec, Grid, StatefulStep, per_sample
from pdesurrogates.surrogates.base import DT_TOLERANCE, Batch, Surrogate

__all__ = ["MapSurrogate", "with_number"]


class MapSurrogate(Surrogate):
    """A surrogate that predicts over a whole step: next state and residual prediction.

    It knows one step size only. With `max_dt` the network is told the step, dt / max_dt, as one
    more number per sample, and serves every step from `dt` to `max_dt`; train it with pairs of
    frames at many distances (`pdesurrogates.training.AllPairs`).

    Args:
        backbone, dt, fields, grid, parameter_names: See `Surrogate`.
        max_dt: Largest step [time]; `None` for a surrogate of the one step `dt`.
    """

    def __init__(
        self,
        backbone: nn.Module,
        dt: float,
        *,
        max_dt: float | None = None,
        fields: FieldSpec | None = None,
        grid: Grid | None = None,
        parameter_names: Sequence[str] = (),
    ) -> None:
        self.max_dt = max_dt
        super().__init__(backbone, dt, fields=fields, grid=grid, parameter_names=parameter_names)
        if max_dt is not None and not (math.isfinite(max_dt) and max_dt > dt):
            raise ValueError(
                f"{type(self).__name__}: `max_dt` must be larger than dt = {dt:g}, got {max_dt}; "
                "leave it out for a surrogate of one step."
            )
        if max_dt is not None:
            self.trained_dt = (self.dt, float(max_dt))

    @property
    def extra_conditions(self) -> int:
        """One for the step, if it varies."""
        return int(self.max_dt is not None)

    def predict_next(
        self, u: Tensor, conditioning: Tensor | None = None, dt: float | Tensor | None = None
    ) -> Tensor:
        """u -> u at t + dt, unchecked.

        Args:
            u: State (batch, channel, *space).
            conditioning: Standardised parameters (batch, parameter).
            dt: Step, a number or (batch,) [time]; needed with `max_dt` only.
        """
        y = self.predict(u, self._with_step(conditioning, u, dt))
        return self.advance(u, y, dt)

    def advance(self, u: Tensor, y: Tensor, dt: float | Tensor | None = None) -> Tensor:
        """The next state from the physical prediction y."""
        raise NotImplementedError

    def _with_step(
        self, conditioning: Tensor | None, u: Tensor, dt: float | Tensor | None
    ) -> Tensor | None:
        if self.max_dt is None:
            return conditioning
        if dt is None:
            raise ValueError(
                f"{type(self).__name__}: this surrogate serves steps from {self.dt:g} to "
                f"{self.max_dt:g} and must be told which; give `dt`."
            )
        return with_number(conditioning, dt / self.max_dt, u)

    def _scaled(self, y: Tensor, dt: float | Tensor | None) -> Tensor:
        """y dt / self.dt where the step varies."""
        if self.max_dt is None or dt is None:
            return y
        return y * per_sample(dt / self.dt, y)

    def _conditions(self, batch: Batch) -> Tensor | None:
        return self._with_step(super()._conditions(batch), self._present(batch), batch["dt"])

    def _range_of(self, steps: Sequence[float]) -> tuple[float, float]:
        low, high = super()._range_of(steps)
        if high > low * (1 + DT_TOLERANCE):
            raise ValueError(
                f"{type(self).__name__}: all training data must have one step, got steps from "
                f"{low:g} to {high:g}; train a DerivativeSurrogate, which accepts any."
            )
        return (low, high) if self.max_dt is None else (low, float(self.max_dt))

    def _step(self, conditioning: Tensor | None) -> StatefulStep:
        return _MapStep(self, conditioning)

    def check_dt(self, dt: float | Tensor, t: float | Tensor = 0.0) -> None:
        """Refuse every step but the trained ones.

        Raises:
            ValueError: Naming the trained step or range.
        """
        if not self._deviates(dt, t):
            return
        low, high = self.trained_dt
        known = f"the step it was trained with, dt = {self.dt:g}"
        if self.max_dt is not None:
            known = f"steps it was trained with, dt = {low:g} to {high:g}"
        raise ValueError(
            f"{type(self).__name__}: this surrogate knows only {known}, got {dt}; ask for times "
            f"that are {self.dt:g} apart, or train a DerivativeSurrogate, which accepts any step."
        )


def with_number(conditioning: Tensor | None, value: float | Tensor, u: Tensor) -> Tensor:
    """Conditions with one more number per sample, (batch, number + 1)."""
    if isinstance(value, Tensor):
        column = value.to(device=u.device, dtype=u.dtype).reshape(-1, 1).expand(u.shape[0], 1)
    else:
        column = u.new_full((u.shape[0], 1), value)
    if conditioning is None:
        return column
    return torch.cat((conditioning.to(column).expand(u.shape[0], -1), column), dim=1)


@dataclass(frozen=True)
class _MapStep:
    """A memoryless map u -> u_next as a `StatefulStep`."""

    surrogate: MapSurrogate
    conditioning: Tensor | None

    def initial_state(self, t: float | Tensor, u0: Tensor) -> Tensor:
        return u0

    def __call__(self, t: float | Tensor, state: Any, dt: float | Tensor) -> Tensor:
        u_next = self.surrogate.predict_next(state, self.conditioning, dt)
        return self.surrogate.hold(u_next, state)

    def observe(self, state: Any) -> Tensor:
        return state
