"""What words do we share? Grids, fields, boundaries, call forms and seeds."""

from pdesurrogates.core.boundary import (
    Boundary,
    BoundaryCondition,
    Dirichlet,
    Neumann,
    Outflow,
    Periodic,
    boundary_sides,
)
from pdesurrogates.core.fields import FieldSpec
from pdesurrogates.core.grid import Grid
from pdesurrogates.core.seeding import generator
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
    "Dirichlet",
    "FieldSpec",
    "Grid",
    "Neumann",
    "OneStepMap",
    "Outflow",
    "Periodic",
    "StatefulStep",
    "TimeDerivative",
    "boundary_sides",
    "check_finite",
    "check_state",
    "check_times",
    "generator",
    "per_sample",
]
