"""Both sides of a PDE from stored frames: du/dt by finite differences, and the right-hand side."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor

from pdesurrogates.core import FieldBoundary, Grid, Outflow
from pdesurrogates.data import TrajectoryFile
from pdesurrogates.data.boundaries import is_words
from pdesurrogates.equations import ConservationLaw, Equation
from pdesurrogates.operators import Derivatives, FiniteDifferences, SpectralDerivatives

__all__ = [
    "Frames",
    "Sample",
    "default_providers",
    "equation_states",
    "low_pass",
    "read_frames",
]

_STENCILS = {
    2: {-1: -1 / 2, 1: 1 / 2},
    4: {-2: 1 / 12, -1: -2 / 3, 1: 2 / 3, 2: -1 / 12},
}
_MAX_VALUES = 2**22
_WALL_MARGIN = 4


@dataclasses.dataclass(frozen=True)
class Sample:
    """Some frames of one trajectory and their time derivative.

    Args:
        times: Times of the frames, (frame,).
        u: States in the equation's variables, (frame, channel, *space), float64.
        rate: du/dt by central differences of the highest order that fits, same shape.
        rough_rate: The same at a lower accuracy, whose distance tells the truncation error.
        ratio: By how much the error of `rough_rate` exceeds that of `rate`.
    """

    times: Tensor
    u: Tensor
    rate: Tensor
    rough_rate: Tensor
    ratio: float


@dataclasses.dataclass(frozen=True)
class Frames:
    """Some frames of one trajectory with their neighbours in time, as the file holds them.

    Args:
        file: Where they are from.
        times: Times of the frames in the middle, (frame,).
        windows: (frame, 2 reach + 1, channel, *space), float64.
        dt: Time between neighbours.
    """

    file: TrajectoryFile
    times: Tensor
    windows: Tensor
    dt: float

    def sample(self, equation: Equation) -> Sample:
        """States and rates in the variables of the equation, which may depend on its parameters.

        With 9 neighbours the derivative has order 4 and is compared with the one at twice the
        step (its error is 16 times as large); with 5, order 4 is compared with order 2; with 3,
        order 2 stands alone and its error is unknown.

        Raises:
            ValueError: If a field that the equation needs is not in the file.
        """
        count, width = self.windows.shape[:2]
        u = equation_states(self.file, equation, self.windows.flatten(0, 1))
        frames, reach = u.reshape(count, width, *u.shape[1:]), width // 2
        rate = _difference(frames, reach, 4 if reach >= 2 else 2, 1) / self.dt
        if reach == 4:
            rough, ratio = _difference(frames, reach, 4, 2) / (2 * self.dt), 16.0
        elif reach == 2:
            rough, ratio = _difference(frames, reach, 2, 1) / self.dt, math.inf
        else:
            rough, ratio = rate, math.nan
        return Sample(self.times, frames[:, reach], rate, rough, ratio)


def read_frames(file: TrajectoryFile, index: int, num_frames: int) -> Frames:
    """Frames of one trajectory, evenly spread, that have neighbours in time on both sides.

    Raises:
        ValueError: If there are fewer than 3 frames, or they are not uniform in time.
    """
    if file.num_times < 3:
        raise ValueError(
            f"check_trajectories: {file.name} has {file.num_times} frames per trajectory; a time "
            f"derivative needs at least 3."
        )
    reach = min(4, (file.num_times - 1) // 2)
    reach = 4 if reach == 4 else 2 if reach >= 2 else 1
    dt = file.time_step(index)
    possible = file.num_times - 2 * reach
    size = (2 * reach + 1) * math.prod(file.grid.shape) * file.fields.num_channels
    count = max(1, min(num_frames, possible, _MAX_VALUES // size))
    starts = [n * possible // count for n in range(count)]
    windows = file.read_windows([index] * count, starts, 2 * reach + 1).double()
    file.check_finite(windows[:, reach], index)
    return Frames(file, file.times_of(index)[torch.tensor(starts) + reach], windows, dt)


def _difference(frames: Tensor, centre: int, order: int, stride: int) -> Tensor:
    terms = [w * frames[:, centre + k * stride] for k, w in _STENCILS[order].items()]
    return sum(terms[1:], start=terms[0])


def equation_states(file: TrajectoryFile, equation: Equation, u: Tensor) -> Tensor:
    """The file's channels in the order and the variables of the equation.

    Raises:
        ValueError: If a field that the equation needs is not in the file.
    """
    stored, wanted = file.fields.names, equation.fields.names
    if stored == wanted or (len(stored) == len(wanted) == 1):
        return u
    if set(wanted) <= set(stored):
        return u[:, [stored.index(name) for name in wanted]]
    if isinstance(equation, ConservationLaw):
        wanted = equation.primitive_fields.names
        if set(wanted) <= set(stored):
            w = [u[:, stored.index(name), None] for name in wanted]
            return torch.cat(equation.conserved(w), dim=1)
        wanted = f"{equation.fields.names}, or {wanted}"
    raise ValueError(
        f"check_trajectories: {type(equation).__name__} needs the fields {wanted}, but "
        f"{file.name} holds {stored}; give the equation that made it, or rename the fields "
        f"(from_arrays, convert --fields)."
    )


def default_providers(
    file: TrajectoryFile, equation: Equation
) -> tuple[Callable[[Grid], Derivatives], Callable[[Grid], Derivatives]]:
    """How to differentiate this file in space, and a second way that tells the error of it.

    Periodic grids: Fourier with all modes, and with the dealiasing of the solver. Others: finite
    differences of order 4 and of order 2, with the boundary conditions of the file, or zero slope
    where it states none for these fields. Points near ends are left out of the comparison.
    """
    if all(file.grid.is_periodic):
        return (
            lambda grid: SpectralDerivatives(grid, dealias=1.0),
            lambda grid: SpectralDerivatives(grid, dealias=2 / (equation.degree + 1)),
        )
    boundary = _boundary(file, equation)
    return (
        lambda grid: FiniteDifferences(grid, order=4, boundary=boundary),
        lambda grid: FiniteDifferences(grid, order=2, boundary=boundary),
    )


def _boundary(file: TrajectoryFile, equation: Equation) -> FieldBoundary:
    """The file's conditions, where they are stated in numbers for the equation's fields."""
    stated = file.boundary
    if isinstance(stated, Mapping):
        return stated if set(stated) == set(equation.fields.names) else Outflow()
    return Outflow() if stated is None or is_words(stated) else cast(FieldBoundary, stated)


def low_pass(u: Tensor, grid: Grid) -> Tensor:
    """Waves of at least 4 points per wavelength on periodic axes; a margin cut off at walls.

    There the discretisations agree, and a right-hand side in flux form is the weak form of the
    equation, which holds across shocks too.
    """
    for axis, (n, is_periodic) in enumerate(zip(grid.shape, grid.is_periodic, strict=True)):
        dim = axis - grid.dim
        if is_periodic:
            hat = torch.fft.rfft(u, dim=dim)
            hat.narrow(dim, n // 4 + 1, hat.shape[dim] - n // 4 - 1).zero_()
            u = torch.fft.irfft(hat, n=n, dim=dim)
        elif n > 4 * _WALL_MARGIN:
            u = u.narrow(dim, _WALL_MARGIN, n - 2 * _WALL_MARGIN)
    return u
