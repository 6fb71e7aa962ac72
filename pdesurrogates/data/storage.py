"""Where the numbers of a trajectory file live: HDF5 data sets read in place, or memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import h5py
import numpy as np
import torch
from torch import Tensor

from pdesurrogates.data.chunks import ChunkMap
from pdesurrogates.data.guard import reading
from pdesurrogates.data.handle import FileHandle
from pdesurrogates.data.raw import bytes_of, read_exactly

__all__ = ["ArrayBlock", "Block", "MemoryBlock"]

_SPACE = ("x", "y", "z")
_NUMPY = {torch.float32: np.dtype("f4"), torch.float64: np.dtype("f8")}
_NAMES = ("trajectory", "time", *_SPACE, "channel", "single")


@runtime_checkable
class Block(Protocol):
    """Some neighbouring channels of every trajectory."""

    num_channels: int
    dtype: torch.dtype

    def gather(self, trajectories: Sequence[int], starts: Sequence[int], length: int) -> Tensor:
        """Windows of `length` frames, (batch, length, channel, *space)."""
        ...

    def close(self) -> None:
        """Give up open files; the next `gather` opens them again."""
        ...


class _Place(NamedTuple):
    """What is known of one data set; `offset` in bytes if it is read in place."""

    shape: tuple[int, ...]
    stored: np.dtype
    num_times: int
    offset: int | None


class ArrayBlock:
    """Fields in an HDF5 data set whose axes have names, in any order, some absent.

    Axes are named in the order of the data set:

        "trajectory"    may appear several times, e.g. device and sample: merged in this order
        "time"          frames
        "x", "y", "z"   space, in any order
        "channel"       components; may appear several times (tensors): merged in this order
        "single"        an axis of length 1, dropped

    What is absent is broadcast: a field without time is the same in all frames, one without
    trajectory is common to all, one without "y" is constant along y.

    With one data set per trajectory (grouped files) `key` lists their paths. Floats of up to 4
    bytes, booleans and integers of up to 2 bytes are read as float32, exactly; all others as
    float64.

    A contiguous, uncompressed data set of native floats with axes (*trajectories, time, ...) is
    read with `os.preadv` at its byte offset: no HDF5 call, no lock, nothing mapped (mapped pages
    would count as resident memory). Everything else goes through h5py slices of what was asked.

    Args:
        handle: The file.
        key: Path of the data set, or one path per trajectory.
        axes: Name of each axis.
        space: Points per axis of the grid, in the order x, y, z.
        num_times: Frames per trajectory; further stored frames are ignored.
        time_offset: Stored frame that is frame 0.
        channels: Which entries of the one "channel" axis to take; all by default.
        check: Called with the open file and the path of a data set before its first use, to
            refuse it; must survive a pickle.

    Raises:
        ValueError: If the data set is missing, damaged or does not have these axes.

    Shape:
        gather: (batch, length, channel, *space), contiguous.
    """

    def __init__(
        self,
        handle: FileHandle,
        key: str | Sequence[str],
        axes: Sequence[str],
        *,
        space: Sequence[int],
        num_times: int,
        time_offset: int = 0,
        channels: slice | Sequence[int] | None = None,
        check: Callable[[h5py.File, str], None] | None = None,
    ) -> None:
        self.handle = handle
        self.keys = (key,) if isinstance(key, str) else tuple(key)
        self.axes = tuple(axes)
        self.space = tuple(space)
        self.num_times = num_times
        self.time_offset = time_offset
        self._check = check
        self._places: dict[str, _Place] = {}
        self._chunks: dict[str, ChunkMap | None] = {}
        self._check_names(selects=channels is not None)
        self._channels = slice(None)
        self._picked: Tensor | None = None
        with handle.opened():
            if channels is not None:
                self._choose(channels, handle.dataset(self.keys[0]).shape)
            first = self._place(self.keys[0])
        self._samples = self._sizes(first.shape, "trajectory")
        self._per_key = math.prod(self._samples)
        self._is_common = isinstance(key, str) and not self._samples
        wanted = ("channel", *_SPACE)
        self._kept = tuple(axis for axis in self.axes if axis in wanted)
        self._rest = self._sizes(first.shape, *wanted)
        self._order = [
            2 + i for name in wanted for i, axis in enumerate(self._kept) if axis == name
        ]
        self._is_arranged = self._order == sorted(self._order)
        points = zip(self.space, _SPACE, strict=False)
        self._present = tuple(n if axis in self._kept else 1 for n, axis in points)
        count = math.prod(self._sizes(first.shape, "channel"))
        self.num_channels = count if self._picked is None else len(self._picked)
        self.dtype = torch.float32 if np.can_cast(first.stored, np.float32) else torch.float64

    @property
    def num_trajectories(self) -> int | None:
        """Trajectories held, or `None` if the field is common to all."""
        return None if self._is_common else len(self.keys) * self._per_key

    def gather(self, trajectories: Sequence[int], starts: Sequence[int], length: int) -> Tensor:
        """Windows of `length` frames, (batch, length, channel, *space)."""
        frames = length if "time" in self.axes else 1
        windows = torch.empty((len(trajectories), frames, *self._rest), dtype=self.dtype)
        if windows.numel():
            self._fill(windows, trajectories, starts)
        return self._arranged(windows, length)

    def close(self) -> None:
        """Close the file; the next `gather` opens it again."""
        self.handle.close()

    def _fill(self, windows: Tensor, trajectories: Sequence[int], starts: Sequence[int]) -> None:
        """Read windows (batch, frame, *rest), with the rest of the axes as in the file."""
        memory, frames = bytes_of(windows.numpy()), windows.shape[1]
        size = len(memory) // len(windows)
        frame_bytes, per_key = size // frames, 0 if self._is_common else self._per_key
        offset = self.time_offset if "time" in self.axes else None
        latest, key, place, descriptor = -1, "", None, -1
        for i, (trajectory, start) in enumerate(zip(trajectories, starts, strict=True)):
            number, sample = divmod(trajectory, per_key) if per_key else (0, 0)
            if place is None or number != latest:
                latest, key = number, self.keys[number]
                place = self._places.get(key) or self._place(key)
            first = 0 if offset is None else start + offset
            if place.offset is None:
                windows[i] = self._sliced(key, sample, first, frames)
                continue
            if descriptor < 0:
                descriptor = self.handle.descriptor()
            position = place.offset + (sample * place.num_times + first) * frame_bytes
            try:
                read_exactly(descriptor, memory[i * size : (i + 1) * size], position)
            except (EOFError, OSError) as error:
                raise ValueError(
                    f"{self.handle.path}: {key} ends or breaks in the window of trajectory "
                    f"{trajectory} that starts at frame {start} ({error}); the file was "
                    f"truncated. Copy or generate it again."
                ) from error

    def _sliced(self, key: str, sample: int, first: int, frames: int) -> Tensor:
        """One window through h5py, (frame, *rest)."""
        samples = iter(np.unravel_index(sample, self._samples) if self._samples else ())
        parts = {"single": 0, "time": slice(first, first + frames), "channel": self._channels}
        selection = tuple(
            int(next(samples)) if axis == "trajectory" else parts.get(axis, slice(None))
            for axis in self.axes
        )
        dataset = self.handle.dataset(key)
        with reading(self.handle.path, key):
            self._require(dataset, key, selection)
            values = np.asarray(dataset[selection], dtype=_NUMPY[self.dtype])
        left = [axis for axis in self.axes if axis not in ("trajectory", "single")]
        if "time" in left:
            values = np.moveaxis(values, left.index("time"), 0)
        return torch.from_numpy(np.ascontiguousarray(values)).reshape(frames, *self._rest)

    def _require(self, dataset: Any, key: str, selection: tuple[int | slice, ...]) -> None:
        """Refuse chunks that are not there."""
        if key not in self._chunks:
            self._chunks[key] = ChunkMap.of(dataset, key, path=self.handle.path)
        chunks = self._chunks[key]
        if chunks is not None:
            chunks.require(dataset, selection)

    def _arranged(self, windows: Tensor, length: int) -> Tensor:
        """(batch, frame, *rest) to (batch, length, channel, *space)."""
        if self._picked is not None:
            axis = 2 + self._kept.index("channel")
            windows = windows.index_select(axis, self._picked)
        batch, frames = windows.shape[:2]
        if not self._is_arranged:
            windows = windows.permute(0, 1, *self._order)
        windows = windows.reshape(batch, frames, self.num_channels, *self._present)
        return windows.expand(batch, length, self.num_channels, *self.space).contiguous()

    def _sizes(self, shape: tuple[int, ...], *names: str) -> tuple[int, ...]:
        """Sizes as read of the axes with these names, in the order of the file."""
        return tuple(
            len(range(n)[self._channels]) if axis == "channel" else n
            for n, axis in zip(shape, self.axes, strict=True)
            if axis in names
        )

    def _choose(self, channels: slice | Sequence[int], shape: tuple[int, ...]) -> None:
        """The stretch of the channel axis to read, and which of its entries to keep."""
        count = shape[self.axes.index("channel")]
        chosen = list(range(count)[channels] if isinstance(channels, slice) else channels)
        if not chosen or min(chosen) < 0 or max(chosen) >= count:
            raise ValueError(
                f"{self.handle.path}: {self.keys[0]} has {count} channels, got channels="
                f"{channels}; name some of 0 .. {count - 1}."
            )
        first, last = min(chosen), max(chosen)
        self._channels = slice(first, last + 1)
        if chosen != list(range(first, last + 1)):
            self._picked = torch.tensor([channel - first for channel in chosen])

    def _check_names(self, *, selects: bool) -> None:
        axes, space = self.axes, _SPACE[: len(self.space)]
        wrong = set(axes) - {"trajectory", "time", "channel", "single", *space}
        twice = [axis for axis in ("time", *space) if axes.count(axis) > 1]
        if wrong or twice or not self.keys or (selects and axes.count("channel") != 1):
            raise ValueError(
                f"ArrayBlock: `axes` must name each axis of the data set as trajectory, time, "
                f"{', '.join(space)}, channel or single (once each; trajectory and channel may "
                f"repeat, but `channels` needs one channel axis), got {axes} for "
                f"{len(self.keys)} data sets."
            )

    def _place(self, key: str) -> _Place:
        """Shape, type and byte offset of a data set, looked up once and checked."""
        path, file = self.handle.path, self.handle.file()
        dataset = self.handle.dataset(key)
        shape, stored = tuple(dataset.shape), dataset.dtype
        self._check_shape(key, shape)
        self._check_same(key, shape, stored)
        if self._check is not None:
            self._check(file, key)
        with reading(path, key):
            create = dataset.id.get_create_plist()
            in_place = (
                self.handle.is_local
                and create.get_layout() == h5py.h5d.CONTIGUOUS
                and create.get_external_count() == 0
                and dataset.file.filename == file.filename
                and stored in (np.dtype("=f4"), np.dtype("=f8"))
                and self._channels == slice(None)
                and _is_in_order([axis for axis in self.axes if axis != "single"])
            )
            offset = dataset.id.get_offset() if in_place else None
        num_times = shape[self.axes.index("time")] if "time" in self.axes else 1
        place = self._places[key] = _Place(shape, stored, num_times, offset)
        return place

    def _check_shape(self, key: str, shape: tuple[int, ...]) -> None:
        path, needed = self.handle.path, self.time_offset + self.num_times
        expected = {"single": 1, "time": needed, **dict(zip(_SPACE, self.space, strict=False))}
        if len(shape) != len(self.axes):
            raise ValueError(
                f"{path}: {key} must have axes ({', '.join(self.axes)}), got shape {shape}; the "
                f"file does not keep to its layout. Use from_arrays with named axes."
            )
        if 0 in shape:
            raise ValueError(
                f"{path}: {key} holds no values, its shape is {shape}; generate the file again."
            )
        for n, axis in zip(shape, self.axes, strict=True):
            right = expected.get(axis, n)
            if n < right or (n > right and axis != "time"):
                raise ValueError(
                    f"{path}: {key} with axes ({', '.join(self.axes)}) must have {right} entries "
                    f"along {axis}{' or more' if axis == 'time' else ''} (grid {self.space}, "
                    f"{needed} frames), got shape {shape}; the file is damaged or its axes have "
                    f"another order."
                )

    def _check_same(self, key: str, shape: tuple[int, ...], stored: np.dtype) -> None:
        """Refuse a data set that differs from the first in samples, channels or type."""
        if not self._places:
            return
        first = self._places[self.keys[0]]
        same = all(
            self._sizes(shape, axis) == self._sizes(first.shape, axis)
            for axis in ("trajectory", "channel")
        )
        if not same or not np.can_cast(stored, _NUMPY[self.dtype]):
            raise ValueError(
                f"{self.handle.path}: {key} has shape {shape} of {stored}, {self.keys[0]} has "
                f"{first.shape} of {first.stored}; all trajectories of a file must agree."
            )


def _is_in_order(axes: list[str]) -> bool:
    """Whether frames of one trajectory lie in one piece: axes (*trajectories, time, ...)."""
    samples, times = axes.count("trajectory"), axes.count("time")
    return axes[: samples + times] == ["trajectory"] * samples + ["time"] * times


class MemoryBlock:
    """States held in memory, (trajectory, time, channel, *space)."""

    def __init__(self, states: Tensor) -> None:
        self.states = states
        self.num_channels = states.shape[2]
        self.dtype = states.dtype

    def gather(self, trajectories: Sequence[int], starts: Sequence[int], length: int) -> Tensor:
        """Windows of `length` frames, (batch, length, channel, *space)."""
        out = self.states.new_empty((len(trajectories), length, *self.states.shape[2:]))
        for window, trajectory, start in zip(out, trajectories, starts, strict=True):
            window.copy_(self.states[trajectory, start : start + length])
        return out

    def close(self) -> None:
        """Nothing to close."""
