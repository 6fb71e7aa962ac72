"""The spectral layer against torch.fft, and the contract and symmetries of the FNO."""

import importlib
import math
from itertools import product
from pathlib import Path

import pytest
import torch

from pdesurrogates.backbones import FNO, FactorisedFNO, FactorisedSpectralConv, SpectralConv
from tests.backbones.contract import (
    check_compiled,
    check_conditions,
    check_contract,
    randomized,
)

SPACES = [(16,), (15,), (12, 9), (9, 14), (6, 5, 8)]
MODES = {1: (4,), 2: (3, 4), 3: (2, 2, 3)}


def spectral_oracle(conv, v):
    """irfft(R rfft(v)), one wavenumber at a time, from torch.fft."""
    space, dim = v.shape[1:-1], v.ndim - 2
    weight = torch.complex(conv.weight[..., 0, :], conv.weight[..., 1, :])
    v_hat = torch.fft.rfftn(v, dim=tuple(range(1, dim + 1)), norm="forward")
    y_hat = v_hat.new_zeros(*v_hat.shape[:-1], weight.shape[-1])
    for entry in product(*map(range, weight.shape[:dim])):
        k = [i - m for i, m in zip(entry[:-1], conv.num_modes[:-1], strict=True)] + [entry[-1]]
        carried = [-(n // 2) <= j < (n + 1) // 2 for j, n in zip(k[:-1], space[:-1], strict=True)]
        if all(carried) and k[-1] <= space[-1] // 2:
            at = (slice(None), *(j % n for j, n in zip(k[:-1], space[:-1], strict=True)), k[-1])
            y_hat[at] = v_hat[at] @ weight[entry]
    for axis in range(1, dim):
        y_hat = torch.fft.ifft(y_hat, dim=axis, norm="forward")
    return torch.fft.irfft(y_hat, n=space[-1], dim=dim, norm="forward")


@pytest.mark.parametrize(
    ("space", "num_modes"),
    [
        ((16,), (5,)),
        ((16,), (9,)),  # up to Nyquist
        ((15,), (8,)),
        ((10,), (20,)),  # fewer wavenumbers than modes
        ((8, 9), (3, 4)),
        ((9, 8), (10, 10)),
        ((8, 8), (4, 5)),
        ((2, 1), (3, 3)),
        ((4, 5, 6), (2, 2, 3)),
        ((5, 4, 6), (8, 8, 8)),
    ],
)
def test_spectral_convolution_is_the_filtered_fft(space, num_modes):
    conv = SpectralConv(3, 2, num_modes).double()
    v = torch.randn(2, *space, 3, dtype=torch.float64)
    residual = torch.randn(2, *space, 2, dtype=torch.float64)
    expected = spectral_oracle(conv, v)
    torch.testing.assert_close(conv(v), expected, rtol=0, atol=1e-13)
    torch.testing.assert_close(conv(v, residual), residual + expected, rtol=0, atol=1e-13)


def test_spectral_convolution_of_a_cosine():
    conv = SpectralConv(1, 1, (4,)).double()
    amplitude, phase = 1.7, 0.4
    with torch.no_grad():
        conv.weight[3, 0, 0, 0] = amplitude * math.cos(phase)
        conv.weight[3, 0, 1, 0] = amplitude * math.sin(phase)
    x = 2 * torch.pi * torch.arange(32, dtype=torch.float64) / 32
    y = conv((3 * x).cos()[None, :, None])[0, :, 0]
    torch.testing.assert_close(y, amplitude * (3 * x + phase).cos(), rtol=0, atol=1e-13)


def test_spectral_convolution_is_the_same_function_on_every_grid():
    conv = SpectralConv(2, 2, (6, 6)).double()
    c = torch.randn(2, 2, 4, 4, dtype=torch.float64)

    def band_limited(n):
        x = 2 * torch.pi * torch.arange(n, dtype=torch.float64) / n
        waves = torch.stack([x.sin(), (3 * x).cos(), (5 * x).sin(), torch.ones_like(x)])
        return torch.einsum("bcij,ix,jy->bxyc", c, waves, waves)

    coarse, fine = conv(band_limited(16)), conv(band_limited(32))
    torch.testing.assert_close(coarse, fine[:, ::2, ::2], rtol=0, atol=1e-12)


def test_spectral_convolution_keeps_the_variance_at_the_start():
    conv = SpectralConv(64, 64, (33,)).double()
    v = torch.randn(64, 64, 64, dtype=torch.float64)
    assert abs(float(conv(v).detach().var()) - 1) < 0.1


@pytest.mark.parametrize(
    ("space", "num_modes"),
    [
        ((16,), (5,)),
        ((9,), (20,)),  # fewer wavenumbers than modes
        ((8, 9), (3, 5)),
        ((4, 5, 6), (2, 3, 4)),
        ((5, 4, 6), (8, 8, 8)),
    ],
)
def test_factorised_convolution_is_a_sum_of_filtered_ffts(space, num_modes):
    conv = FactorisedSpectralConv(3, 2, num_modes)
    v = torch.randn(2, *space, 3)
    expected = torch.zeros(2, *space, 2)
    for axis, weight in enumerate(conv.weights, start=1):
        v_hat = torch.fft.rfft(v, dim=axis, norm="forward").movedim(axis, -2)
        kept = min(weight.shape[0], v_hat.shape[-2])
        R = torch.complex(weight[:kept, :, 0], weight[:kept, :, 1])
        y_hat = torch.einsum("...ki,kio->...ko", v_hat[..., :kept, :], R).movedim(-2, axis)
        expected += torch.fft.irfft(y_hat, n=space[axis - 1], dim=axis, norm="forward")
    torch.testing.assert_close(conv(v), expected, rtol=0, atol=1e-13)


def test_factorised_convolution_keeps_the_variance_at_the_start():
    conv = FactorisedSpectralConv(64, 64, (9, 9)).double()
    v = torch.randn(64, 16, 16, 64, dtype=torch.float64)
    assert abs(float(conv(v).detach().var()) - 1) < 0.1


@pytest.mark.parametrize("coordinates", [False, True])
@pytest.mark.parametrize("space", SPACES)
def test_contract(space, coordinates, dtype, tmp_path):
    settings = dict(num_modes=MODES[len(space)], width=8, depth=2, grid_coordinates=coordinates)
    model = FNO(2, 3, **settings)
    u = torch.randn(4, 2, *space)
    output = model(u)
    assert output.shape == (4, 3, *space)
    assert output.dtype == dtype and output.is_contiguous()

    output.square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.is_contiguous() and not parameter.is_complex(), name
        assert parameter.grad.isfinite().all() and parameter.grad.abs().max() > 0, name

    with torch.no_grad():
        tolerance = {"rtol": 0, "atol": 1e-12 if dtype == torch.float64 else 1e-6}
        assert torch.equal(model.eval()(u), output)
        torch.testing.assert_close(model(u[1:2]), output[1:2], **tolerance)
        path = tmp_path / "weights.pt"
        torch.save(model.state_dict(), path)
        other = FNO(2, 3, **settings)
        other.load_state_dict(torch.load(path, weights_only=True))
        assert torch.equal(other(u), output)


@pytest.mark.parametrize(
    ("parameter_dtype", "input_dtype", "tolerance"),
    [
        (torch.float64, torch.float64, 0),
        (torch.float32, torch.float32, 1e-5),
        (torch.float32, torch.float64, 1e-5),
        (torch.float32, torch.bfloat16, 2e-2),
        (torch.float32, torch.float16, 2e-3),
        (torch.bfloat16, torch.bfloat16, 5e-2),
        (torch.float16, torch.float16, 5e-3),
    ],
)
def test_precision_follows_the_input(parameter_dtype, input_dtype, tolerance):
    model = FNO(num_modes=(5, 5), width=8, depth=2).double()
    u = torch.randn(2, 1, 16, 15).to(input_dtype)
    exact = model(u.double()).detach()
    output = model.to(parameter_dtype)(u).detach()
    assert output.dtype == input_dtype
    assert float((output.double() - exact).norm() / exact.norm()) <= tolerance


def test_autocast_keeps_the_transforms_in_float32():
    conv = SpectralConv(4, 4, (6,)).float()
    v = torch.randn(2, 32, 4, dtype=torch.float32)
    model = FNO(num_modes=(6,), width=8, depth=2).float()
    u = torch.randn(2, 1, 32, dtype=torch.float32)
    expected = model(u).detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside, output = conv(v), model(u)
    assert torch.equal(inside, conv(v))
    assert float((output.detach() - expected).norm() / expected.norm()) < 5e-2
    output.square().mean().backward()


@pytest.mark.parametrize(
    ("precision", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)]
)
@pytest.mark.parametrize("space", SPACES)
def test_shifts_commute(space, precision, tolerance):
    dim = len(space)
    settings = {"num_modes": (5, 5, 5)[:dim], "width": 8, "allow_truncation": True}
    model = FNO(depth=3, **settings).to(precision)
    u = torch.randn(2, 1, *space, dtype=precision)
    shift, axes = (3, 2, 1)[:dim], tuple(range(2, dim + 2))
    shifted = model(u.roll(shift, axes))
    torch.testing.assert_close(shifted, model(u).roll(shift, axes), rtol=0, atol=tolerance)
    model = FNO(grid_coordinates=True, **settings).to(precision)
    assert (model(u.roll(shift, axes)) - model(u).roll(shift, axes)).abs().max() > 100 * tolerance


def test_grid_coordinates_are_extra_channels():
    model = FNO(1, 1, num_modes=(3, 3), width=8, depth=2, grid_coordinates=True)
    plain = FNO(3, 1, num_modes=(3, 3), width=8, depth=2)
    plain.load_state_dict(model.state_dict())
    u = torch.randn(2, 1, 4, 5)
    x = torch.tensor([0, 0.25, 0.5, 0.75])[:, None].expand(4, 5)
    y = torch.tensor([0, 0.2, 0.4, 0.6, 0.8]).expand(4, 5)
    with_channels = torch.cat((u, torch.stack((x, y)).expand(2, 2, 4, 5)), dim=1)
    torch.testing.assert_close(model(u), plain(with_channels))


def test_resolutions_agree_once_every_layer_is_resolved():
    model = FNO(num_modes=(8,), width=16)

    @torch.no_grad()
    def on_coarse_points(n):
        x = 2 * torch.pi * torch.arange(n) / n
        return model((x.sin() + (3 * x).cos())[None, None])[..., :: n // 32]

    errors = [float((on_coarse_points(n) - on_coarse_points(512)).abs().max()) for n in (32, 128)]
    assert errors[0] < 1e-2 and errors[1] < 1e-9, errors


def test_gradcheck():
    model = FNO(num_modes=(2, 3), width=2, depth=1).double()
    u = torch.randn(1, 1, 4, 5, dtype=torch.float64, requires_grad=True)
    weight = model.blocks[0].spectral.weight

    def call(u, _):
        return model(u)

    assert torch.autograd.gradcheck(call, (u, weight))
    assert torch.autograd.gradgradcheck(call, (u, weight))


def test_inference_before_training():
    model = FNO(num_modes=(7,), width=4, depth=1)
    u = torch.randn(1, 1, 23)  # a grid no other test has cached
    with torch.inference_mode():
        model(u)
    model(u).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 16), r"FNO: `u` must have shape \(batch, channel, x\) with 2 channel.*got \(3, 16\)"),
        ((3, 2, 16, 16), r"has 1 space axes"),
        ((3, 16, 2), r"u\.movedim\(-1, 1\)"),
        ((3, 5, 16), r"in_channels=5"),
    ],
)
def test_wrong_shapes_are_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        FNO(2, 1, num_modes=(4,))(torch.zeros(shape))


