"""Training step and forward pass of our FNO against neuraloperator's, equal size and weights.

Needs the extra `compare` (neuraloperator) and, for the compiled rows, a C++ compiler. All rows of
one size are interleaved in one process, so the ratios of a run can be compared; times cannot be
compared between runs or machines.

    python benchmarks/fno.py [--repetitions 15] [--skip-compiled]
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from harness import interleaved_medians, provenance, write_result
from torch import Tensor, nn

from pdesurrogates.backbones import FNO, ChannelMLP

__all__ = ["from_neuraloperator", "main"]

SIZES = {
    "1d": {"space": (256,), "n_modes": (32,), "width": 64, "batch": 32},
    "2d": {"space": (64, 64), "n_modes": (24, 24), "width": 32, "batch": 8},
}
GOALS = {"1d": {"ours": 1.25}, "2d": {"ours": 1.4, "ours compiled": 1.6}}
REFERENCE = "neuraloperator"


def from_neuraloperator(reference: Any) -> FNO:
    """Our FNO with the weights of a neuraloperator `FNO` (defaults, even `n_modes` but the last).

    Their complex weight is (in, out, *modes) with the leading axes in the order -m .. m-1, ours is
    (*modes, in, part, out) in the same order. Their bias of the spectral convolution is the bias
    of our skip, their pointwise convolutions are our linear layers.
    """
    *leading, last = reference.n_modes
    ours = FNO(
        reference.in_channels,
        reference.out_channels,
        num_modes=(*(m // 2 for m in leading), last // 2 + 1),
        width=reference.hidden_channels,
        depth=reference.n_layers,
        lifting_ratio=reference.lifting_channel_ratio,
        mlp_ratio=reference.fno_blocks.channel_mlp_expansion,
        grid_coordinates=reference.positional_embedding is not None,
    )
    theirs = reference.fno_blocks
    with torch.no_grad():
        _copy_mlp(ours.lift, reference.lifting)
        _copy_mlp(ours.project, reference.projection)
        for n, block in enumerate(ours.blocks):
            weight = torch.view_as_real(theirs.convs[n].weight.to_tensor())
            block.spectral.weight.copy_(weight.movedim((0, -1, 1), (-3, -2, -1)))
            block.skip.weight.copy_(theirs.fno_skips[n].conv.weight[..., 0])
            block.skip.bias.copy_(theirs.convs[n].bias.flatten())
            block.gate.copy_(theirs.channel_mlp_skips[n].weight.flatten())
            _copy_mlp(block.mlp, theirs.channel_mlp[n])
    return ours


def _copy_mlp(ours: ChannelMLP, theirs: Any) -> None:
    for layer, convolution in zip((ours.expand, ours.contract), theirs.fcs, strict=True):
        layer.weight.copy_(convolution.weight[..., 0])
        layer.bias.copy_(convolution.bias)


def training_step(model: nn.Module, u: Tensor) -> None:
    """Forward and backward pass, no optimiser."""
    model.zero_grad(set_to_none=True)
    model(u).square().mean().backward()


def relative_difference(a: Tensor, b: Tensor) -> float:
    """||a - b|| / ||b||."""
    return float(torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(b))


def measure(size: str, repetitions: int, *, with_compiled: bool) -> dict:
    """All rows of one size: medians, ratios to neuraloperator, and output differences."""
    from neuralop.models import FNO as NeuralOperatorFNO

    setting = SIZES[size]
    torch.compiler.reset()  # else the second size meets the recompilation limit and runs eagerly
    torch.manual_seed(0)
    reference = NeuralOperatorFNO(
        n_modes=setting["n_modes"],
        in_channels=1,
        out_channels=1,
        hidden_channels=setting["width"],
        n_layers=4,
    )
    eager: dict[str, Any] = {REFERENCE: reference, "ours": from_neuraloperator(reference)}
    u = torch.randn(setting["batch"], 1, *setting["space"])
    with torch.no_grad():
        outputs = {name: model(u) for name, model in eager.items()}
    rows = compare(eager, u, outputs, GOALS[size], repetitions)
    if with_compiled:
        # A group of its own: code and memory of the compiled models must not disturb the eager.
        compiled = {f"{name} compiled": torch.compile(model) for name, model in eager.items()}
        models = {REFERENCE: reference, **compiled}
        compiled_rows = compare(models, u, outputs, GOALS[size], repetitions)
        rows |= {name: compiled_rows[name] for name in compiled}
    parameters = sum(p.numel() for p in eager["ours"].parameters())
    return {"setting": setting, "depth": 4, "parameters": parameters, "rows": rows}


def compare(
    models: dict[str, Any],
    u: Tensor,
    eager_outputs: dict[str, Tensor],
    goals: dict[str, float],
    repetitions: int,
) -> dict[str, dict]:
    """Rows of models that take turns, each with its ratios to neuraloperator in this group."""
    with torch.no_grad():
        outputs = {name: model(u) for name, model in models.items()}
        forward = interleaved_medians(
            {name: lambda model=model: model(u) for name, model in models.items()}, repetitions
        )
    both = interleaved_medians(
        {name: lambda model=model: training_step(model, u) for name, model in models.items()},
        repetitions,
    )
    return {
        name: {
            "forward_ms": 1e3 * forward[name],
            "forward_speedup": forward[REFERENCE] / forward[name],
            "training_step_ms": 1e3 * both[name],
            "training_step_speedup": both[REFERENCE] / both[name],
            "goal": goals.get(name),
            "difference_to_neuraloperator": relative_difference(outputs[name], outputs[REFERENCE]),
            "difference_to_eager": relative_difference(
                outputs[name], eager_outputs[name.removesuffix(" compiled")]
            ),
        }
        for name in models
    }


def main() -> None:
    """Measure, print a table, write the JSON file."""
    parser = argparse.ArgumentParser(
        description="Our FNO against neuraloperator's, equal size and weights."
    )
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--skip-compiled", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    results = provenance("neuraloperator") | {"threads": arguments.threads, "sizes": {}}
    for size in arguments.sizes:
        result = measure(size, arguments.repetitions, with_compiled=not arguments.skip_compiled)
        results["sizes"][size] = result
        print(f"{size} {result['setting']}, {result['parameters']} parameters")
        print(
            f"{'':24}{'fwd ms':>9}{'x':>6}{'step ms':>9}{'x':>6}{'goal':>6}  vs neuralop  vs eager"
        )
        for name, row in result["rows"].items():
            print(
                f"{name:24}{row['forward_ms']:9.1f}{row['forward_speedup']:6.2f}"
                f"{row['training_step_ms']:9.1f}{row['training_step_speedup']:6.2f}"
                f"{row['goal'] or '':>6}  {row['difference_to_neuraloperator']:11.1e}"
                f"  {row['difference_to_eager']:8.1e}"
            )
    print("written to", write_result("fno", results))


if __name__ == "__main__":
    main()
