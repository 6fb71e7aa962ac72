"""Finite differences against tables, polynomials, eigenvalues and steady solutions."""

import gc
import itertools
import math
import weakref

import pytest
import torch

from pdesurrogates.core import (
    Dirichlet,
    FieldSpec,
    Grid,
    Neumann,
    Outflow,
    Robin,
)
from pdesurrogates.equations import (
    Advection,
    Burgers,
    Diffusion,
    DiffusionSorption,
    KuramotoSivashinsky,
    Wave,
)
from pdesurrogates.operators import FiniteDifferences
from pdesurrogates.operators.stencils import central_weights, staggered_weights
from pdesurrogates.steppers import ETDRK, RK4, integrate

ORDERS = (2, 4, 6)


def slope(errors):
    """Order between the last two of errors at halved spacing."""
    return math.log2(errors[-2] / errors[-1])


def matrix_of(operator, d):
    """The matrix of a linear operator on one channel, prescribed points left out."""
    n = math.prod(d.grid.shape)
    units = torch.eye(n).reshape(n, 1, *d.grid.shape)
    columns = operator(d.field(units)).values - operator(d.field(0 * units)).values
    matrix = columns.reshape(n, n).mT
    moving = d.moving_points(FieldSpec(("u",)), units)
    if moving is None:
        return matrix
    keep = moving.flatten() > 0
    return matrix[keep][:, keep]


def line(n, *, is_cell_centred, extent=1.0, origin=0.0):
    points = n if is_cell_centred else n + 1
    return Grid(points, extent, origin, periodic=False, cell_centred=is_cell_centred)


def condition(kind, value, derivative, *, is_upper=False):
    """A condition that a function with this value and derivative at the wall meets."""
    sign = 1 if is_upper else -1
    return {
        "dirichlet": Dirichlet(value),
        "neumann": Neumann(derivative),
        "robin": Robin(1.0, 0.4 * sign, value + 0.4 * sign * derivative),
    }[kind]


# Fornberg (1988), tables 1 and 2.
TABLE = {
    (1, 2): (-1 / 2, 0, 1 / 2),
    (1, 4): (1 / 12, -2 / 3, 0, 2 / 3, -1 / 12),
    (1, 6): (-1 / 60, 3 / 20, -3 / 4, 0, 3 / 4, -3 / 20, 1 / 60),
    (2, 2): (1, -2, 1),
    (2, 4): (-1 / 12, 4 / 3, -5 / 2, 4 / 3, -1 / 12),
    (2, 6): (1 / 90, -3 / 20, 3 / 2, -49 / 18, 3 / 2, -3 / 20, 1 / 90),
    (3, 2): (-1 / 2, 1, 0, -1, 1 / 2),
    (3, 4): (1 / 8, -1, 13 / 8, 0, -13 / 8, 1, -1 / 8),
    (4, 2): (1, -4, 6, -4, 1),
    (4, 4): (-1 / 6, 2, -13 / 2, 28 / 3, -13 / 2, 2, -1 / 6),
}


@pytest.mark.parametrize("derivative, order", TABLE)
def test_weights_are_the_published_ones(derivative, order):
    weights = central_weights(derivative, order)
    assert weights == pytest.approx(TABLE[derivative, order], abs=1e-14)
    assert staggered_weights(0, 4) == pytest.approx((-1 / 16, 9 / 16, 9 / 16, -1 / 16))
    assert staggered_weights(1, 4) == pytest.approx((1 / 24, -9 / 8, 9 / 8, -1 / 24))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("derivative", [1, 2, 3, 4])
def test_order_on_a_periodic_axis(derivative, order):
    errors = []
    for n in (32, 64):
        grid = Grid(n, 2 * math.pi)
        d = FiniteDifferences(grid, order)
        (x,) = grid.coordinates()
        got = d.derivative(d.field(torch.sin(2 * x)[None, None]), 0, derivative).values
        exact = 2**derivative * torch.sin(2 * x + derivative * math.pi / 2)
        errors.append(float((got[0, 0] - exact).abs().max()))
    assert abs(slope(errors) - order) < 0.15, errors
    assert errors[-1] < {2: 0.5, 4: 5e-3, 6: 1e-4}[order]


