"""Flows: their paths, their orders, and exact answers where the network is exact."""

import math

import pytest
import torch

from pdesurrogates.core import NoiseStream
from pdesurrogates.steppers import (
    RK4,
    AdamsBashforth,
    Euler,
    EulerMaruyama,
    Heun,
    StochasticHeun,
    rollout,
)
from pdesurrogates.surrogates import FlowSurrogate, FromNoise, FromState
from tests.steppers.test_order import observed_order
from tests.surrogates.conftest import SmallFNO
from tests.surrogates.gaussian import Autoregressive, ExactNetwork
from tests.surrogates.learning import learned_process

PROCESS = Autoregressive()
AMPLITUDE = 0.8


def from_noise(process=PROCESS, **options):
    """The exact flow of the process from noise."""
    network = ExactNetwork(process.velocity)
    return process.prepare(FlowSurrogate(network, 0.1, start=FromNoise(), **options))


def from_state(**options):
    """The exact interpolant of the process from the current state."""
    network = ExactNetwork(lambda z, x, s: PROCESS.drift(z, x, s, AMPLITUDE))
    return PROCESS.prepare(FlowSurrogate(network, 0.1, start=FromState(AMPLITUDE), **options))


@pytest.mark.parametrize("stepper", [Euler(), Heun(), RK4(), AdamsBashforth(2)], ids=str)
def test_order_from_noise(stepper):
    """The exact flow maps noise to y = mean + spread noise."""
    process = Autoregressive(decay=-0.5)  # spread 0.5: near 1 the flow is nearly linear
    u = torch.randn(2, 1, 40)
    noise = NoiseStream(0).normal(u, 0, 0)
    y = process.slope * u / process.stationary + process.spread * noise
    truth = u + process.change * y
    errors = []
    for n in (32, 64, 128) if stepper.order == 4 else (32, 64, 128, 256):
        surrogate = from_noise(process, stepper=stepper, num_steps=n)
        errors.append(float((surrogate(0.0, u, 0.1) - truth).abs().max()))
    assert abs(observed_order(errors) - stepper.order) < 0.3, errors
    assert errors[-1] < {1: 1e-2, 2: 3e-4, 4: 2e-6}[stepper.order]


@pytest.mark.parametrize("surrogate, tolerance", [
    (from_noise(stepper=Euler(), num_steps=40), 0.05),
    (from_noise(num_steps=8), 0.03),
    (from_noise(stepper=RK4(), num_steps=4), 0.03),
    (from_state(num_steps=40), 0.03),
    (from_state(stepper=StochasticHeun(), num_steps=20), 0.03),
], ids=["Euler", "Heun", "RK4", "EulerMaruyama", "StochasticHeun"])  # fmt: skip
def test_a_stochastic_process_keeps_its_variance(surrogate, tolerance):
    (mean, deviation), expected = PROCESS.rolled_out(surrogate.double())
    assert abs(mean - expected[0]) < 0.025
    assert abs(deviation / expected[1] - 1) < tolerance


@pytest.mark.parametrize("stepper", [EulerMaruyama(), StochasticHeun()], ids=str)
def test_weak_order_from_the_state(stepper):
    """Moments without sampling error: one unit of noise at a time through an affine map."""

    class Unit:
        """Noise whose k-th draw is one at the k-th sample."""

        keys = ()

        def at(self, *keys):
            return self

        def normal(self, like, *keys):
            noise = torch.zeros_like(like)
            noise[keys[-1]] = 1.0
            return noise

    errors = []
    for n in (8, 16, 32, 64):
        surrogate = from_state(stepper=stepper, num_steps=n)
        z = torch.full((n + 1, 1, 1), 0.6)
        y = surrogate.draw(z, None, Unit())
        variance = float((y[:-1] - y[-1]).square().sum())
        errors.append(
            max(
                abs(float(y[-1]) - PROCESS.slope * 0.6),
                abs(math.sqrt(variance) - PROCESS.spread),
            )
        )
    assert observed_order(errors) > 0.85, errors
    assert errors[-1] < 0.01


@pytest.mark.parametrize("start", [FromNoise(), FromState(0.3)], ids=str)
def test_moments_along_the_path(start):
    """x_s has the mean and deviation of the formula, and the velocity is its rate of change."""
    y, eps = torch.randn(2, 20000) * torch.tensor([[0.5], [1.0]]) + torch.tensor([[0.4], [0.0]])
    still = torch.full_like(y, -0.2)
    s, step = 0.3, 1e-6
    x, velocity = start.path(still, y, eps, s)
    if isinstance(start, FromNoise):
        deviation, mean = math.hypot(0.7, 0.3 * 0.5), 0.3 * 0.4
        later, _ = start.path(still, y, eps, s + step)
        assert torch.allclose((later - x) / step, velocity, atol=1e-6)
        assert torch.equal(start.path(still, y, eps, 0.0)[0], eps)
    else:
        deviation = math.hypot(0.3 * 0.5, 0.3 * 0.7 * math.sqrt(0.3))
        mean = 0.7 * -0.2 + 0.3 * 0.4
        # The rate of change at a fixed Wiener path, W = sqrt(s) eps.
        later, _ = start.path(still, y, eps * math.sqrt(s / (s + step)), s + step)
        assert torch.allclose((later - x) / step, velocity, atol=1e-6)
        assert torch.equal(start.path(still, y, eps, 0.0)[0], still)
    assert abs(float(x.mean()) - mean) < 0.02
    assert abs(float(x.std()) / deviation - 1) < 0.02
    assert torch.allclose(start.path(still, y, eps, 1.0)[0], y)


