"""The incompressible Navier-Stokes equations for the velocity, with smoke, periodic or walled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.equations.base import BoundEquation, Equation, SpectralEquation
from pdesurrogates.equations.staggered_flow import StaggeredFlow
from pdesurrogates.operators import (
    Coefficient,
    Derivatives,
    SpectralDerivatives,
    SpectralField,
    StaggeredGrid,
)

__all__ = ["IncompressibleNavierStokes", "SpectralFlow"]


@dataclass(frozen=True)
class IncompressibleNavierStokes(Equation):
    """Velocity without divergence, and smoke that it carries and that lifts it:

        u_t + (u . grad) u = -grad p + viscosity lap u + buoyancy smoke + forcing,   div u = 0
        smoke_t + u . grad smoke = smoke_diffusivity lap smoke

    The pressure is eliminated: the right-hand side is the projection of everything else onto
    fields without divergence, so it is a plain time derivative of the velocity, and initial
    states are projected when a stepper takes them in (`encode`).

    On a periodic grid it is pseudo-spectral, on a `StaggeredGrid` a second-order scheme with
    walls. There is no other form.

    Warning:
        In a periodic box the mean of forcing and buoyancy accelerates the mean flow for ever: no
        wall holds it.

    Args:
        viscosity: A number, or one per sample [length^2/time].
        dim: Space axes, 2 or 3.
        buoyancy: Acceleration per unit of smoke along the last axis, or one entry per axis; a
            number or one per sample [length/time^2/smoke].
        smoke_diffusivity: A number, or one per sample [length^2/time].
        forcing: Acceleration, `None` or one entry per axis: a number, one per sample, a function
            of the coordinates, or grid values (batch or 1, 1, *space) [length/time^2].
        smoke: Whether smoke is a field; by default where there is buoyancy.

    Raises:
        ValueError: If `dim` or the number of entries does not fit, or buoyancy lacks its smoke.

    Example:
        >>> from pdesurrogates.core import Dirichlet
        >>> box = Grid((8, 8), (32.0,), periodic=False, cell_centred=True)
        >>> equation = IncompressibleNavierStokes(0.01, buoyancy=0.5)
        >>> f = equation.on(StaggeredGrid(box, Dirichlet(0.0)))
        >>> u = torch.zeros(1, 3, 8, 8)
        >>> u[:, 2] = 1.0  # smoke everywhere: the pressure holds it
        >>> f(0.0, f.encode(u)).abs().max().item() < 1e-6
        True
    """

    viscosity: Any = 0.01
    dim: int = 2
    buoyancy: Any = 0.0
    smoke_diffusivity: Any = 0.0
    forcing: Any = None
    smoke: bool | None = None

    def __post_init__(self) -> None:
        if self.dim not in (2, 3):
            raise ValueError(
                f"IncompressibleNavierStokes: `dim` must be 2 or 3, got {self.dim!r}."
            )
        for name, entries in (("buoyancy", self._lifts), ("forcing", self._drives)):
            if len(entries) != self.dim:
                raise ValueError(
                    f"IncompressibleNavierStokes: `{name}` must have one entry per axis "
                    f"({self.dim}), got {entries!r}."
                )
        if self.smoke is False and self._is_lifted:
            raise ValueError(
                "IncompressibleNavierStokes: `buoyancy` acts on smoke; leave out smoke=False."
            )

    @property
    def _lifts(self) -> tuple[Any, ...]:
        """Buoyancy per axis."""
        if isinstance(self.buoyancy, Sequence):
            return tuple(self.buoyancy)
        return (*(0.0,) * (self.dim - 1), self.buoyancy)

    @property
    def _drives(self) -> tuple[Any, ...]:
        """Forcing per axis."""
        if self.forcing is None:
            return (0.0,) * self.dim
        return tuple(self.forcing) if isinstance(self.forcing, Sequence) else (self.forcing,)

    @property
    def _is_lifted(self) -> bool:
        return any(not _is_zero(entry) for entry in self._lifts)

    @property
    def has_smoke(self) -> bool:
        """Whether smoke is a field."""
        return self._is_lifted if self.smoke is None else self.smoke

    @property
    def fields(self) -> FieldSpec:
        names = tuple(f"velocity_{axis}" for axis in "xyz"[: self.dim])
        smoke = ("smoke",) if self.has_smoke else ()
        return FieldSpec(names + smoke, ("length/time",) * self.dim + ("1",) * len(smoke))

    def on(self, where: Grid | Derivatives) -> BoundEquation:
        """This equation as a time derivative f(t, u): `SpectralFlow` or `StaggeredFlow`."""
        if isinstance(where, Grid):
            if not all(where.is_periodic):
                raise ValueError(
                    "IncompressibleNavierStokes: a grid with walls needs to know what they do; "
                    "use on(StaggeredGrid(grid, Dirichlet(0.0))) for no slip."
                )
            where = SpectralDerivatives(where, dealias=2 / (self.degree + 1))
        if where.dim == self.dim and isinstance(where, SpectralDerivatives):
            return SpectralFlow(self, where)
        if where.dim == self.dim and isinstance(where, StaggeredGrid):
            return StaggeredFlow(self, where)
        raise ValueError(
            f"IncompressibleNavierStokes: serves SpectralDerivatives and StaggeredGrid with "
            f"{self.dim} axes, got {type(where).__name__} with {where.dim}; the pressure needs a "
            "projection, which other providers lack, and `dim` says how many axes there are."
        )

    def linear(self, u: Any, d: Derivatives) -> Any:
        if not self.has_smoke:
            return d.laplacian(u) * d.coefficient(self.viscosity)
        rates = (*(self.viscosity,) * self.dim, self.smoke_diffusivity)
        return d.stack(
            *(
                d.laplacian(component) * d.coefficient(rate)
                for component, rate in zip(d.components(u), rates, strict=True)
            )
        )

    def nonlinear(self, t: float | Tensor, u: Any, d: Any) -> Any:
        components = d.components(u)
        velocity, smoke = components[: self.dim], components[self.dim :]
        force = [
            sum(self.accelerations(axis, smoke, d.coefficient), start=rate)
            for axis, rate in enumerate(_minus_advection(velocity, d))
        ]
        return d.stack(
            *_without_divergence(force, d),
            *(-d.divergence(*(v * s for v in velocity)) for s in smoke),
        )

    def accelerations(
        self, axis: int, smoke: tuple[Any, ...], coefficient: Callable[[Coefficient], Any]
    ) -> list[Any]:
        """Buoyancy and forcing along an axis, those that are not the number 0.

        Args:
            axis: Component of the velocity.
            smoke: The smoke where that component lives, empty without smoke.
            coefficient: Takes a parameter to where that component lives.
        """
        terms = []
        if not _is_zero(self._lifts[axis]):
            terms.append(smoke[0] * coefficient(self._lifts[axis]))
        if not _is_zero(self._drives[axis]):
            terms.append(coefficient(self._drives[axis]))
        return terms

    def conserved_quantities(self, u: Tensor, grid: Grid) -> dict[str, Tensor]:
        u = u.double()
        parts = u.unbind(-grid.dim - 1)
        is_free = all(_is_zero(entry) for entry in (*self._lifts, *self._drives))
        kept = {}
        # Walls take up momentum, and may do work.
        if is_free and all(grid.is_periodic):
            for name, velocity in zip(self.fields.names, parts[: self.dim], strict=False):
                kept[f"momentum_{name[-1]}"] = self._integral(velocity, grid)
            if _is_zero(self.viscosity):
                squares = [velocity**2 for velocity in parts[: self.dim]]
                kept["energy"] = self._integral(sum(squares[1:], start=squares[0]) / 2, grid)
        if self.has_smoke:
            kept["smoke"] = self._integral(parts[-1], grid)
        return kept


def _is_zero(value: Any) -> bool:
    """Whether a coefficient is the number 0, and its term can be left out."""
    return isinstance(value, (int, float)) and value == 0


def _minus_advection(velocity: tuple[Any, ...], d: Derivatives) -> list[Any]:
    """-div(u u_a) + d_a(u_last^2), one entry per axis.

    The gradient does not survive the projection, and with it one product less is transformed
    [Technical improvements for direct numerical simulation of homogeneous three-dimensional
    turbulence (Basdevant, 1983)]. With products free of aliasing the flux form keeps energy.
    """
    dim = len(velocity)
    flux = {}
    for a in range(dim):
        for b in range(a, dim):
            flux[a, b] = flux[b, a] = velocity[a] * velocity[b]
    last = flux.pop((dim - 1, dim - 1))
    for a in range(dim - 1):
        flux[a, a] = flux[a, a] - last
    rates = []
    for a in range(dim):
        terms = [d.derivative(flux[a, b], b) for b in range(dim) if (a, b) in flux]
        rates.append(-sum(terms[1:], start=terms[0]))
    return rates


def _without_divergence(force: list[Any], d: Any) -> list[Any]:
    """f - grad lap^-1 div f: the projection onto fields without divergence."""
    pressure = d.inverse_laplacian(d.divergence(*force))
    return [f - slope for f, slope in zip(force, d.gradient(pressure), strict=True)]


class SpectralFlow(SpectralEquation):
    """Incompressible flow on a periodic grid, pseudo-spectral."""

    equation: IncompressibleNavierStokes

    def encode(self, u: Tensor) -> Tensor:
        """The state with its velocity projected onto fields without divergence."""
        d = self.provider
        components = d.components(SpectralField(d, hat=self.to_modes(u)))
        dim = self.equation.dim
        velocity = _without_divergence(list(components[:dim]), d)
        return torch.cat([*(v.values for v in velocity), u[:, dim:]], dim=1)
