"""Mean, spread and one-step differences of every field, as The Well's stats.yaml holds them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
import yaml
from torch import Tensor

from pdesurrogates.data.base import TrajectoryFile
from pdesurrogates.data.open import open_trajectories
from pdesurrogates.data.well_names import WellField, well_fields

__all__ = ["Moments", "Statistics", "statistics"]

_BLOCK_BYTES = 8 * 2**20
_KEYS = ("mean", "std", "rms", "mean_delta", "std_delta", "rms_delta")

Number = float | list[float] | list[list[float]]


@dataclass
class Moments:
    """Count, mean and sum of squared deviations per channel, in float64.

    Blocks are merged by the pairwise update, so their sizes change the result by rounding only,
    and a large mean does not spoil the variance:

        d = mean_b - mean_a,                n = n_a + n_b
        mean = mean_a + d n_b / n,          M = M_a + M_b + d^2 n_a n_b / n

    Reference:
        Updating formulae and a pairwise algorithm for computing sample variances (Chan, Golub,
        LeVeque, 1979), Eq. 2.1.
    """

    count: int = 0
    mean: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    squares: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))

    def add(self, values: Tensor) -> None:
        """Merge a block of values, (channel, number) in float64."""
        n = values.shape[1]
        if n == 0:
            return
        mean = values.mean(1)
        centred = values - mean[:, None]
        # The second term removes what the rounding of the mean adds.
        squares = centred.square().sum(1) - centred.sum(1).square() / n
        total, shift = self.count + n, mean - self.mean
        self.squares = self.squares + squares + shift.square() * (self.count * n / total)
        self.mean = self.mean + shift * (n / total)
        self.count = total

    @property
    def variance(self) -> Tensor:
        """Population variance, M / n."""
        return (self.squares / self.count).clamp(min=0)


@dataclass(frozen=True)
class Statistics:
    """Statistics of the training split; per key a number, list or list of lists per field.

    Scalars have a number, vectors one per component, tensors rows of them. The variance is that
    of the population, over all trajectories, frames and points together; `_delta` is of
    u(t_{n+1}) - u(t_n), for fields that vary in time.
    """

    mean: dict[str, Number]
    std: dict[str, Number]
    rms: dict[str, Number]
    mean_delta: dict[str, Number]
    std_delta: dict[str, Number]
    rms_delta: dict[str, Number]

    def to_yaml(self) -> str:
        """The text of a stats.yaml: 5 significant digits, keys in alphabetical order."""
        return yaml.dump({key: getattr(self, key) for key in _KEYS}, Dumper=_FiveDigits)


def statistics(
    files: TrajectoryFile | str | Path | Iterable[TrajectoryFile | str | Path],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Statistics:
    """Statistics over files, streamed in blocks of 8 MiB; the block size does not matter.

    Args:
        files: One file or several, open or by path; all with the same fields.
        progress: Called with (frames done, all frames) after every block.

    Raises:
        ValueError: If fields differ, or values are not finite.

    Example:
        >>> from pdesurrogates.data import from_arrays
        >>> u = torch.tensor([[0.0, 2.0], [2.0, 4.0]])
        >>> found = statistics(from_arrays(u, axes="time x", dt=0.1, extent=1.0))
        >>> found.mean["u"], found.mean_delta["u"], found.std_delta["u"]
        (2.0, 2.0, 0.0)
    """
    given = [files] if isinstance(files, TrajectoryFile | str | Path) else list(files)
    opened = [
        entry if isinstance(entry, TrajectoryFile) else open_trajectories(entry) for entry in given
    ]
    if not opened:
        raise ValueError("statistics: needs at least one file, got none.")
    first = opened[0]
    values, deltas = Moments(), Moments()
    total, done = sum(file.num_trajectories * file.num_times for file in opened), 0
    for file in opened:
        if file.fields.names != first.fields.names:
            raise ValueError(
                f"statistics: all files must have the fields {first.fields.names} as "
                f"{first.name}, got {file.fields.names} in {file.name}."
            )
        for u, is_first in _blocks(file):
            fresh = u if is_first else u[:, 1:]
            values.add(_flat(fresh))
            deltas.add(_flat(u.diff(dim=1)))
            done += fresh.shape[0] * fresh.shape[1]
            if progress is not None:
                progress(done, total)
    fields = list(well_fields(first.fields.names, first.axis_names))
    moving = [entry for entry in fields if first.is_time_varying[entry.channels.start]]
    return Statistics(
        *_named(values, fields, first.grid.dim), *_named(deltas, moving, first.grid.dim)
    )


def _blocks(file: TrajectoryFile) -> Iterator[tuple[Tensor, bool]]:
    """Float64 states of some trajectories, (n, time, channel, *space), one after the other.

    A block that is not the first of its trajectories begins with the last frame of the block
    before.
    """
    size = max(1, file.frame_bytes)
    together = max(1, _BLOCK_BYTES // (size * file.num_times))
    frames = max(2, min(file.num_times, _BLOCK_BYTES // size))
    for low in range(0, file.num_trajectories, together):
        rows = list(range(low, min(low + together, file.num_trajectories)))
        for row in rows:
            file.verify(row)
        start = 0
        while start == 0 or start < file.num_times - 1:
            length = min(frames, file.num_times - start)
            u = file.read_windows(rows, [start] * len(rows), length)
            for row, states in zip(rows, u, strict=True):
                file.check_finite(states, row, start)
            yield u.to(torch.float64), start == 0
            start += length - 1 if length > 1 else 1


def _flat(u: Tensor) -> Tensor:
    """(n, time, channel, *space) to (channel, number)."""
    return u.movedim(2, 0).flatten(1)


def _named(
    moments: Moments, fields: list[WellField], dim: int
) -> tuple[dict[str, Number], dict[str, Number], dict[str, Number]]:
    """Mean, std and rms by field."""
    if moments.count == 0 or not fields:
        return {}, {}, {}
    variance = moments.variance
    columns = (moments.mean, variance.sqrt(), (moments.mean.square() + variance).sqrt())
    return tuple(  # type: ignore[return-value]
        {
            entry.name: column[entry.channels].reshape([dim] * entry.rank).tolist()
            for entry in fields
        }
        for column in columns
    )


class _FiveDigits(yaml.SafeDumper):
    """Numbers as 1.2345E-01, lists one entry per line."""


_FiveDigits.add_representer(
    float,
    lambda dumper, value: dumper.represent_scalar("tag:yaml.org,2002:float", f"{value:.4E}"),
)
