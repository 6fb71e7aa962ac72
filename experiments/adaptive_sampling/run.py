"""Does adaptive sampling pay? The best density on a grid, and peaks in 2 to 6 dimensions.

    python -m experiments.adaptive_sampling.run CONFIG.yaml OUTPUT [--jobs 2] [--quick]

Run from the root of the repository. Every run is one JSON file in OUTPUT; those that exist are
not repeated, so a killed run continues. The last act gathers them in OUTPUT/results.json. Points
of the first seed are saved in OUTPUT/points/*.npz.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from experiments.adaptive_sampling.problems import Peaks
from experiments.adaptive_sampling.solve import ARMS, solve
from experiments.campaign import provenance, read_records, run_all, write_record
from pdesurrogates.core import Box, generator
from pdesurrogates.sampling import AdversarialSampler, SplineFlow, best_density


def run_job(job: dict[str, Any]) -> str:
    """All seeds of one problem and arm, one JSON file each."""
    torch.set_num_threads(1)
    for seed in job["seeds"]:
        target = Path(job["output"]) / f"{job['name']}_{seed}.json"
        if target.exists():
            continue
        if job["kind"] == "oracle":
            record = climb(job["beta"], job["config"]["oracle"], seed)
        else:
            problem = problem_of(job["config"]["problems"][job["problem"]])
            own = job["config"] | job["config"]["problems"][job["problem"]].get("changes", {})
            record = solve(problem, job["arm"], seed, own)
            points, log_density = record.pop("cloud")
            if seed == job["seeds"][0]:
                np.savez_compressed(
                    target.parent / "points" / f"{target.stem}.npz",
                    points=points.numpy(),
                    log_density=log_density.numpy(),
                )
        named = {key: job[key] for key in ("kind", "problem", "arm", "beta") if key in job}
        write_record(target, named | {"seed": seed} | record)
    return job["name"]


def problem_of(options: dict[str, Any]) -> Peaks:
    """A problem of the configuration."""
    centers = tuple(tuple(float(x) for x in center) for center in options["centers"])
    return Peaks(centers, float(options["sharpness"]), float(options.get("drift", 0.0)))


def climb(beta: float, options: dict[str, Any], seed: int) -> dict[str, Any]:
    """Adversarial sampler against a residual that stays, r^2 a Gaussian; L1 distance to best."""
    box, n = Box((0.0, 0.0), (1.0, 1.0)), options["num_cells"]
    center, width = torch.tensor(options["center"]), options["width"]

    def residual(x: Tensor) -> Tensor:
        return torch.exp(-(x - center.to(x)).square().sum(dim=-1) / (4 * width**2))

    axis = (torch.arange(n) + 0.5) / n
    cells = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).reshape(-1, 2)
    best = best_density(residual(cells).square().reshape(n, n), beta)
    rounds = options["num_rounds"]
    sampler = AdversarialSampler(
        box,
        flow=SplineFlow(box, seed=seed),
        beta=beta,
        beta_start=max(beta, options["beta_start"]),
        num_anneal_steps=rounds * options["num_steps"] // 2,
        num_points=options["num_points"],
        num_steps=options["num_steps"],
        learning_rate=options["betas"][beta],
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(sampler.optimizer, rounds)
    stream, started, curve, failures = generator(seed), time.process_time(), [], 0
    for n_round in range(rounds):
        try:
            sampler.update(residual, generator=stream, dtype=torch.float32)
        except RuntimeError:  # the flow keeps its last good state
            failures += 1
        schedule.step()
        if (n_round + 1) % max(1, rounds // 10) == 0:
            with torch.no_grad():
                p = sampler.flow.log_prob(cells).exp().reshape(n, n).double()
            curve.append(float((p - best).abs().mean()))
    return {
        "l1": curve[-1],
        "l1_curve": curve,
        "l1_uniform": float((best - 1).abs().mean()),
        "zero_share": float((best == 0).double().mean()),
        "integral": float(p.mean()),
        "seconds": time.process_time() - started,
        "num_evaluations": sampler.num_residual_evaluations,
        "failed_updates": failures,
    }


def jobs_of(config: dict[str, Any], output: Path, arms: list[str]) -> list[dict[str, Any]]:
    """All runs, the short ones of the oracle first."""
    common = {"config": config, "output": str(output)}
    seeds = config["seeds"]
    oracle = [
        {
            **common,
            "kind": "oracle",
            "beta": beta,
            "seeds": seeds[: config["oracle"]["num_seeds"]],
            "name": f"oracle_{beta}",
        }
        for beta in config["oracle"]["betas"]
    ]
    runs = [
        {
            **common,
            "kind": "run",
            "problem": problem,
            "arm": arm,
            "seeds": seeds,
            "name": f"run_{problem}_{arm}",
        }
        for problem, options in config["problems"].items()
        for arm in arms
        if arm in options.get("arms", arms)
    ]
    return oracle + runs


def summary(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Every seed of every number, and the median."""
    found: dict[str, Any] = {}
    names = ("relative_l2", "residual_rms", "largest_error", "seconds", "sampler_seconds")
    for record in records:
        entry = found.setdefault(record["problem"], {}).setdefault(record["arm"], {})
        for name in (*names, "peaks", "stalled", "num_steps", "num_evaluations", "failed_updates"):
            entry.setdefault(name, []).append(record[name])
    for arms in found.values():
        for entry in arms.values():
            for name in names:
                values = [math.inf if math.isnan(x) else x for x in entry[name]]
                entry[f"{name}_median"] = float(np.median(values))
            entry["stalled"] = sum(entry["stalled"])
    return found


def main() -> None:
    """Runs, summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--problems", nargs="+", help="only these of the configuration")
    parser.add_argument("--quick", action="store_true", help="two minutes, no more than a check")
    args = parser.parse_args()
    config = yaml.safe_load(args.config.read_text(encoding="utf-8"))
    if args.problems:
        config["problems"] = {name: config["problems"][name] for name in args.problems}
    if args.quick:
        config.update(seeds=[0], budget=100_000, longer_budget=200_000)
        config["oracle"].update(betas={0.15: 5.0e-3}, num_rounds=60, num_seeds=1)
    (args.output / "points").mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    run_all(run_job, jobs_of(config, args.output, args.arms), args.jobs)
    write_record(
        args.output / "results.json",
        {
            **provenance(args.jobs),
            "config": config,
            "minutes": (time.perf_counter() - started) / 60,
            "oracle": read_records(args.output, "oracle_*.json"),
            "problems": summary(read_records(args.output, "run_*.json")),
        },
    )


if __name__ == "__main__":
    main()
