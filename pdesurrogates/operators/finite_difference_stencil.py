"""Derivatives of finite-difference fields: central stencils, and slopes in flux form."""

from __future__ import annotations

from torch import Tensor

from pdesurrogates.operators.finite_difference_field import DifferenceField, Region
from pdesurrogates.operators.stencils import weighted_shifts

__all__ = ["Slope", "Stencil"]


class Stencil(DifferenceField):
    """A sum of central stencils, one per axis: a higher derivative, or the Laplacian.

    Args:
        operand: What is differentiated.
        terms: (axis, weights) pairs, an odd number of weights each.
        extra_degree: What is added to the degree of the polynomials beyond walls.
    """

    def __init__(
        self,
        operand: DifferenceField,
        terms: tuple[tuple[int, tuple[float, ...]], ...],
        *,
        extra_degree: int = 0,
    ) -> None:
        super().__init__(
            operand.provider,
            like=operand.like,
            num_channels=operand.num_channels,
            is_coefficient=operand.is_coefficient,
        )
        self._operand = operand
        self._terms = terms
        self._extra_degree = extra_degree
        self._known = operand.derived.setdefault((terms, extra_degree), {})

    def _compute(self, region: Region) -> Tensor:
        if region.half is not None:
            return self._interpolate(region, region.half)
        region = region._replace(extra_degree=region.extra_degree + self._extra_degree)
        center = sum(weights[len(weights) // 2] for _, weights in self._terms)
        total = self._operand.at(region) * center
        for axis, weights in self._terms:
            radius = len(weights) // 2
            around = (*weights[:radius], 0.0, *weights[radius + 1 :])
            padded = self._operand.at(region.grown(axis, radius))
            total = weighted_shifts(padded, axis - self.provider.dim, around, total)
        return total


class Slope(DifferenceField):
    """A first derivative: central, or the difference of half-point values (flux form).

    Args:
        operand: What is differentiated.
        axis: Along which axis.
        weights: Central stencil.
    """

    def __init__(self, operand: DifferenceField, axis: int, weights: tuple[float, ...]) -> None:
        super().__init__(
            operand.provider,
            like=operand.like,
            num_channels=operand.num_channels,
            slopes=operand.slopes | {axis},
            is_coefficient=operand.is_coefficient,
        )
        self._operand = operand
        self._axis = axis
        self._weights = weights
        self._known = operand.derived.setdefault((axis,), {})

    def _compute(self, region: Region) -> Tensor:
        axis, half, reach = self._axis, region.half, self.provider.order // 2
        if half is not None and half != axis:
            return self._interpolate(region, half)
        weights = self._weights
        wanted = region.grown(axis, reach)
        if half == axis or axis in self._operand.slopes:
            weights = self.provider.midpoint_slopes[axis]
            if half is None:
                wanted = region.on_faces(axis, reach - 1)
        return weighted_shifts(self._operand.at(wanted), axis - self.provider.dim, weights)
