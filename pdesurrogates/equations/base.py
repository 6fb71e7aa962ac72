"""What an equation is, and how it becomes a time derivative on a grid or at points."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from pdesurrogates.core import FieldSpec, Grid, check_state
from pdesurrogates.operators import (
    Coefficient,
    Derivatives,
    FiniteDifferences,
    FourierOperator,
    PointDerivatives,
    SpectralDerivatives,
    SpectralField,
    StaggeredGrid,
    Symbol,
)

__all__ = [
    "BoundEquation",
    "Equation",
    "FiniteDifferenceEquation",
    "SpectralEquation",
    "is_constant",
]


def is_constant(value: Coefficient | None) -> bool:
    """Whether a parameter is the same everywhere in space: a number, or one number per sample."""
    return isinstance(value, (int, float)) or (isinstance(value, Tensor) and value.ndim <= 1)


@dataclasses.dataclass(frozen=True)
class Equation(ABC):
    """A PDE u_t = linear(u) + nonlinear(t, u), written once against a derivative provider `d`.

    A subclass is a frozen dataclass whose attributes are the physical parameters: numbers, or
    tensors (batch,) with one value per trajectory. `equation.on(grid)` is a time derivative
    f(t, u) for any stepper; `equation.on(AutodiffDerivatives(points))` is the same right-hand
    side at points, for losses.
    """

    degree: ClassVar[int] = 2
    """Polynomial degree of the nonlinear part: products keep 2 / (degree + 1) of the modes."""

    @property
    def fields(self) -> FieldSpec:
        """Names and units of the channels."""
        return FieldSpec(("u",))

    @abstractmethod
    def linear(self, u: Any, d: Derivatives) -> Any:
        """The stiff linear part with constant coefficients [field unit / time]."""

    def nonlinear(self, t: float | Tensor, u: Any, d: Derivatives) -> Any:
        """Everything else; `None` where there is nothing else."""
        return None

    def rhs(self, t: float | Tensor, u: Any, d: Derivatives) -> Any:
        """linear + nonlinear, the time derivative of `u`."""
        linear, nonlinear = self.linear(u, d), self.nonlinear(t, u, d)
        return linear if nonlinear is None else linear + nonlinear

    def residual(
        self,
        u: Any,
        d: Derivatives,
        *,
        t: float | Tensor = 0.0,
        time_derivative: Any = None,
    ) -> Any:
        """u_t - rhs(t, u): zero where `u` solves the equation [field unit / time].

        Args:
            u: State as the provider takes it: a field, or values (batch, point, channel).
            d: Derivative provider.
            t: Time, where the equation depends on it.
            time_derivative: u_t; by default the provider's own `d.dt(u)` (points with times).
        """
        if time_derivative is None:
            if not isinstance(d, PointDerivatives):
                raise ValueError(
                    f"{type(self).__name__}.residual: on a grid the time derivative must be "
                    "given as `time_derivative`, e.g. data.time_derivative(trajectory, dt, 4)."
                )
            time_derivative = d.dt(u)
        return time_derivative - self.rhs(t, u, d)

    def characteristic_velocity(self, t: float | Tensor, u: Any, d: Derivatives) -> Any:
        """Velocity a(u) of the points along which the equation loses its advection, in 1D:

            x_t = a(u),   u_t = rhs(t, u) + a u_x   along x(t)       [length/time]

        Args:
            t: Time, where the equation depends on it.
            u: State as the provider takes it.
            d: Derivative provider.

        Raises:
            ValueError: If no such velocity is known, or there is not one for all components.
        """
        raise ValueError(
            f"{type(self).__name__} has no characteristic velocity; Advection, Burgers in 1D, "
            "Diffusion, AdvectionDiffusion, AllenCahn and FisherKPP have one. Define "
            "`characteristic_velocity` in a subclass, or use a network of x and t (PINN)."
        )

    def on(self, where: Grid | Derivatives) -> BoundEquation:
        """This equation as a time derivative f(t, u) on a grid or with a given provider.

        A periodic grid gets pseudo-spectral derivatives, dealiased for the equation's degree.

        Raises:
            ValueError: If a grid has ends: which scheme, and what holds there, must be said.
        """
        if isinstance(where, Grid):
            if not all(where.is_periodic):
                raise ValueError(
                    f"{type(self).__name__}.on: the grid has ends, periodic is "
                    f"{where.is_periodic}; say what holds there, e.g. "
                    "on(FiniteDifferences(grid, order=4, boundary=Neumann(0.0)))."
                )
            where = SpectralDerivatives(where, dealias=2 / (self.degree + 1))
        if isinstance(where, StaggeredGrid):
            raise ValueError(
                f"{type(self).__name__}.on: a StaggeredGrid has velocities on faces and serves "
                "IncompressibleNavierStokes only; use SpectralDerivatives, FiniteDifferences or "
                "FiniteVolumes."
            )
        num_axes = getattr(self, "dim", where.dim)
        if where.dim != num_axes:
            raise ValueError(
                f"{type(self).__name__}.on: the equation has {num_axes} space axes, "
                f"{type(where).__name__} has {where.dim}; use a grid with {num_axes}, or the "
                f"equation with dim={where.dim} where it takes one."
            )
        if isinstance(where, SpectralDerivatives):
            return SpectralEquation(self, where)
        if isinstance(where, FiniteDifferences):
            return FiniteDifferenceEquation(self, where)
        return BoundEquation(self, where)

    @property
    def is_learned(self) -> bool:
        """Whether a parameter wants a gradient."""
        return any(getattr(value, "requires_grad", False) for value in vars(self).values())

    def symbol(self, provider: Symbol) -> FourierOperator:
        """The Fourier symbol of `linear`: its action on one wave per channel."""
        size = self.fields.num_channels
        # A channel with one parameter per sample must stack with one that has none.
        batch = max(
            (len(value) for value in vars(self).values() if getattr(value, "ndim", 0) == 1),
            default=1,
        )
        waves = [
            provider.wave(size, c).map(lambda hat: hat.expand(batch, *hat.shape[1:]))
            for c in range(size)
        ]
        columns = [self.linear(wave, provider).hat for wave in waves]
        return FourierOperator.from_columns(columns, dim=provider.dim)

    def conserved_quantities(self, u: Tensor, grid: Grid) -> dict[str, Tensor]:
        """Quantities the exact solution keeps on a periodic domain, float64.

        Args:
            u: States (..., channel, *space); any leading axes (batch, time) are kept.
            grid: Where they live.
        """
        return {}

    def _integral(self, density: Tensor, grid: Grid) -> Tensor:
        """Integral over the domain (..., *space) -> (...), float64.

        The trapezoidal rule, exact for resolved periodic fields; the midpoint rule on cells.
        """
        density = density.double()
        for axis in reversed(range(grid.dim)):
            ends = 0.0
            if not (grid.is_periodic[axis] or grid.cell_centred):
                ends = (density[..., 0] + density[..., -1]) / 2
            density = (density.sum(dim=-1) - ends) * grid.spacing[axis]
        return density


class BoundEquation:
    """An equation together with a derivative provider: a time derivative f(t, u).

    With `AutodiffDerivatives`, u is (batch, point, channel) and must have been computed from the
    provider's points.
    """

    def __init__(self, equation: Equation, provider: Derivatives) -> None:
        self.equation = equation
        self.provider = provider

    def __call__(self, t: float | Tensor, u: Tensor) -> Tensor:
        return self.equation.rhs(t, u, self.provider)

    def encode(self, u: Tensor) -> Tensor:
        """What the stepper carries for the state `u`: `u` itself, unless the scheme staggers."""
        return u

    def decode(self, state: Tensor) -> Tensor:
        """The state (batch, channel, *space) that the stepper's tensor stands for."""
        return state

    def largest_step(self, t: float | Tensor, state: Tensor) -> Tensor | None:
        """The step (batch,) at Courant number 1 of an explicit stepper at this state [time].

        `None` where the state does not limit the step, or only through the linear part.
        """
        return None

    def first_unphysical(self, state: Tensor) -> tuple[int, tuple[int, ...], str] | None:
        """Sample, cell and description of the first value that cannot be, e.g. pressure < 0."""
        return None


