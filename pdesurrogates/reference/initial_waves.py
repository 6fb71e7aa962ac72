"""Random initial states of one-dimensional benchmarks: few sine waves, cut and folded."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pdesurrogates.core import Grid, generator

__all__ = ["RandomSineWaves"]

_WINDOW_WIDTH = 0.01


class RandomSineWaves:
    """A few sine waves with random wavenumber, amplitude and phase, some folded or windowed:

        u(x) = sum_j A_j sin(2 pi m_j (x - origin) / L + phase_j),   m_j in 1 .. max_wavenumber

    then each with its own probability: the absolute value is taken, the sign flipped, and all
    outside a random middle part of the domain set to zero by a smooth window. The states are
    periodic: the published generator of PDEBench divides by the distance of the outermost points
    instead of the length L, which leaves a jump at the ends.

    Args:
        num_waves: Waves in the sum.
        max_wavenumber: Largest number of waves per box length.
        amplitude: Range of the uniform amplitudes [unit of the field].
        probability_folded: Probability of abs(u).
        probability_flipped: Probability of -u.
        probability_windowed: Probability of the window.
        is_normalized: Whether the result is shifted and scaled to fill [0, 1].

    Reference:
        PDEBench: An extensive benchmark for scientific machine learning (Takamoto et al., 2022),
        appendix D; with ten waves and wavenumbers up to 3, Lie point symmetry data augmentation
        for neural PDE solvers (Brandstetter et al., 2022), section 5.
    """

    def __init__(
        self,
        num_waves: int = 2,
        max_wavenumber: int = 8,
        *,
        amplitude: Sequence[float] = (0.0, 1.0),
        probability_folded: float = 0.0,
        probability_flipped: float = 0.0,
        probability_windowed: float = 0.0,
        is_normalized: bool = False,
    ) -> None:
        self.num_waves = num_waves
        self.max_wavenumber = max_wavenumber
        self.amplitude = (float(amplitude[0]), float(amplitude[1]))
        self.probability_folded = probability_folded
        self.probability_flipped = probability_flipped
        self.probability_windowed = probability_windowed
        self.is_normalized = is_normalized

    def __call__(
        self, grid: Grid, num_samples: int, *, num_channels: int, seed: int, first: int
    ) -> Tensor:
        """(sample, channel, x) for the samples first .. first + num_samples - 1, float64."""
        if grid.dim != 1:
            raise ValueError(f"RandomSineWaves: the grid must have one axis, got {grid.dim}.")
        position = (grid.axes()[0] - grid.origin[0]) / grid.extent[0]
        states = [
            torch.stack(
                [
                    self._wave(position, generator(seed, first + i, channel))
                    for channel in range(num_channels)
                ]
            )
            for i in range(num_samples)
        ]
        return torch.stack(states)

    def _wave(self, position: Tensor, draws: torch.Generator) -> Tensor:
        """One state on positions in [0, 1]; all numbers are drawn whether used or not."""
        wavenumbers = torch.randint(
            1, self.max_wavenumber + 1, (self.num_waves, 1), generator=draws
        )
        amplitudes, phases = torch.rand(
            2, self.num_waves, 1, generator=draws, dtype=torch.float64
        ).unbind()
        low, high = self.amplitude
        folded, flipped, windowed, start, stop = torch.rand(
            5, generator=draws, dtype=torch.float64
        ).tolist()
        waves = torch.sin(2 * math.pi * (wavenumbers * position + phases))
        u = ((low + (high - low) * amplitudes) * waves).sum(dim=0)
        if folded < self.probability_folded:
            u = u.abs()
        if flipped < self.probability_flipped:
            u = -u
        if windowed < self.probability_windowed:
            left, right = 0.1 + 0.35 * start, 0.55 + 0.35 * stop
            edges = [torch.tanh((position - edge) / _WINDOW_WIDTH) for edge in (left, right)]
            u = u * 0.5 * (edges[0] - edges[1])
        if self.is_normalized:
            u = (u - u.min()) / (u.max() - u.min()).clamp(min=1e-12)
        return u
