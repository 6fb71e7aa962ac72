"""Spectral derivatives against analysis; lazy fields; dealiasing; the symbol."""

import math

import pytest
import torch

from pdesurrogates.core import Grid
from pdesurrogates.operators import (
    AutodiffDerivatives,
    SpectralDerivatives,
    SpectralField,
    Symbol,
    vorticity_transport,
)
from pdesurrogates.operators.multiplier import in_memory_order

SHAPES = [(16,), (15,), (12, 16), (15, 11), (9, 12), (8, 9, 10), (7, 6, 9)]


def derivatives(num_points, extent=2 * math.pi, **options):
    grid = Grid(num_points, (extent,))
    return SpectralDerivatives(grid, **options), grid.coordinates()


@pytest.mark.parametrize("n", [31, 64])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_derivatives_of_a_sine(n, order):
    d, (x,) = derivatives((n,))
    u = d.field(torch.sin(3 * x)[None, None])
    exact = 3**order * torch.sin(3 * x + order * math.pi / 2)
    assert torch.allclose(d.derivative(u, 0, order).values[0, 0], exact, atol=1e-9)


@pytest.mark.parametrize("shape", [(16, 15), (12, 10, 9)])
def test_laplacian_and_its_inverse(shape):
    d, coordinates = derivatives(shape)
    u = sum(torch.sin(x) for x in coordinates) * torch.cos(coordinates[0])
    u = (u - u.mean())[None, None]
    field = d.field(u)
    assert torch.allclose(d.laplacian(d.inverse_laplacian(field)).values, u, atol=1e-12)
    by_axis = sum(d.derivative(field, axis, 2).values for axis in range(d.dim))
    assert torch.allclose(d.laplacian(field).values, by_axis, atol=1e-12)


def test_divergence_of_a_rotated_gradient_vanishes():
    d, (x, y) = derivatives((16, 18))
    psi = d.field((torch.sin(2 * x) * torch.cos(y))[None, None])
    assert d.divergence(d.dy(psi), -d.dx(psi)).values.abs().max() < 1e-13


def test_odd_derivative_of_the_nyquist_mode_is_zero():
    d, _ = derivatives((8,))
    u = torch.tensor([1.0, -1.0] * 4, dtype=torch.float64)[None, None]
    assert d.dx(d.field(u)).values.abs().max() < 1e-15
    assert torch.allclose(d.dxx(d.field(u)).values, -16 * u)


def test_each_transform_is_computed_once(monkeypatch):
    d, (x,) = derivatives((32,))
    calls = {"to_grid": 0, "to_modes": 0}
    for name in calls:
        original = getattr(d, name)

        def counted(tensor, name=name, original=original, **options):
            calls[name] += 1
            return original(tensor, **options)

        monkeypatch.setattr(d, name, counted)
    u = d.field(torch.sin(x)[None, None])
    _ = (d.dx(u) + d.dxx(u) - 2.0 * u).values
    assert calls == {"to_grid": 1, "to_modes": 1}
    _ = d.dx(u * u).values
    assert calls == {"to_grid": 2, "to_modes": 2}


def test_field_arithmetic_equals_arithmetic_of_values():
    d, (x,) = derivatives((64,))
    a, b = torch.sin(x)[None, None], torch.cos(2 * x)[None, None]
    p, q = d.field(a), d.field(b)
    for field, values in (
        (p + q, a + b),
        (p - q, a - b),
        (-p, -a),
        (2 * p, 2 * a),
        (p + 1.0, a + 1),
        (1.0 - p, 1 - a),
        (p * q, a * b),
        (p**3, a**3),
        (p / 2, a / 2),
        (p / (q + 3.0), a / (b + 3)),
        (1.0 / (q + 3.0), 1 / (b + 3)),
        ((q + 3.0) ** 0.5, (b + 3) ** 0.5),
        (abs(p), a.abs()),
        (abs(p) ** 1.5, a.abs() ** 1.5),
        (p * q - p * p + 2 * (q * q), a * b - a**2 + 2 * b**2),
        (d.dx(p) - 0.5 * (p * q), torch.cos(x) - 0.5 * a * b),
        (d.dx(p) + q, torch.cos(x) + b),
    ):
        assert torch.allclose(field.values, values, atol=1e-13)


