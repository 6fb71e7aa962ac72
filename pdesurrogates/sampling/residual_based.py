"""Adaptive samplers without a network: look at many candidates, keep those that matter."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pdesurrogates.core import Box
from pdesurrogates.sampling.base import Residual, Sampler, Samples, check_num_points
from pdesurrogates.sampling.uniform import Sobol

__all__ = ["RAD", "RAR"]


class RAD(Sampler):
    """Residual-based adaptive distribution: points among candidates, in proportion to |r|^k.

        p(x) = (|r(x)|^k / mean |r|^k + c) / ((1 + c) volume)

    The mean is over the candidates, so p is normalised up to that estimate. Points are drawn by
    the inverse of the cumulative sum at evenly spaced levels: a candidate with weight w comes
    floor(n w) or ceil(n w) times, more than once if w is large. Before the first update: the
    base sampler.

    Reference:
        A comprehensive study of non-adaptive and residual-based adaptive sampling (Wu, Zhu, Tan,
        Kartha and Lu, 2023), Eq. (2). https://arxiv.org/abs/2207.10289

    Args:
        domain: Box of the points.
        exponent: k; 0 is uniform.
        floor: c; the share c / (1 + c) of the points is uniform.
        num_candidates: Candidates per update, each one residual evaluation.
    """

    def __init__(
        self,
        domain: Box,
        *,
        exponent: float = 1.0,
        floor: float = 1.0,
        num_candidates: int = 10_000,
    ) -> None:
        super().__init__(domain)
        if not (0 <= exponent < math.inf and 0 <= floor < math.inf):
            raise ValueError(
                "RAD: `exponent` and `floor` must be finite and not negative, got "
                f"{exponent} and {floor}."
            )
        check_num_points(num_candidates, where="RAD", name="num_candidates")
        self.exponent, self.floor, self.num_candidates = exponent, floor, num_candidates
        self.base = Sobol(domain)
        self.candidates: Samples | None = None

    def sample(
        self,
        num_points: int,
        *,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> Samples:
        """Points among the candidates, in random order."""
        check_num_points(num_points, where="RAD.sample")
        if self.candidates is None:
            return self.base.sample(num_points, generator=generator, dtype=dtype, device=device)
        points, log_density = self.candidates
        home, target = generator.device, device or generator.device
        shift = torch.rand((), generator=generator, dtype=torch.float64, device=home)
        levels = (torch.arange(num_points, device=home) + shift) / num_points
        levels = levels[torch.randperm(num_points, generator=generator, device=home)]
        cumulative = log_density.double().exp().cumsum(dim=0)
        levels = levels.to(cumulative) * cumulative[-1]
        index = torch.searchsorted(cumulative, levels, right=True).clamp(max=len(points) - 1)
        return Samples(
            points[index].to(device=target, dtype=dtype),
            log_density[index].to(device=target, dtype=dtype),
        )

    def log_density(self, points: Tensor) -> Tensor:
        """That of the nearest candidate (num_points, dim) -> (num_points,)."""
        if self.candidates is None:
            return self.base.log_density(points)
        self.domain.check(points, where="RAD.log_density")
        known = self.candidates.points.to(points)
        nearest = torch.cdist(self.domain.to_unit(points), self.domain.to_unit(known)).argmin(-1)
        return self.candidates.log_density.to(points)[nearest]

    def update(
        self,
        residual: Residual,
        *,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> None:
        """Replace the candidates by new ones."""
        drawn = self.base.sample(
            self.num_candidates, generator=generator, dtype=dtype, device=device
        )
        size = self._evaluate(residual, drawn.points).abs()
        # The largest is divided out first, so that no power overflows.
        power = (size / size.max().clamp(min=torch.finfo(size.dtype).tiny)) ** self.exponent
        mean = power.mean()
        relative = torch.where(mean > 0, power / mean, torch.ones_like(power))
        weight = (relative + self.floor) / (1 + self.floor)
        # Evenly spaced levels would resonate with the order of Sobol points.
        order = torch.randperm(len(weight), generator=generator, device=generator.device)
        order = order.to(weight.device)
        log_density = drawn.log_density + weight.log()
        self.candidates = Samples(drawn.points[order], log_density[order])


class RAR(Sampler):
    """Residual-based adaptive refinement: the candidates of largest residual are kept for good.

    Every draw holds the kept points, at most the share `max_share` of it (then a random choice
    of them), and points of a base sampler. Kept points have no density of their own; the one
    that is reported is that of a Gaussian kernel at each of them, cut off and normalised on the
    box, with Scott's bandwidth: it integrates to 1, and it is an estimate.

    Reference:
        DeepXDE (Lu, Meng, Mao and Karniadakis, 2021), section 2.8,
        https://arxiv.org/abs/1907.04502; called RAR-G by Wu et al., 2023.

    Args:
        domain: Box of the points.
        num_added: Points kept per update.
        num_candidates: Candidates per update, each one residual evaluation.
        max_share: Largest share of kept points in a draw, in 0 .. 1.
    """

    def __init__(
        self,
        domain: Box,
        *,
        num_added: int = 50,
        num_candidates: int = 10_000,
        max_share: float = 0.5,
    ) -> None:
        super().__init__(domain)
        check_num_points(num_added, where="RAR", name="num_added")
        if num_candidates < num_added:
            raise ValueError(
                "RAR: `num_candidates` must be at least `num_added`, got "
                f"{num_candidates} and {num_added}."
            )
        if not 0 < max_share <= 1:
            raise ValueError(f"RAR: `max_share` must be in (0, 1], got {max_share}.")
        self.num_added, self.num_candidates = num_added, num_candidates
        self.max_share = max_share
        self.base = Sobol(domain)
        self.kept: Tensor | None = None

    def sample(
        self,
        num_points: int,
        *,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> Samples:
        """Kept points first, then points of the base."""
        check_num_points(num_points, where="RAR.sample")
        target = device or generator.device
        num_kept = 0
        if self.kept is not None:
            num_kept = min(len(self.kept), math.floor(num_points * self.max_share))
        parts = []
        if self.kept is not None and num_kept:
            order = torch.randperm(len(self.kept), generator=generator, device=generator.device)
            parts.append(self.kept[order[:num_kept].to(self.kept.device)].to(target, dtype))
        if num_kept < num_points:
            parts.append(
                self.base.sample(
                    num_points - num_kept, generator=generator, dtype=dtype, device=device
                ).points
            )
        points = torch.cat(parts)
        return Samples(points, self._log_density(points, num_kept / num_points))

    def log_density(self, points: Tensor) -> Tensor:
        """Of a draw so large that kept points make up their largest share (num_points,)."""
        self.domain.check(points, where="RAR.log_density")
        return self._log_density(points, 0.0 if self.kept is None else self.max_share)

    def update(
        self,
        residual: Residual,
        *,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> None:
        """Keep the candidates of largest residual, besides those that were kept before."""
        candidates = self.base.sample(
            self.num_candidates, generator=generator, dtype=dtype, device=device
        ).points
        size = self._evaluate(residual, candidates).abs()
        added = candidates[size.topk(self.num_added).indices]
        self.kept = added if self.kept is None else torch.cat((self.kept.to(added), added))

    def _log_density(self, points: Tensor, share: float) -> Tensor:
        flat = points.new_full(points.shape[:1], -math.log(self.domain.volume))
        if self.kept is None or not share:
            return flat
        kernels = self._kernel_density(points, self.kept.to(points)) + math.log(share)
        if share == 1:
            return kernels
        return torch.logaddexp(flat + math.log1p(-share), kernels)

    def _kernel_density(self, points: Tensor, kept: Tensor) -> Tensor:
        """log of the mean of normalised, cut-off Gaussians at the kept points (num_points,)."""
        lower, upper = points.new_tensor(self.domain.lower), points.new_tensor(self.domain.upper)
        # Scott's rule; a thousandth of the box at least, for points that coincide.
        scale = len(kept) ** (-1 / (self.domain.dim + 4))
        spread = kept.std(dim=0, correction=0) * scale
        width = torch.maximum(spread, 1e-3 * (upper - lower))
        normal = torch.special.ndtr((upper - kept) / width) - torch.special.ndtr(
            (lower - kept) / width
        )
        exponent = -0.5 * ((points[:, None] - kept) / width).square().sum(dim=-1)
        log_norm = (math.sqrt(2 * math.pi) * width * normal).log().sum(dim=-1)
        return torch.logsumexp(exponent - log_norm, dim=1) - math.log(len(kept))
