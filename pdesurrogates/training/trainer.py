"""Training in one call, for scripts and experiments."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor

from pdesurrogates.data import TrajectoryFile
from pdesurrogates.surrogates import Surrogate
from pdesurrogates.training.callbacks import EMA
from pdesurrogates.training.datamodule import TrajectoryDataModule
from pdesurrogates.training.losses import Loss
from pdesurrogates.training.module import SurrogateModule
from pdesurrogates.training.transforms import BatchTransform, InputNoise

__all__ = ["TrainingResult", "train"]


@dataclass(frozen=True)
class TrainingResult:
    """What `train` gives back.

    Args:
        surrogate: The trained surrogate in evaluation mode, averaged weights applied.
        seconds: Wall time of the training, normaliser statistics included [s].
        num_steps: Updates made.
        losses: (update, loss) pairs, every `log_every` updates.
    """

    surrogate: Surrogate
    seconds: float
    num_steps: int
    losses: tuple[tuple[int, float], ...]


def train(
    surrogate: Surrogate,
    data: str | Path | TrajectoryFile | TrajectoryDataModule,
    *,
    num_steps: int,
    learning_rate: float = 1e-3,
    batch_size: int = 64,
    stride: int = 1,
    loss: Loss | None = None,
    weight_decay: float = 0.0,
    warmup_steps: int = 0,
    gradient_clip: float | None = 1.0,
    input_noise: InputNoise | None = None,
    transforms: Sequence[BatchTransform] = (),
    accumulate_grad_batches: int = 1,
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true",
    ema_decay: float | None = 0.999,
    seed: int = 0,
    accelerator: str = "auto",
    progress: bool = False,
    log_every: int = 50,
) -> TrainingResult:
    """Train a surrogate in place, writing nothing to disk.

    The same classes and, for the same arguments, the same weights as the command line. For
    validation, checkpoints or resuming use `SurrogateModule` with a Lightning `Trainer`.

    Args:
        surrogate: Changed in place.
        data: Training trajectories; a `TrajectoryDataModule` brings its own batch size, stride
            and seed.
        num_steps: Updates.
        batch_size, stride: See `TrajectoryDataModule`.
        loss, learning_rate, weight_decay, warmup_steps, gradient_clip, input_noise, transforms:
            See `SurrogateModule`; the schedule is cosine.
        accumulate_grad_batches: Batches whose mean gradient makes one update.
        precision: "bf16-mixed" and "16-mixed" run the network at lower precision; weights,
            states, Fourier transforms and losses stay in that of the weights.
        ema_decay: See `EMA`; `None` for no average.
        seed: Seed of the order of the windows and of the noise.
        accelerator: As in Lightning: "auto", "cpu", "gpu".
        progress: Whether to show a progress bar.
        log_every: Updates between two entries of `losses`.

    Returns:
        The trained surrogate with the seconds it took.
    """
    if num_steps < 1:
        raise ValueError(f"train: `num_steps` must be at least 1, got {num_steps}.")
    if not isinstance(data, TrajectoryDataModule):
        data = TrajectoryDataModule(data, batch_size=batch_size, stride=stride, seed=seed)
    module = SurrogateModule(
        surrogate,
        loss,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        warmup_steps=warmup_steps,
        gradient_clip=gradient_clip,
        input_noise=input_noise,
        transforms=transforms,
        seed=seed,
    )
    record = _Losses(log_every)
    callbacks: list[L.Callback] = [record] if ema_decay is None else [record, EMA(ema_decay)]
    started = time.perf_counter()
    with _quiet():
        trainer = L.Trainer(
            accelerator=accelerator,
            devices=1,
            max_steps=num_steps,
            max_epochs=-1,
            accumulate_grad_batches=accumulate_grad_batches,
            precision=precision,
            callbacks=callbacks,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=progress,
            limit_val_batches=0,
            num_sanity_val_steps=0,
            log_every_n_steps=log_every,
            use_distributed_sampler=False,
        )
        trainer.fit(module, datamodule=data)
    seconds = time.perf_counter() - started
    return TrainingResult(surrogate.eval(), seconds, trainer.global_step, tuple(record.losses))


class _Losses(L.Callback):
    """Keeps the training loss every few updates, mean over the batches of the update."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.losses: list[tuple[int, float]] = []
        self._parts: list[Tensor] = []
        self._num_updates = 0

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: object,
        batch_idx: int,
    ) -> None:
        self._parts.append(outputs["loss"])  # divided by their number already
        if trainer.global_step == self._num_updates:
            return
        self._num_updates = trainer.global_step
        if trainer.global_step % self.every == 0:
            self.losses.append((trainer.global_step, float(torch.stack(self._parts).sum())))
        self._parts.clear()


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning's announcements and advice on workers and loggers have no place in a function."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
            warnings.filterwarnings("ignore", message=".*no `val_dataloader`.*")
            warnings.filterwarnings("ignore", message=".*LeafSpec.*")
            yield
    finally:
        logger.setLevel(level)
