"""Chunks of an HDF5 data set: is the index of where they lie whole, and is what is asked there?

HDF5 has no checksum over this index in files of its first format, and gives zeros for a chunk that
it does not find.
"""

from __future__ import annotations

import itertools
import math
from itertools import pairwise, zip_longest
from typing import Any

import h5py

__all__ = ["ChunkMap"]

_LARGEST = 50_000


class ChunkMap:
    """The chunks of one data set, checked before they are read.

    The index is checked as a whole at first: chunks must lie on the lattice of chunks, be there
    once, overlap with no other, and have their full size where no compression was applied (of
    more than 50 000 chunks only the number is looked at). Then, each chunk is looked up before it
    is read first.

    Args:
        dataset: The open data set; has chunks.
        key: Its name, for messages.
        path: The file, for messages.

    Raises:
        ValueError: If the index is damaged.
    """

    def __init__(self, dataset: Any, key: str, *, path: object) -> None:
        self.key, self.path = key, path
        self.shape, self.sizes = tuple(dataset.shape), tuple(dataset.chunks)
        pairs = zip(self.shape, self.sizes, strict=True)
        self._lattice = tuple(-(-n // size) for n, size in pairs)
        self._whole = math.prod(self._lattice)
        self._known: set[tuple[int, ...]] = set()
        self._check_index(dataset)

    @classmethod
    def of(cls, dataset: Any, key: str, *, path: object) -> ChunkMap | None:
        """The map of a data set, or `None` if it has no chunks."""
        if dataset.chunks is None or not dataset.size:
            return None
        return cls(dataset, key, path=path)

    def require(self, dataset: Any, selection: tuple[int | slice, ...] = ()) -> None:
        """Refuse to read what was never written.

        Args:
            dataset: The data set, open.
            selection: One index or slice per axis; those that are left out are read as a whole.

        Raises:
            ValueError: Naming the first place without numbers.
        """
        if len(self._known) == self._whole:
            return
        rest = (slice(None),) * (len(self.shape) - len(selection))
        axes = []
        for part, n, size in zip((*selection, *rest), self.shape, self.sizes, strict=True):
            first, last, _ = part.indices(n) if isinstance(part, slice) else (part, part + 1, 1)
            axes.append(range(first // size, -(-last // size)))
        for place in itertools.product(*axes):
            if place not in self._known:
                self._look_up(dataset, place)

    def _look_up(self, dataset: Any, place: tuple[int, ...]) -> None:
        start = tuple(i * size for i, size in zip(place, self.sizes, strict=True))
        try:
            # HDF5 has no cheaper way to ask; the bytes are read again from memory at once.
            dataset.id.read_direct_chunk(start)
        except (OSError, RuntimeError, ValueError) as error:
            raise ValueError(
                f"{self.path}: {self.key} has no numbers from {start} on (chunks of {self.sizes} "
                f"in {self.shape}): they were never written, or their place in the file is lost, "
                f"and would read as zeros. Copy or generate the file again."
            ) from error
        self._known.add(place)

    def _check_index(self, dataset: Any) -> None:
        create = dataset.id.get_create_plist()
        filters = [create.get_filter(i)[:3] for i in range(create.get_nfilters())]
        item_bytes = dataset.id.get_type().get_size()
        for code, _, values in filters:
            if code == h5py.h5z.FILTER_SHUFFLE and values and values[0] != item_bytes:
                raise self._damage(f"its shuffle is for numbers of {values[0]} bytes")
        count = dataset.id.get_num_chunks()
        if count > self._whole:
            raise self._damage(f"it lists {count} chunks of {self._whole}")
        found: list[Any] = []
        if count <= _LARGEST:
            dataset.id.chunk_iter(found.append)
        places = set()
        for chunk in found:
            start = chunk.chunk_offset
            place = tuple(at // size for at, size in zip(start, self.sizes, strict=True))
            is_on_lattice = all(
                at == i * size and i < n
                for at, i, size, n in zip(start, place, self.sizes, self._lattice, strict=True)
            )
            if not is_on_lattice or place in places:
                raise self._damage(f"it lists a chunk at {start}")
            if not _has_right_size(chunk, filters, math.prod(self.sizes) * item_bytes):
                raise self._damage(f"the chunk at {start} has a wrong size")
            places.add(place)
        ends = sorted((chunk.byte_offset, chunk.byte_offset + chunk.size) for chunk in found)
        if any(end > start for (_, end), (start, _) in pairwise(ends)):
            raise self._damage("two chunks overlap")

    def _damage(self, what: str) -> ValueError:
        return ValueError(
            f"{self.path}: the index of the chunks of {self.key} is damaged: {what}. Copy or "
            f"generate the file again."
        )


def _has_right_size(chunk: Any, filters: list[Any], chunk_bytes: int) -> bool:
    """Whether its bytes and the filters that were left out agree.

    A filter may be left out where it failed: compression that gains nothing, never the shuffle.
    """
    left_out = [chunk.filter_mask >> i & 1 for i in range(32)]
    applied = [code for (code, *_), out in zip(filters, left_out, strict=False) if not out]
    may_be_left_out = [
        bool(flags & h5py.h5z.FLAG_OPTIONAL) and code != h5py.h5z.FILTER_SHUFFLE
        for code, flags, _ in filters
    ]
    if any(out and not may for out, may in zip_longest(left_out, may_be_left_out, fillvalue=0)):
        return False
    if set(applied) <= {h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}:
        return chunk.size == chunk_bytes + 4 * applied.count(h5py.h5z.FILTER_FLETCHER32)
    return chunk.size > 0
