"""Trajectories on meshes: values at points that cells connect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from pdesurrogates.core import FieldSpec
from pdesurrogates.data.base import TrajectoryFile
from pdesurrogates.data.chunks import ChunkMap
from pdesurrogates.data.guard import reading, require_dataset, require_group
from pdesurrogates.data.handle import FileHandle
from pdesurrogates.data.mesh_group import MOVING, MeshGroup

__all__ = ["MeshTrajectoryFile"]

_SLAB_BYTES = 8 * 2**20
_TRIANGLE = ((0, 1), (1, 2), (2, 0))
_QUADRILATERAL = ((0, 1), (1, 2), (2, 3), (3, 0))
_TETRAHEDRON = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))


class MeshTrajectoryFile(TrajectoryFile):
    """Trajectories on meshes, one group of an HDF5 file each; read in slices.

    Every trajectory has its own points and cells. Like any `TrajectoryFile` it has fields, times,
    notes and problems, is opened once per process and may cross to data-loader workers. It has no
    grid: what needs one says so.

    Attributes:
        path: The file or address.
        layout: Name of the layout, "MeshGraphNets".
        fields: Names of the channels; of vectors the components `<name>_x`, `<name>_y`.
        times: float64 (time,), the same for all trajectories.
        num_trajectories: Number of trajectories.
        num_times: Frames per trajectory.
        dtype: Type of the values as stored, torch.float32 or torch.float64.
        attributes: Attributes of the file.
        problems: What is wrong or doubtful about the data, in words.
        notes: What the reader decided or changed, in words.

    Reference:
        Learning Mesh-Based Simulation with Graph Networks (Pfaff et al., 2021), appendix A.1.
    """

    def __init__(
        self,
        handle: FileHandle,
        keys: Sequence[str],
        first: MeshGroup,
        *,
        layout: str,
        times: Tensor,
        attributes: dict[str, object],
        notes: Sequence[str] = (),
        problems: Sequence[str] = (),
    ) -> None:
        # The constructor of TrajectoryFile is not called: it would need a grid.
        self.path = handle.path  # pyright: ignore[reportAttributeAccessIssue]
        self.layout = layout
        self.fields = FieldSpec(first.channel_names)
        self.times = times
        self.parameters = {}
        self.num_trajectories = len(keys)
        self.num_times = len(times)
        self.attributes = attributes
        self.problems = tuple(problems)
        self.notes = tuple(notes)
        self.dtype = first.dtype
        self._blocks = []
        self._handle = handle
        self._keys = list(keys)
        self._first = first
        self._known = {first.key: first}

    @property
    def field_names(self) -> tuple[str, ...]:
        """Names of the channels."""
        return self.fields.names

    @property
    def grid(self) -> NoReturn:  # pyright: ignore[reportIncompatibleVariableOverride]
        """There is none.

        Raises:
            ValueError: Always.
        """
        raise ValueError(_no_grid(self.name))

    @property
    def frame_bytes(self) -> int:
        """Size of one frame of the first trajectory in memory [bytes]."""
        return self._first.num_points * self.fields.num_channels * self.dtype.itemsize

    def num_points(self, index: int) -> int:
        """Points of the mesh of one trajectory."""
        return self._group(index).num_points

    def read(self, index: int, time: slice = slice(None)) -> Tensor:  # noqa: B008
        """One trajectory or a slice of its frames, (time, point, channel), in the stored dtype.

        Fields that do not change in time are repeated.

        Args:
            index: Trajectory, negative counts from the end.
            time: Frames; the step must be positive.
        """
        group = self._group(index)
        if not isinstance(time, slice) or (time.step or 1) < 1:
            raise TypeError(
                f"{self.name}: `time` must be a slice of frames with a positive step, got "
                f"{time!r}; for frame n write slice(n, n + 1)."
            )
        start, stop, step = time.indices(self.num_times)
        length, first = max(0, stop - start), 0
        shape = (length, group.num_points, self.fields.num_channels)
        values = torch.empty(shape, dtype=self.dtype)
        for item in group.fields if length else ():
            stored = self._stored(group, item.name)
            rows = self._values(stored, slice(start, stop) if item.is_dynamic else ())
            last = first + item.num_components
            rows = rows.reshape(-1, group.num_points, item.num_components)
            values[..., first:last] = torch.from_numpy(rows)
            first = last
        return values[::step]

    def points(self, index: int) -> Tensor:
        """Coordinates of the points, (point, dim), or (time, point, dim) where they move [length].

        Points move if the file has `world_pos`, or if `pos` differs between frames.
        """
        group = self._group(index)
        if group.has_moving_points:
            return torch.from_numpy(self._values(self._stored(group, MOVING), ()))
        return self._coordinates(group)

    def rest_points(self, index: int) -> Tensor:
        """Coordinates in the mesh's own space, (point, dim): `mesh_pos`, else the first frame."""
        coordinates = self._coordinates(self._group(index))
        return coordinates if coordinates.ndim == 2 else coordinates[0]

    def cells(self, index: int) -> Tensor:
        """Corners of each cell as numbers of points, int64 (cell, 3 or 4).

        Raises:
            ValueError: If they change in time, or name points that do not exist.
        """
        group = self._group(index)
        cells = self._constant(self._stored(group, "cells", kinds="iu"), 2)
        if cells is None:
            raise ValueError(
                f"{self.name}: {group.key}/cells changes in time (the mesh is made anew); only "
                f"cells that stay can be read."
            )
        cells = cells.astype(np.int64)
        if cells.size and (cells.min() < 0 or cells.max() >= group.num_points):
            raise ValueError(
                f"{self.name}: {group.key}/cells must name points 0 .. {group.num_points - 1}, "
                f"got {cells.min()} .. {cells.max()}; the file is damaged, or counts from 1."
            )
        return torch.from_numpy(cells)

    def node_type(self, index: int) -> Tensor:
        """Type of each point, int64 (point,): 0 normal, 4 inflow, 5 outflow, 6 wall, ...

        All zero where the file has no node types.
        """
        group = self._group(index)
        if not group.has_node_type:
            return torch.zeros(group.num_points, dtype=torch.int64)
        stored = self._stored(group, "node_type", kinds="iu")
        kinds = self._constant(stored, 2 if stored.shape[-1] == 1 else 1)
        if kinds is None or kinds.size != group.num_points:
            raise ValueError(
                f"{self.name}: {group.key}/node_type must hold one number per point "
                f"({group.num_points}) that stays, got shape {stored.shape}"
                f"{' that changes in time' if kinds is None else ''}."
            )
        return torch.from_numpy(kinds.reshape(-1).astype(np.int64))

    def edges(self, index: int) -> Tensor:
        """Edges of the cells, each in both directions, int64 (2, edge), sorted, none twice.

        Three corners are a triangle; four are a tetrahedron where points have three coordinates,
        else a quadrilateral with corners in order.
        """
        group, cells = self._group(index), self.cells(index)
        sides = _TETRAHEDRON if group.dim == 3 else _QUADRILATERAL
        sides = _TRIANGLE if cells.shape[1] == 3 else sides
        pairs = torch.cat([cells[:, side] for side in sides])
        both = torch.cat([pairs, pairs.flip(1)])
        codes = torch.unique(both[:, 0] * group.num_points + both[:, 1])
        return torch.stack([codes // group.num_points, codes % group.num_points])

    def read_windows(
        self, trajectories: Sequence[int] | Tensor, starts: Sequence[int] | Tensor, length: int
    ) -> NoReturn:
        """Refused: meshes differ in size, so windows do not stack.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            f"{self.name}: meshes differ in size between trajectories, so windows do not stack; "
            f"use MeshWindows (MeshDataModule to train), or read(index, slice(start, start + "
            f"{length})) for each."
        )

    def to_xarray(self, index: int | None = None) -> NoReturn:
        """Refused: there is no grid.

        Raises:
            ValueError: Always.
        """
        raise ValueError(_no_grid(self.name))

    def check_finite(self, states: Tensor, index: int, first: int = 0) -> None:
        """Refuse NaN and Inf in states (time, point, channel) that were read from this file.

        Raises:
            ValueError: Naming file, trajectory, time, field and point of the first bad value.
        """
        bad = (~torch.isfinite(states)).nonzero()
        if len(bad):
            step, point, channel = (int(i) for i in bad[0])
            raise ValueError(
                f"{self.name}, trajectory {index}: values must be finite, got "
                f"{float(states[step, point, channel])} in field {self.fields.names[channel]!r} "
                f"at frame {first + step}, point {point}; leave this trajectory out."
            )

    def close(self) -> None:
        """Close the file; reading again opens it again."""
        self._handle.close()

    def __enter__(self) -> MeshTrajectoryFile:
        return self

    def __repr__(self) -> str:
        return (
            f"MeshTrajectoryFile({self.name}, layout={self.layout!r}, "
            f"{self.num_trajectories} trajectories x {self.num_times} times, "
            f"fields={self.fields.names}, points={self._first.num_points} (first))"
        )

    def _group(self, index: int) -> MeshGroup:
        """What the group of one trajectory holds; it must be what the first one holds."""
        key = self._keys[self._trajectory(index)]
        if key in self._known:
            return self._known[key]
        with reading(self.path, key):
            stored = require_group(self._handle.file(), key, path=self.path)
            found = MeshGroup.of(stored, key, path=self._handle.path)
        if found.description != self._first.description:
            raise ValueError(
                f"{self.name}: trajectory {key} must hold what trajectory {self._first.key} "
                f"holds ({self._first.description}), got {found.description}; leave it out, or "
                f"split the file."
            )
        self._known[key] = found
        return found

    def _stored(self, group: MeshGroup, name: str, *, kinds: str = "fiu") -> Any:
        key = f"{group.key}/{name}"
        return require_dataset(self._handle.file(), key, path=self.path, kinds=kinds)

    def _values(self, stored: Any, selection: slice | tuple) -> np.ndarray:
        """Values in the machine's byte order."""
        with reading(self.path, stored.name):
            chunks = ChunkMap.of(stored, stored.name, path=self.path)
            if chunks is not None:
                parts = selection if isinstance(selection, tuple) else (selection,)
                chunks.require(stored, parts)
            values = np.asarray(stored[selection])
        if values.dtype.kind == "f" and values.dtype.itemsize not in (4, 8):
            values = values.astype(np.float32 if values.dtype.itemsize < 4 else np.float64)
        if values.dtype.kind == "u":
            values = values.astype(np.float64 if values.dtype.itemsize == 8 else np.int64)
        return values.astype(values.dtype.newbyteorder("="), copy=False)

    def _coordinates(self, group: MeshGroup) -> Tensor:
        stored = self._stored(group, group.points)
        constant = self._constant(stored, 2)
        return torch.from_numpy(self._values(stored, ()) if constant is None else constant)

    def _constant(self, stored: Any, num_axes: int) -> np.ndarray | None:
        """Values without an axis of frames, or of the first frame if all are equal, else `None`.

        Args:
            stored: Data set with `num_axes` axes, or one more, of frames.
            num_axes: Axes of one frame.
        """
        if stored.ndim == num_axes:
            return self._values(stored, ())
        if stored.ndim != num_axes + 1 or not len(stored):
            raise ValueError(
                f"{self.name}: {stored.name} must have {num_axes} axes, or one more, of frames, "
                f"got shape {stored.shape}."
            )
        first = self._values(stored, slice(0, 1))[0]
        together = max(1, _SLAB_BYTES // max(1, first.nbytes))
        for start in range(1, len(stored), together):
            if (self._values(stored, slice(start, start + together)) != first).any():
                return None
        return first


def _no_grid(name: str) -> str:
    return (
        f"{name}: this file holds values on meshes (points and cells), not on a grid; use "
        f".points, .cells and .edges (MeshWindows for samples, MeshDataModule to train), or "
        f"interpolate onto a grid and use from_arrays."
    )
