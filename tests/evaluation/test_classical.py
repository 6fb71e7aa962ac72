"""Baselines: persistence, the floor of a stepper, and the front of the package's own solver."""

from __future__ import annotations

import math

import pytest
import torch

from pdesurrogates.core import Grid
from pdesurrogates.equations import Diffusion, KuramotoSivashinsky
from pdesurrogates.evaluation import (
    FrontPoint,
    cheapest_equal,
    classical_front,
    measure,
    oracle_floor,
    persistence,
    rmse,
)
from pdesurrogates.steppers import ETDRK, RK4, Euler, integrate


def test_persistence_repeats_the_initial_state():
    u0 = torch.randn(2, 1, 8)
    forecast = persistence(u0, [0.0, 1.0, 2.0])
    assert forecast.shape == (2, 3, 1, 8)
    assert bool((forecast == u0[:, None]).all())


def test_oracle_floor_is_the_truncation_error_of_the_stepper():
    grid, times = Grid((16,), (2 * math.pi,)), [0.0, 0.1, 0.2]
    u0 = torch.sin(grid.coordinates())[None]
    heat = Diffusion(diffusivity=1.0)
    floor = oracle_floor(heat, grid, u0, times, Euler())
    torch.testing.assert_close(floor[:, 2], u0 * 0.9**2)
    halves = oracle_floor(heat, grid, u0, times, Euler(), num_substeps=2)
    assert halves.shape == floor.shape
    torch.testing.assert_close(halves[:, 2], u0 * 0.95**4)


def test_oracle_floor_shows_instability_instead_of_refusing_it():
    grid = Grid((64,), (2 * math.pi,))
    u0 = torch.randn(1, 1, 64)
    floor = oracle_floor(Diffusion(diffusivity=1.0), grid, u0, list(range(400)), RK4())
    assert not bool(torch.isfinite(floor[:, -1]).all())


@pytest.fixture(scope="module")
def ks():
    grid = Grid((64,), (22.0,))
    x = 2 * math.pi * grid.coordinates() / 22
    phases = torch.linspace(0, 3, 3, dtype=torch.float64)[:, None, None]
    u0 = torch.cos(x + phases) + 0.5 * torch.sin(2 * x - phases)
    times = [0.2 * n for n in range(26)]
    reference = integrate(KuramotoSivashinsky().on(grid), u0, times, ETDRK(4), dt=0.01).states
    front = classical_front(KuramotoSivashinsky(), grid, u0, times, reference, num_repeats=1)
    return grid, u0, times, reference, front


def test_front_trades_error_for_time(ks):
    front = ks[-1]
    assert [p.seconds for p in front] == sorted(p.seconds for p in front)
    etd = {(p.num_points, round(p.dt, 6)): p for p in front if p.scheme == "ETDRK4"}
    assert set(etd) == {((n,), dt) for n in (64, 32, 16) for dt in (0.2, 0.1, 0.05)}
    # halving the step of a second-order method divides the error by about 4
    coarse, fine = (
        next(p for p in front if p.label == f"ETDRK2, 64 points, dt {dt}").error
        for dt in (0.1, 0.05)
    )
    assert coarse / fine == pytest.approx(4, rel=0.1)
    assert etd[(64,), 0.05].error < etd[(64,), 0.1].error < etd[(64,), 0.2].error < 1e-4
    assert etd[(16,), 0.05].error > etd[(64,), 0.05].error
    assert {p.scheme for p in front} == {"ETDRK4", "ETDRK2", "RK4"}
    explicit = [p for p in front if p.scheme == "RK4"]
    assert all(p.num_diverged == 0 for p in explicit)
    assert (64,) not in {p.num_points for p in explicit}  # unstable within 16 sub-steps


def test_front_takes_the_given_steps(ks):
    grid, u0, times, reference, _ = ks
    front = classical_front(
        KuramotoSivashinsky(), grid, u0, times, reference,
        coarsenings=(1, 16), dts=(0.2,), steppers=(ETDRK(4), RK4()), num_repeats=1,
    )  # fmt: skip
    assert [(p.scheme, p.num_points, p.dt) for p in front] == [
        ("ETDRK4", (64,), pytest.approx(0.2))
    ]
    assert front[0].label == "ETDRK4, 64 points, dt 0.2"


def _point(seconds: float, error: float, time: float) -> FrontPoint:
    return FrontPoint("RK4", (8,), 0.1, seconds, error, time, 0)


def test_cheapest_equal():
    front = [_point(3.0, 0.01, 9.0), _point(1.0, 0.5, 2.0), _point(2.0, 0.1, 5.0)]
    assert cheapest_equal(front, error=0.1) == front[2]
    assert cheapest_equal(front, correlation_time=6.0) == front[0]
    assert cheapest_equal(front, error=0.001) is None
    assert cheapest_equal(front, error=math.nan) == front[1]
    with pytest.raises(ValueError, match="give `error`"):
        cheapest_equal(front)


def test_measure_counts_repeats_and_warm_up():
    calls = []
    timing = measure(lambda: calls.append(1), num_repeats=3, num_warmup=2)
    assert len(calls) == 5 and timing.num_repeats == 3
    assert timing.fastest <= timing.seconds <= timing.slowest
    with pytest.raises(ValueError, match="num_repeats"):
        measure(lambda: None, num_repeats=0)


def test_reference_scores_perfectly_against_itself(ks):
    reference = ks[3]
    assert float(rmse(reference, reference).max()) == 0
