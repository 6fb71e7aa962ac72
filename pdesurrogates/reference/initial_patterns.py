"""Random initial states and coefficients without a flow: constants, noise, blobs, two phases."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pdesurrogates.core import Grid, generator

__all__ = ["RandomBlobs", "RandomConstant", "RandomCosineSeries", "TwoPhases", "WhiteNoise"]


class RandomConstant:
    """One uniform random number per sample and channel, the same at all points.

    Args:
        low: Smallest value [unit of the field].
        high: Largest value [unit of the field].
    """

    def __init__(self, low: float = 0.0, high: float = 1.0) -> None:
        self.low = low
        self.high = high

    def __call__(
        self, grid: Grid, num_samples: int, *, num_channels: int, seed: int, first: int
    ) -> Tensor:
        """(sample, channel, *space) for the samples first .. first + num_samples - 1, float64."""
        rows = [
            torch.rand(num_channels, generator=generator(seed, first + i), dtype=torch.float64)
            for i in range(num_samples)
        ]
        values = self.low + (self.high - self.low) * torch.stack(rows)
        return values.reshape(*values.shape, *(1,) * grid.dim).repeat(1, 1, *grid.shape)


class WhiteNoise:
    """Independent normal numbers at every point; another function on every other grid.

    Args:
        mean: Mean [unit of the field].
        std: Standard deviation [unit of the field].
    """

    def __init__(self, *, mean: float = 0.0, std: float = 1.0) -> None:
        self.mean = mean
        self.std = std

    def __call__(
        self, grid: Grid, num_samples: int, *, num_channels: int, seed: int, first: int
    ) -> Tensor:
        """(sample, channel, *space) for the samples first .. first + num_samples - 1, float64."""
        shape = (num_channels, *grid.shape)
        rows = [
            torch.randn(shape, generator=generator(seed, first + i), dtype=torch.float64)
            for i in range(num_samples)
        ]
        return self.mean + self.std * torch.stack(rows)


class RandomBlobs:
    """Gaussian blobs of the second species in a sea of the first, for Gray-Scott:

        v = height (1 - prod_j (1 - exp(-abs(x - c_j)^2 / (2 width_j^2)))),   u = 1 - v

    Distances are periodic where the grid is. Centres keep `margin` box lengths from the ends.

    Args:
        num_blobs: Blobs per sample.
        width: Range of the uniform standard deviations [box lengths of the shortest axis].
        height: Largest value of v.
        margin: Distance of centres from the ends [box lengths].
    """

    def __init__(
        self,
        num_blobs: int = 4,
        *,
        width: Sequence[float] = (0.02, 0.05),
        height: float = 1.0,
        margin: float = 0.1,
    ) -> None:
        self.num_blobs = num_blobs
        self.width = (float(width[0]), float(width[1]))
        self.height = height
        self.margin = margin

    def __call__(
        self, grid: Grid, num_samples: int, *, num_channels: int, seed: int, first: int
    ) -> Tensor:
        """(sample, 2, *space) for the samples first .. first + num_samples - 1, float64."""
        if num_channels != 2:
            raise ValueError(f"RandomBlobs: needs the two fields u and v, got {num_channels}.")
        v = torch.stack(
            [self._blobs(grid, generator(seed, first + i)) for i in range(num_samples)]
        )
        return torch.stack([1 - v, v], dim=1)

    def _blobs(self, grid: Grid, draws: torch.Generator) -> Tensor:
        centres = torch.rand(self.num_blobs, grid.dim, generator=draws, dtype=torch.float64)
        sizes = torch.rand(self.num_blobs, generator=draws, dtype=torch.float64)
        centres = self.margin + (1 - 2 * self.margin) * centres
        sizes = (self.width[0] + (self.width[1] - self.width[0]) * sizes) * min(grid.extent)
        free = torch.ones(grid.shape, dtype=torch.float64)
        coordinates = grid.coordinates()
        for centre, size in zip(centres, sizes, strict=True):
            squared = torch.zeros_like(free)
            for axis, x in enumerate(coordinates):
                distance = x - grid.origin[axis] - centre[axis] * grid.extent[axis]
                if grid.is_periodic[axis]:
                    length = grid.extent[axis]
                    distance = distance - length * (distance / length).round()
                squared = squared + distance.square()
            free = free * (1 - torch.exp(-squared / (2 * size.square())))
        return self.height * (1 - free)


class RandomCosineSeries:
    """Gaussian random fields with zero slope at the walls, the spectrum of an elliptic prior:

        u(x) = mean + sum_m a_m prod_i cos(pi m_i (x_i - origin_i) / L_i),
        E a_m^2 proportional to (pi^2 abs(m)^2 + tau^2)^(-alpha),   E mean_x (u - mean)^2 = std^2

    With alpha = 2 and tau = 3 this is the prior N(0, (-lap + 9)^-2) with Neumann conditions of
    the Darcy data of Li et al. (2021); m = 0 is left out, modes go up to `max_wavenumber`.

    Args:
        max_wavenumber: Largest m per axis, in half waves per box length.
        alpha: Exponent of the spectrum.
        tau: Inverse length scale [1/box length].
        std: Expected root mean square of u - mean [unit of the field].
        mean: Mean [unit of the field].
        is_folded: Whether abs(u) is taken, e.g. for smoke.
        channels: Channels that get the field, the others are zero; `None` for all.

    Reference:
        Fourier neural operator for parametric partial differential equations (Li et al., 2021),
        appendix A.3.2.
    """

    def __init__(
        self,
        max_wavenumber: int = 32,
        *,
        alpha: float = 2.0,
        tau: float = 3.0,
        std: float = 1.0,
        mean: float = 0.0,
        is_folded: bool = False,
        channels: Sequence[int] | None = None,
    ) -> None:
        self.max_wavenumber = max_wavenumber
        self.alpha = alpha
        self.tau = tau
        self.std = std
        self.mean = mean
        self.is_folded = is_folded
        self.channels = None if channels is None else tuple(channels)

    def __call__(
        self, grid: Grid, num_samples: int, *, num_channels: int, seed: int, first: int
    ) -> Tensor:
        """(sample, channel, *space) for the samples first .. first + num_samples - 1, float64."""
        m = torch.arange(self.max_wavenumber + 1, dtype=torch.float64)
        squared = torch.stack(torch.meshgrid(*(m,) * grid.dim, indexing="ij")).square().sum(dim=0)
        amplitude = (math.pi**2 * squared + self.tau**2) ** (-self.alpha / 2)
        amplitude.view(-1)[0] = 0.0
        # The mean of cos^2 over the box is 1/2 per axis along which the wave varies.
        varying = torch.stack(torch.meshgrid(*((m > 0).double(),) * grid.dim, indexing="ij"))
        power = (amplitude.square() * 0.5 ** varying.sum(dim=0)).sum()
        amplitude = amplitude * (self.std / power.sqrt())
        chosen = range(num_channels) if self.channels is None else self.channels
        states = torch.zeros(num_samples, num_channels, *grid.shape, dtype=torch.float64)
        waves = [
            torch.cos(math.pi * torch.outer((x - origin) / length, m))
            for x, origin, length in zip(grid.axes(), grid.origin, grid.extent, strict=True)
        ]
        for i in range(num_samples):
            for channel in chosen:
                draws = generator(seed, first + i, channel)
                field = amplitude * torch.randn(
                    amplitude.shape, generator=draws, dtype=torch.float64
                )
                for wave in waves:
                    # Each contraction takes the first axis and puts space last.
                    field = torch.einsum("m...,xm->...x", field, wave)
                states[i, channel] = field + self.mean
        return states.abs() if self.is_folded else states


class TwoPhases:
    """Two values, by the sign of a Gaussian random field: coefficients of Darcy flow.

    Args:
        low: Value where the field is negative.
        high: Value elsewhere.
        field: The random field, by default `RandomCosineSeries()`.
    """

    def __init__(
        self, low: float = 3.0, high: float = 12.0, *, field: RandomCosineSeries | None = None
    ) -> None:
        self.low = low
        self.high = high
        self.field = RandomCosineSeries() if field is None else field

    def __call__(
        self, grid: Grid, num_samples: int, *, num_channels: int, seed: int, first: int
    ) -> Tensor:
        """(sample, channel, *space) for the samples first .. first + num_samples - 1, float64."""
        u = self.field(grid, num_samples, num_channels=num_channels, seed=seed, first=first)
        return torch.where(u < 0, self.low, self.high).to(torch.float64)
