"""What the HDF5 group of one trajectory on a mesh holds, told from names and shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from pdesurrogates.data.guard import require_dataset

__all__ = ["MeshField", "MeshGroup"]

POINTS = ("mesh_pos", "pos")
MOVING = "world_pos"
TIMES = ("time", "times", "t")
_STRUCTURE = ("cells", "node_type", *POINTS, *TIMES)


@dataclass(frozen=True)
class MeshField:
    """Values at points: (time, point, component), (1, point, component) or without that axis.

    Args:
        name: Name of the data set.
        num_components: Components per point.
        is_dynamic: Whether there is one set of values per frame.
    """

    name: str
    num_components: int
    is_dynamic: bool

    @property
    def channel_names(self) -> list[str]:
        """The name itself, `<name>_x`, `<name>_y` of a vector, else `<name>_0`, ..."""
        count = self.num_components
        if count == 1:
            return [self.name]
        tails = "xyz"[:count] if count <= 3 else range(count)
        return [f"{self.name}_{tail}" for tail in tails]


@dataclass(frozen=True)
class MeshGroup:
    """One trajectory.

    Args:
        key: Name of the group.
        points: Name of the data set with the coordinates in the mesh's own space.
        num_points: Points of the mesh.
        dim: Coordinates per point.
        num_times: Frames.
        has_moving_points: Whether there is `world_pos`.
        has_node_type: Whether there is `node_type`.
        fields: Everything given per point, in alphabetical order.
        dtype: torch.float32 if it holds all stored values exactly, else torch.float64.
        left_out: Data sets that are no fields.
    """

    key: str
    points: str
    num_points: int
    dim: int
    num_times: int
    has_moving_points: bool
    has_node_type: bool
    fields: tuple[MeshField, ...]
    dtype: torch.dtype
    left_out: tuple[str, ...]

    @classmethod
    def of(cls, group: Any, key: str, *, path: Path | str) -> MeshGroup:
        """Look at the names and shapes in `group`.

        Raises:
            ValueError: If points, cells or fields are missing, or shapes do not fit together.
        """
        where, shapes, left_out = f"{path}: {key}", {}, []
        for name in sorted(group):
            if _is_array(group, name):
                shapes[name] = require_dataset(group, name, path=path).shape
            else:
                left_out.append(name)
        points = next((name for name in (*POINTS, MOVING) if name in shapes), None)
        if points is None or "cells" not in shapes:
            raise ValueError(
                f"{where} must hold `cells` and `pos` or `mesh_pos`, found {_listing(shapes)}; it "
                f"is no MeshGraphNets trajectory. Use from_arrays for other data."
            )
        if len(shapes[points]) not in (2, 3) or not 1 <= shapes[points][-1] <= 3:
            raise ValueError(
                f"{where}/{points} must have shape (point, 1 to 3) or (time, point, 1 to 3), got "
                f"{shapes[points]}."
            )
        if len(shapes["cells"]) not in (2, 3) or shapes["cells"][-1] not in (3, 4):
            raise ValueError(
                f"{where}/cells must have shape (cell, 3 or 4) or (time, cell, 3 or 4), got "
                f"{shapes['cells']}."
            )
        num_points = shapes[points][-2]
        num_times = _num_times(shapes, num_points, where=where)
        fields, others = _fields(shapes, num_points, num_times, where=where)
        if not fields:
            raise ValueError(
                f"{where} holds no field with values at its {num_points} points, found "
                f"{_listing(shapes)}{'; no numbers: ' if left_out else ''}{', '.join(left_out)}."
            )
        single = all(np.can_cast(group[item.name].dtype, np.float32) for item in fields)
        return cls(
            key=key,
            points=points,
            num_points=num_points,
            dim=shapes[points][-1],
            num_times=num_times,
            has_moving_points=MOVING in shapes,
            has_node_type="node_type" in shapes,
            fields=tuple(fields),
            dtype=torch.float32 if single else torch.float64,
            left_out=(*left_out, *others),
        )

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of all channels."""
        return tuple(name for item in self.fields for name in item.channel_names)

    @property
    def description(self) -> str:
        """What must be the same in all trajectories of a file, in words."""
        parts = ", ".join(f"{item.name} ({item.num_components})" for item in self.fields)
        return f"{self.num_times} frames of {parts} at points of {self.dim} coordinates"


def _is_array(group: Any, name: str) -> bool:
    """Whether to look at it: not a group or a text stored here. Links are for the guard."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        return True
    item = group[name]
    return isinstance(item, h5py.Dataset) and bool(item.shape) and item.dtype.kind in "fiub"


def _num_times(shapes: Mapping[str, tuple[int, ...]], num_points: int, *, where: str) -> int:
    """The one leading size above 1 of the arrays that have frames."""
    found = {
        name: shape[0]
        for name, shape in shapes.items()
        if name not in TIMES
        and (len(shape) == 3 or (len(shape) == 2 and _is_scalar_over_time(shape, num_points)))
        and shape[0] != 1
    }
    if len(set(found.values())) > 1:
        raise ValueError(
            f"{where}: all arrays must have the same number of frames (or one), got "
            f"{', '.join(f'{name} {count}' for name, count in found.items())}."
        )
    return next(iter(found.values()), 1)


def _is_scalar_over_time(shape: tuple[int, ...], num_points: int) -> bool:
    return shape[1] == num_points != shape[0]


def _fields(
    shapes: Mapping[str, tuple[int, ...]], num_points: int, num_times: int, *, where: str
) -> tuple[list[MeshField], list[str]]:
    """Arrays with values at points, and the names of all others."""
    fields, others = [], []
    for name, shape in shapes.items():
        if name in _STRUCTURE:
            continue
        if shape == (num_points, num_points):
            raise ValueError(
                f"{where}/{name} has shape {shape}: it cannot be told whether the {num_points} "
                f"rows are points or frames; store it as (time, point, component)."
            )
        if len(shape) == 3 and shape[1] == num_points:
            fields.append(MeshField(name, shape[2], shape[0] == num_times > 1))
        elif len(shape) == 2 and _is_scalar_over_time(shape, num_points):
            fields.append(MeshField(name, 1, shape[0] == num_times > 1))
        elif len(shape) <= 2 and shape[:1] == (num_points,):
            fields.append(MeshField(name, shape[1] if len(shape) == 2 else 1, False))
        elif len(shape) == 3 and shape[0] == num_times > 1:
            raise ValueError(
                f"{where}/{name} must have one value per point ({num_points}), got shape {shape}."
            )
        else:
            others.append(name)
    return fields, others


def _listing(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in list(shapes.items())[:12]) or "nothing"
