"""Elliptic problems with narrow peaks, whose solutions are known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.adaptive_sampling.network import Expansion
from pdesurrogates.core import Box, generator
from pdesurrogates.sampling import Sobol

__all__ = ["Peaks"]


@dataclass(frozen=True)
class Peaks:
    """lap u - drift div(u grad |x|^2) = f on [-1, 1]^d, u = sum_k exp(-s |x - c_k|^2).

    The network's solution is zero on the boundary by the factor prod_i (1 - x_i^2); the exact one
    is at most exp(-s (1 - |c|)^2) there.

    Args:
        centers: The c_k.
        sharpness: s.
        drift: 0 or 1.
    """

    centers: tuple[tuple[float, ...], ...]
    sharpness: float
    drift: float = 0.0

    @property
    def dim(self) -> int:
        """Number of axes."""
        return len(self.centers[0])

    @property
    def domain(self) -> Box:
        """[-1, 1]^d."""
        return Box((-1.0,) * self.dim, (1.0,) * self.dim)

    def exact(self, x: Tensor) -> Expansion:
        """u, grad u and lap u at points (num_points, dim)."""
        s, value, gradient, laplacian = self.sharpness, 0.0, 0.0, 0.0
        for center in self.centers:
            away = x - x.new_tensor(center)
            square = away.square().sum(dim=-1, keepdim=True)
            peak = torch.exp(-s * square)
            value = value + peak
            gradient = gradient - 2 * s * away * peak
            laplacian = laplacian + (4 * s * s * square - 2 * s * self.dim) * peak
        return Expansion(value, gradient.T[..., None], laplacian)  # type: ignore[union-attr]

    def operator(self, x: Tensor, u: Expansion) -> Tensor:
        """lap u - drift (2 x . grad u + 2 d u) (num_points,)."""
        result = u.laplacian
        if self.drift:
            along = torch.einsum("nd,dnc->nc", x, u.gradient)
            result = result - self.drift * (2 * along + 2 * self.dim * u.value)
        return result[:, 0]

    def residual(self, x: Tensor, u: Expansion) -> Tensor:
        """(operator(u) - f) / max |f| (num_points,)."""
        return (self.operator(x, u) - self.operator(x, self.exact(x))) / (
            2 * self.sharpness * self.dim
        )

    def test_points(self, num_points: int) -> tuple[Tensor, Tensor]:
        """Points, half uniform and half around the peaks, and weights whose sum is 1.

        sum(weights f) estimates the mean of f over the domain.
        """
        g = generator(17)
        uniform = Sobol(self.domain).sample(num_points // 2, generator=g).points
        spread = 1 / math.sqrt(2 * self.sharpness)
        centers = torch.tensor(self.centers, dtype=torch.float64)
        which = torch.arange(num_points // 2) % len(centers)
        near = centers[which] + spread * torch.randn(
            num_points // 2, self.dim, generator=g, dtype=torch.float64
        )
        points = torch.cat((uniform, near[self.domain.contains(near)]))
        distance = (points[:, None] - centers).square().sum(dim=-1)
        normal = torch.exp(-0.5 * distance / spread**2).mean(dim=1)
        normal = normal / (spread * math.sqrt(2 * math.pi)) ** self.dim
        density = 0.5 / self.domain.volume + 0.5 * normal
        weights = 1 / (density * self.domain.volume * num_points)
        return points, weights / weights.sum()
