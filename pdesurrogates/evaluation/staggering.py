"""Do interleaved forecasts hold together? Checkerboard, split chains, aliasing, growth, depth."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pdesurrogates.core import Grid, OneStepMap
from pdesurrogates.evaluation.timing import Timing, measure

__all__ = [
    "AliasingProbe",
    "CriticalPath",
    "aliasing_probe",
    "amplification",
    "chain_splitting",
    "checkerboard_index",
    "critical_path",
]


def checkerboard_index(u: Tensor, space: Sequence[int]) -> Tensor:
    """Share of the field in patterns that repeat every s points: sub-grids with other means.

        index = sqrt( mean_m (mean U_m - mean u)^2 ) / rms u,    U_m the sub-grids

    0 where all sub-grids have one mean, as smooth fields do up to rounding; 1 for a pure
    checkerboard. Channels are taken together.

    Args:
        u: Fields (..., channel, *space).
        space: Factors s, one per axis.

    Returns:
        (...), the leading axes of `u`, float64.
    """
    dim = len(space)
    points = tuple(u.shape[-dim:])
    if any(n % s for n, s in zip(points, space, strict=True)):
        raise ValueError(
            f"checkerboard_index: the points {points} must be multiples of `space`, got "
            f"{tuple(space)}."
        )
    u = u.double()
    everywhere = tuple(range(-dim, 0))
    mean = u.mean(everywhere)
    energy = torch.zeros_like(mean)
    for offset in itertools.product(*(range(s) for s in space)):
        own = u[(..., *(slice(i, None, s) for i, s in zip(offset, space, strict=True)))]
        energy = energy + (own.mean(everywhere) - mean).square()
    pattern = energy.mean(-1) / math.prod(space)
    return (pattern / u.square().mean((-1 - dim, *everywhere))).sqrt().nan_to_num(nan=0.0)


def chain_splitting(trajectory: Tensor) -> Tensor:
    """How far frames are from the mean of their neighbours in time:

        splitting_n = norm( u_n - (u_(n-1) + u_(n+1)) / 2 ) / norm(u_n)

    Neighbours of a frame belong to other chains. A resolved trajectory scores
    dt^2 norm(u_tt) / 2 norm(u); chains that have drifted apart by delta score about delta /
    norm(u), whatever the step. Compare with the same number of the truth.

    Args:
        trajectory: (batch, time, channel, *space), at least three frames.

    Returns:
        (batch, time - 2), float64.
    """
    if trajectory.ndim < 3 or trajectory.shape[1] < 3:
        raise ValueError(
            "chain_splitting: needs (batch, time, channel, *space) with at least 3 frames, got "
            f"{tuple(trajectory.shape)}."
        )
    u = trajectory.double().flatten(2)
    gap = u[:, 1:-1] - (u[:, :-2] + u[:, 2:]) / 2
    return gap.norm(dim=2) / u[:, 1:-1].norm(dim=2)


@dataclass(frozen=True)
class AliasingProbe:
    """Answers to a wave above the Nyquist wavenumber of a sub-grid, and to its alias.

    Args:
        wavenumber: Of the wave, in waves per box.
        alias: Wavenumber that looks the same on the first sub-grid.
        distinction: Difference of the answers there, relative to the wave. 0: the map cannot
            tell the waves apart.
        growth: Size of the answer to the wave over its size.
        alias_growth: The same for the alias.
    """

    wavenumber: int
    alias: int
    distinction: float
    growth: float
    alias_growth: float


@torch.no_grad()
def aliasing_probe(
    step: OneStepMap,
    grid: Grid,
    space: Sequence[int],
    *,
    dt: float,
    amplitude: float = 1.0,
    share: float = 0.75,
    dtype: torch.dtype = torch.float64,
) -> AliasingProbe:
    """Answer of a one-step map to the wave at 3/4 of the Nyquist wavenumber along the first axis.

    On the sub-grid of offset 0 it has the values of a longer wave, its alias. A network that
    sees that sub-grid alone answers both alike, although the equation damps them differently.

    Args:
        step: (t, u, dt) -> u_next on the fine grid, one channel.
        grid: Periodic fine grid.
        space: Factors s, one per axis; the first must be at least 2.
        dt: Step given to `step` [time].
        amplitude: Of both waves [unit of the field].
        share: Wavenumber as a share of the Nyquist wavenumber.
        dtype: Precision of the fields.
    """
    n, s = grid.num_points[0], space[0]
    if s < 2 or n % s:
        raise ValueError(
            f"aliasing_probe: the first factor must be at least 2 and divide the {n} points, got "
            f"{s}; one sub-grid has no alias."
        )
    wavenumber, coarse = round(share * n / 2), n // s
    alias = min(wavenumber % coarse, -wavenumber % coarse)
    points = torch.arange(n, dtype=torch.float64)
    lines = [torch.cos(2 * math.pi * k * points / n) for k in (wavenumber, alias)]
    shape = (2, 1, n, *(1,) * (grid.dim - 1))
    waves = amplitude * torch.stack(lines).reshape(shape).expand(2, 1, *grid.shape)
    answers = step(0.0, waves.to(dtype).contiguous(), dt).double()
    first = answers[(..., *(slice(None, None, factor) for factor in space))]
    size = waves.flatten(1).norm(dim=1)
    first_size = waves[(..., *(slice(None, None, f) for f in space))][0].norm()
    growth = answers.flatten(1).norm(dim=1) / size
    return AliasingProbe(
        wavenumber,
        alias,
        float((first[0] - first[1]).norm() / first_size),
        float(growth[0]),
        float(growth[1]),
    )


@torch.no_grad()
def amplification(
    step: OneStepMap,
    grid: Grid,
    *,
    dt: float,
    amplitude: float = 1.0,
    num_steps: int = 1,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Growth per step of every wave along the first axis of a periodic grid:

        growth_m = ( norm(u_n) / norm(u_0) )^(1 / n),   u_0 = cos(2 pi m x / L),  m = 1 .. N/2 - 1

    For linear advection-diffusion the exact answer is exp(-diffusivity (2 pi m / L)^2 dt). With
    k interleaved chains nothing like a Courant limit protects a step of k dt, so no wave
    should score above 1.

    Args:
        step: (t, u, dt) -> u_next, one channel.
        grid: Periodic grid.
        dt: Step given to `step` [time].
        amplitude: Of the waves; a network is linear at small ones only [unit of the field].
        num_steps: Steps n.
        dtype: Precision of the fields.

    Returns:
        (wave,), float64.
    """
    n = grid.num_points[0]
    modes = torch.arange(1, (n + 1) // 2, dtype=torch.float64)
    points = torch.arange(n, dtype=torch.float64)
    lines = torch.cos(2 * math.pi * modes[:, None] * points / n)
    waves = amplitude * lines.reshape(-1, 1, n, *(1,) * (grid.dim - 1))
    u = waves.expand(-1, 1, *grid.shape).to(dtype).contiguous()
    size = u.double().flatten(1).norm(dim=1)
    for step_number in range(num_steps):
        u = step(step_number * dt, u, dt)
    return (u.double().flatten(1).norm(dim=1) / size) ** (1 / num_steps)


@dataclass(frozen=True)
class CriticalPath:
    """Time of the slowest of several calls that could run side by side.

    This is what a step would take with one device per sub-network and no time to exchange
    results. It is not the time of a step on the device that measured it: that is `total`.

    Args:
        seconds: Median time of the slowest call [s].
        slowest: Which one it is.
        total: Sum of the medians of all calls [s].
        timings: Every call.
    """

    seconds: float
    slowest: int
    total: float
    timings: tuple[Timing, ...]


def critical_path(
    calls: Sequence[Callable[[], object]],
    *,
    device: torch.device | str = "cpu",
    num_repeats: int = 5,
    num_warmup: int = 1,
) -> CriticalPath:
    """Time each call by itself, e.g. those of `NeuralStagger.sub_calls`.

    Args:
        calls: What could run side by side.
        device: Where they compute.
        num_repeats: Measured repeats of each.
        num_warmup: Repeats before these.
    """
    if not calls:
        raise ValueError("critical_path: `calls` must hold at least one call, got none.")
    timings = tuple(
        measure(call, device=device, num_repeats=num_repeats, num_warmup=num_warmup)
        for call in calls
    )
    seconds = [timing.seconds for timing in timings]
    return CriticalPath(max(seconds), seconds.index(max(seconds)), sum(seconds), timings)
