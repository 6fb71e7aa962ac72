"""Incompressible flow by fields: each sub-solve against formulas, and what is refused."""

import math

import pytest
import torch

from pdesurrogates.backbones import SIREN
from pdesurrogates.core import Box, Dirichlet, Grid, Neumann
from pdesurrogates.equations import Burgers, IncompressibleNavierStokes
from pdesurrogates.neural_fields import (
    GaussNewton,
    INSRSolver,
    NeuralField,
    ProjectedFlow,
    SplittingSolver,
    StepControl,
    StreamFunctionField,
)
from pdesurrogates.sampling import GaussLegendre, Stratified

BOX = Box((-1.0, -1.0), (1.0, 1.0))
GRID = Grid((16, 16), BOX.extent, BOX.lower, periodic=False, cell_centred=True)
EULER = IncompressibleNavierStokes(viscosity=0.0)


def taylor_green(points):
    x, y = (math.pi * (points + 1)).unbind(-1)
    return torch.stack((x.sin() * y.cos(), -x.cos() * y.sin()), dim=-1) / math.pi


def exact_carried(points, dt):
    return taylor_green(points - dt * taylor_green(points))


def projected_step(points, dt, num_waves=8, num_quadrature=40):
    """One exact step: the projection on stream functions sin(m X/2) sin(n Y/2), by quadrature."""
    x, log_density = GaussLegendre(BOX, is_fixed=True).sample(
        num_quadrature**2, generator=torch.Generator()
    )
    weight = torch.exp(-log_density) / len(x)

    def basis(points):
        x, y = (math.pi * (points + 1) / 2).unbind(-1)
        columns = []
        for m in range(1, num_waves + 1):
            for n in range(1, num_waves + 1):
                u = n * (m * x).sin() * (n * y).cos()
                v = -m * (m * x).cos() * (n * y).sin()
                columns.append(torch.stack((u, v), dim=-1))
        return torch.stack(columns, dim=-1)

    at = basis(x)
    moments = torch.einsum("p,pcb,pc->b", weight, at, exact_carried(x, dt))
    norms = torch.einsum("p,pcb,pcb->b", weight, at, at)
    return basis(points) @ (moments / norms)


def stream_solver(**options):
    torch.manual_seed(0)
    settings = {
        "dt": 0.05,
        "network": StreamFunctionField(SIREN(2, 1, width=12, depth=2, omega0=8.0).double(), BOX),
        "optimizer": GaussNewton(initial_damping=1e-2, step_damping=1e-3),
        "sampler": GaussLegendre(BOX),
        "num_points": 400,
        "stepper": ProjectedFlow(),
        "control": StepControl(initial_tolerance=1e-4),
    }
    return INSRSolver(EULER, GRID, **{**settings, **options})


def test_one_step_is_the_exact_projection_of_the_carried_velocity():
    solution = stream_solver().solve(taylor_green, [0.0, 0.05])
    points = BOX.from_unit(torch.rand(1, 200, 2))
    expected = projected_step(points[0], 0.05)
    size = expected.norm()
    assert (exact_carried(points[0], 0.05) - expected).norm() > 3e-2 * size  # it has a divergence
    assert (solution.at(points)[0] - expected).norm() < 1e-3 * size


def test_random_points_spoil_the_projection():
    solution = stream_solver(sampler=Stratified(BOX)).solve(taylor_green, [0.0, 0.05])
    points = BOX.from_unit(torch.rand(1, 200, 2))
    expected = projected_step(points[0], 0.05)
    assert (solution.at(points)[0] - expected).norm() > 2e-3 * expected.norm()


