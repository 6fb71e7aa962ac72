"""Trajectories as xarray data sets with named axes, both ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.data.arrays import parse_axes
from pdesurrogates.data.axes import grid_from_coordinates
from pdesurrogates.data.base import TrajectoryFile
from pdesurrogates.data.statement import Statement, from_block
from pdesurrogates.data.storage import MemoryBlock

__all__ = ["FieldPlan", "from_xarray", "to_xarray"]

_TRAJECTORY = ("trajectory", "sample", "batch")
_TIME = ("time", "t")
_SPACE = ("x", "y", "z")
_WHERE = "from_xarray"


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
            "cell_centred": int(file.grid.cell_centred),
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
    axes becomes a channel. Dates become seconds since the first frame.

    Args:
        dataset: The source; it is loaded into memory.
        periodic: Whether axes close on themselves, for all or per axis. By default what the
            attribute `periodic` of the coordinates says, else true.

    Raises:
        ValueError: If axes or coordinates are missing, or are not uniform.
    """
    plan = FieldPlan.of(dataset, where=_WHERE)
    values = np.stack([plan.variable(dataset, name).to_numpy() for name in plan.names], axis=2)
    if values.dtype.kind != "f" or values.dtype.itemsize not in (4, 8):
        values = values.astype(np.float64)
    states = torch.from_numpy(np.ascontiguousarray(values, values.dtype.newbyteorder("=")))
    grid = plan.grid(dataset, periodic, where=_WHERE)
    statement = Statement(
        times=plan.times(dataset, where=_WHERE),
        grid=grid,
        parameters=plan.parameters(dataset),
        periodic=grid.is_periodic,
        attributes={str(key): value for key, value in dataset.attrs.items()},
    )
    fields = plan.fields(dataset)
    shape = tuple(states.shape)
    return from_block(MemoryBlock(states), fields, plan.words, shape, statement, layout="xarray")


