"""The staggered grid: what its operators keep exactly, and how fast the rest converges."""

import math
from itertools import pairwise

import pytest
import torch

from pdesurrogates.core import Dirichlet, Grid, Neumann, Outflow, Periodic
from pdesurrogates.operators import StaggeredGrid


def cells(shape, extent, periodic=False):
    return Grid(shape, extent, periodic=periodic, cell_centred=True)


LID = {"velocity_x": (Dirichlet(0.0), Dirichlet((0.0, 1.0))), "velocity_y": Dirichlet(0.0)}
PROVIDERS = [
    StaggeredGrid(Grid((6, 7), (1.0, 1.4))),
    StaggeredGrid(cells((6, 7), (1.0, 1.4)), Dirichlet(0.0)),
    StaggeredGrid(cells((6, 7), (1.0, 1.4)), LID),
    StaggeredGrid(cells((6, 7), (1.0, 1.4), (True, False)), Neumann(0.0)),
    StaggeredGrid(cells((5, 4, 6), (1.0, 0.8, 1.1), (False, True, False)), Dirichlet(0.0)),
    StaggeredGrid(cells((5, 4, 6), (1.0, 0.8, 1.1)), Neumann(0.0)),
]


def ids(d):
    return f"{d.grid.shape}-walls{d.walls}"


def random_flow(d, batch=2):
    """Random face velocities without divergence."""
    return d.project(*(torch.randn(batch, 1, *d.grid.shape) for _ in range(d.dim)))


