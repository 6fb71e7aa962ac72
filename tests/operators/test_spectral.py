"""Spectral derivatives against analysis; lazy fields; dealiasing; the symbol."""

import math

import pytest
import torch

from pdesurrogates.core import Grid
from pdesurrogates.operators import AutodiffDerivatives, SpectralDerivatives, Symbol


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
