"""Finite volumes against exact Riemann solutions, waves, a vortex, viscous decay, a still lake."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

import torch
from torch import Tensor

from pdesurrogates.core import Grid, Outflow
from pdesurrogates.equations import (
    Burgers,
    CompressibleNavierStokes,
    ConservationLaw,
    ShallowWater,
)
from pdesurrogates.equations import riemann_problems as problems
from pdesurrogates.operators import (
    HLLC,
    MUSCL,
    WENO5,
    Constant,
    FiniteVolumes,
    NumericalFlux,
    Reconstruction,
    Rusanov,
    SpectralDerivatives,
)
from pdesurrogates.reference import solve

__all__ = ["rows"]

GAUSS = ((-math.sqrt(0.6), 5 / 18), (0.0, 8 / 18), (math.sqrt(0.6), 5 / 18))
# The L1 order of a scheme of order p at a contact is p / (p + 1).
AT_CONTACTS = {Constant: 1 / 2, MUSCL: 2 / 3, WENO5: 5 / 6}
TUBES = {
    "Sod": problems.SOD,
    "Lax": problems.LAX,
    "double rarefaction (123)": problems.DOUBLE_RAREFACTION,
    "strong blast": problems.STRONG_BLAST,
    "LeBlanc": problems.LEBLANC,
}


def rows(*, quick: bool) -> list[dict]:
    """One row per case and scheme; orders from two grids, errors on the finer one."""
    cases = (
        shock_tubes,
        dam_breaks,
        burgers,
        density_wave,
        vortex,
        sound,
        shear,
        lake_at_rest,
        against_fourier,
        sums,
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return [row for case in cases for row in case(quick)]
    finally:
        torch.set_default_dtype(before)


def _row(
    scheme: FiniteVolumes,
    case: str,
    oracle: str,
    setting: str,
    error: float,
    seconds: float,
    order: tuple[float | None, float | None] = (None, None),
) -> dict:
    reconstruction = type(scheme.reconstruction).__name__
    return {
        "solver": f"finite volumes, {reconstruction}, {type(scheme.flux).__name__}, SSPRK3",
        "case": case,
        "oracle": oracle,
        "setting": setting,
        "error": error,
        "order": order[0],
        "expected_order": order[1],
        "seconds": seconds,
    }


def _refined(
    run: Callable[[int], tuple[FiniteVolumes, float]], sizes: tuple[int, int]
) -> tuple[FiniteVolumes, float, float, float]:
    """Scheme, error and seconds on the finer grid, and the order between both."""
    _, coarse = run(sizes[0])
    start = time.perf_counter()
    scheme, fine = run(sizes[1])
    seconds = time.perf_counter() - start
    return scheme, fine, seconds, math.log(coarse / fine) / math.log(sizes[1] / sizes[0])


def _end(
    law: ConservationLaw, scheme: FiniteVolumes, u: Tensor, t: float, cfl: float = 0.4
) -> Tensor:
    return solve(law, scheme, u, [0.0, t], cfl=cfl)[:, -1]


def _averages(function: Callable[..., Tensor], grid: Grid) -> Tensor:
    """Cell averages by Gauss's rule with three points per axis."""
    total: Tensor | float = 0.0
    for nodes in product(GAUSS, repeat=grid.dim):
        shift = [node * h / 2 for (node, _), h in zip(nodes, grid.spacing, strict=True)]
        points = [x + s for x, s in zip(grid.coordinates(), shift, strict=True)]
        total = total + math.prod(weight for _, weight in nodes) * function(*points)
    return torch.as_tensor(total)


def _tube(
    n: int, problem: problems.RiemannProblem, reconstruction: Reconstruction, flux: NumericalFlux
) -> tuple[FiniteVolumes, float]:
    law = CompressibleNavierStokes(problem.gamma)
    grid = Grid(n, problem.extent, periodic=False, cell_centred=True)
    x = grid.coordinates()[0]
    left, right = torch.tensor([problem.left, problem.right])[:, :, None]
    w = torch.where(x < problem.center, left, right)[None]
    scheme = FiniteVolumes(grid, reconstruction, flux, Outflow())
    u = _end(law, scheme, law.from_primitive(w), problem.time)
    exact = problem.solution(x, problem.time)[0]
    return scheme, float((u[0, 0] - exact).abs().mean() / exact.mean())


