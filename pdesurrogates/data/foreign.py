"""Arrays of files that are not HDF5, read in slices by axis names all the same."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from pdesurrogates.data.handle import FileHandle
from pdesurrogates.data.storage import ArrayBlock

__all__ = ["ForeignBlock", "NpyHandle"]


class _Place(NamedTuple):
    """What `ArrayBlock` remembers of an array; nothing here is read by position."""

    shape: tuple[int, ...]
    stored: np.dtype
    num_times: int
    offset: None = None


class ForeignBlock(ArrayBlock):
    """An `ArrayBlock` over whatever its handle's `dataset(key)` gives that can be sliced.

    The arrays need `shape`, `dtype` and `__getitem__`.
    """

    def _place(self, key: str) -> Any:
        with self.handle.opened():
            dataset = self.handle.dataset(key)
            shape, stored = tuple(dataset.shape), np.dtype(dataset.dtype)
        self._check_shape(key, shape)
        self._check_same(key, shape, stored)
        num_times = shape[self.axes.index("time")] if "time" in self.axes else 1
        place = self._places[key] = _Place(shape, stored, num_times)  # pyright: ignore
        return place

    def _require(self, dataset: Any, key: str, selection: tuple[int | slice, ...]) -> None:
        """There are no chunks."""


class NpyHandle(FileHandle):
    """A .npy file, mapped when first needed and once per process; every key is its one array."""

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """The file; mapped arrays need no closing in between."""
        yield self

    def dataset(self, key: str) -> Any:
        """The mapped array.

        Raises:
            ValueError: If the header is damaged or declares more than the file holds.
        """
        self._enter_process()
        if key not in self._datasets:
            self._datasets[key] = _Mapped(np.load(self.path, mmap_mode="r", allow_pickle=False))
        return self._datasets[key]


class _Mapped:
    """A mapped array whose slices are copies, so that nobody holds on to the map.

    What was mapped for a slice is given back to the system at once: reading a file from end to
    end would otherwise fill the memory of the process.
    """

    def __init__(self, values: np.ndarray) -> None:
        self.shape = values.shape
        self.dtype = values.dtype
        self._values = values
        self._map: mmap.mmap | None = getattr(values, "_mmap", None)

    def __getitem__(self, selection: Any) -> np.ndarray:
        values = np.array(self._values[selection])
        if self._map is not None:
            self._map.madvise(mmap.MADV_DONTNEED)
        return values
