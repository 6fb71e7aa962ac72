"""The network predicts du/dt; a classical stepper advances it."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pdesurrogates.core import FieldSpec, Grid, StatefulStep, TimeDerivative
from pdesurrogates.steppers import Stepper
from pdesurrogates.surrogates.base import Batch, Surrogate, check_kind

__all__ = ["DerivativeSurrogate"]


def paired_order(stepper: Stepper) -> int:
    """Order of the finite-difference target that suits a stepper: 1 -> 1, 2 -> 2, others -> 4."""
    return stepper.order if stepper.order <= 2 else 4


class DerivativeSurrogate(Surrogate):
    """One-step map that integrates a learned time derivative.

    The network N predicts du/dt and a classical stepper advances it:

        f(t, u) = mean_d + std_d N((u - mean_u) / std_u),    u(t + dt) = stepper(f, t, u(t), dt)

    The target is a finite difference of the stored frames, of order 1, 2 or 4, in float64.
    By default its order is paired with that of the stepper: 1 with 1, 2 with 2, 4 with the rest.

    Warning:
        N also absorbs the truncation error of its finite-difference target and only sees the
        resolved scales. Changing stepper or `dt` after training is possible and must be
        evaluated, not assumed. A step outside the trained range gives a warning.

    Reference:
        Predicting Change, Not States: An Alternate Framework for Neural PDE Surrogates (Zhou and
        Barati Farimani, 2024). https://arxiv.org/abs/2412.13074

    Args:
        backbone: Maps a state to its time derivative, see `Surrogate`.
        stepper: Advances a time derivative by one step.
        dt: Step of the training data [time unit of the data].
        target_order: Order of the finite-difference target: 1, 2 or 4; paired when `None`.
        fields, grid, parameter_names: See `Surrogate`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from pdesurrogates.steppers import Euler
        >>> surrogate = DerivativeSurrogate(nn.Identity(), Euler(), dt=0.1)
        >>> float(surrogate(0.0, torch.ones(1, 1, 8, dtype=torch.float64), 0.1).max())
        1.1
    """

    def __init__(
        self,
        backbone: nn.Module,
        stepper: Stepper,
        dt: float,
        *,
        target_order: int | None = None,
        fields: FieldSpec | None = None,
        grid: Grid | None = None,
        parameter_names: Sequence[str] = (),
    ) -> None:
        super().__init__(backbone, dt, fields=fields, grid=grid, parameter_names=parameter_names)
        check_kind(stepper, Stepper, where=type(self).__name__, name="stepper")
        if target_order not in (None, 1, 2, 4):
            raise ValueError(
                f"{type(self).__name__}: `target_order` must be 1, 2, 4 or None (paired with the "
                f"stepper), got {target_order}."
            )
        self.stepper = stepper
        self.target_order = paired_order(stepper) if target_order is None else target_order
        self._has_warned = False

    @property
    def num_evaluations(self) -> int:
        """Network calls per step."""
        return self.stepper.num_evaluations

    def with_stepper(self, stepper: Stepper) -> DerivativeSurrogate:
        """The same network (shared weights) advanced by another stepper."""
        check_kind(stepper, Stepper, where=f"{type(self).__name__}.with_stepper", name="stepper")
        other = copy.copy(self)
        other.stepper = stepper
        other._has_warned = False
        return other

    def time_derivative(self, parameters: Tensor | None = None) -> TimeDerivative:
        """f(t, u) for `integrate`, with the PDE parameters fixed.

        Args:
            parameters: Values of `parameter_names`, (batch, parameter); `None` if there are none.
        """
        return self._derivative(self._condition(parameters))

    def _derivative(self, conditioning: Tensor | None) -> TimeDerivative:
        def f(t: float | Tensor, u: Tensor) -> Tensor:
            slope = self.predict(u, conditioning)
            return slope if self.mesh is None else self.hold(slope, torch.zeros_like(slope))

        return f

    def _step(self, conditioning: Tensor | None) -> StatefulStep:
        return self.stepper.bind(self._derivative(conditioning))

    def check_dt(self, dt: float | Tensor, t: float | Tensor = 0.0) -> None:
        """Warn once when the step is outside the range of the training data.

        Raises:
            ValueError: If the step is a number that is not positive.
        """
        if not isinstance(dt, Tensor) and not dt > 0:
            raise ValueError(f"{type(self).__name__}: `dt` must be positive, got {dt}.")
        if self._has_warned or not self._deviates(dt, t):
            return
        self._has_warned = True
        low, high = self.trained_dt
        span = f"dt = {low:g}" if low == high else f"{low:g} <= dt <= {high:g}"
        warnings.warn(
            f"{type(self).__name__}: the step dt = {dt} is outside the training data ({span}); "
            "the network has absorbed the truncation error of those steps, so evaluate the "
            "result before trusting it.",
            stacklevel=2,
        )

    def target(self, batch: Batch) -> Tensor:
        """The finite-difference derivative at the last frame, float64."""
        return batch["derivative"].double()
