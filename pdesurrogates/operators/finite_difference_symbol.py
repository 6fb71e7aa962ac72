"""The symbol of a linear operator under finite differences: which rates a stepper meets."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pdesurrogates.core import BoundarySides, FieldSpec
from pdesurrogates.operators.spectral import Symbol, wavenumbers

if TYPE_CHECKING:
    from pdesurrogates.operators.finite_difference import FiniteDifferences

__all__ = ["DifferenceSymbol"]

_SAMPLED_POINTS = 32


class DifferenceSymbol(Symbol):
    """Modified wavenumbers: what a stencil with weights w makes of exp(i k x),

        d^m/dx^m  ->  sum_j w_j exp(i k j h)

    On periodic axes these are the eigenvalues on the grid. On an axis with walls the wavenumbers
    are sampled up to pi / h, and each derivative is scaled up by what the closures add to its
    largest eigenvalue, found on a short axis with the same ends: a bound for a linear part whose
    terms are single derivatives, not nested ones.

    Args:
        provider: Grid and stencils.
        sides: The different conditions of the channels.

    Example:
        >>> from pdesurrogates.core import Grid
        >>> from pdesurrogates.operators import FiniteDifferences
        >>> d = FiniteDifferences(Grid((4,), (4.0,))).symbol()
        >>> [round(rate) for rate in d.laplacian(d.wave()).hat.real.flatten().tolist()]
        [0, -2, -4]
    """

    def __init__(self, provider: FiniteDifferences, sides: frozenset[BoundarySides]) -> None:
        grid = provider.grid
        axes = list(wavenumbers(grid))
        for axis, (n, h) in enumerate(zip(grid.num_points, grid.spacing, strict=True)):
            if not grid.is_periodic[axis]:
                count = 2 * min(n, _SAMPLED_POINTS) + 1
                k = math.pi / h * torch.linspace(-1.0, 1.0, count, dtype=torch.float64)
                axes[axis] = k.reshape([-1 if a == axis else 1 for a in range(grid.dim)])
        super().__init__(tuple(axes))
        self._provider = provider
        self._sides = sides

    def _multiplier(self, axis: int, order: int) -> Tensor:
        h, weights = self._provider.spacing[axis], self._provider.weights(axis, order)
        radius = len(weights) // 2
        rates = torch.zeros_like(self._k[axis], dtype=torch.complex128)
        for j, weight in enumerate(weights):
            angle = self._k[axis] * (h * (j - radius))
            rates += weight * torch.polar(torch.ones_like(angle), angle)
        # The other part is zero but for rounding.
        rates = rates.real if order % 2 == 0 else 1j * rates.imag
        if self._provider.grid.is_periodic[axis]:
            return rates
        ends = {sides[axis] for sides in self._sides}
        radii = [_spectral_radius(self._provider, axis, order, pair) for pair in ends]
        return rates * max(1.0, *(r / float(rates.abs().max()) for r in radii))


def _spectral_radius(provider: FiniteDifferences, axis: int, order: int, pair: tuple) -> float:
    """Largest eigenvalue of one derivative on a short axis with these ends."""
    n = min(provider.grid.num_points[axis], _SAMPLED_POINTS)
    d = provider.line(axis, pair, n)
    units = torch.eye(n, dtype=torch.float64)[:, None]
    given = d.derivative(d.field(0.0 * units), 0, order).values
    columns = d.derivative(d.field(units), 0, order).values - given
    moving = d.moving_points(FieldSpec(("u",)), units)
    matrix = columns if moving is None else columns * moving
    return float(torch.linalg.eigvals(matrix.squeeze(1).mT).abs().max())
