"""Finite differences, reaction-diffusion and waves against answers that are not ours."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from pdesurrogates.core import Dirichlet, Grid, Neumann, Outflow
from pdesurrogates.equations import (
    Diffusion,
    DiffusionSorption,
    FisherKPP,
    FitzHughNagumo,
    GrayScott,
    Wave,
)
from pdesurrogates.operators import FiniteDifferences
from pdesurrogates.steppers import RK4, integrate

__all__ = ["rows"]

ORDERS = (2, 4, 6)


def rows(*, quick: bool) -> list[dict]:
    """One row per case and setting; orders from two grids, errors on the finer one."""
    cases = (heat, fisher, standing_wave, layer, energy, sorption, two_species, mass)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return [row for case in cases for row in case(quick)]
    finally:
        torch.set_default_dtype(before)


def _row(
    case: str, oracle: str, setting: str, error: float, seconds: float, order: tuple | None = None
) -> dict:
    measured, expected = order or (None, None)
    return {
        "solver": "finite differences, RK4",
        "case": case,
        "oracle": oracle,
        "setting": setting,
        "error": error,
        "order": measured,
        "expected_order": expected,
        "seconds": seconds,
    }


def _refined(
    solve: Callable[[int], float], sizes: tuple[int, int], expected: int
) -> tuple[float, float, tuple[float, int]]:
    """Error on the finer grid, its seconds, and (measured, expected) order."""
    coarse = solve(sizes[0])
    start = time.perf_counter()
    fine = solve(sizes[1])
    seconds = time.perf_counter() - start
    return fine, seconds, (math.log(coarse / fine) / math.log(sizes[1] / sizes[0]), expected)


def _line(n: int, extent: float, origin: float, *, is_cell_centred: bool) -> Grid:
    points = n if is_cell_centred else n + 1
    return Grid(points, extent, origin, periodic=False, cell_centred=is_cell_centred)


def _end(f: Callable, u0: Tensor, t: float, dt: float) -> Tensor:
    return integrate(f, u0, [0.0, t], RK4(), dt=dt).states[:, -1]


def heat(quick: bool) -> Iterator[dict]:
    """Heat equation between walls, largest error over all points."""
    sizes = (20, 40) if quick else (40, 80)
    for boundary, wave in ((Dirichlet((1.0, 3.0)), torch.sin), (Neumann(2.0), torch.cos)):
        for is_cell_centred in (False, True):
            for order in ORDERS:

                def solve(
                    n: int,
                    boundary: object = boundary,
                    wave: Callable = wave,
                    is_cell_centred: bool = is_cell_centred,
                    order: int = order,
                ) -> float:
                    grid = _line(n, 1.0, 0.0, is_cell_centred=is_cell_centred)
                    (x,) = grid.coordinates()

                    def exact(t: float) -> Tensor:
                        modes = sum(
                            math.exp(-0.5 * (math.pi * m) ** 2 * t) * wave(math.pi * m * x)
                            for m in (1, 2)
                        )
                        return (1 + 2 * x + modes)[None, None]

                    f = Diffusion(0.5).on(FiniteDifferences(grid, order, boundary))
                    end = _end(f, exact(0.0), 0.03, 0.4 / n**2)
                    return float((end - exact(0.03)).abs().max())

                points = "cells" if is_cell_centred else "points on walls"
                setting = f"order {order}, {points}, N = {sizes[1]}"
                case = f"heat, {type(boundary).__name__}"
                yield _row(case, "Fourier series", setting, *_refined(solve, sizes, order))


def fisher(quick: bool) -> Iterator[dict]:
    """Fisher-KPP front at speed 5 / sqrt 6 (Ablowitz and Zeppetella, 1979)."""
    sizes = (110, 220) if quick else (220, 440)
    for order in ORDERS:

        def solve(n: int, order: int = order) -> float:
            grid = _line(n, 110.0, -60.0, is_cell_centred=False)
            (x,) = grid.coordinates()

            def exact(t: float) -> Tensor:
                front = torch.exp((x - 5 / math.sqrt(6) * t) / math.sqrt(6))
                return ((1 + front) ** -2)[None, None]

            d = FiniteDifferences(grid, order, Dirichlet((1.0, 0.0)))
            end = _end(FisherKPP(1.0, 1.0).on(d), exact(0.0), 2.0, min(0.02, 1500 / n**2))
            return float((end - exact(2.0)).abs().max())

        setting = f"order {order}, N = {sizes[1]}"
        yield _row("Fisher-KPP front", "exact front", setting, *_refined(solve, sizes, order))


def standing_wave(quick: bool) -> Iterator[dict]:
    """Standing wave between walls, largest error of u."""
    sizes = (24, 48) if quick else (48, 96)
    rate = 2 * math.pi * 0.7
    for boundary, shape in ((Dirichlet(), torch.sin), (Neumann(), torch.cos)):
        for order in ORDERS:

            def solve(
                n: int, boundary: object = boundary, shape: Callable = shape, order: int = order
            ) -> float:
                grid = _line(n, 1.0, 0.0, is_cell_centred=False)
                (x,) = grid.coordinates()
                profile = shape(2 * math.pi * x)
                f = Wave(0.7).on(FiniteDifferences(grid, order, boundary))
                u0 = torch.stack([profile, 0 * profile])[None]
                end = _end(f, u0, 0.8, 0.1 / n)[0, 0]
                return float((end - math.cos(rate * 0.8) * profile).abs().max())

            setting = f"order {order}, points on walls, N = {sizes[1]}"
            case = f"standing wave, {type(boundary).__name__}"
            yield _row(case, "exact", setting, *_refined(solve, sizes, order))


def layer(quick: bool) -> Iterator[dict]:
    """A pulse meets a jump of the wave speed from 1 to 2: known reflected and passed shares."""
    n = 1200 if quick else 2400
    start = time.perf_counter()
    grid = _line(n, 12.0, -6.0, is_cell_centred=False)
    (x,) = grid.coordinates()
    pulse = torch.exp(-8 * (x + 2.5) ** 2)
    u0 = torch.stack([pulse, 16 * (x + 2.5) * pulse])[None]
    f = Wave(torch.where(x < 0, 1.0, 2.0)[None, None]).on(FiniteDifferences(grid, 2, Outflow()))
    end = _end(f, u0, 4.0, 6.0 / n)[0, 0]
    error = max(abs(float(end[x < 0].max()) - 1 / 3), abs(float(end[x > 0].max()) - 4 / 3))
    seconds = time.perf_counter() - start
    yield _row("wave at a layer", "reflection law", f"order 2, N = {n}", error, seconds)


def energy(quick: bool) -> Iterator[dict]:
    """Relative loss of energy between walls: the differences keep it, RK4 loses order 5."""
    grid = Grid((33, 27), (1.0, 1.0), periodic=(False, False))
    x, y = grid.coordinates()
    equation = Wave(lambda x, y: 1 + 0.3 * torch.sin(2 * math.pi * x) * torch.cos(math.pi * y))
    f = equation.on(FiniteDifferences(grid, 2, Dirichlet()))
    start = torch.sin(math.pi * x) * torch.sin(2 * math.pi * y)
    u0 = f.encode(torch.stack([start, 0 * start])[None])

    def solve(num_steps: int) -> float:
        states = torch.stack([u0, _end(f, u0, 1.0, 1 / num_steps)], dim=1)
        values = equation.conserved_quantities(states, grid)["energy"][0]
        return float((values[1] / values[0] - 1).abs())

    sizes = (80, 160) if quick else (160, 320)
    setting = f"order 2, 33 x 27, dt = 1/{sizes[1]}"
    yield _row("wave energy", "conservation", setting, *_refined(solve, sizes, 5))


def sorption(quick: bool) -> Iterator[dict]:
    """PDEBench's diffusion-sorption from u = 0.1 to t = 200."""
    equation = DiffusionSorption()

    def bound(n: int) -> Callable:
        grid = _line(n, 1.0, 0.0, is_cell_centred=True)
        return equation.on(FiniteDifferences(grid, 2, equation.boundary))

    def lsoda(n: int) -> Tensor:
        f = bound(n)
        found = solve_ivp(
            lambda t, u: f(t, torch.from_numpy(u)[None, None])[0, 0].numpy(),
            (0.0, 200.0),
            np.full(n, 0.1),
            method="LSODA",
            rtol=1e-10,
            atol=1e-12,
            lband=3,
            uband=3,
        )
        return torch.from_numpy(found.y[:, -1])

    sizes = (32, 64) if quick else (64, 128)
    start = time.perf_counter()
    n = sizes[0]
    end = _end(bound(n), torch.full((1, 1, n), 0.1), 200.0, 1000 / n**2)[0, 0]
    seconds = time.perf_counter() - start
    error = float((end - lsoda(n)).abs().max())
    setting = f"order 2, cells, N = {n}"
    yield _row("diffusion-sorption", "LSODA, same differences", setting, error, seconds)
    fine = lsoda(512 if quick else 1024)

    def solve(n: int) -> float:
        end = _end(bound(n), torch.full((1, 1, n), 0.1), 200.0, 1000 / n**2)[0, 0]
        return float((end - fine.reshape(n, -1).mean(dim=1)).abs().max())

    setting = f"order 2, cells, N = {sizes[1]}"
    refined = _refined(solve, sizes, 2)
    yield _row("diffusion-sorption", f"LSODA on {len(fine)} cells", setting, *refined)


