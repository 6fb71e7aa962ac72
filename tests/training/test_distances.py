"""Distances of fields whose energies are known by hand."""

import math

import pytest
import torch

from pdesurrogates.core import Grid
from pdesurrogates.evaluation import energy_spectrum, octave_bands
from pdesurrogates.training import MeanSquared, Relative, Sobolev, SpectralDistance, WeightedSum
from pdesurrogates.training.distances import band_energy


def sine(grid, *modes):
    """A product of sines with the given numbers of periods per axis, (1, 1, *space)."""
    u = torch.ones(grid.shape)
    for x, length, n in zip(grid.coordinates(), grid.extent, modes, strict=True):
        u = u * torch.sin(2 * math.pi * n * x / length)
    return u[None, None]


@pytest.mark.parametrize("num_points", [32, 33])
@pytest.mark.parametrize("extent", [1.0, 50.0])
def test_h1_of_a_sine(num_points, extent):
    grid = Grid((num_points,), (extent,))
    u = 3 * sine(grid, 5)
    for weight in (0.0, 1.0, 0.2):
        expected = 9 / 2 * (1 + weight * 5**2)
        assert float(Sobolev(weight)(u, 0 * u, grid)) == pytest.approx(expected, rel=1e-12)


def test_h1_in_two_dimensions_and_of_the_highest_mode():
    grid = Grid((16, 15), (1.0, 7.0))
    expected = 1 / 4 * (1 + 0.5 * (2**2 + 3**2))
    u = sine(grid, 2, 3)
    assert float(Sobolev(0.5)(u, 0 * u, grid)) == pytest.approx(expected, rel=1e-12)
    saw = torch.tensor([1.0, -1.0]).repeat(8)[None, None]
    assert float(Sobolev()(saw, 0 * saw, Grid((16,), (3.0,)))) == pytest.approx(1 + 8**2)


def test_h1_with_ends_is_exact_for_a_ramp_and_second_order_for_a_sine():
    grid = Grid((11,), (4.0,), periodic=False)
    ramp = 2.0 * grid.coordinates()[None]
    slopes = Sobolev(1.0)(ramp, 0 * ramp, grid) - MeanSquared()(ramp, 0 * ramp)
    assert float(slopes) == pytest.approx((4.0 / (2 * math.pi) * 2.0) ** 2, rel=1e-12)
    errors = []
    for n in (40, 80, 160):
        grid = Grid((n,), (4.0,), periodic=False, cell_centred=True)
        u = sine(grid, 1)
        errors.append(abs(float(Sobolev()(u, 0 * u, grid)) - 1.0))
    # Cells leave half a cell at each end without a difference: first order in the mean.
    assert errors[0] > 1.8 * errors[1] > 3.2 * errors[2]
    assert errors[2] < 0.01


def test_h1_with_one_periodic_axis():
    grid = Grid((12, 200), (1.0, 3.0), periodic=(True, False))
    u = sine(grid, 2, 1)
    assert float(Sobolev()(u, 0 * u, grid)) == pytest.approx(1 / 4 * (1 + 4 + 1), rel=0.01)


@pytest.mark.parametrize(
    "shape, extent", [((16,), (1.0,)), ((15,), (1.0,)), ((8, 9), (1.0, 2.0)), ((6, 4, 5), (1.0,))]
)
def test_band_energies_are_those_of_the_spectrum(shape, extent):
    grid = Grid(shape, extent)
    u = torch.randn(2, 3, *shape)
    bands = band_energy(u, grid)
    assert torch.allclose(bands.sum(-1), u.square().flatten(2).mean(-1))  # Parseval
    spectrum = energy_spectrum(u, grid=grid)
    octaves = octave_bands(spectrum.shape[-1])
    expected = torch.stack([spectrum[..., a : b + 1].sum(-1) for a, b in octaves], dim=-1)
    assert torch.allclose(bands, expected)


def test_all_scales_count_alike():
    grid = Grid((32,), (5.0,))
    target = 1 + sum(10.0**-n * sine(grid, 2**n) for n in range(3))
    target[:] += 1e-3 * sine(grid, 9)
    distance = SpectralDistance(floor=1e-12)
    # Bands 0 | 1 | 2-3 | 4-7 | 8-15 | 16; the last one is empty.
    assert float(distance(0 * target, target, grid)) == pytest.approx(5 / 6, rel=1e-6)
    for n in range(3):
        wrong = target + 0.5 * 10.0**-n * sine(grid, 2**n)
        assert float(distance(wrong, target, grid)) == pytest.approx(0.25 / 6, rel=1e-9)
    # Below the floor a band counts less.
    least = 0.1 * float(target.square().mean())
    wrong = target + 1e-3 * sine(grid, 9)
    expected = 1e-6 / 2 / least / 6
    assert float(SpectralDistance(floor=0.1)(wrong, target, grid)) == pytest.approx(expected)


