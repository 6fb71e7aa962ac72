"""The next state is drawn, not computed: one-step maps with noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pdesurrogates.core import NoiseStream, StatefulStep
from pdesurrogates.steppers import CountedState
from pdesurrogates.surrogates.base import _CheckedStep
from pdesurrogates.surrogates.map import MapSurrogate

__all__ = ["StochasticSurrogate"]


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
        self.check_precision(self._dtype)
        seeds = seeds if isinstance(seeds, int) else tuple(int(seed) for seed in seeds)
        step = _SamplingStep(self, self._condition(parameters), NoiseStream(seeds))
        return _CheckedStep(self, step)

    @property
    def is_resolution_free(self) -> bool:
        """Never: noise is independent from point to point, so its spectrum follows the grid."""
        return False

    def check_precision(self, dtype: torch.dtype) -> None:
        """Refuse a precision of the network whose rounding hides noise that it must see."""

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

    def initial_state(self, t: float | Tensor, u0: Tensor) -> CountedState:
        return CountedState(u0, 0)

    def __call__(self, t: float | Tensor, state: CountedState, dt: float | Tensor) -> CountedState:
        n = state.num_steps
        u = self.surrogate.draw_next(state.u, self.conditioning, dt, self.noise, n)
        return CountedState(self.surrogate.hold(u, state.u), n + 1)

    def observe(self, state: CountedState) -> Tensor:
        return state.u
