"""Networks on meshes: nodes hear their neighbours along edges, several rounds."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pdesurrogates.backbones.base import Backbone
from pdesurrogates.backbones.embeddings import ConditionEmbedding, Modulation
from pdesurrogates.backbones.mesh_graph import MeshGraph

__all__ = ["DifferenceMessagePassing", "MeshBackbone", "MessagePassing"]

_CPU = torch.device("cpu")


class MeshBackbone(Backbone):
    """A network on any mesh: the weights know no mesh, `on(mesh)` says which one to run on.

    A state is (batch, channel, node); every sample of a batch lives on the same mesh. Several
    meshes at once are one graph: `disjoint_union`. Saving stores the network, not the mesh.
    Subclasses write `evolve`. Inside, nodes and edges come first and the samples of the batch
    side by side, so that what an edge fetches is one block of memory.

    Args:
        in_channels, out_channels, num_conditions: See `Backbone`.
        dim: Coordinates per node.
        num_node_types: Node types the network tells apart, 0 to ignore them. A mesh without
            types has type 0 everywhere.
        edge_length: Unit of edge vectors [length of the mesh]; the mean edge length of each mesh
            if `None`. What happens over a fixed time step depends on distances, so a network
            that is to serve meshes of several densities needs one fixed unit, e.g. the mean edge
            length of the training meshes. Without it, a finer mesh looks like a larger domain.

    Shape:
        u: (batch, in_channels, node) -> (batch, out_channels, node); on the graph of a grid also
            (batch, in_channels, *space) with as many points
        condition: (batch, num_conditions), or `None` if there are none
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        dim: int,
        num_conditions: int,
        num_node_types: int,
        edge_length: float | None,
    ) -> None:
        super().__init__(in_channels, out_channels, dim=dim, num_conditions=num_conditions)
        self.check_counts({"num_node_types": num_node_types}, at_least=0)
        if edge_length is not None and not 0 < edge_length < float("inf"):
            raise ValueError(
                f"{type(self).__name__}: `edge_length` must be positive, or None for the mean of "
                f"each mesh, got {edge_length}."
            )
        self.num_node_types = num_node_types
        self.edge_length = edge_length
        self.mesh: MeshGraph | None = None

    def on(self, mesh: MeshGraph) -> Self:
        """The same network (shared weights) on a mesh.

        Raises:
            TypeError: If `mesh` is not a `MeshGraph`.
            ValueError: If it has another dimension, or node types the network does not know.
        """
        where = type(self).__name__
        if not isinstance(mesh, MeshGraph):
            raise TypeError(
                f"{where}: `mesh` must be a MeshGraph, got {type(mesh).__name__}; build one with "
                "mesh_graph, radius_graph, nearest_graph or grid_graph."
            )
        if mesh.dim != self.dim:
            raise ValueError(
                f"{where}: the mesh must have {self.dim} coordinates per node, got {mesh.dim}; "
                f"build the network with dim={mesh.dim}."
            )
        if self.num_node_types and mesh.node_type is not None and mesh.positions.device == _CPU:
            largest = int(mesh.node_type.max())
            if largest >= self.num_node_types:
                raise ValueError(
                    f"{where}: node types must be 0 .. {self.num_node_types - 1}, got {largest}; "
                    f"build the network with num_node_types={largest + 1}."
                )
        other = copy.copy(self)
        other.mesh = mesh
        return other

    def evolve(self, nodes: Tensor, edges: Tensor, condition: Tensor | None) -> Tensor:
        """(node, batch, in_channels + num_node_types), (edge, dim + 1) to (node, batch, out)."""
        raise NotImplementedError

    def compute(self, u: Tensor, condition: Tensor | None) -> Tensor:
        nodes = u.flatten(2).permute(2, 0, 1)
        if self.num_node_types:
            nodes = torch.cat((nodes, self._node_types(nodes)), dim=2)
        output = self.evolve(nodes.contiguous(), self._edge_features(u.dtype), condition)
        return output.permute(1, 2, 0).reshape(u.shape[0], -1, *u.shape[2:])

    def check_input(self, u: Tensor) -> None:
        """Refuse an input of another kind, channel count, number of nodes or device."""
        where, mesh = type(self).__name__, self.mesh
        if mesh is None:
            raise ValueError(
                f"{where}: this network runs on a mesh and was not told which; call "
                "network.on(mesh)(u), or surrogate.on(mesh) of a surrogate."
            )
        if not u.is_floating_point():
            raise TypeError(
                f"{where}: `u` must be real floating point, got {u.dtype}; give a complex field "
                "as two channels, integers as u.float()."
            )
        points = u[0, 0].numel() if u.ndim >= 3 and u.shape[0] and u.shape[1] else -1
        if u.ndim < 3 or u.shape[1] != self.in_channels or points not in (-1, mesh.num_nodes):
            expected = (self.in_channels, mesh.num_nodes)
            hint = (
                "move the channel axis with u.movedim(-1, 1)"
                if u.ndim == 3 and tuple(u.shape[1:]) == expected[::-1]
                else "add missing batch or channel axes with u[None] or u[:, None]"
                if u.ndim < 3
                else f"build the network with in_channels={u.shape[1]}"
                if points == mesh.num_nodes
                else "give the mesh of this state to network.on(mesh)"
            )
            raise ValueError(
                f"{where}: `u` must have shape (batch, channel, node) = (batch, "
                f"{expected[0]}, {expected[1]}), got {tuple(u.shape)}; {hint}."
            )
        if u.device != mesh.positions.device:
            raise ValueError(
                f"{where}: `u` and the mesh must be on one device, got {u.device} and "
                f"{mesh.positions.device}; call network.on(mesh.to({str(u.device)!r}))."
            )

    def _graph(self) -> MeshGraph:
        assert self.mesh is not None  # forward has checked
        return self.mesh

    def _node_types(self, nodes: Tensor) -> Tensor:
        """One-hot node types, (node, batch, num_node_types)."""
        kinds = self._graph().node_type
        if kinds is None:
            kinds = torch.zeros(nodes.shape[0], dtype=torch.int64, device=nodes.device)
        known = torch.arange(self.num_node_types, device=nodes.device)
        marks = (kinds[:, None] == known).to(nodes.dtype)
        return marks[:, None].expand(-1, nodes.shape[1], -1)

    def _edge_features(self, dtype: torch.dtype) -> Tensor:
        """Relative position and distance in units of `edge_length`, (edge, dim + 1)."""
        mesh = self._graph()
        unit = mesh.mean_edge_length[:, None] if self.edge_length is None else self.edge_length
        vectors = mesh.relative_positions / unit
        lengths = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
        return torch.cat((vectors, lengths), dim=1).to(dtype)


