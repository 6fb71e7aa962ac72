"""What The Well's description of a data set says: fields, scalars, boundaries, sizes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py

from pdesurrogates.data.exact import entries
from pdesurrogates.data.guard import read_attributes, require_dataset, require_group
from pdesurrogates.data.handle import FileHandle
from pdesurrogates.data.well_names import component_names

__all__ = ["described"]

_SAME = ("dataset_name", "n_spatial_dims", "spatial_resolution")


def described(paths: Sequence[Path]) -> dict[str, Any]:
    """The entries of <data set>.yaml, in The Well's order.

    Args:
        paths: The files of one split.

    Raises:
        ValueError: If files belong to different data sets, or lack what the layout requires.
    """
    found = []
    for path in paths:
        with FileHandle(path).opened() as file:
            found.append(_description(file, path, len(paths)))
        for key in _SAME:
            if found[-1][key] != found[0][key]:
                raise ValueError(
                    f"{path}: {key} must be {found[0][key]!r} as in {paths[0].name}, got "
                    f"{found[-1][key]!r}; the files of one folder belong to one data set."
                )
    whole = dict(found[0])
    words = {word for entry in found for word in entry["boundary_condition_types"]}
    whole["boundary_condition_types"] = sorted(words)
    for key in ("n_trajectories_per_file", "n_steps_per_trajectory"):
        whole[key] = [entry[key] for entry in found]
    return whole


def _description(file: h5py.File, path: Path, num_files: int) -> dict[str, Any]:
    facts = read_attributes(file, path=path)
    dimensions = require_group(file, "dimensions", path=path)
    dims = _names(read_attributes(dimensions, path=path).get("spatial_dims", []))
    lengths = {
        dim: require_dataset(dimensions, dim, path=path).shape[-1] for dim in (*dims, "time")
    }
    moving, fixed = _fields(file, dims, path)
    scalars = require_group(file, "scalars", path=path)
    names = _names(read_attributes(scalars, path=path).get("field_names", []))
    by_time = {name: _varies(require_dataset(scalars, name, path=path), path) for name in names}
    conditions = require_group(file, "boundary_conditions", path=path)
    return {
        "dataset_name": str(facts.get("dataset_name", path.stem)),
        "n_spatial_dims": len(dims),
        "spatial_resolution": [lengths[dim] for dim in dims],
        "scalar_names": [name for name in names if by_time[name]],
        "constant_scalar_names": [name for name in names if not by_time[name]],
        "field_names": moving,
        "constant_field_names": fixed,
        "boundary_condition_types": _words(conditions, path),
        "n_files": num_files,
        "n_trajectories_per_file": int(str(facts["n_trajectories"])),
        "n_steps_per_trajectory": lengths["time"],
        "grid_type": str(facts.get("grid_type", "cartesian")),
    }


def _fields(
    file: h5py.File, dims: Sequence[str], path: Path
) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """Names of the components of fields that vary in time, and of those that do not, by rank."""
    moving: dict[int, list[str]] = {rank: [] for rank in range(3)}
    fixed: dict[int, list[str]] = {rank: [] for rank in range(3)}
    for rank in range(3):
        group = require_group(file, f"t{rank}_fields", path=path)
        for name in _names(read_attributes(group, path=path).get("field_names", [])):
            dataset = require_dataset(group, name, path=path)
            kind = moving if _varies(dataset, path) else fixed
            kind[rank] += component_names(name, rank, dims)
    return moving, fixed


def _words(conditions: h5py.Group, path: Path) -> list[str]:
    groups = (require_group(conditions, str(name), path=path) for name in conditions)
    return [str(read_attributes(group, path=path).get("bc_type", "")).upper() for group in groups]


def _varies(dataset: Any, path: Path) -> bool:
    return bool(read_attributes(dataset, path=path).get("time_varying", True))


def _names(value: object) -> list[str]:
    return [str(entry) for entry in entries(value)]
