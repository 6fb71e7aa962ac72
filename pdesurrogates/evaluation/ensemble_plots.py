"""Figures of calibration: spread against error, coverage against level, ranks of the truth.

Every function takes name to the result of `evaluate_ensemble`, draws the scored times of all
trajectories and the mean over the fields, and returns a matplotlib `Figure`; see `plots`.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pdesurrogates.evaluation.plots import (
    Scores,
    Styles,
    _figure,
    _lead_time,
    _legend_below,
    _polish,
    _with_unit,
)

__all__ = ["coverage_curves", "rank_histograms", "spread_and_error"]


def spread_and_error(
    scores: Scores, styles: Styles, *, field: int = 0, num_bins: int = 10, time_unit: str = "1"
) -> Figure:
    """Spread and error of the mean over time, and error where the spread is small or large.

    Left: root mean squares over the trajectories at each time. Right: all trajectories and times,
    sorted by their spread into bins of equal number; a calibrated ensemble lies on the diagonal,
    one whose spread says which forecasts are bad rises. The spread is multiplied by
    sqrt((M + 1) / M), see `spread_skill_ratio`.

    Args:
        scores: Name to the result of `evaluate_ensemble`.
        styles: From `arm_styles`.
        field: Channel shown.
        num_bins: Bins of the right panel.
        time_unit: Unit of the times.
    """
    figure = _figure(10.5, 4.3)
    left, right = figure.subplots(1, 2)
    points = []
    for name, data in scores.items():
        error, spread = (_scored(data, part)[..., field] for part in ("ensemble_rmse", "spread"))
        spread = spread * np.sqrt(1 + 1 / data.attrs["num_members"])
        time, colour = _lead_time(data)[data.is_scored.values], styles[name]["color"]
        left.plot(time, _root_mean_square(error), color=colour, linewidth=1.8, label=name)
        left.plot(time, _root_mean_square(spread), color=colour, linewidth=1.8, linestyle="--")
        pairs = _binned(spread.ravel(), error.ravel(), num_bins)
        shown = {"color": colour, "marker": styles[name]["marker"], "markersize": 4}
        right.plot(*pairs, linewidth=1.2, **shown)
        points.append(pairs)
    left.plot([], [], color="black", linestyle="--", label="their spread")
    left.set_yscale("log")
    left.set_xlabel(_with_unit("time since the initial state", time_unit))
    left.set_ylabel("error of the ensemble mean (rmse)")
    _diagonal(right, np.concatenate(points, axis=1))
    right.set_xlabel("spread   (right of the diagonal: too much)")
    right.set_ylabel("error of the ensemble mean (rmse)")
    _legend_below(figure, left, len(scores) + 1)
    for axes in (left, right):
        _polish(axes)
    return figure


def _scored(data: xr.Dataset, name: str) -> np.ndarray:
    """Values at the scored times, (trajectory, time, field, ...)."""
    return data[name].values[:, data.is_scored.values]


def _root_mean_square(values: np.ndarray) -> np.ndarray:
    return np.sqrt(np.mean(values**2, axis=0))


def _binned(spread: np.ndarray, error: np.ndarray, num_bins: int) -> np.ndarray:
    """Root mean squares (spread, error) of bins of equal number; what is lost is left out."""
    is_sound = np.isfinite(spread) & np.isfinite(error)
    order = np.argsort(spread[is_sound], kind="stable")
    bins = [part for part in np.array_split(order, num_bins) if len(part)]
    return np.array(
        [
            [np.sqrt(np.mean(values[is_sound][part] ** 2)) for part in bins]
            for values in (spread, error)
        ]
    ).reshape(2, -1)


def _diagonal(axes: Axes, points: np.ndarray) -> None:
    """Equal logarithmic axes with their diagonal."""
    positive = points[(points > 0) & np.isfinite(points)]
    low, high = (positive.min() / 1.5, positive.max() * 1.5) if positive.size else (0.1, 1.0)
    axes.plot([low, high], [low, high], color="black", linewidth=0.8, linestyle=":", zorder=1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_aspect("equal")


def coverage_curves(scores: Scores, styles: Styles) -> Figure:
    """Share of the truth in the central intervals against their level; calibrated: the diagonal.

    Below the diagonal the ensemble is too sure of itself. A state with a lost member covers
    nothing.
    """
    figure = _figure(5.6, 5.2)
    axes = figure.subplots()
    axes.plot(
        [0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":", label="diagonal: calibrated"
    )
    for name, data in scores.items():
        observed = np.nan_to_num(_scored(data, "coverage")).mean(axis=(0, 1, 2))
        shown = {key: styles[name][key] for key in ("color", "linestyle", "marker")}
        axes.plot(data.level.values, observed, label=name, linewidth=1.6, markersize=4, **shown)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_aspect("equal")
    axes.set_xlabel("level of the central interval")
    axes.set_ylabel("share of the truth inside")
    _legend_below(figure, axes, len(scores) + 1)
    _polish(axes)
    return figure


def rank_histograms(scores: Scores, styles: Styles) -> Figure:
    """How many members are less than the truth: flat if calibrated, high at the ends if too sure.

    Heights are in units of the flat histogram, so that ensembles of different size compare. The
    title counts states with a lost member, which have no ranks.
    """
    figure = _figure(max(5.0, 3.4 * len(scores)), 3.4)
    panels = figure.subplots(1, len(scores), sharey=True, squeeze=False)[0]
    for axes, (name, data) in zip(panels, scores.items(), strict=True):
        shares = _scored(data, "rank_histogram")
        is_lost = np.isnan(shares).any(axis=(2, 3))
        heights = shares[~is_lost].mean(axis=(0, 1)) * shares.shape[-1]
        axes.bar(data["rank"].values, heights, width=0.9, color=styles[name]["color"])
        axes.axhline(1.0, color="black", linewidth=0.8, linestyle=":")
        lost = f" ({is_lost.sum()} of {is_lost.size} lost)" if is_lost.any() else ""
        axes.set_title(name + lost, fontsize=10, loc="left")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("members less than the truth")
        _polish(axes)
    panels[0].set_ylabel("share / flat share")
    return figure
