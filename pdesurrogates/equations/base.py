"""What an equation is, and how it becomes a time derivative on a grid or at points."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from pdesurrogates.core import FieldSpec, Grid, check_state
from pdesurrogates.operators import (
    AutodiffDerivatives,
    Coefficient,
    Derivatives,
    FourierOperator,
    SpectralDerivatives,
    SpectralField,
    Symbol,
)

__all__ = ["BoundEquation", "Equation", "SpectralEquation", "is_constant"]


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
            if not isinstance(d, AutodiffDerivatives):
                raise ValueError(
                    f"{type(self).__name__}.residual: on a grid the time derivative must be "
                    "given as `time_derivative`, e.g. data.time_derivative(trajectory, dt, 4)."
                )
            time_derivative = d.dt(u)
        return time_derivative - self.rhs(t, u, d)

    def on(self, where: Grid | Derivatives) -> BoundEquation:
        """This equation as a time derivative f(t, u) on a grid or with a given provider.

        A periodic grid gets pseudo-spectral derivatives, dealiased for the equation's degree.
        """
        if isinstance(where, Grid):
            where = SpectralDerivatives(where, dealias=2 / (self.degree + 1))
        if isinstance(where, SpectralDerivatives):
            return SpectralEquation(self, where)
        return BoundEquation(self, where)

    def symbol(self, provider: Symbol) -> FourierOperator:
        """The Fourier symbol of `linear`: its action on one wave per channel."""
        size = self.fields.num_channels
        columns = [self.linear(provider.wave(size, c), provider).hat for c in range(size)]
        return FourierOperator.from_columns(columns, dim=provider.dim)

    def conserved_quantities(self, u: Tensor, grid: Grid) -> dict[str, Tensor]:
        """Quantities the exact solution keeps on a periodic domain, float64.

        Args:
            u: States (..., channel, *space); any leading axes (batch, time) are kept.
            grid: Where they live.
        """
        return {}

    def _integral(self, density: Tensor, grid: Grid) -> Tensor:
        """Integral over the domain by the trapezoidal rule, exact for resolved periodic fields."""
        cell = torch.tensor(grid.spacing, dtype=torch.float64).prod()
        return density.sum(dim=tuple(range(-grid.dim, 0))) * cell.to(density.device)


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
