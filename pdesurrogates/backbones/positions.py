"""Where is a point, in numbers a network can use? Waves in its place in the box."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["box_points", "count_wave_features", "periodic_axes", "wave_features"]


def periodic_axes(periodic: bool | Sequence[bool], dim: int, *, where: str) -> tuple[bool, ...]:
    """One flag per space axis; a single one stands for all.

    Raises:
        ValueError: If the number of flags is not that of the axes.
    """
    flags = (periodic,) * dim if isinstance(periodic, bool) else tuple(periodic)
    if len(flags) != dim or not all(isinstance(flag, bool) for flag in flags):
        raise ValueError(
            f"{where}: `periodic` must be True or False, or one of them per space axis ({dim}), "
            f"got {periodic}."
        )
    return flags


def box_points(
    space: Sequence[int],
    periodic: Sequence[bool],
    *,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """Points of a grid as fractions of its box, (point, dim), last axis running fastest.

    i / N on periodic axes and i / (N - 1) on others, i = 0 .. N-1.
    """
    axes = [
        torch.arange(n, dtype=dtype, device=device) / (n if closes else n - 1)
        for n, closes in zip(space, periodic, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, -2)


def count_wave_features(periodic: Sequence[bool], num_waves: int) -> int:
    """Length of the last axis of `wave_features`."""
    return sum(2 * num_waves + (not closes) for closes in periodic) if num_waves else 0


def wave_features(x: Tensor, periodic: Sequence[bool], num_waves: int) -> Tensor:
    """Smooth functions of the place in the box, well defined where an axis closes on itself.

        periodic axis:  sin(2 pi k x), cos(2 pi k x),           k = 1 .. num_waves
        other axis:     2 x - 1, sin(pi k x), cos(pi k x)

    Args:
        x: Coordinates as fractions of the box, from 0 to 1.
        periodic: Whether the axis closes on itself, per axis.
        num_waves: Waves per axis, 0 for no features at all.

    Shape:
        x: (*any, dim) -> (*any, `count_wave_features(periodic, num_waves)`)
    """
    if not num_waves:
        return x[..., :0]
    k = torch.arange(1, num_waves + 1, dtype=x.dtype, device=x.device)
    features = []
    for axis, closes in enumerate(periodic):
        coordinate = x[..., axis, None]
        if not closes:
            features.append(2 * coordinate - 1)
        phases = ((2 if closes else 1) * math.pi) * k * coordinate
        features += [phases.sin(), phases.cos()]
    return torch.cat(features, dim=-1)
