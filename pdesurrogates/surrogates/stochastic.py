"""The next state is drawn, not computed: one-step maps with noise, and where it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pdesurrogates.core import StatefulStep, generator
from pdesurrogates.surrogates.base import _CheckedStep
from pdesurrogates.surrogates.map import MapSurrogate

__all__ = ["NoiseStream", "StochasticSurrogate"]


@dataclass(frozen=True)
class NoiseStream:
    """Standard normal fields named by seed, step and draw; nothing remembers what was drawn.

    Args:
        seeds: One seed for a whole batch, or one per sample. With one per sample a trajectory is
            the same alone and in any batch, at the price of one small draw per sample.

    Example:
        >>> u = torch.zeros(2, 1, 4)
        >>> both, one = NoiseStream((5, 6)).normal(u, 0), NoiseStream((6,)).normal(u[1:], 0)
        >>> torch.equal(both[1:], one)
        True
    """

    seeds: int | tuple[int, ...]

    def normal(self, like: Tensor, *keys: int) -> Tensor:
        """A standard normal field with the shape, dtype and device of `like`."""
        options: dict[str, Any] = {"dtype": like.dtype, "device": like.device}
        if isinstance(self.seeds, int):
            source = generator(self.seeds, *keys, device=like.device)
            return torch.randn(like.shape, generator=source, **options)
        if len(self.seeds) != like.shape[0]:
            raise ValueError(
                f"NoiseStream: there must be one seed per sample, {like.shape[0]}, got "
                f"{len(self.seeds)}; give one seed per initial state, or a single number."
            )
        noise = torch.empty(like.shape, **options)
        for row, seed in zip(noise, self.seeds, strict=True):
            source = generator(seed, *keys, device=like.device)
            torch.randn(row.shape, generator=source, out=row, **options)
        return noise


@dataclass(frozen=True)
class _SampledState:
    """The state, and how many steps were made: the name of the next noise."""

    u: Tensor
    num_steps: int


class StochasticSurrogate(MapSurrogate):
    """A one-step map that draws u(t + dt) from a learned distribution.

    Noise is a function of seed and step: `bind(seeds=...)` names it, the same seeds give the same
    rollout, other seeds another member of an ensemble. Without `bind`, the seed is 0.
    """

    def bind(
        self, parameters: Tensor | None = None, *, seeds: int | Sequence[int] = 0
    ) -> StatefulStep:
        """A step with the PDE parameters and the noise fixed, for `rollout`.

        Args:
            parameters: Values of `parameter_names`, (batch, parameter); `None` if there are none.
            seeds: A seed for the batch, or one per sample; see `NoiseStream`.
        """
        seeds = seeds if isinstance(seeds, int) else tuple(int(seed) for seed in seeds)
        step = _SamplingStep(self, self._condition(parameters), NoiseStream(seeds))
        return _CheckedStep(self, step)

    def _step(self, conditioning: Tensor | None) -> StatefulStep:
        return _SamplingStep(self, conditioning, NoiseStream(0))

    def draw_next(
        self,
        u: Tensor,
        conditioning: Tensor | None,
        dt: float | Tensor | None,
        noise: NoiseStream,
        step: int,
    ) -> Tensor:
        """u -> a sample of u at t + dt, unchecked; noise of `step` only."""
        raise NotImplementedError

    def predict_next(
        self, u: Tensor, conditioning: Tensor | None = None, dt: float | Tensor | None = None
    ) -> Tensor:
        """u -> a sample of u at t + dt with seed 0, unchecked."""
        return self.draw_next(u, conditioning, dt, NoiseStream(0), 0)


@dataclass(frozen=True)
class _SamplingStep:
    """A stochastic map as a `StatefulStep` that counts its steps."""

    surrogate: StochasticSurrogate
    conditioning: Tensor | None
    noise: NoiseStream

    def initial_state(self, t: float | Tensor, u0: Tensor) -> _SampledState:
        return _SampledState(u0, 0)

    def __call__(
        self, t: float | Tensor, state: _SampledState, dt: float | Tensor
    ) -> _SampledState:
        n = state.num_steps
        u = self.surrogate.draw_next(state.u, self.conditioning, dt, self.noise, n)
        return _SampledState(u, n + 1)

    def observe(self, state: _SampledState) -> Tensor:
        return state.u
