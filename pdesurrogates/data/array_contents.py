"""What arrays are in this file? Names, shapes and types; numbers only when asked for."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pdesurrogates.data.foreign import ForeignBlock, NpyHandle
from pdesurrogates.data.guard import reading, require_dataset
from pdesurrogates.data.handle import FileHandle
from pdesurrogates.data.location import array_format
from pdesurrogates.data.matlab import read_matlab
from pdesurrogates.data.storage import ArrayBlock

__all__ = ["StoredArray", "stored_arrays"]

_KINDS = "fciu"
_LARGEST_RATIO = 1000
_ALWAYS_FINE = 64 * 2**20
_NO_NUMBERS = (b"char", b"cell", b"struct", b"function_handle")


@dataclass(frozen=True)
class StoredArray:
    """One array: in memory, or where to find it.

    Args:
        shape: Sizes of its axes; of MATLAB v7.3 arrays in MATLAB's order.
        dtype: Type of its numbers.
        held: The numbers, where they are in memory.
        handle: The file, where they are not.
        key: Name in the file.
        is_reversed: Whether the axes in the file have the opposite order.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    held: np.ndarray | None = None
    handle: FileHandle | None = None
    key: str = ""
    is_reversed: bool = False

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)

    @property
    def can_be_sliced(self) -> bool:
        """Whether states can be read in slices from the file."""
        return self.handle is not None and self.dtype.kind != "c"

    def values(self) -> np.ndarray:
        """All numbers.

        Raises:
            ValueError: If the file is damaged there.
        """
        if self.held is not None:
            return self.held
        assert self.handle is not None
        with self.handle.opened():
            stored = self._dataset()
            with reading(self.handle.path, self.key):
                values = np.asarray(stored[()])
        if values.dtype.names == ("real", "imag"):
            values = values["real"] + 1j * values["imag"]
        return values.T if self.is_reversed else values

    def block(self, axes: Sequence[str], space: Sequence[int], num_times: int) -> ArrayBlock:
        """The array as states, read in slices.

        Args:
            axes: Names of its axes, in the order of `shape`.
            space: Points per axis of the grid, in the order x, y, z.
            num_times: Frames.
        """
        assert self.handle is not None
        names = tuple(reversed(axes)) if self.is_reversed else tuple(axes)
        kind = ForeignBlock if isinstance(self.handle, NpyHandle) else ArrayBlock
        return kind(self.handle, self.key, names, space=space, num_times=num_times)

    def _dataset(self) -> Any:
        assert self.handle is not None
        if self.dtype.kind != "c" or isinstance(self.handle, NpyHandle):
            return self.handle.dataset(self.key)
        return require_dataset(self.handle.file(), self.key, path=self.handle.path, kinds="Vc")


def stored_arrays(path: Path | str) -> dict[str, StoredArray]:
    """Every numeric array of a file by name.

    Raises:
        ValueError: If the file is none of the known kinds, is damaged, or holds no array.
    """
    found = array_format(path)
    if found == "HDF5":
        arrays = _of_hdf5(path)
    else:
        try:
            arrays = _of_other(path, found)
        except Exception as error:  # parsers of foreign formats raise anything on damaged files
            raise ValueError(
                f"{path}: cannot be read as arrays ({error}); expected .npz, .npy, .mat, netCDF "
                f"or HDF5. Load it yourself and use pdesurrogates.data.from_arrays."
            ) from error
    if not arrays:
        raise ValueError(
            f"{path}: holds no numeric array; load it yourself and use "
            f"pdesurrogates.data.from_arrays."
        )
    return arrays


def _of_other(path: Path | str, found: str | None) -> dict[str, StoredArray]:
    if found == "a NumPy array (.npy)":
        if isinstance(path, Path):
            handle = NpyHandle(path)
            stored = handle.dataset("array")
            is_numeric = stored.dtype.kind in _KINDS
            array = StoredArray(stored.shape, stored.dtype, handle=handle, key="array")
            return {"array": array} if is_numeric else {}
        return _numeric({"array": np.load(_fetched(path), allow_pickle=False)})
    if found == "a zip archive (.npz)":
        stream = _fetched(path)
        with zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
            packed = sum(member.compress_size for member in members)
            _refuse_bomb(sum(member.file_size for member in members), packed)
        with np.load(stream, allow_pickle=False) as archive:
            return _numeric({name: archive[name] for name in archive.files})
    if found == "a MATLAB file":
        stream = _fetched(path)
        content = stream.read_bytes() if isinstance(stream, Path) else stream.getvalue()
        return _numeric(read_matlab(content))
    raise ValueError("the first bytes are of no known array format")


def _fetched(path: Path | str) -> Any:
    """The path, or the bytes at an address."""
    if isinstance(path, Path):
        return path
    import fsspec

    with fsspec.open(path, "rb") as stream:
        return io.BytesIO(stream.read())  # type: ignore[union-attr]


def _refuse_bomb(declared: int, stored: int) -> None:
    if declared > max(_ALWAYS_FINE, _LARGEST_RATIO * stored):
        raise ValueError(f"it declares {declared} bytes of arrays in {stored} stored bytes")


def _numeric(raw: dict[str, Any]) -> dict[str, StoredArray]:
    return {
        name: StoredArray(value.shape, value.dtype, value)
        for name, value in raw.items()
        if isinstance(value, np.ndarray) and value.dtype.kind in _KINDS
    }


def _of_hdf5(path: Path | str) -> dict[str, StoredArray]:
    handle = FileHandle(path)
    arrays: dict[str, StoredArray] = {}

    def visit(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if not isinstance(item, h5py.Dataset) or name.startswith("#") or item.shape is None:
            return
        matlab = item.attrs.get("MATLAB_class")
        try:
            stored = item.dtype
        except (TypeError, ValueError):  # a type that NumPy does not know
            return
        if stored.names == ("real", "imag"):
            stored = np.result_type(stored["real"], np.complex64)
        if stored.kind not in _KINDS or matlab in _NO_NUMBERS:
            return
        shape = tuple(item.shape)
        arrays[name] = StoredArray(
            shape[::-1] if matlab is not None else shape,
            stored,
            handle=handle,
            key=name,
            is_reversed=matlab is not None,
        )

    with handle.opened() as file, reading(path, "the list of its arrays"):
        file.visititems(visit)
    return arrays
