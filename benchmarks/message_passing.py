"""Training step and peak memory of our message passing against torch-geometric's.

    python benchmarks/message_passing.py [--threads 1] [--repetitions 15] [--sizes small wide]

The peers are the same networks written as one writes them with torch-geometric: its
`MessagePassing` layers, inputs of the edge network fetched for every edge and concatenated, a
`Batch` of graphs that all have the same mesh. They take our weights, and before anything is timed
outputs agree to 1e-5, and outputs and gradients in float64 to 1e-10. A training step is forward
pass, mean square, backward pass; the optimiser is the same for both. Memory is the peak of what
tensors take during one step.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from harness import interleaved_medians, provenance, write_result
from scipy.spatial import Delaunay
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch_geometric.data import Batch
from torch_geometric.nn import MessagePassing as Layer

from pdesurrogates.backbones import (
    DifferenceMessagePassing,
    MeshBackbone,
    MeshGraph,
    MessagePassing,
    mesh_graph,
    to_data,
)

SIZES = {
    "small": {"nodes": 400, "batch": 8, "width": 32, "depth": 4},
    "wide": {"nodes": 1900, "batch": 2, "width": 128, "depth": 5},
}
KINDS = {"MeshGraphNets": MessagePassing, "MP-PDE": DifferenceMessagePassing}
GOAL = 1.3
TOLERANCES = {"output": 1e-5, "output_float64": 1e-10, "gradient_float64": 1e-10}


class PlainMLP(nn.Module):
    """A perceptron of ours as a sequence of torch's layers."""

    def __init__(self, part: Any, activation: type[nn.Module], *, ends_active: bool) -> None:
        super().__init__()
        others = getattr(part, "others", None) or [part.second]
        layers: list[nn.Module] = [part.first]
        for linear in others:
            layers += [activation(), linear]
        if ends_active:
            layers.append(activation())
        if getattr(part, "norm", None) is not None:
            layers.append(part.norm)
        self.layers = nn.Sequential(*layers)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.layers(torch.cat(inputs, dim=-1))


class PlainRound(Layer):
    """MeshGraphNets: edges are updated, their sum is sent to the nodes."""

    def __init__(self, part: Any) -> None:
        super().__init__(aggr="sum")
        self.edge_mlp = PlainMLP(part.edge_update, nn.ReLU, ends_active=False)
        self.node_mlp = PlainMLP(part.node_update, nn.ReLU, ends_active=False)

    def forward(self, v: Tensor, e: Tensor, edge_index: Tensor) -> tuple[Tensor, Tensor]:
        new = self.edge_updater(edge_index, v=v, e=e)
        total = self.propagate(edge_index, new=new, size=(len(v), len(v)))
        return v + self.node_mlp(v, total), e + new

    def edge_update(self, v_j: Tensor, v_i: Tensor, e: Tensor) -> Tensor:
        return self.edge_mlp(v_j, v_i, e)

    def message(self, new: Tensor) -> Tensor:
        return new


class PlainDifferenceRound(Layer):
    """MP-PDE: messages of both ends, their difference and their relative position; mean."""

    def __init__(self, part: Any) -> None:
        super().__init__(aggr="mean")
        self.message_mlp = PlainMLP(part.message, nn.SiLU, ends_active=True)
        self.update_mlp = PlainMLP(part.update, nn.SiLU, ends_active=True)
        self.norm = part.norm

    def forward(self, f: Tensor, u: Tensor, geometry: Tensor, edge_index: Tensor) -> Tensor:
        mean = self.propagate(edge_index, f=f, u=u, geometry=geometry)
        return f + self.norm(self.update_mlp(f, mean))

    def message(
        self, f_i: Tensor, f_j: Tensor, u_i: Tensor, u_j: Tensor, geometry: Tensor
    ) -> Tensor:
        return self.message_mlp(f_i, f_j, u_i - u_j, geometry)


class Plain(nn.Module):
    """Either network on a `Batch`; the weights are those of ours."""

    def __init__(self, network: MessagePassing | DifferenceMessagePassing) -> None:
        super().__init__()
        self.has_edges = isinstance(network, MessagePassing)
        if isinstance(network, MessagePassing):
            self.encode = PlainMLP(network.encode_nodes, nn.ReLU, ends_active=False)
            self.encode_edges = PlainMLP(network.encode_edges, nn.ReLU, ends_active=False)
            self.decode = PlainMLP(network.decode, nn.ReLU, ends_active=False)
            self.rounds = nn.ModuleList(PlainRound(part) for part in network.rounds)
        else:
            self.encode = PlainMLP(network.encode, nn.SiLU, ends_active=True)
            self.decode = network.decode
            self.rounds = nn.ModuleList(PlainDifferenceRound(part) for part in network.rounds)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        v = self.encode(x)
        if self.has_edges:
            e = self.encode_edges(edge_attr)
            for step in self.rounds:
                v, e = step(v, e, edge_index)
            return self.decode(v)
        geometry = torch.cat((-edge_attr[:, :-1], edge_attr[:, -1:]), dim=1)
        for step in self.rounds:
            v = step(v, x, geometry, edge_index)
        return self.decode(v)


