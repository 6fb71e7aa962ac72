import math

import pytest
import torch

from pdesurrogates.backbones import MLP, SIREN
from pdesurrogates.core import Box, Dirichlet, Grid
from pdesurrogates.data import open_trajectories
from pdesurrogates.neural_fields import (
    ElasticBody,
    ElasticEnergy,
    ElasticSolver,
    Fit,
    GaussNewton,
    NeuralField,
    Optimiser,
    PlaneObstacle,
    start_at_rest,
)
from pdesurrogates.neural_fields.elastic_descent import LBFGS
from pdesurrogates.neural_fields.elasticity import deformation
from pdesurrogates.sampling import MeshPoints, SimplexMesh, Sobol

SQUARE = Box((-1.0, -1.0), (1.0, 1.0))
CUBE = Box((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0))


def solver_of(body, domain=SQUARE, *, boundary=None, width=6, **options):
    network = MLP(domain.dim, domain.dim, width=width, depth=2, bias_spread=1.0)
    start_at_rest(network)
    field = NeuralField(network, domain, boundary=boundary)
    options.setdefault("num_points", 64)
    options.setdefault("num_check_points", 128)
    return ElasticSolver(body, field, Sobol(domain), **options)


@pytest.mark.parametrize("domain", [SQUARE, CUBE])
def test_gradient_of_a_known_deformation(domain):
    matrix = torch.randn(domain.dim, domain.dim)
    points = domain.from_unit(torch.rand(1, 20, domain.dim))
    q, gradient = deformation(lambda p: torch.nn.functional.linear(p, matrix), points)
    torch.testing.assert_close(q, points + points @ matrix.mT)
    expected = torch.eye(domain.dim) + matrix
    torch.testing.assert_close(gradient[0], expected.expand(20, -1, -1))
    # And of one that is not linear: u_x = x y.
    _, gradient = deformation(lambda p: p[..., :1] * p[..., 1:2] + 0.0 * p, points)
    torch.testing.assert_close(gradient[..., 0, 0], 1 + points[..., 1])
    torch.testing.assert_close(gradient[..., 0, 1], points[..., 0])


@pytest.mark.parametrize("domain", [SQUARE, CUBE])
def test_free_fall_is_that_of_the_scheme(domain):
    down = (0.0,) * (domain.dim - 1) + (-12.0,)
    body = ElasticBody(ElasticEnergy(20.0, 100.0), density=3.0, force=down, force_end=0.2)
    speed = (0.5,) + (0.0,) * (domain.dim - 1)
    trajectory = solver_of(body, domain).solve(0.1, 4, velocity=speed)
    assert trajectory.is_complete and len(trajectory.steps) == 4
    points = domain.from_unit(torch.rand(9, domain.dim))
    moved = trajectory.positions(points) - points
    # Implicit Euler: v = -4 dt n while the force acts (2 steps), then constant.
    fall = torch.tensor([0.0, -0.04, -0.12, -0.2, -0.28])
    torch.testing.assert_close(moved[..., -1], fall[:, None].expand(-1, 9), atol=1e-6, rtol=0)
    drift = 0.05 * torch.arange(5.0)
    torch.testing.assert_close(moved[..., 0], drift[:, None].expand(-1, 9), atol=1e-6, rtol=0)
    last = trajectory.steps[-1]
    assert last.kinetic_energy == pytest.approx(1.5 * domain.volume * (0.25 + 0.64), rel=1e-5)
    assert last.elastic_energy < 1e-8 and last.min_volume_ratio == pytest.approx(1, abs=1e-4)


def test_contact_pushes_a_stiff_body_out_by_the_known_amount():
    # The whole body lies in the obstacle, so the rigid body is a point mass: density/dt^2 (d* - d)
    # = k d with the free depths d* = depth of each point; the mean gives the height.
    density, dt, stiffness = 2.0, 0.1, 300.0
    floor = PlaneObstacle((0.0, 1.0), 3.0, stiffness)
    body = ElasticBody(ElasticEnergy(1e5, 1e5), density=density, obstacles=(floor,))
    trajectory = solver_of(body, num_points=128, tolerance=0.0).solve(dt, 1)
    points = SQUARE.from_unit(torch.rand(400, 2))
    rise = (trajectory.positions(points)[1] - points)[:, 1]
    free_depth = 3.0
    left = free_depth / (1 + stiffness * dt**2 / density)
    assert float(rise.mean()) == pytest.approx(free_depth - left, rel=0.02)


def test_the_potential_is_the_published_sum_up_to_a_constant():
    body = ElasticBody(ElasticEnergy(20.0, 1e3), density=20.0, force=(0.0, -200.0))
    q_n, velocity, dt = torch.randn(5, 2), torch.randn(5, 2), 0.1
    gradient = torch.eye(2).expand(5, 2, 2)
    free = body.free_positions(q_n, velocity, 0.0, dt)

    def published(q):
        rate = (q - q_n) / dt
        kinetic = 10 * (rate - velocity).square().sum(-1)  # r_kin = density / 2
        return kinetic - dt * (rate * torch.tensor(body.force)).sum(-1)

    def ours(q):
        return body.rows(q, gradient, free, dt).square().sum(-1)

    one, other = torch.randn(5, 2), torch.randn(5, 2)
    torch.testing.assert_close(ours(one) - ours(other), published(one) - published(other))


def stretched_sides():
    still = (Dirichlet(0.0), Dirichlet(0.0))
    return {0: [(Dirichlet(0.0), Dirichlet(0.5)), None], 1: [still, None]}


