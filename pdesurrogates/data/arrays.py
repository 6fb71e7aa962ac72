"""Your own arrays as trajectories: axes are named once, everything else follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.data.axes import clean_times, grid_from_coordinates
from pdesurrogates.data.base import TrajectoryFile
from pdesurrogates.data.endpoints import repeated_endpoint, repeats_of, without_endpoint
from pdesurrogates.data.storage import MemoryBlock

__all__ = ["from_arrays", "parse_axes"]

_WHERE = "from_arrays"
_SPACE = ("x", "y", "z")
_WORDS = {
    "trajectory": "trajectory",
    "sample": "trajectory",
    "batch": "trajectory",
    "time": "time",
    "t": "time",
    "channel": "channel",
    "field": "channel",
    "component": "channel",
    "x": "x",
    "y": "y",
    "z": "z",
}
_NEGLIGIBLE = 1e-6


def from_arrays(
    states: Tensor | np.ndarray,
    *,
    axes: str | Sequence[str],
    times: Sequence[float] | Tensor | np.ndarray | None = None,
    dt: float | None = None,
    coordinates: Mapping[str, Sequence[float] | Tensor | np.ndarray] | None = None,
    grid: Grid | None = None,
    extent: float | Sequence[float] | None = None,
    fields: FieldSpec | Sequence[str] | str | None = None,
    parameters: Mapping[str, float | Sequence[float] | Tensor] | None = None,
    periodic: bool | Sequence[bool] = True,
    drop_repeated_endpoint: bool = False,
    attributes: Mapping[str, object] | None = None,
) -> TrajectoryFile:
    """Trajectories in memory, from an array whose axes you name.

    Space is given by one of `grid`, `coordinates` or `extent`; time by one of `times` or `dt`.
    A complex array becomes two channels, real and imaginary part; an imaginary part below 1e-6 of
    the real one is rounding and is dropped, with a note.

    Args:
        states: The numbers, in any axis order.
        axes: Names of the axes of `states` in their order, e.g. "time x" or
            "trajectory time x channel". Words: trajectory (sample, batch), time (t), channel
            (field, component), x, y, z. Axes that are not named have size one.
        times: Frame times, (time,) or (trajectory, time).
        dt: Distance between frames; the first is at 0.
        coordinates: Axis name to coordinates, e.g. {"x": x}.
        grid: The grid itself.
        extent: Length per axis; the first point is at 0.
        fields: Names of the channels; by default u, or u0, u1, ...
        parameters: Name to a number, or one per trajectory.
        periodic: Whether axes close on themselves, for all or per axis.
        drop_repeated_endpoint: Where the last point of a periodic axis repeats the first, leave
            it out. Otherwise it is reported in `.problems`.
        attributes: Facts to keep with the data.

    Raises:
        ValueError: If axes, shapes, coordinates or times do not fit.

    Example:
        >>> x = torch.arange(8.0) / 8
        >>> file = from_arrays(torch.zeros(3, 8), axes="time x", dt=0.1, coordinates={"x": x})
        >>> file.grid.extent, file.times.tolist()
        ((1.0,), [0.0, 0.1, 0.2])
    """
    values = torch.as_tensor(states)
    words = parse_axes(axes, values.ndim, where=_WHERE)
    space = tuple(word for word in _SPACE if word in words)
    arranged = rearrange(values, _pattern(words, space))
    notes: list[str] = []
    arranged, names = _real_channels(arranged, fields, notes)
    box = _Box(space, tuple(arranged.shape[3:]), _flags(periodic, len(space)))
    grid = _grid(box, grid, coordinates, extent)
    if drop_repeated_endpoint:
        arranged, grid = _drop(arranged, grid, space, extent is not None, notes)
    num_trajectories, num_times = arranged.shape[:2]
    return TrajectoryFile(
        path=None,
        layout="arrays",
        fields=names,
        grid=grid,
        times=_times(times, dt, num_trajectories, num_times),
        num_trajectories=num_trajectories,
        blocks=[(slice(0, names.num_channels), MemoryBlock(arranged))],
        parameters=_parameters(parameters or {}, num_trajectories),
        attributes=attributes,
        problems=repeats_of(arranged, grid, space),
        notes=notes,
    )


def parse_axes(axes: str | Sequence[str], ndim: int, *, where: str) -> tuple[str, ...]:
    """Axis names in our words, checked against the number of axes.

    Raises:
        ValueError: If a word is unknown or repeated, the count differs, or time or space lacks.
    """
    given = axes.replace(",", " ").split() if isinstance(axes, str) else list(axes)
    unknown = [word for word in given if word.lower() not in _WORDS]
    if unknown:
        raise ValueError(
            f"{where}: axis name {unknown[0]!r} is not known; use trajectory, time, channel, "
            f"x, y, z."
        )
    words = tuple(_WORDS[word.lower()] for word in given)
    if len(set(words)) != len(words):
        raise ValueError(f"{where}: every axis may be named once, got {' '.join(given)!r}.")
    if len(words) != ndim:
        raise ValueError(
            f"{where}: `axes` names {len(words)} axes ({' '.join(given)!r}), but the array has "
            f'{ndim}; name each of them, e.g. axes="trajectory time x".'
        )
    expected_space = _SPACE[: sum(word in _SPACE for word in words)]
    if "time" not in words or not expected_space:
        raise ValueError(
            f"{where}: `axes` must contain time and at least x, got {' '.join(given)!r}."
        )
    if not set(expected_space) <= set(words):
        raise ValueError(f"{where}: space axes are x, then y, then z; got {' '.join(given)!r}.")
    return words


@dataclass(frozen=True)
class _Box:
    """Space axes: names, points and whether they close."""

    names: tuple[str, ...]
    shape: tuple[int, ...]
    periodic: tuple[bool, ...]


def _pattern(words: tuple[str, ...], space: tuple[str, ...]) -> str:
    leading = [word if word in words else "1" for word in ("trajectory", "time", "channel")]
    return f"{' '.join(words)} -> {' '.join((*leading, *space))}"


def _flags(periodic: bool | Sequence[bool], dim: int) -> tuple[bool, ...]:
    flags = (periodic,) * dim if isinstance(periodic, bool) else tuple(periodic)
    if len(flags) != dim:
        raise ValueError(
            f"{_WHERE}: `periodic` must have one entry per axis ({dim}), got {flags}."
        )
    return flags


def _real_channels(
    states: Tensor, fields: FieldSpec | Sequence[str] | str | None, notes: list[str]
) -> tuple[Tensor, FieldSpec]:
    """Floating-point channels and their names."""
    split = False
    if states.is_complex():
        real, imaginary = float(states.real.abs().max()), float(states.imag.abs().max())
        if imaginary <= _NEGLIGIBLE * real:
            notes.append(
                f"complex array with an imaginary part of at most {imaginary:.1e}: real part"
            )
            states = states.real
        else:
            states, split = torch.cat([states.real, states.imag], dim=2), True
    if not states.is_floating_point():
        states = states.to(torch.float64)
    if states.dtype not in (torch.float32, torch.float64):
        states = states.to(torch.float32)
    count = states.shape[2]
    if isinstance(fields, FieldSpec):
        spec = fields
    elif fields is not None:
        spec = FieldSpec((fields,) if isinstance(fields, str) else tuple(fields))
    elif split:
        half = count // 2
        tails = ("",) if half == 1 else tuple(str(i) for i in range(half))
        spec = FieldSpec(tuple(part + tail for part in ("real", "imaginary") for tail in tails))
    else:
        spec = FieldSpec(("u",) if count == 1 else tuple(f"u{i}" for i in range(count)))
    if spec.num_channels != count:
        raise ValueError(
            f"{_WHERE}: `fields` must name {count} channels, got {spec.num_channels}: "
            f"{spec.names}."
        )
    return states, spec


def _grid(
    box: _Box,
    grid: Grid | None,
    coordinates: Mapping[str, Sequence[float] | Tensor | np.ndarray] | None,
    extent: float | Sequence[float] | None,
) -> Grid:
    given = [
        name
        for name, value in (("grid", grid), ("coordinates", coordinates), ("extent", extent))
        if value is not None
    ]
    if len(given) != 1:
        raise ValueError(
            f"{_WHERE}: give exactly one of `grid`, `coordinates` and `extent` to say where the "
            f"points are, got {given or 'none'}; e.g. extent=1.0 for a domain of length 1."
        )
    if grid is not None:
        if grid.shape != box.shape:
            raise ValueError(
                f"{_WHERE}: `grid` has {grid.shape} points, the array has {box.shape} along "
                f"{' '.join(box.names)}."
            )
        return grid
    if coordinates is None:
        assert extent is not None
        lengths = tuple(extent) if isinstance(extent, Sequence) else (extent,)
        return Grid(box.shape, lengths, (0.0,), box.periodic)
    vectors = {}
    for name, n in zip(box.names, box.shape, strict=True):
        if name not in coordinates:
            raise ValueError(
                f"{_WHERE}: `coordinates` lacks axis {name!r}, got {sorted(coordinates)}."
            )
        vectors[name] = np.asarray(coordinates[name]).reshape(-1)
        if len(vectors[name]) != n:
            raise ValueError(
                f"{_WHERE}: coordinate {name!r} has {len(vectors[name])} points, the array "
                f"has {n} "
                f"along that axis."
            )
    return grid_from_coordinates(vectors, box.periodic, where=_WHERE)


def _drop(
    states: Tensor, grid: Grid, names: tuple[str, ...], keep_extent: bool, notes: list[str]
) -> tuple[Tensor, Grid]:
    """Without the last point of every periodic axis that repeats the first."""
    for axis, name in enumerate(names):
        if not grid.is_periodic[axis] or repeated_endpoint(states, 3 + axis) != "yes":
            continue
        n = grid.shape[axis]
        states = states.narrow(3 + axis, 0, n - 1)
        grid = without_endpoint(grid, axis, keep_extent=keep_extent)
        notes.append(f"dropped the repeated periodic endpoint of {name}: {n} -> {n - 1} points")
    return states, grid


def _times(
    times: Sequence[float] | Tensor | np.ndarray | None,
    dt: float | None,
    num_trajectories: int,
    num_times: int,
) -> Tensor:
    if (times is None) == (dt is None):
        raise ValueError(
            f"{_WHERE}: give either `times` or `dt` to say when the {num_times} frames are, got "
            f"{'none' if dt is None else 'both'}."
        )
    if dt is not None:
        if not dt > 0:
            raise ValueError(f"{_WHERE}: `dt` must be positive, got {dt}.")
        return dt * torch.arange(num_times, dtype=torch.float64)
    vector = np.asarray(times)
    if vector.ndim == 2 and 1 in vector.shape and num_trajectories == 1:
        vector = vector.reshape(-1)
    if vector.shape not in ((num_times,), (num_trajectories, num_times)):
        raise ValueError(
            f"{_WHERE}: `times` must have shape ({num_times},) or ({num_trajectories}, "
            f"{num_times}), got {vector.shape}."
        )
    return clean_times(vector, where=_WHERE)


def _parameters(
    parameters: Mapping[str, float | Sequence[float] | Tensor], count: int
) -> dict[str, Tensor]:
    rows = {}
    for name, value in parameters.items():
        row = torch.as_tensor(value, dtype=torch.float64).reshape(-1)
        if len(row) not in (1, count):
            raise ValueError(
                f"{_WHERE}: parameter {name!r} must be one number or one per trajectory "
                f"({count}), "
                f"got {len(row)}."
            )
        rows[name] = row.expand(count).clone()
    return rows
