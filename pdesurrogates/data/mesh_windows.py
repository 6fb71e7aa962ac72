"""Training samples on meshes: windows of trajectories, each batch on one mesh."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from pdesurrogates.data.derivative import time_derivative
from pdesurrogates.data.mesh import MeshTrajectoryFile
from pdesurrogates.data.windows import TrajectoryWindows

__all__ = ["MeshWindows"]


class MeshWindows(TrajectoryWindows):
    """Windows of trajectories on meshes, as `TrajectoryWindows` with nodes for space.

    States are (channel, node). A batch has one entry more, `mesh`, the mesh of its windows; all
    windows of a batch must have the same. `groups` lists the windows of each mesh.

    Args:
        file: Trajectories on meshes that do not move.
        meshes: The mesh of each trajectory, in the form that the network takes; trajectories
            share a mesh if they share the object. `mesh_graphs(file)` of `surrogates` makes them.
        history, horizon, stride, target_order, trajectories: See `TrajectoryWindows`.

    Raises:
        ValueError: As `TrajectoryWindows`, or if there is not one mesh per trajectory.
    """

    file: MeshTrajectoryFile

    def __init__(
        self,
        file: MeshTrajectoryFile,
        meshes: Sequence[Any],
        *,
        history: int = 1,
        horizon: int = 1,
        stride: int = 1,
        target_order: int | None = None,
        trajectories: Sequence[int] | None = None,
    ) -> None:
        if not isinstance(file, MeshTrajectoryFile):
            raise TypeError(
                f"MeshWindows: `file` must hold trajectories on meshes, got "
                f"{type(file).__name__}; use TrajectoryWindows for grids."
            )
        if len(meshes) != file.num_trajectories:
            raise ValueError(
                f"MeshWindows: there must be one mesh per trajectory, {file.num_trajectories} in "
                f"{file.name}, got {len(meshes)}."
            )
        self.meshes = list(meshes)
        super().__init__(
            file,
            history=history,
            horizon=horizon,
            stride=stride,
            target_order=target_order,
            trajectories=trajectories,
        )

    @property
    def grid(self) -> None:
        """There is none."""
        return None

    @property
    def groups(self) -> list[list[int]]:
        """Numbers of the windows of each mesh."""
        per, groups = self._starts_per_trajectory, {}
        for row, trajectory in enumerate(self.trajectories):
            group = groups.setdefault(id(self.meshes[trajectory]), [])
            group.extend(range(row * per, (row + 1) * per))
        return list(groups.values())

    def batches(self, batch_size: int) -> Iterator[dict[str, Any]]:
        """All windows once, mesh by mesh, in batches of at most `batch_size`."""
        for group in self.groups:
            for start in range(0, len(group), batch_size):
                yield self.__getitems__(group[start : start + batch_size])

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One window, without a batch axis."""
        batch = self.__getitems__([index])
        mesh = batch.pop("mesh")
        return {**{name: value[0] for name, value in batch.items()}, "mesh": mesh}

    def windows_at(self, trajectories: list[int], starts: list[int]) -> dict[str, Any]:
        """The batch of windows that begin at the given frames of the given trajectories.

        Raises:
            ValueError: If they are on different meshes.
        """
        different = {id(self.meshes[trajectory]) for trajectory in trajectories}
        if len(different) != 1:
            raise ValueError(
                f"MeshWindows: all windows of a batch must be on one mesh, got {len(different)} "
                "meshes; take batches from one of `groups`, or use MeshDataModule."
            )
        batch = super().windows_at(trajectories, starts)
        return {**batch, "mesh": self.meshes[trajectories[0]]}

    @staticmethod
    def collate(items: dict[str, Any] | list[dict[str, Any]]) -> dict[str, Any]:
        """A batch as it is, or single windows of one mesh stacked."""
        if isinstance(items, dict):
            return items
        plain = [{name: item[name] for name in item if name != "mesh"} for item in items]
        return {**TrajectoryWindows.collate(plain), "mesh": items[0]["mesh"]}

    def _read(self, trajectories: list[int], starts: list[int]) -> Tensor:
        frames = [
            self.file.read(trajectory, slice(start, start + self._span))
            for trajectory, start in zip(trajectories, starts, strict=True)
        ]
        return torch.stack(frames).transpose(-1, -2).contiguous()

    def _check_trajectory(self, trajectory: int) -> None:
        self.file.check_finite(self.file.read(trajectory), trajectory)
        self._finite.add(trajectory)

    def _derivative_store(self, order: int) -> _MeshDerivatives:
        return _MeshDerivatives(self.file, order)


class _MeshDerivatives:
    """du/dt of trajectories on meshes, each computed once and kept."""

    def __init__(self, file: MeshTrajectoryFile, order: int) -> None:
        self.file = file
        self.order = order
        self._slopes: dict[int, Tensor] = {}

    def read(self, trajectories: list[int], frames: list[int]) -> Tensor:
        """du/dt at single frames, (batch, channel, node)."""
        return torch.stack(
            [self._slope(t)[n] for t, n in zip(trajectories, frames, strict=True)]
        ).transpose(-1, -2)

    def _slope(self, trajectory: int) -> Tensor:
        if trajectory not in self._slopes:
            u, dt = self.file.read(trajectory), self.file.time_step(trajectory)
            self._slopes[trajectory] = time_derivative(u, dt, self.order).to(self.file.dtype)
        return self._slopes[trajectory]
