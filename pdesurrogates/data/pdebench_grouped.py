"""PDEBench's files with one group per sample: sorption, 2D reaction, shallow water."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from pdesurrogates.core import BoundarySides, Dirichlet, FieldSpec, Neumann, Outflow, Robin
from pdesurrogates.data.base import TrajectoryFile
from pdesurrogates.data.guard import read_small, read_texts, require_dataset, require_group
from pdesurrogates.data.handle import FileHandle
from pdesurrogates.data.pdebench_layout import (
    centred_grid,
    config_entries,
    coordinate,
    frame_times,
)
from pdesurrogates.data.storage import ArrayBlock

__all__ = ["is_pdebench_grouped", "read_pdebench_grouped"]

_LAYOUT = "PDEBench grouped layout"
_NOT_PHYSICS = {
    *("seed", "n", "t", "tdim", "T_end", "n_time_steps", "xdim", "ydim"),
    *("x_left", "x_right", "y_bottom", "y_top"),
}


@dataclass(frozen=True)
class _Family:
    """One of the three sets.

    Args:
        layout: Its name.
        fields: Channels.
        order: Space axes in the order in which its generator writes them.
        marks: Entries that only its configuration has.
        boundary: Conditions, by the configuration.
        words: Entries of the configuration that have a name in our equations.
    """

    layout: str
    fields: tuple[str, ...]
    order: tuple[str, ...]
    marks: frozenset[str]
    boundary: Callable[[dict[str, Any]], BoundarySides]
    words: dict[str, str] = field(default_factory=dict)


def _sorption_ends(config: dict[str, Any]) -> BoundarySides:
    return ((Dirichlet(config.get("sol", 1.0)), Robin(1.0, config.get("D", 5e-4))),)


_FAMILIES = (
    _Family(
        "PDEBench diffusion-sorption",
        ("u",),
        ("x",),
        frozenset({"por", "k_f", "n_f", "rho_s"}),
        _sorption_ends,
        {
            "D": "diffusivity",
            "por": "porosity",
            "rho_s": "bulk_density",
            "k_f": "freundlich_k",
            "n_f": "freundlich_exponent",
            "sol": "solubility",
        },
    ),
    _Family(
        "PDEBench diffusion-reaction 2D",
        ("u", "v"),
        ("y", "x"),
        frozenset({"Du", "Dv"}),
        lambda _: ((Neumann(0.0), Neumann(0.0)),) * 2,
        {"Du": "diffusivity_u", "Dv": "diffusivity_v", "k": "offset"},
    ),
    _Family(
        "PDEBench shallow water",
        ("height",),
        ("x", "y"),
        frozenset({"gravity", "dam_radius", "inner_height"}),
        lambda _: ((Outflow(), Outflow()),) * 2,
    ),
)


@dataclass(frozen=True)
class _SameCoordinates:
    """Every group must have the shape, coordinates and times of the first."""

    path: Path | str
    first: str
    shape: tuple[int, ...]
    stored: dict[str, np.ndarray]

    def __call__(self, file: h5py.File, key: str) -> None:
        group = key.split("/")[0]
        shape = require_dataset(file, key, path=self.path).shape
        if shape != self.shape:
            raise ValueError(
                f"{self.path}: {key} has shape {shape}, {self.first}/data has {self.shape}; all "
                f"trajectories of a file must agree."
            )
        grid = require_group(file, f"{group}/grid", path=self.path)
        for name, expected in self.stored.items():
            own = read_small(require_dataset(grid, name, path=self.path), path=self.path)
            if own.shape != expected.shape or not np.allclose(own, expected, rtol=1e-5):
                raise ValueError(
                    f"{self.path}: {group}/grid/{name} differs from {self.first}/grid/{name}, but "
                    f"the trajectories of one file share one grid and its times; store those on "
                    f"others in files of their own."
                )


def is_pdebench_grouped(file: Any) -> bool:
    """Whether every root key is a number, and the first group holds `data` and `grid`."""
    keys = list(file)
    if not keys or not all(re.fullmatch(r"\d+", key) for key in keys):
        return False
    first = min(keys, key=int)
    if not isinstance(file.get(first, getlink=True), h5py.HardLink):
        return True  # the reader looks at links before it follows them
    return isinstance(file[first], h5py.Group) and {"data", "grid"} <= set(file[first])


def read_pdebench_grouped(path: Path | str) -> TrajectoryFile:
    """Open a grouped file: per sample a group with `data`, `grid/x` [`grid/y`], `grid/t`.

    Which of the three families it is follows from the entries of the stored configuration, else
    from the number of axes and channels of `data` (time, *space, channel), never from the name:

        diffusion-sorption       x      u         u = 1 left; u + diffusivity du/dx = 0 right
        2D diffusion-reaction    y, x   u, v      no flux
        shallow water            x, y   height    open

    The order of the space axes is that of the family's generator, unless the lengths of `grid/x`
    and `grid/y` fit the other order only. Groups are sorted by number. The numbers of the
    configurations become parameters, one per trajectory. Shapes, coordinates and times of a group
    are compared with the first group's when it is read first.

    Args:
        path: The file, or an address.

    Raises:
        ValueError: If something is missing or damaged, or shapes do not fit together.
    """
    handle, notes = FileHandle(path), []
    where = handle.path
    with handle.opened() as file:
        groups = [str(key) for key in sorted(file, key=int)]
        first = groups[0]
        texts = read_texts(file, groups, "config", path=where)
        configs = _configs(texts)
        data = require_dataset(file, f"{first}/data", path=where)
        has_y = "y" in require_group(file, f"{first}/grid", path=where)
        names = ("x", "y") if has_y else ("x",)
        stored = {
            name: coordinate(file, f"{first}/grid/{name}", path=where, layout=_LAYOUT)
            for name in (*names, "t")
        }
        family = _family(data.shape, configs[0], len(names), where)
        space = tuple(len(stored[name]) for name in names)
        order = _order(family, data.shape, dict(zip(names, space, strict=True)), where, notes)
        num_times = data.shape[0]
        times = frame_times(
            stored["t"], num_times, key=f"{first}/grid/t", where=where, notes=notes
        )
        block = ArrayBlock(
            handle,
            [f"{group}/data" for group in groups],
            ("time", *order, "channel"),
            space=space,
            num_times=num_times,
            check=_SameCoordinates(where, first, tuple(data.shape), stored),
        )
    _note_frames(configs[0], num_times, notes)
    _note_gaps(groups, notes)
    coordinates = {name: stored[name] for name in names}
    return TrajectoryFile(
        path=where,  # type: ignore[arg-type]
        layout=family.layout,
        fields=FieldSpec(family.fields),
        grid=centred_grid(coordinates, [False] * len(names), where=str(where)),
        times=times,
        num_trajectories=len(groups),
        blocks=[(slice(0, len(family.fields)), block)],
        parameters=_parameters(configs, family, notes),
        attributes={} if texts[0] is None else {"config": texts[0]},
        boundary=family.boundary(configs[0]),
        notes=notes,
    )


def _configs(texts: Sequence[str | None]) -> list[dict[str, float]]:
    """The numbers of the section `sim` of every configuration."""
    found: list[dict[str, float]] = []
    for text in texts:
        entries = config_entries(text or "", "sim")
        found.append({name: v for name, v in entries.items() if isinstance(v, float)})
    return found


def _family(shape: tuple[int, ...], config: dict[str, float], dims: int, where: object) -> _Family:
    channels = shape[-1] if shape else 0
    by_config = [family for family in _FAMILIES if family.marks & set(config)]
    by_shape = [
        family
        for family in by_config or _FAMILIES
        if len(family.order) == dims == len(shape) - 2 and len(family.fields) == channels
    ]
    if len(by_shape) != 1:
        known = "; ".join(
            f"{family.layout}: (time, {', '.join(family.order)}, {len(family.fields)})"
            for family in _FAMILIES
        )
        stated = f", whose configuration is of {by_config[0].layout}" if by_config else ""
        raise ValueError(
            f"{where}: {_LAYOUT}: `data` of every group must be one of {known}; got {shape} with "
            f"{dims} coordinates{stated}; use from_arrays with named axes."
        )
    return by_shape[0]


def _order(
    family: _Family,
    shape: tuple[int, ...],
    sizes: dict[str, int],
    where: object,
    notes: list[str],
) -> tuple[str, ...]:
    """Space axes in the order of `data`."""
    for order in (family.order, family.order[::-1]):
        if shape[1:-1] == tuple(sizes[name] for name in order):
            if order != family.order:
                notes.append(
                    f"`data` is (time, {', '.join(order)}, channel) by the lengths of its "
                    f"coordinates, where {family.layout} writes ({', '.join(family.order)})"
                )
            elif len(order) > 1:
                decided = "" if len(set(sizes.values())) > 1 else ", as its generator writes it"
                notes.append(f"`data` is (time, {', '.join(order)}, channel){decided}")
            return order
    raise ValueError(
        f"{where}: {_LAYOUT}: `data` must have shape (time, {', '.join(family.order)}, channel) "
        f"with {sizes} points, got {shape}; use from_arrays with named axes."
    )


def _note_frames(config: dict[str, float], num_times: int, notes: list[str]) -> None:
    for name, extra in (("tdim", 0), ("n_time_steps", 1)):
        stated = config.get(name)
        if stated is not None and (extra or stated != num_times):
            notes.append(
                f"the configuration says {name} = {stated:g}, the file has {num_times} frames, "
                f"the initial state included: the file is right"
            )


def _note_gaps(groups: list[str], notes: list[str]) -> None:
    low, high = int(groups[0]), int(groups[-1])
    if high - low + 1 != len(groups) or low != 0:
        notes.append(
            f"seeds {low} .. {high} are there in part ({len(groups)} groups): trajectories are "
            f"numbered by position, trajectory 0 is group {groups[0]}"
        )


def _parameters(
    configs: list[dict[str, float]], family: _Family, notes: list[str]
) -> dict[str, Tensor]:
    stated = [config for config in configs if config]
    if not stated:
        notes.append("no group states its configuration: there are no parameters")
        return {}
    if len(stated) < len(configs):
        notes.append(
            f"{len(configs) - len(stated)} of {len(configs)} groups state no configuration: there "
            f"are no parameters"
        )
        return {}
    names = [name for name in configs[0] if all(name in config for config in configs)]
    return {
        family.words.get(name, name): torch.tensor(
            [config[name] for config in configs], dtype=torch.float64
        )
        for name in names
        if name not in _NOT_PHYSICS
    }
