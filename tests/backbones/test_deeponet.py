"""DeepONet against its formula, an operator it holds exactly, and one it learns."""

import math

import pytest
import torch
from torch import nn

from pdesurrogates.backbones import DeepONet
from tests.backbones.contract import check_compiled, check_conditions, check_contract, randomized

SMALL = dict(width=8, depth=2, num_basis=5, num_waves=2)
SPACES = [(16,), (9,), (8, 6), (5, 7), (4, 3, 5)]


@pytest.mark.parametrize("resample", [False, True])
@pytest.mark.parametrize("space", SPACES)
def test_contract(space, resample, tmp_path):
    periodic = (True, False, True)[: len(space)]
    settings = dict(num_points=space, periodic=periodic, resample=resample, **SMALL)
    for model in (DeepONet(2, 2, **settings), DeepONet(2, 2, num_conditions=2, **settings)):
        check_contract(model, space, tmp_path)
        check_conditions(model, space)


def test_contract_in_float32(tmp_path):
    torch.set_default_dtype(torch.float32)
    check_contract(DeepONet(2, 2, num_points=(6, 5), **SMALL), (6, 5), tmp_path)


def perceptron(layers, v):
    for layer in layers[:-1]:
        v = layer.weight @ v + layer.bias
        v = v * (1 + torch.erf(v / math.sqrt(2))) / 2
    return layers[-1].weight @ v + layers[-1].bias


@torch.no_grad()
def test_the_formula():
    model = randomized(DeepONet(2, 3, num_points=(3, 4), periodic=(True, False), **SMALL))
    u, output = torch.randn(2, 2, 3, 4), torch.zeros(2, 3, 3, 4)
    branch = [*model.branch.layers, model.branch.last]
    trunk = [*model.trunk.layers, model.trunk.last]
    for b in range(2):
        coefficients = perceptron(branch, u[b].flatten()).view(3, 5)
        for i in range(3):
            for j in range(4):
                x, y = 2 * math.pi * i / 3, math.pi * j / 3
                waves = [math.sin(x), math.sin(2 * x), math.cos(x), math.cos(2 * x)]
                waves += [
                    2 * j / 3 - 1,
                    math.sin(y),
                    math.sin(2 * y),
                    math.cos(y),
                    math.cos(2 * y),
                ]
                basis = perceptron(trunk, torch.tensor(waves))
                for c in range(3):
                    output[b, c, i, j] = sum(coefficients[c] * basis) + model.bias[c]
    torch.testing.assert_close(model(u), output, rtol=0, atol=1e-12)


def waves(x, amplitudes, phases):
    """A sum of waves k = 1, 2, .. on the unit circle, and its antiderivative of mean zero."""
    k = 2 * torch.pi * torch.arange(1, amplitudes.shape[1] + 1)
    turns = k[:, None] * x + phases[..., None]
    u = (amplitudes[..., None] * turns.cos()).sum(1, keepdim=True)
    return u, ((amplitudes / k)[..., None] * turns.sin()).sum(1, keepdim=True)


class Features(nn.Module):
    """A trunk without weights: the waves themselves."""

    def forward(self, v):
        return v


class Projection(nn.Module):
    """A branch without hidden layers: a matrix on the sensors."""

    def __init__(self, matrix):
        super().__init__()
        self.matrix = matrix

    def forward(self, v, embedding):
        return v @ self.matrix.mT


@torch.no_grad()
def test_the_antiderivative_of_few_waves_is_held_exactly():
    n, number = 16, 4
    model = DeepONet(num_points=(n,), num_basis=2 * number, num_waves=number)
    k = torch.arange(1, number + 1)
    turns = 2 * torch.pi * torch.outer(k, torch.arange(n) / n)
    # cos(kx) -> sin(kx)/k and sin(kx) -> -cos(kx)/k, Fourier sums over the sensors.
    rows = torch.cat((turns.cos(), -turns.sin())) * 2 / n / (2 * torch.pi * k.repeat(2))[:, None]
    model.trunk, model.branch = Features(), Projection(rows)
    amplitudes, phases = torch.randn(3, number), 6 * torch.rand(3, number)
    u, expected = waves(torch.arange(n) / n, amplitudes, phases)
    torch.testing.assert_close(model(u), expected, rtol=0, atol=1e-14)
    points = torch.rand(50)
    _, expected = waves(points, amplitudes, phases)
    output = model.at_points(u, points[None, :, None].expand(3, -1, -1))
    torch.testing.assert_close(output, expected.mT, rtol=0, atol=1e-14)


def test_the_antiderivative_is_learned():
    x = torch.arange(32) / 32
    u, target = waves(x, torch.randn(600, 4), 6 * torch.rand(600, 4))
    scale = target.square().mean().sqrt()
    model = DeepONet(num_points=(32,), width=32, depth=1, num_basis=16, num_waves=4)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-2, 1500)
    for _ in range(1500):
        chosen = torch.randint(500, (64,))
        loss = (model(u[chosen]) * scale - target[chosen]).square().mean() / scale**2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        error = (model(u[500:]) * scale - target[500:]).norm() / target[500:].norm()
    assert float(error) < 1e-2


