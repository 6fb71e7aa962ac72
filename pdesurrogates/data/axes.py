"""Coordinates and times as files give them: checked, in float64, freed of float32 rounding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from pdesurrogates.core import Grid

__all__ = ["clean_times", "grid_from_coordinates", "irregularity"]

_GAP_TOLERANCE = 1e-3


def irregularity(values: np.ndarray, name: str) -> str | None:
    """The first gap that breaks uniform spacing, in words; `None` if the axis is uniform.

    Uniform means that every point lies on the straight line between the first and the last point
    to a thousandth of the spacing, plus the rounding of the stored type.

    Args:
        values: Coordinates of one axis or times of one trajectory, shape (N,).
        name: Name of the axis, for the text.
    """
    if len(values) < 3:
        return None
    points = values.astype(np.float64)
    step = (points[-1] - points[0]) / (len(points) - 1)
    line = points[0] + step * np.arange(len(points))
    tolerance = _GAP_TOLERANCE * abs(step) + 4 * _rounding(values)
    if np.abs(points - line).max() <= tolerance:
        return None
    gaps = np.diff(points)
    expected = float(np.median(gaps))
    irregular = np.abs(gaps - expected) > _GAP_TOLERANCE * abs(expected) + 4 * _rounding(values)
    i = int(irregular.argmax()) if irregular.any() else int(np.abs(gaps - step).argmax())
    return f"{name}[{i + 1}] - {name}[{i}] = {gaps[i]:.6g} where the typical gap is {expected:.6g}"


def grid_from_coordinates(
    coordinates: Mapping[str, np.ndarray],
    periodic: Sequence[bool],
    *,
    where: str,
    cell_centred: bool = False,
) -> Grid:
    """A `Grid` from one coordinate vector per axis.

    On a periodic axis the last point is the last one before the axis closes, so the extent is
    N times the spacing; on other axes it is the distance between the end points. Points that are
    centres of cells fill an extent of N times the spacing on every axis, and the origin is half a
    cell before the first.

    Args:
        coordinates: Axis name to coordinates (N,), in axis order [length].
        periodic: One flag per axis.
        where: File or caller, for messages.
        cell_centred: Whether the points are the centres of cells that fill the box.

    Raises:
        ValueError: If an axis is not finite, not increasing or not uniform.
    """
    num_points, extent, origin = [], [], []
    for (name, values), closed in zip(coordinates.items(), periodic, strict=True):
        if values.ndim != 1 or len(values) < 2:
            raise ValueError(
                f"{where}: coordinate {name!r} must be one vector of at least 2 points, got shape "
                f"{values.shape}."
            )
        _check_increasing(values, name, where=where)
        gap = irregularity(values, name)
        if gap is not None:
            raise ValueError(
                f"{where}: coordinate {name!r} must be uniform, got {gap}; interpolate the states "
                f"onto a uniform grid first."
            )
        n = len(values)
        first, last = float(values[0]), float(values[-1])
        length = (last - first) * (n / (n - 1) if closed or cell_centred else 1.0)
        num_points.append(n)
        extent.append(_unrounded(length, 4 * _rounding(values)))
        if cell_centred:
            origin.append(_unrounded(first - extent[-1] / n / 2, 4 * _rounding(values)))
        else:
            origin.append(_unrounded(first, _epsilon(values) * abs(first)))
    return Grid(tuple(num_points), tuple(extent), tuple(origin), tuple(periodic), cell_centred)


def clean_times(values: np.ndarray | Tensor | Sequence[float], *, where: str) -> Tensor:
    """Times as a float64 tensor, (time,) or, where trajectories differ, (trajectory, time).

    Uniform times stored in float32 are rebuilt in float64, so that a step of 0.01 is 0.01.

    Raises:
        ValueError: If times are not finite or do not increase strictly.
    """
    stored = np.asarray(values)
    if stored.dtype.kind not in "fiu" or stored.ndim not in (1, 2) or stored.shape[-1] < 1:
        raise ValueError(
            f"{where}: times must be numbers of shape (time,) or (trajectory, time), got shape "
            f"{stored.shape} of {stored.dtype}."
        )
    if stored.ndim == 2 and (stored == stored[:1]).all():
        stored = stored[0]
    rows = np.atleast_2d(stored)
    steps = np.diff(rows.astype(np.float64), axis=1)
    is_bad = ~np.isfinite(rows).all(axis=1) | (steps <= 0).any(axis=1)
    if is_bad.any():
        index = int(is_bad.argmax())
        owner = f"{where}, trajectory {index}" if stored.ndim == 2 else where
        _check_increasing(rows[index], "time", where=owner)
    if stored.ndim == 2 or stored.shape[0] < 2 or irregularity(stored, "time") is not None:
        return torch.from_numpy(np.array(stored, dtype=np.float64))
    n = len(stored)
    first = _unrounded(float(stored[0]), _epsilon(stored) * abs(float(stored[0])))
    span = _unrounded(float(stored[-1]) - float(stored[0]), 4 * _rounding(stored))
    exact = first + span / (n - 1) * np.arange(n)
    if np.abs(exact - stored).max() <= 4 * _rounding(stored) and stored.dtype != np.float64:
        return torch.from_numpy(exact)
    return torch.from_numpy(np.array(stored, dtype=np.float64))


def _check_increasing(values: np.ndarray, name: str, *, where: str) -> None:
    if not np.isfinite(values).all():
        i = int((~np.isfinite(values)).argmax())
        raise ValueError(f"{where}: {name} must be finite, got {values[i]} at index {i}.")
    falls = np.diff(values.astype(np.float64)) <= 0
    if falls.any():
        i = int(falls.argmax())
        raise ValueError(
            f"{where}: {name} must increase strictly, got {values[i]:.9g} then "
            f"{values[i + 1]:.9g} at index {i + 1}; sort it (and the states with it) and drop "
            f"repeats."
        )


def _epsilon(values: np.ndarray) -> float:
    return float(np.finfo(values.dtype).eps) if values.dtype.kind == "f" else 0.0


def _rounding(values: np.ndarray) -> float:
    """Size of one rounding error of the stored type at the largest value."""
    return _epsilon(values) * float(np.abs(values).max())


def _unrounded(value: float, tolerance: float) -> float:
    """Zero or the six-digit number next to `value`, if within the rounding of the stored type."""
    if abs(value) <= tolerance:
        return 0.0
    short = float(f"{value:.6g}")
    return short if abs(short - value) <= tolerance else value
