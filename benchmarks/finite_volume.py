"""Finite volumes beside plain NumPy: same scheme, same steps, same precision.

Euler equations, MUSCL with van Leer's limiter in primitive variables, HLLC, SSPRK3, periodic; 1D
1024 cells, batch 32, and 2D 128 x 128 cells, batch 4. The NumPy form below is vectorised over
batch and cells, computes nothing twice that its author saw, and is otherwise written as the
formulas are. Both run in one process and take turns; their states after ten steps must agree to
rounding. The same through torch.compile, `FiniteVolumes(grid, is_compiled=True)`, is measured
apart as `compiled`, without the time to compile.

Run: OMP_NUM_THREADS=2 python benchmarks/finite_volume.py
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from harness import interleaved_medians, provenance, write_result

from pdesurrogates.core import Grid
from pdesurrogates.equations import CompressibleNavierStokes
from pdesurrogates.operators import FiniteVolumes
from pdesurrogates.steppers import SSPRK3

GAMMA, COURANT, NUM_STEPS = 1.4, 0.4, 10
CASES = {"1D 1024, batch 32": ((1024,), 32), "2D 128 x 128, batch 4": ((128, 128), 4)}
GOAL = 1.5


def primitive(u):
    velocity = u[:, 1:-1] / u[:, :1]
    kinetic = 0.5 * (u[:, 1:-1] * velocity).sum(axis=1, keepdims=True)
    return np.concatenate([u[:, :1], velocity, (GAMMA - 1) * (u[:, -1:] - kinetic)], axis=1)


def conserved(w):
    kinetic = 0.5 * w[:, :1] * (w[:, 1:-1] ** 2).sum(axis=1, keepdims=True)
    return np.concatenate([w[:, :1], w[:, :1] * w[:, 1:-1], w[:, -1:] / (GAMMA - 1) + kinetic], 1)


def along(array, axis, start, stop):
    """A slice along a space axis."""
    index = [slice(None)] * array.ndim
    index[2 + axis] = slice(start, stop)
    return array[tuple(index)]


def faces(w, axis):
    """Primitive states below and above every face."""
    padded = np.concatenate([along(w, axis, -2, None), w, along(w, axis, 0, 2)], axis=2 + axis)
    steps = np.diff(padded, axis=2 + axis)
    below, above = along(steps, axis, 0, -1), along(steps, axis, 1, None)
    product = below * above
    is_monotone = product > 0
    slopes = np.where(is_monotone, product / np.where(is_monotone, below + above, 1), 0)
    cells = along(padded, axis, 1, -1)
    swing = 0.5 * np.sqrt(cells[:, -1:] / cells[:, :1] / (GAMMA - 1))
    bound = np.concatenate([0.5 * cells[:, :1], *[swing] * (w.ndim - 2), 0.5 * cells[:, -1:]], 1)
    slopes = np.clip(slopes, -bound, bound)
    return along(cells + slopes, axis, 0, -1), along(cells - slopes, axis, 1, None)


def flux(w, u, axis):
    velocity = w[:, 1 + axis : 2 + axis]
    result = u * velocity
    result[:, 1 + axis] += w[:, -1]
    result[:, -1] += w[:, -1] * velocity[:, 0]
    return result


def star(w, u, axis, outer, contact):
    """Toro (2009), Eq. (10.39)."""
    density, velocity, pressure = w[:, 0], w[:, 1 + axis], w[:, -1]
    factor = density * (outer - velocity) / (outer - contact)
    result = np.empty_like(u)
    result[:, 0] = factor
    result[:, 1:-1] = factor[:, None] * w[:, 1:-1]
    result[:, 1 + axis] = factor * contact
    gain = (contact - velocity) * (contact + pressure / (density * (outer - velocity)))
    result[:, -1] = factor * (u[:, -1] / density + gain)
    return result


def hllc(left, right, axis):
    u_left, u_right = conserved(left), conserved(right)
    f_left, f_right = flux(left, u_left, axis), flux(right, u_right, axis)
    d_left, v_left, p_left = left[:, 0], left[:, 1 + axis], left[:, -1]
    d_right, v_right, p_right = right[:, 0], right[:, 1 + axis], right[:, -1]
    c_left, c_right = np.sqrt(GAMMA * p_left / d_left), np.sqrt(GAMMA * p_right / d_right)
    slowest = np.minimum(v_left - c_left, v_right - c_right)
    fastest = np.maximum(v_left + c_left, v_right + c_right)
    m_left, m_right = d_left * (slowest - v_left), d_right * (fastest - v_right)
    contact = (p_right - p_left + m_left * v_left - m_right * v_right) / (m_left - m_right)
    star_left = star(left, u_left, axis, slowest, contact)
    star_right = star(right, u_right, axis, fastest, contact)
    s_left, s_right, middle = slowest[:, None], fastest[:, None], contact[:, None]
    from_left = np.where(s_left >= 0, f_left, f_left + s_left * (star_left - u_left))
    from_right = np.where(s_right <= 0, f_right, f_right + s_right * (star_right - u_right))
    return np.where(middle >= 0, from_left, from_right)


def rate(u, spacing):
    w = primitive(u)
    terms = [
        np.diff(hllc(*faces(w, axis), axis), axis=2 + axis) / width
        for axis, width in enumerate(spacing)
    ]
    return -sum(terms[1:], start=terms[0])


def step(u, dt, spacing):
    """SSPRK3 in Shu and Osher's form."""
    first = u + dt * rate(u, spacing)
    second = 0.75 * u + 0.25 * (first + dt * rate(first, spacing))
    return u / 3 + 2 / 3 * (second + dt * rate(second, spacing))


