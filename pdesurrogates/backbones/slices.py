"""Which network mixes points in any number and order? A transformer of slices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pdesurrogates.backbones.base import Backbone
from pdesurrogates.backbones.embeddings import ConditionEmbedding, Modulation
from pdesurrogates.backbones.layers import ChannelMLP
from pdesurrogates.backbones.positions import (
    box_points,
    count_wave_features,
    periodic_axes,
    wave_features,
)
from pdesurrogates.backbones.slice_attention import SliceAttention

__all__ = ["SliceTransformer"]


class SliceTransformer(Backbone):
    """Transformer whose tokens are learned slices of the domain, for grids and for points.

    Values and place of every point are lifted to `width` channels, `depth` blocks follow, a norm
    and a linear map give the output. One block:

        w      = v + attention(norm(v)),    see `SliceAttention`
        v_next = w + mlp(norm(w))

    Cost and memory grow linearly with the points. Points need no order and no mesh:

        network(u, condition)                                      a field on a grid
        network.at_points(values, coordinates, condition)          values at any points

    The first is the second on the grid's own points. The place of a point enters as waves in its
    coordinates (`wave_features`), which are fractions of the box; where an axis closes on itself,
    so do the waves. With `num_waves=0` the network is not told the place: it then commutes with
    shifts of a periodic grid, and with every other reordering of the points.

    Points see each other only through slices. The authors' variant for structured grids
    has 3 x 3 convolutions in place of W_s and W_c; here these maps are pointwise, so that one
    network serves grids and points. `stencil` above 1 adds what they are good for, a depth-wise
    convolution v + conv(v) at the start of every block; such a network serves grids only.

    With `num_conditions`, every block scales and shifts both norms by an embedding of `condition`.

    Reference:
        Transolver: A Fast Transformer Solver for PDEs on General Geometries (Wu et al., 2024),
        Eqs. (1) to (5). https://arxiv.org/abs/2402.02366

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        dim: Number of space axes.
        width: Channels inside, a multiple of `num_heads`.
        depth: Number of blocks.
        num_heads: Heads of the attention.
        num_slices: Slices per head.
        mlp_ratio: Hidden channels of the MLP of a block, in units of `width`.
        num_waves: Waves per axis that tell a point's place, 0 for none.
        stencil: Points per axis of the depth-wise convolution, odd; 1 for none.
        periodic: Whether the box closes on itself, per axis or for all. The convolution pads
            other axes with their end values.
        num_conditions: Numbers per sample in `condition`, see `Backbone`.

    Shape:
        u: (batch, in_channels, *space) -> (batch, out_channels, *space)
        condition: (batch, num_conditions), or `None` if there are none

    Raises:
        ValueError: If an argument is out of range or `u` has another rank or channel count.
        TypeError: If `u` is not real floating point.

    Example:
        >>> model = SliceTransformer(1, 1, dim=2, width=32, depth=2)
        >>> model(torch.zeros(3, 1, 16, 9)).shape
        torch.Size([3, 1, 16, 9])
        >>> model.at_points(torch.zeros(3, 50, 1), torch.rand(3, 50, 2)).shape
        torch.Size([3, 50, 1])
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        *,
        dim: int = 1,
        width: int = 64,
        depth: int = 4,
        num_heads: int = 4,
        num_slices: int = 16,
        mlp_ratio: float = 2.0,
        num_waves: int = 4,
        stencil: int = 1,
        periodic: bool | Sequence[bool] = True,
        num_conditions: int = 0,
    ) -> None:
        super().__init__(in_channels, out_channels, dim=dim, num_conditions=num_conditions)
        self.width = width
        self.depth = depth
        self.num_heads = num_heads
        self.num_slices = num_slices
        self.mlp_ratio = mlp_ratio
        self.num_waves = num_waves
        self.stencil = stencil
        self.periodic = periodic_axes(periodic, dim, where="SliceTransformer")
        self.is_resolution_free = stencil == 1
        self.check_counts({"width": width, "depth": depth, "num_heads": num_heads})
        self.check_counts({"num_slices": num_slices, "stencil": stencil})
        self.check_counts({"num_waves": num_waves}, at_least=0)
        if width % num_heads:
            raise ValueError(
                "SliceTransformer: `width` must be a multiple of `num_heads`, got "
                f"width={width} and num_heads={num_heads}."
            )
        if stencil % 2 == 0:
            raise ValueError(f"SliceTransformer: `stencil` must be odd, got {stencil}.")
        if not mlp_ratio > 0:
            raise ValueError(f"SliceTransformer: `mlp_ratio` must be positive, got {mlp_ratio}.")

        num_inputs = in_channels + count_wave_features(self.periodic, num_waves)
        self.lift = ChannelMLP(num_inputs, 2 * width, width)
        self.embedding = ConditionEmbedding(num_conditions, width) if num_conditions else None
        self.blocks = nn.ModuleList(
            _Block(
                width,
                num_heads,
                num_slices,
                max(1, round(mlp_ratio * width)),
                convolution=_DepthwiseConv(width, stencil, self.periodic) if stencil > 1 else None,
                is_conditioned=num_conditions > 0,
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, out_channels)

    def compute(self, u: Tensor, condition: Tensor | None) -> Tensor:
        batch, _, *space = u.shape
        dtype = torch.promote_types(u.dtype, torch.float32)
        x = box_points(space, self.periodic, dtype=dtype, device=u.device)
        values = u.flatten(2).mT
        y = self._transform(values, x.expand(batch, -1, -1), condition, None, tuple(space))
        return y.mT.unflatten(-1, space)

    def at_points(
        self,
        values: Tensor,
        coordinates: Tensor,
        condition: Tensor | None = None,
        *,
        measure: Tensor | None = None,
    ) -> Tensor:
        """The output at the points where the input is given, in any number and order.

        Args:
            values: Input at the points.
            coordinates: Places as fractions of the box, from 0 to 1: (x - origin) / extent.
            condition: As in `forward`.
            measure: Length, area or volume that a point stands for, in any unit; without it all
                points count alike, so crowded places count more.

        Shape:
            values: (batch, point, in_channels) -> (batch, point, out_channels)
            coordinates: (batch, point, dim), measure: (batch, point)

        Raises:
            ValueError: If a shape does not fit, or the network has a `stencil` above 1.
        """
        self._check_points(values, coordinates, measure)
        self.check_condition(values, condition)
        dtype = next(self.parameters()).dtype
        y = self._transform(
            values.to(dtype),
            coordinates.to(torch.promote_types(coordinates.dtype, torch.float32)),
            None if condition is None else condition.to(dtype),
            None if measure is None else measure.to(dtype),
            None,
        )
        return y.to(values.dtype)

    def _transform(
        self,
        values: Tensor,
        x: Tensor,
        condition: Tensor | None,
        measure: Tensor | None,
        space: tuple[int, ...] | None,
    ) -> Tensor:
        places = wave_features(x, self.periodic, self.num_waves).to(values)
        v = self.lift(torch.cat((values, places), dim=-1))
        embedding = None if self.embedding is None else self.embedding(condition)
        for block in self.blocks:
            v = block(v, embedding, measure, space)
        return self.project(self.norm(v))

    def check_grid(self, space: tuple[int, ...]) -> None:
        smallest = tuple(
            max(1, self.stencil // 2) if closes else 2 if self.num_waves else 1
            for closes in self.periodic
        )
        if any(n < least for n, least in zip(space, smallest, strict=True)):
            raise ValueError(
                f"SliceTransformer: the grid must have at least {smallest} points, got {space}; "
                "take a finer grid or a smaller `stencil`."
            )

    def _check_points(self, values: Tensor, coordinates: Tensor, measure: Tensor | None) -> None:
        if self.stencil > 1:
            raise ValueError(
                f"SliceTransformer: a network with stencil={self.stencil} needs the neighbours of "
                "a grid and does not serve points; build it with stencil=1."
            )
        if not values.is_floating_point():
            raise TypeError(
                f"SliceTransformer: `values` must be real floating point, got {values.dtype}."
            )
        if values.ndim != 3 or values.shape[2] != self.in_channels:
            raise ValueError(
                f"SliceTransformer: `values` must have shape (batch, point, {self.in_channels}), "
                f"got {tuple(values.shape)}; a field on a grid goes to network(u)."
            )
        batch, points, _ = values.shape
        expected: dict[str, tuple[Tensor | None, tuple[int, ...]]] = {
            "coordinates": (coordinates, (batch, points, self.dim)),
            "measure": (measure, (batch, points)),
        }
        for name, (tensor, shape) in expected.items():
            if tensor is not None and tuple(tensor.shape) != shape:
                raise ValueError(
                    f"SliceTransformer: `{name}` must have shape {shape} for values of shape "
                    f"{tuple(values.shape)}, got {tuple(tensor.shape)}."
                )

    def extra_repr(self) -> str:
        return f"num_waves={self.num_waves}, periodic={self.periodic}"


class _Block(nn.Module):
    """Attention among slices and a channel MLP, see `SliceTransformer`."""

    def __init__(
        self,
        width: int,
        num_heads: int,
        num_slices: int,
        hidden: int,
        *,
        convolution: nn.Module | None,
        is_conditioned: bool,
    ) -> None:
        super().__init__()
        self.convolution = convolution
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.modulations = nn.ModuleList(
            Modulation(width, width, channel_axis=-1) for _ in range(2 * is_conditioned)
        )
        self.attention = SliceAttention(width, num_heads, num_slices)
        self.mlp = ChannelMLP(width, hidden, width)

    def forward(
        self,
        v: Tensor,
        embedding: Tensor | None,
        measure: Tensor | None,
        space: tuple[int, ...] | None,
    ) -> Tensor:
        if self.convolution is not None:
            v = v + self.convolution(v, space)
        v = v + self.attention(self._normalize(0, v, embedding), measure)
        return v + self.mlp(self._normalize(1, v, embedding))

    def _normalize(self, n: int, v: Tensor, embedding: Tensor | None) -> Tensor:
        v = self.norms[n](v)
        return self.modulations[n](v, embedding) if self.modulations else v


class _DepthwiseConv(nn.Module):
    """One small convolution per channel on a grid, (batch, point, width) in and out."""

    def __init__(self, width: int, stencil: int, periodic: tuple[bool, ...]) -> None:
        super().__init__()
        self.periodic = periodic
        self.reach = stencil // 2
        convolutions = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
        self.conv = convolutions[len(periodic) - 1](width, width, stencil, groups=width)

    def forward(self, v: Tensor, space: tuple[int, ...]) -> Tensor:
        h = v.mT.unflatten(-1, space)
        for axis, closes in enumerate(self.periodic, start=2):
            n, reach = h.shape[axis], self.reach
            if closes:
                ends = h.narrow(axis, n - reach, reach), h.narrow(axis, 0, reach)
            else:
                repeats = [-1] * h.ndim
                repeats[axis] = reach
                ends = tuple(h.narrow(axis, i, 1).expand(repeats) for i in (0, n - 1))
            h = torch.cat((ends[0], h, ends[1]), dim=axis)
        return self.conv(h).flatten(2).mT