@pytest.mark.parametrize("is_cell_centred", [False, True])
@pytest.mark.parametrize("kind", ["dirichlet", "neumann", "robin"])
@pytest.mark.parametrize("order", ORDERS)
def test_walls_are_exact_for_polynomials_of_the_stated_degree(order, kind, is_cell_centred):
    """Degree `order` for first and second derivatives, `derivative` - 2 more for higher ones."""
    grid = line(12, is_cell_centred=is_cell_centred, extent=1.2, origin=0.3)
    (x,) = grid.coordinates()
    for derivative in (1, 2, 3, 4):
        degree = order + max(0, derivative - 2)
        if order == 6 and kind == "dirichlet" and not is_cell_centred:
            degree -= 1
        errors = []
        for power in (degree, degree + 1):
            ends = [
                condition(kind, end**power, power * end ** (power - 1), is_upper=is_upper)
                for end, is_upper in ((0.3, False), (1.5, True))
            ]
            d = FiniteDifferences(grid, order, [tuple(ends)])
            got = d.derivative(d.field((x**power)[None, None]), 0, derivative).values[0, 0]
            exact = math.perm(power, derivative) * x ** (power - derivative)
            errors.append(float((got - exact).abs().max() / exact.abs().max().clamp(min=1.0)))
        assert errors[0] < 1e-9 * 20**derivative, (derivative, errors)
        assert errors[1] > 100 * errors[0], (derivative, errors)


@pytest.mark.parametrize("kinds", [("robin", "robin"), ("dirichlet", "neumann")])
@pytest.mark.parametrize("is_cell_centred", [False, True])
@pytest.mark.parametrize("order", ORDERS)
def test_steady_diffusion_has_the_formal_order_up_to_the_walls(order, is_cell_centred, kinds):
    """((1.5 + sin x) u')' = f with u = sin(1.5 x + 0.4), the diffusivity as grid values."""
    boundary = [
        tuple(
            condition(
                kind,
                math.sin(1.5 * end + 0.4),
                1.5 * math.cos(1.5 * end + 0.4),
                is_upper=is_upper,
            )
            for kind, end, is_upper in zip(kinds, (0.2, 2.2), (False, True), strict=True)
        )
    ]
    errors = []
    for n in (40, 80):
        grid = line(n, is_cell_centred=is_cell_centred, extent=2.0, origin=0.2)
        d = FiniteDifferences(grid, order, boundary)
        (x,) = grid.coordinates()
        k = d.coefficient((1.5 + torch.sin(x))[None, None])
        exact, derivative = torch.sin(1.5 * x + 0.4), 1.5 * torch.cos(1.5 * x + 0.4)
        source = torch.cos(x) * derivative - (1.5 + torch.sin(x)) * 2.25 * exact

        def operator(u, d=d, k=k):
            return d.dx(k * d.dx(u))

        given = operator(d.field(torch.zeros(1, 1, len(x)))).values[0, 0]
        moving = d.moving_points(FieldSpec(("u",)), x)
        free = slice(None) if moving is None else moving[0, 0] > 0
        u = torch.linalg.solve(matrix_of(operator, d), (source - given)[free])
        errors.append(float((u - exact[free]).abs().max()))
    assert abs(slope(errors) - order) < 0.15, errors
    assert errors[-1] < {2: 1e-3, 4: 3e-7, 6: 5e-10}[order]


@pytest.mark.parametrize("is_cell_centred", [False, True])
@pytest.mark.parametrize("order", ORDERS)
def test_every_closure_keeps_diffusion_and_waves_stable(order, is_cell_centred):
    """Real eigenvalues, none positive: decay for the heat equation, no growth for waves."""
    conditions = {
        "dirichlet": (Dirichlet(), Dirichlet()),
        "neumann": (Neumann(), Neumann()),
        "robin": (Robin(1.0, -0.3), Robin(1.0, 0.3)),
        "outflow": (Outflow(), Outflow()),
    }
    grid = line(24, is_cell_centred=is_cell_centred)
    for lower, upper in itertools.product(conditions, repeat=2):
        d = FiniteDifferences(grid, order, [(conditions[lower][0], conditions[upper][1])])
        for operator in (d.laplacian, lambda u, d=d: d.dx(d.dx(u))):
            rates = torch.linalg.eigvals(matrix_of(operator, d)) * grid.spacing[0] ** 2
            assert rates.real.max() < 1e-12, (lower, upper)
            assert rates.imag.abs().max() < 1e-7, (lower, upper)


