"""The method as a whole, reduced: a bump is carried as the time scheme carries it, no worse."""

import math

import pytest
import torch

from pdesurrogates.core import Dirichlet, Grid
from pdesurrogates.equations import Advection
from pdesurrogates.neural_fields import INSRSolver

VELOCITY, DT, START, SIZE = 0.25, 0.05, -1.5, 0.1
GRID = Grid((801,), (4.0,), (-2.0,), periodic=False)


def bump(x, t=0.0):
    return torch.exp(-((x - START - VELOCITY * t) ** 2) / (2 * SIZE**2))


def midpoint_floor(num_steps):
    """The implicit midpoint rule on the Fourier modes of a line three times as long."""
    x = -6.0 + torch.arange(2400) * 0.005
    wave = 2 * math.pi * torch.fft.rfftfreq(2400, 0.005)
    z = -1j * VELOCITY * wave * DT
    hat = torch.fft.rfft(bump(x)) * ((1 + z / 2) / (1 - z / 2)) ** num_steps
    return torch.fft.irfft(hat, n=2400)[800:1601]


@pytest.mark.slow
def test_a_bump_moves_as_the_time_scheme_moves_it():
    solver = INSRSolver(Advection(VELOCITY), GRID, dt=DT, boundary=Dirichlet(0.0))
    solution = solver.solve(bump, [0.0, 1.0])
    u, exact = solution.sample()[0, -1, 0], bump(GRID.coordinates()[0], 1.0)
    floor = midpoint_floor(20)
    assert solution.num_parameters == 901
    assert (u - floor).norm() / floor.norm() < 3e-4
    error, best = ((v - exact).norm() / exact.norm() for v in (u, floor))
    assert best == pytest.approx(0.0044, abs=1e-4)
    assert error < 1.05 * best
    # A step that ends at its largest number of iterations is reported, not hidden.
    converged = sum(report.status == ("converged",) for report in solution.reports)
    assert converged >= 15
    assert max(max(report.loss) for report in solution.reports) < 1e-8
