"""Steady states: -div(a grad u) = f on a box, by conjugate gradients and a fast Poisson solver."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pdesurrogates.core import Boundary, Dirichlet, Grid, check_finite
from pdesurrogates.equations import SteadyEquation
from pdesurrogates.operators import Coefficient
from pdesurrogates.reference.diffusion_system import DiffusionSystem

__all__ = ["ConvergenceError", "solve_steady"]

_MAX_RESTARTS = 3
_INCOMPATIBLE = 1e-6

Watch = Callable[[int, Tensor], None]


class ConvergenceError(ArithmeticError):
    """An iterative solve stopped before it reached its tolerance.

    Attributes:
        residuals: Relative residual norms, (iteration, batch).
        solution: What was reached, (batch, 1, *space).
    """

    def __init__(self, message: str, *, residuals: Tensor, solution: Tensor) -> None:
        super().__init__(message)
        self.residuals = residuals
        self.solution = solution


def solve_steady(
    equation: SteadyEquation,
    grid: Grid,
    *,
    boundary: Boundary | None = Dirichlet(0.0),  # noqa: B008 - frozen, without state
    rtol: float = 1e-10,
    max_iterations: int = 1000,
    watch: Watch | None = None,
) -> Tensor:
    """Solve -div(coefficient grad u) = forcing on a box, in float64, batched.

    Fluxes through the faces between points are differences of second order, with the harmonic
    mean of the coefficients on both sides: exact in one dimension where the coefficient jumps on
    faces. Walls are half a cell outside cells, or on the end points of a grid of points.

    The linear system is solved by conjugate gradients with `FastPoisson` as preconditioner, so
    the number of iterations grows at most with the root of the coefficient's contrast and not
    with the grid. The gradient with respect to coefficient and forcing is one more such solve.

    Warning:
        Without a Dirichlet end u is defined up to a constant and the one of zero mean is
        returned; forcing and fluxes through the ends must then cancel.

    Reference:
        Preconditioning by inverting the Laplacian: an analysis of the eigenvalues (Nielsen,
        Tveito and Hackbusch, 2009).

    Args:
        equation: `Poisson` or `Darcy`.
        grid: Points or cells, periodic or not per axis.
        boundary: Dirichlet, Neumann or Outflow per axis and side; `Neumann.derivative` is du/dx.
        rtol: Largest norm of the residual relative to that of the right-hand side, per sample, in
            the norm sqrt(r . lap^-1 r), which is that of the error up to the contrast.
        max_iterations: When to give up.
        watch: Called with the number of each iteration and the relative residuals (batch,).

    Returns:
        u of shape (batch, 1, *space), float64, on the device of the coefficient.

    Raises:
        TypeError: If the equation is another.
        ValueError: If the coefficient is not positive and finite or does not fit the grid, or no
            solution exists.
        ConvergenceError: If `rtol` is not reached; it keeps the residuals and what was reached.

    Example:
        >>> from pdesurrogates.equations import Poisson
        >>> grid = Grid((4,), (1.0,), periodic=False, cell_centred=True)
        >>> [round(v, 5) for v in solve_steady(Poisson(8.0), grid).flatten().tolist()]
        [0.5, 1.0, 1.0, 0.5]
    """
    if not isinstance(equation, SteadyEquation):
        raise TypeError(
            f"solve_steady: solves Poisson and Darcy, got {type(equation).__name__}; for "
            "equations with time use reference.solve."
        )
    where = f"solve_steady({type(equation).__name__})"
    coefficient = _values(equation.coefficient, grid, where, "coefficient")
    forcing = _values(equation.forcing, grid, where, "forcing").to(coefficient.device)
    coefficient, forcing = torch.broadcast_tensors(coefficient, forcing)
    if not bool((coefficient > 0).all()):
        raise ValueError(
            f"{where}: `coefficient` must be positive everywhere, got a smallest value of "
            f"{float(coefficient.min()):.4g}; without it the equation has no unique solution."
        )
    system = DiffusionSystem(grid, boundary, coefficient.device)
    faces, walls = system.faces(coefficient), system.walls(coefficient)
    b = system.right_hand_side(coefficient, forcing, walls, faces)
    _check_solvable(system, b, where)
    options = _Options(system, rtol, max_iterations, watch, where)
    solution: Any = _Solve.apply(options, b, walls, *faces)
    return solution + system.fixed


def _check_solvable(system: DiffusionSystem, b: Tensor, where: str) -> None:
    """Refuse a source that has nowhere to go, where no end has a Dirichlet condition."""
    if not system.is_singular:
        return
    imbalance = b.detach().flatten(1).sum(1).abs() / b.detach().abs().flatten(1).sum(1)
    worst = float(imbalance.nan_to_num().max())
    if worst > _INCOMPATIBLE:
        raise ValueError(
            f"{where}: without a Dirichlet end a steady state exists only if forcing and the "
            f"fluxes through the ends cancel, but {worst:.2g} of them is left over; subtract the "
            "mean of the forcing, or give an end a value."
        )


def _values(value: Coefficient, grid: Grid, where: str, name: str) -> Tensor:
    """A parameter as float64 grid values (batch or 1, 1, *space)."""
    if callable(value):
        value = torch.as_tensor(value(*grid.coordinates())).expand(grid.shape)[None, None]
    field = torch.as_tensor(value).double()
    if field.ndim <= 1:
        field = field.reshape(-1, *(1,) * (grid.dim + 1)).expand(-1, 1, *grid.shape)
    if field.ndim != grid.dim + 2 or tuple(field.shape[1:]) != (1, *grid.shape):
        raise ValueError(
            f"{where}: `{name}` must be a number, one per sample, a function, or grid values "
            f"(batch or 1, 1, *space) with space {grid.shape}, got {tuple(field.shape)}."
        )
    check_finite(field, where=where, what=f"`{name}`")
    return field


@dataclass(frozen=True)
class _Options:
    """What the iteration needs besides tensors."""

    system: DiffusionSystem
    rtol: float
    max_iterations: int
    watch: Watch | None
    where: str


class _Solve(torch.autograd.Function):
    """x with S x = b, differentiable in b and the conductances by one more solve.

    With the gradient g of a loss with respect to x, and y with S y = g:

        dloss/db = y,   dloss/dwalls = -y x,   dloss/dface = -(y_{i+1} - y_i) (x_{i+1} - x_i)
    """

    @staticmethod
    def forward(ctx: Any, options: _Options, b: Tensor, walls: Tensor, *faces: Tensor) -> Tensor:
        x = _conjugate_gradients(options, b, walls, faces)
        ctx.options = options
        ctx.save_for_backward(x, walls, *faces)
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, walls, *faces = ctx.saved_tensors
        system = ctx.options.system
        y: Any = _Solve.apply(ctx.options, grads[0] * system.unknown, walls, *faces)
        slopes = zip(system.differences(y), system.differences(x), strict=True)
        return None, y, -y * x, *(-a * b for a, b in slopes)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product per sample, (batch, 1, ..)."""
    return (a * b).sum(tuple(range(1, a.ndim)), keepdim=True)


