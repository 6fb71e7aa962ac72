"""Any readable file, rewritten in The Well layout: streamed, resumable, and told what changed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.data.array_files import read_arrays
from pdesurrogates.data.base import TrajectoryFile
from pdesurrogates.data.endpoints import repeated_endpoint, without_endpoint
from pdesurrogates.data.location import array_format, locate
from pdesurrogates.data.open import find_reader, open_trajectories
from pdesurrogates.data.writer import TrajectoryWriter

__all__ = ["convert", "open_source", "rewrite"]

_BLOCK_BYTES = 32 * 2**20
_SAMPLES, _SAMPLE_BYTES = 64, 2**16


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

    Files of known layout are streamed in blocks of 32 MiB; of bare arrays, .npz and MATLAB 5
    files are loaded (see `read_arrays` for `axes`, `variable`, `dt`, `extent`, `fields`,
    `periodic`). The last point of a periodic axis is dropped where it repeats the first.
    Boundary conditions, parameters and units go along. A killed conversion continues where it
    stopped when called again, and one that had finished is recognised.

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
        OSError: If the target cannot be written, or the disk is full; the source and what is in
            place of the target stay as they were.
    """
    options = {"axes": axes, "variable": variable, "dt": dt, "extent": extent, "fields": fields}
    options["periodic"] = periodic
    with open_source(source, options) as file:
        return rewrite(
            file,
            target,
            options=str(options),
            dtype=dtype,
            overwrite=overwrite,
            progress=progress,
        )


def open_source(source: str | Path, options: dict[str, object]) -> TrajectoryFile:
    """The file by its layout, or as bare arrays.

    Args:
        source: File to read.
        options: Arguments of `read_arrays`, `None` where not given.

    Raises:
        ValueError: If it cannot be read, or states itself what an option says.
    """
    source = locate(source)
    given = {name: value for name, value in options.items() if value is not None}
    reader = find_reader(source) if array_format(source) == "HDF5" else None
    if reader is None or {"variable", "axes"} & set(given):
        return read_arrays(source, **given, drop_repeated_endpoint=True)  # type: ignore[arg-type]
    return open_trajectories(source, **given)  # type: ignore[arg-type]