@pytest.mark.parametrize("is_cell_centred", [False, True])
def test_second_order_stays_stable_where_the_diffusivity_jumps(is_cell_centred):
    grid = line(20, is_cell_centred=is_cell_centred)
    (x,) = grid.coordinates()
    jumping = torch.where(torch.arange(len(x)) % 3 == 0, 0.01, 1.0)[None, None]
    for boundary in (Dirichlet(), Neumann()):
        d = FiniteDifferences(grid, 2, boundary)
        k = d.coefficient(jumping)
        matrix = matrix_of(lambda u, d=d, k=k: d.dx(k * d.dx(u)), d)
        assert torch.linalg.eigvals(matrix).real.max() < 1e-9


@pytest.mark.parametrize("order, is_stable", [(2, True), (4, True), (6, False)])
def test_advection_between_walls_is_stable_where_stated(order, is_stable):
    d = FiniteDifferences(line(40, is_cell_centred=True), order, [(Dirichlet(), Outflow())])
    rates = torch.linalg.eigvals(-matrix_of(d.dx, d)) / 40
    assert bool(rates.real.max() < 0) == is_stable


def test_mass_is_kept_to_rounding_in_closed_cells():
    grid = Grid((12, 9), (1.0, 2.0), periodic=(False, False), cell_centred=True)
    u = torch.rand(3, 1, 12, 9)
    d = FiniteDifferences(grid, 2, Neumann(0.0))
    k = torch.rand(1, 1, 12, 9) + 0.1
    for equation in (Diffusion(0.7), Diffusion(k)):
        rate = equation.on(d)(0.0, u)
        assert rate.abs().max() > 1
        assert rate.sum(dim=(2, 3)).abs().max() < 1e-11


def test_nested_slopes_are_differenced_compactly():
    d = FiniteDifferences(Grid(16, 1.0), 2)
    u = d.field(torch.rand(2, 1, 16))
    assert torch.allclose(d.dx(d.dx(u)).values, d.dxx(u).values)
    plane = FiniteDifferences(Grid((8, 6), (1.0, 2.0)), 2)
    v = plane.field(torch.rand(1, 1, 8, 6))
    nested = plane.divergence(*plane.gradient(v))
    assert torch.allclose(nested.values, plane.laplacian(v).values)
    shortest = d.field(torch.tensor([1.0, -1.0] * 8)[None, None])
    k = d.coefficient(torch.rand(1, 1, 16) + 1)
    assert (d.dx(k * d.dx(shortest)).values * shortest.values).max() < -1000
    wide = d.dx(k * d.dxx(u)).values
    by_hand = k.values * d.dxx(u).values
    assert torch.allclose(wide, (by_hand.roll(-1, -1) - by_hand.roll(1, -1)) * 8)


def test_ghosts_of_products_are_products_of_ghosts():
    grid = line(8, is_cell_centred=True)
    (x,) = grid.coordinates()
    d = FiniteDifferences(grid, 2, Dirichlet((1.0, 3.0)))
    u = d.field((1 + 2 * x)[None, None])
    assert torch.allclose(d.dx(u * u).values[0, 0], 4 * (1 + 2 * x))
    assert torch.allclose(d.dx(u**2 - 3.0 * u).values[0, 0], 4 * (1 + 2 * x) - 6)
    quotient = d.dx((u * u) / u + 1.0 / (u / u))
    assert torch.allclose(quotient.values, torch.full_like(quotient.values, 2.0))


def test_field_arithmetic_equals_arithmetic_of_values():
    d = FiniteDifferences(Grid(9, 1.0), 2)
    a, b, rates = 0.5 + torch.rand(2, 1, 9), 0.5 + torch.rand(2, 1, 9), torch.rand(2)
    p, q, rate = d.field(a), d.field(b), d.coefficient(rates)
    by_sample = rates.reshape(2, 1, 1)
    for field, values in (
        (p + q, a + b),
        (p - q, a - b),
        (-p, -a),
        (3.0 - p, 3 - a),
        (p - 3.0, a - 3),
        (2.0 + p, 2 + a),
        (p * q, a * b),
        (2.0 * p, 2 * a),
        (p * rate, a * by_sample),
        (p - rate, a - by_sample),
        (p / q, a / b),
        (p / 4.0, a / 4),
        (2.0 / p, 2 / a),
        (p**3, a**3),
        (p**-0.5, a**-0.5),
        (d.components(d.stack(p, q))[1], b),
    ):
        assert torch.allclose(field.values, values)
        assert torch.allclose(d.dx(field).values, (values.roll(-1, -1) - values.roll(1, -1)) * 4.5)


