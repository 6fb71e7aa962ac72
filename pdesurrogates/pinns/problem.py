"""What is to become zero, and where: named residuals over named sets of points."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from pdesurrogates.sampling import Residual, Sampler

__all__ = ["DrawnPoints", "GivenPoints", "PointSet", "Problem"]


class PointSet(ABC):
    """Where a residual is asked for: drawn anew by a sampler, or given once and for all."""

    @abstractmethod
    def draw(self, generator: torch.Generator, like: Tensor) -> Tensor:
        """Points (point, dim), with dtype and device of `like`."""

    def update(self, residual: Residual, generator: torch.Generator, like: Tensor) -> None:
        """Show the residual to the sampler, if there is one."""
        del residual, generator, like


class DrawnPoints(PointSet):
    """Points from a sampler, which may adapt to the residual.

    Args:
        sampler: Any `pdesurrogates.sampling.Sampler`.
        num_points: Points per draw.
    """

    def __init__(self, sampler: Sampler, num_points: int) -> None:
        if num_points < 1:
            raise ValueError(f"DrawnPoints: `num_points` must be positive, got {num_points}.")
        self.sampler, self.num_points = sampler, num_points

    def draw(self, generator: torch.Generator, like: Tensor) -> Tensor:
        samples = self.sampler.sample(
            self.num_points, generator=generator, dtype=like.dtype, device=like.device
        )
        return samples.points

    def update(self, residual: Residual, generator: torch.Generator, like: Tensor) -> None:
        self.sampler.update(residual, generator=generator, dtype=like.dtype, device=like.device)


class GivenPoints(PointSet):
    """The same points at every draw.

    Args:
        points: (point, dim); columns besides coordinates (measured values) are allowed.
    """

    def __init__(self, points: Tensor) -> None:
        if points.ndim != 2 or not len(points):
            raise ValueError(
                f"GivenPoints: `points` must have shape (point, dim), got {tuple(points.shape)}."
            )
        if not bool(points.isfinite().all()):
            raise ValueError("GivenPoints: `points` must be finite.")
        self.points = points

    def draw(self, generator: torch.Generator, like: Tensor) -> Tensor:
        return self.points.to(like)


class Problem(nn.Module, ABC):
    """A loss made of named residuals, each a mean square over its points:

        loss = sum_name weight_name mean_i row_weight_i |r_name(x_i)|^2

    `fit` trains any problem. A subclass says what its residuals are; a residual at a point may
    depend on the trainable parameters and on that point only, and must use functions that
    `torch.func.vmap` takes (`JetDerivatives` does), so that second-order steps can have it.

    Args:
        point_sets: Where the residuals are asked for, by name.
        residual_names: Names of all residuals.
        weights: Factor of each mean square, by name; 1 where nothing is said.

    Raises:
        ValueError: If a weight has an unknown name, or is negative or not finite.
    """

    def __init__(
        self,
        point_sets: Mapping[str, PointSet],
        residual_names: Iterable[str],
        weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.point_sets = dict(point_sets)
        self.residual_names = tuple(residual_names)
        self.weights = dict.fromkeys(self.residual_names, 1.0)
        self.set_weights(weights or {})

    def set_weights(self, weights: Mapping[str, float]) -> None:
        """Change some of the weights."""
        unknown = [name for name in weights if name not in self.residual_names]
        if unknown:
            raise ValueError(
                f"{type(self).__name__}: `weights` has the names {unknown}, but the parts of the "
                f"loss are {list(self.residual_names)}."
            )
        for name, weight in weights.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise ValueError(
                    f"{type(self).__name__}: the weight of {name!r} must be finite and not "
                    f"negative, got {weight}."
                )
            self.weights[name] = float(weight)

    @property
    def is_functional(self) -> bool:
        """Whether residuals can be differentiated by `torch.func`, as second-order steps do."""
        return True

    @abstractmethod
    def residuals_of(self, name: str, points: Tensor) -> dict[str, Tensor]:
        """Residuals at the points of one set.

        Args:
            name: Name of the point set.
            points: Its points (point, dim).

        Returns:
            By name of the residual: (point, component).
        """

    def row_weights(
        self, points: Mapping[str, Tensor], residuals: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Weights (point, 1) of single points, without gradients; residuals left out count 1."""
        del points, residuals
        return {}

    def examine(self, points: Mapping[str, Tensor]) -> None:
        """A look at the present state between steps, to raise what makes going on pointless."""
        del points

    def draw(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Points of every set, by name."""
        return {name: own.draw(generator, self._like) for name, own in self.point_sets.items()}

    def update_samplers(self, generator: torch.Generator) -> None:
        """Show every sampler the present size of its residuals."""
        for name, own in self.point_sets.items():
            own.update(lambda points, n=name: self._size(n, points), generator, self._like)

    def residuals(self, points: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All residuals by name, (point, component)."""
        found: dict[str, Tensor] = {}
        for name in self.point_sets:
            found.update(self.residuals_of(name, points[name]))
        return found

    def losses(self, points: Mapping[str, Tensor] | torch.Generator) -> dict[str, Tensor]:
        """Mean squares by name, without the weights of the parts.

        Args:
            points: Points of every set, or a generator to draw them with.
        """
        if isinstance(points, torch.Generator):
            points = self.draw(points)
        residuals = self.residuals(points)
        rows = self.row_weights(points, residuals)
        return {
            name: (r.square() * rows[name] if name in rows else r.square()).mean()
            for name, r in residuals.items()
        }

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of the parts."""
        return torch.stack([self.weights[name] * loss for name, loss in losses.items()]).sum()

    @property
    def _like(self) -> Tensor:
        """A tensor with the dtype and device of the parameters."""
        return next(p for p in self.parameters() if p.is_floating_point())

    def _size(self, name: str, points: Tensor) -> Tensor:
        """What a sampler sees (point,): the residual, or the root of the sum of squares."""
        parts = [
            math.sqrt(self.weights[key]) * r for key, r in self.residuals_of(name, points).items()
        ]
        rows = torch.cat(parts, dim=-1)
        return rows[:, 0] if rows.shape[-1] == 1 else rows.square().sum(dim=-1).sqrt()
