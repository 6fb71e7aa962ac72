"""The time derivative of stored trajectories, by finite differences in float64."""

from __future__ import annotations

import os
import tempfile
from typing import IO

import torch
from torch import Tensor

from pdesurrogates.core import check_finite
from pdesurrogates.data.base import TrajectoryFile
from pdesurrogates.data.raw import bytes_of, read_exactly, write_exactly

__all__ = ["DerivativeStore", "min_frames", "time_derivative"]

_INTERIOR = {
    2: {-1: -1 / 2, 1: 1 / 2},
    4: {-2: 1 / 12, -1: -2 / 3, 1: 2 / 3, 2: -1 / 12},
}
_START = {
    2: [{0: -3 / 2, 1: 2.0, 2: -1 / 2}],
    4: [
        {0: -25 / 12, 1: 4.0, 2: -3.0, 3: 4 / 3, 4: -1 / 4},
        {0: -25 / 12, 1: 4.0, 2: -3.0, 3: 4 / 3, 4: -1 / 4},
    ],
}
_HALO = 4
_BLOCK_BYTES = 32 * 2**20


def min_frames(order: int) -> int:
    """Frames that the stencils of `order` need: 2, 3 and 6.

    Raises:
        ValueError: If the order is not 1, 2 or 4.
    """
    if order not in (1, 2, 4):
        raise ValueError(f"time_derivative: `order` must be 1, 2 or 4, got {order!r}.")
    # The one-sided stencil of order 4 spans five frames and starts at the first two.
    return {1: 2, 2: 3, 4: 6}[order]


def time_derivative(trajectory: Tensor, dt: float, order: int) -> Tensor:
    """du/dt at every frame by finite differences.

        order 1:  (u_{n+1} - u_n) / dt, at the last frame (u_n - u_{n-1}) / dt
        order 2:  (u_{n+1} - u_{n-1}) / (2 dt), at the ends (-3 u_0 + 4 u_1 - u_2) / (2 dt)
        order 4:  (u_{n-2} - 8 u_{n-1} + 8 u_{n+1} - u_{n+2}) / (12 dt), at the first two and last
                  two frames (-25 u_0 + 48 u_1 - 36 u_2 + 16 u_3 - 3 u_4) / (12 dt) and its mirror

    Args:
        trajectory: (time, channel, *space), uniform in time.
        dt: Distance between frames [time].
        order: 1, 2 or 4.

    Returns:
        float64, shape of `trajectory`.

    Raises:
        ValueError: If the order is another, or there are fewer than `min_frames(order)`.

    Example:
        >>> t = torch.linspace(0, 1, 11, dtype=torch.float64)
        >>> slope = time_derivative((t**2)[:, None, None], 0.1, order=2)
        >>> bool(torch.allclose(slope[:, 0, 0], 2 * t))
        True
    """
    count, num_frames = min_frames(order), trajectory.shape[0]
    if num_frames < count:
        raise ValueError(
            f"time_derivative: order {order} needs at least {count} frames, got {num_frames}; "
            f"use a lower order or longer trajectories."
        )
    u = trajectory.to(torch.float64)
    if order == 1:
        forward = (u[1:] - u[:-1]) / dt
        return torch.cat([forward, forward[-1:]])
    margin = order // 2
    slope = torch.empty_like(u)
    slope[margin:-margin] = sum(
        weight * u[margin + k : num_frames - margin + k] for k, weight in _INTERIOR[order].items()
    )
    for n, stencil in enumerate(_START[order]):
        slope[n] = sum(weight * u[n + k] for k, weight in stencil.items())
        slope[-1 - n] = sum(-weight * u[num_frames - 1 - n - k] for k, weight in stencil.items())
    return slope / dt


class DerivativeStore:
    """du/dt of the trajectories of a file, computed once each and kept on disk.

    The values lie in an unnamed temporary file that the system removes with the process, so
    memory stays flat. Every process that uses the object has its own.

    Args:
        file: The trajectories.
        order: Order of the finite differences.
    """

    def __init__(self, file: TrajectoryFile, order: int) -> None:
        self.file = file
        self.order = order
        self._forget()

    def _forget(self) -> None:
        self._process: int | None = None
        self._stored: IO[bytes] | None = None
        self._ready: set[int] = set()

    def __getstate__(self) -> dict[str, object]:
        return {"file": self.file, "order": self.order}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._forget()

    def read(self, trajectories: list[int], frames: list[int]) -> Tensor:
        """du/dt at single frames, (batch, channel, *space), in the stored dtype of the file."""
        if self._process != os.getpid():
            self._forget()
            self._process = os.getpid()
            self._stored = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (lives as long as we)
        assert self._stored is not None
        shape = (len(frames), self.file.fields.num_channels, *self.file.grid.shape)
        slopes = torch.empty(shape, dtype=self.file.dtype)
        size, descriptor = self.file.frame_bytes, self._stored.fileno()
        memory = bytes_of(slopes.numpy())
        for row, (trajectory, frame) in enumerate(zip(trajectories, frames, strict=True)):
            if trajectory not in self._ready:
                self._fill(trajectory, descriptor)
            position = (trajectory * self.file.num_times + frame) * size
            read_exactly(descriptor, memory[row * size : (row + 1) * size], position)
        return slopes

    def _fill(self, trajectory: int, descriptor: int) -> None:
        file, dt = self.file, self.file.time_step(trajectory)
        block = max(2 * _HALO + 1, _BLOCK_BYTES // max(1, file.frame_bytes))
        for start in range(0, file.num_times, block):
            stop = min(start + block, file.num_times)
            first = max(0, min(start - _HALO, file.num_times - min_frames(self.order)))
            u = file.read(trajectory, slice(first, stop + _HALO))
            check_finite(u, where=f"{file.name}, trajectory {trajectory}, frames from {first}")
            slope = time_derivative(u, dt, self.order)[start - first : stop - first]
            position = (trajectory * file.num_times + start) * file.frame_bytes
            values = slope.to(file.dtype).contiguous().numpy()
            write_exactly(descriptor, bytes_of(values), position)
        self._ready.add(trajectory)