def inner(a, b):
    return sum((x * y).sum() for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("d", PROVIDERS, ids=ids)
def test_gradient_is_minus_the_transpose_of_divergence(d):
    p = torch.randn(2, 1, *d.grid.shape)
    velocity = tuple(d.close(torch.randn(2, 1, *d.grid.shape), a) for a in range(d.dim))
    left, right = (d.divergence(*velocity) * p).sum(), -inner(velocity, d.gradient(p))
    assert torch.allclose(left, right, atol=1e-11)


@pytest.mark.parametrize("d", PROVIDERS, ids=ids)
def test_projection_is_orthogonal_and_leaves_no_divergence(d):
    velocity = tuple(d.close(torch.randn(2, 1, *d.grid.shape), a) for a in range(d.dim))
    projected = d.project(*velocity)
    assert d.divergence(*projected).abs().max() < 1e-12
    removed = tuple(u - v for u, v in zip(velocity, projected, strict=True))
    assert abs(inner(removed, projected)) < 1e-11
    assert inner(removed, removed) > 1.0
    for again, once in zip(d.project(*projected), projected, strict=True):
        assert torch.allclose(again, once, atol=1e-13)
    for axis in d.walls:
        assert not projected[axis].select(axis - d.dim, -1).any()


@pytest.mark.parametrize("d", PROVIDERS, ids=ids)
def test_advection_keeps_kinetic_energy(d):
    velocity = random_flow(d)
    rates = d.project(*d.advection(*velocity))
    assert rates[0].abs().max() > 0.1
    assert abs(inner(velocity, rates)) < 1e-11 * inner(velocity, velocity)


def test_advection_keeps_momentum_on_a_periodic_grid():
    d = PROVIDERS[0]
    for rate in d.advection(*random_flow(d)):
        assert abs(rate.sum()) < 1e-11


@pytest.mark.parametrize("d", PROVIDERS, ids=ids)
def test_diffusion_is_symmetric_and_takes_energy(d):
    """Compared with a flow at rest, so that moving walls drop out."""
    a, b = random_flow(d), random_flow(d)
    rest = d.diffusion(*(torch.zeros_like(u) for u in a))

    def apply(velocity):
        return tuple(
            d.close(rate - r, axis)
            for axis, (rate, r) in enumerate(zip(d.diffusion(*velocity), rest, strict=True))
        )

    assert torch.allclose(inner(a, apply(b)), inner(b, apply(a)), atol=1e-9)
    assert inner(a, apply(a)) < 0


def test_diffusion_of_a_shear_between_moving_walls_vanishes():
    grid = cells((5, 8), (1.0, 2.0), (True, False))
    d = StaggeredGrid(grid, [Periodic(), Dirichlet((-0.5, 1.5))])
    y = grid.coordinates()[1][None, None]
    rate = d.diffusion(y - 0.5, torch.zeros_like(y))[0]
    assert rate.abs().max() < 1e-12
    wrong = StaggeredGrid(grid, [Periodic(), Dirichlet((-0.5, 1.0))])
    assert wrong.diffusion(y - 0.5, torch.zeros_like(y))[0].abs().max() > 1.0


def test_diffusion_meets_a_given_shear():
    grid = cells((5, 8), (1.0, 2.0), (True, False))
    d = StaggeredGrid(grid, [Periodic(), Neumann(3.0)])
    y = grid.coordinates()[1][None, None]
    assert d.diffusion(3.0 * y, torch.zeros_like(y))[0].abs().max() < 1e-12


def taylor_green(x, y):
    return torch.sin(x) * torch.cos(y), -torch.cos(x) * torch.sin(y)


def test_operators_are_of_second_order():
    """Taylor-Green: div(u u_x) = sin(2x) / 2, lap u = -2 u."""
    errors = {"advection": [], "diffusion": [], "centres": [], "faces": []}
    for n in (16, 32, 64):
        grid = Grid((n, 3 * n // 2), (2 * math.pi,))
        d = StaggeredGrid(grid)
        u, v = (taylor_green(*d.face_coordinates(axis))[axis][None, None] for axis in (0, 1))
        x, _ = d.face_coordinates(0)
        found = d.advection(u, v)[0]
        errors["advection"].append(float((found - torch.sin(2 * x) / 2).abs().max()))
        errors["diffusion"].append(float((d.diffusion(u, v)[1] + 2 * v).abs().max()))
        centred = taylor_green(*grid.coordinates())
        at_centres = d.to_centres(u, v)[0][0, 0]
        errors["centres"].append(float((at_centres - centred[0]).abs().max()))
        on_faces = d.to_faces(*(c[None, None] for c in centred))[1]
        errors["faces"].append(float((on_faces - v).abs().max()))
    for name, values in errors.items():
        assert values[-1] < 5e-3, name
        assert all(3.6 < a / b < 4.4 for a, b in pairwise(values)), (name, values)


@pytest.mark.parametrize("d", PROVIDERS, ids=ids)
def test_transport_keeps_the_sum_and_the_bounds(d):
    """Euler steps at Courant number 1/2, the worst case, from a field of zeros and ones."""
    velocity = random_flow(d, batch=8)
    smoke = (torch.rand(8, 1, *d.grid.shape) > 0.5).double()
    speeds = zip(d.cell_speeds(*velocity), d.grid.spacing, strict=True)
    rate = sum(u / h for u, h in speeds).flatten(1).amax(1)
    dt = (0.5 / rate).reshape(-1, *(1,) * (d.dim + 1))
    u = smoke
    for _ in range(20):
        u = u - dt * d.transport(u, *velocity)
    assert (u - smoke).abs().max() > 0.1
    assert float(u.min()) > -1e-13 and float(u.max()) < 1 + 1e-13
    total = smoke.flatten(1).sum(1)
    assert torch.allclose(u.flatten(1).sum(1), total, rtol=1e-13)


def test_transport_is_of_second_order_on_average():
    """div(u s) of a smooth field; limited at its extrema, so in the mean of absolute values."""
    errors = []
    for n in (32, 64, 128):
        grid = Grid((n, n), (2 * math.pi,))
        d = StaggeredGrid(grid)
        velocity = [torch.full((1, 1, n, n), 0.7), torch.full((1, 1, n, n), -0.4)]
        x, y = grid.coordinates()
        smoke = torch.sin(x) * torch.cos(y)
        exact = 0.7 * torch.cos(x) * torch.cos(y) + 0.4 * torch.sin(x) * torch.sin(y)
        found = d.transport(smoke[None, None], *velocity)
        errors.append(float((found - exact).abs().mean()))
    assert errors[-1] < 2e-3
    assert all(a / b > 3.3 for a, b in pairwise(errors)), errors


def test_smoke_at_one_wall_does_not_feel_the_other():
    d = StaggeredGrid(cells((8, 6), (1.0, 1.0)), Dirichlet(0.0))
    velocity = random_flow(d)
    smoke = torch.rand(2, 1, 8, 6)
    rate = d.transport(smoke, *velocity)
    smoke[:, :, -1] += 3.0
    assert torch.equal(d.transport(smoke, *velocity)[:, :, :5], rate[:, :, :5])


def test_a_fast_face_counts_for_both_its_cells():
    d = StaggeredGrid(Grid((4, 3), (1.0, 1.0)))
    u = torch.zeros(1, 1, 4, 3)
    u[..., 1, 2] = -2.0
    along_x, along_y = d.cell_speeds(u, torch.zeros_like(u))
    assert along_x[0, 0, :, 2].tolist() == [0.0, 2.0, 2.0, 0.0]
    assert not along_y.any()


def test_transport_has_bounded_gradients_where_smoke_is_flat():
    """Beside a jump of 1000 the sensitivity to smoke is still that of a flux, speed / h."""
    d = StaggeredGrid(cells((16, 4), (16.0, 4.0), True))
    smoke = torch.zeros(1, 1, 16, 4)
    smoke[:, :, 6:] = 1000.0
    velocity = [torch.ones(1, 1, 16, 4), torch.zeros(1, 1, 16, 4)]
    for u in (smoke, torch.zeros_like(smoke)):
        jacobian = torch.autograd.functional.jacobian(lambda s: d.transport(s, *velocity), u)
        assert jacobian.abs().max() <= 2.0


def test_the_pressure_solver_is_an_argument():
    """Another solver of the same system gives the same projection, and is asked once."""
    grid = cells((4, 5), (1.0, 1.0))
    plain = StaggeredGrid(grid, Dirichlet(0.0))
    unit = torch.eye(20).reshape(20, 1, 4, 5)
    matrix = plain.divergence(*plain.gradient(unit)).reshape(20, 20)
    calls = []

    def least_squares(rhs):
        calls.append(rhs.shape)
        return (torch.linalg.pinv(matrix.T) @ rhs.reshape(-1, 20, 1)).reshape(rhs.shape)

    d = StaggeredGrid(grid, Dirichlet(0.0), pressure_solver=least_squares)
    velocity = torch.randn(2, 3, 1, 4, 5).unbind()
    for ours, theirs in zip(plain.project(*velocity), d.project(*velocity), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-12)
    assert calls == [(3, 1, 4, 5)]


def test_coefficients_on_faces():
    grid = cells((4, 6), (2.0, 3.0), (True, False))
    d = StaggeredGrid(grid, Dirichlet(0.0))
    x, y = d.face_coordinates(0)
    assert x[0, 0] == 0.5 and y[0, 0] == 0.25
    assert torch.equal(d.on_faces(lambda x, y: x + 2 * y, 0)[0, 0], x + 2 * y)
    values = grid.coordinates()[1][None, None]
    assert torch.allclose(d.on_faces(values, 1)[..., :-1], values[..., :-1] + 0.25)
    assert d.on_faces(1.5, 0) == 1.5
    assert d.on_faces(torch.ones(3), 1).shape == (3, 1, 1, 1)
    with pytest.raises(ValueError, match=r"space \(4, 6\), got \(1, 1, 4, 5\)"):
        d.on_faces(torch.ones(1, 1, 4, 5), 0)


def test_smoke_conditions_may_be_named_if_nothing_flows():
    grid = cells((4, 6), (2.0, 3.0))
    named = {"velocity": Dirichlet(0.0), "smoke": Neumann(0.0)}
    assert StaggeredGrid(grid, named).wall_speed == 0.0
    assert StaggeredGrid(grid, LID).wall_speed == 1.0
    with pytest.raises(ValueError, match="scalars have no flux through walls"):
        StaggeredGrid(grid, {"velocity": Dirichlet(0.0), "smoke": Dirichlet(0.0)})


def test_refusals_say_what_to_do():
    points = Grid((4, 6), (2.0, 3.0), periodic=False)
    grid = cells((4, 6), (2.0, 3.0))
    with pytest.raises(ValueError, match="cell_centred=True"):
        StaggeredGrid(points, Dirichlet(0.0))
    with pytest.raises(ValueError, match="axis 0 of the grid has ends"):
        StaggeredGrid(grid)
    with pytest.raises(ValueError, match="velocity_x has Outflow.*walls only"):
        StaggeredGrid(grid, Outflow())
    with pytest.raises(ValueError, match="let velocity_x through the walls of axis 0"):
        StaggeredGrid(grid, {"velocity": Dirichlet(1.0)})
    with pytest.raises(ValueError, match=r"but not for \['velocity_y'\]"):
        StaggeredGrid(grid, {"velocity_x": Dirichlet(0.0)})
    with pytest.raises(ValueError, match="it serves IncompressibleNavierStokes"):
        StaggeredGrid(grid, Dirichlet(0.0)).dx(torch.ones(1, 1, 4, 6))
