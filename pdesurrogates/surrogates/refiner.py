"""The network predicts the change, then refines it at smaller and smaller noise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.surrogates.denoising import DenoisingSurrogate
from pdesurrogates.surrogates.noise_levels import refiner_levels
from pdesurrogates.surrogates.samplers import Ancestral, Sampler

__all__ = ["PDERefiner"]


class PDERefiner(DenoisingSurrogate):
    """A first guess of the change, then K passes of the same network that remove smaller noise.

    With y the standardised change over one step, z the standardised state and the noise levels
    (alpha_k, sigma_k) of `refiner_levels`, N is trained on all levels alike to predict v:

        y_k = alpha_k y + sigma_k eps,    v = alpha_k eps - sigma_k y,
        loss = mean (N([z, y_k], log(sigma_k) / 4) - v)^2,    k uniform in 0 .. K

    At k = K the input is pure noise and the target is -y: the first guess. A step starts there
    and goes down to k = 0 with the estimates y = alpha_k y_k - sigma_k v and a sampler, by
    default the ancestral one of diffusion models: K + 1 network calls. One-step training neglects
    what is small in the mean square; here every scale of amplitude down to `sigma_min` is asked
    for once with weight one.

    `sigma_min` is a standard deviation in units of the standardised change. (The published code
    has a parameter named a standard deviation that acts as a variance: its 4e-7 is 6.3e-4 here.)
    It should lie near the error of the network without refinement. Train with `EMA`: the loss
    mixes K + 1 tasks.

    Steps draw noise: bind seeds with `bind(seeds=...)`; see `StochasticSurrogate`. The few
    ancestral passes lose spread: of a normal answer a perfect network with K = 3 keeps 0.3 to 0.6
    of the deviation. Where spread matters, use `DiffusionSurrogate`.

    Reference:
        PDE-Refiner: Achieving Accurate Long Rollouts with Neural PDE Solvers (Lippe et al., 2023).
        https://arxiv.org/abs/2308.05732

    Args:
        backbone: Maps (batch, 2 channel, *space), state and noised change, and one number per
            sample more than there are parameters, to (batch, channel, *space).
        dt, max_dt, fields, grid, parameter_names: See `MapSurrogate`.
        num_refinement_steps: Passes K after the first guess.
        sigma_min: Least noise [deviations of the change over one step].
        predict_difference: Whether y is the change; else it is the next state.
        sampler: How the levels are descended.

    Shape:
        u: (batch, channel, *space) -> (batch, channel, *space)

    Raises:
        ValueError: If `sigma_min` is not within (0, 1) or lost in the precision of the network.

    Example:
        >>> from pdesurrogates.backbones import FNO
        >>> refiner = PDERefiner(FNO(2, 1, num_modes=(4,), num_conditions=1), dt=0.1)
        >>> refiner(0.0, torch.zeros(3, 1, 16), 0.1).shape
        torch.Size([3, 1, 16])
        >>> refiner.num_evaluations
        4
    """

    level_table: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        dt: float,
        *,
        num_refinement_steps: int = 3,
        sigma_min: float = 2e-2,
        predict_difference: bool = True,
        sampler: Sampler = Ancestral(),  # noqa: B008 - frozen, without state
        max_dt: float | None = None,
        fields: FieldSpec | None = None,
        grid: Grid | None = None,
        parameter_names: Sequence[str] = (),
    ) -> None:
        if num_refinement_steps < 1:
            raise ValueError(
                "PDERefiner: `num_refinement_steps` must be at least 1, got "
                f"{num_refinement_steps}; without refinement use ResidualSurrogate."
            )
        if not 0 < sigma_min < 1:
            raise ValueError(
                "PDERefiner: `sigma_min` is a standard deviation between 0 and 1 in units of the "
                f"standardised change, got {sigma_min}."
            )
        self.check_sampler(sampler)
        self.num_refinement_steps = num_refinement_steps
        self.sigma_min = sigma_min
        self.sampler = sampler
        self.levels = refiner_levels(num_refinement_steps, sigma_min)
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
        rows = [(alpha, sigma, self.level(alpha, sigma)) for alpha, sigma in self.levels.nodes]
        table = torch.tensor(rows, dtype=torch.float64)
        self.register_buffer("level_table", table, persistent=False)

    def check_sampler(self, sampler: Sampler) -> None:
        """Refuse a sampler that asks for estimates between the K + 1 trained levels.

        Raises:
            ValueError: Naming the sampler.
        """
        super().check_sampler(sampler)
        if sampler.leaves_nodes:
            raise ValueError(
                "PDERefiner: `sampler` must ask for estimates at the trained noise levels only, "
                f"got {sampler}; leave out its churn, or train a DiffusionSurrogate."
            )

    def level(self, alpha: float, sigma: float) -> float:
        """log(sigma) / 4."""
        return math.log(sigma) / 4

    def draw_levels(self, y: Tensor, source: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """One of the K + 1 levels per sample, all alike."""
        table = self.level_table
        chosen = torch.randint(len(table), (len(y),), generator=source, device=table.device)
        alpha, sigma, level = table[chosen].unbind(1)
        return alpha, sigma, level
