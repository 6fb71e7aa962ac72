"""Taylor arithmetic against automatic differentiation, function by function and in networks."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pdesurrogates.equations import AllenCahn, Burgers, DiffusionSorption, KuramotoSivashinsky
from pdesurrogates.operators import AutodiffDerivatives, Jet, JetDerivatives

FUNCTIONS = {
    "tanh": torch.tanh,
    "sin": torch.sin,
    "cos": lambda h: torch.cos(h) + torch.sin(h),
    "exp": torch.exp,
    "log": lambda h: torch.log(h * h + 1.0),
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda h: F.gelu(h, approximate="tanh"),
    "erf": torch.erf,
    "sqrt": lambda h: torch.sqrt(2.0 + torch.sin(h)),
    "power": lambda h: (2.5 + h) ** -1.7,
    "whole_power": lambda h: h**3 - 2.0 * h**2,
    "quotient": lambda h: (1.0 - h) / (2.0 + h * h),
    "reciprocal": lambda h: 1.0 / (3.0 + h),
    "mixed": lambda h: torch.cat((h * 2.0, 3.0 - h), dim=-1).sum(-1, keepdim=True) * h,
    "stacked": lambda h: torch.stack((h, -h, h * h), dim=-1).mean(-1),
}
INDICES = [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 3), (4, 0), (2, 2)]


def inner(points):
    x, y = points[..., 0:1], points[..., 1:2]
    return torch.sin(x * y) + 0.3 * x * x * y


def derivative(d, u, index):
    for axis, order in enumerate(index):
        if order:
            u = d.derivative(u, axis, order)
    return d.values(u)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_has_its_derivatives(name):
    function = FUNCTIONS[name]
    points = torch.rand(1, 5, 2) - 0.3
    jets, autodiff = JetDerivatives(points), AutodiffDerivatives(points.clone())
    u, v = function(inner(jets.points)), function(inner(autodiff.points))
    assert isinstance(u, Jet)
    for index in INDICES:
        expected = derivative(autodiff, v, index)
        assert torch.allclose(derivative(jets, u, index), expected, rtol=1e-10, atol=1e-11), index


def network(num_inputs, num_outputs, activation=nn.Tanh):
    return nn.Sequential(
        nn.Linear(num_inputs, 12), activation(), nn.Linear(12, 12), activation(),
        nn.Linear(12, num_outputs),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("equation", "dim"),
    [
        (Burgers(0.1), 1),
        (Burgers(0.1, dim=2), 2),
        (KuramotoSivashinsky(), 1),
        (AllenCahn(0.1, 2.0), 3),
        (DiffusionSorption(), 1),
    ],
    ids=str,
)
def test_residual_and_its_gradient_are_those_of_autodiff(equation, dim):
    model = network(dim + 1, equation.fields.num_channels, nn.Softplus)
    points, times = torch.rand(2, 4, dim), torch.rand(2, 4, 1)
    results = []
    for provider in (JetDerivatives, AutodiffDerivatives):
        d = provider(points.clone(), times.clone())
        residual = d.values(equation.residual(model(d.coordinates()), d, t=times))
        gradients = torch.autograd.grad(residual.square().mean(), list(model.parameters()))
        results.append((residual, *gradients))
    for ours, theirs in zip(*results, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-11)


def test_jacobian_by_functional_transforms():
    model = network(1, 1)
    parameters = dict(model.named_parameters())

    def residual(parameters, x):
        d = JetDerivatives(x.reshape(1, 1, 1))
        u = torch.func.functional_call(model, parameters, (d.points,))
        return d.values(d.dxx(u)).squeeze()

    x = torch.rand(6)
    per_point = torch.func.vmap(torch.func.grad(residual), in_dims=(None, 0))(parameters, x)
    for i in range(6):
        d = AutodiffDerivatives(x[i].reshape(1, 1, 1))
        gradients = torch.autograd.grad(
            d.dxx(model(d.points)).squeeze(), list(parameters.values()), allow_unused=True
        )
        for name, gradient in zip(parameters, gradients, strict=True):
            expected = torch.zeros_like(parameters[name]) if gradient is None else gradient
            assert torch.allclose(per_point[name][i], expected, atol=1e-12)


def test_only_what_is_asked_for_is_computed():
    calls = []

    class Counted(nn.Tanh):
        def forward(self, h):
            calls.append(1)
            return super().forward(h)

    d = JetDerivatives(torch.rand(1, 3, 2))
    u = nn.Sequential(nn.Linear(2, 4), Counted(), nn.Linear(4, 1))(d.points)
    assert calls == [1]  # one pass, whatever is asked for
    d.dx(u).values  # noqa: B018
    assert set(u._parts) == {(0, 0), (1, 0)} or set(u._parts) == {(1, 0)}


def test_derivatives_of_polynomials_are_exact():
    d = JetDerivatives(torch.rand(1, 7, 1), torch.rand(1, 7, 1))
    x, t = d.points.values, d.times.values
    u = d.points**3 * d.times**2
    assert torch.allclose(d.dt(u).values, 2 * x**3 * t)
    assert torch.allclose(d.dt(d.dxx(u)).values, 12 * x * t)
    assert torch.equal(d.derivative(u, 0, 4).values, torch.zeros_like(x))
    assert d.derivative(d.points, 0).values.shape == (1, 7, 1)


def test_the_graph_is_freed_without_the_collector():
    import gc
    import weakref

    gc.disable()
    try:
        d = JetDerivatives(torch.rand(1, 3, 1))
        u = torch.sin(torch.tanh(d.points * math.pi)) * torch.exp(d.points)
        _ = d.dxx(u).values
        watched = [weakref.ref(u), weakref.ref(d)]
        del u, d
        assert [ref() for ref in watched] == [None, None]
    finally:
        gc.enable()


def test_a_missing_rule_is_named():
    d = JetDerivatives(torch.rand(1, 3, 1))
    with pytest.raises(TypeError, match="no Taylor rule for torch's `relu`.*AutodiffDerivatives"):
        torch.relu(d.points)


def test_bad_points_and_missing_times_are_refused():
    with pytest.raises(ValueError, match=r"JetDerivatives: `points` must have shape"):
        JetDerivatives(torch.rand(3, 1))
    d = JetDerivatives(torch.rand(1, 3, 1))
    with pytest.raises(ValueError, match=r"use JetDerivatives\(points, times\)"):
        d.dt(d.points)
