"""Steady Poisson and Darcy problems: exact solutions, a sparse direct solver, and gradients."""

import math
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from scipy.sparse import lil_array
from scipy.sparse.linalg import spsolve

from pdesurrogates.core import Dirichlet, Grid, Neumann, Periodic, Robin
from pdesurrogates.equations import Burgers, Darcy, Poisson
from pdesurrogates.operators import AutodiffDerivatives, FiniteDifferences, SpectralDerivatives
from pdesurrogates.reference import ConvergenceError, solve_steady

CLOSED = Neumann(0.0)


def square(n, cell_centred=True, extent=(1.0, 1.0)):
    n = (n, n) if isinstance(n, int) else n
    num = n if cell_centred else tuple(k + 1 for k in n)
    return Grid(num, extent, periodic=False, cell_centred=cell_centred)


def forcing_for(solution, coefficient, grid):
    """-div(a grad u) of given functions at the grid's points, by automatic differentiation."""
    points = grid.coordinates().flatten(1).T[None].contiguous()
    d = AutodiffDerivatives(points)
    u = solution(*d.points.split(1, dim=-1))
    return Darcy(coefficient, 0.0).residual(u, d).detach().reshape(1, 1, *grid.shape)


def smooth(*x):
    """A coefficient between 0.5 and 1.5."""
    return 1 + 0.5 * torch.sin(3 * x[0]) * torch.cos(2 * x[-1])


def random_medium(grid, high=12.0, low=3.0, batch=1, seed=0):
    """Two values, in blobs of a few points."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(batch, 1, *grid.shape, generator=generator, dtype=torch.float64)
    for axis in range(-grid.dim, 0):
        noise = noise + noise.roll(1, axis) + noise.roll(-1, axis)
    return torch.where(noise > 0, high, low)


@pytest.mark.parametrize("cell_centred", [True, False])
def test_smooth_coefficient_is_second_order(cell_centred):
    """u = exp(x) + sin(pi x) cos(pi y): values at the ends of x, zero slope at those of y."""

    def solution(x, y):
        return torch.exp(x) + torch.sin(math.pi * x) * torch.cos(math.pi * y)

    errors = []
    for n in (8, 16, 32, 64):
        grid = square(n, cell_centred)
        forcing = forcing_for(solution, smooth, grid)
        sides = [Dirichlet((1.0, math.e)), Neumann(0.0)]
        u = solve_steady(Darcy(smooth, forcing), grid, boundary=sides)
        errors.append(float((u[0, 0] - solution(*grid.coordinates())).abs().max()))
    assert errors[-1] < 1e-3
    assert all(3.4 < a / b < 4.6 for a, b in pairwise(errors)), errors


@pytest.mark.parametrize("cell_centred", [True, False])
def test_poisson_with_given_slopes_is_second_order(cell_centred):
    """-lap u = forcing for u = x^3 + 2 x + cos(pi y): slope 2 at x = 0 and 5 at x = 1."""
    errors = []
    for n in (8, 16, 32):
        grid = square(n, cell_centred)
        x, y = grid.coordinates()
        forcing = (-6 * x + math.pi**2 * torch.cos(math.pi * y))[None, None]
        u = solve_steady(Poisson(forcing), grid, boundary=[Neumann((2.0, 5.0)), CLOSED])
        exact = x**3 + 2 * x + torch.cos(math.pi * y)
        difference = u[0, 0] - exact
        errors.append(float((difference - difference.mean()).abs().max()))
    assert errors[-1] < 5e-3
    assert all(3.0 < a / b < 5.0 for a, b in pairwise(errors)), errors


def test_layers_are_exact():
    """Flux through layers whose borders are faces: u is linear in the resistance passed."""
    grid = Grid((12,), (3.0,), periodic=False, cell_centred=True)
    a = torch.tensor([1.0] * 3 + [20.0] * 5 + [0.1] * 4)
    resistance = 0.25 / a
    passed = resistance.cumsum(0) - resistance / 2
    u = solve_steady(Darcy(a[None, None], 0.0), grid, boundary=Dirichlet((0.0, 1.0)), rtol=1e-13)
    assert torch.allclose(u[0, 0], passed / resistance.sum(), atol=1e-12)


def sparse_direct(a, forcing, grid, ends):
    """The same equations assembled point by point, walls at value `ends` all around."""
    h = grid.spacing
    rows = {cell: k for k, cell in enumerate(np.ndindex(grid.shape))}
    matrix = lil_array((len(rows), len(rows)))
    rhs = np.zeros(len(rows))
    for cell, k in rows.items():
        on_wall = any(i in (0, n - 1) for i, n in zip(cell, grid.shape, strict=True))
        if on_wall and not grid.cell_centred:
            matrix[k, k], rhs[k] = 1.0, ends
            continue
        rhs[k] = forcing
        for axis, step in product(range(len(cell)), (-1, 1)):
            other = tuple(i + step * (b == axis) for b, i in enumerate(cell))
            if other in rows:
                k_face = 2 / (1 / a[cell] + 1 / a[other]) / h[axis] ** 2
                matrix[k, rows[other]] -= k_face
            else:
                k_face = 2 * a[cell] / h[axis] ** 2
                rhs[k] += k_face * ends
            matrix[k, k] += k_face
    return spsolve(matrix.tocsr(), rhs).reshape(grid.shape)


@pytest.mark.parametrize("cell_centred", [True, False])
def test_two_valued_medium_agrees_with_a_sparse_direct_solver(cell_centred):
    """neuraloperator's problem: 12 and 3, forcing 1; one sample of a batch, walls not at zero."""
    grid = square((13, 10), cell_centred, (1.0, 0.8))
    a = random_medium(grid, batch=3)
    u = solve_steady(Darcy(a, 1.0), grid, boundary=Dirichlet(0.25), rtol=1e-12)
    assert u.shape == (3, 1, *grid.shape) and u.dtype == torch.float64
    theirs = sparse_direct(a[1, 0].numpy(), 1.0, grid, 0.25)
    np.testing.assert_allclose(u[1, 0].numpy(), theirs, atol=1e-11)


