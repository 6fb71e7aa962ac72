"""How does noise become a sample? Steps from node to node of decreasing noise."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

__all__ = ["Ancestral", "NoiseLevels", "Sampler"]

Denoiser = Callable[[Tensor, int], Tensor]
Draw = Callable[[int], Tensor]


@dataclass(frozen=True)
class NoiseLevels:
    """Nodes of a noising x = alpha x0 + sigma eps, from pure noise to the least noise.

    Args:
        alphas: Share of the clean field at each node, increasing.
        sigmas: Standard deviation of the noise at each node, decreasing and positive.
    """

    alphas: tuple[float, ...]
    sigmas: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.alphas) != len(self.sigmas) or not self.sigmas:
            raise ValueError(
                "NoiseLevels: `alphas` and `sigmas` must have the same number of nodes, at least "
                f"one, got {len(self.alphas)} and {len(self.sigmas)}."
            )
        if not all(math.isfinite(s) and s > 0 for s in self.sigmas) or min(self.alphas) < 0:
            raise ValueError(
                "NoiseLevels: `sigmas` must be positive and `alphas` not negative, got "
                f"{self.sigmas} and {self.alphas}."
            )
        ratios = [a / s for a, s in zip(self.alphas, self.sigmas, strict=True)]
        if any(b <= a for a, b in pairwise(ratios)):
            raise ValueError(
                "NoiseLevels: noise must decrease from node to node, got alpha / sigma = "
                f"{ratios}; give the noisiest node first."
            )

    def __len__(self) -> int:
        return len(self.sigmas)

    @property
    def with_clean_end(self) -> list[tuple[float, float]]:
        """(alpha, sigma) of every node and of the clean field, (1, 0)."""
        return [*zip(self.alphas, self.sigmas, strict=True), (1.0, 0.0)]


@dataclass(frozen=True)
class Sampler(ABC):
    """Carries a noisy field from the first node of `NoiseLevels` to the clean field."""

    @abstractmethod
    def sample(self, denoise: Denoiser, levels: NoiseLevels, draw: Draw) -> Tensor:
        """A sample of the clean field.

        Args:
            denoise: `denoise(x, n)` estimates the clean field from x at node n.
            levels: The nodes.
            draw: `draw(k)` is a standard normal field; k = 0 is the start, every other k gives
                an independent one.
        """

    def num_evaluations(self, num_nodes: int) -> int:
        """Calls of `denoise` for that many nodes."""
        return num_nodes


@dataclass(frozen=True)
class Ancestral(Sampler):
    """The posterior of the next node, given this one and the estimated clean field (DDPM).

    From (alpha, sigma) to (alpha', sigma') with the estimate x0 and a standard normal z,

        x' = (r sigma'^2 x + V alpha' x0) / sigma^2 + sqrt(V) (sigma' / sigma) z,
        r = alpha / alpha',    V = sigma^2 - r^2 sigma'^2

    At alpha = 0, x is pure noise and drops out: the next node is the estimate, noised again.

    Reference:
        Denoising Diffusion Probabilistic Models (Ho et al., 2020), Eqs. (6) and (7).
        https://arxiv.org/abs/2006.11239
    """

    def sample(self, denoise: Denoiser, levels: NoiseLevels, draw: Draw) -> Tensor:
        x = levels.sigmas[0] * draw(0)
        for n, ((a, s), (a_next, s_next)) in enumerate(pairwise(levels.with_clean_end)):
            x0 = denoise(x, n)
            if s_next == 0:
                return x0
            ratio = a / a_next
            variance = s**2 - ratio**2 * s_next**2
            x = (ratio * s_next**2 / s**2) * x + (a_next * variance / s**2) * x0
            x = x + (math.sqrt(variance) * s_next / s) * draw(n + 1)
        raise AssertionError("unreachable: the last node is clean")
