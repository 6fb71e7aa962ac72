"""Where the numbers of a trajectory file live: HDF5 data sets read in place, or memory."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import h5py
import numpy as np
import torch
from torch import Tensor

from pdesurrogates.data.raw import bytes_of, read_exactly

__all__ = ["Block", "DatasetBlock", "FileHandle", "MemoryBlock"]


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


class FileHandle:
    """One HDF5 file, opened when first needed and once per process.

    HDF5 handles must not cross a fork or a pickle; this object may, because it remembers which
    process opened what.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._forget()

    def _forget(self) -> None:
        self._process: int | None = None
        self._descriptor: int | None = None
        self._hdf5: h5py.File | None = None

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Path]) -> None:
        self.__init__(state["path"])

    def _enter_process(self) -> None:
        if self._process != os.getpid():
            self.close()
            self._process = os.getpid()

    def descriptor(self) -> int:
        """A private read-only descriptor, for `os.preadv`."""
        self._enter_process()
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        return self._descriptor

    def dataset(self, key: str) -> h5py.Dataset:
        """The data set `key` of the open HDF5 file."""
        self._enter_process()
        if self._hdf5 is None:
            self._hdf5 = h5py.File(self.path, "r")
        found = self._hdf5[key]
        assert isinstance(found, h5py.Dataset)
        return found

    def close(self) -> None:
        """Close what this process opened (or inherited)."""
        descriptor, hdf5 = self._descriptor, self._hdf5
        self._forget()
        if descriptor is not None:
            os.close(descriptor)
        if hdf5 is not None:
            hdf5.close()

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            os.close(self._descriptor)  # type: ignore[arg-type]
            self._descriptor = None


@dataclass
class DatasetBlock:
    """A field in an HDF5 data set with axes (*samples, time, *space, *components), some absent.

    A contiguous, uncompressed data set of native floats with all its axes is read with
    `os.preadv` at its byte offset: no HDF5 call, no lock, nothing mapped (mapped pages would
    count as resident memory). Everything else goes through h5py slices.

    Args:
        handle: The file.
        key: Path of the data set in the file.
        sample_shape: Sizes of the leading sample axes; () if the field is common to all.
        has_time: Whether there is a time axis.
        space: Points per axis of the grid.
        has_axis: Per space axis, whether the data set has it.
        num_components: Product of the trailing component axes, 1 for a scalar.
        num_times: Frames per trajectory.
    """

    handle: FileHandle
    key: str
    sample_shape: tuple[int, ...]
    has_time: bool
    space: tuple[int, ...]
    has_axis: tuple[bool, ...]
    num_components: int
    num_times: int
    num_channels: int = field(init=False)
    dtype: torch.dtype = field(init=False)

    def __post_init__(self) -> None:
        self.num_channels = self.num_components
        with h5py.File(self.handle.path, "r") as file:
            dataset: Any = file[self.key]
            stored = dataset.dtype
            offset = dataset.id.get_offset()
            create = dataset.id.get_create_plist()
            in_place = (
                create.get_layout() == h5py.h5d.CONTIGUOUS
                and create.get_external_count() == 0
                and offset is not None
                and stored in (np.dtype("=f4"), np.dtype("=f8"))
                and bool(self.sample_shape)
                and self.has_time
                and all(self.has_axis)
            )
        single = stored.kind == "f" and stored.itemsize <= 4
        self.dtype = torch.float32 if single else torch.float64
        self._offset = offset if in_place else None
        self._frame_bytes = math.prod(self.space) * self.num_components * stored.itemsize

    def gather(self, trajectories: Sequence[int], starts: Sequence[int], length: int) -> Tensor:
        """Windows of `length` frames, (batch, length, channel, *space)."""
        shape = (len(trajectories), length, *self.space, self.num_components)
        windows = torch.empty(shape, dtype=self.dtype)
        if self._offset is None:
            for out, trajectory, start in zip(windows, trajectories, starts, strict=True):
                out.copy_(self._sliced(trajectory, start, length))
        else:
            self._read_in_place(windows, trajectories, starts, length)
        if self.num_components == 1:
            return windows.reshape(len(trajectories), length, 1, *self.space)
        return windows.movedim(-1, 2).contiguous()

    def close(self) -> None:
        """Close the file; the next `gather` opens it again."""
        self.handle.close()

    def _read_in_place(
        self, windows: Tensor, trajectories: Sequence[int], starts: Sequence[int], length: int
    ) -> None:
        assert self._offset is not None
        descriptor, memory = self.handle.descriptor(), bytes_of(windows.numpy())
        size, at = length * self._frame_bytes, 0
        for trajectory, start in zip(trajectories, starts, strict=True):
            frame = trajectory * self.num_times + start
            position = self._offset + frame * self._frame_bytes
            try:
                read_exactly(descriptor, memory[at : at + size], position)
            except EOFError as error:
                raise ValueError(
                    f"{self.handle.path}: {self.key} ends before trajectory {trajectory}, frame "
                    f"{start + length - 1}; the file was truncated. Copy or generate it again."
                ) from error
            at += size

    def _sliced(self, trajectory: int, start: int, length: int) -> Tensor:
        dataset = self.handle.dataset(self.key)
        selection: tuple[int | slice, ...] = ()
        if self.sample_shape:
            selection += tuple(int(i) for i in np.unravel_index(trajectory, self.sample_shape))
        if self.has_time:
            selection += (slice(start, start + length),)
        values = np.asarray(dataset[selection], dtype=np.dtype(str(self.dtype).split(".")[1]))
        present = (length if self.has_time else 1,) + tuple(
            n if has else 1 for n, has in zip(self.space, self.has_axis, strict=True)
        )
        return torch.from_numpy(values).reshape(*present, self.num_components)


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
