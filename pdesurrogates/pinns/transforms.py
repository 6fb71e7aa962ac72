"""Conditions that hold by construction: coordinates before the network, factors after it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from pdesurrogates.core import Box, Grid

__all__ = ["CoordinateMap", "HardConditions", "space_box"]


def space_box(domain: Box | Grid) -> Box:
    """The box of the points."""
    return Box.of(domain) if isinstance(domain, Grid) else domain


class CoordinateMap(nn.Module):
    """What a network sees of a point: numbers of order one, periodic where the domain is.

        xi = x - velocity (t - start)                                   the moving frame
        periodic axis:  cos(k phi), sin(k phi),  phi = 2 pi (xi - lower) / length,  k = 1 .. K
        other axes:     2 (xi - lower) / length - 1, and time likewise

    A function of these is periodic with all its derivatives. In a frame that moves with the
    solution there is little left to learn; it needs a periodic axis, since walls do not move.

    Args:
        domain: Box of the points, or a grid, whose periodic axes are taken over.
        times: First and last time, `None` without time.
        is_periodic: Per axis; default that of the grid, or none.
        num_harmonics: K.
        velocity: Velocity of the frame per axis [length/time].

    Raises:
        ValueError: If the frame moves along an axis that is not periodic.

    Example:
        >>> seen = CoordinateMap(Grid((8,), (2.0,)), (0.0, 1.0))
        >>> seen.num_features, seen(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1)).tolist()
        (3, [[[1.0, 0.0, -1.0]]])
    """

    def __init__(
        self,
        domain: Box | Grid,
        times: tuple[float, float] | None = None,
        *,
        is_periodic: Sequence[bool] | None = None,
        num_harmonics: int = 1,
        velocity: float | Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.space = space_box(domain)
        self.span = times
        if is_periodic is None:
            grid_axes = domain.is_periodic if isinstance(domain, Grid) else None
            is_periodic = grid_axes or (False,) * self.space.dim
        self.is_periodic = tuple(is_periodic)
        if num_harmonics < 1 or len(self.is_periodic) != self.space.dim:
            raise ValueError(
                f"CoordinateMap: `num_harmonics` must be positive and `is_periodic` have one "
                f"entry per axis ({self.space.dim}), got {num_harmonics} and {is_periodic}."
            )
        self.num_harmonics = num_harmonics
        self.velocity = self._frame(velocity)

    def _frame(self, velocity: float | Sequence[float] | None) -> tuple[float, ...]:
        if velocity is None:
            return (0.0,) * self.space.dim
        given = tuple(velocity) if isinstance(velocity, Sequence) else (velocity,)
        given = tuple(float(v) for v in given) * (self.space.dim if len(given) == 1 else 1)
        if self.span is None or len(given) != self.space.dim:
            raise ValueError(
                f"CoordinateMap: a moving frame needs `times` and one velocity per axis "
                f"({self.space.dim}), got times = {self.span} and velocity = {velocity}."
            )
        still = [axis for axis, v in enumerate(given) if v and not self.is_periodic[axis]]
        if still:
            raise ValueError(
                f"CoordinateMap: the frame moves along axis {still[0]}, which is not periodic: "
                "its walls would move. Use a periodic axis, or velocity 0 there."
            )
        return given

    @property
    def num_features(self) -> int:
        """Inputs of the network."""
        space = sum(2 * self.num_harmonics if flag else 1 for flag in self.is_periodic)
        return space + (self.span is not None)

    def moved(self, points: Any, times: Any) -> Any:
        """Points in the frame, (batch, point, dim)."""
        if self.span is None or not any(self.velocity):
            return points
        pairs = zip(points.split(1, dim=-1), self.velocity, strict=True)
        moved = [x - (times - self.span[0]) * v for x, v in pairs]
        return moved[0] if len(moved) == 1 else torch.cat(moved, dim=-1)

    def forward(self, points: Any, times: Any = None) -> Any:
        """Features (batch, point, num_features) of points that are in the frame already."""
        features = []
        ends = zip(self.space.lower, self.space.extent, self.is_periodic, strict=True)
        for x, (lower, extent, periodic) in zip(points.split(1, dim=-1), ends, strict=True):
            if periodic:
                for k in range(1, self.num_harmonics + 1):
                    phase = (x - lower) * (2 * math.pi * k / extent)
                    features += [torch.cos(phase), torch.sin(phase)]
            else:
                features.append((x - lower) * (2 / extent) - 1.0)
        if self.span is not None:
            start, end = self.span
            features.append((times - start) * (2 / (end - start)) - 1.0)
        return features[0] if len(features) == 1 else torch.cat(features, dim=-1)


class HardConditions(nn.Module):
    """Initial and wall values by construction:

        u = lift(x, t) + s(t) d(x) N(x, t)
        s = (t - start) / (end - start) with an initial state, else 1
        d = product over the fixed walls of their distances, 1 in the middle of the axis

    The lift has the right values at the start and at the walls: the initial state, which must
    have the wall values at the walls, or a straight line between walls.

    Args:
        domain: Box of the points, or a grid.
        times: First and last time, `None` without time.
        initial: u(x, start) as a function of the coordinates, each (batch, point, 1), made of
            functions with Taylor rules.
        walls: Axis -> (lower, upper): the value at each end, `None` where it is free.
        lift: Any function of coordinates and time with the right values; default as above.

    Raises:
        ValueError: If there is nothing to hold, or initial and wall values disagree.

    Example:
        >>> hard = HardConditions(Box((0.0,), (1.0,)), (0.0, 2.0), walls={0: (0.0, 0.0)},
        ...     initial=lambda x: x * (1 - x))
        >>> x, t = torch.tensor([[[0.5]]]), torch.tensor([[[2.0]]])
        >>> hard(x, t, torch.ones(1, 1, 1)).item()
        1.25
    """

    def __init__(
        self,
        domain: Box | Grid,
        times: tuple[float, float] | None = None,
        *,
        initial: Callable[..., Any] | None = None,
        walls: Mapping[int, tuple[float | None, float | None]] | None = None,
        lift: Callable[..., Any] | None = None,
    ) -> None:
        super().__init__()
        self.space, self.span = space_box(domain), times
        self.initial, self.walls, self.lift = initial, dict(walls or {}), lift
        if initial is None and not self.walls:
            raise ValueError("HardConditions: give `initial`, `walls` or both.")
        if initial is not None and times is None:
            raise ValueError("HardConditions: an initial state needs `times` = (start, end).")
        for axis in self.walls:
            if not 0 <= axis < self.space.dim:
                raise ValueError(
                    f"HardConditions: `walls` names axis {axis}, the domain has "
                    f"{self.space.dim} axes, counted from 0."
                )
        if initial is None and len(self.walls) > 1 and lift is None and not self._all_alike():
            raise ValueError(
                "HardConditions: walls of several axes with different values need a `lift`, a "
                "function of the coordinates with these values; got " + str(self.walls) + "."
            )
        self._check_corners()

    def _values(self) -> list[float]:
        return [v for pair in self.walls.values() for v in pair if v is not None]

    def _all_alike(self) -> bool:
        return len(set(self._values())) <= 1

    def _check_corners(self) -> None:
        """The lift must have the values of the walls."""
        count = 16
        mesh = torch.rand(
            1, count, self.space.dim, generator=torch.Generator().manual_seed(0)
        ).double()
        for axis, pair in self.walls.items():
            for side, value in enumerate(pair):
                if value is None:
                    continue
                points = self.space.from_unit(mesh)
                points[..., axis] = (self.space.lower, self.space.upper)[side][axis]
                start = None if self.span is None else self.span[0]
                times = None if start is None else torch.full_like(points[..., :1], start)
                found = torch.as_tensor(self._lift(points, times), dtype=torch.float64)
                gap = (found - value).abs().max()
                if gap > 1e-6 * max(1.0, abs(value)):
                    raise ValueError(
                        f"HardConditions: incompatible conditions: the initial state or lift is "
                        f"{gap:.3g} away from the value {value} of the "
                        f"{('lower', 'upper')[side]} wall of axis {axis}; a continuous solution "
                        "cannot have both. Correct one, or make it a soft condition."
                    )

    def _lift(self, points: Any, times: Any) -> Any:
        coordinates = points.split(1, dim=-1)
        if self.lift is not None:
            return self.lift(*coordinates, *(() if times is None else (times,)))
        if self.initial is not None:
            return self.initial(*coordinates)
        if self._all_alike():
            return self._values()[0] if self._values() else 0.0
        ((axis, (lower, upper)),) = self.walls.items()
        if lower is None or upper is None:
            return upper if lower is None else lower
        unit = (coordinates[axis] - self.space.lower[axis]) * (1 / self.space.extent[axis])
        return unit * (upper - lower) + lower

    def _factor(self, points: Any, times: Any) -> Any:
        factor: Any = 1.0
        if self.initial is not None and self.span is not None:
            start, end = self.span
            factor = (times - start) * (1 / (end - start))
        coordinates = points.split(1, dim=-1)
        for axis, (lower, upper) in self.walls.items():
            unit = (coordinates[axis] - self.space.lower[axis]) * (1 / self.space.extent[axis])
            if lower is not None:
                factor = unit * 2.0 * factor
            if upper is not None:
                factor = (1.0 - unit) * 2.0 * factor
        return factor

    def forward(self, points: Any, times: Any, value: Any) -> Any:
        """u from the output of the network (batch, point, channel)."""
        return value * self._factor(points, times) + self._lift(points, times)
