"""Compressible flow against exact Riemann solutions, a vortex, linear sound, viscous decay."""

import math
from itertools import pairwise

import pytest
import torch

from pdesurrogates.core import Dirichlet, Grid, Outflow
from pdesurrogates.equations import CompressibleNavierStokes
from pdesurrogates.equations import riemann_problems as problems
from pdesurrogates.operators import (
    HLL,
    HLLC,
    MUSCL,
    WENO5,
    AutodiffDerivatives,
    Constant,
    FiniteVolumes,
    NoSlipWall,
    Rusanov,
    minmod,
    monotonized_central,
    superbee,
)
from pdesurrogates.steppers import SSPRK3

GAUSS = [(-math.sqrt(0.6), 5 / 18), (0.0, 8 / 18), (math.sqrt(0.6), 5 / 18)]


def advance(f, u, time, cfl=0.4, *, watch=None):
    """Every sample to `time` with its own steps; `watch` sees every state."""
    step = SSPRK3().bind(f)
    t = torch.zeros(u.shape[0])
    while bool((t < time * (1 - 1e-12)).any()):
        dt = torch.minimum(cfl * f.largest_step(t, u), time - t)
        u, t = step(t, u, dt), t + dt
        if watch is not None:
            watch(u)
    return u


def orders(errors):
    return [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]


def averages(function, grid):
    """Cell averages by Gauss's rule with three points per axis."""
    nodes = [()]
    for _ in range(grid.dim):
        nodes = [(*rest, node) for rest in nodes for node in GAUSS]
    total = 0.0
    for combination in nodes:
        weight = math.prod(w for _, w in combination)
        shift = [node * h / 2 for (node, _), h in zip(combination, grid.spacing, strict=True)]
        points = [x + s for x, s in zip(grid.coordinates(), shift, strict=True)]
        total = total + weight * function(*points)
    return total


def test_variables_and_fields():
    law = CompressibleNavierStokes(gamma=1.4, dim=2)
    assert law.fields.names == ("density", "momentum_x", "momentum_y", "energy")
    assert law.primitive_fields.names == ("density", "velocity_x", "velocity_y", "pressure")
    w = torch.tensor([2.0, 3.0, -1.0, 0.8]).reshape(1, 4, 1, 1)
    u = law.from_primitive(w)
    assert u.flatten().tolist() == pytest.approx([2.0, 6.0, -2.0, 0.8 / 0.4 + 10.0])
    trajectory = torch.rand(2, 3, 4, 5, 6) + 1
    conserved = law.from_primitive(trajectory)
    assert torch.allclose(law.to_primitive(conserved), trajectory)
    assert torch.equal(conserved[:, 1], law.from_primitive(trajectory[:, 1]))
    sums = law.conserved_quantities(u.expand(1, 4, 8, 8), Grid((8, 8), (2.0,)))
    assert list(sums) == ["mass", "momentum_x", "momentum_y", "energy"]
    assert sums["mass"].item() == pytest.approx(8.0)
    with pytest.raises(ValueError, match="`dim` must be 1, 2 or 3, got 4"):
        CompressibleNavierStokes(dim=4)


def tube(problem, n, reconstruction, flux=HLLC(), watch=None):  # noqa: B008 - frozen
    """Relative L1 errors of density, velocity, pressure."""
    law = CompressibleNavierStokes(problem.gamma)
    grid = Grid((n,), (problem.extent,), periodic=False, cell_centred=True)
    x = grid.coordinates()[0]
    sides = torch.tensor([problem.left, problem.right])[:, :, None]
    w0 = torch.where(x < problem.center, sides[0], sides[1])[None]
    f = law.on(FiniteVolumes(grid, reconstruction, flux, Outflow()))
    w = law.to_primitive(advance(f, law.from_primitive(w0), problem.time, watch=watch))[0]
    exact = problem.solution(x, problem.time)
    return (w - exact).abs().mean(dim=1) / exact.abs().mean(dim=1)


