"""The folder of a data set as The Well lays it out: splits, stats.yaml and a description."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import yaml

from pdesurrogates.core import FieldSpec
from pdesurrogates.data.base import TrajectoryFile
from pdesurrogates.data.convert import open_source, rewrite
from pdesurrogates.data.open import open_trajectories
from pdesurrogates.data.statistics import statistics
from pdesurrogates.data.well_metadata import described

__all__ = [
    "SPLITS",
    "convert_to_folder",
    "split_files",
    "split_trajectories",
    "write_metadata",
    "write_statistics",
    "write_well_folder",
]

SPLITS = ("train", "valid", "test")


def split_trajectories(num_trajectories: int, splits: Sequence[float]) -> dict[str, range]:
    """Whole trajectories by position: the first for training, then validation, then test.

    Every part with a positive share gets at least one trajectory; shares are rounded down for
    validation and test.

    Args:
        num_trajectories: Number of trajectories.
        splits: Shares of train, valid and test, which add up to 1.

    Raises:
        ValueError: If the shares do not add up to 1, or there are too few trajectories.

    Example:
        >>> split_trajectories(10, (0.8, 0.1, 0.1))
        {'train': range(0, 8), 'valid': range(8, 9), 'test': range(9, 10)}
    """
    shares = tuple(float(share) for share in splits)
    if len(shares) != 3 or min(shares) < 0 or not math.isclose(sum(shares), 1.0, abs_tol=1e-9):
        raise ValueError(
            f"split_trajectories: `splits` must be three shares (train, valid, test) that add up "
            f"to 1, got {shares}; e.g. 0.8 0.1 0.1."
        )
    counts = [
        max(1, math.floor(share * num_trajectories + 1e-9)) if share else 0 for share in shares[1:]
    ]
    first = num_trajectories - sum(counts)
    if first < (1 if shares[0] else 0) or (not shares[0] and first):
        raise ValueError(
            f"split_trajectories: {num_trajectories} trajectories cannot be split into {shares}; "
            f"every part with a share needs at least one. Use fewer parts, e.g. 1 0 0."
        )
    bounds = [0, first, first + counts[0], num_trajectories]
    return {
        name: range(low, high)
        for name, low, high in zip(SPLITS, bounds[:-1], bounds[1:], strict=True)
        if high > low
    }


def split_files(folder: str | Path, split: str) -> list[Path]:
    """The HDF5 files of one split, in the order in which The Well reads them.

    Args:
        folder: Folder of the data set, with data/<split>/.
        split: "train", "valid" or "test".

    Raises:
        ValueError: If there are none.
    """
    place = Path(folder) / "data" / split
    found = sorted([*place.glob("*.h5"), *place.glob("*.hdf5")]) if place.is_dir() else []
    if not found:
        raise ValueError(
            f"{folder}: no files data/{split}/*.hdf5 (or .h5); name the folder of one data set, "
            f"which holds data/train, data/valid, data/test."
        )
    return found


def write_statistics(
    folder: str | Path, *, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Write stats.yaml of a data set from its training files.

    Args:
        folder: Folder of the data set, with data/train/.
        progress: Called with (frames done, all frames).

    Returns:
        Path of stats.yaml.

    Raises:
        ValueError: If there are no training files, or they do not fit together.
    """
    text = statistics(split_files(folder, "train"), progress=progress).to_yaml()
    return _write_text(Path(folder) / "stats.yaml", text)


def write_metadata(folder: str | Path) -> Path:
    """Write <data set>.yaml: fields, scalars, boundaries, resolution, files and their sizes.

    As in The Well, what is counted per file is of the validation split (of the first split that
    there is, where it is missing).

    Args:
        folder: Folder of the data set.

    Returns:
        Path of the file, named after the data set.

    Raises:
        ValueError: If there are no files, or they belong to different data sets.
    """
    folder = Path(folder)
    present = [name for name in ("valid", "train", "test") if (folder / "data" / name).is_dir()]
    found = described(split_files(folder, (present or ["train"])[0]))
    text = yaml.safe_dump(found, sort_keys=False)
    return _write_text(folder / f"{found['dataset_name']}.yaml", text)


