"""Metrics against numbers known by hand, identities and the documented edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pdesurrogates.evaluation import (
    conservation_drift,
    correlation,
    correlation_time,
    divergence_step,
    divergence_time,
    first_crossing,
    nrmse,
    relative_l2,
    rmse,
    valid_time,
    vrmse,
)

ERRORS = (rmse, nrmse, vrmse, relative_l2)
CURVES = (*ERRORS, correlation)


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(3, 4, 2, 16), (3, 4, 2, 8, 9), (3, 4, 2, 4, 5, 6), (3, 2, 16)])
@pytest.mark.parametrize("metric", CURVES)
def test_identical_fields_are_perfect(metric, shape):
    u = _random(*shape)
    scores = metric(u, u.clone())
    assert scores.shape == (shape[:2] if len(shape) > 3 else shape[:1])
    assert scores.dtype == torch.float64
    assert bool((scores == (1.0 if metric is correlation else 0.0)).all())


@pytest.mark.parametrize("scale", [1e-170, 1.0, 1e170])
def test_correlation_of_identical_and_opposite_fields_at_any_scale(scale):
    u = scale * _random(2, 3, 1, 16)
    assert bool((correlation(u, u) == 1).all())
    torch.testing.assert_close(correlation(u, -u), -torch.ones(2, 3, dtype=torch.float64))


def test_sines_known_by_hand():
    x = torch.arange(64, dtype=torch.float64) * 2 * math.pi / 64
    reference = (3 * torch.sin(x)).expand(1, 1, 1, 64)
    prediction = (3 * torch.sin(x + math.pi / 3) + 1).expand(1, 1, 1, 64)
    # error = 3 (sin(x + pi/3) - sin x) + 1, of mean square 9 (1 - cos(pi/3)) + 1
    mean_square = 9 * (1 - math.cos(math.pi / 3)) + 1
    assert rmse(prediction, reference).item() == pytest.approx(math.sqrt(mean_square), rel=1e-13)
    expected = math.sqrt(mean_square / 4.5)
    for metric in (nrmse, vrmse, relative_l2):
        assert metric(prediction, reference).item() == pytest.approx(expected, rel=1e-13)
    assert correlation(prediction, reference).item() == pytest.approx(0.5, rel=1e-13)
    assert conservation_drift(prediction, reference).item() == pytest.approx(1.0, rel=1e-13)


def test_correlation_equals_numpy():
    u, v = _random(3, 2, 1, 16), _random(3, 2, 1, 16, seed=1)
    expected = [
        [np.corrcoef(u[i, j, 0].numpy(), v[i, j, 0].numpy())[0, 1] for j in range(2)]
        for i in range(3)
    ]
    np.testing.assert_allclose(correlation(u, v).numpy(), expected, rtol=1e-12)


def test_channels_are_scored_alone_and_averaged():
    reference = torch.ones(1, 1, 2, 8, dtype=torch.float64)
    reference[:, :, 1] = 1000.0
    prediction = reference * torch.tensor([1.5, 1.1], dtype=torch.float64)[:, None]
    torch.testing.assert_close(
        nrmse(prediction, reference, per_channel=True)[0, 0],
        torch.tensor([0.5, 0.1], dtype=torch.float64),
    )
    assert nrmse(prediction, reference).item() == pytest.approx(0.3)
    together = math.sqrt((0.5**2 + 100**2) / (1 + 1000**2))
    assert relative_l2(prediction, reference).item() == pytest.approx(together)


def test_vrmse_ignores_the_offset_and_nrmse_does_not():
    reference, error = _random(2, 1, 16), 0.1 * _random(2, 1, 16, seed=1)
    shifted = reference + 100
    torch.testing.assert_close(
        vrmse(shifted + error, shifted), vrmse(reference + error, reference)
    )
    assert bool(
        (nrmse(shifted + error, shifted) < 0.1 * nrmse(reference + error, reference)).all()
    )
    mean = reference.mean(-1, keepdim=True).expand_as(reference)
    torch.testing.assert_close(vrmse(mean, reference), torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize("metric", [nrmse, relative_l2])
def test_zero_reference(metric):
    zero = torch.zeros(1, 2, 1, 8)
    prediction = zero.clone()
    prediction[:, 1] = 1e-30
    assert metric(prediction, zero).tolist() == [[0.0, math.inf]]


def test_zero_variance_is_exact_despite_rounding():
    constant = torch.full((1, 1, 7), 0.1, dtype=torch.float64)
    assert vrmse(constant, constant).item() == 0
    assert vrmse(constant + 1e-12, constant).item() == math.inf
    varying = _random(1, 1, 7)
    assert correlation(constant, varying).item() == 0
    assert correlation(varying, constant).item() == 0
    assert correlation(constant, 2 * constant).item() == 0
    assert correlation(constant, constant).item() == 1


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("metric", CURVES)
def test_blow_up_stays_visible(metric, value):
    reference = _random(2, 3, 1, 8)
    prediction = reference.clone()
    prediction[1, 2, 0, 5] = value
    scores = metric(prediction, reference)
    assert not bool(torch.isfinite(scores[1, 2]))
    assert bool(torch.isfinite(scores[0]).all()) and bool(torch.isfinite(scores[1, :2]).all())
    assert not bool(torch.isfinite(metric(prediction, reference, reduce=("batch", "time"))))


def test_float32_input_is_scored_in_float64():
    reference = torch.full((1, 1, 1, 1024), 1000.0, dtype=torch.float32)
    prediction = reference.clone()
    prediction[..., 0] += 1e-4
    expected = float(prediction[..., 0].double() - 1000) / 32
    assert rmse(prediction, reference).item() == pytest.approx(expected, rel=1e-12)


def test_reduce_and_space_dims():
    u, v = _random(3, 4, 2, 8), _random(3, 4, 2, 8, seed=1)
    torch.testing.assert_close(rmse(u, v, reduce="time"), rmse(u, v).mean(1))
    torch.testing.assert_close(rmse(u, v, reduce=("batch", "time")), rmse(u, v).mean())
    state = rmse(u, v, space_dims=2, per_channel=True)
    torch.testing.assert_close(state, (u - v).square().mean((2, 3)).sqrt())


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda u: (u, u[:, :2]), "same shape"),
        (lambda u: (u[0, 0], u[0, 0]), "add the missing axes"),
        (lambda u: (u + 0j, u + 0j), "two channels"),
    ],
)
def test_bad_input(change, match):
    with pytest.raises((ValueError, TypeError), match=match):
        rmse(*change(_random(3, 4, 2, 8)))


def test_bad_arguments():
    u = _random(3, 2, 8)
    with pytest.raises(ValueError, match="reduce"):
        rmse(u, u, reduce="time")
    with pytest.raises(ValueError, match="space_dims=3"):
        rmse(u, u, space_dims=3)
    with pytest.raises(TypeError, match="torch.as_tensor"):
        rmse(u.numpy(), u)


def _rotating(
    correlations: list[list[float]], points: int = 32
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sines turned against each other so that the correlations are the given ones."""
    x = torch.arange(points, dtype=torch.float64) * 2 * math.pi / points
    angles = torch.tensor(correlations, dtype=torch.float64).acos()
    prediction = torch.sin(x + angles[:, :, None])[:, :, None]
    return prediction, torch.sin(x).expand_as(prediction)


