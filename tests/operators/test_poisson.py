"""The direct solver against dense matrices written out by hand, and against exact solutions."""

import math
from itertools import pairwise, product

import numpy as np
import pytest
import torch

from pdesurrogates.core import Dirichlet, Grid, Neumann, Outflow, Periodic, Robin
from pdesurrogates.operators import FastPoisson

ENDS = [Dirichlet(0.7), Neumann(-0.4)]
PAIRS = list(product(ENDS, ENDS))


def second_difference(n, h, pair, cell_centred):
    """(matrix, constant) of d2/dx2 on one axis, row by row; rows of given points are the identity
    and their constant is minus the value."""
    matrix, constant = np.zeros((n, n)), np.zeros(n)
    for i in range(n):
        matrix[i, i] -= 2 / h**2
        for j in (i - 1, i + 1):
            if 0 <= j < n or isinstance(pair[0], Periodic):
                matrix[i, j % n] += 1 / h**2
                continue
            end, outward = (pair[0], -h) if j < 0 else (pair[1], h)
            if isinstance(end, Dirichlet) and cell_centred:
                matrix[i, i] -= 1 / h**2
                constant[i] += 2 * end.value / h**2
            elif isinstance(end, Dirichlet):
                matrix[i], constant[i] = 0.0, -end.value
                matrix[i, i] = 1.0
                break
            elif cell_centred:
                matrix[i, i] += 1 / h**2
                constant[i] += outward * end.derivative / h**2
            else:
                matrix[i, 1 if j < 0 else n - 2] += 1 / h**2
                constant[i] += 2 * outward * end.derivative / h**2
    return matrix, constant


def dense_solution(grid, pairs, rhs):
    """The same problem on two axes as one dense system; given points keep their value."""
    (a, ca), (b, cb) = (
        second_difference(n, h, pair, grid.cell_centred)
        for n, h, pair in zip(grid.shape, grid.spacing, pairs, strict=True)
    )
    fixed_x, fixed_y = (
        np.array([not grid.cell_centred and row[i] == 1.0 for i, row in enumerate(m)])
        for m in (a, b)
    )
    nx, ny = grid.shape
    matrix, constant = np.zeros((nx * ny, nx * ny)), rhs.copy().ravel()
    for i, j in product(range(nx), range(ny)):
        row = i * ny + j
        if fixed_y[j] or fixed_x[i]:
            # Where two walls meet the last axis has the word; no other point looks there.
            matrix[row, row], constant[row] = 1.0, -(cb[j] if fixed_y[j] else ca[i])
            continue
        matrix[row, j::ny] += a[i]
        matrix[row, i * ny : (i + 1) * ny] += b[j]
        constant[row] -= ca[i] + cb[j]
    return np.linalg.solve(matrix, constant).reshape(nx, ny)


@pytest.mark.parametrize("cell_centred", [True, False])
@pytest.mark.parametrize("pair_y", [*PAIRS, (Periodic(), Periodic())], ids=str)
@pytest.mark.parametrize("pair_x", PAIRS[:3], ids=str)
def test_same_as_a_dense_matrix(pair_x, pair_y, cell_centred):
    """Every mixture of ends with a unique solution, on an odd grid that is not square."""
    is_periodic = isinstance(pair_y[0], Periodic)
    grid = Grid((7, 6), (1.0, 1.7), periodic=(False, is_periodic), cell_centred=cell_centred)
    rhs = torch.randn(2, 3, *grid.shape)
    ours = FastPoisson(grid, [pair_x, pair_y])(rhs)
    theirs = dense_solution(grid, (pair_x, pair_y), rhs[1, 2].numpy())
    np.testing.assert_allclose(ours[1, 2].numpy(), theirs, atol=1e-12)


GRIDS = [
    (Grid((9,), (1.0,), periodic=False), None),
    (Grid((9,), (1.0,), periodic=False, cell_centred=True), None),
    (Grid((6, 5), (1.0, 2.0)), None),
    (Grid((5, 6), (1.0, 2.0), periodic=(True, False), cell_centred=True), None),
    (Grid((5, 4, 6), (1.0, 2.0, 0.7), periodic=(False, True, False)), Dirichlet(0.3)),
    (Grid((4, 5, 6), (1.0, 2.0, 0.7), periodic=(True, False, True), cell_centred=True), None),
    (Grid((4, 5, 6), (1.0, 2.0, 0.7), periodic=False, cell_centred=True), Dirichlet(-0.3)),
]


@pytest.mark.parametrize("grid, boundary", GRIDS, ids=str)
def test_laplacian_undoes_it_in_one_two_and_three_dimensions(grid, boundary):
    solver = FastPoisson(grid, boundary or Neumann((0.2, -0.5)))
    rhs = torch.randn(2, 1, *grid.shape)
    rest = (solver.laplacian(solver(rhs)) - rhs) * solver.unknown(rhs)
    if solver.is_singular:
        rest = rest - rest.mean(tuple(range(2, rest.ndim)), keepdim=True)
    assert rest.abs().max() < 1e-11


@pytest.mark.parametrize("cell_centred", [True, False])
def test_second_order_with_boundary_values(cell_centred):
    """u = exp(x) + cos(pi x) cos(pi y), its slope given at x = 0, its value at x = 1."""
    errors = []
    for n in (8, 16, 32, 64):
        num = n if cell_centred else n + 1
        grid = Grid((num, num), (1.0,), periodic=False, cell_centred=cell_centred)
        x, y = grid.coordinates()
        wave = torch.cos(math.pi * x) * torch.cos(math.pi * y)
        sides = [(Neumann(1.0), Neumann(math.e)), (Neumann(0.0), Outflow())]
        rhs = torch.exp(x) - 2 * math.pi**2 * wave
        u = FastPoisson(grid, sides)(rhs)
        exact = torch.exp(x) + wave
        difference = u - exact
        errors.append(float((difference - difference[0, 0]).abs().max()))
    assert errors[-1] < 2e-3
    assert all(3.4 < a / b < 4.6 for a, b in pairwise(errors)), errors


