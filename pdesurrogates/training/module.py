"""One optimiser step of a surrogate, its validation, and its learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import lightning as L
import torch
from torch import Tensor

from pdesurrogates.surrogates import Surrogate
from pdesurrogates.training.losses import Loss, OneStep
from pdesurrogates.training.transforms import BatchTransform, InputNoise

__all__ = ["SurrogateModule"]

Batch = dict[str, Any]

_CHECK_EVERY = 50


class SurrogateModule(L.LightningModule):
    """Trains a surrogate on windows of trajectories with AdamW.

    The learning rate rises linearly over `warmup_steps` w and, of N steps in all, falls as

        lr(n) = learning_rate (1 + cos(pi (n - w) / (N - w))) / 2    (schedule "cosine")

    Normaliser statistics are measured on the training windows when training starts, unless the
    surrogate has them already. Validation logs the relative L2 error of one step,
    `val/one_step_error`, and the nrmse at the end of a short rollout, `val/rollout_nrmse`.

    Args:
        surrogate: What is trained.
        loss: What is minimised, `OneStep()` when `None`.
        learning_rate: Largest learning rate.
        weight_decay: Decoupled weight decay of AdamW.
        warmup_steps: Steps of linear warm-up.
        schedule: "cosine" to zero at the last step, or "constant".
        gradient_clip: Largest gradient norm, `None` for no limit.
        input_noise: Noise on the network's input while training; the last of `transforms`.
        transforms: What happens to a batch before the loss, in this order.
        seed: Seed of all draws; they depend on it and on the number of the batch only.
    """

    def __init__(
        self,
        surrogate: Surrogate,
        loss: Loss | None = None,
        *,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
        warmup_steps: int = 0,
        schedule: Literal["cosine", "constant"] = "cosine",
        gradient_clip: float | None = 1.0,
        input_noise: InputNoise | None = None,
        transforms: Sequence[BatchTransform] = (),
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not learning_rate > 0:
            raise ValueError(
                f"SurrogateModule: `learning_rate` must be positive, got {learning_rate}."
            )
        if seed < 0:
            raise ValueError(f"SurrogateModule: `seed` must not be negative, got {seed}.")
        self.surrogate = surrogate
        self.loss = OneStep() if loss is None else loss
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.warmup_steps = warmup_steps
        self.schedule = schedule
        self.gradient_clip = gradient_clip
        self.input_noise = input_noise
        self.transforms = tuple(transforms)
        self.seed = seed
        self._gradients: list[Tensor | None] | None = None

    @property
    def all_transforms(self) -> tuple[BatchTransform, ...]:
        """`transforms`, and `input_noise` after them."""
        noise = () if self.input_noise is None else (self.input_noise,)
        return (*self.transforms, *noise)

    @property
    def horizon(self) -> int:
        """Future frames that a window of training must have."""
        frames = self.surrogate.num_frames
        per_step = math.prod(transform.frames_per_step for transform in self.transforms)
        return self.loss.horizon * frames * per_step

    def setup(self, stage: str) -> None:
        if stage != "fit":
            return
        self.surrogate.train()
        if not self.surrogate.is_fitted:
            self._fit_normalizers()
        for transform in self.all_transforms:
            transform.prepare(self.surrogate, self.loss)

    def _fit_normalizers(self) -> None:
        datamodule: Any = cast(Any, self.trainer).datamodule
        if datamodule is None or not hasattr(datamodule, "train_windows"):
            raise ValueError(
                "SurrogateModule: normaliser statistics are missing and cannot be measured "
                "without a TrajectoryDataModule; pass one to Trainer.fit(datamodule=...), or call "
                "surrogate.fit_normalizers(windows) first."
            )
        self.surrogate.fit_normalizers(datamodule.train_windows)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the weights of another surrogate before torch lists every one of them."""
        own = {name: value.shape for name, value in _tensors(self.state_dict()).items()}
        saved = {name: value.shape for name, value in checkpoint["state_dict"].items()}
        differing = [name for name in {**own, **saved} if own.get(name) != saved.get(name)]
        if differing:
            name = differing[0]
            raise ValueError(
                f"SurrogateModule: the checkpoint must hold the weights of this surrogate, "
                f"{len(differing)} of {len(own)} differ, the first is {name!r}: "
                f"{_size(own.get(name))} here, {_size(saved.get(name))} there; resume with the "
                "configuration that wrote the checkpoint."
            )
        self._gradients = checkpoint.get("gradients")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep gradients of an update whose batches are not all done; of the state, only tensors.

        Networks of some packages put their arguments into their state, functions among them.
        """
        checkpoint["state_dict"] = _tensors(checkpoint["state_dict"])
        if cast(Any, self.trainer).fit_loop._should_accumulate():
            checkpoint["gradients"] = [weight.grad for weight in self.surrogate.parameters()]

    def on_train_start(self) -> None:
        if self._gradients is not None:
            for weight, gradient in zip(self.surrogate.parameters(), self._gradients, strict=True):
                weight.grad = None if gradient is None else gradient.to(weight)
            self._gradients = None

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        trainer, update = cast(Any, self.trainer), self.global_step
        # Batches, not updates: one update may accumulate the gradients of several batches.
        number = trainer.fit_loop.epoch_loop.batch_progress.total.processed
        batch = {**batch, "stream": (self.seed, number), "update": update}
        surrogate = self.surrogate.for_batch(batch)
        for transform in self.all_transforms:
            batch = transform(surrogate, batch, seed=self.seed, step=number)
        loss = self.loss(surrogate, batch)
        # Reading the loss stops an accelerator; a NaN stays, so there it is found a little later.
        if loss.device.type == "cpu" or update % _CHECK_EVERY == 0:
            self._check_loss(loss)
        if (update + 1) % trainer.log_every_n_steps == 0:
            self.log("train/loss", loss.detach(), prog_bar=True)
        return loss

    def _check_loss(self, loss: Tensor) -> None:
        if not math.isfinite(float(loss.detach())):
            raise FloatingPointError(
                f"SurrogateModule: the training loss is {float(loss.detach())} at update "
                f"{self.global_step}; lower learning_rate (now {self.learning_rate:g}), set "
                "gradient_clip, or shorten an unrolled loss."
            )

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        limit = self.gradient_clip if gradient_clip_val is None else gradient_clip_val
        if limit is not None:
            self.clip_gradients(optimizer, limit, gradient_clip_algorithm or "norm")

    def configure_optimizers(self) -> dict:
        # Lightning refuses to limit gradients of a fused optimiser in mixed precision.
        is_mixed = str(self.trainer.precision).endswith("mixed")
        optimizer = torch.optim.AdamW(
            self.surrogate.parameters(),
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
            fused=not is_mixed and all(w.is_floating_point() for w in self.surrogate.parameters()),
        )
        total = self.trainer.estimated_stepping_batches
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: self.learning_rate_factor(step, total)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def learning_rate_factor(self, step: int, total: float) -> float:
        """Learning rate at an update as a fraction of `learning_rate`."""
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        if self.schedule == "constant" or not math.isfinite(total):
            return 1.0
        done = (step - self.warmup_steps) / max(1, total - self.warmup_steps)
        return (1 + math.cos(math.pi * min(1.0, done))) / 2

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._log_scores("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._log_scores("test", batch)

    def _log_scores(self, prefix: str, batch: Batch) -> None:
        surrogate, future = self.surrogate.for_batch(batch), batch["future"]
        step = surrogate.bind(batch["parameters"] if surrogate.parameter_names else None)
        dt = surrogate.step_of(batch)
        state = step.initial_state(batch["t"], batch["history"][:, -1])
        for n in range(future.shape[1]):
            state = step(batch["t"] + n * dt, state, dt)
            for name, frame in (("one_step_error", 0), ("rollout_nrmse", future.shape[1] - 1)):
                if n == frame:
                    error = _relative_error(step.observe(state), future[:, n])
                    self.log(f"{prefix}/{name}", error, batch_size=len(future), prog_bar=True)


def _tensors(state: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _size(shape: torch.Size | None) -> str:
    return "absent" if shape is None else str(tuple(shape))


def _relative_error(u: Tensor, u_ref: Tensor) -> Tensor:
    """Mean over the batch of norm(u - u_ref) / norm(u_ref), norms over channels and space."""
    u, u_ref = u.to(torch.float64).flatten(1), u_ref.to(torch.float64).flatten(1)
    return ((u - u_ref).norm(dim=1) / u_ref.norm(dim=1)).mean().float()
