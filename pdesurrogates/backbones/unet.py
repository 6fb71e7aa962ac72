"""Which network looks at all scales in turn? The U-Net: down, and up again with skips."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from operator import mul
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pdesurrogates.backbones.base import Backbone
from pdesurrogates.backbones.convolution import (
    PaddedConv,
    TransposedConv,
    padding_kinds,
    resize,
)
from pdesurrogates.backbones.embeddings import ConditionEmbedding, Modulation

__all__ = ["UNet"]


class UNet(Backbone):
    """Modern U-Net with wide residual blocks, in one, two or three dimensions.

    Level i has c_i = width * multipliers[0] * ... * multipliers[i] channels: the multipliers are
    CUMULATIVE, so that most weights sit at the lowest level. On the way down every level has
    `num_blocks` residual blocks and a strided convolution, at the bottom are two blocks with an
    optional attention between them, on the way up every level has num_blocks + 1 blocks, each of
    which also sees the field that left the same level on the way down, and a transposed
    convolution. One block, with 3-point kernels and a pointwise W where channels change:

        h      = conv1(gelu(norm1(v)))
        v_next = W v + conv2(gelu((1 + s) norm2(h) + b))

    s and b come from an embedding of `condition` and are absent without `num_conditions`. conv2
    and the output convolution start at zero: the untrained network answers zero.

    Sizes: width 64 and multipliers (1, 2, 2, 4) give 64, 128, 256 and 1024 channels, 144 M
    parameters in 2D without conditions and 55.6 M in 1D with one. PDEArena's "Unetmod-64" is the
    same layout, except that it adds b alone before norm2 (53.8 M in 1D with two conditions) and
    has 8 groups in the last norm.

    Grids: an axis whose size is no multiple of 2^(levels - 1) is brought to the next multiple and
    back: a periodic one by trigonometric interpolation, any other by continuing it at its end as
    `padding` says and cutting it off. On periodic axes of fitting size the network commutes with
    shifts by 2^(levels - 1) points; on others it does so up to the resolution of the levels.

    Reference:
        Towards Multi-spatiotemporal-scale Generalized PDE Modeling (Gupta and Brandstetter,
        2022), Section 4 and its code. https://arxiv.org/abs/2209.15616

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        dim: Number of space axes.
        width: Channels of the first convolution.
        multipliers: Factor of the channels from one level to the next; as many as levels.
        num_blocks: Residual blocks per level on the way down.
        num_groups: Groups of channels that are normalised together; divides all channels.
        attention: Attention of all points to all at the bottom.
        padding: How a field goes on beyond the edge: "periodic", "zeros", "reflect" or
            "replicate"; one for all axes or one per axis.
        num_conditions: Numbers per sample in `condition`, see `Backbone`.

    Shape:
        u: (batch, in_channels, *space) -> (batch, out_channels, *space)
        condition: (batch, num_conditions), or `None` if there are none

    Raises:
        ValueError: If an argument is out of range, `u` has another rank or channel count, or an
            axis is smaller than 2^(levels - 1) points (twice that if reflected).
        TypeError: If `u` is not real floating point.

    Example:
        >>> model = UNet(dim=2, width=8, multipliers=(1, 2, 2))
        >>> model(torch.zeros(3, 1, 32, 27)).shape
        torch.Size([3, 1, 32, 27])
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        *,
        dim: int = 1,
        width: int = 64,
        multipliers: Sequence[int] = (1, 2, 2, 4),
        num_blocks: int = 2,
        num_groups: int = 1,
        attention: bool = False,
        padding: str | Sequence[str] = "periodic",
        num_conditions: int = 0,
    ) -> None:
        super().__init__(in_channels, out_channels, dim=dim, num_conditions=num_conditions)
        self.width = width
        self.multipliers = tuple(multipliers)
        self.num_blocks = num_blocks
        self.num_groups = num_groups
        self.attention = attention
        self.padding = padding if isinstance(padding, str) else tuple(padding)
        self.kinds = padding_kinds(padding, dim, where="UNet")
        self.check_counts({"width": width, "num_blocks": num_blocks, "num_groups": num_groups})
        self.check_counts({f"multipliers[{n}]": m for n, m in enumerate(self.multipliers)})
        if not self.multipliers:
            raise ValueError("UNet: `multipliers` must have one entry per level, got none.")
        if width % num_groups:
            raise ValueError(
                f"UNet: `num_groups` must divide `width` = {width}, got {num_groups}; 1 "
                "normalises all channels together."
            )

        def conv(
            channels: int, channels_next: int, kernel_size: int = 3, stride: int = 1
        ) -> nn.Module:
            return PaddedConv(
                channels, channels_next, kernel_size, dim=dim, stride=stride, padding=padding
            )

        def block(channels: int, channels_next: int) -> nn.Module:
            return _ResidualBlock(
                conv(channels, channels_next),
                _zero(conv(channels_next, channels_next)),
                conv(channels, channels_next, 1) if channels != channels_next else nn.Identity(),
                nn.GroupNorm(num_groups, channels),
                _ModulatedNorm(num_groups, channels_next, 4 * width if num_conditions else 0),
            )

        levels = list(accumulate((width, *self.multipliers), mul))  # width, then c_0, c_1, ...
        self.embedding = ConditionEmbedding(num_conditions, 4 * width) if num_conditions else None
        self.lift = conv(in_channels, width)
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        for n, (above, channels) in enumerate(zip(levels[:-1], levels[1:], strict=True)):
            first, last = n == 0, n == len(levels) - 2
            inputs = [above, *[channels] * (num_blocks - 1)]
            down = nn.ModuleList(block(c, channels) for c in inputs)
            if not last:
                down.append(conv(channels, channels, stride=2))
            self.down.append(down)
            up = nn.ModuleList(block(2 * channels, channels) for _ in range(num_blocks))
            up.append(block(channels + above, above))
            if not first:
                up.append(TransposedConv(above, above, dim=dim, padding=padding))
            self.up.insert(0, up)
        bottom = levels[-1]
        self.middle = nn.ModuleList((block(bottom, bottom), block(bottom, bottom)))
        self.attend = _Attention(bottom, num_groups) if attention else nn.Identity()
        self.norm = nn.GroupNorm(num_groups, width)
        self.project = _zero(conv(width, out_channels))

    def compute(self, u: Tensor, condition: Tensor | None) -> Tensor:
        space = tuple(u.shape[2:])
        embedding = None if self.embedding is None else self.embedding(condition)
        fitting = tuple(-(-n // self._multiple) * self._multiple for n in space)
        v = self.lift(resize(u, fitting, self.kinds))
        skips = [v]
        for level in self.down:
            for layer in cast(nn.ModuleList, level):
                v = layer(v, embedding) if isinstance(layer, _ResidualBlock) else layer(v)
                skips.append(v)
        before, after = self.middle
        v = after(self.attend(before(v, embedding)), embedding)
        for level in self.up:
            for layer in cast(nn.ModuleList, level):
                if isinstance(layer, _ResidualBlock):
                    v = layer(torch.cat((v, skips.pop()), dim=1), embedding)
                else:
                    v = layer(v)
        return resize(self.project(F.gelu(self.norm(v))), space, self.kinds)

    def check_grid(self, space: tuple[int, ...]) -> None:
        smallest = tuple(self._multiple * (2 if kind == "reflect" else 1) for kind in self.kinds)
        if any(n < least for n, least in zip(space, smallest, strict=True)):
            raise ValueError(
                f"UNet: the smallest grid for {len(self.multipliers)} levels and padding "
                f"{', '.join(self.kinds)} has {smallest} points, got {space}; give fewer "
                "`multipliers` or a finer grid."
            )

    @property
    def _multiple(self) -> int:
        """Points of the finest level per point of the coarsest."""
        return 2 ** (len(self.multipliers) - 1)

    def extra_repr(self) -> str:
        return f"multipliers={self.multipliers}, padding={self.kinds}"


class _ResidualBlock(nn.Module):
    """Two convolutions and a shortcut, see `UNet`."""

    def __init__(
        self,
        conv1: nn.Module,
        conv2: nn.Module,
        shortcut: nn.Module,
        norm1: nn.Module,
        norm2: nn.Module,
    ) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv1, conv2
        self.shortcut = shortcut
        self.norm1, self.norm2 = norm1, norm2

    def forward(self, v: Tensor, embedding: Tensor | None) -> Tensor:
        h = self.conv1(F.gelu(self.norm1(v)))
        h = self.conv2(F.gelu(self.norm2(h, embedding)))
        return self.shortcut(v) + h


class _ModulatedNorm(nn.GroupNorm):
    """Group norm, then scale and shift by an embedding: (1 + s(e)) (g norm(v) + b) + b(e).

    Samples are written as groups of channels of one sample, so that the norm applies a weight per
    sample and no other pass over the field is needed.
    """

    def __init__(self, num_groups: int, channels: int, embedding_width: int) -> None:
        super().__init__(num_groups, channels)
        self.modulation = Modulation(embedding_width, channels) if embedding_width else None

    def forward(self, v: Tensor, embedding: Tensor | None) -> Tensor:
        if self.modulation is None:
            return super().forward(v)
        scale, shift = self.modulation.linear(embedding).chunk(2, dim=-1)
        weight = torch.addcmul(self.weight, self.weight, scale).flatten()
        bias = torch.addcmul(self.bias + shift, self.bias, scale).flatten()
        groups = v.shape[0] * self.num_groups
        return F.group_norm(v.flatten(0, 1)[None], groups, weight, bias, self.eps).view_as(v)


class _Attention(nn.Module):
    """Every point attends to every point: v + W_o softmax(q k / sqrt(d)) values, all from norm(v).

    Heads have 64 channels each where that divides the channels, else there is one head.
    """

    def __init__(self, channels: int, num_groups: int) -> None:
        super().__init__()
        self.num_heads = channels // 64 if channels % 64 == 0 else 1
        self.norm = nn.GroupNorm(num_groups, channels)
        self.queries_keys_values = nn.Linear(channels, 3 * channels)
        self.output = nn.Linear(channels, channels)

    def forward(self, v: Tensor) -> Tensor:
        points = self.norm(v).flatten(2).mT  # (batch, point, channel)
        heads = self.queries_keys_values(points).unflatten(-1, (3, self.num_heads, -1))
        q, k, values = heads.permute(2, 0, 3, 1, 4)
        h = F.scaled_dot_product_attention(q, k, values)
        return v + self.output(h.transpose(1, 2).flatten(2)).mT.reshape(v.shape)


def _zero(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module
