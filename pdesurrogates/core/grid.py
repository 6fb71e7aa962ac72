"""Where the points are: uniform Cartesian grids."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

__all__ = ["Grid"]


def _per_axis(value: object, dim: int, name: str) -> tuple:
    """One entry per axis; a single number stands for all axes."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        entries = tuple(value)
        if len(entries) == 1:
            entries = entries * dim
    else:
        entries = (value,) * dim
    if len(entries) != dim:
        raise ValueError(
            f"Grid: `{name}` must have one entry per axis ({dim}, as `num_points`), "
            f"got {len(entries)}: {entries}."
        )
    return entries


@dataclass(frozen=True)
class Grid:
    """A uniform grid on a box, axes in the order x, y, z.

    Points along an axis with N points, origin o and extent L:

        periodic:      x_i = o + i L / N,        i = 0 .. N-1   (left end in, right end out)
        not periodic:  x_i = o + i L / (N - 1),  i = 0 .. N-1   (both ends in)
        cell centred:  x_i = o + (i + 1/2) L / N, i = 0 .. N-1  (walls half a cell outside)

    Args:
        num_points: Points per axis.
        extent: Length of the box per axis [length unit of the equation].
        origin: Coordinate of the left end per axis [length].
        periodic: Whether the axis closes on itself, per axis or for all.
        cell_centred: Whether points are the centres of N cells that fill the box, on all axes.

    Example:
        >>> grid = Grid(num_points=(4,), extent=(2.0,))
        >>> grid.spacing, grid.coordinates()[0].tolist()
        ((0.5,), [0.0, 0.5, 1.0, 1.5])
    """

    num_points: tuple[int, ...] = (256,)
    extent: tuple[float, ...] = (64.0,)
    origin: tuple[float, ...] = (0.0,)
    periodic: bool | tuple[bool, ...] = True
    cell_centred: bool = False
    is_periodic: tuple[bool, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        points = self.num_points
        points = tuple(points) if isinstance(points, Sequence) else (points,)
        if not 1 <= len(points) <= 3:
            raise ValueError(f"Grid: `num_points` must have 1, 2 or 3 axes, got {len(points)}.")
        if any(int(n) != n or n < 2 for n in points):
            raise ValueError(
                f"Grid: `num_points` must be integers of at least 2 per axis, got {points}."
            )
        dim = len(points)
        extent = tuple(float(value) for value in _per_axis(self.extent, dim, "extent"))
        origin = tuple(float(value) for value in _per_axis(self.origin, dim, "origin"))
        if not all(math.isfinite(length) and length > 0 for length in extent):
            raise ValueError(f"Grid: `extent` must be positive and finite per axis, got {extent}.")
        if not all(math.isfinite(value) for value in origin):
            raise ValueError(f"Grid: `origin` must be finite per axis, got {origin}.")
        is_periodic = tuple(bool(flag) for flag in _per_axis(self.periodic, dim, "periodic"))
        for name, value in (
            ("num_points", tuple(int(n) for n in points)),
            ("extent", extent),
            ("origin", origin),
            ("cell_centred", bool(self.cell_centred)),
            ("is_periodic", is_periodic),
            ("periodic", is_periodic[0] if len(set(is_periodic)) == 1 else is_periodic),
        ):
            object.__setattr__(self, name, value)

    @property
    def dim(self) -> int:
        """Number of space axes."""
        return len(self.num_points)

    @property
    def shape(self) -> tuple[int, ...]:
        """Points per axis, the `*space` of every state on this grid."""
        return self.num_points

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance between neighbouring points per axis [length]."""
        return tuple(
            length / (n if periodic or self.cell_centred else n - 1)
            for length, n, periodic in zip(
                self.extent, self.num_points, self.is_periodic, strict=True
            )
        )

    def axes(
        self, *, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None
    ) -> tuple[Tensor, ...]:
        """Coordinates along each axis, one tensor of shape (N,) per axis."""
        shift = 0.5 if self.cell_centred else 0.0
        return tuple(
            start + step * (torch.arange(n, dtype=dtype, device=device) + shift)
            for start, step, n in zip(self.origin, self.spacing, self.num_points, strict=True)
        )

    def coordinates(
        self, *, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None
    ) -> Tensor:
        """Coordinates of every point, (dim, *space): like a state, one channel per axis."""
        return torch.stack(torch.meshgrid(*self.axes(dtype=dtype, device=device), indexing="ij"))

    def resized(self, num_points: Sequence[int] | int) -> Grid:
        """The same box with other numbers of points."""
        points = num_points if isinstance(num_points, Sequence) else (num_points,) * self.dim
        return Grid(tuple(points), self.extent, self.origin, self.is_periodic, self.cell_centred)
