"""What happens to batches: noise by name, and steps of random size with exact answers."""

import pytest
import torch
from torch import nn

from pdesurrogates.core import Grid, generator
from pdesurrogates.data import TrajectoryWindows, from_arrays
from pdesurrogates.steppers import RK4, Euler
from pdesurrogates.surrogates import (
    DerivativeSurrogate,
    PDERefiner,
    ResidualSurrogate,
    StateSurrogate,
)
from pdesurrogates.training import AllPairs, InputNoise, OneStep, Pushforward, Unrolled, train


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


def test_noise_and_the_surrogates_own_draws_are_independent(waves):
    """The refiner draws its own noise from (seed, batch); ours must not be the same numbers."""
    windows = TrajectoryWindows(waves)
    batch = windows.__getitems__(list(range(88)))
    u = batch["history"][:, -1]
    noisy = InputNoise(1.0)(ResidualSurrogate(nn.Identity(), 0.1), batch, seed=1, step=7)
    own = torch.randn(u.shape, generator=generator(1, 7))
    assert float((noisy["input"] - u - own).abs().max()) > 1


def test_corrected_noise_is_taken_out(waves, residual):
    windows = TrajectoryWindows(waves)
    batch = windows.__getitems__([0, 1])
    noisy = InputNoise(0.1, corrects_target=True)(residual, batch, seed=0, step=0)
    reached = noisy["input"] + residual.target(noisy)
    assert torch.allclose(reached, batch["future"][:, 0], atol=1e-14)
    assert not torch.equal(noisy["input"], batch["history"][:, -1])
    derivative = DerivativeSurrogate(nn.Identity(), Euler(), 0.1)
    with pytest.raises(ValueError, match="predicts a change or the next state, got Derivative"):
        InputNoise(corrects_target=True).prepare(derivative, OneStep())


@pytest.mark.parametrize("loss", [Unrolled(2), Pushforward(2)])
def test_rollouts_start_from_the_noisy_input(waves, loss):
    batch = TrajectoryWindows(waves, horizon=2).__getitems__([0, 20])
    surrogate = StateSurrogate(nn.Identity(), 0.1)
    noisy = InputNoise(0.1)(surrogate, batch, seed=0, step=0)
    frames = batch["future"][:, :2] if isinstance(loss, Unrolled) else batch["future"][:, 1:]
    expected = (noisy["input"][:, None] - frames).square().mean()
    assert torch.allclose(loss(surrogate, noisy), expected, atol=1e-14)


# u' = -u, exact on any step: u(t + n dt) = r^n u, r = exp(-dt).
DT, RATE = 0.25, 1.0


class Decay(nn.Module):
    """Given the share s = dt / max_dt, what the surrogate should predict, in closed form."""

    num_conditions = 1

    def __init__(self, answer, max_steps):
        super().__init__()
        self.answer = answer
        self.max_steps = max_steps

    def forward(self, z, condition):
        n = (self.max_steps * condition).reshape(-1, 1, 1)
        return self.answer(n) * z


ANSWERS = {
    StateSurrogate: lambda n: torch.exp(-RATE * DT * n),
    ResidualSurrogate: lambda n: torch.expm1(-RATE * DT * n) / n,
}


@pytest.fixture
def decay():
    grid = Grid((8,), (1.0,))
    u0 = torch.randn(3, 1, 1, 8)
    u = u0 * torch.exp(-RATE * DT * torch.arange(30))[:, None, None]
    return from_arrays(u, axes="trajectory time channel x", dt=DT, grid=grid)


@pytest.mark.parametrize("kind", list(ANSWERS))
@pytest.mark.parametrize("loss", [OneStep(), Unrolled(2), Pushforward(3)])
def test_an_exact_network_has_no_loss_at_any_step(decay, kind, loss):
    pairs = AllPairs(5)
    surrogate = kind(Decay(ANSWERS[kind], 5), DT, max_dt=5 * DT)
    pairs.prepare(surrogate, loss)
    windows = TrajectoryWindows(decay, horizon=5 * loss.horizon)
    batch = pairs(surrogate, windows.__getitems__(list(range(40))), seed=0, step=0)
    assert batch["future"].shape[1] == loss.horizon
    assert float(loss(surrogate, batch)) < 1e-24
    wrong = {**batch, "dt": batch["dt"].flip(0)}
    assert float(loss(surrogate, wrong)) > 1e-4


