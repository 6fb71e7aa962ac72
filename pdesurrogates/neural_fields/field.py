"""A network as a field on a domain, with conditions that hold by construction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pdesurrogates.core import Boundary, Box, Grid
from pdesurrogates.neural_fields.boundary import (
    CoordinateEmbedding,
    HardBoundary,
    channel_ends,
    embedding_kinds,
)

__all__ = ["FieldFunction", "NeuralField"]


class FieldFunction(nn.Module):
    """The formula of a field, without checks: what optimisers differentiate.

        u(x) = lifting(x) + factor(x) network(embedding(x))

    Args:
        network: Features -> channels, made of functions with Taylor rules.
        embedding: What the network sees of a point.
        conditions: One per channel.
        lifting: Function of the points that replaces the lifting of the conditions.

    Shape:
        points: (batch, point, dim), a tensor or a jet -> (batch, point, channel)
    """

    def __init__(
        self,
        network: nn.Module,
        embedding: CoordinateEmbedding,
        conditions: Sequence[HardBoundary] = (),
        *,
        lifting: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.embedding = embedding
        self.conditions = tuple(conditions)
        self.lifting = lifting

    def forward(self, points: Any) -> Any:
        u = self.network(self.embedding(points))
        first, *others = self.conditions
        if all(other == first for other in others):
            if not first.is_free:
                u = u * first.factor(points)
                u = u if self.lifting else u + first.lifting(points)
        elif not all(condition.is_free for condition in self.conditions):
            pieces = u.split(1, dim=-1)
            pieces = [
                piece * c.factor(points) + (0.0 if self.lifting else c.lifting(points))
                for piece, c in zip(pieces, self.conditions, strict=True)
            ]
            u = torch.cat(pieces, dim=-1)
        return u if self.lifting is None else u + self.lifting(points)


class NeuralField(nn.Module):
    """A field u(x) on a box that is a network of the coordinates.

        u(x) = lifting(x) + factor(x) network(embedding(x))

    The coordinates are scaled to [-1, 1]. Conditions hold by construction, for any weights:
    periodic axes enter as cosines and sines, given values by a factor that vanishes there and a
    lifting that takes them, given slopes by coordinates that are even about the end.

    Points outside the domain are refused. `function` is the same formula without the check, for
    optimisers: it may be called with tensors or jets, and under `torch.func`.

    Reference:
        Implicit Neural Spatial Representations for Time-dependent PDEs (Chen et al., 2023).
        https://arxiv.org/abs/2210.00124 (there with penalties at the boundary)

    Args:
        network: (..., `num_features`) -> (..., channel); its `out_channels` says how many.
        domain: Box of the points, or a grid, which also says which axes are periodic.
        boundary: Dirichlet, Neumann or Outflow for all ends, one per axis, or (lower, upper)
            pairs per axis; `None` leaves ends free. A mapping gives them by channel number.
        periodic: Which axes close on themselves, where the domain is a box.
        num_harmonics: Waves per periodic axis that the network is given.
        lifting: Function of the points (tensors and jets) with all given values and slopes, where
            they differ between axes.
        num_channels: Channels of the network, where it has no `out_channels`.

    Shape:
        points: (batch, point, dim) -> (batch, point, channel)

    Raises:
        ValueError: If the network takes another number of features, or conditions contradict
            each other.

    Example:
        >>> from pdesurrogates.backbones import SIREN
        >>> from pdesurrogates.core import Dirichlet
        >>> box = Box((-2.0,), (2.0,))
        >>> field = NeuralField(SIREN(1, 1).double(), box, boundary=Dirichlet(0.0))
        >>> ends = torch.tensor([[[-2.0], [2.0]]], dtype=torch.float64)
        >>> field(ends).abs().max().item()
        0.0
    """

    def __init__(
        self,
        network: nn.Module,
        domain: Box | Grid,
        *,
        boundary: Boundary | None | Mapping[int, Any] | Sequence[Any] = None,
        periodic: bool | Sequence[bool] = False,
        num_harmonics: int = 1,
        lifting: Callable[[Any], Any] | None = None,
        num_channels: int | None = None,
    ) -> None:
        super().__init__()
        self.domain, self.is_periodic = box_and_periods(domain, periodic)
        channels = num_channels or getattr(network, "out_channels", None)
        if channels is None:
            raise ValueError(
                f"NeuralField: {type(network).__name__} does not say its `out_channels`; give "
                "`num_channels`."
            )
        self.num_channels = int(channels)
        ends = channel_ends(boundary, self.num_channels, self.is_periodic, where="NeuralField")
        kinds = embedding_kinds(ends, self.is_periodic, where="NeuralField")
        embedding = CoordinateEmbedding(self.domain, kinds, num_harmonics=num_harmonics)
        check_features(network, embedding, where="NeuralField")
        conditions = tuple(
            HardBoundary(self.domain, own, "NeuralField", lifting is None) for own in ends
        )
        self.function: nn.Module = FieldFunction(network, embedding, conditions, lifting=lifting)

    @property
    def dim(self) -> int:
        """Coordinates of a point."""
        return self.domain.dim

    @property
    def num_parameters(self) -> int:
        """Trainable numbers."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def forward(self, points: Any) -> Any:
        if isinstance(points, Tensor):
            check_points(points, self.domain, where=type(self).__name__)
        return self.function(points)

    @staticmethod
    def num_features(
        domain: Box | Grid, *, periodic: bool | Sequence[bool] = False, num_harmonics: int = 1
    ) -> int:
        """Inputs that a network for this domain must take."""
        _, flags = box_and_periods(domain, periodic)
        return sum(2 * num_harmonics if flag else 1 for flag in flags)


def box_and_periods(
    domain: Box | Grid, periodic: bool | Sequence[bool] = False
) -> tuple[Box, tuple[bool, ...]]:
    """The box of a domain and which of its axes are periodic."""
    if isinstance(domain, Grid):
        return Box.of(domain), domain.is_periodic
    flags = (periodic,) * domain.dim if isinstance(periodic, bool) else tuple(periodic)
    if len(flags) != domain.dim:
        raise ValueError(
            f"NeuralField: `periodic` must have one entry per axis ({domain.dim}), got {flags}."
        )
    return domain, flags


def check_features(network: nn.Module, embedding: CoordinateEmbedding, *, where: str) -> None:
    """Refuse a network that takes another number of features."""
    taken = getattr(network, "in_channels", embedding.num_features)
    if taken != embedding.num_features:
        raise ValueError(
            f"{where}: the network takes {taken} inputs, this domain has "
            f"{embedding.num_features}: axes are {embedding.kinds}, and a periodic one has a "
            f"cosine and a sine for each of {embedding.num_harmonics} harmonics."
        )


def check_points(points: Tensor, domain: Box, *, where: str) -> None:
    """Refuse points that are not (batch, point, dim) inside the domain."""
    if points.ndim != 3:
        raise ValueError(
            f"{where}: `points` must have shape (batch, point, dim), got {tuple(points.shape)}; "
            "a list of points needs a batch axis: points[None]."
        )
    domain.check(points, where=where)
