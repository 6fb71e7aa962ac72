"""The wave equation against standing and travelling waves, reflection, and its energy."""

import math

import pytest
import torch

from pdesurrogates.core import Dirichlet, Grid, Neumann, Outflow
from pdesurrogates.equations import Wave
from pdesurrogates.operators import FiniteDifferences
from pdesurrogates.steppers import ETDRK, RK4, integrate


def slope(errors):
    return math.log2(errors[-2] / errors[-1])


@pytest.mark.parametrize("order", [2, 4, 6])
@pytest.mark.parametrize("is_cell_centred", [False, True])
@pytest.mark.parametrize("kind", ["dirichlet", "neumann"])
def test_standing_wave_between_walls(order, is_cell_centred, kind):
    boundary, shape = (Dirichlet(), torch.sin) if kind == "dirichlet" else (Neumann(), torch.cos)
    rate = 2 * math.pi * 0.7

    def exact(x, t):
        profile = shape(2 * math.pi * x)
        return torch.stack([math.cos(rate * t) * profile, -rate * math.sin(rate * t) * profile])[
            None
        ]

    errors = []
    for n in (24, 48):
        points = n if is_cell_centred else n + 1
        grid = Grid(points, 1.0, periodic=False, cell_centred=is_cell_centred)
        (x,) = grid.coordinates()
        f = Wave(0.7).on(FiniteDifferences(grid, order, boundary))
        states = integrate(f, exact(x, 0.0), [0.0, 0.8], RK4(), dt=4e-3).states
        errors.append(float((states[0, -1] - exact(x, 0.8)[0])[0].abs().max()))
    assert order - 0.25 < slope(errors) < order + 1.1, errors
    assert errors[-1] < {2: 1e-2, 4: 1e-4, 6: 2e-6}[order]


def test_travelling_wave_is_exact_with_spectral_derivatives():
    grid = Grid((16, 12), (2 * math.pi, 2 * math.pi))
    x, y = grid.coordinates()
    speed, rate = 0.7, 0.7 * math.sqrt(5)

    def exact(t):
        phase = 2 * x - y - rate * t
        return torch.stack([torch.sin(phase), -rate * torch.cos(phase)])[None]

    states = integrate(Wave(speed).on(grid), exact(0.0), [0.0, 3.0], ETDRK(2)).states
    assert torch.allclose(states[:, -1], exact(3.0), atol=1e-12)


@pytest.mark.parametrize("order", [2, 4, 6])
def test_travelling_wave_with_finite_differences(order):
    errors = []
    for n in (24, 48):
        grid = Grid(n, 2 * math.pi)
        (x,) = grid.coordinates()
        f = Wave(0.7).on(FiniteDifferences(grid, order))
        u0 = torch.stack([torch.sin(2 * x), -1.4 * torch.cos(2 * x)])[None]
        end = integrate(f, u0, [0.0, 1.0], RK4(), dt=4e-3).states[0, -1, 0]
        errors.append(float((end - torch.sin(2 * (x - 0.7))).abs().max()))
    assert abs(slope(errors) - order) < 0.15, errors


@pytest.mark.parametrize("boundary", ["periodic", "dirichlet", "neumann"])
def test_energy_drifts_with_the_stepper_only(boundary):
    """Second-order differences keep the energy; RK4 loses abs(R(i z))^2 - 1 = -z^6 / 72."""
    grid, condition = {
        "periodic": (Grid((12, 10), (1.0, 1.0)), None),
        "dirichlet": (Grid((13, 11), (1.0, 1.0), periodic=(False, False)), Dirichlet()),
        "neumann": (Grid((13, 11), (1.0, 1.0), periodic=(False, False)), Neumann()),
    }[boundary]

    def speed(x, y):
        return 1 + 0.3 * torch.sin(2 * math.pi * x) * torch.cos(2 * math.pi * y)

    equation = Wave(speed)
    f = equation.on(FiniteDifferences(grid, 2, condition))
    x, y = grid.coordinates()
    if boundary == "dirichlet":
        start = (1 + x) * torch.sin(math.pi * x) * torch.sin(2 * math.pi * y)
    else:
        start = torch.cos(2 * math.pi * x) * torch.cos(2 * math.pi * y)
        start = start + (boundary == "neumann") * x**2
    u0 = f.encode(torch.stack([start, 0 * start])[None])

    def energy(states):
        if boundary != "periodic":
            return equation.conserved_quantities(states, grid)["energy"]
        # On periodic axes the reported energy is spectral; the scheme keeps that of differences.
        u, v = states.unbind(2)
        slopes = sum((u.roll(-1, a) - u).square() * grid.shape[a] ** 2 for a in (-2, -1))
        return (0.5 * (v / speed(x, y)).square() + 0.5 * slopes).mean(dim=(-2, -1))

    drifts = []
    for dt in (0.02, 0.01):
        values = energy(integrate(f, u0, [0.0, 1.0], RK4(), dt=dt).states)[0]
        drifts.append(float((values[1] / values[0] - 1).abs()))
    assert abs(slope(drifts) - 5) < 0.15 and drifts[-1] < 1e-5, drifts


