"""What samplers with a normalising flow share: draws, evenly spread points, safe fitting."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from pdesurrogates.sampling.base import Sampler, Samples, check_num_points
from pdesurrogates.sampling.flow import SplineFlow
from pdesurrogates.sampling.mixture import Mixture
from pdesurrogates.sampling.uniform import Sobol

__all__ = ["FlowPoints", "FlowSampler"]


class FlowPoints(Sampler):
    """Points of a flow as it is.

    Args:
        flow: Density on its own domain.
    """

    def __init__(self, flow: SplineFlow) -> None:
        super().__init__(flow.domain)
        self.flow = flow

    def sample(
        self,
        num_points: int,
        *,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> Samples:
        """Points of the flow, without gradients."""
        with torch.no_grad():
            points, log_density = self.flow.sample(num_points, generator=generator)
        target = device or generator.device
        return Samples(points.to(target, dtype), log_density.to(target, dtype))

    def log_density(self, points: Tensor) -> Tensor:
        """log p of the flow, without gradients (num_points, dim) -> (num_points,)."""
        with torch.no_grad():
            inner = points.to(self.flow.device, self.flow.dtype)
            return self.flow.log_prob(inner).to(points)


class FlowSampler(Sampler):
    """A flow and a share of Sobol points, density share / volume + (1 - share) p.

    Subclasses say in `update` how the flow learns.

    Args:
        flow: The density p.
        share: Share of Sobol points, in (0, 1].
        num_points: Points of an update, each one residual evaluation.
        num_steps: Optimiser steps per update.
        learning_rate: Of Adam.
    """

    def __init__(
        self,
        flow: SplineFlow,
        *,
        share: float,
        num_points: int,
        num_steps: int,
        learning_rate: float,
    ) -> None:
        super().__init__(flow.domain)
        name = type(self).__name__
        check_num_points(num_points, where=name)
        check_num_points(num_steps, where=name, name="num_steps")
        if not 0 < share <= 1:
            raise ValueError(
                f"{name}: `share`, that of the Sobol points, must be in (0, 1], got {share}; "
                "without them the flow never sees what it has left."
            )
        if not 0 < learning_rate < math.inf:
            raise ValueError(f"{name}: `learning_rate` must be positive, got {learning_rate}.")
        self.flow = flow
        self.share, self.num_points, self.num_steps = share, num_points, num_steps
        self.optimizer = torch.optim.Adam(flow.parameters(), lr=learning_rate)
        self.base = Sobol(flow.domain)

    @property
    def mixture(self) -> Mixture:
        """Sobol points and points of the flow."""
        if self.share == 1:
            return Mixture((self.base,), (1.0,))
        return Mixture((self.base, FlowPoints(self.flow)), (self.share, 1 - self.share))

    def sample(
        self,
        num_points: int,
        *,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> Samples:
        """Sobol points first, then points of the flow."""
        check_num_points(num_points, where=f"{type(self).__name__}.sample")
        return self.mixture.sample(num_points, generator=generator, dtype=dtype, device=device)

    def log_density(self, points: Tensor) -> Tensor:
        """log(share / volume + (1 - share) p) at points (num_points, dim) -> (num_points,)."""
        return self.mixture.log_density(points)

    def _step(self, loss: Tensor, where: str) -> None:
        """One optimiser step with clipped gradients.

        Raises:
            RuntimeError: If the loss or a gradient is not finite.
        """
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.flow.parameters(), 1.0)
        if not bool(torch.isfinite(loss.detach()) & torch.isfinite(norm)):
            raise RuntimeError(
                f"{where}: the loss of the flow is not finite; the flow keeps its last good "
                "state. Lower `learning_rate`, or use float64."
            )
        self.optimizer.step()

    @contextmanager
    def _restored_on_error(self) -> Iterator[None]:
        """Put weights and optimiser back if anything goes wrong inside."""
        weights = copy.deepcopy(self.flow.state_dict())
        optimizer = copy.deepcopy(self.optimizer.state_dict())
        try:
            yield
        except Exception:
            self.flow.load_state_dict(weights)
            self.optimizer.load_state_dict(optimizer)
            raise
