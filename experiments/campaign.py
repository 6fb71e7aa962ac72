"""What experiments share: jobs that survive a kill, scores of rollouts, summaries over seeds."""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pdesurrogates.evaluation import (
    bootstrap_interval,
    correlation_time,
    divergence_step,
    relative_l2,
)
from pdesurrogates.reference import generate

__all__ = [
    "THRESHOLDS",
    "floor_rows",
    "make_data",
    "mean_or_inf",
    "over_seeds",
    "provenance",
    "read_records",
    "rollout_scores",
    "run_all",
    "seeds_text",
    "write_record",
]

THRESHOLDS = (0.8, 0.9, 0.95)


def run_all(
    function: Callable[[dict[str, Any]], str], jobs: Sequence[dict[str, Any]], num_processes: int
) -> None:
    """Run `function(job)`, which returns a name, for every job, each in a fresh process."""
    context = multiprocessing.get_context("spawn")
    started = time.perf_counter()
    with context.Pool(num_processes, maxtasksperchild=1) as pool:
        for n, name in enumerate(pool.imap_unordered(function, jobs), start=1):
            minutes = (time.perf_counter() - started) / 60
            print(f"[{minutes:5.1f} min] {n}/{len(jobs)} {name}", flush=True)


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    temporary = path.with_suffix(".partial")
    temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def read_records(folder: Path, pattern: str) -> list[dict[str, Any]]:
    """The JSON files of a folder, sorted by name."""
    return [json.loads(p.read_text(encoding="utf-8")) for p in sorted(folder.glob(pattern))]


def provenance(num_processes: int) -> dict[str, Any]:
    """Command, commit, machine and version of this run."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "command": " ".join(["python", *sys.argv]),
        "commit": commit.stdout.strip(),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {num_processes} processes",
        "torch": torch.__version__,
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def make_data(config: dict[str, Any], output: Path) -> None:
    """OUTPUT/data/<split>.hdf5 for every split of the configuration that is not there."""
    started = time.perf_counter()
    (output / "data").mkdir(parents=True, exist_ok=True)
    for name, split in config["splits"].items():
        path = output / "data" / f"{name}.hdf5"
        if not path.exists():
            generate({**config["data"], **split}, path)
    print(f"data: {time.perf_counter() - started:.0f} s", flush=True)


def rollout_scores(prediction: Tensor, truth: Tensor, times: list[float]) -> dict[str, Any]:
    """Numbers of one set of rollouts; the given first frame is not scored."""
    error = relative_l2(prediction, truth)
    quarter = max(1, len(times) // 4)
    return {
        "relative_l2_mean": mean_or_inf(error[:, 1:]),
        "relative_l2_first_quarter": mean_or_inf(error[:, 1 : quarter + 1]),
        "relative_l2_end": mean_or_inf(error[:, -1]),
        "relative_l2_curve": error.mean(dim=0)[:: max(1, len(times) // 50)].tolist(),
        "correlation_time": {
            str(threshold): correlation_time(
                prediction, truth, times, threshold=threshold
            ).tolist()
            for threshold in THRESHOLDS
        },
        "diverged": int((divergence_step(prediction, truth) >= 0).sum()),
        "trajectories": len(truth),
    }


def mean_or_inf(values: Tensor) -> float:
    """Mean in which NaN counts as infinite error."""
    return float(values.nan_to_num(nan=float("inf")).mean())


def over_seeds(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean over seeds with every seed, and a bootstrap interval over all trajectories."""

    def each(values: list[float]) -> dict[str, Any]:
        return {"mean": float(torch.tensor(values, dtype=torch.float64).mean()), "seeds": values}

    result: dict[str, Any] = {
        name: each([r[name] for r in records])
        for name, value in records[0].items()
        if isinstance(value, float)
    }
    for threshold in map(str, THRESHOLDS):
        times = torch.tensor(
            [r["correlation_time"][threshold] for r in records], dtype=torch.float64
        )
        # Trajectories are the samples; seeds are averaged first.
        _, low, high = bootstrap_interval(times.mean(dim=0).tolist())
        result[f"correlation_time_{threshold}"] = {
            **each(times.mean(dim=1).tolist()),
            "interval": [low, high],
            "median": float(times.median()),
            "deciles": [float(times.quantile(q)) for q in (0.1, 0.9)],
        }
    result["diverged"] = [r["diverged"] for r in records]
    return result


def seeds_text(seeds: Sequence[float], digits: int = 3) -> str:
    """Mean over seeds, and the smallest and largest seed, as in the tables of the READMEs."""
    mean = f"{sum(seeds) / len(seeds):.{digits}g}"
    if len(seeds) == 1:
        return mean
    return f"{mean} ({min(seeds):.{digits}g} .. {max(seeds):.{digits}g})"


def floor_rows(floors: dict[str, Any]) -> list[str]:
    """A table of `rollout_scores` of persistence and classical solvers."""
    rows = ["| floor | mean error | time to corr. 0.8 | s / time |", "|---|---|---|---|"]
    for name, floor in floors.items():
        times = floor["correlation_time"]["0.8"]
        rows.append(
            f"| {name} | {floor['relative_l2_mean']:.3g} | {sum(times) / len(times):.3g} "
            f"| {floor.get('seconds_per_unit_time', 0):.2g} |"
        )
    return rows
