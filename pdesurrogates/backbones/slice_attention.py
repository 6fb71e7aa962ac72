"""How do points attend to each other at linear cost? Through slices, learned groups of points."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["SliceAttention"]


class SliceAttention(nn.Module):
    """Every point joins a few slices in parts, slices attend to each other, points get it back.

    Per head, with N points v_i, M slices and C = width / heads channels:

        w_ij = softmax_j((W_s v_i + b_s)_j / temperature)        parts of point i in slice j
        z_j  = sum_i m_i w_ij (W_c v_i + b_c) / sum_i m_i w_ij   slice tokens: weighted means
        z'   = softmax(q k^T / sqrt(C)) v,    q, k, v = linear maps of z
        y_i  = W_o [sum_j w_ij z'_j of every head] + b_o

    m_i is the measure of a point, 1 unless given. Because tokens are means, they do not depend on
    how many points sample a field, only on how they are spread.

    A linear map of a mean is the mean of the linear map. While heads times M is not above
    width + M, W_c and W_o are applied to the tokens, not to the points: the same numbers as the
    formula with fewer products, and nothing but w stored per point.

    The temperature, one per head, starts at 0.5 and acts clamped to [0.1, 5]. W_s is one linear
    map with orthonormal rows per head at the start; the authors' code composes it of two linear
    maps, the second shared by the heads.

    Reference:
        Transolver: A Fast Transformer Solver for PDEs on General Geometries (Wu et al., 2024),
        Eqs. (1) to (4). https://arxiv.org/abs/2402.02366

    Args:
        width: Channels.
        num_heads: Heads, a divisor of `width`.
        num_slices: Slices M per head.

    Shape:
        v: (batch, point, width) -> (batch, point, width)
        measure: (batch, point), non-negative, or `None`
    """

    START_TEMPERATURE = 0.5
    TEMPERATURES = (0.1, 5.0)

    def __init__(self, width: int, num_heads: int, num_slices: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.num_slices = num_slices
        channels = width // num_heads
        self.temperature = nn.Parameter(torch.full((num_heads, 1), self.START_TEMPERATURE))
        self.assign = nn.Linear(width, num_heads * num_slices)
        for rows in self.assign.weight.split(num_slices):
            nn.init.orthogonal_(rows)
        self.content = nn.Linear(width, width)
        self.attend = nn.Linear(channels, 3 * channels, bias=False)
        self.spread = nn.Linear(width, width)

    def parts(self, v: Tensor) -> Tensor:
        """w: how much of each point is in each slice, (batch, point, head, slice), sums to 1."""
        logits = self.assign(v).unflatten(-1, (self.num_heads, self.num_slices))
        return (logits / self.temperature.clamp(*self.TEMPERATURES)).softmax(dim=-1)

    def forward(self, v: Tensor, measure: Tensor | None = None) -> Tensor:
        heads, slices, width = self.num_heads, self.num_slices, v.shape[-1]
        channels = width // heads
        w = self.parts(v)
        measured = w if measure is None else w * measure[..., None, None]
        total = measured.sum(dim=1)[..., None]  # (batch, head, slice, 1)
        total = total.clamp_min(torch.finfo(w.dtype).tiny)  # a slice may be empty
        if heads * slices > width + slices:
            content = self.content(v).unflatten(-1, (heads, channels))
            tokens = self._mix(torch.einsum("bnhj,bnhc->bhjc", measured, content) / total)
            return self.spread(torch.einsum("bnhj,bhjc->bnhc", w, tokens).flatten(2))

        means = torch.bmm(measured.flatten(2).mT, v).unflatten(1, (heads, slices)) / total
        tokens = means @ self.content.weight.view(heads, channels, width).mT
        tokens = self._mix(tokens + self.content.bias.view(heads, 1, channels))
        spread = self.spread.weight.view(width, heads, channels).permute(1, 2, 0)
        return torch.bmm(w.flatten(2), (tokens @ spread).flatten(1, 2)) + self.spread.bias

    def _mix(self, tokens: Tensor) -> Tensor:
        """Attention among the slices of each head, (batch, head, slice, channel)."""
        q, k, values = self.attend(tokens).chunk(3, dim=-1)
        return (q @ k.mT / math.sqrt(q.shape[-1])).softmax(dim=-1) @ values
