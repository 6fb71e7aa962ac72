"""Conserved quantities along a trajectory: values, drift, and what the drift is relative to."""

import math

import pytest
import torch

from pdesurrogates.core import Grid
from pdesurrogates.equations import CompressibleNavierStokes, Diffusion, KortewegDeVries
from pdesurrogates.operators import FiniteVolumes
from pdesurrogates.reference import RandomFlow, conserved, random_initial_condition, solve


def test_values_and_drift_of_a_growing_mass():
    grid = Grid((8,), (2.0,))
    states = torch.ones(2, 3, 1, 8) * torch.tensor([1.0, 1.5, -2.0])[:, None, None]
    states[1] *= 10
    mass = conserved(Diffusion(), grid, states)["mass"]
    assert torch.allclose(mass.values, torch.tensor([[2.0, 3.0, -4.0], [20.0, 30.0, -40.0]]))
    assert torch.allclose(mass.drift, torch.tensor([[0.0, 0.5, 3.0]]).expand(2, 3))
    assert mass.max_drift == pytest.approx(3.0)


def test_a_total_of_zero_drifts_relative_to_the_magnitude():
    grid = Grid((64,), (2.0,))
    u = torch.sin(math.pi * grid.coordinates()[0])
    states = torch.stack([u, u + 0.1])[None, :, None]
    mass = conserved(Diffusion(), grid, states)["mass"]
    # The mean of abs(sin) is 2 / pi.
    assert mass.scale.item() == pytest.approx(2 * 2 / math.pi, rel=1e-2)
    assert mass.drift[0, 1].item() == pytest.approx(0.1 * math.pi / 2, rel=1e-2)
    zero = conserved(Diffusion(), grid, torch.zeros(1, 2, 1, 64))["mass"]
    assert zero.max_drift == 0.0


def test_the_solver_keeps_what_the_equation_keeps():
    grid = Grid((128,), (32.0,))
    u0 = random_initial_condition(grid, 2, max_wavenumber=3, rms=0.5).float()
    states = solve(KortewegDeVries(), grid, u0, [0.0, 0.5, 1.0], dt=2e-3)
    found = conserved(KortewegDeVries(), grid, states)
    assert set(found) == {"mass", "momentum", "energy"}
    for quantity in found.values():
        assert quantity.values.shape == (2, 3) and quantity.values.dtype == torch.float64
        assert quantity.max_drift < 1e-7


def test_finite_volumes_keep_sums_to_rounding():
    grid = Grid((16, 12), (1.0, 1.0), cell_centred=True)
    equation = CompressibleNavierStokes(dim=2)
    u0 = RandomFlow()(grid, 2, num_channels=4, seed=0, first=0)
    states = solve(equation, FiniteVolumes(grid), u0, [0.0, 0.1, 0.2])
    assert not torch.allclose(states[:, 0], states[:, -1], rtol=1e-3)
    found = conserved(equation, grid, states)
    assert found and all(quantity.max_drift < 1e-13 for quantity in found.values())


def test_states_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"trajectories \(batch, time, channel, \*space\)"):
        conserved(Diffusion(), Grid((8,), (1.0,)), torch.ones(2, 1, 8))
