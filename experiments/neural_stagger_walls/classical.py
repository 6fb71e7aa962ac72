"""Classical solvers of the cases: seconds at their error, and what Crank-Nicolson can reach."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from scipy.optimize import newton_krylov
from torch import Tensor

from experiments.neural_stagger_walls.cases import Case, Channel, Level
from pdesurrogates.core import TimeDerivative
from pdesurrogates.evaluation import measure, relative_l2
from pdesurrogates.steppers import integrate
from pdesurrogates.training import step_residual

__all__ = ["classical_rows", "crank_nicolson"]


@torch.no_grad()
def classical_rows(
    case: Case, own: dict[str, Any], first: int, truth: Tensor
) -> list[dict[str, Any]]:
    """One row per resolution and step: error at the end, seconds per unit time of one sample."""
    number, rows = len(truth), []
    for setting in own["classical"]:
        n, dt = setting["num_points"], setting["dt"]
        level = case.level(n)
        u0 = case.tested(n, first, number)

        def solve(u: Tensor, end: float, level: Level = level, dt: float = dt) -> Tensor:
            return integrate(level.f, u, [0.0, end], level.stepper, dt=dt).states[:, -1]

        error = relative_l2(case.fields(solve(u0, case.end), n), truth[:, -1])
        single = u0[:1].float()
        timing = measure(lambda s=solve, u=single: s(u, case.end), num_repeats=3)

        def advance(number: int, t: float, s: Callable = solve, u: Tensor = u0) -> Tensor:
            return s(u[:number], t)

        rows.append(
            {
                "solver": f"{type(level.stepper).__name__}, {n} points per axis, dt {dt:g}",
                "relative_l2": float(error.nan_to_num(nan=math.inf).median()),
                "seconds_per_unit_time": timing.seconds / case.end,
                **case.extras(advance, n),
            }
        )
    if isinstance(case, Channel):
        rows += [_implicit(case, dt, first, truth) for dt in own["implicit_steps"]]
    few = own["crank_nicolson_tests"]
    if few:
        rows.append(_floor(case, truth[:few], first, few))
    return rows


def _implicit(case: Channel, dt: float, first: int, truth: Tensor) -> dict[str, Any]:
    """The channel is linear, so Crank-Nicolson is one matrix, made once: u_next = M u + c."""
    n = case.num_points
    f, u = case.level(n).f, case.tested(n, first, len(truth))[:, 0]
    identity = torch.eye(n, dtype=torch.float64)
    drive = f(0.0, torch.zeros(1, 1, n, dtype=torch.float64))[0, 0]
    # Columns of the linear part; rows of the walls are zero, so walls keep their value.
    linear = (f(0.0, identity[:, None])[:, 0] - drive).T
    ahead = torch.linalg.inv(identity - dt / 2 * linear)
    matrix, shift = (ahead @ (identity + dt / 2 * linear)).T, ahead @ (dt * drive)

    def solve(u: Tensor) -> Tensor:
        for _ in range(round(case.end / dt)):
            u = u @ matrix + shift
        return u

    error = relative_l2(solve(u)[:, None], truth[:, -1])
    timing = measure(lambda: solve(u[:1]), num_repeats=5)
    return {
        "solver": f"Crank-Nicolson as one matrix, {n} points, dt {dt:g}",
        "relative_l2": float(error.median()),
        "seconds_per_unit_time": timing.seconds / case.end,
    }


def _floor(case: Case, truth: Tensor, first: int, number: int) -> dict[str, Any]:
    """The exact minimiser of the loss on the fine grid with the fine step."""
    level, n = case.level(case.num_points), case.num_points
    u = case.tested(n, first, number)
    for _ in case.times[1:]:
        u = torch.cat([crank_nicolson(level.f, one[None], case.dt) for one in u])
    error = relative_l2(case.fields(u, n), truth[:, -1])
    return {
        "solver": f"exact Crank-Nicolson, {n} points per axis, dt {case.dt:g}, {number} samples",
        "relative_l2": float(error.median()),
    }


def crank_nicolson(f: TimeDerivative, u: Tensor, dt: float) -> Tensor:
    """The u_next with step_residual = 0, by Newton's method and Krylov solves."""

    def residual(values: Any) -> Any:
        u_next = torch.as_tensor(values).reshape(u.shape)
        return (dt * step_residual(f, u, u_next, dt=dt)).flatten().numpy()

    tolerance = 1e-6 * float(u.abs().max())
    found = newton_krylov(residual, u.flatten().numpy(), f_tol=tolerance, method="lgmres")
    return torch.as_tensor(found).reshape(u.shape)
