"""What holds besides the equation: initial states, walls, periodicity, data, anything else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from pdesurrogates.core import Box
from pdesurrogates.operators import PointDerivatives

__all__ = [
    "Condition",
    "DataCondition",
    "DirichletCondition",
    "InitialCondition",
    "NeumannCondition",
    "OperatorCondition",
    "PeriodicCondition",
]

Side = Literal["lower", "upper", "both"]
Value = float | Callable[..., Any]
"""A number, or a function of the coordinates (and the time), each (point, 1)."""


class Solution(Protocol):
    """What a condition asks of a solution."""

    space: Box
    span: tuple[float, float] | None

    @property
    def domain(self) -> Box:
        """Points and times."""
        ...

    def at(self, points: Tensor) -> tuple[Any, PointDerivatives]:
        """Field and derivatives at space-time points (point, dim)."""
        ...


class Condition(ABC):
    """A residual on a part of the domain, (point, component)."""

    def check(self, solution: Solution) -> None:
        """Refuse what does not fit the domain."""
        del solution

    @abstractmethod
    def fixed_axes(self, solution: Solution) -> tuple[int, ...]:
        """Axes of the space-time domain along which nothing is drawn."""

    def given_points(self) -> Tensor | None:
        """Points that are not drawn at all, with further columns if need be."""
        return None

    @abstractmethod
    def residual(self, solution: Solution, points: Tensor) -> Tensor:
        """Zero where the condition holds, (point, component).

        Args:
            solution: Gives the field and its derivatives.
            points: Space-time points (point, dim); fixed axes hold the lower end.
        """


def value_at(value: Value, points: Tensor) -> Any:
    """The value of a condition at space-time points, (point, channel) or a number."""
    return value(*points.split(1, dim=-1)) if callable(value) else value


@dataclass(frozen=True)
class InitialCondition(Condition):
    """u = value at the start, and u_t = slope where the equation is of second order.

    Args:
        value: Function of the space coordinates, or a number.
        slope: The same for the time derivative, `None` where it is free.
    """

    value: Value
    slope: Value | None = None

    def check(self, solution: Solution) -> None:
        if solution.span is None:
            raise ValueError("InitialCondition: the problem has no time; give `times`.")

    def fixed_axes(self, solution: Solution) -> tuple[int, ...]:
        return (solution.domain.dim - 1,)

    def residual(self, solution: Solution, points: Tensor) -> Tensor:
        u, d = solution.at(points)
        rows = [d.values(u)[0] - value_at(self.value, points[:, :-1])]
        if self.slope is not None:
            rows.append(d.values(d.dt(u))[0] - value_at(self.slope, points[:, :-1]))
        return torch.cat(rows, dim=-1)


@dataclass(frozen=True)
class _WallCondition(Condition):
    axis: int = 0
    side: Side = "both"

    def check(self, solution: Solution) -> None:
        name = type(self).__name__
        if not 0 <= self.axis < solution.space.dim:
            raise ValueError(
                f"{name}: axis {self.axis} does not exist, the domain has {solution.space.dim} "
                "space axes, counted from 0."
            )
        if self.side not in ("lower", "upper", "both"):
            raise ValueError(
                f"{name}: `side` must be 'lower', 'upper' or 'both', got {self.side!r}."
            )

    def fixed_axes(self, solution: Solution) -> tuple[int, ...]:
        return (self.axis,)

    def walls(self, solution: Solution, points: Tensor) -> list[Tensor]:
        """The points moved to each wall."""
        ends = {"lower": solution.space.lower, "upper": solution.space.upper}
        chosen = ends if self.side == "both" else {self.side: ends[self.side]}
        here = torch.arange(points.shape[-1], device=points.device) == self.axis
        return [torch.where(here, end[self.axis], points) for end in chosen.values()]


@dataclass(frozen=True)
class DirichletCondition(_WallCondition):
    """u = value on one or both walls of an axis.

    Args:
        axis: Space axis.
        side: "lower", "upper" or "both".
        value: Function of all coordinates and the time, or a number.
    """

    value: Value = 0.0

    def residual(self, solution: Solution, points: Tensor) -> Tensor:
        rows = []
        for wall in self.walls(solution, points):
            u, d = solution.at(wall)
            rows.append(d.values(u)[0] - value_at(self.value, wall))
        return torch.cat(rows, dim=-1)


@dataclass(frozen=True)
class NeumannCondition(_WallCondition):
    """du/dx = slope along the axis (not outward) on one or both walls.

    Args:
        axis: Space axis.
        side: "lower", "upper" or "both".
        slope: Function of all coordinates and the time, or a number.
    """

    slope: Value = 0.0

    def residual(self, solution: Solution, points: Tensor) -> Tensor:
        rows = []
        for wall in self.walls(solution, points):
            u, d = solution.at(wall)
            rows.append(d.values(d.derivative(u, self.axis))[0] - value_at(self.slope, wall))
        return torch.cat(rows, dim=-1)


@dataclass(frozen=True)
class PeriodicCondition(_WallCondition):
    """u, and du/dx unless switched off, are the same at both ends of an axis.

    `CoordinateMap` makes periodic functions by construction, which is better where it can be.

    Args:
        axis: Space axis.
        slope: Whether the slopes are compared as well.
    """

    slope: bool = True

    def residual(self, solution: Solution, points: Tensor) -> Tensor:
        (u, d), (v, e) = [solution.at(wall) for wall in self.walls(solution, points)]
        rows = [d.values(u)[0] - e.values(v)[0]]
        if self.slope:
            slopes = [d.derivative(u, self.axis), e.derivative(v, self.axis)]
            rows.append(d.values(slopes[0])[0] - e.values(slopes[1])[0])
        return torch.cat(rows, dim=-1)


class DataCondition(Condition):
    """u = values at given points: measurements.

    Args:
        points: Space-time points (point, dim), time last.
        values: (point, channel); NaN where a channel was not measured.
    """

    def __init__(self, points: Tensor, values: Tensor) -> None:
        if points.ndim != 2 or values.ndim != 2 or len(points) != len(values):
            raise ValueError(
                "DataCondition: `points` must have shape (point, dim) and `values` (point, "
                f"channel), got {tuple(points.shape)} and {tuple(values.shape)}."
            )
        self.points, self.values = points, values

    def check(self, solution: Solution) -> None:
        solution.domain.check(self.points, where="DataCondition")

    def fixed_axes(self, solution: Solution) -> tuple[int, ...]:
        return tuple(range(solution.domain.dim))

    def given_points(self) -> Tensor:
        known = self.values.isfinite()
        values = torch.where(known, self.values, 0.0)
        return torch.cat((self.points, values, known.to(values)), dim=-1)

    def residual(self, solution: Solution, points: Tensor) -> Tensor:
        dim, channels = self.points.shape[-1], self.values.shape[-1]
        where, values, known = points.split((dim, channels, channels), dim=-1)
        u, d = solution.at(where)
        return (d.values(u)[0] - values) * known


@dataclass(frozen=True)
class OperatorCondition(Condition):
    """function(u, d) = 0 in the domain, on a wall, or at the start.

    Args:
        function: Field and derivative provider to a field, e.g.
            `lambda u, d: d.dx(u) + 2 * u`.
        axis: Axis of the space-time domain that is fixed at one end, `None` for the interior.
        side: Which end.
    """

    function: Callable[[Any, PointDerivatives], Any]
    axis: int | None = None
    side: Literal["lower", "upper"] = "lower"

    def check(self, solution: Solution) -> None:
        if self.axis is not None and not 0 <= self.axis < solution.domain.dim:
            raise ValueError(
                f"OperatorCondition: axis {self.axis} does not exist, the domain has "
                f"{solution.domain.dim} axes, counted from 0, time last."
            )

    def fixed_axes(self, solution: Solution) -> tuple[int, ...]:
        return () if self.axis is None else (self.axis,)

    def residual(self, solution: Solution, points: Tensor) -> Tensor:
        if self.axis is not None:
            ends = solution.domain.lower if self.side == "lower" else solution.domain.upper
            here = torch.arange(points.shape[-1], device=points.device) == self.axis
            points = torch.where(here, ends[self.axis], points)
        u, d = solution.at(points)
        return d.values(self.function(u, d))[0]