@pytest.mark.parametrize(
    "problem, reconstruction, ceiling",
    [
        (problems.SOD, Constant(), 0.024),
        (problems.SOD, MUSCL(), 0.0055),
        (problems.SOD, WENO5(), 0.0045),
        (problems.LAX, MUSCL(), 0.025),
        (problems.DOUBLE_RAREFACTION, MUSCL(), 0.010),
    ],
    ids=str,
)
def test_shock_tubes(problem, reconstruction, ceiling):
    coarse, fine = (tube(problem, n, reconstruction) for n in (100, 200))
    assert fine[0] < ceiling
    lowest = 0.5 if isinstance(reconstruction, Constant) else 0.7
    for channel in (0, 2):
        assert lowest < orders([float(coarse[channel]), float(fine[channel])])[0] < 1.2


@pytest.mark.parametrize("flux", [HLL(), Rusanov()], ids=str)
def test_other_fluxes_converge_to_the_same_answer(flux):
    errors = [tube(problems.SOD, n, MUSCL(), flux) for n in (100, 200)]
    assert errors[1][0] < 0.007
    assert orders([float(e[0]) for e in errors])[0] > 0.8


EXTREMES = [problems.DOUBLE_RAREFACTION, problems.STRONG_BLAST, problems.LEBLANC]
RECONSTRUCTIONS = [Constant(), MUSCL(minmod), MUSCL(superbee), WENO5()]


@pytest.mark.parametrize("reconstruction", RECONSTRUCTIONS, ids=str)
@pytest.mark.parametrize("flux", [HLLC(), Rusanov()], ids=str)
def test_density_and_pressure_stay_positive(reconstruction, flux):
    def watch(u):
        w = law.to_primitive(u)
        assert w[:, 0].min() > 0 and w[:, 2].min() > 0

    for problem in EXTREMES:
        law = CompressibleNavierStokes(problem.gamma)
        tube(problem, 50, reconstruction, flux, watch)


def wild_states(dim, decades, mach, seed):
    """Densities and pressures over many decades, cell by cell."""
    generator = torch.Generator().manual_seed(seed)
    shape = (16, 2 + dim, *{1: (48,), 2: (10, 9), 3: (5, 6, 5)}[dim])
    r = torch.rand(shape, generator=generator)
    density, pressure = 10 ** (decades * (r[:, :1] - 0.5)), 10 ** (decades * (r[:, -1:] - 0.5))
    velocity = mach * torch.sqrt(pressure / density) * (2 * r[:, 1:-1] - 1)
    return torch.cat([density, velocity, pressure], dim=1)


@pytest.mark.parametrize("reconstruction", RECONSTRUCTIONS, ids=str)
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_random_states_stay_positive_at_the_stated_courant_number(reconstruction, dim):
    law = CompressibleNavierStokes(1.4, dim=dim)
    for seed, (decades, mach) in enumerate([(1, 3), (6, 3), (12, 1), (4, 100), (0, 1000)]):
        w = wild_states(dim, decades, mach, seed)
        for flux in (HLLC(), Rusanov()):
            grid = Grid(tuple(w.shape[2:]), (1.0,), cell_centred=True)
            f = law.on(FiniteVolumes(grid, reconstruction, flux))
            u, step = law.from_primitive(w), SSPRK3().bind(f)
            for _ in range(6):
                u = step(0.0, u, reconstruction.courant_limit * f.largest_step(0.0, u))
                assert f.first_unphysical(u) is None


def test_a_resting_contact_stays_sharp_under_hllc():
    grid = Grid((20,), (1.0,), periodic=False, cell_centred=True)
    x = grid.coordinates()[0]
    law = CompressibleNavierStokes(1.4)
    w = torch.stack([torch.where(x < 0.5, 1.0, 0.1), 0 * x, 0 * x + 1])[None]
    for flux, moves in ((HLLC(), False), (HLL(), True), (Rusanov(), True)):
        rate = law.on(FiniteVolumes(grid, flux=flux, boundary=Outflow()))(
            0.0, law.from_primitive(w)
        )
        assert bool(rate.abs().max() > 1) is moves
        assert moves or rate.abs().max() < 1e-13


def test_a_resting_shear_layer_stays_sharp_under_hllc():
    grid = Grid((20, 3), (1.0,), periodic=(False, True), cell_centred=True)
    x = grid.coordinates()[0]
    law = CompressibleNavierStokes(1.4, dim=2)
    w = torch.stack([0 * x + 1, 0 * x, torch.where(x < 0.5, 1.0, -1.0), 0 * x + 1])[None]
    u = law.from_primitive(w)
    for flux, moves in ((HLLC(), False), (HLL(), True)):
        rate = law.on(FiniteVolumes(grid, flux=flux, boundary=Outflow()))(0.0, u)
        assert bool(rate.abs().max() > 1) is moves
        assert moves or rate.abs().max() < 1e-12


