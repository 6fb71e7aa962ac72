"""Reaction and diffusion against exact fronts and series, SciPy's integrators, and exponax."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from pdesurrogates.core import Dirichlet, Grid, Neumann
from pdesurrogates.equations import (
    AllenCahn,
    Diffusion,
    DiffusionSorption,
    FisherKPP,
    FitzHughNagumo,
    GrayScott,
    Wave,
)
from pdesurrogates.operators import AutodiffDerivatives, FiniteDifferences, SpectralDerivatives
from pdesurrogates.reference import random_initial_condition
from pdesurrogates.steppers import ETDRK, RK4, integrate

EQUATIONS = [
    (AllenCahn(1e-2, 3.0), 1),
    (FisherKPP(0.02, 1.5), 2),
    (GrayScott(0.02, 0.01), 1),
    (GrayScott(torch.tensor([0.02]), 0.01, torch.tensor([0.03]), 0.05), 2),
    (FitzHughNagumo(), 2),
    (DiffusionSorption(), 1),
    (Wave(0.8), 2),
    (Wave(lambda x: 1 + 0.3 * torch.sin(x)), 1),
]


def smooth(num_channels, coordinates):
    """Positive waves of a few modes, one per channel; `coordinates` are tensors of one shape."""
    return [
        0.6 + 0.2 * torch.sin(coordinates[0] + c) + 0.1 * torch.cos(2 * coordinates[-1] - c)
        for c in range(num_channels)
    ]


def slope(errors):
    return math.log2(errors[-2] / errors[-1])


@pytest.mark.parametrize("equation, dim", EQUATIONS, ids=str)
def test_every_provider_gives_the_same_right_hand_side(equation, dim):
    num_channels = equation.fields.num_channels

    def rates(n):
        grid = Grid((n,) * dim, 2 * math.pi)
        u = torch.stack(smooth(num_channels, list(grid.coordinates())))[None]
        points = grid.coordinates().flatten(1).T[None].contiguous()
        d = AutodiffDerivatives(points)
        values = torch.cat(smooth(num_channels, list(d.points.split(1, dim=-1))), dim=-1)
        autodiff = equation.on(d)(0.0, values).mT.reshape(u.shape).detach()
        spectral = equation.on(SpectralDerivatives(grid, dealias=1.0))(0.0, u)
        difference = equation.on(FiniteDifferences(grid, 6))(0.0, u)
        return autodiff, spectral, difference

    autodiff, spectral, coarse = rates(32)
    assert torch.allclose(spectral, autodiff, atol=1e-12)
    errors = [float((coarse - autodiff).abs().max())]
    autodiff, _, fine = rates(64)
    errors.append(float((fine - autodiff).abs().max()))
    assert abs(slope(errors) - 6) < 0.15 and errors[-1] < 1e-7, errors


@pytest.mark.parametrize("order", [2, 4, 6])
@pytest.mark.parametrize("is_cell_centred", [False, True])
@pytest.mark.parametrize("kind", ["dirichlet", "neumann"])
def test_heat_between_walls_against_its_series(order, is_cell_centred, kind):
    """u = 1 + 2 x + two decaying modes, for given values (1, 3) or given slopes (2, 2)."""
    boundary, wave = (
        (Dirichlet((1.0, 3.0)), torch.sin) if kind == "dirichlet" else (Neumann(2.0), torch.cos)
    )

    def exact(x, t):
        modes = sum(
            math.exp(-0.5 * (math.pi * m) ** 2 * t) * wave(math.pi * m * x) for m in (1, 2)
        )
        return (1 + 2 * x + modes)[None, None]

    errors = []
    for n in (20, 40):
        points = n if is_cell_centred else n + 1
        grid = Grid(points, 1.0, periodic=False, cell_centred=is_cell_centred)
        (x,) = grid.coordinates()
        f = Diffusion(0.5).on(FiniteDifferences(grid, order, boundary))
        states = integrate(f, exact(x, 0.0), [0.0, 0.03], RK4(), dt=2.5e-4).states
        errors.append(float((states[:, -1] - exact(x, 0.03)).abs().max()))
    assert order - 0.25 < slope(errors) < order + 1.2, errors
    assert errors[-1] < {2: 3e-3, 4: 3e-5, 6: 1e-6}[order]


@pytest.mark.parametrize("order", [2, 4, 6])
def test_fisher_front_travels_at_its_exact_speed(order):
    """u = (1 + exp((x - 5 t / sqrt 6) / sqrt 6))^-2 (Ablowitz and Zeppetella, 1979)."""

    def exact(x, t):
        front = torch.exp((x - 5 / math.sqrt(6) * t) / math.sqrt(6))
        return ((1 + front) ** -2)[None, None]

    errors = []
    for n in (110, 220):
        grid = Grid(n + 1, 110.0, -60.0, periodic=False)
        (x,) = grid.coordinates()
        f = FisherKPP(1.0, 1.0).on(FiniteDifferences(grid, order, Dirichlet((1.0, 0.0))))
        states = integrate(f, exact(x, 0.0), [0.0, 2.0], RK4(), dt=0.02).states
        errors.append(float((states[:, -1] - exact(x, 2.0)).abs().max()))
    assert abs(slope(errors) - order) < 0.2, errors
    assert errors[-1] < {2: 3e-3, 4: 5e-5, 6: 2e-6}[order]


def laplacian(u, h):
    """Five points, nothing passes the walls: plain NumPy."""
    v = np.pad(u, 1, mode="edge")
    return (v[2:, 1:-1] + v[:-2, 1:-1] + v[1:-1, 2:] + v[1:-1, :-2] - 4 * u) / h**2


def fitzhugh_nagumo(u, v, h):
    return (
        1e-3 * laplacian(u, h) + u - u**3 - 5e-3 - v,
        5e-3 * laplacian(v, h) + u - v,
    )


def gray_scott(u, v, h):
    return (
        2e-3 * laplacian(u, h) - u * v**2 + 0.04 * (1 - u),
        1e-3 * laplacian(v, h) + u * v**2 - (0.04 + 0.06) * v,
    )


@pytest.mark.parametrize(
    "equation, by_hand, method",
    [
        (FitzHughNagumo(), fitzhugh_nagumo, "LSODA"),
        (GrayScott(2e-3, 1e-3), gray_scott, "DOP853"),
    ],
    ids=["FitzHughNagumo", "GrayScott"],
)
def test_two_species_against_scipy(equation, by_hand, method):
    shape = (12, 10)
    grid = Grid(shape, (2.4, 2.0), (-1.2, -1.0), periodic=(False, False), cell_centred=True)
    u0 = torch.rand(1, 2, *shape)

    def rhs(t, y):
        u, v = y.reshape(2, *shape)
        return np.concatenate([rate.ravel() for rate in by_hand(u, v, 0.2)])

    start = u0.numpy().ravel()
    truth = solve_ivp(rhs, (0.0, 3.0), start, method=method, rtol=1e-11, atol=1e-12).y[:, -1]
    f = equation.on(FiniteDifferences(grid, 2, Neumann()))
    ours = integrate(f, u0, [0.0, 3.0], RK4(), dt=0.02).states[0, -1]
    assert torch.allclose(ours.flatten(), torch.from_numpy(truth), atol=2e-8)


def sorption(num_points, order=2):
    equation = DiffusionSorption()
    grid = Grid(num_points, 1.0, periodic=False, cell_centred=True)
    return equation.on(FiniteDifferences(grid, order, equation.boundary))


def lsoda(f, u0, t):
    """SciPy's stiff integrator on our right-hand side, tight tolerances."""
    return torch.from_numpy(
        solve_ivp(
            lambda t, y: f(t, torch.from_numpy(y)[None, None])[0, 0].numpy(),
            (0.0, t),
            u0,
            method="LSODA",
            rtol=1e-9,
            atol=1e-11,
            lband=3,
            uband=3,
        ).y[:, -1]
    )


