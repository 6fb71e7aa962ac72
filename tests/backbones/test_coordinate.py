"""Networks of coordinates: sizes, initial distributions, derivatives and refusals."""

import math

import pytest
import torch

from pdesurrogates.backbones import MLP, SIREN, FourierFeatureMLP
from pdesurrogates.operators import AutodiffDerivatives, JetDerivatives

NETWORKS = [
    lambda n, m: MLP(n, m, width=10, depth=3),
    lambda n, m: MLP(n, m, width=10, depth=2, activation="softplus", bias_spread=1.0),
    lambda n, m: SIREN(n, m, width=10, depth=2, omega0=5.0),
    lambda n, m: FourierFeatureMLP(n, m, width=10, depth=2, num_frequencies=6),
]


@pytest.mark.parametrize("make", NETWORKS)
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_values_and_derivatives_by_jets_are_those_of_autodiff(make, dim):
    network = make(dim, 2)
    points = torch.rand(2, 5, dim)
    jets, autodiff = JetDerivatives(points), AutodiffDerivatives(points.clone())
    u, v = network(jets.points), network(autodiff.points)
    assert v.shape == (2, 5, 2)
    assert torch.allclose(u.values, v)
    expected = autodiff.laplacian(v)
    assert torch.allclose(jets.values(jets.laplacian(u)), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("make", NETWORKS)
def test_gradients_reach_all_parameters_and_the_state_is_loaded(make):
    network, other = make(2, 1), make(2, 1)
    other.load_state_dict(network.state_dict())
    x = torch.rand(7, 2)
    assert torch.equal(network(x), other(x))
    network(x).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.parametrize(
    ("channels", "width", "depth", "count"), [(1, 20, 3, 901), (2, 32, 4, 3297)]
)
def test_number_of_parameters(channels, width, depth, count):
    # 1D: 40 + 2 * 420 + 21; 2D with one output: 96 + 3 * 1056 + 33.
    network = SIREN(channels, 1, width=width, depth=depth)
    assert sum(p.numel() for p in network.parameters()) == count


def test_siren_keeps_the_spread_of_its_activations():
    torch.manual_seed(0)
    network = SIREN(1, 1, width=256, depth=5)
    v = torch.linspace(-1, 1, 2000)[:, None]
    with torch.no_grad():
        for n, layer in enumerate(network.layers[:-1]):
            spread = float((v @ layer.weight.T).std()) * network.omega0
            assert n == 0 or abs(spread - 1) < 0.15  # without biases, arguments are N(0, 1)
            v = torch.sin(layer(v) * network.omega0)
    assert abs(float(v.std()) - math.sqrt(0.5)) < 0.1


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: MLP(0, 1), "`in_channels` must be a positive integer, got 0"),
        (lambda: MLP(1, 1, depth=1.5), "`depth` must be a positive integer, got 1.5"),
        (lambda: MLP(1, 1, activation="relu"), "`activation` must be one of"),
        (lambda: SIREN(1, 1, omega0=-1.0), "`omega0` must be positive"),
        (lambda: MLP(2, 1)(torch.zeros(3, 1)), "expected points with 2 coordinates"),
    ],
)
def test_bad_arguments_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()
