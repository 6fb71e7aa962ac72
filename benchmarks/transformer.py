"""Training step, forward pass and memory of our operator transformer against a Swin-v2.

Swin-v2 is an encoder; ours is an encoder and a decoder of the same layers, joined by skip blocks.
So two comparisons are made at equal width, depth, heads, window, patch and image, in float32 and
without conditions:

    encoder    our encoder alone, with the weights of theirs and the same output, against theirs;
    whole      our whole network against theirs, both per attention layer: we have twice as many.
               Skip blocks, splitting of tokens and recovery of patches count against us.

With padding "zeros" windows at the edges are masked as in Swin-v2; with "periodic" nothing is.
All rows of a size take turns in one process. Memory is the peak of what tensors take during one
training step, gradients included, beyond what they took before it.

    python benchmarks/transformer.py [--repetitions 15]

Swin-v2 is that of the package transformers, which must be installed.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from harness import interleaved_medians, provenance, write_result
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from pdesurrogates.backbones import OperatorTransformer

__all__ = ["copy_weights", "main", "pair"]

SIZES = {
    "T": {
        "space": (128, 128),
        "batch": 8,
        "width": 48,
        "depths": (4, 4, 4, 4),
        "num_heads": (3, 6, 12, 24),
        "window_size": 16,
    },
    "small": {
        "space": (64, 64),
        "batch": 16,
        "width": 32,
        "depths": (4, 4),
        "num_heads": (4, 8),
        "window_size": 8,
    },
}
REFERENCE = "transformers Swin-v2"
GOAL = 1.3


class Peer(nn.Module):
    """Patches and encoder of a Swin-v2 model of transformers."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.embeddings, self.encoder = model.embeddings, model.encoder

    def forward(self, u: Tensor) -> Tensor:
        x, space = self.embeddings(u)
        return self.encoder(x, space).last_hidden_state


class Encoder(nn.Module):
    """Patches and encoder of our network as Swin-v2 joins them: no skip, no addition."""

    def __init__(self, model: OperatorTransformer) -> None:
        super().__init__()
        self.embed, self.embed_norm = model.embed, model.embed_norm
        self.levels, self.merge, self.windows = model.encoder, model.merge, model.windows

    def forward(self, u: Tensor) -> Tensor:
        x = self.embed_norm(self.embed(u).movedim(1, -1), None)
        for n, level in enumerate(self.levels):
            x = level(x, self.windows(x), None)
            if n < len(self.merge):
                x = self.merge[n](x, None)
        return x.flatten(1, -2)


def pair(
    space: tuple[int, ...],
    *,
    width: int,
    depths: tuple[int, ...],
    num_heads: tuple[int, ...],
    window_size: int,
    in_channels: int = 4,
    patch_size: int = 4,
    padding: str = "zeros",
) -> tuple[Peer, OperatorTransformer]:
    """A Swin-v2 encoder and our network with an encoder of the same size and weights."""
    from transformers import Swinv2Config, Swinv2Model

    config = Swinv2Config(
        image_size=space,
        patch_size=patch_size,
        num_channels=in_channels,
        embed_dim=width,
        depths=list(depths),
        num_heads=list(num_heads),
        window_size=window_size,
        drop_path_rate=0.0,
    )
    theirs = Peer(Swinv2Model(config, add_pooling_layer=False))
    ours = OperatorTransformer(
        in_channels,
        in_channels,
        patch_size=patch_size,
        width=width,
        depths=depths,
        num_heads=num_heads,
        window_size=window_size,
        skip_depths=(*[2] * (len(depths) - 1), 0),
        padding=padding,
    )
    copy_weights(theirs, ours)
    return theirs, ours


@torch.no_grad()
def copy_weights(theirs: Peer, ours: OperatorTransformer) -> None:
    """Give the encoder of our network the weights of a Swin-v2 encoder."""
    ours.embed.load_state_dict(theirs.embeddings.patch_embeddings.projection.state_dict())
    ours.embed_norm.norm.load_state_dict(theirs.embeddings.norm.state_dict())
    for n, stage in enumerate(theirs.encoder.layers):
        if stage.downsample is not None:
            ours.merge[n].reduce.load_state_dict(stage.downsample.reduction.state_dict())
            ours.merge[n].norm.norm.load_state_dict(stage.downsample.norm.state_dict())
        for layer, block in zip(ours.encoder[n].layers, stage.blocks, strict=True):
            peer = block.attention.self
            parts = (peer.query, peer.key, peer.value)
            layer.attention.query_key_value.weight.copy_(torch.cat([p.weight for p in parts]))
            layer.attention.query_bias.copy_(peer.query.bias)
            layer.attention.value_bias.copy_(peer.value.bias)
            layer.attention.logit_scale.copy_(peer.logit_scale.flatten())
            bias = peer.continuous_position_bias_mlp.state_dict()
            layer.attention.position_bias.load_state_dict(bias)
            layer.attention.project.load_state_dict(block.attention.output.dense.state_dict())
            layer.attention_norm.norm.load_state_dict(block.layernorm_before.state_dict())
            layer.mlp.expand.load_state_dict(block.intermediate.dense.state_dict())
            layer.mlp.contract.load_state_dict(block.output.dense.state_dict())
            layer.mlp_norm.norm.load_state_dict(block.layernorm_after.state_dict())


