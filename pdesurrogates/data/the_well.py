"""The Well layout, our native format: what is where in the file, and its reader."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.data.axes import clean_times
from pdesurrogates.data.base import TrajectoryFile
from pdesurrogates.data.boundaries import Words, read_boundary_words
from pdesurrogates.data.exact import (
    EXACT_GROUP,
    Exact,
    check_names,
    entries,
    read_checksums,
    read_exact,
)
from pdesurrogates.data.guard import (
    read_attributes,
    read_small,
    reading,
    require_dataset,
    require_group,
)
from pdesurrogates.data.handle import FileHandle
from pdesurrogates.data.storage import ArrayBlock, Block
from pdesurrogates.data.stretched import StretchedGrid, grid_or_stretched
from pdesurrogates.data.well_fields import field_axes
from pdesurrogates.data.well_names import component_names

__all__ = ["is_the_well", "read_the_well"]

_ROOT = ("n_trajectories", "n_spatial_dims", "grid_type")
_LARGEST_TIMES = 512 * 2**20
_MANY = 10**6


def is_the_well(file: h5py.File) -> bool:
    """Whether the file has the marks of The Well: three root attributes and `dimensions`."""
    return "dimensions" in file and all(name in file.attrs for name in _ROOT)


def read_the_well(path: Path | str) -> TrajectoryFile:
    """Open a file in The Well layout; axes that a field lacks are broadcast.

    Channels are the t0 fields, then the components `<field>_<dim>` of t1, then t2, unless the
    file was written here and states the order of its channels. An axis that is not uniform keeps
    its coordinates (see `StretchedGrid`) and is reported.

    Args:
        path: The file, or an address.

    Raises:
        ValueError: If a required object is missing, damaged or does not fit, or the description
            of a file written here is not the one that was written.
    """
    handle = FileHandle(path)
    with handle.opened() as file, reading(path, "the file"):
        return _Reader(handle, file).read()


class _Reader:
    """One pass over the metadata of an open file; h5py objects carry no useful types."""

    def __init__(self, handle: FileHandle, file: Any) -> None:
        self.path = handle.path
        self.handle = handle
        self.file = file
        self.facts = read_attributes(file, path=self.path)
        self.num_trajectories = _count(self.facts["n_trajectories"], "n_trajectories", self.path)
        group = require_group(file, "dimensions", path=self.path)
        stated = read_attributes(group, path=self.path).get("spatial_dims", [])
        self.dims = [str(name) for name in entries(stated)]
        self.problems: list[str] = []
        self.notes: list[str] = []
        num_dims = _count(self.facts["n_spatial_dims"], "n_spatial_dims", self.path)
        if not 1 <= len(self.dims) <= 3 or len(self.dims) != num_dims:
            raise ValueError(
                f"{self.path}: attribute `spatial_dims` of group `dimensions` must name 1 to 3 "
                f"axes, as many as n_spatial_dims = {num_dims}, got {self.dims}."
            )

    def read(self) -> TrajectoryFile:
        fields = list(self._fields())
        if not fields:
            raise ValueError(
                f"{self.path}: groups t0_fields, t1_fields and t2_fields hold no field."
            )
        check_names(self.file, path=self.path)
        checksums = None
        if EXACT_GROUP in self.file and isinstance(self.path, Path):
            keys = [key for key, _, _ in fields]
            checksums = read_checksums(self.file, keys, path=self.path, notes=self.notes)
        coordinates = {dim: self._coordinate(dim) for dim in self.dims}
        space = tuple(len(values) for values in coordinates.values())
        exact = None
        if EXACT_GROUP in self.file:
            exact = read_exact(self.file, space, path=self.path)
        words = read_boundary_words(self.file, self.dims, path=self.path)
        times = self._times() if exact is None else exact.times
        names = [name for _, _, own in fields for name in own]
        channels = names if exact is None else list(exact.names)
        self._check_grid_type()
        return TrajectoryFile(
            path=self.path,  # type: ignore[arg-type]
            layout="The Well",
            fields=FieldSpec(tuple(channels), None if exact is None else exact.units),
            grid=self._grid(coordinates, words) if exact is None else exact.grid,
            times=times,
            num_trajectories=self.num_trajectories,
            blocks=[
                (_slice_of(own, channels, self.path), block)
                for own, block in self._blocks(fields, space, times)
            ],
            parameters=self._parameters(exact),
            axis_names=self.dims,
            attributes=self._attributes(),
            boundary=words if exact is None else exact.boundary,
            checksums=checksums,
            problems=self.problems,
            notes=self.notes,
        )

    def _fields(self) -> Iterator[tuple[str, int, list[str]]]:
        """Key, rank and names of the channels of every field."""
        for rank in range(3):
            key = f"t{rank}_fields"
            if key not in self.file:
                continue
            group = require_group(self.file, key, path=self.path)
            stated = entries(read_attributes(group, path=self.path).get("field_names", []))
            unlisted = sorted(set(group) - {str(name) for name in stated})
            if stated and unlisted:
                self.problems.append(
                    f"{key} holds {', '.join(unlisted)}, which `field_names` does not list; left "
                    f"out"
                )
            for name in stated or sorted(group):
                yield f"{key}/{name}", rank, component_names(str(name), rank, self.dims)

    def _coordinate(self, dim: str) -> np.ndarray:
        """Coordinates of one axis, the same for all trajectories."""
        key = f"dimensions/{dim}"
        dataset = require_dataset(self.file, key, path=self.path)
        if bool(read_attributes(dataset, path=self.path).get("time_varying", False)):
            raise ValueError(f"{self.path}: {key} varies in time; only fixed grids can be read.")
        values = read_small(dataset, path=self.path)
        if values.ndim == 2 and len(values):
            differing = np.flatnonzero((values != values[:1]).any(axis=1))
            if len(differing):
                raise ValueError(
                    f"{self.path}: {key} differs between trajectories (0 and {differing[0]}), but "
                    f"the trajectories of one file share one grid; store those on other grids in "
                    f"files of their own."
                )
            values = values[0]
        if values.ndim != 1 or len(values) < 2:
            raise ValueError(
                f"{self.path}: {key} must be one vector of at least 2 coordinates, or one per "
                f"trajectory, got shape {values.shape}."
            )
        return values

    def _times(self) -> Tensor:
        dataset = require_dataset(self.file, "dimensions/time", path=self.path)
        values = read_small(dataset, path=self.path, limit_bytes=_LARGEST_TIMES)
        if values.ndim == 2 and len(values) not in (1, self.num_trajectories):
            raise ValueError(
                f"{self.path}: dimensions/time must have shape (time,) or "
                f"({self.num_trajectories}, time), got {values.shape}."
            )
        return clean_times(values, where=f"{self.path}: dimensions/time")

    def _grid(self, coordinates: dict[str, np.ndarray], words: Words | None) -> Grid:
        closed = [pair == ("periodic", "periodic") for pair in words or [()] * len(self.dims)]
        grid = grid_or_stretched(coordinates, closed, where=str(self.path))
        if isinstance(grid, StretchedGrid):
            self.problems += [
                f"{text}; coordinates are kept, derivatives and spectra are refused"
                for text in grid.gaps(self.dims)
            ]
        return grid

    def _check_grid_type(self) -> None:
        kind = str(self.facts["grid_type"])
        if kind.lower() != "cartesian":
            self.problems.append(
                f"grid_type is {kind!r}: axes {', '.join(self.dims)} are treated as Cartesian, "
                f"distances and derivatives are in these coordinates"
            )

    def _blocks(
        self, fields: list[tuple[str, int, list[str]]], space: tuple[int, ...], times: Tensor
    ) -> Iterator[tuple[list[str], Block]]:
        num_times, is_shared = int(times.shape[-1]), True
        for key, rank, names in fields:
            dataset = require_dataset(self.file, key, path=self.path)
            axes = field_axes(
                dataset,
                rank,
                num_trajectories=self.num_trajectories,
                num_times=num_times,
                space=space,
                path=self.path,
                problems=self.problems,
            )
            is_shared = is_shared and not axes.by_sample
            yield (
                names,
                ArrayBlock(self.handle, key, axes.names, space=space, num_times=num_times),
            )
        if is_shared and self.num_trajectories > _MANY:
            raise ValueError(
                f"{self.path}: n_trajectories is {self.num_trajectories}, but no field differs "
                f"between trajectories; the file is damaged."
            )

    def _parameters(self, exact: Exact | None) -> dict[str, Tensor]:
        scalars: Any = {}
        stated: object = []
        if "scalars" in self.file:
            scalars = require_group(self.file, "scalars", path=self.path)
            stated = read_attributes(scalars, path=self.path).get("field_names", [])
        found = {}
        for name in entries(stated) or entries(self.facts.get("simulation_parameters", [])):
            name = str(name)
            if exact is not None and name in exact.parameters:
                found[name] = exact.parameters[name]
                continue
            value = self.facts.get(name)
            if name in scalars:
                dataset = require_dataset(scalars, name, path=self.path)
                if self._varies_in_time(dataset):
                    self.notes.append(f"scalar {name!r} varies in time and is not a parameter")
                    continue
                value = read_small(dataset, path=self.path)
            if value is None:
                self.problems.append(f"parameter {name!r} is listed but has no value")
                continue
            found[name] = self._row(name, value)
        return found

    def _varies_in_time(self, dataset: Any) -> bool:
        facts = read_attributes(dataset, path=self.path)
        if "time_varying" in facts:
            return bool(facts["time_varying"])
        return dataset.shape not in ((), (1,), (self.num_trajectories,))

    def _row(self, name: str, value: object) -> Tensor:
        """One number per trajectory."""
        try:
            row = torch.from_numpy(np.array(value, dtype=np.float64)).reshape(-1)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{self.path}: parameter {name!r} must be a number, got {value!r}."
            ) from error
        if len(row) not in (1, self.num_trajectories):
            raise ValueError(
                f"{self.path}: scalars/{name} must hold 1 or {self.num_trajectories} values, "
                f"got {len(row)}."
            )
        return row.expand(self.num_trajectories).clone()

    def _attributes(self) -> dict[str, object]:
        skip = {*_ROOT, "simulation_parameters"}
        return {key: value for key, value in self.facts.items() if key not in skip}


def _count(value: object, name: str, path: object) -> int:
    """A positive whole number."""
    is_whole = isinstance(value, int | float) and float(value).is_integer() and value >= 1
    if not is_whole:
        raise ValueError(
            f"{path}: attribute {name!r} must be a positive whole number, got {value!r}; the file "
            f"is damaged or of another layout."
        )
    return int(value)  # type: ignore[arg-type]


def _slice_of(found: list[str], names: list[str], path: object) -> slice:
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
