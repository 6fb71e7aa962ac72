"""The network sees the state and a noised answer: what diffusion and flow surrogates share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pdesurrogates.core import FieldSpec, Grid, NoiseStream, generator, per_sample
from pdesurrogates.surrogates.base import Batch
from pdesurrogates.surrogates.map import with_number
from pdesurrogates.surrogates.stochastic import StochasticSurrogate

__all__ = ["GenerativeSurrogate", "spread"]


class GenerativeSurrogate(StochasticSurrogate, ABC):
    """A stochastic surrogate whose network sees the state and a noised answer.

    The answer y is the standardised change over one step (or the next state), z the standardised
    state. N([z, noised y], level) is a field of the shape of y; what it means, how y is noised and
    how a sample is drawn with it is said by the subclass.

    Args:
        backbone: Maps (batch, 2 channel, *space), state and noised change, and one number per
            sample more than there are parameters, to (batch, channel, *space).
        dt, max_dt, fields, grid, parameter_names: See `MapSurrogate`.
        predict_difference: Whether y is the change; else it is the next state.
    """

    extra_channels = 1

    def __init__(
        self,
        backbone: nn.Module,
        dt: float,
        *,
        predict_difference: bool = True,
        max_dt: float | None = None,
        fields: FieldSpec | None = None,
        grid: Grid | None = None,
        parameter_names: Sequence[str] = (),
    ) -> None:
        self.predict_difference = predict_difference
        super().__init__(
            backbone,
            dt,
            max_dt=max_dt,
            fields=fields,
            grid=grid,
            parameter_names=parameter_names,
        )

    @property
    def extra_conditions(self) -> int:
        """The noise level, and the step if it varies."""
        return 1 + super().extra_conditions

    def advance(self, u: Tensor, y: Tensor, dt: float | Tensor | None = None) -> Tensor:
        """The next state from the physical change (or next state) y."""
        return u + self._scaled(y, dt) if self.predict_difference else y

    def target(self, batch: Batch) -> Tensor:
        """The change per smallest step, or the next state; float64."""
        last, following = batch["history"][:, -1].double(), batch["future"][:, 0].double()
        if not self.predict_difference:
            return following
        change = following - last
        if self.max_dt is None:
            return change
        return change / per_sample(batch["dt"].double() / self.dt, change)

    def draw_next(
        self,
        u: Tensor,
        conditioning: Tensor | None,
        dt: float | Tensor | None,
        noise: NoiseStream,
        step: int,
    ) -> Tensor:
        """u -> a sample of u at t + dt, unchecked; noise of `step` only."""
        z = self.state_normalizer.normalize(u).to(self._dtype)
        y = self.draw(z, self._with_step(conditioning, u, dt), noise.at(step))
        return self.advance(u, self.target_normalizer.denormalize(y.to(u.dtype)), dt)

    def regression(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """N and what it should be, with levels and noise drawn from `batch["stream"]`."""
        z = self.state_normalizer.normalize(self._present(batch)).to(self._dtype)
        y = self.standardized_target(batch)
        source = generator(*batch.get("stream", (0, 0)), device=y.device)
        noised, level, wanted = self.pose(z, y, source)
        return self.respond(z, noised, self._conditions(batch), level), wanted

    def respond(
        self, z: Tensor, noised: Tensor, conditioning: Tensor | None, level: float | Tensor
    ) -> Tensor:
        """N of the standardised state and the noised answer, at a level."""
        fields = torch.cat((z, noised), dim=1)
        return self._call_backbone(fields, with_number(conditioning, level, z))

    @abstractmethod
    def draw(self, z: Tensor, conditioning: Tensor | None, noise: NoiseStream) -> Tensor:
        """A sample of y for the standardised state."""

    @abstractmethod
    def pose(self, z: Tensor, y: Tensor, source: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """A training task: noised y, its level (batch,), and what N should answer."""


def spread(like: Tensor, source: torch.Generator) -> Tensor:
    """One number within 0 and 1 per sample, (batch,) in float64, evenly spread over the batch.

    Each is uniform, and together they are one shifted comb: fewer gaps than independent draws.
    """
    count = len(like)
    options = {"dtype": torch.float64, "device": like.device}
    start = torch.rand(1, generator=source, **options)
    return (torch.arange(count, **options) / count + start) % 1
