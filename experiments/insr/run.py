"""Advection and Burgers by networks whose weights take classical time steps.

    python -m experiments.insr.run CONFIG.yaml OUTPUT [--jobs 2] [--quick]

Run from the root of the repository. Every solve is one JSON file in OUTPUT, and its weights are
saved after every step: what exists is not repeated, a killed run continues. The last act gathers
them, with floors and grid baselines, in OUTPUT/results.json.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from experiments.campaign import provenance, read_records, run_all, write_record
from experiments.insr.baselines import (
    advection_floor,
    advection_grids,
    bump,
    burgers_floor,
    burgers_solution,
    burgers_start,
    relative,
)
from pdesurrogates.backbones import SIREN, MultiresolutionGrid
from pdesurrogates.core import Box, Dirichlet, Grid
from pdesurrogates.equations import Advection, Burgers, Equation
from pdesurrogates.neural_fields import (
    Adam,
    GaussNewton,
    INSRSolver,
    NeuralTrajectory,
    Optimiser,
    SoftBoundary,
    StepControl,
)
from pdesurrogates.operators import JetDerivatives
from pdesurrogates.sampling import RAD, Sampler

NUM_SCORED = 4001


def optimiser_of(arm: dict[str, Any]) -> Optimiser:
    """Gauss-Newton, or Adam with its numbers."""
    options = arm.get("adam")
    if options is None:
        return GaussNewton(**{"step_damping": 1e-4, **arm.get("gauss_newton", {})})
    return Adam(**options)


def network_of(arm: dict[str, Any], seed: int) -> nn.Module:
    """A sine network, or splines on grids."""
    torch.manual_seed(seed)
    if "grid" in arm:
        return MultiresolutionGrid(1, 1, **arm["grid"])
    return SIREN(1, 1, **arm.get("siren", {}))


def solve(job: dict[str, Any]) -> NeuralTrajectory:
    """One solve of a case by an arm."""
    case, arm = job["case"], job["arm"]
    is_advection = job["kind"] == "advection"
    origin, extent = (case["origin"], case["extent"]) if is_advection else (-1.0, 2.0)
    grid = Grid((NUM_SCORED,), (extent,), (origin,), periodic=False)
    equation: Equation = (
        Advection(case["velocity"]) if is_advection else Burgers(case["viscosity"])
    )

    def u0(x: Tensor) -> Tensor:
        return bump(case)(x, 0.0) if is_advection else burgers_start(x)

    soft = arm.get("soft_boundary")
    sampler: Sampler | None = None
    if "rad" in arm:
        sampler = RAD(Box.of(grid), **arm["rad"])
    solver = INSRSolver(
        equation,
        grid,
        dt=case["dt"],
        network=network_of(arm, job["seed"]),
        optimizer=optimiser_of(arm),
        boundary=None if soft else Dirichlet(0.0),
        soft_boundary=SoftBoundary(Dirichlet(0.0), **soft) if soft else None,
        num_points=arm.get("num_points", 1000),
        sampler=sampler,
        control=StepControl(**arm.get("control", {})),
        seed=job["seed"],
    )
    folder = Path(job["output"]) / "weights" / job["name"]
    return solver.solve(u0, [0.0, *case["times"][: job["num_times"]]], folder=folder)


def run_job(job: dict[str, Any]) -> str:
    """Solve, score, write the JSON file."""
    torch.set_num_threads(1)
    target = Path(job["output"]) / f"run_{job['name']}.json"
    if target.exists():
        return job["name"]
    started = time.process_time()
    solution = solve(job)
    seconds = time.process_time() - started
    steps = solution.reports
    record = {
        **{key: job[key] for key in ("kind", "case_name", "arm_name", "seed")},
        "times": list(solution.times[1:]),
        "cpu_seconds": seconds,
        "cpu_seconds_per_step": seconds / max(1, len(steps)),
        "wall_seconds_of_steps": [round(step.seconds, 4) for step in steps],
        "parameters": solution.num_parameters,
        "num_steps": len(steps),
        "iterations": [step.num_iterations for step in steps],
        "unconverged": sum(step.status[0] != "converged" for step in steps),
        "loss": [step.loss[0] for step in steps],
        "between": [step.between[0] for step in steps],
        "initial_error": solution.initial_error[0],
        "message": solution.message,
        **scores(job, solution),
    }
    write_record(target, record)
    return job["name"]


def scores(job: dict[str, Any], solution: NeuralTrajectory) -> dict[str, Any]:
    """Relative L2 errors of values and slopes at every output time."""
    case = job["case"]
    assert solution.grid is not None
    x = solution.grid.coordinates().T[None]
    if job["kind"] == "advection":
        exact = [bump(case)(x, t) for t in solution.times]
        slopes = [
            -(x - case["centre"] - case["velocity"] * t) / case["s"] ** 2 * u
            for u, t in zip(exact, solution.times, strict=True)
        ]
    else:
        grid, states, _ = burgers_solution(case, NUM_SCORED - 1, case["dt"] / 40)
        rows = len(solution)
        closed = torch.cat((states, states[:, :1]), dim=1)[:rows]
        exact = [row.reshape(1, -1, 1) for row in closed]
        wave = torch.fft.rfftfreq(grid.num_points[0], grid.spacing[0], dtype=torch.float64)
        hat = torch.fft.rfft(states[:rows]) * (2j * torch.pi * wave)
        derivative = torch.fft.irfft(hat, n=grid.num_points[0])
        slopes = [
            row.reshape(1, -1, 1) for row in torch.cat((derivative, derivative[:, :1]), dim=1)
        ]
    errors, slope_errors = [], []
    for n in range(1, len(solution)):
        d = JetDerivatives(x)
        with torch.no_grad():
            u = solution[n].as_field().function(d.points)
            errors.append(relative(d.values(u), exact[n]))
            slope_errors.append(relative(d.values(d.dx(u)), slopes[n]))
    return {"errors": errors, "slope_errors": slope_errors}


def jobs_of(config: dict[str, Any], output: Path) -> list[dict[str, Any]]:
    """One job per case, arm and seed; the longest first."""
    jobs = []
    for run in config["runs"]:
        case = config["cases"][run["case"]]
        for n, seed in enumerate(run["seeds"]):
            counts = run.get("num_times", len(case["times"]))
            jobs.append(
                {
                    "name": f"{run['case']}_{run['arm']}_{seed}",
                    "output": str(output),
                    "kind": case["kind"],
                    "case_name": run["case"],
                    "arm_name": run["arm"],
                    "case": case,
                    "arm": config["arms"][run["arm"]],
                    "seed": seed,
                    "num_times": counts[n] if isinstance(counts, list) else counts,
                }
            )
    return sorted(jobs, key=lambda job: -job["case"]["times"][job["num_times"] - 1])


def baselines(config: dict[str, Any]) -> dict[str, Any]:
    """Floors and grids of every case."""
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for name, case in config["cases"].items():
        if case["kind"] == "advection":
            x = (
                case["origin"]
                + torch.linspace(0, 1, NUM_SCORED, dtype=torch.float64) * (case["extent"])
            )
            found[name] = {
                "times": case["times"],
                "floor": {s: advection_floor(case, x, s) for s in ("midpoint", "implicit Euler")},
                "grids": advection_grids(case, config["grid_points"]),
            }
        else:
            found[name] = burgers_baselines(case, config["grid_points"])
    return found


def burgers_baselines(case: dict[str, Any], num_points: int) -> dict[str, Any]:
    """The floor of the midpoint rule, and Fourier grids."""
    _, truth, _ = burgers_solution(case, 4096, case["dt"] / 40)
    grids = {}
    for count in (128, 256, num_points - num_points % 2):
        grid, states, seconds = burgers_solution(case, count, case["dt"] / 4)
        points = grid.coordinates()[0]
        # Truth at these points by its own Fourier series.
        hat = torch.fft.rfft(truth) / truth.shape[-1]
        hat[:, 1:] *= 2
        wave = torch.pi * torch.arange(hat.shape[-1], dtype=torch.float64)
        phase = torch.exp(1j * wave * (points[:, None] + 1))
        exact = (phase @ hat.mT).real.mT
        errors = [relative(u, v) for u, v in zip(states[1:], exact[1:], strict=True)]
        grids[f"Fourier, ETDRK4, {count}"] = {
            "points": count,
            "errors": errors,
            "seconds": seconds,
        }
    return {
        "times": case["times"],
        "floor": {"midpoint": burgers_floor(case, truth)},
        "grids": grids,
    }


def main() -> None:
    """Runs, baselines, summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quick", action="store_true", help="a minute, no more than a check")
    args = parser.parse_args()
    config = yaml.safe_load(args.config.read_text(encoding="utf-8"))
    if args.quick:
        for case in config["cases"].values():
            case["times"] = [4 * case["dt"]]
        config["runs"] = [
            {**run, "seeds": run["seeds"][:1], "num_times": 1} for run in config["runs"]
        ]
    (args.output / "weights").mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    run_all(run_job, jobs_of(config, args.output), args.jobs)
    write_record(
        args.output / "results.json",
        {
            **provenance(args.jobs),
            "config": config,
            "minutes": (time.perf_counter() - started) / 60,
            "baselines": baselines(config),
            "runs": read_records(args.output, "run_*.json"),
        },
    )


if __name__ == "__main__":
    main()
