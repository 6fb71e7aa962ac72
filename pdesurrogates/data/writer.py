"""Writing The Well layout: in pieces, resumable, and safe to kill at any moment."""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from torch import Tensor

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.data.axes import clean_times
from pdesurrogates.data.raw import bytes_of, write_exactly
from pdesurrogates.data.skeleton import Target, build_skeleton

__all__ = ["TrajectoryWriter", "write_trajectories"]


class TrajectoryWriter:
    """Writes trajectories in pieces to a file in The Well layout.

    The complete HDF5 structure is built first and renamed to `<path>.partial`. States are then
    written with `os.pwrite` at the byte offsets of the data sets, so HDF5's own metadata is never
    touched again and a kill cannot corrupt it. `<path>.partial.progress` (JSON, replaced
    atomically, after the data are on disk) says which frames are done. `finish` renames to `path`.
    The same arguments give the same bytes, interrupted or not: no dates are stored.

    Opening it again with the same arguments and `fingerprint` continues; ask `completed` what is
    left to do. A partial file without a single state is replaced, whatever it was made with.

    Args:
        path: Final name of the file.
        fields: Names and units of the channels. A complete set `<name>_x, <name>_y, ...` in axis
            order becomes a vector field, every other channel a scalar field.
        grid: The grid.
        times: Frame times, (time,) or (trajectory, time), strictly increasing.
        num_trajectories: Number of trajectories.
        parameters: Name to a number, or to one number per trajectory.
        attributes: Text or numbers stored at the root (recipe, versions, source).
        name: Name of the data set, The Well's `dataset_name`.
        dtype: "float32" or "float64", the type of the stored states.
        fingerprint: Text that changes whenever the states would (e.g. a hash of the recipe).
        overwrite: Replace an existing file, or a partial file made from something else.

    Raises:
        ValueError: If the file exists, or a partial file was made with other arguments.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> with TrajectoryWriter(
        ...     f"{folder.name}/waves.h5", fields=FieldSpec(("u",)), grid=Grid((8,), (1.0,)),
        ...     times=[0.0, 0.1], num_trajectories=4, fingerprint="recipe 1",
        ... ) as writer:
        ...     for start in range(0, 4, 2):
        ...         if start not in writer.completed:
        ...             writer.write(start, torch.ones(2, 2, 1, 8))
        ...     _ = writer.finish()
    """

    def __init__(
        self,
        path: str | Path,
        *,
        fields: FieldSpec,
        grid: Grid,
        times: Sequence[float] | Tensor,
        num_trajectories: int,
        parameters: Mapping[str, float | Sequence[float] | Tensor] | None = None,
        attributes: Mapping[str, str | int | float | bool] | None = None,
        name: str = "trajectories",
        dtype: str = "float32",
        fingerprint: str = "",
        overwrite: bool = False,
    ) -> None:
        self.path = Path(path)
        self._descriptor: int | None = None
        where = f"TrajectoryWriter {self.path}"
        if num_trajectories < 1:
            raise ValueError(
                f"{where}: num_trajectories must be at least 1, got {num_trajectories}."
            )
        if self.path.is_dir():
            raise ValueError(f"{where}: this is a folder; name a file in it.")
        if self.path.exists() and not overwrite:
            raise ValueError(
                f"{where}: the file exists and is not overwritten; give another name, delete it, "
                f"or pass overwrite=True (--overwrite)."
            )
        if not self.path.parent.is_dir():
            raise ValueError(
                f"{where}: folder {self.path.parent} does not exist; create it first."
            )
        self.partial = self.path.with_name(self.path.name + ".partial")
        self.progress = self.path.with_name(self.path.name + ".partial.progress")
        self._target = Target(
            fields=fields,
            grid=grid,
            times=clean_times(times, where=where),
            num_trajectories=num_trajectories,
            parameters=_per_trajectory(parameters or {}, num_trajectories, where),
            attributes=dict(attributes or {}),
            name=name,
            dtype=dtype,
        )
        self._description = {**self._target.description(), "fingerprint": fingerprint}
        self._num_times = int(self._target.times.shape[-1])
        self._frames_done = np.zeros(num_trajectories, dtype=np.int64)
        self._open(overwrite)

    @property
    def completed(self) -> set[int]:
        """Trajectories of which every frame is on disk."""
        return set(np.flatnonzero(self._frames_done == self._num_times).tolist())

    def frames_done(self, index: int) -> int:
        """How many leading frames of a trajectory are on disk."""
        return int(self._frames_done[index])

    def write(self, start: int, states: Tensor | np.ndarray, *, first_time: int = 0) -> None:
        """Write some trajectories, or a stretch of their frames.

        Args:
            start: First trajectory.
            states: (n, time, channel, *space): trajectories start .. start + n - 1.
            first_time: Frame at which `states` begins. Frames of a trajectory must come in
                order: no later than the first one that is missing.
        """
        states = torch.as_tensor(states).detach().cpu()
        target, where = self._target, f"TrajectoryWriter {self.path}"
        shape = (target.fields.num_channels, *target.grid.shape)
        if states.ndim != 3 + target.grid.dim or tuple(states.shape[2:]) != shape:
            raise ValueError(
                f"{where}: `states` must have shape (n, time, channel, *space) = (n, time, "
                f"{', '.join(map(str, shape))}), got {tuple(states.shape)}."
            )
        stop, last = start + states.shape[0], first_time + states.shape[1]
        if start < 0 or stop > target.num_trajectories or last > self._num_times or first_time < 0:
            raise ValueError(
                f"{where}: trajectories {start} .. {stop - 1}, frames {first_time} .. {last - 1} "
                f"do not lie in {target.num_trajectories} trajectories of {self._num_times} "
                f"frames."
            )
        missing = int(self._frames_done[start:stop].min(initial=self._num_times))
        if first_time > missing:
            raise ValueError(
                f"{where}: frames must be written in order, got frame {first_time} while frame "
                f"{missing} is missing in one of trajectories {start} .. {stop - 1}."
            )
        descriptor = self._locked_descriptor()
        for dataset in self._layout:
            values = dataset.values(states, target.dtype)
            for n in range(1) if states.shape[1] == self._num_times else range(len(values)):
                rows = values if states.shape[1] == self._num_times else values[n]
                frame = (start + n) * self._num_times + first_time
                position = dataset.offset + frame * dataset.frame_bytes
                write_exactly(descriptor, bytes_of(np.ascontiguousarray(rows)), position)
        done = np.maximum(self._frames_done[start:stop], last)
        self._frames_done[start:stop] = done
        self._commit()

    def finish(self) -> Path:
        """Check that every frame was written, then give the file its final name.

        Raises:
            ValueError: If trajectories are missing.
        """
        missing = np.flatnonzero(self._frames_done < self._num_times)
        if len(missing):
            raise ValueError(
                f"TrajectoryWriter {self.path}: {len(missing)} of "
                f"{self._target.num_trajectories} trajectories are not complete, the first is "
                f"{missing[0]} with {self._frames_done[missing[0]]} of {self._num_times} frames; "
                f"write them before finish()."
            )
        os.fsync(self._locked_descriptor())
        self.partial.replace(self.path)
        self.progress.unlink(missing_ok=True)
        _sync_folder(self.path.parent)
        self.close()
        return self.path

    def close(self) -> None:
        """Stop writing; an unfinished file stays as `.partial` and can be continued."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> TrajectoryWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self, overwrite: bool) -> None:
        if self.partial.exists():
            self._lock()
        recorded = self._recorded()
        if recorded is not None:
            differing = _difference(recorded["description"], self._description)
            has_states = any(frames for _, frames in recorded["frames_done"])
            if differing and has_states and not overwrite:
                self.close()
                raise ValueError(
                    f"TrajectoryWriter {self.path}: {self.partial.name} was begun with other "
                    f"arguments: {differing}. To continue it, use the same arguments; to start "
                    f"over, delete {self.partial} or pass overwrite=True (--overwrite)."
                )
            if differing:
                recorded = None
        if recorded is None:
            self._begin()
        else:
            runs = recorded["frames_done"]
            self._frames_done[:] = list(
                itertools.chain.from_iterable([frames] * count for count, frames in runs)
            )
        self._layout = self._target.located(self.partial)
        if recorded is None:
            self._commit()

    def _begin(self) -> None:
        self.progress.unlink(missing_ok=True)
        building = self.partial.with_name(self.partial.name + ".building")
        build_skeleton(building, self._target)
        building.replace(self.partial)
        self.close()
        self._lock()

    def _lock(self) -> None:
        """Open the partial file for this process alone; a killed process releases it."""
        self._descriptor = os.open(self.partial, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise ValueError(
                f"TrajectoryWriter {self.path}: another process is writing {self.partial.name}; "
                f"wait for it or stop it."
            ) from None

    def _recorded(self) -> dict | None:
        if not (self.partial.exists() and self.progress.exists()):
            return None
        try:
            return json.loads(self.progress.read_text())
        except ValueError as error:
            raise ValueError(
                f"TrajectoryWriter {self.path}: {self.progress} is not readable ({error}); delete "
                f"it and {self.partial} to start over."
            ) from error

    def _locked_descriptor(self) -> int:
        if self._descriptor is None:
            raise ValueError(
                f"TrajectoryWriter {self.path}: the writer is closed; make a new one with the "
                f"same "
                f"arguments to continue."
            )
        return self._descriptor

    def _commit(self) -> None:
        """Data to disk first, then the note that they are there."""
        os.fdatasync(self._locked_descriptor())
        runs = [
            [len(list(group)), frames]
            for frames, group in itertools.groupby(self._frames_done.tolist())
        ]
        note = json.dumps({"description": self._description, "frames_done": runs})
        fresh = self.progress.with_name(self.progress.name + ".new")
        with fresh.open("w") as file:
            file.write(note)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.progress)


def write_trajectories(
    path: str | Path,
    states: Tensor | np.ndarray,
    *,
    fields: FieldSpec,
    grid: Grid,
    times: Sequence[float] | Tensor,
    parameters: Mapping[str, float | Sequence[float] | Tensor] | None = None,
    attributes: Mapping[str, str | int | float | bool] | None = None,
    name: str = "trajectories",
    dtype: str = "float32",
    overwrite: bool = False,
) -> Path:
    """Write all trajectories at once, in The Well layout.

    Args:
        path: Name of the file.
        states: (trajectory, time, channel, *space).
        fields, grid, times, parameters, attributes, name, dtype, overwrite: As for
            `TrajectoryWriter`.

    Raises:
        ValueError: If the shapes do not fit, or the file exists.
    """
    states = torch.as_tensor(states)
    times = clean_times(times, where=f"write_trajectories {path}")
    if states.ndim != 3 + grid.dim or states.shape[1] != times.shape[-1]:
        raise ValueError(
            f"write_trajectories {path}: `states` must have shape (trajectory, time, channel, "
            f"*space) = (trajectory, {times.shape[-1]}, {fields.num_channels}, "
            f"{', '.join(map(str, grid.shape))}), got {tuple(states.shape)}."
        )
    content = np.ascontiguousarray(states.detach().cpu().numpy())
    with TrajectoryWriter(
        path,
        fields=fields,
        grid=grid,
        times=times,
        num_trajectories=states.shape[0],
        parameters=parameters,
        attributes=attributes,
        name=name,
        dtype=dtype,
        fingerprint=hashlib.sha256(bytes_of(content)).hexdigest(),
        overwrite=overwrite,
    ) as writer:
        if len(writer.completed) < states.shape[0]:
            writer.write(0, states)
        return writer.finish()


def _per_trajectory(
    parameters: Mapping[str, float | Sequence[float] | Tensor], count: int, where: str
) -> dict[str, np.ndarray]:
    """Parameters in float64: a 0-d array where constant, else (trajectory,)."""
    rows = {}
    for name, value in parameters.items():
        row = np.asarray(value, dtype=np.float64)
        if (
            row.ndim
            and (row.shape == (1,) or (row == row.flat[0]).all())
            and row.size in (1, count)
        ):
            row = row.reshape(-1)[0:1].reshape(())
        if row.shape not in ((), (count,)):
            raise ValueError(
                f"{where}: parameter {name!r} must be one number or one per trajectory "
                f"({count}), got shape {row.shape}."
            )
        rows[name] = row
    return rows


def _difference(recorded: Mapping[str, object], asked: Mapping[str, object]) -> str:
    return "; ".join(
        f"{key} is {recorded.get(key)!r} there, {asked[key]!r} here"
        for key in asked
        if recorded.get(key) != asked[key]
    )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
