"""Incompressible flow, Poisson and Darcy problems against answers that are not ours."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from scipy.sparse import lil_array
from scipy.sparse.linalg import spsolve
from torch import Tensor

from pdesurrogates.core import Dirichlet, Grid, Neumann
from pdesurrogates.equations import Darcy, IncompressibleNavierStokes, Poisson
from pdesurrogates.operators import FastPoisson, SpectralDerivatives, StaggeredGrid
from pdesurrogates.reference import solve, solve_steady
from pdesurrogates.steppers import ETDRK, RK4, integrate

__all__ = ["rows"]

TWO_PI = 2 * math.pi
LID = {"velocity_x": (Dirichlet(0.0), Dirichlet((0.0, 1.0))), "velocity_y": Dirichlet(0.0)}
SPECTRAL = "pseudo-spectral, ETDRK4"
STAGGERED = "staggered grid, RK4"
DIRECT = "FastPoisson"
STEADY = "solve_steady"

# High-Re solutions for incompressible flow using the Navier-Stokes equations and a multigrid
# method (Ghia, Ghia and Shin, 1982), Re = 100, tables I and II: (y, velocity_x) on x = 1/2 and
# (x, velocity_y) on y = 1/2.
GHIA_X = (
    (0.9766, 0.84123),
    (0.9688, 0.78871),
    (0.9609, 0.73722),
    (0.9531, 0.68717),
    (0.8516, 0.23151),
    (0.7344, 0.00332),
    (0.6172, -0.13641),
    (0.5000, -0.20581),
    (0.4531, -0.21090),
    (0.2813, -0.15662),
    (0.1719, -0.10150),
    (0.1016, -0.06434),
    (0.0703, -0.04775),
    (0.0625, -0.04192),
    (0.0547, -0.03717),
)
GHIA_Y = (
    (0.9688, -0.05906),
    (0.9609, -0.07391),
    (0.9531, -0.08864),
    (0.9453, -0.10313),
    (0.9063, -0.16914),
    (0.8594, -0.22445),
    (0.8047, -0.24533),
    (0.5000, 0.05454),
    (0.2344, 0.17527),
    (0.2266, 0.17507),
    (0.1563, 0.16077),
    (0.0938, 0.12317),
    (0.0781, 0.10890),
    (0.0703, 0.10091),
    (0.0625, 0.09233),
)
# The lid-driven square cavity flow: numerical solution with a 1024 x 1024 grid (Marchi, Suero and
# Araki, 2009), Re = 100, table 6, every sixteenth of the line; stated errors below 2e-7.
MARCHI_X = (
    -4.1974991e-2,
    -7.7125399e-2,
    -1.09816214e-1,
    -1.41930064e-1,
    -1.72712391e-1,
    -1.98470859e-1,
    -2.12962392e-1,
    -2.091491418e-1,
    -1.82080595e-1,
    -1.31256301e-1,
    -6.0245594e-2,
    2.7874448e-2,
    1.40425325e-1,
    3.1055709e-1,
    5.97466694e-1,
)
MARCHI_Y = (
    9.4807616e-2,
    1.4924300e-1,
    1.74342933e-1,
    1.79243328e-1,
    1.69132064e-1,
    1.45730201e-1,
    1.087758646e-1,
    5.7536559e-2,
    -7.748504e-3,
    -8.4066715e-2,
    -1.63010143e-1,
    -2.27827313e-1,
    -2.53768577e-1,
    -2.18690812e-1,
    -1.23318170e-1,
)


def rows(*, quick: bool) -> list[dict]:
    """One row per case and setting; orders from the two finest grids, errors on the finest."""
    cases = (
        exact_decay,
        energy_budget,
        staggered_decay,
        poiseuille,
        couette,
        cavity,
        smoke_in_a_box,
        direct_poisson,
        smooth_darcy,
        layers,
        two_valued_darcy,
        contrast,
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return [row for case in cases for row in case(quick)]
    finally:
        torch.set_default_dtype(before)


def _row(
    solver: str,
    case: str,
    oracle: str,
    setting: str,
    error: float,
    seconds: float,
    order: float | None = None,
    expected: int | None = None,
) -> dict:
    return {
        "solver": solver,
        "case": case,
        "oracle": oracle,
        "setting": setting,
        "error": error,
        "order": order,
        "expected_order": expected,
        "seconds": seconds,
    }


def _timed(function: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    value = function()
    return value, time.perf_counter() - start


def _refined(error: Callable[[int], float], sizes: tuple[int, ...]) -> tuple[float, float, float]:
    """Error on the finest of the sizes, order between the last two, seconds of the finest."""
    *_, coarse = (error(n) for n in sizes[:-1])
    fine, seconds = _timed(lambda: error(sizes[-1]))
    return fine, math.log(coarse / fine) / math.log(sizes[-1] / sizes[-2]), seconds


def _box(
    shape: tuple[int, ...], extent: tuple[float, ...] = (1.0,), periodic: Any = False
) -> Grid:
    return Grid(shape, extent, periodic=periodic, cell_centred=True)


def _taylor_green(x: Tensor, y: Tensor) -> Tensor:
    return torch.stack([torch.sin(x) * torch.cos(y), -torch.cos(x) * torch.sin(y)])


def _taylor_green_3d(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    u = torch.sin(x) * torch.cos(y) * torch.cos(z)
    v = -torch.cos(x) * torch.sin(y) * torch.cos(z)
    return torch.stack([u, v, torch.zeros_like(u)])


def _beltrami(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return torch.stack(
        [
            torch.sin(z) + 0.7 * torch.cos(y),
            0.5 * torch.sin(x) + torch.cos(z),
            0.7 * torch.sin(y) + 0.5 * torch.cos(x),
        ]
    )


FLOWS: tuple[tuple[str, int, Callable[..., Tensor], float], ...] = (
    ("Taylor-Green vortex 2D, t = 1", 2, _taylor_green, 2.0),
    ("Arnold-Beltrami-Childress flow 3D, t = 1", 3, _beltrami, 1.0),
)


def exact_decay(quick: bool) -> Iterator[dict]:
    """Advection is a gradient, so the velocity decays as exp(-rate viscosity t)."""
    for case, dim, flow, rate in FLOWS:
        grid = Grid((16 if quick else 32,) * dim, (TWO_PI,))
        u0 = flow(*grid.coordinates())[None]
        f = IncompressibleNavierStokes(0.1, dim=dim).on(grid)
        states, seconds = _timed(
            lambda f=f, u0=u0: integrate(f, u0, [0.0, 1.0], ETDRK(4), dt=0.1).states
        )
        error = float((states[:, -1] - u0 * math.exp(-0.1 * rate)).abs().max())
        yield _row(SPECTRAL, case, "exact decay", f"{grid.shape}, dt 0.1", error, seconds)


def energy_budget(quick: bool) -> Iterator[dict]:
    """E(0) - E(t) against the integral of 2 viscosity Z, by Simpson's rule."""
    n, viscosity, steps = (24 if quick else 48), 0.01, 16
    grid = Grid((n,) * 3, (TWO_PI,))
    times = [0.25 * k for k in range(steps + 1)]
    u0 = _taylor_green_3d(*grid.coordinates())[None]
    f = IncompressibleNavierStokes(viscosity, dim=3).on(grid)
    states, seconds = _timed(lambda: integrate(f, u0, times, ETDRK(4), dt=0.05).states[0])
    d = SpectralDerivatives(grid)
    dissipation = []
    for u in states:
        slopes = [c.values for v in d.components(d.field(u[None])) for c in d.gradient(v)]
        dissipation.append(viscosity * sum(float((s * s).mean()) for s in slopes))
    weights = [1, *([4, 2] * steps)[: steps - 1], 1]
    lost = sum(w * e for w, e in zip(weights, dissipation, strict=True)) * 0.25 / 3
    energy = (states * states).sum(1).mean((1, 2, 3)) / 2
    error = abs(float(energy[0] - energy[-1]) - lost) / lost
    yield _row(
        SPECTRAL,
        "Taylor-Green vortex 3D, viscosity 0.01, t = 4",
        "energy lost = integral of 2 viscosity enstrophy (relative)",
        f"{grid.shape}, dt 0.05",
        error,
        seconds,
    )


