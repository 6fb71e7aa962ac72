"""The multiresolution grid: splines with two derivatives, for tensors and jets."""

import pytest
import torch

from pdesurrogates.backbones import MultiresolutionGrid
from pdesurrogates.operators import AutodiffDerivatives, JetDerivatives


def test_jets_agree_with_nested_differentiation():
    network = MultiresolutionGrid(2, 1, num_cells=(3, 5))
    points = 2 * torch.rand(1, 20, 2) - 1
    jet, auto = JetDerivatives(points), AutodiffDerivatives(points)
    u, v = network(jet.points), network(auto.points)
    for axis in (0, 1):
        for order in (1, 2):
            expected = auto.values(auto.derivative(v, axis, order))
            found = jet.values(jet.derivative(u, axis, order))
            assert torch.allclose(found, expected, atol=1e-10)


def test_equal_features_are_a_constant():
    """B-splines add up to one everywhere."""
    network = MultiresolutionGrid(2, 1, num_cells=(4,), num_features=1, depth=0)
    with torch.no_grad():
        network.tables[0].fill_(1.0)
        network.head.weight.fill_(1.0)
        network.head.bias.zero_()
    points = torch.cat((2 * torch.rand(30, 2) - 1, torch.tensor([[-1.0, -1.0], [1.0, 1.0]])))
    assert torch.allclose(network(points), torch.ones(32, 1), atol=1e-14)


def test_two_derivatives_are_continuous_across_cells():
    network = MultiresolutionGrid(1, 1, num_cells=(4,))
    edge = torch.tensor([[[-0.5 - 1e-9], [-0.5 + 1e-9]]])
    d = JetDerivatives(edge)
    u = network(d.points)
    for order in (1, 2):
        left, right = d.values(d.derivative(u, 0, order))[0]
        assert torch.allclose(left, right, atol=1e-5)
    left, right = d.values(d.derivative(u, 0, 3))[0]
    assert (left - right).abs() > 1e-2


def test_a_feature_matters_near_its_place_only():
    network = MultiresolutionGrid(1, 1, num_cells=(8,), num_features=1)
    points = torch.linspace(-1, 1, 81)[:, None]
    before = network(points)
    with torch.no_grad():
        network.tables[0][5] += 1.0
    changed = (network(points) - before).abs().flatten() > 1e-12
    # Spline 5 of cells of width 0.25 reaches from -0.5 to 0.5.
    assert bool((changed == (points.flatten().abs() < 0.5 - 1e-9)).all())


@pytest.mark.parametrize("bad", [{"num_cells": ()}, {"num_cells": (0,)}, {"num_features": 0}])
def test_bad_sizes_are_refused(bad):
    with pytest.raises(ValueError, match="MultiresolutionGrid: `num_"):
        MultiresolutionGrid(1, 1, **bad)
    with pytest.raises(ValueError, match="expected points with 1 coordinates"):
        MultiresolutionGrid(1, 1)(torch.zeros(3, 2))