class MessagePassing(MeshBackbone):
    """Encode, pass messages `depth` times, decode; sums of edge features (MeshGraphNets).

        e_ij = MLP_E(x_j - x_i, |x_j - x_i|),     v_i = MLP_V(u_i, node type)
        e'_ij = MLP_e([v_j, v_i, e_ij]),          a_i = sum_j e'_ij
        e_ij <- e_ij + e'_ij,                     v_i <- v_i + MLP_v([v_i, a_i])
        out_i = MLP_D(v_i)

    Messages go from j to i. Each MLP has `num_hidden_layers` hidden layers with ReLU and, but for
    the decoder, layer norm on its output; every round has its own weights. With conditions, their
    embedding scales and shifts each update of v, as MLP_v gives it.

    The network sees `depth` edges far: on a finer mesh it sees less of the domain, and elliptic
    problems (pressure) need more rounds than the mesh has edges across.

    The edge features before the first round are the same for all samples and computed once, and
    the first layer of MLP_e acts on nodes before they are fetched: what is left per edge and
    sample is one addition and the remaining layers.

    Reference:
        Learning Mesh-Based Simulation with Graph Networks (Pfaff et al., 2021), section 3.2.
        https://arxiv.org/abs/2010.03409

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        dim: Coordinates per node.
        width: Features per node and per edge.
        depth: Rounds of message passing.
        num_hidden_layers: Hidden layers of every MLP.
        num_node_types, edge_length: See `MeshBackbone`.
        num_conditions: Numbers per sample in `condition`.

    Shape:
        u: (batch, in_channels, node) -> (batch, out_channels, node)
        condition: (batch, num_conditions), or `None` if there are none

    Example:
        >>> from pdesurrogates.backbones import mesh_graph
        >>> points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> mesh = mesh_graph(points, torch.tensor([[0, 1, 2]]))
        >>> network = MessagePassing(1, 2, width=8, depth=2).on(mesh)
        >>> network(torch.zeros(4, 1, 3)).shape
        torch.Size([4, 2, 3])
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        *,
        dim: int = 2,
        width: int = 64,
        depth: int = 4,
        num_hidden_layers: int = 2,
        num_node_types: int = 0,
        edge_length: float | None = None,
        num_conditions: int = 0,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            dim=dim,
            num_conditions=num_conditions,
            num_node_types=num_node_types,
            edge_length=edge_length,
        )
        self.check_counts({"width": width, "depth": depth, "num_hidden_layers": num_hidden_layers})
        self.width = width
        self.depth = depth
        self.num_hidden_layers = num_hidden_layers
        hidden = (width,) * num_hidden_layers
        self.encode_nodes = _MLP((in_channels + num_node_types,), (*hidden, width))
        self.encode_edges = _MLP((dim + 1,), (*hidden, width))
        self.rounds = nn.ModuleList(
            _Round(width, num_hidden_layers, has_condition=num_conditions > 0)
            for _ in range(depth)
        )
        self.decode = _MLP((width,), (*hidden, out_channels), has_norm=False)
        self.embed = ConditionEmbedding(num_conditions, width) if num_conditions else None

    def evolve(self, nodes: Tensor, edges: Tensor, condition: Tensor | None) -> Tensor:
        edge_index = self._graph().edge_index
        v, e = self.encode_nodes(nodes), self.encode_edges(edges[:, None])
        embedding = None if self.embed is None or condition is None else self.embed(condition)
        for n, step in enumerate(self.rounds, start=1):
            v, e = step(v, e, edge_index, embedding, is_last=n == self.depth)
        return self.decode(v)


class DifferenceMessagePassing(MeshBackbone):
    """Messages that see differences of the state, averaged over neighbours (MP-PDE).

        f_i = MLP(u_i, node type, theta)
        m_ij = phi(f_i, f_j, u_i - u_j, x_i - x_j, |x_i - x_j|, theta)
        f_i <- f_i + norm(psi(f_i, mean_j m_ij, theta))
        out_i = linear(f_i)

    with theta = `condition` in every message and update; phi and psi have two layers with Swish
    after each. Differences are what numerical schemes are made of, and a mean does not grow with
    the number of neighbours, as from one mesh to another.

    What differs from the published network: no absolute position enters f (results move with
    the mesh); the distance enters the messages; instance norm over the graph, which removes the
    mean of every feature over the mesh and so ties a node to all others, is layer norm of the
    update at each node; the decoder is linear, without the convolution along bundled times, whose
    sizes are tied to 20, 25 or 50 of them (a bundle of K states is K channels here).

    Reference:
        Message Passing Neural PDE Solvers (Brandstetter et al., 2022), section 3.2.
        https://arxiv.org/abs/2202.03376

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        dim: Coordinates per node.
        width: Features per node and message.
        depth: Rounds of message passing.
        num_node_types, edge_length: See `MeshBackbone`.
        num_conditions: Numbers per sample in `condition`, the paper's theta.

    Shape:
        u: (batch, in_channels, node) -> (batch, out_channels, node)
        condition: (batch, num_conditions), or `None` if there are none
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        *,
        dim: int = 2,
        width: int = 64,
        depth: int = 6,
        num_node_types: int = 0,
        edge_length: float | None = None,
        num_conditions: int = 0,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            dim=dim,
            num_conditions=num_conditions,
            num_node_types=num_node_types,
            edge_length=edge_length,
        )
        self.check_counts({"width": width, "depth": depth})
        self.width = width
        self.depth = depth
        theta = (num_conditions,) if num_conditions else ()
        features = in_channels + num_node_types
        self.encode = _Swish((features, *theta), width)
        self.rounds = nn.ModuleList(
            _DifferenceRound(in_channels, dim, width, num_conditions) for _ in range(depth)
        )
        self.decode = nn.Linear(width, out_channels)

    def evolve(self, nodes: Tensor, edges: Tensor, condition: Tensor | None) -> Tensor:
        mesh = self._graph()
        share = mesh.degree.to(nodes.dtype).reciprocal()[:, None, None]
        theta = () if condition is None else (condition[None],)
        u, away, distance = (
            nodes[..., : self.in_channels],
            edges[:, : self.dim],
            edges[:, self.dim :],
        )
        geometry = torch.cat((-away, distance), dim=1)[:, None]
        f = self.encode(nodes, *theta)
        for step in self.rounds:
            f = step(f, u, geometry, theta, mesh.edge_index, share)
        return self.decode(f)