def test_three_dimensions_agree_with_a_sparse_direct_solver():
    grid = Grid((5, 4, 6), (1.0, 1.0, 2.0), periodic=False, cell_centred=True)
    a = random_medium(grid, 10.0, 0.1)
    u = solve_steady(Darcy(a, 2.0), grid, rtol=1e-12)
    theirs = sparse_direct(a[0, 0].numpy(), 2.0, grid, 0.0)
    np.testing.assert_allclose(u[0, 0].numpy(), theirs, atol=1e-11)


@pytest.mark.parametrize("cell_centred", [True, False])
def test_maximum_principle(cell_centred):
    """Without forcing u lies between the walls' values; with a source it is positive inside."""
    grid = square(24, cell_centred)
    a = random_medium(grid, 1000.0, 1.0)
    u = solve_steady(Darcy(a, 0.0), grid, boundary=[Dirichlet((-1.0, 2.0)), Neumann(0.0)])
    assert u.min() >= -1 - 1e-9 and u.max() <= 2 + 1e-9
    assert solve_steady(Darcy(a, 1.0), grid)[..., 1:-1, 1:-1].min() > 0


def test_mirrored_media_have_mirrored_solutions():
    grid = square(16)
    a = random_medium(grid)
    u = solve_steady(Darcy(a, 1.0), grid)
    for mirror in (lambda v: v.flip(-1), lambda v: v.flip(-2), lambda v: v.mT):
        assert torch.allclose(solve_steady(Darcy(mirror(a), 1.0), grid), mirror(u), atol=1e-10)


def test_reciprocity_and_scaling():
    """sum f u(g) = sum g u(f); u is linear in the forcing (PDEBench's beta), inverse in a."""
    grid = square((9, 12))
    a = random_medium(grid, 1.0, 0.1)
    f, g = torch.randn(2, 1, 1, *grid.shape).unbind()
    uf, ug = (solve_steady(Darcy(a, source), grid) for source in (f, g))
    assert torch.allclose((f * ug).sum(), (g * uf).sum(), rtol=1e-8)
    betas = torch.tensor([0.01, 1.0, 100.0])
    u = solve_steady(Darcy(a, betas), grid)
    assert torch.allclose(u[2], 1e4 * u[0], rtol=1e-8)
    assert torch.allclose(solve_steady(Darcy(5 * a, 1.0), grid), u[1:2] / 5, rtol=1e-8)


