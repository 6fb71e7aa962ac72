"""A fine field as interleaved coarse ones, and a fine sequence as interleaved slow ones."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from pdesurrogates.core import Grid

__all__ = ["StaggeredDecomposition"]


@dataclass(frozen=True)
class StaggeredDecomposition:
    """Splits fields into interleaved sub-grids and sequences into interleaved chains.

        space:  U_m[a, b, ..] = u[a s_x + i, b s_y + j, ..],   m = (i, j, ..),  0 <= i < s_x, ..
        time:   chain_r = u_r, u_(r + k), u_(r + 2 k), ..,     0 <= r < k

    Pure reshapes: nothing is lost, and `merge` after `split` is exact. Sub-grids are in
    the order of `offsets`, last axis fastest.

    Reference:
        NeuralStagger: Accelerating Physics-constrained Neural PDE Solver with Spatial-temporal
        Decomposition (Huang et al., 2023). https://arxiv.org/abs/2302.10255

    Args:
        space: Points that one coarse spacing spans, s, one number per axis.
        time: Number of chains k.

    Raises:
        ValueError: If a number is not positive, or a field or sequence cannot be divided.

    Example:
        >>> import torch
        >>> decomposition = StaggeredDecomposition(space=(2,), time=1)
        >>> parts = decomposition.split(torch.arange(6.0).reshape(1, 1, 6))
        >>> parts[0, :, 0].tolist()
        [[0.0, 2.0, 4.0], [1.0, 3.0, 5.0]]
        >>> decomposition.merge(parts).flatten().tolist()
        [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    """

    space: Sequence[int] = (2,)
    time: int = 1

    def __post_init__(self) -> None:
        space = (self.space,) if isinstance(self.space, int) else tuple(self.space)
        if not 1 <= len(space) <= 3 or any(int(s) != s or s < 1 for s in space):
            raise ValueError(
                "StaggeredDecomposition: `space` must hold one positive integer per axis, 1 to 3 "
                f"of them, got {self.space}."
            )
        if int(self.time) != self.time or self.time < 1:
            raise ValueError(
                f"StaggeredDecomposition: `time` must be a positive integer, got {self.time}."
            )
        object.__setattr__(self, "space", tuple(int(s) for s in space))

    @property
    def dim(self) -> int:
        """Number of space axes."""
        return len(self.space)

    @property
    def num_sub_grids(self) -> int:
        """S, the product of the factors of the axes."""
        return math.prod(self.space)

    @property
    def offsets(self) -> list[tuple[int, ...]]:
        """The first fine point (i, j, ..) of every sub-grid."""
        return list(itertools.product(*(range(s) for s in self.space)))

    def coarse_shape(self, num_points: Sequence[int]) -> tuple[int, ...]:
        """Points per axis of each sub-grid.

        Raises:
            ValueError: If an axis cannot be divided; names the nearest sizes that can.
        """
        points = tuple(num_points)
        if len(points) != self.dim:
            raise ValueError(
                f"StaggeredDecomposition: the field must have {self.dim} space axes for space="
                f"{self.space}, got {len(points)} with {points} points."
            )
        for axis, (n, s) in enumerate(zip(points, self.space, strict=True)):
            if n % s:
                sizes = [size for size in (n // s * s, (n // s + 1) * s) if size]
                raise ValueError(
                    f"StaggeredDecomposition: the points of axis {axis} must be a multiple of its "
                    f"factor {s}, got {n}; use a grid with "
                    f"{' or '.join(map(str, sizes))} points there, or another factor."
                )
        return tuple(n // s for n, s in zip(points, self.space, strict=True))

    def split(self, u: Tensor) -> Tensor:
        """(batch, channel, *space) -> (batch, sub_grid, channel, *coarse)."""
        coarse = self.coarse_shape(u.shape[2:])
        pairs = [size for n, s in zip(coarse, self.space, strict=True) for size in (n, s)]
        u = u.reshape(*u.shape[:2], *pairs)
        inner = [3 + 2 * axis for axis in range(self.dim)]
        outer = [2 + 2 * axis for axis in range(self.dim)]
        return u.permute(0, *inner, 1, *outer).flatten(1, self.dim)

    def merge(self, parts: Tensor) -> Tensor:
        """The inverse of `split`: (batch, sub_grid, channel, *coarse) -> (batch, channel, *space).

        Raises:
            ValueError: If the number of sub-grids or axes is another.
        """
        if parts.ndim != 3 + self.dim or parts.shape[1] != self.num_sub_grids:
            raise ValueError(
                "StaggeredDecomposition.merge: the parts must have shape (batch, "
                f"{self.num_sub_grids}, channel, *coarse) with {self.dim} axes, got "
                f"{tuple(parts.shape)}."
            )
        coarse = parts.shape[3:]
        v = parts.unflatten(1, self.space)
        channel = 1 + self.dim
        order = [a for axis in range(self.dim) for a in (channel + 1 + axis, 1 + axis)]
        v = v.permute(0, channel, *order)
        return v.reshape(*v.shape[:2], *(n * s for n, s in zip(coarse, self.space, strict=True)))

    def split_time(self, trajectory: Tensor) -> Tensor:
        """(batch, time, ...) -> (batch, chain, time / k, ...)."""
        if trajectory.shape[1] % self.time:
            n, k = trajectory.shape[1], self.time
            raise ValueError(
                f"StaggeredDecomposition: the frames must be a multiple of time={k}, got {n}; "
                f"keep {n // k * k} of them."
            )
        return trajectory.unflatten(1, (-1, self.time)).transpose(1, 2)

    def merge_time(self, chains: Tensor) -> Tensor:
        """The inverse of `split_time`: (batch, chain, time / k, ...) -> (batch, time, ...)."""
        return chains.transpose(1, 2).flatten(1, 2)

    def sub_grid(self, grid: Grid, index: int) -> Grid:
        """The grid of one sub-grid: s times the spacing, first point at its offset.

        Args:
            grid: The fine grid.
            index: Number of the sub-grid in the order of `offsets`.
        """
        points = self.coarse_shape(grid.num_points)
        extent, origin = [], []
        for axis, (s, i) in enumerate(zip(self.space, self.offsets[index], strict=True)):
            h, has_ends = grid.spacing[axis], not grid.is_periodic[axis]
            on_ends = has_ends and not grid.cell_centred
            extent.append((points[axis] - 1) * s * h if on_ends else grid.extent[axis])
            shift = (i + 0.5 - s / 2) * h if grid.cell_centred else i * h
            origin.append(grid.origin[axis] + shift)
        return Grid(points, tuple(extent), tuple(origin), grid.is_periodic, grid.cell_centred)
