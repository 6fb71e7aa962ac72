"""Backbones at equal parameters: equal updates, and equal processor time. Standardised residual.

    python -m experiments.backbones.run CONFIG.yaml OUTPUT [--jobs 2] [--quick]

Run from the root of the repository. The configuration names the data and the networks. Every
training is one JSON file in OUTPUT; those that exist are not repeated, so a killed run continues.
The last act gathers them in OUTPUT/results.json.
"""

from __future__ import annotations

import argparse
import importlib
import os
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from experiments.campaign import (
    make_data,
    over_seeds,
    provenance,
    read_records,
    rollout_scores,
    run_all,
    write_record,
)
from pdesurrogates.data import TrajectoryFile, open_trajectories
from pdesurrogates.evaluation import oracle_floor, persistence, relative_l2
from pdesurrogates.reference import load_recipe
from pdesurrogates.steppers import ETDRK, rollout
from pdesurrogates.surrogates import ResidualSurrogate
from pdesurrogates.training import TrajectoryDataModule, train

TIMED_UPDATES = 8


def build(job: dict[str, Any]) -> ResidualSurrogate:
    """An untrained surrogate with the network of the job."""
    config, network = job["config"], job["config"]["networks"][job["arm"]]
    recipe = load_recipe({**config["data"], **config["splits"]["train"]})
    module, _, name = network["class_path"].rpartition(".")
    names = tuple(config.get("parameter_names", ()))
    torch.manual_seed(job["seed"])
    backbone: nn.Module = getattr(importlib.import_module(module), name)(
        num_conditions=len(names), **network["init_args"]
    )
    return ResidualSurrogate(
        backbone,
        recipe.dt * config["stride"],
        fields=recipe.equation.fields,
        parameter_names=names,
    )