def _sum_at_receivers(messages: Tensor, receivers: Tensor, num_nodes: int) -> Tensor:
    """(edge, batch, width) -> (node, batch, width)."""
    total = messages.new_zeros(num_nodes, *messages.shape[1:])
    # As fast as index_add_, which keeps `messages` in memory for its backward pass.
    return total.scatter_add_(0, receivers[:, None, None].expand_as(messages), messages)


class _Entry(nn.Module):
    """A linear layer of concatenated inputs, applied to each before they are put together.

        W [a, b, c] + bias = (W_a a + bias) + W_b b + W_c c

    Inputs that live on nodes, on edges, or are shared by all samples keep their own shape.
    """

    def __init__(self, inputs: Sequence[int], width: int) -> None:
        super().__init__()
        self.inputs = tuple(inputs)
        self.first = nn.Linear(sum(inputs), width)

    def enter(self, *parts: Tensor) -> list[Tensor]:
        """The share of each input in the first layer; the bias is in the first share."""
        weights = self.first.weight.split(self.inputs, dim=1)
        return [
            F.linear(part, weight, self.first.bias if n == 0 else None)
            for n, (part, weight) in enumerate(zip(parts, weights, strict=True))
        ]

    def finish(self, h: Tensor) -> Tensor:
        """The layers after the first, for the sum of the shares."""
        raise NotImplementedError

    def forward(self, *parts: Tensor) -> Tensor:
        first, *others = self.enter(*parts)
        return self.finish(sum(others, first))


