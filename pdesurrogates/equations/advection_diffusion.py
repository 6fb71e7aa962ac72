"""Advection and diffusion together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pdesurrogates.core import Grid
from pdesurrogates.equations.base import Equation
from pdesurrogates.equations.transport import Advection, Diffusion
from pdesurrogates.operators import Derivatives

__all__ = ["AdvectionDiffusion"]


@dataclass(frozen=True)
class AdvectionDiffusion(Equation):
    """Transport at constant velocity of what diffuses on the way:

        u_t + velocity . grad u = diffusivity lap u,   or   div(diffusivity(x) grad u)

    The sum of `Advection` and `Diffusion`, written by asking both.

    Args:
        velocity: As for `Advection` [length/time].
        diffusivity: As for `Diffusion` [length^2/time].
    """

    velocity: Any = 1.0
    diffusivity: Any = 0.01

    @property
    def terms(self) -> tuple[Advection, Diffusion]:
        """The two equations whose right-hand sides add up."""
        return Advection(self.velocity), Diffusion(self.diffusivity)

    def linear(self, u: Any, d: Derivatives) -> Any:
        advection, diffusion = self.terms
        return advection.linear(u, d) + diffusion.linear(u, d)

    def nonlinear(self, t: float | Tensor, u: Any, d: Derivatives) -> Any:
        return self.terms[1].nonlinear(t, u, d)

    def characteristic_velocity(self, t: float | Tensor, u: Any, d: Derivatives) -> Any:
        return self.terms[0].characteristic_velocity(t, u, d)

    def conserved_quantities(self, u: Tensor, grid: Grid) -> dict[str, Tensor]:
        return self.terms[1].conserved_quantities(u, grid)
