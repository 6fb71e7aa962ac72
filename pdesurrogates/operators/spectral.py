"""Pseudo-spectral derivatives on periodic grids."""

from __future__ import annotations

import cmath
import functools
import math
from typing import Any

import torch
from torch import Tensor

from pdesurrogates.core import Grid
from pdesurrogates.operators.multiplier import in_memory_order
from pdesurrogates.operators.spectral_field import SpectralField
from pdesurrogates.operators.symbol import FourierMultipliers, Symbol, wavenumbers

__all__ = ["SpectralDerivatives", "Symbol", "wavenumbers"]


def _cut_band(n: int, dealias: float) -> tuple[int, int]:
    """The lowest wavenumber m >= dealias n / 2, which is the first that is cut, and n."""
    return math.ceil(dealias * n / 2 - 1e-9), n


@functools.cache
def _keep_freed_memory() -> None:
    """Let the C library keep freed blocks for the next step.

    The GNU C library returns freed memory to the system beyond a threshold of twice the largest
    block freed so far, at first 256 KiB; a step that frees and takes a few MB then spends more
    time on page faults than on Fourier transforms. Freeing one untouched block of nearly 32 MiB,
    its largest threshold, ends that. Elsewhere this does nothing.
    """
    torch.empty(2**25 - 2**16, dtype=torch.uint8)


