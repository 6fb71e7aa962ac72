"""Points of a quadrature rule, where the mean over points must be an integral to many digits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from pdesurrogates.core import Box
from pdesurrogates.sampling.base import Sampler, Samples, check_num_points

__all__ = ["GaussLegendre", "importance"]


class GaussLegendre(Sampler):
    """A tensor grid of Gauss-Legendre points; equidistant points on periodic axes.

    The density is that of the rule: 1 / density of a point is its weight times the number of
    points, so that the mean of g / density is the integral of g, exact for polynomials of degree
    2 n - 1 per axis with n points, and to rounding for smooth periodic functions.

    A least-squares fit with a residual that does not vanish, such as a projection, needs it: with
    random points its error falls as 1 / sqrt(num_points) only. A fit on the same points again and
    again is free to wander between them, so every draw has n - 1, n or n + 1 points per axis, and
    periodic axes are shifted at random.

    Args:
        domain: Box of the points.
        periodic: Which axes close on themselves.
        is_fixed: Whether every draw has the same points.

    Example:
        >>> from pdesurrogates.core import Box, generator
        >>> rule = GaussLegendre(Box((0.0,), (2.0,)), is_fixed=True)
        >>> x, log_density = rule.sample(5, generator=generator(0))
        >>> round(float((x[:, 0] ** 8 / log_density.exp()).mean()), 6)  # 2^9 / 9
        56.888889
    """

    is_quadrature: ClassVar[bool] = True

    def __init__(
        self, domain: Box, *, periodic: bool | Sequence[bool] = False, is_fixed: bool = False
    ) -> None:
        super().__init__(domain)
        flags = (periodic,) * domain.dim if isinstance(periodic, bool) else tuple(periodic)
        if len(flags) != domain.dim:
            raise ValueError(
                f"GaussLegendre: `periodic` must have one entry per axis ({domain.dim}), got "
                f"{flags}."
            )
        self.is_periodic = flags
        self.is_fixed = is_fixed

    def sample(
        self,
        num_points: int,
        *,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> Samples:
        """The rule with about `num_points` points: round(num_points^(1/dim)) per axis."""
        check_num_points(num_points, where="GaussLegendre.sample")
        home = device or generator.device
        usual = max(1, round(num_points ** (1 / self.domain.dim)))
        axes = [self._axis(usual, flag, generator) for flag in self.is_periodic]
        points = torch.meshgrid(*(torch.as_tensor(x) for x, _ in axes), indexing="ij")
        weights = torch.meshgrid(*(torch.as_tensor(w) for _, w in axes), indexing="ij")
        unit = torch.stack([p.flatten() for p in points], dim=-1)
        # The weights of the unit box add up to 1, those of a density to the number of points.
        share = torch.stack([w.flatten() for w in weights], dim=-1).log().sum(dim=-1)
        log_density = -share - math.log(len(unit)) - math.log(self.domain.volume)
        unit = unit.to(device=home, dtype=dtype)
        return Samples(self.domain.from_unit(unit), log_density.to(device=home, dtype=dtype))

    def _axis(
        self, usual: int, is_periodic: bool, generator: torch.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Points and weights on [0, 1], the weights with sum 1."""
        home = generator.device
        count, shift = usual, 0.0
        if not self.is_fixed:
            change = torch.randint(-1, 2, (), generator=generator, device=home)
            count = max(1, usual + int(change))
            shift = float(torch.rand((), generator=generator, device=home))
        if is_periodic:
            return (np.arange(count) + shift) / count, np.full(count, 1 / count)
        x, w = np.polynomial.legendre.leggauss(count)
        return (x + 1) / 2, w / 2


def importance(samples: Samples, domain: Box) -> Tensor:
    """1 / (volume density) (num_points,): weights that turn a mean over points into that over
    the domain."""
    return torch.exp(-samples.log_density) / domain.volume
