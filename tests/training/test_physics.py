"""Training on the residual of the equation: exact zeros, orders, walls, coupled chains."""

import math

import pytest
import torch
from torch import nn

from pdesurrogates.core import Dirichlet, Grid
from pdesurrogates.data import TrajectoryWindows, from_arrays
from pdesurrogates.equations import Burgers, Diffusion
from pdesurrogates.operators import FiniteDifferences
from pdesurrogates.surrogates import BundleSurrogate, NeuralStagger, ResidualSurrogate
from pdesurrogates.training import (
    PhysicsLoss,
    SelfRolledPool,
    fit_to_equation,
    next_frames,
    step_residual,
    train_on_physics,
)

GRID = Grid((16,), (2 * math.pi,))
EQUATION = Diffusion(diffusivity=0.3)
DT = 0.1


class CrankNicolsonChange(nn.Module):
    """The change over `num_steps` Crank-Nicolson steps of diffusion, scaled by one weight."""

    in_channels = out_channels = 1

    def __init__(self, num_steps=1):
        super().__init__()
        self.num_steps = num_steps
        self.factor = nn.Parameter(torch.tensor(1.0))

    def forward(self, u):
        z = -0.3 * DT * torch.arange(9.0) ** 2
        growth = ((1 + z / 2) / (1 - z / 2)) ** self.num_steps
        return self.factor * torch.fft.irfft(torch.fft.rfft(u) * (growth - 1), n=16)


class Zero(nn.Module):
    """Predicts no change."""

    def __init__(self, channels=1):
        super().__init__()
        self.in_channels, self.out_channels = channels, 1
        self.factor = nn.Parameter(torch.tensor(0.0))

    def forward(self, u):
        return self.factor * u[:, :1]


def crank_nicolson(u):
    return u + CrankNicolsonChange()(u).detach()


@pytest.mark.parametrize(("implicitness", "order"), [(0.5, 2), (1.0, 1)])
def test_order_of_the_residual(implicitness, order):
    """The exact solution of diffusion leaves a residual of the order of the scheme."""
    f, x = EQUATION.on(GRID), GRID.coordinates()[None]
    errors = []
    for dt in (0.2, 0.1, 0.05, 0.025):
        u, u_next = (math.exp(-0.3 * 4 * t) * torch.sin(2 * x) for t in (0.0, dt))
        r = step_residual(f, u, u_next, dt=dt, implicitness=implicitness)
        errors.append(float(r.abs().max()))
    slopes = torch.tensor(errors).log2().diff().neg()
    assert bool(((slopes - order).abs() < 0.15).all()), slopes


@torch.no_grad()
@pytest.mark.parametrize("time", [1, 2, 3])
def test_zero_at_the_crank_nicolson_solution(time):
    surrogate = NeuralStagger(CrankNicolsonChange(time), DT, space=(1,), time=time)
    frames = [torch.randn(2, 1, 16)]
    while len(frames) < time:
        frames.append(crank_nicolson(frames[-1]))
    frames = torch.stack(frames, dim=1)
    for rounds in (1, 2):
        loss = PhysicsLoss(EQUATION.on(GRID), num_rounds=rounds)
        value, following = loss.of_frames(surrogate, frames)
        assert float(value) < 1e-24 and following.shape == frames.shape
    assert torch.allclose(
        following[:, 0], surrogate.predict_frames(surrogate.predict_frames(frames))[:, 0]
    )


def test_value_for_no_change_is_the_size_of_the_rate():
    """r = -f(u), scaled by T / std with std the size of T f(u): exactly one."""
    u = torch.randn(4, 1, 16)
    f = EQUATION.on(GRID)
    surrogate = ResidualSurrogate(Zero(), DT)
    fit_to_equation(surrogate, f, u)
    assert float(surrogate.target_normalizer.std) == pytest.approx(
        DT * float(f(0.0, u).square().mean().sqrt())
    )
    value, _ = PhysicsLoss(f).of_frames(surrogate, u[:, None])
    assert value.item() == pytest.approx(1.0)


def test_chains_are_coupled():
    """The residual between the two chains moves the gradient of the first frame's error."""
    u = torch.randn(2, 1, 16)
    apart = torch.stack((u, crank_nicolson(u) + 0.1), dim=1)
    surrogate = NeuralStagger(CrankNicolsonChange(2), DT, space=(1,), time=2)
    value, _ = PhysicsLoss(EQUATION.on(GRID)).of_frames(surrogate, apart)
    # The pairs (u1, u2) and (u2, u3) see the constant gap, with opposite signs: (T gap / dt)^2.
    assert value.item() == pytest.approx((2 * DT * 0.1 / DT) ** 2)


def test_staggered_with_one_sub_grid_is_the_plain_surrogate():
    torch.manual_seed(1)
    network = nn.Conv1d(1, 1, 3, padding=1, padding_mode="circular")
    u, loss = torch.randn(2, 1, 1, 16), PhysicsLoss(Burgers(viscosity=0.1).on(GRID))
    values = [
        loss.of_frames(surrogate, u)[0]
        for surrogate in (
            ResidualSurrogate(network, DT),
            NeuralStagger(network, DT, space=(1,)),
        )
    ]
    assert torch.equal(*values)


def test_bundles_have_the_residual_of_every_frame():
    bundle = BundleSurrogate(nn.Conv1d(1, 3, 1), DT, num_frames=3)
    frames = next_frames(bundle, torch.randn(2, 1, 1, 16))
    assert frames.shape == (2, 3, 1, 16)
    value, _ = PhysicsLoss(EQUATION.on(GRID)).of_frames(bundle, torch.randn(2, 1, 1, 16))
    value.backward()
    assert bool((bundle.backbone.weight.grad.abs().sum((1, 2)) > 0).all())