@pytest.mark.parametrize("dtype_", [torch.int64, torch.complex64])
def test_wrong_dtypes_are_refused(dtype_):
    with pytest.raises(TypeError, match="real floating point"):
        FNO()(torch.zeros(1, 1, 8, dtype=dtype_))


@pytest.mark.parametrize(
    "settings",
    [
        {"num_modes": ()},
        {"num_modes": (1, 2, 3, 4)},
        {"num_modes": (0,)},
        {"width": 0},
        {"depth": 0},
        {"in_channels": 0},
        {"mlp_ratio": 0.0},
        {"lifting_ratio": -1.0},
    ],
)
def test_wrong_arguments_are_refused(settings):
    with pytest.raises(ValueError, match=f"FNO: `{next(iter(settings))}"):
        FNO(**settings)


@pytest.mark.parametrize("network", [FNO, FactorisedFNO])
def test_modes_above_nyquist_are_refused(network):
    model = network(num_modes=(5, 4), width=4, depth=1)
    model(torch.zeros(1, 1, 8, 6))
    message = (
        rf"{network.__name__}: modes above Nyquist: the smallest grid for num_modes=\(5, 4\) has "
        r"\(8, 6\) points, got \(7, 6\); .*num_modes=\(4, 4\) or set network.allow_truncation"
    )
    for space in ((7, 6), (8, 5)):
        with pytest.raises(ValueError, match=message if space[0] == 7 else "modes above Nyquist"):
            model(torch.zeros(1, 1, *space))
    model.allow_truncation = True
    u = torch.randn(1, 1, 5, 3)
    output = model(u)
    same = network(num_modes=(5, 4), width=4, depth=1, allow_truncation=True)
    same.load_state_dict(model.state_dict())
    assert torch.equal(same(u), output)