def test_correlation_time_is_the_first_saved_time_below():
    prediction, reference = _rotating([[1, 0.9, 0.7, 0.9], [1, 0.95, 0.9, 0.85], [1, 0.1, 1, 1]])
    times = [0.0, 0.5, 1.5, 2.0]
    assert correlation_time(prediction, reference, times).tolist() == [1.5, 2.0, 0.5]
    assert correlation_time(prediction, reference, times, threshold=0.92).tolist() == [
        0.5,
        1.5,
        0.5,
    ]
    _, censored = first_crossing(correlation(prediction, reference) < 0.8, times)
    assert censored.tolist() == [False, True, False]
    per_trajectory = torch.tensor([times, [0, 1, 2, 3], [0, 0.1, 0.2, 0.3]])
    found = correlation_time(prediction, reference, per_trajectory)
    torch.testing.assert_close(found, torch.tensor([1.5, 3.0, 0.1], dtype=torch.float64))


def test_nan_counts_as_below_and_above():
    prediction, reference = _rotating([[1, 1, 1, 1]])
    prediction[0, 2] = math.nan
    times = [0.0, 1.0, 2.0, 3.0]
    assert correlation_time(prediction, reference, times).item() == 2.0
    assert valid_time(prediction, reference, times).item() == 2.0


def test_valid_time():
    reference = torch.ones(1, 4, 1, 8)
    prediction = reference * torch.tensor([1.0, 1.1, 1.3, 1.0])[:, None, None]
    assert valid_time(prediction, reference, [0, 1, 2, 3]).item() == 2
    assert valid_time(prediction, reference, [0, 1, 2, 3], threshold=0.5).item() == 3


def test_times_must_fit():
    u = _random(2, 4, 1, 8)
    with pytest.raises(ValueError, match="one entry per saved state"):
        correlation_time(u, u, [0.0, 1.0])
    with pytest.raises(ValueError, match="increase strictly"):
        correlation_time(u, u, [0.0, 1.0, 1.0, 2.0])
    with pytest.raises(ValueError, match="time axis"):
        correlation_time(u[:, 0], u[:, 0], [0.0, 1.0])


def test_divergence_is_found_where_it_happened():
    reference = torch.ones(4, 5, 1, 8)
    reference[:, 4] = 1e-6  # a decaying truth is no reason to call an error a blow-up
    prediction = torch.ones(4, 5, 1, 8)
    prediction[1, 3, 0, 2] = math.nan
    prediction[2, 2] = 10.5
    prediction[3, 2] = 9.5
    times = [0.0, 0.1, 0.2, 0.3, 0.4]
    assert divergence_step(prediction, reference).tolist() == [-1, 3, 2, -1]
    torch.testing.assert_close(
        divergence_time(prediction, reference, times),
        torch.tensor([math.inf, 0.3, 0.2, math.inf], dtype=torch.float64),
    )
    assert divergence_step(prediction, torch.zeros_like(reference)).tolist() == [-1, 3, -1, -1]


def test_drift_of_a_given_quantity():
    u, v = _random(2, 3, 1, 16), _random(2, 3, 1, 16, seed=1)
    energy = conservation_drift(u, v, lambda w: w.square().sum((-1, -2)))
    torch.testing.assert_close(energy, (u.square().sum((2, 3)) - v.square().sum((2, 3))).abs())
