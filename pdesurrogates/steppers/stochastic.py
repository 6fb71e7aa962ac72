"""Steppers with noise: du = f dt + g dW, the noise named by seed and step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from pdesurrogates.core import NoiseStream, StatefulStep, TimeDerivative, per_sample
from pdesurrogates.steppers.base import Stepper
from pdesurrogates.steppers.tableau import Euler, Heun

__all__ = [
    "CountedState",
    "EulerMaruyama",
    "StochasticDerivative",
    "StochasticHeun",
    "StochasticStepper",
]


@dataclass(frozen=True)
class CountedState:
    """What a step with noise carries: the state, and how many steps were made.

    The count is the name of the next noise.
    """

    u: Tensor
    num_steps: int


@dataclass(frozen=True)
class StochasticDerivative:
    """Right-hand side of du = f(t, u) dt + g(t, u) dW, for `EulerMaruyama` and `StochasticHeun`.

    W holds one Wiener process per entry of u, all independent; g multiplies entry by entry. For
    noise that is white in space on a grid of cell volume V, give g / sqrt(V).

    Args:
        drift: f(t, u) -> (batch, channel, *space).
        diffusion: g(t, u), of the shape of u or one that broadcasts; or a number.
    """

    drift: TimeDerivative
    diffusion: Callable[[float | Tensor, Tensor], Tensor | float] | float

    def __call__(self, t: float | Tensor, u: Tensor) -> Tensor:
        """Refused: a deterministic stepper would drop the noise without a word.

        Raises:
            TypeError: Always.
        """
        raise TypeError(
            "StochasticDerivative: du = f dt + g dW needs a stepper with noise, EulerMaruyama() "
            "or StochasticHeun(), got a call of a plain time derivative; for the equation without "
            "noise integrate its `drift`."
        )

    @property
    def linear_operator(self) -> Any:
        """Linear part of the drift, if known: it limits the step."""
        return getattr(self.drift, "linear_operator", None)

    def scale(self, t: float | Tensor, u: Tensor) -> Tensor | float:
        """g(t, u)."""
        return self.diffusion(t, u) if callable(self.diffusion) else self.diffusion


@dataclass(frozen=True)
class StochasticStepper(Stepper):
    """What steppers with noise share: where the noise comes from, and that steps are counted.

    Args:
        noise: Names the Wiener increments, dW_n = sqrt(dt) noise.normal(u, n) in step n. Another
            `dt` is another path.
    """

    noise: NoiseStream = field(default_factory=NoiseStream)

    strong_order: ClassVar[float]

    @property
    def order(self) -> int:
        """Weak order: means and variances converge as dt^order."""
        return 1

    def bind(self, f: Any) -> StatefulStep:
        if not isinstance(f, StochasticDerivative):
            raise TypeError(
                f"{type(self).__name__}: needs StochasticDerivative(drift, diffusion), got "
                f"{type(f).__name__}; without noise use Euler() or Heun()."
            )
        return _BoundStochastic(self, f)

    def advance(
        self, f: StochasticDerivative, t: float | Tensor, u: Tensor, dt: float | Tensor, dw: Tensor
    ) -> Tensor:
        """u(t + dt) from u(t) and the Wiener increment dw over the step."""
        raise NotImplementedError


class EulerMaruyama(StochasticStepper):
    """Euler-Maruyama method for the Ito equation du = f dt + g dW, weak order 1:

        u_next = u + f(t, u) dt + g(t, u) dW

    Along a path the error falls as dt^(1/2), as dt where g does not depend on u.

    Reference:
        Numerical Solution of Stochastic Differential Equations (Kloeden and Platen, 1992),
        chapter 10.2.

    Args:
        noise: Names the Wiener increments.

    Example:
        >>> import torch
        >>> from pdesurrogates.steppers import integrate
        >>> f = StochasticDerivative(lambda t, u: -u, 0.5)
        >>> stepper = EulerMaruyama(NoiseStream(seeds=7))
        >>> integrate(f, torch.ones(100, 1, 1), [0.0, 1.0], stepper, dt=0.1).states.shape
        torch.Size([100, 2, 1, 1])
    """

    strong_order = 0.5
    num_evaluations: ClassVar[int] = 1  # pyright: ignore[reportIncompatibleMethodOverride]

    def advance(
        self, f: StochasticDerivative, t: float | Tensor, u: Tensor, dt: float | Tensor, dw: Tensor
    ) -> Tensor:
        return u + per_sample(dt, u) * f.drift(t, u) + f.scale(t, u) * dw

    def amplification(self, z: Tensor) -> Tensor:
        """Growth of the mean."""
        return Euler.tableau.amplification(z)


class StochasticHeun(StochasticStepper):
    """Stochastic Heun method for the Stratonovich equation du = f dt + g o dW, weak order 1:

        v = u + f(t, u) dt + g(t, u) dW
        u_next = u + (f(t, u) + f(t + dt, v)) dt / 2 + (g(t, u) + g(t + dt, v)) dW / 2

    For an Ito equation with drift f give the drift f - g dg/du / 2. Along a path the error falls
    as dt where each entry of g depends on the same entry of u or on none, as dt^(1/2) where g
    couples entries. Without noise it is Heun's method, of order 2.

    Reference:
        Numerical Treatment of Stochastic Differential Equations (Ruemelin, 1982).

    Args:
        noise: Names the Wiener increments.
    """

    strong_order = 1.0
    num_evaluations: ClassVar[int] = 2  # pyright: ignore[reportIncompatibleMethodOverride]

    def advance(
        self, f: StochasticDerivative, t: float | Tensor, u: Tensor, dt: float | Tensor, dw: Tensor
    ) -> Tensor:
        step = per_sample(dt, u)
        drift, scale = f.drift(t, u), f.scale(t, u)
        v = u + step * drift + scale * dw
        drift, scale = drift + f.drift(t + dt, v), scale + f.scale(t + dt, v)
        return u + step / 2 * drift + scale / 2 * dw

    def amplification(self, z: Tensor) -> Tensor:
        """Growth of the mean."""
        return Heun.tableau.amplification(z)


@dataclass(frozen=True)
class _BoundStochastic:
    """One-step map of a stepper with noise."""

    stepper: StochasticStepper
    f: StochasticDerivative

    def initial_state(self, t: float | Tensor, u0: Tensor) -> CountedState:
        return CountedState(u0, 0)

    def observe(self, state: CountedState) -> Tensor:
        return state.u

    def __call__(self, t: float | Tensor, state: CountedState, dt: float | Tensor) -> CountedState:
        u, n = state.u, state.num_steps
        dw = _root(dt, u) * self.stepper.noise.normal(u, n)
        return CountedState(self.stepper.advance(self.f, t, u, dt, dw), n + 1)


def _root(dt: float | Tensor, u: Tensor) -> float | Tensor:
    """sqrt(dt), a number or shaped like u."""
    step = per_sample(dt, u)
    return step.sqrt() if isinstance(step, Tensor) else math.sqrt(step)
