"""Initial states of the benchmarks: the stated spectra and constraints, sample by sample."""

import math

import pytest
import torch

from pdesurrogates.core import Grid
from pdesurrogates.reference.initial_flows import (
    RadialDamBreak,
    RandomFlow,
    RandomShockTube,
    RandomTurbulence,
    RandomVorticity,
)
from pdesurrogates.reference.initial_patterns import (
    RandomBlobs,
    RandomConstant,
    RandomCosineSeries,
    TwoPhases,
    WhiteNoise,
)
from pdesurrogates.reference.initial_waves import RandomSineWaves

LINE = Grid((64,), (2.0,), (-1.0,))
SQUARE = Grid((32, 24), (1.0, 2.0))
WALLED = Grid((32, 24), (1.0, 2.0), periodic=False, cell_centred=True)
FOLDED = RandomSineWaves(probability_folded=0.5, probability_flipped=0.5, probability_windowed=0.5)
FAMILY = [
    (FOLDED, LINE, 1),
    (RandomSineWaves(10, 3, amplitude=(-0.5, 0.5)), LINE, 1),
    (RandomConstant(), LINE, 1),
    (WhiteNoise(), SQUARE, 2),
    (RandomBlobs(), SQUARE, 2),
    (RandomCosineSeries(8), WALLED, 3),
    (TwoPhases(field=RandomCosineSeries(8)), WALLED, 1),
    (RandomFlow(), LINE, 3),
    (RandomFlow(), SQUARE, 4),
    (RandomShockTube(), LINE, 3),
    (RandomTurbulence(), Grid((16, 12, 8), (1.0,)), 5),
    (RadialDamBreak(), WALLED, 3),
    (RandomVorticity(max_wavenumber=8), SQUARE, 1),
]


@pytest.mark.parametrize("condition, grid, num_channels", FAMILY)
def test_a_sample_depends_on_seed_and_index_only(condition, grid, num_channels):
    def draw(count, first):
        return condition(grid, count, num_channels=num_channels, seed=3, first=first)

    states = draw(4, 5)
    assert states.shape == (4, num_channels, *grid.shape) and states.dtype == torch.float64
    assert torch.isfinite(states).all()
    assert torch.equal(draw(1, 7)[0], states[2])
    assert not torch.equal(states[0], states[1])
    other = condition(grid, 1, num_channels=num_channels, seed=4, first=5)
    assert not torch.equal(other[0], states[0])


@pytest.mark.parametrize(
    "condition, grid, num_channels",
    [row for row in FAMILY if not isinstance(row[0], WhiteNoise | RandomFlow | RandomBlobs)],
)
def test_a_finer_grid_has_the_same_function(condition, grid, num_channels):
    if grid.cell_centred:
        grid = Grid(grid.num_points, grid.extent)
    arguments = {"num_channels": num_channels, "seed": 1, "first": 0}
    coarse = condition(grid, 2, **arguments)
    fine = condition(grid.resized([2 * n for n in grid.num_points]), 2, **arguments)
    every = (slice(None), slice(None), *(slice(None, None, 2),) * grid.dim)
    assert torch.allclose(fine[every], coarse, atol=1e-9)


def test_sine_waves_are_periodic_and_band_limited():
    u = RandomSineWaves(3, 5)(LINE, 8, num_channels=1, seed=0, first=0)
    hat = torch.fft.rfft(u)
    assert hat[..., 6:].abs().max() < 1e-10 and hat[..., 0].abs().max() < 1e-10
    folded = RandomSineWaves(probability_folded=1.0)(LINE, 8, num_channels=1, seed=0, first=0)
    assert folded.min() >= 0
    normalized = RandomSineWaves(is_normalized=True)(LINE, 8, num_channels=1, seed=0, first=0)
    assert normalized.amin() == 0 and normalized.amax() == 1


def test_turbulence_has_no_divergence_and_the_stated_mach_number():
    grid = Grid((24, 16), (1.0, 3.0))
    gamma, mach = 1.4, 0.3
    u = RandomTurbulence(mach, max_wavenumber=3, gamma=gamma)(
        grid, 2, num_channels=4, seed=0, first=0
    )
    velocity = u[:, 1:3] / u[:, :1]
    k = [
        2 * math.pi * torch.fft.fftfreq(n, length / n)
        for n, length in zip(grid.num_points, grid.extent, strict=True)
    ]
    hat = torch.fft.fftn(velocity, dim=(-2, -1))
    divergence = k[0][:, None] * hat[:, 0] + k[1] * hat[:, 1]
    assert divergence.abs().max() < 1e-9
    pressure = (gamma - 1) * (u[:, 3] - 0.5 * velocity.square().sum(dim=1))
    speed = velocity.square().sum(dim=1).mean(dim=(-2, -1)).sqrt()
    assert torch.allclose(speed / (gamma * pressure[:, 0, 0]).sqrt(), torch.tensor(mach))


