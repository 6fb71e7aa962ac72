"""What happens at the ends of an axis: boundary conditions, shared by all solvers and networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pdesurrogates.core.grid import Grid

__all__ = [
    "Boundary",
    "BoundaryCondition",
    "Dirichlet",
    "Neumann",
    "Outflow",
    "Periodic",
    "boundary_sides",
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
class Outflow:
    """Nothing comes back: the state is extrapolated with zero gradient."""


BoundaryCondition = Periodic | Dirichlet | Neumann | Outflow

Boundary = (
    BoundaryCondition | Sequence[BoundaryCondition | tuple[BoundaryCondition, BoundaryCondition]]
)
"""One condition for all ends, or one per axis, or (lower, upper) pairs per axis."""


def boundary_sides(
    boundary: Boundary | None, grid: Grid, *, where: str
) -> tuple[tuple[BoundaryCondition, BoundaryCondition], ...]:
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
            f"{len(entries)}."
        )
    sides = []
    for axis, (entry, periodic) in enumerate(zip(entries, grid.is_periodic, strict=True)):
        pair = tuple(entry) if isinstance(entry, Sequence) else (entry, entry)
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
                f"Neumann, Outflow), got {entry}; or make the grid periodic."
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
