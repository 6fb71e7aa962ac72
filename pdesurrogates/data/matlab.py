"""Numeric arrays of MATLAB v5 files, parsed without trusting a single length in them."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

__all__ = ["read_matlab"]

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_IS_COMPLEX = 0x0800
_STORED = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
_CLASSES = {
    6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8",
}  # fmt: skip
_ALWAYS_FINE = 64 * 2**20
_LARGEST_RATIO = 200


@dataclass(frozen=True)
class _Element:
    kind: int
    content: memoryview


def read_matlab(content: bytes) -> dict[str, np.ndarray]:
    """Real and complex arrays by name, in the axis order of MATLAB; all else is left out.

    Reference:
        MAT-File Format (The MathWorks), chapter 1, level 5 files.

    Args:
        content: The whole file.

    Raises:
        ValueError: If it is truncated or damaged.
    """
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if order is None:
        raise ValueError("the header states no byte order; the file is damaged")
    arrays: dict[str, np.ndarray] = {}
    for element in _elements(memoryview(content)[_HEADER:], order):
        if element.kind == _COMPRESSED:
            inner = _unpacked(element.content, order)
            matrices = list(_elements(memoryview(inner), order))
        else:
            matrices = [element]
        for matrix in matrices:
            named = _array(matrix, order) if matrix.kind == _MATRIX else None
            if named is not None:
                arrays[named[0]] = named[1]
    return arrays


def _elements(content: memoryview, order: str) -> Iterator[_Element]:
    """Data elements one after the other, padded to 8 bytes."""
    at = 0
    while at < len(content):
        if at + 8 > len(content):
            raise ValueError(f"it ends within an element at byte {at}; it was truncated")
        first, size = (int(n) for n in np.frombuffer(content[at : at + 8], f"{order}u4"))
        if first >> 16:  # up to 4 bytes, kept in the tag
            kind, size, start, after = first & 0xFFFF, first >> 16, at + 4, at + 8
            fits = size <= 4
        else:
            kind, start = first, at + 8
            after = start + size + (-size % 8 if kind != _COMPRESSED else 0)
            fits = start + size <= len(content)
        if not fits:
            raise ValueError(
                f"an element declares {size} bytes and the file holds "
                f"{max(0, len(content) - start)}; it was truncated or is damaged"
            )
        yield _Element(kind, content[start : start + size])
        at = after


def _unpacked(packed: memoryview, order: str) -> bytes:
    """Decompressed bytes of one element, at most as many as it declares."""
    stream = zlib.decompressobj()
    try:
        tag = stream.decompress(packed, 8)
        if len(tag) < 8:
            raise ValueError("a compressed element is empty; the file is damaged")
        size = int(np.frombuffer(tag[4:], f"{order}u4")[0])
        if size > max(_ALWAYS_FINE, _LARGEST_RATIO * len(packed)):
            raise ValueError(f"it declares {size} bytes of arrays in {len(packed)} stored bytes")
        rest = stream.decompress(stream.unconsumed_tail, size) if size else b""
        stream.decompress(stream.unconsumed_tail, 8)  # to the end, where the checksum is
    except zlib.error as error:
        raise ValueError(f"a compressed element cannot be unpacked ({error})") from error
    if not stream.eof:
        raise ValueError("a compressed element does not end where it should; it is damaged")
    return tag + rest


def _array(matrix: _Element, order: str) -> tuple[str, np.ndarray] | None:
    """Name and values, or `None` for text, cells, structures and sparse matrices."""
    parts = list(_elements(matrix.content, order))
    if len(parts) < 3 or len(parts[0].content) != 8:
        raise ValueError("an array has no flags, dimensions or name; the file is damaged")
    flags = int(np.frombuffer(parts[0].content, f"{order}u4")[0])
    kind = _CLASSES.get(flags & 0xFF)
    if kind is None or len(parts) < 4:
        return None
    shape = tuple(int(n) for n in np.frombuffer(_whole(parts[1], 4), f"{order}i4"))
    name = bytes(parts[2].content).decode("utf-8", errors="replace")
    values = _numbers(parts[3], shape, kind, order, name)
    if flags & _IS_COMPLEX and len(parts) > 4:
        both = np.empty(shape, np.result_type(values, np.complex64), order="F")
        both.real, both.imag = values, _numbers(parts[4], shape, kind, order, name)
        return name, both
    return name, values


def _numbers(
    part: _Element, shape: tuple[int, ...], kind: str, order: str, name: str
) -> np.ndarray:
    stored = _STORED.get(part.kind)
    if stored is None or len(shape) < 2 or min(shape) < 0:
        raise ValueError(f"array {name!r} has type {part.kind} and shape {shape}; it is damaged")
    width = np.dtype(stored).itemsize
    if math.prod(shape) * width != len(part.content):
        raise ValueError(
            f"array {name!r} of shape {shape} needs {math.prod(shape) * width} bytes, the file "
            f"holds {len(part.content)}; it is damaged"
        )
    values = np.frombuffer(part.content, f"{order}{stored}").astype(kind)
    return values.reshape(shape, order="F")


def _whole(part: _Element, width: int) -> memoryview:
    if len(part.content) % width:
        raise ValueError("the dimensions of an array are damaged")
    return part.content
