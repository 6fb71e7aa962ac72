"""Conservation laws: equations that are given by their flux, for finite volumes and all others."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from pdesurrogates.core import FieldSpec, Grid, check_state
from pdesurrogates.equations.base import BoundEquation, Equation
from pdesurrogates.operators import HLL, Components, Derivatives, FiniteVolumes, GhostCells

__all__ = ["ConservationLaw", "FiniteVolumeEquation"]


@dataclasses.dataclass(frozen=True)
class ConservationLaw(Equation):
    """A PDE that says what flows where:

        u_t + d flux(u, 0)/dx + d flux(u, 1)/dy + ... = rest(t, u)

    States are tuples of components here, so that the same formulas serve Fourier fields, points
    and cells. `u` are the conserved variables; `w` the primitive ones, which finite volumes
    reconstruct and boundary conditions prescribe (the same by default).

    A subclass needs `flux` and `wave_speed`. All else has a default that is right for any law and
    can be replaced by one that is sharper or faster.
    """

    degree: ClassVar[int] = 3
    forms_shocks: ClassVar[bool] = True
    """Whether a grid without provider means finite volumes, or Fourier derivatives."""

    @property
    def primitive_fields(self) -> FieldSpec:
        """Names and units of the primitive variables."""
        return self.fields

    @property
    def vector_channels(self) -> tuple[int, ...]:
        """Primitive channels that are the components of a velocity, in axis order."""
        return ()

    @property
    def is_diffusive(self) -> bool:
        """Whether there is a `diffusive_flux`."""
        return False

    @abstractmethod
    def flux(self, u: Any, axis: int) -> tuple:
        """Flux of every conserved variable along an axis [field unit * length/time]."""

    @abstractmethod
    def wave_speed(self, u: Any, axis: int) -> Tensor:
        """Speed of the fastest wave along an axis, not negative [length/time]."""

    def primitive(self, u: Any) -> tuple:
        """Primitive from conserved variables."""
        return u

    def conserved(self, w: Any) -> tuple:
        """Conserved from primitive variables."""
        return w

    def primitive_flux(self, w: Any, axis: int) -> tuple:
        """`flux` from primitive variables."""
        return self.flux(self.conserved(w), axis)

    def primitive_wave_speed(self, w: Any, axis: int) -> Tensor:
        """`wave_speed` from primitive variables."""
        return self.wave_speed(self.conserved(w), axis)

    def signal_speeds(self, left: Any, right: Any, axis: int) -> tuple[Tensor, Tensor]:
        """Speeds of the slowest and fastest wave from a face, primitive states beside it."""
        fastest = torch.maximum(
            self.primitive_wave_speed(left, axis), self.primitive_wave_speed(right, axis)
        )
        return -fastest, fastest

    def contact_flux(
        self, left: Any, right: Any, slowest: Tensor, fastest: Tensor, axis: int
    ) -> tuple:
        """Flux through a face that keeps contacts sharp; HLL where the law has none."""
        return HLL.between(self, left, right, slowest, fastest, axis)

    def limit_slopes(self, w: Tensor, slopes: Tensor) -> Tensor:
        """Half slopes (batch, channel, *space) that leave every part of a cell physical."""
        return slopes

    def characteristics(self, w: Any, axis: int) -> Any:
        """The waves of the law linearised at `w`; by default the components themselves."""
        return _Components()

    def diffusive_flux(self, w: Any, slope: Callable[[int, int], Any], axis: int) -> tuple:
        """What diffusion adds to the time derivative as the divergence of, along an axis.

        Args:
            w: Primitive variables.
            slope: slope(channel, axis), derivatives of the primitive variables.
            axis: Axis of the flux.
        """
        raise NotImplementedError(f"{type(self).__name__} has no diffusive flux.")

    @property
    def diffusive_channels(self) -> tuple[int, ...]:
        """Primitive channels whose slopes `diffusive_flux` asks for."""
        return tuple(range(self.primitive_fields.num_channels))

    def diffusivity(self, w: Any) -> Any:
        """The largest diffusivity of any variable, which limits the step [length^2/time]."""
        return 0.0

    def source(self, t: float | Tensor, u: Any, d: Derivatives) -> Any:
        """What is neither flux nor diffusion, as a state; `None` where there is nothing."""
        return None

    def unphysical(self, u: Any) -> dict[str, tuple[Tensor, Tensor]]:
        """Quantities with a bound, and where they break it (True)."""
        return {}

    def linear(self, u: Any, d: Derivatives) -> Any:
        """Nothing: a flux is nonlinear as a whole."""
        return u * 0.0

    def nonlinear(self, t: float | Tensor, u: Any, d: Derivatives) -> Any:
        """-div flux + rest."""
        law = self.with_coefficients(d)
        components = d.components(u)
        rate = -d.divergence(*(d.stack(*law.flux(components, axis)) for axis in range(d.dim)))
        rest = law.rest(t, u, d)
        return rate if rest is None else rate + rest

    def rest(self, t: float | Tensor, u: Any, d: Derivatives) -> Any:
        """Diffusion and sources, for providers that differentiate; `None` where there are none."""
        source = self.source(t, u, d)
        if not self.is_diffusive:
            return source
        w = self.primitive(d.components(u))
        slopes = {
            (channel, axis): d.derivative(w[channel], axis)
            for channel in self.diffusive_channels
            for axis in range(d.dim)
        }
        diffusion = d.divergence(
            *(
                d.stack(*self.diffusive_flux(w, lambda c, a: slopes[c, a], axis))
                for axis in range(d.dim)
            )
        )
        return diffusion if source is None else diffusion + source

    def with_coefficients(self, d: Derivatives, like: Tensor | None = None) -> Any:
        """This law with parameters (batch,) in the form that multiplies the provider's fields.

        Args:
            d: The provider.
            like: A tensor whose dtype and device they shall have.
        """
        shaped = {
            item.name: d.coefficient(value if like is None else value.to(like))
            for item in dataclasses.fields(self)
            if isinstance(value := getattr(self, item.name), Tensor) and value.ndim == 1
        }
        return dataclasses.replace(self, **shaped) if shaped else self

    def on(self, where: Grid | Derivatives) -> BoundEquation:
        """This law as a time derivative f(t, u); a grid means `FiniteVolumes(grid)`."""
        if isinstance(where, Grid) and self.forms_shocks:
            where = FiniteVolumes(where)
        if isinstance(where, FiniteVolumes):
            return FiniteVolumeEquation(self, where)
        return super().on(where)


class _Components:
    """No transformation: every component is a wave by itself."""

    def amplitudes(self, differences: Components) -> Components:
        return differences

    def differences(self, amplitudes: Components) -> Components:
        return amplitudes


class FiniteVolumeEquation(BoundEquation):
    """A conservation law on the cells of a grid: f(t, u) for cell averages u.

    Args:
        equation: The law.
        provider: The scheme.
    """

    equation: ConservationLaw
    provider: FiniteVolumes

    def __init__(self, equation: ConservationLaw, provider: FiniteVolumes) -> None:
        super().__init__(equation, provider)
        self.grid = provider.grid
        if len(equation.vector_channels) not in (0, self.grid.dim):
            raise ValueError(
                f"{type(equation).__name__}: has {len(equation.vector_channels)} velocities, the "
                f"grid has {self.grid.dim} axes; make the equation with dim={self.grid.dim}."
            )
        self.courant_limit = provider.reconstruction.courant_limit
        self.ghosts = GhostCells.of_state(
            provider.boundary, equation.primitive_fields, equation.vector_channels, provider.grid
        )
        self._rate = torch.compile(self._all_rates) if provider.is_compiled else self._all_rates

    def __call__(self, t: float | Tensor, u: Tensor) -> Tensor:
        # Numbers are part of a compiled graph, tensors go in: the time must not compile anew.
        return self._rate(torch.as_tensor(t) if self.provider.is_compiled else t, u)

    def _all_rates(self, t: float | Tensor, u: Tensor) -> Tensor:
        law, w = self._prepare(u)
        rate = self.axis_rate(law, w, 0)
        for axis in range(1, self.grid.dim):
            rate = rate.add_(self.axis_rate(law, w, axis))
        source = law.source(t, u, self.provider)
        return rate if source is None else rate + source

    def axis_rate(self, law: ConservationLaw, w: Tensor, axis: int) -> Tensor:
        """What the fluxes along one axis change per time, (batch, channel, *space).

        Args:
            law: The law with its coefficients in place.
            w: Primitive variables.
            axis: Space axis.
        """
        scheme = self.provider
        padded = self.ghosts.pad(w, axis, scheme.reconstruction.num_ghosts)
        flux = scheme.face_flux(law, padded, axis)
        if law.is_diffusive:
            faces = scheme.mean(self.ghosts.pad(w, axis, 1), axis)
            slope = scheme.face_slopes(w, law.diffusive_channels, axis, self.ghosts)
            flux = flux - scheme.stack(*law.diffusive_flux(scheme.components(faces), slope, axis))
        return scheme.net_inflow(flux, axis)

    def largest_step(self, t: float | Tensor, state: Tensor) -> Tensor:
        """The step (batch,) at Courant number 1 [time]:

        1 / max over cells of sum_axes(wave speed / spacing + 2 diffusivity / spacing^2)
        """
        law, w = self._prepare(state)
        components = self.provider.components(w)
        rate: Any = 0.0
        for axis, spacing in enumerate(self.grid.spacing):
            rate = rate + law.primitive_wave_speed(components, axis) * (1 / spacing)
        if law.is_diffusive:
            inverse_squares = sum(1 / spacing**2 for spacing in self.grid.spacing)
            rate = rate + law.diffusivity(components) * (2 * inverse_squares)
        return 1 / rate.flatten(1).amax(dim=1)

    def first_unphysical(self, state: Tensor) -> tuple[int, tuple[int, ...], str] | None:
        for name, value in zip(
            self.equation.fields.names, self.provider.components(state), strict=True
        ):
            found = _first(~torch.isfinite(value))
            if found is not None:
                return *found, f"{name} is not finite"
        law = self.equation.with_coefficients(self.provider, state)
        for name, (amount, is_bad) in law.unphysical(self.provider.components(state)).items():
            found = _first(is_bad)
            if found is not None:
                sample, cell = found
                return sample, cell, f"{name} is {float(amount[sample, 0, *cell]):.3g}"
        return None

    def _prepare(self, u: Tensor) -> tuple[Any, Tensor]:
        """The law with its coefficients in place, and the primitive variables."""
        check_state(
            u,
            self.equation.fields.num_channels,
            self.grid.shape,
            where=f"{type(self.equation).__name__} on {self.grid.shape} cells",
        )
        law = self.equation.with_coefficients(self.provider, u)
        return law, self.provider.stack(*law.primitive(self.provider.components(u)))


def _first(bad: Tensor) -> tuple[int, tuple[int, ...]] | None:
    """Sample and cell of the first True of (batch, 1, *space)."""
    if not bool(bad.any()):
        return None
    sample, _, *cell = (int(i) for i in bad.nonzero()[0])
    return sample, tuple(cell)
