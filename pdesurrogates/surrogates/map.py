"""The network is a map from one frame to the next: one step size, no stepper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pdesurrogates.core import StatefulStep
from pdesurrogates.surrogates.base import DT_TOLERANCE, Surrogate

__all__ = ["MapSurrogate"]


class MapSurrogate(Surrogate):
    """A surrogate that knows one step size only: next state and residual prediction."""

    def predict_next(self, u: Tensor, conditioning: Tensor | None = None) -> Tensor:
        """u -> u at t + dt, unchecked."""
        raise NotImplementedError

    def _range_of(self, steps: Sequence[float]) -> tuple[float, float]:
        low, high = super()._range_of(steps)
        if high > low * (1 + DT_TOLERANCE):
            raise ValueError(
                f"{type(self).__name__}: all training data must have one step, got steps from "
                f"{low:g} to {high:g}; train a DerivativeSurrogate, which accepts any."
            )
        return low, high

    def _step(self, conditioning: Tensor | None) -> StatefulStep:
        return _MapStep(self, conditioning)

    def check_dt(self, dt: float | Tensor, t: float | Tensor = 0.0) -> None:
        """Refuse every step but the trained one.

        Raises:
            ValueError: Naming the trained step.
        """
        if self._deviates(dt, t):
            raise ValueError(
                f"{type(self).__name__}: this surrogate knows only the step it was trained with, "
                f"dt = {self.dt:g}, got {dt}; ask for times that are {self.dt:g} apart, or train "
                "a DerivativeSurrogate, which accepts any step."
            )


@dataclass(frozen=True)
class _MapStep:
    """A memoryless map u -> u_next as a `StatefulStep`."""

    surrogate: MapSurrogate
    conditioning: Tensor | None

    def initial_state(self, t: float | Tensor, u0: Tensor) -> Tensor:
        return u0

    def __call__(self, t: float | Tensor, state: Any, dt: float | Tensor) -> Tensor:
        return self.surrogate.predict_next(state, self.conditioning)

    def observe(self, state: Any) -> Tensor:
        return state