def test_the_frames_and_steps_of_pairs_by_hand(decay):
    windows = TrajectoryWindows(decay, horizon=12)
    batch = windows.__getitems__(list(range(40)))
    pairs = AllPairs(4)(StateSurrogate(nn.Identity(), DT), batch, seed=3, step=8)
    n = (pairs["dt"] / DT).round().long()
    assert set(n.tolist()) == {1, 2, 3, 4}
    for row in range(40):
        expected = batch["future"][row, [n[row] - 1, 2 * n[row] - 1, 3 * n[row] - 1]]
        assert torch.equal(pairs["future"][row], expected)
    assert batch["future"].shape[1] == 12 and float(batch["dt"].max()) == DT
    torch.rand(3)
    again = AllPairs(4)(StateSurrogate(nn.Identity(), DT), batch, seed=3, step=8)
    assert torch.equal(again["dt"], pairs["dt"])


def test_a_derivative_learns_from_pairs_with_a_rollout_loss(decay):
    surrogate = DerivativeSurrogate(nn.Identity(), RK4(), DT, target_order=1)
    surrogate.target_normalizer.std.fill_(-RATE)
    pairs = AllPairs(4)
    pairs.prepare(surrogate, Unrolled(1))
    assert surrogate.trained_dt == (DT, 4 * DT)
    windows = TrajectoryWindows(decay, horizon=4, target_order=1)
    batch = pairs(surrogate, windows.__getitems__(list(range(40))), seed=0, step=0)
    # RK4 multiplies by its Taylor polynomial of degree four.
    x = -RATE * batch["dt"]
    factor = 1 + x + x**2 / 2 + x**3 / 6 + x**4 / 24
    u = batch["history"][:, -1]
    expected = ((factor - torch.exp(x))[:, None, None] * u).square().mean()
    assert torch.allclose(Unrolled(1)(surrogate, batch), expected, rtol=1e-8)
    with pytest.raises(ValueError, match=r"for du/dt, which knows no step.*Unrolled\(1\)"):
        pairs.prepare(surrogate, OneStep())


def test_identity_pairs(decay):
    pairs = AllPairs(2, include_identity=True)
    surrogate = StateSurrogate(Decay(ANSWERS[StateSurrogate], 2), DT, max_dt=2 * DT)
    pairs.prepare(surrogate, OneStep())
    windows = TrajectoryWindows(decay, horizon=2)
    batch = pairs(surrogate, windows.__getitems__(list(range(40))), seed=0, step=0)
    still = batch["dt"] == 0
    assert 5 < int(still.sum()) < 25
    assert torch.equal(batch["future"][still], batch["history"][still])
    for loss in (OneStep(), Unrolled(1)):
        assert float(loss(surrogate, batch)) < 1e-24
    residual = ResidualSurrogate(nn.Identity(), DT, max_dt=2 * DT)
    with pytest.raises(ValueError, match="for StateSurrogate, got ResidualSurrogate"):
        pairs.prepare(residual, OneStep())


def test_a_surrogate_of_one_step_is_refused(residual):
    with pytest.raises(
        ValueError, match="steps up to 4 dt = 0.4, got Res.*build it with max_dt=0.4"
    ):
        AllPairs(4).prepare(residual, OneStep())
    with pytest.raises(ValueError, match="`max_steps` must be at least 1, got 0"):
        AllPairs(0)


@pytest.mark.parametrize("kind", [StateSurrogate, ResidualSurrogate, PDERefiner])
def test_maps_are_trained_with_pairs(waves, kind):
    from pdesurrogates.backbones import FNO

    extra = int(kind is PDERefiner)
    backbone = FNO(1 + extra, 1, num_modes=(4,), width=8, depth=1, num_conditions=1 + extra)
    surrogate = kind(backbone, 0.1, max_dt=0.3)
    result = train(
        surrogate, waves, num_steps=60, learning_rate=0.01, transforms=[AllPairs(3)], log_every=5
    )
    losses = [loss for _, loss in result.losses]
    assert sum(losses[-3:]) < 0.85 * sum(losses[:3])
    assert surrogate.trained_dt == pytest.approx((0.1, 0.3))
    surrogate(0.0, waves.read(0)[:2], 0.25)
