"""How does noise become a sample? Steps from node to node of decreasing noise."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from pdesurrogates.surrogates.noise_levels import NoiseLevels

__all__ = ["DDIM", "Ancestral", "DPMSolverPP", "Denoiser", "EDMHeun", "Sampler"]

Denoiser = Callable[[Tensor, float, float], Tensor]
Draw = Callable[[int], Tensor]
Node = tuple[float, float]


@dataclass(frozen=True)
class Sampler(ABC):
    """Carries a noisy field x = alpha x0 + sigma eps from the first node to the clean field.

    Below, one step leads from (alpha, sigma) to (alpha', sigma'), x0 is the estimate of the clean
    field at the first of them, z is standard normal, and

        h = log (alpha' / sigma') - log (alpha / sigma)

    is the gain in the logarithm of the ratio of field to noise. At alpha = 0 it is infinite, and
    each sampler starts there with the estimate, noised again. The last estimate is the sample.
    """

    @property
    def leaves_nodes(self) -> bool:
        """Whether estimates are asked for between the nodes; not for networks that know nodes."""
        return False

    def num_evaluations(self, levels: NoiseLevels) -> int:
        """Calls of `denoise`."""
        return len(levels)

    def sample(self, denoise: Denoiser, levels: NoiseLevels, draw: Draw) -> Tensor:
        """A sample of the clean field.

        Args:
            denoise: `denoise(x, alpha, sigma)` estimates the clean field; called first at the
                first node.
            levels: The nodes.
            draw: `draw(k)` is a standard normal field; k = 0 is the start, every other k gives
                an independent one.
        """
        nodes = levels.nodes
        x = nodes[0][1] * draw(0)
        if len(nodes) > 1:
            x = self._descend(denoise, nodes, x, draw)
        return denoise(x, *nodes[-1])

    @abstractmethod
    def _descend(self, denoise: Denoiser, nodes: list[Node], x: Tensor, draw: Draw) -> Tensor:
        """x at the last node from x at the first."""


@dataclass(frozen=True)
class Ancestral(Sampler):
    """The posterior of the next node, given this one and the estimated clean field (DDPM).

        x' = (r sigma'^2 x + V alpha' x0) / sigma^2 + sqrt(V) (sigma' / sigma) z,
        r = alpha / alpha',    V = sigma^2 - r^2 sigma'^2

    Reference:
        Denoising Diffusion Probabilistic Models (Ho et al., 2020), Eqs. (6) and (7).
        https://arxiv.org/abs/2006.11239
    """

    def _descend(self, denoise: Denoiser, nodes: list[Node], x: Tensor, draw: Draw) -> Tensor:
        for n, ((a, s), (a_next, s_next)) in enumerate(pairwise(nodes)):
            ratio = a / a_next
            variance = _removed(a, s, a_next, s_next) * s**2
            x0 = denoise(x, a, s)
            x = torch.add(ratio * s_next**2 / s**2 * x, x0, alpha=a_next * variance / s**2)
            x = x.add_(draw(n + 1), alpha=math.sqrt(variance) * s_next / s)
        return x


@dataclass(frozen=True)
class DDIM(Sampler):
    """Denoising diffusion implicit model, order 1: the noise in x is kept, scaled down.

        x' = alpha' x0 + sqrt(sigma'^2 - s^2) (x - alpha x0) / sigma + s z,
        s = eta sigma' sqrt(1 - exp(-2 h))

    eta = 0 draws at the start only and is `DPMSolverPP(order=1)`; eta = 1 is `Ancestral`.

    Reference:
        Denoising Diffusion Implicit Models (Song et al., 2021), Eqs. (12) and (16).
        https://arxiv.org/abs/2010.02502

    Args:
        eta: Share of the noise that is drawn anew, 0 to 1.
    """

    eta: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ValueError(f"DDIM: `eta` must lie within 0 and 1, got {self.eta}.")

    def _descend(self, denoise: Denoiser, nodes: list[Node], x: Tensor, draw: Draw) -> Tensor:
        for n, ((a, s), (a_next, s_next)) in enumerate(pairwise(nodes)):
            x0 = denoise(x, a, s)
            fresh = self.eta * math.sqrt(_removed(a, s, a_next, s_next))
            x = a_next * x0 + (s_next * math.sqrt(1 - fresh**2) / s) * (x - a * x0)
            if fresh:
                x = x + (s_next * fresh) * draw(n + 1)
        return x


@dataclass(frozen=True)
class DPMSolverPP(Sampler):
    """DPM-Solver++, an exponential integrator of the estimates; order 2 in two-step form (2M).

        x' = (sigma' / sigma) exp(-eta^2 h) x + alpha' (1 - exp(-(1 + eta^2) h)) D
             + sigma' sqrt(1 - exp(-2 eta^2 h)) z
        D = x0                                        order 1
        D = x0 + h / (2 h_prev) (x0 - x0_prev)        order 2, from the second step on

    eta = 0 draws at the start only. eta = 1 is the diffusion equation itself (SDE-DPM-Solver++),
    with order 1 `Ancestral`: noise drawn on the way forgets errors made before, and costs
    accuracy at few steps.

    Reference:
        DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models
        (Lu et al., 2022), algorithm 2 and appendix B. https://arxiv.org/abs/2211.01095

    Args:
        order: 1 or 2.
        eta: Amount of noise drawn on the way, 0 or more.
    """

    order: int = 2
    eta: float = 0.0

    def __post_init__(self) -> None:
        if self.order not in (1, 2):
            raise ValueError(f"DPMSolverPP: `order` must be 1 or 2, got {self.order}.")
        if not 0 <= self.eta < math.inf:
            raise ValueError(
                f"DPMSolverPP: `eta` must be finite and not negative, got {self.eta}."
            )

    def _descend(self, denoise: Denoiser, nodes: list[Node], x: Tensor, draw: Draw) -> Tensor:
        noise = self.eta**2
        h_before, before = math.inf, None
        for n, ((a, s), (a_next, s_next)) in enumerate(pairwise(nodes)):
            # At alpha = 0 the step is infinite: x drops out or is kept, both without a limit.
            h = math.log(a_next * s / (a * s_next)) if a else math.inf
            x0 = denoise(x, a, s)
            estimate = x0
            if self.order == 2 and before is not None:
                estimate = x0 + (h / (2 * h_before)) * (x0 - before)
            kept = math.exp(-noise * h) if noise else 1.0
            x = (s_next / s * kept) * x - (a_next * math.expm1(-(1 + noise) * h)) * estimate
            if noise:
                x = x + (s_next * math.sqrt(-math.expm1(-2 * noise * h))) * draw(n + 1)
            h_before, before = h, x0
        return x


@dataclass(frozen=True)
class EDMHeun(Sampler):
    """Heun's method for the noise-free equation in rho = sigma / alpha, order 2, of Karras et al.

        d = (x / alpha - x0) / rho,    x' / alpha' = x / alpha + (rho' - rho) (d + d') / 2

    with d' at the end of the Euler step. Two estimates per step but one for the last; at
    alpha = 0 the Euler step alone. With `churn`, noise is added before each step but the first,

        rho -> (1 + g) rho,    g = min(churn / number of nodes, sqrt(2) - 1),

    which asks for estimates between the nodes.

    Reference:
        Elucidating the Design Space of Diffusion-Based Generative Models (Karras et al., 2022),
        algorithms 1 and 2. https://arxiv.org/abs/2206.00364

    Args:
        churn: Amount of noise drawn on the way, 0 or more.
    """

    churn: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.churn < math.inf:
            raise ValueError(
                f"EDMHeun: `churn` must be finite and not negative, got {self.churn}."
            )

    @property
    def leaves_nodes(self) -> bool:
        return self.churn > 0

    def num_evaluations(self, levels: NoiseLevels) -> int:
        """Two per step and one at the last node."""
        return 2 * len(levels) - 1 - int(levels.alphas[0] == 0 and len(levels) > 1)

    def _descend(self, denoise: Denoiser, nodes: list[Node], x: Tensor, draw: Draw) -> Tensor:
        growth = min(self.churn / len(nodes), math.sqrt(2) - 1)
        for n, ((a, s), (a_next, s_next)) in enumerate(pairwise(nodes)):
            if growth and n:
                x = x + (s * math.sqrt(growth * (2 + growth))) * draw(n + 1)
                s = s * (1 + growth)
            x0 = denoise(x, a, s)
            noise = (x - a * x0) / s
            x = a_next * x0 + s_next * noise
            if a > 0:
                noise_next = (x - a_next * denoise(x, a_next, s_next)) / s_next
                x = x + ((s_next - a_next * s / a) / 2) * (noise_next - noise)
        return x


def _removed(a: float, s: float, a_next: float, s_next: float) -> float:
    """1 - exp(-2 h), the share of the noise's variance that a step takes out."""
    ratio = a * s_next / (a_next * s)
    return (1 - ratio) * (1 + ratio)
