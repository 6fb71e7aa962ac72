"""Easier problems first: a parameter that grows, or one stretch of time after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from pdesurrogates.pinns.fields import SpaceTimeField
from pdesurrogates.pinns.history import History
from pdesurrogates.pinns.phases import Phase
from pdesurrogates.pinns.pinn import PINN
from pdesurrogates.pinns.problem import Problem
from pdesurrogates.pinns.training import fit

__all__ = ["TimeWindows", "fit_curriculum", "fit_windows"]

AnyProblem = TypeVar("AnyProblem", bound=Problem)


def fit_curriculum(
    problem_of: Callable[[float], AnyProblem],
    values: Sequence[float],
    phases: Sequence[Phase],
    *,
    first_phases: Sequence[Phase] | None = None,
    seed: int = 0,
    checkpoint: Path | str | None = None,
) -> tuple[AnyProblem, list[History]]:
    """Train at a sequence of parameters, each from the weights of the last.

    Reference:
        Characterizing possible failure modes in physics-informed neural networks (Krishnapriyan
        et al., 2021), Section 5.1. https://arxiv.org/abs/2109.01050

    Args:
        problem_of: The problem at a parameter; only the parameters of its networks are taken over.
        values: Parameters, the last one is the one that is sought.
        phases: Training at each of them.
        first_phases: Training at the first one, from random weights; default `phases`. Adam
            belongs here: later it may leave what the last stage has found.
        seed: Names the random numbers; stage n uses seed + n.
        checkpoint: Name of the files that keep the state, the stage is added to it.

    Returns:
        The problem at the last parameter, and the history of every stage.
    """
    if not values:
        raise ValueError("fit_curriculum: `values` is empty; give the parameters to go through.")
    problem, histories = None, []
    for n, value in enumerate(values):
        before, problem = problem, problem_of(value)
        if before is not None:
            _warm_start(problem, before)
        chosen = first_phases if n == 0 and first_phases is not None else phases
        histories.append(fit(problem, chosen, seed=seed + n, checkpoint=_stage(checkpoint, n)))
    return cast(AnyProblem, problem), histories


class TimeWindows(SpaceTimeField):
    """Solutions on one stretch of time after the other, as one function.

    Args:
        windows: In order of time, on the same box; each begins where the last one ends.
    """

    def __init__(self, windows: Sequence[PINN]) -> None:
        super().__init__()
        spans = [window.span for window in windows]
        if not spans or None in spans:
            raise ValueError("TimeWindows: needs at least one solution, each with times.")
        known = [span for span in spans if span is not None]
        for (_, end), (start, _) in pairwise(known):
            if abs(end - start) > 1e-9 * max(1.0, abs(end)):
                raise ValueError(
                    f"TimeWindows: a window ends at {end}, the next begins at {start}; they must "
                    "touch."
                )
        self.windows = nn.ModuleList(windows)
        self.space, self.fields = windows[0].space, windows[0].fields
        self.span = (known[0][0], known[-1][1])
        self.edges = [end for _, end in known[:-1]]

    def field(self, points: Tensor, times: Tensor) -> Tensor:
        """u at points (batch, point, dim) and times (batch, point, 1)."""
        found: Any = None
        for n, window in enumerate(cast(Sequence[PINN], self.windows)):
            start, end = cast(tuple[float, float], window.span)
            own = window.field(points, times.clamp(start, end))
            found = own if n == 0 else torch.where(times > start, own, found)
        return found


def fit_windows(
    pinn_of: Callable[[tuple[float, float], Callable[..., Any] | None], PINN],
    edges: Sequence[float],
    phases: Sequence[Phase],
    *,
    seed: int = 0,
    checkpoint: Path | str | None = None,
) -> tuple[TimeWindows, list[History]]:
    """Sequence-to-sequence: the end of one window is the initial state of the next.

    A window with a hard initial state calls all networks before it, so its cost grows with their
    number; with an `InitialCondition` only the points at its start do.

    Reference:
        Krishnapriyan et al. (2021), Section 5.2. https://arxiv.org/abs/2109.01050

    Args:
        pinn_of: From (start, end) and the initial state, a function of the coordinates that takes
            tensors and jets (`None` for the first window, which has the given one), to a problem.
        edges: Ends of the windows, increasing.
        phases: Training in each window, which starts with the weights of the last.
        seed: Names the random numbers; window n uses seed + n.
        checkpoint: Name of the files that keep the state, the window is added to it.
    """
    if len(edges) < 2 or any(a >= b for a, b in pairwise(edges)):
        raise ValueError(
            f"fit_windows: `edges` must be at least two increasing times, got {list(edges)}."
        )
    windows: list[PINN] = []
    histories = []
    for n, span in enumerate(pairwise(edges)):
        window = pinn_of(span, _end_state(windows[-1]) if windows else None)
        if windows:
            _warm_start(window, windows[-1])
        histories.append(fit(window, phases, seed=seed + n, checkpoint=_stage(checkpoint, n)))
        windows.append(window.requires_grad_(False))
    return TimeWindows(windows), histories


def _end_state(window: PINN) -> Callable[..., Any]:
    """The state at the end of a window, as a function of the coordinates."""
    end = cast(tuple[float, float], window.span)[1]

    def state(*coordinates: Any) -> Any:
        points = coordinates[0] if len(coordinates) == 1 else torch.cat(coordinates, dim=-1)
        # A plain tensor: the derivatives of a jet are those along the points only.
        return window.field(points, torch.ones_like(points)[..., :1] * end)

    return state


def _warm_start(problem: Problem, before: Problem) -> None:
    like = next(before.parameters())
    problem.to(like.dtype).load_state_dict(before.state_dict())


def _stage(checkpoint: Path | str | None, stage: int) -> Path | None:
    if checkpoint is None:
        return None
    path = Path(checkpoint)
    return path.with_name(f"{path.stem}_{stage}{path.suffix}")
