"""How does a network hear a number? Waves of many lengths in the number, then a perceptron."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ConditionEmbedding", "Modulation"]


class ConditionEmbedding(nn.Module):
    """A vector that tells numbers of order one apart, however close they are.

        e = W2 silu(W1 [c, sin(w_j c), cos(w_j c)] + b1) + b2,    w_j = 2^j / 2,  j = 0 .. 7

    Wavelengths from 12.6 down to 0.1 resolve differences of about 0.01 in every number.

    Args:
        num_conditions: Numbers per sample.
        width: Length of the vector.

    Shape:
        condition: (batch, num_conditions) -> (batch, width)
    """

    NUM_FREQUENCIES = 8

    def __init__(self, num_conditions: int, width: int) -> None:
        super().__init__()
        self.expand = nn.Linear(num_conditions * (1 + 2 * self.NUM_FREQUENCIES), width)
        self.contract = nn.Linear(width, width)

    def forward(self, condition: Tensor) -> Tensor:
        octaves = torch.arange(self.NUM_FREQUENCIES, device=condition.device)
        phases = condition[..., None] * torch.exp2(octaves - 1.0).to(condition)
        features = torch.cat((condition[..., None], phases.sin(), phases.cos()), dim=-1)
        return self.contract(F.silu(self.expand(features.flatten(1))))


class Modulation(nn.Module):
    """Scale and shift of channels by an embedding: v -> (1 + s(e)) v + b(e).

    Starts as the identity plus a small dependence, so that gradients reach the embedding.

    Args:
        embedding_width: Length of the embedding.
        channels: Channels of v.
        channel_axis: Axis of the channels in v: 1, or -1 for channels last.

    Shape:
        v: (batch, channel, *space) or (batch, *space, channel), embedding: (batch, width)
    """

    def __init__(self, embedding_width: int, channels: int, *, channel_axis: int = 1) -> None:
        super().__init__()
        self.channel_axis = channel_axis
        self.linear = nn.Linear(embedding_width, 2 * channels)
        nn.init.normal_(self.linear.weight, std=0.1 / math.sqrt(embedding_width))
        nn.init.zeros_(self.linear.bias)

    def forward(self, v: Tensor, embedding: Tensor) -> Tensor:
        shape = [v.shape[0]] + [1] * (v.ndim - 1)
        shape[self.channel_axis] = -1
        scale, shift = (part.reshape(shape) for part in self.linear(embedding).chunk(2, dim=-1))
        return torch.addcmul(v + shift, v, scale)
