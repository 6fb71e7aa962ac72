"""Heaps of an HDF5 file, which hold its texts, looked at before HDF5 walks through them.

HDF5 steps from object to object of a heap by the sizes it finds there. Where a damaged one is zero
it steps for ever, and nothing can stop it: it does not return to Python.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

__all__ = ["HeapWatch", "text_lengths", "watched"]

_SIGNATURE = b"GCOL"
_HEADER = struct.Struct("<4sB3xQ")
_OBJECT = struct.Struct("<HH4xQ")
_LARGEST = 64 * 2**20
_LONGEST_TEXT = 16 * 2**20
_MOST_PIECES = 1000
_CONTINUATION, _ATTRIBUTE, _OF_ANY_LENGTH = 16, 12, 9


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


@contextmanager
def text_lengths(file: h5py.File) -> Iterator[Callable[[int], None]]:
    """A function that refuses the attributes of an object if they declare a text above 16 MiB.

    HDF5 takes that much memory before it looks whether there is such a text. Only headers of its
    first format are looked at, which have no checksum; later ones do. The function takes the
    address of an object and raises a `ValueError`.

    Reference:
        HDF5 File Format Specification, version 3.0, IV.A.1.a and IV.A.2.m.
    """
    if file.driver == "fileobj":
        yield lambda address: None
        return
    base = file.userblock_size
    with Path(file.filename).open("rb") as stream:

        def check(address: int) -> None:
            head = _read(stream, base + address, 16)
            if head[:1] != b"\x01":
                return
            pieces = [(base + address + 16, int.from_bytes(head[8:12], "little"))]
            for at, size in pieces:
                for kind, message in _messages(_read(stream, at, size)):
                    if kind == _CONTINUATION and len(pieces) < _MOST_PIECES:
                        offset, length = struct.unpack_from("<QQ", message)
                        pieces.append((base + offset, length))
                    elif kind == _ATTRIBUTE and _longest(message) > _LONGEST_TEXT:
                        raise ValueError(f"a text of {_longest(message)} bytes is declared")

        yield check


def _read(stream: Any, start: int, size: int) -> bytes:
    stream.seek(start)
    return stream.read(min(size, _LARGEST))


def _messages(piece: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and content of the messages in a piece of a header."""
    at = 0
    while at + 8 <= len(piece):
        kind, size = struct.unpack_from("<HH", piece, at)
        yield kind, piece[at + 8 : at + 8 + size]
        at += 8 + size


def _longest(message: bytes) -> int:
    """The longest text that an attribute declares; 0 if it holds none of any length."""
    if len(message) < 8:
        return 0
    version = message[0]
    sizes = struct.unpack_from("<3H", message, 2)
    at = 9 if version == 3 else 8
    if version == 1:
        sizes = tuple(-(-size // 8) * 8 for size in sizes)
    kind = message[at + sizes[0] : at + sizes[0] + 1]
    if not kind or kind[0] & 15 != _OF_ANY_LENGTH:
        return 0
    values = message[at + sum(sizes) :]
    return max(
        (n for n, *_ in struct.iter_unpack("<IQI", values[: len(values) // 16 * 16])), default=0
    )
