"""Two-dimensional vorticity: exact flows, conservation, and gradients through the solver."""

import math

import pytest
import torch

from pdesurrogates.core import Grid
from pdesurrogates.equations import KortewegDeVries, NavierStokesVorticity, exact
from pdesurrogates.operators import AutodiffDerivatives, FiniteDifferences, SpectralDerivatives
from pdesurrogates.reference import random_initial_condition, solve
from pdesurrogates.steppers import ETDRK, RK4, integrate

BOX = (2 * math.pi, 2 * math.pi)


def random_vorticity(grid, num_samples=2, **options):
    return random_initial_condition(grid, num_samples, max_wavenumber=4, **options)


@pytest.mark.parametrize("shape", [(16, 16), (24, 15)])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_taylor_green_vortices_decay_as_they_should(shape, order):
    """Any shape that the Laplacian only scales stays, whatever flows along its lines."""
    grid = Grid(shape, BOX, (0.3, -1.0))
    x, y = grid.coordinates()
    shape0 = 2 * torch.cos(x) * torch.cos(y) + 0.7 * torch.sin(x + y) - torch.cos(x - y + 0.2)
    f = NavierStokesVorticity(0.05, drag=0.02).on(grid)
    end = integrate(f, shape0[None, None], [0.0, 3.0], ETDRK(order), dt=0.1).states[0, -1, 0]
    assert torch.allclose(end, math.exp(-(2 * 0.05 + 0.02) * 3.0) * shape0, atol=1e-12)


def test_velocity_of_a_taylor_green_vortex():
    grid = Grid((16, 18), BOX)
    x, y = grid.coordinates()
    d = SpectralDerivatives(grid)
    w = d.field((2 * torch.cos(x) * torch.cos(y) + 0.5)[None, None])
    u, v = NavierStokesVorticity().velocity(w, d)
    assert torch.allclose(u.values[0, 0], -torch.cos(x) * torch.sin(y), atol=1e-14)
    assert torch.allclose(v.values[0, 0], torch.sin(x) * torch.cos(y), atol=1e-14)
    assert torch.allclose((d.dx(v) - d.dy(u)).values + 0.5, w.values, atol=1e-13)
    assert d.divergence(u, v).values.abs().max() < 1e-14


@pytest.mark.parametrize("extent, origin", [(BOX, (0.0, 0.0)), ((3.0, 5.0), (0.2, 1.7))])
def test_laminar_kolmogorov_flow_rests(extent, origin):
    """The force A sin(k y) balances viscosity and drag at u = A sin(k y) / (nu k^2 + drag)."""
    grid = Grid((18, 24), extent, origin)
    y = grid.coordinates()[1]
    viscosity, drag, amplitude, number = 0.1, 0.3, 1.7, 3
    k = 2 * math.pi * number / extent[1]
    speed = amplitude / (viscosity * k**2 + drag)
    w = (-speed * k * torch.cos(k * y))[None, None]
    equation = NavierStokesVorticity(viscosity, drag, amplitude, number)
    d = SpectralDerivatives(grid)
    u, _ = equation.velocity(d.field(w), d)
    assert torch.allclose(u.values[0, 0], speed * torch.sin(k * y), atol=1e-12)
    f = equation.on(grid)
    assert f(0.0, w).abs().max() < 1e-12 * w.abs().max()
    assert torch.allclose(solve(equation, grid, w, [0.0, 2.0], dt=0.1)[:, -1], w, atol=1e-12)


@pytest.mark.parametrize("shape", [(32, 32), (31, 24)])
def test_truncated_inviscid_flow_keeps_energy_and_enstrophy(shape):
    """The rates vanish to rounding, whatever the step: products are free of aliasing."""
    grid = Grid(shape, (2.0, 3.0))
    equation = NavierStokesVorticity(0.0)
    f = equation.on(grid)
    d = f.provider
    w = d.to_grid(d.dealias(d.to_modes(torch.randn(3, 1, *shape))))
    rate = f(0.0, w)
    psi = -d.inverse_laplacian(d.field(w)).values
    size = (rate.square().sum() * w.square().sum()).sqrt()
    assert rate.abs().max() > 1
    assert rate.sum().abs() < 1e-12 * rate.abs().sum()
    assert (rate * w).sum(dim=(1, 2, 3)).abs().max() < 1e-13 * size
    assert (rate * psi).sum(dim=(1, 2, 3)).abs().max() < 1e-13 * size
    states = integrate(f, w, [0.0, 0.05], RK4(), dt=5e-4).states
    for name, values in equation.conserved_quantities(states, grid).items():
        drift = (values[:, -1] - values[:, 0]).abs()
        assert (drift < 1e-10 * (1e-3 + values[:, 0].abs())).all(), name


