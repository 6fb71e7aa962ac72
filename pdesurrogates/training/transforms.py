"""What happens to a batch of windows before the loss sees it: noise, steps of random size."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch

from pdesurrogates.surrogates import MapSurrogate, StateSurrogate, Surrogate
from pdesurrogates.training.draws import Draw, draws
from pdesurrogates.training.losses import Loss, OneStep

__all__ = ["AllPairs", "BatchTransform", "InputNoise"]

Batch = dict[str, Any]

_DT_TOLERANCE = 1e-6


class BatchTransform(ABC):
    """Changes the batches of training; draws depend on the seed and the number of the batch."""

    frames_per_step = 1
    """Most frames of the windows per step that the loss makes."""

    def prepare(self, surrogate: Surrogate, loss: Loss) -> None:  # noqa: B027 - most need none
        """Check that the transform serves the surrogate; called when training starts."""

    @abstractmethod
    def __call__(self, surrogate: Surrogate, batch: Batch, *, seed: int, step: int) -> Batch:
        """The changed batch; the one that came is left alone.

        Args:
            surrogate: What is trained.
            batch: Windows, see `TrajectoryWindows`.
            seed: Seed of the run.
            step: Number of the batch.
        """


@dataclass(frozen=True)
class InputNoise(BatchTransform):
    """Gaussian noise on the network's input; rollout losses start from it.

        input = u + fraction std_u xi,    xi standard normal

    std_u is the deviation of each channel over the training data, the root mean square about
    the mean: the size of a field does not depend on its offset or unit. Targets stay clean: a
    network that predicts a change is asked for the true change, so noise in the input stays in
    the next state. With `corrects_target` it is asked for the change from the noisy input to the
    clean next frame, and learns to take noise out. That makes no difference to next states and
    to rollout losses, whose targets are frames, and is not defined for derivatives.

    Reference:
        Learning Mesh-Based Simulation with Graph Networks (Pfaff et al., 2021), which corrects
        the targets. https://arxiv.org/abs/2010.03409

    Args:
        fraction: Size of the noise in deviations of each channel over the training data.
        corrects_target: Whether changes are counted from the noisy input.
    """

    fraction: float = 0.01
    corrects_target: bool = False

    def __post_init__(self) -> None:
        if not self.fraction >= 0:
            raise ValueError(f"InputNoise: `fraction` must not be negative, got {self.fraction}.")

    def prepare(self, surrogate: Surrogate, loss: Loss) -> None:
        if self.corrects_target and surrogate.target_order is not None:
            raise ValueError(
                f"InputNoise: `corrects_target` needs a surrogate that predicts a change or the "
                f"next state, got {type(surrogate).__name__}; leave it out, or use a rollout "
                "loss such as Unrolled, which corrects noise by itself."
            )

    def __call__(self, surrogate: Surrogate, batch: Batch, *, seed: int, step: int) -> Batch:
        """The batch with a noisy "input"."""
        u = batch["history"][:, -1]
        source = draws(Draw.NOISE, {"stream": (seed, step)}, u.device)
        noise = torch.randn(u.shape, generator=source, dtype=u.dtype, device=u.device)
        std = surrogate.state_normalizer.std.to(u).reshape(-1, *(1,) * (u.ndim - 2))
        noisy = surrogate.hold(u + self.fraction * std * noise, u)
        if not self.corrects_target:
            return {**batch, "input": noisy}
        history = torch.cat((batch["history"][:, :-1], noisy[:, None]), dim=1)
        return {**batch, "history": history, "input": noisy}


@dataclass(frozen=True)
class AllPairs(BatchTransform):
    """Steps of random size: any frame of a window may be the next one.

    Every sample draws n uniformly from 1 .. max_steps. Frames n, 2n, ... of its window become
    frames 1, 2, ... of the batch, and its step becomes n dt. All losses work on that. The
    surrogate must serve the steps dt .. max_steps dt:

    - a map (next state, change, refiner) built with `max_dt`, which is told the step;
    - a derivative surrogate with a rollout loss such as `Unrolled(1)`, whose trained range of
      steps is widened. (A derivative knows no step, so `OneStep` would see no difference.)

    With `include_identity` n = 0 is drawn too: the input is its own target. Only next-state
    prediction needs it, all others have it by construction.

    Windows are `max_steps` times as long, so the last frames of a trajectory are never inputs.

    Reference:
        Poseidon: Efficient Foundation Models for PDEs (Herde et al., 2024), "all2all training";
        there all pairs are equally likely, so short steps more often than long ones.
        https://arxiv.org/abs/2405.19101

    Args:
        max_steps: Largest distance of two frames [steps dt].
        include_identity: Whether pairs of a frame with itself are drawn too.
    """

    max_steps: int = 4
    include_identity: bool = False

    def __post_init__(self) -> None:
        if self.max_steps < 1:
            raise ValueError(f"AllPairs: `max_steps` must be at least 1, got {self.max_steps}.")

    @property
    def frames_per_step(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.max_steps

    def prepare(self, surrogate: Surrogate, loss: Loss) -> None:
        """Check the range of steps that the surrogate serves.

        Raises:
            ValueError: If it serves one step only, fewer than are drawn, or learns nothing.
        """
        where = type(surrogate).__name__
        low, high = surrogate.trained_dt
        if isinstance(surrogate, MapSurrogate):
            needed = self.max_steps * surrogate.dt
            if self.max_steps > 1 and high < needed * (1 - _DT_TOLERANCE):
                raise ValueError(
                    f"AllPairs: the surrogate must serve steps up to {self.max_steps} dt = "
                    f"{needed:g}, got {where} with max_dt = {surrogate.max_dt}; build it with "
                    f"max_dt={needed:g}."
                )
        elif isinstance(loss, OneStep):
            raise ValueError(
                f"AllPairs: OneStep asks {where} for du/dt, which knows no step; use a rollout "
                "loss such as Unrolled(1)."
            )
        if self.include_identity:
            if not isinstance(surrogate, StateSurrogate):
                raise ValueError(
                    f"AllPairs: `include_identity` is for StateSurrogate, got {where}, which "
                    "keeps the state over a step of zero by construction; leave it out."
                )
            low = 0.0
        # A surrogate that was trained with shorter steps keeps the range it knows.
        surrogate.trained_dt = (low, max(high, self.max_steps * surrogate.dt))

    def __call__(self, surrogate: Surrogate, batch: Batch, *, seed: int, step: int) -> Batch:
        """The batch with future frames n apart and the step n dt."""
        future, last = batch["future"], batch["history"][:, -1:]
        source = draws(Draw.PAIRS, {"stream": (seed, step)}, future.device)
        least = 0 if self.include_identity else 1
        n = torch.randint(
            least, self.max_steps + 1, (len(future),), generator=source, device=future.device
        )
        frames = torch.cat((last, future), dim=1)
        steps = torch.arange(1, future.shape[1] // self.max_steps + 1, device=future.device)
        rows = torch.arange(len(future), device=future.device)[:, None]
        return {
            **batch,
            "future": frames[rows, n[:, None] * steps],
            "dt": batch["dt"] * n.to(batch["dt"]),
        }
