"""Make the small size of every data set and write what was measured into its card.

Each `README.md` has two parts: text, and below a marker what this script measured: sizes, time,
statistics and checksums. Run: python datasets/cards.py [NAME ...] [--workers 2]
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from importlib import metadata
from pathlib import Path

import torch
import yaml

from pdesurrogates.data import open_trajectories
from pdesurrogates.reference import DatasetRecipe, generate, load_dataset

FOLDER = Path(__file__).parent
MARKER = "<!-- measured:"


def main() -> None:
    """Measure the chosen sets, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="data sets; by default all")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    names = arguments.names or sorted(path.parent.name for path in FOLDER.glob("*/recipe.yaml"))
    for name in names:
        card = FOLDER / name / "README.md"
        text, marker, _ = card.read_text(encoding="utf-8").partition(MARKER)
        if not marker:
            raise SystemExit(f"{card}: no line that begins with {MARKER!r}")
        measured = measure(name, arguments.workers)
        line = f"{MARKER} written by `python datasets/cards.py`, do not edit below -->"
        card.write_text(f"{text}{line}\n\n{measured}", encoding="utf-8")
        print(name, flush=True)


def measure(name: str, workers: int) -> str:
    """Generate the small size in a temporary folder and describe it."""
    with tempfile.TemporaryDirectory() as temporary:
        target = Path(temporary) / name
        start = time.perf_counter()
        generate(FOLDER / name, target, size="small", workers=workers)
        seconds = time.perf_counter() - start
        files = sorted(target.glob("data/*/*.hdf5"))
        size = sum(path.stat().st_size for path in files)
        sums = (target / "checksums.sha256").read_text(encoding="utf-8").split("\n")
        statistics = yaml.safe_load((target / "stats.yaml").read_text(encoding="utf-8"))
        rows = [
            _splits_row(load_dataset(FOLDER / name, size=which), which)
            for which in ("paper", "small")
        ]
        lines = [
            "## Sizes",
            "",
            "| Size | Trajectories (train / valid / test) | Frames | Points | Stored as | Bytes |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
            f"Seed {load_dataset(FOLDER / name).source.keys.get('seed', 0)}; trajectories are "
            f"numbered through the splits. The small size took {seconds:.0f} s with {workers} "
            f"workers on {os.cpu_count()} cores ({_processor()}) and has {size / 1e6:.1f} MB on "
            "disk:",
            "",
            "```",
            f"pdesurrogates generate datasets/{name} {name} --size small --workers {workers}",
            "```",
            "",
            "## Expected statistics (small, training split)",
            "",
            "| Field | Mean | Standard deviation | Minimum | Maximum | Deviation of a step |",
            "|---|---|---|---|---|---|",
            *_statistics_rows(files, statistics),
            "",
            f"## Checksums (small; sha256, pdesurrogates {metadata.version('pdesurrogates')}, "
            f"torch {torch.__version__.split('+')[0]}, {platform.machine()})",
            "",
            "```",
            *[line for line in sums if ".hdf5" in line],
            "```",
            "",
        ]
    return "\n".join(lines)


def _splits_row(dataset: DatasetRecipe, size: str) -> str:
    shards = list(dataset.shards())
    counts, frames, total = {}, set(), 0
    for shard in shards:
        recipe = shard.recipe
        counts[shard.split] = counts.get(shard.split, 0) + recipe.num_trajectories
        frames.add(len(recipe.times))
        values = recipe.num_trajectories * len(recipe.times) * recipe.fields.num_channels
        total += (
            values
            * torch.Size(recipe.grid.shape).numel()
            * (4 if recipe.dtype == "float32" else 8)
        )
    recipe = shards[0].recipe
    points = " x ".join(map(str, recipe.grid.shape))
    splits = " / ".join(str(counts.get(split, 0)) for split in ("train", "valid", "test"))
    return (
        f"| {size} | {splits} | {', '.join(map(str, sorted(frames)))} | {points} | "
        f"{', '.join(recipe.fields.names)} ({recipe.dtype}) | {_readable(total)} |"
    )


def _statistics_rows(files: list[Path], statistics: dict) -> list[str]:
    low: dict[str, float] = {}
    high: dict[str, float] = {}
    for path in (path for path in files if path.parent.name == "train"):
        with open_trajectories(path) as file:
            for index in range(file.num_trajectories):
                states = file.read(index).transpose(0, 1).flatten(1)
                for name, row in zip(file.fields.names, states, strict=True):
                    low[name] = min(low.get(name, float("inf")), float(row.min()))
                    high[name] = max(high.get(name, -float("inf")), float(row.max()))
    flat = {key: _flat(values) for key, values in statistics.items()}
    return [
        f"| {name} | {flat['mean'][name]:.4g} | {flat['std'][name]:.4g} | {low[name]:.4g} | "
        f"{high[name]:.4g} | {_number(flat.get('std_delta', {}).get(name))} |"
        for name in low
    ]


def _flat(values: dict) -> dict[str, float]:
    """Vector fields by component, as channels are named."""
    flat = {}
    for name, value in values.items():
        if isinstance(value, list):
            flat |= {f"{name}_{axis}": entry for axis, entry in zip("xyz", value, strict=False)}
        else:
            flat[name] = value
    return flat


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _readable(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