def _laplacian(u: np.ndarray, h: float) -> np.ndarray:
    """Five points, nothing passes the walls, in plain NumPy."""
    v = np.pad(u, 1, mode="edge")
    return (v[2:, 1:-1] + v[:-2, 1:-1] + v[1:-1, 2:] + v[1:-1, :-2] - 4 * u) / h**2


def _fitzhugh_nagumo(u: np.ndarray, v: np.ndarray, h: float) -> list[np.ndarray]:
    reaction = u - u**3 - 5e-3 - v
    return [1e-3 * _laplacian(u, h) + reaction, 5e-3 * _laplacian(v, h) + u - v]


def _gray_scott(u: np.ndarray, v: np.ndarray, h: float) -> list[np.ndarray]:
    eaten = u * v**2
    return [
        2e-3 * _laplacian(u, h) - eaten + 0.04 * (1 - u),
        1e-3 * _laplacian(v, h) + eaten - 0.1 * v,
    ]


def two_species(quick: bool) -> Iterator[dict]:
    """FitzHugh-Nagumo (PDEBench's constants) and Gray-Scott in a closed box."""
    n = 16 if quick else 32
    grid = Grid((n, n), (2.0, 2.0), (-1.0, -1.0), periodic=(False, False), cell_centred=True)
    for equation, by_hand in (
        (FitzHughNagumo(), _fitzhugh_nagumo),
        (GrayScott(2e-3, 1e-3), _gray_scott),
    ):
        u0 = torch.rand(1, 2, n, n)

        def rhs(t: float, y: np.ndarray, by_hand: Callable = by_hand) -> np.ndarray:
            u, v = y.reshape(2, n, n)
            return np.concatenate([rate.ravel() for rate in by_hand(u, v, 2.0 / n)])

        truth = solve_ivp(
            rhs, (0.0, 5.0), u0.numpy().ravel(), method="DOP853", rtol=1e-12, atol=1e-13
        ).y[:, -1]
        f = equation.on(FiniteDifferences(grid, 2, Neumann()))

        def solve(num_steps: int, f: Callable = f, u0: Tensor = u0, truth=truth) -> float:
            end = _end(f, u0, 5.0, 5.0 / num_steps)
            return float((end.flatten() - torch.from_numpy(truth)).abs().max())

        sizes = (100, 200)
        setting = f"order 2, {n} x {n} cells, dt = {5.0 / sizes[1]:g}"
        oracle = "NumPy and DOP853, same differences"
        yield _row(type(equation).__name__, oracle, setting, *_refined(solve, sizes, 4))


def mass(quick: bool) -> Iterator[dict]:
    """Change of mass over 200 steps with walls that nothing passes and a rough diffusivity."""
    grid = Grid((24, 18), (1.0, 1.0), periodic=(False, False), cell_centred=True)
    equation = Diffusion(0.01 + torch.rand(1, 1, 24, 18))
    f = equation.on(FiniteDifferences(grid, 2, Neumann()))
    u0 = torch.rand(4, 1, 24, 18)
    start = time.perf_counter()
    end = _end(f, u0, 0.04, 2e-4)
    seconds = time.perf_counter() - start
    error = float(((end - u0).sum((1, 2, 3)) / u0.sum((1, 2, 3))).abs().max())
    setting = "order 2, 24 x 18 cells, 200 steps"
    yield _row("diffusion in a closed box", "mass", setting, error, seconds)
