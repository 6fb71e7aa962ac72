"""Staggered networks trained on the equation alone, against the controls that decide.

    python -m experiments.neural_stagger.run CONFIG.yaml OUTPUT [--jobs 2] [--quick]

Run from the root of the repository. Every training is one JSON file in OUTPUT; those that exist
are not repeated, so a killed run continues. The last act measures times, one after the other, and
gathers everything in OUTPUT/results.json.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import torch
import yaml

from experiments.campaign import provenance, read_records, run_all, write_record
from experiments.neural_stagger.cases import Problem, build_arm
from experiments.neural_stagger.scores import classical_rows, costs, scores
from pdesurrogates.training import (
    PhysicsLoss,
    SelfRolledPool,
    fit_to_equation,
    train_on_physics,
)

QUICK_ARMS = ("(1,1)", "(2,2)", "(4,4)", "(2,2) all, shared", "coarse, Fourier upsampling")


def run_training(job: dict[str, Any]) -> str:
    """Train one network, score it, write its JSON file."""
    torch.set_num_threads(1)
    target = Path(job["output"]) / f"{job['name']}.json"
    case, arm, seed, device = job["settings"], job["arm"], job["seed"], job["device"]
    problem = Problem(case, arm.get("coarse", 1), arm.get("step", 1))
    surrogate, f = build_arm(case, arm, seed).to(device), problem.bound()
    pool = SelfRolledPool(
        problem.fresh(surrogate.time, seed=seed + 1, device=device),
        size=case["pool_size"],
        renewal=case["renewal"],
        reserve=case["pool_size"],
        seed=seed,
    )
    fit_to_equation(surrogate, f, pool.frames[:, 0])
    result = train_on_physics(
        surrogate,
        PhysicsLoss(f),
        pool,
        seconds=case["seconds"],
        batch_size=max(1, case["frames_per_update"] // surrogate.time),
        learning_rate=case["learning_rate"],
        # Seconds of the processor, so that work beside it does not count.
        clock=time.process_time if device == "cpu" else time.perf_counter,
    )
    write_record(
        target,
        {
            **{key: job[key] for key in ("case", "label", "seed")},
            "training_seconds": result.seconds,
            "updates": result.num_updates,
            "losses": result.losses,
            "failure": result.failure,
            "test": scores(surrogate, problem, case["num_fields"]),
        },
    )
    return job["name"]


def jobs_of(config: dict[str, Any], args: argparse.Namespace) -> list[dict[str, Any]]:
    """One job per case, seed and arm."""
    jobs = []
    for name, case in config["cases"].items():
        for seed in case["seeds"]:
            for label, arm in case["arms"].items():
                short = "".join(c if c.isalnum() else "_" for c in label)
                jobs.append(
                    {
                        "output": str(args.output),
                        "name": f"{name}__{short}__seed{seed}",
                        "case": name,
                        "label": label,
                        "settings": case,
                        "arm": arm,
                        "seed": seed,
                        "device": args.device,
                    }
                )
    return jobs


def gather(config: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """All records by case and arm, costs measured one after the other, classical solvers."""
    torch.set_num_threads(1)
    found = {}
    for name, case in config["cases"].items():
        records = read_records(args.output, f"{name}__*.json")
        arms = {}
        for label, arm in case["arms"].items():
            own = [r for r in records if r["label"] == label]
            if own:
                arms[label] = {
                    "arm": arm,
                    "median": [r["test"]["median"] for r in own],
                    "seeds": [r["seed"] for r in own],
                    "updates": [r["updates"] for r in own],
                    "training_seconds": [r["training_seconds"] for r in own],
                    "failures": [r["failure"] for r in own if r["failure"]],
                    "tests": [r["test"] for r in own],
                    **costs(case, arm),
                }
        found[name] = {"arms": arms, "classical": classical_rows(case, case["num_fields"])}
    return found


def prepared(config: dict[str, Any], *, is_quick: bool) -> dict[str, Any]:
    """Every case with the settings that all share; seconds instead of minutes if quick."""
    shared = config.get("shared", {})
    cases = {name: {**shared, **case} for name, case in config["cases"].items()}
    if is_quick:
        for case in cases.values():
            arms = {label: arm for label, arm in case["arms"].items() if label in QUICK_ARMS}
            case.update(seconds=min(2.0, case["seconds"]), seeds=[0], num_fields=4, pool_size=16)
            case.update(arms=arms)
    return {**config, "cases": cases}


def main() -> None:
    """Trainings, costs, summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true", help="two seconds per training, few arms")
    args = parser.parse_args()
    config = prepared(yaml.safe_load(args.config.read_text("utf-8")), is_quick=args.quick)
    args.output.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    jobs = [j for j in jobs_of(config, args) if not (args.output / f"{j['name']}.json").exists()]
    run_all(run_training, jobs, args.jobs)
    record = {
        **provenance(args.jobs),
        "config": config,
        "cases": gather(config, args),
        "minutes": (time.perf_counter() - started) / 60,
    }
    write_record(args.output / "results.json", record)


if __name__ == "__main__":
    main()
