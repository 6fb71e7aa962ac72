"""State, residual and derivative surrogates at equal cost: data, sweep, seeds, scores.

    python -m experiments.derivative_prediction.run CONFIG.yaml OUTPUT [--jobs 2] [--quick]

Run from the root of the repository. Every training is one JSON file in OUTPUT; those that exist
are not repeated, so a killed run continues. The last act gathers them in OUTPUT/results.json.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import os
import time
from pathlib import Path
from typing import Any

import torch
import yaml

from experiments.campaign import (
    make_data,
    over_seeds,
    provenance,
    read_records,
    rollout_scores,
    run_all,
    write_record,
)
from pdesurrogates.backbones import FNO
from pdesurrogates.data import TrajectoryFile, open_trajectories
from pdesurrogates.evaluation import oracle_floor, persistence, relative_l2
from pdesurrogates.reference import Recipe, load_recipe
from pdesurrogates.steppers import ETDRK, RK4, AdamsBashforth, Euler, Heun, Stepper, rollout
from pdesurrogates.surrogates import (
    DerivativeSurrogate,
    HybridSurrogate,
    ResidualSurrogate,
    StateSurrogate,
    Surrogate,
)
from pdesurrogates.training import train

# One training each; a derivative network is rolled out with several steppers. A first-order
# derivative with Euler is the residual model with other units, so it shares its training.
ARMS: dict[str, tuple[Stepper, ...]] = {
    "state": (),
    "residual": (),
    "derivative_2": (AdamsBashforth(2), Heun()),
    "derivative_4": (RK4(), Euler()),
    "hybrid_4": (ETDRK(4),),
}


def build(arm: str, config: dict[str, Any], recipe: Recipe, seed: int) -> Surrogate:
    """An untrained surrogate; all arms start from the same weights for one seed."""
    torch.manual_seed(seed)
    names = config["parameter_names"]
    backbone = FNO(in_channels=1 + len(names), **config["backbone"])
    common: dict[str, Any] = {"fields": recipe.equation.fields, "parameter_names": names}
    if arm == "state":
        return StateSurrogate(backbone, recipe.dt, **common)
    if arm == "residual":
        return ResidualSurrogate(backbone, recipe.dt, **common)
    order = int(arm[-1])
    if arm.startswith("hybrid"):
        return HybridSurrogate(
            backbone, recipe.equation, ARMS[arm][0], recipe.dt, target_order=order, **common
        )
    return DerivativeSurrogate(backbone, ARMS[arm][0], recipe.dt, target_order=order, **common)


def as_derivative(residual: Surrogate) -> DerivativeSurrogate:
    """The residual model as first-order derivative with Euler: (u_next - u) / dt, same weights."""
    surrogate = DerivativeSurrogate(
        residual.backbone,
        Euler(),
        residual.dt,
        target_order=1,
        fields=residual.fields,
        grid=residual.grid,
        parameter_names=residual.parameter_names,
    )
    surrogate.load_state_dict(residual.state_dict())
    surrogate.target_normalizer.mean /= residual.dt
    surrogate.target_normalizer.std /= residual.dt
    surrogate.trained_dt = residual.trained_dt
    return surrogate.eval()


def rolled_out(
    surrogate: Surrogate, file: TrajectoryFile, *, substeps: int = 1, stride: int = 1
) -> tuple[torch.Tensor, torch.Tensor, list[float], float]:
    """Prediction and truth at the rollout's saved times, those times, seconds per unit time."""
    truth = torch.stack([file.read(i) for i in range(file.num_trajectories)])[:, ::stride]
    times = file.times[::stride].tolist()
    fine = [
        a + n * (b - a) / substeps for a, b in itertools.pairwise(times) for n in range(substeps)
    ] + [times[-1]]
    names = surrogate.parameter_names
    values = torch.stack([file.parameters[n] for n in names], dim=1).float() if names else None
    started = time.perf_counter()
    with torch.inference_mode():
        prediction = rollout(surrogate.bind(values), truth[:, 0].float(), fine)[:, ::substeps]
    seconds = time.perf_counter() - started
    return prediction, truth, times, seconds / (times[-1] - times[0])


