"""What a sampler is: points with their log-density, and a chance to look at the residual."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple, TypeAlias

import torch
from torch import Tensor

from pdesurrogates.core import Box

__all__ = [
    "Residual",
    "Sampler",
    "Samples",
    "check_num_points",
    "check_residual",
    "uniform_points",
]

#: Points (num_points, dim) -> residual of the equation there (num_points,), not squared; its sign
#: does not matter. Of a system: the root of the sum of squares.
Residual: TypeAlias = Callable[[Tensor], Tensor]


class Samples(NamedTuple):
    """Points and the density that they were drawn from.

    Attributes:
        points: Points in the domain (num_points, dim).
        log_density: Logarithm of the density at the points (num_points,). The density is on the
            domain in its own units and integrates to 1 there: uniform is 1 / volume.
    """

    points: Tensor
    log_density: Tensor


class Sampler(ABC):
    """Where the residual is asked for.

    A trainer asks for points with `sample` and, now and then, shows the sampler the present
    residual with `update`; it does not know which sampler it has.

    Args:
        domain: Box of the points; time, if any, is its last axis.

    Attributes:
        num_residual_evaluations: Points at which `update` has asked for the residual, for
            comparisons at equal cost.
    """

    is_quadrature: ClassVar[bool] = False
    """Whether means over the points are wanted as integrals, with `importance` as weights."""

    def __init__(self, domain: Box) -> None:
        self.domain = domain
        self.num_residual_evaluations = 0

    @abstractmethod
    def sample(
        self,
        num_points: int,
        *,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> Samples:
        """Draw points.

        Args:
            num_points: How many, at least 1.
            generator: Source of all randomness, on any device.
            dtype: Precision of the points.
            device: Where the points go; default: that of the generator.
        """

    def log_density(self, points: Tensor) -> Tensor:
        """Logarithm of the sampler's density at any points (num_points, dim) -> (num_points,)."""
        raise NotImplementedError(
            f"{type(self).__name__} knows its density only at the points that it draws."
        )

    def update(
        self,
        residual: Residual,
        *,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> None:
        """Look at the residual; a sampler that does not adapt does nothing.

        Args:
            residual: Points (num_points, dim) -> residual (num_points,), not squared, any sign;
                it is called without gradients unless the sampler says otherwise.
            generator: Source of all randomness.
            dtype: Precision of the points at which the residual is asked for.
            device: Their device; default: that of the generator.

        Raises:
            ValueError: If the residual has the wrong shape or is not finite. The sampler then
                keeps its last good state.
        """
        del residual, generator, dtype, device

    def _evaluate(self, residual: Residual, points: Tensor) -> Tensor:
        """Residual at points without gradients, checked and counted (num_points,)."""
        with torch.no_grad():
            values = residual(points)
        self.num_residual_evaluations += len(points)
        return check_residual(values.detach(), points, where=f"{type(self).__name__}.update")


def check_residual(values: Tensor, points: Tensor, *, where: str) -> Tensor:
    """The residual itself, if it is one finite number per point."""
    if values.shape != points.shape[:1]:
        raise ValueError(
            f"{where}: the residual must have shape (num_points,) = ({len(points)},), got "
            f"{tuple(values.shape)}; of a system take the root of the sum of squares."
        )
    finite = values.isfinite()
    if not bool(finite.all()):
        first = points[~finite][0].tolist()
        raise ValueError(
            f"{where}: the residual is not finite at {int((~finite).sum())} of {len(points)} "
            f"points, the first is {first}; the sampler keeps its last state. Lower the learning "
            "rate of the solution, or look for a singular point."
        )
    return values


def check_num_points(num_points: int, *, where: str, name: str = "num_points") -> None:
    """Refuse fewer than one point."""
    if num_points < 1:
        raise ValueError(f"{where}: `{name}` must be at least 1, got {num_points}.")


def uniform_points(
    domain: Box,
    num_points: int,
    *,
    generator: torch.Generator,
    dtype: torch.dtype,
    device: torch.device | str | None,
) -> Tensor:
    """Independent uniform points (num_points, dim), drawn where the generator lives."""
    unit = torch.rand(
        num_points, domain.dim, generator=generator, dtype=dtype, device=generator.device
    )
    return domain.from_unit(unit.to(device=device or generator.device))
