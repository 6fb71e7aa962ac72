"""Pseudo-spectral solver: two-dimensional flow with known answers, phase shifts, and exponax.

Shocks, solitons and fronts with grid and step refinement are in solitons.py. The exponax rows are
left out where that package (extra `compare`) is not installed.
"""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from pdesurrogates.core import Grid
from pdesurrogates.equations import (
    Burgers,
    Equation,
    KortewegDeVries,
    KuramotoSivashinsky,
    NavierStokesVorticity,
    Schrodinger,
    exact,
)
from pdesurrogates.reference import conserved, random_initial_condition, solve
from pdesurrogates.steppers import ETDRK, integrate

__all__ = ["rows"]

BOX = (2 * math.pi, 2 * math.pi)


def rows(*, quick: bool) -> list[dict]:
    """One row per case and setting; orders from the two smallest steps."""
    cases = [taylor_green, kolmogorov, inviscid, turning_flow, phase_shifts, revival]
    if importlib.util.find_spec("exponax") is not None:
        cases.append(beside_exponax)
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


def _largest(difference: Tensor) -> float:
    return float(difference.abs().max())


def taylor_green(quick: bool) -> Iterator[dict]:
    """w = 2 cos x cos y decays and keeps its shape: the rows show rounding."""
    for n in (32,) if quick else (32, 128):
        grid = Grid((n, n), BOX)
        x, y = grid.coordinates()
        w = (2 * torch.cos(x) * torch.cos(y))[None, None]
        states, seconds = _timed(
            lambda grid=grid, w=w: solve(NavierStokesVorticity(0.05), grid, w, [0.0, 10.0], dt=0.1)
        )
        error = _largest(states[:, -1] - math.exp(-2 * 0.05 * 10) * w)
        case, setting = "Taylor-Green vortices 2D, t = 10", f"{n}^2, ETDRK(4), dt 0.1"
        yield _row(case, "exact decay", setting, error, seconds)


def kolmogorov(quick: bool) -> Iterator[dict]:
    """The laminar flow A sin(k y) / (viscosity k^2 + drag) rests, below its instability."""
    grid = Grid((32, 64), BOX)
    y = grid.coordinates()[1]
    equation = NavierStokesVorticity(0.2, 0.1, 1.0, 4)
    w = (-4 / (0.2 * 16 + 0.1) * torch.cos(4 * y))[None, None]
    states, seconds = _timed(lambda: solve(equation, grid, w, [0.0, 10.0], dt=0.05))
    error = _largest(states[:, -1] - w)
    setting = "32 x 64, ETDRK(4), dt 0.05"
    yield _row("laminar Kolmogorov flow, t = 10", "it rests", setting, error, seconds)


def inviscid(quick: bool) -> Iterator[dict]:
    """Without viscosity the truncated flow keeps energy and enstrophy; the step loses some."""
    n = 64
    grid = Grid((n, n), BOX)
    w = random_initial_condition(grid, 2, max_wavenumber=6, rms=2.0)
    equation = NavierStokesVorticity(0.0)
    rate = equation.on(grid)(0.0, w)
    size = float((rate.square().sum() * w.square().sum()).sqrt())
    case, oracle = "inviscid flow 2D", "rate of a kept quantity is zero (relative)"
    yield _row(case, oracle, f"enstrophy, {n}^2", _largest((rate * w).sum((1, 2, 3))) / size, 0.0)
    for dt in (0.01, 0.005):
        states, seconds = _timed(
            lambda dt=dt: integrate(equation.on(grid), w, [0.0, 1.0], ETDRK(4), dt=dt).states
        )
        for name, quantity in conserved(equation, grid, states).items():
            setting = f"{name}, {n}^2, ETDRK(4), dt {dt}"
            yield _row(f"{case}, t = 1", "kept (relative)", setting, quantity.max_drift, seconds)


def turning_flow(quick: bool) -> Iterator[dict]:
    """Order in the step of a forced flow far from rest, against a step eight times smaller."""
    n = 32 if quick else 64
    grid = Grid((n, n), BOX)
    w = random_initial_condition(grid, 1, rms=2.0)
    f = NavierStokesVorticity(0.02, 0.1, 1.0, 4).on(grid)

    def end(order: int, dt: float) -> Tensor:
        return integrate(f, w, [0.0, 1.0], ETDRK(order), dt=dt).states[:, -1]

    truth = end(4, 0.05 / 32)
    for order in (1, 2, 3, 4):
        coarse = _largest(end(order, 0.025) - truth)
        fine, seconds = _timed(lambda order=order: _largest(end(order, 0.0125) - truth))
        measured = (math.log2(coarse / fine), order)
        setting = f"{n}^2, ETDRK({order}), dt 0.0125"
        yield _row(
            "Kolmogorov flow, t = 1", "ETDRK(4), dt 0.0016", setting, fine, seconds, measured
        )


