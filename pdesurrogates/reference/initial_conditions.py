"""Random initial states with a stated spectrum."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pdesurrogates.core import Grid, generator

__all__ = ["RandomFourierSeries", "random_initial_condition"]


def random_initial_condition(
    grid: Grid,
    num_samples: int = 1,
    *,
    num_channels: int = 1,
    max_wavenumber: int = 5,
    decay: float = 0.0,
    rms: float = 1.0,
    mean: float = 0.0,
    seed: int = 0,
    first: int = 0,
) -> Tensor:
    """Gaussian random fields on a periodic box, band-limited:

        u(x) = mean + sum_{0 < abs(m) <= max_wavenumber} a_m exp(2 pi i m . x / L),
        E abs(a_m)^2 proportional to abs(m)^(-2 decay),   E mean_x (u - mean)^2 = rms^2

    Sample i depends on `seed` and `first + i` only, not on the grid or on its neighbours: on a
    finer grid it is the same function.

    Args:
        grid: Grid, periodic along every axis.
        num_samples: Samples to draw.
        num_channels: Independent channels per sample.
        max_wavenumber: Largest abs(m), m counting waves per box length.
        decay: Exponent of the amplitude spectrum; 0 is flat.
        rms: Expected root mean square of u - mean [unit of the field].
        mean: Mean value [unit of the field].
        seed: Seed of the stream.
        first: Index of the first sample.

    Returns:
        (sample, channel, *space), float64.
    """
    if not all(grid.is_periodic):
        raise ValueError(
            f"random_initial_condition: the grid must be periodic, got {grid.is_periodic}."
        )
    if not 1 <= max_wavenumber < min(grid.num_points) / 2:
        raise ValueError(
            f"random_initial_condition: `max_wavenumber` must be at least 1 and below half the "
            f"points per axis ({min(grid.num_points) // 2}), got {max_wavenumber}."
        )
    k = 2 * max_wavenumber + 1
    m = torch.arange(-max_wavenumber, max_wavenumber + 1, dtype=torch.float64)
    modes = torch.stack(torch.meshgrid(*(m,) * grid.dim, indexing="ij"))
    size = modes.square().sum(dim=0).sqrt()
    inside = (size > 0) & (size <= max_wavenumber + 1e-9)
    amplitude = torch.where(inside, size.clamp(min=1.0) ** -decay, 0.0)
    amplitude = amplitude * (rms / amplitude.square().sum().sqrt())
    noise = torch.stack(
        [
            torch.randn(
                (num_channels, *(k,) * grid.dim, 2),
                generator=generator(seed, first + i),
                dtype=torch.float64,
            )
            for i in range(num_samples)
        ]
    )
    # The real part of sum_m (p + i q) exp(i m x) over all m has variance sum (p^2 + q^2) / 2.
    coefficients = amplitude * torch.view_as_complex(noise)
    for axis, x in enumerate(grid.axes()):
        scaled = 2 * math.pi * (x - grid.origin[axis]) / grid.extent[axis]
        waves = torch.polar(torch.ones(len(x), k, dtype=torch.float64), torch.outer(scaled, m))
        coefficients = torch.einsum("sck...,xk->sc...x", coefficients, waves)
    return mean + coefficients.real


class RandomFourierSeries:
    """`random_initial_condition` with its settings bound, as recipes name it.

    Args:
        max_wavenumber: Largest wavenumber, in waves per box length.
        decay: Exponent of the amplitude spectrum; 0 is flat.
        rms: Expected root mean square [unit of the field].
        mean: Mean value [unit of the field].
    """

    def __init__(
        self,
        max_wavenumber: int = 5,
        *,
        decay: float = 0.0,
        rms: float = 1.0,
        mean: float = 0.0,
    ) -> None:
        self.max_wavenumber = max_wavenumber
        self.decay = decay
        self.rms = rms
        self.mean = mean

    def __call__(
        self, grid: Grid, num_samples: int, *, num_channels: int, seed: int, first: int
    ) -> Tensor:
        """(sample, channel, *space) for the samples first .. first + num_samples - 1."""
        return random_initial_condition(
            grid,
            num_samples,
            num_channels=num_channels,
            max_wavenumber=self.max_wavenumber,
            decay=self.decay,
            rms=self.rms,
            mean=self.mean,
            seed=seed,
            first=first,
        )
