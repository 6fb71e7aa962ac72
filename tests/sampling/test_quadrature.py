"""Quadrature points: integrals to rounding, points that change, and bad axes."""

import math

import pytest
import torch

from pdesurrogates.core import Box, generator
from pdesurrogates.sampling import GaussLegendre, importance

BOX = Box((-1.0, 0.0), (1.0, 3.0))


@pytest.mark.parametrize("is_fixed", [True, False])
def test_polynomials_are_integrated_exactly(is_fixed):
    rule = GaussLegendre(BOX, is_fixed=is_fixed)
    for seed in range(4):
        x, log_density = rule.sample(49, generator=generator(seed))
        g = x[:, 0] ** 10 * x[:, 1] ** 4
        integral = (g / log_density.exp()).mean()
        assert torch.allclose(integral, torch.tensor(2 / 11 * 3**5 / 5), rtol=1e-12)
        assert bool(BOX.contains(x).all())


def test_periodic_axes_are_integrated_to_rounding():
    rule = GaussLegendre(Box((0.0,), (2 * math.pi,)), periodic=True)
    samples = rule.sample(40, generator=generator(3))
    mean = (importance(samples, rule.domain) * torch.exp(torch.sin(samples.points[:, 0]))).mean()
    assert torch.allclose(mean, torch.special.i0(torch.tensor(1.0)), rtol=1e-13)


def test_points_change_from_draw_to_draw_unless_fixed():
    counts = {len(GaussLegendre(BOX).sample(100, generator=generator(s)).points) for s in range(9)}
    assert len(counts) > 3 and min(counts) >= 81 and max(counts) <= 121
    fixed = [GaussLegendre(BOX, is_fixed=True).sample(100, generator=generator(s)) for s in (0, 1)]
    assert torch.equal(fixed[0].points, fixed[1].points)
    assert len(fixed[0].points) == 100


def test_one_flag_per_axis():
    with pytest.raises(ValueError, match="one entry per axis"):
        GaussLegendre(BOX, periodic=(True,))
