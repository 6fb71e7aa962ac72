"""Graphs of torch-geometric as ours, and back; the only file that knows that package."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from pdesurrogates.backbones.mesh_graph import MeshGraph, disjoint_union, graph_of_edges

if TYPE_CHECKING:
    from torch_geometric.data import Data

__all__ = ["from_data", "to_data"]


def to_data(mesh: MeshGraph, u: Tensor | None = None) -> Data:
    """A mesh as a `torch_geometric.data.Data`.

    Args:
        mesh: The graph.
        u: State of one sample, (channel, node).

    Returns:
        `pos` (node, dim), `edge_index` (2, edge), `edge_attr` (edge, dim) the relative positions
        sender minus receiver, `node_type` and `is_fixed` where the mesh has them, `x` (node,
        channel) where a state is given; in the dtype of the state, else the default one.
    """
    from torch_geometric.data import Data

    dtype = torch.get_default_dtype() if u is None else u.dtype
    marks = {
        name: value
        for name, value in (("node_type", mesh.node_type), ("is_fixed", mesh.is_fixed))
        if value is not None
    }
    return Data(
        x=None if u is None else u.T.contiguous(),
        edge_index=mesh.edge_index,
        edge_attr=mesh.relative_positions.to(dtype),
        pos=mesh.positions.to(dtype),
        **marks,
    )


def from_data(data: Data, *, extent: tuple[float | None, ...] | None = None) -> MeshGraph:
    """The graph of a `torch_geometric` `Data` with `pos` and `edge_index`; a `Batch` is a union.

    Edges are made to go both ways, without loops and repeats; relative positions are computed
    anew. `node_type` and `is_fixed` are taken over where they are.

    Args:
        data: The graph.
        extent: Period per axis, `None` for an axis that is not periodic [length].

    Raises:
        ValueError: If positions or edges are missing, or as `graph_of_edges` does. The parts of
            a `Batch` may lie on top of each other; nodes of one part may not.
    """
    from torch_geometric.data import Batch, Data

    if isinstance(data, Batch):
        parts = [cast(Data, part) for part in data.to_data_list()]
        return disjoint_union([from_data(part, extent=extent) for part in parts])
    if data.pos is None or data.edge_index is None:
        raise ValueError(
            "from_data: the data must have `pos` and `edge_index`, got "
            f"{sorted(data.keys())}; torch_geometric.transforms.FaceToEdge(remove_faces=False) "
            "makes edges from faces."
        )
    kinds = data.node_type if "node_type" in data else None
    fixed = data.is_fixed if "is_fixed" in data else None
    return graph_of_edges(
        data.pos,
        data.edge_index,
        extent=extent,
        node_type=kinds,
        is_fixed=fixed,
        where="from_data",
    )
