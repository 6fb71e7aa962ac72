"""How long does it take? Wall time of a call, measured the same way for networks and solvers."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

__all__ = ["Timing", "measure"]


@dataclass(frozen=True)
class Timing:
    """Wall times of repeated calls [s].

    Args:
        seconds: Median over the repeats.
        fastest: Shortest repeat.
        slowest: Longest repeat.
        num_repeats: Number of measured calls; the warm-up is not among them.
    """

    seconds: float
    fastest: float
    slowest: float
    num_repeats: int


def measure(
    call: Callable[[], object],
    *,
    device: torch.device | str = "cpu",
    num_repeats: int = 5,
    num_warmup: int = 1,
) -> Timing:
    """Run `call` several times and report the median wall time.

    The warm-up calls (plans, caches, compilation) are not counted, and the device is waited for
    before and after each call, so work that was only queued does not look free.

    Args:
        call: What to time, without arguments.
        device: Where it computes.
        num_repeats: Measured calls, at least 1.
        num_warmup: Calls before these.
    """
    if num_repeats < 1 or num_warmup < 0:
        raise ValueError(
            "measure: `num_repeats` must be at least 1 and `num_warmup` at least 0, got "
            f"{num_repeats} and {num_warmup}."
        )
    for _ in range(num_warmup):
        call()
    seconds = []
    for _ in range(num_repeats):
        _wait_for(device)
        start = time.perf_counter()
        call()
        _wait_for(device)
        seconds.append(time.perf_counter() - start)
    return Timing(statistics.median(seconds), min(seconds), max(seconds), num_repeats)


def _wait_for(device: torch.device | str) -> None:
    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
