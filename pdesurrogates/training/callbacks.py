"""What happens beside the optimiser: averaged weights, refusal of NaN, saving the surrogate."""

from __future__ import annotations

import time
from typing import cast

import lightning as L
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from pdesurrogates.surrogates import Surrogate, check_saveable, save_surrogate

__all__ = ["EMA", "SaveSurrogate"]


class EMA(L.Callback):
    """Exponential moving average of the weights, used for validation and for what is saved.

        w_ema <- d w_ema + (1 - d) w,    d = min(decay, (1 + n) / (10 + n)),    n updates so far

    The warm-up of d forgets the random start in short runs. When training ends the module holds
    the averaged weights. A Lightning checkpoint holds both, so a resumed run continues exactly.

    Args:
        decay: Largest weight of the past.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"EMA: `decay` must be at least 0 and below 1, got {decay}.")
        self.decay = decay
        self.num_updates = 0
        self._weights: list[Tensor] = []
        self._averages: list[Tensor] = []
        self._is_restored = False
        self._is_swapped = False

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._weights = list(pl_module.parameters())
        self._is_swapped = False
        if not self._is_restored:
            self.num_updates = 0
            self._averages = [weight.detach().clone() for weight in self._weights]
        if [a.shape for a in self._averages] != [w.shape for w in self._weights]:
            raise ValueError(
                f"EMA: the checkpoint holds {len(self._averages)} averages that do not fit the "
                f"{len(self._weights)} weights of the model; resume with the model that was saved."
            )
        self._averages = [
            average.to(weight)
            for average, weight in zip(self._averages, self._weights, strict=True)
        ]
        self._is_restored = False

    @torch.no_grad()
    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        if trainer.global_step == self.num_updates:
            return
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        get_ema_multi_avg_fn(decay)(self._averages, self._weights, None)
        self.num_updates = trainer.global_step

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            self._swap()

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._is_swapped:
            self._swap()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        if self._is_swapped:
            self._swap()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        """Exchange weights and averages in place."""
        for weight, average in zip(self._weights, self._averages, strict=True):
            kept = weight.clone()
            weight.copy_(average)
            average.copy_(kept)
        self._is_swapped = not self._is_swapped

    def state_dict(self) -> dict:
        averages = self._weights if self._is_swapped else self._averages
        return {
            "num_updates": self.num_updates,
            "averages": [average.detach() for average in averages],
        }

    def load_state_dict(self, state_dict: dict) -> None:
        self.num_updates = state_dict["num_updates"]
        self._averages = list(state_dict["averages"])
        self._is_restored = True

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict
    ) -> None:
        """The checkpoint's weights are those of the optimiser, also once training has ended."""
        if self._is_swapped:
            for (name, _), kept in zip(pl_module.named_parameters(), self._averages, strict=True):
                checkpoint["state_dict"][name] = kept


class SaveSurrogate(L.Callback):
    """Saves the surrogate folder when training ends, with what the training cost.

    List it after `EMA`, so that the averaged weights are saved.

    Args:
        folder: Where to save; see `save_surrogate`.
    """

    def __init__(self, folder: str = "surrogate") -> None:
        self.folder = folder
        self._seconds = 0.0
        self._started = 0.0

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if stage == "fit":
            check_saveable(cast(Surrogate, pl_module.surrogate), self.folder)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = time.perf_counter()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        facts = {"seconds": self.seconds, "updates": trainer.global_step}
        save_surrogate(cast(Surrogate, pl_module.surrogate), self.folder, training=facts)

    @property
    def seconds(self) -> float:
        """Seconds spent in training, resumed runs included."""
        return self._seconds + time.perf_counter() - self._started

    def state_dict(self) -> dict:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict) -> None:
        self._seconds = state_dict["seconds"]
