"""Samplers that do not adapt: uniform in every part, reproducible, honest about their density."""

import math

import pytest
import torch

from pdesurrogates.core import Box, generator
from pdesurrogates.sampling import RAD, Mixture, Sobol, Stratified, Uniform

BOX = Box((-1.0, 0.0, 2.0), (1.0, 4.0, 2.5))
FLAT = [Uniform(BOX), Stratified(BOX), Sobol(BOX)]


@pytest.mark.parametrize("sampler", FLAT, ids=lambda s: type(s).__name__)
class TestEverySampler:
    def test_points_and_density(self, sampler):
        samples = sampler.sample(50, generator=generator(0), dtype=torch.float32)
        assert samples.points.shape == (50, 3) and samples.points.dtype == torch.float32
        assert BOX.contains(samples.points).all()
        torch.testing.assert_close(
            samples.log_density, torch.full((50,), -math.log(4.0), dtype=torch.float32)
        )

    def test_same_generator_same_points(self, sampler):
        first, second = (sampler.sample(9, generator=generator(3)).points for _ in range(2))
        other = sampler.sample(9, generator=generator(4)).points
        assert torch.equal(first, second) and not torch.equal(first, other)

    def test_each_point_is_uniform(self, sampler):
        """Moments of the unit cube, from 1000 draws of 5 points."""
        stream = generator(1)
        unit = torch.stack(
            [BOX.to_unit(sampler.sample(5, generator=stream).points) for _ in range(1000)]
        )
        assert (unit.mean(dim=0) - 0.5).abs().max() < 0.045
        assert (unit.var(dim=(0, 1)) - 1 / 12).abs().max() < 0.008

    def test_refuses_no_points(self, sampler):
        with pytest.raises(ValueError, match="must be at least 1, got 0"):
            sampler.sample(0, generator=generator(0))

    def test_update_does_nothing(self, sampler):
        sampler.update(lambda x: x[:, 0], generator=generator(0))
        assert sampler.num_residual_evaluations == 0

    def test_refuses_points_outside(self, sampler):
        with pytest.raises(ValueError, match="lie outside the domain"):
            sampler.log_density(torch.zeros(1, 3))


def test_stratified_in_one_dimension_has_one_point_per_slice():
    points = Stratified(Box((0.0,), (7.0,))).sample(7, generator=generator(0)).points[:, 0]
    assert points.floor().sort().values.tolist() == list(range(7))


@pytest.mark.parametrize("num_points", [1, 5, 16, 100, 1000])
def test_stratified_has_at_most_one_point_per_cell(num_points):
    sampler = Stratified(Box((0.0,) * 3, (1.0,) * 3))
    cells = torch.tensor(sampler.cells(num_points))
    assert num_points <= int(cells.prod()) <= 2 * num_points
    points = sampler.sample(num_points, generator=generator(2)).points
    assert len((points * cells).long().unique(dim=0)) == num_points


def test_even_points_integrate_better():
    """Error of the mean of a smooth function: Sobol and cells far below independent points."""
    box = Box((0.0, 0.0), (1.0, 1.0))

    def error(sampler):
        stream = generator(5)
        means = [
            sampler.sample(256, generator=stream).points.square().sum(dim=-1).mean()
            for _ in range(40)
        ]
        return float((torch.stack(means) - 2 / 3).square().mean().sqrt())

    independent = error(Uniform(box))
    assert 0.015 < independent < 0.04  # sqrt(2 * 4 / 45 / 256) = 0.026
    assert error(Stratified(box)) < independent / 5
    assert error(Sobol(box)) < independent / 20


class TestMixture:
    def test_density_is_the_sum(self):
        box = Box((0.0,), (2.0,))
        rad = RAD(box, floor=0.0, num_candidates=256)
        rad.update(lambda x: (x[:, 0] < 1).double(), generator=generator(0))
        mixture = Mixture((Uniform(box), rad), (1, 3))
        points = torch.tensor([[0.5], [1.5]])
        expected = torch.tensor([0.25 * 0.5 + 0.75 * 1.0, 0.25 * 0.5])
        torch.testing.assert_close(mixture.log_density(points).exp(), expected)
        samples = mixture.sample(400, generator=generator(1))
        torch.testing.assert_close(samples.log_density, mixture.log_density(samples.points))
        share = (samples.points < 1).double().mean()
        assert abs(float(share) - 0.875) < 0.05
        assert mixture.num_residual_evaluations == 256

    def test_counts_follow_the_shares(self):
        mixture = Mixture([Uniform(BOX), Sobol(BOX), Uniform(BOX)], (0.5, 0.25, 0.25))
        stream = generator(0)
        counts = [mixture._counts(6, stream) for _ in range(200)]
        assert all(sum(each) == 6 and each[0] == 3 for each in counts)
        assert abs(sum(each[1] for each in counts) / 200 - 1.5) < 0.15

    @pytest.mark.parametrize("shares", [(1.0,), (1.0, 0.0), (1.0, -1.0)])
    def test_refuses_bad_shares(self, shares):
        with pytest.raises(ValueError, match="one positive share per sampler"):
            Mixture((Uniform(BOX), Sobol(BOX)), shares)

    def test_refuses_different_domains(self):
        with pytest.raises(ValueError, match="share one domain"):
            Mixture((Uniform(BOX), Sobol(Box())), (1, 1))
