"""Poseidon's files: netCDF-4 (so HDF5) without coordinates, one variable name per family."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.data.base import TrajectoryFile
from pdesurrogates.data.guard import reading, require_dataset
from pdesurrogates.data.handle import FileHandle
from pdesurrogates.data.storage import ArrayBlock

__all__ = ["is_poseidon", "read_poseidon"]

_SAMPLE = re.compile(r"Sample_(\d+)")
_PLACEHOLDER = b"This is a netCDF dimension but not a netCDF variable"
_VELOCITY = ("velocity_x", "velocity_y")
_GAS = ("density", *_VELOCITY, "pressure")
_SOLENOIDAL = 0.2
_TIME_AXES = ("trajectory", "time", "channel", "x", "y")


@dataclass(frozen=True)
class _Family:
    """What one kind of file holds.

    Args:
        name: Data sets of this kind.
        fields: Names of the first channels.
        is_periodic: Whether the axes close on themselves.
        is_incompressible: Whether the velocity must be free of divergence.
    """

    name: str
    fields: tuple[str, ...]
    is_periodic: bool
    is_incompressible: bool = False


_NAVIER_STOKES = _Family("NS-*", (*_VELOCITY, "tracer"), True, True)
_KOLMOGOROV = _Family("FNS-KF", _VELOCITY, True, True)
_EULER = _Family("CE-*", (*_GAS, "tracer"), True)
_MESHKOV = _Family("CE-RM", _GAS, False)
_TAYLOR = _Family("GCE-RT", (*_GAS, "channel_4", "gravity_potential"), False)
_WAVE = _Family("Wave-*", ("u", "wave_speed"), False)
_ALLEN_CAHN = _Family("ACE", ("u",), True)
_AIRFOIL = _Family("SE-AF", ("airfoil", "density"), False)
_POISSON = _Family("Poisson-Gauss", ("source", "solution"), False)
_HELMHOLTZ = _Family("Helmholtz", ("coefficient", "boundary_value", "solution"), False)
_UNKNOWN = _Family("unknown", (), False)


def is_poseidon(file: h5py.File) -> bool:
    """Whether the root holds one of Poseidon's sets of variables and no coordinate."""
    return _family(_variables(file)) is not None


def read_poseidon(
    path: Path | str,
    *,
    dt: float | None = None,
    extent: float | Sequence[float] | None = None,
    periodic: bool | None = None,
) -> TrajectoryFile:
    """Open a file of any family; variable, number of axes and of channels tell which.

    The files state no times, no coordinates and no boundaries. Unless told otherwise:

    - frame n of T is at t = n / (T - 1), the time that Poseidon's models are given: 1 is the end
      of the trajectory, whatever its physical time;
    - points are centres of cells on [0, 1]^2, axes are (x, y); they are (y, x) where only then an
      incompressible velocity is free of divergence (NS-SL is stored so);
    - NS, FNS-KF, CE (but CE-RM) and ACE are periodic, all others are not.

    Steady families (SE-AF, Poisson-Gauss, Helmholtz) have one frame at t = 0 and input and output
    as fields. Wave speeds are fields that do not change in time.

    Args:
        path: The file.
        dt: Distance between frames [time].
        extent: Length per axis [length].
        periodic: Whether the axes close on themselves.

    Raises:
        ValueError: If shapes do not fit together.
    """
    handle = FileHandle(path)
    with handle.opened() as file:
        shapes = _variables(file)
        family = _family(shapes)
        if family is None:
            raise ValueError(f"{path}: this is no Poseidon file; found {shapes}.")
        if family is _HELMHOLTZ:
            parts = _helmholtz(path, handle, file)
        else:
            parts = _stacked(path, handle, shapes, family)
        told = _Told(dt, extent, periodic)
        return _file(path, family, parts, told)


@dataclass(frozen=True)
class _Told:
    """What the caller says about the file."""

    dt: float | None
    extent: float | Sequence[float] | None
    periodic: bool | None


@dataclass(frozen=True)
class _Parts:
    """Blocks and sizes of a file."""

    blocks: tuple[ArrayBlock, ...]
    num_trajectories: int
    num_times: int | None
    space: tuple[int, ...]
    notes: tuple[str, ...]


