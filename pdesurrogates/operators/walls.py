"""What walls do to the velocity along them: the value half a cell outside a staggered grid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pdesurrogates.core import (
    BoundaryCondition,
    BoundarySides,
    Dirichlet,
    FieldBoundary,
    FieldSpec,
    Grid,
    Neumann,
    Outflow,
    Periodic,
    boundary_sides,
    field_boundaries,
)

__all__ = ["Mirror", "wall_mirrors"]

Mirror = tuple[float, float]
"""(sign, shift) such that sign u + shift outside a wall gives the wall its value or derivative."""

_NAMES = ("velocity_x", "velocity_y", "velocity_z")
_NO_FLUX = (Periodic(), Neumann(0.0), Outflow())
_WHERE = "StaggeredGrid"


def wall_mirrors(
    boundary: FieldBoundary | None, grid: Grid
) -> dict[tuple[int, int], tuple[Mirror, Mirror]]:
    """How each velocity component is mirrored at both ends of each axis.

    Args:
        boundary: Conditions for all components, or by name; those on a component's own axis only
            have to be free of flow.
        grid: Says which axes have walls.

    Returns:
        The pairs for the lower and the upper end by (component, axis).

    Raises:
        ValueError: If a condition is missing, is none of a wall, or lets something through.
    """
    return {
        (component, axis): (_mirror(low, -h), _mirror(high, h))
        for component, sides in enumerate(_conditions(boundary, grid))
        for axis, ((low, high), h) in enumerate(zip(sides, grid.spacing, strict=True))
    }


def _conditions(boundary: FieldBoundary | None, grid: Grid) -> tuple[BoundarySides, ...]:
    """What every wall does to every velocity component, checked."""
    names = _NAMES[: grid.dim]
    if isinstance(boundary, Mapping):
        scalars = {name: own for name, own in boundary.items() if not name.startswith("velocity")}
        for name, own in scalars.items():
            sides = boundary_sides(own, grid, where=f"{_WHERE}, field {name!r}")
            if any(end not in _NO_FLUX for pair in sides for end in pair):
                raise ValueError(
                    f"{_WHERE}: scalars have no flux through walls, so field {name!r} can have "
                    f"Neumann(0.0) only, got {own}."
                )
        boundary = {name: own for name, own in boundary.items() if name not in scalars}
    conditions = field_boundaries(boundary, FieldSpec(names), grid, where=_WHERE)
    is_named = isinstance(boundary, Mapping)
    for component, sides in enumerate(conditions):
        for axis, end in ((axis, end) for axis, pair in enumerate(sides) for end in pair):
            if not isinstance(end, Periodic | Dirichlet | Neumann):
                raise ValueError(
                    f"{_WHERE}: {names[component]} has {end} on axis {axis}, but there are walls "
                    "only: Dirichlet (no slip, or the speed of the wall) or Neumann (free slip)."
                )
            if is_named and component == axis and end not in (*_NO_FLUX, Dirichlet(0.0)):
                raise ValueError(
                    f"{_WHERE}: {end} would let {names[component]} through the walls of axis "
                    f"{axis}; give Dirichlet(0.0) there, and the motion of the other walls per "
                    "axis, e.g. (Dirichlet(0.0), Dirichlet((0.0, 1.0)))."
                )
    return conditions


def _mirror(end: BoundaryCondition, step: float) -> tuple[float, float]:
    number: Any = end.value if isinstance(end, Dirichlet) else getattr(end, "derivative", 0.0)
    return (-1.0, 2 * float(number)) if isinstance(end, Dirichlet) else (1.0, step * float(number))