def training_step(model: nn.Module, u: Tensor) -> None:
    """Forward and backward pass, no optimiser."""
    model.zero_grad(set_to_none=True)
    model(u).square().mean().backward()


def peak_memory(model: nn.Module, u: Tensor) -> int:
    """Largest number of bytes that tensors of one training step hold at a time."""
    model.zero_grad(set_to_none=True)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        model(u).square().mean().backward()
    events = recorded.profiler.kineto_results.events()
    changes = [(e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"]
    held, peak = 0, 0
    for _, change in sorted(changes, key=lambda entry: entry[0]):
        held += change
        peak = max(peak, held)
    return peak


def measure(size: str, repetitions: int) -> dict:
    """All rows of one size: medians, memory, and ratios to Swin-v2."""
    setting = SIZES[size]
    network = {name: value for name, value in setting.items() if name != "batch"}
    torch.manual_seed(0)
    models: dict[str, Any] = {}
    for padding in ("zeros", "periodic"):
        models[REFERENCE], ours = pair(**network, padding=padding)
        models[f"encoder, {padding}"] = Encoder(ours)
        models[f"whole, {padding}"] = ours
        if padding == "zeros":
            theirs, same = models[REFERENCE], models["encoder, zeros"]
    models = {REFERENCE: theirs} | models | {REFERENCE: theirs}
    u = torch.randn(setting["batch"], 4, *setting["space"])
    with torch.no_grad():
        expected = theirs(u)
        difference = float((same(u) - expected).norm() / expected.norm())
        forward = interleaved_medians(
            {name: lambda model=model: model(u) for name, model in models.items()}, repetitions
        )
    both = interleaved_medians(
        {name: lambda model=model: training_step(model, u) for name, model in models.items()},
        repetitions,
    )
    memory = {name: peak_memory(model, u) for name, model in models.items()}
    rows = {}
    for name, model in models.items():
        layers = 2 if name.startswith("whole") else 1  # times those of Swin-v2
        rows[name] = {
            "parameters": sum(p.numel() for p in model.parameters()),
            "attention_layers": layers * sum(setting["depths"]),
            "forward_ms": 1e3 * forward[name],
            "forward_speedup": layers * forward[REFERENCE] / forward[name],
            "training_step_ms": 1e3 * both[name],
            "training_step_speedup": layers * both[REFERENCE] / both[name],
            "goal": None if name == REFERENCE else GOAL,
            "peak_memory_mib": memory[name] / 2**20,
            "peak_memory_ratio": memory[name] / memory[REFERENCE] / layers,
        }
    return {"setting": setting, "difference_of_encoders": difference, "rows": rows}


def main() -> None:
    """Measure, print a table, write the JSON file."""
    parser = argparse.ArgumentParser(
        description="Our operator transformer against the Swin-v2 of transformers."
    )
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    results = provenance("transformers") | {"threads": arguments.threads, "sizes": {}}
    for size in arguments.sizes:
        result = measure(size, arguments.repetitions)
        results["sizes"][size] = result
        print(f"{size} {result['setting']}")
        print(f"encoders differ by {result['difference_of_encoders']:.1e}")
        print(
            f"{'':22}{'fwd ms':>9}{'x':>6}{'step ms':>9}{'x':>6}{'goal':>6}{'MiB':>8}{'ratio':>7}"
        )
        for name, row in result["rows"].items():
            print(
                f"{name:22}{row['forward_ms']:9.1f}{row['forward_speedup']:6.2f}"
                f"{row['training_step_ms']:9.1f}{row['training_step_speedup']:6.2f}"
                f"{row['goal'] or '':>6}{row['peak_memory_mib']:8.1f}"
                f"{row['peak_memory_ratio']:7.2f}"
            )
    print("written to", write_result("transformer", results))


if __name__ == "__main__":
    main()