def staggered_decay(quick: bool) -> Iterator[dict]:
    for case, dim, flow, rate in FLOWS:
        sizes = (
            {2: (16, 32), 3: (8, 16)}[dim] if quick else {2: (32, 64, 128), 3: (16, 24, 32)}[dim]
        )

        def error(n: int, dim: int = dim, flow: Any = flow, rate: float = rate) -> float:
            d = StaggeredGrid(Grid((n,) * dim, (TWO_PI,)))
            u0 = torch.stack([flow(*d.face_coordinates(a))[a] for a in range(dim)])[None]
            f = IncompressibleNavierStokes(0.1, dim=dim).on(d)
            u = integrate(f, u0, [0.0, 1.0], RK4(), dt=0.8 / n).states[:, -1]
            return float((u - u0 * math.exp(-0.1 * rate)).abs().max())

        fine, order, seconds = _refined(error, sizes)
        setting = f"{sizes[-1]}^{dim} cells, dt 0.8 / N"
        yield _row(STAGGERED, case, "exact decay", setting, fine, seconds, order, 2)


def poiseuille(quick: bool) -> Iterator[dict]:
    """Start from rest under a constant push between two walls, a Fourier series in y."""
    viscosity, end = 0.1, 1.0

    def exact(y: Tensor) -> Tensor:
        u = y * (1 - y) / (2 * viscosity)
        for k in range(1, 200, 2):
            decay = math.exp(-viscosity * (k * math.pi) ** 2 * end)
            u = u - 4 * decay / (viscosity * math.pi**3 * k**3) * torch.sin(k * math.pi * y)
        return u

    def error(n: int) -> float:
        d = StaggeredGrid(_box((4, n), (1.0,), (True, False)), Dirichlet(0.0))
        f = IncompressibleNavierStokes(viscosity, forcing=(1.0, 0.0)).on(d)
        u0 = torch.zeros(1, 2, 4, n)
        u = f.decode(integrate(f, u0, [0.0, end], RK4(), dt=4.0 / n**2).states[:, -1])
        return float((u[0, 0] - exact(d.grid.coordinates()[1])).abs().max())

    sizes = (16, 32) if quick else (16, 32, 64)
    fine, order, seconds = _refined(error, sizes)
    yield _row(
        STAGGERED,
        "Poiseuille flow from rest, viscosity 0.1, t = 1",
        "Fourier series",
        f"{sizes[-1]} cells across, dt 4 / N^2",
        fine,
        seconds,
        order,
        2,
    )


