"""The network says how to move: flow matching from noise, or from the current state."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from pdesurrogates.core import FieldSpec, Grid, NoiseStream, TimeDerivative, per_sample
from pdesurrogates.steppers import (
    EulerMaruyama,
    Heun,
    Stepper,
    StochasticDerivative,
    StochasticStepper,
)
from pdesurrogates.surrogates.base import check_kind
from pdesurrogates.surrogates.generative import GenerativeSurrogate, spread

__all__ = ["FlowStart", "FlowSurrogate", "FromNoise", "FromState"]


@dataclass(frozen=True)
class FlowStart(ABC):
    """Where a flow starts at s = 0, and the path x_s on which it reaches the answer y at s = 1."""

    @abstractmethod
    def default_stepper(self) -> Stepper:
        """A stepper that serves."""

    @abstractmethod
    def check_stepper(self, stepper: Stepper) -> None:
        """Refuse a stepper that cannot follow this flow."""

    @abstractmethod
    def path(
        self, still: Tensor, y: Tensor, eps: Tensor, s: Tensor | float
    ) -> tuple[Tensor, Tensor]:
        """x_s, and the velocity that N should answer.

        Args:
            still: The answer y that leaves the state as it is.
            y: The answer.
            eps: Standard normal field.
            s: Place on the path, 0 to 1.
        """

    @abstractmethod
    def descend(
        self,
        velocity: TimeDerivative,
        still: Tensor,
        noise: NoiseStream,
        stepper: Stepper,
        num_steps: int,
    ) -> Tensor:
        """x at s = 1."""

    @abstractmethod
    def num_evaluations(self, stepper: Stepper, num_steps: int) -> int:
        """Calls of the velocity."""


@dataclass(frozen=True)
class FromNoise(FlowStart):
    """Flow matching: a straight path from noise to the answer, an ordinary differential equation.

        x_s = (1 - s) eps + s y,    velocity y - eps,    dx/ds = N(x, s)

    Reference:
        Flow Matching for Generative Modeling (Lipman et al., 2023), Eqs. (20) to (23) with
        sigma_min = 0. https://arxiv.org/abs/2210.02747
    """

    def default_stepper(self) -> Stepper:
        return Heun()

    def check_stepper(self, stepper: Stepper) -> None:
        if isinstance(stepper, StochasticStepper):
            raise ValueError(
                f"FromNoise: needs a stepper of ordinary differential equations, got {stepper}; "
                "give Euler(), Heun() or RK4(), or start with FromState()."
            )

    def path(
        self, still: Tensor, y: Tensor, eps: Tensor, s: Tensor | float
    ) -> tuple[Tensor, Tensor]:
        return (1 - s) * eps + s * y, y - eps

    def descend(
        self,
        velocity: TimeDerivative,
        still: Tensor,
        noise: NoiseStream,
        stepper: Stepper,
        num_steps: int,
    ) -> Tensor:
        return _advance(stepper, velocity, noise.normal(still, 0), num_steps, num_steps)

    def num_evaluations(self, stepper: Stepper, num_steps: int) -> int:
        return stepper.num_evaluations * num_steps


@dataclass(frozen=True)
class FromState(FlowStart):
    """A stochastic interpolant from the current state to the next one.

    With y_0 the answer that leaves the state as it is (no change), a the amplitude and W a Wiener
    process,

        x_s = (1 - s) y_0 + s y + a (1 - s) W_s,       W_s = sqrt(s) eps
        velocity  y - y_0 - a sqrt(s) eps
        dx = N(x, s) ds + a (1 - s) dW,                x_0 = y_0

    Noise must be drawn on the way: from one point an ordinary differential equation leads to one
    point. The last step is made without noise; where y is certain it is exact.

    Reference:
        Probabilistic Forecasting with Stochastic Interpolants and Foellmer Processes (Chen et al.,
        2024), Eqs. (3) to (5). https://arxiv.org/abs/2403.13724
        Stochastic Interpolants: A Unifying Framework for Flows and Diffusions (Albergo et al.,
        2023). https://arxiv.org/abs/2303.08797

    Args:
        amplitude: a, deviations of the answer; near the spread of what may follow.
    """

    amplitude: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.amplitude < float("inf"):
            raise ValueError(
                f"FromState: `amplitude` must be positive and finite, got {self.amplitude}."
            )

    def default_stepper(self) -> Stepper:
        return EulerMaruyama()

    def check_stepper(self, stepper: Stepper) -> None:
        if not isinstance(stepper, StochasticStepper):
            raise ValueError(
                "FromState: from one state an ordinary differential equation leads to one state, "
                f"got {stepper}; give EulerMaruyama() or StochasticHeun(), or start with "
                "FromNoise()."
            )

    def path(
        self, still: Tensor, y: Tensor, eps: Tensor, s: Tensor | float
    ) -> tuple[Tensor, Tensor]:
        wiener = self.amplitude * s**0.5 * eps
        return still + s * (y - still) + (1 - s) * wiener, y - still - wiener

    def descend(
        self,
        velocity: TimeDerivative,
        still: Tensor,
        noise: NoiseStream,
        stepper: Stepper,
        num_steps: int,
    ) -> Tensor:
        f = StochasticDerivative(velocity, lambda s, x: self.amplitude * (1 - s))
        named = replace(stepper, noise=noise)  # pyright: ignore[reportCallIssue]
        x = _advance(named, f, still, num_steps - 1, num_steps)
        return x + velocity((num_steps - 1) / num_steps, x) / num_steps

    def num_evaluations(self, stepper: Stepper, num_steps: int) -> int:
        return stepper.num_evaluations * (num_steps - 1) + 1


def _advance(
    stepper: Stepper, f: TimeDerivative, x: Tensor, num_steps: int, num_parts: int
) -> Tensor:
    """x after the first steps of `num_parts` equal ones between 0 and 1."""
    step = stepper.bind(f)
    state = step.initial_state(0.0, x)
    for n in range(num_steps):
        state = step(n / num_parts, state, 1 / num_parts)
    return step.observe(state)


class FlowSurrogate(GenerativeSurrogate):
    """Flow matching of the change: a learned velocity carries a start to a sample.

    With y the standardised change over one step and z the standardised state, the path x_s leads
    from the start at s = 0 to x_1 = y. N learns the mean velocity at each place of the path,

        loss = mean (N([z, x_s], s) - velocity)^2,    s uniform in 0 .. 1,

    and one of our steppers integrates it from 0 to 1. Where the path starts is a part:
    `FromNoise()`, integrated by Euler, Heun or RK4, or `FromState()`, the current state itself,
    integrated by Euler-Maruyama or stochastic Heun.

    Stepper and number of steps are chosen when it is used: `with_stepper(RK4(), num_steps=4)`
    shares the weights. Steps draw noise: bind seeds with `bind(seeds=...)`.

    Args:
        backbone: Maps (batch, 2 channel, *space), state and x_s, and one number per sample more
            than there are parameters, to (batch, channel, *space).
        dt, max_dt, fields, grid, parameter_names: See `MapSurrogate`.
        start: Where the path starts.
        stepper: What integrates the velocity; when `None`, Heun() from noise and EulerMaruyama()
            from the state.
        num_steps: Steps from s = 0 to s = 1.
        predict_difference: Whether y is the change; else it is the next state.

    Shape:
        u: (batch, channel, *space) -> (batch, channel, *space)

    Raises:
        ValueError: If the stepper cannot follow a path from this start.

    Example:
        >>> from pdesurrogates.backbones import FNO
        >>> network = FNO(2, 1, num_modes=(4,), num_conditions=1)
        >>> surrogate = FlowSurrogate(network, dt=0.1, num_steps=6)
        >>> surrogate(0.0, torch.zeros(3, 1, 16), 0.1).shape
        torch.Size([3, 1, 16])
        >>> surrogate.num_evaluations
        12
    """

    def __init__(
        self,
        backbone: nn.Module,
        dt: float,
        *,
        start: FlowStart = FromNoise(),  # noqa: B008 - frozen, without state
        stepper: Stepper | None = None,
        num_steps: int = 4,
        predict_difference: bool = True,
        max_dt: float | None = None,
        fields: FieldSpec | None = None,
        grid: Grid | None = None,
        parameter_names: Sequence[str] = (),
    ) -> None:
        check_kind(start, FlowStart, where="FlowSurrogate", name="start")
        self.start = start
        self._choose(start.default_stepper() if stepper is None else stepper, num_steps)
        super().__init__(
            backbone,
            dt,
            predict_difference=predict_difference,
            max_dt=max_dt,
            fields=fields,
            grid=grid,
            parameter_names=parameter_names,
        )

    def _choose(self, stepper: Stepper, num_steps: int) -> None:
        check_kind(stepper, Stepper, where="FlowSurrogate", name="stepper")
        self.start.check_stepper(stepper)
        if num_steps < 1:
            raise ValueError(f"FlowSurrogate: `num_steps` must be at least 1, got {num_steps}.")
        self.stepper = stepper
        self.num_steps = num_steps

    def with_stepper(
        self, stepper: Stepper | None = None, *, num_steps: int | None = None
    ) -> Self:
        """The same network (shared weights) with another stepper or number of steps."""
        other = copy.copy(self)
        other._choose(stepper or self.stepper, self.num_steps if num_steps is None else num_steps)
        return other

    @property
    def num_evaluations(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Network calls per step."""
        return self.start.num_evaluations(self.stepper, self.num_steps)

    def draw(self, z: Tensor, conditioning: Tensor | None, noise: NoiseStream) -> Tensor:
        """A sample of y for the standardised state."""

        def velocity(s: float | Tensor, x: Tensor) -> Tensor:
            return self.respond(z, x, conditioning, s)

        return self.start.descend(velocity, self._still(z), noise, self.stepper, self.num_steps)

    def pose(self, z: Tensor, y: Tensor, source: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """x_s, s, and the velocity."""
        s = spread(y, source)
        eps = torch.randn(y.shape, generator=source, dtype=y.dtype, device=y.device)
        x, velocity = self.start.path(self._still(z), y, eps, per_sample(s, y))
        return x, s, velocity

    def _still(self, z: Tensor) -> Tensor:
        """The standardised answer that leaves the state as it is."""
        u = (
            torch.zeros_like(z)
            if self.predict_difference
            else self.state_normalizer.denormalize(z)
        )
        return self.target_normalizer.normalize(u).to(z)
