"""Message passing by hand on three nodes, its symmetries, and the contract on meshes."""

import copy

import pytest
import torch
import torch.nn.functional as F

from pdesurrogates.backbones import (
    DifferenceMessagePassing,
    MessagePassing,
    disjoint_union,
    graph_of_edges,
    grid_graph,
    mesh_graph,
    radius_graph,
)
from pdesurrogates.core import Grid
from pdesurrogates.surrogates import StateSurrogate, load_surrogate, save_surrogate
from tests.backbones.contract import check_compiled, check_conditions, condition_for, randomized
from tests.backbones.meshes import delaunay, random_mesh

KINDS = [MessagePassing, DifferenceMessagePassing]
EXACT = {"rtol": 0, "atol": 1e-11}
TINY = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])  # edges 0-1 and 0-2
EDGES = torch.tensor([[0, 0], [1, 2]])


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def small(kind, *channels, **options):
    return randomized(kind(*channels, **{"width": 8, "depth": 2, **options}))


def mlp(part, *inputs):
    """A perceptron of the network, as a formula."""
    h = part.first(torch.cat(inputs))
    for linear in part.others:
        h = linear(F.relu(h))
    return h if part.norm is None else part.norm(h)


def swish(part, *inputs):
    return F.silu(part.second(F.silu(part.first(torch.cat(inputs)))))


def neighbours(node):
    return {0: (1, 2), 1: (0,), 2: (0,)}[node]


def test_message_passing_by_hand():
    """Two rounds over a path of three nodes, node by node and edge by edge."""
    mesh = graph_of_edges(TINY, EDGES, node_type=torch.tensor([0, 6, 0]))
    model = small(MessagePassing, 2, 3, num_node_types=7, edge_length=2.0)
    u = torch.randn(4, 2, 3)
    output = model.on(mesh)(u)
    for sample in range(4):
        kinds = F.one_hot(torch.tensor([0, 6, 0]), 7).to(u)
        v = [mlp(model.encode_nodes, u[sample, :, i], kinds[i]) for i in range(3)]
        e = {}
        for i in range(3):
            for j in neighbours(i):
                x = (TINY[j] - TINY[i]).double() / 2
                e[i, j] = mlp(model.encode_edges, x, x.norm()[None])
        for step in model.rounds:
            new = {(i, j): mlp(step.edge_update, v[j], v[i], e[i, j]) for i, j in e}
            total = [sum(new[i, j] for j in neighbours(i)) for i in range(3)]
            v = [v[i] + mlp(step.node_update, v[i], total[i]) for i in range(3)]
            e = {pair: e[pair] + new[pair] for pair in e}
        expected = torch.stack([mlp(model.decode, v[i]) for i in range(3)], dim=1)
        torch.testing.assert_close(output[sample], expected, **EXACT)


def test_difference_message_passing_by_hand():
    mesh = graph_of_edges(TINY, EDGES)
    model = small(DifferenceMessagePassing, 2, 3, num_conditions=2, edge_length=2.0)
    u, theta = torch.randn(4, 2, 3), torch.randn(4, 2)
    output = model.on(mesh)(u, theta)
    for n in range(4):
        f = [swish(model.encode, u[n, :, i], theta[n]) for i in range(3)]
        for step in model.rounds:
            mean = []
            for i in range(3):
                x = {j: (TINY[i] - TINY[j]).double() / 2 for j in neighbours(i)}
                messages = [
                    swish(
                        step.message, f[i], f[j], u[n, :, i] - u[n, :, j], x[j], x[j].norm()[None],
                        theta[n],
                    )
                    for j in neighbours(i)
                ]  # fmt: skip
                mean.append(torch.stack(messages).mean(dim=0))
            f = [f[i] + step.norm(swish(step.update, f[i], mean[i], theta[n])) for i in range(3)]
        expected = torch.stack([model.decode(f[i]) for i in range(3)], dim=1)
        torch.testing.assert_close(output[n], expected, **EXACT)


