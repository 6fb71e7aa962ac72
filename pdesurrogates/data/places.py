"""Where the numbers of an HDF5 file lie: no data set may reach into another, or into a header."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import h5py
from h5py import h5o  # pyright: ignore[reportAttributeAccessIssue]

from pdesurrogates.data.guard import reading

__all__ = ["check_places", "datasets"]

_MOST_OBJECTS = 512


def check_places(file: h5py.File, *, path: object) -> None:
    """Refuse a file in which data sets without chunks overlap.

    HDF5 has no checksum over the address of a data set in files of its first format; one that is
    damaged gives the numbers of another. The first 512 objects of a file are compared.

    Raises:
        ValueError: Naming file and data sets.
    """
    found: list[tuple[int, int, str]] = []
    before = file.userblock_size
    for number, (key, item) in enumerate(_objects(file, path)):
        if number == _MOST_OBJECTS:
            break
        with reading(path, key):
            found.append((before + h5o.get_info(item.id).addr, 1, key))
            found += [(*stretch, key) for stretch in _stretches(item)]
    found.sort()
    for (start, size, key), (after, _, other) in pairwise(found):
        if start + size > after:
            raise ValueError(
                f"{path}: the numbers of {key} reach into {other} (bytes {start} to "
                f"{start + size}, and {after}); the file is damaged. Copy, download or generate "
                f"it again."
            )


def _stretches(item: Any) -> Iterator[tuple[int, int]]:
    """First byte and size of the numbers of a data set without chunks."""
    if not isinstance(item, h5py.Dataset):
        return
    create = item.id.get_create_plist()
    if create.get_layout() == h5py.h5d.CONTIGUOUS and not create.get_external_count():
        offset, size = item.id.get_offset(), item.id.get_storage_size()
        if offset is not None and size:
            yield offset, size


def datasets(file: h5py.File, *, path: object) -> Iterator[tuple[str, Any]]:
    """Names and data sets of a file, each once; links to elsewhere are not followed.

    Raises:
        ValueError: If an object is damaged.
    """
    for key, item in _objects(file, path):
        if isinstance(item, h5py.Dataset):
            yield key, item


def _objects(file: h5py.File, path: object) -> Iterator[tuple[str, Any]]:
    """Names and objects of a file but the root."""
    groups: list[tuple[str, Any]] = [("", file)]
    seen = {file["/"].id}
    while groups:
        prefix, group = groups.pop(0)
        with reading(path, f"group {group.name}"):
            names = [n for n in group if isinstance(group.get(n, getlink=True), h5py.HardLink)]
        for name in names:
            key = f"{prefix}{name}"
            with reading(path, key):
                item: Any = group[name]
                is_known = item.id in seen
                seen.add(item.id)
            if not is_known:
                yield key, item
                if isinstance(item, h5py.Group):
                    groups.append((f"{key}/", item))
