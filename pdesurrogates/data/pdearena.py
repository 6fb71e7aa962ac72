"""PDEArena's HDF5 files: buoyant smoke in 2D, one-dimensional equations, Maxwell in 3D."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import torch

from pdesurrogates.core import Dirichlet, FieldSpec, Grid, Neumann
from pdesurrogates.data.base import TrajectoryFile
from pdesurrogates.data.guard import require_group
from pdesurrogates.data.handle import FileHandle
from pdesurrogates.data.pdearena_axes import (
    PDEArenaGroup,
    cells_along,
    frame_times,
    periodic_axis,
)

__all__ = ["is_pdearena", "read_pdearena"]

_MODES = frozenset({"train", "valid", "val", "test"})
_SERIES = "pde_"
_MAXWELL = {"d_field": "electric_displacement", "h_field": "magnetic_field"}


def is_pdearena(file: h5py.File) -> bool:
    """Whether all that is at the root are groups called train, valid (val) or test."""
    names = set(file)
    return (
        bool(names)
        and names <= _MODES
        and all(
            file.get(name, getclass=True, getlink=True) is h5py.HardLink
            and file.get(name, getclass=True) is h5py.Group
            for name in names
        )
    )


def read_pdearena(
    path: Path | str, *, dt: float | None = None, extent: float | Sequence[float] | None = None
) -> TrajectoryFile:
    """Open a file of one split.

    Smoke (`u`, `vx`, `vy`) gets the channels velocity_x, velocity_y, smoke and the parameter
    buoyancy; `pde_*` (Kuramoto-Sivashinsky, KdV) the channel u and the parameter viscosity;
    `d_field`, `h_field` the components of electric_displacement and magnetic_field. Doubles stay
    doubles. Known traps are handled and noted:

    - smoke is sampled at the centres of n cells on [0, L], but `x` holds linspace(0, L, n) and
      `dx` its spacing L / (n - 1): the grid is that of the cells;
    - `t` holds linspace(tmin, tmax, n), whose spacing is not the step between frames: times are
      t[0] + i dt with the stored `dt`;
    - velocities lie on the lower faces of the cells, smoke at their centres;
    - one-dimensional trajectories have domains of different length: see `parameters`.

    Args:
        path: The file.
        dt: Distance between frames, where the file states none (Maxwell) [time].
        extent: Length per axis, where the file states none (Maxwell) [length].

    Raises:
        ValueError: If arrays are missing or do not fit together.
    """
    handle = FileHandle(path)
    with handle.opened() as file:
        modes = sorted(file)
        if len(modes) > 1:
            raise ValueError(
                f"{path}: a PDEArena file holds one split, this one holds {', '.join(modes)}; "
                f"write one file per split, or read one array with read_arrays(path, "
                f"variable='{modes[0]}/u', axes=...)."
            )
        names = frozenset(require_group(file, modes[0], path=path))
        group = PDEArenaGroup(handle, modes[0], names)
        given = {"dt": dt, "extent": extent}
        if {"u", "vx", "vy"} <= names:
            return _smoke(group, given)
        if _MAXWELL.keys() <= names:
            return _maxwell(group, given)
        series = sorted(name for name in names if name.startswith(_SERIES))
        if len(series) == 1:
            return _one_dimensional(group, series[0], given)
        raise ValueError(
            f"{path}: this looks like a PDEArena file, but group {modes[0]} must hold u, vx, vy, "
            f"or d_field, h_field, or one array called pde_...; found "
            f"{', '.join(sorted(names)[:12]) or 'nothing'}. Read one array with read_arrays(path, "
            f"variable=..., axes=...), or use from_arrays."
        )


def _smoke(group: PDEArenaGroup, given: dict[str, Any]) -> TrajectoryFile:
    names = ("vx", "vy", "u")
    shape = group.shape(names, "trajectory time x y")
    count, num_times, *points = shape
    _refuse(group, given)
    sides = {
        name: cells_along(group, name, n, count) for name, n in zip("xy", points, strict=True)
    }
    grid = Grid(
        tuple(points),
        tuple(length for _, length in sides.values()),
        tuple(start for start, _ in sides.values()),
        periodic=False,
        cell_centred=True,
    )
    buoyancy = group.rows("buo_y", count=count)
    group.notes += [
        "vx and vy lie on the lower faces of the cells (half a cell before the centres along "
        "their own axis), smoke at the centres; values are read as they are",
        "viscosity is not stored; 0.01 in the published configuration",
    ]
    still, sealed = (((side, side),) * 2 for side in (Dirichlet(0.0), Neumann(0.0)))
    return TrajectoryFile(
        path=group.path,  # pyright: ignore[reportArgumentType]
        layout="PDEArena (smoke)",
        fields=FieldSpec(("velocity_x", "velocity_y", "smoke")),
        grid=grid,
        times=frame_times(group, count, num_times, given["dt"]),
        num_trajectories=count,
        blocks=[
            (slice(i, i + 1), group.block(name, "trajectory time x y", shape))
            for i, name in enumerate(names)
        ],
        parameters={} if buoyancy is None else {"buoyancy": torch.from_numpy(buoyancy)},
        boundary={"velocity_x": still, "velocity_y": still, "smoke": sealed},
        problems=group.problems,
        notes=group.notes,
    )


def _one_dimensional(group: PDEArenaGroup, name: str, given: dict[str, Any]) -> TrajectoryFile:
    ndim = group.array(name).ndim
    axes = "trajectory time channel x" if ndim == 4 else "trajectory time x"
    shape = group.shape((name,), axes)
    count, num_times, num_points = shape[0], shape[1], shape[-1]
    num_channels = shape[2] if ndim == 4 else 1
    _refuse(group, given)
    grid, parameters = periodic_axis(group, count, num_points)
    viscosity = group.rows("v", count=count)
    if viscosity is not None:
        parameters["viscosity"] = torch.from_numpy(viscosity)
    names = ("u",) if num_channels == 1 else tuple(f"u{i}" for i in range(num_channels))
    return TrajectoryFile(
        path=group.path,  # pyright: ignore[reportArgumentType]
        layout="PDEArena (1D)",
        fields=FieldSpec(names),
        grid=grid,
        times=frame_times(group, count, num_times, given["dt"]),
        num_trajectories=count,
        blocks=[(slice(0, num_channels), group.block(name, axes, shape))],
        parameters=parameters,
        problems=group.problems,
        notes=group.notes,
    )


def _maxwell(group: PDEArenaGroup, given: dict[str, Any]) -> TrajectoryFile:
    axes = "trajectory time x y z channel"
    shape = group.shape(tuple(_MAXWELL), axes)
    if shape[-1] != 3:
        raise ValueError(
            f"{group.path}: d_field and h_field must hold 3 components on the last axis, got "
            f"shape {shape}; use from_arrays with named axes."
        )
    lengths = given["extent"] if given["extent"] is not None else 1.0
    if given["extent"] is None:
        group.problems.append(
            "no coordinates in the file: the box is taken as [0, 1]^3; give extent to "
            "open_trajectories (the published generator uses 32 cells of 5e-7 m per axis)"
        )
    extent = (lengths,) if isinstance(lengths, int | float) else tuple(lengths)
    group.notes += [
        "the values are the inner part of a larger periodic box: axes are not periodic",
        "the published generator stores its electric field E under d_field",
    ]
    return TrajectoryFile(
        path=group.path,  # pyright: ignore[reportArgumentType]
        layout="PDEArena (Maxwell)",
        fields=FieldSpec(tuple(f"{name}_{i}" for name in _MAXWELL.values() for i in "xyz")),
        grid=Grid(shape[2:5], extent, periodic=False, cell_centred=True),
        times=frame_times(group, shape[0], shape[1], given["dt"]),
        num_trajectories=shape[0],
        blocks=[
            (slice(3 * i, 3 * i + 3), group.block(name, axes, shape))
            for i, name in enumerate(_MAXWELL)
        ],
        problems=group.problems,
        notes=group.notes,
    )


def _refuse(group: PDEArenaGroup, given: dict[str, Any]) -> None:
    """Arguments for what the file states itself."""
    names = {"dt": ("dt", "t"), "extent": ("x", "dx")}
    for option, value in given.items():
        stated = [name for name in names[option] if name in group.names]
        if value is not None and (stated or option == "extent"):
            what = f"{group.mode}/{stated[0]}" if stated else "its axes"
            raise ValueError(
                f"{group.path}: this file states {what}, so {option!r} cannot be given; leave "
                f"it out, or use read_arrays to read it as bare arrays."
            )
