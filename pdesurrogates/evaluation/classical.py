"""What must a surrogate beat? Persistence, the oracle floor and the classical front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from pdesurrogates.core import Grid, TimeDerivative, check_times
from pdesurrogates.equations import Equation
from pdesurrogates.evaluation.scores import evaluate
from pdesurrogates.evaluation.spectra import resample
from pdesurrogates.evaluation.timing import measure
from pdesurrogates.steppers import ETDRK, RK4, Stepper, integrate, rollout

__all__ = ["FrontPoint", "cheapest_equal", "classical_front", "oracle_floor", "persistence"]

_FEWEST_POINTS = 8


def persistence(u0: Tensor, times: Sequence[float] | Tensor) -> Tensor:
    """The forecast that nothing changes: u(t_n) = u_0.

    Args:
        u0: Initial state (batch, channel, *space).
        times: Saved times (time,).

    Returns:
        (batch, time, channel, *space), a view.
    """
    count = len(check_times(times, where="persistence"))
    return u0[:, None].expand(u0.shape[0], count, *u0.shape[1:])


def oracle_floor(
    equation: Equation,
    grid: Grid,
    u0: Tensor,
    times: Sequence[float] | Tensor,
    stepper: Stepper,
    *,
    num_substeps: int = 1,
) -> Tensor:
    """The rollout of a surrogate whose network is perfect: same stepper and step, true equation.

    What is left is the error of the stepper alone; no derivative surrogate with this stepper and
    step that learned the true right-hand side does better. The step is not checked for stability:
    where the true equation blows up at this step, the floor shows it as NaN or Inf.

    Args:
        equation: The equation that made the data.
        grid: Where the states live.
        u0: Initial state (batch, channel, *space).
        times: Saved times (time,).
        stepper: The stepper of the surrogate.
        num_substeps: Steps of the surrogate per saved interval.

    Returns:
        (batch, time, channel, *space).
    """
    values = check_times(times, where="oracle_floor")
    steps = [
        a + n * (b - a) / num_substeps for a, b in pairwise(values) for n in range(num_substeps)
    ]
    with torch.no_grad():
        states = rollout(stepper.bind(equation.on(grid)), u0, [*steps, values[-1]])
    return states[:, ::num_substeps]


@dataclass(frozen=True)
class FrontPoint:
    """One setting of the classical solver, its error and its cost.

    Args:
        scheme: Name of the stepper.
        num_points: Points per axis.
        dt: Step taken [time].
        seconds: Median wall time to roll out all trajectories together [s].
        error: Mean over trajectories of `error` in `evaluate` (nrmse over the scored times).
        correlation_time: Mean over trajectories of the time to correlation 0.8 [time].
        num_diverged: Trajectories that blew up; they make `error` infinite.
    """

    scheme: str
    num_points: tuple[int, ...]
    dt: float
    seconds: float
    error: float
    correlation_time: float
    num_diverged: int

    @property
    def label(self) -> str:
        """The setting in words, e.g. "ETDRK4, 64 points, dt 0.1"."""
        return f"{self.scheme}, {' x '.join(map(str, self.num_points))} points, dt {self.dt:.3g}"


def classical_front(
    equation: Equation,
    grid: Grid,
    u0: Tensor,
    times: Sequence[float] | Tensor,
    reference: Tensor,
    *,
    coarsenings: Sequence[int] = (1, 2, 4),
    dts: Sequence[float] | None = None,
    steppers: Sequence[Stepper] = (ETDRK(4), ETDRK(2), RK4()),
    num_repeats: int = 3,
    max_substeps: int = 16,
) -> list[FrontPoint]:
    """Error against wall time of the package's own solver on coarser grids and longer steps.

    Each setting starts from the initial state with the modes its grid can hold, is timed as
    surrogates are (`measure`: all trajectories in one batch, warm-up, median), and its solution is
    carried to the fine grid by the trigonometric interpolant before it is scored with `evaluate`.
    Device and dtype are those of `u0`; give the ones the surrogate ran on. Settings beyond the
    stability limit of the stepper are left out, as are grids of fewer than 8 points per axis.

    Args:
        equation: The equation that made the data.
        grid: Periodic grid of `u0` and `reference`.
        u0: Initial states (batch, channel, *space).
        times: Saved times (time,).
        reference: The truth (batch, time, channel, *space).
        coarsenings: Factors by which the number of points per axis is divided.
        dts: Steps to try [time]; by default the saved interval and its half and quarter, and for
            an explicit stepper that is unstable with all of them its first stable halving.
        steppers: Time-steppers to try.
        num_repeats: Timed repeats per setting.
        max_substeps: Most steps per saved interval that this first stable halving may need.

    Returns:
        One record per setting, in the order of cost.
    """
    values = check_times(times, where="classical_front", at_least=2)
    interval = max(b - a for a, b in pairwise(values))
    points = []
    for factor in coarsenings:
        coarse = grid.resized([n // factor for n in grid.num_points])
        if min(coarse.num_points) < _FEWEST_POINTS:
            continue
        f, start = equation.on(coarse), resample(u0, coarse.num_points)
        for stepper in steppers:
            for dt in _step_sizes(stepper, f, dts, interval, max_substeps):
                points.append(
                    _front_point(
                        stepper, f, coarse, start, values, dt, grid, reference, num_repeats
                    )
                )
    return sorted(points, key=lambda point: point.seconds)


def _step_sizes(
    stepper: Stepper,
    f: TimeDerivative,
    dts: Sequence[float] | None,
    interval: float,
    max_substeps: int,
) -> list[float]:
    if dts is not None:
        return [dt for dt in dts if _is_stable(stepper, f, min(dt, interval))]
    stable = [interval / n for n in (1, 2, 4) if _is_stable(stepper, f, interval / n)]
    num_substeps = 8
    while not stable and num_substeps <= max_substeps:
        if _is_stable(stepper, f, interval / num_substeps):
            stable.append(interval / num_substeps)
        num_substeps *= 2
    return stable


def _is_stable(stepper: Stepper, f: TimeDerivative, dt: float) -> bool:
    try:
        stepper.check_stable(f, dt)
    except ValueError:
        return False
    return True


def _front_point(
    stepper: Stepper,
    f: TimeDerivative,
    coarse: Grid,
    start: Tensor,
    times: list[float],
    dt: float,
    grid: Grid,
    reference: Tensor,
    num_repeats: int,
) -> FrontPoint:
    def solve() -> Tensor:
        with torch.no_grad():
            return integrate(f, start, times, stepper, dt=dt).states

    states = resample(solve(), grid.num_points)
    timing = measure(solve, device=start.device, num_repeats=num_repeats, num_warmup=0)
    scores = evaluate(states, reference.to(states.device), grid, times, thresholds=(0.8,))
    return FrontPoint(
        scheme=f"{type(stepper).__name__}{stepper.order if isinstance(stepper, ETDRK) else ''}",
        num_points=coarse.num_points,
        dt=min(dt, max(b - a for a, b in pairwise(times))),
        seconds=timing.seconds,
        error=float(scores.error.fillna(float("inf")).mean()),
        correlation_time=float(scores.correlation_time.mean()),
        num_diverged=scores.attrs["num_diverged"],
    )


def cheapest_equal(
    front: Sequence[FrontPoint],
    *,
    error: float | None = None,
    correlation_time: float | None = None,
) -> FrontPoint | None:
    """The cheapest classical setting at least as good as a surrogate.

    Args:
        front: Settings from `classical_front`.
        error: Error that must be reached; NaN, of a diverged surrogate, is reached by all.
        correlation_time: Correlation time that must be reached [time].

    Returns:
        The setting with the smallest wall time, or `None` if none is good enough.
    """
    if error is None and correlation_time is None:
        raise ValueError("cheapest_equal: give `error`, `correlation_time` or both.")
    good = [
        point
        for point in front
        if (error is None or not point.error > error)
        and (correlation_time is None or point.correlation_time >= correlation_time)
    ]
    return min(good, key=lambda point: point.seconds, default=None)
