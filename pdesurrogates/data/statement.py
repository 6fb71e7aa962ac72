"""What is known of states besides their numbers, and the file that comes of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.data.axes import clean_times, grid_from_coordinates
from pdesurrogates.data.base import TrajectoryFile
from pdesurrogates.data.endpoints import (
    ShortenedBlock,
    repeated_endpoint,
    repeats_of,
    sample_states,
    without_endpoint,
)
from pdesurrogates.data.storage import Block

__all__ = ["Statement", "from_block"]

_WHERE = "from_arrays"


@dataclass(frozen=True)
class Statement:
    """What is known of an array of states besides its numbers; see `from_arrays`."""

    times: Sequence[float] | Tensor | np.ndarray | None = None
    dt: float | None = None
    coordinates: Mapping[str, Sequence[float] | Tensor | np.ndarray] | None = None
    grid: Grid | None = None
    extent: float | Sequence[float] | None = None
    parameters: Mapping[str, float | Sequence[float] | Tensor] = field(default_factory=dict)
    periodic: bool | Sequence[bool] = True
    drop_repeated_endpoint: bool = False
    attributes: Mapping[str, object] = field(default_factory=dict)


def from_block(
    block: Block,
    fields: FieldSpec,
    space: Sequence[str],
    shape: Sequence[int],
    statement: Statement,
    *,
    path: Path | str | None = None,
    layout: str = "arrays",
    notes: Sequence[str] = (),
) -> TrajectoryFile:
    """Trajectories whose numbers are in `block`, in memory or in a file.

    Args:
        block: The numbers.
        fields: Names of the channels.
        space: Names of the space axes.
        shape: (trajectory, time, channel, *space).
        statement: Everything else.
        path: The file, if there is one.
        layout: Name of the layout.
        notes: What was decided so far.

    Raises:
        ValueError: If coordinates or times do not fit.
    """
    num_trajectories, num_times, _, *points = shape
    if 0 in shape:
        raise ValueError(
            f"{_WHERE if path is None else path}: the states must hold numbers, got shape "
            f"{tuple(shape)} (trajectory, time, channel, {', '.join(space)}); leave out what is "
            f"empty."
        )
    box = _Box(tuple(space), tuple(points), _flags(statement.periodic, len(space)))
    grid = _grid(box, statement.grid, statement.coordinates, statement.extent)
    sample = sample_states(block, num_trajectories, num_times)
    said = list(notes)
    if statement.drop_repeated_endpoint:
        keep_extent = statement.extent is not None
        sample, grid, axes = _drop(sample, grid, box.names, keep_extent, said)
        block = ShortenedBlock(block, axes) if axes else block
    return TrajectoryFile(
        path=path,  # pyright: ignore[reportArgumentType]
        layout=layout,
        fields=fields,
        grid=grid,
        times=_times(statement.times, statement.dt, num_trajectories, num_times),
        num_trajectories=num_trajectories,
        blocks=[(slice(0, fields.num_channels), block)],
        parameters=_parameters(statement.parameters, num_trajectories),
        attributes=statement.attributes,
        problems=repeats_of(sample, grid, box.names),
        notes=said,
    )


@dataclass(frozen=True)
class _Box:
    """Space axes: names, points and whether they close."""

    names: tuple[str, ...]
    shape: tuple[int, ...]
    periodic: tuple[bool, ...]


def _flags(periodic: bool | Sequence[bool], dim: int) -> tuple[bool, ...]:
    flags = (periodic,) * dim if isinstance(periodic, bool) else tuple(periodic)
    if len(flags) != dim:
        raise ValueError(
            f"{_WHERE}: `periodic` must have one entry per axis ({dim}), got {flags}."
        )
    return flags


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
) -> tuple[Tensor, Grid, list[int]]:
    """Without the last point of every periodic axis that repeats the first, and these axes."""
    dropped = []
    for axis, name in enumerate(names):
        if not grid.is_periodic[axis] or repeated_endpoint(states, 3 + axis) != "yes":
            continue
        n = grid.shape[axis]
        states = states.narrow(3 + axis, 0, n - 1)
        grid = without_endpoint(grid, axis, keep_extent=keep_extent)
        dropped.append(axis)
        notes.append(f"dropped the repeated periodic endpoint of {name}: {n} -> {n - 1} points")
    return states, grid, dropped


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
        try:
            row = torch.as_tensor(value, dtype=torch.float64).reshape(-1)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{_WHERE}: parameter {name!r} must be a number, or one per trajectory, got "
                f"{value!r}."
            ) from error
        if len(row) not in (1, count):
            raise ValueError(
                f"{_WHERE}: parameter {name!r} must be one number or one per trajectory "
                f"({count}), "
                f"got {len(row)}."
            )
        rows[name] = row.expand(count).clone()
    return rows
