"""Samples as functions: exact for what the interpolant can hold."""

import math

import pytest
import torch

from pdesurrogates.core import Grid
from pdesurrogates.neural_fields import SampledField


@pytest.mark.parametrize("count", [8, 9])
def test_waves_on_a_periodic_grid_are_exact(count):
    grid = Grid((count,), (2.0,), (-1.0,))
    x = grid.coordinates()
    samples = torch.stack((torch.sin(3 * math.pi * x), 1 + torch.cos(math.pi * x)), dim=1)
    points = torch.tensor([[[-1.0], [0.123], [1.0]]])
    expected = torch.cat(
        (torch.sin(3 * math.pi * points), 1 + torch.cos(math.pi * points)), dim=-1
    )
    assert torch.allclose(SampledField(samples, grid)(points), expected, atol=1e-12)


def test_cubics_between_walls_are_exact_also_on_cells_and_mixed_axes():
    grid = Grid((8, 6), (1.0, 2.0), (0.0, -1.0), periodic=(True, False), cell_centred=True)
    wave = lambda x, y: torch.cos(2 * math.pi * x) * (y**3 - y)  # noqa: E731
    samples = wave(*grid.coordinates())[None, None].expand(3, 1, -1, -1)
    points = torch.rand(1, 11, 2) * torch.tensor([1.0, 2.0]) - torch.tensor([0.0, 1.0])
    found = SampledField(samples, grid)(points)
    assert found.shape == (3, 11, 1)
    assert torch.allclose(found[0, :, 0], wave(points[0, :, 0], points[0, :, 1]), atol=1e-12)


def test_bad_samples_are_refused():
    grid = Grid((8,), (1.0,), periodic=False)
    with pytest.raises(ValueError, match=r"got \(1, 8\)"):
        SampledField(torch.zeros(1, 8), grid)
    with pytest.raises(ValueError, match="must be finite"):
        SampledField(torch.full((1, 1, 8), math.nan), grid)
    with pytest.raises(ValueError, match="axis 0 has 3"):
        SampledField(torch.zeros(1, 1, 3), Grid((3,), (1.0,), periodic=False))
