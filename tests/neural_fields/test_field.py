"""Fields: scaling, periodicity and conditions that hold for any weights."""

import math

import pytest
import torch
from torch import nn

from pdesurrogates.backbones import SIREN
from pdesurrogates.core import Box, Dirichlet, Grid, Neumann, Outflow, Robin
from pdesurrogates.neural_fields import NeuralField, StreamFunctionField
from pdesurrogates.operators import AutodiffDerivatives, JetDerivatives

BOX = Box((-1.0, 0.0), (1.0, 3.0))


def siren(features=2, channels=1):
    return SIREN(features, channels, width=8, depth=2, omega0=5.0)


def points_on(axis, side, box=BOX, count=7):
    unit = torch.rand(1, count, box.dim)
    unit[..., axis] = side
    return box.from_unit(unit)


def slope(field, points, axis):
    d = JetDerivatives(points)
    return d.values(d.derivative(field.function(d.points), axis))


def test_coordinates_are_scaled_to_minus_one_to_one():
    field = NeuralField(nn.Identity(), BOX, num_channels=2)
    points = torch.tensor([[[-1.0, 0.0], [1.0, 3.0], [0.0, 1.5]]])
    assert torch.allclose(field(points), torch.tensor([[[-1.0, -1.0], [1.0, 1.0], [0.0, 0.0]]]))


def test_a_periodic_axis_closes_with_all_derivatives():
    grid = Grid((8, 9), (2.0, 3.0), (-1.0, 0.0), periodic=(True, False))
    field = NeuralField(siren(2 * 3 + 1), grid, num_harmonics=3)
    left, right = points_on(0, 0.0), None
    right = left.clone()
    right[..., 0] = 1.0
    assert torch.allclose(field(left), field(right), atol=1e-13)
    for axis in (0, 1):
        assert torch.allclose(slope(field, left, axis), slope(field, right, axis), atol=1e-11)


@pytest.mark.parametrize("values", [0.0, (1.0, -2.0)])
def test_given_values_hold(values):
    field = NeuralField(siren(), BOX, boundary=[Dirichlet(values), None])
    lower, upper = values if isinstance(values, tuple) else (values, values)
    assert torch.allclose(field(points_on(0, 0.0)), torch.tensor(lower), atol=1e-13)
    assert torch.allclose(field(points_on(0, 1.0)), torch.tensor(upper), atol=1e-13)
    assert field(points_on(1, 0.0)).std() > 1e-3


@pytest.mark.parametrize(
    "ends",
    [
        (Neumann(2.0), Neumann(-1.0)),
        (Neumann(2.0), None),
        (None, Neumann(-1.0)),
        (Outflow(), Outflow()),
        (Dirichlet(1.0), Neumann(-1.0)),
        (Neumann(2.0), Dirichlet(3.0)),
    ],
    ids=str,
)
def test_given_slopes_hold(ends):
    field = NeuralField(siren(), BOX, boundary=[None, ends])
    for side, end in enumerate(ends):
        points = points_on(1, float(side))
        if isinstance(end, Neumann):
            found = slope(field, points, 1)
            assert torch.allclose(found, torch.tensor(end.derivative), atol=1e-11)
        elif isinstance(end, Outflow):
            assert slope(field, points, 1).abs().max() < 1e-11
        elif isinstance(end, Dirichlet):
            assert torch.allclose(field(points), torch.tensor(end.value), atol=1e-12)


def test_channels_have_their_own_values():
    boundary = {0: [Dirichlet(1.0), None], 1: [(None, Dirichlet(2.0)), None]}
    field = NeuralField(siren(2, 2), BOX, boundary=boundary)
    assert torch.allclose(field(points_on(0, 0.0))[..., 0], torch.tensor(1.0))
    assert torch.allclose(field(points_on(0, 1.0)), torch.tensor([1.0, 2.0]))
    assert field(points_on(0, 0.0))[..., 1].std() > 1e-3


def test_a_lifting_takes_values_that_differ_between_axes():
    field = NeuralField(
        siren(), BOX, boundary=Dirichlet(0.0), lifting=lambda x: x[..., :1] * x[..., 1:]
    )
    for axis, side in ((0, 0.0), (0, 1.0), (1, 0.0), (1, 1.0)):
        points = points_on(axis, side)
        assert torch.allclose(field(points), points.prod(dim=-1, keepdim=True), atol=1e-12)