def iterations(equation, grid, **options):
    seen = []
    solve_steady(equation, grid, watch=lambda n, residual: seen.append(residual), **options)
    return len(seen)


def test_iterations_follow_the_contrast_and_not_the_grid():
    """CG needs about ln(2 / rtol) sqrt(contrast) / 2 iterations at most."""
    assert iterations(Poisson(1.0), square(16)) == 1
    for high, low in ((12.0, 3.0), (1.0, 0.1)):
        bound = math.log(2 / 1e-10) * math.sqrt(high / low) / 2
        counts = [
            iterations(Darcy(random_medium(square(n), high, low), 1.0), square(n))
            for n in (16, 32, 64)
        ]
        assert max(counts) < bound + 2, counts
        assert counts[-1] <= counts[0] + 8, counts


def test_the_residual_is_what_was_asked_for():
    seen = []
    grid = square(16)
    a = random_medium(grid, 100.0, 1.0, batch=2)
    for rtol in (1e-3, 1e-6):
        solve_steady(Darcy(a, 1.0), grid, rtol=rtol, watch=lambda n, r: seen.append(r.max()))
        assert seen[-1] <= rtol < seen[-3]
    assert seen[-1].shape == ()


def test_a_sample_does_not_depend_on_its_neighbours():
    """An easy medium beside a hard one is solved as if it were alone, not further."""
    grid = square(16)
    easy, hard = random_medium(grid), random_medium(grid, 1000.0, 1.0)
    alone = solve_steady(Darcy(easy, 1.0), grid, rtol=1e-4)
    together = solve_steady(Darcy(torch.cat([easy, hard]), 1.0), grid, rtol=1e-4)
    assert torch.allclose(together[:1], alone, atol=1e-14, rtol=0.0)
    assert (alone - solve_steady(Darcy(easy, 1.0), grid)).abs().max() > 1e-9


@pytest.mark.parametrize("cell_centred", [True, False])
def test_gradients_and_their_gradients_match_differences(cell_centred):
    grid = square((2, 3), cell_centred)
    a = (0.5 + torch.rand(1, 1, *grid.shape)).requires_grad_()
    f = torch.randn(2, 1, *grid.shape, requires_grad=True)
    sides = [(Dirichlet(0.3), Neumann(0.7)), Dirichlet(-0.2)]

    def solution(a, f):
        return solve_steady(Darcy(a, f), grid, boundary=sides, rtol=1e-13)

    assert torch.autograd.gradcheck(solution, (a, f))
    assert torch.autograd.gradgradcheck(solution, (a, f), atol=1e-4)


def test_gradient_of_a_closed_box():
    grid = square((3, 4))
    a = (0.5 + torch.rand(1, 1, 3, 4)).requires_grad_()
    f = torch.randn(1, 1, 3, 4)
    f = (f - f.mean()).requires_grad_()

    def solution(a, f):
        return solve_steady(Darcy(a, f - f.mean()), grid, boundary=Neumann(0.0), rtol=1e-13)

    assert torch.autograd.gradcheck(solution, (a, f))


def test_the_gradient_is_one_more_solve():
    grid = square(16)
    count = [0]
    a = random_medium(grid).requires_grad_()
    u = solve_steady(Darcy(a, 1.0), grid, watch=lambda n, r: count.append(n))
    forward = len(count)
    u.square().sum().backward()
    backward = len(count) - forward
    assert abs(backward - forward) < 5
    assert a.grad is not None and (a.grad.abs() > 0).all()


def test_periodic_and_closed_boxes_have_zero_mean():
    grid = Grid((16, 12), (1.0, 1.0), periodic=(True, False))
    x, y = grid.coordinates()
    forcing = (torch.sin(2 * math.pi * x) + torch.cos(math.pi * y))[None, None]
    u = solve_steady(
        Darcy(lambda x, y: smooth(2 * math.pi * x, y), forcing), grid, boundary=CLOSED
    )
    weights = torch.ones(grid.shape)
    weights[:, [0, -1]] *= 0.5
    assert abs(float((u * weights).sum())) < 1e-10
    assert u.abs().max() > 0.01
    with pytest.raises(ValueError, match="forcing and the fluxes through the ends cancel"):
        solve_steady(Darcy(1.0, forcing + 0.1), grid, boundary=CLOSED)
    flux = [Periodic(), Neumann((0.0, -0.1))]
    balanced = solve_steady(Darcy(1.0, forcing + 0.1), grid, boundary=flux)
    assert balanced.abs().max() > 0.01


