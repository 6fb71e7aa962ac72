"""Numerical fluxes: what flows through a face between two different states."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

__all__ = ["HLL", "HLLC", "Components", "HyperbolicLaw", "NumericalFlux", "Rusanov"]

Components = tuple[Tensor, ...]
"""One tensor (batch, 1, *space) per variable."""


class HyperbolicLaw(Protocol):
    """What the finite-volume scheme asks of a conservation law u_t + div flux(u) = ...

    A state is a tuple of components, conserved ones `u` or primitive ones `w` (density, velocity,
    pressure). `axis` is the axis that a face is normal to.
    """

    @property
    def vector_channels(self) -> tuple[int, ...]:
        """Primitive channels that are the components of a vector, in axis order."""
        ...

    def primitive(self, u: Any, /) -> tuple:
        """Primitive from conserved variables."""
        ...

    def conserved(self, w: Any, /) -> tuple:
        """Conserved from primitive variables."""
        ...

    def primitive_flux(self, w: Any, axis: int, /) -> tuple:
        """The physical flux along an axis, from primitive variables."""
        ...

    def primitive_wave_speed(self, w: Any, axis: int, /) -> Tensor:
        """The speed of the fastest wave along an axis [length/time]."""
        ...

    def signal_speeds(self, left: Any, right: Any, axis: int, /) -> tuple[Tensor, Tensor]:
        """Speeds of the slowest and the fastest wave that leave a face [length/time]."""
        ...

    def contact_flux(
        self, left: Any, right: Any, slowest: Tensor, fastest: Tensor, axis: int, /
    ) -> tuple:
        """The flux through a face of an approximate solution that keeps contacts sharp."""
        ...

    def limit_slopes(self, w: Tensor, slopes: Tensor, /) -> Tensor:
        """Slopes that leave every part of a cell physical, (batch, channel, *space)."""
        ...

    def characteristics(self, w: Any, axis: int, /) -> Characteristics:
        """The waves along an axis of the law linearised at `w`."""
        ...


class Characteristics(Protocol):
    """Turns small differences of conserved variables into amplitudes of waves and back."""

    def amplitudes(self, differences: Components, /) -> Components: ...

    def differences(self, amplitudes: Components, /) -> Components: ...


class NumericalFlux(ABC):
    """The flux through faces from the primitive states on both of their sides."""

    @abstractmethod
    def __call__(
        self, law: HyperbolicLaw, left: Components, right: Components, axis: int
    ) -> Components:
        """Flux of every conserved variable, components as `left` and `right`.

        Args:
            law: Whose flux.
            left: Primitive variables on the lower side.
            right: Primitive variables on the upper side.
            axis: Axis the faces are normal to.
        """


@dataclass(frozen=True)
class Rusanov(NumericalFlux):
    """Rusanov's (local Lax-Friedrichs) flux: robust, and the most diffusive of the three.

        F = (flux(u_left) + flux(u_right)) / 2 - s (u_right - u_left) / 2

    with s the fastest wave speed of the two states.

    Reference:
        Riemann Solvers and Numerical Methods for Fluid Dynamics (Toro, 2009), section 10.5.
    """

    def __call__(
        self, law: HyperbolicLaw, left: Components, right: Components, axis: int
    ) -> Components:
        half_speed = 0.5 * torch.maximum(
            law.primitive_wave_speed(left, axis), law.primitive_wave_speed(right, axis)
        )
        return tuple(
            torch.addcmul(0.5 * (f_left + f_right), half_speed, u_left - u_right)
            for f_left, f_right, u_left, u_right in zip(
                law.primitive_flux(left, axis),
                law.primitive_flux(right, axis),
                law.conserved(left),
                law.conserved(right),
                strict=True,
            )
        )


@dataclass(frozen=True)
class HLL(NumericalFlux):
    """Two waves and one state between them (Harten, Lax and van Leer); smears contacts.

        F = (b flux(u_left) - a flux(u_right) + a b (u_right - u_left)) / (b - a)
        a = min(slowest, 0),   b = max(fastest, 0)

    Reference:
        Riemann Solvers and Numerical Methods for Fluid Dynamics (Toro, 2009), Eq. (10.21).
    """

    def __call__(
        self, law: HyperbolicLaw, left: Components, right: Components, axis: int
    ) -> Components:
        return self.between(law, left, right, *law.signal_speeds(left, right, axis), axis)

    @staticmethod
    def between(
        law: HyperbolicLaw,
        left: Components,
        right: Components,
        slowest: Tensor,
        fastest: Tensor,
        axis: int,
    ) -> Components:
        """The flux for given wave speeds."""
        # Never zero together; and two weights instead of w and 1 - w, whose rounding error times
        # the flux of a deep neighbour could empty a dry cell.
        below, above = slowest.clamp(max=0), fastest.clamp(min=torch.finfo(fastest.dtype).tiny)
        span = above - below
        of_left, of_right = above / span, -below / span
        exchange = of_left * below
        return tuple(
            (of_left * f_left).addcmul_(of_right, f_right).addcmul_(exchange, u_right - u_left)
            for f_left, f_right, u_left, u_right in zip(
                law.primitive_flux(left, axis),
                law.primitive_flux(right, axis),
                law.conserved(left),
                law.conserved(right),
                strict=True,
            )
        )


@dataclass(frozen=True)
class HLLC(NumericalFlux):
    """HLL with the contact restored: steady contacts and shear layers stay exactly sharp.

    The waves and the states beside the contact are the law's own (`signal_speeds`,
    `contact_flux`); a law without a contact gets the HLL flux.

    Reference:
        Riemann Solvers and Numerical Methods for Fluid Dynamics (Toro, 2009), section 10.4.
    """

    def __call__(
        self, law: HyperbolicLaw, left: Components, right: Components, axis: int
    ) -> Components:
        return law.contact_flux(left, right, *law.signal_speeds(left, right, axis), axis)
