"""The proof that an equation is written once: every provider gives the same right-hand side."""

import math

import pytest
import torch

from pdesurrogates.core import Grid
from pdesurrogates.equations import (
    Advection,
    AdvectionDiffusion,
    AllenCahn,
    Burgers,
    Diffusion,
    KortewegDeVries,
    KuramotoSivashinsky,
    NavierStokesVorticity,
    Schrodinger,
)
from pdesurrogates.operators import AutodiffDerivatives, SpectralDerivatives, StaggeredGrid
from pdesurrogates.steppers import ETDRK, integrate

EQUATIONS = [
    (Advection(0.7), 1),
    (Advection((0.7, -0.3)), 2),
    (Diffusion(0.1), 1),
    (Diffusion(0.1), 3),
    (Diffusion(lambda x: 1 + 0.5 * torch.sin(x)), 1),
    (AdvectionDiffusion(0.7, 0.1), 1),
    (AdvectionDiffusion((0.7, -0.3), lambda x, y: 1 + 0.5 * torch.sin(x)), 2),
    (Burgers(0.05), 1),
    (Burgers(0.05, dim=2), 2),
    (KortewegDeVries(), 1),
    (KuramotoSivashinsky(), 1),
    (AllenCahn(1e-2, 3.0), 1),
    (AllenCahn(1e-2, 3.0), 2),
    (Schrodinger(nonlinearity=0.8), 1),
    (Schrodinger(potential=0.4), 2),
    (Schrodinger(potential=lambda x: torch.cos(x)), 1),
]
# Needs a Poisson solve, which points do not have; test_vorticity.py gives them one.
SPECTRAL_ONLY = [(NavierStokesVorticity(0.05, 0.1, 1.0, 2), 2)]


def smooth(num_channels, coordinates):
    """A few waves per channel; `coordinates` are tensors of one shape."""
    channels = []
    for channel in range(num_channels):
        wave = torch.zeros_like(coordinates[0])
        for axis, x in enumerate(coordinates):
            wave = wave + torch.sin((axis + 1) * x + channel) + 0.3 * torch.cos(2 * x)
        channels.append(wave / 2)
    return channels


@pytest.mark.parametrize("equation, dim", EQUATIONS, ids=str)
def test_spectral_and_autodiff_agree(equation, dim):
    grid = Grid((32,) * dim, (2 * math.pi,))
    num_channels = equation.fields.num_channels
    u = torch.stack(smooth(num_channels, list(grid.coordinates())))[None]
    spectral = equation.on(SpectralDerivatives(grid))(0.0, u)

    points = grid.coordinates().flatten(1).T[None].contiguous()
    d = AutodiffDerivatives(points)
    values = torch.cat(smooth(num_channels, list(d.points.split(1, dim=-1))), dim=-1)
    autodiff = equation.on(d)(0.0, values)
    assert torch.allclose(spectral.flatten(2).mT, autodiff, atol=1e-10)


@pytest.mark.parametrize("equation, dim", [*EQUATIONS, *SPECTRAL_ONLY], ids=str)
def test_symbol_comes_from_the_same_linear(equation, dim):
    grid = Grid((12,) * dim, (2 * math.pi,))
    f = equation.on(grid)
    u = torch.randn(2, equation.fields.num_channels, *grid.shape)
    hat = f.to_modes(u)
    by_symbol = f.linear_operator.apply(hat)
    nonlinear = f.nonlinear(0.0, hat)
    total = by_symbol if nonlinear is None else by_symbol + nonlinear
    assert torch.allclose(f.from_modes(total), f(0.0, u), atol=1e-9)


def test_one_parameter_per_sample():
    grid = Grid((32,), (2 * math.pi,))
    u = torch.randn(1, 1, 32).expand(3, 1, 32).contiguous()
    viscosities = torch.tensor([0.0, 0.1, 0.5])
    together = Burgers(viscosities).on(grid)(0.0, u)
    for i, viscosity in enumerate(viscosities.tolist()):
        assert torch.allclose(together[i], Burgers(viscosity).on(grid)(0.0, u[i : i + 1])[0])


def test_residual_of_a_travelling_wave_vanishes():
    points = torch.rand(1, 20, 1)
    times = torch.rand(1, 20, 1)
    d = AutodiffDerivatives(points, times)
    u = torch.sin(d.points - 0.7 * d.times)
    assert Advection(0.7).residual(u, d).abs().max() < 1e-14
    assert Advection(0.6).residual(u, d).abs().max() > 1e-3


def test_grid_residual_needs_the_time_derivative():
    grid = Grid((16,), (2 * math.pi,))
    d = SpectralDerivatives(grid)
    u = d.field(torch.sin(grid.coordinates())[None])
    rate = d.field(-0.1 * torch.sin(grid.coordinates())[None])
    assert Diffusion(0.1).residual(u, d, time_derivative=rate).values.abs().max() < 1e-14
    with pytest.raises(ValueError, match="time_derivative"):
        Diffusion(0.1).residual(u, d)


def test_variable_coefficients_of_wrong_shape_are_refused():
    grid = Grid((16,), (1.0,))
    u = torch.zeros(1, 1, 16)
    with pytest.raises(ValueError, match=r"must have shape \(batch or 1, 1, \*space\)"):
        Diffusion(torch.ones(1, 1, 8)).on(grid)(0.0, u)
    with pytest.raises(ValueError, match="one entry per axis"):
        Advection((1.0, 2.0)).on(grid)(0.0, u)


def test_state_of_another_grid_is_refused():
    with pytest.raises(ValueError, match=r"Burgers on \(16,\) points: `u` must have shape"):
        Burgers().on(Grid((16,), (1.0,)))(0.0, torch.zeros(1, 1, 8))


def test_gradients_reach_the_linear_part_through_etdrk():
    grid = Grid((32,), (2 * math.pi,))
    u0 = torch.sin(grid.coordinates())[None]

    def energy(viscosity):
        f = Burgers(viscosity).on(grid)
        return integrate(f, u0, [0.0, 0.5], ETDRK(4), dt=0.05).states[:, -1].square().sum()

    viscosity = torch.tensor(0.1, requires_grad=True)
    energy(viscosity).backward()
    with torch.no_grad():
        slope = (energy(0.1 + 1e-5) - energy(0.1 - 1e-5)) / 2e-5
    assert torch.allclose(viscosity.grad, slope, rtol=1e-7)


def test_another_number_of_axes_is_refused():
    with pytest.raises(ValueError, match="the equation has 1 space axes"):
        Burgers(0.1).on(Grid((8, 8), (1.0,)))
    with pytest.raises(ValueError, match="the equation has 1 space axes"):
        KuramotoSivashinsky().on(Grid((8, 8), (1.0,)))
    with pytest.raises(ValueError, match="serves IncompressibleNavierStokes only"):
        Diffusion(0.1).on(StaggeredGrid(Grid((8, 8), (1.0,), cell_centred=True)))