def test_parameters_of_the_published_layouts():
    """Cylinder flow: 2 velocities and 9 node types in, 2 out, width 128, 15 rounds."""
    model = MessagePassing(2, 2, width=128, depth=15, num_node_types=9)
    assert sum(p.numel() for p in model.parameters()) == 2_332_930
    # MP-PDE with 25 bundled steps and time as theta has 634 496 without its decoder; here the
    # absolute position is left out, the distance enters each message and the norm has weights.
    model = DifferenceMessagePassing(25, 25, dim=1, width=128, depth=6, num_conditions=1)
    decoder = sum(p.numel() for p in model.decode.parameters())
    differing = -128 + 6 * 128 + 6 * 2 * 128
    assert sum(p.numel() for p in model.parameters()) - decoder == 634_496 + differing


@pytest.mark.parametrize("num_conditions", [0, 2])
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_contract(kind, dim, num_conditions, dtype, tmp_path):
    mesh = random_mesh(13, dim, node_type=torch.arange(13) % 3)
    options = {"dim": dim, "num_conditions": num_conditions, "num_node_types": 3}
    model = small(kind, 2, 2, **options)
    bound = model.on(mesh)
    u, condition = torch.randn(3, 2, 13), condition_for(model, 3)
    output = bound(u, condition)
    assert output.shape == (3, 2, 13) and output.dtype == dtype and output.is_contiguous()
    output.square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all() and parameter.grad.abs().max() > 0, name
    with torch.no_grad():
        assert torch.equal(bound.eval()(u, condition), output)
        one = bound(u[1:2], None if condition is None else condition[1:2])
        tolerance = EXACT if dtype == torch.float64 else {"rtol": 0, "atol": 1e-5}
        torch.testing.assert_close(one, output[1:2], **tolerance)
        other = torch.float32 if dtype == torch.float64 else torch.float64
        assert bound(u.to(other), condition).dtype == other
        assert copy.deepcopy(bound).to(other)(u, condition).dtype == dtype
    names = tuple(f"c{n}" for n in range(num_conditions))
    surrogate = StateSurrogate(model, 0.1, parameter_names=names).on(mesh)
    loaded = load_surrogate(save_surrogate(surrogate, tmp_path / "saved")).backbone
    assert type(loaded) is kind and loaded.mesh is None
    assert torch.equal(loaded.on(mesh)(u, condition), output)
    check_conditions(bound, (13,))


def test_numbering_of_nodes_does_not_matter(kind):
    points, cells = delaunay(17)
    kinds = torch.arange(17) % 3
    model = small(kind, 2, 2, num_node_types=3)
    u, order = torch.randn(2, 2, 17), torch.randperm(17)
    new_number = order.argsort()
    mesh = mesh_graph(points, cells, node_type=kinds)
    renumbered = mesh_graph(points[order], new_number[cells], node_type=kinds[order])
    output = model.on(mesh)(u)
    torch.testing.assert_close(model.on(renumbered)(u[..., order]), output[..., order], **EXACT)


def test_place_does_not_matter_and_size_by_choice(kind):
    points, cells = delaunay(17)
    u = torch.randn(2, 1, 17)
    model = small(kind)
    output = model.on(mesh_graph(points, cells))(u)
    moved = model.on(mesh_graph(points + torch.tensor([3.0, -5.0]), cells))(u)
    torch.testing.assert_close(moved, output, **EXACT)
    torch.testing.assert_close(model.on(mesh_graph(7 * points, cells))(u), output, **EXACT)
    fixed = small(kind, edge_length=0.25)
    output = fixed.on(mesh_graph(points, cells))(u)
    assert (fixed.on(mesh_graph(7 * points, cells))(u) - output).abs().max() > 1e-3


@pytest.mark.parametrize("space", [(7,), (5, 6), (3, 4, 5)])
def test_shifts_of_periodic_grids_commute(kind, space):
    """States may keep the shape of the grid."""
    dim = len(space)
    mesh = grid_graph(Grid(num_points=space, extent=(2.0, 3.0, 1.0)[:dim]), diagonals=True)
    model = small(kind, dim=dim).on(mesh)
    u, shift, axes = torch.randn(2, 1, *space), (2, 1, 3)[:dim], tuple(range(2, dim + 2))
    output = model(u)
    assert output.shape == u.shape
    torch.testing.assert_close(model(u.roll(shift, axes)), output.roll(shift, axes), **EXACT)
    torch.testing.assert_close(model(u.flatten(2)), output.flatten(2), **EXACT)


