"""Equations without time: what is given drives what is sought to a balance."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from pdesurrogates.equations.base import Equation, is_constant
from pdesurrogates.operators import Coefficient, Derivatives

__all__ = ["Darcy", "Poisson", "SteadyEquation"]


@dataclass(frozen=True)
class SteadyEquation(Equation):
    """A balance of diffusion and forcing, which is also the steady state of u_t = rhs:

        -div(coefficient grad u) = forcing,   rhs = div(coefficient grad u) + forcing

    Steppers and providers see `rhs`; `reference.solve_steady` solves the balance.

    Args:
        coefficient: Positive: a number, one per sample, a function of the coordinates, or grid
            values (batch or 1, 1, *space).
        forcing: Source, given in the same ways.
    """

    coefficient: Any = 1.0
    forcing: Any = 1.0

    def linear(self, u: Any, d: Derivatives) -> Any:
        constant: Coefficient = self.coefficient if is_constant(self.coefficient) else 0.0
        return d.laplacian(u) * d.coefficient(constant)

    def nonlinear(self, t: float | Tensor, u: Any, d: Derivatives) -> Any:
        forcing = d.coefficient(self.forcing)
        if is_constant(self.coefficient):
            return u * 0.0 + forcing
        coefficient = d.coefficient(self.coefficient)
        return d.divergence(*(coefficient * slope for slope in d.gradient(u))) + forcing

    def residual(
        self,
        u: Any,
        d: Derivatives,
        *,
        t: float | Tensor = 0.0,
        time_derivative: Any = None,
    ) -> Any:
        """-div(coefficient grad u) - forcing: zero where `u` solves the balance.

        Args:
            u: State as the provider takes it.
            d: Derivative provider.
            t: Not used.
            time_derivative: u_t, by default zero.
        """
        rate = self.rhs(t, u, d)
        return -rate if time_derivative is None else time_derivative - rate


@dataclass(frozen=True)
class Poisson(SteadyEquation):
    """Poisson's equation:

        -lap u = forcing

    Args:
        forcing: A number, one per sample, a function of the coordinates, or grid values (batch
            or 1, 1, *space) [field unit/length^2].
    """

    coefficient: Any = field(default=1.0, init=False, repr=False)


@dataclass(frozen=True)
class Darcy(SteadyEquation):
    """Darcy's law, for the pressure of a fluid in a porous medium:

        -div(coefficient grad u) = forcing

    Benchmarks set u = 0 on the walls and a constant forcing: PDEBench its `beta`, on cells of the
    unit square; neuraloperator 1, with a coefficient of 3 or 12.

    Args:
        coefficient: Permeability, positive: a number, one per sample, a function of the
            coordinates, or grid values (batch or 1, 1, *space).
        forcing: Source, given in the same ways.
    """
