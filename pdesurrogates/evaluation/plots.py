"""Figures of rollouts and scores: truth in black, each arm in its own colour, units on every axis.

Every function returns a matplotlib `Figure` and touches no global state, so figures can be made in
threads and batch jobs. `to_png` and `to_gif` turn figures into bytes. Curves show the median over
trajectories and a band from the 10th to the 90th percentile; a diverged trajectory counts as
infinitely wrong in both.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from PIL import Image
from torch import Tensor

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.evaluation.classical import FrontPoint

__all__ = [
    "animation",
    "arm_styles",
    "conserved_drift",
    "correlation_times",
    "error_against_seconds",
    "error_curves",
    "field_images",
    "space_time",
    "spectra",
    "to_gif",
    "to_png",
    "training_curves",
]

# Okabe and Ito's palette: distinct for all common kinds of colour vision.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_BASELINE_STYLES = (
    {"color": "#444444", "linestyle": ":", "marker": "+"},
    {"color": "#8c6d46", "linestyle": (0, (4, 1, 1, 1)), "marker": "1"},
    {"color": "#7a7a9c", "linestyle": (0, (1, 1)), "marker": "2"},
)
_PERSISTENCE_STYLE = {"color": "#a0a0a0", "linestyle": "--", "marker": "x"}
_MARKERS = ("o", "s", "^", "D", "v", "P")
_FIELD_MAP, _ERROR_MAP = "RdBu_r", "magma"
_DPI = 110

Scores = Mapping[str, xr.Dataset]
Styles = Mapping[str, Mapping[str, Any]]


def arm_styles(names: Sequence[str], baselines: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """Colour, line and marker of each arm: one set for all figures of a report.

    Args:
        names: All arms, in the order shown.
        baselines: Those of them drawn in muted colours.
    """
    learned = [name for name in names if name not in baselines]
    styles: dict[str, dict[str, Any]] = {
        name: {
            "color": _COLOURS[i % len(_COLOURS)],
            "linestyle": "-" if i < len(_COLOURS) else "-.",
            "marker": _MARKERS[i % len(_MARKERS)],
        }
        for i, name in enumerate(learned)
    }
    for i, name in enumerate(name for name in baselines if name != "persistence"):
        styles[name] = dict(_BASELINE_STYLES[i % len(_BASELINE_STYLES)])
    return styles | {"persistence": dict(_PERSISTENCE_STYLE)}


def to_png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def to_gif(frames: Sequence[np.ndarray], *, seconds: float = 8.0) -> bytes:
    """Images (height, width, 3) of uint8 as a looping GIF of about the given length."""
    images = [
        Image.fromarray(frame).quantize(96, method=Image.Quantize.MAXCOVERAGE) for frame in frames
    ]
    buffer = io.BytesIO()
    images[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=max(40, round(1000 * seconds / len(images))),
        loop=0,
        optimize=True,
    )
    return buffer.getvalue()


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _polish(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, alpha=0.25, linewidth=0.6)


def _legend_below(figure: Figure, axes: Axes, count: int) -> None:
    handles, labels = axes.get_legend_handles_labels()
    letters = 14 * figure.get_figwidth()  # of this size in a line
    fitting = max(1, int(letters / (max(map(len, labels), default=0) + 8)))
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=min(count, 4, fitting),
        fontsize=8,
        frameon=False,
    )


def _with_unit(name: str, unit: str) -> str:
    return name if unit in ("", "1") else f"{name} [{unit}]"


def _field_label(fields: FieldSpec, field: int) -> str:
    return _with_unit(fields.names[field], (fields.units or ())[field])


def _array(u: Tensor) -> np.ndarray:
    return u.detach().double().cpu().numpy()


def _lead_time(scores: xr.Dataset) -> np.ndarray:
    times = scores.time if "time" in scores.coords else scores.trajectory_time.mean("trajectory")
    return (times - times[0]).values


def _samples(variable: xr.DataArray) -> np.ndarray:
    """Values with all trajectories and seeds along the first axis, NaN as inf."""
    along = [name for name in ("seed", "trajectory") if name in variable.dims]
    flat = variable.fillna(np.inf).stack(sample=along)  # noqa: PD013 - xarray's own
    return flat.transpose("sample", ...).values


def _quantiles(values: np.ndarray) -> np.ndarray:
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9], axis=0, method="nearest")
    return np.stack([low, middle, high])


def _band(axes: Axes, x: np.ndarray, values: np.ndarray, name: str, style: Mapping) -> None:
    low, middle, high = _quantiles(values)
    shown = {key: style[key] for key in ("color", "linestyle")}
    axes.plot(x, np.where(np.isfinite(middle), middle, np.nan), label=name, linewidth=1.8, **shown)
    top = np.where(np.isfinite(high), high, 1e30)
    axes.fill_between(
        x, low, top, where=np.isfinite(low), color=style["color"], alpha=0.15, linewidth=0
    )


def space_time(
    reference: Tensor,
    predictions: Mapping[str, Tensor],
    times: Sequence[float],
    grid: Grid,
    *,
    fields: FieldSpec,
    field: int = 0,
    lost_at: Mapping[str, float] | None = None,
    time_unit: str = "1",
    length_unit: str = "1",
) -> Figure:
    """One trajectory in 1D: truth, each arm's prediction and its error, over space and time.

    Args:
        reference: (time, channel, x).
        predictions: Arm name to (time, channel, x).
        times: Saved times.
        grid: Where they live.
        fields: Names and units of the channels.
        field: Channel shown.
        lost_at: Time since the start at which an arm lost the truth, drawn as a dashed line.
        time_unit: Unit of the times.
        length_unit: Unit of the extents.
    """
    truth = _array(reference[:, field])
    limit = float(np.abs(truth).max()) or 1.0
    lead = np.asarray(times) - times[0]
    box = (lead[0], lead[-1], grid.origin[0], grid.origin[0] + grid.extent[0])
    figure = _figure(10.5, 1.1 + 1.35 * (1 + len(predictions)))
    panels = figure.subplots(1 + len(predictions), 2, sharex=True, sharey=True, squeeze=False)
    shown = {"aspect": "auto", "origin": "lower", "extent": box, "interpolation": "nearest"}
    field_image = panels[0, 0].imshow(truth.T, cmap=_FIELD_MAP, vmin=-limit, vmax=limit, **shown)
    panels[0, 0].set_title("truth", fontsize=10, loc="left")
    panels[0, 1].axis("off")
    note = "left: the field; right: how far the arm is off, |prediction - truth|"
    if lost_at:
        note += "\ndashed line: correlation with the truth falls below the threshold"
    panels[0, 1].text(0.02, 0.5, note, transform=panels[0, 1].transAxes, va="center", fontsize=9)
    error_image = None
    for row, (name, states) in enumerate(predictions.items(), start=1):
        u = _array(states[:, field])
        panels[row, 0].imshow(u.T, cmap=_FIELD_MAP, vmin=-limit, vmax=limit, **shown)
        error_image = panels[row, 1].imshow(
            np.abs(u - truth).T, cmap=_ERROR_MAP, vmin=0, vmax=limit, **shown
        )
        panels[row, 0].set_title(name, fontsize=10, loc="left")
        panels[row, 1].set_title(f"{name}: error", fontsize=10, loc="left")
        if lost_at and name in lost_at and lost_at[name] < lead[-1]:
            panels[row, 0].axvline(lost_at[name], color="black", linestyle="--", linewidth=1.2)
            panels[row, 1].axvline(lost_at[name], color="white", linestyle="--", linewidth=1.2)
    for panel in panels[:, 0]:
        panel.set_ylabel(_with_unit("x", length_unit))
    for panel in panels[-1]:
        panel.set_xlabel(_with_unit("time since the initial state", time_unit))
    label = _field_label(fields, field)
    figure.colorbar(field_image, ax=panels[:, 0], label=label, aspect=40, pad=0.01)
    if error_image is not None:
        figure.colorbar(
            error_image, ax=panels[:, 1], label=f"|error| {label}", aspect=40, pad=0.01
        )
    return figure


def field_images(
    reference: Tensor,
    predictions: Mapping[str, Tensor],
    times: Sequence[float],
    grid: Grid,
    *,
    fields: FieldSpec,
    field: int = 0,
    num_frames: int = 5,
    time_unit: str = "1",
    length_unit: str = "1",
) -> Figure:
    """One trajectory in 2D: truth and each arm at a few times. Arguments as for `space_time`."""
    truth = _array(reference[:, field])
    limit = float(np.abs(truth).max()) or 1.0
    chosen = np.unique(np.linspace(0, len(times) - 1, num_frames).round().astype(int))
    rows = {"truth": truth} | {name: _array(u[:, field]) for name, u in predictions.items()}
    box = [
        edge
        for origin, extent in zip(grid.origin, grid.extent, strict=True)
        for edge in (origin, origin + extent)
    ]
    figure = _figure(2.0 * len(chosen) + 1.2, 2.0 * len(rows) + 0.6)
    panels = figure.subplots(len(rows), len(chosen), sharex=True, sharey=True, squeeze=False)
    image = None
    for row, (name, states) in enumerate(rows.items()):
        for column, n in enumerate(chosen):
            panel = panels[row, column]
            image = panel.imshow(
                states[n].T, cmap=_FIELD_MAP, vmin=-limit, vmax=limit, origin="lower", extent=box
            )
            if row == 0:
                at = f"{times[n] - times[0]:.3g}"
                panel.set_title(
                    f"time {at}{'' if time_unit == '1' else ' ' + time_unit}", fontsize=9
                )
        panels[row, 0].set_ylabel(f"{name}\n{_with_unit('y', length_unit)}", fontsize=9)
    for panel in panels[-1]:
        panel.set_xlabel(_with_unit("x", length_unit), fontsize=9)
    if image is not None:
        figure.colorbar(image, ax=panels, label=_field_label(fields, field), shrink=0.7, pad=0.01)
    return figure


def error_curves(
    scores: Scores, styles: Styles, *, threshold: float = 0.8, time_unit: str = "1"
) -> Figure:
    """Error and correlation over time: median and 10-90 % band over the trajectories."""
    figure = _figure(10.5, 4.3)
    left, right = figure.subplots(1, 2)
    smallest = np.inf
    for name, data in scores.items():
        given, time = int(data.attrs["num_given"]), _lead_time(data)
        error = _samples(data.nrmse.mean("field", skipna=False))[:, given:]
        positive = error[(error > 0) & np.isfinite(error)]
        smallest = min(smallest, positive.min(initial=np.inf))
        _band(left, time[given:], error, name, styles[name])
        correlation = data.correlation.mean("field", skipna=False).fillna(0)
        _band(right, time, _samples(correlation), name, styles[name])
    left.set_yscale("log")
    left.set_ylim(max(smallest / 2, 1e-12) if np.isfinite(smallest) else 1e-3, 5)
    left.set_ylabel("error (nrmse; 1 = as large as the field)")
    _legend_below(figure, left, len(scores))
    right.axhline(threshold, color="black", linewidth=0.8, linestyle="--")
    right.set_ylim(min(-0.25, right.get_ylim()[0]), 1.03)
    right.set_ylabel("correlation with the truth")
    for axes in (left, right):
        axes.set_xlabel(_with_unit("time since the initial state", time_unit))
        _polish(axes)
    return figure


def correlation_times(
    scores: Scores, styles: Styles, *, threshold: float = 0.8, time_unit: str = "1"
) -> Figure:
    """Time to correlation of every trajectory, one row per arm; the bar is the median."""
    figure = _figure(10.5, 0.9 + 0.45 * len(scores))
    axes = figure.subplots()
    jitter = np.random.default_rng(0)
    for row, (name, data) in enumerate(scores.items()):
        times = _samples(data.correlation_time.sel(threshold=threshold))
        heights = row + jitter.uniform(-0.22, 0.22, len(times))
        colour = styles[name]["color"]
        axes.scatter(times, heights, s=16, color=colour, alpha=0.55, linewidths=0)
        middle = np.quantile(times, 0.5, method="nearest")
        axes.plot([middle, middle], [row - 0.36, row + 0.36], color=colour, linewidth=3)
    horizon = max(float(_lead_time(data)[-1]) for data in scores.values())
    axes.axvline(horizon, color="black", linewidth=0.8, linestyle=":")
    axes.set_xlim(0, 1.03 * horizon)
    axes.set_yticks(range(len(scores)), list(scores))
    axes.invert_yaxis()
    axes.set_xlabel(
        _with_unit(f"time until the correlation falls below {threshold:g}", time_unit)
        + "   (dotted: end of the data)"
    )
    _polish(axes)
    return figure


def spectra(scores: Scores, styles: Styles, *, field: int = 0, length_unit: str = "1") -> Figure:
    """Energy at each wavenumber, mean over the scored times: are the small scales kept?"""
    figure = _figure(7.5, 4.6)
    axes = figure.subplots()
    first = next(iter(scores.values()))
    k = first.wavenumber.values[1:]
    truth = np.median(_samples(first.spectrum_reference.isel(field=field))[:, 1:], axis=0)
    for name, data in scores.items():
        values = _samples(data.spectrum_prediction.isel(field=field))[:, 1:]
        _band(axes, k, np.maximum(values, 1e-300), name, styles[name])
    axes.plot(k, truth, color="black", linewidth=1.2, label="truth", zorder=5)
    axes.set_xscale("log")
    axes.set_yscale("log")
    top = truth.max()
    axes.set_ylim(max(truth[truth > 0].min(initial=top) / 10, 1e-12 * top), 20 * top)
    inverse = "" if length_unit == "1" else f"1/{length_unit}"
    axes.set_xlabel(_with_unit("wavenumber", inverse))
    axes.set_ylabel("energy in the shell")
    _legend_below(figure, axes, 3)
    _polish(axes)
    return figure


def error_against_seconds(
    front: Sequence[FrontPoint],
    arms: Mapping[str, tuple[float, float]],
    styles: Styles,
    *,
    limit: float = 3.0,
) -> Figure:
    """Error against wall time: classical settings in grey, arms (seconds, error) in colour.

    Down and to the left is better. What exceeds `limit`, diverged settings and arms included, is
    drawn at the limit, arms as open stars. A setting without error made the reference itself and
    is not drawn.
    """
    figure = _figure(8.5, 4.6)
    axes = figure.subplots()
    front = [point for point in front if point.error != 0]
    for scheme, marker in zip(dict.fromkeys(p.scheme for p in front), _MARKERS, strict=False):
        points = [p for p in front if p.scheme == scheme]
        axes.scatter(
            [p.seconds for p in points],
            [min(p.error, limit) for p in points],
            marker=marker, s=34, color="#9a9a9a", label=f"classical {scheme}",
        )  # fmt: skip
    best = _staircase(front, limit)
    if best:
        axes.plot(*zip(*best, strict=True), color="#666666", linewidth=1, drawstyle="steps-post",
                  label="classical front", zorder=1)  # fmt: skip
    for name, (seconds, error) in arms.items():
        lost = not error <= limit
        colour = styles[name]["color"]
        axes.scatter(
            [seconds], [limit if lost else error], marker="*", s=210, zorder=4, label=name,
            facecolors="none" if lost else colour, edgecolors=colour if lost else "black",
            linewidths=0.8,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("wall time for all trajectories [s]   (left is faster)")
    axes.set_ylabel("error (mean nrmse)   (down is better)")
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    _polish(axes)
    return figure


def _staircase(front: Sequence[FrontPoint], limit: float) -> list[tuple[float, float]]:
    """The settings that no other beats in both error and time."""
    best: list[tuple[float, float]] = []
    for point in sorted(front, key=lambda p: p.seconds):
        if point.error < (best[-1][1] if best else limit):
            best.append((point.seconds, point.error))
    return best


def conserved_drift(scores: Scores, styles: Styles, *, time_unit: str = "1") -> Figure:
    """Distance of each conserved quantity from that of the truth, over time."""
    first = next(iter(scores.values()))
    names = first.quantity.values
    figure = _figure(max(7.5, 4.2 * len(names)), 4.0)
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for axes, quantity in zip(panels, names, strict=True):
        for name, data in scores.items():
            drift = _samples(data.conservation_drift.sel(quantity=quantity))[:, 1:]
            _band(axes, _lead_time(data)[1:], np.maximum(drift, 1e-18), name, styles[name])
        axes.set_yscale("log")
        size = float(np.abs(first.conserved_reference.sel(quantity=quantity)).max())
        drawn = np.concatenate([line.get_ydata() for line in axes.lines])
        sane = drawn[drawn < 1e3 * (1 + size)]
        axes.set_ylim(1e-17, 10 * max(sane.max(initial=0.0), 1e-13))
        axes.set_title(f"{quantity}: |prediction - truth|", fontsize=10, loc="left")
        axes.set_xlabel(_with_unit("time since the initial state", time_unit))
        _polish(axes)
    _legend_below(figure, panels[0], len(scores))
    return figure


def training_curves(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], styles: Styles
) -> Figure:
    """Loss against updates, arm name to (updates, loss)."""
    figure = _figure(7.0, 3.4)
    axes = figure.subplots()
    for name, (updates, loss) in curves.items():
        axes.plot(updates, loss, label=name, linewidth=1.4, color=styles[name]["color"],
                  linestyle=styles[name]["linestyle"])  # fmt: skip
    axes.set_yscale("log")
    axes.set_xlabel("updates")
    axes.set_ylabel("loss")
    axes.legend(fontsize=8)
    _polish(axes)
    return figure


def animation(
    reference: Tensor,
    predictions: Mapping[str, Tensor],
    times: Sequence[float],
    grid: Grid,
    styles: Styles,
    *,
    fields: FieldSpec,
    field: int = 0,
    num_frames: int = 48,
) -> bytes:
    """Truth and predictions moving side by side, as a GIF.

    In 1D each arm has a panel with the truth in black behind it; in 2D the truth comes first.
    Arguments as for `space_time`.
    """
    chosen = np.unique(np.linspace(0, len(times) - 1, num_frames).round().astype(int))
    truth = _array(reference[:, field])
    arms = {name: _array(u[:, field]) for name, u in predictions.items()}
    limit = float(np.abs(truth).max()) or 1.0
    panels = arms if grid.dim == 1 else {"truth": truth} | arms
    figure = _figure(3.1 * len(panels) + 0.6, 2.5 if grid.dim == 1 else 3.2)
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    artists = []
    for panel, (name, states) in zip(axes, panels.items(), strict=True):
        panel.set_title(name, fontsize=9, loc="left")
        if grid.dim == 1:
            x = grid.axes()[0].numpy()
            (black,) = panel.plot(
                x, truth[0], color="black", linewidth=0.9, label="truth", zorder=3
            )
            (line,) = panel.plot(x, states[0], color=styles[name]["color"], linewidth=2.6)
            panel.set_ylim(-1.25 * limit, 1.25 * limit)
            panel.set_xlabel("x", fontsize=8)
            artists += [(black, truth), (line, states)]
        else:
            image = panel.imshow(
                states[0].T, cmap=_FIELD_MAP, vmin=-limit, vmax=limit, origin="lower"
            )
            panel.set_axis_off()
            artists.append((image, states))
    if grid.dim == 1:
        axes[0].set_ylabel(_field_label(fields, field), fontsize=8)
        axes[0].legend(fontsize=7, loc="upper left")
    title = figure.suptitle("time", fontsize=9)
    frames = []
    _pixels(figure)
    figure.set_layout_engine("none")  # placed once; placing every frame takes most of the time
    for n in chosen:
        title.set_text(f"time {times[n] - times[0]:.3g}")
        for artist, states in artists:
            if grid.dim == 1:
                artist.set_ydata(states[n])
            else:
                artist.set_data(states[n].T)
        frames.append(_pixels(figure))
    return to_gif(frames)


def _pixels(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
