"""Where points may lie: boxes with any number of axes, space and time alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from pdesurrogates.core.grid import Grid

__all__ = ["Box"]


@dataclass(frozen=True)
class Box:
    """The points x with lower_i <= x_i <= upper_i.

    A space-time domain is a box whose last axis is time.

    Args:
        lower: Smallest coordinate per axis.
        upper: Largest coordinate per axis.

    Raises:
        ValueError: If the ends are not finite, not as many, or not in order.

    Example:
        >>> Box.of(Grid((8,), (2.0,), (-1.0,))).with_time(0.0, 3.0)
        Box(lower=(-1.0, 0.0), upper=(1.0, 3.0))
    """

    lower: tuple[float, ...] = (0.0,)
    upper: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        lower, upper = _numbers(self.lower), _numbers(self.upper)
        if not lower or len(lower) != len(upper):
            raise ValueError(
                "Box: `lower` and `upper` must have one number per axis, got "
                f"{len(lower)} and {len(upper)}."
            )
        if not all(map(math.isfinite, (*lower, *upper))):
            raise ValueError(f"Box: the ends must be finite, got {lower} and {upper}.")
        if not all(a < b for a, b in zip(lower, upper, strict=True)):
            raise ValueError(f"Box: `lower` must be below `upper`, got {lower} and {upper}.")
        object.__setattr__(self, "lower", lower)
        object.__setattr__(self, "upper", upper)

    @classmethod
    def of(cls, grid: Grid) -> Box:
        """The box that a grid fills, its right ends included."""
        ends = zip(grid.origin, grid.extent, strict=True)
        return cls(grid.origin, tuple(start + length for start, length in ends))

    def with_time(self, start: float, end: float) -> Box:
        """This box with time as one more axis, the last."""
        return Box((*self.lower, start), (*self.upper, end))

    @property
    def dim(self) -> int:
        """Number of axes."""
        return len(self.lower)

    @property
    def extent(self) -> tuple[float, ...]:
        """Length per axis."""
        return tuple(b - a for a, b in zip(self.lower, self.upper, strict=True))

    @property
    def volume(self) -> float:
        """Product of the lengths."""
        return math.prod(self.extent)

    def from_unit(self, points: Tensor) -> Tensor:
        """Points of the unit box (..., dim) to this one."""
        return points.new_tensor(self.lower) + points * points.new_tensor(self.extent)

    def to_unit(self, points: Tensor) -> Tensor:
        """Points of this box (..., dim) to the unit box."""
        return (points - points.new_tensor(self.lower)) / points.new_tensor(self.extent)

    def contains(self, points: Tensor) -> Tensor:
        """Whether points (..., dim) lie in the box, up to rounding (...)."""
        slack = 1e-6
        unit = self.to_unit(points)
        return ((unit >= -slack) & (unit <= 1 + slack)).all(dim=-1)

    def check(self, points: Tensor, *, where: str) -> None:
        """Refuse points outside the box.

        Raises:
            ValueError: Naming the first point that lies outside, or the number of axes.
        """
        if points.shape[-1] != self.dim:
            raise ValueError(
                f"{where}: points must have {self.dim} coordinates (..., {self.dim}), got "
                f"{tuple(points.shape)}."
            )
        inside = self.contains(points)
        if not bool(inside.all()):
            first = points[~inside][0].tolist()
            raise ValueError(
                f"{where}: {int((~inside).sum())} of {inside.numel()} points lie outside the "
                f"domain {list(zip(self.lower, self.upper, strict=True))}, the first is {first}; "
                "a network knows nothing there."
            )


def _numbers(values: Sequence[float] | float) -> tuple[float, ...]:
    entries = values if isinstance(values, Sequence) else (values,)
    return tuple(float(value) for value in entries)
