"""Cells outside the ends of an axis, filled so that the boundary condition holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from pdesurrogates.core import (
    Dirichlet,
    FieldSpec,
    Grid,
    Neumann,
    Outflow,
    Periodic,
    field_boundaries,
)

__all__ = ["GhostCells", "Inflow", "NoSlipWall", "SlipWall"]


@dataclass(frozen=True)
class SlipWall:
    """A reflecting wall: the velocity across it changes sign, all else is mirrored."""


@dataclass(frozen=True)
class NoSlipWall:
    """A wall that holds the fluid: all velocities change sign, all else is mirrored."""


@dataclass(frozen=True)
class Inflow:
    """A prescribed primitive state outside one end (density, velocities, pressure).

    The waves decide what of it comes in: all of it where the inflow is supersonic.

    Args:
        state: One number per primitive variable.
    """

    state: tuple[float, ...]


@dataclass(frozen=True)
class _Mirror:
    """The values before the end in reverse order, times a sign."""

    sign: int


class GhostCells:
    """Fills the cells outside either end of an axis from those inside.

    `Periodic` copies the other end, `Outflow` the last cell, `Neumann` continues it with the given
    slope, `Dirichlet` and `Inflow` put the given values into the cells outside, walls mirror.

    Args:
        conditions: Per axis, for the lower and the upper end, one condition per channel.
        grid: Where the cells are.
    """

    def __init__(self, conditions: Sequence[tuple[Sequence, Sequence]], grid: Grid) -> None:
        self.grid = grid
        self.conditions = tuple((tuple(low), tuple(high)) for low, high in conditions)

    @classmethod
    def of_state(
        cls, boundary: Any, fields: FieldSpec, vector_channels: tuple[int, ...], grid: Grid
    ) -> GhostCells:
        """For a state of primitive variables.

        Args:
            boundary: Conditions as `field_boundaries` takes them, `SlipWall`, `NoSlipWall` and
                `Inflow` included.
            fields: Primitive variables, whose names a mapping of conditions must use.
            vector_channels: Channels of the velocity, in axis order.
            grid: Where the cells are.
        """
        channels = field_boundaries(boundary, fields, grid, where="FiniteVolumes")
        conditions = [
            [
                [
                    _of_channel(sides[axis][end], channel, axis, vector_channels, fields)
                    for channel, sides in enumerate(channels)
                ]
                for end in range(2)
            ]
            for axis in range(grid.dim)
        ]
        return cls([(low, high) for low, high in conditions], grid)

    def of_scalar(self) -> GhostCells:
        """For a fixed field on the same grid, such as the ground: mirrored at walls, else flat."""
        return GhostCells(
            [([_flat(low[0])], [_flat(high[0])]) for low, high in self.conditions], self.grid
        )

    def of_channels(self, channels: Sequence[int]) -> GhostCells:
        """For some of the channels."""
        return GhostCells(
            [
                ([low[c] for c in channels], [high[c] for c in channels])
                for low, high in self.conditions
            ],
            self.grid,
        )

    def of_slopes(self) -> GhostCells:
        """For the derivatives along another axis."""
        return GhostCells(
            [
                ([_slope(c) for c in low], [_slope(c) for c in high])
                for low, high in self.conditions
            ],
            self.grid,
        )

    def pad(self, w: Tensor, axis: int, width: int) -> Tensor:
        """`w` with `width` more cells at both ends of `axis`, (batch, channel, *space)."""
        dim, size = 2 + axis, w.shape[2 + axis]
        low, high = self.conditions[axis]
        if size < width:
            raise ValueError(
                f"FiniteVolumes: axis {axis} has {size} cells, the reconstruction needs at least "
                f"{width}; use a finer grid or a reconstruction of lower order."
            )
        if isinstance(low[0], Periodic):
            ends = w.narrow(dim, size - width, width), w.narrow(dim, 0, width)
        else:
            ends = (
                self._outside(w.narrow(dim, 0, width), low, axis, -1),
                self._outside(w.narrow(dim, size - width, width), high, axis, 1),
            )
        return torch.cat([ends[0], w, ends[1]], dim=dim)

    def _outside(self, inside: Tensor, conditions: tuple, axis: int, direction: int) -> Tensor:
        """The cells beyond one end from as many cells before it, axis order kept."""
        parts, first = [], 0
        for condition, group in groupby(conditions):
            count = len(list(group))
            part = inside.narrow(1, first, count)
            parts.append(_continued(part, condition, 2 + axis, direction, self.grid.spacing[axis]))
            first += count
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _continued(inside: Tensor, condition: Any, dim: int, direction: int, spacing: float) -> Tensor:
    """One condition for neighbouring channels."""
    if isinstance(condition, _Mirror):
        mirrored = inside.flip(dim)
        return mirrored if condition.sign > 0 else -mirrored
    if isinstance(condition, Dirichlet):
        return torch.full_like(inside, float(condition.value))  # pyright: ignore[reportArgumentType]
    width = inside.shape[dim]
    edge = inside.narrow(dim, width - 1 if direction > 0 else 0, 1).expand_as(inside)
    if isinstance(condition, Neumann) and condition.derivative:
        shape = [1] * inside.ndim
        shape[dim] = width
        distance = torch.arange(1, width + 1, dtype=inside.dtype, device=inside.device)
        distance = distance if direction > 0 else -distance.flip(0)
        slope: Any = condition.derivative
        return edge + slope * spacing * distance.reshape(shape)
    return edge


def _of_channel(
    condition: Any, channel: int, axis: int, vector_channels: tuple[int, ...], fields: FieldSpec
) -> Any:
    """What a condition means for one channel."""
    if isinstance(condition, Inflow):
        if len(condition.state) != fields.num_channels:
            raise ValueError(
                f"FiniteVolumes: Inflow needs one number per primitive variable {fields.names}, "
                f"got {condition.state}."
            )
        return Dirichlet(condition.state[channel])
    if isinstance(condition, SlipWall):
        return _Mirror(-1 if channel in vector_channels[axis : axis + 1] else 1)
    if isinstance(condition, NoSlipWall):
        return _Mirror(-1 if channel in vector_channels else 1)
    if isinstance(condition, (Periodic, Outflow, Dirichlet, Neumann)):
        return condition
    raise ValueError(
        f"FiniteVolumes: axis {axis} takes Periodic, Outflow, Dirichlet, Neumann, Inflow, "
        f"SlipWall or NoSlipWall, got {condition}."
    )


def _flat(condition: Any) -> Any:
    if isinstance(condition, Periodic):
        return condition
    return _Mirror(1) if isinstance(condition, _Mirror) else Outflow()


def _slope(condition: Any) -> Any:
    return Dirichlet(0.0) if isinstance(condition, Dirichlet) else condition
