"""NeuralStagger with walls, in 3D and for optimal control, against what is simpler.

    python -m experiments.neural_stagger_walls.run CONFIG.yaml OUTPUT [--jobs 2] [--quick]

Run from the root of the repository. Every job is one JSON file in OUTPUT; those that exist are
not repeated, so a killed run continues. The last act gathers them in OUTPUT/results.json.
"""

from __future__ import annotations

import argparse
import importlib
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from experiments.campaign import provenance, read_records, run_all, write_record
from experiments.neural_stagger_walls.cases import Box3D, BurgersLine, Case, Cavity, Channel
from experiments.neural_stagger_walls.classical import classical_rows
from experiments.neural_stagger_walls.control import control_rows
from pdesurrogates.core import FieldSpec
from pdesurrogates.evaluation import checkerboard_index, critical_path, measure, relative_l2
from pdesurrogates.steppers import rollout
from pdesurrogates.surrogates import NeuralStagger, ProjectedStagger, wall_channels
from pdesurrogates.training import (
    PhysicsLoss,
    SelfRolledPool,
    fit_to_equation,
    train_on_physics,
)

CASES: dict[str, type[Case]] = {
    "channel": Channel,
    "cavity": Cavity,
    "box": Box3D,
    "control": BurgersLine,
}
TEST_FIRST = 1_000_000  # samples of the tests, far from those of training


@dataclass(frozen=True)
class Arm:
    """What is decomposed: factor s, chains k, and the controls.

    Args:
        space: s.
        time: k.
        steps: Step of a network call in fine steps, where k = 1.
        coarsening: Fine points per point of the grid of the whole model.
    """

    space: int = 1
    time: int = 1
    steps: int = 1
    coarsening: int = 1


ARMS = {
    "(1,1)": Arm(),
    "(1,1), twice the step": Arm(steps=2),
    "(1,2)": Arm(time=2),
    "(2,1)": Arm(space=2),
    "(2,2)": Arm(space=2, time=2),
    "(4,1)": Arm(space=4),
    "(4,4)": Arm(space=4, time=4),
    "coarse, upsampled": Arm(coarsening=2),
}


def case_of(name: str, config: dict[str, Any]) -> Case:
    """The problem, at the sizes of the configuration."""
    own = config["cases"][name]
    return CASES[name](own["num_points"], own["dt"], own["end"])


