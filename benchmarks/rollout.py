"""Is the loop around the network free? Rollout time over (calls x forward time).

The FNO of the demo, RK4, 200 steps, a batch of 32 states of 128 points, inference mode. Forward
passes and rollouts alternate. The goal is a ratio of at most 1.05.

Run: python benchmarks/rollout.py [--repetitions 7]
"""

from __future__ import annotations

import argparse

import torch
from harness import interleaved_medians, provenance, write_result

from pdesurrogates.backbones import FNO
from pdesurrogates.steppers import RK4, rollout
from pdesurrogates.surrogates import DerivativeSurrogate

NUM_STEPS, BATCH, NUM_POINTS = 200, 32, 128
GOAL = 1.05


def main() -> None:
    """Measure, print, write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    backbone = FNO(num_modes=(32,), width=32, depth=4)
    stepper = RK4()
    surrogate = DerivativeSurrogate(backbone, stepper, dt=0.2).eval()
    u0 = torch.randn(BATCH, 1, NUM_POINTS)
    times = [0.2 * n for n in range(NUM_STEPS + 1)]
    calls = NUM_STEPS * stepper.num_evaluations

    def forward_passes() -> None:
        for _ in range(calls):
            backbone(u0)

    with torch.inference_mode():
        seconds = interleaved_medians(
            {"forward": forward_passes, "rollout": lambda: rollout(surrogate, u0, times)},
            arguments.repetitions,
            warm_up=1,
        )
    ratio = seconds["rollout"] / seconds["forward"]
    result = {
        **provenance(),
        "threads": arguments.threads,
        "calls": calls,
        "forward_ms": 1e3 * seconds["forward"] / calls,
        "rollout_seconds": seconds["rollout"],
        "ratio": ratio,
        "goal": GOAL,
    }
    path = write_result("rollout", result)
    print(f"rollout / ({calls} calls x forward) = {ratio:.3f} (goal {GOAL}), written to {path}")


if __name__ == "__main__":
    main()
