"""The meshes of a file as graphs, one object for all trajectories that share a mesh."""

from __future__ import annotations

from collections.abc import Sequence

from pdesurrogates.backbones import FREE_TYPES, MeshGraph, mesh_graph
from pdesurrogates.data import MeshTrajectoryFile

__all__ = ["mesh_graphs"]


def mesh_graphs(
    file: MeshTrajectoryFile, *, free_types: Sequence[int] = FREE_TYPES
) -> list[MeshGraph]:
    """The graph of each trajectory's mesh; equal meshes are one object.

    Args:
        file: Trajectories on meshes that do not move.
        free_types: Node types whose values evolve; all other nodes keep their value.

    Raises:
        ValueError: If points move, or as `mesh_graph` does, naming the trajectory.
    """
    known: dict[tuple[bytes, ...], MeshGraph] = {}
    graphs = []
    for index in range(file.num_trajectories):
        points, cells, kinds = file.points(index), file.cells(index), file.node_type(index)
        if points.ndim != 2:
            raise ValueError(
                f"mesh_graphs: the points of {file.name}, trajectory {index}, move; only meshes "
                "that stay can be graphs here."
            )
        key = tuple(array.numpy().tobytes() for array in (points, cells, kinds))
        if key not in known:
            try:
                known[key] = mesh_graph(points, cells, node_type=kinds, free_types=free_types)
            except ValueError as error:
                raise ValueError(f"{file.name}, trajectory {index}: {error}") from error
        graphs.append(known[key])
    return graphs
