"""The flow as a density: exact in float64, whatever its weights."""

import math

import pytest
import torch

from pdesurrogates.core import Box, generator
from pdesurrogates.sampling import SplineFlow
from pdesurrogates.sampling.spline import Spline


def perturbed(dim, *, size=0.15, **options):
    """A flow with random weights on a box with unequal sides."""
    box = Box(tuple(-float(i + 1) for i in range(dim)), tuple(1.0 for _ in range(dim)))
    flow = SplineFlow(box, **options)
    stream = generator(7)
    with torch.no_grad():
        for weight in flow.parameters():
            weight += size * torch.randn(weight.shape, generator=stream)
    return flow


def test_zeros_are_the_identity():
    x = torch.rand(20, 3)
    y, log_slope = Spline.of(torch.zeros(20, 3, 3 * 8 + 1))(x)
    torch.testing.assert_close(y, x, rtol=0, atol=1e-14)
    assert log_slope.abs().max() < 1e-14


def test_spline_is_monotone_onto_and_has_its_slope():
    spline = Spline.of(torch.randn(1, 25).expand(1001, 25))
    x = torch.linspace(0, 1, 1001).requires_grad_()
    y, log_slope = spline(x)
    ends = y.detach()[[0, -1]]
    torch.testing.assert_close(ends, torch.tensor([0.0, 1.0]), rtol=0, atol=1e-14)
    assert (y.diff() > 0).all()
    (slope,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(log_slope.exp(), slope, rtol=1e-10, atol=0)
    back, log_again = spline.inverse(y.detach())
    torch.testing.assert_close(back, x.detach(), rtol=0, atol=1e-12)
    torch.testing.assert_close(log_again, log_slope, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "dim, num_frozen", [(1, 0), (2, 0), (3, 0), (5, 0), (5, 2), (6, 1), (10, 0), (10, 4)]
)
class TestDensity:
    def test_starts_uniform(self, dim, num_frozen):
        flow = SplineFlow(Box((-1.0,) * dim, (1.0,) * dim), num_frozen=num_frozen)
        log_p = flow.log_prob(2 * torch.rand(10, dim) - 1)
        torch.testing.assert_close(log_p, torch.full((10,), -dim * math.log(2)))

    def test_round_trip(self, dim, num_frozen):
        flow = perturbed(dim, num_frozen=num_frozen)
        points, log_p = flow.sample(100, generator=generator(0))
        assert flow.domain.contains(points).all()
        assert points.std(dim=0).min() > 0.01
        torch.testing.assert_close(flow.log_prob(points), log_p, rtol=0, atol=1e-7)

    def test_log_determinant_is_that_of_the_jacobian(self, dim, num_frozen):
        flow = perturbed(dim, num_frozen=num_frozen)
        z = torch.rand(3, dim, generator=generator(1))
        jacobian = torch.stack(
            [
                torch.autograd.functional.jacobian(lambda a: flow.from_latent(a[None])[0][0], row)
                for row in z
            ]
        )
        log_p = flow.from_latent(z)[1]
        torch.testing.assert_close(log_p, -torch.logdet(jacobian), rtol=0, atol=1e-8)

    def test_every_coordinate_is_changed(self, dim, num_frozen):
        flow = perturbed(dim, num_frozen=num_frozen)
        z = torch.full((2, dim), 0.4)
        moved = flow.domain.to_unit(flow.from_latent(z)[0])
        assert ((moved - z).abs() > 1e-6).all()


@pytest.mark.parametrize("dim, num_cells", [(1, 2000), (2, 120), (3, 30)])
def test_density_integrates_to_one(dim, num_cells):
    flow = perturbed(dim, size=0.05)
    axis = (torch.arange(num_cells) + 0.5) / num_cells
    unit = torch.stack(torch.meshgrid([axis] * dim, indexing="ij"), dim=-1).reshape(-1, dim)
    with torch.no_grad():
        p = flow.log_prob(flow.domain.from_unit(unit)).exp()
    assert p.std() > 0.1 * p.mean()
    assert abs(float(p.mean()) * flow.domain.volume - 1) < 0.01


def test_samples_follow_the_density():
    """Shares of points per cell against the integral of p over it."""
    flow = perturbed(2, size=0.1)
    points, _ = flow.sample(20_000, generator=generator(2))
    cell = (flow.domain.to_unit(points) * 4).long().clamp(max=3)
    shares = torch.bincount(cell[:, 0] * 4 + cell[:, 1], minlength=16) / len(points)
    axis = (torch.arange(200) + 0.5) / 200
    unit = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1)
    with torch.no_grad():
        p = flow.log_prob(flow.domain.from_unit(unit.reshape(-1, 2))).exp().reshape(200, 200)
    expected = p.reshape(4, 50, 4, 50).mean(dim=(1, 3)).flatten()
    torch.testing.assert_close(shares.double(), expected / expected.sum(), rtol=0, atol=0.012)


def test_seed_decides_the_weights_and_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    first, second = (SplineFlow(Box(), seed=3).state_dict() for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_keeps_single_precision():
    flow = perturbed(2).float()
    points, log_p = flow.sample(10, generator=generator(0))
    assert points.dtype == log_p.dtype == torch.float32


def test_refuses_points_outside():
    with pytest.raises(ValueError, match=r"SplineFlow.log_prob: 1 of 2 points lie outside"):
        SplineFlow(Box((0.0, 0.0), (1.0, 1.0))).log_prob(torch.tensor([[0.5, 0.5], [0.5, 1.5]]))


@pytest.mark.parametrize("options", [{"width": 0}, {"num_bins": 0}, {"num_frozen": -1}])
def test_refuses_bad_sizes(options):
    with pytest.raises(ValueError, match="SplineFlow"):
        SplineFlow(Box(), **options)
