"""A normalising flow on a box: densities that can be drawn from, evaluated and differentiated."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pdesurrogates.core import Box, generator
from pdesurrogates.sampling.base import check_num_points, uniform_points
from pdesurrogates.sampling.spline import Spline

__all__ = ["SplineFlow"]


class SplineFlow(nn.Module):
    """Density p(x) on a box, by a map z = T(x) of the unit box onto itself.

        log p(x) = log |det dT/dx| - log(volume),   x = T^-1(z) with z uniform

    T is a chain of couplings: some coordinates pass through a spline whose knots a small network
    reads off the others. The box is mapped onto itself by construction, so no point can leave it,
    and the network is zero at the start: p is uniform.

    Which coordinates are changed follows the binary digits of their index, so that after
    2 ceil(log2 dim) couplings each one has been conditioned on each other one.

    Warning:
        A flow of this kind is a homeomorphism: a density of several separate pieces keeps thin
        bridges between them.

    Reference:
        Neural spline flows (Durkan et al., 2019), https://arxiv.org/abs/1906.04032; coordinates
        frozen stage by stage as in KRnet (Tang, Wan and Liao, 2020),
        https://arxiv.org/abs/2006.04140; choice of coordinates as in i-flow (Gao et al., 2020),
        https://arxiv.org/abs/2001.05486.

    Args:
        domain: Box of the points.
        num_couplings: Couplings per stage; default: 6, or 2 ceil(log2 dim) if that is more.
        width: Hidden width of the networks (two hidden layers, tanh).
        num_bins: Bins per spline.
        num_frozen: Coordinates that are left alone from one stage to the next, the last first;
            0: one stage. Useful above 4 dimensions, costs (dim - 1) / num_frozen times as much.
        seed: Seed of the initial weights.

    Shape:
        log_prob: (num_points, dim) -> (num_points,)

    Example:
        >>> flow = SplineFlow(Box((0.0, 0.0), (2.0, 1.0)))
        >>> flow.log_prob(torch.tensor([[0.5, 0.5]])).exp().round(decimals=4).tolist()
        [0.5]
    """

    def __init__(
        self,
        domain: Box,
        *,
        num_couplings: int | None = None,
        width: int = 32,
        num_bins: int = 16,
        num_frozen: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if num_couplings is None:
            num_couplings = max(6, 2 * (domain.dim - 1).bit_length())
        if min(num_couplings, width, num_bins) < 1 or num_bins > 200 or num_frozen < 0:
            raise ValueError(
                "SplineFlow: `num_couplings` and `width` must be at least 1, `num_bins` in 1 .. "
                f"200 and `num_frozen` not negative, got {num_couplings}, {width}, {num_bins} and "
                f"{num_frozen}."
            )
        self.domain = domain
        couplings, active, stream = [], domain.dim, generator(seed)
        while True:
            for changed in _changed(active, num_couplings):
                couplings.append(_Coupling(changed, active, width, num_bins, stream))
            active -= num_frozen
            if not num_frozen or active < 2:
                break
        self.couplings = nn.ModuleList(couplings)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def log_prob(self, points: Tensor) -> Tensor:
        """log p at points (num_points, dim), differentiable in points and weights.

        Raises:
            ValueError: If a point lies outside the box.
        """
        self.domain.check(points, where="SplineFlow.log_prob")
        z = self.domain.to_unit(points).clamp(0, 1)
        total = z.new_full(z.shape[:1], -math.log(self.domain.volume))
        for coupling in self.couplings:
            z, log_slope = coupling(z)
            total = total + log_slope
        return total

    def sample(self, num_points: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Points (num_points, dim) and log p there (num_points,), in the flow's precision."""
        check_num_points(num_points, where="SplineFlow.sample")
        z = uniform_points(
            Box((0.0,) * self.domain.dim, (1.0,) * self.domain.dim),
            num_points,
            generator=generator,
            dtype=self.dtype,
            device=self.device,
        )
        return self.from_latent(z)

    def from_latent(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """T^-1: unit box (num_points, dim) to the domain, with log p there."""
        total = z.new_full(z.shape[:1], -math.log(self.domain.volume))
        for coupling in reversed(self.couplings):
            assert isinstance(coupling, _Coupling)
            z, log_slope = coupling.inverse(z)
            total = total + log_slope
        return self.domain.from_unit(z), total


class _Coupling(nn.Module):
    """Coordinates `changed` through splines that depend on the other active coordinates."""

    def __init__(
        self, changed: list[int], active: int, width: int, num_bins: int, stream: torch.Generator
    ) -> None:
        super().__init__()
        self.changed = changed
        self.given = [i for i in range(active) if i not in changed]
        self.num_bins = num_bins
        sizes = (max(1, len(self.given)), width, width, len(changed) * (3 * num_bins + 1))
        linear = [
            nn.Linear(n_in, n_out, device="meta")
            for n_in, n_out in zip(sizes, sizes[1:], strict=False)
        ]
        for layer in linear:
            layer.to_empty(device="cpu")
            bound = 1 / math.sqrt(layer.in_features)
            nn.init.uniform_(layer.weight, -bound, bound, generator=stream)
            nn.init.uniform_(layer.bias, -bound, bound, generator=stream)
        nn.init.zeros_(linear[-1].weight)
        nn.init.zeros_(linear[-1].bias)
        self.network = nn.Sequential(linear[0], nn.Tanh(), linear[1], nn.Tanh(), linear[2])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """All coordinates (num_points, dim), some of them changed, and log-determinant."""
        y, log_slope = self._spline(x)(x[:, self.changed])
        return self._with(x, y), log_slope.sum(dim=-1)

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` took, and its log-determinant there."""
        x, log_slope = self._spline(y).inverse(y[:, self.changed])
        return self._with(y, x), log_slope.sum(dim=-1)

    def _spline(self, x: Tensor) -> Spline:
        given = 2 * x[:, self.given] - 1 if self.given else torch.zeros_like(x[:, :1])
        raw = self.network(given)
        return Spline.of(raw.unflatten(-1, (len(self.changed), 3 * self.num_bins + 1)))

    def _with(self, x: Tensor, values: Tensor) -> Tensor:
        columns = list(x.unbind(-1))
        for axis, column in zip(self.changed, values.unbind(-1), strict=True):
            columns[axis] = column
        return torch.stack(columns, dim=-1)


def _changed(active: int, num_couplings: int) -> list[list[int]]:
    """Coordinates of each coupling: index bit k is 0, then 1, k = 0, 1, ..., over and over."""
    patterns = [
        [i for i in range(active) if (i >> bit) & 1 == value]
        for bit in range(max(1, (active - 1).bit_length()))
        for value in (0, 1)
    ]
    patterns = [pattern for pattern in patterns if pattern]
    return [patterns[n % len(patterns)] for n in range(num_couplings)]
