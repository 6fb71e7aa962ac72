"""Message passing on meshes it has seen, has not seen, and of other densities.

    python -m experiments.message_passing.run experiments/message_passing/config.yaml OUTPUT

Every training is one JSON file in OUTPUT; those that exist are not repeated, so a killed run
continues. The last act gathers them in OUTPUT/results.json. `--quick` is a reduced run.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
import yaml

from experiments.campaign import provenance, write_record
from experiments.message_passing.fem import (
    Mesh,
    Problem,
    interpolated,
    make_holes,
    make_mesh,
    refined,
    solve,
    step_function,
)
from pdesurrogates import backbones
from pdesurrogates.data import MeshTrajectoryFile, open_trajectories
from pdesurrogates.evaluation import divergence_step, nrmse
from pdesurrogates.steppers import rollout
from pdesurrogates.surrogates import ResidualSurrogate, Surrogate, mesh_graphs
from pdesurrogates.training import InputNoise, MeshDataModule, OneStep, Unrolled, train

WALL = 6
STEPS = (1, 10, 50)
TESTS = ("seen", "unseen", "coarser", "finer")
COARSENING = (1.0, 0.5, 0.25, 0.125)  # of the nodes, for the classical baseline
Holes = list[tuple[float, float, float]]


# --- data -----------------------------------------------------------------------------------


def random_states(number: int, rng: np.random.Generator) -> list[Callable]:
    """Smooth random functions: eight waves of up to 2.5 periods each."""

    def one(k: np.ndarray, phase: np.ndarray, amplitude: np.ndarray) -> Callable:
        return lambda x: np.cos(2 * np.pi * x @ k.T + phase) @ amplitude

    return [
        one(rng.uniform(-2.5, 2.5, (8, 2)), rng.uniform(0, 2 * np.pi, 8), rng.normal(size=8) / 2)
        for _ in range(number)
    ]


def meshes_of(config: dict[str, Any], split: str) -> list[tuple[Holes, Mesh]]:
    """The meshes of a split; `seen` are those of `train`."""
    entry = config["splits"][split]
    name = "train" if split == "seen" else split
    spacing = config["spacing"] / np.sqrt(entry["density"])
    found = []
    for n in range(entry["meshes"]):
        rng = np.random.default_rng([config["seed"], list(config["splits"]).index(name), n])
        holes = make_holes(rng, gap=0.15)
        found.append((holes, make_mesh(holes, spacing, rng)))
    return found


def make_split(config: dict[str, Any], split: str, path: Path) -> None:
    """Reference trajectories on the twice refined mesh, restricted to the nodes."""
    problem = Problem(tuple(config["problem"]["velocity"]), config["problem"]["diffusivity"])
    entry, dt, frames = config["splits"][split], config["dt"], config["num_frames"]
    partial = path.with_suffix(".partial")
    with h5py.File(partial, "w") as file:
        file.attrs["dt"] = dt
        for n, (holes, mesh) in enumerate(meshes_of(config, split)):
            fine = refined(refined(mesh))
            rng = np.random.default_rng(
                [config["seed"], 99, list(config["splits"]).index(split), n]
            )
            functions = random_states(entry["states"], rng)
            u0 = np.stack([function(fine.points) for function in functions], axis=1)
            u = solve(problem, fine, u0, dt, frames, substeps=4)[:, : len(mesh.points)]
            coarse = (
                classical(problem, holes, mesh, functions, u, config) if split in TESTS else {}
            )
            for state in range(entry["states"]):
                group = file.create_group(f"{n * entry['states'] + state}")
                group["u"] = u[..., state : state + 1].astype("f4")
                group["mesh_pos"], group["cells"] = mesh.points, mesh.cells.astype("i4")
                group["node_type"] = (WALL * mesh.is_boundary.astype("i4"))[:, None]
                for key, value in coarse.items():
                    group.attrs[key] = value
    partial.replace(path)


def classical(
    problem: Problem,
    holes: Holes,
    mesh: Mesh,
    functions: list[Callable],
    truth: np.ndarray,
    config: dict[str, Any],
) -> dict[str, list[float]]:
    """Finite elements with the frame's step on coarser meshes, interpolated: errors and cost.

    Per coarsening: nrmse at STEPS on the free nodes, mean over states, then milliseconds per step
    of one state, set-up excluded.
    """
    found = {}
    for factor in COARSENING:
        rng = np.random.default_rng([config["seed"], len(mesh.points)])
        spacing = _spacing(config, mesh) / np.sqrt(factor)
        own = mesh if factor == 1 else make_mesh(holes, spacing, rng)
        step = step_function(problem, own, config["dt"])
        u = np.stack([function(own.points) for function in functions], axis=1)
        errors, single = [], u[:, :1]
        started = time.perf_counter()
        for _ in range(20):
            single = step(single)
        milliseconds = (time.perf_counter() - started) / 20 * 1e3
        for n in range(1, max(STEPS) + 1):
            u = step(u)
            if n in STEPS:
                there = u if factor == 1 else interpolated(own, u, mesh.points)
                error = (there - truth[n])[~mesh.is_boundary]
                scale = truth[n][~mesh.is_boundary]
                errors.append(
                    float(np.mean(np.sqrt((error**2).mean(axis=0) / (scale**2).mean(axis=0))))
                )
        found[f"fem {factor:g}"] = [*errors, milliseconds, float(len(own.points))]
    return found


def _spacing(config: dict[str, Any], mesh: Mesh) -> float:
    """The spacing a mesh was made with, from its longest straight boundary."""
    n = int((mesh.points[:, 1] == 0).sum())
    return 1 / (1.25 * n)


# --- training and scores --------------------------------------------------------------------


def build(config: dict[str, Any], arm: dict[str, Any], unit: float, seed: int) -> Surrogate:
    """An untrained surrogate."""
    torch.manual_seed(seed)
    kind = getattr(backbones, arm["kind"])
    options = {**config["backbone"], **config["kinds"][arm["kind"]]}
    network = kind(1, 1, edge_length=None if arm["own_unit"] else unit, **options)
    return ResidualSurrogate(network, config["dt"])


def scores(surrogate: Surrogate, file: MeshTrajectoryFile) -> dict[str, Any]:
    """nrmse on the free nodes after STEPS steps, mean over trajectories, and cost of a step."""
    errors, diverged, seconds = [], 0, 0.0
    times = file.times.tolist()
    for index, mesh in enumerate(mesh_graphs(file)):
        truth = file.read(index).transpose(1, 2)[None]
        started = time.perf_counter()
        with torch.inference_mode():
            prediction = rollout(surrogate.on(mesh), truth[:, 0], times)
        seconds += time.perf_counter() - started
        free = ~mesh.is_fixed
        prediction, truth = prediction[..., free], truth[..., free]
        errors.append(nrmse(prediction, truth).reshape(len(times)))
        diverged += int((divergence_step(prediction, truth) >= 0).sum())
    error = torch.stack(errors).nan_to_num(nan=float("inf")).mean(dim=0)
    steps = file.num_trajectories * (len(times) - 1)
    return {
        "nrmse": {str(n): float(error[n]) for n in STEPS},
        "diverged": diverged,
        "trajectories": file.num_trajectories,
        "ms_per_step": seconds / steps * 1e3,
    }


def run_training(config: dict[str, Any], name: str, seed: int, output: Path, unit: float) -> None:
    """Train one arm with one seed, score it on all splits, write its JSON file."""
    target = output / f"{name.replace(' ', '_')}_seed{seed}.json"
    if target.exists():
        return
    arm = config["arms"][name]
    surrogate = build(config, arm, unit, seed)
    data = MeshDataModule(output / "data" / "train.h5", batch_size=config["batch_size"], seed=seed)
    noisy = arm["noise"] > 0
    result = train(
        surrogate,
        data,
        num_steps=config["num_steps"],
        learning_rate=config["learning_rates"][arm["kind"]],
        warmup_steps=min(100, config["num_steps"] // 10),
        # With noise the target is the clean next state: the change undoes the noise.
        loss=Unrolled(1) if noisy else OneStep(),
        input_noise=InputNoise(arm["noise"]) if noisy else None,
        seed=seed,
        accelerator="cpu",
    )
    record: dict[str, Any] = {"arm": name, "seed": seed, "training_seconds": result.seconds}
    record["parameters"] = sum(p.numel() for p in surrogate.parameters())
    record["losses"] = result.losses[:: max(1, len(result.losses) // 20)]
    for split in TESTS:
        with open_trajectories(output / "data" / f"{split}.h5") as file:
            record[split] = scores(result.surrogate, file)
    write_record(target, record)
    shown = {split: round(record[split]["nrmse"]["50"], 4) for split in TESTS}
    print(f"{name} seed {seed}: {result.seconds:.0f} s, nrmse at 50 {shown}", flush=True)


def floors(output: Path) -> dict[str, Any]:
    """Persistence and finite elements, per split: nrmse at STEPS, milliseconds, nodes."""
    found: dict[str, Any] = {}
    for split in TESTS:
        entry: dict[str, Any] = {}
        with open_trajectories(output / "data" / f"{split}.h5") as file:
            errors, nodes = [], []
            for index in range(file.num_trajectories):
                free = file.node_type(index) != WALL
                u = file.read(index)[:, free, 0]
                rms = (u - u[0]).square().mean(dim=1).sqrt() / u.square().mean(dim=1).sqrt()
                errors.append(rms)
                nodes.append(float(len(free)))
            mean = torch.stack(errors).mean(dim=0)
            entry["persistence"] = {"nrmse": {str(n): float(mean[n]) for n in STEPS}}
            entry["nodes"] = float(np.mean(nodes))
        with h5py.File(output / "data" / f"{split}.h5") as file:
            for factor in COARSENING:
                rows = np.mean([file[key].attrs[f"fem {factor:g}"] for key in file], axis=0)
                entry[f"fem {factor:g}"] = {
                    "nrmse": dict(zip(map(str, STEPS), rows[:3].tolist(), strict=True)),
                    "ms_per_step": float(rows[3]),
                    "nodes": float(rows[4]),
                }
        found[split] = entry
    return found


def summary(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean over seeds with all seeds beside it, and the transfer ratio unseen over seen."""
    result: dict[str, Any] = {
        "parameters": records[0]["parameters"],
        "training_seconds": [r["training_seconds"] for r in records],
    }
    for split in TESTS:
        result[split] = {
            "diverged": [r[split]["diverged"] for r in records],
            "ms_per_step": [r[split]["ms_per_step"] for r in records],
            "nrmse": {
                str(n): {
                    "mean": float(np.mean([r[split]["nrmse"][str(n)] for r in records])),
                    "seeds": [r[split]["nrmse"][str(n)] for r in records],
                    "ratio_to_seen": [
                        r[split]["nrmse"][str(n)] / r["seen"]["nrmse"][str(n)] for r in records
                    ],
                }
                for n in STEPS
            },
        }
    return result


