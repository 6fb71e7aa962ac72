"""The contract and symmetries of the dilated residual network."""

import pytest
import torch

from pdesurrogates.backbones import DilatedResNet
from tests.backbones.contract import (
    check_compiled,
    check_conditions,
    check_contract,
    randomized,
)

SMALL = {"width": 6, "depth": 2, "dilations": (1, 2, 1)}


@pytest.mark.parametrize(
    ("space", "settings"),
    [
        ((16,), {}),
        ((15,), {"num_conditions": 2}),
        ((12, 9), {"num_conditions": 1}),
        ((9, 14), {"padding": ("periodic", "reflect")}),
        ((6, 5, 8), {"padding": ("zeros", "periodic", "replicate"), "num_conditions": 1}),
        ((2,), {}),
    ],
)
def test_contract(space, settings, tmp_path):
    model = DilatedResNet(2, 2, dim=len(space), **SMALL, **settings)
    check_contract(model, space, tmp_path)
    check_conditions(model, space)


def test_other_channels_and_float32(tmp_path):
    model = DilatedResNet(3, 1, kernel_size=5, width=6, depth=1, num_conditions=1).float()
    check_contract(model, (21,), tmp_path)


@pytest.mark.parametrize("space", [(16,), (13,), (9, 12), (5, 6, 4)])
def test_shifts_commute(space):
    dim = len(space)
    model = randomized(DilatedResNet(dim=dim, **SMALL))
    u = torch.randn(2, 1, *space)
    shift, axes = (3, 2, 1)[:dim], tuple(range(2, dim + 2))
    torch.testing.assert_close(
        model(u.roll(shift, axes)), model(u).roll(shift, axes), rtol=0, atol=1e-12
    )


def test_boundary_is_felt_only_near_it():
    """Two blocks that reach 4 points each: 8 points from the edge all paddings agree."""
    torch.manual_seed(0)
    periodic = DilatedResNet(**SMALL)
    u = torch.randn(1, 1, 24)
    for padding in ("zeros", "reflect", "replicate"):
        other = DilatedResNet(**SMALL, padding=padding)
        other.load_state_dict(periodic.state_dict())
        differs = (other(u) - periodic(u)).abs()[0, 0] > 1e-14
        assert not differs[8:-8].any() and differs[:2].all() and differs[-2:].all()


def test_a_block_is_a_skip_and_a_chain_of_convolutions():
    block = DilatedResNet(width=3, dilations=(2, 1)).blocks[0]
    v = torch.randn(2, 3, 8)
    w = v
    for reach, convolution in zip((2, 1), block.convolutions, strict=True):
        taps = torch.stack([w.roll(s, -1) for s in (reach, 0, -reach)])
        y = torch.einsum("kbcx,ock->box", taps, convolution.conv.weight)
        w = torch.nn.functional.gelu(y + convolution.conv.bias[:, None])
    torch.testing.assert_close(block(v, None), v + w)


def test_sizes():
    """The published 2D network: 4.2 M parameters at width 128 and depth 4."""
    with torch.device("meta"):
        model = DilatedResNet(3, 3, dim=2, width=128)
    pointwise = (3 + 1) * 128 + 2 * (128 + 1) * 128 + (128 + 1) * 3
    assert sum(p.numel() for p in model.parameters()) == 28 * (9 * 128 + 1) * 128 + pointwise
    small = DilatedResNet(width=32, depth=3)
    assert sum(p.numel() for p in small.parameters()) == 67_393


def test_grids_that_are_too_small_are_refused():
    message = r"smallest grid for kernels that reach 8 points and padding .* has \(8, 9\) points"
    with pytest.raises(ValueError, match=message):
        DilatedResNet(dim=2, padding=("periodic", "reflect"))(torch.zeros(1, 1, 8, 8))
    DilatedResNet(dim=2, width=2, padding=("periodic", "reflect"))(torch.zeros(1, 1, 8, 9))
    DilatedResNet(dim=2, width=2, padding=("replicate", "zeros"))(torch.zeros(1, 1, 1, 1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 0}, "`width` must be an integer of at least 1"),
        ({"depth": 1.5}, "`depth`"),
        ({"dilations": (1, 0)}, r"`dilations\[1\]`"),
        ({"dilations": ()}, "`dilations` must name at least one"),
        ({"kernel_size": 2}, "`kernel_size` must be odd"),
        ({"padding": "same"}, "DilatedResNet: `padding` must be one of periodic, zeros"),
        ({"dim": 4}, "`dim` must be 1, 2 or 3"),
    ],
)
def test_wrong_arguments_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        DilatedResNet(**settings)


@pytest.mark.slow
@pytest.mark.parametrize("space", [(17,), (12, 9)])
def test_compiled_equals_eager(space):
    model = DilatedResNet(dim=len(space), width=6, depth=1, dilations=(1, 2), num_conditions=2)
    check_compiled(model, space)
