"""What arrays are in this file? Names, shapes and types; numbers only when asked for."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pdesurrogates.data.foreign import ForeignBlock, NpyHandle
from pdesurrogates.data.guard import reading, require_dataset
from pdesurrogates.data.handle import FileHandle
from pdesurrogates.data.heaps import watched
from pdesurrogates.data.location import array_format
from pdesurrogates.data.matlab import read_matlab
from pdesurrogates.data.netcdf import NetcdfHandle
from pdesurrogates.data.places import datasets
from pdesurrogates.data.storage import ArrayBlock

__all__ = ["StoredArray", "stored_arrays"]

_KINDS = "fciu"
_LARGEST_RATIO = 200
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
        is_hdf5 = not isinstance(self.handle, NpyHandle | NetcdfHandle)
        kind = ArrayBlock if is_hdf5 else ForeignBlock
        return kind(self.handle, self.key, names, space=space, num_times=num_times)

    def _dataset(self) -> Any:
        assert self.handle is not None
        if self.dtype.kind != "c" or isinstance(self.handle, NpyHandle | NetcdfHandle):
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
            for member in members:
                with archive.open(member) as content:
                    _check_header(content, member)
        if not isinstance(stream, Path):
            stream.seek(0)
        with np.load(stream, allow_pickle=False) as archive:
            return _numeric({name: archive[name] for name in archive.files})
    if found == "a NetCDF-3 file":
        handle = NetcdfHandle(path)
        with handle.opened() as dataset:
            return {
                str(name): StoredArray(v.shape, v.dtype, handle=handle, key=str(name))
                for name, v in dataset.variables.items()
                if v.dtype.kind in _KINDS
            }
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


def _check_header(content: Any, member: zipfile.ZipInfo) -> None:
    """Refuse an array of a .npz file that is not as large as its header says."""
    known = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    read_header = known.get(np.lib.format.read_magic(content))
    if read_header is None:
        return
    shape, _, dtype = read_header(content)
    needed = math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and needed != member.file_size - content.tell():
        raise ValueError(
            f"array {member.filename!r} of shape {shape} needs {needed} bytes, the file holds "
            f"{member.file_size - content.tell()}; it is damaged"
        )


def _numeric(raw: dict[str, Any]) -> dict[str, StoredArray]:
    return {
        name: StoredArray(value.shape, value.dtype, value)
        for name, value in raw.items()
        if isinstance(value, np.ndarray) and value.dtype.kind in _KINDS
    }


def _of_hdf5(path: Path | str) -> dict[str, StoredArray]:
    handle = FileHandle(path)
    arrays: dict[str, StoredArray] = {}

    with handle.opened() as file, reading(path, "the list of its arrays"), watched(file) as twin:
        for name, item in datasets(twin, path=path):
            stored = None if name.startswith("#") else _number_type(item)
            if stored is None:
                continue
            is_matlab = "MATLAB_class" in item.attrs
            shape = tuple(item.shape)
            arrays[name] = StoredArray(
                shape[::-1] if is_matlab else shape,
                stored,
                handle=handle,
                key=name,
                is_reversed=is_matlab,
            )
    return arrays


def _number_type(item: Any) -> np.dtype | None:
    """The type of numbers in a data set; `None` if it holds none."""
    try:
        stored = item.dtype
    except (TypeError, ValueError):  # a type that NumPy does not know
        return None
    if stored.names == ("real", "imag"):
        stored = np.result_type(stored["real"], np.complex64)
    is_number = stored.kind in _KINDS and item.attrs.get("MATLAB_class") not in _NO_NUMBERS
    return stored if is_number and item.shape is not None else None