def density_wave(law, x):
    ones = torch.ones_like(x)
    return law.from_primitive(
        torch.stack([1 + 0.5 * torch.sin(2 * math.pi * x), ones, ones])[None]
    )


@pytest.mark.parametrize(
    "reconstruction, sizes, order, ceiling",
    [
        (Constant(), (128, 256), 0.9, 0.025),
        (MUSCL(), (32, 64, 128), 1.85, 7e-4),
        (MUSCL(monotonized_central), (32, 64, 128), 1.85, 5e-4),
        (WENO5(), (16, 32, 64), 4.9, 2e-7),
    ],
    ids=str,
)
def test_density_wave_in_one_dimension(reconstruction, sizes, order, ceiling):
    law = CompressibleNavierStokes(1.4)
    errors = []
    for n in sizes:
        grid = Grid((n,), (1.0,), cell_centred=True)
        f = law.on(FiniteVolumes(grid, reconstruction))
        u = averages(lambda x: density_wave(law, x), grid)
        # Third-order steps must shrink faster than the cells of a fifth-order scheme.
        shrink = (sizes[0] / n) ** max(0.0, reconstruction.order / 3 - 1)
        u = advance(f, u, 0.2, 0.4 * shrink)
        exact = averages(lambda x: density_wave(law, x - 0.2), grid)
        errors.append(float((u - exact)[0, 0].abs().mean()))
    assert errors[-1] < ceiling
    assert all(found > order for found in orders(errors))


def nonlinear_wave(law, x):
    angle = 2 * math.pi * x
    channels = [1 + 0.2 * torch.sin(angle), 0.3 * torch.cos(angle), 1 + 0.2 * torch.sin(angle + 1)]
    return law.from_primitive(torch.stack(channels)[None])


@pytest.mark.parametrize(
    "reconstruction, order", [(Constant(), 1), (MUSCL(), 2), (WENO5(), 5)], ids=str
)
def test_time_derivative_of_averages_is_the_difference_of_exact_fluxes(reconstruction, order):
    law = CompressibleNavierStokes(1.4)
    errors = []
    for n in (32, 64, 128):
        grid = Grid((n,), (1.0,), cell_centred=True)
        u = averages(lambda x: nonlinear_wave(law, x), grid)
        ends = grid.coordinates()[0] - grid.spacing[0] / 2
        flux = torch.cat(law.flux(nonlinear_wave(law, ends).split(1, dim=1), 0), dim=1)
        exact = (flux - flux.roll(-1, dims=2)) / grid.spacing[0]
        rate = law.on(FiniteVolumes(grid, reconstruction))(0.0, u)
        errors.append(float((rate - exact).abs().mean()))
    # Limiters clip extrema, which costs MUSCL a little of its order in the derivative.
    slack = 0.3 if isinstance(reconstruction, MUSCL) else 0.15
    assert all(abs(found - order) < slack for found in orders(errors))


def vortex(law, x, y):
    """The isentropic vortex of Shu (1998) in a uniform flow (1, 1), box [-5, 5]^2."""
    strength, gamma = 5.0, law.gamma
    x, y = (torch.remainder(x + 5, 10) - 5, torch.remainder(y + 5, 10) - 5)
    bell = torch.exp((1 - x * x - y * y) / 2)
    swirl = strength / (2 * math.pi) * bell
    heat = 1 - (gamma - 1) * strength**2 / (8 * gamma * math.pi**2) * bell**2
    density = heat ** (1 / (gamma - 1))
    return law.from_primitive(
        torch.stack([density, 1 - swirl * y, 1 + swirl * x, density * heat])[None]
    )


