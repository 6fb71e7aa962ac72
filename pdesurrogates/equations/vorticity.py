"""Incompressible flow in two dimensions, by its vorticity."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.equations.base import Equation
from pdesurrogates.operators import Derivatives, SpectralDerivatives, vorticity_transport

__all__ = ["NavierStokesVorticity"]


@dataclass(frozen=True)
class NavierStokesVorticity(Equation):
    """Navier-Stokes equations of a doubly periodic flow, with drag and Kolmogorov forcing:

        w_t + u . grad w = viscosity lap w - drag w - A k cos(k y)
        lap psi = -w,   velocity (u, v) = (psi_y, -psi_x),   k = 2 pi forcing_wavenumber / L_y

    The last term is the curl of the force A sin(k y) along x. The mean vorticity of a periodic
    flow is zero; a mean that is given decays with the drag and moves nothing.

    The flow follows from the vorticity by a Poisson problem, so it serves providers in two
    dimensions that solve it (`inverse_laplacian`): `SpectralDerivatives`, where the advection
    costs one complex transform each way (`vorticity_transport`) and the forcing none. Flows with
    walls are for `IncompressibleNavierStokes`.

    Warning:
        Where w = +lap psi is written with this velocity, as in exponax, vorticity and forcing have
        the other sign: a mirror image.

    Reference:
        Invariant recurrent solutions embedded in a turbulent two-dimensional Kolmogorov flow
        (Chandler and Kerswell, 2013), Section 2, for the forcing.

    Args:
        viscosity: A number, or one per sample [length^2/time].
        drag: Linear friction, a number or one per sample [1/time].
        forcing_amplitude: A, a number or one per sample [length/time^2].
        forcing_wavenumber: Waves of the forcing across the box: k in units of 2 pi / L_y.

    Raises:
        ValueError: If `forcing_wavenumber` is no positive integer.

    Example:
        >>> f = NavierStokesVorticity(viscosity=1e-3).on(Grid((32, 32), (2 * math.pi,)))
        >>> f(0.0, torch.zeros(1, 1, 32, 32)).shape
        torch.Size([1, 1, 32, 32])
    """

    viscosity: Any = 1e-3
    drag: Any = 0.0
    forcing_amplitude: Any = 0.0
    forcing_wavenumber: int = 4

    def __post_init__(self) -> None:
        number = self.forcing_wavenumber
        if not isinstance(number, int) or number < 1:
            raise ValueError(
                "NavierStokesVorticity: `forcing_wavenumber` counts waves across the box and must "
                f"be a positive integer, got {number!r}."
            )

    @property
    def fields(self) -> FieldSpec:
        return FieldSpec(("vorticity",), ("1/time",))

    def linear(self, w: Any, d: Derivatives) -> Any:
        viscous = d.laplacian(w) * d.coefficient(self.viscosity)
        return viscous if _is_zero(self.drag) else viscous - w * d.coefficient(self.drag)

    def nonlinear(self, t: float | Tensor, w: Any, d: Any) -> Any:
        if isinstance(d, SpectralDerivatives):
            _check_provider(d)
            rate = vorticity_transport(w, d)
        else:
            u, v = self.velocity(w, d)
            rate = -(u * d.dx(w) + v * d.dy(w))
        return rate if _is_zero(self.forcing_amplitude) else rate - self._forcing(w, d)

    def velocity(self, w: Any, d: Any) -> tuple[Any, Any]:
        """The velocity (u, v) of a vorticity, with zero mean, as two fields of the provider.

        Args:
            w: Vorticity, a field of the provider.
            d: A provider in two dimensions with `inverse_laplacian`.
        """
        _check_provider(d)
        minus_psi = d.inverse_laplacian(w)
        return -d.dy(minus_psi), d.dx(minus_psi)

    def _forcing(self, w: Any, d: Any) -> Any:
        """A k cos(k y)."""
        k = 2 * math.pi * self.forcing_wavenumber / d.grid.extent[1]
        amplitude = d.coefficient(k * self.forcing_amplitude)
        if isinstance(d, SpectralDerivatives):
            return d.cosine(1, self.forcing_wavenumber, like=w) * amplitude
        return d.coefficient(lambda *x: torch.cos(k * x[1])) * amplitude

    def conserved_quantities(self, u: Tensor, grid: Grid) -> dict[str, Tensor]:
        """Circulation without drag; without viscosity and forcing also energy and enstrophy."""
        if not _is_zero(self.drag):
            return {}
        w = u.double().squeeze(-3)
        kept = {"circulation": self._integral(w, grid)}
        if _is_zero(self.viscosity) and _is_zero(self.forcing_amplitude):
            d = SpectralDerivatives(grid, dealias=1.0)
            field = d.field(w.reshape(-1, 1, *grid.shape))
            psi = -d.inverse_laplacian(field).values.reshape(w.shape)
            kept["energy"] = self._integral(psi * w / 2, grid)
            kept["enstrophy"] = self._integral(w**2 / 2, grid)
        return kept


def _is_zero(value: Any) -> bool:
    """Whether a parameter is the number 0, and its term can be left out."""
    return isinstance(value, (int, float)) and value == 0


def _check_provider(d: Any) -> None:
    if d.dim != 2 or not hasattr(d, "inverse_laplacian"):
        raise ValueError(
            "NavierStokesVorticity: the flow needs a provider with `inverse_laplacian` in two "
            f"dimensions, got {type(d).__name__} in {d.dim}; use SpectralDerivatives on a "
            "periodic grid with two axes, or IncompressibleNavierStokes for walls."
        )
