"""Direct solution of Poisson's equation on a box: each axis is diagonalised by itself."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pdesurrogates.core import (
    Boundary,
    BoundaryCondition,
    Dirichlet,
    Grid,
    Neumann,
    Robin,
    boundary_sides,
)

__all__ = ["FastPoisson"]


class _End(NamedTuple):
    """One end of an axis: its value is fixed to `number`, or its derivative is."""

    is_fixed: bool
    number: float


class _WallModes(NamedTuple):
    """Eigenvectors of the three-point second derivative on an axis with ends.

    Columns of `synthesis` (N, modes) are sines or cosines; `analysis` (modes, N) is its inverse
    on the unknown points; `eigenvalues` (modes,) are negative or zero [1/length^2].
    """

    analysis: Tensor
    synthesis: Tensor
    eigenvalues: Tensor


def _end(condition: BoundaryCondition) -> _End:
    """Value or derivative at an end; `boundary_sides` has left one number per condition."""
    if isinstance(condition, Robin):
        raise ValueError(
            f"FastPoisson: {condition} has no sines or cosines for eigenvectors; use Dirichlet, "
            "Neumann or Outflow."
        )
    number: Any = 0.0
    if isinstance(condition, Dirichlet):
        number = condition.value
    elif isinstance(condition, Neumann):
        number = condition.derivative
    return _End(isinstance(condition, Dirichlet), float(number))


def _wall_modes(n: int, spacing: float, ends: tuple[_End, ...], cell_centred: bool) -> _WallModes:
    """Sines where the lower end is fixed, cosines where it is not, numbered by both ends.

    With kappa = 1, 2, .. (both ends fixed), 0, 1, .. (none) or 1/2, 3/2, .. (one), M intervals
    and theta_i = i / M on points, (i + 1/2) / M on cells:

        v_i = sin or cos(pi kappa theta_i),   eigenvalue = -(2 / h sin(pi kappa / (2 M)))^2
    """
    intervals = n if cell_centred else n - 1
    unknown = torch.ones(n, dtype=torch.float64)
    weights = torch.ones(n, dtype=torch.float64)
    if not cell_centred:
        for index, end in zip((0, -1), ends, strict=True):
            unknown[index] = float(not end.is_fixed)
            weights[index] = 0.5  # a point on an end owns half a cell
    twice_kappa = 2 * torch.arange(int(unknown.sum())) + sum(end.is_fixed for end in ends)
    twice_index = 2 * torch.arange(n) + int(cell_centred)
    # Whole turns are dropped in integers, so that fast waves are as exact as slow ones.
    eighths = torch.outer(twice_index, twice_kappa) % (8 * intervals)
    angle = eighths.double() * (math.pi / (4 * intervals))
    synthesis = (angle.sin() if ends[0].is_fixed else angle.cos()) * unknown[:, None]
    synthesis = synthesis / (weights @ synthesis**2).sqrt()
    sine = torch.sin(twice_kappa.double() * (math.pi / (4 * intervals)))
    return _WallModes(
        analysis=(synthesis * weights[:, None]).T.contiguous(),
        synthesis=synthesis.contiguous(),
        eigenvalues=-((2 / spacing * sine) ** 2),
    )


def _transform(matrix: Tensor, x: Tensor, axis: int) -> Tensor:
    """matrix (modes, N) along one of the last axes of x, as a product of matrices."""
    if axis == -1:
        return x @ matrix.T
    result = torch.matmul(matrix, x.flatten(axis + 1))
    return result.reshape(*x.shape[:axis], -1, *x.shape[axis + 1 :])


class FastPoisson:
    """Solves the second-order discrete Poisson equation exactly, without iteration.

        lap_h p = rhs,   (lap_h p)_i = sum over axes of (p_{i+1} - 2 p_i + p_{i-1}) / h^2

    The eigenvectors of each axis are known (sines, cosines, Fourier modes), so a solve is a
    transform per axis, a division by the sum of eigenvalues, and the transforms back. Axes with
    ends are transformed by a matrix product, periodic ones by a real FFT. Everything is a product
    with constants: it follows the dtype and device of `rhs` and is differentiable any number of
    times.

    Ends of an axis:

        cells   Dirichlet g: ghost 2 g - p_0 (wall half a cell outside);  Neumann d: p_0 -+ h d
        points  Dirichlet g: the end point is g, `rhs` there is ignored;  Neumann d: mirrored

    Warning:
        Without a Dirichlet end the solution is defined up to a constant and exists only if the
        mean of `rhs` matches the flux through the ends. The solution of zero mean is returned,
        for `rhs` with its mean replaced by the matching one; `is_singular` says so. Means weigh
        points on an end by one half.

    Reference:
        The methods of cyclic reduction, Fourier analysis and the FACR algorithm for the discrete
        solution of Poisson's equation on a rectangle (Swarztrauber, 1977).

    Args:
        grid: A grid of 1, 2 or 3 axes, of points or of cells.
        boundary: Condition per axis and side (Dirichlet, Neumann, or Outflow, which is Neumann
            of zero); `None` where all axes are periodic.

    Raises:
        ValueError: If a condition is Robin or missing, or a field is not on this grid.

    Shape:
        rhs: (..., *space) -> p: (..., *space), any leading axes

    Example:
        >>> from pdesurrogates.core import Dirichlet, Grid
        >>> solver = FastPoisson(Grid((5,), (1.0,), periodic=False), Dirichlet(0.0))
        >>> p = solver(torch.full((1, 1, 5), -2.0, dtype=torch.float64))
        >>> [round(value, 6) for value in p.flatten().tolist()]
        [0.0, 0.1875, 0.25, 0.1875, 0.0]
    """

    def __init__(self, grid: Grid, boundary: Boundary | None = None) -> None:
        self.grid = grid
        sides = boundary_sides(boundary, grid, where="FastPoisson")
        # Axes are counted from the end, because any number of axes may stand before them.
        self._axes = range(-grid.dim, 0)
        self._periodic = tuple(axis for axis in self._axes if grid.is_periodic[axis])
        self._ends = {
            axis: (_end(sides[axis][0]), _end(sides[axis][1]))
            for axis in self._axes
            if not grid.is_periodic[axis]
        }
        self._cache: dict[tuple, Tensor | None] = {}
        # A tensor born in inference mode could never be used for training later.
        with torch.inference_mode(False), torch.no_grad():
            self._build()

    def __call__(self, rhs: Tensor) -> Tensor:
        """The solution p of lap_h p = rhs with the boundary values of this solver."""
        self._check(rhs)
        lift, fixed = self._cast_unless_zero("lift", rhs), self._cast_unless_zero("fixed", rhs)
        hat = rhs if lift is None else rhs - lift
        for axis in self._ends:
            hat = _transform(self._cast("analysis", axis, rhs), hat, axis)
        if self._periodic:
            hat = torch.fft.rfftn(hat, dim=self._periodic)
        hat = hat * self._cast("inverse", None, rhs)
        if self._periodic:
            sizes = [self.grid.num_points[axis] for axis in self._periodic]
            hat = torch.fft.irfftn(hat, s=sizes, dim=self._periodic)
        for axis in self._ends:
            hat = _transform(self._cast("synthesis", axis, rhs), hat, axis)
        return hat if fixed is None else hat + fixed

    def laplacian(self, p: Tensor) -> Tensor:
        """lap_h p with the boundary values of this solver, zero on points whose value is fixed.

        The operator that a call inverts: `laplacian(solver(rhs))` is `rhs` at the unknowns, but
        for its mean where `is_singular`.
        """
        self._check(p)
        fixed = self._cast_unless_zero("fixed", p)
        unknown = self._cast("unknown", None, p)
        p = p * unknown if fixed is None else p * unknown + fixed
        total = torch.zeros_like(p)
        for axis in self._axes:
            n, h = self.grid.num_points[axis], self.grid.spacing[axis]
            if axis in self._ends:
                low, high = (self._ghost(p, axis, is_high) for is_high in (False, True))
                ahead = torch.cat((p.narrow(axis, 1, n - 1), high), dim=axis)
                behind = torch.cat((low, p.narrow(axis, 0, n - 1)), dim=axis)
            else:
                ahead, behind = p.roll(-1, axis), p.roll(1, axis)
            total = total + (ahead - 2 * p + behind) / h**2
        return total * unknown

    @property
    def is_singular(self) -> bool:
        """Whether the solution is defined up to a constant: no end has a Dirichlet condition."""
        return not any(end.is_fixed for ends in self._ends.values() for end in ends)

    def unknown(self, like: Tensor) -> Tensor:
        """1 on points that are solved for, 0 on those with a given value, (*space)."""
        return self._cast("unknown", None, like)

    def fixed_values(self, like: Tensor) -> Tensor:
        """The given values on the points that have one, 0 elsewhere, (*space)."""
        return self._cast("fixed", None, like)

    def _ghost(self, p: Tensor, axis: int, is_high: bool) -> Tensor:
        """The value one step beyond an end that makes the three-point formula meet it."""
        end = self._ends[axis][is_high]
        nearest = p.shape[axis] - 1 if is_high else 0
        step = self.grid.spacing[axis] * (1 if is_high else -1)
        if end.is_fixed:
            return 2 * end.number - p.narrow(axis, nearest, 1)
        if self.grid.cell_centred:
            return p.narrow(axis, nearest, 1) + step * end.number
        inner = nearest - 1 if is_high else 1
        return p.narrow(axis, inner, 1) + 2 * step * end.number

    def _build(self) -> None:
        """Constant fields: float64, on the host."""
        self._walls = {
            axis: _wall_modes(
                self.grid.num_points[axis], self.grid.spacing[axis], ends, self.grid.cell_centred
            )
            for axis, ends in self._ends.items()
        }
        eigenvalues = self._eigenvalues()
        unknown = torch.ones(self.grid.shape, dtype=torch.float64)
        fixed = torch.zeros(self.grid.shape, dtype=torch.float64)
        for axis, ends in self._ends.items():
            for index, end in zip((0, -1), ends, strict=True):
                if end.is_fixed and not self.grid.cell_centred:
                    unknown.select(axis, index).fill_(0.0)
                    fixed.select(axis, index).fill_(end.number)
        self._fields = {
            "inverse": torch.where(eigenvalues == 0, 0.0, 1.0 / eigenvalues),
            "unknown": unknown,
            "fixed": fixed,
        }
        # What the boundary values alone contribute to the Laplacian.
        self._fields["lift"] = self.laplacian(torch.zeros_like(unknown))

    def _eigenvalues(self) -> Tensor:
        """Sum over axes in the layout of the transformed field [1/length^2]."""
        total = torch.zeros((1,) * self.grid.dim, dtype=torch.float64)
        for axis in self._axes:
            if axis in self._walls:
                values = self._walls[axis].eigenvalues
            else:
                n, h = self.grid.num_points[axis], self.grid.spacing[axis]
                # The real FFT keeps half of the modes of the last axis it is given.
                count = n // 2 + 1 if axis == self._periodic[-1] else n
                m = torch.arange(count, dtype=torch.float64)
                values = -((2 / h * torch.sin(math.pi * m / n)) ** 2)
            total = total + values.reshape(-1, *(1,) * (-axis - 1))
        return total

    def _cast_unless_zero(self, name: str, like: Tensor) -> Tensor | None:
        """A constant in the dtype and on the device of `like`, `None` if it is all zero."""
        key = (name, None, like.dtype, like.device)
        if key not in self._cache and not self._fields[name].any():
            self._cache[key] = None
        return self._cache[key] if key in self._cache else self._cast(name, None, like)

    def _cast(self, name: str, axis: int | None, like: Tensor) -> Tensor:
        """A constant, or one of an axis, in the dtype and on the device of `like`."""
        key = (name, axis, like.dtype, like.device)
        found = self._cache.get(key)
        if found is None:
            value = self._fields[name] if axis is None else getattr(self._walls[axis], name)
            with torch.inference_mode(False), torch.no_grad():
                found = self._cache[key] = value.to(device=like.device, dtype=like.dtype)
        return found

    def _check(self, field: Tensor) -> None:
        if tuple(field.shape[-self.grid.dim :]) != self.grid.shape:
            raise ValueError(
                "FastPoisson: the field must have shape (..., *space) with space "
                f"{self.grid.shape}, got {tuple(field.shape)}; make the solver on the field's "
                "grid."
            )
        if not field.is_floating_point():
            raise TypeError(
                f"FastPoisson: the field must be real and floating, got {field.dtype}; convert it "
                "with field.double()."
            )
