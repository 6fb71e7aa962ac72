"""What a training did: losses by name, how each phase ended, seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

__all__ = ["History", "PhaseReport", "Status"]

Status = Literal["converged", "plateau", "finished", "diverged"]


@dataclass
class PhaseReport:
    """How a phase ended.

    Args:
        phase: Class of the phase.
        status: "converged" (loss at the tolerance), "plateau" (the loss stopped falling before),
            "finished" (steps used up while it was falling) or "diverged" (the last good state was
            restored).
        num_steps: Steps taken.
        seconds: Wall-clock time.
        loss: Weighted sum of the losses at the end.
        message: What happened, in words.
    """

    phase: str
    status: Status
    num_steps: int
    seconds: float
    loss: float
    message: str


@dataclass
class History:
    """The course of a training.

    Args:
        losses: Mean squares by name of the part, without weights; one entry per report.
        total: Their weighted sum.
        steps: Steps taken before each entry, over all phases.
        seconds: Wall-clock seconds spent before each entry.
        phases: How the phases ended.
        num_evaluations: Points at which samplers asked for the residual, by point set.
    """

    losses: dict[str, list[float]] = field(default_factory=dict)
    total: list[float] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    phases: list[PhaseReport] = field(default_factory=list)
    num_evaluations: dict[str, int] = field(default_factory=dict)

    @property
    def status(self) -> Status:
        """How the last phase ended."""
        return self.phases[-1].status if self.phases else "finished"

    @property
    def message(self) -> str:
        """What happened in the phases, in words."""
        return " ".join(report.message for report in self.phases)

    def add(self, losses: Mapping[str, float], total: float, step: int, seconds: float) -> None:
        """One more entry."""
        for name, loss in losses.items():
            self.losses.setdefault(name, []).append(loss)
        self.total.append(total)
        self.steps.append(step)
        self.seconds.append(seconds)

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers and names, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> History:
        """The inverse of `as_dict`."""
        state = dict(state)
        return cls(**{**state, "phases": [PhaseReport(**r) for r in state["phases"]]})