@pytest.mark.parametrize("trace", [1, 2])
def test_paths_have_their_order(trace):
    """Shear u(y): a path of any order is exact; in a rotation the error falls with the order."""

    def rotation(points):
        return torch.cat((-points[..., 1:], points[..., :1]), dim=-1)

    points = torch.rand(1, 50, 2)
    errors = []
    for dt in (0.1, 0.05, 0.025):
        known = ProjectedFlow(trace).known([rotation] * 2, [0.0, -dt], EULER, points, dt)
        x, y = points.unbind(-1)
        cos, sin = math.cos(dt), math.sin(dt)
        feet = torch.stack((cos * x + sin * y, cos * y - sin * x), dim=-1)
        errors.append(float((known["carried"] - rotation(feet)).abs().max()))
    observed = [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
    assert all(abs(order - trace - 1) < 0.1 for order in observed)


def test_viscosity_is_in_the_defect():
    points = torch.rand(1, 20, 2)
    equation = IncompressibleNavierStokes(viscosity=0.1)

    def wave(points):
        y = points[..., 1:]
        return torch.cat((torch.sin(2.0 * y), torch.zeros_like(y)), dim=-1)

    known = {"carried": torch.zeros(1, 20, 2)}
    defect = ProjectedFlow().defect(wave, known, equation, points, 0.0, 0.5)
    assert torch.allclose(defect, wave(points) * (1 + 0.5 * 0.1 * 4))


def splitting_solver(**options):
    torch.manual_seed(0)
    slip = {0: [Dirichlet(0.0), None], 1: [None, Dirichlet(0.0)]}
    network = {"width": 10, "depth": 2, "omega0": 8.0}
    velocity = NeuralField(SIREN(2, 2, **network).double(), BOX, boundary=slip)
    pressure = NeuralField(SIREN(2, 1, **network).double(), BOX, boundary=Neumann(0.0))
    settings = {
        "dt": 0.05,
        "optimiser": GaussNewton(initial_damping=1e-3, max_iterations=8),
        "num_points": 324,
    }
    return SplittingSolver(velocity, pressure, GRID, **{**settings, **options})


@pytest.mark.slow
def test_three_fits_give_the_same_step():
    solution = splitting_solver().solve(taylor_green, [0.0, 0.05])
    points = BOX.from_unit(torch.rand(1, 200, 2))
    expected = projected_step(points[0], 0.05)
    assert (solution.at(points)[0] - expected).norm() < 5e-3 * expected.norm()
    ends = torch.tensor([[[-1.0, 0.3], [1.0, -0.2]]])
    assert solution.at(ends)[..., 0].abs().max() < 1e-14


@pytest.mark.slow
def test_taylor_green_stays_on_the_floor_of_the_scheme():
    network = StreamFunctionField(SIREN(2, 1, width=20, depth=3, omega0=10.0).double(), BOX)
    solution = stream_solver(network=network, num_points=900).solve(
        taylor_green, [0.05 * n for n in range(11)]
    )
    points = BOX.from_unit(torch.rand(1, 2000, 2))
    exact = taylor_green(points)
    assert (solution.at(points) - exact).norm() / exact.norm() < 0.01  # 0.0065 is the floor
    energy = solution.at(points).square().sum() / exact.square().sum()
    assert 0.98 < energy < 1.0


def test_other_equations_and_fields_are_refused():
    with pytest.raises(ValueError, match="serves IncompressibleNavierStokes, got Burgers"):
        ProjectedFlow().known([taylor_green], [0.0], Burgers(dim=2), torch.rand(1, 3, 2), 0.1)
    smoke = IncompressibleNavierStokes(viscosity=0.0, buoyancy=1.0)
    with pytest.raises(ValueError, match="smoke and forcing are not treated"):
        ProjectedFlow().known([taylor_green], [0.0], smoke, torch.rand(1, 3, 2), 0.1)
    field = NeuralField(SIREN(2, 1).double(), BOX)
    with pytest.raises(ValueError, match="needs 2 channels and the pressure 1, got 1 and 1"):
        SplittingSolver(field, field, GRID, dt=0.1)
    with pytest.raises(ValueError, match="`dt` must be positive"):
        splitting_solver(dt=0.0)


def test_an_initial_state_that_cannot_be_fitted_is_refused():
    solver = splitting_solver(optimiser=GaussNewton(initial_iterations=1))
    with pytest.raises(ValueError, match=r"SplittingSolver.solve: the network fits the initial"):
        solver.solve(taylor_green, [0.0, 0.05])


def test_a_step_that_fails_keeps_what_was_solved():
    solver = splitting_solver(
        max_initial_error=1.0, optimiser=GaussNewton(initial_iterations=2, max_iterations=1)
    )
    broken = solver.pressure.function.network.head.weight
    with torch.no_grad():
        broken.fill_(float("nan"))
    solution = solver.solve(taylor_green, [0.0, 0.05, 0.1])
    assert len(solution) == 1 and not solution.is_complete
    assert "stopped after 0 steps" in solution.message
