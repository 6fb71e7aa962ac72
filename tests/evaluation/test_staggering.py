"""Diagnostics of interleaved forecasts on fields and maps with known answers."""

import math

import pytest
import torch
from torch import nn

from pdesurrogates.core import Grid
from pdesurrogates.equations import Diffusion
from pdesurrogates.evaluation import (
    aliasing_probe,
    amplification,
    chain_splitting,
    checkerboard_index,
    critical_path,
)
from pdesurrogates.steppers import ETDRK
from pdesurrogates.surrogates import NeuralStagger


def test_checkerboards_and_smooth_fields():
    x = torch.arange(8.0)
    board = (-1.0) ** (x[:, None] + x)
    wave = torch.cos(2 * math.pi * (x[:, None] + 2 * x) / 8)
    u = torch.stack((board, wave, wave + 0.1 * board, torch.zeros(8, 8)))[:, None]
    index = checkerboard_index(u, (2, 2))
    expected = [1.0, 0.0, 0.1 / math.sqrt(0.5 + 0.01), 0.0]
    assert index.tolist() == pytest.approx(expected, abs=1e-12)
    assert checkerboard_index(u[None], (2, 2)).shape == (1, 4)
    # Period two is not seen with factor 1, nor along an axis that is not split.
    assert float(checkerboard_index(u[:1], (1, 1))) == 0
    with pytest.raises(ValueError, match=r"multiples of `space`, got \(3, 2\)"):
        checkerboard_index(u, (3, 2))


def test_split_chains():
    """u = cos(w t) + delta (-1)^n on frames of size one."""
    t, delta, w = 0.1 * torch.arange(9.0), 1e-2, 0.5
    smooth = torch.cos(w * t)[None, :, None, None].expand(2, 9, 1, 4)
    splitting = chain_splitting(smooth)
    assert splitting.shape == (2, 7)
    assert torch.allclose(splitting, torch.tensor(1 - math.cos(0.05)), atol=1e-12)
    sign = (-1.0) ** torch.arange(9.0)
    apart = torch.ones(1, 9, 1, 4) + delta * sign[None, :, None, None]
    expected = 2 * delta / (1 + delta * sign[1:-1])
    assert torch.allclose(chain_splitting(apart)[0], expected, atol=1e-12)
    with pytest.raises(ValueError, match="at least 3 frames"):
        chain_splitting(smooth[:, :2])


def test_only_a_map_that_sees_all_sub_grids_tells_a_wave_from_its_alias():
    """Diffusion damps 24 and 8 waves differently; on 32 of 64 points they look the same."""
    grid, dt = Grid((64,), (2 * math.pi,)), 1e-2
    step = ETDRK(1).bind(Diffusion(diffusivity=0.1).on(grid))

    def exact(t, u, dt):
        return step.observe(step(t, step.initial_state(t, u), dt))

    damping = [math.exp(-0.1 * m**2 * dt) for m in (24, 8)]
    probe = aliasing_probe(exact, grid, (2,), dt=dt)
    assert (probe.wavenumber, probe.alias) == (24, 8)
    assert [probe.growth, probe.alias_growth] == pytest.approx(damping)
    assert probe.distinction == pytest.approx(damping[1] - damping[0])

    own = NeuralStagger(
        nn.Conv1d(1, 1, 3, padding=1, padding_mode="circular"), dt, space=(2,), sees_all=False
    )
    every = NeuralStagger(nn.Conv1d(2, 1, 3, padding=1, padding_mode="circular"), dt, space=(2,))
    assert aliasing_probe(own, grid, (2,), dt=dt).distinction < 1e-12
    assert aliasing_probe(every, grid, (2,), dt=dt).distinction > 1e-2
    with pytest.raises(ValueError, match="one sub-grid has no alias"):
        aliasing_probe(exact, grid, (1,), dt=dt)


def test_amplification_of_advection_and_diffusion():
    grid, dt, diffusivity = Grid((32, 4), (2 * math.pi, 1.0)), 0.05, 0.02
    m = torch.arange(1.0, 16.0)

    def exact(t, u, dt):
        k = 2 * math.pi * torch.fft.rfftfreq(32, d=2 * math.pi / 32)
        factor = torch.exp((-diffusivity * k**2 - 1j * k) * dt)[:, None]
        return torch.fft.irfft(torch.fft.rfft(u, dim=2) * factor, n=32, dim=2)

    expected = torch.exp(-diffusivity * m**2 * dt)
    for steps in (1, 3):
        growth = amplification(exact, grid, dt=dt, num_steps=steps)
        assert torch.allclose(growth, expected, atol=1e-12)

    def euler(t, u, dt):
        """Central differences, without diffusion: growth sqrt(1 + C^2 sin^2), above one."""
        return u - dt * (u.roll(-1, 2) - u.roll(1, 2)) / (2 * 2 * math.pi / 32)

    courant = dt / (2 * math.pi / 32)
    sine = torch.sin(2 * math.pi * m / 32)
    growth = amplification(euler, grid, dt=dt)
    assert torch.allclose(growth, (1 + (courant * sine) ** 2).sqrt(), atol=1e-12)


def test_critical_path_is_the_slowest_of_all():
    calls = [0, 0, 0]

    def call(index):
        def run():
            calls[index] += 1

        return run

    path = critical_path([call(n) for n in range(3)], num_repeats=4, num_warmup=2)
    assert calls == [6, 6, 6]
    medians = [timing.seconds for timing in path.timings]
    assert path.seconds == max(medians) == medians[path.slowest]
    assert path.total == sum(medians)
    with pytest.raises(ValueError, match="at least one call"):
        critical_path([])
