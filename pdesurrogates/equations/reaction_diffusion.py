"""Reaction and diffusion: fronts, patterns, excitable media, sorption."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from pdesurrogates.core import Boundary, Dirichlet, FieldSpec, Grid, Robin
from pdesurrogates.equations.base import Equation
from pdesurrogates.operators import Derivatives

__all__ = ["AllenCahn", "DiffusionSorption", "FisherKPP", "FitzHughNagumo", "GrayScott"]


@dataclass(frozen=True)
class AllenCahn(Equation):
    """Allen-Cahn equation, phase separation towards u = -1 and u = 1:

        u_t = diffusivity lap u + reaction (u - u^3)

    Args:
        diffusivity: A number, or one per sample [length^2/time].
        reaction: Reaction rate, a number or one per sample [1/time].
    """

    degree: ClassVar[int] = 3

    diffusivity: Any = 1e-4
    reaction: Any = 5.0

    def linear(self, u: Any, d: Derivatives) -> Any:
        return d.laplacian(u) * d.coefficient(self.diffusivity) + u * d.coefficient(self.reaction)

    def nonlinear(self, t: float | Tensor, u: Any, d: Derivatives) -> Any:
        return -(u * u * u) * d.coefficient(self.reaction)

    def characteristic_velocity(self, t: float | Tensor, u: Any, d: Derivatives) -> Any:
        return 0.0


@dataclass(frozen=True)
class FisherKPP(Equation):
    """Fisher-KPP equation, an invading front; PDEBench's 1D reaction-diffusion set:

        u_t = diffusivity lap u + growth u (1 - u)

    Args:
        diffusivity: A number, or one per sample [length^2/time].
        growth: Growth rate of small u, a number or one per sample [1/time].
    """

    diffusivity: Any = 0.01
    growth: Any = 1.0

    def linear(self, u: Any, d: Derivatives) -> Any:
        return d.laplacian(u) * d.coefficient(self.diffusivity) + u * d.coefficient(self.growth)

    def nonlinear(self, t: float | Tensor, u: Any, d: Derivatives) -> Any:
        return -(u * u) * d.coefficient(self.growth)

    def characteristic_velocity(self, t: float | Tensor, u: Any, d: Derivatives) -> Any:
        return 0.0


@dataclass(frozen=True)
class GrayScott(Equation):
    """Gray-Scott model of two chemicals, u fed and consumed, v catalysing itself:

        u_t = diffusivity_u lap u - u v^2 + feed (1 - u)
        v_t = diffusivity_v lap v + u v^2 - (feed + kill) v

    Args:
        diffusivity_u: A number, or one per sample [length^2/time].
        diffusivity_v: A number, or one per sample [length^2/time].
        feed: Rate at which u is fed and both are washed out [1/time].
        kill: Rate at which v decays besides [1/time].
    """

    degree: ClassVar[int] = 3

    diffusivity_u: Any = 2e-5
    diffusivity_v: Any = 1e-5
    feed: Any = 0.04
    kill: Any = 0.06

    @property
    def fields(self) -> FieldSpec:
        return FieldSpec(("u", "v"))

    def linear(self, u: Any, d: Derivatives) -> Any:
        first, second = d.components(u)
        loss = d.coefficient(self.feed + self.kill)
        return d.stack(
            d.laplacian(first) * d.coefficient(self.diffusivity_u)
            - first * d.coefficient(self.feed),
            d.laplacian(second) * d.coefficient(self.diffusivity_v) - second * loss,
        )

    def nonlinear(self, t: float | Tensor, u: Any, d: Derivatives) -> Any:
        first, second = d.components(u)
        reaction = first * second * second
        return d.stack(-reaction + d.coefficient(self.feed), reaction)


@dataclass(frozen=True)
class FitzHughNagumo(Equation):
    """FitzHugh-Nagumo model of an activator u and an inhibitor v:

        u_t = diffusivity_u lap u + u - u^3 - offset - v
        v_t = diffusivity_v lap v + u - v

    The defaults are PDEBench's 2D diffusion-reaction set on [-1, 1]^2 with Neumann(0) walls half
    a cell outside the points (`Grid(..., cell_centred=True)`); `offset` is called k there, and is
    minus the stimulus of the neuron model.

    Args:
        diffusivity_u: A number, or one per sample [length^2/time].
        diffusivity_v: A number, or one per sample [length^2/time].
        offset: Constant loss of the activator, a number or one per sample [1/time].
    """

    degree: ClassVar[int] = 3

    diffusivity_u: Any = 1e-3
    diffusivity_v: Any = 5e-3
    offset: Any = 5e-3

    @property
    def fields(self) -> FieldSpec:
        return FieldSpec(("u", "v"))

    def linear(self, u: Any, d: Derivatives) -> Any:
        activator, inhibitor = d.components(u)
        return d.stack(
            d.laplacian(activator) * d.coefficient(self.diffusivity_u) + activator,
            d.laplacian(inhibitor) * d.coefficient(self.diffusivity_v) - inhibitor,
        )

    def nonlinear(self, t: float | Tensor, u: Any, d: Derivatives) -> Any:
        activator, inhibitor = d.components(u)
        loss = activator * activator * activator + inhibitor
        return d.stack(-loss - d.coefficient(self.offset), activator)


@dataclass(frozen=True)
class DiffusionSorption(Equation):
    """Diffusion of a solute that sticks to the ground, 1D, slowed by the retardation factor R:

        u_t = diffusivity / R(u) u_xx
        R(u) = 1 + (1 - porosity)/porosity bulk_density freundlich_k freundlich_exponent
                   (u + 1e-6)^(freundlich_exponent - 1)

    The stiff linear part is diffusion at u = 1, the fastest for concentrations up to 1 (R falls
    with u); the rest is nonlinear. R is not defined for u < -1e-6.

    Serves `FiniteDifferences` and `AutodiffDerivatives`, and `SpectralDerivatives` on a periodic
    domain, where no dealiasing is exact because R is no polynomial.

    Args:
        diffusivity: Effective diffusivity [length^2/time].
        porosity: Share of the volume that is not solid, between 0 and 1.
        bulk_density: Density of the ground [mass/length^3].
        freundlich_k: Freundlich's factor [length^3/mass].
        freundlich_exponent: Freundlich's exponent.

    Reference:
        PDEBench (Takamoto et al., 2022), diffusion-sorption equation; defaults are its constants,
        for x in [0, 1] and t in [0, 500].
    """

    diffusivity: Any = 5e-4
    porosity: Any = 0.29
    bulk_density: Any = 2880.0
    freundlich_k: Any = 3.5e-4
    freundlich_exponent: Any = 0.874

    _shift: ClassVar[float] = 1e-6

    @property
    def boundary(self) -> Boundary:
        """PDEBench's walls: u = 1 at the lower end, u = -diffusivity u_x at the upper one.

        PDEBench keeps these values at ghost centres, half a cell outside the walls, and takes the
        slope of the upper one from the last two cells: a difference of first order in the
        spacing. Its text writes u = diffusivity u_x, its code has the sign used here.
        """
        return [(Dirichlet(1.0), Robin(1.0, self.diffusivity))]

    @property
    def _sorption(self) -> Any:
        """Sorbed mass per u^freundlich_exponent."""
        return (1 - self.porosity) / self.porosity * self.bulk_density * self.freundlich_k

    @property
    def _fastest(self) -> Any:
        """diffusivity / R(1)."""
        exponent = self.freundlich_exponent
        slowing = self._sorption * exponent * (1 + self._shift) ** (exponent - 1)
        return self.diffusivity / (1 + slowing)

    def linear(self, u: Any, d: Derivatives) -> Any:
        return d.laplacian(u) * d.coefficient(self._fastest)

    def nonlinear(self, t: float | Tensor, u: Any, d: Derivatives) -> Any:
        exponent = self.freundlich_exponent
        slowing = (u + self._shift) ** (exponent - 1) * d.coefficient(self._sorption * exponent)
        rate = (slowing + 1.0) ** -1 * d.coefficient(self.diffusivity)
        return (rate - d.coefficient(self._fastest)) * d.laplacian(u)

    def conserved_quantities(self, u: Tensor, grid: Grid) -> dict[str, Tensor]:
        """Dissolved and sorbed mass together, kept where nothing passes the ends."""
        parameters = (self.porosity, self.bulk_density, self.freundlich_k)
        if not all(isinstance(p, (int, float)) for p in (*parameters, self.freundlich_exponent)):
            return {}
        u = u.double().squeeze(-grid.dim - 1)
        sorbed = self._sorption * (u + self._shift) ** self.freundlich_exponent
        return {"mass": self._integral(u + sorbed, grid)}
