"""Graphs of meshes, clouds and grids against brute force; what cannot be a graph is refused."""

import numpy as np
import pytest
import torch

from pdesurrogates.backbones import (
    disjoint_union,
    graph_of_edges,
    grid_graph,
    mesh_graph,
    nearest_graph,
    radius_graph,
)
from pdesurrogates.core import Grid
from tests.backbones.meshes import delaunay, random_mesh

TRIANGLE = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
CELL = torch.tensor([[0, 1, 2]])


def pairs(mesh):
    """Edges (receiver, sender) in the order of the graph."""
    return [(i, j) for j, i in mesh.edge_index.T.tolist()]


def image_distance(a, b, periods):
    """Distance to the nearest image, by trying all of them."""
    shifts = [(-p, 0.0, p) if p else (0.0,) for p in periods]
    images = np.stack(np.meshgrid(*shifts, indexing="ij"), axis=-1).reshape(-1, len(periods))
    return np.linalg.norm(b + images - a, axis=1).min()


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_edges_go_both_ways_and_are_sorted_by_receiver(dim):
    mesh = random_mesh(25, dim)
    found = pairs(mesh)
    assert found == sorted(set(found)) and len(found) == mesh.num_edges
    assert {(j, i) for i, j in found} == set(found) and all(i != j for i, j in found)
    senders, receivers = mesh.edge_index
    expected = mesh.positions[senders] - mesh.positions[receivers]
    assert torch.equal(mesh.relative_positions, expected)
    assert mesh.degree.tolist() == [sum(i == n for i, _ in found) for n in range(25)]
    lengths = expected.norm(dim=1)
    torch.testing.assert_close(mesh.mean_edge_length, lengths.mean().expand(len(found)))


@pytest.mark.parametrize("corners, dim", [(2, 1), (3, 2), (4, 2), (3, 3), (4, 3)])
def test_cells_give_their_sides(corners, dim):
    """All pairs of corners of a cell, but for the two diagonals of a quadrilateral."""
    rng = np.random.default_rng(0)
    cells = np.stack([rng.permutation(9)[:corners] for _ in range(12)])
    opposite = {(0, 2), (2, 0), (1, 3), (3, 1)} if (corners, dim) == (4, 2) else set()
    expected = {
        (int(cell[i]), int(cell[j]))
        for cell in cells
        for i in range(corners)
        for j in range(corners)
        if i != j and (i, j) not in opposite
    }
    assert set(pairs(mesh_graph(rng.random((9, dim)), cells))) == expected


@pytest.mark.parametrize("periods", [(None, None), (1.0, None), (1.0, 1.5)])
def test_radius_and_nearest_graph_by_brute_force(periods):
    rng = np.random.default_rng(1)
    points = rng.random((40, 2)) * [1.0, 1.5] - [0.3, 0.0]  # periods may start anywhere
    distance = np.array([[image_distance(a, b, periods) for b in points] for a in points])
    np.fill_diagonal(distance, np.inf)
    extent = periods if any(periods) else None
    mesh = radius_graph(points, 0.45, extent)
    assert set(pairs(mesh)) == set(zip(*map(list, np.nonzero(distance <= 0.45)), strict=True))
    senders, receivers = mesh.edge_index.numpy()
    np.testing.assert_allclose(
        mesh.relative_positions.norm(dim=1), distance[receivers, senders], atol=1e-14
    )
    nearest = {(i, int(j)) for i in range(40) for j in np.argsort(distance[i])[:3]}
    mesh = nearest_graph(points, 3, extent)
    assert set(pairs(mesh)) == nearest | {(j, i) for i, j in nearest}


@pytest.mark.parametrize("diagonals", [False, True])
@pytest.mark.parametrize("periodic", [(True, True), (True, False), (False, False)])
def test_grid_graph_by_brute_force(periodic, diagonals):
    grid = Grid(num_points=(4, 5), extent=(2.0, 3.0), periodic=periodic)
    mesh = grid_graph(grid, diagonals=diagonals)
    expected = set()
    for node in np.ndindex(4, 5):
        for step in np.ndindex(3, 3):
            step = np.array(step) - 1
            other = node + step
            inside = all(p or 0 <= k < n for p, k, n in zip(periodic, other, (4, 5), strict=True))
            if 0 < abs(step).sum() <= 1 + diagonals and inside:
                ends = [np.ravel_multi_index(k, (4, 5), mode="wrap") for k in (node, other)]
                expected.add(tuple(map(int, ends)))
    assert set(pairs(mesh)) == expected
    dx, dy = grid.spacing
    steps = mesh.relative_positions / torch.tensor([dx, dy])
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-12)
    assert float(steps.abs().max()) < 1.5
    torch.testing.assert_close(mesh.positions.T.reshape(2, 4, 5), grid.coordinates())


