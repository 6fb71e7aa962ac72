"""Attention among slices against loops over points, and the symmetries of points and grids."""

import math

import pytest
import torch

from pdesurrogates.backbones import SliceAttention, SliceTransformer
from pdesurrogates.backbones.positions import wave_features
from tests.backbones.contract import check_compiled, check_conditions, check_contract, randomized

SMALL = dict(width=8, depth=2, num_heads=2, num_slices=3)
SPACES = [(16,), (9,), (8, 6), (5, 7), (4, 3, 5)]


def slice_attention_oracle(attention, v, measure):
    """The formula of the paper point by point, head by head."""
    heads, slices = attention.num_heads, attention.num_slices
    channels = v.shape[-1] // heads
    output = torch.zeros_like(v)
    for b in range(len(v)):
        answers = []
        for h in range(heads):
            own, rows = (
                slice(h * channels, (h + 1) * channels),
                slice(h * slices, (h + 1) * slices),
            )
            temperature = min(max(float(attention.temperature[h, 0]), 0.1), 5.0)
            w, tokens, total = [], torch.zeros(slices, channels), torch.zeros(slices)
            for i, point in enumerate(v[b]):
                logits = attention.assign.weight[rows] @ point + attention.assign.bias[rows]
                exponentials = (logits / temperature).exp()
                w.append(exponentials / exponentials.sum())
                content = attention.content.weight[own] @ point + attention.content.bias[own]
                for j in range(slices):
                    tokens[j] += measure[b, i] * w[i][j] * content
                    total[j] += measure[b, i] * w[i][j]
            tokens /= total[:, None]
            q, k, values = (tokens @ part.T for part in attention.attend.weight.chunk(3))
            mixed = torch.zeros_like(tokens)
            for j in range(slices):
                scores = torch.stack([(q[j] @ key / math.sqrt(channels)).exp() for key in k])
                mixed[j] = sum(s * value for s, value in zip(scores, values, strict=True))
                mixed[j] /= scores.sum()
            answers.append(torch.stack([sum(p[j] * mixed[j] for j in range(slices)) for p in w]))
        output[b] = torch.cat(answers, dim=-1) @ attention.spread.weight.T + attention.spread.bias
    return output


@torch.no_grad()
@pytest.mark.parametrize("temperature", [0.5, 0.01, 9.0])
@pytest.mark.parametrize(
    ("width", "heads", "slices"), [(6, 2, 4), (6, 3, 1), (4, 1, 7), (6, 3, 5)]
)
def test_attention_is_the_formula(width, heads, slices, temperature):
    attention = randomized(SliceAttention(width, heads, slices))
    attention.temperature.fill_(temperature)
    v, measure = torch.randn(2, 5, width), torch.rand(2, 5)
    expected = slice_attention_oracle(attention, v, measure)
    torch.testing.assert_close(attention(v, measure), expected, rtol=0, atol=1e-12)
    expected = slice_attention_oracle(attention, v, torch.ones(2, 5))
    torch.testing.assert_close(attention(v), expected, rtol=0, atol=1e-12)


@torch.no_grad()
def test_an_empty_slice_is_no_number_divided_by_zero():
    attention = SliceAttention(8, 2, 3).float()
    attention.assign.bias[0] = -1e4
    v = torch.randn(2, 5, 8, dtype=torch.float32)
    assert attention.parts(v)[:, :, 0, 0].abs().max() == 0
    assert attention(v).isfinite().all()


def test_parts_sum_to_one_and_start_orthonormal():
    attention = SliceAttention(16, 2, 5)
    parts = attention.parts(torch.randn(2, 7, 16))
    assert parts.shape == (2, 7, 2, 5)
    torch.testing.assert_close(parts.sum(-1), torch.ones(2, 7, 2))
    for rows in attention.assign.weight.split(5):
        torch.testing.assert_close(rows @ rows.T, torch.eye(5))


@pytest.mark.parametrize("stencil", [1, 3])
@pytest.mark.parametrize("space", SPACES)
def test_contract(space, stencil, tmp_path):
    periodic = (True, False, True)[: len(space)]
    settings = dict(dim=len(space), stencil=stencil, periodic=periodic, **SMALL)
    for model in (
        SliceTransformer(2, 2, **settings),
        SliceTransformer(2, 2, num_conditions=2, **settings),
    ):
        check_contract(model, space, tmp_path)
        check_conditions(model, space)


def test_contract_in_float32(tmp_path):
    torch.set_default_dtype(torch.float32)
    check_contract(SliceTransformer(2, 2, dim=2, stencil=3, **SMALL), (6, 5), tmp_path)


