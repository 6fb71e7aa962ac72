"""The reference solver against exact solutions; initial states with the stated spectrum."""

import math

import pytest
import torch

from pdesurrogates.core import Grid
from pdesurrogates.equations import (
    AllenCahn,
    Burgers,
    KortewegDeVries,
    KuramotoSivashinsky,
    Schrodinger,
    exact,
)
from pdesurrogates.reference import random_initial_condition, solve
from pdesurrogates.steppers import RK4


def test_burgers_against_cole_hopf():
    grid = Grid((256,), (2 * math.pi,))
    x = grid.coordinates()[0]
    states = solve(Burgers(0.1), grid, torch.sin(x)[None, None], [0.0, 0.5, 1.0, 2.0])
    for n, t in enumerate([0.0, 0.5, 1.0, 2.0]):
        truth = exact.burgers_cole_hopf(x, t, viscosity=0.1)
        assert (states[0, n, 0] - truth).abs().max() < 1e-8


def test_kdv_two_solitons_pass_through_each_other():
    grid = Grid((256,), (80.0,), (-40.0,))
    x = grid.coordinates()[0]
    speeds = (2.0, 1.0)
    u0 = exact.kdv_two_solitons(x, -6.0, speeds=speeds)[None, None]
    end = solve(KortewegDeVries(), grid, u0, [-6.0, 6.0], dt=0.01)[0, -1, 0]
    assert (end - exact.kdv_two_solitons(x, 6.0, speeds=speeds)).abs().max() < 2e-5


def test_schrodinger_soliton_moves_and_turns():
    grid = Grid((256,), (40.0,), (-20.0,))
    x = grid.coordinates()[0]
    u0 = exact.schrodinger_soliton(x, 0.0, velocity=1.0)[None]
    end = solve(Schrodinger(), grid, u0, [0.0, 2.0])[0, -1]
    assert (end - exact.schrodinger_soliton(x, 2.0, velocity=1.0)).abs().max() < 1e-6


def test_allen_cahn_front_rests():
    grid = Grid((512,), (8.0,), (-2.0,))
    x = grid.coordinates()[0]
    up = exact.allen_cahn_front(x, diffusivity=0.05, reaction=5.0)
    down = exact.allen_cahn_front(x, diffusivity=0.05, reaction=5.0, center=4.0)
    u0 = (up - down - 1)[None, None]
    end = solve(AllenCahn(0.05, 5.0), grid, u0, [0.0, 1.0])
    assert (end[0, -1] - u0[0]).abs().max() < 1e-7


def test_chosen_step_and_given_step_agree():
    grid = Grid((64,), (32.0,))
    u0 = random_initial_condition(grid, 3)
    chosen = solve(KuramotoSivashinsky(), grid, u0, [0.0, 1.0, 2.0])
    given = solve(KuramotoSivashinsky(), grid, u0, [0.0, 1.0, 2.0], dt=1 / 256)
    assert torch.allclose(chosen, given, atol=1e-7)
    assert chosen.dtype == torch.float64


@pytest.mark.parametrize(
    "equation, channels",
    [(KortewegDeVries(), 1), (KuramotoSivashinsky(), 1), (Burgers(0.1), 1), (Schrodinger(), 2)],
    ids=str,
)
def test_conserved_quantities_stay(equation, channels):
    grid = Grid((128,), (32.0,))
    u0 = random_initial_condition(grid, 2, num_channels=channels, max_wavenumber=3, rms=0.5)
    states = solve(equation, grid, u0, [0.0, 0.5, 1.0], dt=2e-3)
    quantities = equation.conserved_quantities(states, grid)
    assert quantities
    for values in quantities.values():
        assert values.shape == (2, 3) and values.dtype == torch.float64
        assert torch.allclose(values, values[:, :1].expand_as(values), atol=1e-8)


def test_gradient_flows_to_the_initial_state():
    grid = Grid((16,), (2 * math.pi,))
    u0 = torch.sin(grid.coordinates())[None].requires_grad_()
    solve(Burgers(0.1), grid, u0, [0.0, 0.2], dt=0.1)[:, -1].square().sum().backward()
    assert u0.grad.abs().max() > 0


def test_bad_input_is_named():
    grid = Grid((16,), (1.0,))
    bad = torch.zeros(1, 1, 16)
    bad[0, 0, 3] = math.nan
    with pytest.raises(ValueError, match=r"solve\(Burgers\): `u0` must be finite"):
        solve(Burgers(), grid, bad, [0.0, 1.0])
    with pytest.raises(ValueError, match="add a channel axis"):
        solve(Burgers(), grid, torch.zeros(2, 16), [0.0, 1.0])
    with pytest.raises(ValueError, match="RK4: dt = 1 is unstable"):
        solve(Burgers(0.1), grid, torch.zeros(1, 1, 16), [0.0, 1.0], stepper=RK4(), dt=1.0)


def test_blow_up_names_the_time():
    grid = Grid((64,), (1.0,))
    u0 = 1e6 * torch.sin(2 * math.pi * grid.coordinates())[None]
    with pytest.raises(FloatingPointError, match=r"step 2 to t = 1 .* in sample 0, cell"):
        solve(Burgers(1e-4), grid, u0, [0.0, 0.5, 1.0], dt=0.5)


def test_initial_states_have_the_stated_spectrum():
    grid = Grid((64,), (2.0,))
    u = random_initial_condition(grid, 4000, max_wavenumber=6, decay=1.0, rms=2.0, mean=0.5)
    assert u.mean() == pytest.approx(0.5, abs=1e-12)
    assert (u - 0.5).square().mean() == pytest.approx(4.0, rel=0.05)
    power = (torch.fft.rfft(u[:, 0]).abs() / 64).square().mean(dim=0)
    assert power[7:].max() < 1e-28
    ratio = power[1] / power[1:7]
    assert torch.allclose(ratio, torch.arange(1.0, 7.0) ** 2, rtol=0.15)


def test_initial_states_do_not_depend_on_grid_or_neighbours():
    coarse = random_initial_condition(Grid((16, 16), (1.0,)), 3, seed=5, max_wavenumber=3)
    fine = random_initial_condition(Grid((32, 32), (1.0,)), 1, seed=5, first=2, max_wavenumber=3)
    assert torch.allclose(fine[0, :, ::2, ::2], coarse[2], atol=1e-12)
    with pytest.raises(ValueError, match="below half the points"):
        random_initial_condition(Grid((8,), (1.0,)), max_wavenumber=4)
