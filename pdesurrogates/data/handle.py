"""One HDF5 file, local or at an address, opened once per process."""

from __future__ import annotations

import os
import re
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py

from pdesurrogates.data.guard import require_dataset
from pdesurrogates.data.heaps import HeapWatch

__all__ = ["FileHandle", "is_address"]

_MAX_DATASETS = 8
_LARGEST_FILE = 2**60


def is_address(path: str | Path) -> bool:
    """Whether this is an address that fsspec opens (s3://, https://, memory://, ...)."""
    return isinstance(path, str) and "://" in path


class FileHandle:
    """One HDF5 file, opened when first needed and once per process.

    HDF5 handles must not cross a fork or a pickle; this object may, because it remembers which
    process opened what.

    Args:
        path: A file, or an address for fsspec, e.g. "s3://bucket/file.h5".

    Attributes:
        path: `Path` of a file, or the address as it was given.
    """

    def __init__(self, path: Path | str) -> None:
        self.path: Path | str = path if is_address(path) else Path(path)
        self._forget()

    def _forget(self) -> None:
        self._process: int | None = None
        self._descriptor: int | None = None
        self._stream: Any = None
        self._hdf5: h5py.File | None = None
        self._datasets: dict[str, Any] = {}
        self._checked: set[str] = set()

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Path | str]) -> None:
        self.__init__(state["path"])

    @property
    def is_local(self) -> bool:
        """Whether bytes can be read by position, past HDF5."""
        return isinstance(self.path, Path)

    def descriptor(self) -> int:
        """A private read-only descriptor of a local file, for `os.preadv`."""
        self._enter_process()
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        return self._descriptor

    def file(self) -> h5py.File:
        """The open HDF5 file.

        Raises:
            FileNotFoundError: If there is no such file.
            PermissionError: If it may not be read.
            ValueError: If it is truncated, damaged or being written.
        """
        self._enter_process()
        if self._hdf5 is None:
            source: Any = self.path
            if not self.is_local:
                import fsspec

                self._stream = fsspec.open(self.path, "rb").open()  # type: ignore[union-attr]
                source = HeapWatch(self._stream)
            try:
                self._hdf5 = h5py.File(source, "r")
            except (FileNotFoundError, PermissionError):
                raise
            except (OSError, RuntimeError, LookupError, ValueError) as error:
                raise ValueError(_damaged(self.path, error)) from error
            if not self.is_local:
                # HDF5 would read from the stream at interpreter exit, when it is gone.
                weakref.finalize(self, _close, self._hdf5, self._stream)
        return self._hdf5

    @contextmanager
    def opened(self) -> Iterator[h5py.File]:
        """The open HDF5 file; closed afterwards unless it was open before."""
        self._enter_process()
        was_open = self._hdf5 is not None
        try:
            yield self.file()
        finally:
            if not was_open:
                self.close()

    def dataset(self, key: str) -> Any:
        """The data set `key`, checked by `require_dataset`; the last few stay open.

        Raises:
            ValueError: If it is missing, damaged, or not what it should be.
        """
        file = self.file()
        if key not in self._datasets:
            if len(self._datasets) >= _MAX_DATASETS:  # each holds a chunk cache
                self._datasets.clear()
            if key in self._checked:
                self._datasets[key] = file[key]
            else:
                self._datasets[key] = require_dataset(file, key, path=self.path)
                self._checked.add(key)
        return self._datasets[key]

    def close(self) -> None:
        """Close what this process opened (or inherited)."""
        descriptor, stream, hdf5 = self._descriptor, self._stream, self._hdf5
        self._forget()
        if descriptor is not None:
            os.close(descriptor)
        _close(hdf5, stream)

    def _enter_process(self) -> None:
        if self._process != os.getpid():
            self.close()
            self._process = os.getpid()

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            with suppress(OSError):
                os.close(self._descriptor)  # type: ignore[arg-type]
            self._descriptor = None


def _close(hdf5: h5py.File | None, stream: Any) -> None:
    """The HDF5 file first, then the stream under it."""
    if hdf5 is not None:
        hdf5.close()
    if stream is not None:
        stream.close()


def _damaged(path: Path | str, error: Exception) -> str:
    text = " ".join(str(error).split())
    sizes = re.search(r"eof = (\d+).*stored_eof = (\d+)", text)
    if sizes and int(sizes[1]) < int(sizes[2]) < _LARGEST_FILE:
        return (
            f"{path}: the HDF5 file is truncated: it has {int(sizes[1])} bytes and should have "
            f"{int(sizes[2])}; copy or download it again."
        )
    if "lock file" in text or "already open for" in text:
        return (
            f"{path}: the HDF5 file is being written, or was not closed by what wrote it "
            f"({text}); wait for it to end, or copy or generate the file again."
        )
    return f"{path}: the HDF5 file cannot be opened ({text}); it is damaged. Copy it again."
