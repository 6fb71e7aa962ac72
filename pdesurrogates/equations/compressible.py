"""Compressible flow of an ideal gas: Euler and Navier-Stokes equations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.equations.conservation_law import ConservationLaw

__all__ = ["CompressibleNavierStokes"]


@dataclass(frozen=True)
class CompressibleNavierStokes(ConservationLaw):
    """Compressible Navier-Stokes equations of an ideal gas; Euler equations without viscosity.

        density_t  + div(density v) = 0
        momentum_t + div(density v v + pressure) = div stress
        energy_t   + div((energy + pressure) v) = div(stress v)

        pressure = (gamma - 1) (energy - density |v|^2 / 2)
        stress   = shear (grad v + grad v^T - 2/3 div v) + bulk div v

    The stress uses 2/3 in any dimension: 1D and 2D flows are 3D flows without the missing velocity
    components. Heat is not conducted, as in PDEBench, whose data this equation describes.
    Conserved variables: density, momenta, energy. Primitive: density, velocities, pressure. A grid
    without provider means finite volumes.

    Warning:
        The pressure is what kinetic energy leaves of the total: beyond about Mach 1e3 in float32
        and 1e7 in float64 it is lost to rounding.

    Args:
        gamma: Ratio of specific heats, a number or one per sample [1].
        shear_viscosity: eta, a number or one per sample [density * length^2/time].
        bulk_viscosity: zeta, a number or one per sample [density * length^2/time].
        dim: Space axes.

    Reference:
        PDEBench: An Extensive Benchmark for Scientific Machine Learning (Takamoto et al., 2022),
        appendix D.5.
    """

    gamma: Any = 5 / 3
    shear_viscosity: Any = 0.0
    bulk_viscosity: Any = 0.0
    dim: int = 1

    def __post_init__(self) -> None:
        if self.dim not in (1, 2, 3):
            raise ValueError(f"CompressibleNavierStokes: `dim` must be 1, 2 or 3, got {self.dim}.")

    @property
    def fields(self) -> FieldSpec:
        momenta = tuple(f"momentum_{axis}" for axis in "xyz"[: self.dim])
        return FieldSpec(("density", *momenta, "energy"))

    @property
    def primitive_fields(self) -> FieldSpec:
        velocities = tuple(f"velocity_{axis}" for axis in "xyz"[: self.dim])
        return FieldSpec(("density", *velocities, "pressure"))

    @property
    def vector_channels(self) -> tuple[int, ...]:
        return tuple(range(1, 1 + self.dim))

    @property
    def is_diffusive(self) -> bool:
        return any(
            isinstance(value, Tensor) or value != 0
            for value in (self.shear_viscosity, self.bulk_viscosity)
        )

    @property
    def diffusive_channels(self) -> tuple[int, ...]:
        return self.vector_channels

    def primitive(self, u: Any) -> tuple:
        density, *momentum, energy = u
        velocity = [m / density for m in momentum]
        kinetic = _sum([m * v for m, v in zip(momentum, velocity, strict=True)]) * 0.5
        return density, *velocity, (energy - kinetic) * (self.gamma - 1)

    def conserved(self, w: Any) -> tuple:
        density, *velocity, pressure = w
        momentum = [v * density for v in velocity]
        kinetic = _sum([m * v for m, v in zip(momentum, velocity, strict=True)]) * 0.5
        return density, *momentum, pressure * (1 / (self.gamma - 1)) + kinetic

    def flux(self, u: Any, axis: int) -> tuple:
        _, *momentum, energy = u
        _, *velocity, pressure = self.primitive(u)
        across = velocity[axis]
        momentum_flux = [m * across for m in momentum]
        momentum_flux[axis] = momentum_flux[axis] + pressure
        return momentum[axis], *momentum_flux, (energy + pressure) * across

    def wave_speed(self, u: Any, axis: int) -> Tensor:
        return self.primitive_wave_speed(self.primitive(u), axis)

    def primitive_flux(self, w: Any, axis: int) -> tuple:
        density, *velocity, pressure = w
        across = velocity[axis]
        mass = density * across
        momentum_flux = [mass * v for v in velocity]
        momentum_flux[axis] = momentum_flux[axis] + pressure
        return mass, *momentum_flux, self._enthalpy(w) * across

    def primitive_wave_speed(self, w: Any, axis: int) -> Tensor:
        return w[1 + axis].abs() + self.sound_speed(w)

    def sound_speed(self, w: Any) -> Tensor:
        """sqrt(gamma pressure / density) from primitive variables [length/time]."""
        return (w[0] / w[-1] * (1 / self.gamma)).rsqrt()

    def _enthalpy(self, w: Any) -> Tensor:
        """energy + pressure, per volume."""
        density, *velocity, pressure = w
        square = _sum([v * v for v in velocity])
        return pressure * (self.gamma / (self.gamma - 1)) + density * square * 0.5

    def signal_speeds(self, left: Any, right: Any, axis: int) -> tuple[Tensor, Tensor]:
        """The slower and the faster of both sides' acoustic waves (Davis, 1988): enough for
        positive states beside the contact (Batten et al., 1997)."""
        c_left, c_right = self.sound_speed(left), self.sound_speed(right)
        v_left, v_right = left[1 + axis], right[1 + axis]
        return (
            torch.minimum(v_left - c_left, v_right - c_right),
            torch.maximum(v_left + c_left, v_right + c_right),
        )

    def contact_flux(
        self, left: Any, right: Any, slowest: Tensor, fastest: Tensor, axis: int
    ) -> tuple:
        """HLLC flux, taken on the side of the contact that the face lies on.

        With S the outer wave on that side, s = min(S, 0) on the left and max(S, 0) on the right,
        contact speed S*, r = s (S* - v) / (S - S*) and m = density (S - v), the sum
        flux + s (u* - u) of Toro's Eq. (10.37-10.39) is

            density (v + r),  mass flux * v_i  (+ pressure + m r across the face),
            (energy + pressure) (v + r) + m r S*
        """
        across = 1 + axis
        m_left = (slowest - left[across]).mul_(left[0])
        m_right = (fastest - right[across]).mul_(right[0])
        contact = (right[-1] - left[-1]).addcmul_(m_left, left[across])
        contact = contact.addcmul_(m_right, right[across], value=-1).div_(m_left - m_right)
        # Selection by weights 0 and 1 is exact, and several times faster than `where`.
        is_left = contact.sign().clamp_(min=0)
        density, *velocity, pressure = (
            torch.lerp(other, one, is_left) for one, other in zip(left, right, strict=True)
        )
        mass = torch.lerp(m_right, m_left, is_left)
        outer = torch.lerp(fastest, slowest, is_left)
        inward = torch.lerp(fastest.clamp(min=0), slowest.clamp(max=0), is_left)
        excess = (contact - velocity[axis]).mul_(inward).div_(outer - contact)
        carrier = velocity[axis] + excess
        push = mass * excess
        mass_flux = density * carrier
        momentum_flux = [mass_flux * v for v in velocity]
        momentum_flux[axis] = momentum_flux[axis].add_(pressure).add_(push)
        enthalpy = self._enthalpy((density, *velocity, pressure))
        return mass_flux, *momentum_flux, (push * contact).addcmul_(enthalpy, carrier)

    def limit_slopes(self, w: Tensor, slopes: Tensor) -> Tensor:
        """Half slopes of at most half the density, half the pressure, and half the root of the
        internal energy per mass for velocities.

        Then a share s = 0.4 of the cell for each face (0.35 in 2D, 0.31 in 3D), taken from a cell
        with linear primitive variables, leaves a positive rest: its internal energy is at least
        p / (gamma - 1) - density |dv|^2 (k + k^2 / 4) / 2 with k = 2 s / (1 - 2 s). So Zhang and
        Shu's argument holds up to Courant number s / 2 of the fastest face state.
        """
        density, pressure = w[:, :1], w[:, -1:]
        swing = (density / pressure * (self.gamma - 1)).rsqrt()
        bound = torch.cat([density, *[swing] * self.dim, pressure], dim=1).mul_(0.5)
        return torch.clamp(slopes, -bound, bound)

    def unphysical(self, u: Any) -> dict[str, tuple[Tensor, Tensor]]:
        pressure = self.primitive(u)[-1]
        return {"density": (u[0], u[0] <= 0), "pressure": (pressure, pressure <= 0)}

    def characteristics(self, w: Any, axis: int) -> _AcousticWaves:
        return _AcousticWaves(self, w, axis)

    def diffusive_flux(self, w: Any, slope: Callable[[int, int], Any], axis: int) -> tuple:
        divergence = _sum([slope(1 + a, a) for a in range(self.dim)])
        stress = [
            (slope(1 + a, axis) + slope(1 + axis, a)) * self.shear_viscosity
            for a in range(self.dim)
        ]
        second = self.bulk_viscosity - 2 / 3 * self.shear_viscosity
        stress[axis] = stress[axis] + divergence * second
        work = _sum([part * v for part, v in zip(stress, w[1:-1], strict=True)])
        return w[0] * 0.0, *stress, work

    def diffusivity(self, w: Any) -> Tensor:
        return (4 / 3 * self.shear_viscosity + self.bulk_viscosity) / w[0]

    def to_primitive(self, u: Tensor) -> Tensor:
        """Density, velocities, pressure from density, momenta, energy, (..., channel, *space)."""
        return self._by_channel(u, self.primitive)

    def from_primitive(self, w: Tensor) -> Tensor:
        """Density, momenta, energy from density, velocities, pressure, (..., channel, *space)."""
        return self._by_channel(w, self.conserved)

    def _by_channel(self, u: Tensor, change: Callable) -> Tensor:
        return torch.cat(change(u.split(1, dim=-self.dim - 1)), dim=-self.dim - 1)

    def conserved_quantities(self, u: Tensor, grid: Grid) -> dict[str, Tensor]:
        names = ("mass", *self.fields.names[1:])
        return {
            name: self._integral(part, grid)
            for name, part in zip(names, u.double().unbind(-grid.dim - 1), strict=True)
        }


class _AcousticWaves:
    """Waves along an axis at a state: contact, shear, and sound both ways.

    a_0 = d density - d p / c^2,  a_i = density dv_i / c,  a_+- = (d p / c^2 +- density dv / c) / 2
    """

    def __init__(self, law: CompressibleNavierStokes, w: Any, axis: int) -> None:
        self.axis = axis
        self.velocity = w[1:-1]
        self.half_square = _sum([v * v for v in self.velocity]) * 0.5
        self.c = law.sound_speed(w)
        self.inverse_c = 1 / self.c
        self.work = law.gamma - 1

    def amplitudes(self, differences: Any) -> tuple:
        density, *momentum, energy = differences
        pressure = energy + self.half_square * density
        for v, m in zip(self.velocity, momentum, strict=True):
            pressure = torch.addcmul(pressure, v, m, value=-1)
        pressure = pressure * self.work * self.inverse_c**2
        waves = [
            torch.addcmul(m, v, density, value=-1) * self.inverse_c
            for v, m in zip(self.velocity, momentum, strict=True)
        ]
        across = waves[self.axis]
        waves[self.axis] = 0.5 * (pressure - across)
        return density - pressure, *waves, 0.5 * (pressure + across)

    def differences(self, amplitudes: Any) -> tuple:
        contact, *waves, upward = amplitudes
        downward = waves[self.axis]
        sound = upward + downward
        density = contact + sound
        waves[self.axis] = upward - downward
        momentum = [
            torch.addcmul(v * density, wave, self.c)
            for v, wave in zip(self.velocity, waves, strict=True)
        ]
        energy = sound * self.c**2 / self.work - self.half_square * density
        for v, m in zip(self.velocity, momentum, strict=True):
            energy = torch.addcmul(energy, v, m)
        return density, *momentum, energy


def _sum(terms: Sequence[Any]) -> Any:
    return sum(terms[1:], start=terms[0])
