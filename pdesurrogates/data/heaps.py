"""Heaps of an HDF5 file, which hold its texts, looked at before HDF5 walks through them.

HDF5 steps from object to object of a heap by the sizes it finds there. Where a damaged one is zero
it steps for ever, and nothing can stop it: it does not return to Python.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

__all__ = ["HeapWatch", "watched"]

_SIGNATURE = b"GCOL"
_HEADER = struct.Struct("<4sB3xQ")
_OBJECT = struct.Struct("<HH4xQ")
_LARGEST = 64 * 2**20


class HeapWatch:
    """A binary stream for h5py that refuses to hand out a heap HDF5 would not get out of.

    Args:
        stream: What to read from; the end of this object does not close it.

    Reference:
        HDF5 File Format Specification, version 3.0, III.E, "Disk Format: Level 1E - Global Heap".
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer.

        Raises:
            ValueError: If what was read is a damaged heap.
        """
        start = self._stream.tell()
        count = self._stream.readinto(buffer)
        if bytes(memoryview(buffer)[: len(_SIGNATURE)]) == _SIGNATURE:
            self._check(start)
            self._stream.seek(start + count)
        return count

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _check(self, start: int) -> None:
        """Walk through the heap as HDF5 does."""
        self._stream.seek(start)
        head = self._stream.read(_HEADER.size)
        size = _HEADER.unpack(head)[2] if len(head) == _HEADER.size else 0
        if size > _LARGEST:
            raise ValueError(f"the heap of texts at byte {start} declares {size} bytes")
        heap = self._stream.read(max(0, size - len(head)))
        at = 0
        while at + _OBJECT.size <= len(heap):
            index, _, length = _OBJECT.unpack_from(heap, at)
            step = _OBJECT.size + -(-length // 8) * 8 if index else length
            if step == 0:
                raise ValueError(
                    f"the heap of texts at byte {start} is damaged: an object in it has no size"
                )
            at += step


@contextmanager
def watched(file: h5py.File) -> Iterator[h5py.File]:
    """The same file, with its heaps watched; HDF5 itself is left to read all other files."""
    if file.driver == "fileobj":  # opened by `FileHandle`, which watches streams
        yield file
        return
    with (
        Path(file.filename).open("rb", buffering=0) as stream,
        h5py.File(HeapWatch(stream), "r") as twin,  # pyright: ignore[reportArgumentType]
    ):
        yield twin
