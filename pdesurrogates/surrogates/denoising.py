"""The network removes noise from the answer: what PDE-Refiner and diffusion share."""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from typing import Self

import torch
from torch import Tensor

from pdesurrogates.core import NoiseStream, per_sample
from pdesurrogates.surrogates.base import check_kind
from pdesurrogates.surrogates.generative import GenerativeSurrogate
from pdesurrogates.surrogates.noise_levels import NoiseLevels
from pdesurrogates.surrogates.samplers import Denoiser, Sampler

__all__ = ["DenoisingSurrogate"]


class DenoisingSurrogate(GenerativeSurrogate):
    """A generative surrogate trained to predict v, sampled from node to node of less noise.

        y_n = alpha y + sigma eps,    v = alpha eps - sigma y,    alpha^2 + sigma^2 = 1
        loss = mean (N([z, y_n], level) - v)^2,    estimate of y = alpha y_n - sigma N

    Subclasses set `levels`, `sigma_min` and `sampler` before their networks are checked.
    """

    levels: NoiseLevels
    """The nodes."""

    sigma_min: float
    """Least noise that the network must see."""

    sampler: Sampler
    """How the nodes are descended."""

    @property
    def num_evaluations(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Network calls per step."""
        return self.sampler.num_evaluations(self.levels)

    def with_sampler(self, sampler: Sampler) -> Self:
        """The same network (shared weights) with another sampler."""
        self.check_sampler(sampler)
        other = copy.copy(self)
        other.sampler = sampler
        return other

    def check_sampler(self, sampler: Sampler) -> None:
        """Refuse what is no sampler, and one that asks for levels the network does not know."""
        check_kind(sampler, Sampler, where=type(self).__name__, name="sampler")

    def check_precision(self, dtype: torch.dtype) -> None:
        """Refuse a precision of the network whose rounding of the noised change hides the noise.

        Raises:
            ValueError: If `sigma_min` is less than 4 times the rounding unit.
        """
        smallest = 4 * torch.finfo(dtype).eps
        if self.sigma_min < smallest:
            raise ValueError(
                f"{type(self).__name__}: `sigma_min` must be at least {smallest:.1e} for a "
                f"network in {dtype}, whose rounding hides smaller noise, got "
                f"{self.sigma_min:g}; choose it near the relative error of one step, or a network "
                "in float64."
            )

    @abstractmethod
    def level(self, alpha: float, sigma: float) -> float:
        """What N is told of the noise."""

    @abstractmethod
    def draw_levels(self, y: Tensor, source: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """alpha, sigma and level for training, (batch,) each."""

    def draw(self, z: Tensor, conditioning: Tensor | None, noise: NoiseStream) -> Tensor:
        """A sample of y for the standardised state."""

        def denoise(y: Tensor, alpha: float, sigma: float) -> Tensor:
            size = math.hypot(alpha, sigma)
            if abs(size - 1) > 1e-12:  # between nodes; the network knows fields of size one
                return denoise(y / size, alpha / size, sigma / size)
            v = self.respond(z, y, conditioning, self.level(alpha, sigma))
            return torch.sub(alpha * y, v, alpha=sigma)

        # Noise alone lacks alpha y at the first node; the first estimate, needed anyway, fills in.
        alpha, sigma = self.levels.nodes[0]
        eps = noise.normal(z, 0)
        first = denoise(sigma * eps, alpha, sigma)
        start = torch.add(eps, first, alpha=alpha / sigma)
        return self.sampler.sample(
            _FirstKnown(denoise, first),
            self.levels,
            lambda k: noise.normal(z, k) if k else start,
        )

    def pose(self, z: Tensor, y: Tensor, source: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Noised y, its level, and v."""
        alpha, sigma, level = self.draw_levels(y, source)
        eps = torch.randn(y.shape, generator=source, dtype=y.dtype, device=y.device)
        a, s = per_sample(alpha, y), per_sample(sigma, y)
        return a * y + s * eps, level, a * eps - s * y


class _FirstKnown:
    """A denoiser whose first call is answered from what is known."""

    def __init__(self, denoise: Denoiser, first: Tensor) -> None:
        self.denoise = denoise
        self.first: Tensor | None = first

    def __call__(self, x: Tensor, alpha: float, sigma: float) -> Tensor:
        if self.first is not None:
            first, self.first = self.first, None
            return first
        return self.denoise(x, alpha, sigma)
