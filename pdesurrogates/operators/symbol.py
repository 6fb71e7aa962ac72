"""Wavenumbers, what every derivative in Fourier space shares, and the symbol of an operator."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pdesurrogates.core import Grid
from pdesurrogates.operators.base import Coefficient, Derivatives
from pdesurrogates.operators.multiplier import Multiplier
from pdesurrogates.operators.spectral_field import SpectralField

__all__ = ["FourierMultipliers", "Symbol", "wavenumbers"]


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


class FourierMultipliers(Derivatives):
    """What the solver and the symbol share: derivatives are products with (i k)^order.

    Args:
        k: One tensor of wavenumbers per axis, broadcastable against each other [1/length].
        nyquist: Per axis, where the unpaired mode of an even number of points is.
    """

    def __init__(
        self, k: tuple[Tensor, ...], *, nyquist: tuple[Tensor, ...] | None = None
    ) -> None:
        self.dim = len(k)
        self._k = k
        self._nyquist = nyquist
        self._modes = tuple(torch.broadcast_shapes(*(axis.shape for axis in k)))
        self._factors: dict[tuple, Multiplier] = {}
        self.identity = self.factor(("identity",), lambda: torch.ones((), dtype=torch.float64))

    def factor(self, name: tuple, build: Callable[[], Tensor]) -> Multiplier:
        """The factor per mode of that name, built when first needed."""
        if name not in self._factors:
            self._factors[name] = Multiplier(
                lambda: build().expand(self._modes), self._restrict, self.dim
            )
        return self._factors[name]

    def _multiplier(self, axis: int, order: int) -> Tensor:
        k = self._k[axis].to(torch.float64)
        sign = (-1.0) ** (order // 2)
        if order % 2 == 0:
            return sign * k**order
        # i k is not real-valued at the unpaired Nyquist mode: odd derivatives vanish there.
        k = k if self._nyquist is None else k.masked_fill(self._nyquist[axis], 0.0)
        return torch.complex(torch.zeros_like(k), sign * k**order)

    def derivative_factor(self, axis: int, order: int = 1) -> Tensor:
        """What d^order / dx_axis^order multiplies the coefficients with, float64 or complex128."""
        return self._multiplier(axis, order)

    def derivative(self, u: SpectralField, axis: int, order: int = 1) -> SpectralField:
        factor = self._factors.get((axis, order))
        if factor is None:
            factor = self.factor((axis, order), lambda: self._multiplier(axis, order))
        return u.multiplied(factor)

    def laplacian(self, u: SpectralField) -> SpectralField:
        return u.multiplied(self.factor(("laplacian",), self._laplacian))

    def inverse_laplacian(self, u: SpectralField) -> SpectralField:
        """The solution p of lap p = u with zero mean; the mean of u is ignored."""
        return u.multiplied(self.factor(("inverse_laplacian",), self.inverse_laplacian_factor))

    def inverse_laplacian_factor(self) -> Tensor:
        """What the inverse Laplacian multiplies the coefficients with, 0 for the mean."""
        laplacian = self._laplacian()
        return torch.where(laplacian == 0, 0.0, 1.0 / laplacian)

    def _laplacian(self) -> Tensor:
        terms = [self._multiplier(axis, 2) for axis in range(self.dim)]
        return sum(terms[1:], start=terms[0])

    def components(self, u: SpectralField) -> tuple[SpectralField, ...]:
        if u.num_channels == 1:
            return (u,)
        return tuple(
            u.map(lambda tensor, i=i: tensor[:, i : i + 1]) for i in range(u.num_channels)
        )

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

    def _restrict(self, factor: Tensor) -> Tensor:
        """A factor on all modes, on those that dealiasing keeps."""
        return factor

    def narrowed(self, hat: Tensor) -> Tensor:
        """The columns of the last axis that dealiasing keeps, a view."""
        return hat

    def widened(self, hat: Tensor) -> Tensor:
        """Narrow coefficients, filled up with zeros along the last axis."""
        return hat

    def is_narrow(self, hat: Tensor) -> bool:
        """Whether columns that dealiasing cuts are left out."""
        return False

    def to_grid(self, hat: Tensor, *, is_uncut: bool = False) -> Tensor:
        raise NotImplementedError

    def to_modes(self, values: Tensor, *, is_uncut: bool = False) -> Tensor:
        raise NotImplementedError


class Symbol(FourierMultipliers):
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
        self.shape = self._modes

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
