"""Fields of the pseudo-spectral method: values and coefficients, each computed on demand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

__all__ = ["SpectralField", "Transforms"]


@runtime_checkable
class Transforms(Protocol):
    """Who takes a field from the grid to Fourier coefficients and back."""

    def to_grid(self, hat: Tensor, /, *, is_uncut: bool = False) -> Tensor: ...

    def to_modes(self, values: Tensor, /) -> Tensor: ...

    def dealias(self, hat: Tensor, /) -> Tensor: ...


class SpectralField:
    """Grid values and Fourier coefficients of one field, each computed at most once, when asked.

    Sums and derivatives stay with the coefficients, products go to the grid. The coefficients of
    a product are cut by the provider's dealiasing filter; the cut waits until somebody needs the
    coefficients themselves, because a derivative or a transform does it at no cost.

    Args:
        provider: Who transforms and differentiates.
        values: Values on the grid, or `None`.
        hat: Coefficients, or `None`.
        is_uncut: Whether the coefficients, given or still to come, must be cut.
    """

    __slots__ = ("_hat", "_is_uncut", "_values", "provider")

    def __init__(
        self,
        provider: Transforms,
        *,
        values: Tensor | None = None,
        hat: Tensor | None = None,
        is_uncut: bool = False,
    ) -> None:
        self.provider = provider
        self._values: Any = values
        self._hat: Any = hat
        self._is_uncut = is_uncut

    @property
    def values(self) -> Tensor:
        """Values on the grid, (batch, channel, *space)."""
        if self._values is None:
            self._values = self.provider.to_grid(self._hat, is_uncut=self._is_uncut)
        return self._values

    @property
    def hat(self) -> Tensor:
        """Coefficients of the real FFT, (batch, channel, *modes), last axis N//2 + 1."""
        hat, is_uncut = self.raw_hat
        if is_uncut:
            self._hat, self._is_uncut = self.provider.dealias(hat), False
        return self._hat

    @property
    def raw_hat(self) -> tuple[Tensor, bool]:
        """The coefficients as they are, and whether they still have to be cut."""
        if self._hat is None:
            self._hat = self.provider.to_modes(self._values)
        return self._hat, self._is_uncut

    @property
    def num_channels(self) -> int:
        """Channels, without a transform."""
        return (self._values if self._hat is None else self._hat).shape[1]

    @staticmethod
    def stack(fields: Sequence[SpectralField]) -> SpectralField:
        """Fields as the channels of one; on the grid if all of them are there and only there."""
        provider = fields[0].provider
        if any(field._hat is not None for field in fields):
            return SpectralField(provider, hat=torch.cat([field.hat for field in fields], dim=1))
        return SpectralField(
            provider,
            values=torch.cat([field.values for field in fields], dim=1),
            is_uncut=any(field._is_uncut for field in fields),
        )

    def map(self, function: Callable[[Tensor], Tensor]) -> SpectralField:
        """A linear map without mixing of points or modes, done where the field already is."""
        if self._hat is not None:
            hat = function(self._hat)
            return SpectralField(self.provider, hat=hat, is_uncut=self._is_uncut)
        return self._on_grid(function(self._values), self._is_uncut)

    def _on_grid(self, values: Tensor, is_uncut: bool) -> SpectralField:
        return SpectralField(self.provider, values=values, is_uncut=is_uncut)

    def _combine(
        self, other: SpectralField, function: Callable[[Tensor, Tensor], Tensor]
    ) -> SpectralField:
        if self._hat is None and other._hat is None:
            is_uncut = self._is_uncut or other._is_uncut
            return self._on_grid(function(self._values, other._values), is_uncut)
        return SpectralField(self.provider, hat=function(self.hat, other.hat))

    def __add__(self, other: SpectralField | float) -> SpectralField:
        if isinstance(other, SpectralField):
            return self._combine(other, torch.add)
        return self._on_grid(self.values + other, self._is_uncut)

    __radd__ = __add__

    def __sub__(self, other: SpectralField | float) -> SpectralField:
        if isinstance(other, SpectralField):
            return self._combine(other, torch.sub)
        return self._on_grid(self.values - other, self._is_uncut)

    def __rsub__(self, other: float) -> SpectralField:
        return -self + other

    def __neg__(self) -> SpectralField:
        return self.map(torch.neg)

    def __mul__(self, other: SpectralField | float | Tensor) -> SpectralField:
        if isinstance(other, SpectralField):
            return self._on_grid(self.values * other.values, is_uncut=True)
        return self.map(lambda tensor: tensor * other)

    __rmul__ = __mul__

    def __pow__(self, exponent: int) -> SpectralField:
        return self._on_grid(self.values**exponent, is_uncut=True)