def shock_tubes(quick: bool) -> Iterator[dict]:
    """Shocks, contacts and rarefactions; density and pressure are positive throughout."""
    sizes = (50, 100) if quick else (200, 400)
    schemes: list[tuple[Reconstruction, NumericalFlux]] = [
        (Constant(), HLLC()),
        (MUSCL(), HLLC()),
        (MUSCL(), Rusanov()),
        (WENO5(), HLLC()),
    ]
    for (reconstruction, flux), (name, problem) in product(schemes, TUBES.items()):
        run = partial(_tube, problem=problem, reconstruction=reconstruction, flux=flux)
        scheme, error, seconds, order = _refined(run, sizes)
        yield _row(
            scheme,
            f"shock tube: {name}",
            "exact Riemann solution, density in relative L1",
            f"{sizes[1]} cells, t = {problem.time:g}",
            error,
            seconds,
            (order, AT_CONTACTS[type(reconstruction)]),
        )


def _dam(n: int, right: float, reconstruction: Reconstruction) -> tuple[FiniteVolumes, float]:
    law = ShallowWater(gravity=9.81, dim=1)
    grid = Grid(n, 10.0, -5.0, periodic=False, cell_centred=True)
    x = grid.coordinates()[0]
    scheme = FiniteVolumes(grid, reconstruction, boundary=Outflow())
    u0 = torch.stack([torch.where(x < 0, 2.0, right), torch.zeros_like(x)])[None]
    exact = problems.dam_break(x, 0.5, left=2.0, right=right, gravity=9.81)[0]
    return scheme, float((_end(law, scheme, u0, 0.5)[0, 0] - exact).abs().mean() / 2)


def dam_breaks(quick: bool) -> Iterator[dict]:
    """Water over wet and over dry ground."""
    sizes = (50, 100) if quick else (200, 400)
    for reconstruction, right in product((Constant(), MUSCL(), WENO5()), (0.5, 0.0)):
        run = partial(_dam, right=right, reconstruction=reconstruction)
        scheme, error, seconds, order = _refined(run, sizes)
        ground, author = ("wet", "Stoker") if right else ("dry", "Ritter")
        yield _row(
            scheme,
            f"dam break over {ground} ground",
            f"{author}'s solution, height in relative L1",
            f"{sizes[1]} cells, t = 0.5",
            error,
            seconds,
            (order, 0.5 if isinstance(reconstruction, Constant) else 1.0),
        )


def _burgers(
    n: int, left: float, right: float, exact: Callable, reconstruction: Reconstruction
) -> tuple[FiniteVolumes, float]:
    grid = Grid(n, 4.0, -2.0, periodic=False, cell_centred=True)
    x = grid.coordinates()[0]
    scheme = FiniteVolumes(grid, reconstruction, boundary=Outflow())
    u = _end(Burgers(0.0), scheme, torch.where(x < 0, left, right)[None, None], 1.0)
    return scheme, float((u[0, 0] - exact(x)).abs().mean())


def burgers(quick: bool) -> Iterator[dict]:
    """A shock at the mean speed of both sides, and a rarefaction through a sonic point."""
    sizes = (50, 100) if quick else (200, 400)
    cases = {
        "shock from 2 to 1.2": (2.0, 1.2, lambda x: torch.where(x < 1.6, 2.0, 1.2)),
        "rarefaction from -1 to 1": (-1.0, 1.0, lambda x: x.clamp(-1, 1)),
    }
    for reconstruction, (name, (left, right, exact)) in product((MUSCL(), WENO5()), cases.items()):
        run = partial(_burgers, left=left, right=right, exact=exact, reconstruction=reconstruction)
        scheme, error, seconds, order = _refined(run, sizes)
        setting = f"{sizes[1]} cells, t = 1"
        yield _row(scheme, f"Burgers: {name}", "exact, L1", setting, error, seconds, (order, 1.0))


def _carried_density(
    n: int, t: float, reconstruction: Reconstruction
) -> tuple[FiniteVolumes, float]:
    law = CompressibleNavierStokes(1.4)

    def wave(x: Tensor) -> Tensor:
        ones = torch.ones_like(x)
        return law.from_primitive(torch.stack([1 + 0.5 * torch.sin(2 * math.pi * x), ones, ones]))

    grid = Grid(n, 1.0, cell_centred=True)
    scheme = FiniteVolumes(grid, reconstruction)
    # Third-order steps must shrink faster than the cells of a fifth-order scheme.
    shrink = (16 / n) ** (2 / 3) if reconstruction.order > 3 else 1.0
    u = _end(law, scheme, _averages(wave, grid)[None], t, 0.4 * shrink)
    return scheme, float((u[0] - _averages(lambda x: wave(x - t), grid))[0].abs().mean())


