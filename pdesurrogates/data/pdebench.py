"""PDEBench's flat one-dimensional files: advection, Burgers, reaction-diffusion."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from pdesurrogates.core import FieldSpec
from pdesurrogates.data.axes import clean_times, grid_from_coordinates
from pdesurrogates.data.base import TrajectoryFile
from pdesurrogates.data.storage import DatasetBlock, FileHandle

__all__ = ["is_pdebench_flat", "read_pdebench_flat"]


def is_pdebench_flat(file: h5py.File) -> bool:
    """Whether the root holds `tensor` and `x-coordinate`, and neither `nu` nor a second axis."""
    return "tensor" in file and "x-coordinate" in file and not {"nu", "y-coordinate"} & set(file)


def read_pdebench_flat(path: Path) -> TrajectoryFile:
    """Open a flat 1D file: `tensor` (sample, time, x), one periodic scalar field `u`.

    Known traps are handled and noted: `t-coordinate` is one entry too long and is cut; the
    Burgers attribute `Nu` enters the equation as Nu / pi, added as parameter `viscosity`; files
    saved with a leading device axis (device, sample, time, x) are read as device * sample
    trajectories. Points are cell centres, so the grid starts half a cell inside the domain.

    Raises:
        ValueError: If shapes do not fit together, or the axes are not uniform.
    """
    with h5py.File(path, "r") as file:
        tensor: Any = file["tensor"]
        if tensor.ndim not in (3, 4):
            raise ValueError(
                f"{path}: `tensor` must have shape (sample, time, x), got {tensor.shape}; use "
                f"from_arrays with named axes."
            )
        missing = [key for key in ("t-coordinate",) if key not in file]
        if missing:
            raise ValueError(
                f"{path}: PDEBench flat layout needs `{missing[0]}`, found {sorted(file)}; use "
                f"from_arrays and give dt."
            )
        x, t = np.asarray(file["x-coordinate"]), np.asarray(file["t-coordinate"])
        attributes = {key: _number(value) for key, value in file.attrs.items()}
        shape = tensor.shape
    *samples, num_times, num_points = shape
    notes, problems = [], []
    if len(samples) == 2:
        notes.append(
            f"`tensor` has a leading axis of {samples[0]} (one per device): merged into "
            f"{math.prod(samples)} trajectories"
        )
    if x.shape != (num_points,):
        raise ValueError(
            f"{path}: `x-coordinate` must have shape ({num_points},) as the last axis of `tensor` "
            f"{shape}, got {x.shape}."
        )
    if len(t) == num_times + 1:
        t = t[:num_times]
        notes.append(
            f"`t-coordinate` has {num_times + 1} entries for {num_times} frames (known PDEBench "
            f"fault): the surplus last entry is ignored"
        )
    if t.shape != (num_times,):
        raise ValueError(
            f"{path}: `t-coordinate` must have {num_times} or {num_times + 1} entries for "
            f"`tensor` "
            f"{shape}, got shape {t.shape}."
        )
    grid = grid_from_coordinates({"x-coordinate": x}, [True], where=str(path))
    if "Nu" in attributes and "rho" not in attributes:
        attributes["viscosity"] = attributes["Nu"] / math.pi
        notes.append("Burgers: the equation's viscosity is Nu / pi, added as `viscosity`")
        if grid.extent[0] > 1.5:
            problems.append(
                f"domain length {grid.extent[0]:g}: early PDEBench Burgers files on [-1, 1] carry "
                f"a scaling fault; check the residual before use"
            )
    handle = FileHandle(path)
    block = DatasetBlock(
        handle,
        "tensor",
        sample_shape=tuple(samples),
        has_time=True,
        space=grid.shape,
        has_axis=(True,),
        num_components=1,
        num_times=num_times,
    )
    numbers = {k: v for k, v in attributes.items() if isinstance(v, int | float)}
    count = math.prod(samples)
    return TrajectoryFile(
        path=path,
        layout="PDEBench 1D",
        fields=FieldSpec(("u",)),
        grid=grid,
        times=clean_times(t, where=f"{path}: t-coordinate"),
        num_trajectories=count,
        blocks=[(slice(0, 1), block)],
        parameters={k: torch.full((count,), v, dtype=torch.float64) for k, v in numbers.items()},
        attributes={k: v for k, v in attributes.items() if k not in numbers},
        problems=problems,
        notes=notes,
    )


def _number(value: Any) -> Any:
    """A number where the attribute is one, else its text."""
    array = np.asarray(value)
    if array.size == 1 and array.dtype.kind in "fiu":
        return float(array.reshape(-1)[0])
    return value.decode() if isinstance(value, bytes) else str(value)
