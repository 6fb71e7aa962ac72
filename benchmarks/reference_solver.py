"""The Kuramoto-Sivashinsky reference solver beside exponax: same scheme, step and precision.

256 points, batch 64, ETDRK4, 200 steps; exponax jit-compiled with vmap and its own repeat, compile
time excluded. Both use contour or series coefficients of the same method, so the retained modes
must agree; their relative difference after 20 steps is printed. Goal: at least 0.9 times as fast.

Needs the extra `compare` (exponax, jax). Run: python benchmarks/reference_solver.py
"""

from __future__ import annotations

import argparse

import torch
from harness import interleaved_medians, provenance, write_result

from pdesurrogates.core import Grid
from pdesurrogates.equations import KuramotoSivashinsky
from pdesurrogates.reference import random_initial_condition
from pdesurrogates.steppers import ETDRK

NUM_POINTS, EXTENT, BATCH, DT, NUM_STEPS = 256, 64.0, 64, 0.1, 200
GOAL = 0.9


def measure(dtype: torch.dtype, repetitions: int) -> dict[str, float]:
    """Microseconds per step and trajectory of both, and how far they are apart."""
    import exponax
    import jax
    import jax.numpy as jnp
    import numpy as np

    jax.config.update("jax_enable_x64", dtype == torch.float64)
    grid = Grid((NUM_POINTS,), (EXTENT,))
    u0 = random_initial_condition(grid, BATCH).to(dtype)
    f = KuramotoSivashinsky().on(grid)
    step = ETDRK(4).bind(f)
    theirs = exponax.stepper.KuramotoSivashinskyConservative(
        1, EXTENT, NUM_POINTS, DT, order=4, single_channel=True
    )
    repeated = {n: jax.jit(jax.vmap(exponax.repeat(theirs, n))) for n in (20, NUM_STEPS)}
    u0_jax = jnp.asarray(u0.numpy())

    def ours(count: int) -> torch.Tensor:
        state = step.initial_state(0.0, u0)
        for n in range(count):
            state = step(n * DT, state, DT)
        return step.observe(state)

    with torch.inference_mode():
        a = f.provider.dealias(f.to_modes(ours(20)))
        b = f.provider.dealias(f.to_modes(torch.from_numpy(np.array(repeated[20](u0_jax)))))
        seconds = interleaved_medians(
            {
                "exponax": lambda: repeated[NUM_STEPS](u0_jax).block_until_ready(),
                "ours": lambda: ours(NUM_STEPS),
            },
            repetitions,
        )
    scale = 1e6 / (NUM_STEPS * BATCH)
    return {
        "exponax_us_per_step": seconds["exponax"] * scale,
        "ours_us_per_step": seconds["ours"] * scale,
        "speed_over_exponax": seconds["exponax"] / seconds["ours"],
        "relative_difference": float((a - b).norm() / b.norm()),
    }


def main() -> None:
    """Measure, print, write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = {
        str(dtype).removeprefix("torch."): measure(dtype, arguments.repetitions)
        for dtype in (torch.float64, torch.float32)
    }
    for name, row in rows.items():
        print(name, {key: float(f"{value:.3g}") for key, value in row.items()}, f"goal {GOAL}")
    result = {
        **provenance("jax", "exponax"),
        "threads": arguments.threads,
        "goal": GOAL,
        "rows": rows,
    }
    print("written to", write_result("reference_solver", result))


if __name__ == "__main__":
    main()
