"""The wave equation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.equations.base import Equation, is_constant
from pdesurrogates.operators import Derivatives

__all__ = ["Wave"]


@dataclass(frozen=True)
class Wave(Equation):
    """Wave equation u_tt = speed^2 lap u as a first-order system:

        u_t = v
        v_t = speed(x)^2 lap u

    Conditions at walls belong to u; where a given value of u stands at a wall point, v does not
    move u there.

    Args:
        speed: Wave speed: a number, one per sample, a function of the coordinates, or grid values
            (batch or 1, 1, *space) [length/time].
    """

    speed: Any = 1.0

    @property
    def fields(self) -> FieldSpec:
        return FieldSpec(("u", "v"), ("1", "1/time"))

    def linear(self, u: Any, d: Derivatives) -> Any:
        elevation, rate = d.components(u)
        if not is_constant(self.speed):
            return d.stack(rate, elevation * 0.0)
        return d.stack(rate, d.laplacian(elevation) * d.coefficient(self.speed**2))

    def nonlinear(self, t: float | Tensor, u: Any, d: Derivatives) -> Any:
        if is_constant(self.speed):
            return None
        elevation, _ = d.components(u)
        pull = d.coefficient(_squared(self.speed)) * d.laplacian(elevation)
        return d.stack(elevation * 0.0, pull)

    def conserved_quantities(self, u: Tensor, grid: Grid) -> dict[str, Tensor]:
        """Energy 1/2 int (v^2 / speed^2 + abs(grad u)^2), also kept between reflecting walls."""
        elevation, rate = u.double().unbind(-grid.dim - 1)
        density = (rate / self._speed_on(grid, elevation)) ** 2
        for axis in range(grid.dim):
            density = density + _squared_slope(elevation, grid, axis)
        return {"energy": self._integral(density / 2, grid)}

    def _speed_on(self, grid: Grid, like: Tensor) -> Any:
        """The speed, shaped to divide fields (batch, ..., *space) without a channel axis."""
        speed = self.speed
        if isinstance(speed, Tensor) and speed.ndim:
            space = (1,) * grid.dim if speed.ndim == 1 else grid.shape
            between = (1,) * (like.ndim - 1 - grid.dim)
            return speed.double().reshape(speed.shape[0], *between, *space)
        if callable(speed):
            return speed(*grid.coordinates(device=like.device))
        return speed


def _squared(value: Any) -> Any:
    """The square of a tensor or a function."""
    if callable(value) and not isinstance(value, Tensor):
        function: Callable[..., Any] = value
        return lambda *coordinates: function(*coordinates) ** 2
    return value**2


def _squared_slope(u: Tensor, grid: Grid, axis: int) -> Tensor:
    """(du/dx_axis)^2 at the points of (..., *space), so that its integral is that of the slope.

    Spectral on periodic axes; with walls the mean of the squared differences to both neighbours,
    whose sum the second-order scheme keeps.
    """
    u = u.movedim(axis - grid.dim, -1)
    n = u.shape[-1]
    if grid.is_periodic[axis]:
        k = 2 * math.pi / grid.extent[axis] * torch.fft.rfftfreq(n, 1.0 / n, dtype=u.dtype)
        k[n // 2] *= float(n % 2)
        squared = torch.fft.irfft(1j * k.to(u.device) * torch.fft.rfft(u), n=n) ** 2
    else:
        steps = (u.diff(dim=-1) / grid.spacing[axis]) ** 2
        below = torch.cat([steps[..., :1], steps], dim=-1)
        above = torch.cat([steps, steps[..., -1:]], dim=-1)
        squared = (below + above) / 2
    return squared.movedim(-1, axis - grid.dim)