def _variables(file: h5py.File) -> dict[str, tuple[int, ...]]:
    """Shapes of the variables at the root; () for a sample group, empty if anything is strange.

    Sizes of dimensions that netCDF-4 keeps as data sets without values are left out.
    """
    names = list(file)
    if all(_SAMPLE.fullmatch(name) for name in names):
        return dict.fromkeys(names, ())
    shapes: dict[str, tuple[int, ...]] = {}
    for name in names:
        if file.get(name, getclass=True, getlink=True) is not h5py.HardLink:
            return {}
        item: Any = file[name]
        if not isinstance(item, h5py.Dataset) or len(shapes) > 4:
            return {}
        if not bytes(np.bytes_(item.attrs.get("NAME", b""))).startswith(_PLACEHOLDER):
            shapes[name] = tuple(item.shape or ())
    return shapes


def _family(shapes: Mapping[str, tuple[int, ...]]) -> _Family | None:
    """The family, from names and numbers of axes and channels."""
    names = set(shapes)
    if names and all(_SAMPLE.fullmatch(name) for name in names):
        return _HELMHOLTZ
    axes = {name: len(shape) for name, shape in shapes.items()}
    if axes == {"velocity": 5}:
        return _NAVIER_STOKES
    if axes == {"data": 5}:
        return _EULER
    if axes == {"solution": 5}:
        count = shapes["solution"][2]
        known = {2: _KOLMOGOROV, 3: _KOLMOGOROV, 4: _MESHKOV, 5: _MESHKOV}
        return _TAYLOR if count > 5 else known.get(count, _UNKNOWN)
    if axes == {"solution": 4, "c": 3}:
        return _WAVE
    if axes == {"solution": 4}:
        return _AIRFOIL if shapes["solution"][1] == 2 else _ALLEN_CAHN
    return _POISSON if axes == {"source": 3, "solution": 3} else None


def _stacked(
    path: Path | str, handle: FileHandle, shapes: Mapping[str, tuple[int, ...]], family: _Family
) -> _Parts:
    """Every family but Helmholtz: arrays whose first axis is the trajectory."""
    space = shapes[next(iter(shapes))][-2:]
    count = shapes[next(iter(shapes))][0]
    wrong = {name for name, own in shapes.items() if own[-2:] != space or own[0] != count}
    if wrong or not count or min(space) < 2:
        raise ValueError(
            f"{path}: all variables of a Poseidon file must have one number of trajectories and "
            f"one grid of at least 2 x 2 points, got {dict(shapes)}."
        )
    names = ("source", "solution") if family is _POISSON else ("solution", "c")
    names = tuple(name for name in (*names, "velocity", "data") if name in shapes)
    notes: tuple[str, ...] = ()
    last = ("x", "y")
    if family.is_incompressible:
        last, notes = _order(path, handle, names[0])
    blocks, num_times = [], None
    for name in names:
        axes = ("trajectory", *_middle(family, len(shapes[name])), *last)
        if "time" in axes:
            num_times = shapes[name][1]
        points = space if last == ("x", "y") else space[::-1]
        blocks.append(ArrayBlock(handle, name, axes, space=points, num_times=num_times or 1))
    points = blocks[0].space
    return _Parts(tuple(blocks), count, num_times, points, notes)


def _middle(family: _Family, num_axes: int) -> tuple[str, ...]:
    """Axes between trajectory and space."""
    if num_axes == 5:
        return ("time", "channel")
    if num_axes == 3:
        return ()
    return ("channel",) if family is _AIRFOIL else ("time",)


def _helmholtz(path: Path | str, handle: FileHandle, file: h5py.File) -> _Parts:
    """One group per sample, with `a`, the number `bc` and `u`."""
    keys = sorted(map(str, file), key=lambda key: int(key.removeprefix("Sample_")))
    first = {n: require_dataset(file, f"{keys[0]}/{n}", path=path).shape for n in ("a", "bc", "u")}
    space = tuple(first["u"])
    if len(space) != 2 or first["a"] != space or any(n != 1 for n in first["bc"]):
        raise ValueError(
            f"{path}: {keys[0]} must hold a and u of one shape (x, y) and one number bc, got "
            f"{first}."
        )
    axes = {"a": ("x", "y"), "bc": ("single",) * len(first["bc"]), "u": ("x", "y")}
    blocks = tuple(
        ArrayBlock(handle, [f"{key}/{name}" for key in keys], own, space=space, num_times=1)
        for name, own in axes.items()
    )
    return _Parts(blocks, len(keys), None, space, ())


