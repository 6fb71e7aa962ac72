"""Derivatives up to second order in one operation: against the recursion and autodiff."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import forward_ad

from pdesurrogates.equations import AllenCahn, Burgers, KuramotoSivashinsky
from pdesurrogates.operators import AutodiffDerivatives, JetDerivatives, jet_functions
from pdesurrogates.operators.jet_second_order import OfCircle, OfSigmoid, OfTanh, second_order

ACTIVATIONS = {
    "tanh": torch.tanh,
    "sin": torch.sin,
    "cos": torch.cos,
    "softplus": lambda h: F.softplus(h, beta=1.5),
    "silu": F.silu,
    "gelu": F.gelu,
}
OPERATORS = {
    "first": {(0, 0, 1): 1.0},
    "one_axis": {(2, 0, 0): -0.3},
    "mixed": {(1, 1, 0): 1.0},
    "heat": {(0, 0, 1): 1.0, (2, 0, 0): -0.7, (0, 2, 0): -0.7},
    "all": {(1, 0, 0): 2.0, (2, 0, 0): 0.5, (0, 2, 0): -1.5, (1, 1, 0): 0.8, (0, 1, 1): -0.4},
    "fourth": {(0, 0, 1): 1.0, (2, 0, 0): 1.0, (4, 0, 0): 0.3, (2, 2, 0): 0.6},
}


class Network(nn.Module):
    def __init__(self, activation, num_inputs=3, num_outputs=2):
        super().__init__()
        sizes = [num_inputs, 9, 9, num_outputs]
        self.layers = nn.ModuleList(map(nn.Linear, sizes[:-1], sizes[1:]))
        self.activation = activation

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = self.activation(layer(x) * 1.3)
        return self.layers[-1](x)


def apply_operator(d, u, operator):
    total = 0.0
    for index, weight in operator.items():
        term = u
        for axis, order in enumerate(index):
            if order:
                term = d.derivative(term, axis, order)
        total = weight * term + total
    return total


def values_and_gradients(network, d, operator):
    u = network(d.coordinates())
    # A product with first derivatives, as in an advection term.
    first = apply_operator(d, u, {(1, 0, 0): 1.0})
    r = d.values(apply_operator(d, u, operator) + u * first)
    return r, *torch.autograd.grad(r.square().sum(), list(network.parameters()))


@pytest.fixture
def recursion_only(monkeypatch):
    monkeypatch.setattr(jet_functions, "transforms_are_active", lambda tensor: True)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_one_operation_gives_what_the_recursion_and_autodiff_give(
    activation, operator, monkeypatch
):
    torch.manual_seed(1)
    network = Network(ACTIVATIONS[activation])
    points, times = torch.rand(2, 4, 2), torch.rand(2, 4, 1)
    at_once = values_and_gradients(network, JetDerivatives(points, times), OPERATORS[operator])
    monkeypatch.setattr(jet_functions, "transforms_are_active", lambda tensor: True)
    recursion = values_and_gradients(network, JetDerivatives(points, times), OPERATORS[operator])
    coordinates = torch.cat((points, times), dim=-1)

    class AllAxes(AutodiffDerivatives):
        def coordinates(self):
            return self.points

    autodiff = values_and_gradients(network, AllAxes(coordinates), OPERATORS[operator])
    for a, b, c in zip(at_once, recursion, autodiff, strict=True):
        assert torch.allclose(a, b, rtol=1e-12, atol=1e-12)
        assert torch.allclose(a, c, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("curve", [OfTanh(), OfCircle(), OfSigmoid(1.7)], ids=str)
def test_gradients_and_second_gradients_are_exact(curve):
    functions = {
        OfTanh: lambda h: (torch.tanh(h), 1.0 - torch.tanh(h) ** 2),
        OfCircle: lambda h: (torch.sin(h), torch.cos(h)),
        OfSigmoid: lambda h: (torch.sigmoid(1.7 * h),),
    }

    def function(h, a, b, top):
        kept = functions[type(curve)](h)
        pairs = (((0, 0), 0.5), ((0, 1), -2.0), ((1, 1), 1.5))
        return second_order(curve, kept, pairs, h, [a, b], top, (1, 0))

    shapes = [(3, 4), (3, 4), (4,), (4,)]  # rows: the same derivative at all points
    inputs = [torch.randn(shape, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize("activation", ["tanh", "sin", "softplus"])
def test_jacobians_by_functional_transforms_and_forward_mode(activation):
    network = Network(ACTIVATIONS[activation], num_inputs=2, num_outputs=1)
    parameters = {name: p.detach() for name, p in network.named_parameters()}

    def residual(parameters, point):
        d = JetDerivatives(point[:1].reshape(1, 1, 1), point[1:].reshape(1, 1, 1))
        u = torch.func.functional_call(network, parameters, (d.coordinates(),))
        return d.values(Burgers(0.1).residual(u, d)).reshape(())

    points = torch.rand(5, 2)
    for transform in (torch.func.grad, torch.func.jacrev, torch.func.jacfwd):
        rows = torch.func.vmap(transform(residual), in_dims=(None, 0))(parameters, points)
        for point, *row in zip(points, *rows.values(), strict=True):
            expected = torch.autograd.grad(
                residual(dict(network.named_parameters()), point), list(network.parameters()),
                materialize_grads=True,
            )  # fmt: skip
            for a, b in zip(row, expected, strict=True):
                assert torch.allclose(a, b, atol=1e-12)
    name = "layers.1.weight"
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(parameters[name], torch.ones_like(parameters[name]))
        change = forward_ad.unpack_dual(residual(parameters | {name: dual}, points[4])).tangent
    assert torch.allclose(change, rows[name][4].sum(), atol=1e-12)


def coefficients(equation, dim):
    """How many coefficients of the field a residual needs."""
    d = JetDerivatives(torch.rand(1, 3, dim), torch.rand(1, 3, 1))
    u = Network(torch.tanh, dim + 1, equation.fields.num_channels)(d.coordinates())
    d.values(equation.residual(u, d))
    return len([p for p in u._parts.values() if p is not None]) + len(u._sums)


@pytest.mark.parametrize(
    ("equation", "dim", "count"),
    [
        (Burgers(0.1), 1, 3),  # u, u_x, u_t - nu u_xx
        (Burgers(0.1, dim=2), 2, 4),  # u, u_x, u_y, u_t - nu lap u, of both channels
        (AllenCahn(0.1, 2.0), 3, 2),  # u, u_t - D lap u
        (KuramotoSivashinsky(), 1, 3),
    ],
    ids=str,
)
def test_derivatives_that_are_added_are_propagated_together(equation, dim, count):
    assert coefficients(equation, dim) == count


def test_sums_of_derivatives():
    d = JetDerivatives(torch.rand(1, 6, 1), torch.rand(1, 6, 1))
    x, t = d.points.values, d.times.values
    u = d.points**3 * d.times**2
    u_x, u_t, u_xx = 3 * x**2 * t**2, 2 * x**3 * t, 6 * x * t**2
    cases = [
        (d.dt(u) - 0.5 * d.dxx(u), u_t - 0.5 * u_xx),
        (2.0 - (d.dt(u) - d.dx(u)) / 4.0, 2.0 - (u_t - u_x) / 4.0),
        (d.dt(u) + x - u + d.dxx(u) - x, u_t - u.values + u_xx),
        (-(d.dxx(u) - d.dxx(u)), torch.zeros_like(x)),
        (d.dx(u) * (d.dt(u) + d.dx(u)), u_x * (u_t + u_x)),
        (d.dx(d.dt(u) - torch.tensor(3.0) * d.dxx(u)), 6 * x**2 * t - 18 * t**2),
        (d.dx(u * d.dx(u) + d.dt(u) + 1.0), u_x**2 + u.values * u_xx + 6 * x**2 * t),
        (d.dxx(d.dt(u) + 2.0 * d.dx(u)), 12 * x * t + 12 * t**2),
    ]
    for found, expected in cases:
        assert found.shape == x.shape
        assert torch.allclose(d.values(found), expected, atol=1e-13)


def test_many_points_as_columns(recursion_only):
    """Layers take many points the other way round: the same numbers, in the usual memory."""
    network = Network(torch.tanh)
    points = torch.rand(2, 400, 3)
    few = [JetDerivatives(p) for p in points.split(40, dim=1)]
    many = JetDerivatives(points)
    parts = [d.values(d.laplacian(network(d.points))) for d in few]
    whole = many.values(many.laplacian(network(many.points)))
    assert whole.is_contiguous()
    assert torch.allclose(whole, torch.cat(parts, dim=1), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("num_points", [5, 300])
def test_single_precision_is_kept(num_points):
    network = Network(torch.sin).float()
    d = JetDerivatives(torch.rand(1, num_points, 2).float(), torch.rand(1, num_points, 1).float())
    u = network(d.coordinates())
    r = d.values(d.dt(u) - 0.1 * d.laplacian(u))
    r.sum().backward()
    assert r.dtype == torch.float32
    assert all(p.grad.dtype == torch.float32 for p in list(network.parameters())[:-1])
