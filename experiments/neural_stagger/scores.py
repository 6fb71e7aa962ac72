"""How good a network is, what it costs, and what the classical solvers do."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from experiments.campaign import mean_or_inf
from experiments.neural_stagger.cases import TEST_SEED, Problem, build_arm, make
from experiments.neural_stagger.crank_nicolson import CrankNicolsonSolver
from pdesurrogates.core import Grid
from pdesurrogates.evaluation import (
    aliasing_probe,
    amplification,
    chain_splitting,
    checkerboard_index,
    critical_path,
    measure,
    relative_l2,
    resample,
    spectral_error,
)
from pdesurrogates.steppers import ETDRK, RK4, rollout
from pdesurrogates.surrogates import NeuralStagger
from pdesurrogates.training import step_residual

__all__ = ["classical_rows", "costs", "scores"]


def scores(surrogate: NeuralStagger, problem: Problem, num_fields: int) -> dict[str, Any]:
    """Errors on unseen fields at the end of the horizon, and the diagnostics of interleaving."""
    fine = Problem(problem.case)
    u0 = fine.initial(num_fields, seed=TEST_SEED)
    truth = fine.truth(u0)[:, :: problem.step]
    model = copy.deepcopy(surrogate).cpu()
    f, start = problem.bound(), ETDRK(4).bind(problem.bound())
    with torch.no_grad():
        coarse = rollout(
            model.with_start(start), resample(u0, problem.grid.num_points).float(), problem.times
        ).double()
        prediction = resample(coarse, fine.grid.num_points)
        residual = step_residual(f, coarse[:, -2], coarse[:, -1], dt=problem.dt)
        rate = f(0.0, coarse[:, -1])
    errors = relative_l2(prediction, truth)[:, -1]
    bands = spectral_error(prediction[:, -1], truth[:, -1], grid=fine.grid)
    space = model.space
    return {
        "median": float(errors.nan_to_num(nan=float("inf")).median()),
        "mean": mean_or_inf(errors),
        "errors": errors.tolist(),
        "diverged": int((~(errors < 10)).sum()),
        "curve": relative_l2(prediction, truth).median(dim=0).values.tolist(),
        "spectral_error": bands.median(dim=0).values.tolist(),
        "residual": float(residual.norm() / rate.norm()),
        "checkerboard": float(checkerboard_index(coarse[:, -1], space).max()),
        "checkerboard_truth": float(
            checkerboard_index(resample(truth[:, -1], problem.grid.num_points), space).max()
        ),
        "splitting": float(chain_splitting(coarse[:, -5:]).median()),
        "splitting_truth": float(chain_splitting(truth[:, -5:]).median()),
        **_probes(model, problem),
    }


def _probes(model: NeuralStagger, problem: Problem) -> dict[str, Any]:
    """Answer to single waves of the size of the fields, one network call."""
    span, space = model.dt * model.time, model.space
    step, dtype = _OneCall(model), torch.float32
    found: dict[str, Any] = {
        "growth_of_waves": float(amplification(step, problem.grid, dt=span, dtype=dtype).max())
    }
    if space[0] > 1:
        probe = aliasing_probe(step, problem.grid, space, dt=span, dtype=dtype)
        found["alias_distinction"] = probe.distinction
    return found


class _OneCall:
    """A network call as a one-step map over k dt."""

    def __init__(self, model: NeuralStagger) -> None:
        self.model = model

    def __call__(self, t: float | Tensor, u: Tensor, dt: float | Tensor) -> Tensor:
        return self.model.predict_next(u)


def costs(case: dict[str, Any], arm: dict[str, Any]) -> dict[str, Any]:
    """Parameters, work and times per step of the case: batch of one, CPU, one thread."""
    problem = Problem(case, arm.get("coarse", 1), arm.get("step", 1))
    model = build_arm(case, arm, seed=0).eval()
    u = problem.initial(1, seed=TEST_SEED).float()
    steps_per_call = model.time * problem.step
    with torch.no_grad():
        path = critical_path(model.sub_calls(u), num_repeats=60, num_warmup=5)
        frames = u[:, None].expand(-1, model.time, *u.shape[1:]).contiguous()
        whole = measure(lambda: model.predict_frames(frames), num_repeats=60, num_warmup=5)
        with FlopCounterMode(display=False) as one:
            model.sub_calls(u)[0]()
        with FlopCounterMode(display=False) as every:
            model.predict_next(u)
    return {
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "sub_networks": len(path.timings),
        "critical_path_seconds": path.seconds / steps_per_call,
        "all_sub_networks_seconds": path.total / steps_per_call,
        "step_seconds": whole.seconds / model.time / problem.step,
        "flops": every.get_total_flops() / steps_per_call,
        "flops_on_the_path": one.get_total_flops() / steps_per_call,
    }


def classical_rows(case: dict[str, Any], num_fields: int) -> dict[str, Any]:
    """No change, exact Crank-Nicolson, and explicit solvers on the fine and the coarse grid."""
    problem = Problem(case)
    u0, grid = problem.initial(num_fields, seed=TEST_SEED), problem.grid
    truth = problem.truth(u0)[:, -1]

    def row(u: Tensor, seconds: float | None = None) -> dict[str, Any]:
        errors = relative_l2(resample(u, grid.num_points), truth)
        return {
            "median": float(errors.nan_to_num(nan=float("inf")).median()),
            "seconds_per_field": seconds,
        }

    with torch.no_grad():
        exact = rollout(CrankNicolsonSolver(problem.bound()), u0, problem.times)[:, -1]
    rows = {"no change": row(u0), f"exact Crank-Nicolson, dt {problem.dt:g}": row(exact)}
    for factor in (1, 2):
        place = grid.resized([n // factor for n in grid.num_points])
        for stepper in (RK4(), ETDRK(4)):
            for steps in (4, 8, 16):
                name = f"{type(stepper).__name__}, {place.num_points[0]} points, {steps} steps"
                rows[name] = row(*_solved(problem, place, stepper, steps, u0))
    return {name: found for name, found in rows.items() if found["median"] < 1e3}


def _solved(
    problem: Problem, grid: Grid, stepper: Any, steps: int, u0: Tensor
) -> tuple[Tensor, float]:
    """Final states, and seconds for one field (batch of one, float64)."""
    bound = stepper.bind(make(problem.case["equation"]).on(grid))
    times = [problem.times[-1] * n / steps for n in range(steps + 1)]
    start = resample(u0, grid.num_points)
    with torch.no_grad():
        final = rollout(bound, start, times)[:, -1]
        seconds = measure(lambda: rollout(bound, start[:1], times), num_repeats=20).seconds
    return final, seconds
