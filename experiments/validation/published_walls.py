"""What the ghost walls of PDEBench's diffusion-sorption set cost, beside walls in their place."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy.integrate import solve_ivp

from pdesurrogates.core import Grid
from pdesurrogates.equations import DiffusionSorption
from pdesurrogates.operators import FiniteDifferences

__all__ = ["rows"]

END = 500.0
CONSTANTS = {"diffusivity": 5e-4, "sorption": (1 - 0.29) / 0.29 * 2880 * 3.5e-4, "exponent": 0.874}


def rows(*, quick: bool) -> list[dict]:
    """Largest distance to a fine solution with the walls where the text puts them, t = 500."""
    sizes = (32, 64) if quick else (64, 128, 256, 512)
    finest = 256 if quick else 2048
    truth = _solve(_with_walls_in_place(finest), finest)
    found = []
    for solver, rhs, expected in (
        ("PDEBench's ghost walls", _with_ghost_walls, 1),
        ("walls in their place", _with_walls_in_place, 2),
    ):
        before = None
        for n in sizes:
            start = time.perf_counter()
            u = _solve(rhs(n), n)
            seconds = time.perf_counter() - start
            error = float(np.abs(u - truth.reshape(n, -1).mean(axis=1)).max())
            found.append(
                {
                    "solver": f"second-order differences, {solver}",
                    "case": "diffusion-sorption from u = 0.1, t = 500",
                    "oracle": f"LSODA on {finest} cells, walls in their place",
                    "setting": f"{n} cells",
                    "error": error,
                    "order": None if before is None else math.log2(before / error),
                    "expected_order": None if before is None else expected,
                    "seconds": seconds,
                }
            )
            before = error
    return found


def _solve(rhs: Callable[[float, np.ndarray], np.ndarray], n: int) -> np.ndarray:
    found = solve_ivp(
        rhs,
        (0.0, END),
        np.full(n, 0.1),
        method="LSODA",
        rtol=1e-9,
        atol=1e-11,
        lband=3,
        uband=3,
    )
    return found.y[:, -1]


def _with_ghost_walls(n: int) -> Callable[[float, np.ndarray], np.ndarray]:
    """1 and diffusivity (u_{N-2} - u_{N-1}) / dx in the cells outside the ends."""
    diffusivity, sorption, exponent = CONSTANTS.values()

    def rhs(t: float, u: np.ndarray) -> np.ndarray:
        padded = np.concatenate([[1.0], u, [diffusivity * (u[-2] - u[-1]) * n]])
        retardation = 1 + sorption * exponent * (u + 1e-6) ** (exponent - 1)
        return diffusivity / retardation * (padded[2:] - 2 * u + padded[:-2]) * n**2

    return rhs


def _with_walls_in_place(n: int) -> Callable[[float, np.ndarray], np.ndarray]:
    equation = DiffusionSorption()
    grid = Grid((n,), (1.0,), periodic=False, cell_centred=True)
    f = equation.on(FiniteDifferences(grid, 2, equation.boundary))
    return lambda t, u: f(t, torch.from_numpy(u)[None, None])[0, 0].numpy()
