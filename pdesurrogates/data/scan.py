"""One pass over the numbers of a file: ranges, missing values, empty and frozen frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pdesurrogates.data.base import TrajectoryFile
from pdesurrogates.data.statistics import Moments

__all__ = ["FieldRange", "Scan", "scan"]

_BLOCK_BYTES = 8 * 2**20


@dataclass(frozen=True)
class FieldRange:
    """Range of one field over the scanned trajectories; NaN and Inf are counted, not used."""

    name: str
    unit: str
    minimum: float
    maximum: float
    mean: float
    std: float
    num_missing: int


@dataclass
class Scan:
    """What the numbers look like.

    Args:
        ranges: One entry per field.
        zero_frames: (trajectory, frame) of frames in which every field is zero everywhere.
        constant_frames: Of frames in which every field is the same everywhere, but not zero.
        frozen_frames: Of frames that equal the frame before.
        num_frames: Frames scanned.
    """

    ranges: tuple[FieldRange, ...] = ()
    zero_frames: list[tuple[int, int]] = field(default_factory=list)
    constant_frames: list[tuple[int, int]] = field(default_factory=list)
    frozen_frames: list[tuple[int, int]] = field(default_factory=list)
    num_frames: int = 0

    def problems(self) -> Iterator[str]:
        """What looks wrong, in words."""
        for entry in self.ranges:
            if entry.num_missing:
                yield (
                    f"field {entry.name!r} has {entry.num_missing} NaN or Inf in the scanned "
                    f"trajectories"
                )
            elif entry.minimum == entry.maximum:
                yield f"field {entry.name!r} is {entry.minimum:g} everywhere"
        for frames, text in (
            (self.zero_frames, "are zero in all fields, as frames that were never written are"),
            (self.constant_frames, "are the same number everywhere in each field"),
            (self.frozen_frames, "repeat the frame before them bit by bit"),
        ):
            if frames and len(frames) < self.num_frames:
                trajectory, frame = frames[0]
                yield (
                    f"{len(frames)} of {self.num_frames} scanned frames {text}; the first is "
                    f"frame {frame} of trajectory {trajectory}"
                )


def scan(
    file: TrajectoryFile,
    trajectories: Sequence[int],
    progress: Callable[[int, int], None] | None = None,
) -> Scan:
    """Read some trajectories in blocks of 8 MiB.

    Args:
        file: On a grid or a mesh.
        trajectories: Which ones.
        progress: Called with (trajectories scanned, trajectories to scan).
    """
    channels = file.fields.num_channels
    low = torch.full((channels,), math.inf, dtype=torch.float64)
    high, missing = -low, torch.zeros(channels, dtype=torch.int64)
    moments = [Moments() for _ in range(channels)]
    found = Scan()
    for done, index in enumerate(trajectories, start=1):
        before: Tensor | None = None
        for start, u in _blocks(file, index):
            _judge_frames(found, u, before, index, start)
            before = u[-1:]
            values = u.transpose(0, 1).flatten(1)
            good = values.isfinite()
            missing += (~good).sum(1)
            low = torch.minimum(low, torch.where(good, values, math.inf).amin(1).double())
            high = torch.maximum(high, torch.where(good, values, -math.inf).amax(1).double())
            for own, row, fine in zip(moments, values, good, strict=True):
                own.add(row[fine].double()[None])
        if progress is not None:
            progress(done, len(trajectories))
    units = file.fields.units or ("1",) * channels
    found.ranges = tuple(
        FieldRange(
            name, unit, float(low[i]), float(high[i]), *_spread(moments[i]), int(missing[i])
        )
        for i, (name, unit) in enumerate(zip(file.fields.names, units, strict=True))
    )
    return found


def _blocks(file: TrajectoryFile, index: int) -> Iterator[tuple[int, Tensor]]:
    """First frame and states, (time, channel, points...), of stretches of one trajectory."""
    frames = max(1, _BLOCK_BYTES // max(1, file.frame_bytes))
    for start in range(0, file.num_times, frames):
        length = min(frames, file.num_times - start)
        if hasattr(file, "points"):  # on a mesh, channels come last
            u = file.read(index, slice(start, start + length)).movedim(-1, 1)
        else:
            u = file.read_windows([index], [start], length)[0]
        yield start, u


def _judge_frames(found: Scan, u: Tensor, before: Tensor | None, index: int, start: int) -> None:
    flat = u.flatten(2)
    lowest, highest = flat.amin(2), flat.amax(2)
    is_zero = (lowest == 0).all(1) & (highest == 0).all(1)
    is_constant = (lowest == highest).all(1) & ~is_zero
    extended = u if before is None else torch.cat([before, u])
    is_frozen = (extended[1:] == extended[:-1]).flatten(1).all(1)
    first = start + len(u) - len(is_frozen)
    found.num_frames += len(u)
    for flags, frames, offset in (
        (is_zero, found.zero_frames, start),
        (is_constant, found.constant_frames, start),
        (is_frozen, found.frozen_frames, first),
    ):
        frames.extend((index, offset + int(n)) for n in flags.nonzero()[:, 0])


def _spread(moments: Moments) -> tuple[float, float]:
    """Mean and standard deviation; NaN where nothing is finite."""
    if not moments.count:
        return math.nan, math.nan
    return float(moments.mean), float(moments.variance.sqrt())
