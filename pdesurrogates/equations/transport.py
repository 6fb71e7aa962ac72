"""Advection and diffusion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pdesurrogates.core import Grid
from pdesurrogates.equations.base import Equation, is_constant
from pdesurrogates.operators import Derivatives

__all__ = ["Advection", "Diffusion"]


@dataclass(frozen=True)
class Advection(Equation):
    """Transport at constant velocity, a purely imaginary symbol:

        u_t + velocity . grad u = 0

    Args:
        velocity: Velocity per axis, one number (or one per sample) for all axes alike
            [length/time].
    """

    velocity: Any = 1.0

    def linear(self, u: Any, d: Derivatives) -> Any:
        velocity = self.velocity if isinstance(self.velocity, (tuple, list)) else [self.velocity]
        velocity = [*velocity] * (d.dim if len(velocity) == 1 else 1)
        if len(velocity) != d.dim:
            raise ValueError(
                f"Advection: `velocity` must have one entry per axis ({d.dim}), got {velocity}."
            )
        terms = [
            d.derivative(u, axis) * d.coefficient(-value) for axis, value in enumerate(velocity)
        ]
        return sum(terms[1:], start=terms[0])

    def characteristic_velocity(self, t: float | Tensor, u: Any, d: Derivatives) -> Any:
        velocity = self.velocity
        if isinstance(velocity, (tuple, list)):
            if len(velocity) != 1:
                raise ValueError(
                    "Advection: the characteristic velocity is defined in 1D, got a `velocity` "
                    f"with {len(velocity)} entries."
                )
            velocity = velocity[0]
        return d.coefficient(velocity)

    def conserved_quantities(self, u: Tensor, grid: Grid) -> dict[str, Tensor]:
        u = u.double().squeeze(-grid.dim - 1)
        return {"mass": self._integral(u, grid), "energy": self._integral(u**2, grid)}


@dataclass(frozen=True)
class Diffusion(Equation):
    """Heat equation, or diffusion with a diffusivity that varies in space:

        u_t = diffusivity lap u,   or   u_t = div(diffusivity(x) grad u)

    Args:
        diffusivity: A number, one number per sample, a function of the coordinates, or grid
            values (batch or 1, 1, *space) [length^2/time].
    """

    diffusivity: Any = 1.0

    def linear(self, u: Any, d: Derivatives) -> Any:
        if not is_constant(self.diffusivity):
            return u * 0.0
        return d.laplacian(u) * d.coefficient(self.diffusivity)

    def nonlinear(self, t: float | Tensor, u: Any, d: Derivatives) -> Any:
        if is_constant(self.diffusivity):
            return None
        diffusivity = d.coefficient(self.diffusivity)
        return d.divergence(*(diffusivity * slope for slope in d.gradient(u)))

    def characteristic_velocity(self, t: float | Tensor, u: Any, d: Derivatives) -> Any:
        return 0.0

    def conserved_quantities(self, u: Tensor, grid: Grid) -> dict[str, Tensor]:
        return {"mass": self._integral(u.double().squeeze(-grid.dim - 1), grid)}