def test_sorption_against_lsoda():
    f = sorption(32)
    truth = lsoda(f, np.full(32, 0.1), 200.0)
    ours = integrate(f, torch.full((1, 1, 32), 0.1), [0.0, 200.0], RK4(), dt=1.0).states[0, -1, 0]
    assert torch.allclose(ours, truth, atol=1e-6)
    assert 0.001 < float(ours[-1]) < 0.1 and float(ours[0]) > 0.9


def test_sorption_converges_to_a_much_finer_solution():
    fine = lsoda(sorption(320), np.full(320, 0.1), 200.0)
    errors = []
    for n in (16, 32):
        ours = integrate(sorption(n), torch.full((1, 1, n), 0.1), [0.0, 200.0], dt=1.0).states
        # Mean and midpoint value of a smooth function differ by less than the errors compared.
        errors.append(float((ours[0, -1, 0] - fine.reshape(n, -1).mean(dim=1)).abs().max()))
    assert abs(slope(errors) - 2) < 0.25 and errors[-1] < 1e-2, errors


def test_sorption_rate_and_rest_state_by_hand():
    f = sorption(20)
    d, (x,) = 5e-4, f.grid.coordinates()
    rest = 1 - x / (1 + d)
    assert f(0.0, rest[None, None]).abs().max() < 1e-12
    u = 0.2 + 0.1 * torch.rand(20)
    retardation = 1 + (1 - 0.29) / 0.29 * 2880 * 3.5e-4 * 0.874 * (u + 1e-6) ** (0.874 - 1)
    second = (u[2:] - 2 * u[1:-1] + u[:-2]) * 400
    assert torch.allclose(f(0.0, u[None, None])[0, 0, 1:-1], d * second / retardation[1:-1])


