"""How a staggered surrogate steps: interleaved chains, or one sub-grid alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pdesurrogates.core import OneStepMap, StatefulStep

if TYPE_CHECKING:
    from pdesurrogates.surrogates.stagger import NeuralStagger

__all__ = ["ChainsStep", "SubGridStep"]


@dataclass(frozen=True)
class SubGridStep:
    """One sub-grid advanced by its own network, without re-assembly: (t, U, k dt) -> U_next."""

    surrogate: NeuralStagger
    index: int
    conditioning: Tensor | None

    def __call__(self, t: float | Tensor, u: Tensor, dt: float | Tensor) -> Tensor:
        surrogate = self.surrogate
        place = surrogate.decomposition.offsets[self.index]
        z = surrogate.state_normalizer.normalize(u)
        if surrogate.num_constants:
            constants = surrogate.decomposition.split(surrogate.constants[None])[:, self.index]
            z = torch.cat((z, constants.to(z).expand(u.shape[0], *constants.shape[1:])), dim=1)
        condition = self.conditioning
        if surrogate.knows_offset:
            row = surrogate.places()[self.index].to(z).expand(u.shape[0], len(place))
            given = () if condition is None else (condition.to(z).expand(u.shape[0], -1),)
            condition = torch.cat((*given, row), dim=1)
        y = surrogate.of_sub_grid(self.index)._call_backbone(z, condition).to(u.dtype)
        u_next = u + surrogate.target_normalizer.denormalize(y)
        if not surrogate.has_fixed_points:
            return u_next
        fixed = surrogate.decomposition.split(surrogate.is_fixed[None])[:, self.index]
        return torch.where(fixed, u, u_next)


@dataclass(frozen=True)
class _Chains:
    """The frames of one round, one per chain; how many exist, and which one is shown."""

    frames: tuple[Tensor, ...]  # k of them once started, oldest first
    position: int
    start_state: Any = None


@dataclass(frozen=True)
class ChainsStep:
    """k interleaved chains as a `StatefulStep` that hands out one frame per step."""

    surrogate: NeuralStagger
    conditioning: Tensor | None
    start: OneStepMap | StatefulStep | None

    def initial_state(self, t: float | Tensor, u0: Tensor) -> _Chains:
        if self.surrogate.time == 1:
            return _Chains((u0,), 0)
        if self.start is None:
            raise ValueError(
                f"NeuralStagger: {self.surrogate.time} chains need as many first frames, and only "
                "one is given; name the classical step that makes the others, "
                "surrogate.with_start(ETDRK(4).bind(equation.on(grid)))."
            )
        start: Any = self.start
        has_memory = isinstance(start, StatefulStep)
        return _Chains((u0,), 0, start.initial_state(t, u0) if has_memory else u0)

    def __call__(self, t: float | Tensor, state: _Chains, dt: float | Tensor) -> _Chains:
        if state.position + 1 < len(state.frames):
            return _Chains(state.frames, state.position + 1)
        if len(state.frames) < self.surrogate.time:
            return self._started(t, state, dt)
        frames = torch.stack(state.frames, dim=1)
        return _Chains(self.surrogate.predict_frames(frames, self.conditioning).unbind(1), 0)

    def _started(self, t: float | Tensor, state: _Chains, dt: float | Tensor) -> _Chains:
        """One more of the first k frames, from the classical step."""
        start: Any = self.start
        following = start(t, state.start_state, dt)
        u = start.observe(following) if isinstance(start, StatefulStep) else following
        return _Chains((*state.frames, u.to(state.frames[0])), state.position + 1, following)

    def observe(self, state: _Chains) -> Tensor:
        return state.frames[state.position]