def test_jets_agree_with_nested_differentiation():
    field = NeuralField(siren(), BOX, boundary=[Dirichlet((0.0, 1.0)), Neumann(0.0)])
    points = BOX.from_unit(torch.rand(1, 6, 2))
    jet, auto = JetDerivatives(points), AutodiffDerivatives(points)
    u, v = field.function(jet.points), field.function(auto.points)
    for axis in (0, 1):
        expected = auto.values(auto.derivative(v, axis, 2))
        assert torch.allclose(jet.values(jet.derivative(u, axis, 2)), expected, atol=1e-9)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("walls", ["free_slip", "no_slip"])
def test_a_stream_function_gives_no_divergence_and_keeps_walls(dim, walls):
    box = Box((-1.0,) * dim, (1.0, 2.0, 0.5)[:dim])
    network = siren(dim, 1 if dim == 2 else 3)
    field = StreamFunctionField(network, box, walls=walls)
    d = JetDerivatives(box.from_unit(torch.rand(1, 9, dim)))
    velocity = d.components(field.function(d.points))
    total = sum(d.values(d.derivative(v, axis)) for axis, v in enumerate(velocity))
    assert total.abs().max() < 1e-10
    assert max(d.values(v).abs().max() for v in velocity) > 1e-2
    for axis in range(dim):
        on_wall = field(points_on(axis, 1.0, box))
        seen = on_wall if walls == "no_slip" else on_wall[..., axis]
        assert seen.abs().max() < 1e-12


def test_the_sign_of_the_stream_function_is_that_of_the_package():
    class Psi(nn.Module):
        def forward(self, x):
            return torch.sin(x[..., :1]) * torch.cos(2 * x[..., 1:])

    box = Box((-1.0, -1.0), (1.0, 1.0))
    x = 2 * torch.rand(1, 5, 2) - 1
    found = StreamFunctionField(Psi(), box, walls="free")(x)
    expected = torch.stack(
        (
            -2 * torch.sin(x[..., 0]) * torch.sin(2 * x[..., 1]),
            -torch.cos(x[..., 0]) * torch.cos(2 * x[..., 1]),
        ),
        dim=-1,
    )
    assert torch.allclose(found, expected)


def test_points_outside_are_refused_but_not_by_the_formula():
    field = NeuralField(siren(), BOX)
    outside = torch.tensor([[[0.0, 1.0], [1.5, 1.0]]])
    with pytest.raises(ValueError, match=r"1 of 2 points lie outside the domain.*1\.5"):
        field(outside)
    assert field.function(outside).shape == (1, 2, 1)
    with pytest.raises(ValueError, match=r"\(batch, point, dim\).*points\[None\]"):
        field(outside[0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NeuralField(siren(3), BOX), "takes 3 inputs, this domain has 2"),
        (lambda: NeuralField(nn.Identity(), BOX), "num_channels"),
        (lambda: NeuralField(siren(), BOX, periodic=(True,)), "one entry per axis"),
        (
            lambda: NeuralField(siren(), BOX, boundary=[Dirichlet(0.0), Dirichlet(1.0)]),
            "contradict each other in the corners",
        ),
        (
            lambda: NeuralField(siren(), BOX, boundary=[Dirichlet(0.0), Neumann(1.0)]),
            "contradict each other in the corners",
        ),
        (lambda: NeuralField(siren(), BOX, boundary=Robin(1.0, 1.0)), "SoftBoundary"),
        (
            lambda: NeuralField(siren(2, 2), BOX, boundary={0: Neumann(0.0)}),
            "all channels have one",
        ),
        (lambda: NeuralField(siren(), BOX, boundary={3: Neumann(0.0)}), r"names the channels \[3"),
        (lambda: StreamFunctionField(siren(2, 2), BOX), "must have 1 output"),
        (lambda: StreamFunctionField(siren(1), Box((0.0,), (1.0,))), "2 or 3 axes"),
    ],
)
def test_bad_fields_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_scaling_keeps_the_bandwidth():
    """The same network on a domain ten times as long is the same function, stretched."""
    network = siren(1)
    short = NeuralField(network, Box((0.0,), (1.0,)))
    long = NeuralField(network, Box((0.0,), (10.0,)))
    x = torch.rand(1, 5, 1)
    assert torch.allclose(short(x), long(10 * x))
    assert math.isclose(short.num_parameters, sum(p.numel() for p in network.parameters()))
