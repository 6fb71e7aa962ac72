"""Shallow water against dam breaks, a lake at rest, and the same equation at points."""

import math

import pytest
import torch

from pdesurrogates.core import Grid, Outflow
from pdesurrogates.equations import BalancedShallowWater, ShallowWater
from pdesurrogates.equations.riemann_problems import dam_break
from pdesurrogates.operators import (
    HLL,
    HLLC,
    MUSCL,
    WENO5,
    AutodiffDerivatives,
    Constant,
    FiniteVolumes,
    Rusanov,
    SlipWall,
    minmod,
    superbee,
)
from pdesurrogates.steppers import SSPRK3

RECONSTRUCTIONS = [Constant(), MUSCL(), MUSCL(superbee), WENO5()]


def advance(f, u, time, cfl=0.4):
    """Every sample to `time` with its own steps; no state may be unphysical."""
    step = SSPRK3().bind(f)
    t = torch.zeros(u.shape[0])
    while bool((t < time * (1 - 1e-12)).any()):
        dt = torch.minimum(cfl * f.largest_step(t, u), time - t)
        u, t = step(t, u, dt), t + dt
        assert f.first_unphysical(u) is None
    return u


def dam(n, right, reconstruction):
    """L1 error of the height, relative to the water on the left."""
    grid = Grid((n,), (10.0,), (-5.0,), periodic=False, cell_centred=True)
    x = grid.coordinates()[0]
    law = ShallowWater(gravity=9.81, dim=1)
    f = law.on(FiniteVolumes(grid, reconstruction, boundary=Outflow()))
    u = torch.stack([torch.where(x < 0, 2.0, right), torch.zeros_like(x)])[None]
    height = advance(f, u, 0.5)[0, 0]
    exact = dam_break(x, 0.5, left=2.0, right=right, gravity=9.81)[0]
    return float((height - exact).abs().mean()) / 2


@pytest.mark.parametrize(
    "right, reconstruction, ceiling",
    [
        (0.5, Constant(), 0.020),
        (0.5, MUSCL(), 0.0035),
        (0.5, WENO5(), 0.0030),
        (0.0, Constant(), 0.017),
        (0.0, MUSCL(), 0.0030),
        (0.0, WENO5(), 0.0026),
    ],
    ids=str,
)
def test_dam_breaks(right, reconstruction, ceiling):
    errors = [dam(n, right, reconstruction) for n in (50, 100, 200)]
    assert errors[-1] < ceiling
    order = math.log2(errors[0] / errors[-1]) / 2
    assert (0.5 if isinstance(reconstruction, Constant) else 0.8) < order < 1.2


def bumpy(dim, height):
    """Ground whose highest point is about `height`."""
    return lambda *x: height * torch.exp(-sum(a * a for a in x)) + 0.1 * torch.sin(3 * x[0]) ** 2


@pytest.mark.parametrize("reconstruction", RECONSTRUCTIONS, ids=str)
@pytest.mark.parametrize("flux", [HLL(), HLLC(), Rusanov()], ids=str)
@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("peak", [0.7, 1.5])  # below the water, and an island
def test_a_lake_at_rest_stays(dim, peak, reconstruction, flux):
    ground = bumpy(dim, peak)
    periodic = (True, False)[:dim]
    grid = Grid((20, 16)[:dim], (8.0,), (-4.0,), periodic=periodic, cell_centred=True)
    law = ShallowWater(gravity=9.81, bathymetry=ground, dim=dim)
    f = law.on(FiniteVolumes(grid, reconstruction, flux, SlipWall()))
    assert isinstance(f, BalancedShallowWater)
    height = (1 - ground(*grid.coordinates())).clamp(min=0)
    u = torch.stack([height] + [torch.zeros_like(height)] * dim)[None]
    assert bool((height == 0).any()) is (peak > 1)
    assert (advance(f, u, 0.5) - u).abs().max() < 1e-13


def test_uneven_ground_is_felt():
    # Level water would be at rest; water of one height over a slope runs down.
    grid = Grid((32,), (1.0,), cell_centred=True)
    law = ShallowWater(dim=1, bathymetry=lambda x: 0.1 * torch.sin(2 * math.pi * x))
    f = law.on(FiniteVolumes(grid))
    x = grid.coordinates()[0]
    u = torch.stack([torch.ones_like(x), torch.zeros_like(x)])[None]
    slope = 0.2 * math.pi * torch.cos(2 * math.pi * x)
    assert (f(0.0, u)[0, 1] + slope).abs().mean() < 2e-2
    flat = ShallowWater(dim=1).on(FiniteVolumes(grid))(0.0, u)
    assert flat.abs().max() < 1e-13
    level = ShallowWater(dim=1, bathymetry=torch.zeros(1, 1, 32)).on(FiniteVolumes(grid))
    v = torch.rand(2, 2, 32) + 1
    assert torch.allclose(
        level(0.0, v), ShallowWater(dim=1).on(FiniteVolumes(grid))(0.0, v), atol=1e-11
    )


@pytest.mark.parametrize("reconstruction", [*RECONSTRUCTIONS, MUSCL(minmod)], ids=str)
@pytest.mark.parametrize("dim", [1, 2])
def test_random_water_stays_positive(reconstruction, dim):
    settings = [(6, 2, 0.0, False), (6, 10, 0.3, False), (2, 1, 0.5, True), (12, 3, 0.2, True)]
    for seed, (decades, froude, dry, is_uneven) in enumerate(settings):
        generator = torch.Generator().manual_seed(seed)
        shape = (16, 1, *((48,) if dim == 1 else (10, 9)))
        r = torch.rand(4 + dim, *shape, generator=generator)
        height = 10 ** (decades * (r[0] - 0.5)) * (r[1] >= dry)
        velocities = froude * torch.sqrt(height) * (2 * r[4:] - 1)
        law = ShallowWater(dim=dim, bathymetry=2 * r[2] if is_uneven else None)
        grid = Grid(shape[2:], (1.0,), cell_centred=True)
        for flux in (HLLC(), Rusanov()):
            f = law.on(FiniteVolumes(grid, reconstruction, flux))
            u, step = torch.cat([height, *(height * velocities)], dim=1), SSPRK3().bind(f)
            for _ in range(8):
                u = step(0.0, u, reconstruction.courant_limit * f.largest_step(0.0, u))
                assert f.first_unphysical(u) is None