def write_well_folder(
    folder: str | Path,
    files: Mapping[str, Sequence[TrajectoryFile | str | Path]],
    *,
    dtype: str | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[str, ...]:
    """Lay out a data set: data/<split>/*.hdf5, stats.yaml and <name>.yaml.

    The name of the folder is the name of the data set, in its files too. Every source is
    rewritten by `rewrite`; a killed call continues when repeated.

    Args:
        folder: The folder to make, `<where data sets live>/<name>`.
        files: Split ("train", "valid", "test") to its sources, open or by path.
        dtype: "float32" or "float64"; by default the type of the source.
        overwrite: Replace files of the same name that hold something else.
        progress: Called with (frames done, all frames), first for the files, then again for the
            statistics.

    Returns:
        What was decided and changed, one sentence each.

    Raises:
        ValueError: If a split is unknown, the folder holds other files, or a source cannot be
            read.
        OSError: If the folder cannot be written to, or has too little room.
    """
    with ExitStack() as stack:
        parts = []
        for split, sources in files.items():
            for source in sources:
                file = source
                if not isinstance(file, TrajectoryFile):
                    file = stack.enter_context(open_trajectories(file))
                parts.append(_Part(split, file, range(file.num_trajectories)))
        options = _Options("", dtype, overwrite)
        return _lay_out(Path(folder), parts, options, progress)


def convert_to_folder(
    source: str | Path,
    folder: str | Path,
    *,
    splits: Sequence[float] = (0.8, 0.1, 0.1),
    axes: str | Sequence[str] | None = None,
    variable: str | None = None,
    dt: float | None = None,
    extent: float | Sequence[float] | None = None,
    fields: FieldSpec | Sequence[str] | str | None = None,
    periodic: bool | None = None,
    dtype: str | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[str, ...]:
    """One file as a data set with splits, by position: see `split_trajectories`.

    Args:
        source: File to read.
        folder: The folder to make; its name is the name of the data set.
        splits: Shares of train, valid and test.
        axes, variable, dt, extent, fields, periodic: As for `convert`.
        dtype, overwrite, progress: As for `write_well_folder`.

    Returns:
        What was decided and changed, one sentence each.

    Raises:
        ValueError: If the source cannot be read or split, or the folder holds other files.
        OSError: If the folder cannot be written to, or has too little room.
    """
    options = {"axes": axes, "variable": variable, "dt": dt, "extent": extent, "fields": fields}
    options["periodic"] = periodic
    with open_source(source, options) as file:
        rows = split_trajectories(file.num_trajectories, splits)
        parts = [_Part(split, file, chosen) for split, chosen in rows.items()]
        how = _Options(str(options), dtype, overwrite)
        return _lay_out(Path(folder), parts, how, progress)


@dataclass(frozen=True)
class _Part:
    """Trajectories of a file that belong to a split."""

    split: str
    file: TrajectoryFile
    rows: range


@dataclass(frozen=True)
class _Options:
    """How sources were read and files are written."""

    reading: str
    dtype: str | None
    overwrite: bool


def _lay_out(
    folder: Path,
    parts: Sequence[_Part],
    options: _Options,
    progress: Callable[[int, int], None] | None,
) -> tuple[str, ...]:
    targets = list(_targets(folder, parts))
    _check_folder(folder, targets)
    total = sum(len(part.rows) * part.file.num_times for part in parts)
    notes: dict[str, None] = {}
    before = 0
    for part, target in zip(parts, targets, strict=True):
        target.parent.mkdir(parents=True, exist_ok=True)
        notes |= dict.fromkeys(
            rewrite(
                part.file,
                target,
                trajectories=part.rows,
                name=folder.name,
                options=options.reading,
                dtype=options.dtype,
                overwrite=options.overwrite,
                progress=None if progress is None else _shifted(progress, before, total),
            )
        )
        before += len(part.rows) * part.file.num_times
        notes[f"{part.split}: {len(part.rows)} trajectories in {target.name}"] = None
    if any(part.split == "train" for part in parts):
        write_statistics(folder, progress=progress)
    write_metadata(folder)
    return tuple(notes)


def _targets(folder: Path, parts: Sequence[_Part]) -> Iterator[Path]:
    """A file for every part, with the name of its source."""
    taken: set[Path] = set()
    for part in parts:
        if part.split not in SPLITS:
            raise ValueError(
                f"write_well_folder {folder}: splits are train, valid and test, got "
                f"{part.split!r}."
            )
        stem = Path(str(part.file.path)).stem if part.file.path is not None else folder.name
        place = folder / "data" / part.split
        target, number = place / f"{stem}.hdf5", 1
        while target in taken:
            number += 1
            target = place / f"{stem}_{number}.hdf5"
        taken.add(target)
        yield target


def _check_folder(folder: Path, targets: Sequence[Path]) -> None:
    """Files left from something else would silently become part of the data set."""
    if not targets:
        raise ValueError(f"write_well_folder {folder}: needs at least one file, got none.")
    for split in SPLITS:
        place = folder / "data" / split
        held = {*place.glob("*.h5"), *place.glob("*.hdf5")} if place.is_dir() else set()
        foreign = sorted(held - set(targets))
        if foreign:
            raise ValueError(
                f"write_well_folder {folder}: data/{split} holds {foreign[0].name}, which is not "
                f"part of this data set; move it away, or choose another folder."
            )


def _shifted(
    progress: Callable[[int, int], None], before: int, total: int
) -> Callable[[int, int], None]:
    return lambda done, _: progress(before + done, total)


def _write_text(path: Path, text: str) -> Path:
    """All of it or nothing."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text, encoding="utf-8")
    return fresh.replace(path)
