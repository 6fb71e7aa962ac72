"""A recipe's trajectories: drawn, burned in, solved, reduced to what is stored."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from pdesurrogates.core import Dirichlet
from pdesurrogates.equations import Equation, SteadyEquation
from pdesurrogates.reference.coarsening import coarsen
from pdesurrogates.reference.conservation import conserved
from pdesurrogates.reference.recipe import Recipe
from pdesurrogates.reference.solve import solve
from pdesurrogates.reference.steady import solve_steady

__all__ = ["Simulated", "simulate"]


@dataclasses.dataclass(frozen=True)
class Simulated:
    """Some trajectories of a recipe.

    Args:
        states: (trajectory, time, channel, *space) on the stored grid, float64.
        drift: Largest relative drift of each conserved quantity, on the solver's grid; see
            `conserved`. Empty where the box has ends, which may let something in or out.
    """

    states: Tensor
    drift: dict[str, float]


def simulate(recipe: Recipe, start: int, stop: int) -> Simulated:
    """Solve for trajectories start .. stop - 1 of a recipe in float64.

    Args:
        recipe: What to solve.
        start: First trajectory of the file.
        stop: Last trajectory and one.
    """
    coefficients = recipe.drawn_coefficients(start, stop)
    equation = dataclasses.replace(
        recipe.equation, **recipe.drawn_parameters(start, stop), **coefficients
    )
    stored = _Stored(recipe, equation, coefficients)
    if isinstance(equation, SteadyEquation):
        return Simulated(stored(_steady(recipe, equation, stop - start))[:, None], {})
    run = partial(
        solve,
        equation,
        recipe.provider(),
        stepper=recipe.stepper,
        dt=recipe.solver_dt,
        cfl=recipe.cfl,
    )
    u0 = recipe.initial_states(start, stop)
    if recipe.burn_in:
        u0 = _burned_in(recipe, run, u0)
    states = run(u0, recipe.times, observe=stored)
    return Simulated(states, stored.drift)


def _steady(recipe: Recipe, equation: SteadyEquation, number: int) -> Tensor:
    boundary = Dirichlet(0.0) if recipe.boundary is None else recipe.boundary
    u = solve_steady(equation, recipe.solver_grid, boundary=boundary)
    return u.expand(number, *u.shape[1:])


def _burned_in(recipe: Recipe, run: Callable, u0: Tensor) -> Tensor:
    """The state after the burn-in; the frames on the way are not kept."""
    times = [0.0, recipe.burn_in]
    if recipe.solver_dt is None:
        steps = math.ceil(recipe.burn_in / (recipe.dt or recipe.burn_in))
        times = [n * recipe.burn_in / steps for n in range(steps + 1)]
    last = _Last()
    run(u0, times, observe=last)
    return last.state


class _Last:
    """Keeps the newest state only."""

    state: Tensor

    def __call__(self, state: Tensor) -> Tensor:
        self.state = state
        return state.new_empty((state.shape[0], 0))


class _Stored:
    """Turns each state of the solver into what is stored, and follows the conserved quantities."""

    def __init__(
        self, recipe: Recipe, equation: Equation, coefficients: Mapping[str, Tensor]
    ) -> None:
        self.recipe = recipe
        self.equation = equation
        self.coefficients = coefficients
        self.first: Tensor | None = None
        self.drift: dict[str, float] = {}

    def __call__(self, state: Tensor) -> Tensor:
        self._follow(state)
        recipe, is_average = self.recipe, self.recipe.grid.cell_centred
        shrink = partial(coarsen, factors=recipe.coarsening, average=is_average)
        # Averages are taken of what is conserved, and other variables are made from them.
        if is_average:
            state = shrink(state)
        if recipe.output is not None:
            grid = recipe.grid if is_average else recipe.solver_grid
            state = recipe.output(state, self.equation, grid)
        if not is_average:
            state = shrink(state)
        fields = [shrink(self.coefficients[name]) for name in sorted(self.coefficients)]
        return torch.cat([state, *fields], dim=1)

    def _follow(self, state: Tensor) -> None:
        if self.recipe.is_steady or not all(self.recipe.grid.is_periodic):
            return
        self.first = state if self.first is None else self.first
        pair = torch.stack([self.first, state], dim=1)
        for name, quantity in conserved(self.equation, self.recipe.solver_grid, pair).items():
            self.drift[name] = max(self.drift.get(name, 0.0), quantity.max_drift)
