"""Training without data: phases of optimisers on named residuals, and nothing lost on the way."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pdesurrogates.core import generator
from pdesurrogates.pinns.history import History, PhaseReport, Status
from pdesurrogates.pinns.phases import Optimiser, Phase
from pdesurrogates.pinns.problem import DrawnPoints, Problem

__all__ = ["TrainingError", "fit"]

_RISE = 1e4
"""A loss this many times above the last ones has diverged."""
_PLATEAU = 0.95
"""The last quarter of a phase must get below this share of what was reached before it."""


class TrainingError(FloatingPointError):
    """A residual is not finite at the last good state too.

    Attributes:
        history: What was recorded before.
    """

    def __init__(self, message: str, history: History) -> None:
        super().__init__(message)
        self.history = history


def fit(
    problem: Problem,
    phases: Sequence[Phase],
    *,
    seed: int = 0,
    loss_tolerance: float = 0.0,
    checkpoint: Path | str | None = None,
    checkpoint_seconds: float = 30.0,
    on_report: Callable[[int, dict[str, float]], None] | None = None,
) -> History:
    """Train a problem in place.

    Points are drawn at the beginning of a phase and every `resample_every` steps; samplers are
    shown the residual just before. The last state with a finite loss that has not shot up is
    kept: if a step leads to another one, it is restored, the phase ends as "diverged", and the
    next phase goes on from there.

    Args:
        problem: What is to become zero; its parameters are changed.
        phases: What to do, in order.
        seed: Names the random numbers of all draws.
        loss_tolerance: A weighted sum of losses that is good enough; training ends there.
        checkpoint: File that keeps the state; if it exists, training goes on from it and ends as
            if it had never been interrupted. Samplers with a memory beyond their last update
            must have `state_dict` and `load_state_dict` for that.
        checkpoint_seconds: Least time between two writes of the file.
        on_report: Called with step and losses at every entry of the history.

    Returns:
        Losses by name, and how each phase ended.

    Raises:
        TrainingError: If a residual is not finite, named, at the start or at the last good state
            as well: then the network or the equation is at fault, not the step. The parameters
            are those of the last good state.
        ValueError: If the checkpoint belongs to another training.
    """
    if not phases:
        raise ValueError("fit: `phases` is empty; give for instance [AdamPhase(1000)].")
    run = _Run(problem, phases, seed, loss_tolerance)
    path = None if checkpoint is None else Path(checkpoint)
    if path is not None and path.exists():
        run.load(path)
    written = time.perf_counter()
    while run.index < len(phases):
        report = run.advance()
        if report is not None and on_report is not None:
            on_report(*report)
        if path is not None and (
            run.index == len(phases) or time.perf_counter() - written >= checkpoint_seconds
        ):
            run.save(path)
            written = time.perf_counter()
    return run.history


class _Run:
    """Where a training stands."""

    def __init__(
        self, problem: Problem, phases: Sequence[Phase], seed: int, tolerance: float
    ) -> None:
        self.problem, self.phases = problem, phases
        self.seed, self.tolerance = seed, tolerance
        self.history = History()
        self.index = self.step = 0
        self.first_entry = 0
        self.clock = time.perf_counter()
        self.spent = 0.0
        self.points: dict[str, Tensor] = {}
        self.good: dict[str, Tensor] = {}
        self.optimiser = self._enter()

    @property
    def phase(self) -> Phase:
        return self.phases[self.index]

    def _enter(self) -> Optimiser:
        """The optimiser of the present phase, at its precision."""
        if self.phase.precision is not None:
            self.problem.to(getattr(torch, self.phase.precision))
        return self.phase.optimiser(self.problem)

    def advance(self) -> tuple[int, dict[str, float]] | None:
        """Steps up to the next entry of the history; `None` where a phase diverged."""
        phase, every = self.phase, self.phase.resample_every
        if self.step == 0 or (every is not None and self.step % every == 0):
            self._resample()
        if self.step == 0:
            self._begin()
        until_report = phase.report_every - self.step % phase.report_every
        count = min(until_report, phase.num_steps - self.step)
        if every is not None:
            count = min(count, every - self.step % every)
        self.optimiser.advance(self.points, self.step, count)
        self.step += count
        is_report = self.step % phase.report_every == 0 or self.step == phase.num_steps
        return self._report() if is_report or self.optimiser.is_stuck else None

    def _resample(self) -> None:
        draws = generator(self.seed, self.index, self.step, device=_device(self.problem))
        if self.points:
            self.problem.update_samplers(draws)
        self.points = self.problem.draw(draws)
        self.optimiser.restart()

    def _begin(self) -> None:
        """The first entry of a phase: nothing is trained that is not finite."""
        losses, total = self._evaluate()
        if not math.isfinite(total):
            raise TrainingError(_blame(self.problem, self.points, losses), self.history)
        self._examine()
        self._keep()
        self.first_entry = len(self.history.total)
        self.history.add(losses, total, self._taken(), self._seconds())

    def _examine(self) -> None:
        """The problem's own look; what it refuses is not kept."""
        try:
            self.problem.examine(self.points)
        except Exception:
            if self.good:
                self.problem.load_state_dict(self.good)
            raise

    def _report(self) -> tuple[int, dict[str, float]] | None:
        losses, total = self._evaluate()
        last = self.history.total[self.first_entry :][-10:]
        if not math.isfinite(total) or total > _RISE * max(last):
            self._restore(losses, total)
            return None
        self._examine()
        self._keep()
        self.history.add(losses, total, self._taken(), self._seconds())
        if total <= self.tolerance:
            self._end("converged", f"reached the tolerance {self.tolerance:.3g}", is_last=True)
        elif self.optimiser.is_stuck:
            self._end("plateau", "the optimiser finds no better step")
        elif self.step >= self.phase.num_steps:
            flat = self._is_flat()
            self._end(
                "plateau" if flat else "finished",
                "the loss had stopped falling" if flat else "the loss was still falling",
            )
        return self.history.steps[-1], losses

    def _evaluate(self) -> tuple[dict[str, float], float]:
        with torch.no_grad():
            losses = self.problem.losses(self.points)
            values = torch.stack([*losses.values(), self.problem.total(losses)]).tolist()
        return dict(zip(losses, values, strict=False)), values[-1]

    def _restore(self, losses: Mapping[str, float], total: float) -> None:
        """Back to the last good state, and on to the next phase."""
        self.problem.load_state_dict(self.good)
        before, good_total = self._evaluate()
        if not math.isfinite(good_total):
            raise TrainingError(_blame(self.problem, self.points, before), self.history)
        worst = max(losses, key=lambda name: _size(losses[name]))
        self._end(
            "diverged",
            f"the loss of {worst!r} went to {losses[worst]:.3g} and the sum to {total:.3g}; the "
            "last good state was restored. A smaller learning rate may help",
            good_total,
        )

    def _end(
        self, status: Status, what: str, loss: float | None = None, *, is_last: bool = False
    ) -> None:
        before = sum(report.seconds for report in self.history.phases)
        loss = self.history.total[-1] if loss is None else loss
        name = type(self.phase).__name__
        message = f"{name}: {status} after {self.step} steps at loss {loss:.3g}: {what}."
        taken = self.step
        self.history.phases.append(
            PhaseReport(name, status, taken, self._seconds() - before, loss, message)
        )
        for key, own in self.problem.point_sets.items():
            if isinstance(own, DrawnPoints):
                self.history.num_evaluations[key] = own.sampler.num_residual_evaluations
        self.index, self.step = len(self.phases) if is_last else self.index + 1, 0
        if self.index < len(self.phases):
            self.optimiser = self._enter()

    def _is_flat(self) -> bool:
        own = self.history.total[self.first_entry :]
        cut = len(own) - max(1, len(own) // 4)
        return len(own) >= 8 and min(own[cut:]) > _PLATEAU * min(own[:cut])

    def _keep(self) -> None:
        self.good = {key: value.clone() for key, value in self.problem.state_dict().items()}

    def _taken(self) -> int:
        return sum(report.num_steps for report in self.history.phases) + self.step

    def _seconds(self) -> float:
        return self.spent + time.perf_counter() - self.clock

    def save(self, path: Path) -> None:
        """Write the state whole or not at all."""
        state = {
            "phases": [repr(phase) for phase in self.phases],
            "seed": self.seed,
            "index": self.index,
            "step": self.step,
            "first_entry": self.first_entry,
            "problem": self.problem.state_dict(),
            "good": self.good,
            "points": self.points,
            "optimiser": self.optimiser.state_dict(),
            "samplers": {k: s.state_dict() for k, s in self._samplers().items()},
            "history": self.history.as_dict(),
            "seconds": self._seconds(),
        }
        temporary = path.with_name(path.name + ".partial")
        torch.save(state, temporary)
        temporary.replace(path)

    def load(self, path: Path) -> None:
        """Go on from a file."""
        state = torch.load(path, weights_only=True, map_location=_device(self.problem))
        own = [repr(phase) for phase in self.phases]
        if state["phases"] != own or state["seed"] != self.seed:
            raise ValueError(
                f"fit: the checkpoint {path} was made with seed {state['seed']} and the phases "
                f"{state['phases']}, not seed {self.seed} and {own}; give another file, or the "
                "same arguments."
            )
        self.index, self.step = state["index"], state["step"]
        self.first_entry = state["first_entry"]
        is_over = self.index == len(self.phases)
        if not is_over:
            self.optimiser = self._enter()
        dtype = next(v.dtype for v in state["problem"].values() if v.is_floating_point())
        self.problem.to(dtype)
        self.problem.load_state_dict(state["problem"])
        self.good, self.points = state["good"], state["points"]
        if not is_over:
            self.optimiser.load_state_dict(state["optimiser"])
        for key, sampler in self._samplers().items():
            sampler.load_state_dict(state["samplers"][key])
        self.history = History.from_dict(state["history"])
        self.spent, self.clock = state["seconds"], time.perf_counter()

    def _samplers(self) -> dict[str, Any]:
        """Samplers that can say what they remember."""
        return {
            key: own.sampler
            for key, own in self.problem.point_sets.items()
            if isinstance(own, DrawnPoints) and hasattr(own.sampler, "state_dict")
        }


def _device(problem: Problem) -> torch.device:
    return next(problem.parameters()).device


def _size(loss: float) -> float:
    return loss if math.isfinite(loss) else math.inf


def _blame(problem: Problem, points: Mapping[str, Tensor], losses: Mapping[str, float]) -> str:
    """Which part is not finite, and where."""
    with torch.no_grad():
        for name, own in points.items():
            for key, r in problem.residuals_of(name, own).items():
                bad = ~r.isfinite().all(dim=-1)
                if bool(bad.any()):
                    return (
                        f"fit: the residual {key!r} is not finite at {int(bad.sum())} of "
                        f"{len(own)} points of {name!r}, the first is {own[bad][0].tolist()}; the "
                        "network or the equation gives NaN there. The last good state is kept."
                    )
    return f"fit: the losses are not finite: {dict(losses)}. The last good state is kept."
