"""Schemes: the same numbers as the classical method, and its order, where the fit is exact."""

import math

import pytest
import torch
from torch import nn

from pdesurrogates.core import Box, Grid, Periodic
from pdesurrogates.equations import Advection, AllenCahn, Burgers, Diffusion
from pdesurrogates.neural_fields import (
    BDF2,
    ExplicitEuler,
    ExplicitStep,
    GaussNewton,
    ImplicitEuler,
    ImplicitMidpoint,
    INSRSolver,
    NeuralField,
    SemiLagrangian,
    StepControl,
)
from pdesurrogates.steppers import RK4, AdamsBashforth, Euler, Heun, Midpoint

GRID = Grid((8,), (2 * math.pi,))
EXACT = StepControl(step_tolerance=1e-12, initial_tolerance=1e-12)


def waves(harmonics=2):
    """Trigonometric polynomials: linear in the weights, so that every fit is exact."""
    network = nn.Linear(2 * harmonics, 1)
    return NeuralField(network, GRID, num_harmonics=harmonics, num_channels=1)


def solve(equation, stepper, dt, u0, times):
    solver = INSRSolver(
        equation,
        GRID,
        stepper=stepper,
        dt=dt,
        network=waves(),
        num_points=24,
        control=EXACT,
        optimizer=GaussNewton(max_iterations=40, max_damping=1e12),
    )
    return solver.solve(u0, times)


def factor(stepper, z):
    """u_{n+1} / u_n of u' = lambda u at z = lambda dt."""
    return {
        "ExplicitEuler": 1 + z,
        "ImplicitEuler": 1 / (1 - z),
        "ImplicitMidpoint": (1 + z / 2) / (1 - z / 2),
        "ExplicitStep": 1 + z + z**2 / 2 + z**3 / 6 + z**4 / 24,
    }[type(stepper).__name__]


@pytest.mark.parametrize(
    "stepper", [ExplicitEuler(), ImplicitEuler(), ImplicitMidpoint(), ExplicitStep(RK4())], ids=str
)
def test_a_step_of_a_wave_is_the_propagator(stepper):
    k, speed, dt = 2, 0.7, 0.1
    solution = solve(Advection(speed), stepper, dt, lambda x: torch.cos(k * x), [0.0, 2 * dt])
    x = GRID.coordinates()
    amplitude = torch.tensor(factor(stepper, -1j * k * speed * dt)) ** 2
    expected = (amplitude * torch.exp(1j * k * x)).real
    assert torch.allclose(solution.sample()[0, -1], expected, atol=1e-8)


def test_bdf2_of_a_wave_is_the_recurrence_also_with_unequal_steps():
    rate, times = -0.8, [0.0, 0.1, 0.15, 0.35]
    solution = solve(Diffusion(0.2), BDF2(), 1.0, lambda x: torch.sin(2 * x), times)
    amplitudes = [1.0, (1 + rate * 0.05) / (1 - rate * 0.05)]
    for n in (2, 3):
        dt, before = times[n] - times[n - 1], times[n - 1] - times[n - 2]
        # The derivative at the new end of the parabola through three points is rate * u.
        a = (2 * dt + before) / (dt * (dt + before))
        b = -(dt + before) / (dt * before)
        c = dt / (before * (dt + before))
        amplitudes.append(-(b * amplitudes[-1] + c * amplitudes[-2]) / (a - rate))
    found = solution.at(torch.full((1, 1, 1), math.pi / 4), 3).item()
    assert math.isclose(found, amplitudes[3], rel_tol=1e-8)


@pytest.mark.parametrize(
    ("stepper", "order"),
    [
        (ExplicitEuler(), 1),
        (ImplicitEuler(), 1),
        (ImplicitMidpoint(), 2),
        (BDF2(), 2),
        (ExplicitStep(Heun()), 2),
        (ExplicitStep(RK4()), 4),
    ],
    ids=str,
)
def test_order_on_a_nonlinear_problem(stepper, order):
    """Constant in space, Allen-Cahn is u' = 2 (u - u^3), with a closed solution."""
    start, end = 0.2, 0.4
    exact = 1 / math.sqrt(1 + (1 / start**2 - 1) * math.exp(-4 * end))
    errors = []
    for steps in (3, 6, 12):
        solution = solve(
            AllenCahn(1.0, 2.0), stepper, end / steps, lambda x: start + 0 * x, [0.0, end]
        )
        errors.append(abs(solution.at(torch.zeros(1, 1, 1)).item() - exact))
    slopes = [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
    assert stepper.order == order
    assert all(abs(slope - order) < 0.3 for slope in slopes[-1:]), (errors, slopes)
    assert errors[-1] < 0.02


def test_semi_lagrangian_carries_values_exactly():
    solution = solve(Advection(0.7), SemiLagrangian(), 0.5, lambda x: torch.sin(2 * x), [0.0, 1.0])
    expected = torch.sin(2 * (GRID.coordinates() - 0.7))
    assert torch.allclose(solution.sample()[0, -1], expected, atol=1e-8)


def test_semi_lagrangian_treats_the_rest_implicitly():
    """Advection at zero velocity and diffusion: implicit Euler."""
    rest = SemiLagrangian(velocity=lambda x, t: 0.0 * x)
    solution = solve(Diffusion(0.2), rest, 0.1, lambda x: torch.sin(2 * x), [0.0, 0.1])
    found = solution.at(torch.full((1, 1, 1), math.pi / 4)).item()
    assert math.isclose(found, 1 / 1.08, rel_tol=1e-8)


def test_semi_lagrangian_takes_the_characteristic_velocity_and_puts_feet_on_the_boundary():
    scheme = SemiLagrangian(domain=Box((0.0,), (1.0,)))
    points = torch.tensor([[[0.05], [0.5]]])
    known = scheme.known([lambda x: 1.0 + x], [0.0], Burgers(0.1), points, 0.1)
    feet = torch.tensor([[[0.0], [0.35]]])
    assert torch.allclose(known["start"], 1.0 + feet)


def test_classical_steppers_have_counterparts():
    def scheme(stepper):
        return INSRSolver(Advection(), GRID, stepper=stepper, dt=0.1).scheme

    assert scheme(Euler()) == ExplicitEuler()
    assert scheme(Midpoint()) == ImplicitMidpoint()
    with pytest.raises(ValueError, match=r"AdamsBashforth.*ImplicitMidpoint\(\).*ExplicitStep"):
        scheme(AdamsBashforth(2))


def test_a_sine_network_steps_as_the_midpoint_propagator():
    """The default network on a periodic map: one step to 1e-4."""
    solver = INSRSolver(Advection(0.25), GRID, dt=0.05, num_points=200, boundary=Periodic())
    solution = solver.solve(lambda x: torch.sin(x), [0.0, 0.05])
    z = -1j * 0.25 * 0.05
    amplitude = torch.tensor((1 + z / 2) / (1 - z / 2))
    expected = (amplitude * torch.exp(1j * GRID.coordinates()) / 1j).real
    error = (solution.sample()[0, -1] - expected).norm() / expected.norm()
    assert error < 1e-4
    assert solution.num_parameters == 921