def test_what_is_conserved_depends_on_the_parameters():
    grid = Grid((8, 8), BOX)
    w = 1 + torch.cos(grid.coordinates()[0])[None, None]
    kept = NavierStokesVorticity(0.0).conserved_quantities(w, grid)
    area = (2 * math.pi) ** 2
    assert math.isclose(kept["circulation"], area)
    assert math.isclose(kept["energy"], area / 4)
    assert math.isclose(kept["enstrophy"], area * 3 / 4)
    names = [
        set(NavierStokesVorticity(*parameters).conserved_quantities(w, grid))
        for parameters in ((0.1,), (0.0, 0.0, 1.0), (0.0, 0.1))
    ]
    assert names == [{"circulation"}, {"circulation"}, set()]


def test_equals_the_advective_form_by_automatic_differentiation():
    """The stream function of a few waves is known, so points without a grid serve as well."""
    waves = [(1, 2, 0.3, 1.0), (3, -1, 1.1, -0.6), (0, 2, 0.0, 0.8), (2, 2, 2.0, 0.5)]

    def total(x, y, weight):
        return sum(
            a * weight(p * p + q * q) * torch.sin(p * x + q * y + phase)
            for p, q, phase, a in waves
        )

    class Points(AutodiffDerivatives):
        grid = Grid((24, 20), BOX)

        def inverse_laplacian(self, w):
            return total(*self.points.split(1, dim=-1), lambda k2: -1 / k2)

    equation = NavierStokesVorticity(0.03, 0.2, 1.3, 2)
    x, y = Points.grid.coordinates()
    spectral = equation.on(Points.grid)(0.0, total(x, y, lambda k2: 1.0)[None, None])
    d = Points(Points.grid.coordinates().flatten(1).T[None].contiguous())
    w = total(*d.points.split(1, dim=-1), lambda k2: 1.0)
    assert torch.allclose(equation.on(d)(0.0, w)[0, :, 0], spectral.flatten(), atol=1e-12)


def test_one_parameter_per_sample():
    grid = Grid((16, 18), BOX)
    w = random_vorticity(grid, 1).expand(3, 1, 16, 18).contiguous()
    parameters = torch.tensor([[0.01, 0.1, 0.5], [0.0, 0.2, 0.1], [1.0, 0.5, 2.0]])
    together = NavierStokesVorticity(*parameters, 3)
    states = solve(together, grid, w, [0.0, 0.5], dt=0.05)
    for i in range(3):
        alone = NavierStokesVorticity(*parameters[:, i].tolist(), 3)
        expected = solve(alone, grid, w[:1], [0.0, 0.5], dt=0.05)
        assert torch.allclose(states[i], expected[0], atol=1e-13)


def test_shifts_and_reflection_of_the_flow_commute_with_its_evolution():
    """(x, y, w) -> (-x, y, -w) turns a flow into its mirror image; a shift changes nothing."""
    grid = Grid((18, 16), BOX)
    w = random_vorticity(grid)
    f = NavierStokesVorticity(1e-2).on(grid)

    def end(w):
        return integrate(f, w, [0.0, 0.5], ETDRK(4), dt=0.05).states[:, -1]

    def mirrored(w):
        return -w.flip(-2).roll(1, -2)

    assert torch.allclose(end(mirrored(w)), mirrored(end(w)), atol=1e-12)
    assert torch.allclose(end(w.roll((3, 5), (-2, -1))), end(w).roll((3, 5), (-2, -1)), atol=1e-12)
    assert not torch.allclose(end(-w), -end(w), atol=1e-3)


