"""Samples on a grid as a function of points."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pdesurrogates.core import Grid, check_finite

__all__ = ["SampledField"]


class SampledField:
    """The function that takes given values at the points of a grid.

    Along a periodic axis the trigonometric interpolant (exact below the Nyquist wave), otherwise
    cubic polynomials through the four nearest points.

    Args:
        samples: (batch, channel, *space).
        grid: Where they are.

    Shape:
        points: (batch or 1, point, dim) -> (batch, point, channel)

    Raises:
        ValueError: If the shapes do not fit, values are not finite, or an axis that is not
            periodic has fewer than four points.

    Example:
        >>> grid = Grid((8,), (1.0,))
        >>> wave = torch.sin(2 * math.pi * grid.coordinates())[None]
        >>> point = torch.tensor([[[0.3]]], dtype=torch.float64)
        >>> abs(SampledField(wave, grid)(point).item() - math.sin(0.6 * math.pi)) < 1e-12
        True
    """

    def __init__(self, samples: Tensor, grid: Grid) -> None:
        if samples.ndim != 2 + grid.dim or tuple(samples.shape[2:]) != grid.shape:
            raise ValueError(
                "SampledField: `samples` must have shape (batch, channel, *space) = (batch, "
                f"channel, {', '.join(map(str, grid.shape))}), got {tuple(samples.shape)}; add "
                "missing axes with samples[None]."
            )
        for axis, (n, periodic) in enumerate(zip(grid.shape, grid.is_periodic, strict=True)):
            if not periodic and n < 4:
                raise ValueError(
                    f"SampledField: cubic interpolation needs 4 points, axis {axis} has {n}."
                )
        check_finite(samples, where="SampledField", what="`samples`")
        self.samples = samples
        self.grid = grid

    def __call__(self, points: Tensor) -> Tensor:
        batch = max(len(points), len(self.samples))
        points = points.expand(batch, *points.shape[1:])
        values = self.samples.to(points).expand(batch, *self.samples.shape[1:])
        first = self._weights(points[..., 0], 0)
        total = torch.einsum("bpi,bci...->bpc...", first, values)
        for axis in range(1, self.grid.dim):
            weights = self._weights(points[..., axis], axis)
            total = torch.einsum("bpi,bpci...->bpc...", weights, total)
        return total

    def _weights(self, x: Tensor, axis: int) -> Tensor:
        """Influence of every grid point of one axis (batch, point, N)."""
        grid = self.grid
        count = grid.num_points[axis]
        first = grid.axes(dtype=x.dtype)[axis][0].item()
        position = (x - first) / grid.spacing[axis]
        if grid.is_periodic[axis]:
            index = torch.arange(count, dtype=x.dtype, device=x.device)
            return _periodic_sinc(position[..., None] - index, count)
        start = (position.floor() - 1).clamp(0, count - 4)
        s = position - start
        nodes = torch.stack(
            (
                -(s - 1) * (s - 2) * (s - 3) / 6,
                s * (s - 2) * (s - 3) / 2,
                -s * (s - 1) * (s - 3) / 2,
                s * (s - 1) * (s - 2) / 6,
            ),
            dim=-1,
        )
        columns = start[..., None].long() + torch.arange(4, device=x.device)
        return x.new_zeros(*x.shape, count).scatter_add_(-1, columns, nodes)


def _periodic_sinc(distance: Tensor, count: int) -> Tensor:
    """The trigonometric polynomial that is 1 at 0 and 0 at 1 .. count - 1, period count."""
    angle: Any = math.pi * distance / count
    sine, numerator = torch.sin(angle), torch.sin(math.pi * distance)
    if count % 2 == 0:
        # sin(n a) cos(a) / (n sin(a)): the Nyquist wave is split between both signs.
        numerator = numerator * torch.cos(angle)
    at_node = sine.abs() < 1e-12
    ratio = numerator / torch.where(at_node, torch.ones_like(sine), sine) / count
    return torch.where(at_node, torch.ones_like(ratio), ratio)