@pytest.mark.parametrize("reconstruction, ceiling", [(MUSCL(), 5e-4), (WENO5(), 6e-5)], ids=str)
def test_isentropic_vortex(reconstruction, ceiling):
    law = CompressibleNavierStokes(1.4, dim=2)
    errors = []
    for n in (32, 64):
        grid = Grid((n, n), (10.0,), (-5.0,), cell_centred=True)
        f = law.on(FiniteVolumes(grid, reconstruction))
        start = averages(lambda x, y: vortex(law, x, y), grid)
        u = advance(f, start, 1.0)
        exact = averages(lambda x, y: vortex(law, x - 1, y - 1), grid)
        errors.append(float((u - exact)[0, 0].abs().mean()))
        before = law.conserved_quantities(start, grid)
        for name, kept in law.conserved_quantities(u, grid).items():
            assert torch.allclose(kept, before[name], rtol=1e-12)
    # Order 2 for both: WENO5 takes the flux at the average of a face, not the average flux.
    assert errors[1] < ceiling
    assert orders(errors)[0] > 1.9


def sound_after(time, grid, viscosity, gamma):
    """A sound wave in a viscous gas at rest (density 1, c = 1) by linear theory, amplitude 1."""
    k = 2 * math.pi
    matrix = torch.tensor([[0, -1j * k, 0], [0, -viscosity * k * k, -1j * k], [0, -1j * k, 0]]).to(
        torch.complex128
    )
    amplitudes = torch.linalg.matrix_exp(matrix * time) @ torch.ones(3, dtype=torch.complex128)
    wave = torch.exp(1j * k * grid.coordinates()[0])
    return (amplitudes[:, None] * wave).real


@pytest.mark.parametrize("reconstruction, ceiling", [(MUSCL(), 0.02), (WENO5(), 6e-3)], ids=str)
def test_sound_travels_and_decays(reconstruction, ceiling):
    gamma, shear, bulk, size, time = 1.4, 0.006, 0.002, 1e-5, 1.0
    law = CompressibleNavierStokes(gamma, shear, bulk)
    grid = Grid((64,), (1.0,), cell_centred=True)
    rest = torch.tensor([1.0, 0.0, 1 / gamma])[:, None]
    w = rest + size * sound_after(0.0, grid, 0.0, gamma)
    f = law.on(FiniteVolumes(grid, reconstruction))
    u = advance(f, law.from_primitive(w[None]), time)
    found = (law.to_primitive(u)[0] - rest) / size
    exact = sound_after(time, grid, 4 / 3 * shear + bulk, gamma)
    assert exact.abs().max() < 0.85  # decay is seen
    assert (found - exact).abs().mean() < ceiling


@pytest.mark.parametrize("along", [0, 1])
def test_shear_decays_by_viscosity(along):
    shear, size, time, k = 0.1, 1e-3, 0.05, 2 * math.pi
    law = CompressibleNavierStokes(1.4, shear, 0.1, dim=2)
    errors = []
    for n in (16, 32):
        shape = [3, 3]
        shape[along] = n
        grid = Grid(tuple(shape), tuple(m / n for m in shape), cell_centred=True)
        x = grid.coordinates()[along]
        velocities = [torch.zeros_like(x)] * 2
        velocities[1 - along] = size * torch.sin(k * x)
        w = torch.stack([torch.ones_like(x), *velocities, torch.ones_like(x)])[None]
        f = law.on(FiniteVolumes(grid))
        found = law.to_primitive(advance(f, law.from_primitive(w), time))[0, 2 - along] / size
        exact = math.exp(-shear * k * k * time) * torch.sin(k * x)
        errors.append(float((found - exact).abs().max()))
    assert errors[-1] < 2e-3
    assert orders(errors)[0] == pytest.approx(2, abs=0.15)


def test_friction_is_that_of_the_stated_stress():
    # Constant viscosities: div stress = eta lap v + (zeta + eta / 3) grad div v.
    eta, zeta = 0.3, 0.2
    grid = Grid((96, 96), (2 * math.pi,), cell_centred=True)
    x, y = grid.coordinates()
    one, other = x + 2 * y, 2 * x - y
    v = torch.stack([torch.sin(one), torch.cos(other)])
    grad_div = torch.stack(
        [
            -torch.sin(one) + 2 * torch.cos(other),
            -2 * torch.sin(one) - torch.cos(other),
        ]
    )
    expected = -5 * eta * v + (zeta + eta / 3) * grad_div
    rates = []
    for viscosities in ((eta, zeta), (0.0, 0.0)):
        law = CompressibleNavierStokes(1.4, *viscosities, dim=2)
        density = 1 + 0.1 * torch.sin(x)
        w = torch.stack([density, v[0], v[1], 10 * density])[None]
        rates.append(law.on(FiniteVolumes(grid))(0.0, law.from_primitive(w))[0, 1:3])
    found = rates[0] - rates[1]
    assert (found - expected).abs().max() < 3e-3 * expected.abs().max()