def density_wave(quick: bool) -> Iterator[dict]:
    """Smooth density carried by a uniform flow in 1D: the formal order."""
    t = 0.2 if quick else 1.0
    cases = ((Constant(), (128, 256)), (MUSCL(), (64, 128)), (WENO5(), (32, 64)))
    for reconstruction, sizes in cases:
        run = partial(_carried_density, t=t, reconstruction=reconstruction)
        scheme, error, seconds, order = _refined(run, sizes)
        yield _row(
            scheme,
            "density wave, 1D",
            "exact cell averages, L1",
            f"{sizes[1]} cells, t = {t:g}",
            error,
            seconds,
            (order, float(reconstruction.order)),
        )


def _carried_vortex(
    n: int, t: float, reconstruction: Reconstruction
) -> tuple[FiniteVolumes, float]:
    strength, gamma = 5.0, 1.4
    law = CompressibleNavierStokes(gamma, dim=2)

    def flow(x: Tensor, y: Tensor) -> Tensor:
        x, y = (torch.remainder(x + 5, 10) - 5, torch.remainder(y + 5, 10) - 5)
        bell = torch.exp((1 - x * x - y * y) / 2)
        swirl = strength / (2 * math.pi) * bell
        heat = 1 - (gamma - 1) * strength**2 / (8 * gamma * math.pi**2) * bell**2
        density = heat ** (1 / (gamma - 1))
        w = torch.stack([density, 1 - swirl * y, 1 + swirl * x, density * heat])
        return law.from_primitive(w)

    grid = Grid((n, n), 10.0, -5.0, cell_centred=True)
    scheme = FiniteVolumes(grid, reconstruction)
    u = _end(law, scheme, _averages(flow, grid)[None], t)
    exact = _averages(lambda x, y: flow(x - t, y - t), grid)
    return scheme, float((u[0] - exact)[0].abs().mean())


def vortex(quick: bool) -> Iterator[dict]:
    """The isentropic vortex carried along the diagonal; order 2 for all (see WENO5)."""
    t, sizes = (0.5, (24, 48)) if quick else (2.0, (64, 128))
    for reconstruction in (MUSCL(), WENO5()):
        run = partial(_carried_vortex, t=t, reconstruction=reconstruction)
        scheme, error, seconds, order = _refined(run, sizes)
        yield _row(
            scheme,
            "isentropic vortex, 2D",
            "exact cell averages, density in L1",
            f"{sizes[1]}^2 cells, t = {t:g}",
            error,
            seconds,
            (order, 2.0),
        )


def _sound(n: int, reconstruction: Reconstruction) -> tuple[FiniteVolumes, float]:
    gamma, shear_viscosity, bulk_viscosity, size, k = 1.4, 0.006, 0.002, 1e-5, 2 * math.pi
    law = CompressibleNavierStokes(gamma, shear_viscosity, bulk_viscosity)
    rest = torch.tensor([1.0, 0.0, 1 / gamma])[:, None]
    matrix = torch.zeros(3, 3, dtype=torch.complex128)
    matrix[0, 1] = matrix[1, 2] = matrix[2, 1] = -1j * k
    matrix[1, 1] = -(4 / 3 * shear_viscosity + bulk_viscosity) * k * k
    amplitudes = torch.linalg.matrix_exp(matrix) @ torch.ones(3, dtype=torch.complex128)
    grid = Grid(n, 1.0, cell_centred=True)
    scheme = FiniteVolumes(grid, reconstruction)
    wave = torch.exp(1j * k * grid.coordinates()[0])
    u = law.from_primitive((rest + size * wave.real.expand(3, n))[None])
    found = (law.to_primitive(_end(law, scheme, u, 1.0))[0] - rest) / size
    return scheme, float((found - (amplitudes[:, None] * wave).real).abs().mean())


def sound(quick: bool) -> Iterator[dict]:
    """A sound wave in a viscous gas at rest, sound speed 1."""
    sizes = (32, 64) if quick else (64, 128)
    for reconstruction in (MUSCL(), WENO5()):
        run = partial(_sound, reconstruction=reconstruction)
        scheme, error, seconds, order = _refined(run, sizes)
        yield _row(
            scheme,
            "sound wave with viscosity",
            "linear theory, L1",
            f"{sizes[1]} cells, one period",
            error,
            seconds,
            (order, 2.0),
        )