def test_energy_is_kept_by_the_spectral_solver():
    grid = Grid((64,), (2 * math.pi,))
    (x,) = grid.coordinates()
    equation = Wave(torch.tensor([0.5, 2.0]))
    u0 = torch.stack([torch.exp(torch.sin(x)), torch.cos(3 * x)]).expand(2, 2, 64)
    states = integrate(equation.on(grid), u0, [0.0, 1.0, 2.0], ETDRK(1)).states
    energy = equation.conserved_quantities(states, grid)["energy"]
    assert energy.shape == (2, 3)
    assert torch.allclose(energy, energy[:, :1].expand_as(energy), rtol=1e-12)
    # 1/2 int (v^2 / c^2 + u_x^2) with int cos^2(3x) = pi and int (cos x exp(sin x))^2 = I.
    slope_part = float((torch.cos(x) * torch.exp(torch.sin(x))).square().mean() * 2 * math.pi)
    assert float(energy[0, 0]) == pytest.approx((math.pi / 0.25 + slope_part) / 2)


def test_speed_as_number_samples_function_and_grid_values_agree():
    grid = Grid((17,), (1.0,), periodic=False)
    (x,) = grid.coordinates()
    d = FiniteDifferences(grid, 4, Dirichlet())
    u = torch.rand(2, 2, 17)
    number = Wave(1.5).on(d)(0.0, u)
    assert torch.allclose(Wave(torch.tensor([1.5, 1.5])).on(d)(0.0, u), number)
    assert torch.allclose(Wave(torch.full((1, 1, 17), 1.5)).on(d)(0.0, u), number)
    assert torch.allclose(Wave(lambda x: 0 * x + 1.5).on(d)(0.0, u), number)
    energies = [
        Wave(speed).conserved_quantities(u[:, None], grid)["energy"]
        for speed in (
            1.5,
            torch.tensor([1.5, 1.5]),
            torch.full((1, 1, 17), 1.5),
            lambda x: 0 * x + 1.5,
        )
    ]
    for energy in energies:
        assert energy.shape == (2, 1) and torch.allclose(energy, energies[0])
    assert len(x) == 17


def test_layer_reflects_and_transmits_the_known_shares():
    """At a jump of the speed: reflected (c2 - c1)/(c2 + c1), transmitted 2 c2/(c2 + c1)."""
    c1, c2 = 1.0, 2.0
    grid = Grid(1201, 12.0, -6.0, periodic=False)
    (x,) = grid.coordinates()
    pulse = torch.exp(-8 * (x + 2.5) ** 2)
    u0 = torch.stack([pulse, 16 * c1 * (x + 2.5) * pulse])[None]
    speed = torch.where(x < 0, c1, c2)[None, None]
    f = Wave(speed).on(FiniteDifferences(grid, 2, Outflow()))
    end = integrate(f, u0, [0.0, 4.0], RK4(), dt=0.005).states[0, -1, 0]
    reflected, transmitted = (c2 - c1) / (c2 + c1), 2 * c2 / (c2 + c1)
    assert float(end[x < 0].max()) == pytest.approx(reflected, abs=5e-3)
    assert float(end[x > 0].max()) == pytest.approx(transmitted, abs=5e-3)
    assert float(x[end.argmax()]) == pytest.approx(3.0, abs=0.02)
    left = x < 0
    assert float(x[left][end[left].argmax()]) == pytest.approx(-1.5, abs=0.02)
