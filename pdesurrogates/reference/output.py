"""What of a state is stored: all of it, some fields, or other variables made from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.equations import ConservationLaw, Equation
from pdesurrogates.operators import FiniteVolumes, SpectralDerivatives

__all__ = ["Output", "PrimitiveVariables", "SelectedFields", "VelocityFromVorticity"]


class Output(ABC):
    """Turns a state of the solver into what the file holds."""

    @abstractmethod
    def fields(self, equation: Equation, grid: Grid) -> FieldSpec:
        """Names and units of what is stored."""

    @abstractmethod
    def __call__(self, u: Tensor, equation: Equation, grid: Grid) -> Tensor:
        """(batch, channel, *space) of the solver to (batch, stored channel, *space)."""


class SelectedFields(Output):
    """Some of the fields, e.g. only the height of shallow water.

    Args:
        names: Fields or vectors, in the order in which they are stored.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)

    def fields(self, equation: Equation, grid: Grid) -> FieldSpec:
        channels = self._channels(equation)
        units = equation.fields.units or ()
        return FieldSpec(
            tuple(equation.fields.names[i] for i in channels),
            tuple(units[i] for i in channels) if units else None,
        )

    def __call__(self, u: Tensor, equation: Equation, grid: Grid) -> Tensor:
        return u[:, self._channels(equation)]

    def _channels(self, equation: Equation) -> list[int]:
        every = range(equation.fields.num_channels)
        return [i for name in self.names for i in every[equation.fields.channels(name)]]


class VelocityFromVorticity(Output):
    """The velocity of a periodic two-dimensional flow of zero mean, from its vorticity w:

        lap psi = -w,   velocity = (psi_y, -psi_x)

    Args:
        keep_vorticity: Store the vorticity as well, as the first field.
    """

    def __init__(self, *, keep_vorticity: bool = False) -> None:
        self.keep_vorticity = keep_vorticity

    def fields(self, equation: Equation, grid: Grid) -> FieldSpec:
        if grid.dim != 2 or equation.fields.num_channels != 1 or not all(grid.is_periodic):
            raise ValueError(
                "VelocityFromVorticity: needs one field, the vorticity, on a periodic grid with "
                f"two axes, got the fields {equation.fields.names} on {grid}."
            )
        kept = equation.fields.names if self.keep_vorticity else ()
        return FieldSpec((*kept, "velocity_x", "velocity_y"))

    def __call__(self, u: Tensor, equation: Equation, grid: Grid) -> Tensor:
        d = SpectralDerivatives(grid, dealias=1.0)
        psi = -d.inverse_laplacian(d.field(u))
        velocity = torch.cat([d.dy(psi).values, -d.dx(psi).values], dim=1)
        return torch.cat([u, velocity], dim=1) if self.keep_vorticity else velocity


class PrimitiveVariables(Output):
    """The primitive variables of a conservation law, e.g. density, velocity and pressure of a gas.

    The solver carries the conserved ones; initial conditions are given in these.
    """

    def fields(self, equation: Equation, grid: Grid) -> FieldSpec:
        return _law(equation).primitive_fields

    def __call__(self, u: Tensor, equation: Equation, grid: Grid) -> Tensor:
        d = FiniteVolumes(grid)
        law = _law(equation).with_coefficients(d)
        return d.stack(*law.primitive(d.components(u)))


def _law(equation: Equation) -> ConservationLaw:
    if not isinstance(equation, ConservationLaw):
        raise ValueError(
            f"PrimitiveVariables: {type(equation).__name__} is no conservation law and has no "
            "other variables than its fields; leave `output` out."
        )
    return equation
