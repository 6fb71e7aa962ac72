"""Adams-Bashforth methods: one call of f per step, earlier slopes remembered in the state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from pdesurrogates.core import StatefulStep, TimeDerivative, per_sample
from pdesurrogates.steppers.base import Stepper
from pdesurrogates.steppers.tableau import RK4, SSPRK3, Heun

__all__ = ["AdamsBashforth", "AdamsBashforthState"]

# Newest slope first.
_WEIGHTS: dict[int, tuple[float, ...]] = {
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}
_STARTERS: dict[int, Stepper] = {2: Heun(), 3: SSPRK3(), 4: RK4()}


@dataclass(frozen=True)
class AdamsBashforthState:
    """What Adams-Bashforth remembers: the state, and the slopes of the last steps, newest first.

    `dt` is the step the slopes are spaced by; another step starts the history anew.
    """

    u: Tensor
    slopes: tuple[Tensor, ...] = field(default=())
    dt: float | Tensor | None = None


@dataclass(frozen=True)
class AdamsBashforth(Stepper):
    """Adams-Bashforth of order 2, 3 or 4, one call of f per step:

        AB2: u + dt (3 f_n - f_{n-1}) / 2
        AB3: u + dt (23 f_n - 16 f_{n-1} + 5 f_{n-2}) / 12
        AB4: u + dt (55 f_n - 59 f_{n-1} + 37 f_{n-2} - 9 f_{n-3}) / 24

    The first order - 1 steps are Runge-Kutta steps of the same order, and so are the steps after a
    change of dt.

    Args:
        order: 2, 3 or 4.
    """

    order: int = 2  # pyright: ignore[reportIncompatibleMethodOverride]

    num_evaluations: ClassVar[int] = 1  # pyright: ignore[reportIncompatibleMethodOverride]

    def __post_init__(self) -> None:
        if self.order not in _WEIGHTS:
            raise ValueError(
                f"AdamsBashforth: `order` must be 2, 3 or 4, got {self.order}; order 1 is Euler()."
            )

    def bind(self, f: TimeDerivative) -> StatefulStep:
        return _BoundAdamsBashforth(f, _WEIGHTS[self.order], _STARTERS[self.order])

    def amplification(self, z: Tensor) -> Tensor:
        """Largest root of zeta^n = zeta^(n-1) + z sum_j w_j zeta^(n-1-j)."""
        size = self.order
        companion = z.new_zeros(*z.shape, size, size)
        companion[..., 0, :] = z[..., None] * torch.tensor(_WEIGHTS[size], dtype=z.dtype)
        companion[..., 0, 0] += 1
        companion[..., range(1, size), range(size - 1)] = 1
        return torch.linalg.eigvals(companion).abs().amax(dim=-1)


class _BoundAdamsBashforth:
    def __init__(self, f: TimeDerivative, weights: tuple[float, ...], starter: Stepper) -> None:
        self.f = f
        self.weights = weights
        self.starter = starter

    def initial_state(self, t: float | Tensor, u0: Tensor) -> AdamsBashforthState:
        return AdamsBashforthState(u0)

    def observe(self, state: AdamsBashforthState) -> Tensor:
        return state.u

    def __call__(
        self, t: float | Tensor, state: AdamsBashforthState, dt: float | Tensor
    ) -> AdamsBashforthState:
        known = state.slopes if _same_step(state.dt, dt) else ()
        slope = self.f(t, state.u)
        slopes = (slope, *known)[: len(self.weights)]
        if len(slopes) < len(self.weights):
            # The starter's first stage is f(t, u) again: hand it the slope that is known.
            u_next = self.starter.step(_FirstKnown(self.f, slope), t, state.u, dt)
        else:
            total = self.weights[0] * slopes[0]
            for weight, earlier in zip(self.weights[1:], slopes[1:], strict=True):
                total = torch.add(total, earlier, alpha=weight)
            u_next = state.u + per_sample(dt, state.u) * total
        return AdamsBashforthState(u_next, slopes[: len(self.weights) - 1], dt)


class _FirstKnown:
    """A time derivative whose first call is answered from what is known."""

    def __init__(self, f: TimeDerivative, slope: Tensor) -> None:
        self.f = f
        self.slope: Tensor | None = slope

    def __call__(self, t: float | Tensor, u: Tensor) -> Tensor:
        if self.slope is not None:
            slope, self.slope = self.slope, None
            return slope
        return self.f(t, u)


def _same_step(a: float | Tensor | None, b: float | Tensor) -> bool:
    """Whether two steps are equal up to the rounding of output times.

    Steps per sample are compared as objects: comparing their values would stop the device.
    """
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return a is b
    return a is not None and abs(a - b) <= 1e-9 * abs(b)
