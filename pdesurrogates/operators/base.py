"""The derivative protocol: what an equation may ask of whoever differentiates its fields."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from torch import Tensor

__all__ = ["Coefficient", "Derivatives"]

Coefficient = float | Tensor | Callable[..., Any]
"""A number, one per sample (batch,), grid values, or a function of the coordinates."""


class Derivatives(ABC):
    """Differentiates fields; an equation writes its right-hand side against this protocol only.

    What a *field* is belongs to the provider: values and Fourier coefficients on a grid, a pure
    Fourier symbol, or the output of a network at points. Fields add, subtract, multiply and take
    whole powers. A state u with channels is split into one-channel fields by `components` and put
    together again by `stack`.

    A provider implements `derivative`, `components`, `stack` and `coefficient`; the rest follows.
    """

    dim: int

    @abstractmethod
    def derivative(self, u: Any, axis: int, order: int = 1) -> Any:
        """d^order u / dx_axis^order."""

    @abstractmethod
    def components(self, u: Any) -> tuple[Any, ...]:
        """The channels of a state as one-channel fields."""

    @abstractmethod
    def stack(self, *fields: Any) -> Any:
        """One-channel fields as one state."""

    @abstractmethod
    def coefficient(self, value: Coefficient) -> Any:
        """A physical parameter in the form that multiplies a field."""

    def dx(self, u: Any) -> Any:
        """du/dx."""
        return self.derivative(u, 0)

    def dy(self, u: Any) -> Any:
        """du/dy."""
        return self.derivative(u, 1)

    def dz(self, u: Any) -> Any:
        """du/dz."""
        return self.derivative(u, 2)

    def dxx(self, u: Any) -> Any:
        """d2u/dx2."""
        return self.derivative(u, 0, 2)

    def gradient(self, u: Any) -> tuple[Any, ...]:
        """(du/dx, du/dy, ...), one field per axis."""
        return tuple(self.derivative(u, axis) for axis in range(self.dim))

    def divergence(self, *fields: Any) -> Any:
        """d f_x/dx + d f_y/dy + ..., one field per axis."""
        terms = [self.derivative(field, axis) for axis, field in enumerate(fields)]
        return sum(terms[1:], start=terms[0])

    def laplacian(self, u: Any) -> Any:
        """d2u/dx2 + d2u/dy2 + ..."""
        terms = [self.derivative(u, axis, 2) for axis in range(self.dim)]
        return sum(terms[1:], start=terms[0])
