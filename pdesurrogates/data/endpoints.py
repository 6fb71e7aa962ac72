"""Does the last point repeat the first? Does an axis close on itself? Asked of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from pdesurrogates.core import Grid
from pdesurrogates.data.storage import Block, MemoryBlock

__all__ = [
    "ShortenedBlock",
    "detect_periodic",
    "is_left_closed",
    "is_smooth_across_ends",
    "repeated_endpoint",
    "repeats_of",
    "sample_states",
    "without_endpoint",
]

_RELATIVE = 1e-6
_FLAT = 1e-4
_SEAM_POINTS = 8
_SEAM_FACTOR = 4.0
_SAMPLE_BYTES = 32 * 2**20
_SAMPLE_TRAJECTORIES = 8


def repeated_endpoint(states: Tensor, axis: int) -> Literal["no", "ambiguous", "yes"]:
    """Whether the last point along `axis` holds the same values as the first in all frames.

    "ambiguous" means that the ends agree but need not be the same point: they never change (a
    Dirichlet problem with both ends stored looks like this), or the states are mirror images of
    themselves. Where the states are flat and constant at both ends (a pulse in the middle) there
    is nothing to tell, and the answer is "no".

    Args:
        states: (..., *space).
        axis: Space axis of `states`.
    """
    if states.shape[axis] < 4:
        return "no"
    first, last = states.select(axis, 0), states.select(axis, -1)
    tolerance = _RELATIVE * float(states.abs().max())
    if float((last - first).abs().max()) > tolerance:
        return "no"
    is_constant = float(first.max() - first.min()) <= tolerance
    second, last_but_one = states.select(axis, 1), states.select(axis, -2)
    steepness = max(float((second - first).abs().max()), float((last_but_one - last).abs().max()))
    if is_constant and steepness <= _FLAT * float(states.abs().max()):
        return "no"
    mirrored = min(
        float((second - first - sign * (last_but_one - last)).abs().max()) for sign in (1, -1)
    )
    return "ambiguous" if is_constant or mirrored <= 10 * tolerance else "yes"


def repeats_of(states: Tensor, grid: Grid, names: Sequence[str]) -> list[str]:
    """A sentence for every periodic axis of `grid` whose last point repeats the first.

    Args:
        states: (time, channel, *space) or with more leading axes.
        grid: Grid the states claim to be on.
        names: Axis names.
    """
    found = []
    for number, (name, periodic) in enumerate(zip(names, grid.is_periodic, strict=True)):
        answer = repeated_endpoint(states, number - grid.dim) if periodic else "no"
        n = grid.shape[number]
        if answer == "yes":
            found.append(
                f"axis {name}: the periodic endpoint is repeated (point {n - 1} equals point 0 in "
                f"all frames): it should have {n - 1} points; convert drops the last one"
            )
        elif answer == "ambiguous":
            found.append(
                f"axis {name}: the first and last point are equal in all frames, but this may "
                f"be a "
                f"boundary value: ambiguous, taken as it is"
            )
    return found


def without_endpoint(grid: Grid, axis: int, *, keep_extent: bool = False) -> Grid:
    """The grid without its last point along `axis`, which repeats the first.

    Args:
        grid: A grid with one point too many.
        axis: Periodic axis.
        keep_extent: Whether the extent is right and the spacing wrong, or the other way round.
    """
    points, extent = list(grid.shape), list(grid.extent)
    points[axis] -= 1
    if not keep_extent:
        extent[axis] = grid.spacing[axis] * points[axis]
    return Grid(tuple(points), tuple(extent), grid.origin, grid.is_periodic)


def is_left_closed(coordinates: np.ndarray) -> bool:
    """Whether the axis is [-L/2, L/2) without its right end, as periodic solvers store it."""
    spacing = (coordinates[-1] - coordinates[0]) / (len(coordinates) - 1)
    gap = abs(coordinates[0] + coordinates[-1] + spacing)
    return bool(gap <= _RELATIVE * abs(coordinates[0]))


def is_smooth_across_ends(states: Tensor, axis: int) -> bool:
    """Whether second differences across the seam are as small as those beside it.

    The root mean square over all frames at the seam may be at most 4 times that of the 8 points
    on either side.

    Args:
        states: (..., *space).
        axis: Space axis of `states`.
    """
    u = states.movedim(axis, -1)
    if u.shape[-1] < 2 * _SEAM_POINTS + 4:
        return False
    strip = torch.cat([u[..., -_SEAM_POINTS - 2 :], u[..., : _SEAM_POINTS + 2]], dim=-1)
    curvature = (strip[..., 2:] - 2 * strip[..., 1:-1] + strip[..., :-2]).square()
    strength = curvature.reshape(-1, curvature.shape[-1]).mean(0).sqrt()
    seam = strength[_SEAM_POINTS : _SEAM_POINTS + 2].max()
    beside = torch.cat([strength[:_SEAM_POINTS], strength[_SEAM_POINTS + 2 :]]).max()
    floor = _RELATIVE * float(states.abs().max())
    return bool(seam <= _SEAM_FACTOR * beside + floor)


def detect_periodic(
    states: Tensor, vectors: Mapping[str, np.ndarray | None]
) -> tuple[tuple[bool, ...], list[str]]:
    """Whether each axis closes, and why in words.

    Args:
        states: (..., *space), real.
        vectors: Axis name to coordinates, or `None` where there are none; in axis order.
    """
    flags, notes = [], []
    for number, (name, points) in enumerate(vectors.items()):
        axis = number - len(vectors)
        answer = repeated_endpoint(states, axis)
        left_closed = points is not None and is_left_closed(points)
        if answer == "yes":
            flag, reason = True, "the last point repeats the first in all frames"
        elif left_closed:
            flag, reason = True, "its points are [-L/2, L/2) with the right end left out"
        elif answer == "ambiguous":
            flag = False
            reason = (
                "ambiguous: the first and last point are equal in all frames, as in a repeated "
                "periodic endpoint, but also as in equal boundary values"
            )
        elif is_smooth_across_ends(states, axis):
            flag, reason = True, "the states are smooth across its ends"
        else:
            flag, reason = False, "the states are not smooth across its ends"
        flags.append(flag)
        notes.append(
            f"axis {name} taken as {'periodic' if flag else 'not periodic'} ({reason}); give "
            f"periodic={not flag} (--{'not-' if flag else ''}periodic) if that is wrong"
        )
    return tuple(flags), notes


def sample_states(block: Block, num_trajectories: int, num_times: int) -> Tensor:
    """States to judge by, (trajectory, time, channel, *space): all of them if they are in memory.

    From a file at most 32 MiB are read, of up to 8 trajectories and of frames in equal distances.
    """
    if isinstance(block, MemoryBlock):
        return block.states
    rows = _spread(num_trajectories, _SAMPLE_TRAJECTORIES)
    first = block.gather(rows[:1], [0], 1)
    frames = max(2, _SAMPLE_BYTES // max(1, first.nbytes) // len(rows))
    if frames >= num_times:
        return block.gather(rows, [0] * len(rows), num_times)
    starts = _spread(num_times, frames)
    return torch.cat([block.gather(rows, [start] * len(rows), 1) for start in starts], dim=1)


def _spread(count: int, wanted: int) -> list[int]:
    """At most `wanted` of 0 .. count - 1, both ends among them."""
    wanted = min(count, wanted)
    return sorted({round(i * (count - 1) / max(1, wanted - 1)) for i in range(wanted)})


class ShortenedBlock:
    """Another block without the last point of some axes, which repeats the first.

    Args:
        block: The block.
        axes: Numbers of the space axes.

    Raises:
        ValueError: In `gather`, if a last point does not repeat the first.
    """

    def __init__(self, block: Block, axes: Sequence[int]) -> None:
        self.block = block
        self.axes = tuple(axes)
        self.num_channels = block.num_channels
        self.dtype = block.dtype

    def gather(self, trajectories: Sequence[int], starts: Sequence[int], length: int) -> Tensor:
        """Windows of `length` frames, (batch, length, channel, *space)."""
        states = self.block.gather(trajectories, starts, length)
        for axis in self.axes:
            first, last = states.select(3 + axis, 0), states.select(3 + axis, -1)
            tolerance = 1e-5 * float(states.abs().max())
            if not torch.allclose(first, last, rtol=1e-5, atol=tolerance, equal_nan=True):
                raise ValueError(
                    f"the last point of axis {'xyz'[axis]} repeats the first in the frames that "
                    f"were looked at, but not in trajectories {list(trajectories)}; open the file "
                    f"without drop_repeated_endpoint."
                )
            states = states.narrow(3 + axis, 0, states.shape[3 + axis] - 1)
        return states.contiguous()

    def close(self) -> None:
        """Close the block."""
        self.block.close()
