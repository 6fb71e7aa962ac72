"""What every trajectory file can do, whatever its layout on disk."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pdesurrogates.core import FieldSpec, Grid, Periodic
from pdesurrogates.data.axes import irregularity
from pdesurrogates.data.boundaries import StatedBoundary
from pdesurrogates.data.checksums import Checksums
from pdesurrogates.data.storage import Block

if TYPE_CHECKING:
    import xarray

__all__ = ["TrajectoryFile"]


class TrajectoryFile:
    """Trajectories on one grid, read in slices when asked for.

    Obtained from `open_trajectories`, `from_arrays` or `from_xarray`. Opening reads metadata
    only; states are read from disk by `read` and `read_windows`. Files are opened lazily and once
    per process, so the object may be pickled and used in data-loader workers.

    Attributes:
        path: The file, its address, or `None` for states in memory.
        layout: Name of the layout, e.g. "The Well".
        fields: Names and units of the channels.
        grid: The grid of all trajectories.
        times: float64, (time,) or, where trajectories differ, (trajectory, time).
        parameters: Name to float64 tensor (trajectory,).
        num_trajectories: Number of trajectories.
        num_times: Frames per trajectory.
        dtype: Type of the states as stored, torch.float32 or torch.float64.
        axis_names: Names of the space axes, x, y, z unless the file says otherwise.
        attributes: Further facts the file states about itself.
        boundary: What happens at the ends of the axes: conditions of `core` for both ends of
            every axis, or one such tuple per field name; words ("wall", "open", "periodic") in
            files of The Well that were not written here; `None` where nothing is stated.
        problems: What is wrong or doubtful about the data, in words.
        notes: What the reader decided or changed, in words.

    Example:
        >>> from pdesurrogates.data import from_arrays
        >>> file = from_arrays(torch.zeros(5, 8), axes="time x", dt=0.1, extent=1.0)
        >>> file.read(0, slice(1, 3)).shape
        torch.Size([2, 1, 8])
    """

    boundary: StatedBoundary | None = None
    _checksums: Checksums | None = None

    def __init__(
        self,
        *,
        path: Path | str | None,
        layout: str,
        fields: FieldSpec,
        grid: Grid,
        times: Tensor,
        num_trajectories: int,
        blocks: Sequence[tuple[slice, Block]],
        parameters: Mapping[str, Tensor] | None = None,
        attributes: Mapping[str, object] | None = None,
        axis_names: Sequence[str] = ("x", "y", "z"),
        boundary: StatedBoundary | None = None,
        checksums: Checksums | None = None,
        problems: Sequence[str] = (),
        notes: Sequence[str] = (),
    ) -> None:
        self.path = path
        self.layout = layout
        self.fields = fields
        self.grid = grid
        self.times = times
        self.parameters = dict(parameters or {})
        self.num_trajectories = num_trajectories
        self.num_times = int(times.shape[-1])
        self.axis_names = tuple(axis_names)[: grid.dim]
        self.attributes = dict(attributes or {})
        if boundary is None and all(grid.is_periodic):
            boundary = ((Periodic(), Periodic()),) * grid.dim
        self.boundary = boundary
        self._checksums = checksums
        self._verified: set[int] = set()
        self.problems = tuple(problems)
        self.notes = tuple(notes)
        self._blocks = list(blocks)
        types = [block.dtype for _, block in self._blocks]
        self.dtype = torch.float64 if torch.float64 in types else torch.float32

    @property
    def name(self) -> str:
        """The path, or the layout for states in memory: how messages call this file."""
        return str(self.path) if self.path is not None else f"<{self.layout}>"

    @property
    def is_time_varying(self) -> tuple[bool, ...]:
        """Per channel, whether it is stored with a time axis; others are repeated."""
        flags = [True] * self.fields.num_channels
        for channels, block in self._blocks:
            if "time" not in getattr(block, "axes", ("time",)):
                flags[channels] = [False] * block.num_channels
        return tuple(flags)

    @property
    def has_checksums(self) -> bool:
        """Whether the file records checksums of its numbers, as files written here do."""
        return self._checksums is not None

    @property
    def frame_bytes(self) -> int:
        """Size of one state in memory [bytes]."""
        points = math.prod(self.grid.shape)
        return self.fields.num_channels * points * self.dtype.itemsize

    def read(self, index: int, time: slice = slice(None)) -> Tensor:  # noqa: B008
        """One trajectory or a slice of its frames, (time, channel, *space), in the stored dtype.

        The checksums of a trajectory that is read as a whole are compared the first time.

        Args:
            index: Trajectory, negative counts from the end.
            time: Frames; the step must be positive.

        Raises:
            IndexError: If there is no such trajectory.
            ChecksumError: If the bytes are not those that were written.
        """
        index = self._trajectory(index)
        if not isinstance(time, slice):
            raise TypeError(
                f"{self.name}: `time` must be a slice of frames, got {time!r}; for frame n write "
                f"slice(n, n + 1)."
            )
        start, stop, step = time.indices(self.num_times)
        if step < 1:
            raise ValueError(
                f"{self.name}: the step of `time` must be positive, got {step}; reverse the "
                f"result with .flip(0)."
            )
        if stop <= start:
            return torch.empty((0, self.fields.num_channels, *self.grid.shape), dtype=self.dtype)
        if stop - start == self.num_times:
            self.verify(index)
        return self._gather([index], [start], stop - start)[0][::step]

    def read_windows(
        self, trajectories: Sequence[int] | Tensor, starts: Sequence[int] | Tensor, length: int
    ) -> Tensor:
        """Many windows of consecutive frames at once, (batch, length, channel, *space).

        Args:
            trajectories: Trajectory of each window.
            starts: First frame of each window.
            length: Frames per window.

        Raises:
            IndexError: If a window leaves the file.
        """
        rows = trajectories.tolist() if isinstance(trajectories, Tensor) else list(trajectories)
        firsts = starts.tolist() if isinstance(starts, Tensor) else list(starts)
        if len(rows) != len(firsts) or length < 1:
            raise ValueError(
                f"{self.name}: read_windows needs one start per trajectory and a positive length, "
                f"got {len(rows)} trajectories, {len(firsts)} starts, length {length}."
            )
        if rows and (min(rows) < 0 or max(rows) >= self.num_trajectories):
            raise IndexError(
                f"{self.name}: trajectories must lie in 0 .. {self.num_trajectories - 1}, got "
                f"{min(rows)} .. {max(rows)}."
            )
        if firsts and (min(firsts) < 0 or max(firsts) + length > self.num_times):
            raise IndexError(
                f"{self.name}: windows of {length} frames must start in 0 .. "
                f"{self.num_times - length}, got {min(firsts)} .. {max(firsts)}."
            )
        return self._gather(rows, firsts, length)

    def times_of(self, index: int) -> Tensor:
        """Times of one trajectory, float64 (time,)."""
        index = self._trajectory(index)
        return self.times if self.times.ndim == 1 else self.times[index]

    def time_step(self, index: int = 0) -> float:
        """The distance between frames of one trajectory [time unit of the file].

        Raises:
            ValueError: If there is one frame only, or the times are not uniform.
        """
        times = self.times_of(index)
        if len(times) < 2:
            raise ValueError(
                f"{self.name}: a time step needs at least 2 frames, got {len(times)}."
            )
        gap = irregularity(times.numpy(), "time")
        if gap is not None:
            raise ValueError(
                f"{self.name}, trajectory {index}: times must be uniform here, got {gap}; "
                f"interpolate in time, or keep a uniform stretch of frames."
            )
        return float(times[-1] - times[0]) / (len(times) - 1)

    def check_finite(self, states: Tensor, index: int, first: int = 0) -> None:
        """Refuse NaN and Inf in states that were read from this file.

        Args:
            states: (time, channel, *space), frames first, first + 1, ... of trajectory `index`.
            index: Trajectory.
            first: Frame of the first state.

        Raises:
            ValueError: Naming file, trajectory, time and field of the first bad value.
        """
        if bool(torch.isfinite(states.sum())):
            return
        bad = (~torch.isfinite(states)).nonzero()
        if len(bad):
            step, channel, *point = (int(i) for i in bad[0])
            frame = first + step
            raise ValueError(
                f"{self.name}, trajectory {index}: values must be finite, got "
                f"{float(states[step, channel, *point])} in field {self.fields.names[channel]!r} "
                f"at frame {frame} (t = {float(self.times_of(index)[frame]):g}), point "
                f"{tuple(point)}; leave this trajectory out or generate it again with a smaller "
                f"step."
            )

    def verify(self, index: int) -> None:
        """Compare the stored bytes of a trajectory with their checksums, once per process.

        Nothing happens for files without checksums, see `has_checksums`.

        Raises:
            ChecksumError: Naming file, trajectory and field whose bytes are not those that were
                written.
        """
        index = self._trajectory(index)
        if self._checksums is not None and index not in self._verified:
            self._checksums.verify(index)
            self._verified.add(index)

    def to_xarray(self, index: int | None = None) -> xarray.Dataset:
        """One trajectory, or all of them, as an `xarray.Dataset` in memory."""
        from pdesurrogates.data.xarray_bridge import to_xarray

        return to_xarray(self, index)

    def close(self) -> None:
        """Close open files; reading again opens them again."""
        for _, block in self._blocks:
            block.close()

    def __enter__(self) -> TrajectoryFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self.num_trajectories

    def __repr__(self) -> str:
        return (
            f"TrajectoryFile({self.name}, layout={self.layout!r}, "
            f"{self.num_trajectories} trajectories x {self.num_times} times, "
            f"fields={self.fields.names}, grid={self.grid.shape})"
        )

    def _trajectory(self, index: int) -> int:
        index = operator.index(index)
        if not -self.num_trajectories <= index < self.num_trajectories:
            raise IndexError(
                f"{self.name}: there are {self.num_trajectories} trajectories "
                f"(0 .. {self.num_trajectories - 1}), got index {index}."
            )
        return index % self.num_trajectories

    def _gather(self, trajectories: list[int], starts: list[int], length: int) -> Tensor:
        if len(self._blocks) == 1:
            return self._blocks[0][1].gather(trajectories, starts, length)
        shape = (len(trajectories), length, self.fields.num_channels, *self.grid.shape)
        windows = torch.empty(shape, dtype=self.dtype)
        for channels, block in self._blocks:
            windows[:, :, channels] = block.gather(trajectories, starts, length)
        return windows