def test_random_flow_is_positive_and_different_in_every_sample():
    u = RandomFlow(contrast=(0.5, 0.5), gamma=1.4)(SQUARE, 6, num_channels=4, seed=0, first=0)
    kinetic = 0.5 * u[:, 1:3].square().sum(dim=1) / u[:, 0]
    pressure = 0.4 * (u[:, 3] - kinetic)
    assert u[:, 0].min() > 0 and pressure.min() > 0
    shape = u[:, 0] - u[:, 0].mean(dim=(-2, -1), keepdim=True)
    correlation = torch.corrcoef(shape.flatten(1))
    assert (correlation - torch.eye(6)).abs().max() < 0.9


def test_vorticity_has_the_stated_speed_and_peak():
    grid = Grid((64, 64), (2 * math.pi,))
    w = RandomVorticity(6.0, max_wavenumber=20, speed=0.7)(
        grid, 16, num_channels=1, seed=0, first=0
    )
    hat = torch.fft.fftn(w[:, 0], dim=(-2, -1)) / 64**2
    k = torch.fft.fftfreq(64, 1 / 64)
    squared = k[:, None].square() + k.square()
    energy = 0.5 * hat.abs().square() / squared.clamp(min=1.0)
    assert torch.allclose(2 * energy.sum(dim=(-2, -1)), torch.tensor(0.49))
    shells = [energy[:, (squared.sqrt() - m).abs() < 0.5].sum() for m in range(1, 20)]
    assert 3 <= 1 + int(torch.stack(shells).argmax()) <= 9


def test_cosine_series_has_no_slope_at_walls_and_the_stated_size():
    grid = Grid((65, 65), (1.0,), periodic=False)
    u = RandomCosineSeries(6, std=2.0)(grid, 200, num_channels=1, seed=0, first=0)
    # The function is even about the wall: its slope there vanishes as the spacing does.
    assert (u[:, :, 1] - u[:, :, 0]).abs().max() < 0.1 * (u[:, :, 20] - u[:, :, 10]).abs().max()
    centred = Grid((64, 64), (1.0,), periodic=False, cell_centred=True)
    u = RandomCosineSeries(6, std=2.0)(centred, 200, num_channels=1, seed=0, first=0)
    assert abs(float(u.square().mean().sqrt()) - 2.0) < 0.2


def test_two_phases_and_blobs_and_dams():
    phases = TwoPhases(1.0, 2.0, field=RandomCosineSeries(8))
    u = phases(WALLED, 50, num_channels=1, seed=0, first=0)
    assert set(u.unique().tolist()) == {1.0, 2.0} and 1.3 < float(u.mean()) < 1.7
    u, v = RandomBlobs()(SQUARE, 3, num_channels=2, seed=0, first=0).unbind(1)
    assert torch.equal(u, 1 - v) and v.amax() > 0.8 and v.amin() >= 0
    dam = RadialDamBreak(radius=(0.25, 0.25))(WALLED, 1, num_channels=3, seed=0, first=0)
    area = (dam[0, 0] == 2.0).sum() / 16 / 24
    assert abs(float(area) - math.pi * 0.25**2) < 0.03 and dam[:, 1:].abs().max() == 0


def test_wrong_equations_and_grids_are_refused():
    with pytest.raises(ValueError, match="density, momentum and energy"):
        RandomFlow()(LINE, 1, num_channels=1, seed=0, first=0)
    with pytest.raises(ValueError, match="one axis"):
        FOLDED(SQUARE, 1, num_channels=1, seed=0, first=0)
    with pytest.raises(ValueError, match="periodic grid"):
        RandomTurbulence()(WALLED, 1, num_channels=4, seed=0, first=0)
    with pytest.raises(ValueError, match="two fields"):
        RandomBlobs()(SQUARE, 1, num_channels=1, seed=0, first=0)