@pytest.mark.parametrize("order", ORDERS)
def test_axes_are_differenced_independently(order):
    """Mixed and repeated derivatives of f(x) g(y) h(z) are products of one-dimensional ones."""
    grid = Grid((10, 9, 8), (1.0, 2.0, 1.5), periodic=(True, False, False))
    sides = [None, (Neumann(), Dirichlet()), Outflow()]
    d = FiniteDifferences(grid, order, sides)
    factors = [torch.rand(n) for n in grid.shape]
    factors[1][-1] = 0.0
    lines = [
        FiniteDifferences(Grid(n, length, periodic=periodic), order, None if periodic else [own])
        for n, length, periodic, own in zip(
            grid.shape, grid.extent, grid.is_periodic, sides, strict=True
        )
    ]

    def along(axis, derivative):
        one = lines[axis]
        return one.derivative(one.field(factors[axis][None, None]), 0, derivative).values[0, 0]

    u = d.field(torch.einsum("i,j,k->ijk", *factors)[None, None])
    mixed = d.dz(d.dx(d.dy(u))).values[0, 0]
    assert torch.allclose(mixed, torch.einsum("i,j,k->ijk", *(along(a, 1) for a in range(3))))
    laplacian = sum(
        torch.einsum("i,j,k->ijk", *(along(a, 2) if a == b else factors[a] for a in range(3)))
        for b in range(3)
    )
    assert torch.allclose(d.laplacian(u).values[0, 0], laplacian)
    assert torch.allclose(sum(d.derivative(u, a, 2).values for a in range(3))[0, 0], laplacian)


def test_fields_have_their_own_conditions():
    grid = line(10, is_cell_centred=False)
    own = {"u": Dirichlet((1.0, 2.0)), "velocity": Neumann(0.5)}
    fields = FieldSpec(("u", "velocity_x"))
    values = torch.rand(2, 2, 11)
    d = FiniteDifferences(grid, 4, own)
    both = d.laplacian(d.field(values, fields)).values
    for channel, name in enumerate(own):
        alone = FiniteDifferences(grid, 4, own[name])
        expected = alone.laplacian(alone.field(values[:, channel : channel + 1])).values
        assert torch.equal(both[:, channel : channel + 1], expected)
    moving = d.moving_points(fields, values)
    assert moving[0, 0].tolist() == [0.0] + [1.0] * 9 + [0.0]
    assert moving[0, 1].tolist() == [1.0] * 11


def test_given_wall_values_are_used_and_do_not_move():
    grid = line(8, is_cell_centred=False)
    f = Diffusion(1.0).on(FiniteDifferences(grid, 2, Dirichlet((1.0, 3.0))))
    u = torch.rand(1, 1, 9)
    rate = f(0.0, u)
    assert rate[..., [0, -1]].abs().max() == 0
    assert rate[0, 0, 1] == pytest.approx(64 * float(1.0 - 2 * u[0, 0, 1] + u[0, 0, 2]))
    state = f.encode(u)
    assert state[0, 0, [0, -1]].tolist() == [1.0, 3.0]
    assert torch.equal(f(0.0, state), rate)


def test_outflow_repeats_the_last_value():
    grid = line(8, is_cell_centred=True)
    d = FiniteDifferences(grid, 2, Outflow())
    u = torch.rand(1, 1, 8)
    slopes = d.dx(d.field(u)).values
    assert torch.allclose(slopes[..., 0], (u[..., 1] - u[..., 0]) * 4)
    assert torch.allclose(slopes[..., -1], (u[..., -1] - u[..., -2]) * 4)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    "equation",
    [Diffusion(0.3), Advection(0.7), Advection((0.7, -0.2)), KuramotoSivashinsky()],
    ids=str,
)
def test_symbol_has_the_eigenvalues_of_the_matrix(equation, order):
    shape = (8, 11) if isinstance(equation.__dict__.get("velocity"), tuple) else (13,)
    f = equation.on(FiniteDifferences(Grid(shape, 2.0), order))
    matrix = matrix_of(lambda u: equation.linear(u, f.provider), f.provider)
    dense = torch.linalg.eigvals(matrix)
    half = f.linear_operator.eigenvalues
    rates = torch.cat([half, half.conj()])
    scale = float(dense.abs().max())
    distance = (dense[:, None] - rates).abs().min(dim=1).values
    assert distance.max() < 1e-9 * scale
    distance = (rates[:, None] - dense).abs().min(dim=1).values
    assert distance.max() < 1e-9 * scale


