"""Orders, stability limits and call counts of every stepper."""

import math

import pytest
import torch

from pdesurrogates.core import Grid
from pdesurrogates.equations import Advection, Burgers, Diffusion, KortewegDeVries, exact
from pdesurrogates.steppers import (
    ETDRK,
    RK4,
    SSPRK3,
    AdamsBashforth,
    BogackiShampine,
    Dopri5,
    Euler,
    Heun,
    Midpoint,
    Tsit5,
    integrate,
    rollout,
)

RUNGE_KUTTA = [Euler(), Midpoint(), Heun(), SSPRK3(), RK4(), BogackiShampine(), Dopri5(), Tsit5()]
EXPLICIT = [*RUNGE_KUTTA, AdamsBashforth(2), AdamsBashforth(3), AdamsBashforth(4)]


def observed_order(errors):
    """Slope of log2(error) for a step size halved at each entry."""
    e = torch.tensor(errors).log2()
    n = torch.arange(len(errors), dtype=e.dtype)
    n = n - n.mean()
    return float(-(n @ (e - e.mean())) / (n @ n))


@pytest.mark.parametrize("stepper", EXPLICIT, ids=str)
def test_order_with_time_dependent_derivative(stepper):
    # u' = u cos t, u = exp(sin t): wrong nodes show as well as wrong weights.
    u0, end = torch.ones(1, 1, 1), 1.3
    truth = math.exp(math.sin(end))

    def error(n):
        f = lambda t, u: u * math.cos(t)  # noqa: E731
        return abs(float(integrate(f, u0, [0.0, end], stepper, dt=end / n).states[0, 1]) - truth)

    counts = (16, 32, 64) if stepper.order == 5 else (40, 80, 160, 320)
    errors = [error(n) for n in counts]
    assert abs(observed_order(errors) - stepper.order) < 0.3, errors
    assert errors[-1] < {1: 3e-3, 2: 4e-5, 3: 2e-7, 4: 4e-9, 5: 1e-9}[stepper.order]


@pytest.mark.parametrize("stepper", EXPLICIT, ids=str)
def test_order_on_a_linear_system(stepper):
    A = torch.tensor([[0.0, 1.0], [-1.0, -0.1]])
    u0 = torch.tensor([1.0, 0.0])
    truth = torch.linalg.matrix_exp(A) @ u0
    errors = [
        float(
            (
                integrate(
                    lambda t, u: u @ A.T, u0[None, None], [0.0, 1.0], stepper, dt=1 / n
                ).states[0, -1, 0]
                - truth
            ).norm()
        )
        for n in (8, 16, 32, 64)
    ]
    assert abs(observed_order(errors) - stepper.order) < 0.25, errors


@pytest.mark.parametrize("stepper", RUNGE_KUTTA, ids=str)
def test_tableau_order_conditions(stepper):
    tableau = stepper.tableau
    size = len(tableau.b)
    a = torch.zeros(size, size)
    for i, row in enumerate(tableau.a):
        a[i, :i] = torch.tensor(row)
    b, c = torch.tensor(tableau.b), a.sum(dim=1)

    def satisfied(b, order):
        conditions = {
            1: [(b.sum(), 1)],
            2: [(b @ c, 1 / 2)],
            3: [(b @ c**2, 1 / 3), (b @ a @ c, 1 / 6)],
            4: [
                (b @ c**3, 1 / 4),
                ((b * c) @ a @ c, 1 / 8),
                (b @ a @ c**2, 1 / 12),
                (b @ a @ a @ c, 1 / 24),
            ],
            5: [(b @ c**4, 1 / 5), (b @ a @ a @ a @ c, 1 / 120), (b @ a @ c**3, 1 / 20)],
        }
        return all(
            abs(float(value) - target) < 1e-12
            for n in range(1, order + 1)
            for value, target in conditions[n]
        )

    assert satisfied(b, tableau.order)
    assert tableau.order == 5 or not satisfied(b, tableau.order + 1)
    if tableau.b_embedded is not None:
        assert satisfied(torch.tensor(tableau.b_embedded), tableau.order - 1)


@pytest.mark.parametrize(
    "stepper, real, imaginary",
    [
        (Euler(), 2.000, None),
        (Heun(), 2.000, None),
        (SSPRK3(), 2.513, 1.732),
        (BogackiShampine(), 2.513, 1.732),
        (RK4(), 2.785, 2.828),
        (Dopri5(), 3.307, 0.997),
        (Tsit5(), 3.506, 0.478),
        (AdamsBashforth(2), 1.000, None),
        (AdamsBashforth(3), 6 / 11, 0.724),
        (AdamsBashforth(4), 0.300, 0.430),
    ],
    ids=str,
)
def test_stability_limits(stepper, real, imaginary):
    for limit, direction in ((real, -1.0), (imaginary, 1j)):
        if limit is not None:
            z = torch.tensor([0.99 * limit, 1.01 * limit], dtype=torch.complex128) * direction
            inside, outside = stepper.amplification(z).tolist()
            assert inside <= 1 < outside