def test_order_of_a_turning_flow():
    grid = Grid((24, 24), BOX)
    w = random_vorticity(grid, rms=2.0)
    f = NavierStokesVorticity(0.02, 0.1, 1.0, 2).on(grid)

    def end(n):
        return integrate(f, w, [0.0, 1.0], ETDRK(4), dt=1.0 / n).states[:, -1]

    finest = end(160)
    errors = [float((end(n) - finest).norm()) for n in (10, 20, 40)]
    orders = [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
    assert all(abs(order - 4) < 0.3 for order in orders), orders


def test_single_precision_follows_double():
    grid = Grid((32, 32), BOX)
    w = random_vorticity(grid, rms=2.0)
    f = NavierStokesVorticity(5e-3, 0.1, 1.0, 4).on(grid)
    double, single = (
        integrate(f, w.to(dtype), [0.0, 1.0], ETDRK(4), dt=0.02).states[:, -1]
        for dtype in (torch.float64, torch.float32)
    )
    assert single.dtype == torch.float32
    assert (single - double).norm() < 1e-4 * double.norm()


def test_gradients_of_a_solve_match_finite_differences():
    """Of a number of the final state, in the initial state and in the viscosity of each sample."""
    grid = Grid((12, 10), BOX)
    w = random_vorticity(grid, rms=2.0).requires_grad_()
    viscosity = torch.tensor([0.02, 0.1]).requires_grad_()
    weight = torch.randn(2, 1, 12, 10)

    def functional(w, viscosity):
        f = NavierStokesVorticity(viscosity, 0.1, 0.8, 2).on(grid)
        end = integrate(f, w, [0.0, 1.0], ETDRK(4), dt=0.05).states[:, -1]
        return (weight * end).sum() + end.pow(2).sum()

    by_state, by_viscosity = torch.autograd.grad(functional(w, viscosity), (w, viscosity))
    with torch.no_grad():
        direction = torch.randn_like(w)

        def central(step):
            up = functional(w + step * direction, viscosity)
            return (up - functional(w - step * direction, viscosity)) / (2 * step)

        # Central differences are even in the step: one extrapolation leaves an error of order 4.
        expected = (4 * central(5e-5) - central(1e-4)) / 3
        assert torch.isclose((by_state * direction).sum(), expected, rtol=1e-6)
        for i in range(2):
            shift = torch.zeros(2)
            shift[i] = 1e-5
            up, down = functional(w, viscosity + shift), functional(w, viscosity - shift)
            assert torch.isclose(by_viscosity[i], (up - down) / 2e-5, rtol=1e-6)


def test_two_solitons_keep_their_heights_and_are_shifted():
    """Phase shifts (2/k) log((k1 + k2) / (k1 - k2)): the fast one forward, the slow one back."""
    grid = Grid((256,), (80.0,), (-40.0,))
    (x,) = grid.coordinates()
    speeds, start, end = (2.0, 1.0), -6.0, 6.0
    u0 = exact.kdv_two_solitons(x, start, speeds=speeds)[None, None]
    times = [start, end, 14.0]
    states = solve(KortewegDeVries(advection=6.0, dispersion=1.0), grid, u0, times, dt=0.02)
    assert (states[0, 1, 0] - exact.kdv_two_solitons(x, end, speeds=speeds)).abs().max() < 1e-4
    k1, k2 = (math.sqrt(speed) for speed in speeds)
    gap = math.log((k1 + k2) / (k1 - k2))
    # Before they met the fast one ran on x = c1 t + const, in the solution with F = 1 + E1 + ...
    fast = exact.kdv_soliton(x, 14.0, speed=speeds[0], center=2 * gap / k1)
    slow = exact.kdv_soliton(x, 14.0, speed=speeds[1])
    assert (states[0, 2, 0] - fast - slow).abs().max() < 1e-3


@pytest.mark.parametrize("number", [0, -1, 2.0, None])
def test_forcing_needs_a_whole_number_of_waves(number):
    with pytest.raises(ValueError, match="must be a positive integer"):
        NavierStokesVorticity(0.1, forcing_wavenumber=number)


def test_forcing_that_the_grid_cannot_hold_is_refused():
    f = NavierStokesVorticity(0.1, forcing_amplitude=1.0, forcing_wavenumber=6).on(Grid((16, 16)))
    with pytest.raises(ValueError, match="16 points keep, which is 5; use more"):
        f(0.0, torch.zeros(1, 1, 16, 16))


def test_providers_without_a_poisson_solve_are_refused():
    equation = NavierStokesVorticity(0.1)
    with pytest.raises(ValueError, match="inverse_laplacian.*AutodiffDerivatives in 2"):
        equation.on(AutodiffDerivatives(torch.rand(1, 3, 2)))(0.0, torch.rand(1, 3, 1))
    with pytest.raises(ValueError, match="two dimensions, got SpectralDerivatives in 3"):
        equation.on(Grid((8, 8, 8), (1.0,)))(0.0, torch.zeros(1, 1, 8, 8, 8))
    with pytest.raises(ValueError, match="SpectralDerivatives"):
        equation.on(FiniteDifferences(Grid((8, 8), (1.0,))))(0.0, torch.zeros(1, 1, 8, 8))
