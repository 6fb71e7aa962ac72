"""Window attention against dense attention; layout, contract and symmetries of the transformer."""

import copy
import importlib
import math
from itertools import product
from pathlib import Path

import pytest
import torch

from pdesurrogates.backbones import OperatorTransformer, biased_attention
from pdesurrogates.backbones.biased_attention import attend
from pdesurrogates.backbones.extension import extend
from pdesurrogates.backbones.swin import ConditionalNorm, PatchMerging, PatchSplitting
from pdesurrogates.backbones.windows import (
    WindowAttention,
    divide_into_windows,
    merge_windows,
    partition_grid,
)
from tests.backbones.contract import (
    check_compiled,
    check_conditions,
    check_contract,
    randomized,
)

SMALL = {"width": 8, "depths": (2, 2), "num_heads": (2, 4), "skip_depths": (1, 0), "patch_size": 2}


def count(**settings):
    with torch.device("meta"):
        model = OperatorTransformer(**settings)
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("width", "depth", "millions"),
    [(48, 4, 20.77), (48, 8, 39.90), (96, 8, 157.73), (192, 8, 628.58)],
    ids=["T", "S", "B", "L"],
)
def test_published_sizes(width, depth, millions):
    settings = {"width": width, "depths": (depth,) * 4, "num_conditions": 1}
    assert round(count(in_channels=4, out_channels=4, **settings) / 1e6, 2) == millions


def test_small_size():
    settings = {"width": 16, "depths": (2, 2), "num_heads": (2, 4), "skip_depths": (1, 0)}
    number = count(in_channels=3, out_channels=3, window_size=8, num_conditions=1, **settings)
    assert round(number / 1e6, 4) == 0.0985


GRIDS = [((8,), (4,)), ((4, 6), (2, 3)), ((4, 2, 6), (2, 1, 3))]


