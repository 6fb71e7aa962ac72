"""Both sides of a PDE from stored frames: du/dt by finite differences, and the right-hand side."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor

from pdesurrogates.core import Grid
from pdesurrogates.data import TrajectoryFile
from pdesurrogates.equations import Equation
from pdesurrogates.operators import Derivatives, SpectralDerivatives

__all__ = ["Sample", "default_providers", "equation_states", "low_pass", "sample_frames"]

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


def sample_frames(file: TrajectoryFile, equation: Equation, index: int, num_frames: int) -> Sample:
    """Frames of one trajectory, evenly spread, that have neighbours in time on both sides.

    With 9 frames the derivative has order 4 and is compared with the one at twice the step (its
    error is 16 times as large); with 5, order 4 is compared with order 2; with 3, order 2 stands
    alone and its error is unknown.

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
    u = equation_states(file, equation, windows.flatten(0, 1))
    frames = u.reshape(count, 2 * reach + 1, *u.shape[1:])
    order = 4 if reach >= 2 else 2
    rate = _difference(frames, reach, order, 1) / dt
    if reach == 4:
        rough, ratio = _difference(frames, reach, 4, 2) / (2 * dt), 16.0
    elif reach == 2:
        rough, ratio = _difference(frames, reach, 2, 1) / dt, math.inf
    else:
        rough, ratio = rate, math.nan
    times = file.times_of(index)[torch.tensor(starts) + reach]
    return Sample(times, frames[:, reach], rate, rough, ratio)


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
    from_primitive = getattr(equation, "from_primitive", None)
    primitive = getattr(equation, "primitive_fields", None)
    if from_primitive is not None and primitive is not None:
        names = primitive.names
        if set(names) <= set(stored):
            return from_primitive(u[:, [stored.index(name) for name in names]])
    raise ValueError(
        f"check_trajectories: {type(equation).__name__} needs the fields {wanted}, but "
        f"{file.name} holds {stored}; rename the fields of the file (from_arrays, convert --fields) or give "
        f"the equation that made it."
    )


def default_providers(
    file: TrajectoryFile, equation: Equation
) -> tuple[Callable[[Grid], Derivatives], Callable[[Grid], Derivatives]]:
    """How to differentiate this file in space, and a second way that tells the error of it.

    Periodic grids: Fourier with all modes, and with the dealiasing of the solver. Others: finite
    differences of order 4 and of order 2, with the boundary conditions of the file, or zero slope
    where it states none (points near such walls are left out).
    """
    if all(file.grid.is_periodic):
        return (
            lambda grid: SpectralDerivatives(grid, dealias=1.0),
            lambda grid: SpectralDerivatives(grid, dealias=2 / (equation.degree + 1)),
        )
    from pdesurrogates.operators import FiniteDifferences

    boundary = _boundary(file)
    return (
        lambda grid: FiniteDifferences(grid, order=4, boundary=boundary),
        lambda grid: FiniteDifferences(grid, order=2, boundary=boundary),
    )


def _boundary(file: TrajectoryFile) -> object:
    from pdesurrogates.core import Outflow

    stated = getattr(file, "boundary", None)
    return Outflow() if stated is None else stated


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
