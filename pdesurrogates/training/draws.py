"""Which random numbers does training draw? Streams named by seed, batch and purpose."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import torch

from pdesurrogates.core import generator

__all__ = ["Draw", "draws"]


class Draw(IntEnum):
    """What a number is drawn for; the same seed and batch give each purpose its own stream.

    The stream without a purpose, (seed, batch), belongs to the surrogate.
    """

    NOISE = 1
    PAIRS = 2
    LENGTH = 3
    SAMPLING = 4


def draws(
    purpose: Draw, batch: dict[str, Any], device: torch.device | str = "cpu"
) -> torch.Generator:
    """The generator of a purpose for a batch that is named by `batch["stream"]`."""
    seed, number = batch.get("stream", (0, 0))
    return generator(seed, number, int(purpose), device=device)