class _MLP(_Entry):
    """Linear, ReLU, linear, ... , layer norm."""

    def __init__(
        self, inputs: Sequence[int], widths: Sequence[int], *, has_norm: bool = True
    ) -> None:
        super().__init__(inputs, widths[0])
        self.others = nn.ModuleList(
            nn.Linear(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True)
        )
        self.norm = nn.LayerNorm(widths[-1]) if has_norm else None

    def finish(self, h: Tensor) -> Tensor:
        for linear in self.others:
            h = linear(F.relu(h, inplace=True))
        return h if self.norm is None else self.norm(h)


class _Swish(_Entry):
    """Linear, Swish, linear, Swish."""

    def __init__(self, inputs: Sequence[int], width: int) -> None:
        super().__init__(inputs, width)
        self.second = nn.Linear(width, width)

    def finish(self, h: Tensor) -> Tensor:
        return F.silu(self.second(F.silu(h)))


class _Round(nn.Module):
    """One round of `MessagePassing`: edges hear their ends, nodes the sum of their edges."""

    def __init__(self, width: int, num_hidden_layers: int, *, has_condition: bool) -> None:
        super().__init__()
        widths = (width,) * (num_hidden_layers + 1)
        self.edge_update = _MLP((width, width, width), widths)
        self.node_update = _MLP((width, width), widths)
        self.modulation = Modulation(width, width, channel_axis=-1) if has_condition else None

    def forward(
        self,
        v: Tensor,
        e: Tensor,
        edge_index: Tensor,
        embedding: Tensor | None,
        *,
        is_last: bool,
    ) -> tuple[Tensor, Tensor]:
        senders, receivers = edge_index.unbind()
        of_sender, of_receiver, of_edge = self.edge_update.enter(v, v, e)
        h = of_sender.index_select(0, senders)
        h.add_(of_receiver.index_select(0, receivers)).add_(of_edge)
        messages = self.edge_update.finish(h)
        change = self.node_update(v, _sum_at_receivers(messages, receivers, v.shape[0]))
        if self.modulation is not None and embedding is not None:
            change = self.modulation(change.transpose(0, 1), embedding).transpose(0, 1)
        return v + change, e if is_last else messages.add_(e)


class _DifferenceRound(nn.Module):
    """One round of `DifferenceMessagePassing`."""

    def __init__(self, in_channels: int, dim: int, width: int, num_conditions: int) -> None:
        super().__init__()
        theta = (num_conditions,) if num_conditions else ()
        self.message = _Swish((width, width, in_channels, dim + 1, *theta), width)
        self.update = _Swish((width, width, *theta), width)
        self.norm = nn.LayerNorm(width)

    def forward(
        self,
        f: Tensor,
        u: Tensor,
        geometry: Tensor,
        theta: tuple[Tensor, ...],
        edge_index: Tensor,
        share: Tensor,
    ) -> Tensor:
        senders, receivers = edge_index.unbind()
        shares = self.message.enter(f, f, u, geometry, *theta)
        of_receiver, of_sender, of_state, of_edge, *of_theta = shares
        h = (of_sender - of_state).index_select(0, senders)
        h.add_(sum(of_theta, of_receiver + of_state).index_select(0, receivers)).add_(of_edge)
        total = _sum_at_receivers(self.message.finish(h), receivers, f.shape[0])
        return f + self.norm(self.update(f, total * share, *theta))