@torch.no_grad()
@pytest.mark.parametrize("parameter_dtype", [torch.float32, torch.bfloat16])
def test_low_precision(parameter_dtype):
    model = SliceTransformer(dim=2, **SMALL)
    u = torch.randn(2, 1, 8, 9)
    exact = model(u)
    output = model.to(parameter_dtype)(u)
    tolerance = 1e-5 if parameter_dtype == torch.float32 else 5e-2
    assert output.dtype == torch.float64
    assert float((output - exact).norm() / exact.norm()) < tolerance
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model.float()(u.float())
    assert float((output - exact).norm() / exact.norm()) < 5e-2


def grid_points(space, periodic):
    """Coordinates of a grid by hand, (1, point, dim)."""
    points = [[]]
    for n, closes in zip(space, periodic, strict=True):
        axis = [i / (n if closes else n - 1) for i in range(n)]
        points = [[*point, x] for point in points for x in axis]
    return torch.tensor(points)[None]


@torch.no_grad()
@pytest.mark.parametrize(
    ("space", "periodic"),
    [((9,), (True,)), ((9,), (False,)), ((6, 5), (False, True)), ((3, 4, 5), (True, False, True))],
)
def test_a_grid_is_its_points(space, periodic):
    model = randomized(
        SliceTransformer(2, 3, dim=len(space), periodic=periodic, num_conditions=1, **SMALL)
    )
    u, condition = torch.randn(2, 2, *space), torch.randn(2, 1)
    coordinates = grid_points(space, periodic).expand(2, -1, -1)
    values = u.flatten(2).mT
    output = model.at_points(values, coordinates, condition)
    expected = model(u, condition).flatten(2).mT
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-12)


@torch.no_grad()
def test_order_of_the_points_does_not_matter():
    model = randomized(SliceTransformer(2, 2, dim=3, **SMALL))
    values, coordinates, measure = torch.randn(2, 31, 2), torch.rand(2, 31, 3), torch.rand(2, 31)
    order = torch.randperm(31)
    expected = model.at_points(values, coordinates, measure=measure)[:, order]
    shuffled = (tensor[:, order] for tensor in (values, coordinates, measure))
    values, coordinates, measure = shuffled
    output = model.at_points(values, coordinates, measure=measure)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-12)


@torch.no_grad()
def test_a_point_given_twice_is_a_point_of_twice_the_measure():
    model = randomized(SliceTransformer(dim=2, **SMALL))
    values, coordinates = torch.randn(1, 12, 1), torch.rand(1, 12, 2)
    twice = torch.cat((torch.arange(12), torch.arange(4)))
    output = model.at_points(values[:, twice], coordinates[:, twice])
    measure = torch.tensor([[2.0] * 4 + [1.0] * 8])
    expected = model.at_points(values, coordinates, measure=3.7 * measure)
    torch.testing.assert_close(output[:, :12], expected, rtol=0, atol=1e-12)


def smooth(x):
    return torch.exp(torch.sin(2 * torch.pi * x)) - 1