@pytest.mark.slow
@pytest.mark.parametrize(("dim", "coordinates"), [(1, False), (2, True)])
def test_compiled_equals_eager(dim, coordinates):
    torch.compiler.reset()
    model = FNO(num_modes=(6,) * dim, width=8, depth=2, grid_coordinates=coordinates).float()
    compiled = torch.compile(model, fullgraph=True)
    for n in (16, 20, 9):
        u = torch.randn(3, 1, *(n, n + 3)[:dim], dtype=torch.float32)
        eager_output, output = model(u), compiled(u)
        assert float((output - eager_output).norm() / eager_output.norm()) < 1e-5
        eager = torch.autograd.grad(eager_output.square().sum(), list(model.parameters()))
        found = torch.autograd.grad(output.square().sum(), list(model.parameters()))
        for a, b in zip(found, eager, strict=True):
            assert float((a - b).norm() / b.norm()) < 1e-4


@pytest.mark.compare
@pytest.mark.parametrize(
    ("n_modes", "space", "coordinates"),
    [
        ((32,), (64,), True),
        ((7,), (33,), False),
        ((32,), (20,), True),  # fewer wavenumbers than modes
        ((12, 10), (32, 24), True),
        ((12, 12), (8, 16), False),
        ((4, 6, 4), (8, 12, 10), True),
    ],
)
def test_equals_neuraloperator(n_modes, space, coordinates, monkeypatch):
    models = pytest.importorskip("neuralop.models")
    torch.set_default_dtype(torch.float32)
    embedding = "grid" if coordinates else None
    reference = models.FNO(
        n_modes, 2, 3, 16, n_layers=3, positional_embedding=embedding, lifting_channel_ratio=2
    )
    ours = _benchmark(monkeypatch).from_neuraloperator(reference)
    ours.allow_truncation = True
    u = torch.randn(2, 2, *space)
    expected = reference(u)
    assert float((ours(u) - expected).norm() / expected.norm()) < 1e-5
    assert sum(p.numel() for p in ours.parameters()) == sum(
        p.numel() * (2 if p.is_complex() else 1) for p in reference.parameters()
    )