@pytest.mark.parametrize(("space", "size"), GRIDS)
def test_windows_come_back(space, size):
    v = torch.randn(2, *space, 1, 3, 5)
    windows = divide_into_windows(v, size)
    num_tokens = math.prod(size)
    assert windows.shape == (1, 2, v[0, ..., 0, 0, 0].numel() // num_tokens, 3, num_tokens, 5)
    assert torch.equal(merge_windows(windows[0], size, space), v.flatten(-3))
    first = v[(0, *(slice(w) for w in size), 0, 1)].reshape(num_tokens, 5)
    assert torch.equal(windows[0, 0, 0, 1], first)


def dense_attention(attention, x, size, shift, is_periodic):
    """All pairs of points, one at a time; a pair counts if one window holds it."""
    space, width = x.shape[1:-1], x.shape[-1]
    points = list(product(*(range(n) for n in space)))
    weight = attention.query_key_value.weight
    flat = x.reshape(x.shape[0], -1, width)
    q, k, v = (flat @ part.mT for part in weight.chunk(3))
    q, v = q + attention.query_bias, v + attention.value_bias
    heads = [part.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2) for part in (q, k, v)]
    q, k, v = heads
    cosines = (q @ k.mT) / (q.norm(dim=-1)[..., :, None] * k.norm(dim=-1)[..., None, :])
    scores = torch.full_like(cosines, -math.inf)
    scale = attention.logit_scale.exp().clamp(max=100)
    for (i, p), (j, r) in product(enumerate(points), repeat=2):
        moved = [
            [(a - s) % n for a, s, n in zip(point, shift, space, strict=True)] for point in (p, r)
        ]
        cells = [[a // w for a, w in zip(point, size, strict=True)] for point in moved]
        near = all(
            wraps or abs(a - b) < w for wraps, a, b, w in zip(is_periodic, p, r, size, strict=True)
        )
        if cells[0] != cells[1] or not near:
            continue
        difference = torch.tensor([a - b for a, b in zip(*moved, strict=True)]).double()
        y = 8 * difference / torch.tensor([max(w - 1, 1) for w in size])
        bias = attention.position_bias(y.sign() * (1 + y.abs()).log2() / math.log2(8))
        scores[:, :, i, j] = scale * cosines[:, :, i, j] + 16 / (1 + (-bias).exp())
    y = scores.softmax(-1) @ v
    return attention.project(y.transpose(1, 2).flatten(2)).view_as(x)


@pytest.mark.parametrize("is_shifted", [False, True])
@pytest.mark.parametrize(
    ("space", "largest", "is_periodic", "size", "shift"),
    [
        ((12,), 4, (True,), (4,), (2,)),
        ((12,), 4, (False,), (4,), (2,)),
        ((4, 6), 2, (True, True), (2, 2), (1, 1)),
        ((4, 6), 2, (False, False), (2, 2), (1, 1)),
        ((4, 6), 3, (True, False), (2, 3), (1, 1)),
        ((4, 6), 4, (False, False), (4, 3), (0, 1)),  # one window: not moved
        ((4, 6), 9, (False, True), (4, 6), (0, 0)),
        ((2, 4, 3), 2, (False, False, True), (2, 2, 1), (0, 1, 0)),
    ],
)
def test_attention_is_dense_attention_inside_windows(
    space, largest, is_periodic, size, shift, is_shifted
):
    attention = randomized(WindowAttention(6, 2, dim=len(space)), 0.5)
    with torch.no_grad():
        attention.logit_scale[1] = 7.0  # beyond the clamp
    x = torch.randn(2, *space, 6)
    windows = partition_grid(space, largest, is_periodic)
    assert (windows.size, windows.shift) == (size, shift)
    moved = shift if is_shifted else (0,) * len(space)
    expected = dense_attention(attention, x, size, moved, is_periodic)
    found = attention(x, windows, is_shifted=is_shifted)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)  # 1e-12 in |q|^2


def test_position_bias_depends_on_the_difference_only():
    attention = randomized(WindowAttention(4, 2, dim=2))
    windows = partition_grid((12, 10), 5, (True, True))
    bias = attention._bias(windows, is_shifted=True).detach()
    assert windows.size == (4, 5) and bias.shape == (2, 20, 20)
    bias = bias.view(2, 4, 5, 4, 5)
    seen = {}
    for i, j, k, m in product(range(4), range(5), range(4), range(5)):
        value = bias[:, i, j, k, m]
        assert torch.equal(seen.setdefault((i - k, j - m), value), value)
    assert len({tuple(value.tolist()) for value in seen.values()}) == 7 * 9


@pytest.mark.parametrize("piece", [1, 100, 250, 2**17])
@pytest.mark.parametrize("has_windows", [False, True])
def test_attention_in_pieces_is_attention(piece, has_windows, monkeypatch):
    monkeypatch.setattr(biased_attention, "PIECE", piece)
    q, k, v = torch.randn(3, 2, 4, 3, 5, 6).requires_grad_().unbind(0)
    bias = torch.randn(4, 3, 5, 5) if has_windows else torch.randn(3, 5, 5)
    bias[..., 2, 3:] = -math.inf
    bias.requires_grad_()
    expected = ((q @ k.mT + bias).softmax(-1)) @ v
    found = attend(q, k, v, bias)
    torch.testing.assert_close(found, expected)
    change = torch.randn_like(found)
    gradients = (torch.autograd.grad(y, (q, k, v, bias), change) for y in (found, expected))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_attention_can_be_differentiated_twice(monkeypatch):
    monkeypatch.setattr(biased_attention, "PIECE", 20)
    q, k, v = torch.randn(3, 1, 2, 1, 3, 2)
    inputs = [x.requires_grad_() for x in (q, k, v, torch.randn(2, 1, 3, 3))]
    assert torch.autograd.gradcheck(attend, inputs)
    assert torch.autograd.gradgradcheck(attend, inputs)


def test_merging_sees_neighbours_and_splitting_makes_them():
    x = torch.randn(2, 4, 6, 3)
    merging = PatchMerging(3, dim=2)
    patch = torch.cat((x[0, 2, 4], x[0, 3, 4], x[0, 2, 5], x[0, 3, 5]))  # first axis fastest
    expected = merging.norm(merging.reduce.weight @ patch, None)
    torch.testing.assert_close(merging(x, None)[0, 1, 2], expected)

    splitting = PatchSplitting(4, dim=2)
    x = torch.randn(2, 3, 5, 4)
    parts = (splitting.expand.weight @ x[1, 2, 3]).view(2, 2, 2)
    y = splitting(x, None)
    assert y.shape == (2, 6, 10, 2)
    for i, j in product(range(2), repeat=2):
        expected = splitting.mix.weight @ splitting.norm(parts[i, j], None)
        torch.testing.assert_close(y[1, 4 + i, 6 + j], expected)


def test_norm_is_linear_in_the_condition():
    norm = randomized(ConditionalNorm(5, 2))
    x, c = 1e4 + torch.randn(3, 7, 5), torch.randn(3, 2)
    scale, shift = (c @ norm.affine.weight.mT + norm.affine.bias).chunk(2, dim=-1)
    centred = x - x.mean(-1, keepdim=True)
    expected = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    expected = scale[:, None] * expected + shift[:, None]
    torch.testing.assert_close(norm(x, c), expected)
    # Where mean(x^2) - mean(x)^2 would have lost all digits.
    low = norm.float()(x.float(), c.float())
    centred = x.float().double() - x.float().double().mean(-1, keepdim=True)
    y = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    expected = scale[:, None] * y + shift[:, None]
    assert float((low - expected).detach().abs().max()) < 1e-2


@pytest.mark.parametrize("kind", ["periodic", "zeros", "reflect", "replicate"])
def test_extension_of_any_length(kind):
    v = torch.arange(1.0, 4.0)[None, None]
    lines = {
        "periodic": [3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3],
        "zeros": [0, 0, 0, 0, 1, 2, 3, 0, 0, 0, 0, 0, 0],
        "reflect": [1, 2, 3, 2, 1, 2, 3, 2, 1, 2, 3, 2, 1],
        "replicate": [1, 1, 1, 1, 1, 2, 3, 3, 3, 3, 3, 3, 3],
    }
    assert extend(v, 4, 6, (kind,)).flatten().tolist() == lines[kind]
    square = extend(v[..., None].expand(1, 1, 3, 4), (1, 0), (0, 2), (kind, kind))
    assert square.shape == (1, 1, 4, 6)
    point = extend(torch.ones(1, 1, 1), 2, 2, (kind,))
    assert point.flatten().tolist() == ([0, 0, 1, 0, 0] if kind == "zeros" else [1] * 5)


def test_levels_are_joined_as_published():
    """Merging is given input + output of its level; the decoder, splitting + skip blocks."""
    model = randomized(OperatorTransformer(window_size=2, **SMALL))
    seen = {}
    for name in (
        "encoder.0",
        "encoder.1",
        "merge.0",
        "skip.0",
        "split.0",
        "decoder.0",
        "decoder.1",
    ):
        model.get_submodule(name).register_forward_hook(
            lambda _, given, output, name=name: seen.update({name: (given[0], output)})
        )
    model(torch.randn(1, 1, 16, 8))
    given = {name: pair[0] for name, pair in seen.items()}
    output = {name: pair[1] for name, pair in seen.items()}
    torch.testing.assert_close(given["merge.0"], given["encoder.0"] + output["encoder.0"])
    assert torch.equal(given["skip.0"], output["encoder.0"])
    assert torch.equal(given["encoder.1"], output["merge.0"])
    assert torch.equal(given["decoder.1"], output["encoder.1"])
    torch.testing.assert_close(given["decoder.0"], output["split.0"] + output["skip.0"])
    shifts = [
        [layer.is_shifted for layer in part[0].layers] for part in (model.encoder, model.decoder)
    ]
    assert shifts == [[False, True], [True, False]]


SPACES = [(17,), (16, 16), (12, 21), (3, 40), (4, 7, 9)]


@pytest.mark.parametrize("num_conditions", [0, 2])
@pytest.mark.parametrize("padding", ["periodic", "zeros"])
@pytest.mark.parametrize("space", SPACES)
def test_contract(space, padding, num_conditions, tmp_path):
    settings = SMALL | {"dim": len(space), "window_size": 2, "num_conditions": num_conditions}
    model = OperatorTransformer(2, 2, padding=padding, **settings)
    check_contract(model, space, tmp_path)
    check_conditions(model, space)


def test_more_channels_out_than_in(tmp_path):
    mixed = ("reflect", "replicate")
    settings = SMALL | {"depths": (1, 3), "skip_depths": (0, 1), "mlp_ratio": 0.5}
    check_contract(OperatorTransformer(1, 3, padding=mixed, **settings), (8, 12), tmp_path)


@pytest.mark.slow
def test_compiled():
    settings = SMALL | {"depths": (2, 1), "padding": ("zeros", "periodic"), "window_size": 4}
    check_compiled(OperatorTransformer(2, 2, num_conditions=1, **settings), (16, 21))


@pytest.mark.parametrize("space", [(24,), (16, 24), (8, 8, 16)])
def test_shifts_commute_on_periodic_axes(space):
    dim = len(space)
    settings = {"dim": dim, "window_size": 2} | SMALL
    model = randomized(OperatorTransformer(**settings))
    u = torch.randn(2, 1, *space)
    axes = tuple(range(2, dim + 2))
    for shift in product((0, 8), repeat=dim):  # window 2, patch 2, two levels
        expected = model(u).roll(shift, axes)
        torch.testing.assert_close(model(u.roll(shift, axes)), expected, rtol=0, atol=1e-11)
    assert (model(u.roll(4, -1)) - model(u).roll(4, -1)).abs().max() > 1e-3
    walls = randomized(OperatorTransformer(padding="zeros", **settings))
    assert (walls(u.roll(8, -1)) - walls(u).roll(8, -1)).abs().max() > 1e-3


def test_one_periodic_axis():
    settings = {"window_size": 2, "padding": ("zeros", "periodic")} | SMALL
    model = randomized(OperatorTransformer(**settings))
    u = torch.randn(1, 1, 16, 16)
    torch.testing.assert_close(model(u.roll(8, 3)), model(u).roll(8, 3), rtol=0, atol=1e-11)
    assert (model(u.roll(8, 2)) - model(u).roll(8, 2)).abs().max() > 1e-3


@pytest.mark.parametrize("padding", ["periodic", "replicate"])
def test_odd_grids_are_extended_evenly(padding):
    model = randomized(OperatorTransformer(padding=padding, window_size=2, **SMALL))
    u = torch.randn(1, 1, 16, 13)
    kind = "periodic" if padding == "periodic" else "replicate"
    extended = extend(u, (0, 1), (0, 2), (kind, kind))
    torch.testing.assert_close(model(u), model(extended)[..., 1:14], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("points", "window", "extended"),
    [
        (128, 16, 128),
        (96, 16, 96),
        (1, 16, 32),
        (130, 16, 160),
        (480, 16, 480),  # 15 tokens at the bottom
        (544, 16, 576),  # 17 would make 17 windows of one token, 18 makes 2 of 9
        (160, 4, 192),  # 5: windows of one; 6: of three
    ],
)
def test_grids_that_windows_divide(points, window, extended):
    with torch.device("meta"):
        model = OperatorTransformer(dim=1, window_size=window, depths=(1, 1, 1, 1))
    assert points + sum(model._points_to_add(points)) == extended


def test_low_precision():
    model = OperatorTransformer(window_size=4, **SMALL)
    u = torch.randn(2, 1, 16, 16)
    exact = model(u).detach()
    for dtype, tolerance in ((torch.bfloat16, 5e-2), (torch.float16, 1e-2)):
        output = copy.deepcopy(model).to(dtype)(u.to(dtype)).detach().double()
        assert float((output - exact).norm() / exact.norm()) < tolerance
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model.float()(u.float())
    assert float((output.detach().double() - exact).norm() / exact.norm()) < 5e-2
    output.square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_gradcheck():
    settings = SMALL | {"width": 2, "depths": (1, 2), "num_heads": (1, 2)}
    model = randomized(OperatorTransformer(dim=1, window_size=2, **settings))
    u = torch.randn(1, 1, 8, requires_grad=True)
    assert torch.autograd.gradcheck(model, (u,))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_heads": (3, 6, 12)}, "`num_heads` must have one entry per level, 4 as `depths`"),
        ({"depths": ()}, "`depths` must have one entry per level"),
        ({"skip_depths": (1, 0)}, "`skip_depths` must have one entry per level"),
        ({"depths": (2, 0, 2, 2)}, r"`depths\[1\]` must be an integer of at least 1, got 0"),
        ({"width": 50}, r"`num_heads\[0\]` must divide the 50 channels.*e\.g\. num_heads\[0\]=2"),
        ({"window_size": 0}, "`window_size` must be an integer of at least 1"),
        ({"mlp_ratio": 0.0}, "`mlp_ratio` must be positive"),
        ({"padding": "circular"}, "`padding` must be one of periodic"),
    ],
)
def test_bad_arguments(settings, message):
    with pytest.raises(ValueError, match=message):
        OperatorTransformer(**settings)


