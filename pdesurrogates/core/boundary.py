"""What happens at the ends of an axis: boundary conditions, shared by all solvers and networks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pdesurrogates.core.fields import FieldSpec
from pdesurrogates.core.grid import Grid

__all__ = [
    "Boundary",
    "BoundaryCondition",
    "BoundarySides",
    "Dirichlet",
    "FieldBoundary",
    "Neumann",
    "Outflow",
    "Periodic",
    "Robin",
    "boundary_sides",
    "field_boundaries",
]


@dataclass(frozen=True)
class Periodic:
    """The axis closes on itself: u(x + L) = u(x)."""


@dataclass(frozen=True)
class Dirichlet:
    """Prescribed value at the ends: u = value.

    Args:
        value: Value at the lower and the upper end [unit of the field].
    """

    value: float | tuple[float, float] = 0.0


@dataclass(frozen=True)
class Neumann:
    """Prescribed derivative along the axis at the ends: du/dx = derivative.

    Args:
        derivative: Value at the lower and the upper end [unit of the field / length].
    """

    derivative: float | tuple[float, float] = 0.0


@dataclass(frozen=True)
class Robin:
    """Value and derivative along the axis together:

        value_factor u + derivative_factor du/dx = total

    A flux that leaves in proportion to the value, for instance: h u + k du/dx = 0 at an upper
    end, h u - k du/dx = 0 at a lower one (the derivative is along the axis, not outward).

    Args:
        value_factor: Factor of u.
        derivative_factor: Factor of du/dx, not zero.
        total: What they add up to.
    """

    value_factor: float
    derivative_factor: float
    total: float = 0.0

    def __post_init__(self) -> None:
        numbers = (self.value_factor, self.derivative_factor, self.total)
        if not all(math.isfinite(number) for number in numbers) or self.derivative_factor == 0:
            raise ValueError(
                "Robin: value_factor, derivative_factor and total must be finite and the second "
                f"not zero, got {numbers}; without a derivative it is Dirichlet(total)."
            )


@dataclass(frozen=True)
class Outflow:
    """Nothing comes back: the state is extrapolated with zero gradient."""


BoundaryCondition = Periodic | Dirichlet | Neumann | Robin | Outflow

BoundarySides = tuple[tuple[BoundaryCondition, BoundaryCondition], ...]
"""The conditions at the lower and the upper end, one pair per axis."""

Boundary = (
    BoundaryCondition | Sequence[BoundaryCondition | tuple[BoundaryCondition, BoundaryCondition]]
)
"""One condition for all ends, or one per axis, or (lower, upper) pairs per axis."""

FieldBoundary = Boundary | Mapping[str, Boundary]
"""The same for every field of a state, or by the name of a field or vector."""


def field_boundaries(
    boundary: FieldBoundary | None, fields: FieldSpec, grid: Grid, *, where: str
) -> tuple[BoundarySides, ...]:
    """The conditions of every channel of a state, as `boundary_sides` gives them.

    Args:
        boundary: What the user gave; the name of a vector stands for all its components.
        fields: Names of the channels.
        grid: Says which axes are periodic.
        where: Name of the caller, for the message.

    Raises:
        ValueError: If a field has no conditions, or a name is none of the fields.
    """
    if not isinstance(boundary, Mapping):
        return (boundary_sides(boundary, grid, where=where),) * fields.num_channels
    sides: list[BoundarySides | None] = [None] * fields.num_channels
    for name, own in boundary.items():
        for channel in range(fields.num_channels)[fields.channels(name)]:
            sides[channel] = boundary_sides(own, grid, where=f"{where}, field {name!r}")
    missing = [name for name, own in zip(fields.names, sides, strict=True) if own is None]
    if missing:
        raise ValueError(
            f"{where}: `boundary` gives conditions for {tuple(boundary)}, but not for {missing}; "
            "add them, or give one condition for all fields."
        )
    return tuple(own for own in sides if own is not None)


def boundary_sides(boundary: Boundary | None, grid: Grid, *, where: str) -> BoundarySides:
    """The condition at the lower and the upper end of every axis, with one number each.

    `None` stands for periodic axes; on a periodic axis a condition given for all axes is ignored.

    Args:
        boundary: What the user gave.
        grid: Says which axes are periodic.
        where: Name of the caller, for the message.

    Raises:
        ValueError: If an axis with ends has no condition, or a periodic one has another.
    """
    is_list = isinstance(boundary, Sequence)
    entries = list(boundary) if is_list else [boundary] * grid.dim
    if len(entries) != grid.dim:
        raise ValueError(
            f"{where}: `boundary` must be one condition, or one per axis ({grid.dim}), got "
            f"{len(entries)}; the ends of one axis make a pair: [(lower, upper)]."
        )
    sides = []
    for axis, (entry, periodic) in enumerate(zip(entries, grid.is_periodic, strict=True)):
        pair: tuple[Any, ...] = tuple(entry) if isinstance(entry, Sequence) else (entry, entry)
        if periodic:
            if is_list and any(not isinstance(side, Periodic | None) for side in pair):
                raise ValueError(
                    f"{where}: axis {axis} of the grid is periodic and can have no other "
                    f"condition, got {entry}; make the grid with periodic=False there."
                )
            sides.append((Periodic(), Periodic()))
            continue
        if len(pair) != 2 or any(isinstance(side, Periodic | None) for side in pair):
            raise ValueError(
                f"{where}: axis {axis} of the grid has ends, which need conditions (Dirichlet, "
                f"Neumann, Robin, Outflow), got {entry}; or make the grid periodic."
            )
        sides.append((_one_side(pair[0], 0), _one_side(pair[1], 1)))
    return tuple(sides)


def _one_side(condition: BoundaryCondition, side: int) -> BoundaryCondition:
    """The condition with the number of its own end."""
    if isinstance(condition, Dirichlet) and isinstance(condition.value, Sequence):
        return Dirichlet(condition.value[side])
    if isinstance(condition, Neumann) and isinstance(condition.derivative, Sequence):
        return Neumann(condition.derivative[side])
    return condition