def test_dealiasing_removes_what_would_fold_back():
    n = 30
    d, (x,) = derivatives((n,))
    u = d.field(torch.cos(9 * x)[None, None])
    # cos^2 = 1/2 + 1/2 cos 18x, and 18 would appear as 12 on 30 points.
    product = u * u
    assert torch.allclose(product.hat.abs()[0, 0, 1:], torch.zeros(n // 2), atol=1e-12)
    kept, _ = derivatives((n,), dealias=1.0)
    folded = kept.field(torch.cos(9 * x)[None, None])
    assert (folded * folded).hat.abs()[0, 0, 12] > 1


def kept_modes(values, d):
    """All coefficients, those that dealiasing cuts multiplied by zero, axis by axis."""
    hat = torch.fft.rfftn(values, dim=tuple(range(-d.dim, 0)))
    for axis, n in enumerate(d.grid.num_points):
        m = torch.arange(hat.shape[2 + axis])
        is_kept = (torch.minimum(m, n - m) < d.dealias_fraction * n / 2) | (
            d.dealias_fraction == 1
        )
        hat = hat * is_kept.reshape([-1 if i == axis else 1 for i in range(d.dim)])
    return hat


@pytest.mark.parametrize("dealias", [1.0, 2 / 3, 0.5])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_pruned_transforms_equal_whole_ones(shape, dealias):
    d, _ = derivatives(shape, dealias=dealias)
    space = tuple(range(-d.dim, 0))
    a, b = torch.randn(2, 3, 1, *shape).unbind()
    product = d.field(a) * d.field(b)
    expected = kept_modes(a * b, d)
    assert torch.allclose(product.hat, expected, atol=1e-11)
    if d.dim > 1 and dealias < 1:
        pruned = d.to_modes(a * b, is_uncut=True)
        assert pruned.shape[-1] == math.ceil(dealias * shape[-1] / 2 - 1e-9)
    slope = d.derivative(d.field(a) * d.field(b), d.dim - 1)
    assert torch.allclose(d.laplacian(slope).hat, d.laplacian(slope.map(torch.clone)).hat)
    state = SpectralField(d, hat=torch.fft.rfftn(a, dim=space), is_uncut=True)
    cut = torch.fft.irfftn(kept_modes(a, d), s=shape, dim=space)
    assert torch.allclose(state.values, cut, atol=1e-12)
    # A sum of cut and whole coefficients.
    total = (d.field(a) * d.field(b) + d.laplacian(d.field(a))).hat
    assert torch.allclose(total, expected + d.laplacian(d.field(a)).hat, atol=1e-10)


def test_a_sum_of_products_is_transformed_once(monkeypatch):
    d, (x, y) = derivatives((16, 16))
    u, v = d.field(torch.sin(x)[None, None]), d.field(torch.cos(x + y)[None, None])
    slope = d.dx(u)
    _ = slope.values
    calls = []
    original = d.to_modes
    monkeypatch.setattr(d, "to_modes", lambda *a, **o: calls.append(1) or original(*a, **o))
    rate = u * slope - v * v - 0.1 * d.laplacian(u) + u**3
    assert rate.hat.shape == (1, 1, 16, 9)
    assert len(calls) == 1


def test_quotients_and_roots_are_cut_like_products():
    d, (x,) = derivatives((30,))
    u = d.field(1.1 + torch.cos(9 * x)[None, None])
    for field in (1.0 / u, u / (u * u + 1.0), u**0.5, abs(u - 1.1)):
        assert field.hat[..., :10].abs().max() > 0.1
        assert field.hat[..., 10:].abs().max() == 0


def test_constants_take_the_memory_order_of_the_coefficients():
    d, _ = derivatives((6, 8, 10))
    hat = d.to_modes(torch.randn(2, 1, 6, 8, 10))
    constant = torch.randn(6, 8, 6)
    ordered = in_memory_order(constant, hat, num_axes=3)
    assert torch.equal(ordered, constant)
    assert ordered.stride() == hat.stride()[2:] != constant.stride()


@pytest.mark.parametrize("dealias", [1.0, 2 / 3, 0.5])
@pytest.mark.parametrize("shape", [(12, 16), (15, 11), (9, 12), (16, 7)], ids=str)
def test_vorticity_transport_is_what_the_formula_says(shape, dealias):
    d = SpectralDerivatives(Grid(shape, (2.0, 3.0)), dealias=dealias)
    w = SpectralField(d, hat=d.to_modes(torch.randn(3, 1, *shape)), is_uncut=True)
    psi = -d.inverse_laplacian(w)
    u, v = d.dy(psi), -d.dx(psi)
    mixed = d.dx(d.dy(v * v - u * u)) + d.dxx(u * v) - d.derivative(u * v, 1, 2)
    transport = vorticity_transport(w, d).hat
    assert torch.allclose(transport, -mixed.hat, atol=1e-10)
    if dealias < 1:
        advection = u * d.dx(w) + v * d.dy(w)
        assert torch.allclose(transport, -advection.hat, atol=1e-10)


@pytest.mark.parametrize("is_cell_centred", [False, True])
@pytest.mark.parametrize("shape, axis", [((12,), 0), ((9, 14), 0), ((9, 14), 1), ((8, 7, 6), 1)])
def test_a_cosine_needs_no_transform(shape, axis, is_cell_centred):
    dim = len(shape)
    grid = Grid(shape, (3.0,) * dim, (0.4,) * dim, cell_centred=is_cell_centred)
    d = SpectralDerivatives(grid)
    x = grid.coordinates()[axis]
    like = d.field(torch.zeros(1, 1, *shape))
    for number in (0, 1, 2):
        exact = torch.cos(2 * math.pi * number / 3.0 * x)
        assert torch.allclose(d.cosine(axis, number, like=like).values[0, 0], exact)
    assert d.cosine(axis, 1, like=d.field(like.values.float())).values.dtype == torch.float32
    with pytest.raises(ValueError, match=r"wave with number 7 .* use more points"):
        d.cosine(axis, 7, like=like)


def test_walls_and_bad_fractions_are_refused():
    with pytest.raises(ValueError, match="must be periodic"):
        SpectralDerivatives(Grid((8,), (1.0,), periodic=False))
    with pytest.raises(ValueError, match="`dealias` must be in"):
        SpectralDerivatives(Grid((8,), (1.0,)), dealias=0.0)


def test_symbol_is_the_eigenvalue_of_a_wave():
    k = torch.linspace(0, 3, 7, dtype=torch.float64)
    d = Symbol((k,))
    assert torch.allclose(d.derivative(d.wave(), 0, 3).hat[0, 0], (1j * k) ** 3)
    with pytest.raises(ValueError, match="must not multiply fields"):
        _ = (d.wave() * d.wave()).hat


def test_follows_dtype_of_the_input():
    d, (x,) = derivatives((16,))
    u = torch.sin(x)[None, None].float()
    assert d.dx(d.field(u)).values.dtype == torch.float32
    assert d.dx(d.field(u.double())).values.dtype == torch.float64


def test_constants_made_in_inference_mode_serve_training():
    d, (x,) = derivatives((16,))
    u = torch.sin(x)[None, None]
    with torch.inference_mode():
        _ = d.dx(d.field(u)).values
    u.requires_grad_()
    d.dx(d.field(u)).values.square().sum().backward()
    assert torch.isfinite(u.grad).all()


def test_gradients_match_finite_differences():
    d, _ = derivatives((12,))
    u = torch.randn(1, 1, 12, dtype=torch.float64, requires_grad=True)

    def burgers(u):
        field = d.field(u)
        return (d.dxx(field) - d.dx(field * field)).values

    assert torch.autograd.gradcheck(burgers, (u,))


@pytest.mark.parametrize("shape", [(8, 7), (4, 5, 6)])
def test_gradients_through_pruned_transforms(shape):
    d, _ = derivatives(shape)
    u = torch.randn(2, 1, *shape, requires_grad=True)

    def rate(u):
        field = SpectralField(d, hat=d.to_modes(u), is_uncut=True)
        advection = field * d.dx(field) + d.dy(field) / (field * field + 1.0)
        total = d.laplacian(field) - d.dx(advection) + 0.5 * field
        return (total + vorticity_transport(field, d)).values if d.dim == 2 else total.values

    assert torch.autograd.gradcheck(rate, (u,))


def test_inference_and_training_share_constants():
    d, _ = derivatives((8, 9))
    u = torch.randn(1, 1, 8, 9)
    with torch.inference_mode():
        expected = vorticity_transport(d.field(u), d).values
    u.requires_grad_()
    values = vorticity_transport(d.field(u), d).values
    values.square().sum().backward()
    assert torch.equal(values.detach(), expected)
    assert u.grad.abs().max() > 0


def test_autodiff_of_polynomials():
    points = torch.rand(2, 5, 2, dtype=torch.float64)
    d = AutodiffDerivatives(points)
    x, y = d.points.split(1, dim=-1)
    u = x**3 * y**2
    assert torch.allclose(d.dx(u), 3 * x**2 * y**2)
    assert torch.allclose(d.laplacian(u), 6 * x * y**2 + 2 * x**3)
    both = d.stack(u, x * y)
    assert torch.allclose(d.dy(both), torch.cat([2 * x**3 * y, x], dim=-1))
    assert torch.equal(d.dx(torch.ones_like(x)), torch.zeros_like(x))


def test_autodiff_time_derivative():
    points = torch.rand(1, 4, 1, dtype=torch.float64)
    times = torch.rand(1, 4, 1, dtype=torch.float64)
    d = AutodiffDerivatives(points, times)
    assert torch.allclose(d.dt(d.points * d.times**2), 2 * points * times)
    with pytest.raises(ValueError, match="needs the times"):
        AutodiffDerivatives(points).dt(points)
    with pytest.raises(ValueError, match=r"points\[None\]"):
        AutodiffDerivatives(torch.rand(4, 1))