def _benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return importlib.import_module("fno")


@pytest.mark.parametrize("space", [(15,), (8, 9)])
def test_conditions(space, tmp_path):
    model = FNO(2, 2, num_modes=(3,) * len(space), width=8, depth=2, num_conditions=2)
    check_contract(model, space, tmp_path)
    check_conditions(model, space)


@pytest.mark.parametrize(
    ("space", "settings"),
    [
        ((15,), {}),
        ((8, 9), {"num_conditions": 2}),
        ((9, 14), {"grid_coordinates": True}),
        ((6, 5, 8), {"num_conditions": 1}),
    ],
)
def test_factorised_contract(space, settings, tmp_path):
    model = FactorisedFNO(2, 2, num_modes=(3,) * len(space), width=6, depth=2, **settings)
    check_contract(model, space, tmp_path)
    check_conditions(model, space)


@pytest.mark.parametrize("space", SPACES)
def test_shifts_commute_with_the_factorised(space):
    dim = len(space)
    model = randomized(FactorisedFNO(num_modes=(3, 3, 3)[:dim], width=6, depth=2))
    u = torch.randn(2, 1, *space)
    shift, axes = (3, 2, 1)[:dim], tuple(range(2, dim + 2))
    shifted = model(u.roll(shift, axes))
    torch.testing.assert_close(shifted, model(u).roll(shift, axes), rtol=0, atol=1e-12)


def test_factorised_size():
    """Sums of modes, not products: m channel matrices of complex numbers per axis."""
    model = FactorisedFNO(num_modes=(7, 5), width=8, depth=3)
    assert sum(p.numel() for p in model.blocks[0].spectral.parameters()) == 2 * (7 + 5) * 64


@pytest.mark.parametrize("settings", [{"num_modes": ()}, {"mlp_ratio": 0.0}, {"depth": 0}])
def test_wrong_factorised_arguments_are_refused(settings):
    with pytest.raises(ValueError, match=f"FactorisedFNO: `{next(iter(settings))}"):
        FactorisedFNO(**settings)


@pytest.mark.slow
@pytest.mark.parametrize("space", [(17,), (8, 9)])
def test_compiled_factorised_equals_eager(space):
    model = FactorisedFNO(num_modes=(3,) * len(space), width=6, depth=2, num_conditions=1)
    check_compiled(model, space)
