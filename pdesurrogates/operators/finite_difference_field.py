"""Fields of the finite-difference method: values with as many ghost points as are asked for."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from pdesurrogates.core import BoundarySides
from pdesurrogates.operators.stencils import weighted_shifts

__all__ = [
    "CoefficientValues",
    "DifferenceField",
    "GhostPoints",
    "GridValues",
    "Pointwise",
    "Region",
]


class GhostPoints(Protocol):
    """Who knows the grid, the stencils half way between points, and the values beyond the ends."""

    dim: int
    order: int
    midpoint_weights: tuple[float, ...]
    midpoint_slopes: tuple[tuple[float, ...], ...]

    def pad(
        self,
        values: Tensor,
        axis: int,
        width: int,
        sides: BoundarySides | None,
        /,
        *,
        extra_degree: int = 0,
    ) -> Tensor: ...


class Region(NamedTuple):
    """The points that a field is asked for.

    Args:
        widths: Ghost points at both ends of each axis.
        half: Axis along which the N + 2 width + 1 points half way between are wanted instead.
        extra_degree: What a high derivative adds to the degree of the polynomials beyond walls.
    """

    widths: tuple[int, ...]
    half: int | None = None
    extra_degree: int = 0

    def grown(self, axis: int, by: int) -> Region:
        """With `by` more ghost points along one axis, on the points themselves."""
        widths = (w + by if a == axis else w for a, w in enumerate(self.widths))
        return Region(tuple(widths), None, self.extra_degree)

    def on_faces(self, axis: int, by: int) -> Region:
        """With `by` more points, half way between the points along an axis."""
        return self.grown(axis, by)._replace(half=axis)

    def contains(self, other: Region) -> bool:
        """Whether the values here include those of `other`."""
        is_same_kind = self[1:] == other[1:]
        return is_same_kind and all(map(operator.ge, self.widths, other.widths))

    def cut(self, values: Tensor, region: Region) -> Tensor:
        """The part of `values` here that belongs to a smaller region."""
        for axis, (own, w) in enumerate(zip(self.widths, region.widths, strict=True)):
            if own > w:
                dim = axis - len(self.widths)
                values = values.narrow(dim, own - w, values.shape[dim] - 2 * (own - w))
        return values


class DifferenceField(ABC):
    """A field that gives its values on the grid and on ghost points around it, when asked.

    Ghosts of products are products of ghosts, so that d/dx (k du/dx) is as accurate at a wall as
    du/dx. Values are computed once per width and kept.

    A first derivative of something that contains a first derivative along the same axis, such as
    d/dx (k du/dx), is the difference of values half way between the points: the flux form, which
    conserves, is compact, and damps the shortest wave.

    Args:
        provider: Who pads and knows the stencils.
        like: A tensor of the dtype and on the device of the values.
        num_channels: Channels.
        slopes: Axes along which a first derivative is contained.
        is_coefficient: Whether no state enters; then dtype and device follow the other operand.
    """

    def __init__(
        self,
        provider: GhostPoints,
        *,
        like: Tensor,
        num_channels: int,
        slopes: frozenset[int] = frozenset(),
        is_coefficient: bool = False,
    ) -> None:
        self.provider = provider
        self.like = like
        self.num_channels = num_channels
        self.slopes = slopes
        self.is_coefficient = is_coefficient
        self.derived: dict[tuple, dict[Region, Tensor]] = {}
        self._known: dict[Region, Tensor] = {}

    @property
    def values(self) -> Tensor:
        """Values on the grid, (batch, channel, *space)."""
        return self.at(Region((0,) * self.provider.dim))

    def at(self, region: Region) -> Tensor:
        """Values on the points of a region."""
        values = self._known.get(region)
        if values is None:
            for known, larger in self._known.items():
                if known.contains(region):
                    return known.cut(larger, region)
            self._known[region] = values = self._compute(region)
        return values

    @abstractmethod
    def _compute(self, region: Region) -> Tensor: ...

    def _interpolate(self, region: Region, axis: int) -> Tensor:
        """Values half way between the points along an axis, from those on the points."""
        values = self.at(region.grown(axis, self.provider.order // 2))
        return weighted_shifts(values, axis - self.provider.dim, self.provider.midpoint_weights)

    @property
    def components(self) -> tuple[DifferenceField, ...]:
        """The channels as one-channel fields."""
        if self.num_channels == 1:
            return (self,)
        return tuple(
            Pointwise(lambda u, c=c: u[:, c : c + 1], (self,), num_channels=1)
            for c in range(self.num_channels)
        )

    def cast(self, like: Tensor) -> DifferenceField:
        """This field in the dtype and on the device of `like`."""
        if self.like.dtype == like.dtype and self.like.device == like.device:
            return self
        field = Pointwise(lambda u: u.to(like), (self,))
        field.like = like
        return field

    @staticmethod
    def stack(fields: tuple[DifferenceField, ...]) -> DifferenceField:
        """One-channel fields as the channels of one."""

        def join(*channels: Tensor) -> Tensor:
            batch = max(channel.shape[0] for channel in channels)
            return torch.cat([c.expand(batch, *c.shape[1:]) for c in channels], dim=1)

        return Pointwise(join, fields, num_channels=sum(field.num_channels for field in fields))

    def _with(
        self, other: DifferenceField | float | Tensor, function: Callable[..., Tensor]
    ) -> DifferenceField:
        if isinstance(other, DifferenceField):
            return Pointwise(function, (self, other))
        if isinstance(other, Tensor) and any(n > 1 for n in other.shape[1:]):
            raise ValueError(
                f"FiniteDifferences: grid values {tuple(other.shape)} cannot act on a field, "
                "because their values beyond the ends are not known; use d.coefficient(values)."
            )
        if isinstance(other, Tensor) and other.ndim:
            return Pointwise(lambda u: function(u, other.to(u)), (self,))
        return Pointwise(lambda u: function(u, other), (self,))

    def __add__(self, other: DifferenceField | float | Tensor) -> DifferenceField:
        return self._with(other, torch.add)

    __radd__ = __add__

    def __sub__(self, other: DifferenceField | float | Tensor) -> DifferenceField:
        return self._with(other, torch.sub)

    def __rsub__(self, other: float | Tensor) -> DifferenceField:
        return self._with(other, lambda u, number: number - u)

    def __neg__(self) -> DifferenceField:
        return Pointwise(torch.neg, (self,))

    def __mul__(self, other: DifferenceField | float | Tensor) -> DifferenceField:
        return self._with(other, torch.mul)

    __rmul__ = __mul__

    def __truediv__(self, other: DifferenceField | float | Tensor) -> DifferenceField:
        return self._with(other, torch.div)

    def __rtruediv__(self, other: float | Tensor) -> DifferenceField:
        return self._with(other, lambda u, number: number / u)

    def __pow__(self, exponent: float) -> DifferenceField:
        return Pointwise(lambda u: u**exponent, (self,))


class GridValues(DifferenceField):
    """Given values on the grid: a state with its boundary conditions, or a coefficient.

    Args:
        provider: Who pads.
        values: (batch, channel, *space).
        sides: Conditions per channel; `None` for a coefficient, which has none.
    """

    def __init__(
        self,
        provider: GhostPoints,
        values: Tensor,
        sides: tuple[BoundarySides, ...] | None = None,
    ) -> None:
        super().__init__(
            provider,
            like=values,
            num_channels=values.shape[1],
            is_coefficient=sides is None,
        )
        self._values = values
        self._sides = sides
        self._components: tuple[DifferenceField, ...] = ()

    def _compute(self, region: Region) -> Tensor:
        if region.half is not None:
            return self._interpolate(region, region.half)
        if self._sides is not None and len(set(self._sides)) > 1:
            return torch.cat([channel.at(region) for channel in self.components], dim=1)
        sides = None if self._sides is None else self._sides[0]
        for axis in reversed(range(self.provider.dim)):
            width = region.widths[axis]
            if width:
                inner = self.at(region.grown(axis, -width))
                extra_degree = region.extra_degree
                return self.provider.pad(inner, axis, width, sides, extra_degree=extra_degree)
        values = self._values
        for axis in range(self.provider.dim):
            values = self.provider.pad(values, axis, 0, sides)
        return values

    @property
    def components(self) -> tuple[DifferenceField, ...]:
        # A channel stays the same object, so that it is padded and differentiated once.
        if self.num_channels == 1:
            return (self,)
        self._components = self._components or tuple(
            GridValues(
                self.provider,
                self._values[:, c : c + 1],
                None if self._sides is None else self._sides[c : c + 1],
            )
            for c in range(self.num_channels)
        )
        return self._components


class CoefficientValues(DifferenceField):
    """A coefficient that varies in space, made in the dtype and on the device of the state.

    Args:
        provider: Who pads.
        build: Gives the values (batch or 1, 1, *space) in the dtype and on the device of a tensor.
        like: Dtype and device where no state says which.
    """

    def __init__(
        self, provider: GhostPoints, build: Callable[[Tensor], Tensor], *, like: Tensor
    ) -> None:
        super().__init__(provider, like=like, num_channels=1, is_coefficient=True)
        self._build = build
        self._casts: dict[tuple, GridValues] = {}

    def cast(self, like: Tensor) -> GridValues:
        key = (like.dtype, like.device)
        if key not in self._casts:
            self._casts[key] = GridValues(self.provider, self._build(like))
        return self._casts[key]

    def _compute(self, region: Region) -> Tensor:
        return self.cast(self.like).at(region)


class Pointwise(DifferenceField):
    """A function of the values of other fields, point by point."""

    def __init__(
        self,
        function: Callable[..., Tensor],
        operands: tuple[DifferenceField, ...],
        *,
        num_channels: int | None = None,
    ) -> None:
        states = [field for field in operands if not field.is_coefficient]
        like = (states or list(operands))[0].like
        super().__init__(
            operands[0].provider,
            like=like,
            num_channels=max(f.num_channels for f in operands)
            if num_channels is None
            else num_channels,
            slopes=frozenset().union(*(field.slopes for field in operands)),
            is_coefficient=not states,
        )
        self._function = function
        self._operands = tuple(
            field.cast(like) if field.is_coefficient and states else field for field in operands
        )

    def _compute(self, region: Region) -> Tensor:
        return self._function(*(field.at(region) for field in self._operands))
