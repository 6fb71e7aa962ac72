"""Which nodes are neighbours? Sides of cells, points nearby, points of a grid; with SciPy."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import torch

from pdesurrogates.backbones.mesh_graph import (
    FREE_TYPES,
    Extent,
    MeshGraph,
    Points,
    as_integers,
    as_periods,
    as_positions,
    graph_of_edges,
    refuse_duplicates,
    search_tree,
)
from pdesurrogates.core import Grid

__all__ = ["grid_graph", "mesh_graph", "nearest_graph", "radius_graph"]

_SIDES = {
    2: ((0, 1),),
    3: ((0, 1), (1, 2), (2, 0)),
    "quadrilateral": ((0, 1), (1, 2), (2, 3), (3, 0)),
    "tetrahedron": ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)),
}


def mesh_graph(
    points: Points,
    cells: Points,
    *,
    node_type: Points | None = None,
    free_types: Sequence[int] = FREE_TYPES,
    is_fixed: Points | None = None,
) -> MeshGraph:
    """The graph of a mesh: the edges of its cells.

    Two corners are a segment, three a triangle, four a quadrilateral (corners in order) in 2D and
    a tetrahedron in 3D.

    Args:
        points: Coordinates (node, dim) [length].
        cells: Corners of each cell as numbers of nodes, (cell, 2 to 4).
        node_type: Kind of each node (node,).
        free_types: Kinds whose values evolve; nodes of all other kinds keep their value.
        is_fixed: Which nodes keep their value, (node,), instead of telling it from their type.

    Raises:
        ValueError: If there are duplicate points, isolated nodes, values that are not finite, or
            cells name nodes that do not exist.

    Example:
        >>> points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> mesh_graph(points, torch.tensor([[0, 1, 2]])).edge_index.tolist()
        [[1, 2, 0, 2, 0, 1], [0, 0, 1, 1, 2, 2]]
    """
    positions = as_positions(points, where="mesh_graph")
    corners = as_integers(cells, where="mesh_graph", name="cells")
    if corners.ndim != 2 or corners.shape[1] not in (2, 3, 4):
        raise ValueError(
            "mesh_graph: `cells` must have shape (cell, 2 to 4), corners of segments, triangles, "
            f"quadrilaterals or tetrahedra, got {tuple(corners.shape)}."
        )
    number = int(corners.shape[1])
    kind = ("tetrahedron" if positions.shape[1] == 3 else "quadrilateral") if number == 4 else None
    pairs = torch.cat([corners[:, list(side)] for side in _SIDES[kind or number]])
    return graph_of_edges(
        positions,
        pairs.T,
        node_type=node_type,
        free_types=free_types,
        is_fixed=is_fixed,
        where="mesh_graph",
    )


def radius_graph(
    points: Points,
    radius: float,
    extent: Extent | None = None,
    *,
    node_type: Points | None = None,
    free_types: Sequence[int] = FREE_TYPES,
    is_fixed: Points | None = None,
) -> MeshGraph:
    """The graph of points that lie within a radius of each other.

    Args:
        points: Coordinates (node, dim) [length].
        radius: Largest length of an edge; less than half of every period [length].
        extent: Period per axis, `None` for an axis that is not periodic [length].
        node_type, free_types, is_fixed: See `mesh_graph`.

    Raises:
        ValueError: As `graph_of_edges`, or if an edge could go round the domain both ways.
    """
    positions = as_positions(points, where="radius_graph")
    if not radius > 0:
        raise ValueError(f"radius_graph: `radius` must be positive, got {radius}.")
    periods = as_periods(extent, positions, where="radius_graph")
    for length in periods:
        if length is not None and radius >= length / 2:
            raise ValueError(
                f"radius_graph: `radius` must be less than half of every period, got {radius} for "
                f"a period of {length}; choose a smaller radius."
            )
    pairs = search_tree(positions, periods).query_pairs(radius, output_type="ndarray")
    edges = torch.from_numpy(np.asarray(pairs, dtype=np.int64).reshape(-1, 2)).T
    return graph_of_edges(
        positions,
        edges,
        extent=extent,
        node_type=node_type,
        free_types=free_types,
        is_fixed=is_fixed,
        where="radius_graph",
    )


def nearest_graph(
    points: Points,
    num_neighbours: int,
    extent: Extent | None = None,
    *,
    node_type: Points | None = None,
    free_types: Sequence[int] = FREE_TYPES,
    is_fixed: Points | None = None,
) -> MeshGraph:
    """The graph of nearest neighbours; an edge exists if either end is a neighbour of the other.

    Args:
        points: Coordinates (node, dim) [length].
        num_neighbours: Neighbours that every node looks for.
        extent: Period per axis, `None` for an axis that is not periodic [length].
        node_type, free_types, is_fixed: See `mesh_graph`.

    Raises:
        ValueError: As `graph_of_edges`, or if there are not enough points.
    """
    positions = as_positions(points, where="nearest_graph")
    if not 1 <= num_neighbours < len(positions):
        raise ValueError(
            "nearest_graph: `num_neighbours` must lie between 1 and the number of points less "
            f"one, {len(positions) - 1}, got {num_neighbours}."
        )
    tree = search_tree(positions, as_periods(extent, positions, where="nearest_graph"))
    refuse_duplicates(tree, positions, where="nearest_graph")
    _, neighbours = tree.query(tree.data, k=num_neighbours + 1)
    senders = torch.from_numpy(np.asarray(neighbours, dtype=np.int64)[:, 1:])
    receivers = torch.arange(len(positions))[:, None].expand_as(senders)
    edges = torch.stack((senders.flatten(), receivers.flatten()))
    return graph_of_edges(
        positions,
        edges,
        extent=extent,
        node_type=node_type,
        free_types=free_types,
        is_fixed=is_fixed,
        where="nearest_graph",
    )


def grid_graph(grid: Grid, *, diagonals: bool = False) -> MeshGraph:
    """The graph of a grid: neighbours along the axes, round the ends of periodic ones.

    Node n is the n-th point in row-major order: a state of the graph is `u.flatten(2)`.

    Args:
        grid: The grid; periodic axes need at least three points.
        diagonals: Whether neighbours across corners are joined as well.

    Example:
        >>> grid_graph(Grid(num_points=(4,), extent=(1.0,))).edge_index.tolist()
        [[1, 3, 0, 2, 1, 3, 0, 2], [0, 0, 1, 1, 2, 2, 3, 3]]
    """
    for axis, (n, periodic) in enumerate(zip(grid.shape, grid.is_periodic, strict=True)):
        if periodic and n < 3:
            raise ValueError(
                f"grid_graph: a periodic axis needs at least 3 points, got {n} on axis {axis}: "
                "with fewer, both neighbours are one node."
            )
    index = torch.arange(int(np.prod(grid.shape))).reshape(grid.shape)
    edges = []
    for step in product((-1, 0, 1), repeat=grid.dim):
        if not any(step) or (not diagonals and sum(map(abs, step)) > 1):
            continue
        senders = index.roll([-s for s in step], tuple(range(grid.dim)))
        exists = torch.ones(grid.shape, dtype=torch.bool)
        for axis, s in enumerate(step):
            if s and not grid.is_periodic[axis]:
                exists.select(axis, -1 if s > 0 else 0).fill_(False)
        edges.append(torch.stack((senders[exists], index[exists])))
    positions = grid.coordinates().flatten(1).T.contiguous()
    periods = [
        length if periodic else None
        for length, periodic in zip(grid.extent, grid.is_periodic, strict=True)
    ]
    return graph_of_edges(positions, torch.cat(edges, dim=1), extent=periods, where="grid_graph")