def rewrite(
    file: TrajectoryFile,
    target: str | Path,
    *,
    trajectories: range | None = None,
    name: str | None = None,
    options: str = "",
    dtype: str | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[str, ...]:
    """Write an open file, or a stretch of its trajectories, in The Well layout.

    Args:
        file: What to write.
        target: File to write.
        trajectories: Which trajectories; all by default.
        name: `dataset_name`; by default that of the source, else its file name.
        options: How the source was read; part of what identifies the result.
        dtype, overwrite, progress: As for `convert`.

    Returns:
        What was decided and changed, one sentence each.
    """
    if hasattr(file, "points"):
        raise ValueError(
            f"convert: {file.name} holds values on meshes, and what is written are grids; read it "
            f"with open_trajectories, interpolate onto a grid, and use write_trajectories."
        )
    target = Path(target)
    source = file.path
    if isinstance(source, Path) and target.exists() and target.samefile(source):
        raise ValueError(f"convert: source and target are the same file {source}; name another.")
    rows = range(file.num_trajectories) if trajectories is None else trajectories
    dropped, grid, changes = _endpoints(file)
    notes = [*file.notes, *(f"problem: {text}" for text in file.problems), *changes]
    digest, session = _identity(file)
    with TrajectoryWriter(
        target,
        fields=file.fields,
        grid=grid,
        times=file.times if file.times.ndim == 1 else file.times[list(rows)],
        num_trajectories=len(rows),
        parameters={key: row[list(rows)] for key, row in file.parameters.items()},
        attributes=_attributes(file, notes),
        name=name or str(file.attributes.get("dataset_name", Path(str(source or "data")).stem)),
        dtype=dtype or str(file.dtype).removeprefix("torch."),
        boundaries=file.boundary,
        fingerprint=f"source {digest}, trajectories {rows.start} to {rows.stop}, {options}",
        session=session,
        overwrite=overwrite,
    ) as writer:
        if writer.is_finished:
            return (*notes, f"{target.name} was complete already")
        total = len(rows) * file.num_times
        for first, last, frame, states in _blocks(file, rows, writer):
            writer.write(first, _shortened(file, states, dropped), first_time=frame)
            if progress is not None:
                done = frame + states.shape[1]
                progress(first * file.num_times + (last - first) * done, total)
        writer.finish()
    return tuple(notes)


def _endpoints(file: TrajectoryFile) -> tuple[list[int], Grid, list[str]]:
    """Axes whose last point repeats the first, the grid without these points, and notes."""
    frames = max(1, min(file.num_times, _BLOCK_BYTES // max(1, file.frame_bytes)))
    dropped, grid, notes = [], file.grid, []
    sample = file.read_windows([0], [0], frames)[0] if any(grid.is_periodic) else None
    for axis in range(grid.dim):
        n = grid.shape[axis]
        if sample is None or not grid.is_periodic[axis]:
            continue
        if repeated_endpoint(sample, 2 + axis) == "yes":
            dropped.append(axis)
            grid = without_endpoint(grid, axis)
            notes.append(
                f"dropped the repeated periodic endpoint of {file.axis_names[axis]}: {n} -> "
                f"{n - 1} points"
            )
    return dropped, grid, notes


def _blocks(
    file: TrajectoryFile, rows: range, writer: TrajectoryWriter
) -> Iterator[tuple[int, int, int, Tensor]]:
    """First and last + 1 trajectory, first frame and states of every block not yet written."""
    size = file.frame_bytes * file.num_times
    together = max(1, _BLOCK_BYTES // max(1, size))
    frames = max(1, min(file.num_times, _BLOCK_BYTES // max(1, file.frame_bytes)))
    for first in range(0, len(rows), together):
        last = min(first + together, len(rows))
        chosen = list(rows[first:last])
        start = min(writer.frames_done(index) for index in range(first, last))
        if start < file.num_times:
            for trajectory in chosen:
                file.verify(trajectory)
        for frame in range(start, file.num_times, frames):
            length = min(frames, file.num_times - frame)
            yield first, last, frame, file.read_windows(chosen, [frame] * len(chosen), length)


def _shortened(file: TrajectoryFile, states: Tensor, dropped: list[int]) -> Tensor:
    for axis in dropped:
        first, last = states.select(3 + axis, 0), states.select(3 + axis, -1)
        if not torch.allclose(first, last, rtol=1e-5, atol=1e-5 * float(states.abs().max())):
            raise ValueError(
                f"convert {file.name}: the last point of axis {file.axis_names[axis]} repeats the "
                f"first in the first trajectory, but not in all; repair the file first."
            )
        states = states.narrow(3 + axis, 0, states.shape[3 + axis] - 1)
    return states


def _identity(file: TrajectoryFile) -> tuple[str, str]:
    """What identifies the source's content, and what must not change while it is converted.

    The content is sampled: its size, its ends and 64 stretches between, so that a large file
    costs no second pass; the time of the last change guards the rest while a conversion is
    unfinished.
    """
    if file.path is None:
        digest = hashlib.sha256()
        for index in range(file.num_trajectories):
            digest.update(file.read(index).numpy().tobytes())
        return digest.hexdigest()[:32], ""
    if not isinstance(file.path, Path):
        return str(file.path), ""
    stat = file.path.stat()
    digest = hashlib.sha256(str(stat.st_size).encode())
    with file.path.open("rb") as stream:
        last = max(0, stat.st_size - _SAMPLE_BYTES)
        for n in range(_SAMPLES):
            stream.seek(last * n // (_SAMPLES - 1))
            digest.update(stream.read(_SAMPLE_BYTES))
    return digest.hexdigest()[:32], f"source changed at {stat.st_mtime_ns}"


def _attributes(file: TrajectoryFile, notes: Sequence[str]) -> dict[str, str | int | float | bool]:
    own = {
        key: value
        for key, value in file.attributes.items()
        if isinstance(value, str | int | float | bool) and key not in file.parameters
    }
    for reserved in ("dataset_name", "grid_type"):
        own.pop(reserved, None)
    source = Path(str(file.path)).name if file.path is not None else file.layout
    return {**own, "source": source, "conversion_notes": "\n".join(notes)}
