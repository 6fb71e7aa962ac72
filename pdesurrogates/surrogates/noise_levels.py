"""How noisy is a field on its way from pure noise to a sample? Nodes (alpha, sigma)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["NoiseLevels", "karras_levels", "refiner_levels"]


@dataclass(frozen=True)
class NoiseLevels:
    """Nodes of a noising x = alpha x0 + sigma eps, from pure noise to the least noise.

    Args:
        alphas: Share of the clean field at each node; 0 is pure noise, at the first node only.
        sigmas: Standard deviation of the noise at each node, positive.
    """

    alphas: tuple[float, ...]
    sigmas: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.alphas) != len(self.sigmas) or not self.sigmas:
            raise ValueError(
                "NoiseLevels: `alphas` and `sigmas` must have the same number of nodes, at least "
                f"one, got {len(self.alphas)} and {len(self.sigmas)}."
            )
        are_finite = all(math.isfinite(value) for value in (*self.alphas, *self.sigmas))
        if not are_finite or min(self.sigmas) <= 0 or min(self.alphas) < 0:
            raise ValueError(
                "NoiseLevels: `sigmas` must be positive and `alphas` not negative, got "
                f"{self.sigmas} and {self.alphas}."
            )
        ratios = [a / s for a, s in self.nodes]
        if any(b <= a for a, b in pairwise(ratios)):
            raise ValueError(
                "NoiseLevels: noise must decrease from node to node, got alpha / sigma = "
                f"{ratios}; give the noisiest node first."
            )

    def __len__(self) -> int:
        return len(self.sigmas)

    @property
    def nodes(self) -> list[tuple[float, float]]:
        """(alpha, sigma) of every node."""
        return list(zip(self.alphas, self.sigmas, strict=True))


def refiner_levels(num_refinement_steps: int, sigma_min: float) -> NoiseLevels:
    """Noise levels of PDE-Refiner: pure noise first, standard deviation `sigma_min` last.

        beta_k = sigma_min^(2 (K - k) / K),    alpha_k^2 = prod_{j <= k} (1 - beta_j),
        sigma_k^2 = 1 - alpha_k^2,             k = K .. 0

    In float64, and sigma from sum log(1 - beta), so that small ones keep their digits: the
    least is sigma_0 = sigma_min exactly.
    """
    K = num_refinement_steps
    log_alpha_squared, levels = 0.0, []
    for k in range(K):
        log_alpha_squared += math.log1p(-(sigma_min ** (2 * (K - k) / K)))
        levels.append((math.exp(log_alpha_squared / 2), math.sqrt(-math.expm1(log_alpha_squared))))
    alphas, sigmas = zip((0.0, 1.0), *reversed(levels), strict=True)
    return NoiseLevels(alphas, sigmas)


def karras_levels(
    num_steps: int, sigma_min: float, sigma_max: float, *, exponent: float = 7.0
) -> NoiseLevels:
    """Noise levels between two ratios noise / field, denser where there is little noise.

        rho_i = (rho_max^(1/p) + i / (n - 1) (rho_min^(1/p) - rho_max^(1/p)))^p,   i = 0 .. n - 1
        alpha_i = 1 / sqrt(1 + rho_i^2),    sigma_i = rho_i alpha_i

    Args:
        num_steps: Number of nodes n; a single one is the noisiest.
        sigma_min: Least ratio of deviations.
        sigma_max: Largest ratio.
        exponent: p; infinity is the geometric sequence.

    Reference:
        Elucidating the Design Space of Diffusion-Based Generative Models (Karras et al., 2022),
        Eq. (5). https://arxiv.org/abs/2206.00364

    Raises:
        ValueError: If there is no node, or not 0 < sigma_min < sigma_max < infinity.
    """
    if num_steps < 1:
        raise ValueError(f"karras_levels: `num_steps` must be at least 1, got {num_steps}.")
    if not 0 < sigma_min < sigma_max < math.inf:
        raise ValueError(
            "karras_levels: there must be 0 < sigma_min < sigma_max < infinity, got sigma_min = "
            f"{sigma_min:g} and sigma_max = {sigma_max:g}."
        )
    if not exponent > 0:
        raise ValueError(f"karras_levels: `exponent` must be positive, got {exponent:g}.")
    ratios = [sigma_max]
    for i in range(1, num_steps):
        share = i / (num_steps - 1)
        if math.isinf(exponent):
            ratios.append(sigma_max * (sigma_min / sigma_max) ** share)
            continue
        high, low = sigma_max ** (1 / exponent), sigma_min ** (1 / exponent)
        ratios.append((high + share * (low - high)) ** exponent)
    alphas = tuple(1 / math.hypot(1, ratio) for ratio in ratios)
    return NoiseLevels(alphas, tuple(r * a for r, a in zip(ratios, alphas, strict=True)))