def fit(job: dict[str, Any], num_steps: int) -> tuple[ResidualSurrogate, float, float]:
    """A trained surrogate, processor seconds and wall seconds."""
    config = job["config"]
    data = TrajectoryDataModule(
        Path(job["output"]) / "data" / "train.hdf5",
        batch_size=config["batch_size"],
        stride=config["stride"],
        seed=job["seed"],
    )
    started = time.process_time()
    result = train(
        build(job),
        data,
        num_steps=num_steps,
        learning_rate=job["learning_rate"],
        warmup_steps=min(100, num_steps // 10),
        seed=job["seed"],
        accelerator=job["accelerator"],
    )
    surrogate = result.surrogate.cpu()
    assert isinstance(surrogate, ResidualSurrogate)
    return surrogate, time.process_time() - started, result.seconds


def seconds_per_update(job: dict[str, Any]) -> float:
    """Processor seconds of one update, from two short trainings."""
    _, short, _ = fit(job, TIMED_UPDATES)
    _, long, _ = fit(job, 3 * TIMED_UPDATES)
    return (long - short) / (2 * TIMED_UPDATES)


def run_training(job: dict[str, Any]) -> str:
    """Train one network, score it, write its JSON file."""
    torch.set_num_threads(1)
    output, config = Path(job["output"]), job["config"]
    target = output / f"{job['name']}.json"
    if target.exists():
        return job["name"]
    num_steps = config["num_steps"]
    if job["protocol"] == "time":
        num_steps = max(TIMED_UPDATES, round(config["seconds"] / seconds_per_update(job)))
    surrogate, processor_seconds, wall_seconds = fit(job, num_steps)
    record = {key: job[key] for key in ("arm", "seed", "learning_rate", "protocol")}
    record |= {
        "num_steps": num_steps,
        "processor_seconds": processor_seconds,
        "wall_seconds": wall_seconds,
        "parameters": sum(p.numel() for p in surrogate.parameters()),
    }
    split = "validation" if job["protocol"] == "rates" else "test"
    with open_trajectories(output / "data" / f"{split}.hdf5") as file:
        record["test"] = test_scores(surrogate, file, config)
    write_record(target, record)
    return job["name"]


def test_scores(
    surrogate: ResidualSurrogate, file: TrajectoryFile, config: dict[str, Any]
) -> dict[str, Any]:
    """Rollouts from the first frame, and one step from every eighth."""
    truth = torch.stack([file.read(i) for i in range(file.num_trajectories)])
    truth, times = truth[:, :: config["stride"]], file.times[:: config["stride"]].tolist()
    values = _parameters(file, config)
    started = time.perf_counter()
    with torch.inference_mode():
        prediction = rollout(surrogate.bind(values), truth[:, 0].float(), times)
        seconds = time.perf_counter() - started
        errors = [
            relative_l2(
                rollout(surrogate.bind(values), truth[:, n].float(), times[:2])[:, 1],
                truth[:, n + 1],
            )
            for n in range(0, len(times) - 1, 8)
        ]
    return {
        **rollout_scores(prediction, truth, times),
        "one_step_relative_l2": float(torch.stack(errors).mean()),
        "seconds_per_unit_time": seconds / (times[-1] - times[0]),
    }


def _parameters(file: TrajectoryFile, config: dict[str, Any]) -> torch.Tensor | None:
    names = config.get("parameter_names", ())
    return torch.stack([file.parameters[n] for n in names], dim=1).float() if names else None


def floors(config: dict[str, Any], output: Path) -> dict[str, Any]:
    """Persistence, and the classical solver with the true equation at the network's step."""
    recipe = load_recipe({**config["data"], **config["splits"]["test"]})
    with open_trajectories(output / "data" / "test.hdf5") as file:
        truth = torch.stack([file.read(i) for i in range(file.num_trajectories)]).double()
        truth, times = truth[:, :: config["stride"]], file.times[:: config["stride"]].tolist()
        equation = recipe.equation
        for name in config.get("parameter_names", ()):
            object.__setattr__(equation, name, file.parameters[name])
        found = {"persistence": rollout_scores(persistence(truth[:, 0], times), truth, times)}
        for substeps in (1, 4):
            started = time.perf_counter()
            prediction = oracle_floor(
                equation, file.grid, truth[:, 0], times, ETDRK(4), num_substeps=substeps
            )
            seconds = time.perf_counter() - started
            found[f"ETDRK4, dt = {(times[1] - times[0]) / substeps:.3g}"] = {
                **rollout_scores(prediction, truth, times),
                "seconds_per_unit_time": seconds / (times[-1] - times[0]),
            }
    return found


def job_of(
    config: dict[str, Any],
    args: argparse.Namespace,
    arm: str,
    *,
    rate: float,
    seed: int,
    protocol: str,
) -> dict[str, Any]:
    """One training; the protocol is "rates" (a short one), "updates" or "time"."""
    if protocol == "rates":
        config = {**config, "num_steps": config["sweep_steps"]}
    return {
        "config": config,
        "output": str(args.output),
        "accelerator": args.accelerator,
        "name": f"{protocol}_{arm}_lr{rate:g}_seed{seed}",
        "arm": arm,
        "seed": seed,
        "learning_rate": rate,
        "protocol": protocol,
    }


def best_rates(config: dict[str, Any], args: argparse.Namespace) -> dict[str, float]:
    """Learning rate of each network: least validation error of short runs, first seed."""
    run_all(
        run_training,
        [
            job_of(config, args, arm, rate=rate, seed=config["seeds"][0], protocol="rates")
            for arm in config["networks"]
            for rate in config["learning_rates"]
        ],
        args.jobs,
    )
    found: dict[str, float] = {}
    for arm in config["networks"]:
        records = read_records(args.output, f"rates_{arm}_lr*.json")
        best = min(records, key=lambda r: r["test"]["relative_l2_first_quarter"])
        found[arm] = best["learning_rate"]
    return found


def main() -> None:
    """Data, learning rates, both protocols for all networks and seeds, summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--accelerator", default="cpu")
    parser.add_argument("--quick", action="store_true", help="minutes instead of an hour")
    args = parser.parse_args()
    config = yaml.safe_load(args.config.read_text(encoding="utf-8"))
    if args.quick:
        config.update(num_steps=40, sweep_steps=10, seconds=2, seeds=[0], learning_rates=[2e-3])
        for split in config["splits"].values():
            split.update(num_trajectories=8, num_steps=min(40, split["num_steps"]))
    started = time.perf_counter()
    make_data(config, args.output)

    rates = best_rates(config, args)
    print(f"learning rates {rates}", flush=True)
    jobs = [
        job_of(config, args, arm, rate=rates[arm], seed=seed, protocol=protocol)
        for seed in config["seeds"]
        for protocol in ("updates", "time")
        for arm in config["networks"]
    ]
    run_all(run_training, jobs, args.jobs)
    arms = {}
    for protocol in ("updates", "time"):
        for arm in config["networks"]:
            records = read_records(args.output, f"{protocol}_{arm}_lr*.json")
            arms[f"{arm}, equal {protocol}"] = {
                **over_seeds([r["test"] for r in records]),
                **{k: [r[k] for r in records] for k in ("num_steps", "processor_seconds")},
                "learning_rate": records[0]["learning_rate"],
                "parameters": records[0]["parameters"],
            }
    write_record(
        args.output / "results.json",
        {
            **provenance(args.jobs),
            "config": config,
            "minutes": (time.perf_counter() - started) / 60,
            "arms": arms,
            "floors": floors(config, args.output),
        },
    )


if __name__ == "__main__":
    main()
