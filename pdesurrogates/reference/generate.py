"""Data sets from a recipe: seeded, chunked, resumable, on one process or many."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pdesurrogates.reference.chunk import ChunkResult
from pdesurrogates.reference.cluster import (
    Chunk,
    Outcome,
    here,
    local_cluster,
    on_cluster,
    scheduler_at,
)
from pdesurrogates.reference.dataset import DatasetRecipe, choose_size, dataset_of
from pdesurrogates.reference.description import CHECKSUMS, describe
from pdesurrogates.reference.recipe import Recipe
from pdesurrogates.reference.recipe_file import build_recipe, read_recipe
from pdesurrogates.reference.writing import Planned, write_planned

__all__ = ["generate"]

LOG = "generation.jsonl"


def generate(
    recipe: Recipe | str | Path | Mapping[str, Any],
    path: str | Path,
    *,
    size: str | None = None,
    split: str | None = None,
    workers: int = 0,
    scheduler: str | None = None,
    progress: Callable[[Iterable[int]], Iterable[int]] | None = None,
    overwrite: bool = False,
) -> Path:
    """Solve a recipe in float64 and write the trajectories to HDF5 in The Well layout.

    Chunks are written as they are made. After a kill at any moment the same call continues, and
    the finished file is the same to the last bit, whoever solved the chunks; a finished file of
    the same recipe is left alone. The recipe and the versions of this package, torch and numpy
    are stored in the file.

    Give YAML or a mapping where a call must be resumable: a `Recipe` object is recognised by its
    `repr`, which for functions and many classes differs from process to process.

    The recipe of a data set (one with `splits`) writes a folder:

        data/train/<name>_0000.hdf5 ...   the files, also under data/valid and data/test
        generation.jsonl                  one line per chunk: seconds, drift of what is conserved
        stats.yaml, <name>.yaml           statistics of the training split, metadata of The Well
        checksums.sha256                  for `sha256sum --check`

    Args:
        recipe: A recipe, or a YAML file, a folder with a `recipe.yaml`, or a mapping.
        path: File to write, or folder for a data set. An unfinished file is `<path>.partial`.
        size: One of the recipe's sizes; by default "small" where it has any.
        split: Only this split of a data set.
        workers: Processes on this machine that solve chunks through Dask, each on one thread; 0
            solves in this process. A script that asks for any needs
            `if __name__ == "__main__":`.
        scheduler: Address of a running Dask scheduler, e.g. "tcp://10.0.0.1:8786", instead.
        progress: Wraps the iterable of chunks that are on disk, e.g. a progress bar.
        overwrite: Replace existing files.

    Returns:
        The path.

    Raises:
        FileNotFoundError: If there is no such recipe.
        ValueError: If the recipe is wrong, or a file is there that was made from something else.
        GenerationError: A ValueError; names the trajectories that could not be solved, after all
            others were written.
    """
    path = Path(path)
    _check_workers(workers, scheduler)
    run = partial(
        _write, workers=workers, scheduler=scheduler, progress=progress, overwrite=overwrite
    )
    if isinstance(recipe, Recipe):
        _check_single(path, size=size, split=split)
        run([Planned(path, recipe, repr(recipe), recipe)])
        return path
    text, chosen_size = choose_size(read_recipe(recipe), size)
    if "splits" in text.keys:
        return _generate_dataset(dataset_of(text, chosen_size), path, split, run)
    _check_single(path, split=split)
    run([Planned(path, build_recipe(text), text.text, text.text)])
    return path


def _check_single(path: Path, *, size: str | None = None, split: str | None = None) -> None:
    if split is not None or size is not None:
        raise ValueError(
            f"generate: this recipe has neither splits nor sizes, got split = {split!r}, size = "
            f"{size!r}; leave them out, or give the recipe of a data set."
        )
    if path.is_dir():
        raise ValueError(f"generate: {path} is a folder; name a file in it.")


def _generate_dataset(
    dataset: DatasetRecipe, folder: Path, split: str | None, run: Callable
) -> Path:
    """The files of a data set, then what describes them all."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"generate: {folder} is a file; a data set needs a folder.")
    files = []
    for shard in dataset.shards(split):
        path = folder / shard.path
        path.parent.mkdir(parents=True, exist_ok=True)
        files.append(Planned(path, shard.recipe, shard.text, shard.text))

    def log(planned: Planned, start: int, result: ChunkResult) -> None:
        line = {
            "file": planned.path.relative_to(folder).as_posix(),
            "first": start,
            "seconds": round(result.seconds, 3),
            "drift": result.drift,
        }
        with (folder / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    if not all(planned.is_finished() for planned in files):
        (folder / CHECKSUMS).unlink(missing_ok=True)
    run(files, log=log)
    if not (folder / CHECKSUMS).is_file():
        describe(folder)
    return folder


def _write(
    files: list[Planned],
    *,
    workers: int,
    scheduler: str | None,
    progress: Callable[[Iterable[int]], Iterable[int]] | None,
    overwrite: bool,
    log: Callable[[Planned, int, ChunkResult], None] | None = None,
) -> None:
    """Write what is not there yet."""
    pending = files if overwrite else [planned for planned in files if not planned.is_finished()]
    for planned in pending:
        if planned.path.exists() and not overwrite:
            raise ValueError(
                f"generate: {planned.path} exists and was made from another recipe or with other "
                "versions; give another name, delete it, or pass overwrite=True (--overwrite)."
            )
    if not pending:
        return
    with _solver(workers, scheduler) as solve:
        total = sum(len(planned.chunks) for planned in pending)
        chunks = _Sized(write_planned(pending, solve, overwrite=overwrite, log=log), total)
        for _ in chunks if progress is None else progress(chunks):
            pass


class _Sized:
    """An iterator with a length, as progress bars like it."""

    def __init__(self, items: Iterator[int], length: int) -> None:
        self.items = items
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        return self.items


@contextmanager
def _solver(
    workers: int, scheduler: str | None
) -> Iterator[Callable[[Iterable[Chunk]], Iterator[Outcome]]]:
    """Who solves chunks: this process, processes here, or a cluster."""
    if scheduler is None and workers == 0:
        yield here
        return
    with local_cluster(workers) if scheduler is None else scheduler_at(scheduler) as client:
        yield partial(on_cluster, client)


def _check_workers(workers: int, scheduler: str | None) -> None:
    if workers < 0:
        raise ValueError(f"generate: `workers` must not be negative, got {workers}.")
    if workers and scheduler is not None:
        raise ValueError(
            "generate: give `workers` (processes on this machine) or `scheduler` (a cluster that "
            "runs already), not both."
        )
