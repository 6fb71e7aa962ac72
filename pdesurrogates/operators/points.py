"""What derivatives at scattered points share: components, coefficients and values."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from pdesurrogates.operators.base import Coefficient, Derivatives

__all__ = ["PointDerivatives"]


class PointDerivatives(Derivatives):
    """Derivatives of fields that are functions of points, and perhaps of time.

    A field is made by calling a network or a formula with `points` (and `times`); it has the
    shape (batch, point, channel). A provider says what `points` are: tensors, or tensors that
    carry their Taylor coefficients.
    """

    points: Any
    times: Any

    @abstractmethod
    def dt(self, u: Any) -> Any:
        """du/dt at fixed points, per channel.

        Raises:
            ValueError: If the provider was made without `times`.
        """

    @abstractmethod
    def values(self, u: Any) -> Tensor:
        """The numbers (batch, point, channel) of a field."""

    def coordinates(self) -> Any:
        """Points and times as the input of a network, (batch, point, dim [+ 1]); time is last."""
        return self.points if self.times is None else torch.cat((self.points, self.times), dim=-1)

    def stack(self, *fields: Any) -> Any:
        return fields[0] if len(fields) == 1 else torch.cat(fields, dim=-1)

    def coefficient(self, value: Coefficient) -> Any:
        if isinstance(value, Tensor):
            if value.ndim > 1:
                raise ValueError(
                    f"{type(self).__name__}: a coefficient that varies in space must be a "
                    f"function of the coordinates, got grid values {tuple(value.shape)}."
                )
            return value.reshape(-1, 1, 1) if value.ndim == 1 else value
        if callable(value):
            return value(*self.points.split(1, dim=-1))
        return value

    def _check_points(self, points: Tensor) -> None:
        if points.ndim != 3:
            raise ValueError(
                f"{type(self).__name__}: `points` must have shape (batch, point, dim), got "
                f"{tuple(points.shape)}; a list of points needs a batch axis: points[None]."
            )

    def _needs_times(self) -> ValueError:
        name = type(self).__name__
        return ValueError(
            f"{name}: du/dt needs the times of the points; use {name}(points, times)."
        )
