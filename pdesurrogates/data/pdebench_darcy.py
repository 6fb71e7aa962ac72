"""PDEBench's Darcy flow files: a coefficient and the steady solution that belongs to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from pdesurrogates.core import Dirichlet, FieldSpec, Neumann
from pdesurrogates.data.base import TrajectoryFile
from pdesurrogates.data.guard import require_dataset
from pdesurrogates.data.handle import FileHandle
from pdesurrogates.data.pdebench_layout import (
    centred_grid,
    coordinate,
    named_axes,
    numeric_attributes,
    one_per_trajectory,
)
from pdesurrogates.data.storage import ArrayBlock

__all__ = ["is_pdebench_darcy", "read_pdebench_darcy"]

_LAYOUT = "PDEBench Darcy flow"


def is_pdebench_darcy(file: Any) -> bool:
    """Whether the root holds `tensor` and `nu`."""
    return {"tensor", "nu"} <= set(file)


def read_pdebench_darcy(path: Path | str) -> TrajectoryFile:
    """Open a Darcy file: `nu` (sample, x, y) and `tensor` (sample, 1, x, y), one frame at t = 0.

    Channels are `coefficient` (`nu`) and `u` (`tensor`), in

        -div(coefficient grad u) = forcing,    u = 0 on the walls of the unit square

    with the attribute `beta` as the parameter `forcing`. Train from the coefficient to u; nothing
    here is a step in time.

    Args:
        path: The file, or an address.

    Raises:
        ValueError: If something is missing or damaged, or shapes do not fit together.
    """
    handle, notes = FileHandle(path), []
    where = handle.path
    with handle.opened() as file:
        coordinates = {
            name: coordinate(file, f"{name}-coordinate", path=where, layout=_LAYOUT)
            for name in ("x", "y")
        }
        space = tuple(len(values) for values in coordinates.values())
        blocks = []
        for key in ("nu", "tensor"):
            dataset = require_dataset(file, key, path=where)
            axes = _steady_axes(dataset, coordinates, where, notes)
            blocks.append(ArrayBlock(handle, key, axes, space=space, num_times=1))
        numbers, attributes = numeric_attributes(file, path=where)
    counts = [block.num_trajectories or 1 for block in blocks]
    if counts[0] != counts[1]:
        raise ValueError(
            f"{where}: `nu` and `tensor` must have as many samples, got {counts[0]} and "
            f"{counts[1]}; the file is damaged. Download it again."
        )
    if "beta" in numbers:
        numbers["forcing"] = numbers.pop("beta")
    notes.append("steady: one frame, which holds the coefficient and the solution")
    notes.append("PDEBench keeps u = 0 half a cell outside the walls, at the next centre")
    wall = ((Dirichlet(0.0), Dirichlet(0.0)),) * len(space)
    level = ((Neumann(0.0), Neumann(0.0)),) * len(space)
    return TrajectoryFile(
        path=where,  # type: ignore[arg-type]
        layout="PDEBench Darcy",
        fields=FieldSpec(("coefficient", "u")),
        grid=centred_grid(coordinates, [False] * len(space), where=str(where)),
        times=torch.zeros(1, dtype=torch.float64),
        num_trajectories=counts[0],
        blocks=[(slice(i, i + 1), block) for i, block in enumerate(blocks)],
        parameters=one_per_trajectory(numbers, counts[0]),
        attributes=attributes,
        boundary={"coefficient": level, "u": wall},
        notes=notes,
    )


def _steady_axes(
    dataset: Any, coordinates: dict[str, Any], where: object, notes: list[str]
) -> tuple[str, ...]:
    """Axes ([sample,] [1,] x, y)."""
    space = len(coordinates)
    is_single = dataset.ndim == space + 2 and dataset.shape[1] == 1
    if dataset.ndim > space + 1 and not is_single:
        raise ValueError(
            f"{where}: {_LAYOUT}: `{dataset.name.lstrip('/')}` must have shape (sample, 1, x, y) "
            f"or (sample, x, y), one steady solution per sample, got {dataset.shape}; use "
            f"from_arrays with named axes."
        )
    axes = named_axes(
        dataset, coordinates, has_time=is_single, path=where, layout=_LAYOUT, notes=notes
    )
    return tuple("single" if axis == "time" else axis for axis in axes)
