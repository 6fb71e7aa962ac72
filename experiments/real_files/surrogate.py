"""Surrogates trained on our own solver's data, rolled out from states of somebody else's file.

    python experiments/real_files/surrogate.py FOLDER [--jobs 2] [--quick] [--output RESULT.json]

FOLDER holds `ks_chaotic_L32pi.mat` (Kuramoto-Sivashinsky, L = 32 pi, 511 points, step 0.4). Our
data have the same length and step on 256 points. Residual and derivative surrogates, three seeds
each, start from frames of the file and are scored against what follows in it, and so is the
classical solver from the same frames.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pdesurrogates.backbones import FNO
from pdesurrogates.core import Grid
from pdesurrogates.data import convert, open_trajectories
from pdesurrogates.equations import KuramotoSivashinsky
from pdesurrogates.evaluation import correlation_time, relative_l2, resample
from pdesurrogates.reference import RandomFourierSeries, Recipe, generate
from pdesurrogates.steppers import ETDRK, RK4, integrate, rollout
from pdesurrogates.surrogates import DerivativeSurrogate, ResidualSurrogate, Surrogate
from pdesurrogates.training import train

GRID = Grid((256,), (32 * math.pi,))
DT, HORIZON = 0.4, 100  # step of the file; steps scored from each start
STARTS = range(80, 151, 10)  # t = 32 .. 60: the transient of the file is over


def build(arm: str, seed: int) -> Surrogate:
    """An untrained surrogate; both arms start from the same weights for one seed."""
    torch.manual_seed(seed)
    backbone = FNO(num_modes=(48,), width=32, depth=4)
    if arm == "residual":
        return ResidualSurrogate(backbone, DT)
    return DerivativeSurrogate(backbone, RK4(), DT, target_order=4)


def run_training(job: dict[str, Any]) -> dict[str, Any]:
    """Train one surrogate and roll it out from the file's states."""
    torch.set_num_threads(1)
    result = train(
        build(job["arm"], job["seed"]),
        job["train"],
        num_steps=job["num_steps"],
        learning_rate=5e-3,
        batch_size=32,
        warmup_steps=50,
        seed=job["seed"],
        accelerator="cpu",
    )
    starts, truth = pieces(job["file"])
    times = [DT * n for n in range(HORIZON + 1)]
    record = {"arm": job["arm"], "seed": job["seed"], "training_seconds": result.seconds}
    for label, points in (("256 points", GRID.shape), ("511 points of the file", (511,))):
        u0 = resample(starts, points).float()
        began = time.perf_counter()
        with torch.inference_mode():
            prediction = rollout(result.surrogate, u0, times)
        seconds = time.perf_counter() - began
        record[label] = scores(resample(prediction.double(), (511,)), truth, times)
        record[label]["seconds"] = seconds
    return record


def pieces(path: str) -> tuple[Tensor, Tensor]:
    """Starting states (start, channel, x) of the file and what follows each, on 511 points."""
    with open_trajectories(path) as file:
        states = file.read(0).double()
    truth = torch.stack([states[n : n + HORIZON + 1] for n in STARTS])
    return truth[:, 0], truth


def scores(prediction: Tensor, truth: Tensor, times: list[float]) -> dict[str, Any]:
    """One-step error, correlation times per start, error on the way."""
    error = relative_l2(prediction, truth)
    return {
        "one_step_relative_l2": float(error[:, 1].mean()),
        "relative_l2_after_10": float(error[:, 25].mean()),
        "correlation_time_0.8": correlation_time(prediction, truth, times).tolist(),
    }


def classical(path: str) -> dict[str, Any]:
    """The solver from the same states, at the surrogates' grid and coarser, at several steps."""
    starts, truth = pieces(path)
    times = [DT * n for n in range(HORIZON + 1)]
    found: dict[str, Any] = {}
    for points in (128, 256):
        f = KuramotoSivashinsky().on(GRID.resized(points))
        for dt in (0.4, 0.2, 0.05):
            u0 = resample(starts, (points,))
            began = time.perf_counter()
            states = integrate(f, u0, times, ETDRK(4), dt=dt).states
            seconds = time.perf_counter() - began
            label = f"ETDRK4, {points} points, dt {dt:g}"
            found[label] = scores(resample(states, (511,)), truth, times) | {"seconds": seconds}
    return found


def main() -> None:
    """Data, six trainings, scores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="one seed, few steps")
    default = Path(__file__).parent / "results" / "surrogate.json"
    parser.add_argument("--output", type=Path, default=default)
    arguments = parser.parse_args()
    num_steps, seeds = (100, [0]) if arguments.quick else (2500, [0, 1, 2])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "file.hdf5"
        notes = convert(arguments.folder / "ks_chaotic_L32pi.mat", file)
        recipe = Recipe(
            KuramotoSivashinsky(),
            GRID,
            dt=DT,
            num_steps=100,
            num_trajectories=16 if arguments.quick else 256,
            initial_condition=RandomFourierSeries(8),
            burn_in=50.0,
            solver_dt=0.05,
        )
        data = generate(recipe, Path(folder) / "train.hdf5")
        jobs = [
            {
                "arm": arm,
                "seed": seed,
                "num_steps": num_steps,
                "train": str(data),
                "file": str(file),
            }
            for seed in seeds
            for arm in ("residual", "derivative")
        ]
        with multiprocessing.get_context("spawn").Pool(arguments.jobs) as pool:
            records = pool.map(run_training, jobs, chunksize=1)
        results = {
            "command": "python experiments/real_files/surrogate.py FOLDER",
            "notes": notes,
            "recipe": repr(recipe),
            "num_steps": num_steps,
            "horizon": HORIZON * DT,
            "starts": [DT * n for n in STARTS],
            "surrogates": records,
            "classical": classical(str(file)),
        }
    arguments.output.parent.mkdir(exist_ok=True)
    arguments.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for record in records:
        kept = {k: v for k, v in record.items() if isinstance(v, dict)}
        for label, values in kept.items():
            mean = sum(values["correlation_time_0.8"]) / len(STARTS)
            print(record["arm"], record["seed"], label, f"time to correlation 0.8: {mean:.1f}")


if __name__ == "__main__":
    main()