@dataclass(frozen=True)
class FieldPlan:
    """Which variables of a data set are fields, and which of their dims is which axis.

    Args:
        names: Variables that become channels.
        trajectory: Dim of the trajectories, or `None`.
        time: Dim of the frames.
        space: Dims of x, y, z.
        channel: Dim of the channels within one variable, or `None`.
    """

    names: tuple[str, ...]
    trajectory: str | None
    time: str
    space: tuple[str, ...]
    channel: str | None = None

    @classmethod
    def of(
        cls,
        dataset: xr.Dataset,
        *,
        where: str,
        axes: str | Sequence[str] | None = None,
        variable: str | None = None,
    ) -> FieldPlan:
        """Told from the names of the dims, or from `axes`, which names those of the fields.

        Raises:
            ValueError: If an axis is missing, or no variable has all of them.
        """
        found = {str(name): v.dims for name, v in dataset.data_vars.items()}
        if variable is not None and variable not in found:
            raise ValueError(f"{where}: no variable {variable!r}; found {found}.")
        roles = _roles(dataset) if axes is None else _named(found, axes, variable, where=where)
        space = [word for word in _SPACE if word in roles]
        if "time" not in roles or not space or space != list(_SPACE[: len(space)]):
            raise ValueError(
                f"{where}: dims must contain time and x (then y, z), got "
                f"{sorted(map(str, dataset.dims))}; rename them, e.g. "
                f"dataset.rename(lon='x', lat='y'), or for a file give axes."
            )
        dims = set(roles.values())
        names = [
            name
            for name, own in found.items()
            if set(own) == dims and variable in (None, name) and dataset[name].dtype.kind in "fiub"
        ]
        if not names:
            raise ValueError(
                f"{where}: no variable has the dims {sorted(dims)}"
                f"{'' if variable is None else f' and the name {variable!r}'}; found {found}."
            )
        return cls(
            tuple(names),
            roles.get("trajectory"),
            roles["time"],
            tuple(roles[word] for word in space),
            roles.get("channel"),
        )

    @property
    def words(self) -> tuple[str, ...]:
        """x, y, z as far as there are."""
        return _SPACE[: len(self.space)]

    def axis_of(self, dim: str) -> str:
        """The word for a dim: trajectory, time, channel, x, y or z."""
        named = {self.trajectory: "trajectory", self.time: "time", self.channel: "channel"}
        return {**named, **dict(zip(self.space, _SPACE, strict=False))}[dim]

    def variable(self, dataset: xr.Dataset, name: str) -> xr.DataArray:
        """One field with the dims (trajectory, time, *space)."""
        if self.trajectory is None:
            return dataset[name].transpose(self.time, *self.space).expand_dims("trajectory")
        return dataset[name].transpose(self.trajectory, self.time, *self.space)

    def fields(self, dataset: xr.Dataset) -> FieldSpec:
        """Names of the channels, and their units, "1" where none are stated."""
        units = [str(dataset[name].attrs.get("units", "1")) for name in self.names]
        if self.channel is None:
            return FieldSpec(self.names, tuple(units))
        count = dataset.sizes[self.channel]
        names = tuple(f"{name}_{i}" for name in self.names for i in range(count))
        return FieldSpec(names, tuple(unit for unit in units for _ in range(count)))

    def times(self, dataset: xr.Dataset, *, where: str) -> np.ndarray:
        """Times as numbers, (time,) or (trajectory, time).

        Raises:
            ValueError: If there are none.
        """
        name = "times" if "times" in dataset.coords else self.time
        if name not in dataset.coords:
            raise ValueError(
                f"{where}: axis {self.time!r} has no coordinate; add the times with "
                f"assign_coords, or give dt."
            )
        times = dataset[name].to_numpy()
        if times.dtype.kind == "M":
            times = times - times.reshape(-1)[0]
        return times / np.timedelta64(1, "s") if times.dtype.kind == "m" else times

    def grid(
        self, dataset: xr.Dataset, periodic: bool | Sequence[bool] | None, *, where: str
    ) -> Grid:
        """The grid of the coordinates, or the one their attributes state.

        Raises:
            ValueError: If a coordinate is missing or not uniform.
        """
        vectors = self.vectors(dataset, where=where)
        stated = self.stated_grid(dataset)
        if stated is not None and periodic is None:
            return stated
        if periodic is None:
            flags = tuple(bool(dataset[dim].attrs.get("periodic", True)) for dim in self.space)
        elif isinstance(periodic, bool):
            flags = (periodic,) * len(self.space)
        else:
            flags = tuple(periodic)
        return grid_from_coordinates(vectors, flags, where=where)

    def vectors(self, dataset: xr.Dataset, *, where: str) -> dict[str, np.ndarray]:
        """Coordinates per axis.

        Raises:
            ValueError: If one is missing.
        """
        missing = [dim for dim in self.space if dim not in dataset.coords]
        if missing:
            raise ValueError(
                f"{where}: axis {missing[0]!r} has no coordinate; add it with assign_coords, or "
                f"give extent."
            )
        return {
            word: dataset[dim].to_numpy() for word, dim in zip(_SPACE, self.space, strict=False)
        }

    def stated_grid(self, dataset: xr.Dataset) -> Grid | None:
        """The grid in the attributes that `to_xarray` leaves on coordinates."""
        facts = [dataset[dim].attrs if dim in dataset.coords else {} for dim in self.space]
        if not all({"extent", "origin", "periodic"} <= set(own) for own in facts):
            return None
        return Grid(
            tuple(dataset.sizes[dim] for dim in self.space),
            tuple(float(own["extent"]) for own in facts),
            tuple(float(own["origin"]) for own in facts),
            tuple(bool(own["periodic"]) for own in facts),
            cell_centred=all(bool(own.get("cell_centred", False)) for own in facts),
        )

    def parameters(self, dataset: xr.Dataset) -> dict[str, torch.Tensor]:
        """Coordinates `parameter_<name>` along the trajectories, or common to all."""
        index = self.trajectory or "trajectory"
        return {
            str(name).removeprefix("parameter_"): torch.from_numpy(
                np.array(values.to_numpy(), dtype=np.float64).reshape(-1)
            )
            for name, values in dataset.coords.items()
            if str(name).startswith("parameter_") and set(values.dims) <= {index}
        }


def _roles(dataset: xr.Dataset) -> dict[str, str]:
    """Axis word to dim, told from the names of the dims."""
    spellings = {"trajectory": _TRAJECTORY, "time": _TIME, **{word: (word,) for word in _SPACE}}
    found = {
        word: next((name for name in names if name in dataset.dims), None)
        for word, names in spellings.items()
    }
    return {word: dim for word, dim in found.items() if dim is not None}


def _named(
    found: dict[str, tuple], axes: str | Sequence[str], variable: str | None, *, where: str
) -> dict[str, str]:
    """Axis word to dim, as the caller names the dims of the fields."""
    words = axes.replace(",", " ").split() if isinstance(axes, str) else list(axes)
    fitting = {
        dims
        for name, dims in found.items()
        if len(dims) == len(words) and variable in (None, name)
    }
    if len(fitting) != 1:
        raise ValueError(
            f"{where}: `axes` names {len(words)} axes, which fit the dims of "
            f"{'several kinds of variables' if fitting else 'no variable'}; name one with "
            f"variable (--variable). Found {found}."
        )
    (dims,) = fitting
    return dict(zip(parse_axes(words, len(dims), where=where), map(str, dims), strict=True))
