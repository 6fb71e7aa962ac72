"""Which initial state leads to a wanted final one? Gradients through a surrogate or a solver."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from experiments.neural_stagger_walls.cases import Case
from pdesurrogates.core import Grid
from pdesurrogates.steppers import integrate, rollout
from pdesurrogates.surrogates import Surrogate

__all__ = ["control_rows"]

Forecast = Callable[[Tensor], Tensor]


def control_rows(
    case: Case, surrogate: Surrogate | None, settings: dict[str, Any], first: int
) -> list[dict[str, Any]]:
    """Optimise through the surrogate, or through ETDRK4 at several resolutions where it is `None`.

    The initial state has `num_waves` waves with free amplitudes; the target is the final state
    of an unseen one, so the best objective is 0. What counts is the objective under the solver
    with fine steps and four times the points, not the one that was minimised.
    """
    forecasts: list[tuple[str, int, torch.dtype, Forecast]] = []
    if surrogate is not None:
        surrogate.eval().requires_grad_(False)
        n = case.num_points if surrogate.grid is None else surrogate.grid.num_points[0]
        forecasts.append(("surrogate", n, torch.float32, _rolled(case, surrogate)))
    else:
        for setting in settings["classical"]:
            n, dt = setting["num_points"], setting["dt"]
            label = f"ETDRK4, {n} points, dt {dt:g}"
            forecasts.append((label, n, torch.float64, _integrated(case, n, dt)))
    finest = 4 * case.num_points
    judge = _integrated(case, finest, 0.2 / finest)
    rows = []
    for label, n, dtype, forecast in forecasts:
        for index in range(settings["num_targets"]):
            with torch.no_grad():
                wanted = judge(case.initial(finest, first + index, 1))
            found, row = _optimised(case, forecast, wanted, n, dtype, settings)
            with torch.no_grad():
                true = _objective(judge(_state(case.level(finest).grid, found)), wanted)
            rows.append({"forecast": label, "target": index, **row, "objective": float(true)})
    return rows


def _rolled(case: Case, surrogate: Surrogate) -> Forecast:
    times = [n * surrogate.dt for n in range(round(case.end / surrogate.dt) + 1)]
    return lambda u: rollout(surrogate, u, times)[:, -1]


def _integrated(case: Case, num_points: int, dt: float) -> Forecast:
    level = case.level(num_points)
    return lambda u: integrate(level.f, u, [0.0, case.end], level.stepper, dt=dt).states[:, -1]


def _state(grid: Grid, amplitudes: Tensor) -> Tensor:
    """sum_m a_m sin(2 pi m x / L) + b_m cos(2 pi m x / L), (1, 1, x)."""
    x = grid.axes()[0].to(amplitudes) / grid.extent[0]
    m = torch.arange(1, amplitudes.shape[1] + 1).to(amplitudes)
    angle = 2 * torch.pi * m[:, None] * x
    return (amplitudes[0] @ torch.sin(angle) + amplitudes[1] @ torch.cos(angle))[None, None]


def _objective(u: Tensor, wanted: Tensor) -> Tensor:
    """Mean square distance over that of the target."""
    stride = wanted.shape[-1] // u.shape[-1]
    aim = wanted[..., ::stride].to(u)
    return (u - aim).square().mean() / aim.square().mean()


def _optimised(
    case: Case,
    forecast: Forecast,
    wanted: Tensor,
    num_points: int,
    dtype: torch.dtype,
    settings: dict[str, Any],
) -> tuple[Tensor, dict[str, Any]]:
    """Amplitudes by L-BFGS from small ones, and the cost."""
    grid = case.level(num_points).grid
    amplitudes = torch.zeros(2, settings["num_waves"], dtype=dtype)
    amplitudes[0, 0] = 0.1
    amplitudes.requires_grad_(True)
    optimizer = torch.optim.LBFGS(
        [amplitudes],
        max_iter=settings["iterations"],
        history_size=20,
        tolerance_grad=1e-9,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )
    values: list[float] = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = _objective(forecast(_state(grid, amplitudes)), wanted)
        value.backward()
        values.append(float(value.detach()))
        return value

    started = time.process_time()
    optimizer.step(closure)
    return amplitudes.detach().double(), {
        "seconds": time.process_time() - started,
        "evaluations": len(values),
        "minimised": min(values),
    }
