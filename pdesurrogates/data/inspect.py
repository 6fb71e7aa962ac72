"""What is in this file? Layout, fields, grid, times, ranges and everything that looks wrong."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pdesurrogates.core import Grid
from pdesurrogates.data.array_contents import stored_arrays
from pdesurrogates.data.axes import irregularity
from pdesurrogates.data.base import TrajectoryFile
from pdesurrogates.data.boundaries import StatedBoundary, is_words
from pdesurrogates.data.checksums import ChecksumError
from pdesurrogates.data.endpoints import repeats_of
from pdesurrogates.data.location import array_format, locate
from pdesurrogates.data.open import open_trajectories
from pdesurrogates.data.scan import FieldRange, scan
from pdesurrogates.data.stored_axes import axis_doubts, stored_axes, time_doubts
from pdesurrogates.data.stretched import StretchedGrid

__all__ = ["FieldRange", "Inspection", "inspect_file"]

_SAMPLE_BYTES = 16 * 2**20
_SCAN_BYTES = 2**30


@dataclass(frozen=True)
class Inspection:
    """What `inspect_file` found.

    Args:
        path: The file.
        layout: Name of the layout; "unknown" where no reader fits.
        facts: Label to text: grid, spacing, times, boundaries, parameters, ...
        ranges: One entry per field.
        problems: What is wrong or doubtful.
        notes: What the reader decided.
        contents: Names and shapes in the file, where it could not be read as trajectories.
        damaged: Trajectories and fields whose bytes are not those that were written.
    """

    path: Path | str
    layout: str
    facts: dict[str, str] = field(default_factory=dict)
    ranges: tuple[FieldRange, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    contents: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()

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
        lines += [_row("DAMAGED", text) for text in self.damaged]
        lines += [_row("PROBLEM", text) for text in self.problems] or (
            [] if self.damaged else [_row("problems", "none found")]
        )
        return "\n".join(lines)

    def to_json(self) -> str:
        """All of it for scripts; numbers that are not finite are null."""
        entries = dataclasses.asdict(self)
        entries["path"] = str(self.path)
        for entry in entries["ranges"]:
            for key, value in entry.items():
                if isinstance(value, float) and not math.isfinite(value):
                    entry[key] = None
        return json.dumps(entries, indent=2, allow_nan=False)


def inspect_file(
    path: str | Path,
    *,
    num_trajectories: int | None = None,
    verify: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Inspection:
    """Read a file's description and scan its numbers.

    Args:
        path: Trajectories on grids or meshes in any layout, or a file of arrays.
        num_trajectories: How many trajectories to scan, evenly spread; by default as many as make
            1 GiB, at least one.
        verify: Also compare the bytes of all trajectories with their checksums, where the file
            has them; differences are listed as `damaged`.
        progress: Called with (trajectories done, trajectories to scan and verify).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is of no known kind at all, or damaged.
    """
    path = locate(path)
    kind = array_format(path)
    try:
        file = open_trajectories(path)
    except ChecksumError:
        raise
    except ValueError as error:
        contents = _contents(path) if kind is not None else ()
        if not contents:
            raise
        return Inspection(path, f"unknown ({kind})", problems=(str(error),), contents=contents)
    with file:
        scanned = _chosen(file, num_trajectories)
        checks = file.num_trajectories if verify and file.has_checksums else 0
        total = len(scanned) + checks
        report = progress or (lambda done, total: None)
        numbers = scan(file, scanned, lambda done, _: report(done, total))
        damaged = []
        for index in range(checks):
            try:
                file.verify(index)
            except ChecksumError as error:
                damaged.append(str(error))
            report(len(scanned) + index + 1, total)
        return Inspection(
            path,
            file.layout,
            facts=dict(_facts(file, scanned, checks)),
            ranges=numbers.ranges,
            problems=tuple(dict.fromkeys([*_problems(file), *numbers.problems()])),
            notes=file.notes,
            damaged=tuple(damaged),
        )


def _row(label: str, text: str) -> str:
    return f"  {label + ':':<13} {text}"


def _chosen(file: TrajectoryFile, wanted: int | None) -> list[int]:
    size = max(1, file.frame_bytes * file.num_times)
    count = max(1, _SCAN_BYTES // size) if wanted is None else max(1, wanted)
    count = min(count, file.num_trajectories)
    return [index * file.num_trajectories // count for index in range(count)]


def _facts(file: TrajectoryFile, scanned: list[int], checks: int) -> Iterator[tuple[str, str]]:
    size = file.num_trajectories * file.num_times * file.frame_bytes / 2**20
    yield (
        "trajectories",
        f"{file.num_trajectories} x {file.num_times} frames, {file.dtype} ({size:.1f} MiB)",
    )
    yield from _places(file)
    times = file.times_of(0)
    gap = irregularity(times.numpy(), "time")
    step = f"dt {file.time_step(0):.9g}" if len(times) > 1 and gap is None else "not uniform"
    differ = " (first trajectory; they differ)" if file.times.ndim == 2 else ""
    yield (
        "times",
        f"{len(times)} from {float(times[0]):g} to {float(times[-1]):g}, {step}{differ}",
    )
    still = [
        name
        for name, moves in zip(file.fields.names, file.is_time_varying, strict=True)
        if not moves
    ]
    if still:
        yield "constant", f"{', '.join(still)} (stored without a time axis)"
    for name, values in file.parameters.items():
        low, high = float(values.min()), float(values.max())
        yield f"parameter {name}", f"{low:.6g}" if low == high else f"{low:.6g} .. {high:.6g}"
    if len(scanned) < file.num_trajectories:
        yield "scanned", f"{len(scanned)} of {file.num_trajectories} trajectories"
    if not file.has_checksums:
        is_here = isinstance(file.path, Path)
        yield "checksums", "none in this file" if is_here else "not compared at an address"
    else:
        how = f"{checks} trajectories compared" if checks else "of the numbers not compared"
        yield "checksums", f"description agrees; {how}{'' if checks else ' (--verify)'}"


def _places(file: TrajectoryFile) -> Iterator[tuple[str, str]]:
    """Where the values are: the axes of a grid and their ends, or a mesh."""
    if hasattr(file, "points"):
        mesh: Any = file
        cells, points = mesh.cells(0), mesh.points(0)
        yield (
            "mesh",
            f"{points.shape[-2]} points in {points.shape[-1]}D, {len(cells)} cells of "
            f"{cells.shape[1]} corners (first trajectory)",
        )
        return
    grid = file.grid
    kind = "cell centres" if grid.cell_centred else "points"
    if isinstance(grid, StretchedGrid):
        kind = "points, not all evenly spaced"
    yield "grid", f"{' x '.join(map(str, grid.shape))} {kind}"
    for axis, (name, points) in enumerate(zip(file.axis_names, grid.axes(), strict=True)):
        spacing = f"spacing {grid.spacing[axis]:.6g}" if _has_spacing(grid) else "see problems"
        yield (
            f"axis {name}",
            f"{grid.shape[axis]} points from {float(points[0]):g} to {float(points[-1]):g}, "
            f"extent {grid.extent[axis]:.9g}, {spacing}, "
            f"{'periodic' if grid.is_periodic[axis] else 'not periodic'}",
        )
    yield from _ends(file.boundary, file.axis_names)


def _has_spacing(grid: Grid) -> bool:
    return not isinstance(grid, StretchedGrid)


def _ends(boundary: StatedBoundary | None, names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """What happens at the ends of the axes that have any."""
    if boundary is None:
        yield "boundaries", "not stated"
        return
    per_field = boundary if isinstance(boundary, Mapping) else {"": boundary}
    for owner, sides in per_field.items():
        for name, pair in zip(names, sides, strict=True):
            low, high = ("not stated" if end is None else str(end) for end in pair)
            label = f"ends of {name}" + (f", {owner}" if owner else "")
            yield label, low if low == high else f"{low} | {high}"
    if is_words(boundary):
        yield "boundaries", "as words of The Well: the conditions themselves are not in the file"


def _problems(file: TrajectoryFile) -> Iterator[str]:
    """What is doubtful about grid and times."""
    yield from file.problems
    gap = irregularity(file.times_of(0).numpy(), "time")
    if gap is not None:
        yield f"times are not uniform: {gap}; windows and derivatives need uniform times"
    if hasattr(file, "points"):
        return
    grid, names = file.grid, file.axis_names
    frames = max(1, min(file.num_times, _SAMPLE_BYTES // max(1, file.frame_bytes)))
    yield from repeats_of(file.read_windows([0], [0], frames)[0], grid, names)
    if file.path is None:
        return
    stored = stored_axes(file.path, names)
    for axis, (word, name) in enumerate(zip("xyz", names, strict=False)):
        if word in stored and _has_spacing(grid):
            yield from axis_doubts(name, stored[word], grid, axis)
    if "time" in stored:
        yield from time_doubts(stored["time"], file.num_times)


def _contents(path: Path | str) -> tuple[str, ...]:
    """Names, shapes and types of what is in the file; no numbers of HDF5 are read."""
    try:
        arrays = stored_arrays(path)
    except ValueError:
        return ()
    lines = [f"{name} {array.shape} {array.dtype}" for name, array in arrays.items()]
    return tuple(lines[:40]) + ((f"... and {len(lines) - 40} more",) if len(lines) > 40 else ())
