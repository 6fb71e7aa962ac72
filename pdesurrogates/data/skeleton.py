"""The empty HDF5 file in The Well layout that a writer fills."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.data.boundaries import (
    StatedBoundary,
    boundary_to_text,
    write_boundary_groups,
)
from pdesurrogates.data.checksums import Sealed
from pdesurrogates.data.exact import CHECKSUM_GROUP, EXACT_GROUP
from pdesurrogates.data.stretched import StretchedGrid
from pdesurrogates.data.well_names import WellField, well_fields

__all__ = ["Located", "Target", "build_skeleton"]

_RESERVED = (
    "dataset_name",
    "grid_type",
    "n_spatial_dims",
    "n_trajectories",
    "simulation_parameters",
)
_LONGEST_ATTRIBUTE = 60_000
_AXES: tuple[str, ...] = ("x", "y", "z")


@dataclass(frozen=True)
class Located:
    """A data set of the skeleton: its channels and the byte at which its numbers start."""

    key: str
    channels: slice
    rank: int
    offset: int
    frame_bytes: int
    sums_offset: int

    def values(self, states: Tensor, dtype: str) -> np.ndarray:
        """The channels of `states` as they lie on disk, components last."""
        own = states[:, :, self.channels]
        own = own[:, :, 0] if self.rank == 0 else own.movedim(2, -1)
        return own.numpy().astype("<f4" if dtype == "float32" else "<f8", copy=False)


@dataclass(frozen=True)
class Target:
    """Everything about a file but its states.

    Args:
        fields: Channels.
        grid: Grid.
        times: (time,) or (trajectory, time), float64.
        num_trajectories: Number of trajectories.
        parameters: float64 arrays, 0-d where constant, else (trajectory,).
        attributes: Further root attributes.
        name: `dataset_name`.
        dtype: "float32" or "float64".
        boundary: Conditions at the ends of the axes, where they are stated.
        fingerprint: Text that changes whenever the states would.
    """

    fields: FieldSpec
    grid: Grid
    times: Tensor
    num_trajectories: int
    parameters: Mapping[str, np.ndarray]
    attributes: Mapping[str, str | int | float | bool]
    name: str
    dtype: str
    boundary: StatedBoundary | None = None
    fingerprint: str = ""

    def __post_init__(self) -> None:
        if self.dtype not in ("float32", "float64"):
            raise ValueError(
                f"TrajectoryWriter: dtype must be 'float32' or 'float64', got {self.dtype!r}."
            )
        if self.times.ndim == 2 and self.times.shape[0] != self.num_trajectories:
            raise ValueError(
                f"TrajectoryWriter: `times` must have shape (time,) or ({self.num_trajectories}, "
                f"time), got {tuple(self.times.shape)}."
            )
        taken = {*_RESERVED, *self.parameters}
        for key, value in self.attributes.items():
            if key in taken:
                raise ValueError(
                    f"TrajectoryWriter: attribute {key!r} is reserved by The Well layout or is "
                    f"the name of a parameter; choose another name."
                )
            if not isinstance(value, str | int | float | bool):
                raise ValueError(
                    f"TrajectoryWriter: attribute {key!r} must be text or a number, got "
                    f"{type(value).__name__}; store json.dumps(value)."
                )
            if len(str(value).encode()) > _LONGEST_ATTRIBUTE:
                raise ValueError(
                    f"TrajectoryWriter: attribute {key!r} has {len(str(value).encode())} bytes, "
                    f"HDF5 allows {_LONGEST_ATTRIBUTE}; shorten it."
                )

    def description(self) -> dict[str, object]:
        """Every argument in a form that can be compared and shown."""
        times, grid = self.times.numpy(), repr(self.grid)
        if isinstance(self.grid, StretchedGrid):
            grid += f", sha256 {_digest(np.concatenate(self.grid.vectors))}"
        return {
            "fields": list(self.fields.names),
            "units": list(self.fields.units or ()),
            "grid": grid,
            "times": f"{times.shape[-1]} from {times.flat[0]!r} to {times.flat[-1]!r}, "
            f"sha256 {_digest(times)}",
            "num_trajectories": self.num_trajectories,
            "parameters": {
                name: float(row) if row.ndim == 0 else f"sha256 {_digest(row)}"
                for name, row in self.parameters.items()
            },
            "attributes": dict(self.attributes),
            "name": self.name,
            "dtype": self.dtype,
            "boundaries": None if self.boundary is None else boundary_to_text(self.boundary),
            "fingerprint": self.fingerprint,
        }

    @property
    def identity(self) -> str:
        """Digest of all arguments, kept in the file; empty without a fingerprint."""
        if not self.fingerprint:
            return ""
        text = json.dumps(self.description(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def num_bytes(self) -> int:
        """Size of the states on disk [bytes]."""
        frames = self.num_trajectories * self.times.shape[-1]
        itemsize = 4 if self.dtype == "float32" else 8
        return frames * self.fields.num_channels * math.prod(self.grid.shape) * itemsize

    def datasets(self) -> list[WellField]:
        """The fields of the file."""
        return list(well_fields(self.fields.names, _AXES[: self.grid.dim]))

    def located(self, path: Path) -> list[Located]:
        """The data sets with their byte offsets in the skeleton at `path`."""
        itemsize = 4 if self.dtype == "float32" else 8
        with h5py.File(path, "r", locking=False) as file:
            return [
                Located(
                    field.key,
                    field.channels,
                    field.rank,
                    file[field.key].id.get_offset(),
                    math.prod(self.grid.shape) * self.grid.dim**field.rank * itemsize,
                    file[f"{CHECKSUM_GROUP}/{field.key}"].id.get_offset(),
                )
                for field in self.datasets()
            ]

    def header_offset(self, path: Path) -> int:
        """The byte of the checksum of everything but the states."""
        with h5py.File(path, "r", locking=False) as file:
            return file[f"{CHECKSUM_GROUP}/header"].id.get_offset()

    def sealed(self, located: list[Located]) -> list[Sealed]:
        """What the checksums cover."""
        frames = self.times.shape[-1]
        return [
            Sealed(
                entry.key,
                entry.offset,
                frames * entry.frame_bytes,
                self.num_trajectories,
                entry.sums_offset,
            )
            for entry in located
        ]


def build_skeleton(path: Path, target: Target) -> None:
    """Create the file with all its metadata and with room, but no values, for the states."""
    dims: list[str] = list(_AXES[: target.grid.dim])
    with h5py.File(path, "w", track_order=False) as file:
        _root(file, target)
        _dimensions(file, target, dims)
        write_boundary_groups(file, target.grid, dims, target.fields.names, target.boundary)
        _scalars(file, target)
        _exact(file, target)
        listed: dict[str, list[str]] = {f"t{rank}_fields": [] for rank in range(3)}
        for group in listed:
            file.create_group(group)
        stored = h5py.h5t.IEEE_F32LE if target.dtype == "float32" else h5py.h5t.IEEE_F64LE
        for field in target.datasets():
            _reserve(file, field.key, _shape(target, field.rank), stored)
            _flags(file[field.key], field.rank, target.grid.dim)
            _reserve(
                file,
                f"{CHECKSUM_GROUP}/{field.key}",
                (target.num_trajectories,),
                h5py.h5t.STD_U32LE,
            )
            listed[f"t{field.rank}_fields"].append(field.name)
        for group, names in listed.items():
            _names(file[group], "field_names", names)
        _reserve(file, f"{CHECKSUM_GROUP}/header", (1,), h5py.h5t.STD_U32LE)


def _root(file: h5py.File, target: Target) -> None:
    file.attrs["dataset_name"] = target.name
    file.attrs["grid_type"] = "cartesian"
    file.attrs["n_spatial_dims"] = target.grid.dim
    file.attrs["n_trajectories"] = target.num_trajectories
    constant = [name for name, row in target.parameters.items() if row.ndim == 0]
    _names(file, "simulation_parameters", constant)
    for name in constant:
        file.attrs[name] = float(target.parameters[name])
    for key, value in target.attributes.items():
        file.attrs[key] = value


def _dimensions(file: h5py.File, target: Target, dims: list[str]) -> None:
    group = file.create_group("dimensions")
    _names(group, "spatial_dims", dims)
    time = group.create_dataset("time", data=target.times.numpy().astype("<f4"))
    time.attrs["sample_varying"] = target.times.ndim == 2
    time.attrs["time_varying"] = True
    for dim, values in zip(dims, target.grid.axes(dtype=torch.float64), strict=True):
        axis = group.create_dataset(dim, data=values.numpy().astype("<f4"))
        axis.attrs["sample_varying"] = False
        axis.attrs["time_varying"] = False


def _scalars(file: h5py.File, target: Target) -> None:
    group = file.create_group("scalars")
    _names(group, "field_names", list(target.parameters))
    for name, row in target.parameters.items():
        dataset = group.create_dataset(name, data=row.astype("<f4"))
        dataset.attrs["sample_varying"] = row.ndim == 1
        dataset.attrs["time_varying"] = False


def _exact(file: h5py.File, target: Target) -> None:
    group = file.create_group(EXACT_GROUP)
    _names(group, "field_names", list(target.fields.names))
    _names(group, "units", list(target.fields.units or ()))
    group.attrs["extent"] = target.grid.extent
    group.attrs["origin"] = target.grid.origin
    group.attrs["periodic"] = target.grid.is_periodic
    group.attrs["cell_centred"] = target.grid.cell_centred
    if isinstance(target.grid, StretchedGrid):
        for dim, vector in zip(_AXES, target.grid.vectors, strict=False):
            group.create_dataset(f"coordinates/{dim}", data=np.array(vector, dtype="<f8"))
    if target.boundary is not None:
        group.attrs["boundary"] = boundary_to_text(target.boundary)
    group.attrs["fingerprint"] = target.identity
    group.create_dataset("time", data=target.times.numpy().astype("<f8"))
    parameters = group.create_group("parameters")
    for name, row in target.parameters.items():
        values = np.broadcast_to(row, (target.num_trajectories,))
        parameters.create_dataset(name, data=values.astype("<f8"))


def _shape(target: Target, rank: int) -> tuple[int, ...]:
    times, grid = target.times.shape[-1], target.grid
    return (target.num_trajectories, times, *grid.shape, *[grid.dim] * rank)


def _reserve(file: h5py.File, key: str, shape: tuple[int, ...], stored: Any) -> None:
    """A contiguous data set whose bytes exist from the start and are never touched by HDF5."""
    create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    create.set_layout(h5py.h5d.CONTIGUOUS)
    create.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    create.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    create.set_obj_track_times(False)
    group = file.require_group(key.rpartition("/")[0])
    space = h5py.h5s.create_simple(shape)
    h5py.h5d.create(group.id, key.rpartition("/")[2].encode(), stored, space, dcpl=create)


def _flags(dataset: Any, rank: int, dim: int) -> None:
    dataset.attrs["dim_varying"] = [True] * dim
    dataset.attrs["sample_varying"] = True
    dataset.attrs["time_varying"] = True
    if rank == 2:
        dataset.attrs["symmetric"] = False
        dataset.attrs["antisymmetric"] = False


def _names(owner: Any, key: str, names: list[str]) -> None:
    owner.attrs.create(key, names, shape=(len(names),), dtype=h5py.string_dtype())


def _digest(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:16]
