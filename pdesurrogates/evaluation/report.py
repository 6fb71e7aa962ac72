"""The honest report: what was asked, what came out, and what a classical solver would have done.

One HTML file holds everything. Persistence is always in it. Where the equation is known, the
oracle floor of every arm's stepper and the classical front are computed here unless given, so a
report without its baselines has to be asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
import xarray as xr
from torch import Tensor

from pdesurrogates.core import FieldSpec, Grid, check_times
from pdesurrogates.equations import Equation
from pdesurrogates.evaluation import page
from pdesurrogates.evaluation.classical import (
    FrontPoint,
    classical_front,
    oracle_floor,
    persistence,
)
from pdesurrogates.evaluation.scores import evaluate, summarize
from pdesurrogates.evaluation.sections import (
    Arm,
    Scored,
    Setting,
    facts_section,
    front_section,
    physics_section,
    pictures_section,
    scores_section,
)
from pdesurrogates.steppers import Stepper

__all__ = ["Arm", "report"]


def report(
    path: str | Path,
    *,
    title: str,
    arms: Mapping[str, Arm],
    reference: Tensor,
    grid: Grid,
    times: Sequence[float] | Tensor,
    question: str = "",
    findings: Sequence[str] = (),
    fields: FieldSpec | None = None,
    equation: Equation | None = None,
    conserved: Callable[[Tensor], dict[str, Tensor]] | None = None,
    front: Sequence[FrontPoint] | None = None,
    facts: Mapping[str, object] | None = None,
    threshold: float = 0.8,
    trajectory: int = 0,
    device: torch.device | str = "cpu",
    time_unit: str = "1",
    length_unit: str = "1",
) -> Path:
    """Score rollouts beside their baselines and write one HTML file that needs nothing else.

    Args:
        path: The file to write; it appears under this name only when it is complete.
        title: Headline.
        arms: Name to rollouts and cost, in the order shown. Persistence is added.
        reference: The truth (trajectory, time, channel, *space), a split on which no choice was
            made.
        grid: Where the states live.
        times: Saved times (time,); the state at the first one was given and is not scored.
        question: What was asked, in a sentence or two.
        findings: What was found, one sentence each.
        fields: Names and units of the channels.
        equation: The equation that made the data: gives oracle floors, front and invariants.
        conserved: As in `evaluate`; by default that of the equation.
        front: Classical settings from `classical_front`; measured here if `None` and the equation
            is given on a periodic grid.
        facts: Settings, seeds, provenance: shown as they are.
        threshold: Correlation below which a forecast counts as lost, in figures and ratios.
        trajectory: Which trajectory the pictures show.
        device: Where the front is measured; use the device of the arms' `seconds`.
        time_unit: Unit of the times, for labels.
        length_unit: Unit of the extents, for labels.

    Returns:
        The path.
    """
    setting = Setting(
        reference,
        grid,
        check_times(times, where="report", at_least=2),
        fields or (equation.fields if equation else FieldSpec(_names(reference.shape[2]))),
        threshold,
        trajectory,
        time_unit,
        length_unit,
    )
    if not arms:
        raise ValueError("report: `arms` is empty; give at least one, name to Arm(prediction).")
    if not 0 <= trajectory < reference.shape[0]:
        raise ValueError(
            f"report: `trajectory` must be one of the {reference.shape[0]} given, "
            f"got {trajectory}."
        )
    conserved = conserved or _invariants(equation, grid, reference)
    u0 = next(iter(arms.values())).predictions[0][:, 0].to(device)
    if equation is not None and front is None and all(grid.is_periodic):
        front = classical_front(equation, grid, u0, setting.times, reference.to(device))
    everyone = _with_baselines(arms, equation, u0, setting)
    thresholds = sorted({threshold, 0.8, 0.9, 0.95})
    scored = {}
    for name, arm in everyone.items():
        runs = [
            evaluate(
                run.to(reference.device), reference, grid, setting.times,
                fields=setting.fields, conserved=conserved, thresholds=thresholds,
            )
            for run in arm.predictions
        ]  # fmt: skip
        scores = xr.concat(runs, "seed", combine_attrs="override") if len(runs) > 1 else runs[0]
        scored[name] = Scored(arm, scores, summarize(scores))
    sections = [
        scores_section(scored, setting),
        pictures_section(scored, setting),
        front_section(scored, front or (), setting),
        physics_section(scored, setting),
        facts_section(scored, facts or {}, setting),
    ]
    path = Path(path)
    page.write_atomically(
        path, page.document(title, lead=question, findings=findings, sections=sections)
    )
    return path


def _invariants(
    equation: Equation | None, grid: Grid, reference: Tensor
) -> Callable[[Tensor], dict[str, Tensor]] | None:
    """The conserved quantities of the equation, `None` where it has none."""
    if equation is None or not equation.conserved_quantities(reference[:1, :1], grid):
        return None
    return lambda u: equation.conserved_quantities(u, grid)


def _names(num_channels: int) -> tuple[str, ...]:
    return ("u",) if num_channels == 1 else tuple(f"channel_{i}" for i in range(num_channels))


def _with_baselines(
    arms: Mapping[str, Arm], equation: Equation | None, u0: Tensor, setting: Setting
) -> dict[str, Arm]:
    """The arms, then the oracle floor of each stepper in use, then persistence."""
    everyone = dict(arms)
    if equation is not None and all(setting.grid.is_periodic):
        for stepper, num_substeps in dict.fromkeys(
            (arm.stepper, arm.num_substeps) for arm in arms.values() if arm.stepper is not None
        ):
            step = setting.horizon / (len(setting.times) - 1) / num_substeps
            states = oracle_floor(
                equation, setting.grid, u0.double(), setting.times, stepper,
                num_substeps=num_substeps,
            )  # fmt: skip
            is_stable = bool(torch.isfinite(states).all())
            note = "true equation, same stepper and step"
            note += "" if is_stable else ": unstable"
            name = f"oracle floor, {_stepper_name(stepper)}, dt {step:.3g}"
            everyone[name] = Arm(states, is_baseline=True, note=note)
    everyone.setdefault(
        "persistence",
        Arm(persistence(u0, setting.times), is_baseline=True, note="nothing changes"),
    )
    return everyone


def _stepper_name(stepper: Stepper) -> str:
    order = getattr(stepper, "order", "") if type(stepper).__name__ in _ORDERED else ""
    return f"{type(stepper).__name__}{order}"


_ORDERED = ("AdamsBashforth", "ETDRK", "SBDF")
