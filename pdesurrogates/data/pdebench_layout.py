"""What all PDEBench files have in common: cell centres, times that are one too many, configs."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdesurrogates.core import Grid
from pdesurrogates.data.axes import clean_times, grid_from_coordinates
from pdesurrogates.data.guard import read_attributes, read_small, require_dataset

__all__ = [
    "centred_grid",
    "config_entries",
    "coordinate",
    "coordinate_axes",
    "frame_times",
    "named_axes",
    "numeric_attributes",
    "one_per_trajectory",
]

_AXES = ("x", "y", "z")


def coordinate(file: Any, key: str, *, path: object, layout: str) -> np.ndarray:
    """One vector of coordinates or times.

    Raises:
        ValueError: If it is missing, no vector of numbers, or damaged.
    """
    if key not in file:
        raise ValueError(
            f"{path}: {layout} needs `{key}`, found {', '.join(sorted(file))}; use from_arrays "
            f"and give the grid and dt."
        )
    values = read_small(require_dataset(file, key, path=path, kinds="fiu"), path=path)
    if values.ndim != 1 or not len(values):
        raise ValueError(
            f"{path}: `{key}` must be one vector of numbers, got shape {values.shape}; use "
            f"from_arrays and give the grid and dt."
        )
    return values


def coordinate_axes(file: Any, *, path: object, layout: str) -> dict[str, np.ndarray]:
    """The vectors `x-coordinate`, `y-coordinate`, `z-coordinate` that are there, by axis name."""
    names = [name for name in _AXES if name == "x" or f"{name}-coordinate" in file]
    return {
        name: coordinate(file, f"{name}-coordinate", path=path, layout=layout) for name in names
    }


def centred_grid(
    coordinates: Mapping[str, np.ndarray], periodic: Sequence[bool], *, where: str
) -> Grid:
    """The grid of cells whose centres are the coordinates: the box is the true domain."""
    named = {f"{name}-coordinate": values for name, values in coordinates.items()}
    return grid_from_coordinates(named, periodic, where=where, cell_centred=True)


def named_axes(
    dataset: Any,
    coordinates: Mapping[str, np.ndarray],
    *,
    has_time: bool,
    path: object,
    layout: str,
    notes: list[str],
) -> tuple[str, ...]:
    """Names of the axes of a data set ([device,] [sample,] [time,] x [, y, z]).

    Axes of length 1 at the end (missing dimensions of the solver) are dropped. Where a file has
    no sample axis, it holds one trajectory; an axis of devices is merged into the samples.

    Args:
        dataset: The data set.
        coordinates: Axis name to coordinates.
        has_time: Whether there is a time axis.
        path: For messages.
        layout: Likewise.
        notes: What was decided is added.

    Raises:
        ValueError: If the shape does not fit the coordinates.
    """
    shape, space = tuple(dataset.shape), tuple(len(values) for values in coordinates.values())
    key, dims, times = dataset.name.lstrip("/"), len(space), int(has_time)
    kept = shape
    while len(kept) > dims + times and kept[-1] == 1 and kept[-dims:] != space:
        kept = kept[:-1]
    samples = len(kept) - dims - times
    if kept[-dims:] != space or not 0 <= samples <= 2:
        words = ", ".join(("sample", *(("time",) if has_time else ()), *coordinates))
        sizes = ", ".join(f"{len(v)} points along {name}" for name, v in coordinates.items())
        raise ValueError(
            f"{path}: {layout} needs `{key}` of shape ({words}) with {sizes}, got {shape}; use "
            f"from_arrays with named axes."
        )
    if samples == 2:
        note = (
            f"`{key}` has a leading axis of {kept[0]} (one per device): merged into "
            f"{kept[0] * kept[1]} trajectories"
        )
        notes.append(note)
    elif samples == 0:
        notes.append(f"`{key}` has no sample axis: read as one trajectory")
    singles = len(shape) - len(kept)
    return ("trajectory",) * samples + ("time",) * times + (*coordinates,) + ("single",) * singles


def frame_times(
    stored: np.ndarray, num_times: int, *, key: str, where: object, notes: list[str]
) -> Tensor:
    """Times of the frames, freed of the surplus entry at the end that PDEBench writes.

    Raises:
        ValueError: If there are neither as many times as frames, nor one more.
    """
    if len(stored) == num_times + 1:
        stored = stored[:num_times]
        notes.append(
            f"`{key}` has {num_times + 1} entries for {num_times} frames (known PDEBench "
            f"fault): the surplus last entry is ignored"
        )
    if len(stored) != num_times:
        raise ValueError(
            f"{where}: `{key}` must have {num_times} or {num_times + 1} entries for {num_times} "
            f"frames, got {len(stored)}; use from_arrays and give the times."
        )
    return clean_times(stored, where=f"{where}: {key}")


def numeric_attributes(file: Any, *, path: object) -> tuple[dict[str, float], dict[str, object]]:
    """The attributes of a file that are single numbers, and all others."""
    found = read_attributes(file, path=path)
    numbers = {name: float(v) for name, v in found.items() if isinstance(v, int | float)}
    return numbers, {name: value for name, value in found.items() if name not in numbers}


def one_per_trajectory(numbers: Mapping[str, float], num_trajectories: int) -> dict[str, Tensor]:
    """Parameters that all trajectories share."""
    return {
        name: torch.full((num_trajectories,), value, dtype=torch.float64)
        for name, value in numbers.items()
    }


def config_entries(text: str, section: str | None = None) -> dict[str, Any]:
    """Numbers, words and lists of the run's configuration, which is stored as YAML text.

    Only what these files use is understood: `name: value` lines on one level, and lists of plain
    values. A general YAML reader would be slow for thousands of texts, reads 1E-3 as a word, and
    lets a few bytes of text grow without bound.

    Args:
        text: The configuration.
        section: Name of the section whose entries are wanted; those of the top level by default.

    Example:
        >>> config_entries("sim:\\n  D: 5E-4\\n  tdim: 501\\nname: a", "sim")
        {'D': 0.0005, 'tdim': 501.0}
        >>> config_entries("NU: 0.01\\ndomain_size:\\n- 1\\n- 1")
        {'NU': 0.01, 'domain_size': [1.0, 1.0]}
    """
    if section is not None:
        block = re.search(
            rf"^{section}:[ \t]*\n((?:[ \t]+.*(?:\n|$)|[ \t]*\n)*)", text, re.MULTILINE
        )
        text = textwrap.dedent(block[1]) if block else ""
    found: dict[str, Any] = {}
    latest = ""
    for line in text.splitlines():
        item = re.fullmatch(r"\s*-\s+(\S+)\s*", line)
        entry = re.fullmatch(r"(\w+):(?:\s+(.*?))?\s*", line)
        if entry:
            latest = entry[1]
            found[latest] = _value(entry[2]) if entry[2] else []
        elif item and isinstance(found.get(latest), list):
            found[latest].append(_value(item[1]))
    return found


def _value(text: str) -> Any:
    text = text.strip().strip("'\"")
    if text.startswith("[") and text.endswith("]"):
        return [_value(entry) for entry in text[1:-1].split(",") if entry.strip()]
    try:
        return float(text)
    except ValueError:
        return text
