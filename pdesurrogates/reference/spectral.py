"""Ground truth on periodic grids: the pseudo-spectral solver in float64."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from pdesurrogates.core import Grid, check_finite, check_state, check_times
from pdesurrogates.equations import BoundEquation, Equation
from pdesurrogates.steppers import ETDRK, Stepper, integrate, rollout

__all__ = ["solve"]

_TOLERANCE = 1e-8
_MAX_SUBSTEPS = 2**14


def solve(
    equation: Equation,
    grid: Grid,
    u0: Tensor,
    times: Sequence[float] | Tensor,
    *,
    stepper: Stepper | None = None,
    dt: float | None = None,
) -> Tensor:
    """Solve an equation on a periodic grid in float64, batched over initial states.

    Without `dt` each output interval is solved with n and with 2 n steps, n doubling until both
    agree to 1e-8 of the largest value of each sample; the finer result is kept. The whole costs
    about three times the fixed step it finds.

    Args:
        equation: What to solve.
        grid: Periodic grid; the spatial error is that of its resolution and is not controlled.
        u0: Initial states (batch, channel, *space) on that grid, any floating dtype.
        times: Increasing output times, the first is that of `u0`.
        stepper: Time-stepper, by default ETDRK(4).
        dt: Largest step [time]; by default chosen as above.

    Returns:
        (batch, time, channel, *space), float64, on the device of `u0`; differentiable in `u0` for
        given `dt`.

    Raises:
        ValueError: If u0 does not fit, is not finite, or `dt` is beyond the stability limit.
        FloatingPointError: If the solution blows up, naming the time.
    """
    where = f"reference.solve({type(equation).__name__})"
    check_state(u0, equation.fields.num_channels, grid.shape, where=where)
    check_finite(u0, where=where, what="`u0`")
    values = check_times(times, where=where)
    stepper = ETDRK(4) if stepper is None else stepper
    f = equation.on(grid)
    u0 = u0.double()
    if dt is not None:
        states = integrate(f, u0, values, stepper, dt=dt).states
    else:
        states = _controlled(f, u0, values, stepper)
    _check_blow_up(states, values, dt, where)
    return states


def _controlled(f: BoundEquation, u0: Tensor, times: list[float], stepper: Stepper) -> Tensor:
    """Every interval with twice as many steps as agree with half as many."""
    states = [u0]
    count = 1
    with torch.no_grad():
        for start, end in pairwise(times):
            coarse = _split(f, states[-1], start, end, count, stepper)
            while True:
                fine = _split(f, states[-1], start, end, 2 * count, stepper)
                error = _relative_difference(coarse, fine)
                if error <= _TOLERANCE or count >= _MAX_SUBSTEPS:
                    break
                coarse, count = fine, 2 * count
            if not error <= _TOLERANCE:
                raise FloatingPointError(
                    f"reference.solve: {_MAX_SUBSTEPS} steps between t = {start:g} and {end:g} "
                    f"still differ from twice as many by {error:.1e}; the solution may blow up or "
                    "be under-resolved. Use a finer grid, closer times, or give `dt`."
                )
            if error < _TOLERANCE / 2 ** (stepper.order + 3) and count > 1:
                count //= 2
            states.append(fine)
    return torch.stack(states, dim=1)


def _split(
    f: BoundEquation, u: Tensor, start: float, end: float, count: int, stepper: Stepper
) -> Tensor:
    inner = [start + (end - start) * n / count for n in range(count)] + [end]
    return rollout(stepper.bind(f), u, inner)[:, -1]


def _relative_difference(coarse: Tensor, fine: Tensor) -> float:
    space = tuple(range(1, fine.ndim))
    scale = fine.abs().amax(dim=space).clamp(min=torch.finfo(fine.dtype).tiny)
    difference = (coarse - fine).abs().amax(dim=space) / scale
    return float(difference.nan_to_num(nan=float("inf")).max())


def _check_blow_up(states: Tensor, times: list[float], dt: float | None, where: str) -> None:
    finite = torch.isfinite(states).flatten(2).all(dim=2)
    if bool(finite.all()):
        return
    step = int((~finite).any(dim=0).nonzero()[0])
    sample = int((~finite[:, step]).nonzero()[0])
    raise FloatingPointError(
        f"{where}: the solution of sample {sample} is not finite at t = {times[step]:g} "
        f"(dt = {dt}); use a smaller `dt`, or leave it out to have it chosen."
    )