def peak_memory(step: Any, network: nn.Module) -> int:
    """Largest number of bytes that tensors of one training step hold at a time."""
    network.zero_grad(set_to_none=True)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step()
    events = recorded.profiler.kineto_results.events()
    changes = [(e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"]
    held, peak = 0, 0
    for _, change in sorted(changes, key=lambda entry: entry[0]):
        held += change
        peak = max(peak, held)
    return peak


def make_mesh(num_nodes: int) -> MeshGraph:
    points = np.random.default_rng(0).random((num_nodes, 2))
    return mesh_graph(points, Delaunay(points).simplices)


def measure(kind: str, size: str, repetitions: int) -> dict[str, Any]:
    """Check that both give the same, then time them in turns."""
    setting = SIZES[size]
    torch.manual_seed(0)
    mesh = make_mesh(setting["nodes"])
    network: MeshBackbone = KINDS[kind](1, 1, width=setting["width"], depth=setting["depth"])
    ours, plain = network.on(mesh), Plain(network)
    u = torch.randn(setting["batch"], 1, mesh.num_nodes)
    batch = Batch.from_data_list([to_data(mesh, sample) for sample in u])
    vectors = mesh.relative_positions.repeat(len(u), 1) / mesh.mean_edge_length[0]
    features = torch.cat((vectors, vectors.norm(dim=1, keepdim=True)), dim=1)
    single = features.float()

    def of_plain(dtype: torch.dtype = torch.float32) -> Tensor:
        return plain(
            batch.x.to(dtype), batch.edge_index, single if dtype == torch.float32 else features
        )

    differences = {"output": difference([ours(u)], [of_plain().reshape(u.shape)])}
    network.double()  # shared by `ours` and `plain`
    outputs = [ours(u.double()), of_plain(torch.float64).reshape(u.shape)]
    weights = list(network.parameters())
    gradients = [torch.autograd.grad(output.square().mean(), weights) for output in outputs]
    differences["output_float64"] = difference(outputs[:1], outputs[1:])
    differences["gradient_float64"] = difference(*gradients)
    network.float()
    for name, tolerance in TOLERANCES.items():
        if not differences[name] < tolerance:
            raise RuntimeError(f"{kind} {size}: the networks differ, {differences}")

    def training_step(forward: Any) -> Any:
        def step() -> None:
            network.zero_grad(set_to_none=True)
            forward().square().mean().backward()

        return step

    steps = {"ours": training_step(lambda: ours(u)), "plain": training_step(of_plain)}
    seconds = interleaved_medians(steps, repetitions)
    with torch.inference_mode():
        forward = interleaved_medians({"ours": lambda: ours(u), "plain": of_plain}, repetitions)
    memory = {name: peak_memory(step, network) for name, step in steps.items()}
    return {
        "kind": kind,
        "setting": {**setting, "edges": mesh.num_edges},
        "parameters": sum(p.numel() for p in network.parameters()),
        "differences": differences,
        "training_step_ms": {name: value * 1e3 for name, value in seconds.items()},
        "training_step_speedup": seconds["plain"] / seconds["ours"],
        "forward_ms": {name: value * 1e3 for name, value in forward.items()},
        "forward_speedup": forward["plain"] / forward["ours"],
        "peak_memory_mib": {name: value / 2**20 for name, value in memory.items()},
        "peak_memory_ratio": memory["ours"] / memory["plain"],
        "goal": GOAL,
    }


def difference(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Relative difference of two lists of tensors."""
    a, b = (torch.cat([v.detach().flatten() for v in values]) for values in (found, expected))
    return float((a - b).norm() / b.norm())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = [
        measure(kind, size, arguments.repetitions) for size in arguments.sizes for kind in KINDS
    ]
    print(f"{'':22}{'step ms':>9}{'x':>6}{'fwd ms':>9}{'x':>6}{'goal':>6}{'MiB':>8}{'ratio':>7}")
    for size, row in zip(np.repeat(arguments.sizes, len(KINDS)), rows, strict=True):
        print(
            f"{size:6} {row['kind']:15}{row['training_step_ms']['ours']:9.1f}"
            f"{row['training_step_speedup']:6.2f}{row['forward_ms']['ours']:9.1f}"
            f"{row['forward_speedup']:6.2f}{row['goal']:6.1f}"
            f"{row['peak_memory_mib']['ours']:8.1f}{row['peak_memory_ratio']:7.2f}"
        )
    result = provenance("torch_geometric") | {"threads": arguments.threads, "rows": rows}
    print("written to", write_result("message_passing", result))


if __name__ == "__main__":
    main()