@torch.no_grad()
def test_more_points_of_a_field_give_the_same_function():
    model = randomized(SliceTransformer(**SMALL))
    errors = []
    exact = model(smooth(torch.arange(512) / 512)[None, None])
    for n in (8, 32, 128):
        output = model(smooth(torch.arange(n) / n)[None, None])
        errors.append(float((output - exact[..., :: 512 // n]).abs().max()))
    assert errors[0] < 0.2 and errors[1] < 1e-2 and errors[2] < 1e-4, errors


@torch.no_grad()
def test_measures_make_crowded_points_equal_to_even_ones():
    model = randomized(SliceTransformer(**SMALL))
    s = torch.arange(512) / 512
    x = s + 0.06 * torch.sin(2 * torch.pi * s)  # from 0.7 to 1.6 times the mean density
    measure = 1 + 0.12 * torch.pi * torch.cos(2 * torch.pi * s)
    even = torch.arange(512) / 512
    probe = torch.tensor([0.1, 0.6])

    def at_probes(points, measure):
        """Output at two probes that themselves weigh nothing."""
        points = torch.cat((probe, points))[None, :, None]
        measure = torch.cat((torch.zeros(2), measure))[None]
        return model.at_points(smooth(points), points, measure=measure)[0, :2, 0]

    exact = at_probes(even, torch.ones(512))
    weighted = (at_probes(x, measure) - exact).abs().max()
    unweighted = (at_probes(x, torch.ones(512)) - exact).abs().max()
    assert weighted < 1e-8 and unweighted > 1e-3


@torch.no_grad()
def test_the_box_closes_on_itself():
    model = randomized(SliceTransformer(dim=2, periodic=(True, False), **SMALL))
    values, x = torch.randn(1, 9, 1), torch.rand(1, 9, 2)
    once = torch.tensor([1.0, 0.0])
    expected = model.at_points(values, x)
    torch.testing.assert_close(model.at_points(values, x + once), expected, rtol=0, atol=1e-12)
    other = model.at_points(values, x + once.flip(0))
    assert (other - expected).abs().max() > 1e-3


def test_waves_are_smooth_functions_of_the_place():
    x = torch.tensor([[0.0, 0.0], [0.25, 1.0]])
    expected = torch.tensor([[0.0, 0, 1, 1, -1, 0, 0, 1, 1], [1, 0, 0, -1, 1, 0, 0, -1, 1]])
    found = wave_features(x, (True, False), 2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-15)


@torch.no_grad()
@pytest.mark.parametrize("stencil", [1, 5])
@pytest.mark.parametrize("space", SPACES)
def test_shifts_commute_without_places(space, stencil):
    dim = len(space)
    model = randomized(SliceTransformer(dim=dim, num_waves=0, stencil=stencil, **SMALL))
    u = torch.randn(2, 1, *space)
    shift, axes = (3, 2, 1)[:dim], tuple(range(2, dim + 2))
    shifted = model(u.roll(shift, axes))
    torch.testing.assert_close(shifted, model(u).roll(shift, axes), rtol=0, atol=1e-12)
    model = randomized(SliceTransformer(dim=dim, stencil=stencil, **SMALL))
    assert (model(u.roll(shift, axes)) - model(u).roll(shift, axes)).abs().max() > 1e-3


@torch.no_grad()
def test_the_stencil_sees_neighbours_and_no_more():
    model = SliceTransformer(stencil=3, periodic=False, **SMALL)
    convolution = randomized(model.blocks[0].convolution)
    v = torch.zeros(1, 8, 8)
    base = convolution(v, (8,))
    for place, seen in ((0, [0, 1]), (3, [2, 3, 4])):
        changed = v.clone()
        changed[0, place] = 1
        rows = (convolution(changed, (8,)) - base)[0].abs().amax(dim=1)
        assert rows.nonzero().flatten().tolist() == seen
    constant = convolution(torch.ones(1, 8, 8), (8,))  # end values continue
    torch.testing.assert_close(constant, constant[:, :1].expand_as(constant))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 10, "num_heads": 4}, "multiple of `num_heads`, got width=10"),
        ({"num_slices": 0}, "`num_slices` must be an integer of at least 1"),
        ({"stencil": 2}, "`stencil` must be odd, got 2"),
        ({"num_waves": -1}, "`num_waves`"),
        ({"mlp_ratio": 0.0}, "`mlp_ratio` must be positive"),
        ({"periodic": (True, False)}, r"per space axis \(1\)"),
        ({"periodic": ("yes",)}, "True or False"),
        ({"dim": 4}, "`dim` must be 1, 2 or 3"),
    ],
)
def test_wrong_arguments_are_refused(settings, message):
    with pytest.raises(ValueError, match=f"SliceTransformer: .*{message}"):
        SliceTransformer(**settings)


def test_wrong_points_are_refused():
    model = SliceTransformer(2, 1, dim=2, **SMALL)
    values, x = torch.zeros(3, 7, 2), torch.zeros(3, 7, 2)
    with pytest.raises(ValueError, match=r"`values` must have shape \(batch, point, 2\)"):
        model.at_points(values.mT, x)
    with pytest.raises(ValueError, match=r"`coordinates` must have shape \(3, 7, 2\).*\(1, 7"):
        model.at_points(values, x[:1])
    with pytest.raises(ValueError, match=r"`measure` must have shape \(3, 7\)"):
        model.at_points(values, x, measure=torch.ones(7))
    with pytest.raises(TypeError, match="real floating point"):
        model.at_points(values.long(), x)
    with pytest.raises(ValueError, match="takes no `condition`"):
        model.at_points(values, x, torch.zeros(3, 1))
    with pytest.raises(ValueError, match=r"stencil=3.*build it with stencil=1"):
        SliceTransformer(2, 1, dim=2, stencil=3, **SMALL).at_points(values, x)


def test_too_small_grids_are_refused():
    with pytest.raises(ValueError, match=r"at least \(2,\) points, got \(1,\)"):
        SliceTransformer(periodic=False)(torch.zeros(1, 1, 1))
    with pytest.raises(ValueError, match=r"at least \(4,\) points, got \(3,\)"):
        SliceTransformer(stencil=9)(torch.zeros(1, 1, 3))


@pytest.mark.slow
@pytest.mark.parametrize(("dim", "stencil"), [(1, 1), (2, 3)])
def test_compiled_equals_eager(dim, stencil):
    model = SliceTransformer(
        dim=dim, stencil=stencil, num_conditions=1, periodic=(True, False)[:dim], **SMALL
    )
    check_compiled(model, (12, 9)[:dim])
