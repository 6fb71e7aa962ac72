"""The ways to train: plain networks of x and t, and what is said to help them.

An arm is a function (case, settings, seed, checkpoint) -> Trained. Those of `lagrangian_arms.py`
are added in `run.ALL_ARMS`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from experiments.pinn.cases import GRID, Case
from pdesurrogates.backbones import MLP
from pdesurrogates.core import Grid
from pdesurrogates.pinns import (
    PINN,
    AdamPhase,
    CausalWeights,
    CoordinateMap,
    GaussNewtonPhase,
    HardConditions,
    History,
    InitialCondition,
    LBFGSPhase,
    PeriodicCondition,
    Phase,
    fit,
    fit_curriculum,
    fit_windows,
)

__all__ = ["ARMS", "Arm", "Solution", "Trained", "standard_phases"]


class Solution(Protocol):
    """Whatever can be asked for its values on a grid."""

    def sample(self, grid: Grid, times: Sequence[float]) -> Tensor:
        """(1, time, channel, *space)."""
        ...


@dataclasses.dataclass(frozen=True)
class Trained:
    """What an arm gives back.

    Args:
        solution: Asked for its values.
        num_parameters: Trained numbers.
        histories: Of every call of `fit`.
        notes: Anything else worth recording, plain numbers.
    """

    solution: Solution
    num_parameters: int
    histories: list[History]
    notes: dict[str, Any] = dataclasses.field(default_factory=dict)


Arm = Callable[[Case, dict[str, Any], int, Path], Trained]


def standard_phases(settings: dict[str, Any]) -> list[Phase]:
    """Adam, then L-BFGS."""
    return [adam(settings), LBFGSPhase(settings["lbfgs_steps"])]


def adam(settings: dict[str, Any], share: float = 1.0) -> AdamPhase:
    steps = max(1, round(share * settings["adam_steps"]))
    return AdamPhase(steps, learning_rate=settings["learning_rate"])


def gauss_newton_phases(settings: dict[str, Any]) -> list[Phase]:
    """A few steps of Adam, then Levenberg-Marquardt."""
    return [
        AdamPhase(100, learning_rate=settings["learning_rate"]),
        GaussNewtonPhase(settings["gauss_newton_steps"]),
    ]


def build(
    case: Case,
    settings: dict[str, Any],
    *,
    velocity: float = 0.0,
    times: tuple[float, float] | None = None,
    initial: Callable[..., Any] | None = None,
    **arguments: Any,
) -> PINN:
    """A network of x and t that is periodic and has the initial state by construction."""
    times = times or case.times
    coordinates = CoordinateMap(GRID, times, velocity=velocity or None)
    network = MLP(
        coordinates.num_features, 1, width=settings["width"], depth=settings["depth"]
    ).double()
    return PINN(
        case.equation,
        GRID,
        times,
        network,
        coordinates=coordinates,
        transform=HardConditions(GRID, times, initial=initial or case.initial),
        num_points=settings["num_points"],
        **arguments,
    )


def trained(pinn: PINN, phases: Sequence[Phase], seed: int, checkpoint: Path) -> Trained:
    history = fit(pinn, phases, seed=seed, checkpoint=checkpoint)
    return Trained(pinn, _count(pinn), [history])


def _count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def plain(case: Case, settings: dict[str, Any], seed: int, checkpoint: Path) -> Trained:
    """Fixed coordinates."""
    return trained(build(case, settings), standard_phases(settings), seed, checkpoint)


def soft(case: Case, settings: dict[str, Any], seed: int, checkpoint: Path) -> Trained:
    """Fixed coordinates, nothing by construction: initial state and periodicity as losses."""
    span = case.times
    coordinates = CoordinateMap(GRID, span, is_periodic=(False,))
    pinn = PINN(
        case.equation,
        GRID,
        span,
        MLP(2, 1, width=settings["width"], depth=settings["depth"]).double(),
        coordinates=coordinates,
        conditions={
            "initial": InitialCondition(case.initial),
            "periodic": PeriodicCondition(0, slope=case.equation.linear is not None),
        },
        num_points={
            "equation": settings["num_points"],
            "initial": settings["num_points"] // 4,
            "periodic": settings["num_points"] // 8,
        },
        weights={"initial": settings["initial_weight"]},
    )
    return trained(pinn, standard_phases(settings), seed, checkpoint)


def moving_frame(case: Case, settings: dict[str, Any], seed: int, checkpoint: Path) -> Trained:
    """Coordinates that move with the mean velocity."""
    pinn = build(case, settings, velocity=case.velocity)
    return trained(pinn, standard_phases(settings), seed, checkpoint)


def second_order(case: Case, settings: dict[str, Any], seed: int, checkpoint: Path) -> Trained:
    """Fixed coordinates, Levenberg-Marquardt."""
    return trained(build(case, settings), gauss_newton_phases(settings), seed, checkpoint)


def moving_second_order(
    case: Case, settings: dict[str, Any], seed: int, checkpoint: Path
) -> Trained:
    """Moving coordinates, Levenberg-Marquardt."""
    pinn = build(case, settings, velocity=case.velocity)
    return trained(pinn, gauss_newton_phases(settings), seed, checkpoint)


def small(arm: Arm) -> Arm:
    """The same with the small network, where second-order steps are cheap."""

    def smaller(case: Case, settings: dict[str, Any], seed: int, checkpoint: Path) -> Trained:
        return arm(case, {**settings, **settings["small"]}, seed, checkpoint)

    return smaller


def causal(case: Case, settings: dict[str, Any], seed: int, checkpoint: Path) -> Trained:
    """Fixed coordinates, early times first: weights that get stricter from stage to stage."""
    epsilons = settings["causal_epsilons"]
    weights = CausalWeights(epsilons[0], settings["causal_slices"])
    pinn = build(case, settings, causal=weights)
    shares = {
        **settings,
        "adam_steps": settings["adam_steps"] // len(epsilons),
        "lbfgs_steps": settings["lbfgs_steps"] // len(epsilons),
    }
    histories = []
    for n, epsilon in enumerate(epsilons):
        # The residual of convection is of the size velocity^2.
        weights.epsilon = epsilon / (1 + case.velocity**2)
        stage = checkpoint.with_name(f"{checkpoint.stem}_{n}.pt")
        histories.append(fit(pinn, standard_phases(shares), seed=seed + n, checkpoint=stage))
    last = 1.0 if weights.smallest is None else float(weights.smallest)
    return Trained(pinn, _count(pinn), histories, {"smallest_weight": last})


def curriculum(case: Case, settings: dict[str, Any], seed: int, checkpoint: Path) -> Trained:
    """Fixed coordinates, the velocity grows from stage to stage."""
    if case.with_velocity is None:
        raise ValueError("curriculum: this case has no velocity to raise.")
    count, make = settings["curriculum_stages"], case.with_velocity
    stage = LBFGSPhase(settings["curriculum_steps"])
    pinn, histories = fit_curriculum(
        lambda value: build(make(value), settings),
        [case.velocity * (n + 1) / count for n in range(count)],
        [stage],
        # Adam at the first velocity only: later it would leave what the last stage found.
        first_phases=[adam(settings, 0.5), stage],
        seed=seed,
        checkpoint=checkpoint,
    )
    return Trained(pinn, _count(pinn), histories)


def fourier_series(function: Callable[..., Any], num_waves: int = 48) -> Callable[..., Any]:
    """A periodic function as its Fourier series, for tensors and jets: no network inside."""
    grid = Grid((2 * num_waves + 1,), GRID.extent)
    with torch.no_grad():
        values = function(grid.axes()[0].reshape(1, -1, 1)).flatten()
    hat = torch.fft.rfft(values) / len(values)
    k = torch.arange(1, num_waves + 1, dtype=values.dtype)
    factors = torch.cat((2 * hat.real[1:], -2 * hat.imag[1:]))[None]

    def series(x: Any) -> Any:
        phase = x * k
        waves = torch.cat((torch.cos(phase), torch.sin(phase)), dim=-1)
        return torch.nn.functional.linear(waves, factors) + float(hat.real[0])

    return series


def windows(case: Case, settings: dict[str, Any], seed: int, checkpoint: Path) -> Trained:
    """Fixed coordinates, one stretch of time after the other."""
    own = {**settings, **settings["windows"]}
    start, end = case.times
    count = own["num_windows"]
    edges = [start + (end - start) * n / count for n in range(count + 1)]
    solution, histories = fit_windows(
        lambda span, initial: build(
            case, own, times=span, initial=initial and fourier_series(initial)
        ),
        edges,
        standard_phases(own),
        seed=seed,
        checkpoint=checkpoint,
    )
    return Trained(solution, _count(solution), histories)


ARMS: dict[str, Arm] = {
    "plain": plain,
    "soft": soft,
    "moving_frame": moving_frame,
    "second_order": second_order,
    "moving_second_order": moving_second_order,
    "small": small(plain),
    "small_second_order": small(second_order),
    "small_moving_frame": small(moving_frame),
    "small_moving_second_order": small(moving_second_order),
    "causal": causal,
    "curriculum": curriculum,
    "windows": windows,
}
