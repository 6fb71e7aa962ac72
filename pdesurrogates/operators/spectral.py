"""Pseudo-spectral derivatives on periodic grids, and the symbol of a linear operator."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pdesurrogates.core import Grid
from pdesurrogates.operators.base import Coefficient, Derivatives
from pdesurrogates.operators.spectral_field import SpectralField

__all__ = ["SpectralDerivatives", "Symbol", "wavenumbers"]


def wavenumbers(grid: Grid) -> tuple[Tensor, ...]:
    """Angular wavenumbers k = 2 pi m / L per axis, shaped to broadcast over the real FFT layout.

    The last axis holds m = 0 .. N/2 only; the others hold all signs. Unit 1/length, float64.
    """
    axes = []
    for axis, (n, length) in enumerate(zip(grid.num_points, grid.extent, strict=True)):
        frequencies = torch.fft.rfftfreq if axis == grid.dim - 1 else torch.fft.fftfreq
        shape = [1] * grid.dim
        shape[axis] = -1
        m = frequencies(n, 1.0 / n, dtype=torch.float64)
        axes.append((2 * math.pi / length * m).reshape(shape))
    return tuple(axes)


class _FourierMultipliers(Derivatives):
    """What the solver and the symbol share: derivatives are products with (i k)^order."""

    def __init__(
        self, k: tuple[Tensor, ...], *, nyquist: tuple[Tensor, ...] | None = None
    ) -> None:
        self.dim = len(k)
        self._k = k
        self._nyquist = nyquist
        self._cache: dict[tuple, Tensor] = {}

    def _constant(self, name: tuple, like: Tensor, build: Callable[[], Tensor]) -> Tensor:
        """A constant, built in complex128 or float64 on the host, kept per dtype and device."""
        key = (*name, like.dtype, like.device)
        if key not in self._cache:
            # A tensor born in inference mode could never be used for training later.
            with torch.inference_mode(False), torch.no_grad():
                constant = build()
                real = like.dtype.to_real() if like.is_complex() else like.dtype
                dtype = real.to_complex() if constant.is_complex() else real
                self._cache[key] = constant.to(device=like.device, dtype=dtype)
        return self._cache[key]

    def _multiplier(self, axis: int, order: int) -> Tensor:
        k = self._k[axis].to(torch.float64)
        sign = (-1.0) ** (order // 2)
        if order % 2 == 0:
            return sign * k**order
        # i k is not real-valued at the unpaired Nyquist mode: odd derivatives vanish there.
        k = k if self._nyquist is None else k.masked_fill(self._nyquist[axis], 0.0)
        return torch.complex(torch.zeros_like(k), sign * k**order)

    def _multiply(
        self, u: SpectralField, name: tuple, build: Callable[[], Tensor]
    ) -> SpectralField:
        """A multiplier times the coefficients, in one pass with the cut that may be due."""
        hat, is_uncut = u.raw_hat
        multiplier = self._constant(
            (*name, is_uncut), hat, lambda: self.dealias(build()) if is_uncut else build()
        )
        return SpectralField(self, hat=multiplier * hat)

    def derivative(self, u: SpectralField, axis: int, order: int = 1) -> SpectralField:
        name = ("derivative", axis, order)
        return self._multiply(u, name, lambda: self._multiplier(axis, order))

    def laplacian(self, u: SpectralField) -> SpectralField:
        return self._multiply(u, ("laplacian",), self._laplacian)

    def inverse_laplacian(self, u: SpectralField) -> SpectralField:
        """The solution p of lap p = u with zero mean; the mean of u is ignored."""

        def build() -> Tensor:
            laplacian = self._laplacian()
            return torch.where(laplacian == 0, 0.0, 1.0 / laplacian)

        return self._multiply(u, ("inverse_laplacian",), build)

    def _laplacian(self) -> Tensor:
        terms = [self._multiplier(axis, 2) for axis in range(self.dim)]
        return sum(terms[1:], start=terms[0])

    def components(self, u: SpectralField) -> tuple[SpectralField, ...]:
        kept = u._hat if u._hat is not None else u._values
        if kept.shape[1] == 1:
            return (u,)
        return tuple(u.map(lambda tensor, i=i: tensor[:, i : i + 1]) for i in range(kept.shape[1]))

    def stack(self, *fields: SpectralField) -> SpectralField:
        return fields[0] if len(fields) == 1 else SpectralField.stack(fields)

    def coefficient(self, value: Coefficient) -> Any:
        if isinstance(value, Tensor) and value.ndim == 1:
            return value.reshape(-1, *(1,) * (self.dim + 1))
        if callable(value) or (isinstance(value, Tensor) and value.ndim > 1):
            return self._varying(value)
        return value

    def _varying(self, value: Any) -> SpectralField:
        raise ValueError(
            f"{type(self).__name__}: a coefficient that varies in space has no Fourier symbol; "
            "the equation must use it in `nonlinear`."
        )

    def dealias(self, hat: Tensor) -> Tensor:
        """The coefficients as they are; the solver's provider cuts the upper ones."""
        return hat

    def to_grid(self, hat: Tensor, *, is_uncut: bool = False) -> Tensor:
        raise NotImplementedError

    def to_modes(self, values: Tensor) -> Tensor:
        raise NotImplementedError


