"""Writing The Well layout: in pieces, resumable, and safe to kill at any moment."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from torch import Tensor

from pdesurrogates.core import FieldBoundary, FieldSpec, Grid
from pdesurrogates.data.axes import clean_times
from pdesurrogates.data.boundaries import Words, stated_boundary
from pdesurrogates.data.checksums import seal
from pdesurrogates.data.exact import fingerprint_of
from pdesurrogates.data.partial import PartialFile
from pdesurrogates.data.raw import bytes_of, write_exactly
from pdesurrogates.data.skeleton import Target, build_skeleton

__all__ = ["TrajectoryWriter", "write_trajectories"]


class TrajectoryWriter:
    """Writes trajectories in pieces to a file in The Well layout.

    The complete HDF5 structure is built first and renamed to `<path>.partial`. States are then
    written with `os.pwrite` at the byte offsets of the data sets, so HDF5's own metadata is never
    touched again and a kill cannot corrupt it. `<path>.partial.progress` (JSON, replaced
    atomically, after the data are on disk) says which frames are done. `finish` adds checksums of
    what is on disk and renames to `path`. The same arguments give the same bytes, interrupted or
    not: no dates are stored.

    Opening it again with the same arguments and `fingerprint` continues; ask `completed` what is
    left to do. A finished file made from the same arguments and fingerprint is recognised:
    everything is completed and `finish` returns at once. A partial file without a single state
    is replaced, whatever it was made with.

    Args:
        path: Final name of the file.
        fields: Names and units of the channels. A complete set `<name>_x, <name>_y, ...` in axis
            order becomes a vector field, `<name>_xx, <name>_xy, ...` a tensor field, every other
            channel a scalar field.
        grid: The grid.
        times: Frame times, (time,) or (trajectory, time), strictly increasing.
        num_trajectories: Number of trajectories.
        parameters: Name to a number, or to one number per trajectory.
        attributes: Text or numbers stored at the root (recipe, versions, source).
        name: Name of the data set, The Well's `dataset_name`.
        dtype: "float32" or "float64", the type of the stored states.
        boundaries: What happens at the ends of axes that are not periodic, as solvers take it: a
            condition, one per axis, or (lower, upper) pairs; or a mapping from field names.
            Also the `boundary` of another file.
        fingerprint: Text that changes whenever the states would (e.g. a hash of the recipe).
        session: Further text that must agree to continue an unfinished file; not kept in it.
        overwrite: Replace an existing file, or a partial file made from something else.

    Raises:
        ValueError: If the file exists, or a partial file was made with other arguments.
        OSError: If the folder cannot be written to, or has too little room.

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
        boundaries: FieldBoundary | Words | None = None,
        fingerprint: str = "",
        session: str = "",
        overwrite: bool = False,
    ) -> None:
        self.path = Path(path)
        where = f"TrajectoryWriter {self.path}"
        if num_trajectories < 1:
            raise ValueError(
                f"{where}: num_trajectories must be at least 1, got {num_trajectories}."
            )
        if self.path.is_dir():
            raise ValueError(f"{where}: this is a folder; name a file in it.")
        if not self.path.parent.is_dir():
            raise ValueError(
                f"{where}: folder {self.path.parent} does not exist; create it first."
            )
        self._target = Target(
            fields=fields,
            grid=grid,
            times=clean_times(times, where=where),
            num_trajectories=num_trajectories,
            parameters=_per_trajectory(parameters or {}, num_trajectories, where),
            attributes=dict(attributes or {}),
            name=name,
            dtype=dtype,
            boundary=stated_boundary(boundaries, fields, grid, where=where),
            fingerprint=fingerprint,
        )
        self._num_times = int(self._target.times.shape[-1])
        self._file: PartialFile | None = None
        if self.path.exists() and not overwrite:
            if fingerprint_of(self.path) != self._target.identity:
                raise ValueError(
                    f"{where}: the file exists and is not overwritten; give another name, delete "
                    f"it, or pass overwrite=True (--overwrite)."
                )
            self.path.with_name(self.path.name + ".partial.progress").unlink(missing_ok=True)
            return
        self._file = PartialFile(
            self.path,
            {**self._target.description(), "session": session},
            num_trajectories,
            self._target.num_bytes,
            lambda path: build_skeleton(path, self._target),
            overwrite=overwrite,
        )
        self._layout = self._target.located(self._file.partial)

    @property
    def is_finished(self) -> bool:
        """Whether the file had been finished before, from the same arguments and fingerprint."""
        return self._file is None

    @property
    def completed(self) -> set[int]:
        """Trajectories of which every frame is on disk."""
        if self._file is None:
            return set(range(self._target.num_trajectories))
        return set(np.flatnonzero(self._file.frames_done == self._num_times).tolist())

    def frames_done(self, index: int) -> int:
        """How many leading frames of a trajectory are on disk."""
        return self._num_times if self._file is None else int(self._file.frames_done[index])

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
        if states.is_complex():
            raise ValueError(
                f"{where}: `states` must be real, got {states.dtype}; write real and imaginary "
                f"part as two channels."
            )
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
        if self._file is None:
            raise ValueError(
                f"{where}: the file is finished, nothing can be written to it; check `completed` "
                f"first."
            )
        frames_done = self._file.frames_done[start:stop]
        missing = int(frames_done.min(initial=self._num_times))
        if first_time > missing:
            raise ValueError(
                f"{where}: frames must be written in order, got frame {first_time} while frame "
                f"{missing} is missing in one of trajectories {start} .. {stop - 1}."
            )
        with self._file.full_disk_told():
            self._put(self._file.descriptor, start, first_time, states)
        np.maximum(frames_done, last, out=frames_done)
        self._file.commit()

    def finish(self) -> Path:
        """Check that every frame was written, add checksums, and give the file its final name.

        Raises:
            ValueError: If trajectories are missing.
        """
        if self._file is None:
            return self.path
        frames_done = self._file.frames_done
        missing = np.flatnonzero(frames_done < self._num_times)
        if len(missing):
            raise ValueError(
                f"TrajectoryWriter {self.path}: {len(missing)} of "
                f"{self._target.num_trajectories} trajectories are not complete, the first is "
                f"{missing[0]} with {frames_done[missing[0]]} of {self._num_times} frames; "
                f"write them before finish()."
            )
        descriptor = self._file.descriptor
        with self._file.full_disk_told():
            os.fdatasync(descriptor)
            header = self._target.header_offset(self._file.partial)
            seal(descriptor, self._target.sealed(self._layout), header)
        self._file.promote()
        return self.path

    def close(self) -> None:
        """Stop writing; an unfinished file stays as `.partial` and can be continued."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> TrajectoryWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _put(self, descriptor: int, start: int, first_time: int, states: Tensor) -> None:
        """Write the numbers to their places."""
        is_whole = states.shape[1] == self._num_times
        for dataset in self._layout:
            values = dataset.values(states, self._target.dtype)
            for n in range(1) if is_whole else range(len(values)):
                rows = values if is_whole else values[n]
                frame = (start + n) * self._num_times + first_time
                position = dataset.offset + frame * dataset.frame_bytes
                write_exactly(descriptor, bytes_of(np.ascontiguousarray(rows)), position)


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
    boundaries: FieldBoundary | Words | None = None,
    overwrite: bool = False,
) -> Path:
    """Write all trajectories at once, in The Well layout.

    Args:
        path: Name of the file.
        states: (trajectory, time, channel, *space).
        fields, grid, times, parameters, attributes, name, dtype, boundaries, overwrite: As for
            `TrajectoryWriter`.

    Raises:
        ValueError: If the shapes do not fit, or the file exists and holds something else.
    """
    states = torch.as_tensor(states)
    times = clean_times(times, where=f"write_trajectories {path}")
    if states.is_complex():
        raise ValueError(
            f"write_trajectories {path}: `states` must be real, got {states.dtype}; write real "
            f"and imaginary part as two channels."
        )
    if states.shape[1:] != (times.shape[-1], fields.num_channels, *grid.shape):
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
        boundaries=boundaries,
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
        try:
            row = np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{where}: parameter {name!r} must be one number or one per trajectory ({count}), "
                f"got {value!r}."
            ) from error
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
