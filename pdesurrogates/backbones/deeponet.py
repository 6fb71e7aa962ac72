"""Which network answers at any point from samples at fixed ones? The DeepONet."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pdesurrogates.backbones.base import Backbone
from pdesurrogates.backbones.embeddings import ConditionEmbedding, Modulation
from pdesurrogates.backbones.positions import (
    box_points,
    count_wave_features,
    periodic_axes,
    wave_features,
)

__all__ = ["DeepONet"]


class DeepONet(Backbone):
    """Deep operator network: coefficients from samples of the input, functions from the place.

        G(u)(y) = sum_k b_k(u(x_1), ..., u(x_m)) t_k(y) + b_0,    k = 1 .. num_basis

    The branch b is a perceptron of the input on its sensors x_1 .. x_m, the grid `num_points`.
    The trunk t is a perceptron of waves in y (`wave_features`), so the output closes on itself
    where the box does. Output channels share the trunk; each has its own coefficients and its own
    bias b_0. Both perceptrons have `depth` layers of gelu and a linear last layer; the trunk of
    the paper has an activation there, too.

        network(u)                                the output on the grid of u
        network.at_points(u, coordinates)         the output at any points

    The sensors are part of the network. With `resample`, an input on another grid of the same box
    is evaluated at the sensors first, by its Fourier series along periodic axes (exact for fields
    the grid resolves) and linearly along others.

    With `num_conditions`, every layer of the branch is scaled and shifted by an embedding of
    `condition`.

    Warning:
        The output lies in the span of `num_basis` functions whatever the input. Where what the
        operator answers is not close to a low-dimensional space, as in transport, other networks
        need far fewer parameters.

    Reference:
        Learning nonlinear operators via DeepONet based on the universal approximation theorem of
        operators (Lu et al., 2021), Eq. (2). https://arxiv.org/abs/1910.03193

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        num_points: Sensors per axis; its length is the number of space axes.
        width: Channels of the hidden layers.
        depth: Hidden layers of branch and trunk.
        num_basis: Terms of the sum.
        num_waves: Waves per axis that the trunk is told about the place.
        periodic: Whether the box closes on itself, per axis or for all.
        resample: Accept inputs on other grids and evaluate them at the sensors.
        num_conditions: Numbers per sample in `condition`, see `Backbone`.

    Shape:
        u: (batch, in_channels, *space) -> (batch, out_channels, *space)
        condition: (batch, num_conditions), or `None` if there are none

    Raises:
        ValueError: If an argument is out of range, or `u` has another rank or channel count, or,
            without `resample`, is on another grid.
        TypeError: If `u` is not real floating point.

    Example:
        >>> model = DeepONet(num_points=(32,), width=16, depth=2)
        >>> model(torch.zeros(3, 1, 32)).shape
        torch.Size([3, 1, 32])
        >>> model.at_points(torch.zeros(3, 1, 32), torch.rand(3, 50, 1)).shape
        torch.Size([3, 50, 1])
    """

    is_resolution_free = True

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        *,
        num_points: Sequence[int] = (64,),
        width: int = 128,
        depth: int = 3,
        num_basis: int = 64,
        num_waves: int = 8,
        periodic: bool | Sequence[bool] = True,
        resample: bool = False,
        num_conditions: int = 0,
    ) -> None:
        num_points = (num_points,) if isinstance(num_points, int) else tuple(num_points)
        if not 1 <= len(num_points) <= 3:
            raise ValueError(
                "DeepONet: `num_points` must have one entry per space axis, 1 to 3 of them, got "
                f"{num_points}; e.g. num_points=(64, 64) in 2D."
            )
        dim = len(num_points)
        super().__init__(in_channels, out_channels, dim=dim, num_conditions=num_conditions)
        self.num_points = num_points
        self.width = width
        self.depth = depth
        self.num_basis = num_basis
        self.num_waves = num_waves
        self.periodic = periodic_axes(periodic, dim, where="DeepONet")
        self.resample = resample
        self.check_counts({f"num_points[{axis}]": n for axis, n in enumerate(num_points)})
        self.check_counts({"width": width, "depth": depth, "num_basis": num_basis})
        self.check_counts({"num_waves": num_waves})
        self._check_walls(num_points)

        self.embedding = ConditionEmbedding(num_conditions, width) if num_conditions else None
        self.branch = _Perceptron(
            in_channels * math.prod(num_points),
            width,
            depth,
            out_channels * num_basis,
            is_conditioned=num_conditions > 0,
        )
        num_features = count_wave_features(self.periodic, num_waves)
        self.trunk = _Perceptron(num_features, width, depth, num_basis)
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def compute(self, u: Tensor, condition: Tensor | None) -> Tensor:
        space = tuple(u.shape[2:])
        dtype = torch.promote_types(u.dtype, torch.float32)
        y = box_points(space, self.periodic, dtype=dtype, device=u.device)
        coefficients = self.coefficients(u, condition)
        output = coefficients @ self.basis(y).mT + self.bias[:, None]
        return output.unflatten(-1, space)

    def at_points(self, u: Tensor, coordinates: Tensor, condition: Tensor | None = None) -> Tensor:
        """The output at any points for an input on the sensors.

        Args:
            u: Input, as in `forward`.
            coordinates: Places as fractions of the box, from 0 to 1: (x - origin) / extent.
            condition: As in `forward`.

        Shape:
            u: (batch, in_channels, *space), coordinates: (batch, point, dim) -> (batch, point,
            out_channels)

        Raises:
            ValueError: If a shape does not fit.
        """
        self.check_input(u)
        self.check_condition(u, condition)
        shape = tuple(coordinates.shape)
        if len(shape) != 3 or (shape[0], shape[2]) != (u.shape[0], self.dim):
            raise ValueError(
                f"DeepONet: `coordinates` must have shape (batch, point, {self.dim}) with the "
                f"batch of `u`, {u.shape[0]}, got {shape}."
            )
        dtype = next(self.parameters()).dtype
        condition = None if condition is None else condition.to(dtype)
        y = coordinates.to(torch.promote_types(coordinates.dtype, torch.float32))
        coefficients = self.coefficients(u.to(dtype), condition)
        return (self.basis(y) @ coefficients.mT + self.bias).to(u.dtype)

    def coefficients(self, u: Tensor, condition: Tensor | None = None) -> Tensor:
        """b_k per output channel, (batch, out_channels, num_basis)."""
        for axis, (m, n) in enumerate(zip(self.num_points, u.shape[2:], strict=True)):
            if n != m:
                matrix = _resampling(n, m, is_periodic=self.periodic[axis], device=u.device)
                u = (u.movedim(axis + 2, -1) @ matrix.to(u).mT).movedim(-1, axis + 2)
        embedding = None if self.embedding is None else self.embedding(condition)
        return self.branch(u.flatten(1), embedding).unflatten(-1, (self.out_channels, -1))

    def basis(self, y: Tensor) -> Tensor:
        """t_k at places in the box, (*any, dim) -> (*any, num_basis)."""
        return self.trunk(wave_features(y, self.periodic, self.num_waves).to(self.bias.dtype))

    def check_grid(self, space: tuple[int, ...]) -> None:
        if self.resample:
            self._check_walls(space)
        elif space != self.num_points:
            raise ValueError(
                f"DeepONet: `u` must be given on the sensors of this network, a grid of "
                f"{self.num_points} points, got {space}; resample it, build the network with "
                f"num_points={space}, or with resample=True to accept every grid of the box."
            )

    def _check_walls(self, space: tuple[int, ...]) -> None:
        smallest = tuple(1 if closes else 2 for closes in self.periodic)
        if any(n < least for n, least in zip(space, smallest, strict=True)):
            raise ValueError(
                f"DeepONet: the grid must have at least {smallest} points, got {space}; an axis "
                "that does not close on itself has a point at both ends."
            )

    def extra_repr(self) -> str:
        return f"num_points={self.num_points}, resample={self.resample}"


class _Perceptron(nn.Module):
    """`depth` layers of gelu, modulated if conditioned, and a linear last one."""

    def __init__(
        self,
        in_channels: int,
        width: int,
        depth: int,
        out_channels: int,
        *,
        is_conditioned: bool = False,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Linear(in_channels if n == 0 else width, width) for n in range(depth)
        )
        self.modulations = nn.ModuleList(
            Modulation(width, width, channel_axis=-1) for _ in range(depth * is_conditioned)
        )
        self.last = nn.Linear(width, out_channels)

    def forward(self, v: Tensor, embedding: Tensor | None = None) -> Tensor:
        for n, layer in enumerate(self.layers):
            v = layer(v)
            if self.modulations:
                v = self.modulations[n](v, embedding)
            v = F.gelu(v)
        return self.last(v)


def _resampling(n: int, m: int, *, is_periodic: bool, device: torch.device) -> Tensor:
    """Matrix (m, n) that evaluates n samples of an axis at m points, in float64."""
    old = torch.arange(n, dtype=torch.float64, device=device)
    new = torch.arange(m, dtype=torch.float64, device=device)
    if not is_periodic:
        distances = new[:, None] * ((n - 1) / (m - 1)) - old
        return (1 - distances.abs()).clamp_min(0)
    k = torch.arange(n // 2 + 1, dtype=torch.float64, device=device)
    weight = torch.where((k == 0) | (2 * k == n), 1.0, 2.0) / n  # conjugates counted
    phases = 2 * math.pi * torch.outer(new / m, k), 2 * math.pi * torch.outer(old / n, k)
    return (weight * phases[0].cos()) @ phases[1].cos().mT + (weight * phases[0].sin()) @ phases[
        1
    ].sin().mT
