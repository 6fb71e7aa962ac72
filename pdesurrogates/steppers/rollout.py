"""The one time loop: a one-step map and output times give a trajectory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from torch import Tensor

from pdesurrogates.core import OneStepMap, StatefulStep, TimeDerivative, check_times
from pdesurrogates.steppers.base import Stepper
from pdesurrogates.steppers.tableau import RK4

__all__ = ["Solution", "integrate", "rollout"]


@dataclass(frozen=True)
class Solution:
    """What `integrate` returns.

    Args:
        states: (batch, time, channel, *space), first entry the initial state.
        stats: `num_steps`, `num_evaluations` (calls of f), `dt` (largest step taken).
    """

    states: Tensor
    stats: dict[str, Any] = field(default_factory=dict)


def rollout(
    step: OneStepMap | StatefulStep, u0: Tensor, times: Sequence[float] | Tensor
) -> Tensor:
    """Trajectory of a one-step map at `times`, initial state included.

        u_0 = u0,   u_{n+1} = step(t_n, u_n, t_{n+1} - t_n)

    Args:
        step: One-step map. If it has `initial_state` and `observe` (a bound stepper, a surrogate
            with memory), its state is carried from step to step and observed at every time.
        u0: Initial state (batch, channel, *space).
        times: Increasing times; or a tensor (batch, time) with times of each trajectory.

    Returns:
        (batch, time, channel, *space) on the device and in the dtype of `u0`.

    Raises:
        ValueError: If the times do not increase, or u0 has no batch and channel axis.
    """
    if not isinstance(u0, Tensor) or u0.ndim < 2:
        raise ValueError(
            "rollout: `u0` must be a tensor (batch, channel, *space), got "
            f"{tuple(u0.shape) if isinstance(u0, Tensor) else type(u0).__name__}; "
            "add missing axes with u0[None]."
        )
    columns = _time_columns(times, u0)
    trajectory = u0.new_empty((u0.shape[0], len(columns), *u0.shape[1:]))
    trajectory[:, 0] = u0
    has_memory = isinstance(step, StatefulStep)
    state: Any = step.initial_state(columns[0], u0) if has_memory else u0
    for n, (t, t_next) in enumerate(pairwise(columns), start=1):
        state = step(t, state, t_next - t)
        trajectory[:, n] = step.observe(state) if has_memory else state
    return trajectory


def _time_columns(times: Sequence[float] | Tensor, u0: Tensor) -> list[Any]:
    """Times as floats, or as one (batch,) tensor per output time where trajectories differ."""
    if not isinstance(times, Tensor) or times.ndim != 2:
        return list(check_times(times, where="rollout"))
    if times.shape[0] != u0.shape[0]:
        raise ValueError(
            f"rollout: `times` (batch, time) must have one row per trajectory ({u0.shape[0]}), "
            f"got {tuple(times.shape)}."
        )
    times = times.double()
    for row in times.cpu():
        check_times(row, where="rollout")
    return list(times.to(u0.device).unbind(1))


def integrate(
    f: TimeDerivative,
    u0: Tensor,
    times: Sequence[float] | Tensor,
    stepper: Stepper = RK4(),  # noqa: B008 - frozen, without state
    *,
    dt: float | None = None,
    rtol: float | None = None,
    atol: float | None = None,
) -> Solution:
    """Solve du/dt = f(t, u) with a classical stepper, landing exactly on every output time.

    Each output interval is split into the fewest equal steps of at most `dt`.

    Args:
        f: A time derivative; for ETDRK an equation on a periodic grid or another split one.
        u0: Initial state (batch, channel, *space).
        times: Increasing output times, the first is that of `u0`.
        stepper: Time-stepper.
        dt: Largest step [time]; by default one step per output interval.
        rtol: Relative tolerance of an adaptive stepper; refused by fixed-step ones.
        atol: Absolute tolerance of an adaptive stepper; refused by fixed-step ones.

    Raises:
        ValueError: If `dt` is not positive, lies beyond the stability limit of the linear part of
            an equation (named in the message), or a tolerance is given to a fixed-step method.

    Example:
        >>> import torch
        >>> u0 = torch.ones(1, 1, 1, dtype=torch.float64)
        >>> solution = integrate(lambda t, u: -u, u0, [0.0, 1.0], RK4(), dt=0.01)
        >>> abs(float(solution.states[0, -1]) - math.exp(-1)) < 1e-9
        True
    """
    if rtol is not None or atol is not None:
        raise ValueError(
            f"integrate: {type(stepper).__name__} has a fixed step and cannot meet `rtol` or "
            "`atol`; give `dt` instead."
        )
    if dt is not None and not (math.isfinite(dt) and dt > 0):
        raise ValueError(f"integrate: `dt` must be positive and finite, got {dt}.")
    values = check_times(times, where="integrate")
    lengths = [b - a for a, b in pairwise(values)]
    counts = [1 if dt is None else max(1, math.ceil(h / dt * (1 - 1e-9))) for h in lengths]
    sizes = [h / n for h, n in zip(lengths, counts, strict=True)]
    if sizes:
        stepper.check_stable(f, max(sizes))
    calls = _CountedCalls(stepper.bind(f), values, counts)
    states = rollout(calls, u0, values)
    num_steps = sum(counts)
    return Solution(
        states,
        {
            "num_steps": num_steps,
            "num_evaluations": num_steps * stepper.num_evaluations,
            "dt": max(sizes, default=0.0),
            "stepper": type(stepper).__name__,
        },
    )


class _CountedCalls:
    """A bound stepper that takes several equal steps per output interval."""

    def __init__(self, step: StatefulStep, times: list[float], counts: list[int]) -> None:
        self.step = step
        self.initial_state = step.initial_state
        self.observe = step.observe
        self._counts = dict(zip(times, counts, strict=False))

    def __call__(self, t: float | Tensor, state: Any, dt: float | Tensor) -> Any:
        count = self._counts[float(t)]
        for n in range(count):
            state = self.step(t + n * dt / count, state, dt / count)
        return state
