"""Training without labels on states that the surrogate made itself."""

from __future__ import annotations

import copy
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from pdesurrogates.core import generator
from pdesurrogates.surrogates import Surrogate
from pdesurrogates.training.physics import PhysicsLoss

__all__ = ["FreshFrames", "PhysicsTraining", "SelfRolledPool", "train_on_physics"]

_CHECK_EVERY = 50
_LARGEST_GROWTH = 10.0


class FreshFrames(Protocol):
    """Initial frames of new trajectories.

    `fresh(first, number)` gives samples first .. first + number - 1 as (number, k, channel,
    *space): k frames, dt apart, for k interleaved chains; one for other surrogates.
    """

    def __call__(self, first: int, number: int, /) -> Tensor: ...


class SelfRolledPool:
    """Trajectories in progress, advanced by the surrogate that learns from them.

    Every update draws some of them at random and puts their successors back. With probability
    `renewal` a trajectory starts anew from a fresh initial field, so it lives for 1 / renewal
    network calls on average; one that is not finite or has grown ten times starts anew at once.
    Without the pool a network sees initial fields alone and fails on its own output.

    Args:
        fresh: Gives initial frames.
        size: Number of trajectories.
        renewal: Probability to start anew after a network call.
        reserve: Number of fresh fields kept at hand; the oldest are replaced as they are used.
        seed: Seed of the draws.
    """

    def __init__(
        self,
        fresh: FreshFrames,
        *,
        size: int = 128,
        renewal: float = 0.1,
        reserve: int = 128,
        seed: int = 0,
    ) -> None:
        if size < 1 or reserve < 1 or not 0 <= renewal <= 1:
            raise ValueError(
                "SelfRolledPool: `size` and `reserve` must be positive and `renewal` within 0 .. "
                f"1, got {size}, {reserve} and {renewal}."
            )
        self.fresh = fresh
        self.renewal = renewal
        self.frames = fresh(0, size)
        self._reserve = fresh(size, reserve)
        self._next, self._used = size + reserve, 0.0
        self._source = generator(seed)
        axes = tuple(range(1, self.frames.ndim))
        self._limit = _LARGEST_GROWTH**2 * self.frames.square().mean(axes).max()

    def draw(self, number: int) -> Tensor:
        """Places of `number` different trajectories in `frames`."""
        places = torch.randperm(len(self.frames), generator=self._source)[:number]
        return places.to(self.frames.device)

    def put(self, places: Tensor, following: Tensor) -> None:
        """Store the successors of the trajectories at `places`, or start anew."""
        following = following.detach().to(self.frames)
        number, device = len(places), self.frames.device
        chance = torch.rand(number, generator=self._source).to(device) < self.renewal
        energy = following.square().mean(tuple(range(1, following.ndim)))
        ends = chance | ~(energy < self._limit)
        rows = torch.randint(len(self._reserve), (number,), generator=self._source).to(device)
        ends = ends.reshape(-1, *(1,) * (following.ndim - 1))
        self.frames[places] = torch.where(ends, self._reserve[rows], following)
        self._used += self.renewal * number
        if self._used >= len(self._reserve):
            self._reserve, self._used = self.fresh(self._next, len(self._reserve)), 0.0
            self._next += len(self._reserve)


@dataclass
class PhysicsTraining:
    """What `train_on_physics` did.

    Args:
        num_updates: Updates of the weights.
        seconds: Time by the clock that was given [s].
        losses: Loss at every 50th update.
        failure: Why it ended early; empty if it did not. The weights are then the last good ones.
    """

    num_updates: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    failure: str = ""


def train_on_physics(
    surrogate: Surrogate,
    loss: PhysicsLoss,
    pool: SelfRolledPool,
    *,
    num_updates: int | None = None,
    seconds: float | None = None,
    batch_size: int = 4,
    learning_rate: float = 6e-3,
    gradient_clip: float = 1.0,
    clock: Callable[[], float] = time.perf_counter,
) -> PhysicsTraining:
    """Train a surrogate on the residual of the equation, from states that it rolled itself.

    Adam; the learning rate rises over the first twentieth and falls as a half cosine to zero at
    the end. Small batches and a high rate, 6e-3 to 1e-2, learned fastest in our trials. The
    surrogate is trained in place; its statistics must be there (`fit_to_equation`).

    Args:
        surrogate: Predicts the change over a step, e.g. `NeuralStagger` or `ResidualSurrogate`.
        loss: The residual on the fine grid.
        pool: Where states come from and go to.
        num_updates: Length of the training in updates,
        seconds: or by `clock` [s]; one of the two.
        batch_size: Trajectories per update.
        learning_rate: Largest rate.
        gradient_clip: Largest norm of the gradient.
        clock: Tells seconds; `time.process_time` where other work shares the processor.

    Returns:
        Updates, seconds and losses. A loss that is not finite ends the training with a warning
        and brings back the weights of the last check, at most 50 updates old.
    """
    if (num_updates is None) == (seconds is None):
        raise ValueError(
            "train_on_physics: give either `num_updates` or `seconds`, got "
            f"{num_updates} and {seconds}."
        )
    weights = [weight for weight in surrogate.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(weights, lr=learning_rate)
    record, started = PhysicsTraining(), clock()
    good = copy.deepcopy(surrogate.state_dict())
    surrogate.train()
    while True:
        record.seconds = clock() - started
        done = _share(record, num_updates, seconds)
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * _rate_factor(done)
        places = pool.draw(batch_size)
        value, following = loss.of_frames(surrogate, pool.frames[places])
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(weights, gradient_clip)
        if record.num_updates % _CHECK_EVERY == 0:
            record.losses.append(float(value.detach()))
            if not math.isfinite(record.losses[-1]):
                break
            good = copy.deepcopy(surrogate.state_dict())
        optimizer.step()
        pool.put(places, following)
        record.num_updates += 1
    _finish(surrogate, record, good, learning_rate)
    return record


def _share(record: PhysicsTraining, num_updates: int | None, seconds: float | None) -> float:
    if num_updates is not None:
        return record.num_updates / num_updates if num_updates > 0 else 1.0
    return record.seconds / seconds if seconds else 1.0


def _rate_factor(done: float) -> float:
    """Learning rate at a share of the training, as a fraction of the largest."""
    rising = 0.05
    if done < rising:
        return max(0.02, done / rising)
    return (1 + math.cos(math.pi * (done - rising) / (1 - rising))) / 2


def _finish(
    surrogate: Surrogate, record: PhysicsTraining, good: dict, learning_rate: float
) -> None:
    """Bring back the last good weights where the training ran away."""
    is_finite = all(bool(w.isfinite().all()) for w in surrogate.parameters())
    if not is_finite or not all(map(math.isfinite, record.losses)):
        surrogate.load_state_dict(good)
        record.failure = f"loss or weights not finite at update {record.num_updates}"
        warnings.warn(
            f"train_on_physics: {record.failure}; the weights of the last check are kept. Lower "
            f"`learning_rate` (now {learning_rate:g}), or take implicitness=1.",
            stacklevel=3,
        )
    surrogate.eval()
