"""What networks are compared with: the floor of the time scheme, and grids of equal memory."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pdesurrogates.core import Dirichlet, Grid
from pdesurrogates.equations import Advection, Burgers
from pdesurrogates.operators import FiniteDifferences
from pdesurrogates.steppers import ETDRK, RK4, integrate

Field = Callable[[Tensor, float], Tensor]


def bump(case: dict[str, Any]) -> Field:
    """The exact solution of the advection case: a Gaussian that moves."""

    def u(x: Tensor, t: float) -> Tensor:
        return torch.exp(
            -((x - case["centre"] - case["velocity"] * t) ** 2) / (2 * case["s"] ** 2)
        )

    return u


def relative(found: Tensor, exact: Tensor) -> float:
    """Relative L2 error."""
    return float((found - exact).norm() / exact.norm())


def advection_floor(case: dict[str, Any], points: Tensor, scheme: str) -> list[float]:
    """Errors at the output times of the same time scheme, exact in space: on 16 384 Fourier
    modes of a line three times as long, so that what trails behind does not come back."""
    length, count = 3 * case["extent"], 2**14
    start = case["origin"] - case["extent"]
    x = start + torch.arange(count, dtype=torch.float64) * (length / count)
    hat = torch.fft.rfft(bump(case)(x, 0.0))
    wave = 2 * math.pi * torch.arange(len(hat), dtype=torch.float64) / length
    z = -1j * case["velocity"] * wave * case["dt"]
    factor = (1 + z / 2) / (1 - z / 2) if scheme == "midpoint" else 1 / (1 - z)
    errors = []
    for t in case["times"]:
        now = hat * factor ** round(t / case["dt"])
        phase = torch.exp(1j * wave * (points[:, None] - start))
        weight = torch.full_like(wave, 2.0)
        weight[0] = 1.0
        values = (phase * (now * weight)).real.sum(dim=-1) / count
        errors.append(relative(values, bump(case)(points, t)))
    return errors


def advection_grids(case: dict[str, Any], num_points: int) -> dict[str, Any]:
    """First-order upwind and Lax-Wendroff at Courant number 1/2 on as many points as the network
    has weights, zero inflow; and the package's own solvers on them."""
    dx = case["extent"] / num_points
    x = case["origin"] + dx * (torch.arange(num_points, dtype=torch.float64) + 0.5)
    steps = [math.ceil(t * case["velocity"] / (0.5 * dx)) for t in case["times"]]
    results = {}
    for name, advance in (("upwind", _upwind), ("Lax-Wendroff", _lax_wendroff)):
        errors = []
        for t, count in zip(case["times"], steps, strict=True):
            started = time.perf_counter()
            c = case["velocity"] * t / count / dx
            u = bump(case)(x, 0.0)
            for _ in range(count):
                u = advance(u, c)
            seconds = time.perf_counter() - started
            errors.append(relative(u, bump(case)(x, t)))
        results[name] = {"points": num_points, "errors": errors, "seconds": seconds}
    periodic = Grid((num_points,), (case["extent"],), (case["origin"],))
    walls = Grid((num_points,), (case["extent"],), (case["origin"],), periodic=False)
    equation = Advection(case["velocity"])
    derivatives = FiniteDifferences(walls, order=4, boundary=Dirichlet(0.0))
    for name, grid, f, stepper in (
        ("Fourier, ETDRK4", periodic, equation.on(periodic), ETDRK(4)),
        ("finite differences of order 4, RK4", walls, equation.on(derivatives), RK4()),
    ):
        x = grid.coordinates()[0]
        u0 = bump(case)(x, 0.0).reshape(1, 1, -1)
        started = time.perf_counter()
        dt = min(case["dt"], 0.5 * grid.spacing[0] / case["velocity"])
        states = integrate(f, u0, [0.0, *case["times"]], stepper, dt=dt).states[0, 1:, 0]
        results[name] = {
            "points": num_points,
            "errors": [
                relative(u, bump(case)(x, t)) for u, t in zip(states, case["times"], strict=True)
            ],
            "seconds": time.perf_counter() - started,
        }
    return results


def _upwind(u: Tensor, c: float) -> Tensor:
    left = torch.cat((u.new_zeros(1), u[:-1]))
    return u - c * (u - left)


def _lax_wendroff(u: Tensor, c: float) -> Tensor:
    left = torch.cat((u.new_zeros(1), u[:-1]))
    right = torch.cat((u[1:], u[-1:]))
    return u - 0.5 * c * (right - left) + 0.5 * c**2 * (right - 2 * u + left)


def burgers_start(x: Tensor) -> Tensor:
    """-sin pi x on [-1, 1]: a shock forms at x = 0 at t = 1 / pi."""
    return -torch.sin(math.pi * x)


def burgers_solution(
    case: dict[str, Any], num_points: int, dt: float
) -> tuple[Grid, Tensor, float]:
    """Fourier and ETDRK4: (time, point) and seconds."""
    grid = Grid((num_points,), (2.0,), (-1.0,))
    u0 = burgers_start(grid.coordinates()[0]).reshape(1, 1, -1)
    started = time.perf_counter()
    f = Burgers(case["viscosity"]).on(grid)
    states = integrate(f, u0, [0.0, *case["times"]], ETDRK(4), dt=dt).states[0, :, 0]
    return grid, states, time.perf_counter() - started


def burgers_floor(case: dict[str, Any], truth: Tensor, *, num_points: int = 1024) -> list[float]:
    """Errors of the implicit midpoint rule at the network's step on 1024 Fourier modes, each step
    solved by Newton's method."""
    grid = Grid((num_points,), (2.0,), (-1.0,))
    x = grid.coordinates()[0]
    wave = torch.fft.fftfreq(num_points, 1 / num_points, dtype=torch.float64) * math.pi
    identity = torch.eye(num_points, dtype=torch.float64)
    hat = torch.fft.fft(identity, dim=0)
    odd = wave.clone()
    odd[num_points // 2] = 0.0
    first = torch.fft.ifft(1j * odd[:, None] * hat, dim=0).real
    second = torch.fft.ifft(-(wave[:, None] ** 2) * hat, dim=0).real
    u, nu, dt = burgers_start(x), case["viscosity"], case["dt"]
    errors, now = [], 0.0
    for n, t in enumerate(case["times"], start=1):
        for _ in range(round((t - now) / dt)):
            v = u.clone()
            for _ in range(8):
                m = 0.5 * (u + v)
                defect = v - u - dt * (-0.5 * (first @ (m * m)) + nu * (second @ m))
                jacobian = identity - 0.5 * dt * (-first * m + nu * second)
                v = v - torch.linalg.solve(jacobian, defect)
                if float(defect.abs().max()) < 1e-11:
                    break
            u = v
        now = t
        errors.append(relative(u, truth[n][:: truth.shape[-1] // num_points]))
    return errors
