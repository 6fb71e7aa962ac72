"""How do the points of a large grid attend to each other? In windows, shifted between layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pdesurrogates.backbones.biased_attention import attend, largest_divisor

__all__ = [
    "WindowAttention",
    "Windows",
    "divide_into_windows",
    "merge_windows",
    "partition_grid",
]


@dataclass(frozen=True)
class Windows:
    """How a grid of tokens is cut into windows; made by `partition_grid`.

    Args:
        size: Tokens of a window per axis.
        shift: Tokens by which the windows of shifted layers are moved per axis, 0 where one
            window covers the axis.
        offsets: Every difference of two positions in a window, (offset, dim).
        offset_of_pair: Row of `offsets` for each pair of tokens, (token * token,).
        is_apart: Pairs in a moved window that lie at opposite ends of an axis that is not
            periodic, (window, token, token); `None` if there are none.
    """

    size: tuple[int, ...]
    shift: tuple[int, ...]
    offsets: Tensor
    offset_of_pair: Tensor
    is_apart: Tensor | None


def partition_grid(
    space: Sequence[int],
    window_size: int,
    is_periodic: Sequence[bool],
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
) -> Windows:
    """Windows of equal size on a grid of tokens.

    Per axis, a window has as many tokens as divide the axis, at most `window_size`; the shift is
    half of that, and nothing on an axis that fits in one window. For tokens i and j of a window
    of w tokens, the offset that the position bias hears is, per axis,

        sign(x) log2(1 + |x|) / 3,    x = 8 (i - j) / (w - 1)

    Reference:
        Swin Transformer V2: Scaling Up Capacity and Resolution (Liu et al., 2022), section 3.3;
        the 8 and the 3 = log2(8) are those of its published code.
        https://arxiv.org/abs/2111.09883

    Args:
        space: Tokens per axis.
        window_size: Largest number of tokens of a window per axis.
        is_periodic: Per axis, whether both ends are neighbours.
        dtype: Precision of the offsets.
        device: Place of all tensors.
    """
    size = tuple(largest_divisor(n, window_size) for n in space)
    shift = tuple(w // 2 if n > w else 0 for n, w in zip(space, size, strict=True))
    axes, pairs = [], torch.zeros((), dtype=torch.long, device=device)
    for axis, w in enumerate(size):
        x = torch.arange(1 - w, w, dtype=dtype, device=device) * (8 / max(w - 1, 1))
        axes.append(x.sign() * x.abs().add(1).log2() / 3)
        i = _along(torch.arange(w, device=device), axis, size)
        pairs = pairs * (2 * w - 1) + (i[:, None] - i[None, :] + w - 1)
    offsets = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, -2)
    is_apart = _pairs_apart(space, size, shift, is_periodic, device)
    return Windows(size, shift, offsets, pairs.flatten(), is_apart)


def _along(v: Tensor, axis: int, shape: Sequence[int]) -> Tensor:
    """A vector along one axis of a grid, at every point, flat."""
    lengths = [-1 if n == axis else 1 for n in range(len(shape))]
    return v.view(lengths).expand(*shape).flatten()


def _pairs_apart(
    space: Sequence[int],
    size: tuple[int, ...],
    shift: tuple[int, ...],
    is_periodic: Sequence[bool],
    device: torch.device | None,
) -> Tensor | None:
    """`Windows.is_apart`: the last `shift` tokens of a moved axis come from its start."""
    has_ends = [s > 0 and not wraps for s, wraps in zip(shift, is_periodic, strict=True)]
    if not any(has_ends):
        return None
    side = torch.zeros(tuple(space), dtype=torch.long, device=device).flatten()
    for axis, n in enumerate(space):
        if has_ends[axis]:
            came_round = torch.arange(n, device=device) >= n - shift[axis]
            side = 2 * side + _along(came_round, axis, space)
    side = divide_into_windows(side.view(1, *space, 1, 1, 1), size)[0, 0, :, 0]
    return side.mT != side  # (window, token, 1) against (window, 1, token)


def divide_into_windows(v: Tensor, size: Sequence[int]) -> Tensor:
    """Tokens of a grid, by window.

    Shape:
        v: (batch, *space, part, head, channel) -> (part, batch, window, head, token, channel)
    """
    dim = len(size)
    cut = [n for m, w in zip(v.shape[1 : 1 + dim], size, strict=True) for n in (m // w, w)]
    v = v.reshape(v.shape[0], *cut, *v.shape[1 + dim :])
    windows, tokens = range(1, 2 * dim, 2), range(2, 2 * dim + 1, 2)
    part, head, channel = range(2 * dim + 1, 2 * dim + 4)
    v = v.permute(part, 0, *windows, head, *tokens, channel)
    return v.flatten(3 + dim, 2 + 2 * dim).flatten(2, 1 + dim)


def merge_windows(v: Tensor, size: Sequence[int], space: Sequence[int]) -> Tensor:
    """The inverse of `divide_into_windows` for one part.

    Shape:
        v: (batch, window, head, token, channel) -> (batch, *space, head * channel)
    """
    dim = len(size)
    counts = [n // w for n, w in zip(space, size, strict=True)]
    v = v.reshape(v.shape[0], *counts, v.shape[2], *size, v.shape[4])
    pairs = [axis for n in range(dim) for axis in (1 + n, 2 + dim + n)]
    v = v.permute(0, *pairs, 1 + dim, 2 + 2 * dim)
    return v.reshape(v.shape[0], *space, -1)


class WindowAttention(nn.Module):
    """Multi-head cosine attention inside windows, with a bias by continuous relative position.

    In every window, for tokens i and j,

        y_i = W sum_j softmax_j( s cos(q_i, k_j) + 16 sigmoid(B(offset_ij)) ) v_j + b

    with s = min(exp(logit_scale), 100) per head, and B a perceptron of 512 hidden units from the
    offsets of `partition_grid`. The bias depends on i - j only, so the same weights serve windows
    of every size. Queries and values have an additive constant, keys have none.

    Reference:
        Swin Transformer V2: Scaling Up Capacity and Resolution (Liu et al., 2022), Eqs. (2) to
        (4). https://arxiv.org/abs/2111.09883

    Args:
        width: Channels.
        num_heads: Heads, a divisor of `width`.
        dim: Number of space axes.

    Shape:
        x: (batch, *space, width) -> the same
    """

    def __init__(self, width: int, num_heads: int, *, dim: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.query_bias = nn.Parameter(torch.zeros(width))
        self.value_bias = nn.Parameter(torch.zeros(width))
        self.logit_scale = nn.Parameter(torch.full((num_heads,), math.log(10.0)))
        self.position_bias = nn.Sequential(
            nn.Linear(dim, 512), nn.ReLU(), nn.Linear(512, num_heads, bias=False)
        )
        self.project = nn.Linear(width, width)

    def forward(self, x: Tensor, windows: Windows, *, is_shifted: bool) -> Tensor:
        """The attention of all tokens, in windows moved by `windows.shift` if `is_shifted`."""
        space, axes = x.shape[1:-1], tuple(range(1, x.ndim - 1))
        is_shifted = is_shifted and any(windows.shift)
        if is_shifted:
            x = x.roll([-s for s in windows.shift], axes)
        constant = torch.cat((self.query_bias, torch.zeros_like(self.query_bias), self.value_bias))
        qkv = F.linear(x, self.query_key_value.weight, constant)
        qkv = qkv.unflatten(-1, (3, self.num_heads, -1))
        q, k, v = divide_into_windows(qkv, windows.size).unbind(0)
        scale = self.logit_scale.clamp(max=math.log(100.0)).exp()[:, None, None]
        y = attend(
            q * (scale * _inverse_length(q)),
            k * _inverse_length(k),
            v,
            self._bias(windows, is_shifted=is_shifted),
        )
        y = merge_windows(y, windows.size, space)
        y = self.project(y)
        return y.roll(windows.shift, axes) if is_shifted else y

    def _bias(self, windows: Windows, *, is_shifted: bool) -> Tensor:
        """What is added to the scores, (head, token, token) or (window, head, token, token)."""
        table = 16 * self.position_bias(windows.offsets).sigmoid()
        tokens = math.prod(windows.size)
        bias = table.mT.index_select(1, windows.offset_of_pair).view(-1, tokens, tokens)
        if not is_shifted or windows.is_apart is None:
            return bias
        return bias.masked_fill(windows.is_apart[:, None], -math.inf)


def _inverse_length(v: Tensor) -> Tensor:
    """1 / |v| along the channels, finite at zero in every precision."""
    dtype = torch.promote_types(v.dtype, torch.float32)
    least = max(1e-12, 2 * (1 / torch.finfo(v.dtype).max) ** 2)
    return (v.to(dtype).square().sum(-1, keepdim=True) + least).rsqrt().to(v.dtype)
