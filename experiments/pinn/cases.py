"""The problems: equation, initial state and exact solution on [0, 2 pi], periodic."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pdesurrogates.core import Grid
from pdesurrogates.equations import Advection, AdvectionDiffusion, Burgers, Equation, FisherKPP
from pdesurrogates.equations.exact import burgers_cole_hopf

__all__ = ["CASES", "GRID", "Case", "exact_states"]

GRID = Grid((256,), (2 * math.pi,))


@dataclasses.dataclass(frozen=True)
class Case:
    """One initial value problem.

    Args:
        equation: The PDE.
        initial: u(x, 0), for tensors and jets.
        exact: u(x, t), tensor and number to tensor.
        velocity: Mean velocity with which structures move.
        mean: Mean state, subtracted where errors are made relative.
        end_time: Solved on [0, end_time].
        with_velocity: The same problem at another velocity, for curricula.
    """

    equation: Equation
    initial: Callable[[Any], Any]
    exact: Callable[[Tensor, float], Tensor]
    velocity: float = 0.0
    mean: float = 0.0
    end_time: float = 1.0
    with_velocity: Callable[[float], Case] | None = None

    @property
    def times(self) -> tuple[float, float]:
        """First and last time."""
        return 0.0, self.end_time


def exact_states(case: Case, grid: Grid, times: list[float]) -> Tensor:
    """(1, time, 1, space)."""
    x = grid.axes()[0]
    return torch.stack([case.exact(x, t) for t in times])[None, :, None]


def convection(velocity: float) -> Case:
    return Case(
        Advection(velocity),
        torch.sin,
        lambda x, t: torch.sin(x - velocity * t),
        velocity=velocity,
        with_velocity=convection,
    )


def convection_diffusion(velocity: float, diffusivity: float) -> Case:
    return Case(
        AdvectionDiffusion(velocity, diffusivity),
        torch.sin,
        lambda x, t: math.exp(-diffusivity * t) * torch.sin(x - velocity * t),
        velocity=velocity,
        with_velocity=lambda c: convection_diffusion(c, diffusivity),
    )


def burgers(mean: float, viscosity: float) -> Case:
    return Case(
        Burgers(viscosity),
        lambda x: torch.sin(x) + mean,
        lambda x, t: mean + burgers_cole_hopf(x - mean * t, t, viscosity=viscosity),
        velocity=mean,
        mean=mean,
        with_velocity=lambda c: burgers(c, viscosity),
    )


def inviscid_burgers(mean: float) -> Case:
    """Until shortly before the shock, which forms at t = 1."""
    return Case(
        Burgers(0.0),
        lambda x: torch.sin(x) + mean,
        lambda x, t: mean + along_characteristics(x - mean * t, t),
        velocity=mean,
        mean=mean,
        end_time=0.8,
        with_velocity=inviscid_burgers,
    )


def along_characteristics(x: Tensor, t: float) -> Tensor:
    """u = sin X with x = X + t sin X, t < 1: Newton's method, started between bounds."""
    label = x.clone()
    for _ in range(200):
        step = (label + t * torch.sin(label) - x) / (1 + t * torch.cos(label))
        label = (label - step.clamp(-0.5, 0.5)).clamp(x - t, x + t)
    return torch.sin(label)


def reaction(growth: float) -> Case:
    """Logistic growth of a bump, no transport."""

    def initial(x: Any) -> Any:
        return torch.exp((x - math.pi) ** 2 * (-8 / math.pi**2))

    def exact(x: Tensor, t: float) -> Tensor:
        grown = initial(x) * math.exp(growth * t)
        return grown / (grown + 1 - initial(x))

    return Case(FisherKPP(0.0, growth), initial, exact)


CASES: dict[str, Case] = {
    "convection_30": convection(30.0),
    "convection_50": convection(50.0),
    "convection_70": convection(70.0),
    "convection_diffusion": convection_diffusion(50.0, 0.01),
    "reaction": reaction(5.0),
    "burgers_0": burgers(0.0, 0.05),
    "burgers_10": burgers(10.0, 0.05),
    "inviscid_0": inviscid_burgers(0.0),
    "inviscid_10": inviscid_burgers(10.0),
}
