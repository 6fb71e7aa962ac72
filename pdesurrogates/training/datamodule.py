"""Files to batches: windows as surrogate and loss need them, in an order that can be resumed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler, Subset

from pdesurrogates.core import generator
from pdesurrogates.data import TrajectoryFile, TrajectoryWindows, open_trajectories
from pdesurrogates.surrogates import same_box

__all__ = ["BatchStream", "TrajectoryDataModule"]


class BatchStream(Sampler[list[int]]):
    """An endless sequence of shuffled batches; batch n depends on the seed and n only.

    Batch n belongs to pass n // batches_per_pass, whose order is drawn from (seed, pass). A
    resumed run asks for the batches from `position()` on and so continues where it stopped, in
    the middle of a pass as well. The last batch of a pass is full or left out.

    Args:
        num_samples: Number of windows.
        batch_size: Windows per batch.
        seed: Seed of the order.
        position: Gives the number of batches already used.
    """

    def __init__(
        self, num_samples: int, batch_size: int, seed: int, position: Callable[[], int]
    ) -> None:
        self.num_samples = num_samples
        self.batch_size = min(batch_size, num_samples)
        self.seed = seed
        self.position = position

    def __len__(self) -> int:
        """Batches per pass."""
        return self.num_samples // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        pass_number, first = divmod(self.position(), len(self))
        while True:
            random = generator(self.seed, pass_number)
            order = torch.randperm(self.num_samples, generator=random)
            for n in range(first, len(self)):
                yield order[n * self.batch_size : (n + 1) * self.batch_size].tolist()
            pass_number, first = pass_number + 1, 0


class _ResumableLoader(DataLoader):
    """A loader whose place is known to the trainer; its state only proves that the data match.

    The stream is endless, so the length is what the trainer may call an epoch: whole passes that
    hold whole updates. Otherwise an epoch would end with an update of fewer batches.
    """

    def __init__(
        self, windows: TrajectoryWindows, *, batches_per_update: int, **options: Any
    ) -> None:
        super().__init__(windows, **options)
        self.batches_per_update = batches_per_update

    def __len__(self) -> int:
        return math.lcm(super().__len__(), self.batches_per_update)

    def state_dict(self) -> dict[str, int]:
        stream = cast(BatchStream, self.batch_sampler)
        return {
            "num_samples": stream.num_samples,
            "batch_size": stream.batch_size,
            "seed": stream.seed,
        }

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        if state_dict != self.state_dict():
            raise ValueError(
                "TrajectoryDataModule: a resumed run must see the batches of the interrupted one, "
                f"{state_dict}, got {self.state_dict()}; resume with the same data, batch_size "
                "and seed, or start a new run from the saved surrogate."
            )


class TrajectoryDataModule(L.LightningDataModule):
    """Trajectory files as batches of windows for training, validation and test.

    Windows have the horizon that the loss asks for and the finite-difference derivative that the
    surrogate asks for. Training runs over all windows in shuffled passes; validation and test
    take evenly spaced windows with `rollout_steps` future frames.

    Args:
        train: File of the training split, any layout that `open_trajectories` reads.
        validation: File of the validation split.
        test: File of the test split.
        batch_size: Windows per batch.
        stride: Frames of the file per step of the surrogate.
        num_workers: Processes that read ahead; 0 reads in the main process.
        seed: Seed of the order of the windows.
        rollout_steps: Steps of the validation rollout.
        max_evaluated: Most windows used in validation and test.
    """

    def __init__(
        self,
        train: str | Path | TrajectoryFile,
        validation: str | Path | TrajectoryFile | None = None,
        test: str | Path | TrajectoryFile | None = None,
        *,
        batch_size: int = 64,
        stride: int = 1,
        num_workers: int = 0,
        seed: int = 0,
        rollout_steps: int = 20,
        max_evaluated: int = 256,
    ) -> None:
        super().__init__()
        for name, value in (
            ("batch_size", batch_size),
            ("stride", stride),
            ("rollout_steps", rollout_steps),
            ("max_evaluated", max_evaluated),
        ):
            if value < 1:
                raise ValueError(
                    f"TrajectoryDataModule: `{name}` must be at least 1, got {value}."
                )
        if seed < 0:
            raise ValueError(f"TrajectoryDataModule: `seed` must not be negative, got {seed}.")
        self.train = train
        self.validation = validation
        self.test = test
        self.batch_size = batch_size
        self.stride = stride
        self.num_workers = num_workers
        self.seed = seed
        self.rollout_steps = rollout_steps
        self.max_evaluated = max_evaluated
        self.train_windows: TrajectoryWindows | None = None
        self._evaluated: dict[str, TrajectoryWindows] = {}

    def setup(self, stage: str) -> None:
        if self.trainer is not None and self.trainer.world_size > 1:
            raise ValueError(
                "TrajectoryDataModule: training on several devices is not supported, got "
                f"{self.trainer.world_size}; set Trainer(devices=1)."
            )
        train = _open(self.train)
        others = {
            name: _open(source)
            for name, source in (("validation", self.validation), ("test", self.test))
            if source is not None
        }
        for name, file in others.items():
            self._check_same(train, file, name)
        split = {"validate": "validation", "test": "test"}.get(stage)
        if split is not None and split not in others:
            raise ValueError(
                f"TrajectoryDataModule: `{stage}` needs the file of the {split} split, got none; "
                f"set `{split}` (data.{split} in YAML)."
            )
        if stage == "fit" and self.train_windows is None:
            module: Any = cast(Any, self.trainer).lightning_module
            self.train_windows = self._windows(
                train,
                horizon=module.horizon,
                stride=self.stride,
                target_order=module.surrogate.target_order,
            )
        for name, file in others.items():
            if name not in self._evaluated:
                horizon = min(self.rollout_steps, (file.num_times - 1) // self.stride)
                self._evaluated[name] = self._windows(
                    file, horizon=max(1, horizon), stride=self.stride
                )

    def _windows(self, file: TrajectoryFile, **options: Any) -> TrajectoryWindows:
        return TrajectoryWindows(file, **options)

    def _stream(self, windows: TrajectoryWindows, position: Callable[[], int]) -> BatchStream:
        return BatchStream(len(windows), self.batch_size, self.seed, position)

    def _check_same(self, train: TrajectoryFile, other: TrajectoryFile, name: str) -> None:
        if other.fields.names != train.fields.names or not same_box(other.grid, train.grid):
            raise ValueError(
                f"{type(self).__name__}: `{name}` must have the fields and box of `train`, "
                f"{train.fields.names} on {train.grid}, got {other.fields.names} on {other.grid} "
                f"in {other.name}; give splits of one data set."
            )

    def train_dataloader(self) -> DataLoader:
        windows = cast(TrajectoryWindows, self.train_windows)
        progress: Any = cast(Any, self.trainer).fit_loop.epoch_loop.batch_progress
        stream = self._stream(windows, lambda: progress.total.processed)
        return _ResumableLoader(
            windows,
            batches_per_update=cast(Any, self.trainer).accumulate_grad_batches,
            batch_sampler=stream,
            num_workers=self.num_workers,
            collate_fn=self._collate(windows),
        )

    def val_dataloader(self) -> DataLoader | list:
        return self._evaluation_loader("validation")

    def test_dataloader(self) -> DataLoader | list:
        return self._evaluation_loader("test")

    def _evaluation_loader(self, name: str) -> DataLoader | list:
        windows = self._evaluated.get(name)
        if windows is None:
            return []
        number = min(self.max_evaluated, len(windows))
        chosen = [n * len(windows) // number for n in range(number)]
        return DataLoader(
            Subset(windows, chosen),
            batch_size=self.batch_size,
            collate_fn=self._collate(windows),
        )

    def _collate(self, windows: TrajectoryWindows) -> Callable:
        """Collate, keeping the PDE parameters that the surrogate knows, in its order."""
        names = cast(Any, self.trainer).lightning_module.surrogate.parameter_names
        return _Collate(windows, [list(windows.file.parameters).index(name) for name in names])


class _Collate:
    def __init__(self, windows: TrajectoryWindows, columns: list[int]) -> None:
        self.collate = windows.collate
        self.columns = columns

    def __call__(self, items: Any) -> dict[str, Tensor]:
        batch = self.collate(items)
        batch["parameters"] = batch["parameters"][:, self.columns]
        return batch


def _open(source: str | Path | TrajectoryFile) -> TrajectoryFile:
    return source if isinstance(source, TrajectoryFile) else open_trajectories(source)
