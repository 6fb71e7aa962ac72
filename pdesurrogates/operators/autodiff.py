"""Derivatives at points by automatic differentiation: for networks and exact formulas."""

from __future__ import annotations

import torch
from torch import Tensor

from pdesurrogates.operators.points import PointDerivatives

__all__ = ["AutodiffDerivatives"]


class AutodiffDerivatives(PointDerivatives):
    """Derivatives of u(points) with respect to the points, by backward differentiation.

    A field is a tensor (batch, point, 1) computed from `points`; because each value depends on
    its own point only, d/dx of all points is one gradient of their sum. The graph is kept, so
    derivatives are differentiable again and with respect to the parameters of a network.

    Args:
        points: Coordinates (batch, point, dim), gradients are switched on if they are off.
        times: Times (batch, point, 1) for `dt`, or `None`.

    Example:
        >>> x = torch.linspace(0, 1, 5, dtype=torch.float64).reshape(1, -1, 1).requires_grad_()
        >>> d = AutodiffDerivatives(x)
        >>> bool(torch.allclose(d.dxx(x**3), 6 * x))
        True
    """

    def __init__(self, points: Tensor, times: Tensor | None = None) -> None:
        self._check_points(points)
        for tensor in (points, times):
            if tensor is not None and not tensor.requires_grad:
                tensor.requires_grad_()
        self.points = points
        self.times = times
        self.dim = points.shape[-1]
        self._gradients: dict[int, tuple[Tensor, Tensor]] = {}

    def _gradient(self, u: Tensor) -> Tensor:
        """All first derivatives of a one-channel field at once, (batch, point, dim)."""
        known = self._gradients.get(id(u))
        if known is None or known[0] is not u:
            if not u.requires_grad:
                return torch.zeros_like(self.points)
            (gradient,) = torch.autograd.grad(
                u.sum(), self.points, create_graph=True, allow_unused=True
            )
            gradient = torch.zeros_like(self.points) if gradient is None else gradient
            known = self._gradients[id(u)] = (u, gradient)
        return known[1]

    def derivative(self, u: Tensor, axis: int, order: int = 1) -> Tensor:
        if u.shape[-1] != 1:
            return self.stack(*(self.derivative(c, axis, order) for c in self.components(u)))
        for _ in range(order):
            u = self._gradient(u)[..., axis : axis + 1]
        return u

    def dt(self, u: Tensor) -> Tensor:
        if self.times is None:
            raise self._needs_times()
        channels = []
        for channel in self.components(u):
            (slope,) = torch.autograd.grad(
                channel.sum(), self.times, create_graph=True, allow_unused=True
            )
            channels.append(torch.zeros_like(channel) if slope is None else slope)
        return self.stack(*channels)

    def components(self, u: Tensor) -> tuple[Tensor, ...]:
        # A one-channel field stays the same object, so that its gradient is computed once.
        return (u,) if u.shape[-1] == 1 else tuple(u.split(1, dim=-1))

    def values(self, u: Tensor) -> Tensor:
        return u
