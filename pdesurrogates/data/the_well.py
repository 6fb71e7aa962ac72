"""The Well layout, our native format: what is where in the file, and its reader."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.data.axes import clean_times, grid_from_coordinates
from pdesurrogates.data.base import TrajectoryFile
from pdesurrogates.data.storage import Block, DatasetBlock, FileHandle

__all__ = ["EXACT_GROUP", "is_the_well", "read_the_well"]

EXACT_GROUP = "pdesurrogates"
"""A group of our own that other readers ignore: what The Well cannot say, or says in float32.

Attributes `field_names` and `units` (channel order), `extent`, `origin`, `periodic` (per axis);
data sets `time` and `parameters/<name>` in float64.
"""

_ROOT = ("n_trajectories", "n_spatial_dims", "grid_type")


def is_the_well(file: h5py.File) -> bool:
    """Whether the file has the marks of The Well: three root attributes and `dimensions`."""
    return "dimensions" in file and all(name in file.attrs for name in _ROOT)


def read_the_well(path: Path) -> TrajectoryFile:
    """Open a file in The Well layout; axes that a field lacks are broadcast.

    Channels are the t0 fields, then the components `<field>_<dim>` of t1, then t2, unless the
    file was written here and states the order of its channels.

    Raises:
        ValueError: If a required object is missing or does not fit, or the grid is not uniform.
    """
    with h5py.File(path, "r") as file:
        return _Reader(path, file).read()


class _Reader:
    """One pass over the metadata of an open file; h5py objects carry no useful types."""

    def __init__(self, path: Path, file: Any) -> None:
        self.path = path
        self.file = file
        self.handle = FileHandle(path)
        self.num_trajectories = int(file.attrs["n_trajectories"])
        self.dims = _texts(self._require("dimensions").attrs.get("spatial_dims", []))
        self.problems: list[str] = []
        self.notes: list[str] = []
        if not 1 <= len(self.dims) <= 3 or len(self.dims) != int(file.attrs["n_spatial_dims"]):
            raise ValueError(
                f"{path}: attribute `spatial_dims` of group `dimensions` must name 1 to 3 axes, "
                f"as many as n_spatial_dims = {int(file.attrs['n_spatial_dims'])}, got "
                f"{self.dims}."
            )

    def read(self) -> TrajectoryFile:
        exact = self.file.get(EXACT_GROUP)
        times = self._times(exact)
        grid = self._grid(exact)
        blocks = list(self._blocks(grid, int(times.shape[-1])))
        names = [name for found, _ in blocks for name in found]
        units = None
        if exact is not None:
            names, units = _texts(exact.attrs["field_names"]), _texts(exact.attrs["units"])
        if not names:
            raise ValueError(
                f"{self.path}: groups t0_fields, t1_fields and t2_fields hold no field."
            )
        kind = _text(self.file.attrs["grid_type"])
        if kind.lower() != "cartesian":
            self.problems.append(
                f"grid_type is {kind!r}: axes {', '.join(self.dims)} are treated as Cartesian, "
                f"distances and derivatives are in these coordinates"
            )
        placed = [(_slice_of(found, names, self.path), block) for found, block in blocks]
        return TrajectoryFile(
            path=self.path,
            layout="The Well",
            fields=FieldSpec(tuple(names), None if units is None else tuple(units)),
            grid=grid,
            times=times,
            num_trajectories=self.num_trajectories,
            blocks=placed,
            parameters=self._parameters(exact),
            attributes=self._attributes(),
            problems=self.problems,
            notes=self.notes,
        )

    def _require(self, key: str) -> Any:
        found = self.file.get(key)
        if found is None:
            raise ValueError(
                f"{self.path}: The Well layout needs `{key}`, which is missing; found "
                f"{sorted(self.file)} at the root."
            )
        return found

    def _times(self, exact: Any) -> Tensor:
        is_exact = exact is not None and "time" in exact
        key = f"{EXACT_GROUP}/time" if is_exact else "dimensions/time"
        return clean_times(self._require(key)[()], where=f"{self.path}: {key}")

    def _grid(self, exact: Any) -> Grid:
        coordinates = {}
        for dim in self.dims:
            dataset = self._require(f"dimensions/{dim}")
            values = dataset[()]
            if _flag(dataset, "time_varying"):
                raise ValueError(
                    f"{self.path}: dimensions/{dim} varies in time; only fixed grids can be read."
                )
            if values.ndim == 2 and (values == values[:1]).all():
                values = values[0]
            coordinates[dim] = values
        if exact is not None:
            return Grid(
                tuple(len(values) for values in coordinates.values()),
                tuple(float(v) for v in exact.attrs["extent"]),
                tuple(float(v) for v in exact.attrs["origin"]),
                tuple(bool(v) for v in exact.attrs["periodic"]),
            )
        closed = self._periodic_dims()
        flags = [dim in closed for dim in self.dims]
        return grid_from_coordinates(coordinates, flags, where=str(self.path))

    def _periodic_dims(self) -> set[str]:
        closed: set[str] = set()
        for condition in self.file.get("boundary_conditions", {}).values():
            if _text(condition.attrs.get("bc_type", "")).lower() == "periodic":
                closed.update(_texts(condition.attrs.get("associated_dims", [])))
        return closed

    def _blocks(self, grid: Grid, num_times: int) -> Iterator[tuple[list[str], Block]]:
        for rank in range(3):
            group = self.file.get(f"t{rank}_fields", {})
            stated = getattr(group, "attrs", {}).get("field_names", [])
            for name in _texts(stated) or sorted(group):
                dataset = self._require(f"t{rank}_fields/{name}")
                suffixes = ["".join(s) for s in itertools.product(self.dims, repeat=rank)]
                names = [f"{name}_{suffix}" if rank else name for suffix in suffixes]
                yield names, self._block(dataset, rank, grid, num_times)

    def _block(self, dataset: Any, rank: int, grid: Grid, num_times: int) -> Block:
        by_sample = _flag(dataset, "sample_varying", default=True)
        by_time = _flag(dataset, "time_varying", default=True)
        has_axis = np.atleast_1d(dataset.attrs.get("dim_varying", [True] * grid.dim)).astype(bool)
        expected = (
            *([self.num_trajectories] if by_sample else []),
            *([num_times] if by_time else []),
            *(n for n, has in zip(grid.shape, has_axis, strict=True) if has),
            *([grid.dim] * rank),
        )
        if dataset.shape != expected:
            raise ValueError(
                f"{self.path}: {dataset.name} must have shape {expected} by its attributes "
                f"(sample_varying={by_sample}, time_varying={by_time}, "
                f"dim_varying={has_axis.tolist()}, {self.num_trajectories} trajectories, "
                f"{num_times} times, grid {grid.shape}), got {dataset.shape}."
            )
        return DatasetBlock(
            self.handle,
            str(dataset.name),
            sample_shape=(self.num_trajectories,) if by_sample else (),
            has_time=by_time,
            space=grid.shape,
            has_axis=tuple(has_axis.tolist()),
            num_components=grid.dim**rank,
            num_times=num_times,
        )

    def _parameters(self, exact: Any) -> dict[str, Tensor]:
        scalars = self.file.get("scalars")
        stated = _texts(scalars.attrs.get("field_names", [])) if scalars is not None else []
        names = stated or _texts(self.file.attrs.get("simulation_parameters", []))
        found = {}
        for name in names:
            if exact is not None and name in exact["parameters"]:
                found[name] = torch.from_numpy(exact["parameters"][name][()])
                continue
            dataset = scalars.get(name) if scalars is not None else None
            if dataset is not None and _flag(dataset, "time_varying"):
                self.notes.append(f"scalar {name!r} varies in time and is not a parameter")
                continue
            value = dataset[()] if dataset is not None else self.file.attrs.get(name)
            if value is None:
                self.problems.append(f"parameter {name!r} is listed but has no value")
                continue
            row = torch.from_numpy(np.array(value, dtype=np.float64)).reshape(-1)
            if len(row) not in (1, self.num_trajectories):
                raise ValueError(
                    f"{self.path}: scalars/{name} must hold 1 or {self.num_trajectories} values, "
                    f"got {len(row)}."
                )
            found[name] = row.expand(self.num_trajectories).clone()
        return found

    def _attributes(self) -> dict[str, object]:
        skip = {*_ROOT, "simulation_parameters"}
        return {key: _plain(value) for key, value in self.file.attrs.items() if key not in skip}


def _slice_of(found: list[str], names: list[str], path: Path) -> slice:
    try:
        first = names.index(found[0])
    except ValueError:
        first = -1
    if first < 0 or names[first : first + len(found)] != found:
        raise ValueError(
            f"{path}: group {EXACT_GROUP!r} states the channels {names}, which do not contain "
            f"{found}; the file was changed by hand. Delete that group to read it as The Well."
        )
    return slice(first, first + len(found))


def _flag(dataset: Any, name: str, *, default: bool = False) -> bool:
    return bool(np.all(dataset.attrs.get(name, default)))


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _texts(value: object) -> list[str]:
    """Names from a list, an array of bytes or strings, or one plain string."""
    if isinstance(value, bytes | str):
        return [_text(value)]
    return [_text(entry) for entry in np.ravel(np.asarray(value, dtype=object))]


def _plain(value: object) -> object:
    """Attribute values as Python objects."""
    if isinstance(value, np.ndarray):
        return [_plain(entry) for entry in value.ravel()]
    if isinstance(value, np.generic):
        return _plain(value.item())
    return value.decode() if isinstance(value, bytes) else value
