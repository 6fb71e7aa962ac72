"""Trajectories as xarray data sets with named axes, both ways, and netCDF files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import torch
import xarray as xr
from torch import Tensor

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.data.axes import clean_times, grid_from_coordinates
from pdesurrogates.data.base import TrajectoryFile
from pdesurrogates.data.storage import MemoryBlock

__all__ = ["from_xarray", "is_netcdf4", "read_netcdf", "to_xarray"]

_TRAJECTORY = ("trajectory", "sample", "batch")
_TIME = ("time", "t")
_SPACE = ("x", "y", "z")


def to_xarray(file: TrajectoryFile, index: int | None = None) -> xr.Dataset:
    """Trajectories in memory, one variable per field with dims (trajectory, time, x, ...).

    Units are in the attribute `units`, parameters are coordinates along `trajectory`, extent and
    periodicity are attributes of the space coordinates.

    Args:
        file: The source.
        index: One trajectory (then there is no axis `trajectory`), or all of them.
    """
    space = _SPACE[: file.grid.dim]
    rows = range(file.num_trajectories) if index is None else [index]
    states = torch.stack([file.read(i) for i in rows]).numpy()
    dims = ("trajectory", "time", *space)
    fields = {
        name: (dims, states[:, :, channel], {"units": unit})
        for channel, (name, unit) in enumerate(
            zip(file.fields.names, file.fields.units or (), strict=True)
        )
    }
    times = torch.stack([file.times_of(i) for i in rows]).numpy()
    coordinates: dict[str, object] = {"trajectory": ("trajectory", list(rows))}
    if file.times.ndim == 1:
        coordinates["time"] = ("time", times[0])
    else:
        coordinates["times"] = (("trajectory", "time"), times)
    for axis, (name, points) in enumerate(zip(space, file.grid.axes(), strict=True)):
        facts = {
            "extent": file.grid.extent[axis],
            "origin": file.grid.origin[axis],
            "periodic": int(file.grid.is_periodic[axis]),
        }
        coordinates[name] = (name, points.numpy(), facts)
    for name, values in file.parameters.items():
        row = values[list(rows)].numpy()
        coordinates[f"parameter_{name}"] = ("trajectory", row, {"long_name": name})
    facts = {
        key: value for key, value in file.attributes.items() if isinstance(value, str | float)
    }
    dataset = xr.Dataset(fields, coordinates, {**facts, "layout": file.layout})
    return dataset if index is None else dataset.isel(trajectory=0)


def from_xarray(
    dataset: xr.Dataset, *, periodic: bool | Sequence[bool] | None = None
) -> TrajectoryFile:
    """Trajectories from a data set whose variables have the dims time, x[, y, z].

    An axis `trajectory` (sample, batch) is optional. Every variable with a time and all space
    axes becomes a channel.

    Args:
        dataset: The source; it is loaded into memory.
        periodic: Whether axes close on themselves, for all or per axis. By default what the
            attribute `periodic` of the coordinates says, else true.

    Raises:
        ValueError: If axes or coordinates are missing, or are not uniform.
    """
    where = "from_xarray"
    time = _one_of(_TIME, dataset)
    trajectory = _one_of(_TRAJECTORY, dataset)
    space = [name for name in _SPACE if name in dataset.dims]
    if time is None or not space or space != list(_SPACE[: len(space)]):
        raise ValueError(
            f"{where}: dims must contain time and x (then y, z), got "
            f"{sorted(map(str, dataset.dims))}"
            f"; rename them, e.g. dataset.rename(lon='x', lat='y')."
        )
    dims = ([trajectory] if trajectory else []) + [time, *space]
    names = [str(name) for name, v in dataset.data_vars.items() if set(v.dims) == set(dims)]
    if not names:
        raise ValueError(
            f"{where}: no variable has the dims {dims}; found "
            f"{ {str(k): v.dims for k, v in dataset.data_vars.items()} }."
        )
    values = np.stack([dataset[name].transpose(*dims).to_numpy() for name in names], axis=-1)
    if values.dtype.kind != "f" or values.dtype.itemsize not in (4, 8):
        values = values.astype(np.float64)
    states = torch.from_numpy(values.astype(values.dtype.newbyteorder("="))).movedim(-1, 1)
    states = states.movedim(1, 2) if trajectory else states[None]
    missing = [name for name in space if name not in dataset.coords]
    if missing:
        raise ValueError(
            f"{where}: axis {missing[0]!r} has no coordinate; add it with assign_coords."
        )
    parameters, index = {}, trajectory or "trajectory"
    for name, values in dataset.coords.items():
        if str(name).startswith("parameter_") and set(values.dims) <= {index}:
            row = torch.from_numpy(np.array(values.to_numpy(), dtype=np.float64)).reshape(-1)
            parameters[str(name).removeprefix("parameter_")] = row.expand(len(states)).clone()
    units = tuple(str(dataset[name].attrs.get("units", "1")) for name in names)
    return TrajectoryFile(
        path=None,
        layout="xarray",
        fields=FieldSpec(tuple(names), units),
        grid=_grid(dataset, space, periodic),
        times=_times(dataset, time),
        num_trajectories=len(states),
        blocks=[(slice(0, len(names)), MemoryBlock(states.contiguous()))],
        parameters=parameters,
        attributes={str(key): value for key, value in dataset.attrs.items()},
    )


def is_netcdf4(path: Path) -> bool:
    """Whether an HDF5 file was written by netCDF (it then has dimension scales)."""
    with h5py.File(path, "r") as file:
        return "_NCProperties" in file.attrs or any(
            item.attrs.get("CLASS") == b"DIMENSION_SCALE"
            for item in file.values()
            if isinstance(item, h5py.Dataset)
        )


def read_netcdf(path: Path, *, periodic: bool | Sequence[bool]) -> TrajectoryFile:
    """A netCDF file through xarray.

    Raises:
        ValueError: If no installed package can open netCDF-4, or the axes have other names.
    """
    with path.open("rb") as stream:
        classic = stream.read(3) == b"CDF"
    try:
        engine = "scipy" if classic else "h5netcdf"
        with xr.open_dataset(path, engine=engine, decode_times=False) as dataset:
            file = from_xarray(dataset.load(), periodic=periodic)
    except (ImportError, ModuleNotFoundError, ValueError) as error:
        if "h5netcdf" in str(error) or "unrecognized engine" in str(error):
            raise ValueError(
                f"{path}: netCDF-4 files need the package h5netcdf; install it with "
                f"pip install h5netcdf."
            ) from error
        raise ValueError(f"{path}: {error}") from error
    file.path, file.layout = path, "netCDF"
    return file


def _one_of(names: tuple[str, ...], dataset: xr.Dataset) -> str | None:
    return next((name for name in names if name in dataset.dims), None)


def _times(dataset: xr.Dataset, time: str) -> Tensor:
    if "times" in dataset.coords:
        return clean_times(dataset["times"].to_numpy(), where="from_xarray")
    if time not in dataset.coords:
        raise ValueError(
            f"from_xarray: axis {time!r} has no coordinate; add the times with assign_coords."
        )
    return clean_times(dataset[time].to_numpy(), where="from_xarray")


def _grid(dataset: xr.Dataset, space: list[str], periodic: bool | Sequence[bool] | None) -> Grid:
    stated = [dataset[name].attrs for name in space]
    points = tuple(dataset.sizes[name] for name in space)
    if periodic is None:
        flags = tuple(bool(facts.get("periodic", True)) for facts in stated)
        if all({"extent", "origin", "periodic"} <= set(facts) for facts in stated):
            extent = tuple(float(facts["extent"]) for facts in stated)
            origin = tuple(float(facts["origin"]) for facts in stated)
            return Grid(points, extent, origin, flags)
    else:
        flags = (periodic,) * len(space) if isinstance(periodic, bool) else tuple(periodic)
    vectors = {name: dataset[name].to_numpy() for name in space}
    return grid_from_coordinates(vectors, flags, where="from_xarray")