class SpectralEquation(BoundEquation):
    """An equation on a periodic grid: f(t, u) on grid values, and its parts on Fourier modes.

    Steppers that treat the linear part by itself (ETD, IMEX) use `linear_operator` and
    `nonlinear` on coefficients, so a step never leaves Fourier space but for products.
    """

    provider: SpectralDerivatives

    def __init__(self, equation: Equation, provider: SpectralDerivatives) -> None:
        super().__init__(equation, provider)
        self.grid = provider.grid
        self._linear_operator: FourierOperator | None = None

    @property
    def linear_operator(self) -> FourierOperator:
        """The linear part as an operator on modes, from the same `linear`."""
        if torch.is_grad_enabled() and self.equation.is_learned:
            return self.equation.symbol(self.provider.symbol())
        if self._linear_operator is None:
            with torch.inference_mode(False), torch.no_grad():
                self._linear_operator = self.equation.symbol(self.provider.symbol())
        return self._linear_operator

    def __call__(self, t: float | Tensor, u: Tensor) -> Tensor:
        check_state(
            u,
            self.equation.fields.num_channels,
            self.grid.shape,
            where=f"{type(self.equation).__name__} on {self.grid.shape} points",
        )
        hat = self.to_modes(u)
        linear = self.equation.linear(SpectralField(self.provider, hat=hat), self.provider)
        nonlinear = self.equation.nonlinear(t, self._band_limited(hat), self.provider)
        total = linear if nonlinear is None else linear + nonlinear
        return total.values

    def to_modes(self, u: Tensor) -> Tensor:
        """Grid values to coefficients."""
        return self.provider.to_modes(u)

    def from_modes(self, hat: Tensor) -> Tensor:
        """Coefficients to grid values."""
        return self.provider.to_grid(hat)

    def nonlinear(self, t: float | Tensor, hat: Tensor) -> Tensor | None:
        """Coefficients of the nonlinear part from the coefficients of the state."""
        result = self.equation.nonlinear(t, self._band_limited(hat), self.provider)
        return None if result is None else result.hat

    def _band_limited(self, hat: Tensor) -> SpectralField:
        """The state that enters products: what dealiasing keeps, so that nothing folds back."""
        return SpectralField(self.provider, hat=hat, is_uncut=True)


