"""The network predicts the change, then refines it at smaller and smaller noise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pdesurrogates.core import FieldSpec, Grid, generator, per_sample
from pdesurrogates.surrogates.base import Batch
from pdesurrogates.surrogates.map import with_number
from pdesurrogates.surrogates.samplers import Ancestral, NoiseLevels, Sampler
from pdesurrogates.surrogates.stochastic import NoiseStream, StochasticSurrogate

__all__ = ["PDERefiner", "refiner_levels"]


def refiner_levels(num_refinement_steps: int, sigma_min: float) -> NoiseLevels:
    """Noise levels of PDE-Refiner: pure noise first, standard deviation `sigma_min` last.

        beta_k = sigma_min^(2 (K - k) / K),    alpha_k^2 = prod_{j <= k} (1 - beta_j),
        sigma_k^2 = 1 - alpha_k^2,             k = K .. 0

    In float64, and sigma from sum log(1 - beta), so that small ones keep their digits: the
    least is sigma_0 = sigma_min exactly.
    """
    K = num_refinement_steps
    log_alpha_squared, levels = 0.0, []
    for k in range(K + 1):
        beta = sigma_min ** (2 * (K - k) / K)
        if k == K:
            levels.append((0.0, 1.0))
            break
        log_alpha_squared += math.log1p(-beta)
        levels.append((math.exp(log_alpha_squared / 2), math.sqrt(-math.expm1(log_alpha_squared))))
    alphas, sigmas = zip(*reversed(levels), strict=True)
    return NoiseLevels(alphas, sigmas)


class PDERefiner(StochasticSurrogate):
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

    Steps draw noise: bind seeds with `bind(seeds=...)`; see `StochasticSurrogate`.

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

    extra_channels = 1
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
        self.num_refinement_steps = num_refinement_steps
        self.sigma_min = sigma_min
        self.predict_difference = predict_difference
        self.sampler = sampler
        self.levels = refiner_levels(num_refinement_steps, sigma_min)
        super().__init__(
            backbone,
            dt,
            max_dt=max_dt,
            fields=fields,
            grid=grid,
            parameter_names=parameter_names,
        )
        self._check_precision()
        rows = [
            (alpha, sigma, math.log(sigma) / 4)
            for alpha, sigma in zip(self.levels.alphas, self.levels.sigmas, strict=True)
        ]
        table = torch.tensor(rows, dtype=torch.float64)
        self.register_buffer("level_table", table, persistent=False)

    @property
    def num_evaluations(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Network calls per step."""
        return self.sampler.num_evaluations(len(self.levels))

    @property
    def extra_conditions(self) -> int:
        """The noise level, and the step if it varies."""
        return 1 + super().extra_conditions

    def _check_precision(self) -> None:
        """Refuse a noise that rounding of the noised change hides."""
        smallest = 4 * torch.finfo(self._dtype).eps
        if self.sigma_min < smallest:
            raise ValueError(
                f"PDERefiner: `sigma_min` must be at least {smallest:.1e} for a network in "
                f"{self._dtype}, whose rounding hides smaller noise, got {self.sigma_min:g}; "
                "choose it near the relative error of one step, or a network in float64."
            )

    def advance(self, u: Tensor, y: Tensor, dt: float | Tensor | None = None) -> Tensor:
        """The next state from the physical change (or next state) y."""
        return u + self._scaled(y, dt) if self.predict_difference else y

    def target(self, batch: Batch) -> Tensor:
        """The change per smallest step, or the next state; float64."""
        last, following = batch["history"][:, -1].double(), batch["future"][:, 0].double()
        if not self.predict_difference:
            return following
        change = following - last
        if self.max_dt is None:
            return change
        return change / per_sample(batch["dt"].double() / self.dt, change)

    def draw_next(
        self,
        u: Tensor,
        conditioning: Tensor | None,
        dt: float | Tensor | None,
        noise: NoiseStream,
        step: int,
    ) -> Tensor:
        """u -> a sample of u at t + dt, unchecked; noise of `step` only."""
        self._check_precision()
        z = self.state_normalizer.normalize(u).to(self._dtype)
        conditioning = self._with_step(conditioning, u, dt)
        levels = self.levels

        def denoise(y: Tensor, n: int) -> Tensor:
            alpha, sigma = levels.alphas[n], levels.sigmas[n]
            v = self._velocity(z, y, conditioning, math.log(sigma) / 4)
            return alpha * y - sigma * v

        y = self.sampler.sample(denoise, levels, lambda k: noise.normal(z, step, k))
        return self.advance(u, self.target_normalizer.denormalize(y.to(u.dtype)), dt)

    def regression(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """v as N says it and as it is, at levels and noise drawn from `batch["stream"]`."""
        u = self._present(batch)
        z = self.state_normalizer.normalize(u).to(self._dtype)
        y = self.standardized_target(batch)
        seed, number = batch.get("stream", (0, 0))
        source = generator(seed, number, device=y.device)
        chosen = torch.randint(len(self.levels), (len(y),), generator=source, device=y.device)
        eps = torch.randn(y.shape, generator=source, dtype=y.dtype, device=y.device)
        table = self.level_table[chosen]
        alpha, sigma = (per_sample(table[:, n], y) for n in (0, 1))
        noised, v = alpha * y + sigma * eps, alpha * eps - sigma * y
        return self._velocity(z, noised, self._conditions(batch), table[:, 2]), v

    def _velocity(
        self, z: Tensor, y: Tensor, conditioning: Tensor | None, level: float | Tensor
    ) -> Tensor:
        """N of state and noised change, both standardised."""
        return self._call_backbone(torch.cat((z, y), dim=1), with_number(conditioning, level, z))
