"""`generate`: a recipe becomes a file or a data set."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from pdesurrogates.reference import generate

__all__ = ["run"]

_UNITS = ("B", "kB", "MB", "GB", "TB")


def run(arguments: Namespace) -> None:
    """Solve the recipe and write it, with a bar over chunks of trajectories."""
    start, is_busy = time.perf_counter(), False

    def bar(chunks: Iterable[int]) -> Iterable[int]:
        nonlocal is_busy
        is_busy = True
        return tqdm(chunks, desc=arguments.output.name, unit="chunk")

    path = generate(
        arguments.recipe,
        arguments.output,
        size=arguments.size,
        split=arguments.split,
        workers=arguments.workers,
        scheduler=arguments.scheduler,
        progress=bar,
        overwrite=arguments.overwrite,
    )
    seconds = time.perf_counter() - start
    files = [path] if path.is_file() else sorted(path.glob("data/*/*.hdf5"))
    what = "" if path.is_file() else f"{_counted(files)}, "
    size = sum(file.stat().st_size for file in files)
    did = "wrote" if is_busy else "already there:"
    print(f"{did} {path}: {what}{_readable(size)}, in {seconds:.1f} s")


def _counted(files: list[Path]) -> str:
    """Files per split, e.g. "train 4 files, test 1 file"."""
    splits = dict.fromkeys(file.parent.name for file in files)
    counts = {split: sum(file.parent.name == split for file in files) for split in splits}
    return ", ".join(f"{split} {n} file{'s' * (n > 1)}" for split, n in counts.items())


def _readable(size: float) -> str:
    power = 0
    while size >= 1000 and power < len(_UNITS) - 1:
        size, power = size / 1000, power + 1
    return f"{size:.3g} {_UNITS[power]}"