def _shear(n: int, t: float) -> tuple[FiniteVolumes, float]:
    viscosity, size, k = 0.1, 1e-3, 2 * math.pi
    law = CompressibleNavierStokes(1.4, viscosity, 0.1, dim=2)
    grid = Grid((n, 4), (1.0, 4 / n), cell_centred=True)
    scheme = FiniteVolumes(grid)
    x = grid.coordinates()[0]
    ones, v = torch.ones_like(x), torch.sin(k * x)
    u = law.from_primitive(torch.stack([ones, 0 * x, size * v, ones])[None])
    found = law.to_primitive(_end(law, scheme, u, t))[0, 2] / size
    return scheme, float((found - math.exp(-viscosity * k * k * t) * v).abs().max())


def shear(quick: bool) -> Iterator[dict]:
    """A slow shear flow decays as heat does."""
    sizes, t = ((16, 32) if quick else (32, 64)), 0.1
    scheme, error, seconds, order = _refined(partial(_shear, t=t), sizes)
    yield _row(
        scheme,
        "viscous decay of a shear flow",
        "exp(-viscosity k^2 t) sin(k x)",
        f"{sizes[1]} cells, t = {t:g}",
        error,
        seconds,
        (order, 2.0),
    )


def lake_at_rest(quick: bool) -> Iterator[dict]:
    """Level water around an island over uneven ground does not move."""
    n = 24 if quick else 64

    def ground(x: Tensor, y: Tensor) -> Tensor:
        return 1.5 * torch.exp(-x * x - y * y) + 0.1 * torch.sin(3 * x) ** 2

    law = ShallowWater(gravity=9.81, bathymetry=ground)
    for reconstruction in (MUSCL(), WENO5()):
        grid = Grid((n, n), 8.0, -4.0, cell_centred=True)
        scheme = FiniteVolumes(grid, reconstruction)
        height = (1 - ground(*grid.coordinates())).clamp(min=0)
        u = torch.stack([height, 0 * height, 0 * height])[None]
        start = time.perf_counter()
        error = float((_end(law, scheme, u, 1.0) - u).abs().max())
        seconds = time.perf_counter() - start
        yield _row(
            scheme,
            "lake at rest with an island",
            "the initial state",
            f"{n}^2 cells, t = 1",
            error,
            seconds,
        )


def _beside_fourier(n: int, reconstruction: Reconstruction) -> tuple[FiniteVolumes, float]:
    law = CompressibleNavierStokes(1.4, 0.05, 0.02, dim=2)
    grid = Grid((n, n), 2 * math.pi, cell_centred=True)
    x, y = grid.coordinates()
    channels = [1 + 0.1 * torch.sin(x + y), 0.3 * torch.cos(y), 0.3 * torch.cos(x + y)]
    u = law.from_primitive(torch.stack([*channels, 1 + 0.2 * torch.sin(x)])[None])
    scheme = FiniteVolumes(grid, reconstruction)
    exact = law.on(SpectralDerivatives(grid, dealias=1.0))(0.0, u)
    return scheme, float((law.on(scheme)(0.0, u) - exact).abs().mean() / exact.abs().mean())


def against_fourier(quick: bool) -> Iterator[dict]:
    """The time derivative of a smooth viscous flow, beside Fourier derivatives of the same law."""
    sizes = (24, 48) if quick else (64, 128)
    for reconstruction in (MUSCL(), WENO5()):
        run = partial(_beside_fourier, reconstruction=reconstruction)
        scheme, error, seconds, order = _refined(run, sizes)
        yield _row(
            scheme,
            "time derivative of a smooth viscous flow, 2D",
            "Fourier derivatives of the same law, relative L1",
            f"{sizes[1]}^2 cells",
            error,
            seconds,
            (order, 2.0),
        )


def sums(quick: bool) -> Iterator[dict]:
    """Mass, momenta and energy of a periodic flow with shocks."""
    n, t = (32, 0.2) if quick else (64, 0.5)
    law = CompressibleNavierStokes(1.4, dim=2)
    grid = Grid((n, n), 1.0, cell_centred=True)
    x, y = 2 * math.pi * grid.coordinates()
    density = 1 + 0.3 * torch.sin(x + y)
    w = torch.stack([density, 1.5 * torch.cos(y), 1.5 * torch.sin(x), 1 + 0.2 * torch.sin(x)])
    u = law.from_primitive(w)[None]
    for reconstruction in (MUSCL(), WENO5()):
        scheme = FiniteVolumes(grid, reconstruction)
        start = time.perf_counter()
        end = _end(law, scheme, u, t)
        seconds = time.perf_counter() - start
        drift = (end - u).mean(dim=(2, 3)).abs().max() / u.abs().mean()
        yield _row(
            scheme,
            "mass, momentum and energy of a flow with shocks, 2D",
            "their sums at the start, relative",
            f"{n}^2 cells, t = {t:g}",
            float(drift),
            seconds,
        )
