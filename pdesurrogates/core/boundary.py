"""What happens at the ends of an axis: boundary conditions, shared by all solvers and networks."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BoundaryCondition", "Dirichlet", "Neumann", "Outflow", "Periodic"]


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
