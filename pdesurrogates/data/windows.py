"""Training samples: windows of history and future cut from trajectories."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from pdesurrogates.core import Grid
from pdesurrogates.data.base import TrajectoryFile
from pdesurrogates.data.derivative import DerivativeStore, min_frames

__all__ = ["TrajectoryWindows"]

_CHECK_BYTES = 32 * 2**20


class TrajectoryWindows(Dataset):
    """All windows of `history` given and `horizon` following frames, `stride` frames apart.

    Window frames are start, start + stride, ...; the last history frame is the present. A window
    is a dict:

        history      (history, channel, *space), stored dtype
        future       (horizon, channel, *space), stored dtype
        t            time of the present [time], float64
        dt           distance between window frames: stride times the file's step, float64
        parameters   (parameter,), in the order of `file.parameters`, float64
        derivative   (channel, *space), du/dt at the present; only with `target_order`
        trajectory, start   where the window is from, int64

    and a batch is the same with a leading batch axis. The derivative uses the file's own frames
    (not every stride-th), is computed in float64 once per trajectory, and is kept on disk in the
    stored dtype. Frames are read when asked for; the file may be larger than memory. When a
    trajectory is touched first (per process) all of it is compared with its checksums, where the
    file has them, and checked for NaN and Inf.

    Use with `DataLoader(windows, batch_size=..., collate_fn=windows.collate)`. Worker processes
    are supported (fork and spawn), but the default of none is the fastest for uncompressed files:
    reading a window costs less than sending it to another process. Every worker checks the
    trajectories that it touches; call `check()` before to have it done once.

    Args:
        file: The trajectories; all need uniform times, each its own step.
        history: Frames given.
        horizon: Frames to predict.
        stride: Distance between window frames [frames].
        target_order: Order 1, 2 or 4 of the finite differences for `derivative`, or `None`.
        trajectories: Which trajectories to use, e.g. those of the training split; all by default.

    Raises:
        ValueError: If trajectories are too short, or times are not uniform.

    Example:
        >>> from pdesurrogates.data import from_arrays
        >>> file = from_arrays(torch.zeros(5, 8), axes="time x", dt=0.1, extent=1.0)
        >>> windows = TrajectoryWindows(file, history=2)
        >>> window = windows[0]
        >>> len(windows), window["history"].shape
        (3, torch.Size([2, 1, 8]))
    """

    def __init__(
        self,
        file: TrajectoryFile,
        *,
        history: int = 1,
        horizon: int = 1,
        stride: int = 1,
        target_order: int | None = None,
        trajectories: Sequence[int] | None = None,
    ) -> None:
        for name, value in (("history", history), ("horizon", horizon), ("stride", stride)):
            if value < 1:
                raise ValueError(f"TrajectoryWindows: `{name}` must be at least 1, got {value}.")
        self.file = file
        self.history = history
        self.horizon = horizon
        self.stride = stride
        self.target_order = target_order
        self.trajectories = _chosen(trajectories, file)
        self._span = (history + horizon - 1) * stride + 1
        self._starts_per_trajectory = file.num_times - self._span + 1
        self._check_length()
        self._steps = self._time_steps()
        self._parameters = _parameter_table(file)
        self._finite: set[int] = set()
        self._derivatives = None if target_order is None else self._derivative_store(target_order)

    def __len__(self) -> int:
        return len(self.trajectories) * self._starts_per_trajectory

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """One window, without a batch axis."""
        return {name: value[0] for name, value in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """A batch of windows, already collated."""
        count, per = len(self), self._starts_per_trajectory
        rows, starts = [], []
        for index in indices:
            if not -count <= index < count:
                raise IndexError(f"TrajectoryWindows: there are {count} windows, got {index}.")
            row, start = divmod(int(index) % count, per)
            rows.append(self.trajectories[row])
            starts.append(start)
        return self.windows_at(rows, starts)

    def windows_at(self, trajectories: list[int], starts: list[int]) -> dict[str, Tensor]:
        """The batch of windows that begin at the given frames of the given trajectories."""
        for trajectory in set(trajectories) - self._finite:
            self._check_trajectory(trajectory)
        frames = self._read(trajectories, starts)
        if self.stride > 1:
            frames = frames[:, :: self.stride].contiguous()
        index, start = torch.tensor(trajectories), torch.tensor(starts)
        present = start + (self.history - 1) * self.stride
        times = self.file.times
        batch = {
            "history": frames[:, : self.history],
            "future": frames[:, self.history :],
            "t": times[present] if times.ndim == 1 else times[index, present],
            "dt": self._steps[index] * self.stride,
            "parameters": self._parameters[index],
            "trajectory": index,
            "start": start,
        }
        if self._derivatives is not None:
            batch["derivative"] = self._derivatives.read(trajectories, present.tolist())
        return batch

    def _read(self, trajectories: list[int], starts: list[int]) -> Tensor:
        """All frames of windows, (batch, frame, channel, *space)."""
        return self.file.read_windows(trajectories, starts, self._span)

    @property
    def grid(self) -> Grid | None:
        """The grid of all windows; `None` on meshes."""
        return self.file.grid

    def batches(self, batch_size: int) -> Iterator[dict[str, Any]]:
        """All windows once, in order, in batches of at most `batch_size`."""
        for start in range(0, len(self), batch_size):
            yield self.__getitems__(range(start, min(start + batch_size, len(self))))

    @staticmethod
    def collate(items: dict[str, Tensor] | list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """A batch as it is, or single windows stacked; for `DataLoader(collate_fn=...)`."""
        if isinstance(items, dict):
            return items
        return {name: torch.stack([item[name] for item in items]) for name in items[0]}

    def check(self) -> None:
        """Read every trajectory once and refuse damage, NaN and Inf now rather than in training.

        Raises:
            ChecksumError: If the bytes of a trajectory are not those that were written.
            ValueError: Naming file, trajectory, time and field of the first bad value.
        """
        for trajectory in self.trajectories:
            if trajectory not in self._finite:
                self._check_trajectory(trajectory)

    def _check_trajectory(self, trajectory: int) -> None:
        file = self.file
        file.verify(trajectory)
        block = max(1, _CHECK_BYTES // max(1, file.frame_bytes))
        for first in range(0, file.num_times, block):
            u = file.read_windows([trajectory], [first], min(block, file.num_times - first))[0]
            file.check_finite(u, trajectory, first)
        self._finite.add(trajectory)

    def _derivative_store(self, order: int) -> Any:
        return DerivativeStore(self.file, order)

    def _check_length(self) -> None:
        file, frames = self.file, self.file.num_times
        if self._starts_per_trajectory < 1:
            raise ValueError(
                f"TrajectoryWindows: {file.name} has {frames} frames per trajectory, but history "
                f"{self.history} + horizon {self.horizon} at stride {self.stride} need "
                f"{self._span}; choose shorter windows."
            )
        if self.target_order is not None and frames < min_frames(self.target_order):
            raise ValueError(
                f"TrajectoryWindows: {file.name} has {frames} frames per trajectory, but targets "
                f"of order {self.target_order} need {min_frames(self.target_order)}; choose a "
                f"lower target_order."
            )

    def _time_steps(self) -> Tensor:
        """(trajectory,) float64; refuses times that are not uniform."""
        file = self.file
        if file.times.ndim == 1:
            return torch.full((file.num_trajectories,), file.time_step(0), dtype=torch.float64)
        steps = torch.full((file.num_trajectories,), torch.nan, dtype=torch.float64)
        for trajectory in self.trajectories:
            steps[trajectory] = file.time_step(trajectory)
        return steps


def _chosen(trajectories: Sequence[int] | None, file: TrajectoryFile) -> list[int]:
    if trajectories is None:
        return list(range(file.num_trajectories))
    chosen = [int(index) for index in trajectories]
    wrong = [index for index in chosen if not 0 <= index < file.num_trajectories]
    if wrong or not chosen:
        raise ValueError(
            f"TrajectoryWindows: `trajectories` must be some of 0 .. {file.num_trajectories - 1} "
            f"of {file.name}, got {wrong[0] if wrong else 'none'}."
        )
    return chosen


def _parameter_table(file: TrajectoryFile) -> Tensor:
    if not file.parameters:
        return torch.empty((file.num_trajectories, 0), dtype=torch.float64)
    return torch.stack(list(file.parameters.values()), dim=1).to(torch.float64)