def _conjugate_gradients(
    options: _Options, b: Tensor, walls: Tensor, faces: tuple[Tensor, ...]
) -> Tensor:
    """Preconditioned conjugate gradients on every sample, which stops when it has converged.

    The residual of the recursion drifts from the true one, so the true one has the last word:
    where it is too large the iteration starts again from what it has reached.
    """
    system = options.system
    x, residual = torch.zeros_like(b), b.clone()
    direction = system.precondition(residual)
    energy = _dot(residual, direction)
    start = energy.sqrt()
    history = [_ratio(energy.sqrt(), start)]
    is_done = torch.zeros_like(energy, dtype=torch.bool)
    num_restarts = 0
    while True:
        is_open = ~is_done & ~(history[-1] <= options.rtol / 2)
        if not bool(is_open.any()):
            residual = b - system.matvec(x, walls, faces)
            direction = system.precondition(residual)
            energy = _dot(residual, direction)
            history[-1] = _ratio(energy.clamp(min=0).sqrt(), start)
            is_done = is_done | (history[-1] <= options.rtol)
            if bool(is_done.all()):
                return x
            is_open = ~is_done
            num_restarts += 1
        is_lost = not bool(torch.isfinite(history[-1]).all())
        if is_lost or num_restarts > _MAX_RESTARTS or len(history) > options.max_iterations:
            raise _not_converged(options, history, x)
        image = system.matvec(direction, walls, faces)
        step = _ratio(energy, _dot(direction, image)) * is_open
        x.addcmul_(step, direction)
        residual.addcmul_(step, image, value=-1)
        z = system.precondition(residual)
        before, energy = energy, _dot(residual, z)
        direction = z + _ratio(energy, before) * is_open * direction
        history.append(_ratio(energy.clamp(min=0).sqrt(), start))
        if options.watch is not None:
            options.watch(len(history) - 1, history[-1].flatten())


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """a / b, and 0 where b is 0: a sample without a right-hand side, or one that is done."""
    return torch.where(b > 0, a / b.where(b > 0, 1.0), 0.0)


def _not_converged(options: _Options, history: list[Tensor], x: Tensor) -> ConvergenceError:
    residuals = torch.stack([entry.flatten() for entry in history])
    worst = residuals[-1].argmax()
    return ConvergenceError(
        f"{options.where}: the relative residual of sample {int(worst)} is "
        f"{float(residuals[-1, worst]):.2e} after {len(history) - 1} iterations, asked for "
        f"{options.rtol:g}; give more `max_iterations`, a larger `rtol`, or a coefficient of less "
        "contrast. The error's `residuals` and `solution` hold what was reached.",
        residuals=residuals,
        solution=x + options.system.fixed,
    )