class FiniteDifferenceEquation(BoundEquation):
    """An equation under finite differences, with walls or without: f(t, u) on grid values.

    Wall points with a given value (`Dirichlet` on a grid whose ends are points) have du/dt = 0,
    and derivatives use the given value there whatever the state holds.
    """

    provider: FiniteDifferences

    def __init__(self, equation: Equation, provider: FiniteDifferences) -> None:
        super().__init__(equation, provider)
        self.grid = provider.grid
        self.fields = equation.fields
        self._linear_operator: FourierOperator | None = None
        provider.sides(self.fields, self.fields.num_channels)

    @property
    def linear_operator(self) -> FourierOperator:
        """The rates of the linear part: exact on periodic axes, a bound with walls.

        For the step limit of explicit steppers; there is no transform to modes.
        """
        if self._linear_operator is None:
            with torch.inference_mode(False), torch.no_grad():
                self._linear_operator = self.equation.symbol(self.provider.symbol(self.fields))
        return self._linear_operator

    def __call__(self, t: float | Tensor, u: Tensor) -> Tensor:
        check_state(
            u,
            self.fields.num_channels,
            self.grid.shape,
            where=f"{type(self.equation).__name__} on {self.grid.shape} points",
        )
        state = self.provider.field(u, self.fields)
        rate = self.equation.rhs(t, state, self.provider).values
        moving = self.provider.moving_points(self.fields, u)
        return rate if moving is None else rate * moving

    def encode(self, u: Tensor) -> Tensor:
        """The state with the given values on its walls."""
        return self.provider.field(u, self.fields).values
