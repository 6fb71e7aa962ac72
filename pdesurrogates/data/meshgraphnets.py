"""HDF5 conversions of the MeshGraphNets data sets: one group per trajectory."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from pdesurrogates.data.axes import clean_times
from pdesurrogates.data.guard import read_attributes, read_small, require_dataset, require_group
from pdesurrogates.data.handle import FileHandle
from pdesurrogates.data.mesh import MeshTrajectoryFile
from pdesurrogates.data.mesh_group import MOVING, POINTS, TIMES, MeshGroup

__all__ = ["is_meshgraphnets", "read_meshgraphnets"]

_META_BYTES = 2**20


def is_meshgraphnets(file: h5py.File) -> bool:
    """Whether the first root object is a group that holds cells and points."""
    first = next(iter(file), None)
    if first is None or not isinstance(file.get(first, getlink=True), h5py.HardLink):
        return False
    group = file[first]
    return isinstance(group, h5py.Group) and (
        "cells" in group and any(name in group for name in (*POINTS, MOVING))
    )


def read_meshgraphnets(path: Path | str, *, dt: float | None = None) -> MeshTrajectoryFile:
    """Open a file with one group per trajectory: points, cells, node types and fields.

    Accepted are `pos` or `mesh_pos` (and `world_pos`, points that move); static arrays with a
    leading axis of the number of frames, of one, or without it; groups in any order, sorted by
    number (2 before 10). Times come from `time` in the first group, else from `dt`: the argument,
    an attribute or data set of the group or the file, or meta.json beside the file.

    Args:
        path: The file.
        dt: Distance between frames [time], where the file states none.

    Raises:
        ValueError: If arrays are missing or do not fit together.
    """
    handle = FileHandle(path)
    with handle.opened() as file:
        keys = sorted(file, key=_natural)
        stored = require_group(file, keys[0], path=path)
        first = MeshGroup.of(stored, keys[0], path=path)
        times, note, problem = _times(file, stored, first, path=path, dt=dt)
        notes = [note] if note else []
        if first.left_out:
            notes.append(f"left out, not one value per point: {', '.join(first.left_out)}")
        return MeshTrajectoryFile(
            handle,
            keys,
            first,
            layout="MeshGraphNets",
            times=times,
            attributes=read_attributes(file, path=path),
            notes=notes,
            problems=[problem] if problem else [],
        )


def _natural(key: str) -> list[tuple[int, str]]:
    """Sorts by the numbers in a name, not by their digits."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", key)
    ]


def _times(
    file: Any, group: Any, first: MeshGroup, *, path: Path | str, dt: float | None
) -> tuple[Tensor, str, str]:
    """Times, a note on where they are from, and what is wrong about them."""
    name = next((name for name in TIMES if name in group), None)
    if name is not None:
        if dt is not None:
            raise ValueError(
                f"{path}: this file states its times ({first.key}/{name}), so dt cannot be "
                f"given; leave it out."
            )
        stored = require_dataset(group, name, path=path, kinds="fiu")
        values = read_small(stored, path=path).reshape(-1)
        if len(values) != first.num_times:
            raise ValueError(
                f"{path}: {first.key}/{name} must have one entry per frame ({first.num_times}), "
                f"got shape {stored.shape}."
            )
        return clean_times(values, where=f"{path}: {first.key}/{name}"), "", ""
    frames = torch.arange(first.num_times, dtype=torch.float64)
    if dt is not None:
        if not dt > 0:
            raise ValueError(f"{path}: `dt` must be positive, got {dt}.")
        return dt * frames, "", ""
    for owner, where in ((group, first.key), (file, "the file")):
        step = _number(read_attributes(owner, path=path).get("dt"))
        if step is None and "dt" in owner:
            step = _number(read_small(require_dataset(owner, "dt", path=path), path=path))
        if step is not None:
            return step * frames, f"dt = {step:g} from {where}", ""
    step, problem = _dt_of_meta(path)
    if step is not None:
        return step * frames, f"dt = {step:g} from meta.json beside the file", ""
    text = "no times and no dt in the file: times are frame numbers; give dt to open_trajectories"
    return frames, "", f"{text}{problem}"


def _dt_of_meta(path: Path | str) -> tuple[float | None, str]:
    """`dt` of the meta.json in the folder of the file, and why it is not used."""
    meta = path.with_name("meta.json") if isinstance(path, Path) else None
    if meta is None or not meta.is_file():
        return None, ""
    if meta.stat().st_size > _META_BYTES:
        return None, " (meta.json beside it is too large to be the description of a data set)"
    try:
        stated = json.loads(meta.read_bytes())
    except (ValueError, OSError, RecursionError) as error:
        return None, f" (meta.json beside it cannot be read: {error})"
    step = _number(stated.get("dt")) if isinstance(stated, dict) else None
    return step, "" if step is not None else " (meta.json beside it states no positive dt)"


def _number(value: object) -> float | None:
    """A positive finite number, else `None`."""
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "fiu":
        return None
    number = float(array.reshape(-1)[0])
    return number if np.isfinite(number) and number > 0 else None