def test_friction_heats():
    # v = sin(k x) along y: the pressure rises by (gamma - 1) viscosity (dv/dx)^2 where it shears.
    gamma, shear, k = 1.4, 0.3, 2 * math.pi
    law = CompressibleNavierStokes(gamma, shear, 0.2, dim=2)
    grid = Grid((64, 3), (1.0, 0.1), cell_centred=True)
    x = grid.coordinates()[0]
    v = torch.sin(k * x)
    u = law.from_primitive(torch.stack([torch.ones_like(x), 0 * x, v, torch.ones_like(x)])[None])
    rate = law.on(FiniteVolumes(grid))(0.0, u)[0]
    heat = (gamma - 1) * (rate[3] - v * rate[2])
    expected = (gamma - 1) * shear * (k * torch.cos(k * x)) ** 2
    assert (heat - expected).abs().max() < 5e-3 * expected.max()


def test_walls_hold_a_viscous_fluid():
    # v = sin(pi x) between walls at 0 and 1 decays by exp(-viscosity pi^2 t).
    shear, size, time = 0.05, 1e-3, 0.3
    law = CompressibleNavierStokes(1.4, shear, dim=2)
    grid = Grid((24, 3), (1.0, 0.1), periodic=(False, True), cell_centred=True)
    x = grid.coordinates()[0]
    v = size * torch.sin(math.pi * x)
    w = torch.stack([torch.ones_like(x), 0 * x, v, torch.ones_like(x)])[None]
    f = law.on(FiniteVolumes(grid, boundary=NoSlipWall()))
    found = law.to_primitive(advance(f, law.from_primitive(w), time))[0, 2]
    exact = math.exp(-shear * math.pi**2 * time) * v
    assert (found - exact).abs().max() < 3e-3 * size


def test_a_dragged_wall_sets_a_linear_profile():
    # Couette flow: v = 0 below, 1 above, given outside the box, half a cell beyond its faces.
    law = CompressibleNavierStokes(1.4, 1.0, dim=2)
    n = 8
    grid = Grid((n, 3), (1.0, 0.1), periodic=(False, True), cell_centred=True)
    boundary = {
        "density": Outflow(),
        "velocity_x": Dirichlet(0.0),
        "velocity_y": Dirichlet((0.0, 1e-3)),
        "pressure": Outflow(),
    }
    f = law.on(FiniteVolumes(grid, boundary=boundary))
    x = grid.coordinates()[0]
    profile = 1e-3 * (torch.arange(n) + 1.0) / (n + 1)
    w = torch.stack([1 + 0 * x, 0 * x, profile[:, None].expand(n, 3), 1e3 + 0 * x])[None]
    assert f(0.0, law.from_primitive(w))[0, 2].abs().max() < 2e-5


@pytest.mark.parametrize("dim, sizes", [(1, (32, 64)), (2, (16, 32)), (3, (8, 16))])
def test_volumes_agree_with_exact_derivatives(dim, sizes):
    # The same equation at points, differentiated by autograd: all stresses, all signs.
    law = CompressibleNavierStokes(1.4, 0.3, 0.2, dim=dim)
    errors = []
    for n in sizes:
        grid = Grid((n,) * dim, (2 * math.pi,), cell_centred=True)

        def flow(*x):
            velocities = [0.3 * torch.cos(x[a] + x[(a + 1) % dim]) for a in range(dim)]
            density = 1 + 0.1 * torch.sin(sum(x) + 0.1)
            return law.conserved((density, *velocities, 1 + 0.2 * torch.sin(x[0] - 0.2)))

        d = AutodiffDerivatives(grid.coordinates().flatten(1).T[None].contiguous())
        exact = law.on(d)(0.0, torch.cat(flow(*d.points.split(1, dim=-1)), dim=-1))
        exact = exact.detach().mT.reshape(1, 2 + dim, *grid.shape)
        u = torch.stack(flow(*grid.coordinates()))[None]
        rate = law.on(FiniteVolumes(grid, WENO5()))(0.0, u)
        errors.append(float((rate - exact).abs().mean() / exact.abs().mean()))
    assert errors[1] < 10 / sizes[1] ** 2
    assert orders(errors)[0] > 1.8
