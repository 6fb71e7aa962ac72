"""Motions and states with known residuals, inverse maps with known answers, crossings."""

import math

import pytest
import torch
from torch import nn

from pdesurrogates.backbones import MLP
from pdesurrogates.core import Box, Grid
from pdesurrogates.data import open_trajectories
from pdesurrogates.equations import Advection, AdvectionDiffusion, Burgers, GrayScott
from pdesurrogates.equations.exact import burgers_cole_hopf
from pdesurrogates.operators import LagrangianDerivatives
from pdesurrogates.pinns import (
    AdamPhase,
    CharacteristicsCrossed,
    GaussNewtonPhase,
    LagrangianPINN,
    LBFGSPhase,
    at_rest,
    fit,
)

TAU = 2 * math.pi


class Formula(nn.Module):
    """A formula in X and t (or cos X, sin X, t) in place of a network."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, z):
        return self.function(*z.split(1, dim=-1)) * self.factor


def label_form(labels, positions):
    """The provider of the labels themselves: diffusion in X, as in the published code."""
    return labels


def points(num=7, scale=1.0, batch=2):
    X, t = torch.rand(2, batch, num, 1)
    return (2 * X - 1) * scale, t


def largest(residuals):
    return {name: r.abs().max().item() for name, r in residuals.items()}


def sine_pair(nu, mean):
    """u = C + exp(-nu t) sin X, x = X + C t + sin X (1 - exp(-nu t)) / nu."""
    displacement = Formula(
        lambda X, t: t * mean + torch.sin(X) * ((1.0 - torch.exp(-nu * t)) / nu)
    )
    return {
        "displacement": displacement,
        "state": Formula(lambda X, t: torch.exp(-nu * t) * torch.sin(X) + mean),
    }


def shock_pair(nu, mean, height=1.0):
    """The travelling front u = C - A tanh(k xi), k = A/(2 nu), xi = x - C t, along
    sinh(k xi) = exp(-A k t) sinh(k X): an exact solution of Burgers with its characteristics.
    """
    k = height / (2 * nu)

    def sinh(X, t):
        return torch.exp(-height * k * t) * (torch.exp(k * X) - torch.exp(-k * X)) * 0.5

    def xi(X, t):
        s = sinh(X, t)
        return torch.log(s + torch.sqrt(s * s + 1.0)) / k

    def state(X, t):
        s = sinh(X, t)
        return mean - height * (s / torch.sqrt(s * s + 1.0))

    return {
        "displacement": Formula(lambda X, t: xi(X, t) + t * mean - X),
        "state": Formula(state),
    }


def networks(taken=3, width=8, depth=2):
    return {
        "displacement": at_rest(MLP(taken, 1, width=width, depth=depth)),
        "state": MLP(taken, 1, width=width, depth=depth),
    }


def test_closed_solution_of_the_label_form_is_no_solution_of_burgers():
    nu = 0.3
    X, t = points(scale=3.0)
    label = LagrangianPINN(Burgers(nu), **sine_pair(nu, 2.0), derivatives=label_form)
    assert max(largest(label.residuals(X, t)).values()) < 1e-12
    correct = largest(LagrangianPINN(Burgers(nu), **sine_pair(nu, 2.0)).residuals(X, t))
    assert correct["characteristic"] < 1e-12
    assert correct["state"] > 0.05


def test_exact_front_of_burgers_along_its_characteristics():
    X, t = points(scale=1.0)
    correct = LagrangianPINN(Burgers(0.2), **shock_pair(0.2, 3.0)).residuals(X, t)
    assert max(largest(correct).values()) < 1e-10
    label = LagrangianPINN(Burgers(0.2), **shock_pair(0.2, 3.0), derivatives=label_form)
    assert largest(label.residuals(X, t))["state"] > 0.05


def test_residuals_of_a_wrong_pair_are_those_written_by_hand():
    nu = 0.2
    pinn = LagrangianPINN(
        Burgers(nu),
        displacement=Formula(lambda X, t: 0.3 * t * torch.sin(X)),
        state=Formula(lambda X, t: torch.cos(X) * t),
    )
    X, t = points()
    F, F_X = 1 + 0.3 * t * torch.cos(X), -0.3 * t * torch.sin(X)
    u_xx = (-torch.cos(X) * t / F + torch.sin(X) * t * F_X / F**2) / F
    found = pinn.residuals(X, t)
    assert torch.allclose(found["characteristic"], 0.3 * torch.sin(X) - torch.cos(X) * t)
    assert torch.allclose(found["state"], torch.cos(X) - nu * u_xx)


def test_networks_without_taylor_rules_give_the_same():
    fields = {"displacement": Formula(lambda X, t: 0.3 * t * torch.sin(X))}
    X, t = points()
    fast = LagrangianPINN(
        Burgers(0.1), **fields, state=Formula(lambda X, t: torch.sin(X) * torch.exp(-t))
    )
    general = LagrangianPINN(
        Burgers(0.1), **fields, state=Formula(lambda X, t: X.sin() * (-t).exp())
    )
    assert fast.is_functional
    assert not general.is_functional
    with torch.no_grad():
        ours, theirs = fast.residuals(X, t), general.residuals(X, t)
    assert not X.requires_grad
    for name, r in ours.items():
        assert torch.allclose(r, theirs[name], atol=1e-11), name


def test_periodic_by_construction():
    pinn = LagrangianPINN(
        AdvectionDiffusion(3.0, 0.1),
        displacement=MLP(3, 1, width=6, depth=1),
        state=MLP(3, 1, width=6, depth=1),
        domain=Grid((16,), (4.0,), (-1.0,)),
        times=(0.0, 1.0),
    )
    assert pinn.period == 4.0
    X, t = points()
    (x, u), (y, v) = pinn.characteristics(X, t), pinn.characteristics(X + 4.0, t)
    assert torch.allclose(y, x + 4.0)
    assert torch.allclose(u, v)


def test_periodic_pair_is_fed_cosine_sine_and_time():
    nu, c = 0.1, 3.0
    pinn = LagrangianPINN(
        AdvectionDiffusion(c, nu),
        displacement=Formula(lambda cos, sin, t: t * c),
        state=Formula(lambda cos, sin, t: sin * torch.exp(-nu * t)),
        period=TAU,
    )
    assert max(largest(pinn.residuals(*points(scale=9.0))).values()) < 1e-12


def test_hard_initial_condition_holds_and_soft_one_is_a_part_of_the_loss():
    def u0(X):
        return torch.sin(X) + 2.0

    given = {"domain": Grid((8,), (TAU,)), "times": (0.5, 1.5), "initial_condition": u0}
    X, t = points()
    nets = {name: MLP(3, 1, width=6, depth=1) for name in ("displacement", "state")}
    hard = LagrangianPINN(Burgers(0.1), **nets, **given, frame_velocity=2.0)
    x, u = hard.characteristics(X, torch.full_like(t, 0.5))
    assert torch.equal(x, X)
    assert torch.equal(u, u0(X))
    assert hard.residual_names == ("characteristic", "state")
    weights = {"initial_state": 10.0}
    soft = LagrangianPINN(Burgers(0.1), **nets, **given, hard=False, weights=weights)
    losses = soft.losses(torch.Generator().manual_seed(0))
    assert list(losses) == ["characteristic", "state", "initial_position", "initial_state"]
    assert soft.weights["initial_state"] == 10.0
    z = torch.tensor([[math.cos(1.0), math.sin(1.0), 0.5]])
    found = soft.residuals_of("initial", torch.tensor([[1.0]]))
    assert torch.allclose(found["initial_position"], nets["displacement"](z))
    assert torch.allclose(found["initial_state"], nets["state"](z) - math.sin(1.0) - 2.0)


def test_frame_velocity_moves_the_labels():
    X, t = points()
    nets = networks(2)
    moving = LagrangianPINN(Burgers(0.1), **nets, frame_velocity=5.0)
    still = LagrangianPINN(Burgers(0.1), **nets)
    assert torch.allclose(
        moving.characteristics(X, t)[0], still.characteristics(X, t)[0] + 5.0 * t
    )
    assert torch.allclose(
        moving.residuals(X, t)["characteristic"], still.residuals(X, t)["characteristic"] + 5.0
    )


def inviscid(end, mean=3.0):
    """u = sin X + C on x = X + (sin X + C) t, exact before t = 1."""
    return LagrangianPINN(
        Burgers(0.0),
        displacement=Formula(lambda cos, sin, t: (sin + mean) * t),
        state=Formula(lambda cos, sin, t: sin + mean + 0.0 * t),
        domain=Grid((8,), (TAU,)),
        times=(0.0, end),
    )


@pytest.mark.parametrize("num_points", [5, 64])
def test_sampling_inverts_the_motion_to_rounding(num_points):
    pinn = inviscid(0.95)
    times = torch.tensor([0.0, 0.3, 0.95])
    grid = Grid((num_points,), (TAU,))
    u = pinn.sample(grid, times)
    assert u.shape == (1, 3, 1, num_points)
    u = u[0, :, 0]
    x = grid.coordinates()[0]
    # The implicit solution: u = C + sin(x - u t).
    assert torch.allclose(u, 3.0 + torch.sin(x - u * times[:, None]), atol=1e-11)


def test_values_at_points_are_those_of_the_grid():
    pinn = inviscid(0.8)
    grid = Grid((9,), (TAU,))
    x = grid.coordinates()[0].reshape(1, -1, 1)
    t = torch.linspace(0.0, 0.8, 9).reshape(1, -1, 1)
    u = pinn.sample(grid, t.flatten())[0, :, 0].diagonal()
    assert torch.allclose(pinn(x, t).flatten(), u, atol=1e-11)


def test_a_solution_is_a_file_like_all_others(tmp_path):
    pinn, grid = inviscid(0.8), Grid((16,), (TAU,))
    path = pinn.write(tmp_path / "solution.hdf5", grid, [0.0, 0.4])
    with open_trajectories(path) as file:
        read = torch.as_tensor(file.read(0))
    assert torch.allclose(read.double(), pinn.sample(grid, [0.0, 0.4])[0])


def test_front_on_a_bounded_domain():
    pinn = LagrangianPINN(
        Burgers(0.2), **shock_pair(0.2, 0.5), domain=Box((-3.0,), (3.0,)), times=(0.0, 1.0)
    )
    grid = Grid((21,), (2.0,), (-1.0,), periodic=False)
    x = grid.coordinates()[0]
    exact = 0.5 - torch.tanh((x - 0.5) / 0.4)
    assert torch.allclose(pinn.sample(grid, [1.0])[0, 0, 0], exact, atol=1e-10)
    with pytest.raises(ValueError, match=r"reached by no label, the first is x = -3 at time 1"):
        pinn.sample(Grid((21,), (6.0,), (-3.0,), periodic=False), [0.0, 1.0])
    with pytest.raises(ValueError, match=r"LagrangianPINN.sample: 21 of 42 points lie outside"):
        pinn.sample(grid, [0.0, 1.1])
    with pytest.raises(ValueError, match="one space axis, got a grid with 2"):
        pinn.sample(Grid((8, 8), (1.0, 1.0)), [0.5])


def test_crossed_characteristics_have_no_inverse():
    with pytest.raises(CharacteristicsCrossed, match=r"cross at label 3\.\d+ and time 1\.5") as e:
        inviscid(1.5).sample(Grid((64,), (TAU,)), [0.5, 1.5])
    assert e.value.time == 1.5
    assert abs(e.value.label - math.pi) < 0.1
    assert e.value.stretch < 0


def test_training_stops_before_characteristics_cross_and_keeps_what_was_good():
    class Strength(nn.Module):
        def __init__(self):
            super().__init__()
            self.strength = nn.Parameter(torch.zeros(()))

        def forward(self, z):
            return z[..., 1:2] * self.strength

    pinn = LagrangianPINN(
        Burgers(0.0),
        displacement=Strength(),
        state=networks(3)["state"],
        domain=Grid((8,), (TAU,)),
        times=(0.0, 1.2),
        initial_condition=torch.sin,
        num_points=64,
        min_stretch=0.1,
    )
    with pytest.raises(CharacteristicsCrossed, match=r"at label 3\.\d+ and time 1\.2: F = ") as e:
        fit(pinn, [AdamPhase(400, learning_rate=0.02, report_every=5)])
    assert e.value.stretch <= 0.1
    assert 0.1 < pinn.smallest_stretch()[0] < 0.4


def test_a_random_displacement_that_crosses_is_told_what_to_do():
    nets = {"displacement": Formula(lambda c, s, t: 3.0 * s), "state": MLP(3, 1, width=4, depth=1)}
    pinn = LagrangianPINN(Burgers(0.1), **nets, period=TAU, times=(0.0, 1.0))
    with pytest.raises(CharacteristicsCrossed, match="at_rest"):
        fit(pinn, [AdamPhase(3)])


def test_second_order_steps():
    torch.manual_seed(0)
    pinn = LagrangianPINN(
        Burgers(0.2),
        **networks(3),
        domain=Grid((8,), (TAU,)),
        times=(0.0, 0.5),
        initial_condition=torch.sin,
        num_points=64,
    )
    history = fit(pinn, [GaussNewtonPhase(15)])
    assert history.total[-1] < 1e-3 * history.total[0]


def test_networks_that_do_not_fit_are_refused():
    net = MLP(2, 1, width=4, depth=1)
    with pytest.raises(ValueError, match="share weights; build two networks"):
        LagrangianPINN(Burgers(), displacement=net, state=net)
    with pytest.raises(ValueError, match=r"`displacement` must take 3 channels, \(cos 2 pi X/L"):
        LagrangianPINN(Burgers(), displacement=net, state=MLP(3, 1), period=1.0)
    with pytest.raises(ValueError, match=r"`state` must take 2 channels.*or give `period`"):
        LagrangianPINN(Burgers(), displacement=net, state=nn.Sequential(nn.Linear(3, 1)))
    with pytest.raises(ValueError, match=r"`state` must give 1 channel\(s\), but gives 2"):
        LagrangianPINN(Burgers(), displacement=net, state=MLP(2, 2))
    with pytest.raises(TypeError, match=r"`state` must be a torch\.nn\.Module, got function"):
        LagrangianPINN(Burgers(), displacement=net, state=lambda z: z)
    with pytest.raises(ValueError, match="no linear layer"):
        at_rest(nn.Tanh())


def test_bad_input_is_refused():
    pinn = LagrangianPINN(Burgers(0.1), **networks(2))
    X, t = points()
    with pytest.raises(ValueError, match=r"both have shape \(batch, point, 1\), got times"):
        pinn.residuals(X, t[:, :3])
    with pytest.raises(ValueError, match="labels need their `times`"):
        pinn.residuals(X)
    with pytest.raises(ValueError, match=r"give `times=\(start, end\)`"):
        fit(pinn, [AdamPhase(1)])
    with pytest.raises(ValueError, match="give `domain`"):
        LagrangianPINN(Burgers(0.1), **networks(2), times=(0.0, 1.0)).smallest_stretch()
    with pytest.raises(ValueError, match=r"length 2\.0, but `period` is 1\.0"):
        LagrangianPINN(Burgers(), **networks(3), domain=Box((0.0,), (2.0,)), period=1.0)
    with pytest.raises(ValueError, match="`domain` with 2 axes"):
        LagrangianPINN(Burgers(), **networks(), domain=Box((0.0, 0.0), (2.0, 1.0)))
    nets = {"displacement": MLP(2, 1), "state": MLP(2, 2)}
    with pytest.raises(ValueError, match="GrayScott has no characteristic velocity"):
        LagrangianPINN(GrayScott(), **nets).residuals(X, t)


def test_positions_that_are_not_finite_are_named():
    pinn = inviscid(0.5)
    pinn.displacement.factor.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="not finite; the displacement network gives NaN"):
        pinn.sample(Grid((8,), (TAU,)), [0.2])


def test_the_provider_is_the_only_difference_between_the_forms():
    nets = networks(2)
    X, t = points()
    default = LagrangianPINN(Burgers(0.1), **nets).residuals(X, t)
    given = LagrangianPINN(Burgers(0.1), **nets, derivatives=LagrangianDerivatives)
    for name, r in given.residuals(X, t).items():
        assert torch.equal(r, default[name])


def solve(equation, initial_condition, *, adam, lbfgs, **options):
    torch.manual_seed(0)
    pinn = LagrangianPINN(
        equation,
        displacement=at_rest(MLP(3, 1, width=20, depth=2)),
        state=MLP(3, 1, width=50, depth=4),
        domain=Grid((8,), (TAU,)),
        times=(0.0, 1.0),
        initial_condition=initial_condition,
        **options,
    )
    fit(pinn, [AdamPhase(adam, learning_rate=3e-3, resample_every=None), LBFGSPhase(lbfgs)])
    return pinn


def relative_error(pinn, exact, mean=0.0):
    grid, times = Grid((256,), (TAU,)), torch.linspace(0, 1, 51)
    truth = torch.stack([exact(grid.coordinates()[0], float(t)) for t in times])
    return float((pinn.sample(grid, times)[0, :, 0] - truth).norm() / (truth - mean).norm())


@pytest.mark.slow
def test_fast_convection():
    pinn = solve(Advection(50.0), torch.sin, adam=300, lbfgs=200)
    assert relative_error(pinn, lambda x, t: torch.sin(x - 50 * t)) < 0.005


@pytest.mark.slow
def test_moving_shock_needs_diffusion_in_x():
    def exact(x, t):
        return 10.0 + burgers_cole_hopf(x - 10.0 * t, t, viscosity=0.05)

    def u0(X):
        return torch.sin(X) + 10.0

    options = {"adam": 600, "lbfgs": 300, "frame_velocity": 10.0}
    assert relative_error(solve(Burgers(0.05), u0, **options), exact, 10.0) < 0.01
    options |= {"derivatives": label_form, "min_stretch": -math.inf}
    label = solve(Burgers(0.05), u0, **options)
    assert 0.030 < relative_error(label, exact, 10.0) < 0.040  # its exact solution: 0.0349
