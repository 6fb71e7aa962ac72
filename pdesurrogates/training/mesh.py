"""Trajectories on meshes to batches: every batch on one mesh, all meshes in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch.utils.data import DataLoader

from pdesurrogates.backbones import FREE_TYPES, MeshGraph
from pdesurrogates.core import generator
from pdesurrogates.data import MeshTrajectoryFile, MeshWindows, TrajectoryFile, TrajectoryWindows
from pdesurrogates.surrogates import mesh_graphs
from pdesurrogates.training.datamodule import BatchStream, TrajectoryDataModule

__all__ = ["MeshBatchStream", "MeshDataModule"]


class MeshBatchStream(BatchStream):
    """An endless sequence of shuffled batches, each of samples of one group.

    As `BatchStream`, batch n depends on the seed and n only. In every pass the samples of each
    group are shuffled and cut into batches, and the batches of all groups are shuffled. A group's
    last batch is full or left out; a group smaller than a batch is one batch.

    Args:
        groups: Numbers of the samples of each group.
        batch_size: Samples per batch.
        seed: Seed of the order.
        position: Gives the number of batches already used.
    """

    def __init__(
        self,
        groups: Sequence[Sequence[int]],
        batch_size: int,
        seed: int,
        position: Callable[[], int],
    ) -> None:
        super().__init__(sum(map(len, groups)), batch_size, seed, position)
        self.groups = [torch.tensor(group) for group in groups]
        self._counts = [max(1, len(group) // batch_size) for group in groups]

    def __len__(self) -> int:
        """Batches per pass."""
        return sum(self._counts)

    def __iter__(self) -> Iterator[list[int]]:
        pass_number, first = divmod(self.position(), len(self))
        while True:
            random = generator(self.seed, pass_number)
            batches = []
            for group, count in zip(self.groups, self._counts, strict=True):
                order = group[torch.randperm(len(group), generator=random)]
                batches += [order[n * self.batch_size :][: self.batch_size] for n in range(count)]
            for n in torch.randperm(len(batches), generator=random).tolist()[first:]:
                yield batches[n].tolist()
            pass_number, first = pass_number + 1, 0


class MeshDataModule(TrajectoryDataModule):
    """Files of trajectories on meshes as batches of windows; every batch is on one mesh.

    The graph of each mesh is built once and travels with the batch as `batch["mesh"]`, where
    `SurrogateModule` finds it.

    Args:
        train, validation, test: Files that `open_trajectories` reads as `MeshTrajectoryFile`.
        free_types: Node types whose values evolve; all other nodes keep their value.
        batch_size, stride, num_workers, seed, rollout_steps, max_evaluated: See
            `TrajectoryDataModule`.
    """

    def __init__(
        self,
        train: str | Path | TrajectoryFile,
        validation: str | Path | TrajectoryFile | None = None,
        test: str | Path | TrajectoryFile | None = None,
        *,
        free_types: Sequence[int] = FREE_TYPES,
        batch_size: int = 16,
        stride: int = 1,
        num_workers: int = 0,
        seed: int = 0,
        rollout_steps: int = 20,
        max_evaluated: int = 256,
    ) -> None:
        super().__init__(
            train,
            validation,
            test,
            batch_size=batch_size,
            stride=stride,
            num_workers=num_workers,
            seed=seed,
            rollout_steps=rollout_steps,
            max_evaluated=max_evaluated,
        )
        self.free_types = tuple(free_types)
        self._graphs: dict[str, list[MeshGraph]] = {}

    def _windows(self, file: TrajectoryFile, **options: Any) -> TrajectoryWindows:
        if not isinstance(file, MeshTrajectoryFile):
            raise TypeError(
                f"MeshDataModule: {file.name} must hold trajectories on meshes, got "
                f"{type(file).__name__}; use TrajectoryDataModule for grids."
            )
        if file.name not in self._graphs:
            self._graphs[file.name] = mesh_graphs(file, free_types=self.free_types)
        return MeshWindows(file, self._graphs[file.name], **options)

    def _stream(self, windows: TrajectoryWindows, position: Callable[[], int]) -> BatchStream:
        groups = cast(MeshWindows, windows).groups
        return MeshBatchStream(groups, self.batch_size, self.seed, position)

    def _check_same(self, train: TrajectoryFile, other: TrajectoryFile, name: str) -> None:
        if other.fields.names != train.fields.names:
            raise ValueError(
                f"MeshDataModule: `{name}` must have the fields of `train`, "
                f"{train.fields.names}, got {other.fields.names} in {other.name}; give splits of "
                "one data set."
            )

    def _evaluation_loader(self, name: str) -> DataLoader | list:
        windows = self._evaluated.get(name)
        if windows is None:
            return []
        number = min(self.max_evaluated, len(windows))
        chosen = {n * len(windows) // number for n in range(number)}
        batches = []
        for group in cast(MeshWindows, windows).groups:
            own = [index for index in group if index in chosen]
            batches += [own[n:][: self.batch_size] for n in range(0, len(own), self.batch_size)]
        return DataLoader(windows, batch_sampler=batches, collate_fn=self._collate(windows))
