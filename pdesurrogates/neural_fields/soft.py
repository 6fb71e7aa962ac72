"""Boundary conditions as a penalty, for those that cannot hold by construction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pdesurrogates.core import Boundary, Box, Dirichlet, Neumann, Outflow, Robin
from pdesurrogates.neural_fields.fitting import Term
from pdesurrogates.operators import JetDerivatives

__all__ = ["SoftBoundary"]

_WHERE = "SoftBoundary"


@dataclass(frozen=True)
class SoftBoundary:
    """weight times the mean square of what a condition leaves at points of the boundary.

        Dirichlet   u - value                     Neumann, Outflow   (du/dx - slope) length
        Robin       value_factor u + derivative_factor du/dx - total

    Warning:
        A penalty is not met exactly, and what is left adds up over hundreds of steps: prefer
        conditions by construction (`NeuralField(boundary=...)`).

    Args:
        boundary: One condition for all ends, one per axis, or (lower, upper) pairs per axis;
            `None` leaves an end or an axis alone.
        weight: Factor of the mean square, beside the defect in units of u.
        num_points: Points per end.
    """

    boundary: Boundary | Any
    weight: float = 1.0
    num_points: int = 32

    def __post_init__(self) -> None:
        if not self.weight > 0 or self.num_points < 1:
            raise ValueError(
                f"{_WHERE}: `weight` and `num_points` must be positive, got {self.weight} and "
                f"{self.num_points}."
            )

    def terms(
        self,
        domain: Box,
        *,
        generator: torch.Generator,
        weight: Tensor | float = 1.0,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> dict[str, Term]:
        """One term per end, at newly drawn points.

        Args:
            domain: Box whose ends these are.
            generator: Source of the points.
            weight: Further factor, e.g. 1 / scale^2 of the field (batch, 1, channel).
            dtype: Precision of the points.
            device: Their device.
        """
        found = {}
        for axis, pair in enumerate(self._pairs(domain.dim)):
            for side, condition in enumerate(pair):
                if condition is None:
                    continue
                unit = torch.rand(
                    self.num_points, domain.dim, generator=generator, dtype=dtype
                ).to(device or generator.device)
                unit[:, axis] = side
                length = domain.extent[axis]
                found[f"boundary, axis {axis}, {('lower', 'upper')[side]} end"] = Term(
                    _residual(condition, axis, side, length),
                    (domain.from_unit(unit)[None],),
                    self.weight * weight,
                )
        return found

    def _pairs(self, dim: int) -> list[tuple[Any, Any]]:
        given: Any = self.boundary
        entries: list[Any] = list(given) if isinstance(given, (list, tuple)) else [given] * dim
        if len(entries) != dim:
            raise ValueError(
                f"{_WHERE}: `boundary` must be one condition, or one per axis ({dim}), got "
                f"{len(entries)}."
            )
        return [(e[0], e[1]) if isinstance(e, (list, tuple)) else (e, e) for e in entries]


def _residual(
    condition: Any, axis: int, side: int, length: float
) -> Callable[[Callable[[Any], Any], Tensor], Tensor]:
    def own(number: Any) -> float:
        return float(number[side]) if isinstance(number, (list, tuple)) else float(number)

    def residual(field: Callable[[Any], Any], points: Tensor) -> Tensor:
        if isinstance(condition, Dirichlet):
            return field(points) - own(condition.value)
        d = JetDerivatives(points)
        u = field(d.points)
        slope = d.values(d.derivative(u, axis))
        if isinstance(condition, Robin):
            value = condition.value_factor * d.values(u)
            return value + condition.derivative_factor * slope - condition.total
        target = own(condition.derivative) if isinstance(condition, Neumann) else 0.0
        return (slope - target) * length

    if not isinstance(condition, (Dirichlet, Neumann, Outflow, Robin)):
        raise ValueError(
            f"{_WHERE}: conditions are Dirichlet, Neumann, Outflow or Robin, got {condition!r}."
        )
    return residual
