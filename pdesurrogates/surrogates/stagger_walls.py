"""What walls and incompressible flow ask of sub-grids: where am I, and a projection."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor

from pdesurrogates.core import Grid
from pdesurrogates.surrogates.stagger import NeuralStagger

__all__ = ["ProjectedStagger", "wall_channels"]


class ProjectedStagger(NeuralStagger):
    """Interleaved sub-networks whose re-assembled field is projected onto the allowed states.

        u(t + k dt) = P(u(t) + change),   e.g. P onto velocities without divergence

    Sub-grids cannot obey a constraint between neighbouring points, such as no divergence or a
    pressure; the fine field can. P acts after re-assembly and after nothing else, is part of the
    training (gradients go through it) and costs a solve on the fine grid per call, which does not
    run in parallel over sub-grids: it belongs to the latency.

    Args:
        backbone, dt, ...: See `NeuralStagger`.

    Example:
        >>> from pdesurrogates.backbones import FNO
        >>> surrogate = ProjectedStagger(FNO(4, 1, num_modes=(4, 4)), dt=0.1)
        >>> mean_free = surrogate.with_projection(lambda u: u - u.mean((2, 3), keepdim=True))
        >>> u = mean_free(0.0, torch.rand(3, 1, 16, 16), 0.1)
        >>> float(u.detach().mean().abs()) < 1e-6
        True
    """

    def with_projection(self, project: Callable[[Tensor], Tensor]) -> Self:
        """The same surrogate (shared weights) with P.

        Args:
            project: Fine states (batch, channel, *space) to allowed ones, differentiable. It is
                not saved with the surrogate.
        """
        other = copy.copy(self)
        other.__dict__["project"] = project
        return other

    def advance(self, u: Tensor, y: Tensor, dt: float | Tensor | None = None) -> Tensor:
        """u plus the predicted change over k dt, projected."""
        project = self.__dict__.get("project")
        if project is None:
            raise ValueError(
                "ProjectedStagger: the projection is not saved with the weights and was not "
                "given; use surrogate.with_projection(project)."
            )
        return project(super().advance(u, y, dt))


def wall_channels(grid: Grid) -> Tensor:
    """Constant channels that tell a network where the walls are, two per axis with ends:

        position = 2 (x - x_low) / L - 1,    layer = exp(-d / 2h),  d the distance to the nearer

    A sub-grid holds wall points for one of its offsets at most, and its own ends are elsewhere
    than the walls; these channels, split like the state, say how far. `layer` is large within a
    few fine spacings h of a wall.

    Args:
        grid: The fine grid.

    Returns:
        (2 number of axes with ends, *space), float64; empty for a periodic grid.
    """
    points = grid.coordinates()
    channels = []
    for axis in range(grid.dim):
        if grid.is_periodic[axis]:
            continue
        length, h = grid.extent[axis], grid.spacing[axis]
        x = points[axis] - grid.origin[axis]
        channels += [2 * x / length - 1, torch.exp(-torch.minimum(x, length - x) / (2 * h))]
    return torch.stack(channels) if channels else points[:0]
