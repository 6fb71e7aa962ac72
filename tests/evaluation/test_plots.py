"""Figures: every kind is drawn, shows what it was given, and touches no global state."""

from __future__ import annotations

import inspect
import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.evaluation import FrontPoint, evaluate, plots

TIMES = [1.0 + 0.5 * n for n in range(12)]
FIELDS = FieldSpec(("height",), ("m",))


def _case(dim: int):
    grid = Grid((16,) * dim, (3.0,))
    reference = torch.randn(4, 12, 1, *grid.shape)
    good = reference + 0.1 * torch.randn(reference.shape)
    bad = reference.clone()
    bad[1, 5:] = math.nan
    return grid, reference, {"good": good, "bad": bad}


@pytest.fixture(scope="module")
def scored():
    grid, reference, arms = _case(1)
    styles = plots.arm_styles(["good", "bad", "persistence"], ["persistence"])
    conserved = {"conserved": lambda u: {"mass": u.mean((-1, -2))}}
    return styles, {k: evaluate(u, reference, grid, TIMES, **conserved) for k, u in arms.items()}


def _size(png: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(png)) as image:
        colours = image.convert("RGB").getcolors(1 << 24)
        assert colours is not None and len(colours) > 20, "the picture is empty"
        return image.size


def test_styles_are_distinct_and_stable():
    names = ["a", "b", "c", "floor", "persistence"]
    styles = plots.arm_styles(names, ["floor", "persistence"])
    looks = {(style["color"], style["linestyle"]) for style in styles.values()}
    assert len(looks) == len(names)
    assert plots.arm_styles(["a"])["a"] == styles["a"]


@pytest.mark.parametrize(
    "draw", [plots.error_curves, plots.correlation_times, plots.spectra, plots.conserved_drift]
)
def test_score_figures(scored, draw):
    styles, scores = scored
    width, height = _size(plots.to_png(draw(scores, styles)))
    assert width > 500 and height > 150


def test_curves_are_the_median(scored):
    styles, scores = scored
    axes = plots.error_curves(scores, styles).axes[0]
    line = next(line for line in axes.lines if line.get_label() == "good")
    expected = np.quantile(scores["good"].nrmse[:, 1:, 0], 0.5, axis=0, method="nearest")
    np.testing.assert_allclose(line.get_ydata(), expected)
    np.testing.assert_allclose(line.get_xdata(), 0.5 * np.arange(1, 12))


def test_labels_carry_units():
    grid, reference, arms = _case(1)
    figure = plots.space_time(
        reference[0], {k: u[0] for k, u in arms.items()}, TIMES, grid, fields=FIELDS,
        lost_at={"bad": 2.0}, time_unit="s", length_unit="km",
    )  # fmt: skip
    labels = {axes.get_ylabel() for axes in figure.axes} | {a.get_xlabel() for a in figure.axes}
    assert {"x [km]", "time since the initial state [s]", "height [m]"} <= labels
    _size(plots.to_png(figure))


def test_images_in_2d_put_x_to_the_right():
    grid, reference, arms = _case(2)
    figure = plots.field_images(
        reference[0], {k: u[0] for k, u in arms.items()}, TIMES, grid, fields=FIELDS
    )
    _size(plots.to_png(figure))
    shown = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(shown, reference[0, 0, 0].T.numpy())


@pytest.mark.parametrize("dim", [1, 2])
def test_animation(dim):
    grid, reference, arms = _case(dim)
    styles = plots.arm_styles(list(arms))
    gif = plots.animation(
        reference[0], {k: u[0] for k, u in arms.items()}, TIMES, grid, styles,
        fields=FIELDS, num_frames=5,
    )  # fmt: skip
    with Image.open(io.BytesIO(gif)) as image:
        assert image.n_frames == 5


def test_front_shows_diverged_settings_at_the_limit():
    front = [
        FrontPoint("RK4", (8,), 0.1, 1.0, math.inf, 1.0, 3),
        FrontPoint("RK4", (8,), 0.1, 2.0, 0.1, 1.0, 0),
    ]
    styles = plots.arm_styles(["arm"])
    figure = plots.error_against_seconds(front, {"arm": (0.5, math.nan)}, styles)
    marks = np.concatenate([c.get_offsets() for c in figure.axes[0].collections])
    assert sorted(marks[:, 1].tolist()) == [0.1, 3.0, 3.0]
    _size(plots.to_png(figure))


def test_training_curves():
    figure = plots.training_curves({"a": ([1, 2, 3], [1.0, 0.5, 0.1])}, plots.arm_styles(["a"]))
    _size(plots.to_png(figure))


def test_no_global_figures():
    assert "pyplot" not in inspect.getsource(plots)
