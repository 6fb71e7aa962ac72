"""What is minimised without labels? The residual of one implicit time step of the equation."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor

from pdesurrogates.core import TimeDerivative, per_sample
from pdesurrogates.surrogates import NeuralStagger, Surrogate
from pdesurrogates.training.losses import Loss

__all__ = ["PhysicsLoss", "fit_to_equation", "next_frames", "step_residual"]

Batch = dict[str, Any]


def step_residual(
    f: TimeDerivative,
    u: Tensor,
    u_next: Tensor,
    *,
    t: float | Tensor = 0.0,
    dt: float | Tensor,
    implicitness: float = 0.5,
) -> Tensor:
    """How far two states are from one implicit step of the equation:

        r = (u_next - u) / dt - theta f(t + dt, u_next) - (1 - theta) f(t, u)

    theta = 1/2 is Crank-Nicolson, zero at its solution, second order in dt; theta = 1 implicit
    Euler, first order, which damps what Crank-Nicolson leaves ringing.

    Args:
        f: Time derivative, e.g. `equation.on(grid)` or
            `equation.on(FiniteDifferences(grid, ...))`.
        u, u_next: States (batch, channel, *space) at t and t + dt.
        t: Time, a number or (batch,).
        dt: Step [time].
        implicitness: theta.

    Returns:
        (batch, channel, *space) [field unit / time].
    """
    slope = (u_next - u) / per_sample(dt, u)
    rate = implicitness * f(t + dt, u_next)
    if implicitness < 1:
        rate = rate + (1 - implicitness) * f(t, u)
    return slope - rate


def next_frames(
    surrogate: Surrogate,
    frames: Tensor,
    *,
    t: float | Tensor = 0.0,
    parameters: Tensor | None = None,
) -> Tensor:
    """The frames that one network call adds, (batch, K, channel, *space), with gradient.

    Args:
        surrogate: Any surrogate; a `NeuralStagger` needs its k frames, others use the last.
        frames: Known frames, the last at time t, (batch, frame, channel, *space).
        t: Time of the last frame.
        parameters: PDE parameters that the surrogate is told.
    """
    if isinstance(surrogate, NeuralStagger):
        return surrogate.predict_frames(frames, surrogate._condition(parameters))
    step, following = surrogate.bind(parameters), []
    state = step.initial_state(t, frames[:, -1])
    for n in range(surrogate.num_frames):
        state = step(t + n * surrogate.dt, state, surrogate.dt)
        following.append(step.observe(state))
    return torch.stack(following, dim=1)


@dataclass(frozen=True)
class PhysicsLoss(Loss):
    """Mean square residual of the time steps between neighbouring frames, without labels.

        loss = mean over n of mean( (T / std_y)^2 r_n^2 ),   r_n = step_residual(u_n, u_(n+1))

    u_n are fine fields: the given frames and those that the surrogate predicts from them. T is
    the span of one network call and std_y the deviation of what the network predicts, per
    channel, so that channels count alike and a network that predicts no change scores about one.
    With k interleaved chains the neighbours of a frame belong to other chains, and this loss is
    what makes them agree.

    The loss serves any surrogate that predicts frames `dt` apart and any time derivative of
    fields: spectral, finite differences with walls. Values that walls prescribe have f = 0 there
    and add nothing where the surrogate keeps them.

    As a loss of `SurrogateModule` it starts from the states of the windows and uses no future
    frame. `train_on_physics` starts from states that the surrogate made itself.

    Reference:
        LordNet: An Efficient Neural Network for Learning to Solve Parametric Partial Differential
        Equations without Simulated Data (Huang et al., 2022), for the mean squared residual.
        https://arxiv.org/abs/2206.09418

    Args:
        f: Time derivative of the equation on the fine grid.
        implicitness: 1/2 for Crank-Nicolson, 1 for implicit Euler, see `step_residual`.
        num_rounds: Network calls in a row that are differentiated through.
    """

    f: TimeDerivative
    implicitness: float = 0.5
    num_rounds: int = 1

    def __post_init__(self) -> None:
        if not 0.5 <= self.implicitness <= 1:
            raise ValueError(
                "PhysicsLoss: `implicitness` must be between 0.5 (Crank-Nicolson) and 1 (implicit "
                f"Euler), got {self.implicitness}; below, the step is unstable where f is stiff."
            )
        if self.num_rounds < 1:
            raise ValueError(
                f"PhysicsLoss: `num_rounds` must be at least 1, got {self.num_rounds}."
            )

    @property
    def horizon(self) -> int:
        return 1

    def __call__(self, surrogate: Surrogate, batch: Batch) -> Tensor:
        wanted = surrogate.num_frames if isinstance(surrogate, NeuralStagger) else 1
        history = batch["history"][:, -wanted:]
        if history.shape[1] < wanted:
            raise ValueError(
                f"PhysicsLoss: {wanted} chains need windows with as many frames of history, got "
                f"{history.shape[1]}; build them with history={wanted}."
            )
        parameters = batch["parameters"] if surrogate.parameter_names else None
        return self.of_frames(surrogate, history, t=batch["t"], parameters=parameters)[0]

    def of_frames(
        self,
        surrogate: Surrogate,
        frames: Tensor,
        *,
        t: float | Tensor = 0.0,
        parameters: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The loss of one or more rounds, and the frames of the last round.

        Args:
            surrogate: What is trained.
            frames: Known frames, the last at time t, (batch, frame, channel, *space).
            t: Time of the last frame.
            parameters: PDE parameters that the surrogate is told; `f` has its own.
        """
        dt, span = surrogate.dt, surrogate.dt * surrogate.num_frames
        scale = _scale(surrogate, frames)
        sequence, following = [frames[:, -1]], frames
        for n in range(self.num_rounds):
            following = next_frames(surrogate, following, t=t + n * span, parameters=parameters)
            sequence.extend(following.unbind(1))
        # The rate of a frame serves the step that ends there and the one that begins there.
        rates = [self.f(t + n * dt, u) for n, u in enumerate(sequence)]
        theta, losses = self.implicitness, []
        for n, (u, u_next) in enumerate(pairwise(sequence)):
            rate = theta * rates[n + 1] + (1 - theta) * rates[n]
            r = (u_next - u) / dt - rate
            losses.append((r * (span / scale)).square().mean())
        return torch.stack(losses).mean(), following