def test_points_may_wander_round_a_periodic_domain(kind):
    points = torch.rand(15, 2)
    model = small(kind)
    u = torch.randn(1, 1, 15)
    output = model.on(radius_graph(points, 0.49, extent=(1.0, 1.0)))(u)
    moved = (points + torch.tensor([0.37, 0.81])) % 1.0
    again = model.on(radius_graph(moved, 0.49, extent=(1.0, 1.0)))(u)
    torch.testing.assert_close(again, output, **EXACT)


def test_union_is_its_parts(kind):
    meshes = [random_mesh(9, seed=1), random_mesh(14, seed=2)]
    model = small(kind)
    states = [torch.randn(3, 1, mesh.num_nodes) for mesh in meshes]
    expected = [model.on(mesh)(u) for mesh, u in zip(meshes, states, strict=True)]
    output = model.on(disjoint_union(meshes))(torch.cat(states, dim=2))
    torch.testing.assert_close(output, torch.cat(expected, dim=2), **EXACT)


def test_depth_is_how_far_a_node_sees(kind):
    """On a path of nodes, the output at node 0 hears of nodes up to `depth`."""
    path = torch.arange(8.0)[:, None]
    mesh = mesh_graph(path, torch.stack((torch.arange(7), torch.arange(1, 8)), dim=1))
    u = torch.randn(1, 1, 8, requires_grad=True)
    small(kind, dim=1, depth=3, width=32).on(mesh)(u)[0, 0, 0].backward()
    assert (u.grad[0, 0] != 0).tolist() == [True] * 4 + [False] * 4


def test_meshes_are_views_of_one_network(kind):
    model = kind(width=8, depth=1)
    first, second = model.on(random_mesh(9)), model.on(random_mesh(12))
    with torch.no_grad():
        next(model.decode.parameters())[:] = 1
    a, b = (dict(view.named_parameters()) for view in (first, second))
    assert all(a[name] is parameter is b[name] for name, parameter in model.named_parameters())
    assert model.mesh is None and first.mesh.num_nodes == 9 and second.mesh.num_nodes == 12


def test_gradcheck(kind):
    model = small(kind, depth=1, width=3, num_conditions=1).on(random_mesh(5))
    u, theta = torch.randn(2, 1, 5, requires_grad=True), torch.randn(2, 1, requires_grad=True)
    assert torch.autograd.gradcheck(model, (u, theta))


@pytest.mark.slow
def test_compiled_equals_eager(kind):
    mesh = random_mesh(30, node_type=torch.arange(30) % 3)
    check_compiled(small(kind, 1, 1, num_node_types=3, num_conditions=1).on(mesh), (30,))


def test_bad_input_is_refused(kind):
    model, mesh = kind(2, 1, width=4, depth=1, num_node_types=2), random_mesh(9)
    name = kind.__name__
    with pytest.raises(ValueError, match=rf"{name}: .* not told which; call network\.on\(mesh\)"):
        model(torch.zeros(1, 2, 9))
    with pytest.raises(TypeError, match="must be a MeshGraph, got Grid"):
        model.on(Grid())
    with pytest.raises(ValueError, match="build the network with dim=3"):
        model.on(random_mesh(9, 3))
    with pytest.raises(ValueError, match=r"0 \.\. 1, got 4; build .* num_node_types=5"):
        model.on(random_mesh(9, node_type=torch.full((9,), 4)))
    bound = model.on(mesh)
    for shape, message in [
        ((1, 2, 8), r"\(batch, 2, 9\), got \(1, 2, 8\); give the mesh of this state"),
        ((1, 3, 9), "in_channels=3"),
        ((1, 9, 2), r"u\.movedim\(-1, 1\)"),
        ((2, 9), "missing batch or channel axes"),
    ]:
        with pytest.raises(ValueError, match=message):
            bound(torch.zeros(shape))
    with pytest.raises(TypeError, match="real floating point"):
        bound(torch.zeros(1, 2, 9, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"one device, got cpu and meta; .*mesh\.to\('cpu'\)"):
        model.on(mesh.to("meta"))(torch.zeros(1, 2, 9))
    for options in ({"width": 0}, {"depth": 0}, {"num_node_types": -1}, {"edge_length": 0.0}):
        with pytest.raises(ValueError, match=f"{name}: `{next(iter(options))}`"):
            kind(**options)
