"""PDEBench's compressible flow files in 1D, 2D and 3D."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from pdesurrogates.core import BoundarySides, FieldSpec, Outflow, Periodic
from pdesurrogates.data.base import TrajectoryFile
from pdesurrogates.data.endpoints import is_smooth_across_ends
from pdesurrogates.data.guard import require_dataset
from pdesurrogates.data.handle import FileHandle
from pdesurrogates.data.pdebench_layout import (
    centred_grid,
    coordinate,
    coordinate_axes,
    frame_times,
    named_axes,
    numeric_attributes,
    one_per_trajectory,
)
from pdesurrogates.data.storage import ArrayBlock

__all__ = ["is_pdebench_compressible", "read_pdebench_compressible"]

_LAYOUT = "PDEBench compressible flow"
_WORDS = {"eta": "shear_viscosity", "zeta": "bulk_viscosity", "M": "mach_number"}
_PROBE_TRAJECTORIES, _PROBE_BYTES = 8, 8 * 2**20


def is_pdebench_compressible(file: Any) -> bool:
    """Whether the root holds `density`, `pressure` and `Vx`."""
    return {"density", "pressure", "Vx"} <= set(file)


def read_pdebench_compressible(
    path: Path | str, *, periodic: bool | None = None
) -> TrajectoryFile:
    """Open a compressible flow file: `density`, `pressure`, `Vx` [`Vy`, `Vz`], one set each.

    Channels are density, velocity_x [, velocity_y, velocity_z], pressure. Data sets are (sample,
    time, x [, y, z]); files of single flows may have no sample axis. The attributes `eta`,
    `zeta`, `M` become the parameters `shear_viscosity`, `bulk_viscosity`, `mach_number`.

    The files do not say what happens at the ends of an axis (their names do). Unless `periodic`
    is given, an axis is periodic if the last frames of the density are smooth across its ends,
    and open (`Outflow`) otherwise.

    Args:
        path: The file, or an address.
        periodic: Whether all axes are periodic, or none.

    Raises:
        ValueError: If something is missing or damaged, or shapes do not fit together.
    """
    handle, notes = FileHandle(path), []
    where = handle.path
    with handle.opened() as file:
        coordinates = coordinate_axes(file, path=where, layout=_LAYOUT)
        coordinates = {name: v for name, v in coordinates.items() if name == "x" or len(v) > 1}
        keys = ["density", *(f"V{name}" for name in coordinates), "pressure"]
        left = [f"V{name}" for name in "yz" if name not in coordinates and f"V{name}" in file]
        if left:
            notes.append(f"{', '.join(left)} left out: there is no such axis")
        datasets = [require_dataset(file, key, path=where) for key in keys]
        _check_alike(datasets, keys, where)
        axes = named_axes(
            datasets[0], coordinates, has_time=True, path=where, layout=_LAYOUT, notes=notes
        )
        num_times = datasets[0].shape[axes.index("time")]
        stored = coordinate(file, "t-coordinate", path=where, layout=_LAYOUT)
        times = frame_times(stored, num_times, key="t-coordinate", where=where, notes=notes)
        space = tuple(len(values) for values in coordinates.values())
        blocks = [ArrayBlock(handle, key, axes, space=space, num_times=num_times) for key in keys]
        if periodic is None:
            flags = _closed_axes(blocks[0], tuple(coordinates), notes)
        else:
            flags = (periodic,) * len(space)
        numbers, attributes = numeric_attributes(file, path=where)
    numbers = {_WORDS.get(name, name): value for name, value in numbers.items()}
    notes.append("gamma is not stored: it is 5/3 in every published training set")
    if {"shear_viscosity", "bulk_viscosity"} & set(numbers):
        notes.append(
            "viscosities are eta and zeta as stored: PDEBench's solver multiplies them by the "
            "density and leaves out mixed derivatives in the stress, so the file obeys the "
            "Navier-Stokes equations only as far as viscosity is negligible"
        )
    count = blocks[0].num_trajectories or 1
    return TrajectoryFile(
        path=where,  # type: ignore[arg-type]
        layout=f"PDEBench compressible {len(space)}D",
        fields=FieldSpec(("density", *(f"velocity_{name}" for name in coordinates), "pressure")),
        grid=centred_grid(coordinates, flags, where=str(where)),
        times=times,
        num_trajectories=count,
        blocks=[(slice(i, i + 1), block) for i, block in enumerate(blocks)],
        parameters=one_per_trajectory(numbers, count),
        attributes=attributes,
        boundary=_boundary(flags),
        notes=notes,
    )


def _check_alike(datasets: list[Any], keys: list[str], where: object) -> None:
    for key, dataset in zip(keys, datasets, strict=True):
        if dataset.shape != datasets[0].shape:
            raise ValueError(
                f"{where}: {_LAYOUT}: `{key}` must have the shape of `density` "
                f"{datasets[0].shape}, got {dataset.shape}; the file is damaged. Download it "
                f"again."
            )


def _boundary(flags: tuple[bool, ...]) -> BoundarySides:
    return tuple(
        (Periodic(), Periodic()) if closed else (Outflow(), Outflow()) for closed in flags
    )


def _closed_axes(
    density: ArrayBlock, names: tuple[str, ...], notes: list[str]
) -> tuple[bool, ...]:
    """Which axes close on themselves, by the last frame of a few trajectories."""
    count = density.num_trajectories or 1
    frame_bytes = density.dtype.itemsize * torch.Size(density.space).numel()
    wanted = min(count, _PROBE_TRAJECTORIES, max(1, _PROBE_BYTES // frame_bytes))
    rows = [index * count // wanted for index in range(wanted)]
    try:
        frames = density.gather(rows, [density.num_times - 1] * wanted, 1)
    except ValueError:
        notes.append("the last frame cannot be read, so the axes are taken as not periodic")
        return (False,) * len(names)
    frames = frames[frames.isfinite().flatten(1).all(1)]
    scale = frames.flatten(1).abs().amax(1).clamp(min=1e-30) if len(frames) else torch.ones(0)
    frames = frames / scale.reshape(-1, *(1,) * (frames.ndim - 1))
    flags = []
    for number, name in enumerate(names):
        closed = bool(len(frames)) and is_smooth_across_ends(frames, number - len(names))
        flags.append(closed)
        notes.append(
            f"axis {name} taken as {'periodic' if closed else 'open (not periodic)'}: the last "
            f"frames of the density are {'smooth' if closed else 'not smooth'} across its ends; "
            f"give periodic={not closed} if that is wrong"
        )
    return tuple(flags)
