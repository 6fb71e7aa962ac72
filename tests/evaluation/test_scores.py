"""`evaluate`: labels, what is scored, what is never dropped, and the bootstrap interval."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import xarray as xr

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.evaluation import (
    bootstrap_interval,
    correlation_time,
    evaluate,
    nrmse,
    spectral_error,
    summarize,
)

GRID = Grid((16,), (4.0,))
TIMES = [10.0, 10.5, 11.0, 12.0]


def _pair(trajectories: int = 5, channels: int = 1):
    reference = torch.randn(trajectories, 4, channels, 16)
    prediction = reference + 0.3 * torch.randn(reference.shape)
    prediction[:, 0] = reference[:, 0]
    return prediction, reference


def test_variables_agree_with_the_metrics():
    prediction, reference = _pair(channels=2)
    fields = FieldSpec(("height", "speed"), ("m", "m/s"))
    scores = evaluate(prediction, reference, GRID, TIMES, fields=fields)
    assert dict(scores.sizes) == {
        "trajectory": 5, "time": 4, "field": 2, "threshold": 3, "wavenumber": 9, "band": 5,
    }  # fmt: skip
    np.testing.assert_array_equal(scores.nrmse.mean("field"), nrmse(prediction, reference).numpy())
    np.testing.assert_array_equal(scores.spectral_error, spectral_error(prediction, reference))
    lead = [0.0, 0.5, 1.0, 2.0]
    np.testing.assert_array_equal(
        scores.correlation_time.sel(threshold=0.95),
        correlation_time(prediction, reference, lead, threshold=0.95),
    )
    assert scores.time.values.tolist() == TIMES
    assert scores.rmse.attrs["unit"] == "m, m/s"
    assert all(variable.attrs["formula"] for variable in scores.data_vars.values())


def test_the_given_state_is_never_scored():
    prediction, reference = _pair()
    scores = evaluate(prediction, reference, GRID, TIMES)
    assert scores.is_scored.values.tolist() == [False, True, True, True]
    np.testing.assert_allclose(scores.error, nrmse(prediction, reference)[:, 1:].mean(1))
    two = evaluate(prediction, reference, GRID, TIMES, num_given=2)
    np.testing.assert_allclose(two.error, nrmse(prediction, reference)[:, 2:].mean(1))


def test_diverged_trajectories_stay():
    prediction, reference = _pair()
    prediction[1, 2:] = math.nan
    prediction[3, 3] = math.nan
    scores = evaluate(prediction, reference, GRID, TIMES)
    assert scores.divergence_step.values.tolist() == [-1, 2, -1, 3, -1]
    assert scores.divergence_time.values.tolist() == [math.inf, 1.0, math.inf, 2.0, math.inf]
    assert scores.correlation_time.sel(threshold=0.8).values[1] <= 1.0
    assert scores.attrs["num_diverged"] == 2
    summary = summarize(scores)
    assert int(summary.num_diverged) == 2 and int(summary.num_trajectories) == 5
    assert float(summary.error.sel(statistic="mean")) == math.inf
    assert float(summary.error.sel(statistic="q90")) == math.inf
    assert math.isfinite(float(summary.error.sel(statistic="median")))
    assert math.isfinite(float(summary.correlation_time.sel(statistic="mean", threshold=0.8)))


def test_blocks_do_not_change_the_scores(monkeypatch):
    from pdesurrogates.evaluation import scores as module

    prediction, reference = _pair()
    whole = evaluate(prediction, reference, GRID, TIMES)
    blocks = module._blocks
    monkeypatch.setattr(module, "_blocks", lambda u: blocks(u, num_elements=2 * u[0].numel()))
    xr.testing.assert_identical(evaluate(prediction, reference, GRID, TIMES), whole)


@pytest.mark.parametrize("engine", ["h5netcdf", "scipy"])
def test_netcdf_round_trip(tmp_path, engine):
    prediction, reference = _pair()
    scores = evaluate(
        prediction, reference, GRID, TIMES, conserved=lambda u: {"mass": u.mean((-1, -2))}
    )
    if engine == "scipy":  # netCDF 3 holds no 64-bit integers, booleans or unicode
        scores = scores.drop_vars(["is_scored"])
    scores.to_netcdf(tmp_path / "scores.nc", engine=engine)
    with xr.open_dataset(tmp_path / "scores.nc", engine=engine) as loaded:
        xr.testing.assert_allclose(loaded, scores)
        assert loaded.attrs["num_given"] == 1


def test_conserved_quantities():
    prediction, reference = _pair()
    scores = evaluate(
        prediction, reference, GRID, TIMES, conserved=lambda u: {"mass": u.mean((-1, -2))}
    )
    assert scores.quantity.values.tolist() == ["mass"]
    expected = (prediction - reference).mean((2, 3)).abs()
    np.testing.assert_allclose(scores.conservation_drift[..., 0], expected, atol=1e-7)


def test_times_of_each_trajectory():
    prediction, reference = _pair(2)
    prediction[:, 2:] = -reference[:, 2:]
    times = torch.tensor([[0.0, 1.0, 2.0, 3.0], [5.0, 5.5, 6.0, 6.5]])
    scores = evaluate(prediction, reference, GRID, times)
    assert scores.correlation_time.sel(threshold=0.8).values.tolist() == [2.0, 1.0]
    assert scores.trajectory_time.dims == ("trajectory", "time")


def test_2d_and_walls():
    grid = Grid((8, 6), (1.0, 1.0), periodic=(True, False))
    reference = torch.randn(2, 4, 1, 8, 6)
    scores = evaluate(reference, reference, grid, TIMES)
    assert "spectral_error" not in scores and float(scores.error.max()) == 0


def test_a_prediction_with_a_gradient_is_scored():
    prediction, reference = _pair()
    scores = evaluate(prediction.clone().requires_grad_(), reference, GRID, TIMES)
    xr.testing.assert_identical(scores, evaluate(prediction, reference, GRID, TIMES))


def test_bad_input():
    prediction, reference = _pair()
    with pytest.raises(ValueError, match=r"\*space = \(8,\)"):
        evaluate(prediction, reference, Grid((8,), (1.0,)), TIMES)
    with pytest.raises(ValueError, match="`prediction` must have shape"):
        evaluate(prediction[0], reference, GRID, TIMES)
    with pytest.raises(ValueError, match="must have the same shape"):
        evaluate(prediction[:2], reference, GRID, TIMES)
    with pytest.raises(TypeError, match="`prediction` must be a torch tensor"):
        evaluate(prediction.numpy(), reference, GRID, TIMES)
    with pytest.raises(ValueError, match=r"`times` must have one entry per saved state, \(4,\)"):
        evaluate(prediction, reference, GRID, TIMES[:2])
    reference[3, 2, 0, 5] = math.nan
    with pytest.raises(ValueError, match="trajectory 3, field 'u' at frame 2 .t = 11."):
        evaluate(prediction, reference, GRID, TIMES)
    prediction, reference = _pair()
    with pytest.raises(ValueError, match="at least one"):
        evaluate(prediction, reference, GRID, TIMES, num_given=4)
    with pytest.raises(ValueError, match="names 2 channels"):
        evaluate(prediction, reference, GRID, TIMES, fields=FieldSpec(("a", "b")))


def test_bootstrap_interval_of_a_normal_sample():
    sample = np.random.default_rng(0).normal(3.0, 2.0, 400)
    mean, low, high = bootstrap_interval(sample)
    half = 1.96 * sample.std() / 20
    assert mean == pytest.approx(sample.mean())
    assert low == pytest.approx(mean - half, abs=0.1 * half)
    assert high == pytest.approx(mean + half, abs=0.1 * half)
    assert bootstrap_interval(sample) == (mean, low, high)
    assert math.isnan(bootstrap_interval([1.0])[1])
    assert bootstrap_interval([1.0, math.inf])[0] == math.inf
    with pytest.raises(ValueError, match="one value per trajectory"):
        bootstrap_interval([])


def test_seeds_are_averaged_before_trajectories_are_resampled():
    prediction, reference = _pair()
    runs = [evaluate(p, reference, GRID, TIMES) for p in (prediction, reference)]
    summary = summarize(xr.concat(runs, "seed"))
    assert float(summary.error.sel(statistic="mean")) == pytest.approx(
        float(runs[0].error.mean()) / 2
    )
    assert int(summary.num_trajectories) == 10
