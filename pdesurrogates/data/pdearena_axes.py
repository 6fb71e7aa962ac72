"""Where and when the values of a PDEArena file are: its axes, times, and what they get wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdesurrogates.core import Grid
from pdesurrogates.data.axes import clean_times
from pdesurrogates.data.guard import read_small, require_dataset
from pdesurrogates.data.handle import FileHandle
from pdesurrogates.data.storage import ArrayBlock

__all__ = ["PDEArenaGroup", "cells_along", "frame_times", "periodic_axis"]

_CLOSE = 1e-3
_EQUAL = 1e-9
_SAME_STEP = 1e-5


@dataclass
class PDEArenaGroup:
    """The group of one split, and what is found out about it.

    Args:
        handle: The file.
        mode: Name of the split.
        names: Names of the arrays in it.
        notes: What the reader decided.
        problems: What is wrong or doubtful.
    """

    handle: FileHandle
    mode: str
    names: frozenset[str]
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def path(self) -> Path | str:
        """The file, for messages."""
        return self.handle.path

    def array(self, name: str) -> Any:
        """The data set, checked; no values are read."""
        key = f"{self.mode}/{name}"
        return require_dataset(self.handle.file(), key, path=self.path, kinds="fiu")

    def rows(self, name: str, *tail: int, count: int) -> np.ndarray | None:
        """A small array (trajectory, *tail) in float64, or `None` where there is none.

        Raises:
            ValueError: If it has another shape.
        """
        if name not in self.names:
            return None
        values = read_small(self.array(name), path=self.path)
        if values.shape == tail or (not tail and values.size == 1):
            values = np.broadcast_to(values.reshape(tail), (count, *tail))
        if values.shape != (count, *tail):
            raise ValueError(
                f"{self.path}: {self.mode}/{name} must have shape {(count, *tail)}, got "
                f"{values.shape}; the file is damaged."
            )
        return values.astype(np.float64)

    def block(self, name: str, axes: str, shape: Sequence[int]) -> ArrayBlock:
        """The array as states; `axes` names the axes of `shape`."""
        words = axes.split()
        space = [n for n, word in zip(shape, words, strict=True) if word in "xyz"]
        key = f"{self.mode}/{name}"
        return ArrayBlock(self.handle, key, words, space=space, num_times=shape[1])

    def shape(self, names: Sequence[str], axes: str) -> tuple[int, ...]:
        """The common shape of arrays, which must have these axes.

        Raises:
            ValueError: If shapes differ, have another number of axes, or are empty.
        """
        shapes = {name: tuple(self.array(name).shape) for name in names}
        first = next(iter(shapes.values()))
        if len(set(shapes.values())) > 1 or len(first) != len(axes.split()) or not min(first):
            raise ValueError(
                f"{self.path}: PDEArena's {', '.join(names)} must all have one shape "
                f"({', '.join(axes.split())}), got {shapes}; the file does not keep to its "
                f"layout. Use from_arrays with named axes."
            )
        return first


def cells_along(group: PDEArenaGroup, name: str, n: int, count: int) -> tuple[float, float]:
    """Start and length of the axis that n cells fill.

    The generator samples at the centres of n cells on [0, L], but writes linspace(0, L, n) as
    coordinates and its spacing L / (n - 1) as `dx`. Coordinates that are centres are accepted.
    """
    points, spacings = group.rows(name, n, count=count), group.rows(f"d{name}", count=count)
    if points is None and spacings is None:
        group.problems.append(f"no coordinates along {name} in the file: taken as [0, 1]")
        return 0.0, 1.0
    if points is not None:
        points = _same(group, name, points)
        _check_even(group, name, points)
    step = None if spacings is None else float(_same(group, f"d{name}", spacings))
    if points is None:
        assert step is not None
        group.notes.append(f"no {name} in the file: d{name} taken as L / ({n} - 1)")
        return 0.0, step * (n - 1)
    first, length = float(points[0]), float(points[-1] - points[0])
    spacing = length / (n - 1)
    if abs(first - spacing / 2) <= _CLOSE * spacing:
        return first - spacing / 2, n * spacing
    group.notes.append(
        f"{name} holds {n} points from {first:g} to {first + length:g}, both ends included"
        f"{f', and d{name} = {step:.6g}' if step is not None else ''}, but the values lie at the "
        f"centres of {n} cells: spacing {length / n:.6g}"
    )
    if step is not None and min(abs(step - spacing), abs(step - length / n)) > _CLOSE * step:
        group.problems.append(
            f"d{name} = {step:.6g} fits neither cells ({length / n:.6g}) nor the spacing of "
            f"{name} ({spacing:.6g}): {name} is believed"
        )
    return first, length


def periodic_axis(group: PDEArenaGroup, count: int, n: int) -> tuple[Grid, dict[str, Tensor]]:
    """The periodic axis of n points, and the parameter `domain_length` where lengths differ."""
    spacings, points = group.rows("dx", count=count), group.rows("x", n, count=count)
    if spacings is None and points is None:
        group.problems.append("no dx and no x in the file: the domain is taken as [0, 1)")
        return Grid((n,), (1.0,)), {}
    if spacings is None:
        assert points is not None
        spacings = (points[:, -1] - points[:, 0]) / (n - 1)
    unwritten = ~(spacings > 0)
    if unwritten.all():
        raise ValueError(f"{group.path}: {group.mode}/dx must be positive, got {spacings[0]}.")
    if unwritten.any():
        rows = np.flatnonzero(unwritten)
        group.problems.append(
            f"{len(rows)} trajectories were never written (dx = 0), the first is {rows[0]}: leave "
            f"them out"
        )
    lengths = np.where(unwritten, spacings[~unwritten][0], spacings) * n
    if np.ptp(lengths) <= _EQUAL * lengths[0]:
        return Grid((n,), (float(lengths[0]),)), {}
    group.problems.append(
        f"domain lengths differ between trajectories ({lengths.min():.6g} .. {lengths.max():.6g})"
        f": the grid is [0, 1) for all, lengths are the parameter domain_length; divide the k-th "
        f"derivative in x by domain_length^k"
    )
    return Grid((n,), (1.0,)), {"domain_length": torch.from_numpy(lengths)}


def frame_times(group: PDEArenaGroup, count: int, num_times: int, dt: float | None) -> Tensor:
    """Times of the frames, (time,) or (trajectory, time).

    The smoke generator writes linspace(tmin, tmax, T) as times, whose spacing is not the step
    between frames; that step is `dt`, and dt * T = tmax - tmin gives the fault away.
    """
    stored, steps = group.rows("t", num_times, count=count), group.rows("dt", count=count)
    frames = np.arange(num_times, dtype=np.float64)
    if steps is not None:
        steps = _positive_steps(group, steps)
    if stored is None and steps is None:
        if dt is None:
            group.problems.append(
                "no times in the file: times are frame numbers; give dt to open_trajectories"
            )
        return torch.from_numpy((dt or 1.0) * frames)
    if stored is None or num_times < 2:
        assert steps is not None
        first = 0.0 if stored is None else stored[:, :1]
        return _cleaned(group, "dt", first + steps[:, None] * frames)
    span = stored[:, -1] - stored[:, 0]
    for row in stored[span != 0]:  # those of trajectories that were never written are zero
        _cleaned(group, "t", row)
    if steps is not None and not (span > 0).all():
        return _cleaned(group, "dt", stored[:, :1] + steps[:, None] * frames)
    gap = span / (num_times - 1)
    if steps is None or np.allclose(gap, steps, rtol=_SAME_STEP):
        return _cleaned(group, "t", stored)
    if np.allclose(steps * num_times, span, rtol=_CLOSE):
        group.notes.append(
            f"t is linspace(tmin, tmax, {num_times}) with spacing {gap[0]:.6g}, but frames are "
            f"dt = {steps[0]:.6g} apart: times are t[0] + i dt"
        )
        return _cleaned(group, "dt", stored[:, :1] + steps[:, None] * frames)
    group.problems.append(
        f"dt = {steps[0]:.6g} and the spacing of t, {gap[0]:.6g}, disagree: t is believed"
    )
    return _cleaned(group, "t", stored)


def _positive_steps(group: PDEArenaGroup, steps: np.ndarray) -> np.ndarray:
    """Steps with those of trajectories that were never written (0) replaced."""
    good = steps[steps > 0]
    if not len(good):
        raise ValueError(f"{group.path}: {group.mode}/dt must be positive, got {steps[0]}.")
    return np.where(steps > 0, steps, good[0])


def _cleaned(group: PDEArenaGroup, name: str, times: np.ndarray) -> Tensor:
    return clean_times(times, where=f"{group.path}: {group.mode}/{name}")


def _same(group: PDEArenaGroup, name: str, rows: np.ndarray) -> np.ndarray:
    """The one row all trajectories share."""
    if not np.allclose(rows, rows[:1], rtol=_EQUAL):
        raise ValueError(
            f"{group.path}: {group.mode}/{name} differs between trajectories; one file has one "
            f"grid. Split the file by {name}."
        )
    return np.asarray(rows[0])


def _check_even(group: PDEArenaGroup, name: str, points: np.ndarray) -> None:
    gaps = np.diff(points)
    if not np.isfinite(points).all() or not (gaps > 0).all() or np.ptp(gaps) > _CLOSE * gaps[0]:
        raise ValueError(
            f"{group.path}: {group.mode}/{name} must increase in equal steps, got gaps "
            f"{gaps.min():.6g} .. {gaps.max():.6g}."
        )
