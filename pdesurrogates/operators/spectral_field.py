"""Fields of the pseudo-spectral method: values and coefficients, each computed on demand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor

from pdesurrogates.operators.multiplier import Multiplier

__all__ = ["SpectralField", "Transforms"]


@runtime_checkable
class Transforms(Protocol):
    """Who takes a field from the grid to Fourier coefficients and back.

    Of coefficients that dealiasing cuts, a provider may keep fewer columns along the last axis
    than there are (`narrowed`), and fill up with zeros when all are asked for (`widened`).
    """

    identity: Multiplier

    def to_grid(self, hat: Tensor, /, *, is_uncut: bool = False) -> Tensor: ...

    def to_modes(self, values: Tensor, /, *, is_uncut: bool = False) -> Tensor: ...

    def narrowed(self, hat: Tensor, /) -> Tensor: ...

    def widened(self, hat: Tensor, /) -> Tensor: ...

    def is_narrow(self, hat: Tensor, /) -> bool: ...


class SpectralField:
    """Grid values and Fourier coefficients of one field, each computed at most once, when asked.

    Derivatives, sums and multiples are noted as terms: a number times a factor per mode times
    another field. They are computed in one pass over the coefficients when somebody needs them.
    Products go to the grid. The coefficients of a product are cut by the provider's dealiasing
    filter; the cut waits for the next pass, which does it at no cost.

    Args:
        provider: Who transforms and differentiates.
        values: Values on the grid, or `None`.
        hat: Coefficients, or `None`.
        is_uncut: Whether the coefficients, given or still to come, must be cut.
    """

    __slots__ = ("_hat", "_is_uncut", "_pair", "_terms", "_values", "provider")

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
        self._terms: _Terms = ()
        self._pair: tuple[SpectralField, SpectralField] | None = None

    def _of(
        self, terms: _Terms = (), values: Tensor | None = None, is_uncut: bool = False
    ) -> SpectralField:
        field = SpectralField.__new__(SpectralField)
        field.provider = self.provider
        field._values = values
        field._hat = None
        field._is_uncut = is_uncut
        field._terms = terms
        field._pair = None
        return field

    @property
    def values(self) -> Tensor:
        """Values on the grid, (batch, channel, *space)."""
        if self._values is None:
            if self._pair is not None:
                first, second = self._pair
                self._values = first.values * second.values
            elif self._lies_on_grid:
                self._values = self._sum_on_grid()
            else:
                hat, is_uncut = self.raw_hat
                self._values = self.provider.to_grid(hat, is_uncut=is_uncut)
        return self._values

    @property
    def hat(self) -> Tensor:
        """Coefficients of the real FFT, (batch, channel, *modes), last axis N//2 + 1."""
        self._hat = self.provider.widened(self.cut_hat)
        return self._hat

    @property
    def raw_hat(self) -> tuple[Tensor, bool]:
        """The coefficients as they are, perhaps narrow, and whether they must still be cut."""
        if self._hat is None:
            if self._lies_on_grid:
                values = self.values
                self._hat = self.provider.to_modes(values, is_uncut=self._is_uncut)
            else:
                self._hat = self._sum_of_terms()
        return self._hat, self._is_uncut

    @property
    def num_channels(self) -> int:
        """Channels, without a transform."""
        kept = self._values if self._hat is None else self._hat
        if kept is not None:
            return kept.shape[1]
        if self._pair is not None:
            return max(field.num_channels for field in self._pair)
        return self._terms[0][0].num_channels

    @property
    def cut_hat(self) -> Tensor:
        """The coefficients that dealiasing keeps, perhaps narrow."""
        hat, is_uncut = self.raw_hat
        if is_uncut:
            hat = self.provider.identity.applied(self.provider.narrowed(hat), is_restricted=True)
            self._hat, self._is_uncut = hat, False
        return hat

    @property
    def _lies_on_grid(self) -> bool:
        """Whether there are values, or a sum of such fields, and no coefficients."""
        if self._hat is not None:
            return False
        for source, factor, _ in self._terms:  # noqa: SIM110 - all() is slow in every step
            if factor is not None or not source._lies_on_grid:
                return False
        return True

    def _sum_on_grid(self) -> Tensor:
        total: Any = None
        for source, _, scale in self._terms:
            if total is None:
                total = source.values if scale == 1 else source.values * scale
            elif source._values is None and source._pair is not None:
                first, second = source._pair
                total = torch.addcmul(total, first.values, second.values, value=scale)
            else:
                total = torch.add(total, source.values, alpha=scale)
            self._is_uncut = self._is_uncut or source._is_uncut
        return total

    def _sum_of_terms(self) -> Tensor:
        # Narrow and wide coefficients are summed apart, so that only one sum is widened.
        provider = self.provider
        narrow: Tensor | None = None
        wide: Tensor | None = None
        for source, factor, scale in self._gathered_terms():
            hat, is_uncut = source.raw_hat
            if is_uncut:
                hat = provider.narrowed(hat)
                factor = provider.identity if factor is None else factor
            if is_uncut or provider.is_narrow(hat):
                narrow = _plus(narrow, factor, hat, scale, is_restricted=True)
            else:
                wide = _plus(wide, factor, hat, scale, is_restricted=False)
        if wide is None:
            return cast(Tensor, narrow)
        return wide if narrow is None else wide + provider.widened(narrow)

    def _gathered_terms(self) -> _Terms:
        """The terms, those that lie on the grid as one, for a single transform."""
        if len(self._terms) < 3:
            return self._terms
        on_grid = [factor is None and source._lies_on_grid for source, factor, _ in self._terms]
        if sum(on_grid) < 2:
            return self._terms
        pairs = list(zip(self._terms, on_grid, strict=True))
        together = self._of(tuple(term for term, there in pairs if there))
        return (*(term for term, there in pairs if not there), (together, None, 1.0))

    def _as_terms(self, scale: float = 1.0) -> _Terms:
        if self._hat is not None or self._values is not None or not self._terms:
            return ((self, None, scale),)
        if scale == 1:
            return self._terms
        return tuple((source, factor, scale * s) for source, factor, s in self._terms)

    def multiplied(self, factor: Multiplier) -> SpectralField:
        """The field whose coefficients are those of this one times a factor per mode."""
        if self._hat is None and len(self._terms) == 1:
            ((source, known, scale),) = self._terms
            product = factor if known is None else known.times(factor)
            return self._of(((source, product, scale),))
        if self._terms:
            # A sum is computed once, not again for each of its derivatives.
            _ = self.raw_hat
        return self._of(((self, factor, 1.0),))

    @staticmethod
    def stack(fields: Sequence[SpectralField]) -> SpectralField:
        """Fields as the channels of one; on the grid if all of them are there and only there."""
        provider = fields[0].provider
        if all(field._lies_on_grid for field in fields):
            return SpectralField(
                provider,
                values=torch.cat([field.values for field in fields], dim=1),
                is_uncut=any(field._is_uncut for field in fields),
            )
        hats = [field.cut_hat for field in fields]
        if len({provider.is_narrow(hat) for hat in hats}) > 1:
            hats = [provider.widened(hat) for hat in hats]
        return SpectralField(provider, hat=torch.cat(hats, dim=1))

    def map(self, function: Callable[[Tensor], Tensor]) -> SpectralField:
        """A linear map without mixing of points or modes, done where the field already is."""
        if self._lies_on_grid:
            values = self.values
            return self._of((), function(values), self._is_uncut)
        hat, is_uncut = self.raw_hat
        return SpectralField(self.provider, hat=function(hat), is_uncut=is_uncut)

    def __add__(self, other: SpectralField | float | Tensor) -> SpectralField:
        if isinstance(other, SpectralField):
            return self._of(self._as_terms() + other._as_terms())
        values = self.values
        return self._of((), values + other, self._is_uncut)

    __radd__ = __add__

    def __sub__(self, other: SpectralField | float | Tensor) -> SpectralField:
        if isinstance(other, SpectralField):
            return self._of(self._as_terms() + other._as_terms(-1.0))
        return self + (-other)

    def __rsub__(self, other: float | Tensor) -> SpectralField:
        return -self + other

    def __neg__(self) -> SpectralField:
        return self._of(self._as_terms(-1.0))

    def __mul__(self, other: SpectralField | float | Tensor) -> SpectralField:
        if isinstance(other, SpectralField):
            product = self._of((), None, True)
            product._pair = (self, other)
            return product
        if isinstance(other, (int, float)):
            return self._of(self._as_terms(other))
        return self.map(lambda tensor: tensor * other)

    __rmul__ = __mul__

    def __truediv__(self, other: SpectralField | float | Tensor) -> SpectralField:
        if isinstance(other, SpectralField):
            return self._of((), self.values / other.values, True)
        return self * (1.0 / other)

    def __rtruediv__(self, other: float | Tensor) -> SpectralField:
        return self._of((), other / self.values, True)

    def __pow__(self, exponent: float) -> SpectralField:
        return self._of((), self.values**exponent, True)

    def __abs__(self) -> SpectralField:
        return self._of((), self.values.abs(), True)


_Terms = tuple[tuple[SpectralField, Multiplier | None, float], ...]


def _plus(
    total: Tensor | None,
    factor: Multiplier | None,
    hat: Tensor,
    scale: float,
    *,
    is_restricted: bool,
) -> Tensor:
    """total + scale factor hat."""
    if factor is not None:
        return factor.applied(hat, total, is_restricted=is_restricted, scale=scale)
    if total is not None:
        return torch.add(total, hat, alpha=scale)
    return hat if scale == 1 else scale * hat
