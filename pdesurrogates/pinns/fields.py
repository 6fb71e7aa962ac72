"""A solution in space and time, whoever found it: values at points, on grids, in files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pdesurrogates.core import Box, FieldSpec, Grid
from pdesurrogates.data import write_trajectories

__all__ = ["SpaceTimeField"]


class SpaceTimeField(nn.Module, ABC):
    """A function u(x, t) on a box, or u(x) where there is no time.

    A subclass has `space`, `span` and `fields`, and implements `field`.

    Attributes:
        space: Box of the points.
        span: First and last time, `None` without time.
        fields: Names and units of the channels.
    """

    space: Box
    span: tuple[float, float] | None
    fields: FieldSpec

    @abstractmethod
    def field(self, points: Any, times: Any) -> Any:
        """u at points (batch, point, dim) and times (batch, point, 1), tensors or jets."""

    @property
    def domain(self) -> Box:
        """Box of points and times together; time is the last axis."""
        return self.space if self.span is None else self.space.with_time(*self.span)

    def forward(self, points: Tensor, times: Tensor | float | None = None) -> Tensor:
        """Values (batch, point, channel).

        Args:
            points: (batch, point, dim).
            times: (batch, point, 1), or one time for all; `None` without time.

        Raises:
            ValueError: If a point or a time lies outside the domain.
        """
        where = type(self).__name__
        if points.ndim != 3 or points.shape[-1] != self.space.dim:
            raise ValueError(
                f"{where}: `points` must have shape (batch, point, {self.space.dim}), got "
                f"{tuple(points.shape)}; a list of points needs a batch axis: points[None]."
            )
        if (times is None) != (self.span is None):
            raise ValueError(
                f"{where}: `times` must be given exactly where the problem has time, which is "
                f"{self.span}, got {times}."
            )
        if times is not None and not isinstance(times, Tensor):
            times = torch.full_like(points[..., :1], times)
        if times is not None and times.shape != points[..., :1].shape:
            raise ValueError(
                f"{where}: `times` must be one time or have shape "
                f"{tuple(points[..., :1].shape)}, got {tuple(times.shape)}."
            )
        together = points if times is None else torch.cat((points, times), dim=-1)
        self.domain.check(together, where=where)
        return self.field(points, times)

    @torch.no_grad()
    def sample(
        self, grid: Grid, times: Sequence[float] | Tensor = (0.0,), *, chunk_size: int = 65_536
    ) -> Tensor:
        """The solution on a grid, (1, time, channel, *space).

        Args:
            grid: Where; its points must lie in the domain.
            times: When; not used without time.
            chunk_size: Points per call of the network.
        """
        like = next(self.parameters())
        points = grid.coordinates(dtype=like.dtype, device=like.device).flatten(1).mT[None]
        frames = []
        for time in [None] if self.span is None else [float(t) for t in times]:
            pieces = [self(piece, time) for piece in points.split(chunk_size, dim=1)]
            values = torch.cat(pieces, dim=1)
            frames.append(values.mT.unflatten(-1, grid.shape))
        return torch.stack(frames, dim=1)

    def write(
        self,
        path: str | Path,
        grid: Grid,
        times: Sequence[float],
        *,
        attributes: Mapping[str, str | int | float | bool] | None = None,
        overwrite: bool = False,
    ) -> Path:
        """The solution as a trajectory file like all others.

        Args:
            path, grid, times, attributes, overwrite: As for `data.write_trajectories`.
        """
        return write_trajectories(
            path,
            self.sample(grid, times),
            fields=self.fields,
            grid=grid,
            times=list(times),
            attributes=attributes,
            name=type(self).__name__,
            dtype=str(next(self.parameters()).dtype).removeprefix("torch."),
            overwrite=overwrite,
        )
