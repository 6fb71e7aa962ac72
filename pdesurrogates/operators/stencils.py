"""Weights of finite differences: inside, at half points, and for the points beyond a wall."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pdesurrogates.core import BoundaryCondition, Dirichlet, Neumann, Outflow, Robin

__all__ = [
    "Closure",
    "FlattenedLine",
    "central_weights",
    "interpolation_weights",
    "staggered_weights",
    "weighted_shifts",
]


def interpolation_weights(at: float, points: Sequence[float], derivative: int = 0) -> list[float]:
    """Weights w with  d^m u / dx^m (at) = sum_j w_j u(points_j)  for polynomials through them.

    Reference:
        Generation of finite difference formulas on arbitrarily spaced grids (Fornberg, 1988),
        the algorithm of section 3.
    """
    rows = [[0.0] * len(points) for _ in range(derivative + 1)]
    rows[0][0] = 1.0
    previous_product = 1.0
    for n in range(1, len(points)):
        product = 1.0
        for j in range(n):
            product *= points[n] - points[j]
        for m in range(min(n, derivative), -1, -1):
            lower = m * rows[m - 1][n - 1] if m else 0.0
            value = lower - (points[n - 1] - at) * rows[m][n - 1]
            rows[m][n] = previous_product / product * value
        for j in range(n):
            for m in range(min(n, derivative), -1, -1):
                lower = m * rows[m - 1][j] if m else 0.0
                value = (points[n] - at) * rows[m][j] - lower
                rows[m][j] = value / (points[n] - points[j])
        previous_product = product
    return rows[derivative]


def central_weights(derivative: int, order: int) -> tuple[float, ...]:
    """Central stencil at unit spacing, offsets -r .. r, r = order/2 or one more."""
    radius = order // 2 + (derivative - 1) // 2
    points = [float(j) for j in range(-radius, radius + 1)]
    return _symmetric(interpolation_weights(0.0, points, derivative), derivative)


def staggered_weights(derivative: int, order: int) -> tuple[float, ...]:
    """Value (0) or slope (1) half way between points at unit spacing, offsets +-1/2, +-3/2, ..."""
    points = [j + 0.5 for j in range(-order // 2, order // 2)]
    return _symmetric(interpolation_weights(0.0, points, derivative), derivative)


def _symmetric(weights: list[float], derivative: int) -> tuple[float, ...]:
    """Exactly even or odd, so that sums telescope to rounding."""
    sign = (-1) ** derivative
    return tuple((a + sign * b) / 2 for a, b in zip(weights, reversed(weights), strict=True))


def weighted_shifts(
    tensor: Tensor, dim: int, weights: tuple[float, ...], total: Tensor | None = None
) -> Tensor:
    """total + sum_j weights_j tensor[.., j : j + length, ..] along `dim`, written into `total`."""
    length = tensor.shape[dim] - len(weights) + 1
    for shift, weight in enumerate(weights):
        if weight == 0:
            continue
        piece = tensor.narrow(dim, shift, length)
        total = piece * weight if total is None else total.add_(piece, alpha=weight)
    if total is None:
        raise ValueError("weighted_shifts: all weights are zero.")
    return total


@dataclass(frozen=True)
class FlattenedLine:
    """A coefficient beyond an end, by the line through the last two points:

        ghost_g = u_0 - g clip(u_1 - u_0, -abs(u_0) / width, abs(u_0) / width)

    Where the line would change sign within `width` points it is flattened, so that a diffusivity
    that jumps stays positive.

    Args:
        width: Number of ghost points.
        is_upper: Which end.
    """

    width: int
    is_upper: bool
    skip: ClassVar[int] = 0

    def ghosts(self, values: Tensor, dim: int) -> Tensor:
        """The values that this end adds to `values` along `dim`."""
        if self.is_upper:
            values = values.flip(dim)
        last, next_to_last = values.narrow(dim, 0, 1), values.narrow(dim, 1, 1)
        limit = last.abs() / self.width
        slope = torch.maximum(torch.minimum(next_to_last - last, limit), -limit)
        ghosts = torch.cat([last - g * slope for g in range(self.width, 0, -1)], dim)
        return ghosts.flip(dim) if self.is_upper else ghosts

    def to(self, like: Tensor) -> FlattenedLine:
        """The same: there are no tensors in it."""
        return self


@dataclass(frozen=True)
class Closure:
    """Values at one end of an axis and beyond it, from the nearest points inside:

        ghost_g = sum_j weights[g, j] u_j + offset[g]

    The ghosts are values of the polynomial through the nearest points that also meets the
    condition of the wall.

    Args:
        skip: Points at the end that are replaced, because the wall gives their values.
        weights: (ghost, point), in the order of the axis.
        offset: (ghost,), what the given value or slope adds.
        is_upper: Which end.
    """

    skip: int
    weights: Tensor
    offset: Tensor
    is_upper: bool

    def ghosts(self, values: Tensor, dim: int) -> Tensor:
        """The values that this end adds to `values` along `dim`.

        No matrix product, which reduced precision (TF32, autocast) would spoil.
        """
        count = self.weights.shape[1]
        start = values.shape[dim] - self.skip - count if self.is_upper else self.skip
        edge = values.narrow(dim, start, count).movedim(dim, -1)
        return ((edge.unsqueeze(-2) * self.weights).sum(-1) + self.offset).movedim(-1, dim)

    def to(self, like: Tensor) -> Closure:
        """The same in the dtype and on the device of `like`."""
        return Closure(self.skip, self.weights.to(like), self.offset.to(like), self.is_upper)

    @classmethod
    def at_wall(
        cls,
        condition: BoundaryCondition | None,
        *,
        width: int,
        degree: int,
        spacing: float,
        is_cell_centred: bool,
        is_upper: bool,
    ) -> Closure:
        """The closure for a condition on the value and the slope at the wall.

        Args:
            condition: What holds at the wall; `None`: nothing, the points alone decide.
            width: Number of ghost points.
            degree: Degree of the polynomial.
            spacing: Distance between points [length].
            is_cell_centred: Whether the wall is half a cell outside the last point.
            is_upper: Whether the axis points out of the box here.
        """
        first = 0.5 if is_cell_centred else 0.0
        ghosts = [first - g for g in range(width, 0, -1)]
        skip, offset = 0, [0.0] * width
        if isinstance(condition, Outflow):
            rows = [[1.0]] * width
        elif condition is None:
            points = [first + j for j in range(degree + 1)]
            rows = [interpolation_weights(x, points) for x in ghosts]
        else:
            a, b, c = _linear_form(condition)
            # Distance from the wall is counted inwards, in units of the spacing.
            b = (-b if is_upper else b) / spacing
            if b == 0 and not is_cell_centred:
                points = [float(j) for j in range(degree + 1)]
                full = [interpolation_weights(x, points) for x in [*ghosts, 0.0]]
                skip, offset = 1, [row[0] * c for row in full]
                rows = [row[1:] for row in full]
            else:
                points = [first + j for j in range(degree)]
                rows, offset = _with_condition(ghosts, points, a, b, c)
        weights, shift = (torch.tensor(x, dtype=torch.float64) for x in (rows, offset))
        if is_upper:
            weights, shift = weights.flip(0, 1), shift.flip(0)
        return cls(skip, weights, shift, is_upper)


def _with_condition(
    ghosts: list[float], points: list[float], a: float, b: float, c: float
) -> tuple[list[list[float]], list[float]]:
    """Polynomial through the points that meets a p(0) + b p'(0) = c, as weights and offsets.

    With the Lagrange basis l_j of the points and Pi(x) = prod_j (x - x_j):

        p(x) = sum_j u_j l_j(x)
             + Pi(x) (c - sum_j u_j (a l_j(0) + b l_j'(0))) / (a Pi(0) + b Pi'(0))
    """
    values, slopes = (interpolation_weights(0.0, points, m) for m in (0, 1))
    residuals = [a * value + b * slope for value, slope in zip(values, slopes, strict=True)]
    product_slope = sum(_product(0.0, [y for y in points if y != x]) for x in points)
    divisor = a * _product(0.0, points) + b * product_slope
    rows, offset = [], []
    for x in ghosts:
        factor = _product(x, points) / divisor
        free = interpolation_weights(x, points)
        rows.append([w - factor * r for w, r in zip(free, residuals, strict=True)])
        offset.append(factor * c)
    return rows, offset


def _linear_form(condition: BoundaryCondition) -> tuple[float, float, float]:
    """a, b, c of the condition a u + b du/dx = c."""
    if isinstance(condition, Dirichlet):
        return 1.0, 0.0, float(condition.value)  # pyright: ignore[reportArgumentType]
    if isinstance(condition, Neumann):
        return 0.0, 1.0, float(condition.derivative)  # pyright: ignore[reportArgumentType]
    if isinstance(condition, Robin):
        return condition.value_factor, condition.derivative_factor, condition.total
    raise TypeError(
        f"FiniteDifferences: a wall needs Dirichlet, Neumann, Robin or Outflow, got {condition!r}."
    )


def _product(x: float, points: list[float]) -> float:
    """prod_j (x - x_j)."""
    result = 1.0
    for point in points:
        result *= x - point
    return result
