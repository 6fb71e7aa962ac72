"""Incompressible flow: exact solutions, published tables, and what each form keeps exactly."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline

from pdesurrogates.core import Dirichlet, Grid, Neumann, Periodic
from pdesurrogates.equations import IncompressibleNavierStokes
from pdesurrogates.operators import FiniteDifferences, SpectralDerivatives, StaggeredGrid
from pdesurrogates.reference import solve
from pdesurrogates.steppers import ETDRK, RK4, SSPRK3, Heun, integrate

TWO_PI = 2 * math.pi
LID = {"velocity_x": (Dirichlet(0.0), Dirichlet((0.0, 1.0))), "velocity_y": Dirichlet(0.0)}

# Ghia, Ghia and Shin (1982), Re = 100. Table I: velocity_x over y on the vertical centre line;
# table II: velocity_y over x on the horizontal one.
GHIA_X = {
    0.9766: 0.84123,
    0.9688: 0.78871,
    0.9609: 0.73722,
    0.9531: 0.68717,
    0.8516: 0.23151,
    0.7344: 0.00332,
    0.6172: -0.13641,
    0.5000: -0.20581,
    0.4531: -0.21090,
    0.2813: -0.15662,
    0.1719: -0.10150,
    0.1016: -0.06434,
    0.0703: -0.04775,
    0.0625: -0.04192,
    0.0547: -0.03717,
}
GHIA_Y = {
    0.0625: 0.09233,
    0.0703: 0.10091,
    0.0781: 0.10890,
    0.0938: 0.12317,
    0.1563: 0.16077,
    0.2266: 0.17507,
    0.2344: 0.17527,
    0.5000: 0.05454,
    0.8047: -0.24533,
    0.8594: -0.22445,
    0.9063: -0.16914,
    0.9453: -0.10313,
    0.9531: -0.08864,
    0.9609: -0.07391,
    0.9688: -0.05906,
}


def box(shape, extent=(1.0,), periodic=False):
    return Grid(shape, extent, periodic=periodic, cell_centred=True)


def taylor_green(x, y):
    return torch.stack([torch.sin(x) * torch.cos(y), -torch.cos(x) * torch.sin(y)])


def taylor_green_3d(x, y, z):
    u = torch.sin(x) * torch.cos(y) * torch.cos(z)
    v = -torch.cos(x) * torch.sin(y) * torch.cos(z)
    return torch.stack([u, v, torch.zeros_like(u)])


def beltrami(x, y, z):
    """The ABC flow: its curl is itself, so its advection is a gradient."""
    return torch.stack(
        [
            torch.sin(z) + 0.7 * torch.cos(y),
            0.5 * torch.sin(x) + torch.cos(z),
            0.7 * torch.sin(y) + 0.5 * torch.cos(x),
        ]
    )


def on_faces(d, function):
    """A velocity sampled where the staggered grid keeps it, (1, dim, *space)."""
    return torch.stack([function(*d.face_coordinates(a))[a] for a in range(d.dim)])[None]


def divergence(d, state):
    return d.divergence(*d.components(state)[: d.dim])


# Spectral.


@pytest.mark.parametrize(
    "dim, flow, rate", [(2, taylor_green, 2.0), (3, beltrami, 1.0)], ids=["taylor-green", "abc"]
)
def test_exact_decay_to_rounding(dim, flow, rate):
    """Where advection is a gradient only diffusion is left, which ETDRK does exactly."""
    grid = Grid((16,) * dim, (TWO_PI,))
    u0 = flow(*grid.coordinates())[None]
    f = IncompressibleNavierStokes(0.1, dim=dim).on(grid)
    u = integrate(f, u0, [0.0, 1.0], ETDRK(4), dt=0.1).states[:, -1]
    assert torch.allclose(u, u0 * math.exp(-0.1 * rate), atol=1e-13)


def random_flow(f, batch=2):
    """A random state without divergence, of the modes that products keep."""
    num = f.equation.fields.num_channels
    u = f.encode(torch.randn(batch, num, *f.grid.shape))
    return f.from_modes(f.provider.dealias(f.to_modes(u)))


@pytest.mark.parametrize("dim", [2, 3])
def test_without_viscosity_the_rate_of_energy_vanishes(dim):
    f = IncompressibleNavierStokes(0.0, dim=dim).on(
        Grid((12, 15, 10)[:dim], (TWO_PI, 3.0, 5.0)[:dim])
    )
    u = random_flow(f)
    rate = f(0.0, u)
    assert rate.abs().max() > 0.1
    assert abs((u * rate).sum()) < 1e-12 * (u * u).sum()


@pytest.mark.parametrize("dim", [2, 3])
def test_the_rate_has_no_divergence(dim):
    f = IncompressibleNavierStokes(0.01, dim=dim, buoyancy=0.5).on(Grid((12,) * dim, (TWO_PI,)))
    d = f.provider
    for u in (random_flow(f), f(0.0, random_flow(f))):
        velocity = d.components(d.field(u))[:dim]
        assert d.divergence(*velocity).values.abs().max() < 1e-11


def test_same_as_rotational_form():
    """P[-(u . grad) u] = P[u x curl u], with products that carry no aliasing either way."""
    f = IncompressibleNavierStokes(0.0, dim=3).on(Grid((16,) * 3, (TWO_PI,)))
    d = f.provider
    u = random_flow(f)
    slopes = [d.gradient(c) for c in d.components(d.field(u))]
    curl = [slopes[(a + 2) % 3][(a + 1) % 3] - slopes[(a + 1) % 3][(a + 2) % 3] for a in range(3)]
    w = torch.cat([c.values for c in curl], dim=1)
    cross = torch.linalg.cross(u, w, dim=1)
    cross = f.from_modes(d.dealias(f.to_modes(cross)))
    assert torch.allclose(f.encode(cross), f(0.0, u), atol=1e-11)


def test_energy_budget_of_the_three_dimensional_taylor_green_vortex():
    """dE/dt = -2 viscosity Z with Z = mean abs(curl u)^2 / 2; E(0) = 1/8 and Z(0) = 3/8."""
    viscosity = 0.01
    grid = Grid((24,) * 3, (TWO_PI,))
    f = IncompressibleNavierStokes(viscosity, dim=3).on(grid)
    times = [0.25 * n for n in range(9)]
    u0 = taylor_green_3d(*grid.coordinates())[None]
    states = integrate(f, u0, times, ETDRK(4), dt=0.05).states[0]
    d = SpectralDerivatives(grid)
    energy, enstrophy = [], []
    for u in states:
        energy.append(float((u * u).sum(0).mean() / 2))
        slopes = [c.values for v in d.components(d.field(u[None])) for c in d.gradient(v)]
        enstrophy.append(sum(float((s * s).mean()) for s in slopes) / 2)
    assert energy[0] == pytest.approx(1 / 8) and enstrophy[0] == pytest.approx(3 / 8)
    assert enstrophy[-1] > 1.2 * enstrophy[0]
    simpson = [1, 4, 2, 4, 2, 4, 2, 4, 1]
    lost = 2 * viscosity * sum(w * z for w, z in zip(simpson, enstrophy, strict=True)) * 0.25 / 3
    assert energy[0] - energy[-1] == pytest.approx(lost, rel=1e-5)


def test_agrees_with_the_vorticity_equation():
    module = pytest.importorskip("pdesurrogates.equations.vorticity")
    grid = Grid((32, 32), (TWO_PI,))
    f = IncompressibleNavierStokes(0.01).on(grid)
    x, y = grid.coordinates()
    u0 = f.encode(
        torch.stack([torch.sin(x + 2 * y) + torch.cos(3 * y), torch.cos(2 * x - y)])[None]
    )

    def curl(u):
        d = f.provider
        velocity = d.components(d.field(u))
        return (d.dx(velocity[1]) - d.dy(velocity[0])).values

    u = integrate(f, u0, [0.0, 1.0], ETDRK(4), dt=0.02).states[:, -1]
    g = module.NavierStokesVorticity(0.01).on(grid)
    w = integrate(g, curl(u0), [0.0, 1.0], ETDRK(4), dt=0.02).states[:, -1]
    assert torch.allclose(curl(u), w, atol=1e-7)


def test_smoke_is_carried_by_a_uniform_stream():
    """It arrives where the stream takes it, thinned by diffusion alone."""
    grid = Grid((16, 16), (TWO_PI,))
    x, y = grid.coordinates()
    u0 = torch.zeros(1, 3, 16, 16)
    u0[:, 0], u0[:, 1], u0[:, 2] = 1.0, -0.5, torch.sin(2 * x + y)
    f = IncompressibleNavierStokes(0.3, smoke_diffusivity=0.1, smoke=True).on(grid)
    u = integrate(f, u0, [0.0, 0.4], ETDRK(4), dt=0.005).states[0, -1]
    exact = math.exp(-0.1 * 5 * 0.4) * torch.sin(2 * (x - 0.4) + (y + 0.2))
    assert torch.allclose(u[2], exact, atol=1e-9)
    assert torch.allclose(u[:2], u0[0, :2], atol=1e-13)


@pytest.mark.compare
def test_three_dimensions_agree_with_exponax():
    """Its rotational form, where the modes at the edge of the dealiasing are empty."""
    exponax = pytest.importorskip("exponax")
    pytest.importorskip("jax").config.update("jax_enable_x64", True)
    grid = Grid((32,) * 3, (TWO_PI,))
    u0 = (taylor_green_3d(*grid.coordinates()) + 0.3 * beltrami(*grid.coordinates()))[None]
    theirs = exponax.stepper.NavierStokesVelocity(3, TWO_PI, 32, 0.02, diffusivity=0.2, order=4)
    u = np.array(exponax.repeat(theirs, 25)(u0[0].numpy()))
    f = IncompressibleNavierStokes(0.2, dim=3).on(grid)
    ours = integrate(f, u0, [0.0, 0.5], ETDRK(4), dt=0.02).states[0, -1]
    assert float((ours - u0[0]).abs().max()) > 0.05
    np.testing.assert_allclose(ours.numpy(), u, atol=1e-8)


def test_forcing_and_buoyancy_act_where_they_should():
    grid = Grid((16, 16), (TWO_PI,))
    u = torch.zeros(2, 3, 16, 16)
    x, y = grid.coordinates()
    u[:, 2] = torch.sin(x)
    buoyancy = torch.tensor([0.5, 2.0])
    forced = IncompressibleNavierStokes(
        0.1, buoyancy=buoyancy, forcing=(lambda x, y: torch.sin(4 * y), 0.0)
    )
    for where in (grid, StaggeredGrid(grid)):
        f = forced.on(where)
        rate = f.decode(f(0.0, f.encode(u)))
        assert torch.allclose(rate[:, 0], torch.sin(4 * y).expand(2, 16, 16), atol=1e-13)
        lifted = buoyancy.reshape(2, 1, 1) * torch.sin(x)
        assert torch.allclose(rate[:, 1], lifted, atol=1e-13)
        assert rate[:, 2].abs().max() < 1e-13


def test_parameters_stay_as_given_and_can_be_replaced():
    """Generators put one value per sample in place of a number."""
    equation = IncompressibleNavierStokes(0.01, buoyancy=0.5)
    assert equation.buoyancy == 0.5 and equation.fields.names[-1] == "smoke"
    assert not replace(equation, buoyancy=0.0).has_smoke
    many = replace(equation, buoyancy=torch.tensor([0.2, 0.4]), viscosity=torch.tensor([0.1, 0.2]))
    grid = Grid((8, 8), (TWO_PI,))
    f = many.on(grid)
    u = f.encode(torch.randn(1, 3, 8, 8).expand(2, 3, 8, 8))
    together = integrate(f, u, [0.0, 0.1], ETDRK(2), dt=0.05).states
    alone = replace(equation, buoyancy=0.4, viscosity=0.2).on(grid)
    one = integrate(alone, u[1:], [0.0, 0.1], ETDRK(2), dt=0.05).states
    assert torch.allclose(together[1], one[0], atol=1e-13)


def test_one_viscosity_per_sample():
    for where in (Grid((8, 8), (TWO_PI,)), StaggeredGrid(box((8, 8)), LID)):
        viscosities = torch.tensor([0.0, 0.1])
        f = IncompressibleNavierStokes(viscosities).on(where)
        u = f.encode(torch.randn(1, 2, 8, 8).expand(2, 2, 8, 8))
        together = f(0.0, u)
        for i, viscosity in enumerate(viscosities.tolist()):
            alone = IncompressibleNavierStokes(viscosity).on(where)(0.0, u[i : i + 1])
            assert torch.allclose(together[i], alone[0], atol=1e-12)


def test_conserved_quantities_name_what_is_kept():
    grid = Grid((8, 8), (TWO_PI,))
    u = torch.randn(1, 3, 8, 8)
    names = IncompressibleNavierStokes(0.0, smoke=True).conserved_quantities(u, grid)
    assert set(names) == {"momentum_x", "momentum_y", "energy", "smoke"}
    assert set(IncompressibleNavierStokes(0.1).conserved_quantities(u[:, :2], grid)) == {
        "momentum_x",
        "momentum_y",
    }
    assert not IncompressibleNavierStokes(0.0).conserved_quantities(u[:, :2], box((8, 8)))
    lifted = IncompressibleNavierStokes(0.1, buoyancy=0.5).conserved_quantities(u, grid)
    assert set(lifted) == {"smoke"}
    assert float(lifted["smoke"]) == pytest.approx(float(u[:, 2].sum()) * (TWO_PI / 8) ** 2)


# Staggered, between walls.


@pytest.mark.parametrize(
    "stepper, order", [(Heun(), 2), (SSPRK3(), 3), (RK4(), 4)], ids=["heun", "ssprk3", "rk4"]
)
def test_steppers_keep_their_order_and_the_divergence_stays_zero(stepper, order):
    d = StaggeredGrid(box((8, 9)), LID)
    f = IncompressibleNavierStokes(0.02).on(d)
    u = integrate(f, torch.zeros(1, 2, 8, 9), [0.0, 0.5], RK4(), dt=0.02).states[:, -1]
    exact = integrate(f, u, [0.0, 0.4], RK4(), dt=0.4 / 256).states[:, -1]
    errors = []
    for n in (16, 32, 64):
        state = integrate(f, u, [0.0, 0.4], stepper, dt=0.4 / n).states[:, -1]
        assert divergence(d, state).abs().max() < 1e-12
        errors.append(float((state - exact).abs().max()))
    assert errors[-1] > 1e-13
    slopes = [math.log2(a / b) for a, b in pairwise(errors)]
    assert abs(slopes[-1] - order) < 0.25, (errors, slopes)


def poiseuille(y, t, viscosity, push):
    """Start from rest between walls at 0 and 1 under a constant push, as a Fourier series."""
    u = push / (2 * viscosity) * y * (1 - y)
    for k in range(1, 200, 2):
        factor = 4 * push / (viscosity * math.pi**3 * k**3)
        u = u - factor * torch.sin(k * math.pi * y) * math.exp(-viscosity * (k * math.pi) ** 2 * t)
    return u


def test_start_up_of_poiseuille_flow():
    errors = []
    for n in (8, 16, 32):
        d = StaggeredGrid(box((4, n), (1.0, 1.0), (True, False)), Dirichlet(0.0))
        f = IncompressibleNavierStokes(0.1, forcing=(1.0, 0.0)).on(d)
        u0 = torch.zeros(1, 2, 4, n)
        u = f.decode(integrate(f, u0, [0.0, 1.0], RK4(), dt=2.0 / n**2).states[:, -1])
        exact = poiseuille(d.grid.coordinates()[1], 1.0, 0.1, 1.0)
        errors.append(float((u[0, 0] - exact).abs().max()))
        assert u[0, 1].abs().max() < 1e-14
    assert errors[-1] < 2e-3
    assert all(3.5 < a / b < 4.3 for a, b in pairwise(errors)), errors


@pytest.mark.parametrize("dim", [2, 3])
def test_couette_flow_is_kept_to_rounding(dim):
    grid = box((4, 6, 5)[:dim], (1.0, 2.0, 1.0)[:dim], (True, False, True)[:dim])
    names = ("velocity_x", "velocity_y", "velocity_z")[:dim]
    rest = [Periodic(), Dirichlet(0.0), Periodic()][:dim]
    walls = dict.fromkeys(names, rest)
    walls["velocity_x"] = [Periodic(), Dirichlet((-1.0, 1.0)), Periodic()][:dim]
    f = IncompressibleNavierStokes(0.3, dim=dim).on(StaggeredGrid(grid, walls))
    u = torch.zeros(1, dim, *grid.shape)
    u[0, 0] = grid.coordinates()[1] - 1.0
    assert f(0.0, u).abs().max() < 1e-13


@pytest.mark.parametrize(
    "dim, flow, rate, sizes",
    [(2, taylor_green, 2.0, (8, 16, 32)), (3, beltrami, 1.0, (8, 16, 24))],
    ids=["taylor-green", "abc"],
)
def test_second_order_on_a_periodic_staggered_grid(dim, flow, rate, sizes):
    errors = []
    for n in sizes:
        d = StaggeredGrid(Grid((n,) * dim, (TWO_PI,)))
        f = IncompressibleNavierStokes(0.1, dim=dim).on(d)
        u0 = on_faces(d, flow)
        u = integrate(f, u0, [0.0, 0.5], RK4(), dt=0.05).states[:, -1]
        errors.append(float((u - u0 * math.exp(-0.05 * rate)).abs().max()))
    assert errors[-1] < 3e-3
    orders = [
        math.log(a / b) / math.log(fine / coarse)
        for (a, b), (coarse, fine) in zip(pairwise(errors), pairwise(sizes), strict=True)
    ]
    assert all(abs(order - 2) < 0.2 for order in orders), (errors, orders)


@pytest.mark.parametrize("dim, sizes", [(2, (16, 32, 64)), (3, (12, 18, 24))])
def test_both_forms_give_the_same_rate(dim, sizes):
    """Of a flow that changes its shape, with smoke; averaged to the centres, to second order."""
    errors = []
    for n in sizes:
        grid = Grid((n,) * dim, (TWO_PI,))
        x = grid.coordinates()
        swirl = taylor_green(x[0], 2 * x[1]) * torch.tensor([2.0, 1.0]).reshape(2, *(1,) * dim)
        if dim == 3:
            swirl = beltrami(*x) + taylor_green_3d(*x)
        smoke = 1 + torch.cos(x[0] - x[-1])[None]
        u = torch.cat([swirl + 0.3, smoke])[None]
        equation = IncompressibleNavierStokes(0.05, dim=dim, buoyancy=0.4, smoke_diffusivity=0.1)
        f, g = equation.on(grid), equation.on(StaggeredGrid(grid))
        difference = g.decode(g(0.0, g.encode(u))) - f(0.0, f.encode(u))
        assert f(0.0, u).abs().max() > 0.5
        errors.append(float(difference.abs().mean()))
    assert errors[-1] < (0.01 if dim == 2 else 0.05)
    orders = [
        math.log(a / b) / math.log(fine / coarse)
        for (a, b), (coarse, fine) in zip(pairwise(errors), pairwise(sizes), strict=True)
    ]
    assert all(order > 1.7 for order in orders), (errors, orders)


def cavity(n, t_end):
    """Steady flow in the lid-driven cavity at Re = 100, on both centre lines as splines."""
    f = IncompressibleNavierStokes(0.01).on(StaggeredGrid(box((n, n)), LID))
    dt = 1.08 / (0.04 * n**2 + n)
    state = integrate(f, torch.zeros(1, 2, n, n), [0.0, t_end], RK4(), dt=dt).states[0, -1]
    assert f(0.0, state[None]).abs().max() < 1e-4
    centres = np.concatenate([[0.0], (np.arange(n) + 0.5) / n, [1.0]])
    u = np.concatenate([[0.0], state[0, n // 2 - 1].numpy(), [1.0]])
    v = np.concatenate([[0.0], state[1, :, n // 2 - 1].numpy(), [0.0]])
    return CubicSpline(centres, u), CubicSpline(centres, v)


def test_lid_driven_cavity_matches_the_published_tables():
    u, v = cavity(32, 18.0)
    assert max(abs(float(u(y)) - value) for y, value in GHIA_X.items()) < 4e-3
    assert max(abs(float(v(x)) - value) for x, value in GHIA_Y.items()) < 1e-2


@pytest.mark.parametrize("dim", [2, 3])
def test_uniform_smoke_in_a_closed_box_stays_at_rest(dim):
    grid = box((6, 5, 4)[:dim])
    f = IncompressibleNavierStokes(0.01, dim=dim, buoyancy=2.0).on(
        StaggeredGrid(grid, Dirichlet(0.0))
    )
    u = torch.zeros(1, dim + 1, *grid.shape)
    u[:, -1] = 0.7
    assert f(0.0, u).abs().max() < 1e-13
    u[:, -1, 2] = 1.0
    assert f(0.0, u)[:, dim - 1].abs().max() > 0.1


def test_buoyant_smoke_in_a_box_is_conserved_and_bounded():
    """The PDEArena case, coarser: 32 by 32 lengths, viscosity 0.01, buoyancy 0.5, no slip."""
    grid = box((24, 24), (32.0,))
    x, y = grid.coordinates()
    blobs = [torch.exp(-((x - a) ** 2 + (y - b) ** 2) / 18.0) for a, b in ((10, 8), (20, 12))]
    u0 = torch.zeros(2, 3, 24, 24)
    u0[0, 2], u0[1, 2] = blobs[0], (blobs[1] > 0.5).double()
    equation = IncompressibleNavierStokes(0.01, buoyancy=0.5)
    d = StaggeredGrid(grid, Dirichlet(0.0))
    states = solve(equation, d, u0, [0.0, 6.0, 12.0], cfl=0.5)
    smoke = states[:, :, 2]
    assert (smoke[:, -1] - smoke[:, 0]).abs().max() > 0.3
    assert smoke.min() > -1e-13
    assert (smoke.amax((1, 2, 3)) <= u0[:, 2].amax((1, 2)) + 1e-13).all()
    total = smoke.sum((2, 3))
    assert torch.allclose(total, total[:, :1].expand_as(total), rtol=1e-12)
    centre = (smoke * y).sum((2, 3)) / total
    assert (centre[:, -1] > centre[:, 0] + 1.0).all()
    assert torch.allclose(states[:, 0], u0)


def test_smoke_diffuses_without_leaving():
    grid = box((6, 8))
    f = IncompressibleNavierStokes(0.1, smoke_diffusivity=0.3, smoke=True).on(
        StaggeredGrid(grid, Dirichlet(0.0))
    )
    u = torch.zeros(1, 3, 6, 8)
    wave = torch.cos(math.pi * grid.coordinates()[1])
    u[0, 2] = wave
    eigenvalue = (2 * math.cos(math.pi / 8) - 2) * 64
    assert torch.allclose(f(0.0, u)[0, 2], 0.3 * eigenvalue * wave, atol=1e-13)


def test_free_slip_lets_a_uniform_stream_pass():
    grid = box((4, 5, 6), (1.0,), (True, False, False))
    f = IncompressibleNavierStokes(0.3, dim=3).on(StaggeredGrid(grid, Neumann(0.0)))
    u = torch.zeros(1, 3, *grid.shape)
    u[:, 0] = 1.5
    assert f(0.0, u).abs().max() < 1e-14
    sticky = IncompressibleNavierStokes(0.3, dim=3).on(StaggeredGrid(grid, Dirichlet(0.0)))
    assert sticky(0.0, u).abs().max() > 1.0


def test_a_box_in_three_dimensions_runs():
    """Random flow between walls: energy falls, divergence stays at rounding, float32 is kept."""
    d = StaggeredGrid(box((8, 6, 7)), Dirichlet(0.0))
    f = IncompressibleNavierStokes(0.01, dim=3).on(d)
    u0 = f.encode(torch.randn(2, 3, 8, 6, 7))
    states = integrate(f, u0, [0.0, 0.1, 0.2], RK4(), dt=0.01).states
    energy = (states**2).flatten(2).sum(2)
    assert (energy[:, 1:] < energy[:, :-1]).all()
    assert divergence(d, states[:, -1]).abs().max() < 1e-12
    single = f(0.0, u0.float())
    assert single.dtype == torch.float32
    assert torch.allclose(single.double(), f(0.0, u0), atol=1e-2)


def test_the_state_decides_the_precision():
    d = StaggeredGrid(box((6, 5)), Dirichlet(0.0))
    one = torch.ones(1, dtype=torch.float64)
    f = IncompressibleNavierStokes(
        one,
        buoyancy=one,
        smoke_diffusivity=one,
        forcing=(lambda x, y: torch.sin(y), torch.ones(1, 1, 6, 5, dtype=torch.float64)),
    ).on(d)
    u = torch.rand(2, 3, 6, 5, dtype=torch.float32)
    for result in (f.encode(u), f(0.0, u), f.decode(u), f.largest_step(0.0, u)):
        assert result.dtype == torch.float32


def test_gradient_through_ten_steps_matches_differences():
    d = StaggeredGrid(box((6, 7)), LID)
    u0 = torch.rand(1, 3, 6, 7)
    direction = torch.randn(1, 3, 6, 7)

    def loss(u, viscosity):
        f = IncompressibleNavierStokes(viscosity, buoyancy=0.8, smoke_diffusivity=0.01).on(d)
        state = integrate(f, f.encode(u), [0.0, 0.1], SSPRK3(), dt=0.01).states[:, -1]
        return (state**3).sum()

    u = u0.clone().requires_grad_()
    viscosity = torch.tensor([0.05], requires_grad=True)
    grad_u, grad_viscosity = torch.autograd.grad(loss(u, viscosity), (u, viscosity))
    step = 1e-6
    with torch.no_grad():
        along = loss(u0 + step * direction, viscosity) - loss(u0 - step * direction, viscosity)
        across = loss(u0, viscosity + step) - loss(u0, viscosity - step)
    assert float((grad_u * direction).sum()) == pytest.approx(float(along) / (2 * step), rel=1e-6)
    assert float(grad_viscosity) == pytest.approx(float(across) / (2 * step), rel=1e-6)


def test_largest_step_is_that_of_the_fastest_cell():
    d = StaggeredGrid(Grid((8, 8), (4.0, 8.0)))
    f = IncompressibleNavierStokes(0.1, smoke_diffusivity=torch.tensor([0.0, 0.3]), smoke=True)
    u = torch.zeros(2, 3, 8, 8)
    u[:, 0], u[1, 1, 3, 4] = 2.0, -5.0
    rates = [2 / 0.5 + 2 * 0.1 * (4 + 1), (2 / 0.5 + 5 / 1.0) + 2 * 0.3 * (4 + 1)]
    assert torch.allclose(f.on(d).largest_step(0.0, u), 1 / torch.tensor(rates))
    # From rest, over one cell under the acceleration 0.5 * 3.
    lifted = IncompressibleNavierStokes(0.0, buoyancy=0.5).on(d)
    u = torch.zeros(1, 3, 8, 8)
    assert lifted.largest_step(0.0, u).isinf().all()
    u[:, 2] = 3.0
    assert torch.allclose(lifted.largest_step(0.0, u), torch.tensor([1.0]) / math.sqrt(1.5))


@pytest.mark.parametrize("viscosity", [0.0, 0.3])
def test_the_largest_step_is_stable(viscosity):
    """Energy does not grow at Courant number 1, with random flow and either limit at work."""
    d = StaggeredGrid(box((8, 9)), Dirichlet(0.0))
    f = IncompressibleNavierStokes(viscosity).on(d)
    u = f.encode(torch.randn(4, 2, 8, 9))
    before = (u**2).flatten(1).sum(1)
    for _ in range(100):
        u = SSPRK3().step(f, 0.0, u, f.largest_step(0.0, u))
    assert ((u**2).flatten(1).sum(1) <= 1.0001 * before).all()


def test_broken_values_are_named():
    f = IncompressibleNavierStokes(buoyancy=1.0).on(StaggeredGrid(box((4, 5)), Dirichlet(0.0)))
    u = torch.zeros(2, 3, 4, 5)
    assert f.first_unphysical(u) is None
    u[1, 2, 3, 0] = math.nan
    assert f.first_unphysical(u) == (1, (3, 0), "smoke is nan")


def test_refusals_say_what_to_do():
    grid = box((4, 5))
    with pytest.raises(ValueError, match="StaggeredGrid.*Dirichlet"):
        IncompressibleNavierStokes().on(grid)
    with pytest.raises(ValueError, match="got FiniteDifferences with 2"):
        IncompressibleNavierStokes().on(FiniteDifferences(Grid((8, 8), (1.0,))))
    with pytest.raises(ValueError, match="3 axes, got StaggeredGrid with 2"):
        IncompressibleNavierStokes(dim=3).on(StaggeredGrid(grid, Dirichlet(0.0)))
    with pytest.raises(ValueError, match="`dim` must be 2 or 3, got 1"):
        IncompressibleNavierStokes(dim=1)
    with pytest.raises(ValueError, match=r"`forcing` must have one entry per axis \(2\)"):
        IncompressibleNavierStokes(forcing=(1.0,))
    with pytest.raises(ValueError, match="acts on smoke"):
        IncompressibleNavierStokes(buoyancy=1.0, smoke=False)
    f = IncompressibleNavierStokes().on(StaggeredGrid(grid, Dirichlet(0.0)))
    with pytest.raises(ValueError, match=r"on \(4, 5\) cells: `u` must have shape"):
        f(0.0, torch.zeros(1, 3, 4, 5))