@pytest.mark.parametrize("is_cell_centred", [False, True])
@pytest.mark.parametrize("order", ORDERS)
def test_symbol_bounds_the_eigenvalues_with_walls(order, is_cell_centred):
    grid = Grid((20, 16), (1.0, 0.7), periodic=(False, True), cell_centred=is_cell_centred)
    for boundary in (Dirichlet(), Neumann(), [(Robin(1.0, -0.3), Dirichlet()), None]):
        f = Diffusion(0.4).on(FiniteDifferences(grid, order, boundary))
        matrix = matrix_of(lambda u, f=f: f.equation.linear(u, f.provider), f.provider)
        dense = float(torch.linalg.eigvals(matrix).abs().max())
        bound = float(f.linear_operator.eigenvalues.abs().max())
        assert dense * (1 - 1e-9) < bound < 1.03 * dense


@pytest.mark.parametrize("order", ORDERS)
def test_steps_beyond_the_stated_limit_are_refused_because_they_grow(order):
    f = Diffusion(1.0).on(FiniteDifferences(line(24, is_cell_centred=False), order, Neumann()))
    u0 = torch.rand(1, 1, 25)
    with pytest.raises(ValueError, match="the largest stable step is") as caught:
        integrate(f, u0, [0.0, 1.0], RK4())
    limit = float(str(caught.value).split("stable step is ")[1].split(". ")[0])
    calm = integrate(f, u0, [0.0, 300 * limit * 0.99], RK4(), dt=0.99 * limit).states
    assert calm.abs().max() < 1.01
    rate = RK4().bind(lambda t, u: f(t, u))
    u = u0
    for _ in range(300):
        u = rate(0.0, u, 1.1 * limit)
    assert u.abs().max() > 10


def test_exponential_steppers_are_refused():
    f = Diffusion(1.0).on(FiniteDifferences(line(8, is_cell_centred=True), 2, Neumann()))
    with pytest.raises(TypeError, match="ETDRK: needs a time derivative with a known linear part"):
        integrate(f, torch.rand(1, 1, 8), [0.0, 1.0], ETDRK(2))


def test_bad_input_is_named():
    grid = line(12, is_cell_centred=True)
    with pytest.raises(ValueError, match=r"`order` must be one of \(2, 4, 6\), got 3"):
        FiniteDifferences(grid, 3, Neumann())
    with pytest.raises(ValueError, match="axis 0 of the grid has ends"):
        FiniteDifferences(grid)
    with pytest.raises(ValueError, match="order 6 needs at least 8 points on axis 0, got 5"):
        FiniteDifferences(line(5, is_cell_centred=True), 6, Neumann())
    with pytest.raises(ValueError, match=r"grid has ends.*FiniteDifferences\(grid"):
        Diffusion().on(grid)
    d = FiniteDifferences(grid, 2, Neumann())
    u = d.field(torch.zeros(1, 1, 12))
    with pytest.raises(ValueError, match=r"with space \(12,\), got \(1, 1, 8\)"):
        d.field(torch.zeros(1, 1, 8))
    with pytest.raises(ValueError, match=r"must have shape \(batch or 1, 1, \*space\)"):
        d.coefficient(torch.zeros(1, 1, 8))
    with pytest.raises(ValueError, match=r"use d.coefficient\(values\)"):
        _ = u * torch.zeros(1, 1, 12)
    with pytest.raises(ValueError, match="order 1 to 4 along .* got order 5"):
        d.derivative(u, 0, 5)
    with pytest.raises(ValueError, match="inverse_laplacian .* use SpectralDerivatives"):
        d.inverse_laplacian(u)
    with pytest.raises(ValueError, match="derivative 4 to order 2 needs 5 points"):
        small = FiniteDifferences(Grid(4, 1.0), 2)
        small.derivative(small.field(torch.zeros(1, 1, 4)), 0, 4)
    named = FiniteDifferences(grid, 2, {"u": Neumann()})
    with pytest.raises(ValueError, match="given by field name; say which channels"):
        named.field(torch.zeros(1, 1, 12))
    with pytest.raises(ValueError, match=r"but not for \['v'\]"):
        Wave().on(named)
    with pytest.raises(ValueError, match=r"Burgers on \(12,\) points: `u` must have shape"):
        Burgers().on(d)(0.0, torch.zeros(1, 1, 8))


