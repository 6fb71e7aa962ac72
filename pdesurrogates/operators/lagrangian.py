"""Derivatives in space from functions of a label: what a moving frame does to a provider."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pdesurrogates.operators.points import PointDerivatives

__all__ = ["LagrangianDerivatives"]


class LagrangianDerivatives(PointDerivatives):
    """Derivatives in x of fields that are functions of a label X and of time, x = x(X, t):

        F = dx/dX,    d/dx = (1/F) d/dX,    d2/dx2 = (1/F) d/dX (1/F) d/dX
        u_t at fixed x = u_t at fixed X - x_t u_x

    An equation sees x, so its terms are those of the fixed frame whatever the motion is: the
    second derivative in X alone would be diffusion only where F = 1.

    Warning:
        Where characteristics meet F is 0, and 1/F^2 makes diffusion terms stiff well before.

    Args:
        labels: Provider at the labels (batch, point, 1), with times. It differentiates in X.
        positions: x(X, t), a field of that provider (batch, point, 1).

    Attributes:
        stretch: F as a field (batch, point, 1).

    Example:
        >>> import torch
        >>> from pdesurrogates.operators import JetDerivatives
        >>> X, t = torch.rand(2, 1, 5, 1, dtype=torch.float64)
        >>> labels = JetDerivatives(X, t)
        >>> d = LagrangianDerivatives(labels, labels.points * torch.exp(labels.times))
        >>> u = d.points**2 * d.times
        >>> x = d.points.values
        >>> bool(torch.allclose(d.dxx(u).values, 2 * t) and torch.allclose(d.dt(u).values, x**2))
        True
    """

    dim = 1

    def __init__(self, labels: PointDerivatives, positions: Any) -> None:
        if labels.dim != 1:
            raise ValueError(
                f"LagrangianDerivatives: labels must have one coordinate (batch, point, 1), got "
                f"{labels.dim}; characteristics are written for one space axis."
            )
        self._check_points(positions)
        self.labels = labels
        self.points = positions
        self.times = labels.times
        self.stretch = labels.derivative(positions, 0)
        self._slopes: dict[int, tuple[Any, Any]] = {}

    def _slope(self, u: Any) -> Any:
        """(1/F) du/dX, computed once per field."""
        known = self._slopes.get(id(u))
        if known is None or known[0] is not u:
            slope = self.labels.derivative(u, 0) / self.stretch
            known = self._slopes[id(u)] = (u, slope)
        return known[1]

    def derivative(self, u: Any, axis: int, order: int = 1) -> Any:
        if axis != 0:
            raise ValueError(
                f"LagrangianDerivatives: labels have one coordinate, got axis {axis}; use dx."
            )
        for _ in range(order):
            u = self._slope(u)
        return u

    def material_derivative(self, u: Any) -> Any:
        """du/dt at fixed labels, u_t + x_t u_x."""
        return self.labels.dt(u)

    def dt(self, u: Any) -> Any:
        return self.labels.dt(u) - self.derivative(u, 0) * self.labels.dt(self.points)

    def components(self, u: Any) -> tuple[Any, ...]:
        return self.labels.components(u)

    def values(self, u: Any) -> Tensor:
        return self.labels.values(u)
