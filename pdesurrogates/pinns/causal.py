"""Causal weights: late times count once early ones are learnt."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["CausalWeights"]


class CausalWeights:
    """Weights of slices in time that fall with what is not yet learnt before them:

        w_i = exp(-epsilon sum_{k < i} L_k),   L_k the mean square residual in slice k

    Warning:
        All late weights vanish where epsilon is too large for the size of the residual: the loss
        is then small and says nothing. `smallest` below about 0.01 at the end means that the
        late times were never trained; lower epsilon.

    Reference:
        Respecting causality for training physics-informed neural networks (Wang, Sankaran and
        Perdikaris, 2022), Eq. (3.9) and Algorithm 1. https://arxiv.org/abs/2203.07404

    Args:
        epsilon: How strict, in units of 1 / residual^2.
        num_slices: Slices of equal length.

    Attributes:
        smallest: Weight of the last slice when it was last asked for (a tensor).
    """

    def __init__(self, epsilon: float = 1.0, num_slices: int = 32) -> None:
        if not (math.isfinite(epsilon) and epsilon >= 0) or num_slices < 2:
            raise ValueError(
                "CausalWeights: `epsilon` must not be negative and `num_slices` at least 2, got "
                f"{epsilon} and {num_slices}."
            )
        self.epsilon, self.num_slices = epsilon, num_slices
        self.smallest: Tensor | None = None

    def __call__(self, unit_times: Tensor, residual: Tensor) -> Tensor:
        """Weights (point, 1) of points.

        Args:
            unit_times: Times of the points in [0, 1] (point, 1).
            residual: (point, component).
        """
        with torch.no_grad():
            size = residual.detach().square().mean(dim=-1)
            index = (unit_times[:, 0] * self.num_slices).long().clamp(0, self.num_slices - 1)
            zeros = size.new_zeros(self.num_slices)
            total = zeros.index_add(0, index, size)
            count = zeros.index_add(0, index, torch.ones_like(size)).clamp(min=1)
            mean = total / count
            weights = torch.exp(-self.epsilon * (mean.cumsum(dim=0) - mean))
            self.smallest = weights[-1]
            return weights[index, None]
