"""Any readable file, rewritten in The Well layout: streamed, resumable, and told what changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.data.array_files import read_arrays
from pdesurrogates.data.base import TrajectoryFile
from pdesurrogates.data.endpoints import repeated_endpoint, without_endpoint
from pdesurrogates.data.open import array_format, find_reader
from pdesurrogates.data.writer import TrajectoryWriter

__all__ = ["convert"]

_BLOCK_BYTES = 32 * 2**20
_AXIS_NAMES = ("x", "y", "z")


def convert(
    source: str | Path,
    target: str | Path,
    *,
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
    """Rewrite a file in The Well layout.

    Files of known layout are streamed in blocks of 32 MiB; files of bare arrays are loaded (see
    `read_arrays` for `axes`, `variable`, `dt`, `extent`, `fields`, `periodic`). The last point of
    a periodic axis is dropped where it repeats the first. A killed conversion continues where it
    stopped when called again.

    Args:
        source: File to read.
        target: File to write, in The Well layout.
        dtype: "float32" or "float64"; by default the type of the source.
        overwrite: Replace an existing target.
        progress: Called with (frames done, all frames) after every block.

    Returns:
        What was decided and changed, one sentence each.

    Raises:
        ValueError: If the source cannot be read, or the target exists.
    """
    source, target = Path(source), Path(target)
    if target.exists() and source.exists() and target.samefile(source):
        raise ValueError(f"convert: source and target are the same file {source}; name another.")
    options = {"axes": axes, "variable": variable, "dt": dt, "extent": extent, "fields": fields}
    options["periodic"] = periodic
    with _opened(source, options) as file:
        dropped, grid, notes = _endpoints(file)
        notes = [*file.notes, *(f"problem: {text}" for text in file.problems), *notes]
        stat = source.stat()
        with TrajectoryWriter(
            target,
            fields=file.fields,
            grid=grid,
            times=file.times,
            num_trajectories=file.num_trajectories,
            parameters=file.parameters,
            attributes=_attributes(file, source, notes),
            name=str(file.attributes.get("dataset_name", source.stem)),
            dtype=dtype or str(file.dtype).removeprefix("torch."),
            fingerprint=f"{stat.st_size} bytes, changed {stat.st_mtime_ns}, {options}",
            overwrite=overwrite,
        ) as writer:
            total = file.num_trajectories * file.num_times
            for first, last, frame, states in _blocks(file, writer):
                writer.write(first, _shortened(states, dropped, file.name), first_time=frame)
                if progress is not None:
                    done = frame + states.shape[1]
                    progress(first * file.num_times + (last - first) * done, total)
            writer.finish()
    return tuple(notes)


def _opened(source: Path, options: dict) -> TrajectoryFile:
    """The file by its layout, or as bare arrays."""
    reader = find_reader(source) if array_format(source) == "HDF5" else None
    if reader is None or options["variable"] is not None or options["axes"] is not None:
        return read_arrays(source, **options, drop_repeated_endpoint=True)
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise ValueError(
            f"convert {source}: this file states its own axes, fields and times, so {given[0]!r} "
            f"cannot be given; leave it out."
        )
    return reader(source)


def _endpoints(file: TrajectoryFile) -> tuple[list[int], Grid, list[str]]:
    """Axes whose last point repeats the first, the grid without these points, and notes."""
    frames = max(1, min(file.num_times, _BLOCK_BYTES // max(1, file.frame_bytes)))
    sample = file.read(0, slice(0, frames))
    dropped, grid, notes = [], file.grid, []
    for axis in range(grid.dim):
        n = grid.shape[axis]
        if grid.is_periodic[axis] and repeated_endpoint(sample, 2 + axis) == "yes":
            dropped.append(axis)
            grid = without_endpoint(grid, axis)
            notes.append(
                f"dropped the repeated periodic endpoint of {_AXIS_NAMES[axis]}: {n} -> {n - 1} "
                f"points"
            )
    return dropped, grid, notes


def _blocks(
    file: TrajectoryFile, writer: TrajectoryWriter
) -> Iterator[tuple[int, int, int, Tensor]]:
    """First and last + 1 trajectory, first frame and states of every block not yet written."""
    size = file.frame_bytes * file.num_times
    together = max(1, _BLOCK_BYTES // max(1, size))
    frames = max(1, min(file.num_times, _BLOCK_BYTES // max(1, file.frame_bytes)))
    for first in range(0, file.num_trajectories, together):
        last = min(first + together, file.num_trajectories)
        start = min(writer.frames_done(index) for index in range(first, last))
        for frame in range(start, file.num_times, frames):
            length = min(frames, file.num_times - frame)
            rows = list(range(first, last))
            yield first, last, frame, file.read_windows(rows, [frame] * len(rows), length)


def _shortened(states: Tensor, dropped: list[int], name: str) -> Tensor:
    for axis in dropped:
        first, last = states.select(3 + axis, 0), states.select(3 + axis, -1)
        if not torch.allclose(first, last, rtol=1e-5, atol=1e-5 * float(states.abs().max())):
            raise ValueError(
                f"convert {name}: the last point of axis {_AXIS_NAMES[axis]} repeats the first in "
                f"the first trajectory, but not in all; repair the file first."
            )
        states = states.narrow(3 + axis, 0, states.shape[3 + axis] - 1)
    return states


def _attributes(
    file: TrajectoryFile, source: Path, notes: Sequence[str]
) -> dict[str, str | int | float | bool]:
    own = {
        key: value
        for key, value in file.attributes.items()
        if isinstance(value, str | int | float | bool) and key not in file.parameters
    }
    for reserved in ("dataset_name", "grid_type"):
        own.pop(reserved, None)
    return {**own, "source": source.name, "conversion_notes": "\n".join(notes)}