@pytest.mark.parametrize("cell_centred", [True, False])
def test_second_order_with_prescribed_values(cell_centred):
    """u = exp(x) + sin(pi x) cos(pi y): 1 and e at the ends of x, no slope at those of y."""
    errors = []
    for n in (8, 16, 32, 64):
        num = n if cell_centred else n + 1
        grid = Grid((num, num), (1.0,), periodic=False, cell_centred=cell_centred)
        x, y = grid.coordinates()
        wave = torch.sin(math.pi * x) * torch.cos(math.pi * y)
        solver = FastPoisson(grid, [Dirichlet((1.0, math.e)), Neumann(0.0)])
        u = solver(torch.exp(x) - 2 * math.pi**2 * wave)
        errors.append(float((u - torch.exp(x) - wave).abs().max()))
    assert errors[-1] < 5e-4
    assert all(3.4 < a / b < 4.6 for a, b in pairwise(errors)), errors


def test_one_periodic_wave_is_divided_by_its_eigenvalue():
    grid = Grid((12, 10), (2 * math.pi, 2 * math.pi))
    x, y = grid.coordinates()
    wave = torch.sin(3 * x) * torch.cos(2 * y)
    (hx, hy) = grid.spacing
    eigenvalue = (2 * math.cos(3 * hx) - 2) / hx**2 + (2 * math.cos(2 * hy) - 2) / hy**2
    assert torch.allclose(FastPoisson(grid)(wave), wave / eigenvalue, atol=1e-14)


@pytest.mark.parametrize("cell_centred", [True, False])
def test_singular_problems_get_zero_mean_and_a_matching_source(cell_centred):
    grid = Grid((9, 8), (1.0, 1.5), periodic=False, cell_centred=cell_centred)
    solver = FastPoisson(grid, Neumann(0.0))
    weights = torch.ones(grid.shape)
    if not cell_centred:
        weights[[0, -1]] *= 0.5
        weights[:, [0, -1]] *= 0.5
    assert solver.is_singular
    assert not FastPoisson(grid, [Neumann(0.0), Dirichlet(0.0)]).is_singular
    rhs = torch.randn(1, 1, *grid.shape) + 3.0
    p = solver(rhs)
    assert abs(float((weights * p).sum())) < 1e-11
    mean = (weights * rhs).sum() / weights.sum()
    assert torch.allclose(solver.laplacian(p), rhs - mean, atol=1e-10)


def test_symmetric_negative_and_differentiable():
    grid = Grid((6, 5), (1.0, 1.0), periodic=(False, True), cell_centred=True)
    solver = FastPoisson(grid, [(Dirichlet(0.0), Neumann(0.0)), Periodic()])
    a, b = torch.randn(2, 1, 1, *grid.shape).unbind()
    assert torch.allclose((a * solver(b)).sum(), (b * solver(a)).sum(), atol=1e-13)
    assert (a * solver(a)).sum() < 0
    assert torch.autograd.gradcheck(solver, (a.requires_grad_(),))


@pytest.mark.parametrize("pair", PAIRS[:3], ids=str)
def test_fine_axes_lose_no_digits(pair):
    """The residual of 1000 cells stays at the rounding of its largest terms."""
    grid = Grid((1000,), (1.0,), periodic=False, cell_centred=True)
    solver = FastPoisson(grid, [pair])
    rhs = torch.randn(1, 1, 1000)
    p = solver(rhs)
    rounding = torch.finfo(p.dtype).eps * 4 / grid.spacing[0] ** 2 * p.abs().max()
    assert (solver.laplacian(p) - rhs).abs().max() < 30 * rounding


def test_keeps_dtype_and_leading_axes(device):
    grid = Grid((8, 7), (1.0, 1.0), periodic=(True, False), cell_centred=True)
    solver = FastPoisson(grid, Dirichlet(0.1))
    rhs = torch.randn(2, 3, 4, 8, 7, dtype=torch.float64, device=device)
    p = solver(rhs)
    assert p.dtype == torch.float64 and p.device.type == device.type
    assert torch.allclose(p[1, 2, 3], solver(rhs[1, 2, 3]), atol=1e-14)
    single = solver(rhs.float())
    assert single.dtype == torch.float32
    assert torch.allclose(single.double(), p, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_first_used_in_inference_mode_it_still_trains(dtype):
    grid = Grid((6,), (1.0,), periodic=False)
    with torch.inference_mode():
        solver = FastPoisson(grid, Dirichlet(1.0))
        solver(torch.ones(1, 1, 6, dtype=dtype))
    rhs = torch.ones(1, 1, 6, requires_grad=True, dtype=dtype)
    solver(rhs).square().sum().backward()
    assert rhs.grad is not None and torch.isfinite(rhs.grad).all()


def test_refusals_say_what_to_do():
    grid = Grid((6,), (1.0,), periodic=False)
    with pytest.raises(ValueError, match="FastPoisson: axis 0 of the grid has ends"):
        FastPoisson(grid)
    with pytest.raises(ValueError, match="Robin.*use Dirichlet"):
        FastPoisson(grid, Robin(1.0, 1.0))
    solver = FastPoisson(grid, Dirichlet(0.0))
    with pytest.raises(ValueError, match=r"with space \(6,\), got \(1, 1, 7\)"):
        solver(torch.ones(1, 1, 7))
    with pytest.raises(TypeError, match=r"field.double\(\)"):
        solver(torch.ones(1, 1, 6, dtype=torch.int64))
