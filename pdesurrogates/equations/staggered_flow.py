"""Incompressible flow on a staggered grid: what a stepper advances, between walls or without."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pdesurrogates.core import check_state
from pdesurrogates.equations.base import BoundEquation
from pdesurrogates.operators import Coefficient, StaggeredGrid

if TYPE_CHECKING:
    from pdesurrogates.equations.incompressible import IncompressibleNavierStokes

__all__ = ["StaggeredFlow"]


class StaggeredFlow(BoundEquation):
    """Incompressible flow as f(t, state) on the velocities of cell faces.

    The state has the shape of the fields, with velocity_x at cell i holding not its value at the
    centre but that of face i + 1/2 across x, and so on; `encode` and `decode` translate. The time
    derivative is projected, so every stage of an explicit stepper has no discrete divergence and
    the stepper keeps its order.

    Momentum is advected centrally, which keeps kinetic energy; smoke upwind with limited slopes,
    which keeps its sum to rounding, and its bounds with SSP steppers up to Courant number 1/2.

    Args:
        equation: The flow.
        provider: Grid and walls.

    Shape:
        state: (batch, channel, *space)
    """

    equation: IncompressibleNavierStokes
    provider: StaggeredGrid

    def __init__(self, equation: IncompressibleNavierStokes, provider: StaggeredGrid) -> None:
        super().__init__(equation, provider)
        self.grid = provider.grid
        self._sampled: dict[tuple, Tensor] = {}

    def __call__(self, t: float | Tensor, u: Tensor) -> Tensor:
        self._check(u)
        d = self.provider
        velocity, smoke = self._split(u)
        viscosity = self._like(d.coefficient(self.equation.viscosity), u)
        rates = []
        for axis, (advection, diffusion) in enumerate(
            zip(d.advection(*velocity), d.diffusion(*velocity), strict=True)
        ):
            rate = viscosity * diffusion - advection
            for acceleration in self._accelerations(smoke, axis, u):
                rate = rate + acceleration
            rates.append(rate)
        scalars = [self._smoke_rate(s, velocity) for s in smoke]
        return torch.cat([*d.project(*rates), *scalars], dim=1)

    def encode(self, u: Tensor) -> Tensor:
        """Fields at the centres to the state: velocities averaged onto faces and projected."""
        self._check(u)
        velocity, smoke = self._split(u)
        faces = self.provider.project(*self.provider.to_faces(*velocity))
        return torch.cat([*faces, *smoke], dim=1)

    def decode(self, state: Tensor) -> Tensor:
        """The state to fields at the centres, velocities by averages of faces."""
        velocity, smoke = self._split(state)
        return torch.cat([*self.provider.to_centres(*velocity), *smoke], dim=1)

    def largest_step(self, t: float | Tensor, state: Tensor) -> Tensor:
        """Per sample (batch,) [time]; infinite where nothing moves, drives or diffuses.

            c = max over cells of sum_a |u_a| / h_a + 2 viscosity sum_a 1 / h_a^2
            step = 2 / (c + sqrt(c^2 + 4 sum_a max |acceleration_a| / h_a))

        with the larger of viscosity and smoke diffusivity. SSPRK3 and RK4 are stable up to this
        step; smoke keeps its bounds up to half of it.

        Reference:
            A boundary condition capturing method for multiphase incompressible flow (Kang,
            Fedkiw and Liu, 2000), where the root comes from a flow that starts at rest.
        """
        d, spacing = self.provider, self.grid.spacing
        velocity, smoke = self._split(state)
        zero = torch.zeros_like(velocity[0])
        speed, pull = zero, zero.flatten(1).amax(1)
        for axis, (u, h) in enumerate(zip(d.cell_speeds(*velocity), spacing, strict=True)):
            speed = speed + u / h
            force = sum(self._accelerations(smoke, axis, state), start=zero)
            pull = pull + force.abs().flatten(1).amax(1) / h
        diffusion = self._like(self.equation.viscosity, pull) + torch.zeros_like(pull)
        if smoke:
            other = self._like(self.equation.smoke_diffusivity, pull) + torch.zeros_like(pull)
            diffusion = torch.maximum(diffusion, other)
        c = speed.flatten(1).amax(1) + d.wall_speed / min(spacing)
        c = c + 2 * sum(h**-2 for h in spacing) * diffusion
        return 2 / (c + (c**2 + 4 * pull).sqrt())

    def first_unphysical(self, state: Tensor) -> tuple[int, tuple[int, ...], str] | None:
        bad = ~torch.isfinite(state)
        if not bool(bad.any()):
            return None
        sample, channel, *cell = bad.nonzero()[0].tolist()
        value = float(state[(sample, channel, *cell)])
        return sample, tuple(cell), f"{self.equation.fields.names[channel]} is {value}"

    def _smoke_rate(self, smoke: Tensor, velocity: tuple[Tensor, ...]) -> Tensor:
        d, diffusivity = self.provider, self.equation.smoke_diffusivity
        rate = -d.transport(smoke, *velocity)
        if isinstance(diffusivity, (int, float)) and diffusivity == 0:
            return rate
        diffusivity = self._like(d.coefficient(diffusivity), smoke)
        return rate + diffusivity * d.divergence(*d.gradient(smoke))

    def _accelerations(self, smoke: tuple[Tensor, ...], axis: int, like: Tensor) -> list[Any]:
        """Buoyancy and forcing on the faces across an axis."""
        faces = tuple(self.provider.midway(s, axis) for s in smoke)
        return self.equation.accelerations(
            axis, faces, lambda value: self._on_faces(value, axis, like)
        )

    def _on_faces(self, value: Coefficient, axis: int, like: Tensor) -> Any:
        """A parameter on the faces; functions are sampled once per dtype and device."""
        if not callable(value):
            return self._like(self.provider.on_faces(value, axis), like)
        key = (id(value), axis, like.dtype, like.device)
        if key not in self._sampled:
            with torch.inference_mode(False), torch.no_grad():
                self._sampled[key] = self.provider.on_faces(value, axis).to(like)
        return self._sampled[key]

    @staticmethod
    def _like(value: Any, u: Tensor) -> Any:
        """A parameter in the dtype and on the device of the state."""
        return value.to(u) if isinstance(value, Tensor) else value

    def _split(self, u: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Velocities on the faces, and the smoke if there is any."""
        components = self.provider.components(u)
        return components[: self.equation.dim], components[self.equation.dim :]

    def _check(self, u: Tensor) -> None:
        check_state(
            u,
            self.equation.fields.num_channels,
            self.grid.shape,
            where=f"{type(self.equation).__name__} on {self.grid.shape} cells",
        )
