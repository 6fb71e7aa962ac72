"""DAS: a flow fitted to the residual, stage by stage."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from pdesurrogates.core import Box
from pdesurrogates.sampling.base import Residual, Samples, check_num_points
from pdesurrogates.sampling.flow import SplineFlow
from pdesurrogates.sampling.flow_sampler import FlowPoints, FlowSampler
from pdesurrogates.sampling.mixture import Mixture

__all__ = ["DensityFlowSampler"]


class DensityFlowSampler(FlowSampler):
    """Deep adaptive sampling: a flow p fitted to the normalised r^2 by cross-entropy.

    An update draws points from the present mixture q of Sobol and flow points and minimises

        -sum_i w_i log p(x_i),   w_i = r(x_i)^2 / q(x_i), divided by their sum,

    over the weights of the flow: the smallest Kullback-Leibler distance of r^2 / int r^2 from p.
    With `num_kept` = 1 each stage replaces the last; with more, the points come from the last
    `num_kept` stages alike, so that a region is not given up at once.

    Reference:
        DAS-PINNs (Tang, Wan and Yang, 2023), https://arxiv.org/abs/2112.14038: algorithm 1
        (replace) and 2 (add). Ours starts each stage at the last flow and always mixes in Sobol
        points.

    Args:
        domain: Box of the points.
        flow: The density p; default: `SplineFlow(domain)`.
        share: Share of Sobol points.
        num_points: Points of an update, each one residual evaluation.
        num_steps: Optimiser steps per update, each on `batch_size` of these points.
        batch_size: Points per step.
        learning_rate: Of Adam.
        num_kept: Stages whose flows are drawn from.
    """

    def __init__(
        self,
        domain: Box,
        *,
        flow: SplineFlow | None = None,
        share: float = 0.3,
        num_points: int = 5000,
        num_steps: int = 200,
        batch_size: int = 1000,
        learning_rate: float = 3e-3,
        num_kept: int = 1,
    ) -> None:
        super().__init__(
            SplineFlow(domain) if flow is None else flow,
            share=share,
            num_points=num_points,
            num_steps=num_steps,
            learning_rate=learning_rate,
        )
        check_num_points(num_kept, where="DensityFlowSampler", name="num_kept")
        check_num_points(batch_size, where="DensityFlowSampler", name="batch_size")
        self.num_kept, self.batch_size = num_kept, batch_size
        self.stages: tuple[SplineFlow, ...] = (self.flow,)

    @property
    def mixture(self) -> Mixture:
        """Sobol points and points of the stages that are kept."""
        if self.share == 1:
            return super().mixture
        each = (1 - self.share) / len(self.stages)
        members = (self.base, *(FlowPoints(flow) for flow in self.stages))
        return Mixture(members, (self.share, *(each for _ in self.stages)))

    def update(
        self,
        residual: Residual,
        *,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> None:
        """One stage: draw, evaluate, fit."""
        samples = self.sample(self.num_points, generator=generator, dtype=dtype, device=device)
        size = self._evaluate(residual, samples.points).abs()
        if not bool(size.max() > 0):
            return  # nothing to learn from a residual of zero
        frozen = copy.deepcopy(self.flow).requires_grad_(False)
        with self._restored_on_error():
            self._fit(samples, (size / size.max()).square(), generator)
        if self.num_kept > 1:
            self.stages = (*self.stages[:-1], frozen, self.flow)[-self.num_kept :]

    def _fit(self, samples: Samples, squared: Tensor, generator: torch.Generator) -> None:
        points = samples.points.to(self.flow.device, self.flow.dtype)
        weights = (squared.log() - samples.log_density).softmax(dim=0).to(points)
        size = min(self.batch_size, len(points))
        for _ in range(self.num_steps):
            # Drawn by weight: every point of a batch then counts the same.
            batch = torch.multinomial(weights.cpu(), size, replacement=True, generator=generator)
            loss = -self.flow.log_prob(points[batch.to(points.device)]).mean()
            self._step(loss, "DensityFlowSampler.update")