class Symbol(_FourierMultipliers):
    """The Fourier symbol of a linear operator: `linear` applied to the wave exp(i k x).

    A field here is a coefficient per wavenumber, so L exp(i k x) = symbol(k) exp(i k x). Products
    of fields have no symbol and are refused.

    Args:
        wavenumbers: One tensor per axis, broadcastable against each other [1/length].

    Example:
        >>> k = torch.tensor([0.0, 1.0, 2.0])
        >>> d = Symbol((k,))
        >>> d.laplacian(d.wave()).hat.real.flatten().tolist()
        [-0.0, -1.0, -4.0]
    """

    def __init__(
        self, wavenumbers: tuple[Tensor, ...], *, nyquist: tuple[Tensor, ...] | None = None
    ) -> None:
        super().__init__(wavenumbers, nyquist=nyquist)
        self.shape = torch.broadcast_shapes(*(k.shape for k in wavenumbers))

    def wave(self, num_channels: int = 1, channel: int = 0) -> SpectralField:
        """The field whose coefficients are all 1 in one channel and 0 in the others."""
        hat = torch.zeros(1, num_channels, *self.shape, dtype=torch.complex128)
        hat[:, channel] = 1.0
        return SpectralField(self, hat=hat.to(self._k[0].device))

    def coefficient(self, value: Coefficient) -> Any:
        value = super().coefficient(value)
        return value.to(self._k[0].device) if isinstance(value, Tensor) else value

    def to_grid(self, hat: Tensor, *, is_uncut: bool = False) -> Tensor:
        raise ValueError(
            "Symbol: the linear part of an equation must not multiply fields or add numbers to "
            "them; move such terms to `nonlinear`."
        )


def _cut_band(n: int, dealias: float) -> tuple[int, int]:
    """The lowest wavenumber m >= dealias n / 2, which is the first that is cut, and n."""
    return math.ceil(dealias * n / 2 - 1e-9), n


class SpectralDerivatives(_FourierMultipliers):
    """Fourier derivatives on a periodic grid, exact for resolved waves.

    With u(x) = sum_k u_hat(k) exp(i k x), the derivative of order p is (i k)^p u_hat(k). Products
    are formed on the grid; of their coefficients only |m| < dealias N / 2 is kept per axis
    (2/3: no aliasing from quadratic terms, 1/2: none from cubic ones).

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
        self._space = tuple(range(-grid.dim, 0))
        self._modes = (*grid.num_points[:-1], grid.num_points[-1] // 2 + 1)

    def symbol(self) -> Symbol:
        """The provider that gives the symbol of `linear` on this grid's wavenumbers."""
        return Symbol(self._k, nyquist=self.nyquist)

    def to_grid(self, hat: Tensor, *, is_uncut: bool = False) -> Tensor:
        """Inverse real FFT: (batch, channel, *modes) -> (batch, channel, *space).

        Args:
            hat: Coefficients.
            is_uncut: Whether to leave out those that the dealiasing cuts.
        """
        if self.grid.dim == 1:
            # The transform itself fills up with zeros.
            kept = hat[..., : self._cut[0][0]] if is_uncut and self.dealias_fraction < 1 else hat
            return torch.fft.irfft(kept, n=self.grid.num_points[0])
        kept = self.dealias(hat) if is_uncut else hat
        return torch.fft.irfftn(kept, s=self.grid.num_points, dim=self._space)

    def to_modes(self, values: Tensor) -> Tensor:
        """Real FFT: (batch, channel, *space) -> (batch, channel, *modes)."""
        if self.grid.dim == 1:
            return torch.fft.rfft(values)
        return torch.fft.rfftn(values, dim=self._space)

    def dealias(self, hat: Tensor) -> Tensor:
        """The coefficients with those outside the kept band set to zero."""
        if self.dealias_fraction == 1:
            return hat
        hat = torch.broadcast_to(hat, torch.broadcast_shapes(hat.shape, self._modes)).clone()
        for axis, (first, n) in zip(self._space, self._cut, strict=True):
            width = hat.shape[axis] - first if axis == -1 else n - 2 * first + 1
            if width > 0:
                hat.narrow(axis, first, width).zero_()
        return hat

    def field(self, values: Tensor) -> SpectralField:
        """A field from values on the grid."""
        return SpectralField(self, values=values)

    def _varying(self, value: Any) -> SpectralField:
        if not isinstance(value, Tensor):
            value = value(*self.grid.coordinates())[None, None]
        if value.ndim != self.dim + 2 or tuple(value.shape[2:]) != self.grid.shape:
            raise ValueError(
                "SpectralDerivatives: a coefficient that varies in space must have shape "
                f"(batch or 1, 1, *space) with space {self.grid.shape}, got {tuple(value.shape)}."
            )
        return SpectralField(self, values=value)