def main() -> None:
    """Data, all trainings in turn, summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--quick", action="store_true", help="a minute instead of half an hour")
    args = parser.parse_args()
    torch.set_num_threads(1)
    config = yaml.safe_load(args.config.read_text(encoding="utf-8"))
    if args.quick:
        config.update(num_steps=200, seeds=[0], spacing=0.06)
        config["arms"] = {name: config["arms"][name] for name in ("mgn", "mp-pde")}
        config["backbone"].update(width=16, depth=3)
        for entry in config["splits"].values():
            entry.update(meshes=2, states=2)
    started = time.perf_counter()
    (args.output / "data").mkdir(parents=True, exist_ok=True)
    for split in config["splits"]:
        path = args.output / "data" / f"{split}.h5"
        if not path.exists():
            make_split(config, split, path)
    with open_trajectories(args.output / "data" / "train.h5") as file:
        unit = float(np.mean([float(mesh.mean_edge_length[0]) for mesh in mesh_graphs(file)]))
    print(f"data: {time.perf_counter() - started:.0f} s, edge length {unit:.4f}", flush=True)
    for seed in config["seeds"]:
        for name in config["arms"]:
            run_training(config, name, seed, args.output, unit)
    records = [json.loads(path.read_text()) for path in sorted(args.output.glob("*_seed*.json"))]
    write_record(
        args.output / "results.json",
        {
            **provenance(1),
            "config": config,
            "edge_length": unit,
            "minutes": (time.perf_counter() - started) / 60,
            "arms": {
                name: summary([r for r in records if r["arm"] == name]) for name in config["arms"]
            },
            "floors": floors(args.output),
        },
    )


if __name__ == "__main__":
    main()