def test_gradients_are_finite_where_the_ground_is_dry():
    grid = Grid((24,), (1.0,), periodic=False, cell_centred=True)
    x = grid.coordinates()[0]
    ground = (0.3 * x).reshape(1, 1, 24).requires_grad_()
    u0 = torch.stack([torch.where(x < 0.5, 1.0, 0.0), 0 * x])[None].requires_grad_()
    f = ShallowWater(dim=1, bathymetry=ground).on(FiniteVolumes(grid, boundary=Outflow()))
    u = advance(f, u0, 0.05)
    gradients = torch.autograd.grad(u[:, 0].square().sum(), [u0, ground])
    assert all(torch.isfinite(g).all() and g.abs().max() > 1e-3 for g in gradients)


def test_a_shear_layer_stays_sharp_under_hllc():
    grid = Grid((20, 3), (1.0,), periodic=(False, True), cell_centred=True)
    x = grid.coordinates()[0]
    ones = torch.ones_like(x)
    u = torch.stack([ones, 0 * x, torch.where(x < 0.5, ones, -ones)])[None]
    for flux, moves in ((HLLC(), False), (HLL(), True)):
        rate = ShallowWater().on(FiniteVolumes(grid, flux=flux, boundary=Outflow()))(0.0, u)
        assert bool(rate.abs().max() > 1) is moves
        assert moves or rate.abs().max() < 1e-13


def test_the_mass_flux_carries_the_velocity_along_the_face():
    for speed, carried in ((0.5, 2.0), (-0.5, -1.0)):
        states = torch.tensor([[1.0, speed, 2.0], [1.1, speed, -1.0]])
        left, right = (tuple(side.reshape(3, 1, 1, 1)) for side in states)
        mass, _, across = HLLC()(ShallowWater(), left, right, 0)
        assert float(mass) * speed > 0
        assert float(across) == pytest.approx(float(mass) * carried)


@pytest.mark.parametrize("dim, sizes", [(1, (32, 64)), (2, (24, 48))])
@pytest.mark.parametrize("is_uneven", [False, True])
def test_volumes_agree_with_exact_derivatives(dim, sizes, is_uneven):
    ground = (lambda *x: 0.2 * torch.sin(sum(x))) if is_uneven else None
    law = ShallowWater(gravity=2.0, bathymetry=ground, dim=dim)
    errors = []
    for n in sizes:
        grid = Grid((n,) * dim, (2 * math.pi,), cell_centred=True)

        def water(*x):
            velocities = [0.3 * torch.cos(x[a] + x[(a + 1) % dim]) for a in range(dim)]
            return law.conserved((1 + 0.1 * torch.sin(sum(x) + 0.1), *velocities))

        d = AutodiffDerivatives(grid.coordinates().flatten(1).T[None].contiguous())
        exact = law.on(d)(0.0, torch.cat(water(*d.points.split(1, dim=-1)), dim=-1))
        exact = exact.detach().mT.reshape(1, 1 + dim, *grid.shape)
        rate = law.on(FiniteVolumes(grid, WENO5()))(
            0.0, torch.stack(water(*grid.coordinates()))[None]
        )
        errors.append(float((rate - exact).abs().mean() / exact.abs().mean()))
    assert errors[1] < 2e-3
    assert math.log2(errors[0] / errors[1]) > 1.9


def test_radial_dam_break_is_round_and_keeps_its_water():
    # The configuration of PDEBench: radius 0.5, heights 2 and 1, outflow.
    grid = Grid((32, 32), (5.0,), (-2.5,), periodic=False, cell_centred=True)
    x, y = grid.coordinates()
    height = torch.where(x * x + y * y < 0.25, 2.0, 1.0)
    u0 = torch.stack([height, 0 * x, 0 * x])[None]
    law = ShallowWater()
    u = advance(law.on(FiniteVolumes(grid, boundary=Outflow())), u0, 0.8)
    h, along, across = u[0]
    assert torch.allclose(h, h.T, atol=1e-12) and torch.allclose(along, across.T, atol=1e-12)
    assert torch.allclose(h, h.flip(0), atol=1e-12)
    assert torch.allclose(along, -along.flip(0), atol=1e-12)
    mass = [float(law.conserved_quantities(state, grid)["mass"]) for state in (u0, u)]
    assert mass[1] == pytest.approx(mass[0], rel=1e-12)
    assert 1.02 < float(h.max()) < 1.6


def test_fields_and_refusals():
    law = ShallowWater()
    assert law.fields.names == ("height", "momentum_x", "momentum_y")
    assert law.primitive_fields.channels("velocity") == slice(1, 3)
    sums = law.conserved_quantities(torch.ones(2, 3, 4, 4), Grid((4, 4), (1.0,)))
    assert list(sums) == ["mass", "momentum_x", "momentum_y"]
    uneven = ShallowWater(bathymetry=lambda x, y: x)
    assert list(uneven.conserved_quantities(torch.ones(2, 3, 4, 4), Grid((4, 4)))) == ["mass"]
    with pytest.raises(ValueError, match="`dim` must be 1 or 2, got 3"):
        ShallowWater(dim=3)
