import math

import pytest
import torch

from pdesurrogates.neural_fields.elastic_contact import BallObstacle, PlaneObstacle
from pdesurrogates.neural_fields.elastic_energy import ElasticEnergy, closest_rotation, determinant

DIMS = pytest.mark.parametrize("dim", [2, 3])


def rotations(count, dim):
    """Random rotations (count, dim, dim)."""
    q, _ = torch.linalg.qr(torch.randn(count, dim, dim))
    return torch.cat((q[..., :-1], q[..., -1:] * torch.linalg.det(q)[:, None, None]), dim=-1)


@DIMS
def test_rotations_cost_nothing(dim):
    turned = rotations(20, dim)
    energy = ElasticEnergy(3.0, 5.0)
    torch.testing.assert_close(energy(turned), torch.zeros(20), atol=1e-25, rtol=0)
    torch.testing.assert_close(closest_rotation(turned), turned)


@DIMS
def test_energy_does_not_change_with_rotations(dim):
    gradient = torch.eye(dim) + 0.4 * torch.randn(20, dim, dim)
    energy = ElasticEnergy(3.0, 5.0)
    left, right = rotations(20, dim), rotations(20, dim)
    torch.testing.assert_close(energy(left @ gradient @ right), energy(gradient))


@DIMS
def test_uniform_stretch_by_hand(dim):
    gradient = torch.diag(torch.tensor([2.0, 0.7, 1.1][:dim]))
    ratio = math.prod([2.0, 0.7, 1.1][:dim])
    squares = sum((s - 1) ** 2 for s in [2.0, 0.7, 1.1][:dim])
    expected = 3 * squares + 5 * (ratio - 1) ** 2
    turned = rotations(1, dim)[0] @ gradient
    assert float(ElasticEnergy(3.0, 5.0)(turned)) == pytest.approx(expected, rel=1e-12)


@DIMS
def test_shape_energy_is_that_of_the_singular_values(dim):
    gradient = torch.eye(dim) + 0.2 * torch.randn(20, dim, dim)
    assert bool((determinant(gradient) > 0).all())
    values = torch.linalg.svdvals(gradient)
    found = ElasticEnergy(1.0, 0.0)(gradient)
    torch.testing.assert_close(found, (values - 1).square().sum(dim=-1))


@DIMS
def test_inversion_costs_energy(dim):
    mirror = torch.eye(dim)
    mirror[0, 0] = -1.0
    # Unsigned singular values of a reflection are all 1; the signed ones are not.
    assert float(ElasticEnergy(1.0, 0.0)(mirror)) == pytest.approx(4.0)


@DIMS
def test_slopes_are_those_of_differences(dim):
    turned = rotations(3, dim)
    stretched = turned @ (torch.eye(dim) + 0.3 * torch.randn(3, dim, dim))
    for gradient in (turned, torch.eye(dim).expand(2, dim, dim), stretched):
        own = gradient.clone().requires_grad_()
        assert torch.autograd.gradcheck(ElasticEnergy(2.0, 3.0).rows, own)


@DIMS
def test_jacobian_under_vmap(dim):
    energy = ElasticEnergy(2.0, 3.0)
    gradient = torch.eye(dim) + 0.3 * torch.randn(4, dim, dim)
    together = torch.func.vmap(torch.func.jacrev(energy.rows))(gradient)
    single = torch.stack([torch.autograd.functional.jacobian(energy.rows, g) for g in gradient])
    torch.testing.assert_close(together, single)


def test_bad_energies_are_refused():
    with pytest.raises(ValueError, match="must not be negative"):
        ElasticEnergy(-1.0, 1.0)
    with pytest.raises(ValueError, match="one must be positive"):
        ElasticEnergy(0.0, 0.0)
    with pytest.raises(ValueError, match="2, 2"):
        closest_rotation(torch.eye(4))


def test_depth_and_force_of_a_plane():
    plane = PlaneObstacle((0.0, 3.0), -2.0, stiffness=8.0)
    q = torch.tensor([[5.0, -2.5], [1.0, -1.5]], requires_grad=True)
    torch.testing.assert_close(plane.depth(q), torch.tensor([[0.5], [0.0]]))
    (slope,) = torch.autograd.grad(plane.rows(q).square().sum(), q)
    torch.testing.assert_close(-slope, torch.tensor([[0.0, 4.0], [0.0, 0.0]]))


def test_force_of_a_ball_grows_with_depth_not_with_distance_to_the_centre():
    ball = BallObstacle((0.0, -2.0), 1.0, stiffness=8.0)
    q = torch.tensor([[0.0, -1.1], [0.6, -1.2], [0.0, 0.0]], requires_grad=True)
    torch.testing.assert_close(
        ball.depth(q), torch.tensor([[0.1], [0.0], [0.0]]), atol=1e-7, rtol=0
    )
    (slope,) = torch.autograd.grad(ball.rows(q).square().sum(), q)
    torch.testing.assert_close(-slope[0], torch.tensor([0.0, 0.8]))
    centre = torch.tensor([[0.0, -2.0]], requires_grad=True)
    (slope,) = torch.autograd.grad(ball.rows(centre).square().sum(), centre)
    assert bool(slope.isfinite().all())


def test_bad_obstacles_are_refused():
    with pytest.raises(ValueError, match="must not be zero"):
        PlaneObstacle((0.0, 0.0), 1.0)
    with pytest.raises(ValueError, match="must be positive"):
        BallObstacle((0.0, 0.0), 0.0)
    with pytest.raises(ValueError, match="must not be negative"):
        PlaneObstacle((0.0, 1.0), 1.0, -2.0)
