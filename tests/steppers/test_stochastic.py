"""Steppers with noise: strong and weak orders against exact solutions on the same path."""

import dataclasses
import math

import pytest
import torch

from pdesurrogates.core import Grid, NoiseStream
from pdesurrogates.equations import Diffusion
from pdesurrogates.steppers import (
    RK4,
    CountedState,
    Euler,
    EulerMaruyama,
    Heun,
    StochasticDerivative,
    StochasticHeun,
    integrate,
    rollout,
)
from tests.steppers.test_order import observed_order

STEPPERS = [EulerMaruyama, StochasticHeun]
FINEST = 512
COUNTS = (16, 32, 64, 128)
PATHS = torch.zeros(2000, 1, 1)


@dataclasses.dataclass(frozen=True)
class Summed(NoiseStream):
    """Increments of `every` steps of a finer path, as one standard normal number."""

    every: int = 1

    def normal(self, like, *keys):
        (n,) = keys
        fine = NoiseStream(self.seeds)
        parts = [fine.normal(like, k) for k in range(n * self.every, (n + 1) * self.every)]
        return torch.stack(parts).sum(0) / math.sqrt(self.every)


def solve(stepper, f, u0, count):
    stepper = stepper(Summed(seeds=3, every=FINEST // count))
    return integrate(f, u0, [0.0, 1.0], stepper, dt=1 / count).states[:, -1]


def fine_increments():
    stream = NoiseStream(3)
    return [stream.normal(PATHS, n) / math.sqrt(FINEST) for n in range(FINEST)]


def strong_orders(stepper, f, u0, truth):
    errors = [float((solve(stepper, f, u0, n) - truth).abs().mean()) for n in COUNTS]
    return observed_order(errors), errors


@pytest.mark.parametrize(
    "stepper, order, ceiling", [(EulerMaruyama, 0.5, 0.1), (StochasticHeun, 1, 1e-2)]
)
def test_strong_order_on_geometric_brownian_motion(stepper, order, ceiling):
    # Ito du = a u dt + b u dW: u = exp((a - b^2 / 2) t + b W). Stratonovich drift a - b^2 / 2.
    a, b = 0.5, 0.8
    drift = a if stepper is EulerMaruyama else a - b**2 / 2
    f = StochasticDerivative(lambda t, u: drift * u, lambda t, u: b * u)
    truth = torch.exp(a - b**2 / 2 + b * sum(fine_increments()))
    found, errors = strong_orders(stepper, f, torch.ones_like(PATHS), truth)
    assert abs(found - order) < 0.12, errors
    assert errors[-1] < ceiling
    assert stepper().strong_order == order


@pytest.mark.parametrize("stepper", STEPPERS)
def test_strong_order_one_on_the_ornstein_uhlenbeck_process(stepper):
    # u(1) = e^-a u(0) + b int e^-a(1 - s) dW, the integral by the midpoints of a finer path.
    a, b = 2.0, 0.7
    f = StochasticDerivative(lambda t, u: -a * u, b)
    weights = [math.exp(-a * (1 - (n + 0.5) / FINEST)) for n in range(FINEST)]
    noise = sum(w * dw for w, dw in zip(weights, fine_increments(), strict=True))
    truth = math.exp(-a) * 1.5 + b * noise
    found, errors = strong_orders(stepper, f, torch.full_like(PATHS, 1.5), truth)
    assert abs(found - 1) < 0.15, errors
    assert errors[-1] < 6e-3


@pytest.mark.parametrize("stepper", STEPPERS)
def test_mean_and_variance_of_a_time_dependent_drift(stepper):
    # du = -u cos t dt + e^-t dW from 1: weak order 1, so 50 steps leave about 2 %.
    f = StochasticDerivative(lambda t, u: -u * math.cos(t), lambda t, u: math.exp(-t))
    u0 = torch.ones(40000, 1, 1)
    end = integrate(f, u0, [0.0, 1.5], stepper(NoiseStream(1)), dt=0.03).states[:, -1]
    s = torch.linspace(0, 1.5, 2001)
    square = torch.exp(-2 * s - 2 * (math.sin(1.5) - torch.sin(s)))
    assert abs(float(end.mean()) - math.exp(-math.sin(1.5))) < 0.012
    assert abs(float(end.var()) / float(torch.trapezoid(square, s)) - 1) < 0.04


def test_without_noise_they_are_euler_and_heun():
    f = lambda t, u: torch.sin(3 * u) + t  # noqa: E731
    u0, times = torch.linspace(-1, 1, 12).reshape(2, 1, 6), [0.0, 0.2, 0.5]
    for noisy, plain in ((EulerMaruyama(), Euler()), (StochasticHeun(), Heun())):
        states = integrate(StochasticDerivative(f, 0.0), u0, times, noisy, dt=0.1).states
        assert torch.allclose(states, integrate(f, u0, times, plain, dt=0.1).states, atol=1e-14)


@pytest.mark.parametrize("stepper", STEPPERS)
def test_the_state_counts_steps_and_can_be_continued(stepper):
    f = StochasticDerivative(lambda t, u: -u, lambda t, u: u)
    step = stepper(NoiseStream(5)).bind(f)
    u0 = torch.ones(3, 2, 4)
    whole = rollout(step, u0, [0.0, 0.1, 0.2, 0.3])
    state = step.initial_state(0.0, u0)
    for n in range(3):
        state = step(0.1 * n, state, 0.1)
        assert state.num_steps == n + 1
        assert torch.allclose(step.observe(state), whole[:, n + 1], rtol=1e-12)
    again = CountedState(whole[:, 2], 2)
    assert torch.allclose(step(0.2, again, 0.1).u, whole[:, 3], rtol=1e-12)
    assert not torch.allclose(whole[:, 1] - u0, (whole[:, 2] - whole[:, 1]) / whole[:, 1])


@pytest.mark.parametrize("stepper", STEPPERS)
def test_noise_depends_on_the_seed_of_the_sample_only(stepper):
    f = StochasticDerivative(lambda t, u: -u, 1.0)
    u0, times = torch.zeros(3, 1, 4), [0.0, 0.5, 1.0]

    def solve_with(u0, seeds):
        return integrate(f, u0, times, stepper(NoiseStream(seeds)), dt=0.1).states

    whole = solve_with(u0, (7, 8, 9))
    assert torch.equal(whole[1:], solve_with(u0[1:], (8, 9)))
    assert torch.equal(whole, solve_with(u0, (7, 8, 9)))
    assert not torch.equal(whole[0], whole[1])
    assert not torch.equal(whole, solve_with(u0, (7, 8, 10)))


@pytest.mark.parametrize("stepper", STEPPERS)
def test_a_step_per_sample(stepper):
    f = StochasticDerivative(lambda t, u: -u, lambda t, u: 0.3 * u)
    u0 = torch.ones(2, 1, 4)
    step = stepper(NoiseStream((1, 2))).bind(f)
    both = step(0.0, step.initial_state(0.0, u0), torch.tensor([0.1, 0.2]))
    other = stepper(NoiseStream((2,))).bind(f)
    assert torch.allclose(both.u[1:], other(0.0, other.initial_state(0.0, u0[1:]), 0.2).u)


@pytest.mark.parametrize("stepper", STEPPERS)
def test_calls_of_the_drift(stepper):
    calls = []
    f = StochasticDerivative(lambda t, u: calls.append(t) or -u, 1.0)
    solution = integrate(f, torch.ones(1, 1, 1), [0.0, 1.0], stepper(), dt=0.25)
    assert len(calls) == solution.stats["num_evaluations"] == 4 * stepper().num_evaluations


def test_precision_and_keys_of_the_stream():
    stream = NoiseStream(4)
    like = torch.zeros(2, 1, 3, dtype=torch.float32)
    assert stream.normal(like, 1, 2).dtype == torch.float32
    assert torch.equal(stream.at(1).normal(like, 2), stream.normal(like, 1, 2))
    assert not torch.equal(stream.normal(like, 1), stream.normal(like, 2))
    with pytest.raises(ValueError, match="one seed per sample, 2, got 3"):
        NoiseStream((1, 2, 3)).normal(like, 0)


def test_a_step_beyond_the_stability_limit_of_the_drift_is_refused():
    grid = Grid((32,), (1.0,))
    f = StochasticDerivative(Diffusion(0.1).on(grid), 0.1)
    with pytest.raises(ValueError, match="EulerMaruyama: dt = 0.1 is unstable.*largest stable"):
        integrate(f, torch.zeros(1, 1, 32), [0.0, 0.1], EulerMaruyama())
    integrate(f, torch.zeros(1, 1, 32), [0.0, 0.1], EulerMaruyama(), dt=1e-3)


def test_noise_is_neither_dropped_nor_missed():
    f = StochasticDerivative(lambda t, u: -u, 1.0)
    with pytest.raises(TypeError, match="needs a stepper with noise, EulerMaruyama"):
        integrate(f, torch.ones(1, 1, 1), [0.0, 1.0], RK4())
    for stepper in STEPPERS:
        with pytest.raises(
            TypeError, match=r"needs StochasticDerivative\(drift, diffusion\), got"
        ):
            integrate(lambda t, u: -u, torch.ones(1, 1, 1), [0.0, 1.0], stepper())
