"""What words do we share? Grids, fields, boundaries, call forms and seeds."""

from pdesurrogates.core.boundary import (
    Boundary,
    BoundaryCondition,
    BoundarySides,
    Dirichlet,
    FieldBoundary,
    Neumann,
    Outflow,
    Periodic,
    Robin,
    boundary_sides,
    field_boundaries,
)
from pdesurrogates.core.box import Box
from pdesurrogates.core.fields import FieldSpec
from pdesurrogates.core.grid import Grid
from pdesurrogates.core.seeding import NoiseStream, generator
from pdesurrogates.core.types import (
    OneStepMap,
    StatefulStep,
    TimeDerivative,
    check_finite,
    check_state,
    check_times,
    per_sample,
)

__all__ = [
    "Boundary",
    "BoundaryCondition",
    "BoundarySides",
    "Box",
    "Dirichlet",
    "FieldBoundary",
    "FieldSpec",
    "Grid",
    "Neumann",
    "NoiseStream",
    "OneStepMap",
    "Outflow",
    "Periodic",
    "Robin",
    "StatefulStep",
    "TimeDerivative",
    "boundary_sides",
    "check_finite",
    "check_state",
    "check_times",
    "field_boundaries",
    "generator",
    "per_sample",
]
