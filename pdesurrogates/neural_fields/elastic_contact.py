"""Obstacles that a body cannot enter: planes and balls, by a penalty on the depth."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["BallObstacle", "Obstacle", "PlaneObstacle"]


class Obstacle(ABC):
    """A solid that pushes back with the depth at which a point lies inside it.

        W(q) = stiffness / 2 depth(q)^2,    depth = max(0, -distance to the surface)

    The force, stiffness depth, points to the nearest place outside and vanishes at the surface.
    """

    stiffness: float

    @abstractmethod
    def distance(self, q: Tensor) -> Tensor:
        """Distance to the surface (..., 1) of points (..., dim), negative inside."""

    def depth(self, q: Tensor) -> Tensor:
        """How deep points (..., dim) lie inside (..., 1), zero outside."""
        return torch.relu(-self.distance(q))

    def rows(self, q: Tensor) -> Tensor:
        """Root of W (..., 1)."""
        return math.sqrt(self.stiffness / 2) * self.depth(q)


@dataclass(frozen=True)
class PlaneObstacle(Obstacle):
    """The half-space normal . q < offset.

    Args:
        normal: Direction out of the solid; scaled to length one.
        offset: Where the surface lies along the normal.
        stiffness: Penalty [force / volume / depth].

    Example:
        >>> floor = PlaneObstacle((0.0, 1.0), -2.0)
        >>> floor.depth(torch.tensor([0.0, -2.25])).item()
        0.25
    """

    normal: Sequence[float]
    offset: float
    stiffness: float = 1e4

    def __post_init__(self) -> None:
        length = math.hypot(*self.normal)
        if not length > 0:
            raise ValueError(f"PlaneObstacle: `normal` must not be zero, got {self.normal}.")
        object.__setattr__(self, "normal", tuple(n / length for n in self.normal))
        _check_stiffness(self.stiffness, "PlaneObstacle")

    def distance(self, q: Tensor) -> Tensor:
        return (q * q.new_tensor(self.normal)).sum(dim=-1, keepdim=True) - self.offset


@dataclass(frozen=True)
class BallObstacle(Obstacle):
    """A disc or ball.

    Args:
        centre: Its centre.
        radius: Its radius [length].
        stiffness: Penalty [force / volume / depth].
    """

    centre: Sequence[float]
    radius: float
    stiffness: float = 1e4

    def __post_init__(self) -> None:
        if not self.radius > 0:
            raise ValueError(f"BallObstacle: `radius` must be positive, got {self.radius}.")
        object.__setattr__(self, "centre", tuple(self.centre))
        _check_stiffness(self.stiffness, "BallObstacle")

    def distance(self, q: Tensor) -> Tensor:
        offset = q - q.new_tensor(self.centre)
        square = offset.square().sum(dim=-1, keepdim=True)
        # At the very centre there is no direction out; the root keeps a finite slope.
        return square.clamp(min=torch.finfo(q.dtype).eps).sqrt() - self.radius


def _check_stiffness(stiffness: float, where: str) -> None:
    if not (math.isfinite(stiffness) and stiffness >= 0):
        raise ValueError(f"{where}: `stiffness` must not be negative, got {stiffness}.")
