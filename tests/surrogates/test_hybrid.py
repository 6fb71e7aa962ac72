"""The known linear part is exact; the network supplies the rest."""

import math

import pytest
import torch
from torch import nn

from pdesurrogates.core import Grid
from pdesurrogates.data import TrajectoryWindows, from_arrays
from pdesurrogates.equations import Burgers, KuramotoSivashinsky
from pdesurrogates.steppers import ETDRK, RK4, integrate, rollout
from pdesurrogates.surrogates import HybridSurrogate

GRID = Grid((32,), (20.0,))
EQUATION = KuramotoSivashinsky()


class Zero(nn.Module):
    def forward(self, z):
        return torch.zeros_like(z)


class TrueRest(nn.Module):
    """The nonlinear part of the equation in place of a network."""

    def __init__(self, known):
        super().__init__()
        self.known = known

    def forward(self, z):
        return self.known.from_modes(self.known.nonlinear(0.0, self.known.to_modes(z)))


def start():
    x = GRID.coordinates()[0]
    return torch.stack([torch.cos(2 * math.pi * x / 20), torch.sin(4 * math.pi * x / 20) + 0.1])[
        :, None
    ]


def test_without_network_the_linear_part_is_solved_exactly():
    surrogate = HybridSurrogate(Zero(), EQUATION, ETDRK(2), 0.5, grid=GRID)
    k = torch.tensor([2 * math.pi / 20, 4 * math.pi / 20])
    growth = torch.exp(2.0 * (k**2 - k**4))[:, None, None]
    u0 = start()
    mean = u0.mean(-1, keepdim=True)
    states = rollout(surrogate, u0, [0.0, 0.5, 1.0, 1.5, 2.0])
    assert torch.allclose(states[:, -1], mean + growth * (u0 - mean), atol=1e-12)


@pytest.mark.parametrize("stepper", [ETDRK(4), ETDRK(1), RK4()], ids=str)
def test_with_the_true_rest_it_is_the_classical_solver(stepper):
    known = EQUATION.on(GRID)
    surrogate = HybridSurrogate(TrueRest(known), EQUATION, stepper, 0.004, grid=GRID)
    times = [0.004 * n for n in range(11)]
    expected = integrate(known, start(), times, stepper).states
    assert torch.allclose(rollout(surrogate, start(), times), expected, atol=1e-12)
    f = surrogate.time_derivative()
    assert torch.allclose(f(0.0, start()), known(0.0, start()), atol=1e-12)
    exact = integrate(known, start(), times, ETDRK(4)).states
    assert torch.allclose(integrate(f, start(), times, ETDRK(4)).states, exact, atol=1e-12)


def test_target_is_what_the_linear_part_leaves():
    known = EQUATION.on(GRID)
    times = [5.0 + 0.01 * n for n in range(9)]
    states = integrate(known, start(), [0.0, *times], ETDRK(4), dt=0.01).states[:, 1:]
    file = from_arrays(states, axes="trajectory time channel x", times=times, grid=GRID)
    surrogate = HybridSurrogate(Zero(), EQUATION, ETDRK(4), 0.01)
    windows = TrajectoryWindows(file, target_order=surrogate.target_order)
    surrogate.fit_normalizers(windows)
    target = surrogate.target(windows.__getitems__([4]))
    expected = known.from_modes(known.nonlinear(0.0, known.to_modes(states[:1, 4])))
    assert target.dtype == torch.float64
    assert float((target - expected).norm() / expected.norm()) < 1e-6


def test_what_dealiasing_cuts_stays_cut():
    surrogate = HybridSurrogate(nn.Hardtanh(-0.1, 0.1), EQUATION, ETDRK(2), 0.1, grid=GRID)
    hat = surrogate.time_derivative().nonlinear(0.0, torch.fft.rfft(start()))
    assert float(hat[..., 11:].abs().max()) == 0.0
    assert float(hat[..., :11].abs().max()) > 0.0


