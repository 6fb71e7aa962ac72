"""The same schemes in exponax (extra `compare`): agreement where its coefficients are right."""

import pytest
import torch

from pdesurrogates.core import Grid
from pdesurrogates.equations import KortewegDeVries, KuramotoSivashinsky, exact
from pdesurrogates.reference import random_initial_condition
from pdesurrogates.steppers import ETDRK, integrate

pytestmark = pytest.mark.compare


@pytest.fixture
def exponax():
    module = pytest.importorskip("exponax")
    pytest.importorskip("jax").config.update("jax_enable_x64", True)
    return module


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
