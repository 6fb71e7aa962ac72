"""Grid solutions of free-slip flow in [-1, 1]^2: floors of the time scheme, and baselines.

Free slip is a symmetry: the velocity normal to a wall is odd about it, the tangential one even.
Everything is computed on the periodic box [-1, 3]^2 that the reflections fill.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.ndimage import map_coordinates

from pdesurrogates.core import Grid
from pdesurrogates.equations import NavierStokesVorticity
from pdesurrogates.reference import solve

__all__ = ["advance_on_grid", "cell_centres", "mirrored", "relative_error", "spectral_flow"]

Velocity = Callable[[torch.Tensor], torch.Tensor]


def cell_centres(num_cells: int) -> torch.Tensor:
    """Centres of num_cells^2 cells of [-1, 1]^2, (num_cells, num_cells, 2)."""
    x = -1 + (torch.arange(num_cells, dtype=torch.float64) + 0.5) * 2 / num_cells
    return torch.stack(torch.meshgrid(x, x, indexing="ij"), dim=-1)


def mirrored(velocity: np.ndarray) -> np.ndarray:
    """(2, n, n) on [-1, 1]^2 to (2, 2n, 2n) on [-1, 3]^2, odd across walls it is normal to."""
    for axis in (0, 1):
        signs = np.where(np.arange(2) == axis, -1.0, 1.0)[:, None, None]
        velocity = np.concatenate((velocity, signs * np.flip(velocity, axis + 1)), axis + 1)
    return velocity


def projected(velocity: np.ndarray) -> np.ndarray:
    """The part without divergence, by Fourier transform."""
    n = velocity.shape[-1]
    k = np.fft.fftfreq(n, 1 / n)
    k[n // 2] = 0.0
    kx, ky = np.meshgrid(k, k, indexing="ij")
    square = np.where(kx**2 + ky**2 == 0, 1.0, kx**2 + ky**2)
    u_hat, v_hat = np.fft.fft2(velocity)
    pressure = (kx * u_hat + ky * v_hat) / square
    return np.fft.ifft2(np.stack((u_hat - kx * pressure, v_hat - ky * pressure))).real


def advance_on_grid(
    u0: Velocity, num_cells: int, dt: float, steps: list[int], *, order: int
) -> dict[int, np.ndarray]:
    """First-order semi-Lagrangian steps with splines of an order, and an exact projection.

    With order 5 on a fine grid this is the floor: the error that the time scheme alone makes.

    Returns:
        Velocity (2, num_cells, num_cells) after each number of steps; "seconds" of the last.
    """
    start = u0(cell_centres(num_cells)).permute(2, 0, 1).numpy()
    velocity = projected(mirrored(start))
    index = np.stack(np.meshgrid(*[np.arange(2.0 * num_cells)] * 2, indexing="ij"))
    kept: dict[Any, Any] = {}
    started = time.perf_counter()
    for n in range(1, max(steps) + 1):
        feet = index - dt * velocity / (2 / num_cells)
        carried = [map_coordinates(v, feet, order=order, mode="grid-wrap") for v in velocity]
        velocity = projected(np.stack(carried))
        if n in steps:
            kept[n] = velocity[:, :num_cells, :num_cells]
    kept["seconds"] = time.perf_counter() - started
    return kept


def spectral_flow(
    u0: Velocity, num_cells: int, times: list[float], dt: float
) -> tuple[np.ndarray, float]:
    """Velocity (time, 2, num_cells, num_cells) of our pseudo-spectral solver, and its seconds."""
    n = 2 * num_cells
    start = projected(mirrored(u0(cell_centres(num_cells)).permute(2, 0, 1).numpy()))
    grid = Grid((n, n), (4.0, 4.0), (-1 + 2 / n, -1 + 2 / n))
    k = 2 * math.pi / 4 * np.fft.fftfreq(n, 1 / n)
    k[n // 2] = 0.0
    kx, ky = np.meshgrid(k, k, indexing="ij")
    square = np.where(kx**2 + ky**2 == 0, 1.0, kx**2 + ky**2)
    u_hat, v_hat = np.fft.fft2(start)
    vorticity = np.fft.ifft2(1j * kx * v_hat - 1j * ky * u_hat).real
    started = time.perf_counter()
    states = solve(
        NavierStokesVorticity(viscosity=0.0),
        grid,
        torch.as_tensor(vorticity)[None, None],
        times,
        dt=dt,
    )
    seconds = time.perf_counter() - started
    psi_hat = np.fft.fft2(states[0, :, 0].numpy()) / square
    velocity = np.fft.ifft2(np.stack((1j * ky * psi_hat, -1j * kx * psi_hat), axis=1)).real
    return velocity[..., :num_cells, :num_cells], seconds


def relative_error(velocity: np.ndarray, truth: np.ndarray) -> float:
    """Relative L2 error."""
    return float(np.linalg.norm(velocity - truth) / np.linalg.norm(truth))
