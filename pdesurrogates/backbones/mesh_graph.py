"""Which node hears which? Nodes, edges and marks of a mesh as one object that is built once."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import KDTree
from torch import Tensor

__all__ = [
    "FREE_TYPES",
    "Extent",
    "MeshGraph",
    "Points",
    "as_integers",
    "as_periods",
    "as_positions",
    "disjoint_union",
    "graph_of_edges",
    "refuse_duplicates",
    "search_tree",
]

FREE_TYPES = (0, 5)
"""Node types whose values evolve in the MeshGraphNets data sets: normal and outflow."""

Points = Tensor | np.ndarray
Extent = Sequence[float | None]


@dataclass(frozen=True, eq=False)
class MeshGraph:
    """Nodes in space and the edges along which they talk.

    Built by `mesh_graph`, `radius_graph`, `nearest_graph`, `grid_graph` or `graph_of_edges`, which
    check their input; the constructor does not. A state on the graph is (batch, channel, node).

    Args:
        positions: (node, dim), float64 [length].
        edge_index: Sender and receiver of every edge, int64 (2, edge): every edge in both
            directions, none from a node to itself, sorted by receiver and then by sender.
        relative_positions: Sender minus receiver, (edge, dim), of the nearest image where the
            domain is periodic [length].
        mean_edge_length: Mean length of the edges of the mesh that an edge belongs to, (edge,)
            [length].
        degree: Edges that end at each node, int64 (node,).
        node_type: Kind of each node, int64 (node,), or `None` where all are alike.
        is_fixed: Which nodes keep their prescribed value, bool (node,), or `None` for none.
        extent: Period per axis, `None` for an axis that is not periodic [length].
    """

    positions: Tensor
    edge_index: Tensor
    relative_positions: Tensor
    mean_edge_length: Tensor
    degree: Tensor
    node_type: Tensor | None = None
    is_fixed: Tensor | None = None
    extent: tuple[float | None, ...] | None = None

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return self.positions.shape[0]

    @property
    def num_edges(self) -> int:
        """Number of edges, both directions counted."""
        return self.edge_index.shape[1]

    @property
    def dim(self) -> int:
        """Coordinates per node."""
        return self.positions.shape[1]

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> MeshGraph:
        """The same graph with its tensors on a device; itself if they are there."""
        if self.positions.device == torch.device(device):
            return self
        moved = {
            name: value.to(device, non_blocking=non_blocking)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return dataclasses.replace(self, **moved)

    def __repr__(self) -> str:
        fixed = 0 if self.is_fixed is None else int(self.is_fixed.sum())
        return (
            f"MeshGraph({self.num_nodes} nodes in {self.dim}D, {self.num_edges} edges, "
            f"{fixed} fixed nodes)"
        )


def graph_of_edges(
    points: Points,
    edges: Points,
    *,
    extent: Extent | None = None,
    node_type: Points | None = None,
    free_types: Sequence[int] = FREE_TYPES,
    is_fixed: Points | None = None,
    where: str = "graph_of_edges",
) -> MeshGraph:
    """The graph of given edges, each made to go both ways.

    Args:
        points: Coordinates (node, dim) [length].
        edges: Pairs of nodes (2, edge); loops are left out, repeats count once.
        extent: Period per axis, `None` for an axis that is not periodic [length].
        node_type: Kind of each node (node,).
        free_types: Kinds whose values evolve; nodes of all other kinds keep their value.
        is_fixed: Which nodes keep their value, (node,), instead of telling it from their type.
        where: Name of the caller, for messages.

    Raises:
        ValueError: If there are duplicate points, isolated nodes, values that are not finite, or
            edges name nodes that do not exist.
    """
    positions = as_positions(points, where=where)
    periods = as_periods(extent, positions, where=where)
    refuse_duplicates(search_tree(positions, periods), positions, where=where)
    index = _edge_index(
        as_integers(edges, where=where, name="edges"), positions.shape[0], where=where
    )
    degree = torch.bincount(index[1], minlength=len(positions))
    _refuse_isolated(degree, where=where)
    senders, receivers = index
    relative = positions[senders] - positions[receivers]
    for axis, length in enumerate(periods):
        if length is not None:
            relative[:, axis] -= length * torch.round(relative[:, axis] / length)
    kinds, fixed = _kinds(node_type, free_types, is_fixed, len(positions), where=where)
    return MeshGraph(
        positions=positions,
        edge_index=index,
        relative_positions=relative,
        mean_edge_length=relative.norm(dim=1).mean().expand(index.shape[1]).contiguous(),
        degree=degree,
        node_type=kinds,
        is_fixed=fixed,
        extent=None if extent is None else periods,
    )


def disjoint_union(meshes: Sequence[MeshGraph]) -> MeshGraph:
    """Several meshes as one graph without edges between them; nodes in the order given.

    Networks treat the parts as if they were alone; node states are joined by `torch.cat` along
    the last axis.

    Raises:
        ValueError: If there is none, or their dimensions or periods differ.
    """
    if not meshes:
        raise ValueError("disjoint_union: needs at least one mesh, got none.")
    first = meshes[0]
    for mesh in meshes:
        if mesh.dim != first.dim or mesh.extent != first.extent:
            raise ValueError(
                "disjoint_union: all meshes must have the same dimension and periods, "
                f"({first.dim}, {first.extent}), got ({mesh.dim}, {mesh.extent})."
            )
    starts = np.cumsum([0, *(mesh.num_nodes for mesh in meshes[:-1])]).tolist()

    def joined(name: str, empty: torch.dtype) -> Tensor | None:
        """A mark of nodes, zero where a mesh has none; `None` if no mesh has it."""
        if all(getattr(mesh, name) is None for mesh in meshes):
            return None
        blank = [mesh.degree.new_zeros(mesh.num_nodes, dtype=empty) for mesh in meshes]
        return torch.cat(
            [
                zeros if getattr(mesh, name) is None else getattr(mesh, name)
                for mesh, zeros in zip(meshes, blank, strict=True)
            ]
        )

    return MeshGraph(
        positions=torch.cat([mesh.positions for mesh in meshes]),
        edge_index=torch.cat(
            [mesh.edge_index + start for mesh, start in zip(meshes, starts, strict=True)], dim=1
        ),
        relative_positions=torch.cat([mesh.relative_positions for mesh in meshes]),
        mean_edge_length=torch.cat([mesh.mean_edge_length for mesh in meshes]),
        degree=torch.cat([mesh.degree for mesh in meshes]),
        node_type=joined("node_type", torch.int64),
        is_fixed=joined("is_fixed", torch.bool),
        extent=first.extent,
    )


# --- checks and conversions -----------------------------------------------------------------


def as_positions(points: Points, *, where: str) -> Tensor:
    """Coordinates as a float64 tensor (node, 1 to 3)."""
    positions = torch.as_tensor(points).detach().cpu().to(torch.float64)
    if positions.ndim != 2 or not 1 <= positions.shape[1] <= 3:
        raise ValueError(
            f"{where}: `points` must have shape (node, 1 to 3), got {tuple(positions.shape)}."
        )
    bad = (~torch.isfinite(positions).all(dim=1)).nonzero()[:, 0]
    if len(bad):
        raise ValueError(
            f"{where}: coordinates must be finite, got NaN or Inf at {_some(bad)}; remove these "
            "nodes and the cells that use them."
        )
    return positions


def as_integers(values: Points, *, where: str, name: str) -> Tensor:
    """Numbers of nodes or types as an int64 tensor."""
    numbers = torch.as_tensor(values).detach().cpu()
    if numbers.is_floating_point() or numbers.is_complex() or numbers.dtype == torch.bool:
        raise TypeError(f"{where}: `{name}` must hold integers, got {numbers.dtype}.")
    return numbers.to(torch.int64)


def as_periods(
    extent: Extent | None, positions: Tensor, *, where: str
) -> tuple[float | None, ...]:
    """The period of each axis, `None` for those that are not periodic."""
    dim = positions.shape[1]
    if extent is None:
        return (None,) * dim
    periods = tuple(None if length is None else float(length) for length in extent)
    if len(periods) != dim or not all(p is None or 0 < p < float("inf") for p in periods):
        raise ValueError(
            f"{where}: `extent` must have one positive period or None for each of the {dim} "
            f"axes, got {periods}."
        )
    return periods


def search_tree(positions: Tensor, periods: tuple[float | None, ...]) -> KDTree:
    """A search tree; in periodic axes every point is moved into one period first."""
    points, sizes = positions.numpy().copy(), np.zeros(len(periods))
    for axis, length in enumerate(periods):
        if length is not None:
            points[:, axis] %= length
            points[points[:, axis] >= length, axis] = 0.0  # rounding of a tiny negative number
            sizes[axis] = length
    return KDTree(points, boxsize=sizes if sizes.any() else None)


def refuse_duplicates(tree: KDTree, positions: Tensor, *, where: str) -> None:
    """Refuse points that coincide to within rounding, naming the first pairs."""
    if len(positions) < 2:
        return
    size = float((positions.amax(dim=0) - positions.amin(dim=0)).max())
    distances, neighbours = (np.asarray(found) for found in tree.query(tree.data, k=2))
    close = np.flatnonzero(distances[:, 1] <= 1e-12 * size)
    if len(close):
        pairs = sorted({tuple(sorted(map(int, neighbours[n]))) for n in close})
        some = ", ".join(f"{a} and {b}" for a, b in pairs[:3])
        raise ValueError(
            f"{where}: no two nodes may be at one place, got {len(pairs)} pair(s): {some}"
            f"{' ...' if len(pairs) > 3 else ''}; merge them (numpy.unique with axis=0 and "
            "return_inverse) and renumber the cells."
        )


def _edge_index(edges: Tensor, num_nodes: int, *, where: str) -> Tensor:
    """Edges in both directions, without loops and repeats, sorted by receiver, then sender."""
    if edges.ndim != 2 or edges.shape[0] != 2:
        raise ValueError(f"{where}: `edges` must have shape (2, edge), got {tuple(edges.shape)}.")
    if edges.numel() and (int(edges.min()) < 0 or int(edges.max()) >= num_nodes):
        raise ValueError(
            f"{where}: cells and edges must name nodes 0 .. {num_nodes - 1}, got "
            f"{int(edges.min())} .. {int(edges.max())}; numbers may count from 1 or belong to "
            "another mesh."
        )
    edges = edges[:, edges[0] != edges[1]]
    both = torch.cat((edges, edges.flip(0)), dim=1)
    codes = torch.unique(both[1] * num_nodes + both[0])
    return torch.stack((codes % num_nodes, codes // num_nodes))


def _refuse_isolated(degree: Tensor, *, where: str) -> None:
    alone = (degree == 0).nonzero()[:, 0]
    if len(alone):
        raise ValueError(
            f"{where}: every node needs a neighbour, got {len(alone)} isolated node(s): "
            f"{_some(alone)}; remove them, enlarge the radius, or check the cells."
        )


def _kinds(
    node_type: Points | None,
    free_types: Sequence[int],
    is_fixed: Points | None,
    num_nodes: int,
    *,
    where: str,
) -> tuple[Tensor | None, Tensor | None]:
    """Types and marks of fixed nodes, checked."""
    kinds = fixed = None
    if node_type is not None:
        kinds = as_integers(node_type, where=where, name="node_type")
        if tuple(kinds.shape) != (num_nodes,) or (len(kinds) and int(kinds.min()) < 0):
            raise ValueError(
                f"{where}: `node_type` must hold one number from 0 for each of the {num_nodes} "
                f"nodes, got shape {tuple(kinds.shape)}."
            )
        fixed = ~torch.isin(kinds, torch.tensor(tuple(free_types), dtype=torch.int64))
    if is_fixed is not None:
        fixed = torch.as_tensor(is_fixed).detach().cpu()
        if tuple(fixed.shape) != (num_nodes,) or fixed.dtype != torch.bool:
            raise ValueError(
                f"{where}: `is_fixed` must hold one bool for each of the {num_nodes} nodes, got "
                f"{fixed.dtype} of shape {tuple(fixed.shape)}."
            )
    return kinds, None if fixed is None or not bool(fixed.any()) else fixed


def _some(nodes: Tensor) -> str:
    """The first few of many nodes, in words."""
    shown = ", ".join(map(str, nodes[:5].tolist()))
    return f"node(s) {shown}{' ...' if len(nodes) > 5 else ''}"
