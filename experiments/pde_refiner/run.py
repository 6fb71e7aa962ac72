"""PDE-Refiner against the same network trained otherwise, at equal updates: Kuramoto-Sivashinsky.

    python -m experiments.pde_refiner.run CONFIG.yaml OUTPUT [--jobs 2] [--quick]

Run from the root of the repository. Every training is one JSON file in OUTPUT; those that exist
are not repeated, so a killed run continues. The last act gathers them in OUTPUT/results.json.
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
from torch import Tensor, nn

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
from pdesurrogates.evaluation import (
    energy_spectrum,
    oracle_floor,
    persistence,
    relative_l2,
    resample,
)
from pdesurrogates.reference import Recipe, load_recipe
from pdesurrogates.steppers import ETDRK, RK4, rollout
from pdesurrogates.surrogates import (
    DerivativeSurrogate,
    PDERefiner,
    ResidualSurrogate,
    StateSurrogate,
    Surrogate,
    save_surrogate,
)
from pdesurrogates.training import InputNoise, Pushforward, TrajectoryDataModule, train

# Frames of the file per network step, as a divisor of the configuration's stride.
FINER = {"residual_half": 2, "residual_quarter": 4}
ARMS = (
    "state",
    "residual",
    "refiner_3",
    "refiner_1",
    "residual_quarter",
    "pushforward",
    "noise",
    "derivative_rk4",
    "residual_half",
)


def stride_of(arm: str, config: dict[str, Any]) -> int:
    """Frames of the file per network step."""
    return config["stride"] // FINER.get(arm, 1)


def build(job: dict[str, Any], recipe: Recipe) -> Surrogate:
    """An untrained surrogate."""
    arm, config = job["arm"], job["config"]
    dt = recipe.dt * stride_of(arm, config)
    torch.manual_seed(job["seed"])
    if arm.startswith("refiner"):
        return PDERefiner(
            _backbone(config, in_channels=2, num_conditions=1),
            dt,
            num_refinement_steps=int(arm[-1]),
            sigma_min=job["sigma_min"],
            fields=recipe.equation.fields,
        )
    backbone = _backbone(config)
    if arm == "state":
        return StateSurrogate(backbone, dt, fields=recipe.equation.fields)
    if arm == "derivative_rk4":
        return DerivativeSurrogate(
            backbone, RK4(), dt, target_order=4, fields=recipe.equation.fields
        )
    return ResidualSurrogate(backbone, dt, fields=recipe.equation.fields)


def _backbone(config: dict[str, Any], **arguments: Any) -> nn.Module:
    module, _, name = config["backbone"]["class_path"].rpartition(".")
    return getattr(importlib.import_module(module), name)(
        **config["backbone"]["init_args"], **arguments
    )


def run_training(job: dict[str, Any]) -> str:
    """Train one surrogate, score it, write its JSON file."""
    torch.set_num_threads(1)
    output, arm, config = Path(job["output"]), job["arm"], job["config"]
    target = output / f"{job['name']}.json"
    if target.exists():
        return job["name"]
    recipe = load_recipe({**config["data"], **config["splits"]["train"]})
    data = TrajectoryDataModule(
        output / "data" / "train.hdf5",
        batch_size=config["batch_size"],
        stride=stride_of(arm, config),
        seed=job["seed"],
    )
    result = train(
        build(job, recipe),
        data,
        num_steps=job["num_steps"],
        loss=Pushforward(2) if arm == "pushforward" else None,
        input_noise=InputNoise(0.01) if arm == "noise" else None,
        learning_rate=job["learning_rate"],
        warmup_steps=min(100, job["num_steps"] // 10),
        seed=job["seed"],
        accelerator=job["accelerator"],
    )
    surrogate = result.surrogate.cpu()
    record = {key: job[key] for key in ("arm", "seed", "learning_rate", "sigma_min", "num_steps")}
    record |= {
        "training_seconds": result.seconds,
        "parameters": sum(p.numel() for p in surrogate.parameters()),
        "losses": result.losses[:: max(1, len(result.losses) // 20)],
    }
    with open_trajectories(output / "data" / "validation.hdf5") as file:
        record["validation"] = test_scores(surrogate, file, config["stride"])
    if job["scored"]:
        save_surrogate(surrogate, output / f"{job['name']}_surrogate")
        with open_trajectories(output / "data" / "test.hdf5") as file:
            record["test"] = test_scores(surrogate, file, config["stride"])
    write_record(target, record)
    return job["name"]


def test_scores(surrogate: Surrogate, file: TrajectoryFile, stride: int) -> dict[str, Any]:
    """Rollouts and the error after one interval of `stride` frames, and its spectrum."""
    truth = torch.stack([file.read(i) for i in range(file.num_trajectories)])[:, ::stride]
    times = file.times[::stride].tolist()
    calls = round((times[1] - times[0]) / surrogate.dt)  # network steps per scored frame
    started = time.perf_counter()
    with torch.inference_mode():
        fine = [times[0] + n * surrogate.dt for n in range((len(times) - 1) * calls + 1)]
        prediction = rollout(surrogate, truth[:, 0].float(), fine)[:, ::calls]
        seconds = time.perf_counter() - started
        u, u_next = truth[:, :-1:4].flatten(0, 1), truth[:, 1::4].flatten(0, 1)
        one_step = rollout(surrogate, u.float(), fine[: calls + 1])[:, -1]
    span = times[-1] - times[0]
    return {
        **rollout_scores(prediction, truth, times),
        "one_step_relative_l2": float(relative_l2(one_step, u_next).mean()),
        "one_step_spectrum": _amplitudes(one_step.double() - u_next),
        "truth_spectrum": _amplitudes(u_next.double()),
        "high_wavenumbers": _band(one_step.double() - u_next, 30, 42),
        "high_wavenumbers_truth": _band(u_next.double(), 30, 42),
        "calls_per_unit_time": calls * surrogate.num_evaluations / (times[1] - times[0]),
        "seconds_per_unit_time": seconds / span,
    }


def _amplitudes(u: Tensor) -> list[float]:
    """Root mean square amplitude at each wavenumber, mean over samples of the energy."""
    return energy_spectrum(u).mean(dim=(0, 1)).sqrt().tolist()


def _band(u: Tensor, low: int, high: int) -> float:
    """Root of the energy at wavenumbers low .. high (in units of 2 pi / L)."""
    return float(energy_spectrum(u)[..., low : high + 1].sum(-1).mean().sqrt())


def floors(config: dict[str, Any], output: Path) -> dict[str, Any]:
    """Persistence, and the classical solver at the network's step and coarser grids."""
    recipe = load_recipe({**config["data"], **config["splits"]["test"]})
    with open_trajectories(output / "data" / "test.hdf5") as file:
        truth = torch.stack([file.read(i) for i in range(file.num_trajectories)]).double()
        truth, times = truth[:, :: config["stride"]], file.times[:: config["stride"]].tolist()
        found = {"persistence": rollout_scores(persistence(truth[:, 0], times), truth, times)}
        for points, substeps in ((1, 1), (1, 2), (2, 2), (4, 2)):
            grid = file.grid.resized(file.grid.num_points[0] // points)
            started = time.perf_counter()
            prediction = oracle_floor(
                recipe.equation,
                grid,
                truth[:, 0, :, ::points],
                times,
                ETDRK(4),
                num_substeps=substeps,
            )
            seconds = time.perf_counter() - started
            step = (times[1] - times[0]) / substeps
            found[f"ETDRK4, {grid.num_points[0]} points, dt = {step:.2g}"] = {
                **rollout_scores(resample(prediction, file.grid.num_points), truth, times),
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
    sigma_min: float | None = None,
    phase: str = "final",
) -> dict[str, Any]:
    """One training."""
    sigma = f"_sigma{sigma_min:g}" if sigma_min else ""
    return {
        "config": config,
        "output": str(args.output),
        "accelerator": args.accelerator,
        "name": f"{phase}_{arm}{sigma}_lr{rate:g}_seed{seed}",
        "arm": arm,
        "seed": seed,
        "sigma_min": sigma_min,
        "learning_rate": rate,
        "num_steps": config["sweep_steps" if phase == "rates" else "num_steps"],
        "scored": phase == "final",
    }


def best_rates(config: dict[str, Any], args: argparse.Namespace) -> dict[str, float]:
    """Learning rate of the maps and of the refiners: best validation error of short runs."""
    kinds = {"residual": None, "refiner_3": config["sigmas"][len(config["sigmas"]) // 3]}
    if len(config["learning_rates"]) == 1:
        return dict.fromkeys(kinds, config["learning_rates"][0])
    seed = config["seeds"][0]
    run_all(
        run_training,
        [
            job_of(config, args, arm, rate=rate, seed=seed, sigma_min=sigma, phase="rates")
            for arm, sigma in kinds.items()
            for rate in config["learning_rates"]
        ],
        args.jobs,
    )
    found = {}
    for arm in kinds:
        records = read_records(args.output, f"rates_{arm}*.json")
        best = min(records, key=lambda r: r["validation"]["relative_l2_first_quarter"])
        found[arm] = best["learning_rate"]
    return found


def best_sigma(config: dict[str, Any], args: argparse.Namespace, rate: float) -> float:
    """Least noise with the longest correlation time on validation trajectories, first seed."""
    seed = config["seeds"][0]
    jobs = [
        job_of(config, args, "refiner_3", rate=rate, seed=seed, sigma_min=sigma)
        for sigma in config["sigmas"]
    ]
    run_all(run_training, jobs, args.jobs)

    def validated(job: dict[str, Any]) -> float:
        (record,) = read_records(args.output, f"{job['name']}.json")
        times = record["validation"]["correlation_time"]["0.8"]
        return sum(times) / len(times)

    return max(jobs, key=validated)["sigma_min"]


def train_all(config: dict[str, Any], args: argparse.Namespace) -> None:
    """Learning rates, noise levels on the first seed, then all arms and seeds."""
    rates = best_rates(config, args)
    sigma = best_sigma(config, args, rates["refiner_3"])
    print(f"learning rates {rates}, sigma_min {sigma}", flush=True)
    jobs = [
        job_of(
            config,
            args,
            arm,
            rate=rates["refiner_3" if arm.startswith("refiner") else "residual"],
            seed=seed,
            sigma_min=sigma if arm.startswith("refiner") else None,
        )
        for seed in config["seeds"]
        for arm in args.arms
    ]
    run_all(run_training, jobs, args.jobs)


def main() -> None:
    """Data, trainings, summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--accelerator", default="cpu")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--quick", action="store_true", help="minutes instead of an hour")
    parser.add_argument(
        "--gather", action="store_true", help="train nothing, write results.json of what is there"
    )
    args = parser.parse_args()
    config = yaml.safe_load(args.config.read_text(encoding="utf-8"))
    if args.quick:
        config.update(num_steps=300, learning_rates=[3e-3], seeds=[0], sigmas=[2e-2])
        for split in config["splits"].values():
            split.update(num_trajectories=16, num_steps=min(120, split["num_steps"]))
    started = time.perf_counter()
    make_data(config, args.output)

    if not args.gather:
        train_all(config, args)
    grouped: dict[str, list[dict[str, Any]]] = {}
    for record in read_records(args.output, "final_*.json"):
        noise = f", sigma_min {record['sigma_min']:g}" if record["sigma_min"] else ""
        grouped.setdefault(f"{record['arm']}{noise}", []).append(record)
    arms = {
        name: {
            **over_seeds([r["test"] for r in records]),
            "one_step_spectrum": [r["test"]["one_step_spectrum"] for r in records],
            "truth_spectrum": records[0]["test"]["truth_spectrum"],
            "learning_rate": records[0]["learning_rate"],
            "training_seconds": [r["training_seconds"] for r in records],
            "parameters": records[0]["parameters"],
        }
        for name, records in grouped.items()
    }
    write_record(
        args.output / "results.json",
        {
            **provenance(args.jobs),
            "config": config,
            "minutes": (time.perf_counter() - started) / 60,
            "rates": {
                f"{r['arm']} {r['learning_rate']:g}": r["validation"]["relative_l2_first_quarter"]
                for r in read_records(args.output, "rates_*.json")
            },
            "arms": arms,
            "floors": floors(config, args.output),
        },
    )


if __name__ == "__main__":
    main()