def build(case: Case, arm: Arm, own: dict[str, Any], seed: int) -> NeuralStagger:
    """An untrained surrogate of the case, in float32."""
    level = case.level(case.num_points // arm.coarsening)
    constants = wall_channels(level.grid)
    channels = case.num_channels
    seen = channels * arm.space**case.dim + len(constants)
    module, _, name = own["backbone"]["class_path"].rpartition(".")
    torch.manual_seed(seed)
    backbone = getattr(importlib.import_module(module), name)(
        in_channels=seen, out_channels=channels, **own["backbone"]["init_args"]
    )
    kind = NeuralStagger if level.project is None else ProjectedStagger
    surrogate = kind(
        backbone,
        case.dt * arm.steps,
        space=arm.space,
        time=arm.time,
        num_constants=len(constants),
        has_fixed_points=level.is_fixed is not None,
        fields=FieldSpec(tuple(f"channel {c}" for c in range(channels))),
        grid=level.grid,
    )
    if len(constants):
        surrogate.set_constants(constants)
    if level.is_fixed is not None:
        surrogate.set_fixed_points(level.is_fixed)
    if isinstance(surrogate, ProjectedStagger) and level.project is not None:
        surrogate = surrogate.with_projection(level.project)
    return surrogate.with_start(level.step)


def trained(
    case: Case, arm: Arm, own: dict[str, Any], seed: int, device: str = "cpu"
) -> tuple[NeuralStagger, dict]:
    """A surrogate trained without labels, and what the training says."""
    num_points = case.num_points // arm.coarsening
    level, surrogate = case.level(num_points), build(case, arm, own, seed).to(device)

    @torch.no_grad()
    def fresh(first: int, number: int) -> Tensor:
        u = case.initial(num_points, first + 100_000 * seed, number)
        frames = [u.to(device)]
        for _ in range(arm.time - 1):
            frames.append(level.step(0.0, frames[-1], case.dt))
        return torch.stack(frames, dim=1).float()

    settings = own["training"]
    pool = SelfRolledPool(fresh, size=128, renewal=settings["renewal"], seed=seed)
    fit_to_equation(surrogate, level.f, pool.frames[:, 0])
    # Other work may share the processor; an accelerator works while this process waits.
    clock = time.process_time if device == "cpu" else time.perf_counter
    started = clock()
    record = train_on_physics(
        surrogate,
        PhysicsLoss(level.f),
        pool,
        seconds=settings["seconds"],
        batch_size=settings["batch_size"],
        learning_rate=settings["learning_rate"],
        clock=clock,
    )
    return surrogate, {
        "training_seconds": clock() - started,
        "updates": record.num_updates,
        "losses": record.losses[:: max(1, len(record.losses) // 20)],
        "failure": record.failure,
        "parameters": sum(p.numel() for p in surrogate.parameters()),
    }


def write_truth(name: str, config: dict[str, Any], output: Path) -> None:
    """OUTPUT/truth_<case>.pt: first and last frame of the test samples, the same for all jobs."""
    path = output / f"truth_{name}.pt"
    if path.exists():
        return
    torch.set_num_threads(1)
    case = case_of(name, config)
    torch.save(case.truth(TEST_FIRST, config["num_tests"], [0.0, case.end]), path)


def run_job(job: dict[str, Any]) -> str:
    """Train and score one arm, or the classical rows of a case; write its JSON file."""
    torch.set_num_threads(1)
    target = Path(job["output"]) / f"{job['name']}.json"
    if target.exists():
        return job["name"]
    config, own = job["config"], job["config"]["cases"][job["case"]]
    case = case_of(job["case"], config)
    truth = torch.load(Path(job["output"]) / f"truth_{job['case']}.pt")
    record = {key: job[key] for key in ("case", "arm", "seed")}
    if job["arm"] == "classical":
        record["rows"] = classical_rows(case, own, TEST_FIRST, truth)
        if job["case"] == "control":
            record["control"] = control_rows(case, None, own["control"], TEST_FIRST)
    else:
        arm = ARMS[job["arm"]]
        surrogate, training = trained(case, arm, own, job["seed"], job["device"])
        record |= training
        with torch.no_grad():
            record |= scores(case, arm, surrogate, truth)
            record |= latency(arm, surrogate, case)
        surrogate.cpu()
        if job["case"] == "control":
            record["control"] = control_rows(case, surrogate, own["control"], TEST_FIRST)
    write_record(target, record)
    return job["name"]


def scores(case: Case, arm: Arm, surrogate: NeuralStagger, truth: Tensor) -> dict[str, Any]:
    """Errors at the end against the truth, patterns of sub-grids, what else is known."""
    num_points, number = case.num_points // arm.coarsening, len(truth)
    times = case.times[:: arm.steps]
    u0 = case.tested(num_points, TEST_FIRST, number)
    device = surrogate.state_normalizer.mean.device
    states = rollout(surrogate, u0.float().to(device), times).cpu()
    found, exact = case.fields(states[:, -1], num_points), truth[:, -1]
    error = relative_l2(found, exact).nan_to_num(nan=math.inf)
    fine = case.level(case.num_points)
    same_grid = fine.step(0.0, case.tested(case.num_points, TEST_FIRST, number), case.end)
    to_same_grid = relative_l2(found, case.fields(same_grid, case.num_points))
    gap = found - exact
    space = (2,) * case.dim
    pattern = checkerboard_index(gap, space)
    pattern = pattern * gap.flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)
    unchanged = relative_l2(truth[:, 0], exact)

    def advance(number: int, t: float) -> Tensor:
        times = [n * surrogate.dt for n in range(round(t / surrogate.dt) + 1)]
        return rollout(surrogate, u0[:number].float().to(device), times)[:, -1].cpu()

    return {
        "relative_l2": float(error.median()),
        "relative_l2_largest": float(error.max()),
        "to_same_grid": float(to_same_grid.nan_to_num(nan=math.inf).median()),
        "no_change": float(unchanged.median()),
        "checkerboard": float(pattern.nan_to_num(nan=math.inf).median()),
        **case.extras(advance, num_points),
    }


def latency(arm: Arm, surrogate: NeuralStagger, case: Case) -> dict[str, float]:
    """Seconds per unit time: all on this core, and the critical path of sub-networks.

    The critical path is the slowest sub-network of one chain and the projection, as if every
    sub-network of every chain had a core of its own and exchange were free.
    """
    num_points = case.num_points // arm.coarsening
    device = surrogate.state_normalizer.mean.device
    u = case.initial(num_points, 0, 1).float().to(device)
    frames = u[:, None].expand(1, arm.time, *u.shape[1:]).contiguous()
    span, repeats = surrogate.dt * arm.time, {"num_repeats": 15, "num_warmup": 3}
    whole = measure(lambda: surrogate.predict_frames(frames), device=device, **repeats)
    path = critical_path(surrogate.sub_calls(u), device=device, **repeats)
    project, solve = case.level(num_points).project, 0.0
    if project is not None:
        solve = measure(lambda: project(u), device=device, **repeats).seconds
    return {
        "seconds_per_unit_time": whole.seconds / span,
        "critical_seconds_per_unit_time": (path.seconds + solve) / span,
        "projection_seconds_per_unit_time": solve / span,
    }


def jobs_of(config: dict[str, Any], output: Path, device: str) -> list[dict[str, Any]]:
    """All arms and seeds of all cases, and the classical solvers."""
    jobs = []
    for name, own in config["cases"].items():
        arms: list[tuple[str, int]] = [("classical", 0)]
        arms += [
            (arm, seed) for seed in config["seeds"][: own["num_seeds"]] for arm in own["arms"]
        ]
        for arm, seed in arms:
            short = "".join(c if c.isalnum() else "_" for c in arm)
            jobs.append(
                {
                    "config": config,
                    "output": str(output),
                    "device": device,
                    "name": f"{name}_{short}_seed{seed}",
                    "case": name,
                    "arm": arm,
                    "seed": seed,
                }
            )
    return jobs


def gathered(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Records by case and arm, seeds side by side."""
    found: dict[str, Any] = {}
    for record in sorted(records, key=lambda r: r["seed"]):
        case = found.setdefault(record["case"], {"arms": {}})
        if record["arm"] == "classical":
            case["classical"] = record["rows"]
            case["classical_control"] = record.get("control")
            continue
        arm = case["arms"].setdefault(record["arm"], {})
        for key, value in record.items():
            if key not in ("case", "arm", "losses"):
                arm.setdefault(key, []).append(value)
    return found


def reduced(config: dict[str, Any]) -> dict[str, Any]:
    """Seconds of training instead of minutes, one seed."""
    config.update(seeds=config["seeds"][:1], num_tests=4)
    for own in config["cases"].values():
        own["training"]["seconds"] = own["quick_seconds"]
        own["arms"] = [
            arm for arm in own["arms"] if arm in ("(1,1)", "(2,2)", "coarse, upsampled")
        ]
        own["crank_nicolson_tests"] = min(1, own["crank_nicolson_tests"])
    config["cases"]["control"]["control"].update(num_targets=1, iterations=10)
    return config


def main() -> None:
    """Trainings, classical solvers, summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default="cpu", help="where networks are trained")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--quick", action="store_true", help="a minute or two")
    args = parser.parse_args()
    config = yaml.safe_load(args.config.read_text(encoding="utf-8"))
    config["cases"] = {name: config["cases"][name] for name in args.cases}
    config = reduced(config) if args.quick else config
    args.output.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    for name in args.cases:
        write_truth(name, config, args.output)
    run_all(run_job, jobs_of(config, args.output, args.device), args.jobs)
    write_record(
        args.output / "results.json",
        {
            **provenance(args.jobs),
            "config": config,
            "minutes": (time.perf_counter() - started) / 60,
            "cases": gathered(read_records(args.output, "*_seed*.json")),
        },
    )


if __name__ == "__main__":
    main()
