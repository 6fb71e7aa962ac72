"""Derivative prediction: targets, pairing, and that steppers see a plain time derivative."""

import warnings

import pytest
import torch
from torch import nn

from pdesurrogates.data import TrajectoryWindows, from_arrays, time_derivative
from pdesurrogates.steppers import (
    RK4,
    SSPRK3,
    AdamsBashforth,
    Euler,
    Heun,
    Midpoint,
    integrate,
    rollout,
)
from pdesurrogates.surrogates import DerivativeSurrogate, ResidualSurrogate


class Decay(nn.Module):
    """N(z) = -z, counting its calls."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, z):
        self.calls += 1
        return -z


@pytest.mark.parametrize("batch_of_one", [True, False])
def test_first_order_and_euler_is_residual_prediction(waves, small_fno, batch_of_one):
    residual = ResidualSurrogate(small_fno, 0.1)
    derivative = DerivativeSurrogate(small_fno, Euler(), 0.1)
    residual.fit_normalizers(TrajectoryWindows(waves))
    derivative.fit_normalizers(TrajectoryWindows(waves, target_order=1))
    assert torch.allclose(
        derivative.target_normalizer.std, residual.target_normalizer.std / 0.1, rtol=1e-13
    )
    windows = TrajectoryWindows(waves, target_order=1)
    batch = windows.__getitems__([0, 5, 17])
    assert torch.allclose(
        derivative.standardized_target(batch), residual.standardized_target(batch), atol=1e-12
    )
    u0 = waves.read(0)[:1] if batch_of_one else waves.read(1)[:5]
    times = [0.1 * n for n in range(6)]
    a, b = rollout(derivative, u0, times), rollout(residual, u0, times)
    assert torch.allclose(a, b, rtol=1e-12, atol=1e-13)


PAIRS = [
    (Euler(), 1),
    (Heun(), 2),
    (Midpoint(), 2),
    (AdamsBashforth(2), 2),
    (SSPRK3(), 4),
    (RK4(), 4),
]


@pytest.mark.parametrize("stepper, order", PAIRS)
def test_target_order_is_paired_with_the_stepper(stepper, order):
    assert DerivativeSurrogate(nn.Identity(), stepper, 0.1).target_order == order
    assert DerivativeSurrogate(nn.Identity(), stepper, 0.1, target_order=1).target_order == 1


def test_an_unknown_target_order_is_refused():
    with pytest.raises(ValueError, match="`target_order` must be 1, 2, 4 or None.*got 3"):
        DerivativeSurrogate(nn.Identity(), RK4(), 0.1, target_order=3)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_target_is_the_finite_difference(waves, order):
    surrogate = DerivativeSurrogate(nn.Identity(), RK4(), 0.1, target_order=order)
    windows = TrajectoryWindows(waves, target_order=order)
    expected = time_derivative(waves.read(2), 0.1, order)[:-1]
    first = 2 * 11
    target = surrogate.target(windows.__getitems__(list(range(first, first + 11))))
    assert target.dtype == torch.float64
    assert torch.allclose(target, expected, atol=1e-13)


@pytest.mark.parametrize(
    "stepper, calls", [(Euler(), 1), (Heun(), 2), (RK4(), 4), (AdamsBashforth(2), 1)]
)
def test_rollout_is_the_classical_one_with_as_many_calls(stepper, calls):
    backbone = Decay()
    surrogate = DerivativeSurrogate(backbone, stepper, 0.1)
    u0, times = torch.rand(3, 1, 8), [0.1 * n for n in range(21)]
    ours = rollout(surrogate, u0, times)
    assert torch.equal(ours, rollout(stepper.bind(lambda t, u: -u), u0, times))
    assert surrogate.num_evaluations == calls
    assert abs(backbone.calls - 20 * calls) <= 1


def test_time_derivative_serves_integrate():
    surrogate = DerivativeSurrogate(Decay(), Euler(), 0.1)
    surrogate.target_normalizer.std.fill_(2.0)
    u0 = torch.rand(3, 1, 8)
    states = integrate(surrogate.time_derivative(), u0, [0.0, 1.0], RK4(), dt=0.01).states
    assert torch.allclose(states[:, -1], u0 * torch.tensor(-2.0).exp(), rtol=1e-7)


def test_with_stepper_shares_the_weights(waves, small_fno):
    surrogate = DerivativeSurrogate(small_fno, Euler(), 0.1)
    other = surrogate.with_stepper(RK4())
    u0 = waves.read(0)[:1]
    assert isinstance(surrogate.stepper, Euler) and other.num_evaluations == 4
    before = other(0.0, u0, 0.1)
    with torch.no_grad():
        next(surrogate.backbone.parameters()).add_(1.0)
    assert not torch.equal(before, other(0.0, u0, 0.1))
    assert not torch.equal(surrogate(0.0, u0, 0.1), other(0.0, u0, 0.1))


def test_a_step_outside_the_training_data_warns_once():
    surrogate = DerivativeSurrogate(Decay(), Heun(), 0.1)
    u0 = torch.rand(1, 1, 8)
    with pytest.warns(UserWarning, match=r"dt = 0.05 is outside the training data \(dt = 0.1\)"):
        surrogate(0.0, u0, 0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rollout(surrogate, u0, [0.0, 0.05, 0.1])
        rollout(DerivativeSurrogate(Decay(), Heun(), 0.1), u0, [0.0, 0.1, 0.2])


def test_every_trajectory_keeps_its_own_step(waves):
    times = torch.stack([0.1 * torch.arange(12), 0.12 * torch.arange(12)])
    states = torch.stack([waves.read(0), waves.read(1)])
    file = from_arrays(states, axes="trajectory time channel x", times=times, grid=waves.grid)
    surrogate = DerivativeSurrogate(Decay(), Heun(), 0.11)
    windows = TrajectoryWindows(file, target_order=2)
    surrogate.fit_normalizers(windows)
    assert surrogate.trained_dt == pytest.approx((0.1, 0.12))
    batch = windows.__getitems__([0, 11])
    assert torch.equal(surrogate.step_of(batch), batch["dt"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        both = surrogate(0.0, file.read(0)[:2], torch.tensor([0.1, 0.12]))
        one = surrogate(0.0, file.read(0)[1:2], 0.12)
    assert torch.allclose(both[1:], one, atol=1e-15)


def test_steps_backwards_are_refused():
    surrogate = DerivativeSurrogate(nn.Identity(), RK4(), 0.1)
    for dt in (-0.1, 0.0, float("nan")):
        with pytest.raises(ValueError, match="`dt` must be positive"):
            surrogate(0.0, torch.ones(1, 1, 8), dt)
