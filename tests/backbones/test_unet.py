"""The contract, symmetries, layout and sizes of the U-Net."""

import pytest
import torch

from pdesurrogates.backbones import UNet
from tests.backbones.contract import (
    check_compiled,
    check_conditions,
    check_contract,
    randomized,
)

SMALL = {"width": 4, "multipliers": (1, 2, 1)}


def count(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("space", "settings"),
    [
        ((16,), {}),
        ((13,), {"num_conditions": 2, "attention": True}),
        ((4,), {"num_groups": 2, "num_blocks": 1}),
        ((12, 9), {"num_conditions": 1, "num_groups": 2}),
        ((9, 14), {"padding": ("periodic", "reflect"), "attention": True}),
        ((8, 12), {"padding": "zeros"}),
        ((6, 5, 8), {"padding": ("zeros", "periodic", "replicate"), "num_conditions": 1}),
    ],
)
def test_contract(space, settings, tmp_path):
    model = UNet(2, 2, dim=len(space), **SMALL, **settings)
    check_contract(model, space, tmp_path)
    check_conditions(model, space)


def test_other_channels_and_float32(tmp_path):
    model = UNet(3, 1, dim=2, **SMALL, num_conditions=1).float()
    check_contract(model, (10, 11), tmp_path)


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("space", [(16,), (12, 8), (4, 8, 12)])
def test_shifts_by_a_coarse_cell_commute(space, attention):
    dim = len(space)
    model = randomized(UNet(dim=dim, **SMALL, attention=attention, num_conditions=1))
    u, condition = torch.randn(2, 1, *space), torch.randn(2, 1)
    shift, axes = (4, 8, 4)[:dim], tuple(range(2, dim + 2))
    shifted = model(u.roll(shift, axes), condition)
    expected = model(u, condition).roll(shift, axes)
    torch.testing.assert_close(shifted, expected, rtol=0, atol=1e-12)
    assert (model(u.roll(1, 2), condition) - model(u, condition).roll(1, 2)).abs().max() > 1e-3


def test_other_grids_are_resampled():
    """On 15 of 16 points of a smooth field the network answers almost the same field."""
    model = randomized(UNet(width=4, multipliers=(1, 1, 1)), scale=0.02)

    def on(n):
        x = 2 * torch.pi * torch.arange(n) / n
        return (x.sin() + (2 * x).cos())[None, None], x

    u, x = on(64)
    v, y = on(61)
    coefficients = torch.fft.rfft(model(u), norm="forward")[0, 0]
    k = torch.arange(33)
    values = coefficients * torch.exp(1j * k * y[:, None]) * torch.where(k % 32 == 0, 1.0, 2.0)
    torch.testing.assert_close(model(v)[0, 0], values.sum(-1).real, rtol=0, atol=1e-12)


def test_samples_are_modulated_one_by_one():
    """The norm over groups of all samples equals one norm and one modulation per sample."""
    model = randomized(UNet(width=4, multipliers=(1,), num_groups=2, num_conditions=1))
    norm = model.down[0][0].norm2
    v, embedding = torch.randn(3, 4, 6), torch.randn(3, 16)
    plain = torch.nn.functional.group_norm(v, 2, norm.weight, norm.bias, norm.eps)
    torch.testing.assert_close(norm(v, embedding), norm.modulation(plain, embedding))


def test_starts_at_zero():
    u = torch.randn(2, 1, 16)
    assert torch.equal(UNet(width=4)(u), torch.zeros(2, 1, 16))


def test_published_sizes():
    """Parameters of PDEArena's Unetmod-64 and Unetmod-1d-64, counted in its own code."""
    with torch.device("meta"):
        assert count(UNet(12, 3, dim=2)) == 144_263_683
        plain, model = UNet(2), UNet(2, num_conditions=2)
    # There the KS network has two perceptrons 64 -> 256 -> 256, one per number, and a shift per
    # block and channel; here one perceptron for all numbers, and a scale beside the shift.
    channels = 2 * (64 + 128 + 256 + 1024) + 2 * 1024
    channels += 2 * 1024 + 256 + 2 * 256 + 128 + 2 * 128 + 64 + 2 * 64 + 64
    theirs = 2 * (64 * 256 + 256 + 256 * 256 + 256) + (256 + 1) * channels
    assert count(plain) + theirs == 53_841_793
    ours = count(model.embedding) + 2 * (256 + 1) * channels
    assert count(plain) + ours == count(model)
    assert abs(count(model) / 53_841_793 - 1) < 0.04


def test_grids_that_are_too_small_are_refused():
    message = r"smallest grid for 3 levels and padding periodic, reflect has \(4, 8\) points, got"
    model = UNet(dim=2, **SMALL, padding=("periodic", "reflect"))
    model(torch.zeros(1, 1, 4, 8))
    for space in ((3, 8), (4, 7)):
        with pytest.raises(ValueError, match=message):
            model(torch.zeros(1, 1, *space))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 0}, "`width` must be an integer of at least 1"),
        ({"multipliers": (1, 0)}, r"`multipliers\[1\]`"),
        ({"multipliers": ()}, "`multipliers` must have one entry per level"),
        ({"num_blocks": 0}, "`num_blocks`"),
        ({"num_groups": 3}, "`num_groups` must divide `width` = 64, got 3"),
        ({"padding": "circular"}, "UNet: `padding` must be one of periodic, zeros"),
        ({"dim": 0}, "`dim` must be 1, 2 or 3"),
    ],
)
def test_wrong_arguments_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        UNet(**settings)


@pytest.mark.slow
@pytest.mark.parametrize("space", [(17,), (8, 11)])
def test_compiled_equals_eager(space):
    model = UNet(
        dim=len(space),
        width=4,
        multipliers=(1, 2),
        num_blocks=1,
        attention=True,
        num_conditions=2,
    )
    check_compiled(model, space)
