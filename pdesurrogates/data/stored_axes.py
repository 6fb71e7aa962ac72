"""Coordinates and times as a file stores them, before any reader cleans them: what is doubtful?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import h5py
import numpy as np

from pdesurrogates.core import Grid
from pdesurrogates.data.array_contents import stored_arrays
from pdesurrogates.data.exact import EXACT_GROUP
from pdesurrogates.data.guard import read_small, require_dataset
from pdesurrogates.data.handle import FileHandle
from pdesurrogates.data.location import array_format

__all__ = ["axis_doubts", "stored_axes", "time_doubts"]

_NAMES = {
    "time": ("time", "t", "t-coordinate", "tt", "ts", "times", "tspan"),
    "x": ("x", "x-coordinate", "xx", "xs"),
    "y": ("y", "y-coordinate", "yy", "ys"),
    "z": ("z", "z-coordinate", "zz", "zs"),
}
_LARGEST = 16 * 2**20
_ROUND = 1e-6
_VISIBLE = 1e-4
_UNIFORM = 1e-3


def stored_axes(path: Path | str, axis_names: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """The vectors that have the name of an axis: "time", "x", "y", "z" to (N,).

    Of vectors stored per trajectory, the first. Nothing is found in layouts that hide them
    elsewhere, nor in files written here, whose grid and times are kept exactly beside them.

    Args:
        path: The file.
        axis_names: What the file calls its space axes.
    """
    spellings = dict(_NAMES)
    for word, name in zip("xyz", axis_names, strict=False):
        spellings[word] = (name, *_NAMES[word])
    found: dict[str, np.ndarray] = {}
    is_hdf5 = array_format(path) == "HDF5"
    arrays = {} if is_hdf5 else stored_arrays(path)
    with FileHandle(path).opened() if is_hdf5 else nullcontext() as file:
        if file is not None and EXACT_GROUP in file:
            return {}
        for word, names in spellings.items():
            for name in names:
                values = arrays[name].values() if name in arrays else None
                if file is not None:
                    values = _lookup(file, name, path)
                vector = None if values is None else _vector(values)
                if vector is not None:
                    found[word] = vector
                    break
    return found


def axis_doubts(name: str, stored: np.ndarray, grid: Grid, axis: int) -> list[str]:
    """What is doubtful about the stored coordinates of one axis, in words.

    Args:
        name: Name of the axis.
        stored: Coordinates as stored, (N,).
        grid: The grid that the reader made of them.
        axis: Number of the axis.
    """
    n = grid.shape[axis]
    if len(stored) != n:
        return [
            f"axis {name}: the file stores {len(stored)} coordinates for {n} points; check which "
            f"belong to the states"
        ]
    doubts = [f"axis {name}: {text}" for text in _rounding_doubts(stored)]
    points = stored.astype(np.float64)
    width, spacing = float(points[-1] - points[0]), float(points[-1] - points[0]) / (n - 1)
    closes = grid.is_periodic[axis]
    if closes and _is_round(width) and not _is_round(width + spacing):
        doubts.append(
            f"axis {name}: periodic, but its points run from {points[0]:.6g} to {points[-1]:.6g} "
            f"as if both ends were stored; with the right end left out the spacing would be "
            f"{width / n:.6g} instead of {spacing:.6g}. Compare with the spacing of the solver"
        )
    low, high = points[0] - spacing / 2, points[-1] + spacing / 2
    is_centred = _is_round(high - low) and _is_near(low) and not _is_near(float(points[0]))
    if is_centred and not closes and not grid.cell_centred:
        doubts.append(
            f"axis {name}: points are half a cell inside [{low:.6g}, {high:.6g}], as cell centres "
            f"are, but the grid takes the first and last point as the ends"
        )
    return doubts


def time_doubts(stored: np.ndarray, num_times: int) -> list[str]:
    """What is doubtful about the stored times, in words.

    Args:
        stored: Times as stored, (N,).
        num_times: Frames.
    """
    doubts = [f"times: {text}" for text in _rounding_doubts(stored[:num_times])]
    if len(stored) != num_times:
        extra = " (one too long)" if len(stored) == num_times + 1 else ""
        doubts.append(
            f"times: the file stores {len(stored)} times for {num_times} frames{extra}; the first "
            f"{num_times} are used"
        )
    return doubts


def _lookup(file: h5py.File, name: str, path: Path | str) -> np.ndarray | None:
    """The vector `name` at the root, beside the states, or in the first group."""
    for key in _places(file, name):
        try:
            dataset = require_dataset(file, key, path=path, kinds="fiu")
            return read_small(dataset, path=path, limit_bytes=_LARGEST)
        except ValueError:
            continue
    return None


def _places(file: h5py.File, name: str) -> Iterator[str]:
    yield name
    yield f"dimensions/{name}"
    first = next(iter(file), None)
    if first is not None and isinstance(file.get(first, getlink=True), h5py.HardLink):
        yield f"{first}/{name}"
        yield f"{first}/grid/{name}"


def _vector(values: np.ndarray) -> np.ndarray | None:
    """Numbers along one axis; of one per trajectory the first."""
    if values.dtype.kind not in "fiu" or values.ndim not in (1, 2) or 0 in values.shape:
        return None
    if values.ndim == 2:
        values = values.reshape(-1) if 1 in values.shape else values[0]
    return values if len(values) > 2 and np.isfinite(values).all() else None


def _rounding_doubts(stored: np.ndarray) -> Iterator[str]:
    """Rounding of the stored type, or of fewer digits, that shows in the spacing."""
    points = stored.astype(np.float64)
    step = (points[-1] - points[0]) / max(1, len(points) - 1)
    if not step:
        return
    largest = float(np.abs(points).max())
    epsilon = float(np.finfo(stored.dtype).eps) if stored.dtype.kind == "f" else 0.0
    rounding = epsilon * largest / abs(step)
    line = points[0] + step * np.arange(len(points))
    off = float(np.abs(points - line).max()) / abs(step)
    if rounding > _VISIBLE and off > _VISIBLE:
        yield (
            f"stored in {stored.dtype}, whose rounding is {rounding:.1e} of the spacing; "
            f"differences between neighbours are not exact"
        )
    elif 8 * rounding + 1e-12 < off <= _UNIFORM:
        yield (
            f"points are off an even spacing by {off:.1e} of it, more than {stored.dtype} rounds; "
            f"they were rounded to fewer digits, or are not uniform"
        )


def _is_round(length: float) -> bool:
    """Whether a length has at most three digits, in units of 1 or of pi."""
    return any(
        value and abs(float(f"{value:.3g}") - value) <= _ROUND * abs(value)
        for value in (length, length / math.pi)
    )


def _is_near(value: float) -> bool:
    """Whether a coordinate is zero or round."""
    return abs(value) <= _ROUND or _is_round(value)
