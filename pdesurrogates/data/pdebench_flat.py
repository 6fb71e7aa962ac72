"""PDEBench's flat one-dimensional files: advection, Burgers, reaction-diffusion."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.data.base import TrajectoryFile
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

__all__ = ["is_pdebench_flat", "read_pdebench_flat"]

_LAYOUT = "PDEBench flat layout"
_SHIFT = 0.3


def is_pdebench_flat(file: Any) -> bool:
    """Whether the root holds `tensor` and `x-coordinate`, and neither `nu` nor a second axis."""
    return "tensor" in file and "x-coordinate" in file and not {"nu", "y-coordinate"} & set(file)


def read_pdebench_flat(path: Path | str) -> TrajectoryFile:
    """Open a flat 1D file: `tensor` (sample, time, x), one periodic scalar field `u`.

    `x-coordinate` holds the centres of the cells of the domain; `t-coordinate` is one entry too
    long and is cut; an axis of devices (device, sample, time, x) is merged into the samples.
    Attributes become parameters under their own names, and in the words of the equations:

        beta       advection: `velocity` = beta
        Nu         Burgers: `viscosity` = Nu / pi
        Nu, rho    reaction-diffusion: `diffusivity` = Nu, `growth` = rho

    Args:
        path: The file, or an address.

    Raises:
        ValueError: If something is missing or damaged, or shapes do not fit together.
    """
    handle, notes = FileHandle(path), []
    where = handle.path
    with handle.opened() as file:
        tensor = require_dataset(file, "tensor", path=where)
        coordinates = coordinate_axes(file, path=where, layout=_LAYOUT)
        axes = named_axes(
            tensor, coordinates, has_time=True, path=where, layout=_LAYOUT, notes=notes
        )
        num_times = tensor.shape[axes.index("time")]
        stored = coordinate(file, "t-coordinate", path=where, layout=_LAYOUT)
        times = frame_times(stored, num_times, key="t-coordinate", where=where, notes=notes)
        grid = centred_grid(coordinates, [True], where=str(where))
        numbers, attributes = numeric_attributes(file, path=where)
        block = ArrayBlock(handle, "tensor", axes, space=grid.shape, num_times=num_times)
        numbers |= _in_words(numbers, notes)
        problems = _problems(numbers, grid)
        if "velocity" in numbers and num_times > 1:
            problems += _wrong_speed(block, grid, times.numpy(), numbers["velocity"])
    count = block.num_trajectories or 1
    return TrajectoryFile(
        path=where,  # type: ignore[arg-type]
        layout="PDEBench 1D",
        fields=FieldSpec(("u",)),
        grid=grid,
        times=times,
        num_trajectories=count,
        blocks=[(slice(0, 1), block)],
        parameters=one_per_trajectory(numbers, count),
        attributes=attributes,
        problems=problems,
        notes=notes,
    )


def _in_words(numbers: dict[str, float], notes: list[str]) -> dict[str, float]:
    """The parameters of the equation, by the attributes that the family has."""
    if "beta" in numbers:
        return {"velocity": numbers["beta"]}
    if {"Nu", "rho"} <= set(numbers):
        return {"diffusivity": numbers["Nu"], "growth": numbers["rho"]}
    if "Nu" in numbers:
        notes.append("Burgers: the equation's viscosity is Nu / pi, added as `viscosity`")
        return {"viscosity": numbers["Nu"] / math.pi}
    notes.append("no attribute states the equation (beta, Nu, rho)")
    return {}


def _problems(numbers: dict[str, float], grid: Grid) -> list[str]:
    if "viscosity" in numbers and grid.extent[0] > 1.5:
        return [
            f"domain length {grid.extent[0]:g}: early PDEBench Burgers files on [-1, 1] carry a "
            f"scaling fault; check the residual before use"
        ]
    return []


def _wrong_speed(block: ArrayBlock, grid: Grid, times: np.ndarray, velocity: float) -> list[str]:
    """A sentence if the first trajectory is carried along at another speed than stated.

    Early advection files have a wrong time scale. Compared are the first frame and one by which
    the profile should have moved by 0.3 of the domain: moved as stated, it must correlate with
    what is there almost as well as moved by the best shift. Data that are no moved copies at all
    say nothing.
    """
    length, n = grid.extent[0], grid.shape[0]
    passed = np.abs(velocity) * (times - times[0])
    frame = int(np.argmax(passed >= _SHIFT * length)) or len(times) - 1
    first, then = block.gather([0, 0], [0, frame], 1)[:, 0, 0].double()
    first, then = first - first.mean(), then - then.mean()
    spectrum = torch.fft.rfft(first).conj() * torch.fft.rfft(then)
    size = float(first.norm() * then.norm())
    stated = velocity * float(times[frame] - times[0]) / length * n
    correlation = torch.fft.irfft(spectrum, n)
    turn = torch.exp(2j * math.pi * torch.arange(len(spectrum)) * stated / n)
    here = float(torch.fft.irfft(spectrum * turn, n)[0])
    best = float(correlation.max())
    if not (size > 0 and best > 0.9 * size) or here > 0.98 * best:
        return []
    moved = int(correlation.argmax()) * length / n
    return [
        f"the stated velocity {velocity:g} does not fit the data: by t = {times[frame]:g} the "
        f"first trajectory moved by {moved:.4g} (modulo the domain), not by "
        f"{stated * length / n % length:.4g}; early PDEBench advection files have a wrong time "
        f"scale. Download the corrected file, or check the residual before use"
    ]
