"""Chunks of an HDF5 data set: is the index of where they lie whole, and is what is asked there?

HDF5 has no checksum over this index in files of its first format, and gives zeros for a chunk that
it does not find.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from typing import Any

import h5py
import numpy as np

__all__ = ["ChunkMap"]

_LARGEST = 50_000


@dataclass(frozen=True)
class ChunkMap:
    """Which chunks were ever written.

    Args:
        path: The file, for messages.
        key: The data set, for messages.
        shape: Shape of the data set.
        sizes: Shape of one chunk.
        written: One flag per chunk, or `None` if all were, or there are too many to look at.
    """

    path: object
    key: str
    shape: tuple[int, ...]
    sizes: tuple[int, ...]
    written: np.ndarray | None

    @classmethod
    def of(cls, dataset: Any, key: str, *, path: object) -> ChunkMap | None:
        """The map of a data set, or `None` if it has no chunks.

        Chunks must lie on the lattice of chunks, be there once, overlap with no other, lie in the
        file, and have their full size where no filter was applied. More than 50 000 chunks are
        counted, but not looked at.

        Raises:
            ValueError: If the index is damaged.
        """
        if dataset.chunks is None or not dataset.size:
            return None
        shape, sizes = tuple(dataset.shape), tuple(dataset.chunks)
        lattice = tuple(-(-n // size) for n, size in zip(shape, sizes, strict=True))
        count, whole = dataset.id.get_num_chunks(), math.prod(lattice)
        if count > whole:
            raise _damaged(path, key, f"it lists {count} chunks of {whole}")
        if count > _LARGEST or whole > 1000 * _LARGEST:
            return cls(path, key, shape, sizes, None)
        found: list[Any] = []
        dataset.id.chunk_iter(found.append)
        written = np.zeros(lattice, dtype=bool)
        create = dataset.id.get_create_plist()
        filters = [create.get_filter(i)[:2] for i in range(create.get_nfilters())]
        chunk_bytes = math.prod(sizes) * dataset.id.get_type().get_size()
        for chunk in found:
            place = tuple(at // size for at, size in zip(chunk.chunk_offset, sizes, strict=True))
            is_on_lattice = all(
                at == i * size and i < n
                for at, i, size, n in zip(chunk.chunk_offset, place, sizes, lattice, strict=True)
            )
            if not is_on_lattice or written[place]:
                raise _damaged(path, key, f"it lists a chunk at {chunk.chunk_offset}")
            if not _has_right_size(chunk, filters, chunk_bytes):
                raise _damaged(path, key, f"the chunk at {chunk.chunk_offset} has a wrong size")
            written[place] = True
        ends = sorted((chunk.byte_offset, chunk.byte_offset + chunk.size) for chunk in found)
        if any(end > start for (_, end), (start, _) in pairwise(ends)):
            raise _damaged(path, key, "two chunks overlap")
        return cls(path, key, shape, sizes, None if written.all() else written)

    def require(self, selection: tuple[int | slice, ...] = ()) -> None:
        """Refuse to read what was never written.

        Args:
            selection: One index or slice per axis; those that are left out are read as a whole.

        Raises:
            ValueError: Naming the first place without numbers.
        """
        if self.written is None:
            return
        rest = (slice(None),) * (len(self.shape) - len(selection))
        axes = []
        for part, n, size in zip((*selection, *rest), self.shape, self.sizes, strict=True):
            first, last, _ = part.indices(n) if isinstance(part, slice) else (part, part + 1, 1)
            axes.append(slice(first // size, -(-last // size)))
        missing = np.argwhere(~self.written[tuple(axes)])
        if len(missing):
            place = tuple(
                (int(i) + axis.start) * size
                for i, axis, size in zip(missing[0], axes, self.sizes, strict=True)
            )
            raise ValueError(
                f"{self.path}: {self.key} has no numbers from {place} on ({self.sizes} of "
                f"{self.shape}): they were never written, or their place in the file is lost, and "
                f"would read as zeros. Copy or generate the file again."
            )


def _has_right_size(chunk: Any, filters: list[tuple[int, int]], chunk_bytes: int) -> bool:
    """Whether its bytes and the filters that were left out agree.

    A filter may be left out where it failed: compression that gains nothing, never the shuffle.
    """
    left_out = [chunk.filter_mask >> i & 1 for i in range(32)]
    applied = [code for (code, _), out in zip(filters, left_out, strict=False) if not out]
    may_be_left_out = [
        bool(flags & h5py.h5z.FLAG_OPTIONAL) and code != h5py.h5z.FILTER_SHUFFLE
        for code, flags in filters
    ]
    if any(out and not may for out, may in zip_longest(left_out, may_be_left_out, fillvalue=0)):
        return False
    if set(applied) <= {h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}:
        return chunk.size == chunk_bytes + 4 * applied.count(h5py.h5z.FILTER_FLETCHER32)
    return chunk.size > 0


def _damaged(path: object, key: str, what: str) -> ValueError:
    return ValueError(
        f"{path}: the index of the chunks of {key} is damaged: {what}. Copy or generate the file "
        f"again."
    )