def test_another_resolution_is_a_view_of_the_same_network():
    surrogate = HybridSurrogate(Zero(), EQUATION, ETDRK(2), 0.1, grid=GRID)
    u0 = torch.ones(1, 1, 48)
    with pytest.raises(ValueError, match=r"must live on the grid \(32,\), got \(48,\) points"):
        surrogate(0.0, u0, 0.1)
    fine = surrogate.on(GRID.resized(48))
    assert torch.allclose(fine(0.0, u0, 0.1), u0)
    assert fine.backbone is surrogate.backbone


def test_without_a_grid_it_says_what_to_do():
    with pytest.raises(ValueError, match="needs a grid for the linear part; give `grid`"):
        HybridSurrogate(Zero(), EQUATION, ETDRK(2), 0.1)(0.0, torch.ones(1, 1, 32), 0.1)


def test_no_dependence_on_the_nonlinear_part_of_the_equation():
    grid = Grid((32,), (20.0,))
    surrogate = HybridSurrogate(Zero(), Burgers(viscosity=0.1), ETDRK(2), 0.1, grid=grid)
    k = 2 * math.pi / 20
    u0 = torch.cos(k * grid.coordinates()[0])[None, None]
    assert torch.allclose(surrogate(0.0, u0, 0.1), u0 * math.exp(-0.01 * k**2), atol=1e-13)


def test_equation_parameters_are_taken_per_sample():
    grid = Grid((32,), (1.0,))
    surrogate = HybridSurrogate(
        FirstChannel(), Burgers(0.0), ETDRK(2), 0.1, grid=grid, parameter_names=("viscosity",)
    )
    u0 = torch.sin(2 * math.pi * grid.coordinates())[None].expand(2, 1, 32).contiguous()
    viscosity = torch.tensor([[0.01], [0.05]])
    states = rollout(surrogate.bind(parameters=viscosity), u0, [0.0, 0.1, 0.2])
    decay = torch.exp(-0.2 * (2 * math.pi) ** 2 * viscosity)[:, :, None]
    assert torch.allclose(states[:, -1], decay * u0, atol=1e-12)


def test_target_removes_the_linear_part_of_each_sample():
    grid = Grid((32,), (1.0,))
    x = grid.coordinates()[0]
    times = torch.linspace(0, 1e-3, 6)
    viscosity = torch.tensor([0.01, 0.05])
    decay = torch.exp(-viscosity[:, None] * (2 * math.pi) ** 2 * times)
    states = (decay[:, :, None] * torch.sin(2 * math.pi * x))[:, :, None]
    file = from_arrays(
        states,
        axes="trajectory time channel x",
        times=times,
        extent=1.0,
        parameters={"viscosity": viscosity},
    )
    surrogate = HybridSurrogate(
        FirstChannel(), Burgers(0.0), ETDRK(2), 2e-4, grid=grid, parameter_names=("viscosity",)
    )
    windows = TrajectoryWindows(file, target_order=4)
    target = surrogate.target(windows.__getitems__(list(range(len(windows)))))
    assert target.abs().max() < 1e-8


def test_statistics_use_the_parameters_by_name():
    """A file may hold other parameters before those of the surrogate."""
    grid = Grid((32,), (1.0,))
    x, times = grid.coordinates()[0], torch.linspace(0, 1e-3, 6)
    states = torch.exp(-0.05 * (2 * math.pi) ** 2 * times)[:, None] * torch.sin(2 * math.pi * x)
    file = from_arrays(
        states[None, :, None],
        axes="trajectory time channel x",
        times=times,
        extent=1.0,
        parameters={"another": torch.ones(1), "viscosity": torch.full((1,), 0.05)},
    )
    surrogate = HybridSurrogate(
        FirstChannel(), Burgers(0.0), ETDRK(2), 2e-4, grid=grid, parameter_names=("viscosity",)
    )
    surrogate.fit_normalizers(TrajectoryWindows(file, target_order=4))
    assert surrogate.target_normalizer.std.max() < 1e-6


class FirstChannel(nn.Module):
    """No rest, with the number of output channels of the state."""

    in_channels, out_channels = 2, 1

    def forward(self, z):
        return torch.zeros_like(z[:, :1])
