"""The same schemes in exponax (extra `compare`): agreement where its coefficients are right."""

import math

import pytest
import torch

from pdesurrogates.core import Grid
from pdesurrogates.equations import (
    FisherKPP,
    GrayScott,
    KortewegDeVries,
    KuramotoSivashinsky,
    NavierStokesVorticity,
    exact,
)
from pdesurrogates.reference import random_initial_condition
from pdesurrogates.steppers import ETDRK, integrate

pytestmark = pytest.mark.compare


@pytest.fixture
def exponax():
    module = pytest.importorskip("exponax")
    pytest.importorskip("jax").config.update("jax_enable_x64", True)
    return module


def same_modes(n, ours=2 / 3):
    """The fraction at which exponax, which keeps m <= fraction N/2 - 1, keeps m < ours N/2."""
    return (math.ceil(ours * n / 2 - 1e-9) + 0.5) / (n // 2)


def repeated(exponax, stepper, count, u0):
    """The state of one trajectory (channel, *space) after `count` steps of exponax."""
    end = exponax.repeat(stepper, count)(u0.numpy())
    return torch.from_numpy(end.__array__().copy())


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_kuramoto_sivashinsky_agrees_where_resolved(exponax, order):
    """On 256 points the modes at the edge of the dealiasing, which differs by one, are empty."""
    grid = Grid((256,), (64.0,))
    u0 = random_initial_condition(grid, 1)
    theirs = exponax.stepper.KuramotoSivashinskyConservative(
        1, 64.0, 256, 0.05, order=order, single_channel=True
    )
    u = exponax.repeat(theirs, 20)(u0[0].numpy())
    ours = integrate(KuramotoSivashinsky().on(grid), u0, [0.0, 1.0], ETDRK(order), dt=0.05)
    assert torch.allclose(torch.from_numpy(u.__array__().copy()), ours.states[0, -1], atol=1e-9)


def test_real_coefficients_make_korteweg_de_vries_first_order(exponax):
    """Its error halves with the step where ours has reached the error of the grid."""
    grid = Grid((256,), (80.0,), (-40.0,))
    x = grid.coordinates()[0]
    u0, end = exact.kdv_soliton(x, 0.0, speed=2.0), exact.kdv_soliton(x, 0.4, speed=2.0)
    errors = []
    for num_steps in (64, 128, 256):
        theirs = exponax.stepper.KortewegDeVries(
            1,
            80.0,
            256,
            0.4 / num_steps,
            order=4,
            single_channel=True,
            convection_scale=6.0,
            dispersivity=1.0,
            hyper_diffusivity=0.0,
            conservative=True,
        )
        u = exponax.repeat(theirs, num_steps)(u0[None].numpy())
        errors.append(float((torch.from_numpy(u.__array__().copy())[0] - end).abs().max()))
    assert all(1.8 < a / b < 2.2 for a, b in zip(errors, errors[1:], strict=False)), errors
    f = KortewegDeVries().on(grid)
    ours = integrate(f, u0[None, None], [0.0, 0.4], ETDRK(4), dt=0.4 / 64).states[0, -1, 0]
    assert float((ours - end).abs().max()) < 1e-5


@pytest.mark.parametrize("n", [32, 45])
@pytest.mark.parametrize("order", [2, 4])
def test_decaying_vorticity_agrees_in_every_mode(exponax, order, n):
    """exponax writes w = +lap psi: its vorticity is the negative of ours."""
    grid = Grid((n, n), (3.0, 3.0))
    w = random_initial_condition(grid, 1, rms=5.0)
    theirs = exponax.stepper.NavierStokesVorticity(
        2, 3.0, n, 0.01, diffusivity=2e-3, order=order, dealiasing_fraction=same_modes(n)
    )
    end = -repeated(exponax, theirs, 50, -w[0])
    f = NavierStokesVorticity(2e-3).on(grid)
    ours = integrate(f, w, [0.0, 0.5], ETDRK(order), dt=0.01).states[0, -1]
    assert (end - w[0]).abs().max() > 1
    assert torch.allclose(ours, end, atol=1e-11)


@pytest.mark.parametrize("order", [2, 4])
def test_kolmogorov_flow_agrees_in_every_mode(exponax, order):
    """In the mirror image the force pushes the other way, so its amplitude changes sign."""
    n, extent = 48, 2 * math.pi
    grid = Grid((n, n), (extent, extent))
    w = random_initial_condition(grid, 1, rms=2.0)
    theirs = exponax.stepper.KolmogorovFlowVorticity(
        2,
        extent,
        n,
        0.01,
        diffusivity=1e-2,
        drag=-0.1,
        injection_mode=4,
        injection_scale=-1.5,
        order=order,
        dealiasing_fraction=same_modes(n),
    )
    end = -repeated(exponax, theirs, 100, -w[0])
    f = NavierStokesVorticity(1e-2, 0.1, 1.5, 4).on(grid)
    ours = integrate(f, w, [0.0, 1.0], ETDRK(order), dt=0.01).states[0, -1]
    assert torch.allclose(ours, end, atol=1e-11)


def test_fisher_kpp_agrees_in_every_mode(exponax):
    n = 64
    grid = Grid((n,), (5.0,))
    u0 = random_initial_condition(grid, 1, rms=0.2, mean=0.4)
    theirs = exponax.stepper.reaction.FisherKPP(
        1,
        5.0,
        n,
        0.05,
        diffusivity=0.02,
        reactivity=1.3,
        order=4,
        dealiasing_fraction=same_modes(n),
    )
    f = FisherKPP(0.02, 1.3).on(grid)
    ours = integrate(f, u0, [0.0, 2.0], ETDRK(4), dt=0.05).states[0, -1]
    assert torch.allclose(ours, repeated(exponax, theirs, 40, u0[0]), atol=1e-11)


def test_gray_scott_approaches_exponax_at_order_four(exponax):
    """Its feed and loss are not in the linear part, so only the limit of small steps is common."""
    n = 32
    grid = Grid((n, n), (1.0, 1.0))
    u = random_initial_condition(grid, 1, num_channels=2, max_wavenumber=3, rms=0.1, mean=0.4)

    def distance(num_steps):
        theirs = exponax.stepper.reaction.GrayScott(
            2,
            1.0,
            n,
            20.0 / num_steps,
            diffusivity_1=2e-4,
            diffusivity_2=1e-4,
            feed_rate=0.04,
            kill_rate=0.06,
            order=4,
            dealiasing_fraction=same_modes(n, 1 / 2),
        )
        f = GrayScott(2e-4, 1e-4, 0.04, 0.06).on(grid)
        ours = integrate(f, u, [0.0, 20.0], ETDRK(4), dt=20.0 / num_steps).states[0, -1]
        return float((ours - repeated(exponax, theirs, num_steps, u[0])).abs().max())

    coarse, fine = distance(40), distance(80)
    assert fine < 1e-7
    assert abs(math.log2(coarse / fine) - 4) < 0.4
