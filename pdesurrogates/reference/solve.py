"""Ground truth: any equation with any derivative provider, batched, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from pdesurrogates.core import Grid, check_finite, check_state, check_times
from pdesurrogates.equations import BoundEquation, Equation
from pdesurrogates.operators import Derivatives
from pdesurrogates.reference.advance import Advance, CourantSteps, DoubledSteps, FixedSteps
from pdesurrogates.reference.failure import SolverError, first_trouble
from pdesurrogates.steppers import ETDRK, RK4, SSPRK3, SplitDerivative, Stepper

__all__ = ["solve"]

_CFL = 0.4


def solve(
    equation: Equation,
    where: Grid | Derivatives,
    u0: Tensor,
    times: Sequence[float] | Tensor,
    *,
    stepper: Stepper | None = None,
    dt: float | None = None,
    cfl: float | None = None,
    dtype: torch.dtype = torch.float64,
    observe: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Solve an equation from batched initial states.

    The step is found in one of three ways:

    - `dt` is given: the fewest equal steps of at most `dt` between output times;
    - the scheme knows its wave speeds (finite volumes, staggered grids): every sample takes `cfl`
      times the largest stable step of its own state, and lands on every output time;
    - otherwise each output interval is solved with n and with 2 n steps, n doubling until both
      agree to 1e-8 of the largest value of each sample (1e-5 in float32); the finer result is
      kept. The whole costs about three times the fixed step it finds.

    The first two are differentiable in `u0` and in the parameters of the equation, the third is
    not. A sample's result does not depend on the other samples, except that the third way uses
    one n for all.

    Args:
        equation: What to solve.
        where: A periodic grid (pseudo-spectral), or a derivative provider. The spatial error is
            that of its resolution and is not controlled.
        u0: Initial states (batch, channel, *space) on that grid, any floating dtype.
        times: Increasing output times, the first is that of `u0`.
        stepper: Time-stepper; by default SSPRK3 with wave speeds, ETDRK(4) where the linear part
            is known in modes, RK4 otherwise.
        dt: Largest step [time].
        cfl: Courant number, by default 0.4 or the limit of the scheme if that is smaller.
        dtype: Precision of the solver.
        observe: What is kept of each state (batch, channel, *space), e.g. every other point; by
            default all of it.

    Returns:
        (batch, time, channel, *space) in `dtype`, on the device of `u0`.

    Raises:
        ValueError: If u0 does not fit, is not finite or not physical, or `dt` or `cfl` is beyond
            the stability limit.
        SolverError: A FloatingPointError, if the solution blows up or becomes unphysical. It names
            step, time, sample and cell, and keeps the frames computed before.
    """
    name = f"reference.solve({type(equation).__name__})"
    grid = where if isinstance(where, Grid) else getattr(where, "grid", None)
    if not isinstance(grid, Grid):
        raise TypeError(
            f"{name}: `where` must be a Grid or a derivative provider on a grid, got "
            f"{type(where).__name__}."
        )
    check_state(u0, equation.fields.num_channels, grid.shape, where=name)
    check_finite(u0, where=name, what="`u0`")
    values = check_times(times, where=name)
    f = equation.on(where)
    u = u0.to(dtype)
    trouble = first_trouble(f, f.encode(u))
    if trouble is not None:
        sample, cell, what = trouble
        raise ValueError(f"{name}: `u0` cannot be: {what} in sample {sample}, cell {cell}.")
    advance = _advance(f, u, values, stepper, dt, cfl, name)
    return _trajectory(advance, u, values, observe or (lambda state: state))


def _advance(
    f: BoundEquation,
    u0: Tensor,
    times: list[float],
    stepper: Stepper | None,
    dt: float | None,
    cfl: float | None,
    where: str,
) -> Advance:
    """Who chooses the steps."""
    for name, value in (("dt", dt), ("cfl", cfl)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ValueError(f"{where}: `{name}` must be positive and finite, got {value}.")
    if dt is not None and cfl is not None:
        raise ValueError(f"{where}: give `dt` or `cfl`, not both, got dt = {dt}, cfl = {cfl}.")
    unit = f.largest_step(times[0], f.encode(u0))
    limit = float(getattr(f, "courant_limit", 1.0))
    if unit is None and cfl is not None:
        raise ValueError(
            f"{where}: this scheme states no wave speeds, so `cfl` means nothing to it, got "
            f"{cfl}; give `dt`, or neither to have the step chosen."
        )
    if cfl is not None and cfl > limit:
        raise ValueError(
            f"{where}: cfl = {cfl:g} is beyond the stability limit of the scheme; the largest "
            f"allowed value is {limit:g}."
        )
    if stepper is None:
        stepper = SSPRK3() if unit is not None else _smooth_stepper(f)
    if dt is not None:
        fixed = FixedSteps(f, stepper, dt=dt, limit=limit, where=where)
        sizes = [fixed.size(start, end)[1] for start, end in pairwise(times)]
        if sizes:
            stepper.check_stable(f, max(sizes))
        return fixed
    if unit is not None:
        return CourantSteps(f, stepper, cfl=cfl or min(_CFL, limit), where=where)
    return DoubledSteps(f, stepper, where=where)


def _smooth_stepper(f: BoundEquation) -> Stepper:
    return ETDRK(4) if isinstance(f, SplitDerivative) else RK4()


def _trajectory(
    advance: Advance, u0: Tensor, times: list[float], observe: Callable[[Tensor], Tensor]
) -> Tensor:
    """`rollout` over the output times that keeps what it has when a step fails."""
    first = observe(u0)
    frames = first.new_empty((u0.shape[0], len(times), *first.shape[1:]))
    frames[:, 0] = first
    memory = advance.start(times[0], u0)
    for n, (start, end) in enumerate(pairwise(times), start=1):
        before = memory
        try:
            memory = advance(memory, start, end)
            advance.examine(before, memory, start, end)
        except SolverError as error:
            error.states, error.times = frames[:, :n].detach().clone(), times[:n]
            raise
        frames[:, n] = observe(advance.f.decode(advance.state(memory)))
    return frames
