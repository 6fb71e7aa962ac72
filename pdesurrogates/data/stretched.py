"""Grids whose points are not evenly spaced, as some files store them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

from pdesurrogates.core import Grid
from pdesurrogates.data.axes import grid_from_coordinates, irregularity

__all__ = ["StretchedGrid", "grid_or_stretched"]


@dataclass(frozen=True)
class StretchedGrid(Grid):
    """A Cartesian grid with an axis that is not uniform: it has coordinates, but no spacing.

    States on it can be read, shown, normalised, cut into windows and written; whatever needs a
    spacing (derivatives, spectra, integrals) is refused by name.

    Args:
        vectors: Coordinates per axis [length].

    Raises:
        ValueError: If the vectors do not have `num_points` entries each.
    """

    vectors: tuple[tuple[float, ...], ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        lengths = tuple(len(vector) for vector in self.vectors)
        if lengths != self.num_points:
            raise ValueError(
                f"StretchedGrid: `vectors` must have {self.num_points} coordinates, got {lengths}."
            )

    @property
    def spacing(self) -> NoReturn:
        """There is none.

        Raises:
            ValueError: Always, naming the gap.
        """
        raise ValueError(
            f"Grid: a spacing is needed here, but {'; '.join(self.gaps())}; interpolate the "
            f"states onto a uniform grid first."
        )

    def gaps(self, names: Sequence[str] = ("x", "y", "z")) -> list[str]:
        """What is wrong with every axis that is not uniform, in words."""
        named = zip(names, self.vectors, strict=False)
        found = (_unevenness(np.asarray(vector), name) for name, vector in named)
        return [text for text in found if text is not None]

    def axes(
        self, *, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None
    ) -> tuple[Tensor, ...]:
        """Coordinates along each axis, one tensor of shape (N,) per axis."""
        return tuple(torch.tensor(vector, dtype=dtype, device=device) for vector in self.vectors)

    def resized(self, num_points: Sequence[int] | int) -> NoReturn:
        """Not possible: where the points of another number would lie is not known.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            f"Grid: {self.num_points} uneven points cannot be resized to {num_points}; "
            f"interpolate the states onto a uniform grid first."
        )


def grid_or_stretched(
    coordinates: Mapping[str, np.ndarray], periodic: Sequence[bool], *, where: str
) -> Grid:
    """A `Grid` where all axes rise uniformly, else a `StretchedGrid`.

    An axis that is not uniform is not periodic, whatever `periodic` says: the gap across its
    ends is not known.

    Args:
        coordinates: Axis name to coordinates (N,), in axis order [length].
        periodic: One flag per axis.
        where: File or caller, for messages.

    Raises:
        ValueError: If an axis has fewer than 2 points, is not finite, or turns around.
    """
    uneven = {
        name: values
        for name, values in coordinates.items()
        if _turns_nowhere(values) and _unevenness(values, name) is not None
    }
    if not uneven:
        return grid_from_coordinates(coordinates, periodic, where=where)
    vectors, extent, origin, flags = [], [], [], []
    for (name, values), closed in zip(coordinates.items(), periodic, strict=True):
        if name in uneven:
            points = values.astype(np.float64)
            vectors.append(tuple(points.tolist()))
            extent.append(float(abs(points[-1] - points[0])))
            origin.append(float(min(points[0], points[-1])))
            flags.append(False)
        else:
            axis = grid_from_coordinates({name: values}, [closed], where=where)
            vectors.append(tuple(axis.axes()[0].tolist()))
            extent.append(axis.extent[0])
            origin.append(axis.origin[0])
            flags.append(closed)
    lengths = tuple(len(vector) for vector in vectors)
    return StretchedGrid(
        lengths, tuple(extent), tuple(origin), tuple(flags), vectors=tuple(vectors)
    )


def _turns_nowhere(values: np.ndarray) -> bool:
    """Whether these are at least two finite numbers that rise or fall strictly."""
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        return False
    steps = np.diff(values.astype(np.float64))
    return bool((steps > 0).all() or (steps < 0).all())


def _unevenness(values: np.ndarray, name: str) -> str | None:
    if values[-1] < values[0]:
        return f"axis {name} falls from {values[0]:.6g} to {values[-1]:.6g}"
    gap = irregularity(values, name)
    return None if gap is None else f"axis {name} is not uniform: {gap}"