def test_empty_grid():
    model = OperatorTransformer(**SMALL)
    with pytest.raises(ValueError, match="at least 1 point on every axis"):
        model(torch.zeros(1, 1, 8, 0))


@pytest.mark.compare
@pytest.mark.parametrize(("space", "depths"), [((32, 32), (2, 3)), ((32, 64), (3, 1))])
def test_layers_are_those_of_transformers(space, depths, monkeypatch):
    pytest.importorskip("transformers")
    torch.set_default_dtype(torch.float32)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    benchmark = importlib.import_module("transformer")
    settings = {"width": 12, "depths": depths, "num_heads": (2, 3), "window_size": 8}
    theirs, ours = benchmark.pair(space=space, in_channels=2, patch_size=2, **settings)
    for parameter in theirs.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    benchmark.copy_weights(theirs, ours)
    u = torch.randn(2, 2, *space)
    x, space = theirs.embeddings(u)
    y = ours.embed_norm(ours.embed(u).movedim(1, -1), None)
    for n, stage in enumerate(theirs.encoder.layers):
        y = ours.encoder[n](y, ours.windows(y), None)
        y = ours.merge[n](y, None) if n == 0 else y
        x = stage(x, space)[0]
        space = tuple(m // 2 for m in space)
        torch.testing.assert_close(y.flatten(1, 2), x, rtol=0, atol=2e-5)