@pytest.mark.parametrize("order", [2, 4])
def test_sorption_refuses_steps_beyond_the_limit_of_diffusion(order):
    with pytest.raises(ValueError, match="the largest stable step is"):
        integrate(sorption(64, order), torch.full((1, 1, 64), 0.1), [0.0, 5.0])


def test_dissolved_and_sorbed_mass_together_are_kept():
    equation = DiffusionSorption()
    for grid, boundary in (
        (Grid(24, 1.0), None),
        (Grid(24, 1.0, periodic=False, cell_centred=True), Neumann()),
        (Grid(25, 1.0, periodic=False), Neumann()),
    ):
        f = equation.on(FiniteDifferences(grid, 2, boundary))
        u = 0.3 + 0.2 * torch.rand(2, 1, *grid.shape)
        u.requires_grad_()
        mass = equation.conserved_quantities(u, grid)["mass"].sum()
        (gradient,) = torch.autograd.grad(mass, u)
        rate = f(0.0, u.detach())
        assert rate.abs().max() > 0.01
        assert abs(float((gradient * rate).sum())) < 1e-13


def directional(function, value, direction, step=1e-6):
    """Central difference along a direction."""
    return float(
        (function(value + step * direction) - function(value - step * direction)) / (2 * step)
    )


@pytest.mark.parametrize("name", ["gray_scott", "sorption", "wave"])
def test_gradients_through_a_solve_match_central_differences(name):
    if name == "gray_scott":
        grid = Grid((8, 6), (1.0, 1.0), periodic=(False, True), cell_centred=True)
        parameter, make, dt = torch.tensor(0.05), lambda p: GrayScott(2e-2, 1e-2, p, 0.06), 0.02
        d = FiniteDifferences(grid, 4, [Neumann(), None])
    elif name == "sorption":
        grid = Grid((10,), (1.0,), periodic=False, cell_centred=True)
        parameter, make, dt = torch.tensor(5e-4), lambda p: DiffusionSorption(p), 5.0
        d = FiniteDifferences(grid, 2, DiffusionSorption().boundary)
    else:
        grid = Grid((9,), (1.0,), periodic=False)
        parameter, make, dt = 1 + torch.rand(1, 1, 9), lambda p: Wave(p), 0.02
        d = FiniteDifferences(grid, 2, Dirichlet())
    u0 = 0.3 + 0.3 * torch.rand(2, make(parameter).fields.num_channels, *grid.shape)

    def loss(u0, parameter):
        f = make(parameter).on(d)
        u = u0
        step = RK4().bind(f)
        for n in range(20):
            u = step(n * dt, u, dt)
        return (u**3).sum()

    u0.requires_grad_()
    parameter.requires_grad_()
    gradients = torch.autograd.grad(loss(u0, parameter), (u0, parameter))
    for index, (value, gradient) in enumerate(zip((u0, parameter), gradients, strict=True)):
        with torch.no_grad():
            direction = torch.randn_like(value) * value.abs().max()

            def along(other, index=index):
                arguments = [u0, parameter]
                arguments[index] = other
                return loss(*arguments)

            measured = directional(along, value, direction)
            computed = float((gradient * direction).sum())
        assert computed == pytest.approx(measured, rel=1e-6)
        assert abs(computed) > 1e-3


@pytest.mark.compare
@pytest.mark.parametrize("name", ["FisherKPP", "AllenCahn", "GrayScott"])
def test_reactions_agree_with_exponax(name):
    exponax = pytest.importorskip("exponax")
    pytest.importorskip("jax").config.update("jax_enable_x64", True)
    equation, options = {
        "FisherKPP": (FisherKPP(0.02, 1.5), {"diffusivity": 0.02, "reactivity": 1.5}),
        "AllenCahn": (
            AllenCahn(0.02, 1.5),
            {
                "diffusivity": 0.02,
                "first_order_coefficient": 1.5,
                "third_order_coefficient": -1.5,
            },
        ),
        "GrayScott": (
            GrayScott(2e-2, 1e-2, 0.04, 0.06),
            {"diffusivity_1": 2e-2, "diffusivity_2": 1e-2, "feed_rate": 0.04, "kill_rate": 0.06},
        ),
    }[name]
    grid = Grid((64, 64), (2 * math.pi,) * 2)
    channels = equation.fields.num_channels
    u0 = random_initial_condition(
        grid, 1, num_channels=channels, max_wavenumber=3, rms=0.1, mean=0.5
    )
    stepper = getattr(exponax.stepper.reaction, name)
    theirs = stepper(2, 2 * math.pi, 64, 0.05, order=4, **options)
    # Theirs wants the first two axes to be x and y, as ours are.
    end = exponax.repeat(theirs, 20)(u0[0].numpy())
    ours = integrate(equation.on(grid), u0, [0.0, 1.0], ETDRK(4), dt=0.05).states[0, -1]
    assert (ours - u0[0]).abs().max() > 0.1
    assert torch.allclose(ours, torch.from_numpy(end.__array__().copy()), atol=1e-8)
