"""Shallow water: waves longer than the water is deep, over flat or uneven ground."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.equations.base import BoundEquation
from pdesurrogates.equations.conservation_law import ConservationLaw, FiniteVolumeEquation
from pdesurrogates.operators import HLL, Derivatives, FiniteVolumes

__all__ = ["BalancedShallowWater", "ShallowWater"]


@dataclass(frozen=True)
class ShallowWater(ConservationLaw):
    """Shallow-water equations for the height of the water column and its momentum:

        height_t   + div momentum = 0
        momentum_t + div(momentum momentum / height + gravity height^2 / 2)
                   = -gravity height grad bathymetry

    Finite volumes keep the height from becoming negative, dry ground included, and a lake at rest
    over uneven ground exactly at rest (`BalancedShallowWater`). Primitive variables: height and
    velocities. In 2D the velocity along a face is carried by the mass flux, so that shear layers
    stay sharp under `HLLC`.

    Args:
        gravity: A number, or one per sample [length/time^2].
        bathymetry: Height of the ground: `None` for flat, a function of the coordinates, or grid
            values (batch or 1, 1, *space) [length].
        dim: Space axes, 1 or 2.
        dry_height: Below this height the velocity momentum / height fades to zero [length].
    """

    gravity: Any = 1.0
    bathymetry: Any = None
    dim: int = 2
    dry_height: float = 1e-6

    def __post_init__(self) -> None:
        if self.dim not in (1, 2):
            raise ValueError(f"ShallowWater: `dim` must be 1 or 2, got {self.dim}.")

    @property
    def fields(self) -> FieldSpec:
        momenta = tuple(f"momentum_{axis}" for axis in "xy"[: self.dim])
        return FieldSpec(("height", *momenta), ("length",) + ("length^2/time",) * self.dim)

    @property
    def primitive_fields(self) -> FieldSpec:
        velocities = tuple(f"velocity_{axis}" for axis in "xy"[: self.dim])
        return FieldSpec(("height", *velocities), ("length",) + ("length/time",) * self.dim)

    @property
    def vector_channels(self) -> tuple[int, ...]:
        return tuple(range(1, 1 + self.dim))

    def primitive(self, u: Any) -> tuple:
        height, *momentum = u
        # 2 h^2 / (h^2 + max(h, dry)^2) is 1 on wet ground and falls to 0 with h.
        wet = torch.clamp(height, min=self.dry_height)
        inverse = 2 * height / (height * height + wet * wet)
        return height, *(m * inverse for m in momentum)

    def conserved(self, w: Any) -> tuple:
        height, *velocity = w
        return height, *(height * v for v in velocity)

    def flux(self, u: Any, axis: int) -> tuple:
        height, *momentum = u
        across = momentum[axis] / height
        momentum_flux = [m * across for m in momentum]
        momentum_flux[axis] = momentum_flux[axis] + height * height * (0.5 * self.gravity)
        return momentum[axis], *momentum_flux

    def wave_speed(self, u: Any, axis: int) -> Tensor:
        return self.primitive_wave_speed(self.primitive(u), axis)

    def primitive_flux(self, w: Any, axis: int) -> tuple:
        mass = w[0] * w[1 + axis]
        momentum_flux = [mass * v for v in w[1:]]
        momentum_flux[axis] = momentum_flux[axis] + self.pressure(w[0])
        return mass, *momentum_flux

    def primitive_wave_speed(self, w: Any, axis: int) -> Tensor:
        return w[1 + axis].abs() + self.celerity(w[0])

    def pressure(self, height: Tensor) -> Tensor:
        """gravity height^2 / 2."""
        return height * height * (0.5 * self.gravity)

    def celerity(self, height: Tensor) -> Tensor:
        """sqrt(gravity height), the speed of long waves [length/time]; differentiable at 0."""
        square = (height * self.gravity).clamp(min=torch.finfo(height.dtype).tiny ** 0.5)
        return square * square.rsqrt()

    def signal_speeds(self, left: Any, right: Any, axis: int) -> tuple[Tensor, Tensor]:
        """Two-rarefaction estimates (Toro, 2001, chapter 10); v +- 2 c for a front on dry land."""
        c_left, c_right = self.celerity(left[0]), self.celerity(right[0])
        v_left, v_right = left[1 + axis], right[1 + axis]
        v_star = 0.5 * (v_left + v_right) + c_left - c_right
        c_star = (0.5 * (c_left + c_right) + 0.25 * (v_left - v_right)).clamp(min=0)
        left_is_dry, right_is_dry = (
            (side[0] <= self.dry_height).to(c_star.dtype) for side in (left, right)
        )
        slowest = torch.lerp(v_star - c_star, v_right - 2 * c_right, left_is_dry)
        fastest = torch.lerp(v_star + c_star, v_left + 2 * c_left, right_is_dry)
        return torch.minimum(v_left - c_left, slowest), torch.maximum(v_right + c_right, fastest)

    def contact_flux(
        self, left: Any, right: Any, slowest: Tensor, fastest: Tensor, axis: int
    ) -> tuple:
        """HLL flux of mass and normal momentum; the mass flux carries the other velocity."""
        flux = list(HLL.between(self, left, right, slowest, fastest, axis))
        is_left = flux[0].sign().clamp(min=0)
        for other in range(1, 1 + self.dim):
            if other != 1 + axis:
                flux[other] = flux[0] * torch.lerp(right[other], left[other], is_left)
        return tuple(flux)

    def limit_slopes(self, w: Tensor, slopes: Tensor) -> Tensor:
        height = w[:, :1]
        celerity = self.celerity(height)
        swings = [w[:, 1 + axis : 2 + axis].abs() + celerity for axis in range(self.dim)]
        bound = torch.cat([height, *swings], dim=1).mul_(0.5)
        return torch.clamp(slopes, -bound, bound)

    def unphysical(self, u: Any) -> dict[str, tuple[Tensor, Tensor]]:
        return {"height": (u[0], u[0] < 0)}

    def characteristics(self, w: Any, axis: int) -> _GravityWaves:
        return _GravityWaves(self, w, axis)

    def rest(self, t: float | Tensor, u: Any, d: Derivatives) -> Any:
        if self.bathymetry is None:
            return None
        height = d.components(u)[0]
        ground = d.coefficient(self.bathymetry)
        weight = -height * self.gravity
        return d.stack(height * 0.0, *(weight * d.derivative(ground, a) for a in range(self.dim)))

    def on(self, where: Grid | Derivatives) -> BoundEquation:
        if isinstance(where, Grid):
            where = FiniteVolumes(where)
        if isinstance(where, FiniteVolumes) and self.bathymetry is not None:
            return BalancedShallowWater(self, where)
        return super().on(where)

    def conserved_quantities(self, u: Tensor, grid: Grid) -> dict[str, Tensor]:
        parts = u.double().unbind(-grid.dim - 1)
        kept = {"mass": self._integral(parts[0], grid)}
        if self.bathymetry is None:
            for name, part in zip(self.fields.names[1:], parts[1:], strict=True):
                kept[name] = self._integral(part, grid)
        return kept


class BalancedShallowWater(FiniteVolumeEquation):
    """Shallow water over uneven ground, by hydrostatic reconstruction.

    Height h and surface s = h + ground are reconstructed both; the ground at a face is s - h on
    either side, and the water that can cross stands above the higher of the two:

        h* = max(0, s - max(ground_below, ground_above))

    The flux between the h* and the hydrostatic pressures of h* and h on both sides give

        d momentum_j/dt = -[(F - p(h*))_{j+1/2, below} - (F - p(h*))_{j-1/2, above}] / dx
                          - gravity (h_a + h_b) / 2 (s_b - s_a) / dx,   p(h) = gravity h^2 / 2

    with a and b the lower and upper face of the cell: zero where s is constant and nothing moves,
    to round-off, dry ground included. Order 2.

    Reference:
        A fast and stable well-balanced scheme with hydrostatic reconstruction for shallow water
        flows (Audusse et al., 2004).
    """

    equation: ShallowWater

    def __init__(self, equation: ShallowWater, provider: FiniteVolumes) -> None:
        super().__init__(equation, provider)
        self.ground = provider.coefficient(equation.bathymetry)
        self.ground_ghosts = self.ghosts.of_scalar()

    def axis_rate(self, law: Any, w: Tensor, axis: int) -> Tensor:
        scheme = self.provider
        dim = 2 + axis
        width = scheme.reconstruction.num_ghosts
        padded = self.ghosts.pad(w, axis, width)
        ground = self.ground_ghosts.pad(self.ground.to(w), axis, width)
        surfaces = scheme.reconstruction.faces(_Level(), padded[:, :1] + ground, axis)
        sides = [
            scheme.components(side) for side in scheme.reconstruction.faces(law, padded, axis)
        ]
        top = torch.maximum(surfaces[0] - sides[0][0], surfaces[1] - sides[1][0])
        heights = [(surface - top).clamp(min=0) for surface in surfaces]
        below, above = ((h, *side[1:]) for h, side in zip(heights, sides, strict=True))
        flux = list(scheme.flux(law, below, above, axis))

        def cells(of_below: Tensor, of_above: Tensor) -> tuple[Tensor, Tensor]:
            """The values just inside the lower and the upper face of every cell."""
            size = of_below.shape[dim] - 1
            return of_above.narrow(dim, 0, size), of_below.narrow(dim, 1, size)

        h_a, h_b = cells(sides[0][0], sides[1][0])
        s_a, s_b = cells(*surfaces)
        normal = flux[1 + axis]
        n_a, n_b = cells(normal - law.pressure(heights[0]), normal - law.pressure(heights[1]))
        weight = 0.5 * (h_a + h_b) * law.gravity
        own = (n_a - n_b + weight * (s_a - s_b)) * (1 / self.grid.spacing[axis])
        rates = [scheme.net_inflow(part, axis) for part in flux]
        rates[1 + axis] = own
        return scheme.stack(*rates)


@dataclass(frozen=True)
class _Level(ConservationLaw):
    """A quantity by itself, to be reconstructed."""

    def flux(self, u: Any, axis: int) -> tuple:
        return u

    def wave_speed(self, u: Any, axis: int) -> Tensor:
        return u[0].abs()


class _GravityWaves:
    """Waves along an axis at a state: both ways, and shear.

    a_+- = (dh +- h dv / c) / 2,   a_i = h dv_i / c
    """

    def __init__(self, law: ShallowWater, w: Any, axis: int) -> None:
        self.axis = axis
        self.velocity = w[1:]
        self.c = law.celerity(w[0].clamp(min=law.dry_height))
        self.inverse_c = 1 / self.c

    def amplitudes(self, differences: Any) -> tuple:
        height, *momentum = differences
        waves = [
            torch.addcmul(m, v, height, value=-1) * self.inverse_c
            for v, m in zip(self.velocity, momentum, strict=True)
        ]
        across = waves[self.axis]
        waves[self.axis] = 0.5 * (height - across)
        return *waves, 0.5 * (height + across)

    def differences(self, amplitudes: Any) -> tuple:
        *waves, upward = amplitudes
        downward = waves[self.axis]
        height = upward + downward
        waves[self.axis] = upward - downward
        return height, *(
            torch.addcmul(v * height, wave, self.c)
            for v, wave in zip(self.velocity, waves, strict=True)
        )
