"""The Burgers equation, scalar and vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.equations.base import Equation
from pdesurrogates.operators import Derivatives

__all__ = ["Burgers"]


@dataclass(frozen=True)
class Burgers(Equation):
    """Viscous Burgers equation, conservative in 1D:

        u_t + (u^2/2)_x = viscosity u_xx
        u_t + (u . grad) u = viscosity lap u      for a velocity with one component per axis

    Args:
        viscosity: A number, or one per sample [length^2/time].
        dim: Space axes, and components of the velocity.
    """

    viscosity: Any = 0.01
    dim: int = 1

    @property
    def fields(self) -> FieldSpec:
        return FieldSpec(("u", "v", "w")[: self.dim], ("length/time",) * self.dim)

    def linear(self, u: Any, d: Derivatives) -> Any:
        return d.laplacian(u) * d.coefficient(self.viscosity)

    def nonlinear(self, t: float | Tensor, u: Any, d: Derivatives) -> Any:
        if self.dim == 1:
            return -0.5 * d.dx(u * u)
        velocity = d.components(u)
        return d.stack(*(-self._advection(velocity, component, d) for component in velocity))

    @staticmethod
    def _advection(velocity: tuple[Any, ...], component: Any, d: Derivatives) -> Any:
        terms = [v * slope for v, slope in zip(velocity, d.gradient(component), strict=True)]
        return sum(terms[1:], start=terms[0])

    def conserved_quantities(self, u: Tensor, grid: Grid) -> dict[str, Tensor]:
        # The advective form conserves momentum only where it equals the flux form, in 1D.
        if self.dim > 1:
            return {}
        return {"mass": self._integral(u.double().squeeze(-2), grid)}
