"""Spectra: Parseval on every kind of grid, single modes, and exact resampling."""

from __future__ import annotations

import math

import pytest
import torch

from pdesurrogates.core import Grid
from pdesurrogates.evaluation import (
    energy_spectrum,
    octave_bands,
    resample,
    shell_wavenumbers,
    spectral_error,
)


@pytest.mark.parametrize(
    ("shape", "extent"),
    [
        ((16,), (3.0,)),
        ((15,), (3.0,)),
        ((8, 8), (1.0, 1.0)),
        ((8, 9), (2.0, 5.0)),
        ((4, 5, 6), (1.0,)),
    ],
)
def test_parseval(shape, extent):
    u = torch.randn(2, 3, 2, *shape, dtype=torch.float64)
    grid = Grid(shape, extent)
    spectrum = energy_spectrum(u, grid=grid)
    assert spectrum.shape == (2, 3, 2, len(shell_wavenumbers(grid)))
    mean_square = u.square().mean(tuple(range(-len(shape), 0)))
    torch.testing.assert_close(spectrum.sum(-1), mean_square, rtol=1e-13, atol=0)


def test_single_modes_in_2d_sit_in_their_shell():
    grid = Grid((16, 16), (2 * math.pi, 2 * math.pi))
    x, y = grid.coordinates()
    u = (2.0 + 3 * torch.sin(3 * x + 4 * y) + torch.cos(-3 * x + 4 * y))[None, None]
    spectrum = energy_spectrum(u, grid=grid)[0, 0]
    assert spectrum[0].item() == pytest.approx(4.0)
    assert spectrum[5].item() == pytest.approx(4.5 + 0.5)
    assert spectrum.sum().item() == pytest.approx(9.0)
    assert shell_wavenumbers(grid)[5].item() == pytest.approx(5.0)


def test_wavenumbers_are_physical():
    torch.testing.assert_close(
        shell_wavenumbers(Grid((8,), (64.0,))),
        2 * math.pi / 64 * torch.arange(5, dtype=torch.float64),
    )


def test_octave_bands_cover_every_shell_once():
    assert octave_bands(9) == [(0, 0), (1, 1), (2, 3), (4, 7), (8, 8)]
    for count in (1, 2, 3, 17, 64):
        shells = [s for first, last in octave_bands(count) for s in range(first, last + 1)]
        assert shells == list(range(count))


def test_spectral_error_knows_the_band():
    x = Grid((32,), (2 * math.pi,)).coordinates()[0]
    reference = (1 + torch.sin(x) + 0.1 * torch.sin(5 * x)).expand(2, 3, 1, 32)
    prediction = reference + 0.05 * torch.sin(6 * x)
    scores = spectral_error(prediction, reference)
    assert scores.shape == (2, 3, 6)
    assert scores[0, 0, 3].item() == pytest.approx(0.5)  # 0.05 against 0.1 in 4-7
    assert bool((scores[..., :3] < 1e-9).all())
    assert bool((spectral_error(reference, reference) == 0).all())
    lost = spectral_error(1 + torch.sin(x).expand_as(reference), reference)
    assert lost[0, 0, 3].item() == pytest.approx(1.0)


def test_spectra_refuse_what_they_cannot_do():
    u = torch.zeros(1, 1, 8)
    with pytest.raises(ValueError, match="periodic axes"):
        energy_spectrum(u, grid=Grid((8,), (1.0,), periodic=False))
    with pytest.raises(ValueError, match="points of the fields"):
        energy_spectrum(u, grid=Grid((9,), (1.0,)))


@pytest.mark.parametrize(("coarse", "fine"), [(8, 32), (7, 32), (8, 33), (9, 11)])
def test_resampling_a_band_limited_field_is_exact(coarse, fine):
    def field(n: int) -> torch.Tensor:
        x = Grid((n,), (2 * math.pi,)).coordinates()[0]
        return 1 + torch.sin(x + 0.3) + 2 * torch.cos(3 * x - 1)

    torch.testing.assert_close(resample(field(coarse), (fine,)), field(fine), atol=1e-13, rtol=0)
    torch.testing.assert_close(resample(field(fine), (coarse,)), field(coarse), atol=1e-13, rtol=0)


def test_resampling_there_and_back_returns_any_field():
    u = torch.randn(2, 1, 8, 6, dtype=torch.float64)
    torch.testing.assert_close(resample(resample(u, (12, 18)), (8, 6)), u, atol=1e-13, rtol=0)
    torch.testing.assert_close(resample(u, (16, 12))[..., ::2, ::2], u, atol=1e-13, rtol=0)
