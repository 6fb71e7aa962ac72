"""Problems with walls or three axes: grids, initial states and answers at any resolution."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from scipy.interpolate import CubicSpline
from torch import Tensor

from experiments.validation.incompressible import GHIA_X, GHIA_Y, LID
from pdesurrogates.core import Dirichlet, Grid, generator
from pdesurrogates.equations import BoundEquation, Burgers, Equation, IncompressibleNavierStokes
from pdesurrogates.evaluation import resample
from pdesurrogates.operators import Derivatives, FiniteDifferences, StaggeredGrid
from pdesurrogates.reference import random_initial_condition
from pdesurrogates.steppers import ETDRK, RK4, Stepper, integrate

__all__ = ["Box3D", "BurgersLine", "Case", "Cavity", "Channel", "Level", "StreamwiseFlow"]


@dataclass(frozen=True)
class StreamwiseFlow(Equation):
    """Flow along a straight channel: u_t = viscosity lap u + drive, drive = -p_x / density.

    Args:
        viscosity: [length^2/time].
        drive: Acceleration by the pressure [length/time^2].
    """

    viscosity: float = 0.1
    drive: float = 1.0

    def linear(self, u: Any, d: Derivatives) -> Any:
        return d.laplacian(u) * self.viscosity

    def nonlinear(self, t: float | Tensor, u: Any, d: Derivatives) -> Any:
        return u * 0.0 + self.drive


@dataclass(frozen=True)
class Level:
    """A case at one resolution.

    Args:
        grid, f: Where, and the time derivative.
        stepper: The classical stepper.
        largest: Its step at most [time].
        project: Onto the allowed states; `None` where all are.
        is_fixed: Points that keep their value (1, *space); `None` where there are none.
    """

    grid: Grid
    f: BoundEquation
    stepper: Stepper
    largest: float
    project: Callable[[Tensor], Tensor] | None = None
    is_fixed: Tensor | None = None

    def step(self, t: float | Tensor, u: Tensor, dt: float | Tensor) -> Tensor:
        """A classical step of any length as equal small ones."""
        times = [float(t), float(t) + float(dt)]
        return integrate(self.f, u, times, self.stepper, dt=self.largest).states[:, -1]


@dataclass
class Case(ABC):
    """A problem, its initial states by number, and its answers.

    Args:
        num_points: Points per axis of the fine grid.
        dt: Fine time step of the surrogates [time].
        end: When they are scored [time].
    """

    dim: ClassVar[int] = 1
    num_channels: ClassVar[int] = 1

    num_points: int
    dt: float
    end: float
    _levels: dict[int, Level] = field(init=False, default_factory=dict)

    @property
    def times(self) -> list[float]:
        """From 0 to the end in steps of dt."""
        return [n * self.dt for n in range(round(self.end / self.dt) + 1)]

    def level(self, num_points: int) -> Level:
        """The case on a grid of so many points per axis."""
        if num_points not in self._levels:
            self._levels[num_points] = self._build(num_points)
        return self._levels[num_points]

    @abstractmethod
    def _build(self, num_points: int) -> Level: ...

    @abstractmethod
    def initial(self, num_points: int, first: int, number: int) -> Tensor:
        """Initial states first .. first + number - 1 on a level, float64."""

    def tested(self, num_points: int, first: int, number: int) -> Tensor:
        """The initial states that `truth` begins from, on a level."""
        return self.initial(num_points, first, number)

    @abstractmethod
    def truth(self, first: int, number: int, times: list[float]) -> Tensor:
        """Their trajectories as fields to compare with, on the points of the fine grid."""

    def fields(self, u: Tensor, num_points: int) -> Tensor:
        """States of a level (batch, channel, *space) as fields on the points of the fine grid."""
        return u

    def extras(self, advance: Callable[[int, float], Tensor], num_points: int) -> dict[str, float]:
        """What else is known; advance(number, t) gives states of the level at a late time."""
        return {}


class Channel(Case):
    """Poiseuille flow between walls at y = 0 and 1, from random profiles; everything is exact:

        u(y, t) = drive y (1 - y) / 2 viscosity + sum_m b_m exp(-viscosity (m pi)^2 t) sin(m pi y)

    Sample numbers divisible by 4 start from rest. The walls are points of the grid and keep 0.
    """

    viscosity = 0.1
    num_waves = 12

    def _build(self, num_points: int) -> Level:
        grid = Grid((num_points,), (1.0,), periodic=False)
        flow = StreamwiseFlow(self.viscosity)
        f = flow.on(FiniteDifferences(grid, 2, Dirichlet(0.0)))
        is_fixed = torch.zeros(1, num_points, dtype=torch.bool)
        is_fixed[:, [0, -1]] = True
        limit = 0.6 * grid.spacing[0] ** 2 / self.viscosity
        return Level(grid, f, RK4(), limit, is_fixed=is_fixed)

    def _coefficients(self, first: int, number: int) -> Tensor:
        m = torch.arange(1, self.num_waves + 1, dtype=torch.float64)
        rest = torch.where(m % 2 == 1, -4 / (self.viscosity * (m * math.pi) ** 3), 0.0)
        rows = []
        for index in range(first, first + number):
            random = torch.randn(len(m), generator=generator(0, 11, index), dtype=torch.float64)
            rows.append(rest if index % 4 == 0 else 0.6 * random / m)
        return torch.stack(rows)

    def _profiles(self, y: Tensor, first: int, number: int, t: float) -> Tensor:
        m = torch.arange(1, self.num_waves + 1, dtype=torch.float64)
        decay = torch.exp(-self.viscosity * (m * math.pi) ** 2 * t)
        waves = torch.sin(math.pi * m[:, None] * y)
        steady = y * (1 - y) / (2 * self.viscosity)
        return (steady + (self._coefficients(first, number) * decay) @ waves)[:, None]

    def initial(self, num_points: int, first: int, number: int) -> Tensor:
        (y,) = self.level(num_points).grid.axes()
        u = self._profiles(y, first, number, 0.0)
        u[..., [0, -1]] = 0.0
        return u

    def truth(self, first: int, number: int, times: list[float]) -> Tensor:
        (y,) = self.level(self.num_points).grid.axes()
        return torch.stack([self._profiles(y, first, number, t) for t in times], dim=1)

    def fields(self, u: Tensor, num_points: int) -> Tensor:
        if num_points == self.num_points:
            return u
        (y,), (own,) = (self.level(n).grid.axes() for n in (self.num_points, num_points))
        return _linear(u.double(), own, y)

    def extras(self, advance: Callable[[int, float], Tensor], num_points: int) -> dict[str, float]:
        u = self.fields(advance(8, 8.0), num_points)
        (y,) = self.level(self.num_points).grid.axes()
        steady = y * (1 - y) / (2 * self.viscosity)
        return {"steady_profile_error": _relative(u, steady.expand_as(u))}


class Cavity(Case):
    """The lid-driven cavity at Re = 100 from random flows, on a staggered grid.

    The state holds velocities on faces. Random stream functions vanish on the walls; 0.25 time
    units of the classical solver form the layers at the walls. The truth has twice the points.
    """

    dim, num_channels = 2, 2
    viscosity = 0.01
    forming = 0.25

    def _build(self, num_points: int) -> Level:
        grid = Grid((num_points,) * 2, (1.0,), periodic=False, cell_centred=True)
        d = StaggeredGrid(grid, LID)
        f = IncompressibleNavierStokes(self.viscosity).on(d)

        def project(u: Tensor) -> Tensor:
            return torch.cat(d.project(*u.split(1, dim=1)), dim=1)

        limit = 1.5 / (4 * self.viscosity * num_points**2 + num_points)
        return Level(grid, f, RK4(), limit, project)

    def initial(self, num_points: int, first: int, number: int) -> Tensor:
        corners = torch.arange(num_points + 1, dtype=torch.float64) / num_points
        waves = torch.arange(1, 5, dtype=torch.float64)
        sines = torch.sin(math.pi * waves[:, None] * corners)
        decay = 1 / (waves[:, None] ** 2 + waves**2)
        states = []
        for index in range(first, first + number):
            source = generator(0, 12, index)
            a = torch.randn(4, 4, generator=source, dtype=torch.float64) * decay
            psi = 0.3 * torch.einsum("kl,kx,ly->xy", a, sines, sines)
            u = (psi[1:, 1:] - psi[1:, :-1]) * num_points
            v = -(psi[1:, 1:] - psi[:-1, 1:]) * num_points
            states.append(torch.stack((u, v)))
        level = self.level(num_points)
        with torch.no_grad():
            return level.step(0.0, torch.stack(states), self.forming)

    def truth(self, first: int, number: int, times: list[float]) -> Tensor:
        finest = 2 * self.num_points
        level = self.level(finest)
        u, frames = self.initial(finest, first, number), []
        with torch.no_grad():
            for n, t in enumerate(times):
                u = u if n == 0 else level.step(times[n - 1], u, t - times[n - 1])
                frames.append(F.avg_pool2d(level.f.decode(u), 2))
        return torch.stack(frames, dim=1)

    def tested(self, num_points: int, first: int, number: int) -> Tensor:
        """States from the grid of the truth: the flow through a face is that of its fine ones."""
        u = self.initial(2 * self.num_points, first, number)
        factor = 2 * self.num_points // num_points
        on_faces_x = u[:, :1, factor - 1 :: factor]
        on_faces_y = u[:, 1:, :, factor - 1 :: factor]
        return torch.cat(
            (F.avg_pool2d(on_faces_x, (1, factor)), F.avg_pool2d(on_faces_y, (factor, 1))), dim=1
        )

    def fields(self, u: Tensor, num_points: int) -> Tensor:
        centred = self.level(num_points).f.decode(u.double())
        if num_points == self.num_points:
            return centred
        # Linear between cell centres and the walls, whose values are known.
        (x,), (own,) = (self.level(n).grid.axes()[:1] for n in (self.num_points, num_points))
        own = torch.cat((own.new_zeros(1), own, own.new_ones(1)))
        padded = F.pad(centred, (1, 1, 1, 1))
        padded[:, 0, :, -1] = 1.0
        along_y = _linear(padded, own, x)
        return _linear(along_y.mT, own, x).mT

    def extras(self, advance: Callable[[int, float], Tensor], num_points: int) -> dict[str, float]:
        states = advance(4, 20.0).double()
        distances = [_distance_to_ghia(state) for state in states]
        return {
            "ghia_velocity_x": max(pair[0] for pair in distances),
            "ghia_velocity_y": max(pair[1] for pair in distances),
        }


class Box3D(Case):
    """Decaying incompressible flow in a periodic box with three axes, pseudo-spectral."""

    dim, num_channels = 3, 3
    viscosity = 0.1

    def _build(self, num_points: int) -> Level:
        grid = Grid((num_points,) * 3, (2 * math.pi,))
        f = IncompressibleNavierStokes(self.viscosity, dim=3).on(grid)
        return Level(grid, f, ETDRK(4), 0.8 / num_points, f.encode)

    def initial(self, num_points: int, first: int, number: int) -> Tensor:
        grid, f = self.level(self.num_points).grid, self.level(self.num_points).f
        u = random_initial_condition(
            grid, number, num_channels=3, max_wavenumber=2, decay=1.0, seed=13, first=first
        )
        u = f.encode(u)
        u = 0.5 * u / u.square().mean((1, 2, 3, 4), keepdim=True).sqrt()
        return resample(u, (num_points,) * 3)

    def truth(self, first: int, number: int, times: list[float]) -> Tensor:
        finest = 2 * self.num_points
        level, u, frames = self.level(finest), self.initial(finest, first, number), []
        with torch.no_grad():
            for n, t in enumerate(times):
                u = u if n == 0 else level.step(times[n - 1], u, t - times[n - 1])
                frames.append(resample(u, (self.num_points,) * 3))
        return torch.stack(frames, dim=1)

    def fields(self, u: Tensor, num_points: int) -> Tensor:
        return resample(u.double(), (self.num_points,) * 3)


class BurgersLine(Case):
    """Viscous Burgers on a periodic line, for the control problem."""

    viscosity = 0.02

    def _build(self, num_points: int) -> Level:
        grid = Grid((num_points,), (1.0,))
        f = Burgers(self.viscosity).on(grid)
        return Level(grid, f, ETDRK(4), 0.2 / num_points)

    def initial(self, num_points: int, first: int, number: int) -> Tensor:
        grid = self.level(num_points).grid
        u = random_initial_condition(
            grid, number, num_channels=1, max_wavenumber=4, decay=1.0, seed=14, first=first
        )
        return u / u.square().mean((1, 2), keepdim=True).sqrt()

    def truth(self, first: int, number: int, times: list[float]) -> Tensor:
        finest = 4 * self.num_points
        level = self.level(finest)
        u = self.initial(finest, first, number)
        found = integrate(level.f, u, times, ETDRK(4), dt=level.largest)
        return resample(found.states, (self.num_points,))

    def fields(self, u: Tensor, num_points: int) -> Tensor:
        return resample(u.double(), (self.num_points,))


def _linear(values: Tensor, own: Tensor, wanted: Tensor) -> Tensor:
    """Linear interpolation along the last axis, from points `own` to `wanted`."""
    right = torch.searchsorted(own, wanted.contiguous()).clamp(1, len(own) - 1)
    share = (wanted - own[right - 1]) / (own[right] - own[right - 1])
    return values[..., right - 1] * (1 - share) + values[..., right] * share


def _relative(u: Tensor, truth: Tensor) -> float:
    """Median over samples of the relative L2 error."""
    gap, size = (u.double() - truth).flatten(1).norm(dim=1), truth.flatten(1).norm(dim=1)
    return float((gap / size).nan_to_num(nan=math.inf).median())


def _distance_to_ghia(state: Tensor) -> tuple[float, float]:
    """Largest distance of both centre lines to the tables of Ghia et al. (1982)."""
    n = state.shape[-1]
    if not bool(state.isfinite().all()):
        return math.inf, math.inf
    centres = np.concatenate([[0.0], (np.arange(n) + 0.5) / n, [1.0]])
    u = np.concatenate([[0.0], state[0, n // 2 - 1].numpy(), [1.0]])
    v = np.concatenate([[0.0], state[1, :, n // 2 - 1].numpy(), [0.0]])
    found = []
    for line, table in ((u, GHIA_X), (v, GHIA_Y)):
        spline = CubicSpline(centres, line)
        found.append(float(max(abs(spline(point) - value) for point, value in table)))
    return found[0], found[1]