class SpectralDerivatives(FourierMultipliers):
    """Fourier derivatives on a periodic grid, exact for resolved waves.

    With u(x) = sum_k u_hat(k) exp(i k x), the derivative of order p is (i k)^p u_hat(k). Products
    are formed on the grid; of their coefficients only |m| < dealias N / 2 is kept per axis
    (2/3: no aliasing from quadratic terms, 1/2: none from cubic ones). Where only those are
    wanted, the transforms along the other axes skip the columns of the last one that are cut.

    Args:
        grid: A grid that is periodic along every axis.
        dealias: Fraction of the wavenumbers that products keep, 1 for all.

    Raises:
        ValueError: If an axis is not periodic.

    Shape:
        values: (batch, channel, *space); hat: (batch, channel, *space[:-1], N // 2 + 1)
    """

    def __init__(self, grid: Grid, *, dealias: float = 2 / 3) -> None:
        if not all(grid.is_periodic):
            raise ValueError(
                f"SpectralDerivatives: every axis must be periodic, got {grid.is_periodic}; "
                "Fourier derivatives of a field with boundaries are wrong there."
            )
        if not 0 < dealias <= 1:
            raise ValueError(f"SpectralDerivatives: `dealias` must be in (0, 1], got {dealias}.")
        k = wavenumbers(grid)
        m = [axis * length / (2 * math.pi) for axis, length in zip(k, grid.extent, strict=True)]
        self.grid = grid
        self.dealias_fraction = dealias
        self.nyquist = tuple(
            (2 * number.abs() - n).abs() < 0.5
            for number, n in zip(m, grid.num_points, strict=True)
        )
        super().__init__(k, nyquist=self.nyquist)
        self._cut = tuple(_cut_band(n, dealias) for n in grid.num_points)
        # In 1D there is no other axis to spare, and whole rows are faster.
        is_wide = grid.dim == 1 or dealias == 1
        self._columns = self._modes[-1] if is_wide else self._cut[-1][0]
        self._waves: dict[tuple, Tensor] = {}
        _keep_freed_memory()

    def symbol(self) -> Symbol:
        """The provider that gives the symbol of `linear` on this grid's wavenumbers."""
        return Symbol(self._k, nyquist=self.nyquist)

    def to_grid(self, hat: Tensor, *, is_uncut: bool = False) -> Tensor:
        """Inverse real FFT: (batch, channel, *modes) -> (batch, channel, *space).

        Args:
            hat: Coefficients, all or narrow.
            is_uncut: Whether to leave out those that the dealiasing cuts.
        """
        norm = "backward"
        if is_uncut and self.dealias_fraction < 1:
            # The pass that cuts divides by the number of points as well.
            hat, norm = self.narrowed(hat), "forward"
            scale = 1.0 / math.prod(self.grid.num_points)
            hat = self.identity.applied(hat, is_restricted=True, scale=scale)
        for axis in range(-self.dim, -1):
            hat = torch.fft.ifft(hat, dim=axis, norm=norm)
        return torch.fft.irfft(hat, n=self.grid.num_points[-1], norm=norm)

    def to_modes(self, values: Tensor, *, is_uncut: bool = False) -> Tensor:
        """Real FFT: (batch, channel, *space) -> (batch, channel, *modes).

        Args:
            values: Values on the grid.
            is_uncut: Whether the coefficients will be cut, so that narrow ones suffice.
        """
        hat = torch.fft.rfft(values)
        hat = self.narrowed(hat) if is_uncut else hat
        for axis in range(-2, -self.dim - 1, -1):
            hat = torch.fft.fft(hat, dim=axis)
        return hat

    def dealias(self, hat: Tensor) -> Tensor:
        """The coefficients with those outside the kept band set to zero."""
        if self.dealias_fraction == 1:
            return hat
        hat = torch.broadcast_to(hat, torch.broadcast_shapes(hat.shape, self._modes)).clone()
        for axis, (first, n) in enumerate(self._cut, start=-self.dim):
            width = hat.shape[axis] - first if axis == -1 else n - 2 * first + 1
            if width > 0:
                hat.narrow(axis, first, width).zero_()
        return hat

    def _restrict(self, factor: Tensor) -> Tensor:
        return self.narrowed(self.dealias(factor))

    def narrowed(self, hat: Tensor) -> Tensor:
        return hat if hat.size(-1) <= self._columns else hat.narrow(-1, 0, self._columns)

    def is_narrow(self, hat: Tensor) -> bool:
        return hat.size(-1) < self._modes[-1]

    def widened(self, hat: Tensor) -> Tensor:
        missing = self._modes[-1] - hat.shape[-1]
        if not missing:
            return hat
        # The last axis is the outermost in memory, where zeros are appended in one piece.
        turned = hat.permute(0, 1, *range(hat.ndim - 1, 1, -1))
        padded = torch.nn.functional.pad(turned, (0,) * (2 * self.dim - 1) + (missing,))
        return padded.permute(0, 1, *range(hat.ndim - 1, 1, -1))

    def field(self, values: Tensor) -> SpectralField:
        """A field from values on the grid."""
        return SpectralField(self, values=values)

    def cosine(self, axis: int, number: int, *, like: SpectralField) -> SpectralField:
        """cos(2 pi number x / extent) along an axis as a field, without a transform.

        Args:
            axis: Which axis x is.
            number: Waves across the box; dealiasing must keep it.
            like: A field whose precision and device it shares.
        """
        hat = self.narrowed(like.raw_hat[0])
        key = (axis, number, hat.dtype, hat.device)
        if key not in self._waves:
            with torch.inference_mode(False), torch.no_grad():
                wave = in_memory_order(self._cosine(axis, number), hat, num_axes=self.dim)
                self._waves[key] = wave.to(dtype=hat.dtype, device=hat.device)
        return SpectralField(self, hat=self._waves[key])

    def _cosine(self, axis: int, number: int) -> Tensor:
        first, n = self._cut[axis]
        if not 0 <= number < min(first, n / 2):
            raise ValueError(
                f"SpectralDerivatives: a wave with number {number} along axis {axis} is beyond "
                f"what {n} points keep, which is {min(first, math.ceil(n / 2)) - 1}; use more "
                "points."
            )
        wave = torch.zeros(1, 1, *self._modes, dtype=torch.complex128)
        start = float(self.grid.axes()[axis][0])
        phase = 2 * math.pi * number * start / self.grid.extent[axis]
        amplitude = math.prod(self.grid.num_points) / 2 * cmath.exp(1j * phase)
        along = wave[0, 0][tuple(slice(None) if i == axis else 0 for i in range(self.dim))]
        along[number] += amplitude
        if axis < self.dim - 1 or number == 0:
            along[-number] += amplitude.conjugate()
        return self.narrowed(wave)

    def _varying(self, value: Any) -> SpectralField:
        if not isinstance(value, Tensor):
            value = value(*self.grid.coordinates())[None, None]
        if value.ndim != self.dim + 2 or tuple(value.shape[2:]) != self.grid.shape:
            raise ValueError(
                "SpectralDerivatives: a coefficient that varies in space must have shape "
                f"(batch or 1, 1, *space) with space {self.grid.shape}, got {tuple(value.shape)}."
            )
        return SpectralField(self, values=value)
