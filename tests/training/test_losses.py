"""Losses against the same numbers written out by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pdesurrogates.data import TrajectoryWindows
from pdesurrogates.steppers import RK4
from pdesurrogates.surrogates import DerivativeSurrogate, StateSurrogate
from pdesurrogates.training import InputNoise, OneStep, Pushforward, Unrolled


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


def test_noise_depends_on_seed_and_step_only(waves, residual):
    windows = TrajectoryWindows(waves)
    residual.fit_normalizers(windows)
    batch = windows.__getitems__(list(range(88)))
    noise = InputNoise(0.1)
    a = noise(residual, batch, seed=1, step=7)["input"]
    torch.rand(5)
    assert torch.equal(a, noise(residual, batch, seed=1, step=7)["input"])
    assert not torch.equal(a, noise(residual, batch, seed=1, step=8)["input"])
    assert not torch.equal(a, noise(residual, batch, seed=2, step=7)["input"])
    size = float((a - batch["history"][:, -1]).std()) / float(residual.state_normalizer.std)
    assert abs(size - 0.1) < 0.01


def test_noise_moves_the_input_and_not_the_target(waves, residual):
    windows = TrajectoryWindows(waves)
    batch = windows.__getitems__([0, 1])
    noisy = InputNoise(0.1)(residual, batch, seed=0, step=0)
    assert torch.equal(residual.target(noisy), residual.target(batch))
    prediction = residual.standardized_prediction
    assert not torch.equal(prediction(noisy), prediction(batch))
    with pytest.raises(ValueError, match="`fraction` must not be negative, got -1"):
        InputNoise(-1)
