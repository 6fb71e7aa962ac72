"""Which layers does a windowed transformer have? Attention and perceptron, normalised after."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pdesurrogates.backbones.convolution import PaddingKind
from pdesurrogates.backbones.extension import extend
from pdesurrogates.backbones.layers import ChannelMLP
from pdesurrogates.backbones.windows import WindowAttention, Windows

__all__ = ["ConditionalNorm", "PatchMerging", "PatchSplitting", "SkipBlock", "SwinLayer"]


class ConditionalNorm(nn.Module):
    """Layer norm over channels, with scale and shift linear in the condition c.

        y = w(c) (x - mean) / sqrt(variance + 1e-5) + b(c),    w(c) = W c + w0,  b(c) = B c + b0

    Without conditions, w and b are plain parameters. The variance is a mean of squared
    differences, accumulated at least in float32. Initially w is close to 1 and b to 0.

    Reference:
        Poseidon: Efficient Foundation Models for PDEs (Herde et al., 2024), where c is the lead
        time. https://arxiv.org/abs/2405.19101

    Args:
        width: Channels.
        num_conditions: Length of c, or 0.

    Shape:
        x: (batch, *space, width) -> the same
        condition: (batch, num_conditions), or `None` if there are none
    """

    def __init__(self, width: int, num_conditions: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=not num_conditions)
        self.affine = nn.Linear(num_conditions, 2 * width) if num_conditions else None
        if self.affine is not None:
            nn.init.normal_(self.affine.weight, std=0.02)
            nn.init.ones_(self.affine.bias[:width])
            nn.init.zeros_(self.affine.bias[width:])

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        y = self.norm(x)
        if self.affine is None:
            return y
        shape = (x.shape[0], *[1] * (x.ndim - 2), x.shape[-1])
        scale, shift = (part.reshape(shape) for part in self.affine(condition).chunk(2, dim=-1))
        return torch.addcmul(shift, y, scale)


class SwinLayer(nn.Module):
    """Window attention and a channel MLP, each normalised and then added.

        x <- x + norm(attention(x)),    x <- x + norm(mlp(x))

    Reference:
        Swin Transformer V2: Scaling Up Capacity and Resolution (Liu et al., 2022), section 3.2.
        https://arxiv.org/abs/2111.09883

    Args:
        width: Channels.
        num_heads: Heads of the attention.
        dim: Number of space axes.
        is_shifted: Whether the windows are moved.
        mlp_ratio: Hidden channels of the MLP, in units of `width`.
        num_conditions: Numbers per sample that the norms hear.

    Shape:
        x: (batch, *space, width) -> the same
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        *,
        dim: int,
        is_shifted: bool,
        mlp_ratio: float = 4.0,
        num_conditions: int = 0,
    ) -> None:
        super().__init__()
        self.is_shifted = is_shifted
        self.attention = WindowAttention(width, num_heads, dim=dim)
        self.attention_norm = ConditionalNorm(width, num_conditions)
        self.mlp = ChannelMLP(width, max(1, round(mlp_ratio * width)), width)
        self.mlp_norm = ConditionalNorm(width, num_conditions)
        nn.init.normal_(self.attention.query_key_value.weight, std=0.02)
        for layer in (self.attention.project, self.mlp.expand, self.mlp.contract):
            _initialize(layer)

    def forward(self, x: Tensor, windows: Windows, condition: Tensor | None) -> Tensor:
        attention = self.attention(x, windows, is_shifted=self.is_shifted)
        x = x + self.attention_norm(attention, condition)
        return x + self.mlp_norm(self.mlp(x), condition)


def _initialize(linear: nn.Linear) -> None:
    """Swin's start: small weights, no constant."""
    nn.init.normal_(linear.weight, std=0.02)
    nn.init.zeros_(linear.bias)


class PatchMerging(nn.Module):
    """Half the tokens per axis, twice the channels: the 2^dim neighbours, linearly, normalised.

    Args:
        width: Channels d.
        dim: Number of space axes.
        num_conditions: Numbers per sample that the norm hears.

    Shape:
        x: (batch, *space, d) -> (batch, *space / 2, 2 d)
    """

    def __init__(self, width: int, *, dim: int, num_conditions: int = 0) -> None:
        super().__init__()
        self.reduce = nn.Linear(2**dim * width, 2 * width, bias=False)
        self.norm = ConditionalNorm(2 * width, num_conditions)
        nn.init.normal_(self.reduce.weight, std=0.02)

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        batch, *space, width = x.shape
        dim = len(space)
        half = [n // 2 for n in space]
        x = x.reshape(batch, *(m for n in half for m in (n, 2)), width)
        # Swin's order of the neighbours: the first axis varies fastest.
        places, neighbours = range(1, 2 * dim, 2), range(2 * dim, 0, -2)
        x = x.permute(0, *places, *neighbours, 2 * dim + 1).reshape(batch, *half, -1)
        return self.norm(self.reduce(x), condition)


class PatchSplitting(nn.Module):
    """Twice the tokens per axis, half the channels: linear, split, normalised, linear.

    Args:
        width: Channels d, even.
        dim: Number of space axes.
        num_conditions: Numbers per sample that the norm hears.

    Shape:
        x: (batch, *space, d) -> (batch, *2 space, d / 2)
    """

    def __init__(self, width: int, *, dim: int, num_conditions: int = 0) -> None:
        super().__init__()
        self.expand = nn.Linear(width, 2**dim * width // 2, bias=False)
        self.norm = ConditionalNorm(width // 2, num_conditions)
        self.mix = nn.Linear(width // 2, width // 2, bias=False)
        for layer in (self.expand, self.mix):
            nn.init.normal_(layer.weight, std=0.02)

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        batch, *space, width = x.shape
        dim = len(space)
        x = self.expand(x).reshape(batch, *space, *[2] * dim, width // 2)
        pairs = [axis for n in range(dim) for axis in (1 + n, 1 + dim + n)]
        x = x.permute(0, *pairs, 1 + 2 * dim).reshape(batch, *(2 * n for n in space), -1)
        return self.mix(self.norm(x, condition))


class SkipBlock(nn.Module):
    """ConvNeXt block on the way from encoder to decoder.

        x <- x + g mlp(norm(conv(x))),    conv of 7 points per axis, each channel alone

    g, one number per channel, starts at 1e-6.

    Reference:
        A ConvNet for the 2020s (Liu et al., 2022), section 2.6 and Figure 4.
        https://arxiv.org/abs/2201.03545

    Args:
        width: Channels.
        kinds: What is beyond the edge, per axis.
        num_conditions: Numbers per sample that the norm hears.

    Shape:
        x: (batch, *space, width) -> the same
    """

    REACH = 3

    def __init__(
        self, width: int, kinds: Sequence[PaddingKind], *, num_conditions: int = 0
    ) -> None:
        super().__init__()
        self.kinds = tuple(kinds)
        convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(self.kinds) - 1]
        self.conv = convolution(width, width, 2 * self.REACH + 1, groups=width)
        self.norm = ConditionalNorm(width, num_conditions)
        self.mlp = ChannelMLP(width, 4 * width, width)
        self.gain = nn.Parameter(torch.full((width,), 1e-6))

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        v = extend(x, self.REACH, self.REACH, self.kinds, first_axis=1)
        y = self.conv(v.movedim(-1, 1)).movedim(1, -1)
        y = self.mlp(self.norm(y, condition))
        return torch.addcmul(x, y, self.gain)