def couette(quick: bool) -> Iterator[dict]:
    grid = _box((4, 32), (1.0, 2.0), (True, False))
    walls = {"velocity_x": Dirichlet((-1.0, 1.0)), "velocity_y": Dirichlet(0.0)}
    f = IncompressibleNavierStokes(0.3).on(StaggeredGrid(grid, walls))
    u = torch.zeros(1, 2, 4, 32)
    u[0, 0] = grid.coordinates()[1] - 1.0
    rate, seconds = _timed(lambda: f(0.0, u))
    error = float(rate.abs().max())
    oracle = "steady linear profile (largest rate)"
    yield _row(STAGGERED, "Couette flow", oracle, "32 cells across", error, seconds)


def _cavity(n: int, u0: Tensor, end: float) -> Tensor:
    """Velocities on the faces after `end` lid lengths, from velocities at the centres."""
    f = IncompressibleNavierStokes(0.01).on(StaggeredGrid(_box((n, n)), LID))
    dt = 1.08 / (0.04 * n**2 + n)
    return integrate(f, f.encode(u0), [0.0, end], RK4(), dt=dt).states[:, -1]


def _centre_lines(state: Tensor) -> tuple[CubicSpline, CubicSpline]:
    """velocity_x over y and velocity_y over x; faces lie on both centre lines."""
    n = state.shape[-1]
    centres = np.concatenate([[0.0], (np.arange(n) + 0.5) / n, [1.0]])
    u = np.concatenate([[0.0], state[0, 0, n // 2 - 1].numpy(), [1.0]])
    v = np.concatenate([[0.0], state[0, 1, :, n // 2 - 1].numpy(), [0.0]])
    return CubicSpline(centres, u), CubicSpline(centres, v)


def cavity(quick: bool) -> Iterator[dict]:
    """Against two tables: our fine grids are closer to the newer one than the older one is."""
    case = "lid-driven cavity, Re = 100"
    sixteenths = [k / 16 for k in range(1, 16)]
    newer = np.array((*MARCHI_X, *MARCHI_Y))
    before: float | None = None
    state: Tensor | None = None
    for n in (16, 32) if quick else (32, 64, 128):
        # Finer grids start from the steady flow of the coarser one.
        start, end = torch.zeros(1, 2, n, n), 18.0
        if state is not None:
            start, end = state.repeat_interleave(2, 2).repeat_interleave(2, 3), 8.0
        state, seconds = _timed(lambda n=n, start=start, end=end: _cavity(n, start, end))
        u, v = _centre_lines(state)
        error = float(np.abs(np.concatenate([u(sixteenths), v(sixteenths)]) - newer).max())
        order = None if before is None else math.log2(before / error)
        setting = f"{n}^2 cells"
        oracle = "Marchi et al. 2009, both centre lines"
        yield _row(STAGGERED, case, oracle, setting, error, seconds, order, order and 2)
        before = error
        for name, line, table in (("x", u, GHIA_X), ("y", v, GHIA_Y)):
            error = float(max(abs(line(point) - value) for point, value in table))
            oracle = f"Ghia et al. 1982, velocity_{name}"
            yield _row(STAGGERED, case, oracle, setting, error, seconds)


def smoke_in_a_box(quick: bool) -> Iterator[dict]:
    """PDEArena's case: 32 by 32 lengths, viscosity 0.01, buoyancy 0.5, no slip, closed."""
    n = 32 if quick else 64
    grid = _box((n, n), (32.0,))
    x, y = grid.coordinates()
    u0 = torch.zeros(2, 3, n, n)
    u0[0, 2] = torch.exp(-((x - 12) ** 2 + (y - 8) ** 2) / 18.0)
    u0[1, 2] = ((x - 20) ** 2 + (y - 10) ** 2 < 25).double()
    d = StaggeredGrid(grid, Dirichlet(0.0))
    equation = IncompressibleNavierStokes(0.01, buoyancy=0.5)
    states, seconds = _timed(lambda: solve(equation, d, u0, [0.0, 6.0, 12.0, 18.0], cfl=0.5))
    smoke = states[:, :, 2]
    total = smoke.sum((2, 3))
    drift = float(((total - total[:, :1]) / total[:, :1]).abs().max())
    top = u0[:, 2].amax((1, 2))
    excess = float(torch.maximum((smoke.amax((2, 3)).T - top).amax(), -smoke.amin()).clamp(min=0))
    case, setting = "buoyant smoke in a closed box, t = 18", f"{n}^2 cells, SSPRK3, Courant 0.5"
    solver = "staggered grid, SSPRK3"
    yield _row(solver, case, "sum of smoke is kept (relative)", setting, drift, seconds)
    yield _row(solver, case, "bounds of smoke are kept", setting, excess, seconds)


def direct_poisson(quick: bool) -> Iterator[dict]:
    """u = exp(x) + sin(pi x) cos(pi y), values at the ends of x, no slope at those of y."""
    sizes = (32, 64) if quick else (64, 128, 256)
    for cell_centred in (True, False):

        def error(n: int, cell_centred: bool = cell_centred) -> float:
            num = n if cell_centred else n + 1
            grid = Grid((num, num), (1.0,), periodic=False, cell_centred=cell_centred)
            x, y = grid.coordinates()
            wave = torch.sin(math.pi * x) * torch.cos(math.pi * y)
            solver = FastPoisson(grid, [Dirichlet((1.0, math.e)), Neumann(0.0)])
            p = solver(torch.exp(x) - 2 * math.pi**2 * wave)
            return float((p - torch.exp(x) - wave).abs().max())

        fine, order, seconds = _refined(error, sizes)
        setting = f"{sizes[-1]}^2 {'cells' if cell_centred else 'intervals'}"
        case = "Poisson, Dirichlet and Neumann walls"
        yield _row(DIRECT, case, "manufactured solution", setting, fine, seconds, order, 2)


def smooth_darcy(quick: bool) -> Iterator[dict]:
    """-div(a grad u) for u = sin(pi x) sin(pi y), a = exp(x + y), by hand."""
    sizes = (32, 64) if quick else (64, 128, 256)
    for cell_centred in (True, False):

        def error(n: int, cell_centred: bool = cell_centred) -> float:
            num = n if cell_centred else n + 1
            grid = Grid((num, num), (1.0,), periodic=False, cell_centred=cell_centred)
            x, y = grid.coordinates()
            a = torch.exp(x + y)
            sx, sy = torch.sin(math.pi * x), torch.sin(math.pi * y)
            cx, cy = torch.cos(math.pi * x), torch.cos(math.pi * y)
            f = a * (2 * math.pi**2 * sx * sy - math.pi * (cx * sy + sx * cy))
            u = solve_steady(Darcy(a[None, None], f[None, None]), grid)
            return float((u[0, 0] - sx * sy).abs().max())

        fine, order, seconds = _refined(error, sizes)
        setting = f"{sizes[-1]}^2 {'cells' if cell_centred else 'intervals'}"
        case = "Darcy, smooth coefficient"
        yield _row(STEADY, case, "manufactured solution", setting, fine, seconds, order, 2)


def layers(quick: bool) -> Iterator[dict]:
    """Through layers without a source u is linear in the resistance passed."""
    n = 48 if quick else 480
    grid = _box((n,), (3.0,))
    a = torch.tensor([1.0, 20.0, 0.1]).repeat_interleave(n // 3)
    resistance = 1 / a
    exact = (resistance.cumsum(0) - resistance / 2) / resistance.sum()
    equation = Darcy(a[None, None], 0.0)
    u, seconds = _timed(
        lambda: solve_steady(equation, grid, boundary=Dirichlet((0.0, 1.0)), rtol=1e-12)
    )
    error = float((u[0, 0] - exact).abs().max())
    case = "Darcy, three layers 1 : 20 : 0.1"
    yield _row(STEADY, case, "exact, linear in resistance", f"{n} cells", error, seconds)


def _medium(grid: Grid, high: float, low: float) -> Tensor:
    """Two values in smooth blobs, (1, 1, *space)."""
    generator = torch.Generator().manual_seed(3)
    waves = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    x, y = (axis / length for axis, length in zip(grid.coordinates(), grid.extent, strict=True))
    level = sum(
        waves[i, j] * torch.cos(math.pi * i * x) * torch.cos(math.pi * j * y)
        for i, j in product(range(5), range(5))
    )
    return torch.where(torch.as_tensor(level) > 0, high, low)[None, None]


def _sparse_direct(a: np.ndarray, forcing: float, grid: Grid) -> np.ndarray:
    """The finite-volume equations assembled cell by cell, u = 0 on walls, by sparse LU."""
    index = np.arange(a.size).reshape(a.shape)
    matrix = lil_array((a.size, a.size))
    for axis, h in enumerate(grid.spacing):
        ahead = tuple(slice(1, None) if b == axis else slice(None) for b in range(a.ndim))
        behind = tuple(slice(None, -1) if b == axis else slice(None) for b in range(a.ndim))
        conductance = (2 / (1 / a[ahead] + 1 / a[behind]) / h**2).ravel()
        for i, j, k in zip(index[ahead].ravel(), index[behind].ravel(), conductance, strict=True):
            matrix[i, i] += k
            matrix[j, j] += k
            matrix[i, j] -= k
            matrix[j, i] -= k
        for end in (0, -1):
            for i, value in zip(index.take(end, axis), a.take(end, axis), strict=True):
                matrix[i, i] += 2 * value / h**2
    solution: Any = spsolve(matrix.tocsc(), np.full(a.size, forcing))
    return solution.reshape(a.shape)


BENCHMARKS = (("PDEBench, beta 1", 1.0, 0.1), ("neuraloperator", 12.0, 3.0))


def two_valued_darcy(quick: bool) -> Iterator[dict]:
    n = 32 if quick else 128
    grid = _box((n, n))
    for name, high, low in BENCHMARKS:
        a = _medium(grid, high, low)
        u, seconds = _timed(lambda a=a: solve_steady(Darcy(a, 1.0), grid))
        exact = _sparse_direct(a[0, 0].numpy(), 1.0, grid)
        error = float(np.abs(u[0, 0].numpy() - exact).max() / np.abs(exact).max())
        case = f"Darcy, two values {high:g} : {low:g} ({name})"
        oracle = "SciPy sparse LU of the same equations (relative)"
        yield _row(STEADY, case, oracle, f"{n}^2 cells", error, seconds)


def contrast(quick: bool) -> Iterator[dict]:
    """Iterations to a residual of 1e-10; the error is that against a tighter tolerance."""
    n = 64 if quick else 256
    grid = _box((n, n))
    for ratio in (1.0, 4.0, 10.0, 100.0, 1e4):
        count: list[int] = []
        equation = Poisson(1.0) if ratio == 1 else Darcy(_medium(grid, ratio, 1.0), 1.0)
        u, seconds = _timed(
            lambda equation=equation, count=count: solve_steady(
                equation, grid, watch=lambda k, residual: count.append(k)
            )
        )
        finer = solve_steady(equation, grid, rtol=1e-12)
        error = float((u - finer).abs().max() / finer.abs().max())
        case = f"Darcy, contrast {ratio:g}: {len(count)} iterations"
        oracle = "own solution at rtol 1e-12 (relative)"
        yield _row(STEADY, case, oracle, f"{n}^2 cells, rtol 1e-10", error, seconds)
