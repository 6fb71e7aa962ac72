"""The time loop: landing, memory, invariances, gradients, refusals."""

import math
import warnings

import pytest
import torch

from pdesurrogates.core import Grid
from pdesurrogates.equations import Burgers, KuramotoSivashinsky
from pdesurrogates.steppers import ETDRK, RK4, AdamsBashforth, Euler, Heun, integrate, rollout


def test_first_entry_is_the_initial_state_and_steps_follow():
    u0 = torch.randn(2, 1, 4)
    trajectory = rollout(lambda t, u, dt: u + dt, u0, [0.0, 0.5, 2.0])
    assert trajectory.shape == (2, 3, 1, 4)
    assert torch.equal(trajectory[:, 0], u0)
    assert torch.allclose(trajectory[:, 2], u0 + 2.0)


def test_times_and_steps_given_to_the_map():
    calls = []
    rollout(lambda t, u, dt: calls.append((t, dt)) or u, torch.zeros(1, 1, 1), [1.0, 1.5, 3.0])
    assert calls == [(1.0, 0.5), (1.5, 1.5)]


def test_times_of_each_trajectory():
    times = torch.tensor([[0.0, 1.0, 2.0], [0.0, 0.5, 1.0]])
    states = rollout(RK4().bind(lambda t, u: -u), torch.ones(2, 1, 1), times)
    alone = rollout(RK4().bind(lambda t, u: -u), torch.ones(1, 1, 1), [0.0, 0.5, 1.0])
    assert torch.allclose(states[1], alone[0])
    with pytest.raises(ValueError, match="one row per trajectory"):
        rollout(RK4().bind(lambda t, u: -u), torch.ones(3, 1, 1), times)


@pytest.mark.parametrize("stepper", [Heun(), AdamsBashforth(3), ETDRK(4)], ids=str)
def test_per_sample_steps_equal_single_runs(stepper):
    f = Burgers(0.1).on(Grid((16,), (2 * math.pi,)))
    u0 = torch.randn(2, 1, 16)
    dt = torch.tensor([0.01, 0.02])
    bound = stepper.bind(f)
    state = bound.initial_state(0.0, u0)
    for n in range(4):
        state = bound(n * dt, state, dt)
    for i, size in enumerate(dt.tolist()):
        times = [n * size for n in range(5)]
        alone = rollout(stepper.bind(f), u0[i : i + 1], times)[0, -1]
        assert torch.allclose(bound.observe(state)[i], alone, atol=1e-12)


@pytest.mark.parametrize("stepper", [RK4(), AdamsBashforth(4), ETDRK(4)], ids=str)
def test_a_sample_alone_is_the_sample_in_the_batch(stepper):
    f = KuramotoSivashinsky().on(Grid((32,), (32.0,)))
    u0 = torch.randn(4, 1, 32)
    times = [0.0, 1e-3, 2e-3]
    together = rollout(stepper.bind(f), u0, times)
    alone = rollout(stepper.bind(f), u0[2:3], times)
    assert torch.allclose(together[2:3], alone, atol=1e-13, rtol=0)


def test_integrate_lands_on_every_time_and_counts():
    u0 = torch.ones(1, 1, 1)
    times = [0.0, 0.1, 0.35, 0.351, 1.0]
    solution = integrate(lambda t, u: -u, u0, times, RK4(), dt=0.05)
    exact = torch.exp(-torch.tensor(times))
    assert torch.allclose(solution.states[0, :, 0, 0], exact, atol=1e-7)
    assert solution.stats["num_steps"] == 2 + 5 + 1 + 13
    assert solution.stats["num_evaluations"] == 4 * 21
    assert solution.stats["dt"] <= 0.05 + 1e-12


def test_one_coefficient_table_for_equal_output_intervals():
    f = Burgers(0.1).on(Grid((16,), (2 * math.pi,)))
    bound = ETDRK(4).bind(f)
    built = []
    original = bound._build
    bound._build = lambda hat, dt: built.append(dt) or original(hat, dt)
    rollout(bound, torch.zeros(1, 1, 16), [n * 0.1 for n in range(50)])
    assert len(built) == 1


def test_history_restarts_when_the_step_changes():
    f = lambda t, u: -u  # noqa: E731
    bound = AdamsBashforth(2).bind(f)
    state = bound.initial_state(0.0, torch.ones(1, 1, 1))
    state = bound(0.0, state, 0.1)
    state = bound(0.1, state, 0.1)
    changed = bound(0.2, state, 0.05)
    assert torch.allclose(changed.u, Heun().step(f, 0.2, state.u, 0.05))


def test_start_of_adams_bashforth_reuses_the_first_slope():
    calls = []
    bound = AdamsBashforth(4).bind(lambda t, u: calls.append(t) or -u)
    bound(0.0, bound.initial_state(0.0, torch.ones(1, 1, 1)), 0.1)
    assert len(calls) == 4


@pytest.mark.parametrize(
    "stepper", [RK4(), AdamsBashforth(3), ETDRK(2), ETDRK(3), ETDRK(4)], ids=str
)
def test_gradient_through_a_solve_matches_finite_differences(stepper):
    f = Burgers(0.1).on(Grid((8,), (2 * math.pi,)))
    u0 = torch.randn(1, 1, 8, requires_grad=True)

    def final(u0):
        return rollout(stepper.bind(f), u0, [0.0, 0.05, 0.1, 0.15, 0.2])[:, -1]

    assert torch.autograd.gradcheck(final, (u0,))


def test_dtype_follows_the_input():
    f = Burgers(0.1).on(Grid((8,), (2 * math.pi,)))
    for dtype in (torch.float32, torch.float64):
        u0 = torch.randn(1, 1, 8, dtype=dtype)
        for stepper in (RK4(), AdamsBashforth(2), ETDRK(4)):
            assert rollout(stepper.bind(f), u0, [0.0, 0.1, 0.2]).dtype == dtype


def test_no_value_is_read_back_in_the_loop():
    """Meta tensors have no values: a device-to-host copy in the loop would fail."""
    u0 = torch.empty(2, 1, 16, device="meta")
    for stepper in (RK4(), AdamsBashforth(4)):
        states = rollout(stepper.bind(lambda t, u: -u), u0, [0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
        assert states.device.type == "meta"


def test_fixed_steps_compile_to_what_they_are():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        step = torch.compile(
            RK4().bind(lambda t, u: torch.sin(u)).__call__, backend="eager", fullgraph=True
        )
        u0 = torch.randn(1, 1, 8)
        expected = RK4().step(lambda t, u: torch.sin(u), 0.0, u0, 0.1)
        assert torch.allclose(step(0.0, u0, 0.1), expected)


@pytest.mark.parametrize(
    "options, text",
    [
        ({"rtol": 1e-6}, "fixed step"),
        ({"dt": 0.0}, "`dt` must be positive"),
        ({"dt": math.nan}, "`dt` must be positive"),
    ],
)
def test_impossible_options_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        integrate(lambda t, u: u, torch.zeros(1, 1, 1), [0.0, 1.0], Euler(), **options)


def test_states_without_batch_axis_are_refused():
    with pytest.raises(ValueError, match=r"u0\[None\]"):
        rollout(lambda t, u, dt: u, torch.zeros(3), [0.0, 1.0])
