"""Several samplers in fixed shares."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pdesurrogates.sampling.base import Residual, Sampler, Samples, check_num_points

__all__ = ["Mixture"]


class Mixture(Sampler):
    """Points of several samplers, each with its share, density p = sum_i share_i p_i.

    A share of uniform or Sobol points keeps an adaptive sampler from forgetting regions where
    the residual is small, and bounds the weights 1 / (p volume) by 1 / share.

    The numbers of points follow the shares up to one point; what rounding leaves over goes to a
    sampler drawn at random.

    Args:
        samplers: At least one; all on the same domain.
        shares: Their shares, positive; divided by their sum.

    Example:
        >>> from pdesurrogates.core import Box, generator
        >>> from pdesurrogates.sampling import Sobol, Uniform
        >>> box = Box((0.0,), (1.0,))
        >>> mixture = Mixture((Sobol(box), Uniform(box)), (0.25, 0.75))
        >>> mixture.sample(8, generator=generator(0)).points.shape
        torch.Size([8, 1])
    """

    def __init__(self, samplers: Sequence[Sampler], shares: Sequence[float]) -> None:
        if not samplers or len(samplers) != len(shares) or not all(s > 0 for s in shares):
            raise ValueError(
                "Mixture: there must be one positive share per sampler and at least one of them, "
                f"got {len(samplers)} samplers and shares {tuple(shares)}."
            )
        domains = {sampler.domain for sampler in samplers}
        if len(domains) > 1:
            raise ValueError(f"Mixture: the samplers must share one domain, got {domains}.")
        self.samplers = tuple(samplers)
        self.shares = tuple(share / sum(shares) for share in shares)
        super().__init__(samplers[0].domain)

    @property
    def num_residual_evaluations(self) -> int:
        """Sum over the samplers."""
        return sum(sampler.num_residual_evaluations for sampler in self.samplers)

    @num_residual_evaluations.setter
    def num_residual_evaluations(self, value: int) -> None:
        del value  # counted by the samplers

    def sample(
        self,
        num_points: int,
        *,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> Samples:
        """Points of the first sampler, then of the second, and so on."""
        check_num_points(num_points, where="Mixture.sample")
        counts = self._counts(num_points, generator)
        parts, densities = [], []
        for sampler, count in zip(self.samplers, counts, strict=True):
            if not count:
                continue
            drawn = sampler.sample(count, generator=generator, dtype=dtype, device=device)
            parts.append(drawn.points)
            # A sampler's own density came with its points.
            terms = [
                (drawn.log_density if other is sampler else other.log_density(drawn.points))
                + math.log(share)
                for other, share in zip(self.samplers, self.shares, strict=True)
            ]
            densities.append(torch.logsumexp(torch.stack(terms), dim=0))
        return Samples(torch.cat(parts), torch.cat(densities))

    def log_density(self, points: Tensor) -> Tensor:
        """log sum_i share_i p_i (num_points,)."""
        return torch.logsumexp(
            torch.stack(
                [
                    sampler.log_density(points) + math.log(share)
                    for sampler, share in zip(self.samplers, self.shares, strict=True)
                ]
            ),
            dim=0,
        )

    def update(
        self,
        residual: Residual,
        *,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> None:
        """Update every sampler."""
        for sampler in self.samplers:
            sampler.update(residual, generator=generator, dtype=dtype, device=device)

    def _counts(self, num_points: int, generator: torch.Generator) -> list[int]:
        counts = [math.floor(num_points * share + 1e-9) for share in self.shares]
        rest = num_points - sum(counts)
        if rest:
            left = torch.tensor(
                [num_points * s - c for s, c in zip(self.shares, counts, strict=True)],
                device=generator.device,
            ).clamp(min=1e-9)
            for index in torch.multinomial(left, rest, generator=generator).tolist():
                counts[index] += 1
        return counts
