"""What counts as a good step, and what as a lost solve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

__all__ = ["StepControl"]


@dataclass(frozen=True)
class StepControl:
    """What counts as good enough, and what as lost. All numbers are relative to the field.

    Args:
        step_tolerance: Error a step may add: the root mean square of the defect over that of u.
        initial_tolerance: Error at which the fit of the initial state may stop.
        max_initial_error: Error of that fit beyond which nothing is solved.
        max_step_error: Error of a step beyond which the solve stops.
        max_jump: Factor on the median loss of the last ten steps beyond which it stops, if the
            error is also above ten tolerances.
    """

    step_tolerance: float = 1e-5
    initial_tolerance: float = 1e-5
    max_initial_error: float = 1e-2
    max_step_error: float = 0.1
    max_jump: float = 1e4

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"StepControl: `{name}` must be positive, got {value}.")

    def problem(self, losses: Sequence[float], usual: Sequence[float]) -> str:
        """What is wrong with a step, empty if nothing.

        Args:
            losses: Its losses, at the fitted points and between them.
            usual: Losses of the steps before.
        """
        if not all(map(math.isfinite, losses)):
            return "the loss is not finite"
        loss = max(losses)
        if loss > self.max_step_error**2:
            return (
                f"its relative error {math.sqrt(loss):.3g} is beyond the "
                f"{self.max_step_error:g} that is allowed (StepControl.max_step_error)"
            )
        before = median(usual) if usual else math.inf
        if loss > self.max_jump * before and loss > (10 * self.step_tolerance) ** 2:
            return f"the loss jumped from {before:.3g} to {loss:.3g}"
        return ""
