"""Is the loop around a refiner's network free? Rollout time over ((K + 1) x steps x forward).

KS size (128 points) and two dimensions (64 x 64), batch 1, 16 and 64, K = 3, one seed for the
batch and one per sample as in ensembles. Forward passes of the bare network, with the input and
the condition it gets in a rollout, and rollouts take turns. The goal is a ratio of at most 1.05.

glibc gives freed memory back to the system and faults it in again, more or less often by
accident of what else is allocated; this is switched off for both sides (`--keep-trimming` keeps
it).

Run: python benchmarks/refiner_rollout.py [--repetitions 9] [--threads 2] [--device cpu]
"""

from __future__ import annotations

import argparse
import ctypes
import ctypes.util

import torch
from harness import interleaved_medians, provenance, write_result

from pdesurrogates.backbones import FNO, Backbone, DilatedResNet
from pdesurrogates.steppers import rollout
from pdesurrogates.surrogates import PDERefiner

GOAL = 1.05
DT, PASSES = 0.1, 3
BATCHES = {1: 20, 16: 5, 64: 2}  # steps per rollout
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def networks() -> dict[str, tuple[Backbone, tuple[int, ...]]]:
    """Name to network and grid."""
    return {
        "FNO, 128 points": (FNO(2, 1, num_modes=(32,), width=32, num_conditions=1), (128,)),
        "DilatedResNet, 128 points": (DilatedResNet(2, 1, dim=1, num_conditions=1), (128,)),
        "FNO, 64 x 64": (FNO(2, 1, num_modes=(12, 12), width=32, num_conditions=1), (64, 64)),
    }


def stop_trimming() -> None:
    """Keep freed memory in the process (glibc only)."""
    library = ctypes.util.find_library("c")
    if library and hasattr(ctypes.CDLL(library), "mallopt"):
        mallopt = ctypes.CDLL(library).mallopt
        mallopt(M_MMAP_THRESHOLD, 2**30)
        mallopt(M_TRIM_THRESHOLD, 2**30)


def measured(
    network: Backbone, space: tuple[int, ...], batch: int, repetitions: int, device: str
) -> dict[str, float]:
    """Milliseconds of a forward pass, and the ratios."""
    num_steps = BATCHES[batch]
    refiner = PDERefiner(network, DT, num_refinement_steps=PASSES).to(device).eval()
    u0 = torch.randn(batch, 1, *space, device=device)
    fields = torch.randn(batch, 2, *space, device=device)
    condition = torch.zeros(batch, 1, device=device)
    times = [DT * n for n in range(num_steps + 1)]
    calls = num_steps * refiner.num_evaluations

    def wait() -> None:
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    def forward_passes() -> None:
        for _ in range(calls):
            network(fields, condition)
        wait()

    def roll_out(seeds: int | range) -> None:
        rollout(refiner.bind(seeds=seeds), u0, times)
        wait()

    seconds = interleaved_medians(
        {
            "forward": forward_passes,
            "one seed": lambda: roll_out(0),
            "seed per sample": lambda: roll_out(range(batch)),
        },
        repetitions,
        warm_up=2,
    )
    return {
        "forward_ms": 1e3 * seconds["forward"] / calls,
        "ratio_one_seed": seconds["one seed"] / seconds["forward"],
        "ratio_seed_per_sample": seconds["seed per sample"] / seconds["forward"],
    }


def main() -> None:
    """Measure, print, write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--keep-trimming", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    if not arguments.keep_trimming:
        stop_trimming()
    cases = {}
    with torch.inference_mode():
        for name, (network, space) in networks().items():
            for batch in BATCHES:
                case = measured(network, space, batch, arguments.repetitions, arguments.device)
                cases[f"{name}, batch {batch}"] = case
                numbers = ", ".join(f"{key} {value:.3f}" for key, value in case.items())
                print(f"{name}, batch {batch}: {numbers}")
    result = {
        **provenance(),
        "threads": arguments.threads,
        "device": arguments.device,
        "is_trimming": arguments.keep_trimming,
        "cases": cases,
        "goal": GOAL,
    }
    path = write_result("refiner_rollout", result)
    print(f"goal {GOAL}, written to {path}")


if __name__ == "__main__":
    main()
