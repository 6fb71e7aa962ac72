"""Derivatives at points by Taylor arithmetic: one call of the network gives all of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pdesurrogates.operators import jet_functions  # noqa: F401 (adds its rules)
from pdesurrogates.operators.jet import Index, Jet, Part
from pdesurrogates.operators.points import PointDerivatives

__all__ = ["JetDerivatives"]


class JetDerivatives(PointDerivatives):
    """Derivatives of u(points, times) by propagating Taylor coefficients through the network.

    `points` and `times` are jets: call the network with them (or with `coordinates()`) and its
    output knows its derivatives. Nothing is differentiated backwards, so the cost grows with the
    number of derivatives an equation uses and not with their order's power, and residuals can be
    differentiated by `torch.autograd` and `torch.func` alike, once, for the parameters.

    Args:
        points: Coordinates (batch, point, dim).
        times: Times (batch, point, 1) for `dt`, or `None`.

    Example:
        >>> x = torch.linspace(0, 1, 5, dtype=torch.float64).reshape(1, -1, 1)
        >>> d = JetDerivatives(x)
        >>> bool(torch.allclose(d.dxx(d.points**3).values, 6 * x))
        True
    """

    def __init__(self, points: Tensor, times: Tensor | None = None) -> None:
        self._check_points(points)
        self.dim = points.shape[-1]
        self.num_axes = self.dim + (times is not None)
        self.points = _coordinate(points, self.num_axes, 0)
        self.times = None if times is None else _coordinate(times, self.num_axes, self.dim)
        self._split: dict[int, tuple[Jet, tuple[Jet, ...]]] = {}

    def derivative(self, u: Any, axis: int, order: int = 1) -> Any:
        return u.derivative(axis, order) if isinstance(u, Jet) else torch.zeros_like(u)

    def dt(self, u: Any) -> Any:
        if self.times is None:
            raise self._needs_times()
        return self.derivative(u, self.dim)

    def components(self, u: Any) -> tuple[Any, ...]:
        if u.shape[-1] == 1:
            return (u,)
        # The same pieces for every caller, so that their coefficients are computed once.
        known = self._split.get(id(u))
        if known is None or known[0] is not u:
            known = self._split[id(u)] = (u, tuple(u.split(1, dim=-1)))
        return known[1]

    def values(self, u: Any) -> Tensor:
        return u.values.contiguous() if isinstance(u, Jet) else u


def _coordinate(points: Tensor, num_axes: int, first_axis: int) -> Jet:
    """Coordinates as jets: the slope of coordinate i is 1 along axis first_axis + i."""
    size = points.shape[-1]

    def compute(index: Index) -> Part:
        if not any(index):
            return points
        if sum(index) != 1 or not first_axis <= index.index(1) < first_axis + size:
            return None
        unit = torch.arange(size, device=points.device) == index.index(1) - first_axis
        return unit.to(points.dtype)

    return Jet(compute, num_axes)