def test_finite_differences_and_walls():
    """u = x between walls 0 and 1 is steady: no change, no residual; the walls stay."""
    grid = Grid((9,), (1.0,), periodic=False)
    f = EQUATION.on(FiniteDifferences(grid, boundary=Dirichlet((0.0, 1.0))))
    surrogate = NeuralStagger(nn.Conv1d(3, 1, 1), DT, space=3, grid=grid, has_fixed_points=True)
    is_fixed = torch.zeros(1, 9, dtype=torch.bool)
    is_fixed[:, [0, -1]] = True
    surrogate.set_fixed_points(is_fixed)
    u = grid.coordinates()[None, None]
    value, following = PhysicsLoss(f).of_frames(surrogate, u)
    value.backward()
    assert surrogate.backbone.weight.grad.abs().sum() > 0
    assert following[0, 0, 0, [0, -1]].tolist() == [0.0, 1.0]
    for weight in surrogate.backbone.parameters():
        nn.init.zeros_(weight)
    assert float(PhysicsLoss(f).of_frames(surrogate, u)[0]) < 1e-24


def test_serves_as_a_loss_of_windows():
    """No future frame is used, the history has one frame per chain."""
    states = torch.stack([crank_nicolson(torch.randn(1, 16))[0] for _ in range(5)])[None]
    file = from_arrays(states, axes="trajectory time x", dt=DT, grid=GRID)
    loss = PhysicsLoss(EQUATION.on(GRID))
    surrogate = NeuralStagger(Zero(2), DT, space=2, time=2, grid=GRID)
    batch = TrajectoryWindows(file, history=2).__getitems__([0, 1])
    expected, _ = loss.of_frames(surrogate, batch["history"])
    batch["future"] = batch["future"] * math.nan
    assert torch.equal(loss(surrogate, batch), expected)
    with pytest.raises(ValueError, match="2 chains need windows .* history=2"):
        loss(surrogate, TrajectoryWindows(file).__getitems__([0]))
    with pytest.raises(ValueError, match="between 0.5"):
        PhysicsLoss(EQUATION.on(GRID), implicitness=0.2)


def fresh(first, number):
    """Sample i is the constant i + 1."""
    values = torch.arange(first, first + number) + 1.0
    return values[:, None, None, None].expand(number, 1, 1, 4).contiguous()


def test_a_pool_keeps_successors_and_renews():
    pool = SelfRolledPool(fresh, size=4, renewal=0.0, reserve=3)
    places = pool.draw(2)
    assert len(set(places.tolist())) == 2
    pool.put(places, pool.frames[places] + 0.5)
    moved = [(n + 1) + 0.5 * (n in places.tolist()) for n in range(4)]
    assert pool.frames[:, 0, 0, 0].tolist() == moved

    pool = SelfRolledPool(fresh, size=4, renewal=1.0, reserve=3)
    everyone = torch.arange(4)
    pool.put(everyone, pool.frames)
    assert set(pool.frames[:, 0, 0, 0].tolist()) <= {5.0, 6.0, 7.0}
    pool.put(everyone, pool.frames)  # the reserve was used up and is new: samples 7 .. 9
    assert set(pool.frames[:, 0, 0, 0].tolist()) <= {8.0, 9.0, 10.0}


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e3])
def test_a_pool_starts_runaways_anew(bad):
    pool = SelfRolledPool(fresh, size=4, renewal=0.0, reserve=3)
    pool.put(torch.tensor([2]), torch.full((1, 1, 1, 4), bad))
    assert pool.frames[2, 0, 0, 0] in (5, 6, 7)
    with pytest.raises(ValueError, match="`renewal` within 0"):
        SelfRolledPool(fresh, renewal=2.0)


def noise(first, number):
    source = torch.Generator().manual_seed(first)
    return torch.randn(number, 1, 1, 16, generator=source)


def test_training_finds_the_one_weight():
    """A network with the right shape and half the size learns its factor."""
    surrogate = ResidualSurrogate(CrankNicolsonChange(), DT)
    surrogate.backbone.factor.data.fill_(0.5)
    pool = SelfRolledPool(noise, size=16, renewal=0.2)
    record = train_on_physics(
        surrogate, PhysicsLoss(EQUATION.on(GRID)), pool, num_updates=150, learning_rate=2e-2
    )
    assert float(surrogate.backbone.factor) == pytest.approx(1.0, abs=1e-2)
    assert record.num_updates == 150 and not record.failure and len(record.losses) == 3
    assert record.losses[0] > 100 * record.losses[-1]


def test_a_clock_ends_training_and_lengths_exclude_each_other():
    surrogate, ticks = ResidualSurrogate(Zero(), DT), iter(range(1000))
    loss, pool = PhysicsLoss(EQUATION.on(GRID)), SelfRolledPool(noise, size=8)
    record = train_on_physics(surrogate, loss, pool, seconds=7, clock=lambda: next(ticks))
    assert record.num_updates == 6
    with pytest.raises(ValueError, match="either `num_updates` or `seconds`"):
        train_on_physics(surrogate, loss, pool)


def test_a_failed_training_keeps_the_last_good_weights():
    class Breaks(Zero):
        calls = 0

        def forward(self, u):
            self.calls += 1
            return (self.factor if self.calls <= 60 else self.factor * math.nan) * u

    surrogate = ResidualSurrogate(Breaks(), DT)
    pool = SelfRolledPool(noise, size=8)
    with pytest.warns(UserWarning, match="not finite at update .*last check are kept"):
        record = train_on_physics(surrogate, PhysicsLoss(EQUATION.on(GRID)), pool, num_updates=200)
    assert record.failure and record.num_updates < 200
    assert bool(surrogate.backbone.factor.isfinite())
