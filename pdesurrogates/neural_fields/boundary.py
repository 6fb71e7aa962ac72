"""Boundary conditions that hold by construction: coordinates, factors and liftings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from pdesurrogates.core import Boundary, Box, Dirichlet, Neumann, Outflow

__all__ = ["AxisEnds", "CoordinateEmbedding", "HardBoundary", "axis_ends"]

End = Dirichlet | Neumann | None
AxisEnds = tuple[End, End]
"""The conditions at the lower and the upper end of an axis, `None` where nothing is said."""

Kind = Literal["plain", "periodic", "even_lower", "even_upper", "even"]


class CoordinateEmbedding(nn.Module):
    """What the network sees of a point: its coordinates, scaled to order one, per axis with
    s = (x - lower) / length in [0, 1]:

        plain        2 s - 1
        periodic     cos 2 pi k s, sin 2 pi k s,    k = 1 .. num_harmonics
        even         -cos pi s                      no slope at both ends
        even_lower   2 s^2 - 1                      no slope at the lower end
        even_upper   1 - 2 (1 - s)^2                no slope at the upper end

    Any function of them is periodic, or has no slope at an end, by the chain rule.

    Args:
        domain: Box of the points.
        kinds: One of the above per axis.
        num_harmonics: Waves of a periodic axis that the network is given; it makes more itself.

    Shape:
        points: (batch, point, dim), a tensor or a jet -> (batch, point, num_features)
    """

    def __init__(self, domain: Box, kinds: Sequence[Kind], *, num_harmonics: int = 1) -> None:
        super().__init__()
        if num_harmonics < 1:
            raise ValueError(
                f"CoordinateEmbedding: `num_harmonics` must be positive, got {num_harmonics}."
            )
        self.domain = domain
        self.kinds = tuple(kinds)
        self.num_harmonics = num_harmonics

    @property
    def num_features(self) -> int:
        """Inputs that the network must take."""
        return sum(2 * self.num_harmonics if k == "periodic" else 1 for k in self.kinds)

    def forward(self, points: Any) -> Any:
        columns = []
        for axis, kind in enumerate(self.kinds):
            s = unit_coordinate(points, self.domain, axis)
            if kind == "plain":
                columns.append(2.0 * s - 1.0)
            elif kind == "periodic":
                for k in range(1, self.num_harmonics + 1):
                    angle = s * (2 * math.pi * k)
                    columns.extend((torch.cos(angle), torch.sin(angle)))
            elif kind == "even":
                columns.append(-torch.cos(s * math.pi))
            elif kind == "even_lower":
                columns.append(2.0 * (s * s) - 1.0)
            else:
                rest = 1.0 - s
                columns.append(1.0 - 2.0 * (rest * rest))
        return columns[0] if len(columns) == 1 else torch.cat(columns, dim=-1)


def unit_coordinate(points: Any, domain: Box, axis: int) -> Any:
    """s = (x - lower) / length of one axis, (batch, point, 1)."""
    column = points[..., axis : axis + 1]
    return (column - domain.lower[axis]) * (1 / domain.extent[axis])


@dataclass(frozen=True)
class HardBoundary:
    """The conditions of one channel as u = lifting + factor network, on the axes that have ends.

    With s of an axis in [0, 1] the factor is 4 s (1 - s) between two given values, s or 1 - s at
    a single one, and s (2 - s) or 1 - s^2 where the other end has a given slope: so it vanishes
    where a value is given and has no slope where a slope is. The lifting takes the given numbers.

    Args:
        domain: Box of the points.
        ends: Conditions per axis.
        where: Name of the caller, for messages.

    Raises:
        ValueError: If conditions of different axes contradict each other in the corners.
    """

    domain: Box
    ends: tuple[AxisEnds, ...]
    where: str = "HardBoundary"
    needs_lifting: bool = True

    def __post_init__(self) -> None:
        if self.needs_lifting:
            self._check_corners()

    @property
    def is_free(self) -> bool:
        """Whether there is neither a factor nor a lifting."""
        return not self._value_axes and not self._slope_axes

    def factor(self, points: Any) -> Any:
        """Zero where a value is given (batch, point, 1); the number 1 if there is none."""
        total: Any = 1.0
        for axis in self._value_axes:
            s = unit_coordinate(points, self.domain, axis)
            total = total * self._axis_factor(s, *self.ends[axis])
        return total

    def lifting(self, points: Any) -> Any:
        """A simple function with the given values and slopes (batch, point, 1), or a number."""
        if len(self._value_axes) > 1:
            return self._values[0]
        total: Any = 0.0
        for axis in (*self._value_axes, *self._slope_axes):
            s = unit_coordinate(points, self.domain, axis)
            total = total + self._axis_lifting(s, axis)
        return total

    @property
    def _value_axes(self) -> list[int]:
        return [n for n, ends in enumerate(self.ends) if any(_is_value(end) for end in ends)]

    @property
    def _slope_axes(self) -> list[int]:
        """Axes without given values, and with a slope that is not zero."""
        return [
            n
            for n, ends in enumerate(self.ends)
            if n not in self._value_axes and any(_number(end) for end in ends)
        ]

    @property
    def _values(self) -> list[float]:
        return [
            _number(end) for axis in self._value_axes for end in self.ends[axis] if _is_value(end)
        ]

    @staticmethod
    def _axis_factor(s: Any, lower: End, upper: End) -> Any:
        if _is_value(lower) and _is_value(upper):
            return 4.0 * (s * (1.0 - s))
        if _is_value(lower):
            return s * (2.0 - s) if upper is not None else s
        return 1.0 - s * s if lower is not None else 1.0 - s

    def _axis_lifting(self, s: Any, axis: int) -> Any:
        lower, upper = self.ends[axis]
        a, b, length = _number(lower), _number(upper), self.domain.extent[axis]
        if _is_value(lower) and _is_value(upper):
            return a if a == b else a + (b - a) * s
        if _is_value(lower):
            return a if b == 0 else a + b * length * s
        if _is_value(upper):
            return b if a == 0 else b - a * length * (1.0 - s)
        if lower is None:
            return b * length * s
        if upper is None:
            return a * length * s
        return length * (a * s + 0.5 * (b - a) * (s * s))

    def _check_corners(self) -> None:
        values, axes = self._values, self._value_axes
        slopes = [n for n, e in enumerate(self.ends) if any(_slope(end) for end in e)]
        is_mixed = len(set(values)) > 1 or bool(slopes)
        if (len(axes) > 1 and is_mixed) or (axes and self._slope_axes):
            raise ValueError(
                f"{self.where}: the conditions contradict each other in the corners: values "
                f"{values} on axes {axes}, slopes on axes {slopes}. Give a `lifting`, a "
                "function of the points that takes all of them, or use SoftBoundary."
            )


def axis_ends(
    boundary: Boundary | None | Sequence[Any],
    is_periodic: Sequence[bool],
    *,
    where: str,
) -> tuple[AxisEnds, ...]:
    """The conditions at the lower and the upper end of every axis; `None` leaves an end free.

    Args:
        boundary: One condition for all ends, one per axis, or (lower, upper) pairs per axis.
        is_periodic: Periodic axes; they have no ends.
        where: Name of the caller, for messages.

    Raises:
        ValueError: If the number of axes is another, or a condition cannot hold by construction.
    """
    entries = list(boundary) if isinstance(boundary, Sequence) else [boundary] * len(is_periodic)
    if len(entries) != len(is_periodic):
        raise ValueError(
            f"{where}: `boundary` must be one condition, or one per axis ({len(is_periodic)}), "
            f"got {len(entries)}; the ends of one axis make a pair: [(lower, upper)]."
        )
    found = []
    for entry, periodic in zip(entries, is_periodic, strict=True):
        pair = tuple(entry) if isinstance(entry, Sequence) else (entry, entry)
        if len(pair) != 2:
            raise ValueError(
                f"{where}: the ends of an axis need a pair of conditions, got {entry}."
            )
        found.append(
            (None, None)
            if periodic
            else (_own_end(pair[0], 0, where=where), _own_end(pair[1], 1, where=where))
        )
    return tuple(found)


def embedding_kinds(
    channels: Sequence[tuple[AxisEnds, ...]], is_periodic: Sequence[bool], *, where: str
) -> tuple[Kind, ...]:
    """How each coordinate enters the network, which all channels share.

    Raises:
        ValueError: If a slope is given for some channels only.
    """
    kinds: list[Kind] = []
    for axis, periodic in enumerate(is_periodic):
        slopes = {tuple(isinstance(end, Neumann) for end in ends[axis]) for ends in channels}
        if len(slopes) > 1:
            raise ValueError(
                f"{where}: a given slope holds by construction only if all channels have one at "
                f"the same ends of axis {axis}; use SoftBoundary for it, or one field each."
            )
        lower, upper = slopes.pop()
        kinds.append(
            "periodic"
            if periodic
            else "even"
            if lower and upper
            else "even_lower"
            if lower
            else "even_upper"
            if upper
            else "plain"
        )
    return tuple(kinds)


def channel_ends(
    boundary: Boundary | None | Mapping[int, Any],
    num_channels: int,
    is_periodic: Sequence[bool],
    *,
    where: str,
) -> tuple[tuple[AxisEnds, ...], ...]:
    """`axis_ends` for every channel; a mapping gives them by the number of the channel."""
    if not isinstance(boundary, Mapping):
        return (axis_ends(boundary, is_periodic, where=where),) * num_channels
    unknown = [key for key in boundary if not 0 <= key < num_channels]
    if unknown:
        raise ValueError(
            f"{where}: `boundary` names the channels {unknown}, the field has {num_channels}."
        )
    return tuple(
        axis_ends(boundary.get(c), is_periodic, where=f"{where}, channel {c}")
        for c in range(num_channels)
    )


def _own_end(condition: Any, side: int, *, where: str) -> End:
    if condition is None:
        return None
    if isinstance(condition, Outflow):
        return Neumann(0.0)
    if isinstance(condition, Dirichlet):
        value = condition.value
        return Dirichlet(value[side] if isinstance(value, Sequence) else value)
    if isinstance(condition, Neumann):
        slope = condition.derivative
        return Neumann(slope[side] if isinstance(slope, Sequence) else slope)
    raise ValueError(
        f"{where}: {condition!r} cannot hold by construction; Dirichlet, Neumann and Outflow can, "
        "Periodic axes are those of the grid. Use SoftBoundary for others."
    )


def _is_value(end: End) -> bool:
    return isinstance(end, Dirichlet)


def _slope(end: End) -> float:
    return _number(end) if isinstance(end, Neumann) else 0.0


def _number(end: End) -> float:
    number = 0.0
    if isinstance(end, Dirichlet):
        number = end.value
    elif isinstance(end, Neumann):
        number = end.derivative
    assert not isinstance(number, tuple)
    return float(number)


Lifting = Callable[[Any], Any]
