"""Samplers that never adapt: every part of the domain counts the same."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from pdesurrogates.sampling.base import Sampler, Samples, check_num_points, uniform_points

__all__ = ["Sobol", "Stratified", "Uniform"]


class _Flat(Sampler):
    """Density 1 / volume."""

    def log_density(self, points: Tensor) -> Tensor:
        """-log(volume) at any points (num_points, dim) -> (num_points,)."""
        self.domain.check(points, where=f"{type(self).__name__}.log_density")
        return points.new_full(points.shape[:-1], -math.log(self.domain.volume))

    def _samples(self, points: Tensor) -> Samples:
        return Samples(points, points.new_full(points.shape[:-1], -math.log(self.domain.volume)))


class Uniform(_Flat):
    """Independent points, density 1 / volume.

    The mean of a residual over n points has the error deviation / sqrt(n).

    Args:
        domain: Box of the points.

    Example:
        >>> from pdesurrogates.core import Box, generator
        >>> samples = Uniform(Box((0.0, 0.0), (2.0, 1.0))).sample(4, generator=generator(0))
        >>> samples.points.shape, round(samples.log_density[0].exp().item(), 3)
        (torch.Size([4, 2]), 0.5)
    """

    def sample(
        self,
        num_points: int,
        *,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> Samples:
        """Independent points."""
        check_num_points(num_points, where="Uniform.sample")
        return self._samples(
            uniform_points(
                self.domain, num_points, generator=generator, dtype=dtype, device=device
            )
        )


class Stratified(_Flat):
    """At most one point per cell of a grid of num_points to 2 num_points cells.

    The cells are chosen at random, without replacement, and the point lies anywhere in its cell:
    every point alone is uniform. In one dimension there are exactly as many cells as points.

    Args:
        domain: Box of the points.
    """

    def sample(
        self,
        num_points: int,
        *,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> Samples:
        """Points in different cells, in random order."""
        check_num_points(num_points, where="Stratified.sample")
        home = generator.device
        cells = torch.tensor(self.cells(num_points), device=home)
        index = torch.randperm(int(cells.prod()), generator=generator, device=home)[:num_points]
        corner = torch.empty(num_points, self.domain.dim, dtype=torch.long, device=home)
        for axis, count in enumerate(cells.tolist()):
            corner[:, axis] = index % count
            index = index // count
        inside = torch.rand(
            num_points, self.domain.dim, generator=generator, dtype=dtype, device=home
        )
        unit = ((corner + inside) / cells).to(device=device or home, dtype=dtype)
        return self._samples(self.domain.from_unit(unit))

    def cells(self, num_points: int) -> tuple[int, ...]:
        """Cells per axis, as equal as can be; their product is in num_points .. 2 num_points."""
        counts = [1] * self.domain.dim
        while math.prod(counts) < num_points:
            counts[counts.index(min(counts))] += 1
        return tuple(counts)


class Sobol(_Flat):
    """Scrambled Sobol points: a low-discrepancy sequence, scrambled anew at every draw.

    The mean of a smooth residual over n points has an error of about 1 / n; powers of two are
    best. A single point is uniform, the points together are far more even than independent ones.

    Reference:
        Scrambling Sobol' and Niederreiter-Xing points (Owen, 1998). The engine is PyTorch's
        (directions of Joe and Kuo, 2008; at most 21201 axes).

    Args:
        domain: Box of the points.
    """

    def sample(
        self,
        num_points: int,
        *,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> Samples:
        """The first points of a newly scrambled sequence."""
        check_num_points(num_points, where="Sobol.sample")
        seed = torch.randint(2**31 - 1, (1,), generator=generator, device=generator.device)
        engine = SobolEngine(self.domain.dim, scramble=True, seed=int(seed))
        unit = engine.draw(num_points, dtype=dtype)
        return self._samples(self.domain.from_unit(unit.to(device or generator.device)))
