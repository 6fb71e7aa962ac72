"""What is in this file? Layout, fields, grid, times, ranges and everything that looks wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import torch

from pdesurrogates.data.array_files import load_arrays, read_arrays
from pdesurrogates.data.axes import irregularity
from pdesurrogates.data.base import TrajectoryFile
from pdesurrogates.data.endpoints import repeats_of
from pdesurrogates.data.open import array_format, find_reader, open_trajectories

__all__ = ["FieldRange", "Inspection", "inspect_file"]

_BLOCK_BYTES = 32 * 2**20
_SCAN_BYTES = 2**30
_AXIS_NAMES = ("x", "y", "z")


@dataclass(frozen=True)
class FieldRange:
    """Range of one field over the scanned trajectories; NaN and Inf are counted, not used."""

    name: str
    unit: str
    minimum: float
    maximum: float
    mean: float
    std: float
    num_missing: int


@dataclass(frozen=True)
class Inspection:
    """What `inspect_file` found.

    Args:
        path: The file.
        layout: Name of the layout; "unknown" where no reader fits.
        facts: Label to text: grid, spacing, times, parameters, ...
        ranges: One entry per field.
        problems: What is wrong or doubtful.
        notes: What the reader decided.
        contents: Names and shapes in the file, where it could not be read as trajectories.
    """

    path: Path
    layout: str
    facts: dict[str, str] = field(default_factory=dict)
    ranges: tuple[FieldRange, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    contents: tuple[str, ...] = ()

    def text(self) -> str:
        """All of it for reading in a terminal."""
        lines = [f"{self.path}", _row("layout", self.layout)]
        lines += [_row(label, text) for label, text in self.facts.items()]
        if self.ranges:
            width = max(5, *(len(entry.name) for entry in self.ranges))
            lines.append(
                f"  {'field':<{width}}  {'unit':<6}{'min':>12}{'max':>12}{'mean':>12}{'std':>12}"
                f"{'missing':>10}"
            )
            lines += [
                f"  {r.name:<{width}}  {r.unit:<6}{r.minimum:>12.5g}{r.maximum:>12.5g}"
                f"{r.mean:>12.5g}{r.std:>12.5g}{r.num_missing:>10}"
                for r in self.ranges
            ]
        lines += [_row("contains", entry) for entry in self.contents]
        lines += [_row("note", text) for text in self.notes]
        lines += [_row("PROBLEM", text) for text in self.problems] or [
            _row("problems", "none found")
        ]
        return "\n".join(lines)


def inspect_file(
    path: str | Path,
    *,
    num_trajectories: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Inspection:
    """Read a file's description and scan its numbers.

    Args:
        path: Trajectories of a known layout, or a file of arrays.
        num_trajectories: How many trajectories to scan, evenly spread; by default as many as make
            1 GiB, at least one.
        progress: Called with (trajectories scanned, trajectories to scan).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is of no known kind at all, or damaged.
    """
    path = Path(path)
    kind = array_format(path)
    if kind is None or (kind == "HDF5" and find_reader(path) is not None):
        opener = open_trajectories
    else:
        opener = read_arrays
    try:
        file = opener(path)
    except ValueError as error:
        if kind is None:
            raise
        return Inspection(
            path,
            f"unknown ({'HDF5' if kind == 'HDF5' else kind})",
            problems=(str(error),),
            contents=_contents(path, kind),
        )
    with file:
        scanned = _chosen(file, num_trajectories)
        ranges = _scan(file, scanned, progress)
        return Inspection(
            path,
            file.layout,
            facts=_facts(file, scanned),
            ranges=ranges,
            problems=_problems(file, ranges, len(scanned)),
            notes=file.notes,
        )


def _row(label: str, text: str) -> str:
    return f"  {label + ':':<14}{text}"


def _chosen(file: TrajectoryFile, wanted: int | None) -> list[int]:
    size = max(1, file.frame_bytes * file.num_times)
    count = max(1, _SCAN_BYTES // size) if wanted is None else max(1, wanted)
    count = min(count, file.num_trajectories)
    return [index * file.num_trajectories // count for index in range(count)]


def _scan(
    file: TrajectoryFile, chosen: list[int], progress: Callable[[int, int], None] | None
) -> tuple[FieldRange, ...]:
    channels = file.fields.num_channels
    low = torch.full((channels,), math.inf, dtype=torch.float64)
    high, missing = -low, torch.zeros(channels, dtype=torch.int64)
    total, squares, count = (torch.zeros(channels, dtype=torch.float64) for _ in range(3))
    shift: torch.Tensor | None = None
    block = max(1, _BLOCK_BYTES // max(1, file.frame_bytes))
    for done, index in enumerate(chosen, start=1):
        for start in range(0, file.num_times, block):
            u = file.read(index, slice(start, start + block)).transpose(0, 1).flatten(1).double()
            good = u.isfinite()
            missing += (~good).sum(1)
            low = torch.minimum(low, torch.where(good, u, math.inf).amin(1))
            high = torch.maximum(high, torch.where(good, u, -math.inf).amax(1))
            if shift is None:
                shift = torch.where(good, u, 0.0).mean(1)
            centred = torch.where(good, u - shift[:, None], 0.0)
            total, squares = total + centred.sum(1), squares + centred.square().sum(1)
            count += good.sum(1)
        if progress is not None:
            progress(done, len(chosen))
    assert shift is not None
    mean = total / count
    std = (squares / count - mean.square()).clamp(min=0).sqrt()
    units = file.fields.units or ("1",) * channels
    low, high, mean, std = (column.tolist() for column in (low, high, mean + shift, std))
    return tuple(
        FieldRange(name, units[i], low[i], high[i], mean[i], std[i], int(missing[i]))
        for i, name in enumerate(file.fields.names)
    )


def _facts(file: TrajectoryFile, scanned: list[int]) -> dict[str, str]:
    grid = file.grid
    facts = {
        "trajectories": f"{file.num_trajectories} x {file.num_times} frames, {file.dtype}"
        f" ({file.num_trajectories * file.num_times * file.frame_bytes / 2**20:.1f} MiB)"
    }
    for name, n, origin, extent, spacing, closed in zip(
        _AXIS_NAMES,
        grid.shape,
        grid.origin,
        grid.extent,
        grid.spacing,
        grid.is_periodic,
        strict=False,
    ):
        facts[f"axis {name}"] = (
            f"{n} points from {origin:g}, extent {extent:.9g}, spacing {spacing:.6g}, "
            f"{'periodic' if closed else 'not periodic'}"
        )
    times = file.times_of(0)
    gap = irregularity(times.numpy(), "time")
    step = f"dt {file.time_step(0):.9g}" if len(times) > 1 and gap is None else "not uniform"
    facts["times"] = f"{len(times)} from {float(times[0]):g} to {float(times[-1]):g}, {step}" + (
        " (first trajectory; they differ)" if file.times.ndim == 2 else ""
    )
    for name, values in file.parameters.items():
        low, high = float(values.min()), float(values.max())
        facts[f"parameter {name}"] = f"{low:.6g}" if low == high else f"{low:.6g} .. {high:.6g}"
    if len(scanned) < file.num_trajectories:
        facts["scanned"] = f"{len(scanned)} of {file.num_trajectories} trajectories"
    return facts


def _problems(
    file: TrajectoryFile, ranges: tuple[FieldRange, ...], num_scanned: int
) -> tuple[str, ...]:
    found = list(file.problems)
    frames = max(1, _BLOCK_BYTES // max(1, file.frame_bytes))
    sample = file.read(0, slice(0, frames))
    names = _AXIS_NAMES[: file.grid.dim]
    found += [text for text in repeats_of(sample, file.grid, names) if text not in found]
    gap = irregularity(file.times_of(0).numpy(), "time")
    if gap is not None:
        found.append(f"times are not uniform: {gap}; windows and derivatives need uniform times")
    for entry in ranges:
        if entry.num_missing:
            found.append(
                f"field {entry.name!r} has {entry.num_missing} NaN or Inf in {num_scanned} "
                f"scanned "
                f"trajectories"
            )
        elif entry.minimum == entry.maximum:
            found.append(f"field {entry.name!r} is {entry.minimum:g} everywhere")
    return tuple(found)


def _contents(path: Path, kind: str) -> tuple[str, ...]:
    """Names, shapes and types in a file that is no trajectory file; no array of HDF5 is read."""
    if kind != "HDF5":
        try:
            arrays = load_arrays(path)
        except ValueError:
            return ()
        return tuple(f"{name} {value.shape} {value.dtype}" for name, value in arrays.items())
    lines: list[str] = []
    with h5py.File(path, "r") as file:
        file.visititems(
            lambda name, item: (
                lines.append(f"{name} {item.shape} {item.dtype}")
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
    return tuple(lines[:40]) + ((f"... and {len(lines) - 40} more",) if len(lines) > 40 else ())
