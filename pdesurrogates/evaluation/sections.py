"""The parts of a report, each from scored arms to a piece of HTML."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

import pdesurrogates
from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.evaluation import page, plots
from pdesurrogates.evaluation.classical import FrontPoint, cheapest_equal
from pdesurrogates.evaluation.page import Cell
from pdesurrogates.evaluation.scores import FORMULAS
from pdesurrogates.steppers import Stepper

__all__ = [
    "Arm",
    "Scored",
    "Setting",
    "facts_section",
    "front_section",
    "physics_section",
    "pictures_section",
    "scores_section",
]


@dataclass(frozen=True)
class Arm:
    """One row of the report: rollouts, and what they cost.

    Args:
        prediction: Trajectories (trajectory, time, channel, *space), initial state included; or
            one such tensor per training seed.
        is_baseline: Shown in grey, not compared with the classical front.
        calls_per_time: Network calls per unit of time of one rollout [1/time].
        seconds: Wall time to roll out all trajectories together (`measure`) [s].
        num_parameters: Trainable numbers, complex ones counted twice.
        training_seconds: Wall time of the training of one seed [s].
        training_curve: Updates and loss.
        stepper: The stepper of the arm, for its oracle floor.
        num_substeps: Steps per saved interval.
        note: A remark for the table.
    """

    prediction: Tensor | Sequence[Tensor]
    is_baseline: bool = False
    calls_per_time: float | None = None
    seconds: float | None = None
    num_parameters: int | None = None
    training_seconds: float | None = None
    training_curve: tuple[Sequence[float], Sequence[float]] | None = None
    stepper: Stepper | None = None
    num_substeps: int = 1
    note: str = ""

    @property
    def predictions(self) -> tuple[Tensor, ...]:
        """One tensor per training seed."""
        own = self.prediction
        return (own,) if isinstance(own, Tensor) else tuple(own)


@dataclass(frozen=True)
class Scored:
    """An arm with its scores."""

    arm: Arm
    scores: xr.Dataset
    summary: xr.Dataset


@dataclass(frozen=True)
class Setting:
    """What all parts of one report share."""

    reference: Tensor
    grid: Grid
    times: list[float]
    fields: FieldSpec
    threshold: float
    trajectory: int
    time_unit: str
    length_unit: str

    @property
    def horizon(self) -> float:
        return self.times[-1] - self.times[0]

    @property
    def time_word(self) -> str:
        return "time unit" if self.time_unit == "1" else self.time_unit


def _number(value: float | None, digits: int = 3) -> str:
    """A number for people: 3 significant digits, no exponent for ordinary sizes."""
    if value is None or math.isnan(value):
        return "-"
    if math.isinf(value):
        return "infinite"
    if value != 0 and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{digits}g}" if abs(value) < 10 ** (digits - 1) else f"{value:,.0f}"


def scores_section(scored: Mapping[str, Scored], setting: Setting) -> str:
    """The table: one row per arm."""
    thresholds = [float(t) for t in next(iter(scored.values())).scores.threshold]
    header = [
        Cell("arm"),
        Cell("error (nrmse)", "median (10-90 %)"),
        *(Cell(f"time to corr. {t:g}", "mean [95 % interval]") for t in thresholds),
        Cell("diverged", "runs"),
        Cell("network calls", f"and time per {setting.time_word}"),
        Cell("parameters", "training"),
        Cell("seeds"),
    ]
    learned = [s.summary for s in scored.values() if not s.arm.is_baseline]
    least = min((float(s.error.sel(statistic="median")) for s in learned), default=0.0)
    longest = [
        max(
            (float(s.correlation_time.sel(statistic="mean", threshold=t)) for s in learned),
            default=0.0,
        )
        for t in thresholds
    ]
    rows = []
    for name, entry in scored.items():
        error, seconds = entry.summary.error, entry.arm.seconds
        median = float(error.sel(statistic="median"))
        cells = [
            Cell(name, entry.arm.note),
            Cell(
                _number(median),
                f"{_number(float(error.sel(statistic='q10')))} to "
                f"{_number(float(error.sel(statistic='q90')))}",
                is_best=median == least and not entry.arm.is_baseline,
            ),
            *(_time_cell(entry, t, best) for t, best in zip(thresholds, longest, strict=True)),
            Cell(f"{int(entry.summary.num_diverged)} of {int(entry.summary.num_trajectories)}"),
            Cell(
                _number(entry.arm.calls_per_time),
                _seconds(None if seconds is None else seconds / setting.horizon),
            ),
            Cell(
                f"{entry.arm.num_parameters:,}" if entry.arm.num_parameters else "-",
                _seconds(entry.arm.training_seconds),
            ),
            Cell("-" if entry.arm.is_baseline else str(len(entry.arm.predictions))),
        ]
        rows.append(("baseline" if entry.arm.is_baseline else "", cells))
    count = setting.reference.shape[0]
    caption = (
        f"{count} trajectories, {_number(setting.horizon)} {setting.time_word}s long. Seconds are "
        f"for all {count} together. The given initial state is not scored. Bold: best arm."
    )
    reading = (
        "<p>Every arm starts from the true state and then runs on its own output. "
        "<b>Error</b>: 0 is perfect, 1 means as wrong as the field is large; averaged over the "
        "whole run. <b>Time to correlation</b>: how long the forecast still looks like the truth; "
        "longer is better, and &ge; marks a lower bound because some runs were still good "
        "when the data ended. <b>Persistence</b> is the forecast that nothing changes. "
        "The <b>oracle floor</b> steps the true equation with the stepper of an arm: the error "
        "that the stepper alone makes.</p>"
    )
    return page.section(
        "How good are the forecasts?", reading, page.table(header, rows, caption=caption)
    )


def _time_cell(entry: Scored, threshold: float, best: float) -> Cell:
    values = entry.summary.correlation_time.sel(threshold=threshold)
    mean, low, high = (float(values.sel(statistic=name)) for name in ("mean", "low", "high"))
    censored = bool(entry.scores.correlation_time_censored.sel(threshold=threshold).any())
    detail = f"[{_number(low)}, {_number(high)}]" if math.isfinite(low) else ""
    sign = "\u2265 " if censored else ""
    is_best = mean == best and not entry.arm.is_baseline
    return Cell(f"{sign}{_number(mean)}", detail, is_best=is_best)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{_number(value)} s"


def pictures_section(scored: Mapping[str, Scored], setting: Setting) -> str:
    """Animation, space-time plots, error curves and the spread of the correlation times."""
    styles = _styles(scored)
    shown = {
        name: entry.arm.predictions[0][setting.trajectory].to(setting.reference.device)
        for name, entry in scored.items()
        if not entry.arm.is_baseline
    }
    truth = setting.reference[setting.trajectory]
    every = {name: entry.scores for name, entry in scored.items()}
    units: dict[str, Any] = {"time_unit": setting.time_unit, "length_unit": setting.length_unit}
    parts = []
    if setting.grid.dim <= 2:
        moving = plots.animation(
            truth, shown, setting.times, setting.grid, styles, fields=setting.fields
        )
        parts.append(
            page.figure(
                moving,
                alternative="Animation of the truth and each arm over time",
                caption=f"Trajectory {setting.trajectory}, one panel per arm"
                + (", truth in black" if setting.grid.dim == 1 else "")
                + ". An arm that vanishes has diverged.",
            )
        )
    if setting.grid.dim == 1:
        lost = {
            name: _first_seed(scored[name].scores)
            .correlation_time.sel(threshold=setting.threshold, trajectory=setting.trajectory)
            .item()
            for name in shown
        }
        still = plots.space_time(
            truth, shown, setting.times, setting.grid,
            fields=setting.fields, lost_at=lost, **units,
        )  # fmt: skip
    elif setting.grid.dim == 2:
        still = plots.field_images(
            truth, shown, setting.times, setting.grid, fields=setting.fields, **units
        )
    else:
        still = None
    if still is not None:
        parts.append(
            page.figure(
                plots.to_png(still),
                alternative="Truth, prediction and error over space and time",
                caption=f"Trajectory {setting.trajectory}: truth, prediction and error. An error "
                "as bright as the field is strong means that the forecast is lost.",
            )
        )
    curves = plots.error_curves(
        every, styles, threshold=setting.threshold, time_unit=setting.time_unit
    )
    spread = plots.correlation_times(
        every, styles, threshold=setting.threshold, time_unit=setting.time_unit
    )
    parts += [
        page.figure(
            plots.to_png(curves),
            alternative="Error and correlation over time",
            caption="Median over the trajectories; the band holds the middle 80 %. "
            f"Lower error and higher correlation are better; below the dashed line at "
            f"{setting.threshold:g} a forecast counts as lost.",
        ),
        page.figure(
            plots.to_png(spread),
            alternative="Time to correlation of every trajectory",
            caption="One dot per trajectory, the bar is the median. Runs that never fell below "
            "the threshold sit at the end of the data.",
        ),
    ]
    return page.section("What do they look like?", *parts)


def _first_seed(scores: xr.Dataset) -> xr.Dataset:
    return scores.isel(seed=0) if "seed" in scores.dims else scores


def _styles(scored: Mapping[str, Scored]) -> dict[str, dict[str, Any]]:
    return plots.arm_styles(
        list(scored), [name for name, entry in scored.items() if entry.arm.is_baseline]
    )


def front_section(
    scored: Mapping[str, Scored], front: Sequence[FrontPoint], setting: Setting
) -> str:
    """The classical front and, per arm, the cheapest setting that is as good."""
    title = "Would a classical solver have done it cheaper?"
    if not front:
        return page.section(
            title,
            "<p>Not measured: no equation on a periodic grid was given, so this report cannot say "
            "whether a classical solver reaches these errors faster.</p>",
        )
    timed = {
        name: entry
        for name, entry in scored.items()
        if not entry.arm.is_baseline and entry.arm.seconds is not None
    }
    picture = plots.error_against_seconds(
        front,
        {
            name: (
                entry.arm.seconds or math.nan,
                float(entry.scores.error.fillna(math.inf).mean()),
            )
            for name, entry in timed.items()
        },
        _styles(scored),
    )
    header = [
        Cell("arm"),
        Cell("as good in", is_text=True),
        Cell("reached", "mean"),
        Cell("arm", "seconds"),
        Cell("cheapest classical setting", "at least as good", is_text=True),
        Cell("solver", "seconds"),
        Cell("the arm is", is_text=True),
    ]
    rows = []
    for name, entry in timed.items():
        error = float(entry.scores.error.fillna(math.inf).mean())
        time = float(entry.scores.correlation_time.sel(threshold=setting.threshold).mean())
        rows.append(_ratio_row(name, "error", error, entry, cheapest_equal(front, error=error)))
        if setting.threshold == 0.8:
            point = cheapest_equal(front, correlation_time=time)
            rows.append(_ratio_row(name, "time to correlation 0.8", time, entry, point))
    count = setting.reference.shape[0]
    return page.section(
        title,
        "<p>The package's own solver ran the same trajectories on coarser grids and with longer "
        "steps, on the same device, in one batch, timed in the same way. For each arm the "
        "cheapest of these settings that is at least as good stands beside it.</p>",
        page.table(header, rows, caption=f"Seconds for all {count} trajectories together."),
        page.figure(
            plots.to_png(picture),
            alternative="Error against wall time, classical settings and arms",
            caption="Each grey mark is one grid, step and scheme of the classical solver; stars "
            "are the arms. A star below and left of the grey line beats the solver. Open marks at "
            "the top are off the scale.",
        ),
        _front_table(front),
    )


def _ratio_row(
    name: str, measure: str, reached: float, entry: Scored, point: FrontPoint | None
) -> tuple[str, list[Cell]]:
    seconds = entry.arm.seconds or math.nan
    if point is None:
        verdict, label, cost = "beyond every setting tried", "none", "-"
    else:
        ratio = seconds / point.seconds
        verdict = (
            f"{_number(ratio, 2)} times slower"
            if ratio >= 1
            else f"{_number(1 / ratio, 2)} times faster"
        )
        label, cost = point.label, _number(point.seconds)
    return "", [
        Cell(name),
        Cell(measure, is_text=True),
        Cell(_number(reached)),
        Cell(_number(seconds)),
        Cell(label, is_text=True),
        Cell(cost),
        Cell(verdict, is_text=True),
    ]


def _front_table(front: Sequence[FrontPoint]) -> str:
    header = [
        Cell("setting"), Cell("seconds"), Cell("error", "mean"),
        Cell("time to correlation 0.8", "mean"), Cell("diverged"),
    ]  # fmt: skip
    rows = [
        (
            "",
            [
                Cell(p.label), Cell(_number(p.seconds)), Cell(_number(p.error)),
                Cell(_number(p.correlation_time)), Cell(str(p.num_diverged)),
            ],
        )
        for p in front
    ]  # fmt: skip
    return (
        f"<details><summary>All classical settings</summary>{page.table(header, rows)}</details>"
    )


def physics_section(scored: Mapping[str, Scored], setting: Setting) -> str:
    """Spectra, conserved quantities and training curves, where there are any."""
    styles = _styles(scored)
    every = {name: entry.scores for name, entry in scored.items()}
    first = next(iter(every.values()))
    parts = []
    if "spectrum_reference" in first:
        picture = plots.spectra(every, styles, length_unit=setting.length_unit)
        parts.append(
            page.figure(
                plots.to_png(picture),
                alternative="Energy spectra of truth and arms",
                caption="Energy at each wavenumber, averaged over time. An arm above the truth on "
                "the right makes noise at small scales; below it, it blurs.",
            )
        )
    if "conservation_drift" in first:
        picture = plots.conserved_drift(every, styles, time_unit=setting.time_unit)
        parts.append(
            page.figure(
                plots.to_png(picture),
                alternative="Drift of the conserved quantities",
                caption="The exact solution keeps these quantities; the curves show how far each "
                "arm is from the truth.",
            )
        )
    curves = {
        name: entry.arm.training_curve
        for name, entry in scored.items()
        if entry.arm.training_curve is not None
    }
    if curves:
        parts.append(
            page.figure(
                plots.to_png(plots.training_curves(curves, styles)),
                alternative="Training loss of each arm",
                caption="Training loss. Arms with other targets have other losses: compare "
                "shapes, not heights.",
            )
        )
    return page.section("Do they respect the physics?", *parts)


def facts_section(
    scored: Mapping[str, Scored], facts: Mapping[str, object], setting: Setting
) -> str:
    """Formulas, settings, versions."""
    first = next(iter(scored.values()))
    used = {name: text for name, text in FORMULAS.items() if name in first.scores}
    used["interval"] = (
        f"{100 * first.summary.attrs['level']:g} % percentile bootstrap of the mean over "
        f"trajectories, {first.summary.attrs['num_resamples']} resamples, seed "
        f"{first.summary.attrs['seed']}; seeds are averaged per trajectory first"
    )
    grid = setting.grid
    own = {
        "grid": f"{' x '.join(map(str, grid.num_points))} points on "
        f"{' x '.join(f'{x:.6g}' for x in grid.extent)}, periodic: {grid.is_periodic}",
        "times": f"{len(setting.times)} saved from {setting.times[0]:g} to {setting.times[-1]:g}",
        "trajectories": setting.reference.shape[0],
        "versions": f"pdesurrogates {pdesurrogates.__version__}, torch {torch.__version__}, "
        f"numpy {np.__version__}, python {platform.python_version()}",
        "machine": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads",
    }
    return page.section(
        "How was it measured?",
        "<h3>Settings and data</h3>",
        page.definitions({**facts, **own}),
        "<h3>Formulas</h3>",
        page.definitions(used),
    )