def test_follows_dtype_and_device(device):
    grid = Grid((9, 8), (1.0, 1.0), periodic=(False, True))
    d = FiniteDifferences(grid, 4, Dirichlet(1.0))
    u = torch.rand(2, 1, 9, 8, device=device, dtype=torch.float64)
    for diffusivity in (
        torch.rand(2, dtype=torch.float64),
        torch.rand(1, 1, 9, 8, dtype=torch.float64),
        lambda x, y: 1 + x * y,
    ):
        f = Diffusion(diffusivity).on(d)
        wide, narrow = f(0.0, u), f(0.0, u.float())
        assert narrow.dtype == torch.float32 and narrow.device == u.device
        assert torch.allclose(narrow.double(), wide, atol=1e-3 * float(wide.abs().max()))
    k = d.coefficient(lambda x, y: 1 + x * y)
    assert (d.field(u.float()) * (k * k)).values.dtype == torch.float32
    assert ((k * k) * d.field(u.float())).values.dtype == torch.float32


@pytest.mark.parametrize(
    "equation",
    [Burgers(0.1), Diffusion(lambda x: 1 + x), DiffusionSorption(), Wave(lambda x: 1 + x)],
    ids=str,
)
def test_evaluation_stays_on_the_device_and_reads_no_value(equation):
    """Tensors on the meta device have no values: a synchronisation would raise."""
    d = FiniteDifferences(line(9, is_cell_centred=False), 4, Dirichlet(1.0))
    u = torch.zeros(2, equation.fields.num_channels, 10, device="meta", dtype=torch.float32)
    step = RK4().bind(equation.on(d))
    after = step(0.0, u, 0.1)
    assert after.is_meta and after.shape == u.shape and after.dtype == u.dtype


def test_a_step_is_one_graph():
    grid = Grid((9, 8), (1.0, 1.0), periodic=(False, True))
    f = Wave(lambda x, y: 1 + x * y).on(FiniteDifferences(grid, 4, Dirichlet(1.0)))
    step = RK4().bind(f)
    u = torch.rand(2, 2, 9, 8)
    expected = step(0.0, u, 1e-3)
    compiled = torch.compile(lambda u: step(0.0, u, 1e-3), backend="eager", fullgraph=True)
    assert torch.allclose(compiled(u), expected)
    per_sample = torch.func.vmap(lambda u: f(0.0, u[None])[0])(u)
    assert torch.allclose(per_sample, f(0.0, u))


def test_gradients_match_finite_differences():
    grid = Grid((7, 6), (1.0, 1.0), periodic=(False, True))
    d = FiniteDifferences(grid, 4, [(Robin(1.0, 0.3, 0.2), Dirichlet(0.5)), None])
    u = torch.randn(1, 1, 7, 6, requires_grad=True)
    k = (1 + torch.rand(1, 1, 7, 6)).requires_grad_()

    def rate(u, k):
        field = d.field(u)
        coefficient = d.coefficient(k)
        flux = d.dx(coefficient * d.dx(field)) + d.dy(coefficient * d.dy(field))
        return (flux + d.laplacian(field) - d.dx(field * field)).values

    assert torch.autograd.gradcheck(rate, (u, k))


def test_constants_made_in_inference_mode_serve_training():
    f = Diffusion(1.0).on(FiniteDifferences(line(8, is_cell_centred=False), 2, Dirichlet(1.0)))
    u = torch.rand(1, 1, 9)
    with torch.inference_mode():
        f(0.0, u)
    u.requires_grad_()
    f(0.0, u).square().sum().backward()
    assert torch.isfinite(u.grad).all()


def test_ghosts_of_higher_degree_are_kept_apart():
    d = FiniteDifferences(line(12, is_cell_centred=True), 4, Neumann())
    values = torch.rand(1, 1, 12)
    u = d.field(values)
    assert d.derivative(u, 0, 4).values.abs().max() > 0
    assert torch.equal(d.dxx(u).values, d.dxx(d.field(values)).values)


def test_each_derivative_is_computed_once_and_nothing_lingers():
    d = FiniteDifferences(Grid(16, 1.0), 2)
    u = d.field(torch.rand(1, 1, 16))
    first = d.laplacian(u)
    assert d.laplacian(u).values is first.values
    assert d.dx(u).values is d.dx(u).values
    both = d.stack(u, u)
    state = d.field(both.values)
    assert d.components(state)[0] is d.components(state)[0]
    gone = weakref.ref(u)
    gc.disable()
    try:
        _ = (first + d.dx(u * u)).values
        del u, first, both, _
        assert gone() is None
    finally:
        gc.enable()