def test_relative_distances_by_hand():
    u, v = torch.randn(2, 4, 2, 16)
    expected = ((u - v).flatten(1).norm(dim=1) / v.flatten(1).norm(dim=1)).mean()
    assert torch.allclose(Relative()(u, v), expected)
    grid = Grid((16,), (2.0,))
    target, error = sine(grid, 1), sine(grid, 4)
    expected = math.sqrt((1 + 16) / (1 + 1)) / 2
    score = Relative(Sobolev())(target + error / 2, target, grid)
    assert float(score) == pytest.approx(expected, rel=1e-12)
    # Targets near the mean state count as large as the floor.
    assert float(Relative(floor=0.5)(error, 0 * error)) == pytest.approx(math.sqrt(2), rel=1e-12)


def test_a_sum_has_weights():
    grid, u, v = Grid((16,), (2.0,)), torch.randn(3, 2, 16), torch.randn(3, 2, 16)
    parts = MeanSquared(), SpectralDistance()
    both = WeightedSum(parts, (2.0, 0.5))(u, v, grid)
    assert torch.allclose(both, 2 * parts[0](u, v) + 0.5 * parts[1](u, v, grid))
    assert torch.allclose(WeightedSum(parts)(u, v, grid), parts[0](u, v) + parts[1](u, v, grid))


ALL = [
    MeanSquared(),
    Sobolev(),
    SpectralDistance(),
    Relative(),
    Relative(Sobolev(0.1)),
    WeightedSum((MeanSquared(), SpectralDistance()), (1.0, 0.1)),
]


@pytest.mark.parametrize("distance", ALL, ids=lambda d: type(d).__name__)
def test_perfect_is_zero_with_finite_slope(distance):
    grid, v = Grid((8, 6), (1.0, 2.0)), torch.randn(2, 3, 8, 6)
    u = v.clone().requires_grad_()
    score = distance(u, v, grid)
    score.backward()
    assert float(score.detach()) == 0 and torch.equal(u.grad, torch.zeros_like(u))
    half = torch.cat((v[:1], v[1:] + 1)).requires_grad_()
    distance(half, v, grid).backward()
    assert bool(half.grad.isfinite().all()) and float(half.grad[1].abs().sum()) > 0


@pytest.mark.parametrize("distance", ALL, ids=lambda d: type(d).__name__)
def test_low_precision_is_compared_in_float32(distance):
    grid, (u, v) = Grid((30,), (1.0,)), torch.randn(2, 4, 1, 30, dtype=torch.float32)
    v = v.bfloat16().float()
    with torch.autocast("cpu", torch.bfloat16):
        score = distance(u.bfloat16(), v, grid)
        assert torch.equal(distance(u, v, grid), distance(u, v, grid))
    assert score.dtype == torch.float32
    assert torch.equal(score, distance(u.bfloat16().float(), v, grid))


@pytest.mark.parametrize("distance", ALL, ids=lambda d: type(d).__name__)
def test_another_resolution_of_the_box_is_close(distance):
    coarse, fine = Grid((24, 20), (1.0, 2.0)), Grid((48, 60), (1.0, 2.0))
    scores = []
    for grid in (coarse, fine):
        v = sine(grid, 1, 2) + 0.3 * sine(grid, 3, 1)
        scores.append(float(distance(v + 0.1 * sine(grid, 2, 2), v, coarse)))
    rel = 0.5 if isinstance(distance, (SpectralDistance, WeightedSum)) else 1e-9
    assert scores[0] == pytest.approx(scores[1], rel=rel)


def test_mistakes_are_named():
    u, ends = torch.randn(2, 1, 9), Grid((9,), (1.0,), periodic=False)
    with pytest.raises(ValueError, match="Sobolev: needs fields on a grid.*no grid.*MeanSquared"):
        Sobolev()(u, u)
    with pytest.raises(ValueError, match="SpectralDistance: needs periodic axes.*use Sobolev"):
        SpectralDistance()(u, u, ends)
    with pytest.raises(ValueError, match="`weight` must not be negative"):
        Sobolev(-1.0)
    with pytest.raises(ValueError, match="`floor` must be positive and at most 1, got 0"):
        SpectralDistance(0)
    with pytest.raises(ValueError, match="`floor` must be positive, got 0"):
        Relative(floor=0)
    with pytest.raises(ValueError, match="at least one entry and `weights` as many, got 1 and 2"):
        WeightedSum((MeanSquared(),), (1.0, 2.0))
    with pytest.raises(ValueError, match="`weights` must be positive"):
        WeightedSum((MeanSquared(),), (0.0,))
