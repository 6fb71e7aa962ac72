"""Reaction and diffusion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from pdesurrogates.equations.base import Equation
from pdesurrogates.operators import Derivatives

__all__ = ["AllenCahn"]


@dataclass(frozen=True)
class AllenCahn(Equation):
    """Allen-Cahn equation, phase separation towards u = -1 and u = 1:

        u_t = diffusivity lap u + reaction (u - u^3)

    Args:
        diffusivity: A number, or one per sample [length^2/time].
        reaction: Reaction rate, a number or one per sample [1/time].
    """

    degree: ClassVar[int] = 3

    diffusivity: Any = 1e-4
    reaction: Any = 5.0

    def linear(self, u: Any, d: Derivatives) -> Any:
        return d.laplacian(u) * d.coefficient(self.diffusivity) + u * d.coefficient(self.reaction)

    def nonlinear(self, t: float | Tensor, u: Any, d: Derivatives) -> Any:
        return -(u * u * u) * d.coefficient(self.reaction)