def smooth_flow(grid: Grid, law: CompressibleNavierStokes, batch: int) -> torch.Tensor:
    """Waves with random phases, float64."""
    phase = 6.28 * torch.rand(batch, 2 + grid.dim, *(1,) * grid.dim, dtype=torch.float64)
    x = 6.28 / grid.extent[0] * grid.coordinates()
    waves = [torch.sin(x.sum(dim=0) + phase[:, 0])]
    waves += [torch.sin(x[a] + 2 * x[a - 1] + phase[:, 1 + a]) for a in range(grid.dim)]
    waves += [torch.cos(x[0] + phase[:, -1])]
    w = 0.3 * torch.stack(waves, dim=1)
    w[:, 0] += 1
    w[:, -1] += 1
    return law.from_primitive(w)


def measure(
    shape: tuple[int, ...], batch: int, dtype: torch.dtype, repetitions: int, is_compiled: bool
) -> dict[str, float]:
    """Steps per second of both, and how far they are apart."""
    torch.manual_seed(0)
    grid = Grid(shape, (1.0,), cell_centred=True)
    law = CompressibleNavierStokes(GAMMA, dim=len(shape))
    f = law.on(FiniteVolumes(grid))
    start = smooth_flow(grid, law, batch).to(dtype)
    dt = COURANT * float(f.largest_step(0.0, start).min())
    steps = {"ours": SSPRK3().bind(f)}
    if is_compiled:
        steps["compiled"] = SSPRK3().bind(law.on(FiniteVolumes(grid, is_compiled=True)))

    def ours(name: str) -> torch.Tensor:
        u = start
        for _ in range(NUM_STEPS):
            u = steps[name](0.0, u, dt)
        return u

    def numpys() -> np.ndarray:
        u, width = start.numpy(), start.numpy().dtype.type(dt)
        for _ in range(NUM_STEPS):
            u = step(u, width, grid.spacing)
        return u

    with torch.inference_mode():
        theirs = torch.from_numpy(numpys())
        differences = {
            f"{name}_relative_difference": float((ours(name) - theirs).norm() / theirs.norm())
            for name in steps
        }
        calls = {"numpy": numpys, **{name: lambda name=name: ours(name) for name in steps}}
        seconds = interleaved_medians(calls, repetitions)
    return {
        **{f"{name}_steps_per_second": NUM_STEPS / value for name, value in seconds.items()},
        **{f"{name}_over_numpy": seconds["numpy"] / seconds[name] for name in steps},
        **differences,
    }


def main() -> None:
    """Measure, print, write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    arguments = parser.parse_args()
    rows = []
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        for name, (shape, batch) in CASES.items():
            for dtype in (torch.float64, torch.float32):
                found = measure(
                    shape, batch, dtype, arguments.repetitions, not arguments.no_compile
                )
                precision = str(dtype).removeprefix("torch.")
                rows.append({"case": name, "dtype": precision, "threads": threads, **found})
                print(name, precision, f"{threads} threads")
                print("   ", {key: float(f"{value:.3g}") for key, value in found.items()})
                torch._dynamo.reset()
    result = {**provenance("numpy"), "goal": GOAL, "rows": rows}
    print("written to", write_result("finite_volume", result))


if __name__ == "__main__":
    main()
