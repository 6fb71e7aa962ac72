"""A scheme with wave speeds that is small enough to be right at sight."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from pdesurrogates.core import Grid
from pdesurrogates.equations import BoundEquation, Equation
from pdesurrogates.operators import FiniteDifferences


@dataclass(frozen=True)
class UpwindBurgers(Equation):
    """u_t + (factor u^2 / 2)_x = 0 for u > 0 by first-order upwind differences, periodic."""

    factor: Any = 1.0

    def linear(self, u, d):
        return u * 0.0

    def on(self, where):
        return UpwindOnCells(self, where)

    def conserved_quantities(self, u, grid):
        return {"mass": self._integral(u.double().squeeze(-2), grid)}


class UpwindOnCells(BoundEquation):
    """Records the steps' starting times, as they are asked for."""

    courant_limit = 1.0

    def __init__(self, equation, where):
        grid = where if isinstance(where, Grid) else where.grid
        super().__init__(equation, FiniteDifferences(grid))
        self.grid = grid
        self.starts = []

    def __call__(self, t, u):
        flux = self.equation.factor * u.square() / 2
        return -(flux - flux.roll(1, dims=-1)) / self.grid.spacing[0]

    def largest_step(self, t, state):
        self.starts.append(t)
        speed = (self.equation.factor * state).abs().flatten(1).amax(dim=1)
        return self.grid.spacing[0] / speed

    def first_unphysical(self, state):
        bad = state < 0
        if not bool(bad.any()):
            return None
        sample, _, cell = bad.nonzero()[0].tolist()
        return sample, (cell,), f"u is {float(state[sample, 0, cell]):.3g}, below zero,"


@pytest.fixture
def upwind():
    return UpwindBurgers()


@pytest.fixture
def cells():
    return Grid((32,), (1.0,), cell_centred=True)


@pytest.fixture
def humps(cells):
    """Three states of very different speeds."""
    x = cells.coordinates()[0]
    height = torch.tensor([0.3, 1.0, 4.0], dtype=torch.float64)[:, None]
    return (height * (1.2 + torch.sin(6.283185307179586 * x)))[:, None]
