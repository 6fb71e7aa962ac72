"""Ensemble scores against exact answers: Gaussian CRPS, calibrated draws, ties, one member."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from pdesurrogates.core import FieldSpec
from pdesurrogates.evaluation import ensemble_plots, plots
from pdesurrogates.evaluation.ensemble import (
    central_levels,
    coverage,
    crps,
    ensemble_rmse,
    evaluate_ensemble,
    rank_histogram,
    spread,
    spread_skill_ratio,
)

BOTH = ("batch", "time")


def draws(num_members, *, scale=1.0, batch=40, time=5, points=200):
    """Truth and members are draws around a common centre; `scale` makes the members wrong."""
    centre = torch.randn(batch, time, 1, points)
    reference = centre + torch.randn(centre.shape)
    members = centre[:, None] + scale * torch.randn(batch, num_members, time, 1, points)
    return members, reference


def gaussian_crps(z):
    """CRPS of a standard normal at z, Gneiting and Raftery (2007), p. 367."""
    density = torch.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    below = 0.5 * (1 + torch.erf(z / math.sqrt(2)))
    return z * (2 * below - 1) + 2 * density - 1 / math.sqrt(math.pi)


@pytest.mark.parametrize("fair", [True, False])
def test_crps_of_a_gaussian(fair):
    # Exact quantiles as members: the ensemble is the distribution up to 1 / M.
    num_members = 4000
    levels = (torch.arange(num_members) + 0.5) / num_members
    members = math.sqrt(2) * torch.erfinv(2 * levels - 1)
    z = torch.tensor([-2.0, -0.3, 0.0, 1.0, 3.0])
    prediction = members[:, None, None, None].expand(5, -1, 1, 1, 1)
    scores = crps(prediction, z[:, None, None, None], fair=fair)[:, 0]
    torch.testing.assert_close(scores, gaussian_crps(z), rtol=0, atol=2e-3)


def test_crps_by_its_definition():
    u, u_ref = torch.randn(2, 5, 3, 2, 4), torch.randn(2, 3, 2, 4)
    first = (u - u_ref[:, None]).abs().mean(1)
    pairs = (u[:, :, None] - u[:, None]).abs().sum((1, 2))
    for fair, number in ((True, 20), (False, 25)):
        expected = (first - pairs / (2 * number)).mean(-1)
        torch.testing.assert_close(crps(u, u_ref, fair=fair, per_channel=True), expected)


def test_the_fair_score_does_not_depend_on_the_number_of_members():
    few, many = (float(crps(*draws(m, batch=400), reduce=BOTH)) for m in (2, 16))
    # E crps of N(0, 1) at a draw of N(0, 1): E|X - Y| / 2 = 1 / sqrt(pi).
    assert abs(few - 1 / math.sqrt(math.pi)) < 0.01
    assert abs(many - 1 / math.sqrt(math.pi)) < 0.01
    unfair = float(crps(*draws(2, batch=400), fair=False, reduce=BOTH))
    assert abs(unfair - 1.5 / math.sqrt(math.pi)) < 0.01


def test_crps_of_one_member_is_the_absolute_error():
    u, u_ref = draws(1)
    expected = (u[:, 0] - u_ref).abs().mean((-2, -1))
    torch.testing.assert_close(crps(u, u_ref, fair=False), expected)


@pytest.mark.parametrize("num_members", [2, 5, 12])
def test_a_calibrated_ensemble_of_any_size(num_members):
    u, u_ref = draws(num_members)
    ratios = spread_skill_ratio(u, u_ref)
    assert ratios.shape == (5,)
    torch.testing.assert_close(ratios, torch.ones(5), rtol=0.03, atol=0)
    levels = torch.tensor(central_levels(num_members))
    torch.testing.assert_close(coverage(u, u_ref, reduce=BOTH), levels, rtol=0, atol=0.015)
    shares = rank_histogram(u, u_ref, reduce=BOTH)
    flat = torch.full_like(shares, 1 / (num_members + 1))
    torch.testing.assert_close(shares, flat, rtol=0.06, atol=0)


def test_levels_between_those_of_the_members():
    # Straight lines between members: nearly exact, and nearer than the next member (0.5).
    u, u_ref = draws(9, batch=200)
    observed = coverage(u, u_ref, levels=(0.44,), reduce=BOTH)
    torch.testing.assert_close(observed, torch.tensor([0.44]), rtol=0, atol=0.015)


def test_too_sure_and_too_unsure_ensembles_show():
    u, u_ref = draws(9, scale=0.5)
    assert float(spread_skill_ratio(u, u_ref).mean()) < 0.7
    assert (coverage(u, u_ref, reduce=BOTH) < torch.tensor(central_levels(9)) - 0.05).all()
    shares = rank_histogram(u, u_ref, reduce=BOTH)
    assert shares[0] > 0.2 and shares[-1] > 0.2 and shares[4] < 0.1
    assert float(crps(u, u_ref, reduce=BOTH)) > 1 / math.sqrt(math.pi)
    u, u_ref = draws(9, scale=2.0)
    assert float(spread_skill_ratio(u, u_ref).mean()) > 1.5
    shares = rank_histogram(u, u_ref, reduce=BOTH)
    assert shares[0] < 0.06 and shares[4] > 0.12


def test_spread_and_error_by_hand():
    u = torch.tensor([1.0, 3.0]).reshape(1, 2, 1, 1, 1).expand(1, 2, 1, 1, 4)
    u_ref = torch.zeros(1, 1, 1, 4)
    torch.testing.assert_close(spread(u), torch.tensor([[math.sqrt(2)]]))
    torch.testing.assert_close(ensemble_rmse(u, u_ref), torch.tensor([[2.0]]))
    ratio = math.sqrt(1.5) * math.sqrt(2) / 2
    torch.testing.assert_close(spread_skill_ratio(u, u_ref), torch.tensor([ratio]))


def test_ties_count_in_equal_parts():
    u = torch.zeros(1, 3, 1, 1, 2)
    truth = torch.zeros(1, 1, 1, 2)
    torch.testing.assert_close(rank_histogram(u, truth)[0, 0], torch.full((4,), 0.25))
    u[:, 2] = 1.0
    expected = torch.tensor([1.0, 1.0, 1.0, 0.0]) / 3
    torch.testing.assert_close(rank_histogram(u, truth)[0, 0], expected)
    shares = rank_histogram(*draws(4))
    torch.testing.assert_close(shares.sum(-1), torch.ones(40, 5))


def test_two_dimensions_and_channels():
    u, u_ref = torch.randn(2, 4, 3, 2, 5, 6), torch.randn(2, 3, 2, 5, 6)
    flat, flat_ref = u.flatten(-2), u_ref.flatten(-2)
    for score in (crps, ensemble_rmse, coverage, rank_histogram):
        torch.testing.assert_close(score(u, u_ref), score(flat, flat_ref))
    assert coverage(u, u_ref, per_channel=True).shape == (2, 3, 2, 2)
    assert rank_histogram(u, u_ref, per_channel=True).shape == (2, 3, 2, 5)
    assert crps(u, u_ref, per_channel=True, reduce="batch").shape == (3, 2)


@pytest.mark.parametrize("lost", [math.nan, math.inf])
def test_a_lost_member_is_not_dropped(lost):
    u, u_ref = draws(4, batch=2, points=8)
    u[1, 2, 3:, :, 0] = lost
    for scores in (crps(u, u_ref), spread(u), ensemble_rmse(u, u_ref)):
        assert scores[0].isfinite().all() and scores[1, :3].isfinite().all()
        assert not scores[1, 3:].isfinite().any()
    for scores in (coverage(u, u_ref), rank_histogram(u, u_ref)):
        assert scores[1, 3:].isnan().all() and scores[1, :3].isfinite().all()


def test_mistakes_are_named():
    u, u_ref = draws(1)
    for score in (crps, coverage, spread_skill_ratio):
        with pytest.raises(ValueError, match="at least 2 members, got 1; roll out more"):
            score(u, u_ref)
    with pytest.raises(ValueError, match="at least 2 members"):
        spread(u)
    assert rank_histogram(u, u_ref).shape == (40, 5, 2)
    with pytest.raises(ValueError, match="9 members tell levels up to 0.8, got"):
        coverage(*draws(9), levels=[0.9])
    with pytest.raises(ValueError, match="the same without the member axis"):
        crps(u, u_ref[:, None])
    with pytest.raises(
        TypeError, match="`reference` must be a real torch tensor, got torch.complex"
    ):
        crps(u, u_ref.to(torch.complex128), fair=False)


# --- table and figures ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def scored():
    torch.manual_seed(0)
    times = [2.0 + 0.5 * n for n in range(5)]
    fields = FieldSpec(("height",), ("m",))
    arms = {"calibrated": draws(9), "too sure": draws(9, scale=0.5)}
    return {k: evaluate_ensemble(*v, times, fields=fields) for k, v in arms.items()}


def test_the_table_holds_the_scores(tmp_path):
    u, u_ref = draws(3, batch=4, points=16)
    table = evaluate_ensemble(u, u_ref, [0.0, 1.0, 2.0, 3.0, 4.0])
    assert dict(table.sizes) == {"trajectory": 4, "time": 5, "field": 1, "level": 1, "rank": 4}
    np.testing.assert_allclose(table.crps[..., 0], crps(u, u_ref))
    np.testing.assert_allclose(table.coverage[:, :, 0], coverage(u, u_ref))
    assert table.is_scored.values.tolist() == [False, True, True, True, True]
    table.to_netcdf(tmp_path / "scores.nc", engine="h5netcdf")
    own = torch.arange(5.0) + torch.arange(4.0)[:, None]
    assert evaluate_ensemble(u, u_ref, own).trajectory_time.shape == (4, 5)
    with pytest.raises(ValueError, match="one entry per saved state"):
        evaluate_ensemble(u, u_ref, [0.0, 1.0])


def drawn(figure):
    png = plots.to_png(figure)
    with Image.open(io.BytesIO(png)) as image:
        colours = image.convert("RGB").getcolors(1 << 24)
        assert colours is not None and len(colours) > 20, "the picture is empty"
    return figure.axes


def test_spread_and_error_figure(scored):
    styles = plots.arm_styles(list(scored))
    left, right = drawn(ensemble_plots.spread_and_error(scored, styles, time_unit="s"))
    assert left.get_xlabel() == "time since the initial state [s]"
    np.testing.assert_allclose(left.lines[0].get_xdata(), [0.5, 1.0, 1.5, 2.0])
    error, own = (line.get_ydata() for line in left.lines[:2])
    np.testing.assert_allclose(own / error, 1.0, rtol=0.03)
    error, own = (line.get_ydata() for line in left.lines[2:4])
    assert (own / error < 0.7).all()
    assert len(right.lines[0].get_xdata()) == 10


def test_spread_that_tells_bad_forecasts_lies_on_the_diagonal():
    scale = torch.logspace(-2, 0, 40)[:, None, None, None]
    centre = torch.zeros(40, 5, 1, 200)
    u_ref = centre + scale * torch.randn(centre.shape)
    u = centre[:, None] + scale[:, None] * torch.randn(40, 7, 5, 1, 200)
    table = {"a": evaluate_ensemble(u, u_ref, range(5))}
    _, right = drawn(ensemble_plots.spread_and_error(table, plots.arm_styles(["a"])))
    x, y = right.lines[0].get_data()
    assert x[-1] / x[0] > 20
    np.testing.assert_allclose(x, y, rtol=0.1)


def test_coverage_and_rank_figures(scored):
    styles = plots.arm_styles(list(scored))
    (axes,) = drawn(ensemble_plots.coverage_curves(scored, styles))
    x, y = axes.lines[1].get_data()
    np.testing.assert_allclose(x, y, atol=0.02)
    panels = drawn(ensemble_plots.rank_histograms(scored, styles))
    heights = [[bar.get_height() for bar in axes.patches] for axes in panels]
    np.testing.assert_allclose(heights[0], 1.0, atol=0.06)
    assert heights[1][0] > 2


def test_lost_members_show_in_the_figures():
    u, u_ref = draws(4, batch=6, points=50)
    u[0, 2, 3:] = math.nan
    table = {"a": evaluate_ensemble(u, u_ref, range(5))}
    styles = plots.arm_styles(["a"])
    drawn(ensemble_plots.spread_and_error(table, styles))
    (axes,) = drawn(ensemble_plots.coverage_curves(table, styles))
    expected = coverage(u, u_ref)[:, 1:].nan_to_num().mean((0, 1))
    np.testing.assert_allclose(axes.lines[1].get_ydata(), expected)
    (axes,) = drawn(ensemble_plots.rank_histograms(table, styles))
    assert axes.get_title(loc="left") == "a (2 of 24 lost)"
    assert abs(sum(bar.get_height() for bar in axes.patches) - 5) < 1e-9