def phase_shifts(quick: bool) -> Iterator[dict]:
    """After the meeting both are as high as before, the fast one ahead, the slow one behind."""
    speeds, times = (2.0, 1.0), [-6.0, 14.0]
    k1, k2 = (math.sqrt(speed) for speed in speeds)
    shift = 2 * math.log((k1 + k2) / (k1 - k2))
    for n, dt in ((256, 0.02),) if quick else ((256, 0.02), (512, 0.01)):
        grid = Grid((n,), (80.0,), (-40.0,))
        (x,) = grid.coordinates()
        u0 = exact.kdv_two_solitons(x, times[0], speeds=speeds)[None, None]
        states, seconds = _timed(
            lambda grid=grid, u0=u0, dt=dt: solve(KortewegDeVries(), grid, u0, times, dt=dt)
        )
        end = states[0, -1, 0]
        heights, places = _peaks(end, grid)
        case, setting = "Korteweg-de Vries, two solitons, t = 14", f"{n} points, dt {dt}"
        error = max(abs(h - s / 2) for h, s in zip(heights, speeds, strict=True))
        yield _row(case, "heights c/2 as before", setting, error, seconds)
        # At t = -6 and before the fast one is at c t, the slow one at c t + shift / k.
        fast = places[0] - speeds[0] * 14.0 - shift / k1
        slow = places[1] - speeds[1] * 14.0
        yield _row(case, "phase shifts", setting, max(abs(fast), abs(slow)), seconds)


def _peaks(u: Tensor, grid: Grid) -> tuple[list[float], list[float]]:
    """Heights and places of the two highest maxima: Fourier interpolation, then parabolas."""
    factor = 64
    n = factor * grid.num_points[0]
    fine = torch.fft.irfft(torch.fft.rfft(u), n=n) * factor
    below, above = fine.roll(1), fine.roll(-1)
    found = ((fine > below) & (fine >= above)).nonzero().flatten()
    best = found[fine[found].argsort(descending=True)[:2]]
    slope, bend = above - below, below - 2 * fine + above
    places = grid.origin[0] + grid.extent[0] / n * (best - (slope / (2 * bend))[best])
    return (fine - slope**2 / (8 * bend))[best].tolist(), places.tolist()


def revival(quick: bool) -> Iterator[dict]:
    """Without interaction a wave packet on a ring of length 2 pi comes back after t = 4 pi."""
    grid = Grid((64,), (2 * math.pi,))
    (x,) = grid.coordinates()
    psi = torch.stack([torch.exp(torch.cos(x)) * torch.cos(3 * x), torch.sin(x - 1)])[None]
    end, seconds = _timed(
        lambda: solve(Schrodinger(nonlinearity=0.0), grid, psi, [0.0, 4 * math.pi], dt=0.5)
    )
    case, setting = "Schrodinger without interaction, t = 4 pi", "64 points, ETDRK(4), dt 0.5"
    yield _row(case, "revival", setting, _largest(end[:, -1] - psi), seconds)


def beside_exponax(quick: bool) -> Iterator[dict]:
    """The same scheme in another package, with the same modes kept."""
    import exponax
    import jax

    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    try:
        yield from _against_exponax(exponax.stepper, exponax.repeat)
    finally:
        jax.config.update("jax_enable_x64", before)


def _against_exponax(steppers: Any, repeat: Callable) -> Iterator[dict]:
    # exponax keeps m <= fraction n/2 - 1; with these n that is m < n/3, as here.
    n = 64
    fraction = {"dealiasing_fraction": (math.ceil(n / 3) + 0.5) / (n // 2)}
    extent = 2 * math.pi
    kwargs: dict[str, Any] = {"order": 4, **fraction}
    flow = {"diffusivity": 1e-2, **kwargs}
    cases: list[tuple[str, Equation, Any, Grid, float, float]] = [
        (
            "Kuramoto-Sivashinsky",
            KuramotoSivashinsky(),
            steppers.KuramotoSivashinskyConservative(
                1, 22.0, n, 0.05, single_channel=True, **kwargs
            ),
            Grid((n,), (22.0,)),
            0.05,
            1.0,
        ),
        (
            "Burgers, viscosity 0.05",
            Burgers(0.05),
            steppers.Burgers(
                1,
                extent,
                n,
                0.05,
                diffusivity=0.05,
                single_channel=True,
                conservative=True,
                **kwargs,
            ),
            Grid((n,), (extent,)),
            0.05,
            1.0,
        ),
        (
            "decaying vorticity",
            NavierStokesVorticity(1e-2),
            steppers.NavierStokesVorticity(2, extent, n, 0.01, **flow),
            Grid((n, n), BOX),
            0.01,
            -1.0,
        ),
        (
            "Kolmogorov flow",
            NavierStokesVorticity(1e-2, 0.1, 1.0, 4),
            steppers.KolmogorovFlowVorticity(
                2, extent, n, 0.01, drag=-0.1, injection_mode=4, injection_scale=-1.0, **flow
            ),
            Grid((n, n), BOX),
            0.01,
            -1.0,
        ),
    ]
    for name, equation, theirs, grid, dt, sign in cases:
        u0 = random_initial_condition(grid, 1)
        end = sign * torch.from_numpy(
            repeat(theirs, 100)((sign * u0[0]).numpy()).__array__().copy()
        )
        run = lambda e=equation, g=grid, u=u0, h=dt: integrate(  # noqa: E731
            e.on(g), u, [0.0, 100 * h], ETDRK(4), dt=h
        )
        solution, seconds = _timed(run)
        error = _largest(solution.states[0, -1] - end)
        setting = f"{' x '.join(str(m) for m in grid.num_points)}, ETDRK(4), dt {dt}, 100 steps"
        yield _row(name, "exponax, same modes", setting, error, seconds)
