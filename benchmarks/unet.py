"""Training step and peak memory of our U-Net against the one of diffusers, equal channels.

Both have the same channels per level, the same number of residual blocks with group norm and gelu,
one number per sample that scales and shifts every block, no attention, and float32. What differs:

- ours pads periodically; the row "ours, zeros" pads with zeros as diffusers does;
- ours goes to the channels of the level above before it goes up, diffusers after it, so a network
  of growing channels has more parameters and operations there (both are reported);
- ours goes up with a transposed convolution, diffusers with nearest neighbours and a convolution.

The one-dimensional U-Net of diffusers is made of other blocks (for audio and value functions), so
there is no row in one dimension.

Needs the package diffusers and, for the compiled rows, a C++ compiler. All rows of one size are
interleaved in one process, so the ratios of a run can be compared; times cannot be compared
between runs or machines. Memory is the growth of the peak resident set over two training steps, in
a process of its own per row (eager only), beside the bytes that one forward pass saves.

    python benchmarks/unet.py [--repetitions 9] [--skip-compiled]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from itertools import accumulate
from operator import mul
from pathlib import Path
from typing import Any

import torch
from harness import interleaved_medians, provenance, write_result
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pdesurrogates.backbones import UNet

__all__ = ["main"]

SIZES = {
    "2d": {"space": (64, 64), "width": 32, "multipliers": (1, 2, 2, 1), "batch": 8},
    "2d, same channels": {
        "space": (64, 64),
        "width": 32,
        "multipliers": (1, 1, 1, 1),
        "batch": 8,
    },
}
REFERENCE = "diffusers"
ROWS = (REFERENCE, "ours", "ours, zeros")
GOALS = {"ours": 1.0, "ours compiled": 1.0}


class Peer(nn.Module):
    """The U-Net of diffusers with our call form, the condition as its time step."""

    def __init__(self, width: int, multipliers: tuple[int, ...]) -> None:
        super().__init__()
        from diffusers import UNet2DModel

        levels = len(multipliers)
        self.unet = UNet2DModel(
            in_channels=1,
            out_channels=1,
            layers_per_block=2,
            block_out_channels=tuple(accumulate((width * multipliers[0], *multipliers[1:]), mul)),
            down_block_types=("DownBlock2D",) * levels,
            up_block_types=("UpBlock2D",) * levels,
            add_attention=False,
            norm_num_groups=1,
            act_fn="gelu",
            resnet_time_scale_shift="scale_shift",
        )

    def forward(self, u: Tensor, condition: Tensor) -> Tensor:
        return self.unet(u, condition[:, 0], return_dict=False)[0]


def build(row: str, size: str) -> nn.Module:
    """The network of a row."""
    width, multipliers = SIZES[size]["width"], SIZES[size]["multipliers"]
    if row == REFERENCE:
        return Peer(width, multipliers)
    padding = "zeros" if row.endswith("zeros") else "periodic"
    return UNet(dim=2, width=width, multipliers=multipliers, num_conditions=1, padding=padding)


def inputs(size: str) -> tuple[Tensor, Tensor]:
    """Fields and one number per sample."""
    torch.manual_seed(0)
    batch, space = SIZES[size]["batch"], SIZES[size]["space"]
    return torch.randn(batch, 1, *space), torch.randn(batch, 1)


def training_step(model: Callable, parameters: list[Tensor], u: Tensor, condition: Tensor) -> None:
    """Forward and backward pass, no optimiser."""
    for parameter in parameters:
        parameter.grad = None
    model(u, condition).square().mean().backward()


def measure(size: str, repetitions: int, *, with_compiled: bool) -> dict:
    """All rows of one size: medians and ratios to diffusers, parameters, operations, memory."""
    torch.compiler.reset()
    models = {row: build(row, size) for row in ROWS}
    u, condition = inputs(size)
    counts = {}
    for row, model in models.items():
        with FlopCounterMode(display=False) as counter:
            training_step(model, list(model.parameters()), u, condition)
        counts[row] = {
            "parameters": sum(p.numel() for p in model.parameters()),
            "gflop_per_step": counter.get_total_flops() / 1e9,
            **peak_memory(row, size),
        }
    rows = compare(models, u, condition, repetitions)
    if with_compiled:
        # A group of its own: code and memory of the compiled models must not disturb the eager.
        compiled = {f"{row} compiled": torch.compile(model) for row, model in models.items()}
        group = compare({REFERENCE: models[REFERENCE], **compiled}, u, condition, repetitions)
        rows |= {row: group[row] for row in compiled}
    for row in rows:
        rows[row] |= counts[row.removesuffix(" compiled")] if row in counts else {}
    return {"setting": SIZES[size], "rows": rows}


def compare(
    models: dict[str, Any], u: Tensor, condition: Tensor, repetitions: int
) -> dict[str, dict]:
    """Rows of models that take turns, each with its ratios to eager diffusers in this group."""

    def forward(model: Callable) -> Callable[[], object]:
        return lambda: model(u, condition)

    def step(model: nn.Module) -> Callable[[], object]:
        parameters = list(model.parameters())
        return lambda: training_step(model, parameters, u, condition)

    with torch.no_grad():
        once = {row: forward(model) for row, model in models.items()}
        forwards = interleaved_medians(once, repetitions)
    steps = interleaved_medians({row: step(m) for row, m in models.items()}, repetitions)
    peer = next((row for row in models if row == f"{REFERENCE} compiled"), REFERENCE)
    return {
        row: {
            "forward_ms": 1e3 * forwards[row],
            "forward_speedup": forwards[peer] / forwards[row],
            "training_step_ms": 1e3 * steps[row],
            "training_step_speedup": steps[peer] / steps[row],
            "speedup_is_over": peer,
            "goal": GOALS.get(row),
        }
        for row in models
    }


def peak_memory(row: str, size: str) -> dict[str, float]:
    """`memory_here` in a process of its own."""
    command = [sys.executable, __file__, "--memory-of", row, "--sizes", size]
    command += ["--threads", str(torch.get_num_threads())]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(run.stdout.splitlines()[-1])


def memory_here(row: str, size: str) -> dict[str, float]:
    """Growth of this process's peak memory over two training steps, and what a forward saves."""
    model = build(row, size)
    parameters = list(model.parameters())
    u, condition = inputs(size)
    own = {p.untyped_storage().data_ptr() for p in parameters}
    saved: dict[int, int] = {}

    def remember(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    before = peak_resident_mib()
    for _ in range(2):
        training_step(model, parameters, u, condition)
    after = peak_resident_mib()
    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        output = model(u, condition)  # kept, so that no saved tensor is freed and counted twice
    del output
    size_saved = sum(number for pointer, number in saved.items() if pointer not in own)
    return {"peak_memory_mib": after - before, "saved_mib": size_saved / 2**20}


def peak_resident_mib() -> float:
    """Peak resident set of this process since its start (Linux)."""
    status = Path("/proc/self/status").read_text()
    kilobytes = next(line.split()[1] for line in status.splitlines() if "VmHWM" in line)
    return int(kilobytes) / 2**10


def main() -> None:
    """Measure, print a table, write the JSON file."""
    parser = argparse.ArgumentParser(description="Our U-Net against the one of diffusers.")
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--skip-compiled", action="store_true")
    parser.add_argument("--memory-of", choices=ROWS, help="only the memory of one row, as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.memory_of:
        print(json.dumps(memory_here(arguments.memory_of, arguments.sizes[0])))
        return

    results = provenance("diffusers") | {"threads": arguments.threads, "sizes": {}}
    for size in arguments.sizes:
        result = measure(size, arguments.repetitions, with_compiled=not arguments.skip_compiled)
        results["sizes"][size] = result
        print(f"{size} {result['setting']}")
        print(
            f"{'':24}{'fwd ms':>9}{'x':>6}{'step ms':>9}{'x':>6}{'goal':>6}"
            f"{'param':>11}{'GFLOP':>8}{'peak MiB':>10}{'saved MiB':>11}"
        )
        for name, row in result["rows"].items():
            print(
                f"{name:24}{row['forward_ms']:9.1f}{row['forward_speedup']:6.2f}"
                f"{row['training_step_ms']:9.1f}{row['training_step_speedup']:6.2f}"
                f"{row['goal'] or '':>6}{row.get('parameters', ''):>11}"
                f"{row.get('gflop_per_step', 0):8.1f}{row.get('peak_memory_mib', 0):10.0f}"
                f"{row.get('saved_mib', 0):11.0f}"
            )
    print("written to", write_result("unet", results))


if __name__ == "__main__":
    main()