@pytest.mark.parametrize("stepper", [EulerMaruyama(), StochasticHeun()], ids=str)
@pytest.mark.parametrize("difference", [True, False])
@pytest.mark.parametrize("num_steps", [1, 5])
def test_from_the_state_a_certain_answer_is_given_exactly(stepper, difference, num_steps):
    """b = (y - x) / (1 - s) for every path of noise: the last step lands on y."""
    surrogate = FlowSurrogate(
        ExactNetwork(lambda z, x, s: (torch.tanh(z) - x) / (1 - s)),
        0.1,
        start=FromState(0.5),
        stepper=EulerMaruyama(),
        num_steps=num_steps,
        predict_difference=difference,
    )
    surrogate.target_normalizer.std.fill_(0.5)
    surrogate.target_normalizer.mean.fill_(-1.0)
    u = torch.linspace(-2, 2, 24).reshape(2, 1, 12)
    y = -1 + 0.5 * torch.tanh(u)
    assert torch.allclose(surrogate(0.0, u, 0.1), u + y if difference else y, atol=1e-12)


@pytest.mark.parametrize("difference", [True, False])
def test_the_path_starts_at_the_current_state(difference):
    """A network that says: stay. One step without noise leaves the state as it is."""
    surrogate = FlowSurrogate(
        ExactNetwork(lambda z, x, s: torch.zeros_like(x)),
        0.1,
        start=FromState(),
        num_steps=1,
        predict_difference=difference,
    )
    for normalizer, mean, std in (
        (surrogate.state_normalizer, 2.0, 4.0),
        (surrogate.target_normalizer, -1.0, 0.5),
    ):
        normalizer.mean.fill_(mean)
        normalizer.std.fill_(std)
    u = torch.linspace(-2, 5, 24).reshape(2, 1, 12)
    assert torch.allclose(surrogate(0.0, u, 0.1), u, atol=1e-13)


def test_the_network_sees_the_path_and_its_place():
    surrogate, seen = from_state(), []
    surrogate.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    y = torch.randn(512, 1, 4)
    batch = {"history": torch.zeros(512, 1, 1, 4), "future": y[:, None], "stream": (1, 1)}
    _, velocity = surrogate.regression({**batch, "dt": torch.full((512,), 0.1)})
    (fields, s) = seen[0]
    x, s = fields[:, 1:], s[:, :, None]
    # The last step of a perfect network: x + (1 - s) velocity = y.
    assert torch.allclose(x + (1 - s) * velocity, y / PROCESS.change, atol=1e-12)
    gaps = s.flatten().sort().values.diff()
    assert torch.allclose(gaps, torch.full_like(gaps, 1 / 512))


def test_stepper_and_steps_are_chosen_at_inference():
    surrogate = FlowSurrogate(SmallFNO(3), 0.1)
    assert surrogate.stepper == Heun() and surrogate.num_evaluations == 8
    other = surrogate.with_stepper(RK4(), num_steps=3)
    assert other.num_evaluations == 12 and other.backbone is surrogate.backbone
    assert surrogate.with_stepper(num_steps=2).num_evaluations == 4
    interpolant = FlowSurrogate(SmallFNO(3), 0.1, start=FromState(), num_steps=6)
    assert interpolant.stepper == EulerMaruyama() and interpolant.num_evaluations == 6
    assert interpolant.with_stepper(StochasticHeun()).num_evaluations == 11


def test_noise_of_the_way_is_new_in_every_step():
    surrogate = from_state(num_steps=4)
    states = rollout(surrogate.bind(seeds=2), torch.zeros(1, 1, 5000), [0.0, 0.1, 0.2])[0, :, 0]
    first = states[1]
    second = states[2] - PROCESS.decay * states[1]
    assert abs(float((first * second).mean())) < 0.02


def test_bad_arguments_are_refused():
    network = SmallFNO(3)
    with pytest.raises(ValueError, match="FromNoise: needs a stepper of ordinary differential"):
        FlowSurrogate(network, 0.1, stepper=EulerMaruyama())
    with pytest.raises(ValueError, match="FromState: from one state an ordinary differential"):
        FlowSurrogate(network, 0.1, start=FromState(), stepper=RK4())
    with pytest.raises(ValueError, match="FromState: from one state"):
        FlowSurrogate(network, 0.1, start=FromState()).with_stepper(Heun())
    with pytest.raises(ValueError, match="`num_steps` must be at least 1, got 0"):
        FlowSurrogate(network, 0.1, num_steps=0)
    with pytest.raises(ValueError, match="`amplitude` must be positive and finite, got 0"):
        FromState(0.0)
    with pytest.raises(TypeError, match="`start` must be an instance of FlowStart, got 'noise'"):
        FlowSurrogate(network, 0.1, start="noise")
    with pytest.raises(TypeError, match="`stepper` must be an instance of Stepper, got Heun"):
        FlowSurrogate(network, 0.1, stepper=Heun)


STARTS = [FromNoise(), FromState()]


@pytest.mark.slow
@pytest.mark.parametrize("start", STARTS, ids=str)
def test_it_learns_mean_and_variance_of_a_process(start):
    make = lambda network: FlowSurrogate(network, 0.1, start=start, num_steps=12)  # noqa: E731
    slope, spread, stationary = learned_process(make, PROCESS)
    assert abs(slope / PROCESS.decay - 1) < 0.1
    assert abs(spread / PROCESS.kick - 1) < 0.1
    assert abs(stationary / PROCESS.stationary - 1) < 0.1
