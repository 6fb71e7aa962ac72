"""Derivatives in x through labels against those of the fixed frame, for any motion."""

import math

import pytest
import torch

from pdesurrogates.equations import Advection, AllenCahn, Burgers, Diffusion, FisherKPP, GrayScott
from pdesurrogates.operators import AutodiffDerivatives, JetDerivatives, LagrangianDerivatives

PROVIDERS = (JetDerivatives, AutodiffDerivatives)


def position(X, t):
    return X + 0.4 * t * torch.sin(X) + 2.0 * t


def field(x, t):
    return torch.sin(2.0 * x - t) * torch.exp(-0.3 * t) + 1.5


def both(provider, function=field):
    """The same u(x, t) in the moving and in the fixed frame, and their providers."""
    X, t = torch.rand(2, 2, 6, 1)
    labels = provider(X * 2 * math.pi, t)
    moving = LagrangianDerivatives(labels, position(labels.points, labels.times))
    fixed = provider(moving.values(moving.points).detach().clone(), t.clone())
    return (function(moving.points, moving.times), moving), (
        function(fixed.points, fixed.times),
        fixed,
    )


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("order", [1, 2, 3])
def test_derivatives_in_x(provider, order):
    (u, moving), (v, fixed) = both(provider)
    ours = moving.values(moving.derivative(u, 0, order))
    assert torch.allclose(ours, fixed.values(fixed.derivative(v, 0, order)), atol=1e-9)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_time_derivatives_at_fixed_x_and_at_fixed_label(provider):
    (u, moving), (v, fixed) = both(provider)
    ut, ux = fixed.values(fixed.dt(v)), fixed.values(fixed.dx(v))
    assert torch.allclose(moving.values(moving.dt(u)), ut)
    X, t = moving.labels.values(moving.labels.points), moving.labels.values(moving.times)
    velocity = 0.4 * torch.sin(X) + 2.0 + 0.0 * t
    assert torch.allclose(moving.values(moving.material_derivative(u)), ut + velocity * ux)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    "equation",
    [
        Burgers(0.1),
        Advection(3.0),
        Diffusion(lambda x: 1.0 + 0.5 * torch.sin(x)),
        AllenCahn(0.1),
        FisherKPP(torch.tensor([0.1, 0.2]), 2.0),
        GrayScott(0.1, 0.2),
    ],
    ids=lambda e: type(e).__name__,
)
def test_residual_of_an_equation_does_not_depend_on_the_motion(provider, equation):
    channels = equation.fields.num_channels

    def function(x, t):
        u = field(x, t)
        return u if channels == 1 else torch.cat((u, u * u), dim=-1)

    (u, moving), (v, fixed) = both(provider, function)
    ours = moving.values(equation.residual(u, moving, t=0.0))
    assert torch.allclose(ours, fixed.values(equation.residual(v, fixed, t=0.0)), atol=1e-9)


@pytest.mark.parametrize(
    ("equation", "velocity"),
    [
        (Advection(3.0), 3.0),
        (Advection((3.0,)), 3.0),
        (Burgers(0.1), "u"),
        (Diffusion(0.1), 0.0),
        (AllenCahn(), 0.0),
        (FisherKPP(), 0.0),
    ],
    ids=lambda value: str(value),
)
def test_rest_of_the_equation_along_characteristics_has_no_advection(equation, velocity):
    d = JetDerivatives(torch.rand(1, 5, 1), torch.rand(1, 5, 1))
    u = field(d.points, d.times)
    a = equation.characteristic_velocity(0.0, u, d)
    assert a is u if velocity == "u" else a == velocity
    rest = d.values(equation.rhs(0.0, u, d) + a * d.dx(u))
    diffusion = getattr(equation, "viscosity", getattr(equation, "diffusivity", 0.0)) * d.dxx(u)
    reaction = {
        AllenCahn: lambda w: 5.0 * (w - w**3),
        FisherKPP: lambda w: w * (1.0 - w),
    }.get(type(equation), torch.zeros_like)(u.values)
    assert torch.allclose(rest, diffusion.values + reaction)


def test_equations_without_one_velocity_are_refused():
    d = JetDerivatives(torch.rand(1, 5, 1))
    with pytest.raises(ValueError, match="GrayScott has no characteristic velocity; Advection"):
        GrayScott().characteristic_velocity(0.0, d.points, d)
    with pytest.raises(ValueError, match="defined in 1D, got dim=2"):
        Burgers(dim=2).characteristic_velocity(0.0, d.points, d)
    with pytest.raises(ValueError, match="with 2 entries"):
        Advection((1.0, 2.0)).characteristic_velocity(0.0, d.points, d)


def test_labels_in_the_plane_are_refused():
    d = JetDerivatives(torch.rand(1, 5, 2), torch.rand(1, 5, 1))
    with pytest.raises(ValueError, match=r"one coordinate \(batch, point, 1\), got 2"):
        LagrangianDerivatives(d, d.points[..., :1])
    line = JetDerivatives(torch.rand(1, 5, 1))
    with pytest.raises(ValueError, match="labels have one coordinate, got axis 1"):
        LagrangianDerivatives(line, line.points * 2.0).dy(line.points)