@pytest.mark.parametrize("stepper", [*EXPLICIT, ETDRK(1), ETDRK(2), ETDRK(3), ETDRK(4)], ids=str)
def test_number_of_calls(stepper):
    f = Burgers(0.5).on(Grid((8,), (2 * math.pi,)))
    calls = []
    original = f.nonlinear
    counted = lambda t, u: calls.append(t) or original(t, u)  # noqa: E731
    if isinstance(stepper, ETDRK):
        f.nonlinear = counted
        bound = stepper.bind(f)
    else:
        bound = stepper.bind(lambda t, u: calls.append(t) or -u)
    state = bound.initial_state(0.0, torch.ones(1, 1, 8))
    for n in range(6):
        state = bound(n * 0.1, state, 0.1)
    calls.clear()
    bound(0.6, state, 0.1)
    assert len(calls) == stepper.num_evaluations
    assert calls[0] == 0.6


def test_stage_times_of_rk4():
    times = []
    RK4().step(lambda t, u: times.append(t) or u, 1.0, torch.ones(1, 1, 1), 0.5)
    assert times == [1.0, 1.25, 1.25, 1.5]


def test_rk4_by_tableau_is_rk4_by_hand():
    def f(t, u):
        return torch.sin(u) + t

    t, dt, u = 0.3, 0.1, torch.randn(2, 1, 4)
    k1 = f(t, u)
    k2 = f(t + dt / 2, u + dt / 2 * k1)
    k3 = f(t + dt / 2, u + dt / 2 * k2)
    k4 = f(t + dt, u + dt * k3)
    by_hand = u + dt * (k1 + 2 * k2 + 2 * k3 + k4) / 6
    assert torch.allclose(RK4().step(f, t, u, dt), by_hand, atol=1e-15)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_exponential_order_with_imaginary_linear_part(order):
    """KdV two solitons: real parts of the coefficients would give order 1."""
    grid = Grid((256,), (80.0,), (-40.0,))
    x = grid.coordinates()[0]
    f = KortewegDeVries().on(grid)
    speeds = (2.0, 1.0)
    u0 = exact.kdv_two_solitons(x, 0.0, speeds=speeds)[None, None]
    finest = integrate(f, u0, [0.0, 0.4], ETDRK(4), dt=1e-3).states[0, -1]
    counts = {1: (64, 128, 256), 2: (16, 32, 64), 3: (16, 32, 64), 4: (16, 32, 64)}[order]
    errors = [
        float(
            (integrate(f, u0, [0.0, 0.4], ETDRK(order), dt=0.4 / n).states[0, -1] - finest).norm()
        )
        for n in counts
    ]
    assert abs(observed_order(errors) - order) < 0.35, errors


def test_exponential_steps_are_exact_for_linear_equations():
    grid = Grid((32,), (2 * math.pi,))
    x = grid.coordinates()[0]
    u0 = torch.sin(3 * x)[None, None]
    diffused = rollout(ETDRK(1).bind(Diffusion(0.2).on(grid)), u0, [0.0, 5.0])[0, 1, 0]
    assert torch.allclose(diffused, math.exp(-0.2 * 9 * 5) * torch.sin(3 * x), atol=1e-14)
    shifted = rollout(ETDRK(4).bind(Advection(1.3).on(grid)), u0, [0.0, 5.0])[0, 1, 0]
    assert torch.allclose(shifted, torch.sin(3 * (x - 6.5)), atol=1e-13)


def test_unstable_step_names_the_largest_stable_one():
    f = Diffusion(1.0).on(Grid((64,), (2 * math.pi,)))
    u0 = torch.zeros(1, 1, 64)
    limit = 2.785 / 32**2
    with pytest.raises(ValueError, match=r"RK4: dt = 0.01 is unstable .* stable step is 0.00272"):
        integrate(f, u0, [0.0, 0.1], RK4(), dt=0.01)
    integrate(f, u0, [0.0, 0.01], RK4(), dt=0.99 * limit)
    integrate(f, u0, [0.0, 0.1], ETDRK(4), dt=0.1)


def test_exponential_stepper_needs_a_linear_part():
    with pytest.raises(TypeError, match="use RK4"):
        ETDRK(4).bind(lambda t, u: -u)


@pytest.mark.parametrize(
    "make, text",
    [(lambda: AdamsBashforth(1), "order 1 is Euler"), (lambda: ETDRK(5), "must be one of")],
)
def test_impossible_orders_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()
