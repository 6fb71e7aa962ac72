"""Velocities without divergence: the curl of a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pdesurrogates.core import Box, Grid
from pdesurrogates.neural_fields.boundary import CoordinateEmbedding, Kind, unit_coordinate
from pdesurrogates.neural_fields.field import NeuralField, box_and_periods, check_features
from pdesurrogates.operators import JetDerivatives

__all__ = ["StreamFunction", "StreamFunctionField"]

Walls = Literal["free", "free_slip", "no_slip"]


class StreamFunction(nn.Module):
    """The velocity of a stream function, without checks: what optimisers differentiate.

        2D:  v = (psi_y, -psi_x),   psi = w(x) w(y) network
        3D:  v = curl A,            A_i = prod_{j != i} w(x_j) network_i

    w = 4 s (1 - s) with s in [0, 1] keeps v . n = 0 at the walls; its square, for all axes and
    components, v = 0.

    Args:
        network: Features -> 1 channel in 2D, 3 channels in 3D.
        embedding: What the network sees of a point.
        walls: Factor at the ends of the axes that are not periodic.

    Shape:
        points: (batch, point, dim), a tensor or a jet -> (batch, point, dim)
    """

    def __init__(
        self, network: nn.Module, embedding: CoordinateEmbedding, *, walls: Walls = "free_slip"
    ) -> None:
        super().__init__()
        self.network = network
        self.embedding = embedding
        self.walls: Walls = walls

    def potential(self, points: Any) -> Any:
        """psi (batch, point, 1), or A (batch, point, 3)."""
        raw = self.network(self.embedding(points))
        if self.walls == "free":
            return raw
        factors = [self._factor(points, axis) for axis in range(self.embedding.domain.dim)]
        if len(factors) == 2:
            return raw * factors[0] * factors[1]
        if self.walls == "no_slip":
            return raw * factors[0] * factors[1] * factors[2]
        pieces = raw.split(1, dim=-1)
        return torch.cat(
            [
                piece * factors[(n + 1) % 3] * factors[(n + 2) % 3]
                for n, piece in enumerate(pieces)
            ],
            dim=-1,
        )

    def forward(self, points: Any) -> Any:
        is_tensor = isinstance(points, Tensor)
        inner = JetDerivatives(points).points if isinstance(points, Tensor) else points
        velocity = self._curl(self.potential(inner))
        return velocity.values if is_tensor else velocity

    def _curl(self, a: Any) -> Any:
        if self.embedding.domain.dim == 2:
            return torch.cat([a.derivative(1), -a.derivative(0)], dim=-1)
        x, y, z = a.split(1, dim=-1)
        return torch.cat(
            [
                z.derivative(1) - y.derivative(2),
                x.derivative(2) - z.derivative(0),
                y.derivative(0) - x.derivative(1),
            ],
            dim=-1,
        )

    def _factor(self, points: Any, axis: int) -> Any:
        if self.embedding.kinds[axis] == "periodic":
            return 1.0
        s = unit_coordinate(points, self.embedding.domain, axis)
        factor = 4.0 * (s * (1.0 - s))
        return factor * factor if self.walls == "no_slip" else factor


class StreamFunctionField(NeuralField):
    """A velocity field with div v = 0 and walls, both by construction: the curl of a network.

        2D:  v = (psi_y, -psi_x)        3D:  v = curl A

    A periodic axis has no mean flow through it other than what the potential can give, none: add
    a constant where one is wanted.

    Args:
        network: Features -> 1 channel (psi) in 2D, 3 channels (A) in 3D.
        domain: Box of the points, or a grid.
        walls: "free_slip" (v . n = 0), "no_slip" (v = 0) or "free" (nothing) at the ends of the
            axes that are not periodic.
        periodic: Which axes close on themselves, where the domain is a box.
        num_harmonics: Waves per periodic axis that the network is given.

    Shape:
        points: (batch, point, dim) -> (batch, point, dim)

    Raises:
        ValueError: If the domain does not have 2 or 3 axes, or the network does not fit.

    Example:
        >>> from pdesurrogates.backbones import SIREN
        >>> box = Box((-1.0, -1.0), (1.0, 1.0))
        >>> field = StreamFunctionField(SIREN(2, 1).double(), box)
        >>> field(torch.tensor([[[1.0, 0.3]]], dtype=torch.float64))[..., 0].item()
        0.0
    """

    def __init__(
        self,
        network: nn.Module,
        domain: Box | Grid,
        *,
        walls: Walls = "free_slip",
        periodic: bool | Sequence[bool] = False,
        num_harmonics: int = 1,
    ) -> None:
        nn.Module.__init__(self)
        self.domain, self.is_periodic = box_and_periods(domain, periodic)
        if self.domain.dim not in (2, 3):
            raise ValueError(
                f"StreamFunctionField: a stream function needs 2 or 3 axes, got {self.dim}."
            )
        wanted = 1 if self.dim == 2 else 3
        given = getattr(network, "out_channels", wanted)
        if given != wanted:
            raise ValueError(
                f"StreamFunctionField: the network must have {wanted} output(s), the potential "
                f"in {self.dim}D, got {given}."
            )
        self.num_channels = self.dim
        kinds: list[Kind] = ["periodic" if flag else "plain" for flag in self.is_periodic]
        embedding = CoordinateEmbedding(self.domain, kinds, num_harmonics=num_harmonics)
        check_features(network, embedding, where="StreamFunctionField")
        self.function = StreamFunction(network, embedding, walls=walls)
