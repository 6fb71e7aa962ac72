"""To torch-geometric and back."""

import pytest
import torch

from pdesurrogates.backbones import MessagePassing, from_data, grid_graph, to_data
from pdesurrogates.core import Grid
from tests.backbones.meshes import random_mesh

geometric = pytest.importorskip("torch_geometric.data")


def same(a, b):
    assert torch.equal(a.edge_index, b.edge_index) and a.extent == b.extent
    torch.testing.assert_close(a.relative_positions, b.relative_positions)
    torch.testing.assert_close(a.mean_edge_length, b.mean_edge_length)
    for name in ("node_type", "is_fixed"):
        one, other = getattr(a, name), getattr(b, name)
        assert (one is None) == (other is None) and (one is None or torch.equal(one, other))


def test_there_and_back():
    kinds = torch.arange(17) % 7
    mesh = random_mesh(node_type=kinds)
    same(from_data(to_data(mesh)), mesh)
    plain = random_mesh(is_fixed=torch.arange(17) < 4)
    same(from_data(to_data(plain)), plain)
    periodic = grid_graph(Grid(num_points=(4, 5), extent=(2.0, 3.0), periodic=(True, False)))
    same(from_data(to_data(periodic), extent=periodic.extent), periodic)
    u = torch.randn(2, 17, dtype=torch.float32)
    data = to_data(mesh, u)
    assert data.num_nodes == 17 and torch.equal(data.x, u.T)
    assert data.edge_attr.dtype == torch.float32 and not data.has_isolated_nodes()


def test_a_batch_is_a_union():
    meshes = [random_mesh(9, seed=1), random_mesh(12, seed=2)]
    states = [torch.randn(1, mesh.num_nodes) for mesh in meshes]
    batch = geometric.Batch.from_data_list(
        [to_data(mesh, u) for mesh, u in zip(meshes, states, strict=True)]
    )
    union = from_data(batch)
    assert torch.equal(union.edge_index, batch.edge_index)
    network = MessagePassing(width=8, depth=2)
    output = network.on(union)(batch.x.T[None])
    expected = [network.on(mesh)(u[None]) for mesh, u in zip(meshes, states, strict=True)]
    torch.testing.assert_close(output, torch.cat(expected, dim=2))


def test_data_without_edges_is_refused():
    with pytest.raises(ValueError, match=r"`pos` and `edge_index`, got \['pos'\].*FaceToEdge"):
        from_data(geometric.Data(pos=torch.rand(4, 2)))
