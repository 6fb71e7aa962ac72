"""Networks that solve PDEs without data, against exact solutions and classical solvers.

    python -m experiments.pinn.run CONFIG.yaml OUTPUT [--jobs 2] [--quick]

Run from the root of the repository. Every training is one JSON file in OUTPUT; those that exist
are not repeated, and one that was interrupted goes on from its checkpoint. The last act gathers
them in OUTPUT/results.json.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from itertools import product
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from experiments.campaign import provenance, read_records, run_all, write_record
from experiments.pinn import lagrangian_arms
from experiments.pinn.arms import ARMS, Arm, Trained
from experiments.pinn.cases import CASES, GRID, Case, exact_states
from pdesurrogates.core import Grid
from pdesurrogates.reference import solve

ALL_ARMS: dict[str, Arm] = {**ARMS, **lagrangian_arms.ARMS}
ALL_CASES: dict[str, Case] = {**CASES, **lagrangian_arms.CASES}

NUM_TIMES = 101


def times_of(case: Case, count: int = NUM_TIMES) -> list[float]:
    """Times at which errors are measured."""
    start, end = case.times
    return [start + (end - start) * n / (count - 1) for n in range(count)]


def errors(case: Case, prediction: Tensor, truth: Tensor) -> dict[str, float]:
    """Relative to what is not the mean state; over all times, and at the end."""
    gap, size = prediction.double() - truth, truth - case.mean
    return {
        "relative_l2": float(gap.norm() / size.norm()),
        "relative_l2_end": float(gap[:, -1].norm() / size[:, -1].norm()),
        "max_error": float(gap.abs().max()),
    }


def run_training(job: dict[str, Any]) -> str:
    """Train one arm on one case, score it, write its JSON file."""
    torch.set_num_threads(1)
    target = Path(job["output"]) / f"{job['name']}.json"
    if target.exists():
        return job["name"]
    case = ALL_CASES[job["case"]]
    torch.manual_seed(job["seed"])
    checkpoint = Path(job["output"]) / f"{job['name']}.pt"
    wall, cpu = time.perf_counter(), time.process_time()
    record = {key: job[key] for key in ("case", "arm", "seed")}
    try:
        result = ALL_ARMS[job["arm"]](case, job["settings"], job["seed"], checkpoint)
        record |= {
            "wall_seconds": time.perf_counter() - wall,
            "cpu_seconds": time.process_time() - cpu,
            **scores(case, result),
        }
    except (FloatingPointError, ValueError, RuntimeError) as error:
        record |= {"failed": str(error), "cpu_seconds": time.process_time() - cpu}
    write_record(target, record)
    for left in checkpoint.parent.glob(f"{checkpoint.stem}*.pt"):
        left.unlink()
    return job["name"]


def scores(case: Case, result: Trained) -> dict[str, Any]:
    """Errors, sizes, and how training went."""
    times = times_of(case)
    prediction = result.solution.sample(GRID, times)
    last = result.histories[-1]
    return {
        **errors(case, prediction, exact_states(case, GRID, times)),
        "num_parameters": result.num_parameters,
        "training_seconds": sum(h.seconds[-1] for h in result.histories),
        "loss": last.total[-1],
        "losses": {name: values[-1] for name, values in last.losses.items()},
        "status": last.status,
        "messages": [h.message for h in result.histories],
        "curve": [
            [h.seconds[i], h.total[i]]
            for h in result.histories[-1:]
            for i in range(0, len(h.total), max(1, len(h.total) // 20))
        ],
        "notes": result.notes,
    }


def classical(case: Case) -> list[dict[str, Any]]:
    """Pseudo-spectral ETDRK4 from coarse to fine: error and seconds (best of three)."""
    found = []
    for points, steps in product((8, 16, 32, 64, 128, 256), (10, 20, 50, 100, 200, 500)):
        grid = Grid((points,), GRID.extent)
        x = grid.axes()[0]
        u0 = case.initial(x).reshape(1, 1, -1)
        times = times_of(case, 11)
        truth = exact_states(case, grid, times)
        seconds, error = math.inf, math.inf
        for _ in range(3):
            started = time.perf_counter()
            try:
                states = solve(case.equation, grid, u0, times, dt=case.end_time / steps)
            except (FloatingPointError, ValueError):
                break
            seconds = min(seconds, time.perf_counter() - started)
            error = errors(case, states, truth)["relative_l2"]
        if math.isfinite(error):
            found.append(
                {"points": points, "steps": steps, "relative_l2": error, "seconds": seconds}
            )
    return found


def cheapest(solvers: list[dict[str, Any]], error: float) -> dict[str, Any] | None:
    """The fastest classical run that is at least as good."""
    good = [s for s in solvers if s["relative_l2"] <= error]
    return min(good, key=lambda s: s["seconds"], default=None)


def summary(records: list[dict[str, Any]], solvers: list[dict[str, Any]]) -> dict[str, Any]:
    """All seeds of one arm on one case."""
    done = [r for r in records if "failed" not in r]
    values = [r["relative_l2"] for r in done]
    return {
        "relative_l2": values,
        "relative_l2_end": [r["relative_l2_end"] for r in done],
        "max_error": [r["max_error"] for r in done],
        "cpu_seconds": [r["cpu_seconds"] for r in records],
        "loss": [r["loss"] for r in done],
        "status": [r["status"] for r in done],
        "num_parameters": done[0]["num_parameters"] if done else None,
        "failed": [r["failed"] for r in records if "failed" in r],
        "notes": [r["notes"] for r in done],
        "classical_at_equal_error": cheapest(solvers, sum(values) / len(values)) if done else None,
    }


def main() -> None:
    """All trainings, the classical solvers, the summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quick", action="store_true", help="one seed, hardly any steps")
    parser.add_argument("--arms", nargs="+", choices=list(ALL_ARMS), help="these arms only")
    parser.add_argument("--cases", nargs="+", choices=list(ALL_CASES), help="these cases only")
    args = parser.parse_args()
    config = yaml.safe_load(args.config.read_text(encoding="utf-8"))
    args.output.mkdir(parents=True, exist_ok=True)
    if args.quick:
        config["seeds"] = config["seeds"][:1]
        config["settings"] |= config["quick"]
    jobs = [
        {
            "name": f"{case}_{arm}_seed{seed}",
            "case": case,
            "arm": arm,
            "seed": seed,
            "settings": config["settings"],
            "output": str(args.output),
        }
        for seed in config["seeds"]
        for case, arms in config["runs"].items()
        for arm in arms
        if (args.arms is None or arm in args.arms) and (args.cases is None or case in args.cases)
    ]
    started = time.perf_counter()
    run_all(run_training, jobs, args.jobs)
    torch.set_num_threads(1)
    grouped: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for record in read_records(args.output, "*_seed*.json"):
        grouped.setdefault(record["case"], {}).setdefault(record["arm"], []).append(record)
    solvers = {name: classical(ALL_CASES[name]) for name in grouped}
    write_record(
        args.output / "results.json",
        {
            **provenance(args.jobs),
            "config": config,
            "minutes": (time.perf_counter() - started) / 60,
            "cases": {
                name: {arm: summary(records, solvers[name]) for arm, records in arms.items()}
                for name, arms in grouped.items()
            },
            "classical": solvers,
        },
    )


if __name__ == "__main__":
    main()