def test_every_provider_sees_the_steady_state():
    """rhs = div(a grad u) + forcing is small where u solves the balance, and falls as h^2."""

    def solution(x, y):
        return torch.sin(x) * torch.cos(2 * y)

    grid = Grid((32, 32), (2 * math.pi,))

    def medium(x, y):
        return 2 + torch.sin(x + y)

    exact = solution(*grid.coordinates())[None, None]
    equation = Darcy(medium, forcing_for(solution, medium, grid))
    assert equation.on(SpectralDerivatives(grid))(0.0, exact).abs().max() < 1e-10
    d = SpectralDerivatives(grid)
    assert equation.residual(d.field(exact), d).values.abs().max() < 1e-10
    assert torch.allclose(Poisson(3.0).on(grid)(0.0, exact), 3.0 - 5.0 * exact, atol=1e-11)
    rates = []
    for n in (32, 64):
        grid = Grid((n, n), (2 * math.pi,))
        equation = Darcy(medium, forcing_for(solution, medium, grid))
        u = solve_steady(equation, grid, boundary=None)
        rates.append(float(equation.on(FiniteDifferences(grid, 2))(0.0, u).abs().max()))
        assert (u - solution(*grid.coordinates())).abs().max() < 20 / n**2
    assert rates[-1] < 0.02 and rates[0] / rates[1] > 3.5


def test_parameters_in_every_form_give_the_same():
    grid = square((6, 5))
    values = smooth(*grid.coordinates())[None, None]
    reference = solve_steady(Darcy(values, 1.0), grid)
    assert torch.equal(
        solve_steady(Darcy(smooth, lambda x, y: torch.ones_like(x)), grid), reference
    )
    single = solve_steady(Darcy(values.float(), torch.ones(2)), grid)
    assert single.shape[0] == 2 and single.dtype == torch.float64
    assert torch.allclose(single[1:], reference, atol=1e-7)


def test_giving_up_keeps_what_was_reached():
    grid = square(16)
    a = random_medium(grid, 1000.0, 1.0, batch=2)
    with pytest.raises(ConvergenceError, match="after 4 iterations, asked for 1e-10") as caught:
        solve_steady(Darcy(a, 1.0), grid, max_iterations=4)
    assert caught.value.residuals.shape == (5, 2)
    assert caught.value.solution.shape == (2, 1, 16, 16)
    assert (caught.value.residuals[0] == 1).all()


def test_the_true_residual_has_the_last_word():
    """The recursion believes in 1e-20; rounding does not allow it, and the error says so."""
    grid = square(16)
    with pytest.raises(ConvergenceError, match="asked for 1e-20") as caught:
        solve_steady(Darcy(random_medium(grid), 1.0), grid, rtol=1e-20)
    assert float(caught.value.residuals[-1]) > 1e-19
    assert len(caught.value.residuals) < 500


def test_nothing_in_nothing_out():
    assert not solve_steady(Poisson(0.0), square(4)).any()


def test_refusals_say_what_to_do():
    grid = square((6, 5))
    with pytest.raises(TypeError, match="solves Poisson and Darcy, got Burgers"):
        solve_steady(Burgers(), grid)
    with pytest.raises(ValueError, match="`coefficient` must be positive everywhere.*-1"):
        solve_steady(Darcy(-1.0), grid)
    with pytest.raises(ValueError, match=r"`forcing` must be a number.*got \(1, 1, 5, 6\)"):
        solve_steady(Darcy(1.0, torch.ones(1, 1, 5, 6)), grid)
    with pytest.raises(ValueError, match="`coefficient` must be finite, got 30 NaN"):
        solve_steady(Darcy(torch.full((1, 1, 6, 5), math.nan)), grid)
    with pytest.raises(ValueError, match="Robin"):
        solve_steady(Poisson(), grid, boundary=Robin(1.0, 1.0))
    assert repr(Poisson(2.0)) == "Poisson(forcing=2.0)"