def _order(path: Path | str, handle: FileHandle, name: str) -> tuple[tuple[str, str], tuple]:
    """Order of the space axes, told from the divergence of the first velocity, and a note."""
    with reading(path, name):
        frame = np.asarray(handle.dataset(name)[0, 0, :2], dtype=np.float64)
    straight, swapped = _divergence(frame, (0, 1)), _divergence(frame, (1, 0))
    if swapped < _SOLENOIDAL and swapped < straight / 2:
        return ("y", "x"), (
            f"axes are (y, x): only then is the velocity free of divergence (relative "
            f"{swapped:.1e}, as (x, y) {straight:.1e})",
        )
    if straight < _SOLENOIDAL:
        return ("x", "y"), (f"axes are (x, y): relative divergence {straight:.1e}",)
    return ("x", "y"), (
        f"axes taken as (x, y), but the velocity is not free of divergence in either order "
        f"({straight:.1e}, {swapped:.1e})",
    )


def _divergence(velocity: np.ndarray, axes: tuple[int, int]) -> float:
    """Size of the divergence relative to that of the whole gradient, on a periodic square."""
    sizes = velocity.shape[1:]
    waves = np.meshgrid(*(np.fft.fftfreq(n, 1 / n) for n in sizes), indexing="ij")
    u_hat = np.fft.fft2(velocity)
    gradient = np.sum([np.abs(k * part) ** 2 for k in waves for part in u_hat])
    divergence = (np.abs(waves[axes[0]] * u_hat[0] + waves[axes[1]] * u_hat[1]) ** 2).sum()
    return float(np.sqrt(divergence / gradient)) if gradient > 0 else 0.0


def _file(path: Path | str, family: _Family, parts: _Parts, told: _Told) -> TrajectoryFile:
    counts = [block.num_channels for block in parts.blocks]
    names = _names(family, sum(counts))
    times, problems = _times(parts.num_times, told.dt, path)
    closed = family.is_periodic if told.periodic is None else told.periodic
    extent = 1.0 if told.extent is None else told.extent
    grid = Grid(
        parts.space,
        (extent,) if isinstance(extent, int | float) else tuple(extent),
        periodic=closed,
        cell_centred=True,
    )
    starts = np.cumsum([0, *counts])
    notes = [*parts.notes, f"recognised as Poseidon's {family.name} by its variables"]
    if not family.is_incompressible:
        notes.append("axes taken as (x, y) in the order of the file")
    if told.extent is None:
        notes.append("no coordinates in the file: points taken as centres of cells on [0, 1]^2")
    if told.periodic is None:
        notes.append(
            f"no boundaries in the file: axes taken as "
            f"{'periodic' if closed else 'not periodic'}; give periodic={not closed} if that is "
            f"wrong"
        )
    return TrajectoryFile(
        path=path,  # pyright: ignore[reportArgumentType]
        layout="Poseidon",
        fields=FieldSpec(names),
        grid=grid,
        times=times,
        num_trajectories=parts.num_trajectories,
        blocks=[
            (slice(int(first), int(first) + count), block)
            for first, count, block in zip(starts, counts, parts.blocks, strict=False)
        ],
        problems=problems,
        notes=notes,
    )


def _names(family: _Family, count: int) -> tuple[str, ...]:
    """Names of the channels; those that no one has named are called by their number."""
    return (*family.fields, *(f"channel_{i}" for i in range(len(family.fields), count)))[:count]


def _times(num_times: int | None, dt: float | None, path: Path | str) -> tuple[Tensor, list[str]]:
    """Times, and that they are not known. A steady family (`None`) has one frame."""
    if dt is not None and (num_times is None or not dt > 0):
        what = "must be positive" if num_times else "has no meaning for a steady problem"
        raise ValueError(f"{path}: `dt` {what}, got {dt}.")
    if num_times is None or num_times == 1:
        return torch.zeros(1, dtype=torch.float64), []
    frames = torch.arange(num_times, dtype=torch.float64)
    if dt is not None:
        return dt * frames, []
    return frames / (num_times - 1), [
        f"no times in the file: frame n is at n / {num_times - 1}, so that t = 1 is the end of "
        f"the trajectory (the time given to Poseidon's models), which is no physical time; give "
        f"dt to open_trajectories"
    ]