def _scale(surrogate: Surrogate, frames: Tensor) -> Tensor:
    """Deviation of the predicted change per channel, (channel, 1, ..)."""
    channels, dims = frames.shape[2], frames.ndim - 3
    std = surrogate.target_normalizer.std[-channels:]
    return std.to(frames).reshape(channels, *(1,) * dims)


@torch.no_grad()
def fit_to_equation(surrogate: Surrogate, f: TimeDerivative, u: Tensor) -> None:
    """Statistics of the surrogate without data: mean and deviation of states and of changes.

        change = T f(0, u),   T the span of one network call

    The change is estimated by its size at given states. Its mean is set to zero.

    Args:
        surrogate: A surrogate that predicts a change, e.g. `NeuralStagger`.
        f: Time derivative of the equation on the fine grid.
        u: States as the surrogate will meet them, (batch, channel, *space).
    """
    span = surrogate.dt * surrogate.num_frames
    axes = (0, *range(2, u.ndim))
    states = u.double()
    change = span * f(0.0, u).double()
    deviation, size = states.std(dim=axes, correction=0), change.square().mean(dim=axes).sqrt()
    repeats = surrogate.target_normalizer.std.numel() // size.numel()
    normalizer = cast(Any, surrogate)
    normalizer.state_normalizer.mean.copy_(states.mean(dim=axes))
    normalizer.state_normalizer.std.copy_(torch.where(deviation > 0, deviation, 1.0))
    normalizer.target_normalizer.mean.zero_()
    normalizer.target_normalizer.std.copy_(torch.where(size > 0, size, 1.0).repeat(repeats))
    surrogate.is_fitted = True
