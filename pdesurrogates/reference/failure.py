"""When a solver must stop: where, why, and what it had computed until then."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pdesurrogates.equations import BoundEquation

__all__ = ["SolverError", "first_trouble"]


class SolverError(FloatingPointError):
    """A solve stopped at a state that cannot be: NaN, negative pressure, no step small enough.

    Attributes:
        states: What was computed before, (batch, time so far, channel, *space), all samples.
        times: The output times of these frames.
        step: Number of the step that failed, counted from 1.
        time: Time of the state it started from.
        sample: First sample in trouble, or `None`.
        cell: First grid point in trouble, one index per axis, or `None`.
    """

    def __init__(
        self,
        message: str,
        *,
        step: int | None = None,
        time: float | None = None,
        sample: int | None = None,
        cell: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__(message)
        self.step = step
        self.time = time
        self.sample = sample
        self.cell = cell
        self.states: Any = None
        self.times: list[float] = []


def first_trouble(f: BoundEquation, state: Tensor) -> tuple[int, tuple[int, ...], str] | None:
    """Sample, cell and description of the first value that is not finite or cannot be."""
    u = f.decode(state)
    bad = ~torch.isfinite(u)
    if not bool(bad.any()):
        return f.first_unphysical(state)
    sample, channel, *cell = bad.nonzero()[0].tolist()
    value = float(u[(sample, channel, *cell)])
    return sample, tuple(cell), f"{f.equation.fields.names[channel]} is {value}"
