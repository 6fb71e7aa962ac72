"""Pseudo-spectral solver, ETDRK: shocks of Burgers, solitons and fronts with exact solutions."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from pdesurrogates.core import Grid
from pdesurrogates.equations import AllenCahn, Burgers, KortewegDeVries, Schrodinger, exact
from pdesurrogates.reference import conserved, solve
from pdesurrogates.steppers import ETDRK

__all__ = ["rows"]

SPEEDS = (2.0, 1.0)


def rows(*, quick: bool) -> list[dict]:
    """One row per case and setting; orders from the two smallest steps."""
    cases = (cole_hopf, step_orders, two_solitons, bright_soliton, resting_front)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return [row for case in cases for row in case(quick)]
    finally:
        torch.set_default_dtype(before)


def _row(
    case: str, oracle: str, setting: str, error: float, seconds: float, order: tuple | None = None
) -> dict:
    measured, expected = order or (None, None)
    return {
        "solver": "pseudo-spectral, ETDRK",
        "case": case,
        "oracle": oracle,
        "setting": setting,
        "error": error,
        "order": measured,
        "expected_order": expected,
        "seconds": seconds,
    }


def _timed(function: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    value = function()
    return value, time.perf_counter() - start


def cole_hopf(quick: bool) -> Iterator[dict]:
    """sin x steepens into a shock of width viscosity; more points until they resolve it."""
    for n in (64, 128) if quick else (64, 128, 256):
        grid = Grid((n,), (2 * math.pi,))
        (x,) = grid.coordinates()
        u0 = torch.sin(x)[None, None]
        states, seconds = _timed(
            lambda grid=grid, u0=u0: solve(Burgers(0.1), grid, u0, [0.0, 1.0, 2.0])
        )
        error = max(
            float((states[0, i, 0] - exact.burgers_cole_hopf(x, t, viscosity=0.1)).abs().max())
            for i, t in ((1, 1.0), (2, 2.0))
        )
        setting = f"{n} points, step chosen"
        yield _row("Burgers, viscosity 0.1, t = 2", "Cole-Hopf", setting, error, seconds)


def _soliton_error(n: int, order: int, num_steps: int) -> float:
    grid = Grid((n,), (80.0,), (-40.0,))
    (x,) = grid.coordinates()
    u0 = exact.kdv_soliton(x, 0.0, speed=1.0)[None, None]
    end = solve(KortewegDeVries(), grid, u0, [0.0, 2.0], stepper=ETDRK(order), dt=2.0 / num_steps)[
        0, -1, 0
    ]
    return float((end - exact.kdv_soliton(x, 2.0, speed=1.0)).abs().max())


def step_orders(quick: bool) -> Iterator[dict]:
    """Orders in the step where the linear part disperses: its coefficients are complex."""
    n = 256
    for order, steps in ((1, 800), (2, 400), (3, 200), (4, 100)):
        steps = steps // 2 if quick else steps
        coarse = _soliton_error(n, order, steps // 2)
        fine, seconds = _timed(lambda order=order, s=steps: _soliton_error(n, order, s))
        yield _row(
            "Korteweg-de Vries soliton, t = 2",
            "exact soliton",
            f"{n} points, ETDRK({order}), {steps} steps",
            fine,
            seconds,
            (math.log2(coarse / fine), order),
        )


def two_solitons(quick: bool) -> Iterator[dict]:
    """They pass through each other, t from -6 to 6: more points, then smaller steps."""
    case = "Korteweg-de Vries, two solitons"
    before = None
    for n, dt in ((128, 0.01), (256, 0.01), (512, 0.01), (512, 0.005))[: 2 if quick else 4]:
        grid = Grid((n,), (80.0,), (-40.0,))
        (x,) = grid.coordinates()
        u0 = exact.kdv_two_solitons(x, -6.0, speeds=SPEEDS)[None, None]
        states, seconds = _timed(
            lambda grid=grid, u0=u0, dt=dt: solve(
                KortewegDeVries(), grid, u0, [-6.0, 0.0, 6.0], dt=dt
            )
        )
        end = exact.kdv_two_solitons(x, 6.0, speeds=SPEEDS)
        error = float((states[0, -1, 0] - end).abs().max())
        setting = f"{n} points, ETDRK(4), dt {dt}"
        order = (math.log2(before / error), 4) if before and dt < 0.01 else None
        yield _row(case, "Hirota's solution", setting, error, seconds, order)
        before = error
    for name, quantity in conserved(KortewegDeVries(), grid, states).items():
        yield _row(case, f"{name} is kept (relative)", setting, quantity.max_drift, seconds)


def bright_soliton(quick: bool) -> Iterator[dict]:
    grid = Grid((512,), (60.0,), (-30.0,))
    (x,) = grid.coordinates()
    u0 = exact.schrodinger_soliton(x, 0.0, velocity=1.0)[None]
    truth = exact.schrodinger_soliton(x, 2.0, velocity=1.0)

    def error(num_steps: int) -> float:
        end: Tensor = solve(Schrodinger(), grid, u0, [0.0, 2.0], dt=2.0 / num_steps)[0, -1]
        return float((end - truth).abs().max())

    steps = 50 if quick else 100
    coarse = error(steps // 2)
    fine, seconds = _timed(lambda: error(steps))
    case, setting = "Schrodinger soliton, t = 2", f"512 points, ETDRK(4), {steps} steps"
    order = (math.log2(coarse / fine), 4)
    yield _row(case, "exact soliton", setting, fine, seconds, order)


def resting_front(quick: bool) -> Iterator[dict]:
    """Two fronts that face each other rest for as long as their tails do not meet."""
    for n in (256,) if quick else (256, 512):
        grid = Grid((n,), (8.0,), (-2.0,))
        (x,) = grid.coordinates()
        up, down = (
            exact.allen_cahn_front(x, diffusivity=0.05, reaction=5.0, center=c) for c in (0.0, 4.0)
        )
        u0 = (up - down - 1)[None, None]
        states, seconds = _timed(
            lambda grid=grid, u0=u0: solve(AllenCahn(0.05, 5.0), grid, u0, [0.0, 1.0])
        )
        error = float((states[0, -1] - u0[0]).abs().max())
        yield _row("Allen-Cahn fronts, t = 1", "they rest", f"{n} points", error, seconds)
