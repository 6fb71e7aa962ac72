"""The Burgers equation, scalar and vector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.equations.base import BoundEquation
from pdesurrogates.equations.conservation_law import ConservationLaw
from pdesurrogates.operators import Derivatives, FiniteVolumes

__all__ = ["Burgers"]


@dataclass(frozen=True)
class Burgers(ConservationLaw):
    """Viscous Burgers equation, conservative in 1D:

        u_t + (u^2/2)_x = viscosity u_xx
        u_t + (u . grad) u = viscosity lap u      for a velocity with one component per axis

    Only the 1D form is a conservation law, for finite volumes; viscosity keeps shocks smooth, so
    that a grid alone means Fourier derivatives.

    Args:
        viscosity: A number, or one per sample [length^2/time].
        dim: Space axes, and components of the velocity.
    """

    degree: ClassVar[int] = 2
    forms_shocks: ClassVar[bool] = False

    viscosity: Any = 0.01
    dim: int = 1

    @property
    def fields(self) -> FieldSpec:
        return FieldSpec(("u", "v", "w")[: self.dim], ("length/time",) * self.dim)

    @property
    def vector_channels(self) -> tuple[int, ...]:
        return tuple(range(self.dim))

    @property
    def is_diffusive(self) -> bool:
        return isinstance(self.viscosity, Tensor) or self.viscosity != 0

    def flux(self, u: Any, axis: int) -> tuple:
        return (0.5 * u[0] * u[0],)

    def wave_speed(self, u: Any, axis: int) -> Tensor:
        return u[0].abs()

    def signal_speeds(self, left: Any, right: Any, axis: int) -> tuple[Tensor, Tensor]:
        """Both the speed of the shock, or those of the ends of the rarefaction."""
        shock = 0.5 * (left[0] + right[0])
        return torch.minimum(left[0], shock), torch.maximum(right[0], shock)

    def diffusive_flux(self, w: Any, slope: Callable[[int, int], Any], axis: int) -> tuple:
        return (slope(0, axis) * self.viscosity,)

    def diffusivity(self, w: Any) -> Any:
        return self.viscosity

    def on(self, where: Grid | Derivatives) -> BoundEquation:
        if self.dim > 1 and isinstance(where, FiniteVolumes):
            raise ValueError(
                f"Burgers: with {self.dim} components (u . grad) u is not the divergence of a "
                "flux, which finite volumes need; use FiniteDifferences or SpectralDerivatives."
            )
        return super().on(where)

    def linear(self, u: Any, d: Derivatives) -> Any:
        return d.laplacian(u) * d.coefficient(self.viscosity)

    def nonlinear(self, t: float | Tensor, u: Any, d: Derivatives) -> Any:
        if self.dim == 1:
            return -0.5 * d.dx(u * u)
        velocity = d.components(u)
        return d.stack(*(-self._advection(velocity, component, d) for component in velocity))

    def characteristic_velocity(self, t: float | Tensor, u: Any, d: Derivatives) -> Any:
        if self.dim > 1:
            raise ValueError(
                f"Burgers: the characteristic velocity is defined in 1D, got dim={self.dim}."
            )
        return u

    @staticmethod
    def _advection(velocity: tuple[Any, ...], component: Any, d: Derivatives) -> Any:
        terms = [v * slope for v, slope in zip(velocity, d.gradient(component), strict=True)]
        return sum(terms[1:], start=terms[0])

    def conserved_quantities(self, u: Tensor, grid: Grid) -> dict[str, Tensor]:
        # The advective form conserves momentum only where it equals the flux form, in 1D.
        if self.dim > 1:
            return {}
        return {"mass": self._integral(u.double().squeeze(-2), grid)}
