"""Waves that disperse: Korteweg-de Vries, Kuramoto-Sivashinsky, nonlinear Schrodinger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.equations.base import Equation, is_constant
from pdesurrogates.operators import Derivatives, SpectralDerivatives

__all__ = ["KortewegDeVries", "KuramotoSivashinsky", "Schrodinger"]


def _slope(u: Tensor, grid: Grid) -> Tensor:
    """du/dx of float64 values (..., x), every resolved mode kept."""
    d = SpectralDerivatives(grid, dealias=1.0)
    values = u.reshape(-1, 1, *grid.shape)
    return d.dx(d.field(values)).values.reshape(u.shape)


@dataclass(frozen=True)
class KortewegDeVries(Equation):
    """Korteweg-de Vries equation, 1D:

        u_t + advection u u_x + dispersion u_xxx = 0

    Args:
        advection: Factor of u u_x, a number or one per sample [1].
        dispersion: Factor of u_xxx, a number or one per sample [length^3/time].
    """

    dim: ClassVar[int] = 1

    advection: Any = 6.0
    dispersion: Any = 1.0

    def linear(self, u: Any, d: Derivatives) -> Any:
        return -d.derivative(u, 0, 3) * d.coefficient(self.dispersion)

    def nonlinear(self, t: float | Tensor, u: Any, d: Derivatives) -> Any:
        return -d.dx(u * u) * d.coefficient(0.5 * self.advection)

    def conserved_quantities(self, u: Tensor, grid: Grid) -> dict[str, Tensor]:
        u = u.double().squeeze(-2)
        invariants = {"mass": self._integral(u, grid), "momentum": self._integral(u**2, grid)}
        if isinstance(self.advection, (int, float)) and isinstance(self.dispersion, (int, float)):
            density = self.dispersion / 2 * _slope(u, grid) ** 2 - self.advection / 6 * u**3
            invariants["energy"] = self._integral(density, grid)
        return invariants


@dataclass(frozen=True)
class KuramotoSivashinsky(Equation):
    """Kuramoto-Sivashinsky equation, 1D, chaotic on long domains:

        u_t + advection u u_x + second_order u_xx + fourth_order u_xxxx = 0

    Args:
        second_order: Factor of u_xx, which feeds long waves [length^2/time].
        fourth_order: Factor of u_xxxx, which damps short ones [length^4/time].
        advection: Factor of u u_x [1].
    """

    dim: ClassVar[int] = 1

    second_order: Any = 1.0
    fourth_order: Any = 1.0
    advection: Any = 1.0

    def linear(self, u: Any, d: Derivatives) -> Any:
        second = d.coefficient(self.second_order)
        fourth = d.coefficient(self.fourth_order)
        return -(d.derivative(u, 0, 2) * second) - d.derivative(u, 0, 4) * fourth

    def nonlinear(self, t: float | Tensor, u: Any, d: Derivatives) -> Any:
        return d.dx(u * u) * d.coefficient(-0.5 * self.advection)

    def conserved_quantities(self, u: Tensor, grid: Grid) -> dict[str, Tensor]:
        return {"mass": self._integral(u.double().squeeze(-2), grid)}


@dataclass(frozen=True)
class Schrodinger(Equation):
    """Nonlinear Schrodinger equation for psi = real + i imaginary, two real channels:

        i psi_t = -1/2 lap psi + potential psi - nonlinearity abs(psi)^2 psi

    The Laplacian couples the channels, so its symbol is a 2 x 2 matrix per wavenumber.

    Args:
        potential: `None`, a number, a function of the coordinates, or grid values
            (batch or 1, 1, *space) [1/time].
        nonlinearity: Strength of the focusing (positive) or defocusing (negative) term.
    """

    degree: ClassVar[int] = 3

    potential: Any = None
    nonlinearity: Any = 1.0

    @property
    def fields(self) -> FieldSpec:
        return FieldSpec(("real", "imaginary"))

    def linear(self, u: Any, d: Derivatives) -> Any:
        real, imaginary = d.components(u)
        return d.stack(-0.5 * d.laplacian(imaginary), 0.5 * d.laplacian(real))

    def nonlinear(self, t: float | Tensor, u: Any, d: Derivatives) -> Any:
        real, imaginary = d.components(u)
        rate = (real * real + imaginary * imaginary) * d.coefficient(self.nonlinearity)
        if self.potential is not None:
            # -(V - rate) works for a number and for a field alike.
            rate = rate - d.coefficient(self.potential)
        return d.stack(-(rate * imaginary), rate * real)

    def conserved_quantities(self, u: Tensor, grid: Grid) -> dict[str, Tensor]:
        real, imaginary = u.double().unbind(-grid.dim - 1)
        density = real**2 + imaginary**2
        invariants = {"mass": self._integral(density, grid)}
        if grid.dim == 1:
            slope_real, slope_imaginary = _slope(real, grid), _slope(imaginary, grid)
            momentum = real * slope_imaginary - imaginary * slope_real
            invariants["momentum"] = self._integral(momentum, grid)
            if isinstance(self.nonlinearity, (int, float)) and (
                self.potential is None or is_constant(self.potential)
            ):
                energy = (slope_real**2 + slope_imaginary**2) / 2
                energy = energy - self.nonlinearity / 2 * density**2
                if self.potential is not None:
                    energy = energy + torch.as_tensor(self.potential).item() * density
                invariants["energy"] = self._integral(energy, grid)
        return invariants
