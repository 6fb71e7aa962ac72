"""Which network sees all scales with attention? A transformer of windows, shaped like a U."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor, nn

from pdesurrogates.backbones.base import Backbone
from pdesurrogates.backbones.biased_attention import largest_divisor
from pdesurrogates.backbones.convolution import PaddingKind, padding_kinds
from pdesurrogates.backbones.extension import extend
from pdesurrogates.backbones.swin import (
    ConditionalNorm,
    PatchMerging,
    PatchSplitting,
    SkipBlock,
    SwinLayer,
)
from pdesurrogates.backbones.windows import Windows, partition_grid

__all__ = ["OperatorTransformer"]


class OperatorTransformer(Backbone):
    """Hierarchical transformer with shifted windows: the scOT of Poseidon.

    Patches of `patch_size` points per axis become tokens of `width` channels. An encoder of
    len(depths) levels halves the tokens per axis and doubles the channels from level to level; a
    decoder of the same layers comes back; skip blocks join the two. On level i, with d channels:

        encoder   y = layers(x),  next level: merge(x + y)
        decoder   y = layers(split(level below) + skip(y of the encoder))
        layer     x <- x + norm(attention(x));  x <- x + norm(mlp(x))

    Every second layer moves its windows (see `WindowAttention`, `partition_grid`); the decoder
    ends with one that does not. The lowest level of the encoder goes through its skip blocks to
    the decoder. A transposed convolution turns tokens into patches, a convolution of 5 points per
    axis smooths their seams. With conditions, scale and shift of every norm are linear in
    `condition` (`ConditionalNorm`). The published sizes are, for 4 channels and one condition,

        T  width=48,  depths=(4, 4, 4, 4)    20.8 million parameters
        B  width=96,  depths=(8, 8, 8, 8)     158
        L  width=192, depths=(8, 8, 8, 8)     629

    Edges: on a periodic axis moved windows hold both ends, and convolutions go round; the network
    then commutes with shifts by multiples of window * patch_size * 2^(levels - 1) points. On
    other axes tokens of opposite ends do not see each other and convolutions continue the field
    as told. The published network does the latter with zeros on all axes: padding="zeros".

    Any grid is accepted. Tokens of the lowest level must be whole and, where they need several
    windows, divide into ones of at least half of `window_size`. Other grids are extended evenly
    at both ends, periodically or with their end values, and the output is cropped. An extended
    periodic axis has a seam outside the grid: shifts commute only approximately there. Least work
    is done on grids of patch_size * 2^(levels - 1) * n points with n or a divisor of n close to
    `window_size`.

    Reference:
        Poseidon: Efficient Foundation Models for PDEs (Herde et al., 2024), section 2 (scOT).
        https://arxiv.org/abs/2405.19101

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        dim: Number of space axes.
        patch_size: Points of a patch per axis.
        width: Channels of the first level.
        depths: Layers per level, in the encoder and again in the decoder.
        num_heads: Heads of the attention per level; each divides the channels of its level.
        window_size: Largest number of tokens of a window per axis; the work per token grows with
            its power `dim`.
        skip_depths: Skip blocks per level.
        mlp_ratio: Hidden channels of the perceptrons, in units of the channels.
        num_conditions: Numbers per sample in `condition`, see `Backbone`.
        padding: What is beyond the edge: "periodic", "zeros", "reflect" or "replicate", for all
            axes or per axis.

    Shape:
        u: (batch, in_channels, *space) -> (batch, out_channels, *space)
        condition: (batch, num_conditions), or `None` if there are none

    Raises:
        ValueError: If an argument is out of range, levels differ in number, or `u` has another
            rank or channel count.
        TypeError: If `u` is not real floating point.

    Example:
        >>> import torch
        >>> model = OperatorTransformer(
        ...     width=16, depths=(2, 2), num_heads=(2, 4), skip_depths=(1, 0), window_size=8
        ... )
        >>> model(torch.zeros(3, 1, 32, 27)).shape
        torch.Size([3, 1, 32, 27])
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        *,
        dim: int = 2,
        patch_size: int = 4,
        width: int = 48,
        depths: Sequence[int] = (4, 4, 4, 4),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window_size: int = 16,
        skip_depths: Sequence[int] = (2, 2, 2, 0),
        mlp_ratio: float = 4.0,
        num_conditions: int = 0,
        padding: str | Sequence[str] = "periodic",
    ) -> None:
        super().__init__(in_channels, out_channels, dim=dim, num_conditions=num_conditions)
        self.patch_size = patch_size
        self.width = width
        self.depths = tuple(depths)
        self.num_heads = tuple(num_heads)
        self.window_size = window_size
        self.skip_depths = tuple(skip_depths)
        self.mlp_ratio = mlp_ratio
        self.padding = padding if isinstance(padding, str) else tuple(padding)
        self._check_arguments()
        self.kinds = padding_kinds(padding, dim, where="OperatorTransformer")
        self.outside: list[PaddingKind] = [
            "periodic" if kind == "periodic" else "replicate" for kind in self.kinds
        ]  # of grids that must be extended

        levels = range(len(self.depths))
        convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dim - 1]
        transposed = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[dim - 1]
        heard = {"num_conditions": num_conditions}
        self.embed = convolution(in_channels, width, patch_size, stride=patch_size)
        self.embed_norm = ConditionalNorm(width, num_conditions)
        self.encoder = nn.ModuleList(self._level(n, range(self.depths[n])) for n in levels)
        self.merge = nn.ModuleList(
            PatchMerging(width * 2**n, dim=dim, **heard) for n in levels[:-1]
        )
        self.skip = nn.ModuleList(
            _Skip(SkipBlock(width * 2**n, self.kinds, **heard) for _ in range(depth))
            for n, depth in enumerate(self.skip_depths)
        )
        self.split = nn.ModuleList(
            PatchSplitting(width * 2**n, dim=dim, **heard) for n in levels[1:]
        )
        self.decoder = nn.ModuleList(
            self._level(n, reversed(range(self.depths[n]))) for n in levels
        )
        self.recover = transposed(width, out_channels, patch_size, stride=patch_size)
        self.smooth = convolution(out_channels, out_channels, 5, bias=False)

    def compute(self, u: Tensor, condition: Tensor | None) -> Tensor:
        space = u.shape[2:]
        before, after = zip(*(self._points_to_add(n) for n in space), strict=True)
        u = extend(u, before, after, self.outside)

        x = self.embed_norm(self.embed(u).movedim(1, -1), condition)
        windows, states = [], []
        for n, (level, blocks) in enumerate(zip(self.encoder, self.skip, strict=True)):
            windows.append(self.windows(x))
            y = level(x, windows[n], condition)
            if n < len(self.merge):
                x = self.merge[n](x + y, condition)
            states.append(blocks(y, condition))

        x = states.pop()
        for level in reversed(self.decoder):
            x = level(x, windows.pop(), condition)
            if states:
                x = self.split[len(states) - 1](x, condition) + states.pop()
        v = self.smooth(extend(self.recover(x.movedim(-1, 1)), 2, 2, self.kinds))
        for axis, (start, n) in enumerate(zip(before, space, strict=True)):
            v = v.narrow(2 + axis, start, n)
        return v

    def check_grid(self, space: tuple[int, ...]) -> None:
        if min(space) < 1:
            raise ValueError(
                "OperatorTransformer: `u` must have at least 1 point on every axis, got "
                f"{tuple(space)}; any larger grid is accepted."
            )

    def extra_repr(self) -> str:
        return f"window_size={self.window_size}, padding={self.padding!r}"

    def _level(self, level: int, positions: Iterable[int]) -> _Level:
        """Layers of a level; those at odd positions move their windows."""
        return _Level(
            SwinLayer(
                self.width * 2**level,
                self.num_heads[level],
                dim=self.dim,
                is_shifted=position % 2 == 1,
                mlp_ratio=self.mlp_ratio,
                num_conditions=self.num_conditions,
            )
            for position in positions
        )

    def windows(self, x: Tensor) -> Windows:
        """The windows of a grid of tokens (batch, *space, channel)."""
        is_periodic = [kind == "periodic" for kind in self.kinds]
        return partition_grid(
            x.shape[1:-1], self.window_size, is_periodic, dtype=x.dtype, device=x.device
        )

    def _points_to_add(self, num_points: int) -> tuple[int, int]:
        """Points in front of an axis and behind it that make its tokens divide into windows."""
        cell = self.patch_size * 2 ** (len(self.depths) - 1)
        tokens = -(-num_points // cell)  # of the lowest level
        while not self._divides_well(tokens):
            tokens += 1
        missing = tokens * cell - num_points
        return missing // 2, missing - missing // 2

    def _divides_well(self, tokens: int) -> bool:
        """Whether every level fits in one window or divides into several of at least half."""
        largest = self.window_size
        least = max(min(2, largest), largest / 2)
        sizes = (tokens * 2**level for level in range(len(self.depths)))
        return all(n <= largest or largest_divisor(n, largest) >= least for n in sizes)

    def _check_arguments(self) -> None:
        counts = {"patch_size": self.patch_size, "width": self.width}
        self.check_counts(counts | {"window_size": self.window_size})
        for name in ("depths", "num_heads", "skip_depths"):
            values = getattr(self, name)
            if not values or len(values) != len(self.depths):
                raise ValueError(
                    f"OperatorTransformer: `{name}` must have one entry per level, "
                    f"{len(self.depths)} as `depths`, got {values}."
                )
            least = 0 if name == "skip_depths" else 1
            entries = {f"{name}[{level}]": value for level, value in enumerate(values)}
            self.check_counts(entries, at_least=least)
        for level, heads in enumerate(self.num_heads):
            channels = self.width * 2**level
            if channels % heads:
                raise ValueError(
                    f"OperatorTransformer: `num_heads[{level}]` must divide the {channels} "
                    f"channels of level {level} (width * 2^{level}), got {heads}; e.g. "
                    f"num_heads[{level}]={largest_divisor(channels, heads)}."
                )
        if not self.mlp_ratio > 0:
            raise ValueError(
                f"OperatorTransformer: `mlp_ratio` must be positive, got {self.mlp_ratio}."
            )


class _Level(nn.Module):
    """Layers one after the other."""

    def __init__(self, layers: Iterable[SwinLayer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, windows: Windows, condition: Tensor | None) -> Tensor:
        for layer in self.layers:
            x = layer(x, windows, condition)
        return x


class _Skip(nn.Module):
    """Skip blocks one after the other, possibly none."""

    def __init__(self, blocks: Iterable[SkipBlock]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        for block in self.blocks:
            x = block(x, condition)
        return x
