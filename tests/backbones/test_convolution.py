"""Padded convolutions against numpy.pad, plain sums and the layers of torch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pdesurrogates.backbones.convolution import (
    PaddedConv,
    TransposedConv,
    pad,
    padding_kinds,
    resize,
)

NUMPY = {"periodic": "wrap", "zeros": "constant", "reflect": "reflect", "replicate": "edge"}
KINDS = [
    ("periodic",),
    ("reflect",),
    ("periodic", "periodic"),
    ("periodic", "zeros"),
    ("replicate", "periodic"),
    ("reflect", "zeros"),
    ("periodic", "periodic", "periodic"),
    ("zeros", "periodic", "replicate"),
]
SPACE = (5, 7, 4)


@pytest.mark.parametrize("kinds", KINDS)
def test_pad_equals_numpy(kinds):
    dim = len(kinds)
    amounts = (2, 1, 3)[:dim]
    v = torch.randn(2, 3, *SPACE[:dim])
    expected = v.numpy()
    for axis, (amount, kind) in enumerate(zip(amounts, kinds, strict=True), start=2):
        widths = [(0, 0)] * (dim + 2)
        widths[axis] = (amount, amount)
        expected = np.pad(expected, widths, mode=NUMPY[kind])
    assert np.array_equal(pad(v, amounts, kinds).numpy(), expected)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_derivatives_of_periodic_padding(dim):
    amounts, kinds = (1, 2, 0)[:dim], ("periodic",) * dim
    v = torch.randn(2, 1, *SPACE[:dim], requires_grad=True)

    def padded(v):
        return pad(v, amounts, kinds)

    assert torch.autograd.gradcheck(padded, v, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(lambda v: padded(v) ** 2, v)
    assert torch.equal(torch.func.vmap(padded)(v[None])[0], padded(v))
    both = tuple(n for amount in reversed(amounts) for n in (amount, amount))
    plain = F.pad(v, both, mode="circular")
    weight = torch.randn_like(plain)
    found, expected = (torch.autograd.grad((y * weight).sum(), v)[0] for y in (padded(v), plain))
    torch.testing.assert_close(found, expected)


def test_periodic_padding_keeps_the_order_in_memory():
    v = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    padded = pad(v, (1, 1), ("periodic", "periodic"))
    assert padded.is_contiguous(memory_format=torch.channels_last)
    assert pad(v.contiguous(), (1, 1), ("periodic", "periodic")).is_contiguous()


@pytest.mark.parametrize("n", [8, 9])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (1, 3), (2, 1)])
def test_periodic_convolution_is_a_sum_over_the_circle(stride, dilation, n):
    conv = PaddedConv(2, 3, dim=1, stride=stride, dilation=dilation)
    v = torch.randn(2, 2, n)
    expected = torch.stack(
        [
            conv.conv.bias
            + sum(
                v[:, :, (stride * i + dilation * (k - 1)) % n] @ conv.conv.weight[:, :, k].mT
                for k in range(3)
            )
            for i in range(-(-n // stride))
        ],
        dim=-1,
    )
    torch.testing.assert_close(conv(v), expected)


def test_periodic_transposed_convolution_is_a_sum_over_the_circle():
    conv = TransposedConv(2, 3, dim=1)
    v = torch.randn(2, 2, 5)
    expected = conv.conv.bias[:, None].expand(2, 3, 10).clone()
    for i in range(5):
        for k in range(4):
            expected[:, :, (2 * i + k - 1) % 10] += v[:, :, i] @ conv.conv.weight[:, :, k]
    torch.testing.assert_close(conv(v), expected)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_zero_padding_is_that_of_torch(dim):
    space = SPACE[:dim]
    v = torch.randn(2, 2, *space)
    plain = (F.conv1d, F.conv2d, F.conv3d)[dim - 1]
    for stride, dilation in [(1, 1), (1, 2), (2, 1)]:
        conv = PaddedConv(2, 3, dim=dim, stride=stride, dilation=dilation, padding="zeros")
        expected = plain(
            v,
            conv.conv.weight,
            conv.conv.bias,
            stride=stride,
            dilation=dilation,
            padding=dilation,
        )
        torch.testing.assert_close(conv(v), expected)
    conv = TransposedConv(2, 3, dim=dim, padding="zeros")
    plain = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[dim - 1]
    expected = plain(v, conv.conv.weight, conv.conv.bias, stride=2, padding=1)
    torch.testing.assert_close(conv(v), expected)


@pytest.mark.parametrize("space", [(10,), (10, 6), (4, 6, 8)])
def test_shifts_commute(space):
    dim = len(space)
    axes, shift = tuple(range(2, dim + 2)), (3, 1, 2)[:dim]
    v = torch.randn(1, 2, *space)
    for stride in (1, 2):
        conv = PaddedConv(2, 2, dim=dim, stride=stride)
        far = tuple(stride * s for s in shift)
        torch.testing.assert_close(conv(v.roll(far, axes)), conv(v).roll(shift, axes))
    up = TransposedConv(2, 2, dim=dim)
    twice = tuple(2 * s for s in shift)
    torch.testing.assert_close(up(v.roll(shift, axes)), up(v).roll(twice, axes))


@pytest.mark.parametrize(("n", "n_new"), [(7, 8), (8, 12), (9, 16), (5, 15), (12, 8), (16, 9)])
def test_resized_periodic_field_is_the_same_trigonometric_polynomial(n, n_new):
    k = (min(n, n_new) - 1) // 2

    def field(num_points):
        x = 2 * torch.pi * torch.arange(num_points) / num_points
        return (0.3 + x.sin() + (k * x + 0.4).cos())[None, None]

    torch.testing.assert_close(resize(field(n), (n_new,), ("periodic",)), field(n_new))


@pytest.mark.parametrize(("n", "n_new"), [(7, 8), (8, 12), (6, 9)])
def test_resizing_up_and_back_changes_nothing(n, n_new):
    kinds = ("periodic", "reflect")
    v = torch.randn(2, 1, n, n)
    larger = resize(v, (n_new, n_new), kinds)
    assert larger.shape == (2, 1, n_new, n_new)
    torch.testing.assert_close(resize(larger, (n, n), kinds), v)


@pytest.mark.parametrize("kind", ["zeros", "reflect", "replicate"])
def test_other_fields_are_continued_at_the_end(kind):
    v = torch.randn(1, 1, 5, 6)
    widths = ((0, 0), (0, 0), (0, 3), (0, 2))
    expected = np.pad(v.numpy(), widths, mode=NUMPY[kind])
    assert np.array_equal(resize(v, (8, 8), (kind, kind)).numpy(), expected)
    assert torch.equal(resize(v, (4, 6), (kind, kind)), v[:, :, :4])


@pytest.mark.parametrize("padding", ["circular", ("periodic",), ("periodic", "none"), ()])
def test_unknown_padding_is_refused(padding):
    with pytest.raises(ValueError, match=r"here: `padding` must be one of periodic, zeros, ref"):
        padding_kinds(padding, 2, where="here")


def test_even_kernels_are_refused():
    with pytest.raises(ValueError, match="`kernel_size` must be odd, got 4"):
        PaddedConv(1, 1, 4, dim=1)
