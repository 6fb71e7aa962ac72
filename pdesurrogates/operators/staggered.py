"""The marker-and-cell grid: velocity components on the faces of cells, everything else inside."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from pdesurrogates.core import FieldBoundary, Grid, Neumann
from pdesurrogates.operators.base import Coefficient, Derivatives
from pdesurrogates.operators.poisson import FastPoisson
from pdesurrogates.operators.walls import wall_mirrors

__all__ = ["PressureSolver", "StaggeredGrid"]

PressureSolver = Callable[[Tensor], Tensor]
"""Right-hand side (batch, 1, *space) to the p with div grad p = rhs, closed at walls."""


class StaggeredGrid(Derivatives):
    """Second-order differences on a staggered grid, with walls and periodic axes.

    The grid's points are the centres of cells. The velocity component along an axis lives on the
    faces across it: face i + 1/2 is stored at index i, so a component has the shape of the grid.
    Where the axis has walls, the last index is the high wall and the low wall, which is not
    stored, is found there too when shifting by one: both carry no flow. A closed box therefore
    computes like a periodic one whose last face is shut.

    The discrete divergence and gradient are each other's negative transpose, so `project` is
    an orthogonal projection, and `advection` in divergence form neither makes nor destroys
    kinetic energy when the velocity has no discrete divergence.

    Reference:
        Numerical calculation of time-dependent viscous incompressible flow of fluid with free
        surface (Harlow and Welch, 1965).

    Args:
        grid: Cells that fill the box (`cell_centred=True`) where an axis has walls.
        boundary: What the walls do to the velocity *along* them; nothing flows through.
            `Dirichlet(0.0)` is no slip, `Neumann(0.0)` free slip, `Dirichlet((0.0, 1.0))` a
            moving wall at the high end. One condition or one per axis for all components, or a
            mapping from `"velocity_x"`, ... to such.
        pressure_solver: Solves div grad p = rhs with no flux through walls; `FastPoisson` by
            default.

    Raises:
        ValueError: If an axis with walls has points on its ends, a condition is missing or lets
            something through a wall.

    Shape:
        every field: (batch, 1, *space)

    Example:
        >>> from pdesurrogates.core import Dirichlet
        >>> box = Grid((4, 4), (1.0,), periodic=False, cell_centred=True)
        >>> d = StaggeredGrid(box, Dirichlet(0.0))
        >>> u, v = d.project(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 4, 4))
        >>> u.abs().max().item() < 1e-6  # nothing can flow through a closed box
        True
    """

    def __init__(
        self,
        grid: Grid,
        boundary: FieldBoundary | None = None,
        *,
        pressure_solver: PressureSolver | None = None,
    ) -> None:
        if not (grid.cell_centred or all(grid.is_periodic)):
            raise ValueError(
                "StaggeredGrid: walls are faces of cells, but this grid has points on its ends; "
                "make it with Grid(..., periodic=..., cell_centred=True)."
            )
        self.grid = grid
        self.dim = grid.dim
        self.walls = tuple(axis for axis in range(grid.dim) if not grid.is_periodic[axis])
        self._mirrors = wall_mirrors(boundary, grid)
        if pressure_solver is None:
            pressure_solver = FastPoisson(grid, Neumann(0.0))
        self.pressure_solver = pressure_solver
        self._masks: dict[tuple, Tensor] = {}

    def divergence(self, *velocity: Tensor) -> Tensor:
        """Sum of (u_{i+1/2} - u_{i-1/2}) / h over axes, at the centres."""
        terms = [
            (u - self._behind(u, axis)) / self.grid.spacing[axis]
            for axis, u in enumerate(velocity)
        ]
        return sum(terms[1:], start=terms[0])

    def gradient(self, u: Tensor) -> tuple[Tensor, ...]:
        """(u_{i+1} - u_i) / h on the faces of each axis, zero on walls."""
        return tuple(
            self.close((self._ahead(u, axis) - u) / self.grid.spacing[axis], axis)
            for axis in range(self.dim)
        )

    def project(self, *velocity: Tensor) -> tuple[Tensor, ...]:
        """The nearest face field without discrete divergence and without flow through walls."""
        closed = [self.close(u, axis) for axis, u in enumerate(velocity)]
        slope = self.gradient(self.pressure_solver(self.divergence(*closed)))
        return tuple(u - g for u, g in zip(closed, slope, strict=True))

    def advection(self, *velocity: Tensor) -> tuple[Tensor, ...]:
        """div(u u_a) for every component, by central averages of the fluxes.

        Fluxes u_a u_a sit in cell centres and u_a u_b on edges, where both are averages of two
        neighbours. On a wall the edge flux vanishes with the velocity through it.
        """
        spacing = self.grid.spacing
        padded = [self._padded(u, axis) for axis, u in enumerate(velocity)]
        rates = []
        for a, u in enumerate(padded):
            twice = self._sums(self._inner(u, keep=(a,)), a)
            rates.append(self._differences(twice * twice, a) / (4 * spacing[a]))
        for a, b in combinations(range(self.dim), 2):
            # Edges around all cells: one more than cells along both axes.
            twice_a = self._sums(self._without_last(self._inner(padded[a], keep=(a, b)), a), b)
            twice_b = self._sums(self._without_last(self._inner(padded[b], keep=(a, b)), b), a)
            edge = twice_a * twice_b
            along_b = self._differences(self._without_first(edge, a), b)
            along_a = self._differences(self._without_first(edge, b), a)
            rates[a] = torch.add(rates[a], along_b, alpha=0.25 / spacing[b])
            rates[b] = torch.add(rates[b], along_a, alpha=0.25 / spacing[a])
        return tuple(rates)

    def diffusion(self, *velocity: Tensor) -> tuple[Tensor, ...]:
        """lap u_a for every component, walls by a mirrored value half a cell outside."""
        weights = [1 / h**2 for h in self.grid.spacing]
        rates = []
        for component, u in enumerate(velocity):
            padded = self._padded(u, component)
            rate = u * (-2 * sum(weights))
            for axis, weight in enumerate(weights):
                line, n = self._inner(padded, keep=(axis,)), self.grid.num_points[axis]
                sides = line.narrow(axis - self.dim, 0, n) + line.narrow(axis - self.dim, 2, n)
                rate = torch.add(rate, sides, alpha=weight)
            rates.append(rate)
        return tuple(rates)

    def transport(self, u: Tensor, *velocity: Tensor) -> Tensor:
        """div(velocity u) of a quantity at the centres, conserving it and keeping its bounds.

        Upwind fluxes with slopes limited after van Leer: second order where u is smooth, first at
        its extrema and beside walls. With velocities free of divergence and SSP steppers up to
        Courant number 1/2 no new maximum or minimum appears.

        Reference:
            Towards the ultimate conservative difference scheme II (van Leer, 1974).
        """
        total = torch.zeros_like(u)
        for axis, (speed, h) in enumerate(zip(velocity, self.grid.spacing, strict=True)):
            jump = self.close(self._ahead(u, axis) - u, axis)
            half_slope = _half_van_leer(self._behind(jump, axis), jump)
            upwind = torch.where(speed > 0, u + half_slope, self._ahead(u - half_slope, axis))
            flux = speed * upwind
            total = total + (flux - self._behind(flux, axis)) / h
        return total

    def to_faces(self, *centred: Tensor) -> tuple[Tensor, ...]:
        """Components at the centres to those on the faces, by averages; walls stay shut."""
        return tuple(self.close(self.midway(u, axis), axis) for axis, u in enumerate(centred))

    def to_centres(self, *velocity: Tensor) -> tuple[Tensor, ...]:
        """Components on the faces to those at the centres, by averages."""
        return tuple((u + self._behind(u, axis)) / 2 for axis, u in enumerate(velocity))

    def midway(self, u: Tensor, axis: int) -> Tensor:
        """The average of the values at i and i + 1; on walls it means nothing."""
        return (u + self._ahead(u, axis)) / 2

    def cell_speeds(self, *velocity: Tensor) -> tuple[Tensor, ...]:
        """The larger absolute value at the two faces of each cell, one field per axis."""
        return tuple(
            torch.maximum(u.abs(), self._behind(u, axis).abs()) for axis, u in enumerate(velocity)
        )

    def face_coordinates(self, axis: int) -> Tensor:
        """Coordinates (dim, *space) of the faces across an axis, float64."""
        coordinates = self.grid.coordinates()
        coordinates[axis] += self.grid.spacing[axis] / 2
        return coordinates

    def close(self, u: Tensor, axis: int) -> Tensor:
        """A field on the faces across an axis, with zero on its walls."""
        if axis not in self.walls:
            return u
        key = (axis, u.dtype, u.device)
        if key not in self._masks:
            with torch.inference_mode(False), torch.no_grad():
                mask = torch.ones(self.grid.num_points[axis], dtype=u.dtype)
                mask[-1] = 0.0
                shape = [1] * self.dim
                shape[axis] = -1
                self._masks[key] = mask.reshape(shape).to(u.device)
        return u * self._masks[key]

    @property
    def wall_speed(self) -> float:
        """The largest speed of a wall [unit of the velocity]."""
        pairs = [pair for ends in self._mirrors.values() for pair in ends]
        return max((abs(shift) / 2 for sign, shift in pairs if sign < 0), default=0.0)

    def components(self, u: Tensor) -> tuple[Tensor, ...]:
        return u.split(1, dim=1)

    def stack(self, *fields: Tensor) -> Tensor:
        return torch.cat(fields, dim=1)

    def coefficient(self, value: Coefficient) -> Any:
        """A number as it is, a (batch,) tensor shaped to multiply fields, values at centres."""
        if isinstance(value, Tensor) and value.ndim == 1:
            return value.reshape(-1, *(1,) * (self.dim + 1))
        if callable(value):
            value = torch.as_tensor(value(*self.grid.coordinates()))
            value = value.expand(self.grid.shape)[None, None]
        if isinstance(value, Tensor) and value.ndim and tuple(value.shape[2:]) != self.grid.shape:
            raise ValueError(
                "StaggeredGrid: a coefficient that varies in space must have shape (batch or 1, "
                f"1, *space) with space {self.grid.shape}, got {tuple(value.shape)}."
            )
        return value

    def on_faces(self, value: Coefficient, axis: int) -> Any:
        """A coefficient on the faces across an axis: a function there, values by averages."""
        if callable(value):
            value = torch.as_tensor(value(*self.face_coordinates(axis)))
            return value.expand(self.grid.shape)[None, None]
        own = self.coefficient(value)
        is_field = isinstance(own, Tensor) and tuple(own.shape[2:]) == self.grid.shape
        return self.midway(own, axis) if is_field else own

    def derivative(self, u: Any, axis: int, order: int = 1) -> Any:
        raise ValueError(
            "StaggeredGrid: velocities live on faces and scalars in cells, so there is no one "
            "derivative; it serves IncompressibleNavierStokes. For other equations use "
            "FiniteDifferences or FiniteVolumes."
        )

    def _ahead(self, u: Tensor, axis: int) -> Tensor:
        """The value at i + 1; beyond a wall it is the one at the other wall."""
        return u.roll(-1, axis - self.dim)

    def _behind(self, u: Tensor, axis: int) -> Tensor:
        """The value at i - 1; before the low wall it is the one at the high wall."""
        return u.roll(1, axis - self.dim)

    def _padded(self, u: Tensor, component: int) -> Tensor:
        """A velocity component with one more value at both ends of every axis.

        Along a periodic axis and its own they are the ones of the other end, which makes the low
        wall shut; what lies beyond the high wall reaches only the rate of that wall's own face.
        """
        for axis in range(self.dim):
            dim = axis - self.dim
            first, last = u.narrow(dim, 0, 1), u.narrow(dim, u.shape[dim] - 1, 1)
            low, high = last, first
            if axis in self.walls and axis != component:
                (sign_low, shift_low), (sign_high, shift_high) = self._mirrors[component, axis]
                low, high = sign_low * first + shift_low, sign_high * last + shift_high
            u = torch.cat((low, u, high), dim=dim)
        return u

    def _inner(self, padded: Tensor, *, keep: tuple[int, ...]) -> Tensor:
        """Without the added values, except along some axes."""
        for axis in range(self.dim):
            if axis not in keep:
                padded = padded.narrow(axis - self.dim, 1, self.grid.num_points[axis])
        return padded

    def _without_first(self, u: Tensor, axis: int) -> Tensor:
        dim = axis - self.dim
        return u.narrow(dim, 1, u.shape[dim] - 1)

    def _without_last(self, u: Tensor, axis: int) -> Tensor:
        dim = axis - self.dim
        return u.narrow(dim, 0, u.shape[dim] - 1)

    def _sums(self, u: Tensor, axis: int) -> Tensor:
        """u_{i+1} + u_i, one less along the axis."""
        return self._without_first(u, axis) + self._without_last(u, axis)

    def _differences(self, u: Tensor, axis: int) -> Tensor:
        """u_{i+1} - u_i, one less along the axis."""
        return self._without_first(u, axis) - self._without_last(u, axis)


def _half_van_leer(a: Tensor, b: Tensor) -> Tensor:
    """Half the harmonic mean of two slopes of one sign, zero otherwise: a b / (a + b)."""
    product = a * b
    is_monotone = product > 0
    return torch.where(is_monotone, product / torch.where(is_monotone, a + b, 1.0), 0.0)
