"""What is minimised: one step, several steps, and the noise that the input may carry."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pdesurrogates.core import generator
from pdesurrogates.surrogates import Surrogate

__all__ = ["InputNoise", "Loss", "OneStep", "Pushforward", "Unrolled"]

Batch = dict[str, Any]


class Loss(ABC):
    """A scalar to minimise, from a surrogate and a batch of windows."""

    @property
    @abstractmethod
    def horizon(self) -> int:
        """Future frames that a window must have."""

    @abstractmethod
    def __call__(self, surrogate: Surrogate, batch: Batch) -> Tensor:
        """The loss of a batch, a scalar with gradient."""


@dataclass(frozen=True)
class OneStep(Loss):
    """Mean squared error of the standardised target.

        loss = mean (N(z) - (y - mean_y) / std_y)^2

    y is what the surrogate predicts: next state, change or derivative.
    """

    @property
    def horizon(self) -> int:
        return 1

    def __call__(self, surrogate: Surrogate, batch: Batch) -> Tensor:
        return F.mse_loss(*surrogate.regression(batch))


@dataclass(frozen=True)
class Unrolled(Loss):
    """Mean squared error of the standardised states along a rollout, gradient through all steps.

        loss = 1/K sum_k mean ((u_k - u(t + k dt)) / std_u)^2,    k = 1 .. K

    Args:
        num_steps: Length K of the rollout [steps].
    """

    num_steps: int = 2

    def __post_init__(self) -> None:
        _check_num_steps(self)

    @property
    def horizon(self) -> int:
        return self.num_steps

    def __call__(self, surrogate: Surrogate, batch: Batch) -> Tensor:
        step, t, dt, state = _start(surrogate, batch)
        losses = []
        for n in range(self.num_steps):
            state = step(t + n * dt, state, dt)
            losses.append(_state_loss(surrogate, step.observe(state), batch["future"][:, n]))
        return torch.stack(losses).mean()


@dataclass(frozen=True)
class Pushforward(Loss):
    """Mean squared error of the standardised state after K steps, gradient through the last one.

        loss = mean ((step(u_{K-1}) - u(t + K dt)) / std_u)^2,    u_{K-1} without gradient

    The network learns to correct the inputs that its own rollout makes.

    Reference:
        Message Passing Neural PDE Solvers (Brandstetter et al., 2022), section 3.1.
        https://arxiv.org/abs/2202.03376

    Args:
        num_steps: Length K of the rollout [steps].
    """

    num_steps: int = 2

    def __post_init__(self) -> None:
        _check_num_steps(self)

    @property
    def horizon(self) -> int:
        return self.num_steps

    def __call__(self, surrogate: Surrogate, batch: Batch) -> Tensor:
        step, t, dt, state = _start(surrogate, batch)
        with torch.no_grad():
            for n in range(self.num_steps - 1):
                state = step(t + n * dt, state, dt)
        state = step(t + (self.num_steps - 1) * dt, state, dt)
        return _state_loss(surrogate, step.observe(state), batch["future"][:, self.num_steps - 1])


@dataclass(frozen=True)
class InputNoise:
    """Gaussian noise on the network's input; targets stay clean.

        input = u + fraction std_u xi,    xi standard normal

    The draw depends on the seed and the optimiser step only, so a resumed run sees the same.

    Args:
        fraction: Size of the noise in deviations of each channel over the training data.
    """

    fraction: float = 0.01

    def __post_init__(self) -> None:
        if not self.fraction >= 0:
            raise ValueError(f"InputNoise: `fraction` must not be negative, got {self.fraction}.")

    def __call__(self, surrogate: Surrogate, batch: Batch, *, seed: int, step: int) -> Batch:
        """The batch with a noisy "input"."""
        u = batch["history"][:, -1]
        noise = torch.randn(u.shape, generator=generator(seed, step), dtype=u.dtype).to(u.device)
        std = surrogate.state_normalizer.std.to(u).reshape(-1, *(1,) * (u.ndim - 2))
        return {**batch, "input": u + self.fraction * std * noise}


def _check_num_steps(loss: Unrolled | Pushforward) -> None:
    if loss.num_steps < 1:
        raise ValueError(
            f"{type(loss).__name__}: `num_steps` must be at least 1, got {loss.num_steps}."
        )


def _start(surrogate: Surrogate, batch: Batch) -> tuple:
    """The bound step, time, step size and initial carried state of a batch of windows."""
    step = surrogate.bind(parameters=batch["parameters"] if surrogate.parameter_names else None)
    u = batch["input"] if "input" in batch else batch["history"][:, -1]
    return step, batch["t"], surrogate.step_of(batch), step.initial_state(batch["t"], u)


def _state_loss(surrogate: Surrogate, u: Tensor, u_ref: Tensor) -> Tensor:
    normalize = surrogate.state_normalizer.normalize
    return F.mse_loss(normalize(u), normalize(u_ref.to(u.dtype)))
