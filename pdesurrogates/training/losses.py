"""What is minimised? The error of one step, or of several steps of a rollout."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pdesurrogates.core import StatefulStep
from pdesurrogates.surrogates import StochasticSurrogate, Surrogate
from pdesurrogates.training.distances import Distance, MeanSquared
from pdesurrogates.training.draws import Draw, draws

__all__ = ["Loss", "OneStep", "Pushforward", "Unrolled"]

Batch = dict[str, Any]


class Loss(ABC):
    """A scalar to minimise, from a surrogate and a batch of windows.

    Training names the batch: `batch["stream"]` is the seed of the run and the number of the
    batch, `batch["update"]` the number of updates made so far.
    """

    @property
    @abstractmethod
    def horizon(self) -> int:
        """Steps of the surrogate for which a window must have future frames."""

    @abstractmethod
    def __call__(self, surrogate: Surrogate, batch: Batch) -> Tensor:
        """The loss of a batch, a scalar with gradient."""


@dataclass(frozen=True)
class OneStep(Loss):
    """Distance of the network's output from its standardised target.

        loss = distance( N(z), (y - mean_y) / std_y )

    y is what the surrogate predicts: next state, change, derivative, or the noise to take out.

    Args:
        distance: What error means.
    """

    distance: Distance = field(default_factory=MeanSquared)

    @property
    def horizon(self) -> int:
        return 1

    def __call__(self, surrogate: Surrogate, batch: Batch) -> Tensor:
        prediction, target = surrogate.regression(batch)
        return self.distance(surrogate.hold(prediction, target), target, surrogate.grid)


@dataclass(frozen=True)
class Unrolled(Loss):
    """Mean distance of the standardised states along a rollout, gradient through the steps.

        loss = 1/m sum_k distance( u_k / std_u, u(t + k dt) / std_u ),    k = K - m + 1 .. K

    By default m = K: all steps count, with gradient through all of them. With `gradient_steps` m,
    the first K - m steps are made without gradient and only lead to the state where the others
    start: memory of m steps, and the network meets its own errors.

    A bundle is one step here: its frames all count, and the rollout is cut between bundles only.

    Args:
        num_steps: Length K of the rollout [steps].
        gradient_steps: Most steps m with gradient, counted from the end; all when `None`.
        distance: What error means.
    """

    num_steps: int = 2
    gradient_steps: int | None = None
    distance: Distance = field(default_factory=MeanSquared)

    def __post_init__(self) -> None:
        _check_positive(self, "num_steps", self.num_steps)
        if self.gradient_steps is not None:
            _check_positive(self, "gradient_steps", self.gradient_steps)

    @property
    def horizon(self) -> int:
        return self.num_steps

    def __call__(self, surrogate: Surrogate, batch: Batch) -> Tensor:
        gradient_steps = min(self.gradient_steps or self.num_steps, self.num_steps)
        return _rollout_loss(surrogate, batch, self.num_steps, gradient_steps, self.distance)


@dataclass(frozen=True)
class Pushforward(Loss):
    """Distance of the standardised state after K steps, gradient through the last one.

        loss = distance( step(u_{K-1}) / std_u, u(t + K dt) / std_u ),  u_{K-1} without gradient

    The network learns to correct the inputs that its own rollout makes. With `random_length`
    every update draws the number of steps uniformly from 1 .. K, so that true inputs, with no
    step before the last, stay among them.

    Reference:
        Message Passing Neural PDE Solvers (Brandstetter et al., 2022), section 3.1; their code
        draws the length. https://arxiv.org/abs/2202.03376

    Args:
        num_steps: Length K of the rollout [steps].
        random_length: Whether K is the largest of lengths drawn per update.
        distance: What error means.
    """

    num_steps: int = 2
    random_length: bool = False
    distance: Distance = field(default_factory=MeanSquared)

    def __post_init__(self) -> None:
        _check_positive(self, "num_steps", self.num_steps)

    @property
    def horizon(self) -> int:
        return self.num_steps

    def __call__(self, surrogate: Surrogate, batch: Batch) -> Tensor:
        return _rollout_loss(surrogate, batch, self.length(batch), 1, self.distance)

    def length(self, batch: Batch) -> int:
        """Steps of the rollout for a batch."""
        if not self.random_length:
            return self.num_steps
        source = draws(Draw.LENGTH, batch)
        return int(torch.randint(1, self.num_steps + 1, (), generator=source))


def _check_positive(loss: Loss, name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{type(loss).__name__}: `{name}` must be at least 1, got {value}.")


def _rollout_loss(
    surrogate: Surrogate, batch: Batch, num_steps: int, gradient_steps: int, distance: Distance
) -> Tensor:
    """Mean distance over the frames of the last `gradient_steps` of `num_steps` steps."""
    step, t, dt = bound_step(surrogate, batch), batch["t"], surrogate.step_of(batch)
    frames = surrogate.num_frames
    first, last = (num_steps - gradient_steps) * frames, num_steps * frames
    normalize, future = surrogate.state_normalizer.normalize, batch["future"]
    u = batch["input"] if "input" in batch else batch["history"][:, -1]
    state = step.initial_state(t, u)
    with torch.no_grad():
        for n in range(first):
            state = step(t + n * dt, state, dt)
    losses = []
    for n in range(first, last):
        state = step(t + n * dt, state, dt)
        u = step.observe(state)
        target = normalize(future[:, n].to(u.dtype))
        losses.append(distance(surrogate.hold(normalize(u), target), target, surrogate.grid))
    return torch.stack(losses).mean()


def bound_step(surrogate: Surrogate, batch: Batch) -> StatefulStep:
    """The step of a surrogate for a batch, its noise named by the number of the batch."""
    parameters = batch["parameters"] if surrogate.parameter_names else None
    if isinstance(surrogate, StochasticSurrogate):
        seed = draws(Draw.SAMPLING, batch).initial_seed()
        return surrogate.bind(parameters=parameters, seeds=seed)
    return surrogate.bind(parameters=parameters)
