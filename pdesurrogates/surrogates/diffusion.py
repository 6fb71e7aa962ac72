"""The network removes noise of every strength: conditional diffusion of the change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.surrogates.denoising import DenoisingSurrogate
from pdesurrogates.surrogates.generative import spread
from pdesurrogates.surrogates.noise_levels import karras_levels
from pdesurrogates.surrogates.samplers import DPMSolverPP, Sampler

__all__ = ["DiffusionSurrogate"]


class DiffusionSurrogate(DenoisingSurrogate):
    """Conditional diffusion of the change: a sample of all states that may follow.

    With y the standardised change over one step, z the standardised state and eps standard
    normal, N learns to take out noise of every strength rho between two bounds:

        y_n = alpha y + sigma eps,    alpha = 1 / sqrt(1 + rho^2),    sigma = rho alpha
        v = alpha eps - sigma y,      log rho uniform in log sigma_min .. log sigma_max
        loss = mean (N([z, y_n], log(rho) / 4) - v)^2

    For data of deviation one this is the preconditioning of Karras et al. to the letter, with
    N = -F: their input scale is alpha, their weights give the loss above.

    Because N knows all strengths, sampler and number of steps are chosen when it is used:
    `with_sampler(EDMHeun(), num_steps=20)` shares the weights. The nodes are those of
    `karras_levels`, by default in geometric sequence: with few of them the finer nodes at little
    noise that images like lose what spreads little.

    `sigma_max` must be large against the change, 1 in these units: the start is noise and the
    first estimate, and lacks the spread of y. `sigma_min` should be small against the spread of
    what is sampled. Train with `EMA`. Steps draw noise: bind seeds with `bind(seeds=...)`.

    Reference:
        Elucidating the Design Space of Diffusion-Based Generative Models (Karras et al., 2022).
        https://arxiv.org/abs/2206.00364
        Progressive Distillation for Fast Sampling of Diffusion Models (Salimans and Ho, 2022), for
        v. https://arxiv.org/abs/2202.00512

    Args:
        backbone: Maps (batch, 2 channel, *space), state and noised change, and one number per
            sample more than there are parameters, to (batch, channel, *space).
        dt, max_dt, fields, grid, parameter_names: See `MapSurrogate`.
        num_steps: Nodes of the sampler.
        sigma_min: Least noise rho [deviations of the change over one step].
        sigma_max: Most noise rho [deviations of the change over one step].
        level_exponent: Exponent of `karras_levels`; infinite for a geometric sequence.
        predict_difference: Whether y is the change; else it is the next state.
        sampler: How the nodes are descended.

    Shape:
        u: (batch, channel, *space) -> (batch, channel, *space)

    Raises:
        ValueError: If not 0 < sigma_min < sigma_max, or `sigma_min` is lost in the precision of
            the network.

    Example:
        >>> from pdesurrogates.backbones import FNO
        >>> network = FNO(2, 1, num_modes=(4,), num_conditions=1)
        >>> surrogate = DiffusionSurrogate(network, dt=0.1, num_steps=6)
        >>> surrogate(0.0, torch.zeros(3, 1, 16), 0.1).shape
        torch.Size([3, 1, 16])
        >>> surrogate.num_evaluations, surrogate.with_sampler(num_steps=20).num_evaluations
        (6, 20)
    """

    def __init__(
        self,
        backbone: nn.Module,
        dt: float,
        *,
        num_steps: int = 8,
        sigma_min: float = 2e-3,
        sigma_max: float = 20.0,
        level_exponent: float = math.inf,
        predict_difference: bool = True,
        sampler: Sampler = DPMSolverPP(),  # noqa: B008 - frozen, without state
        max_dt: float | None = None,
        fields: FieldSpec | None = None,
        grid: Grid | None = None,
        parameter_names: Sequence[str] = (),
    ) -> None:
        self.check_sampler(sampler)
        self.num_steps = num_steps
        self.sigma_min = sigma_min
        self.sigma_max = sigma_max
        self.level_exponent = level_exponent
        self.sampler = sampler
        self._set_levels()
        super().__init__(
            backbone,
            dt,
            predict_difference=predict_difference,
            max_dt=max_dt,
            fields=fields,
            grid=grid,
            parameter_names=parameter_names,
        )
        self.check_precision(self._dtype)

    def _set_levels(self) -> None:
        self.levels = karras_levels(
            self.num_steps, self.sigma_min, self.sigma_max, exponent=self.level_exponent
        )

    def with_sampler(
        self,
        sampler: Sampler | None = None,
        *,
        num_steps: int | None = None,
        level_exponent: float | None = None,
    ) -> Self:
        """The same network (shared weights) with another sampler or other nodes."""
        other = super().with_sampler(self.sampler if sampler is None else sampler)
        if num_steps is not None:
            other.num_steps = num_steps
        if level_exponent is not None:
            other.level_exponent = level_exponent
        other._set_levels()
        return other

    def level(self, alpha: float, sigma: float) -> float:
        """log(sigma / alpha) / 4."""
        return math.log(sigma / alpha) / 4

    def draw_levels(self, y: Tensor, source: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Log-uniform ratios, spread evenly over the batch."""
        low, high = math.log(self.sigma_min), math.log(self.sigma_max)
        log_ratio = low + (high - low) * spread(y, source)
        ratio = log_ratio.exp()
        alpha = (1 + ratio**2).rsqrt()
        return alpha, ratio * alpha, log_ratio / 4
