"""Our own group in a file of The Well: what the layout cannot say, or says in float32 only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from pdesurrogates.core import Grid
from pdesurrogates.data.axes import clean_times
from pdesurrogates.data.boundaries import StatedBoundary, boundary_from_text
from pdesurrogates.data.checksums import ChecksumError, Checksums, Sealed, check_header
from pdesurrogates.data.guard import read_attributes, read_small, require_dataset, require_group
from pdesurrogates.data.stretched import StretchedGrid

__all__ = [
    "CHECKSUM_GROUP",
    "EXACT_GROUP",
    "Exact",
    "check_names",
    "entries",
    "fingerprint_of",
    "read_checksums",
    "read_exact",
]

EXACT_GROUP = "pdesurrogates"
"""Other readers ignore this group.

Attributes `field_names` and `units` (channel order), `extent`, `origin`, `periodic` (per axis),
`cell_centred`, `boundary` (JSON), `fingerprint`; data sets `time`, `parameters/<name>` and, on a
stretched grid, `coordinates/<dim>`, in float64.
"""

CHECKSUM_GROUP = f"{EXACT_GROUP}/checksums"
"""CRC-32 as uint32: `t<rank>_fields/<field>` (trajectory,) of the stored bytes of each trajectory,
and `header` (1,) of all bytes that belong to no field."""

_LARGEST = 512 * 2**20
_OTHERS = {"boundary_conditions", "dimensions", "scalars", "t0_fields", "t1_fields", "t2_fields"}
_PARTS = {"checksums", "coordinates", "parameters", "time"}


@dataclass(frozen=True)
class Exact:
    """What the group holds."""

    names: tuple[str, ...]
    units: tuple[str, ...]
    grid: Grid
    times: Tensor
    parameters: dict[str, Tensor]
    boundary: StatedBoundary | None


def check_names(file: h5py.File, *, path: object) -> None:
    """Refuse a file in which our group, or that of the checksums, has another name.

    Without this, damage to a name would have the file read as one that others wrote, unchecked.

    Raises:
        ChecksumError: Naming the group.
    """
    found = list(file)
    if EXACT_GROUP in found:
        strange = sorted(set(require_group(file, EXACT_GROUP, path=path)) - _PARTS)
        strange = [f"{EXACT_GROUP}/{name}" for name in strange]
    else:
        strange = [
            name
            for name in sorted(set(found) - _OTHERS)
            if isinstance(file.get(name, getlink=True), h5py.HardLink)
            and isinstance(file[name], h5py.Group)
            and _PARTS & set(require_group(file, name, path=path))
        ]
    if strange or len(set(found)) < len(found):
        raise ChecksumError(
            f"{path}: group {(strange or found)[0]!r} is not called what it was written as; the "
            f"file was damaged or changed by hand. Copy or generate it again; if the change was "
            f"meant, delete that group."
        )


def read_exact(file: h5py.File, num_points: tuple[int, ...], *, path: object) -> Exact:
    """Read the group.

    Args:
        file: An open file that has the group.
        num_points: Points per axis.
        path: For messages.

    Raises:
        ValueError: If something is missing or does not fit.
    """
    group = require_group(file, EXACT_GROUP, path=path)
    facts = read_attributes(group, path=path)
    missing = {"field_names", "units", "extent", "origin", "periodic"} - set(facts)
    if missing:
        raise ValueError(
            f"{path}: group {EXACT_GROUP!r} has no attribute {min(missing)!r}; the file is "
            f"damaged or was changed by hand. Delete that group to read it as The Well."
        )
    parameters = {}
    if "parameters" in group:
        inner = require_group(group, "parameters", path=path)
        for name in inner:
            values = read_small(require_dataset(inner, name, path=path), path=path)
            parameters[name] = torch.from_numpy(values.astype(np.float64))
    times = read_small(require_dataset(group, "time", path=path), path=path, limit_bytes=_LARGEST)
    text = facts.get("boundary")
    where = f"{path}: {EXACT_GROUP}/boundary"
    return Exact(
        tuple(str(name) for name in entries(facts["field_names"])),
        tuple(str(unit) for unit in entries(facts["units"])),
        _grid(group, facts, num_points, path),
        clean_times(times, where=f"{path}: {EXACT_GROUP}/time"),
        parameters,
        None if text is None else boundary_from_text(str(text), where=where),
    )


def read_checksums(
    file: h5py.File, keys: list[str], *, path: Path, notes: list[str]
) -> Checksums | None:
    """The checksums of the fields `keys`, after that of the description was compared.

    Args:
        file: An open file that has our group.
        keys: Data sets of all fields.
        path: The file.
        notes: A sentence is added where the checksums cannot be used.

    Raises:
        ChecksumError: If the description is not the one that was written.
    """
    if CHECKSUM_GROUP not in file:
        return None
    group = require_group(file, CHECKSUM_GROUP, path=path)
    sealed, header = [], _offset(require_dataset(group, "header", path=path, kinds="u"))
    for key in keys:
        field = require_dataset(file, key, path=path)
        sums = require_dataset(group, key, path=path, kinds="u")
        places = _offset(field), _offset(sums)
        if None in (*places, header) or sums.dtype.itemsize != 4 or len(sums) != len(field):
            notes.append(
                "the file was rewritten by another tool, so its checksums cannot be compared; "
                "convert it to have new ones"
            )
            return None
        sealed.append(Sealed(key, places[0], field.nbytes // len(field), len(field), places[1]))  # type: ignore[arg-type]
    assert header is not None
    check_header(path, sealed, header)
    return Checksums(path, tuple(sealed))


def fingerprint_of(path: Path) -> str | None:
    """The fingerprint that a finished file of ours holds; `None` where there is none."""
    try:
        with h5py.File(path, "r") as file:
            group = require_group(file, EXACT_GROUP, path=path)
            found = read_attributes(group, path=path).get("fingerprint")
    except (OSError, ValueError):
        return None
    return str(found) if found else None


def entries(value: object) -> list[Any]:
    """A list, or the one entry of a list of one that came as that entry."""
    return list(value) if isinstance(value, list | tuple) else [value]


def _offset(dataset: Any) -> int | None:
    """Where the numbers of a contiguous data set start."""
    create = dataset.id.get_create_plist()
    if create.get_layout() != h5py.h5d.CONTIGUOUS or create.get_external_count():
        return None
    return dataset.id.get_offset()


def _grid(group: h5py.Group, facts: dict, num_points: tuple[int, ...], path: object) -> Grid:
    extent, origin, periodic = (entries(facts[key]) for key in ("extent", "origin", "periodic"))
    centred = bool(facts.get("cell_centred", False))
    arguments = (num_points, tuple(extent), tuple(origin), tuple(bool(flag) for flag in periodic))
    if "coordinates" not in group:
        return Grid(*arguments, centred)
    inner = require_group(group, "coordinates", path=path)
    vectors = [
        read_small(require_dataset(inner, dim, path=path), path=path).astype(np.float64).tolist()
        for dim in "xyz"[: len(num_points)]
    ]
    return StretchedGrid(*arguments, centred, vectors=tuple(tuple(vector) for vector in vectors))