def test_stretch_without_lateral_stiffness_keeps_its_sides():
    body = ElasticBody(ElasticEnergy(1.0, 10.0))
    solver = solver_of(body, boundary=stretched_sides(), num_points=256)
    trajectory = solver.relax()
    assert trajectory.is_complete
    sides = torch.tensor([[-1.0, 0.3], [1.0, -0.7]])
    moved = trajectory.positions(sides)[1] - sides
    torch.testing.assert_close(moved, torch.tensor([[0.0, 0.0], [0.5, 0.0]]))
    # It narrows in the middle: that is what the volume term asks for.
    middle = torch.tensor([[0.0, 1.0]])
    assert float(trajectory.positions(middle)[1, 0, 1]) < 0.95


def test_the_loss_does_not_depend_on_the_number_of_points():
    body = ElasticBody(ElasticEnergy(1.0, 10.0))
    boundary = {0: [(Dirichlet(0.0), Dirichlet(0.5)), None]}
    found = []
    for count in (100, 400):
        frozen = solver_of(body, boundary=boundary, num_points=count, tolerance=1e9)
        found.append(frozen.relax().steps[0].potential)
    # Uniform stretch by 1.25 of a square of area 4: 4 (0.25^2 + 10 0.25^2).
    assert found == pytest.approx([4 * 11 * 0.0625] * 2, rel=1e-12)


def test_lbfgs_finds_the_same_energy():
    body, energies = ElasticBody(ElasticEnergy(1.0, 10.0)), []
    for optimiser in (GaussNewton(), LBFGS(60)):
        torch.manual_seed(3)
        solver = solver_of(body, boundary=stretched_sides(), optimiser=optimiser, num_points=256)
        energies.append(solver.relax().steps[0].potential)
    assert energies[1] == pytest.approx(energies[0], rel=0.03)
    assert max(energies) < 0.25 * 2.75  # where both start: uniform stretch


class BrokenOnThird(Optimiser):
    """Keeps the weights twice, then returns some that turn the body inside out."""

    def __init__(self):
        self.calls = 0

    def fit(self, module, draw, weights, *, tolerance, damping=None):
        self.calls += 1
        found = weights if self.calls < 3 else weights + torch.randn_like(weights)
        return Fit(found, torch.ones(1), ("converged",), 1)


def test_inversion_stops_and_keeps_the_good_states():
    solver = solver_of(ElasticBody(ElasticEnergy(), 1.0), optimiser=BrokenOnThird())
    before = solver.vector.read()
    trajectory = solver.solve(0.1, 8)
    assert not trajectory.is_complete
    assert "step 3 to t = 0.3: the body is turned inside out" in trajectory.message
    assert len(trajectory.steps) == 2 and len(trajectory) == len(trajectory.times) == 3
    torch.testing.assert_close(trajectory.weights[-1, 0], before)
    torch.testing.assert_close(solver.vector.read(), before)


def test_a_network_that_returns_nan_is_named():
    solver = solver_of(ElasticBody(ElasticEnergy(), density=1.0))
    trajectory = solver.solve(0.1, 2)
    with torch.no_grad():
        next(solver.field.parameters()).fill_(math.nan)
    broken = solver.solve(0.1, 2)
    assert trajectory.is_complete
    assert "not finite" in broken.message and len(broken) == 1


def test_a_body_of_tetrahedra():
    mesh = SimplexMesh.of_box(Box((0.0, 0.0, 0.0), (1.0, 1.0, 2.0)), (1, 1, 2))
    network = SIREN(3, 3, width=6, depth=2, omega0=3.0)
    start_at_rest(network)
    floor = PlaneObstacle((0.0, 0.0, 1.0), -0.01, 1e3)
    body = ElasticBody(ElasticEnergy(100.0, 100.0), 1.0, (0.0, 0.0, -10.0), obstacles=(floor,))
    solver = ElasticSolver(
        body, NeuralField(network, mesh.box), MeshPoints(mesh), num_points=64, num_check_points=99
    )
    assert solver.volume == pytest.approx(2.0)
    trajectory = solver.solve(0.05, 2)
    assert trajectory.is_complete
    last = trajectory.steps[-1]
    assert last.elastic_energy > 0 and last.contact_energy > 0 and last.depth > 0


def test_trajectories_are_files_like_all_others(tmp_path):
    body = ElasticBody(ElasticEnergy(), 1.0, (0.0, -1.0))
    trajectory = solver_of(body).solve(0.1, 2)
    grid = Grid((5, 4), (1.6, 1.6), (-0.8, -0.8), False)
    with open_trajectories(trajectory.write(tmp_path / "a.hdf5", grid, dtype="float64")) as file:
        assert file.fields.names == ("displacement_x", "displacement_y")
        found = file.read(0)
    points = grid.coordinates().flatten(1).mT
    expected = (trajectory.positions(points) - points).mT.reshape(3, 2, 5, 4)
    torch.testing.assert_close(found, expected)


def test_wrong_use_is_refused():
    still = ElasticBody(ElasticEnergy())
    moving = ElasticBody(ElasticEnergy(), 1.0, (0.0, 1.0, 0.0))
    with pytest.raises(ValueError, match="without density"):
        solver_of(still).solve(0.1, 1)
    with pytest.raises(ValueError, match="has inertia"):
        solver_of(ElasticBody(ElasticEnergy(), 1.0)).relax()
    with pytest.raises(ValueError, match="2 components"):
        solver_of(moving)
    with pytest.raises(ValueError, match="must be positive"):
        solver_of(ElasticBody(ElasticEnergy(), 1.0)).solve(0.0, 1)
    with pytest.raises(ValueError, match="force needs inertia"):
        ElasticBody(ElasticEnergy(), force=(0.0, -1.0))
    with pytest.raises(ValueError, match="one channel per axis"):
        ElasticSolver(still, NeuralField(MLP(2, 1, width=4, depth=1), SQUARE), Sobol(SQUARE))
