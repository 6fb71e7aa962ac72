"""Arms that learn characteristics: a displacement and a state on labels.

Added to those of `arms.py` by `run.py`. Training that stops because characteristics are about to
cross is scored at its last good state, with the message and the place.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.pinn.arms import Arm, Trained, gauss_newton_phases, small, standard_phases
from experiments.pinn.cases import GRID, Case, burgers
from pdesurrogates.backbones import MLP
from pdesurrogates.pinns import (
    CharacteristicsCrossed,
    History,
    LagrangianPINN,
    Phase,
    PhaseReport,
    at_rest,
    fit,
)

__all__ = ["ARMS", "CASES", "smallest_stretch"]


CASES: dict[str, Case] = {
    f"burgers_10_nu_{viscosity:g}": burgers(10.0, viscosity)
    for viscosity in (0.02, 0.01, 0.005, 0.002)
}
"""Burgers with a moving shock that gets thinner until the method breaks."""


def build(case: Case, settings: dict[str, Any], **arguments: Any) -> LagrangianPINN:
    """Two networks: that of the plain arms for the state, a small one for the displacement."""
    own = settings.get("lagrangian", {})
    width, depth = own.get("width", 20), own.get("depth", 2)
    displacement = MLP(3, 1, width=min(width, settings["width"]), depth=depth)
    state = MLP(3, 1, width=settings["width"], depth=settings["depth"])
    return LagrangianPINN(
        case.equation,
        displacement=at_rest(displacement).double(),
        state=state.double(),
        domain=GRID,
        times=case.times,
        initial_condition=case.initial,
        num_points=settings["num_points"],
        **arguments,
    )


def trained(
    case: Case, pinn: LagrangianPINN, phases: list[Phase], seed: int, checkpoint: Path
) -> Trained:
    """Train until the phases end or characteristics are about to cross."""
    notes: dict[str, Any] = {}
    history, started = History(), time.perf_counter()

    def report(step: int, losses: dict[str, float]) -> None:
        total = sum(pinn.weights[name] * loss for name, loss in losses.items())
        history.add(losses, total, step, time.perf_counter() - started)

    try:
        history = fit(pinn, phases, seed=seed, checkpoint=checkpoint, on_report=report)
    except CharacteristicsCrossed as stop:
        steps = history.steps[-1] if history.steps else 0
        loss = history.total[-1] if history.total else math.nan
        seconds = time.perf_counter() - started
        history.phases.append(PhaseReport("stopped", "diverged", steps, seconds, loss, str(stop)))
        notes["stopped"] = str(stop)
    stretch, label, moment = pinn.smallest_stretch()
    notes |= {
        "min_stretch": stretch,
        "min_stretch_label": label,
        "min_stretch_time": moment,
        "min_stretch_exact": smallest_stretch(case),
    }
    count = sum(p.numel() for p in pinn.parameters())
    return Trained(pinn, count, [history], notes)


def smallest_stretch(case: Case, num_labels: int = 256, num_steps: int = 200) -> float:
    """Smallest dx/dX of the exact solution: x_t = a(u(x, t)) by the midpoint rule.

    Only for equations whose characteristic velocity is u or a number.
    """
    start, end = case.times
    x = torch.linspace(0, 2 * math.pi, num_labels + 1, dtype=torch.float64)
    dt, smallest = (end - start) / num_steps, 1.0

    def speed(x: Tensor, t: float) -> Tensor:
        u = case.exact(x, t)
        a = case.equation.characteristic_velocity(t, u, _Numbers())  # pyright: ignore
        return torch.as_tensor(a, dtype=x.dtype).expand_as(x)

    for n in range(num_steps):
        t = start + n * dt
        x = x + dt * speed(x + dt / 2 * speed(x, t), t + dt / 2)
        smallest = min(smallest, float(x.diff().min()) * num_labels / (2 * math.pi))
    return smallest


class _Numbers:
    """As much of a provider as a characteristic velocity needs."""

    @staticmethod
    def coefficient(value: Any) -> Any:
        return value


def label_form(labels: Any, positions: Any) -> Any:
    """Diffusion in the label, as in the published code: the provider of the labels themselves."""
    del positions
    return labels


def lagrangian(case: Case, settings: dict[str, Any], seed: int, checkpoint: Path) -> Trained:
    """Initial condition by construction, diffusion in x."""
    return trained(case, build(case, settings), standard_phases(settings), seed, checkpoint)


def moving(case: Case, settings: dict[str, Any], seed: int, checkpoint: Path) -> Trained:
    """The same, the mean velocity given."""
    pinn = build(case, settings, frame_velocity=case.velocity)
    return trained(case, pinn, standard_phases(settings), seed, checkpoint)


def in_labels(case: Case, settings: dict[str, Any], seed: int, checkpoint: Path) -> Trained:
    """The same with diffusion in the label: another equation where dx/dX is not 1.

    It does not divide by dx/dX, so training may pass through states that cross.
    """
    pinn = build(case, settings, derivatives=label_form, min_stretch=-math.inf)
    return trained(case, pinn, standard_phases(settings), seed, checkpoint)


def soft(case: Case, settings: dict[str, Any], seed: int, checkpoint: Path) -> Trained:
    """The same with the initial condition as two parts of the loss."""
    weight = settings["initial_weight"]
    weights = {"initial_position": weight, "initial_state": weight}
    pinn = build(case, settings, hard=False, weights=weights)
    return trained(case, pinn, standard_phases(settings), seed, checkpoint)


def second_order(frame: Callable[[Case], float]) -> Arm:
    """Levenberg-Marquardt in place of L-BFGS."""

    def arm(case: Case, settings: dict[str, Any], seed: int, checkpoint: Path) -> Trained:
        pinn = build(case, settings, frame_velocity=frame(case))
        return trained(case, pinn, gauss_newton_phases(settings), seed, checkpoint)

    return arm


ARMS: dict[str, Arm] = {
    "lagrangian": lagrangian,
    "lagrangian_moving": moving,
    "lagrangian_label_form": in_labels,
    "lagrangian_soft": soft,
    "small_lagrangian": small(lagrangian),
    "small_lagrangian_second_order": small(second_order(lambda case: 0.0)),
    "small_lagrangian_moving_second_order": small(second_order(lambda case: case.velocity)),
}