def one_step_error(surrogate: Surrogate, file: TrajectoryFile) -> float:
    """Relative L2 error of one step from every true state of the file, mean over all."""
    truth = torch.stack([file.read(i) for i in range(file.num_trajectories)])
    u, u_next = truth[:, :-1].flatten(0, 1).float(), truth[:, 1:].flatten(0, 1)
    names = surrogate.parameter_names
    values = None
    if names:
        values = torch.stack([file.parameters[n] for n in names], dim=1).float()
        values = values.repeat_interleave(file.num_times - 1, dim=0)
    dt = float(file.times[1] - file.times[0])
    with torch.inference_mode():
        errors = [
            relative_l2(
                rollout(surrogate.bind(None if values is None else values[i]), u[i], [0.0, dt])[
                    :, 1
                ],
                u_next[i],
            )
            for i in torch.arange(len(u)).split(512)
        ]
    return float(torch.cat(errors).mean())


def run_training(job: dict[str, Any]) -> str:
    """Train one arm with one seed and learning rate, score it, write its JSON file."""
    torch.set_num_threads(1)
    config, output = job["config"], Path(job["output"])
    target = output / f"{job['name']}.json"
    if target.exists():
        return job["name"]
    recipe = load_recipe(_recipe(config, "train"))
    surrogate = build(job["arm"], config, recipe, job["seed"])
    result = train(
        surrogate,
        output / "data" / "train.hdf5",
        num_steps=job["num_steps"],
        learning_rate=job["learning_rate"],
        batch_size=config["batch_size"],
        warmup_steps=min(100, job["num_steps"] // 10),
        seed=job["seed"],
        accelerator=job["accelerator"],
    )
    surrogate = result.surrogate.cpu()
    record: dict[str, Any] = {
        key: job[key] for key in ("arm", "seed", "learning_rate", "num_steps")
    }
    record["training_seconds"] = result.seconds
    record["parameters"] = sum(p.numel() for p in surrogate.parameters())
    record["losses"] = result.losses[:: max(1, len(result.losses) // 20)]
    with open_trajectories(output / "data" / "validation.hdf5") as file:
        prediction, truth, times, _ = rolled_out(surrogate, file)
        # Selection: rollout error before chaos saturates it.
        record["validation_error"] = rollout_scores(prediction, truth, times)[
            "relative_l2_first_quarter"
        ]
    if job["scored"]:
        with open_trajectories(output / "data" / "test.hdf5") as file:
            record["rollouts"] = test_scores(surrogate, ARMS[job["arm"]], file)
            if job["arm"] == "residual":
                derivative = test_scores(as_derivative(surrogate), (Euler(),), file)
                record["rollouts"] |= {f"as derivative_1 {k}": v for k, v in derivative.items()}
    write_record(target, record)
    return job["name"]


def test_scores(
    surrogate: Surrogate, steppers: tuple[Stepper, ...], file: TrajectoryFile
) -> dict[str, Any]:
    """Scores on unseen trajectories, with every stepper of the arm and other step sizes."""
    found: dict[str, Any] = {}
    for stepper in steppers or (None,):
        model = surrogate if stepper is None else surrogate.with_stepper(stepper)
        label = type(stepper).__name__ if stepper else "map"
        for substeps, stride in ((1, 1), (2, 1), (1, 2)) if stepper else ((1, 1),):
            step = "H" if substeps == stride == 1 else "H/2" if substeps == 2 else "2H"
            prediction, truth, times, seconds = rolled_out(
                model, file, substeps=substeps, stride=stride
            )
            entry = rollout_scores(prediction, truth, times)
            entry["seconds_per_unit_time"] = seconds
            steps = (len(times) - 1) * substeps / (times[-1] - times[0])
            entry["calls_per_unit_time"] = model.num_evaluations * steps
            if step == "H":
                entry["one_step_relative_l2"] = one_step_error(model, file)
            found[f"{label} {step}"] = entry
    return found


def floors(config: dict[str, Any], output: Path) -> dict[str, Any]:
    """Persistence, and each stepper at the same step with the true right-hand side."""
    recipe = load_recipe(_recipe(config, "test"))
    found: dict[str, Any] = {}
    with open_trajectories(output / "data" / "test.hdf5") as file:
        truth = torch.stack([file.read(i) for i in range(file.num_trajectories)]).double()
        times = file.times.tolist()
        values = {n: file.parameters[n] for n in config["parameter_names"]}
        equation = copy.copy(recipe.equation)
        for name, value in values.items():
            object.__setattr__(equation, name, value)
        u0 = truth[:, 0]
        found["persistence"] = rollout_scores(persistence(u0, times), truth, times)
        for stepper in (Euler(), AdamsBashforth(2), Heun(), RK4(), ETDRK(4)):
            prediction = oracle_floor(equation, file.grid, u0, times, stepper)
            found[f"oracle {type(stepper).__name__}"] = rollout_scores(prediction, truth, times)
    return found


def _recipe(config: dict[str, Any], split: str) -> dict[str, Any]:
    return {**config["data"], **config["splits"][split]}


def _job(config: dict[str, Any], args: argparse.Namespace, **entries: Any) -> dict[str, Any]:
    name = "{phase}_{arm}_lr{learning_rate:g}_seed{seed}".format(**entries)
    return {
        "config": config,
        "output": str(args.output),
        "accelerator": args.accelerator,
        "name": name,
        **entries,
    }


def main() -> None:
    """Data, learning-rate sweep on the first seed, all seeds with the best, summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--accelerator", default="cpu")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--quick", action="store_true", help="minutes instead of an hour")
    args = parser.parse_args()
    config = yaml.safe_load(args.config.read_text(encoding="utf-8"))
    if args.quick:
        config.update(sweep_steps=100, num_steps=300, learning_rates=[3e-3], seeds=[0])
        for split in config["splits"].values():
            split.update(num_trajectories=8, num_steps=min(60, split["num_steps"]))
    started = time.perf_counter()
    make_data(config, args.output)

    first = config["seeds"][0]
    sweep = [
        _job(
            config,
            args,
            phase="sweep",
            arm=arm,
            learning_rate=rate,
            seed=first,
            num_steps=config["sweep_steps"],
            scored=False,
        )
        for arm in args.arms
        for rate in config["learning_rates"]
    ]
    run_all(run_training, sweep, args.jobs)
    best = {}
    for record in read_records(args.output, "sweep_*.json"):
        arm = record["arm"]
        if arm not in best or record["validation_error"] < best[arm]["validation_error"]:
            best[arm] = record
    final = [
        _job(
            config,
            args,
            phase="final",
            arm=arm,
            learning_rate=best[arm]["learning_rate"],
            seed=seed,
            num_steps=config["num_steps"],
            scored=True,
        )
        for seed in config["seeds"]
        for arm in args.arms
    ]
    run_all(run_training, final, args.jobs)

    records = read_records(args.output, "final_*.json")
    arms: dict[str, Any] = {}
    for arm in args.arms:
        own = [r for r in records if r["arm"] == arm]
        for label in own[0]["rollouts"]:
            arms[f"{arm} {label}"] = {
                **over_seeds([r["rollouts"][label] for r in own]),
                "learning_rate": own[0]["learning_rate"],
                "training_seconds": [r["training_seconds"] for r in own],
                "parameters": own[0]["parameters"],
            }
    write_record(
        args.output / "results.json",
        {
            **provenance(args.jobs),
            "config": config,
            "minutes": (time.perf_counter() - started) / 60,
            "sweep": {
                f"{r['arm']} {r['learning_rate']:g}": r["validation_error"]
                for r in read_records(args.output, "sweep_*.json")
            },
            "arms": arms,
            "floors": floors(config, args.output),
        },
    )


if __name__ == "__main__":
    main()