@torch.no_grad()
@pytest.mark.parametrize("space", [(9,), (6, 5), (3, 4, 5)])
def test_a_grid_is_its_points(space):
    periodic = (False, True, True)[: len(space)]
    model = randomized(DeepONet(2, 3, num_points=space, periodic=periodic, **SMALL))
    u = torch.randn(2, 2, *space)
    axes = [
        torch.arange(n) / (n if closes else n - 1)
        for n, closes in zip(space, periodic, strict=True)
    ]
    points = torch.cartesian_prod(*axes).view(1, -1, len(space)).expand(2, -1, -1)
    output = model.at_points(u, points)
    torch.testing.assert_close(output, model(u).flatten(2).mT, rtol=0, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("space", [(9, 7), (16, 24), (32, 12)])
def test_another_grid_is_evaluated_at_the_sensors(space):
    """Fourier series along the periodic axis, linear along the other: exact for such fields."""
    sensors = (12, 8)
    model = randomized(DeepONet(num_points=sensors, periodic=(True, False), **SMALL))
    free = DeepONet(num_points=sensors, periodic=(True, False), resample=True, **SMALL)
    free.load_state_dict(model.state_dict())

    def field(nx, ny):
        x = 2 * torch.pi * torch.arange(nx)[:, None] / nx
        y = torch.arange(ny) / (ny - 1)
        return (0.3 + (x.cos() + (3 * x).sin()) * (1 - 2 * y))[None, None]

    expected = model.coefficients(field(*sensors))
    torch.testing.assert_close(free.coefficients(field(*space)), expected, rtol=0, atol=1e-12)
    assert free(field(*space)).shape == (1, 1, *space)
    torch.testing.assert_close(free(field(*sensors)), model(field(*sensors)), rtol=0, atol=0)
    points = torch.rand(1, 5, 2)
    output = free.at_points(field(*space), points)
    expected = model.at_points(field(*sensors), points)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-12)


@torch.no_grad()
def test_the_nyquist_wave_survives_resampling():
    model = DeepONet(num_points=(16,), resample=True, **SMALL)
    u = torch.cos(torch.pi * torch.arange(8))[None, None]
    fine = torch.cos(torch.pi * torch.arange(16) / 2)[None, None]
    expected = model.coefficients(fine)
    torch.testing.assert_close(model.coefficients(u), expected, rtol=0, atol=1e-13)


def test_other_grids_are_refused():
    model = DeepONet(num_points=(16, 8), **SMALL)
    with pytest.raises(ValueError, match=r"sensors .* grid of \(16, 8\) points, got \(8, 16\)"):
        model(torch.zeros(1, 1, 8, 16))
    with pytest.raises(ValueError, match=r"num_points=\(8, 16\), or with resample=True"):
        model.at_points(torch.zeros(1, 1, 8, 16), torch.zeros(1, 3, 2))
    walls = DeepONet(num_points=(16,), periodic=False, resample=True, **SMALL)
    with pytest.raises(ValueError, match=r"at least \(2,\) points, got \(1,\)"):
        walls(torch.zeros(1, 1, 1))


def test_wrong_points_are_refused():
    model = DeepONet(num_points=(16,), **SMALL)
    u = torch.zeros(3, 1, 16)
    for shape in ((3, 5), (5, 1), (2, 5, 1), (3, 5, 2)):
        with pytest.raises(ValueError, match=r"`coordinates` must have shape \(batch, point, 1\)"):
            model.at_points(u, torch.zeros(shape))
    with pytest.raises(ValueError, match="takes no `condition`"):
        model.at_points(u, torch.zeros(3, 5, 1), torch.zeros(3, 1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_points": ()}, "one entry per space axis"),
        ({"num_points": (0,)}, r"`num_points\[0\]`"),
        ({"num_points": (1,), "periodic": False}, r"at least \(2,\) points"),
        ({"num_basis": 0}, "`num_basis`"),
        ({"num_waves": 0}, "`num_waves`"),
        ({"depth": 0}, "`depth`"),
        ({"periodic": (True, True)}, r"per space axis \(1\)"),
    ],
)
def test_wrong_arguments_are_refused(settings, message):
    with pytest.raises(ValueError, match=f"DeepONet: .*{message}"):
        DeepONet(**settings)


@pytest.mark.slow
def test_compiled_equals_eager():
    model = DeepONet(num_points=(12, 9), periodic=(True, False), num_conditions=1, **SMALL)
    check_compiled(model, (12, 9))
    check_compiled(DeepONet(num_points=(12,), resample=True, **SMALL), (9,))