def test_types_tell_which_nodes_are_fixed():
    kinds = torch.tensor([0, 5, 6])
    mesh = mesh_graph(TRIANGLE, CELL, node_type=kinds)
    assert mesh.is_fixed.tolist() == [False, False, True]
    assert mesh_graph(TRIANGLE, CELL, node_type=kinds, free_types=[0, 5, 6]).is_fixed is None
    mesh = mesh_graph(TRIANGLE, CELL, node_type=kinds, is_fixed=torch.tensor([True, False, False]))
    assert mesh.is_fixed.tolist() == [True, False, False]
    assert mesh_graph(TRIANGLE, CELL).is_fixed is None
    assert "3 nodes in 2D, 6 edges, 1 fixed" in repr(mesh)


def test_union_keeps_the_parts():
    first = random_mesh(9, seed=1)
    second = random_mesh(7, seed=2, is_fixed=torch.arange(7) == 3)
    union = disjoint_union([first, second])
    assert pairs(union) == pairs(first) + [(i + 9, j + 9) for i, j in pairs(second)]
    assert union.is_fixed.nonzero().tolist() == [[12]] and union.node_type is None
    expected = [first.mean_edge_length[0]] * first.num_edges
    expected += [second.mean_edge_length[0]] * second.num_edges
    assert torch.equal(union.mean_edge_length, torch.stack(expected))
    with pytest.raises(ValueError, match="at least one mesh"):
        disjoint_union([])
    with pytest.raises(ValueError, match="same dimension and periods"):
        disjoint_union([first, random_mesh(9, 3)])


def test_moving_to_the_same_device_is_nothing():
    mesh = random_mesh()
    assert mesh.to("cpu") is mesh
    assert mesh.to("meta").edge_index.device.type == "meta"


def test_isolated_nodes_are_named():
    points = torch.cat((TRIANGLE, torch.tensor([[9.0, 9.0], [7.0, 9.0]])))
    with pytest.raises(ValueError, match=r"mesh_graph: .* 2 isolated .*node\(s\) 3, 4; remove"):
        mesh_graph(points, CELL)
    with pytest.raises(ValueError, match=r"radius_graph: every node needs a neighbour"):
        radius_graph(points, 1.1)


def test_duplicate_points_are_named():
    points = torch.cat((TRIANGLE, TRIANGLE[1:2] + 1e-14))
    with pytest.raises(ValueError, match=r"mesh_graph: .* 1 pair\(s\): 1 and 3; merge them"):
        mesh_graph(points, torch.tensor([[0, 1, 2], [0, 3, 2]]))
    with pytest.raises(ValueError, match="nearest_graph: no two nodes"):
        nearest_graph(points, 2)
    ends = torch.tensor([[0.0], [0.4], [1.0]])
    with pytest.raises(ValueError, match="no two nodes"):
        radius_graph(ends, 0.45, extent=[1.0])


@pytest.mark.parametrize(
    "points, cells, error, message",
    [
        (TRIANGLE.where(TRIANGLE != 1, np.nan), CELL, ValueError, r"finite.*node\(s\) 1, 2"),
        (TRIANGLE, CELL + 1, ValueError, r"must name nodes 0 \.\. 2, got 1 \.\. 3.*count from 1"),
        (TRIANGLE, -CELL, ValueError, r"got -2 \.\. 0"),
        (TRIANGLE, CELL.double(), TypeError, "must hold integers, got torch.float64"),
        (TRIANGLE, CELL[0], ValueError, r"\(cell, 2 to 4\).*got \(3,\)"),
        (TRIANGLE[None], CELL, ValueError, r"\(node, 1 to 3\), got \(1, 3, 2\)"),
    ],
)
def test_bad_meshes_are_refused(points, cells, error, message):
    with pytest.raises(error, match=message):
        mesh_graph(points, cells)


def test_bad_arguments_are_refused():
    points, _ = delaunay(9)
    with pytest.raises(ValueError, match="`radius` must be positive"):
        radius_graph(points, 0.0)
    with pytest.raises(ValueError, match="less than half of every period, got 0.5"):
        radius_graph(points, 0.5, extent=(1.0, None))
    with pytest.raises(ValueError, match="one positive period or None for each of the 2"):
        radius_graph(points, 0.2, extent=(1.0,))
    with pytest.raises(ValueError, match=r"between 1 and .* 8, got 9"):
        nearest_graph(points, 9)
    with pytest.raises(ValueError, match="at least 3 points, got 2 on axis 1"):
        grid_graph(Grid(num_points=(4, 2), extent=(1.0,)))
    with pytest.raises(ValueError, match=r"`edges` must have shape \(2, edge\)"):
        graph_of_edges(points, torch.zeros(9, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match="`node_type` must hold one number"):
        mesh_graph(TRIANGLE, CELL, node_type=torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="`is_fixed` must hold one bool"):
        mesh_graph(TRIANGLE, CELL, is_fixed=torch.zeros(3, dtype=torch.int64))
