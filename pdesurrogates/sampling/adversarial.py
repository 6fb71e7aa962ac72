"""AAS: a flow that plays against the solution, held back by a penalty on its gradient."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pdesurrogates.core import Box
from pdesurrogates.sampling.base import Residual, Samples, check_residual
from pdesurrogates.sampling.flow import SplineFlow
from pdesurrogates.sampling.flow_sampler import FlowSampler

__all__ = ["AdversarialSampler", "Ascent"]


class Ascent(NamedTuple):
    """What a climb has reached.

    Attributes:
        gain: int rho p, 1 for the uniform density.
        penalty: beta int |grad p|^2.
    """

    gain: float
    penalty: float


class AdversarialSampler(FlowSampler):
    """Adversarial adaptive sampling: the flow p moves to where the residual is large.

        max over p of   J(p) = int rho p dx - beta int |grad p|^2 dx,   rho = r^2 / mean(r^2),

    in alternation with steps of the solution, which lower int r^2 p. Lengths are in units of the
    box's edges and rho has mean 1, so beta is a pure number: large beta is the uniform density
    (the plain PINN), small beta a point at the largest residual. For a point-like rho the best p
    is a ball of radius 2 sqrt(beta (dim + 2)): choose beta by it. `best_density` solves the same
    problem on a grid.

    The integrals are means over points of the mixture q of Sobol and flow points. The points stay
    while p changes for a few steps,

        J ~ mean((rho_i - b) p(x_i) / q(x_i)) - beta mean(|grad p(x_i)|^2 / q(x_i)),

    with the baseline b = mean(rho_i p(x_i) / q(x_i)), which changes nothing in the mean because
    p integrates to 1. At the first of these steps the gradient is that of the score function; q is
    at least share / volume, so the ratio p / q is at most 1 / (1 - share) where the flow was.

    Warning:
        The inner problem is hard for small beta, see docs/sampling.md.

    Reference:
        Adversarial adaptive sampling (Tang, Zhai, Wan and Yang, 2024),
        https://arxiv.org/abs/2305.18702. The share of Sobol points, the scaling of rho and the
        ratio form are ours.

    Args:
        domain: Box of the points.
        flow: The density p; default: `SplineFlow(domain)`.
        beta: Weight of the penalty, positive.
        beta_start: Weight at the first step; default: `beta`.
        num_anneal_steps: Optimiser steps over which the weight goes from one to the other,
            geometrically.
        share: Share of Sobol points.
        num_points: Points of an update, each one residual evaluation.
        num_steps: Optimiser steps per update.
        learning_rate: Of Adam; at most that of the solution.
    """

    def __init__(
        self,
        domain: Box,
        *,
        flow: SplineFlow | None = None,
        beta: float = 0.04,
        beta_start: float | None = None,
        num_anneal_steps: int = 0,
        share: float = 0.3,
        num_points: int = 1000,
        num_steps: int = 5,
        learning_rate: float = 1e-3,
    ) -> None:
        super().__init__(
            SplineFlow(domain) if flow is None else flow,
            share=share,
            num_points=num_points,
            num_steps=num_steps,
            learning_rate=learning_rate,
        )
        start = beta if beta_start is None else beta_start
        if not (0 < beta < math.inf and 0 < start < math.inf):
            raise ValueError(
                "AdversarialSampler: `beta` and `beta_start` must be positive, got "
                f"{beta} and {start}; without the penalty the best density is a single point."
            )
        if num_anneal_steps < 0:
            raise ValueError(
                "AdversarialSampler: `num_anneal_steps` must not be negative, got "
                f"{num_anneal_steps}."
            )
        self.beta, self.beta_start, self.num_anneal_steps = beta, start, num_anneal_steps
        self.num_ascents = 0

    @property
    def present_beta(self) -> float:
        """Weight of the penalty at the next step."""
        if self.num_ascents >= self.num_anneal_steps:
            return self.beta
        done = self.num_ascents / self.num_anneal_steps
        return self.beta_start ** (1 - done) * self.beta**done

    def update(
        self,
        residual: Residual,
        *,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> None:
        """Draw points, evaluate the residual once, climb `num_steps` steps."""
        samples = self.sample(self.num_points, generator=generator, dtype=dtype, device=device)
        self.ascend(samples, self._evaluate(residual, samples.points))

    def ascend(self, samples: Samples, residual: Tensor) -> Ascent:
        """Climb `num_steps` steps with points whose residual is known, e.g. the trainer's own.

        Args:
            samples: Points of this sampler (num_points, dim), from `sample`.
            residual: Residual there (num_points,), not squared.

        Raises:
            ValueError: If the residual has the wrong shape or is not finite.
            RuntimeError: If the flow's loss is not finite. Either way the flow stays as it was.
        """
        where = "AdversarialSampler.ascend"
        residual = check_residual(residual.detach(), samples.points, where=where)
        dtype, device = self.flow.dtype, self.flow.device
        volume = math.log(self.domain.volume)
        size = residual.abs()
        squared = (size / size.max().clamp(min=torch.finfo(size.dtype).tiny)).square()
        inverse = torch.exp(-samples.log_density - volume)  # 1 / q on the unit box
        rho = squared / (squared * inverse).mean().clamp(min=torch.finfo(size.dtype).tiny)
        points = samples.points.to(device, dtype)
        rho, inverse = rho.to(device, dtype), inverse.to(device, dtype)
        gain = penalty = torch.zeros((), dtype=dtype, device=device)
        ascents = self.num_ascents
        with self._restored_on_error():
            try:
                for _ in range(self.num_steps):
                    p, steepness = self._density(points)
                    ratio = p * inverse
                    gain = (rho * ratio).mean()
                    penalty = self.present_beta * (steepness * inverse).mean()
                    baseline = gain.detach()
                    self._step(penalty - ((rho - baseline) * ratio).mean(), where)
                    self.num_ascents += 1
            except Exception:
                self.num_ascents = ascents
                raise
        return Ascent(float(gain.detach()), float(penalty.detach()))

    def _density(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """p and |grad p|^2 on the unit box (num_points,), differentiable in the weights."""
        points = points.detach().requires_grad_()
        with torch.enable_grad():
            log_p = self.flow.log_prob(points)
            (slope,) = torch.autograd.grad(log_p.sum(), points, create_graph=True)
        p = torch.exp(log_p + math.log(self.domain.volume))
        slope = slope * points.new_tensor(self.domain.extent)
        return p, (p * p) * slope.square().sum(dim=-1)
