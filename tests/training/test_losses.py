"""Losses against the same numbers written out by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pdesurrogates.data import TrajectoryWindows
from pdesurrogates.steppers import RK4
from pdesurrogates.surrogates import (
    BundleSurrogate,
    DerivativeSurrogate,
    StateSurrogate,
    StochasticSurrogate,
)
from pdesurrogates.training import MeanSquared, OneStep, Pushforward, Relative, Unrolled


class Gain(nn.Module):
    """N(z) = w z."""

    def __init__(self, gain=0.5):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(gain))

    def forward(self, z):
        return self.weight * z


@pytest.fixture
def batch(waves):
    return TrajectoryWindows(waves, horizon=3, target_order=4).__getitems__([0, 20, 40])


def test_one_step(batch):
    surrogate = StateSurrogate(Gain(), 0.1)
    surrogate.target_normalizer.std.fill_(2.0)
    u, u_next = batch["history"][:, -1], batch["future"][:, 0]
    expected = (0.5 * u - u_next / 2).square().mean()
    assert torch.allclose(OneStep()(surrogate, batch), expected, atol=1e-15)


def test_unrolled_has_gradient_through_all_steps(batch):
    gain = torch.tensor(0.5, requires_grad=True)
    u, losses = batch["history"][:, -1], []
    for n in range(3):
        u = gain * u
        losses.append((u - batch["future"][:, n]).square().mean())
    expected = torch.stack(losses).mean()
    expected.backward()

    surrogate = StateSurrogate(Gain(), 0.1)
    loss = Unrolled(3)(surrogate, batch)
    loss.backward()
    assert torch.allclose(loss, expected, atol=1e-15)
    assert torch.allclose(surrogate.backbone.weight.grad, gain.grad, atol=1e-14)


def test_pushforward_has_gradient_through_the_last_step_only(batch):
    gain = torch.tensor(0.5, requires_grad=True)
    u = (0.25 * batch["history"][:, -1]).detach()
    expected = F.mse_loss(gain * u, batch["future"][:, 2])
    expected.backward()

    surrogate = StateSurrogate(Gain(), 0.1)
    loss = Pushforward(3)(surrogate, batch)
    loss.backward()
    assert torch.allclose(loss, expected, atol=1e-15)
    assert torch.allclose(surrogate.backbone.weight.grad, gain.grad, atol=1e-14)


def test_one_step_of_each_is_the_same(batch, make_derivative):
    surrogate = make_derivative()
    assert torch.equal(Unrolled(1)(surrogate, batch), Pushforward(1)(surrogate, batch))
    state = StateSurrogate(Gain(), 0.1)
    assert torch.allclose(Unrolled(1)(state, batch), OneStep()(state, batch), atol=1e-15)


def test_a_perfect_surrogate_has_no_loss(waves):
    known = waves.parameters["speed"][0]

    class Slope(nn.Module):
        def forward(self, u):
            k = torch.arange(9)
            return torch.fft.irfft(-1j * k * known * torch.fft.rfft(u), n=16)

    batch = TrajectoryWindows(waves, horizon=3, target_order=4).__getitems__([0, 3])
    surrogate = DerivativeSurrogate(Slope(), RK4(), 0.1)
    assert float(Unrolled(3)(surrogate, batch)) < 1e-12
    assert float(OneStep()(surrogate, batch)) < 1e-9


@pytest.mark.parametrize("loss", [Unrolled, Pushforward])
def test_steps_must_be_positive(loss):
    assert loss(4).horizon == 4 and OneStep().horizon == 1
    with pytest.raises(
        ValueError, match=f"{loss.__name__}: `num_steps` must be at least 1, got 0"
    ):
        loss(0)


def test_gradient_through_the_last_steps_only(batch):
    gain = torch.tensor(0.5, requires_grad=True)
    u, losses = (0.5 * batch["history"][:, -1]).detach(), []
    for n in (1, 2):
        u = gain * u
        losses.append((u - batch["future"][:, n]).square().mean())
    expected = torch.stack(losses).mean()
    expected.backward()

    surrogate = StateSurrogate(Gain(), 0.1)
    loss = Unrolled(3, gradient_steps=2)(surrogate, batch)
    loss.backward()
    assert torch.allclose(loss, expected, atol=1e-15)
    assert torch.allclose(surrogate.backbone.weight.grad, gain.grad, atol=1e-14)
    last = Unrolled(3, gradient_steps=1)(surrogate, batch)
    assert torch.equal(last, Pushforward(3)(surrogate, batch))
    assert torch.equal(
        Unrolled(3, gradient_steps=9)(surrogate, batch), Unrolled(3)(surrogate, batch)
    )
    with pytest.raises(ValueError, match="`gradient_steps` must be at least 1, got 0"):
        Unrolled(3, gradient_steps=0)


def test_the_length_of_a_pushforward_is_drawn_per_batch(batch):
    loss, surrogate = Pushforward(3, random_length=True), StateSurrogate(Gain(), 0.1)
    lengths = [loss.length({"stream": (0, number)}) for number in range(300)]
    for length in (1, 2, 3):
        assert 70 < lengths.count(length) < 130
    torch.rand(3)
    assert [loss.length({"stream": (0, number)}) for number in range(9)] == lengths[:9]
    assert [loss.length({"stream": (1, number)}) for number in range(9)] != lengths[:9]
    for number in range(3):
        named = {**batch, "stream": (0, number)}
        assert torch.equal(loss(surrogate, named), Pushforward(lengths[number])(surrogate, batch))
    assert loss.horizon == 3


@pytest.mark.parametrize("make", [OneStep, Unrolled, Pushforward])
def test_any_distance_serves(batch, make):
    surrogate = StateSurrogate(nn.Identity(), 0.1)
    u = batch["history"][:, -1]
    frames = batch["future"][:, 0], batch["future"][:, 1]
    errors = [((u - v).flatten(1).norm(dim=1) / v.flatten(1).norm(dim=1)).mean() for v in frames]
    expected = {OneStep: errors[0], Unrolled: sum(errors) / 2, Pushforward: errors[1]}[make]
    loss = make(distance=Relative(MeanSquared()))(surrogate, batch)
    assert torch.allclose(loss, expected, atol=1e-14)


def test_bundles_are_steps(batch):
    """Gain w after one bundle of two frames: u + w u twice; then from the second frame on."""

    class Twice(Gain):
        def forward(self, z):
            return torch.cat((self.weight * z, self.weight * z), dim=1)

    long = {**batch, "future": torch.cat((batch["future"], batch["future"][:, :1]), dim=1)}
    u, losses = batch["history"][:, -1], []
    for bundle in range(2):
        u = 1.5 * u
        losses += [(u - long["future"][:, 2 * bundle + k]).square().mean() for k in range(2)]
    surrogate = BundleSurrogate(Twice(), 0.1, num_frames=2)
    assert torch.allclose(Unrolled(2)(surrogate, long), sum(losses) / 4, atol=1e-14)
    assert torch.allclose(Pushforward(2)(surrogate, long), sum(losses[2:]) / 2, atol=1e-14)
    change = long["future"][:, :2] - long["history"][:, -1:]
    expected = (0.5 * long["history"][:, -1:] - change).square().mean()
    assert torch.allclose(OneStep()(surrogate, long), expected, atol=1e-14)


def test_rollouts_of_random_maps_draw_new_noise_per_batch(batch):
    class Jump(StochasticSurrogate):
        def draw_next(self, u, conditioning, dt, noise, step):
            return u + noise.normal(u, step, 0)

    surrogate = Jump(nn.Identity(), 0.1)
    still = {**batch, "future": batch["history"].expand(-1, 3, -1, -1)}

    def loss(seed, number):
        return Unrolled(1)(surrogate, {**still, "stream": (seed, number)})

    assert torch.equal(loss(0, 3), loss(0, 3))
    assert len({float(loss(*name)) for name in ((0, 3), (0, 4), (1, 3))}) == 3
    assert abs(float(torch.stack([loss(0, n) for n in range(50)]).mean()) - 1) < 0.1
