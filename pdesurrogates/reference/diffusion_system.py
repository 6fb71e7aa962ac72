"""The symmetric linear system of -div(a grad u) = f on a box of points or cells."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pdesurrogates.core import (
    Boundary,
    BoundaryCondition,
    Dirichlet,
    Grid,
    Neumann,
    Periodic,
    boundary_sides,
)
from pdesurrogates.operators import FastPoisson

__all__ = ["DiffusionSystem"]


class DiffusionSystem:
    """Fluxes through the faces between points, balanced over the cell around each point.

    With a the harmonic mean of the coefficient on the two sides of a face, w the volume of a cell
    and its faces in units of whole ones (points on an end own half a cell), and h the spacing:

        (S u)_i = sum over faces of w a / h^2 (u_i - u_neighbour) + walls_i u_i = w_i f_i + ends_i

    S is symmetric, and positive but for constants where nothing is Dirichlet. What depends on the
    coefficient is an argument of every method, so that gradients can be taken with respect to it.

    Args:
        grid: Points or cells.
        boundary: Dirichlet, Neumann or Outflow per axis and side.
        device: Where the constants live.

    Shape:
        every field: (batch, 1, *space), float64
    """

    def __init__(self, grid: Grid, boundary: Boundary | None, device: torch.device) -> None:
        self.grid = grid
        self.axes = tuple(range(-grid.dim, 0))
        like = torch.zeros((), dtype=torch.float64, device=device)
        solver = FastPoisson(grid, boundary)
        self.is_singular = solver.is_singular
        self.unknown, self.fixed = solver.unknown(like), solver.fixed_values(like)
        sides = boundary_sides(boundary, grid, where="solve_steady")
        self._inverse_laplacian = FastPoisson(
            grid, [(_homogeneous(low), _homogeneous(high)) for low, high in sides]
        )
        lengths = [self._lengths(axis) for axis in self.axes]
        self.weights = torch.ones(grid.shape, dtype=torch.float64)
        for length in lengths:
            self.weights = self.weights * length
        self._areas = [(self.weights / length).to(device) for length in lengths]
        self._wall_factor = torch.zeros(grid.shape, dtype=torch.float64)
        self._end_factor = torch.zeros(grid.shape, dtype=torch.float64)
        for axis, pair in zip(self.axes, sides, strict=True):
            for index, end in zip((0, -1), pair, strict=True):
                self._add_end(axis, index, end)
        self.weights = self.weights.to(device)
        self._wall_factor = self._wall_factor.to(device)
        self._end_factor = self._end_factor.to(device)

    def _lengths(self, axis: int) -> Tensor:
        """What part of a whole cell each point owns along an axis."""
        length = torch.ones(self.grid.num_points[axis], dtype=torch.float64)
        if not (self.grid.is_periodic[axis] or self.grid.cell_centred):
            length[0] = length[-1] = 0.5
        return length.reshape(-1, *(1,) * (-axis - 1))

    def _add_end(self, axis: int, index: int, end: BoundaryCondition) -> None:
        """What the condition at one end of an axis adds to the diagonal and to the right side."""
        h = self.grid.spacing[axis]
        if isinstance(end, Dirichlet) and self.grid.cell_centred:
            value: Any = end.value
            self._wall_factor.select(axis, index).add_(2 / h**2)
            self._end_factor.select(axis, index).add_(2 * float(value) / h**2)
        elif isinstance(end, Neumann):
            derivative: Any = end.derivative
            outward = float(derivative) if index else -float(derivative)
            area = self._areas[axis].cpu().expand(self.grid.shape).select(axis, index)
            self._end_factor.select(axis, index).add_(area * outward / h)

    def faces(self, coefficient: Tensor) -> tuple[Tensor, ...]:
        """Conductance of the face between i and i + 1 per axis, zero where there is none."""
        conductances = []
        for axis, area in zip(self.axes, self._areas, strict=True):
            ahead = coefficient.roll(-1, axis)
            mean = 2 * coefficient * ahead / (coefficient + ahead)
            if not self.grid.is_periodic[axis]:
                inner = torch.ones_like(coefficient)
                inner.select(axis, -1).zero_()
                mean = mean * inner
            conductances.append(mean * area / self.grid.spacing[axis] ** 2)
        return tuple(conductances)

    def walls(self, coefficient: Tensor) -> Tensor:
        """What walls half a cell outside add to the diagonal."""
        return coefficient * self._wall_factor

    def right_hand_side(
        self, coefficient: Tensor, forcing: Tensor, walls: Tensor, faces: tuple[Tensor, ...]
    ) -> Tensor:
        """The right side for the unknowns, with what is known of u moved there."""
        total = self.weights * forcing + coefficient * self._end_factor
        return (total - self._apply(self.fixed, walls, faces)) * self.unknown

    def matvec(self, u: Tensor, walls: Tensor, faces: tuple[Tensor, ...]) -> Tensor:
        """S u for u that is zero where u is given."""
        return self._apply(u, walls, faces) * self.unknown

    def _apply(self, u: Tensor, walls: Tensor, faces: tuple[Tensor, ...]) -> Tensor:
        total = walls * u
        for axis, (face, difference) in zip(
            self.axes, zip(faces, self.differences(u), strict=True), strict=True
        ):
            flux = face * difference
            total = total + flux.roll(1, axis) - flux
        return total

    def differences(self, u: Tensor) -> tuple[Tensor, ...]:
        """u_{i+1} - u_i per axis."""
        return tuple(u.roll(-1, axis) - u for axis in self.axes)

    def precondition(self, residual: Tensor) -> Tensor:
        """S^-1 residual for a coefficient of 1: times S, a spectrum in the coefficient's range.

        Where constants are left open it ignores the part of the residual that no u can balance,
        and gives fields of zero mean.
        """
        return -self._inverse_laplacian(residual / self.weights)


def _homogeneous(side: BoundaryCondition) -> BoundaryCondition:
    if isinstance(side, Periodic):
        return side
    return Dirichlet(0.0) if isinstance(side, Dirichlet) else Neumann(0.0)
