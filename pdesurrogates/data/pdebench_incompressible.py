"""PDEBench's incompressible, inhomogeneous Navier-Stokes files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from pdesurrogates.core import BoundarySides, Dirichlet, FieldSpec, Grid, Outflow
from pdesurrogates.data.axes import clean_times
from pdesurrogates.data.base import TrajectoryFile
from pdesurrogates.data.guard import read_small, require_dataset
from pdesurrogates.data.handle import FileHandle
from pdesurrogates.data.pdebench_layout import (
    config_entries,
    numeric_attributes,
    one_per_trajectory,
)
from pdesurrogates.data.storage import ArrayBlock

__all__ = ["is_pdebench_incompressible", "read_pdebench_incompressible"]

_LAYOUT = "PDEBench incompressible flow"
_AXES = ("x", "y", "z")
_CONDITIONS = {"ZERO": Dirichlet(0.0), "ONE": Dirichlet(1.0), "BOUNDARY": Outflow()}
_PUBLISHED = {"velocity": "ZERO", "particle": "BOUNDARY", "force": "ZERO"}


def is_pdebench_incompressible(file: Any) -> bool:
    """Whether the root holds `velocity`, `particles`, `force` and `t`."""
    return {"velocity", "particles", "force", "t"} <= set(file)


def read_pdebench_incompressible(path: Path | str) -> TrajectoryFile:
    """Open an incompressible flow file, axes (sample, time, x, y, component).

    Channels are velocity_x, velocity_y, particles, force_x, force_y; the force is stored without
    time and is the same in all frames. Times are those of each sample. Frames after the attribute
    `latestIndex` were never written and are left out. There are no coordinates: the domain is
    `domain_size` of the stored configuration, or the unit square, and points are cell centres.

    Args:
        path: The file, or an address.

    Raises:
        ValueError: If something is missing or damaged, no frame was written, or shapes do not
            fit together.
    """
    handle, notes = FileHandle(path), []
    where = handle.path
    with handle.opened() as file:
        numbers, attributes = numeric_attributes(file, path=where)
        num_times = _num_written(file, numbers.pop("latestIndex", None), where, notes)
        velocity = require_dataset(file, "velocity", path=where)
        space = tuple(velocity.shape[2:-1])
        names = _AXES[: len(space)]
        if len(space) not in (2, 3) or velocity.shape[-1] != len(space) or min(space) < 2:
            raise ValueError(
                f"{where}: {_LAYOUT} needs `velocity` of shape (sample, time, x, y, 2) or "
                f"(sample, time, x, y, z, 3), got {velocity.shape}; use from_arrays with named "
                f"axes."
            )
        times = _times(file, velocity.shape, num_times, where)
        moving, still = (
            ("trajectory", "time", *names, "channel"),
            ("trajectory", *names, "channel"),
        )
        blocks = [
            ArrayBlock(handle, key, axes, space=space, num_times=num_times)
            for key, axes in (("velocity", moving), ("particles", moving), ("force", still))
        ]
    count = velocity.shape[0]
    _check_sizes(blocks, count, len(space), where)
    config = config_entries(str(attributes.get("config", "")))
    if isinstance(config.get("NU"), float):
        numbers["viscosity"] = config["NU"]
    fields = (*(f"velocity_{n}" for n in names), "particles", *(f"force_{n}" for n in names))
    problems: list[str] = []
    grid = _grid(config, space, problems)
    notes.append("velocities were moved from cell faces to centres: their divergence is not zero")
    ends = np.cumsum([0, *(block.num_channels for block in blocks)])
    return TrajectoryFile(
        path=where,  # type: ignore[arg-type]
        layout="PDEBench incompressible",
        fields=FieldSpec(fields),
        grid=grid,
        times=times,
        num_trajectories=count,
        blocks=[
            (slice(int(low), int(high)), block)
            for low, high, block in zip(ends, ends[1:], blocks, strict=False)
        ],
        parameters=one_per_trajectory(numbers, count),
        attributes=attributes,
        boundary=_boundary(config, grid, fields, notes),
        problems=problems,
        notes=notes,
    )


def _num_written(file: Any, latest: float | None, where: object, notes: list[str]) -> int:
    """Frames that hold data."""
    if latest is not None and latest < 0:
        raise ValueError(
            f"{where}: no frame was ever written (latestIndex is {latest:g}); download or "
            f"generate the file again."
        )
    shape = require_dataset(file, "velocity", path=where).shape
    stored = shape[1:2]
    if not stored or (latest is not None and latest + 1 > stored[0]):
        raise ValueError(
            f"{where}: {_LAYOUT} needs `velocity` with at least latestIndex + 1 frames, got shape "
            f"{shape} with latestIndex {latest}; download the file again, or use from_arrays."
        )
    num_times = stored[0] if latest is None else int(latest) + 1
    if num_times < stored[0]:
        notes.append(
            f"latestIndex is {latest:g}: the {stored[0] - num_times} frames after it were never "
            f"written and are left out"
        )
    return num_times


def _times(file: Any, shape: tuple[int, ...], num_times: int, where: object) -> Tensor:
    """Times of the frames that were written; `shape` is that of the velocity."""
    stored = read_small(require_dataset(file, "t", path=where, kinds="fiu"), path=where)
    if stored.ndim == 1:
        stored = np.broadcast_to(stored, (shape[0], len(stored)))
    if stored.shape != shape[:2]:
        raise ValueError(
            f"{where}: {_LAYOUT}: `t` must have shape (sample, time) = {shape[:2]} as `velocity`, "
            f"got {stored.shape}; the file is damaged. Download it again."
        )
    return clean_times(stored[:, :num_times], where=f"{where}: t")


def _check_sizes(blocks: list[ArrayBlock], count: int, dims: int, where: object) -> None:
    for block, channels in zip(blocks, (dims, 1, dims), strict=True):
        if block.num_trajectories != count or block.num_channels != channels:
            raise ValueError(
                f"{where}: {block.keys[0]} must have {count} samples and {channels} components, "
                f"got {block.num_trajectories} and {block.num_channels}; the file is damaged. "
                f"Download it again."
            )


def _grid(config: dict[str, Any], space: tuple[int, ...], problems: list[str]) -> Grid:
    stated = config.get("domain_size")
    dims = len(space)
    is_stated = (
        isinstance(stated, list)
        and len(stated) == dims
        and all(isinstance(length, float) and length > 0 for length in stated)
    )
    extent = tuple(stated) if is_stated else (1.0,) * dims  # type: ignore[arg-type]
    problems.append(
        f"the file holds no coordinates: the domain is taken as {list(extent)} ("
        f"{'domain_size of its configuration' if is_stated else 'as in the paper'}), but "
        f"PDEBench's solver counts lengths in cells; check the residual before use"
    )
    is_periodic = config.get("velocity_extrapolation") == "PERIODIC"
    return Grid(space, extent, (0.0,) * dims, is_periodic, cell_centred=True)


def _boundary(
    config: dict[str, Any], grid: Grid, fields: tuple[str, ...], notes: list[str]
) -> dict[str, BoundarySides] | None:
    """Conditions per channel, by the words of the configuration; `None` if unknown."""
    if all(grid.is_periodic):
        return None
    words = {
        name: config.get(f"{name}_extrapolation", published)
        for name, published in _PUBLISHED.items()
    }
    unknown = [word for word in words.values() if word not in _CONDITIONS]
    if unknown:
        notes.append(f"boundary conditions {unknown} of the configuration are not known here")
        return None
    return {
        field: ((_CONDITIONS[words[name]],) * 2,) * grid.dim  # type: ignore[misc]
        for field in fields
        for name in words
        if field.startswith(name)
    }
