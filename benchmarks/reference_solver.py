"""The pseudo-spectral reference solver beside exponax: same scheme, step, modes and precision.

Kuramoto-Sivashinsky in 1D and the vorticity equation in 2D (decaying, and Kolmogorov-forced with
drag), each as one batch. exponax is jit-compiled with vmap and its own repeat, compile time
excluded. Its dealiasing is given the fraction that keeps the same modes as ours, and its vorticity
has the other sign; the retained modes must then agree, which is checked after 20 steps before
anything is timed. Times are medians of runs that take turns in one process.

Both packages get the same cores: one, then two, each in a process of its own. On cores that other
jobs share, times with two threads mean nothing: every parallel loop of torch then waits.

Goals: at least 1.5 times as fast at 64^2 batch 16 and 128^2 batch 8, 0.95 times for
Kuramoto-Sivashinsky, 256 points, batch 64.

Needs the extra `compare` (exponax, jax). Run: python benchmarks/reference_solver.py
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import torch
from harness import interleaved_medians, provenance, write_result

from pdesurrogates.core import Grid
from pdesurrogates.equations import Equation, KuramotoSivashinsky, NavierStokesVorticity
from pdesurrogates.reference import random_initial_condition
from pdesurrogates.steppers import ETDRK

NUM_CHECKED = 20
LARGEST_DIFFERENCE = {torch.float32: 1e-5, torch.float64: 1e-12}
GOAL_1D, GOAL_2D = 0.95, 1.5


@dataclass(frozen=True)
class Case:
    """One equation on one grid, in both packages.

    Args:
        name: What it is called in the table.
        equation: Ours.
        theirs: Gives their stepper from order and the fraction of modes to keep.
        grid: Periodic grid.
        batch: Trajectories at once.
        order: Order of ETDRK.
        dt: Step.
        num_steps: Steps that are timed.
        goal: Smallest ratio wanted.
        sign: Their state is this times ours.
    """

    name: str
    equation: Equation
    theirs: Callable[[int, float], Any]
    grid: Grid
    batch: int
    order: int
    dt: float
    num_steps: int
    goal: float
    sign: float = 1.0


def kuramoto_sivashinsky(order: int) -> Case:
    """256 points, batch 64."""
    import exponax

    grid, dt = Grid((256,), (64.0,)), 0.1

    def theirs(order: int, fraction: float) -> Any:
        return exponax.stepper.KuramotoSivashinskyConservative(
            1, 64.0, 256, dt, order=order, single_channel=True, dealiasing_fraction=fraction
        )

    name = f"Kuramoto-Sivashinsky 256, batch 64, ETDRK{order}"
    return Case(name, KuramotoSivashinsky(), theirs, grid, 64, order, dt, 200, GOAL_1D)


def decaying(n: int, batch: int, order: int) -> Case:
    """Two-dimensional turbulence that nothing drives."""
    import exponax

    grid, dt = Grid((n, n), (2 * math.pi,)), 0.005

    def theirs(order: int, fraction: float) -> Any:
        return exponax.stepper.NavierStokesVorticity(
            2, 2 * math.pi, n, dt, diffusivity=1e-3, order=order, dealiasing_fraction=fraction
        )

    name = f"decaying {n}^2, batch {batch}, ETDRK{order}"
    equation = NavierStokesVorticity(1e-3)
    return Case(name, equation, theirs, grid, batch, order, dt, 40, GOAL_2D, sign=-1.0)


def kolmogorov(n: int, batch: int, order: int) -> Case:
    """Kolmogorov flow with drag; the mirror image is pushed the other way."""
    import exponax

    grid, dt = Grid((n, n), (2 * math.pi,)), 0.005

    def theirs(order: int, fraction: float) -> Any:
        return exponax.stepper.KolmogorovFlowVorticity(
            2,
            2 * math.pi,
            n,
            dt,
            diffusivity=1e-3,
            drag=-0.1,
            injection_mode=4,
            injection_scale=-1.0,
            order=order,
            dealiasing_fraction=fraction,
        )

    name = f"Kolmogorov {n}^2, batch {batch}, ETDRK{order}"
    equation = NavierStokesVorticity(1e-3, drag=0.1, forcing_amplitude=1.0, forcing_wavenumber=4)
    return Case(name, equation, theirs, grid, batch, order, dt, 40, GOAL_2D, sign=-1.0)


def measure(case: Case, dtype: torch.dtype, repetitions: int) -> dict[str, Any]:
    """Microseconds per step and trajectory of both, and how far they are apart."""
    import exponax
    import jax
    import jax.numpy as jnp
    import numpy as np

    jax.config.update("jax_enable_x64", dtype == torch.float64)
    n = case.grid.num_points[0]
    u0 = random_initial_condition(case.grid, case.batch, rms=2.0).to(dtype)
    f = case.equation.on(case.grid)
    step = ETDRK(case.order).bind(f)
    # They keep wavenumbers up to fraction n/2 - 1, we those below n/3.
    theirs = case.theirs(case.order, (math.ceil(n / 3) + 0.5) / (n // 2))
    repeated = {
        count: jax.jit(jax.vmap(exponax.repeat(theirs, count)))
        for count in (NUM_CHECKED, case.num_steps)
    }
    u0_jax = jnp.asarray(case.sign * u0.numpy())

    def ours(count: int) -> torch.Tensor:
        state = step.initial_state(0.0, u0)
        for number in range(count):
            state = step(number * case.dt, state, case.dt)
        return step.observe(state)

    with torch.inference_mode():
        a = f.provider.dealias(f.to_modes(ours(NUM_CHECKED)))
        states = case.sign * np.array(repeated[NUM_CHECKED](u0_jax))
        b = f.provider.dealias(f.to_modes(torch.from_numpy(states)))
        difference = float((a - b).norm() / b.norm())
        if not difference <= LARGEST_DIFFERENCE[dtype]:
            raise ArithmeticError(
                f"{case.name} {dtype}: after {NUM_CHECKED} steps the retained modes differ by "
                f"{difference:.1e}, allowed {LARGEST_DIFFERENCE[dtype]:.0e}; the packages do not "
                "solve the same problem, so a ratio of times would mean nothing."
            )
        seconds = interleaved_medians(
            {
                "exponax": lambda: repeated[case.num_steps](u0_jax).block_until_ready(),
                "ours": lambda: ours(case.num_steps),
            },
            repetitions,
        )
    scale = 1e6 / (case.num_steps * case.batch)
    ratio = seconds["exponax"] / seconds["ours"]
    return {
        "case": case.name,
        "precision": str(dtype).removeprefix("torch."),
        "exponax_us_per_step": seconds["exponax"] * scale,
        "ours_us_per_step": seconds["ours"] * scale,
        "ratio": ratio,
        "goal": case.goal,
        "reached": ratio >= case.goal,
        "relative_difference": difference,
    }


def measure_all(threads: int, repetitions: int) -> list[dict[str, Any]]:
    """All rows with that many threads; needs a process in which neither package has run."""
    # XLA takes as many threads as there are cores it may run on.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    torch.set_num_threads(threads)
    cases = [kuramoto_sivashinsky(order) for order in (2, 4)]
    for n, batch in ((64, 16), (128, 8)):
        for order in (2, 4):
            cases += [decaying(n, batch, order), kolmogorov(n, batch, order)]
    rows = []
    for dtype in (torch.float32, torch.float64):
        for case in cases:
            row = {"threads": threads, **measure(case, dtype, repetitions)}
            rows.append(row)
            print(
                f"{row['case']:44} {row['precision']}  {threads} threads  "
                f"exponax {row['exponax_us_per_step']:7.2f}  ours {row['ours_us_per_step']:7.2f} "
                f"us  ratio {row['ratio']:.2f} (goal {row['goal']})",
                flush=True,
            )
    return rows


def main() -> None:
    """Measure, print, write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], metavar="N")
    arguments = parser.parse_args()
    rows = []
    for threads in arguments.threads:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            rows += pool.submit(measure_all, threads, arguments.repetitions).result()
    result = {**provenance("jax", "exponax"), "rows": rows}
    print("written to", write_result("reference_solver", result))


if __name__ == "__main__":
    main()
