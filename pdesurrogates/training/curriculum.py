"""When is what minimised? Losses that follow one another over the updates."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from pdesurrogates.surrogates import Surrogate
from pdesurrogates.training.losses import Loss, Unrolled

__all__ = ["Curriculum"]


@dataclass(frozen=True)
class Curriculum(Loss):
    """A loss per stage of training, such as a rollout that grows.

        stages={0: 1, 1000: 2, 4000: 4}             steps of `loss`, from the named update on
        stages={0: OneStep(), 1000: Unrolled(2)}    or any losses

    Windows are as long as the longest stage needs, so every stage sees the same ones.

    Args:
        stages: From which update on [updates] which loss, or how many steps of `loss`.
        loss: The loss whose `num_steps` are set.

    Raises:
        ValueError: If no stage starts at update 0, or `loss` has no `num_steps` to set.

    Example:
        >>> curriculum = Curriculum({0: 1, 1000: 2, 4000: 4})
        >>> curriculum.at(999).horizon, curriculum.at(1000).horizon, curriculum.horizon
        (1, 2, 4)
    """

    stages: Mapping[int, int | Loss]
    loss: Loss = field(default_factory=Unrolled)

    def __post_init__(self) -> None:
        stages = {int(update): stage for update, stage in self.stages.items()}
        if min(stages, default=-1) != 0:
            raise ValueError(
                "Curriculum: `stages` must begin with update 0 and have no negative update, got "
                f"{sorted(stages)}."
            )
        if any(isinstance(stage, int) for stage in stages.values()) and not hasattr(
            self.loss, "num_steps"
        ):
            raise ValueError(
                f"Curriculum: numbers in `stages` are steps of `loss`, got "
                f"{type(self.loss).__name__}, which has no `num_steps`; use Unrolled or "
                "Pushforward."
            )
        object.__setattr__(self, "stages", dict(sorted(stages.items())))
        for update in self.stages:
            self.at(update)  # refuses numbers of steps that the loss refuses

    def __hash__(self) -> int:
        return hash((tuple(self.stages.items()), self.loss))

    @property
    def horizon(self) -> int:
        return max(self.at(update).horizon for update in self.stages)

    def at(self, update: int) -> Loss:
        """The loss after that many updates."""
        stage = self.stages[max(begin for begin in self.stages if begin <= update)]
        if isinstance(stage, int):
            return dataclasses.replace(_as_dataclass(self.loss), num_steps=stage)
        return stage

    def __call__(self, surrogate: Surrogate, batch: dict[str, Any]) -> Tensor:
        return self.at(batch.get("update", 0))(surrogate, batch)


def _as_dataclass(loss: Loss) -> Any:
    if not dataclasses.is_dataclass(loss):
        raise TypeError(
            f"Curriculum: `loss` must be a dataclass with `num_steps`, got {type(loss).__name__}; "
            "give the losses themselves as stages."
        )
    return loss
