"""What determines the trajectories of a file: the recipe."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from pdesurrogates.core import FieldSpec, Grid, Periodic, check_state, generator
from pdesurrogates.equations import ConservationLaw, Equation, SteadyEquation
from pdesurrogates.operators import Derivatives, FiniteDifferences, FiniteVolumes
from pdesurrogates.reference.coarsening import coarsening_factors
from pdesurrogates.reference.initial_conditions import RandomFourierSeries
from pdesurrogates.reference.output import Output
from pdesurrogates.steppers import Stepper

__all__ = ["ParameterRange", "Recipe"]

_PARAMETER_STREAM = 1
_COEFFICIENT_STREAM = 2


@dataclasses.dataclass(frozen=True)
class ParameterRange:
    """A PDE parameter drawn per trajectory.

    Args:
        low: Smallest value.
        high: Largest value.
        logarithmic: Uniform in the logarithm instead of the value.
    """

    low: float
    high: float
    logarithmic: bool = False

    def __post_init__(self) -> None:
        if not self.low <= self.high or (self.logarithmic and self.low <= 0):
            raise ValueError(
                "ParameterRange: needs low <= high, and low > 0 on a logarithmic scale, got "
                f"low = {self.low}, high = {self.high}."
            )

    def value(self, uniform: Tensor) -> Tensor:
        """Uniform numbers in [0, 1) to values."""
        if self.logarithmic:
            return self.low * (self.high / self.low) ** uniform
        return self.low + (self.high - self.low) * uniform


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that determines the trajectories of a file.

    Args:
        equation: The PDE with its constant parameters.
        grid: Grid of the stored states.
        num_trajectories: Trajectories in the file.
        dt: Time between stored frames [time]; steady problems have none.
        num_steps: Stored steps per trajectory, which has one frame more; steady problems have
            none, and one frame.
        initial_condition: Called with (grid, number, num_channels=..., seed=..., first=...),
            gives states (number, channel, *space).
        seed: Seed of the data set, not negative.
        first: Index of the first trajectory: files with one seed and disjoint index ranges hold
            different trajectories of one ensemble.
        burn_in: Time that passes before the first stored frame [time].
        parameters: PDE parameters drawn per trajectory, by name.
        coefficients: PDE parameters that are functions of space, by name; called as
            `initial_condition` is, for one channel. They are stored as fields after the others.
        solver: Makes the derivative provider from a grid (and `boundary=...`), e.g. the class
            `FiniteVolumes`; by default pseudo-spectral on periodic grids, finite differences on
            others.
        boundary: Conditions at the ends of the axes, for all fields or by field name.
        solver_points: Points per axis of the solver's grid. What is stored are averages where the
            grid is cell-centred, every n-th point where it is not.
        solver_dt: Step of the solver [time].
        cfl: Courant number of solvers that know their wave speeds; see `solve` for both.
        stepper: Stepper of the solver; `solve` has a default for each provider.
        output: What of a state is stored; by default all of it.
        dtype: Stored type.
        chunk: Trajectories solved together; part of the recipe, because the rounding of a batch
            depends on its size.
        name: Name stored in the file.
    """

    equation: Equation
    grid: Grid
    num_trajectories: int
    dt: float | None = None
    num_steps: int | None = None
    initial_condition: Callable = dataclasses.field(default_factory=RandomFourierSeries)
    seed: int = 0
    first: int = 0
    burn_in: float = 0.0
    parameters: dict[str, ParameterRange] = dataclasses.field(default_factory=dict)
    coefficients: dict[str, Callable] = dataclasses.field(default_factory=dict)
    solver: Callable[[Grid], Derivatives] | None = None
    boundary: Any = None
    solver_points: tuple[int, ...] | None = None
    solver_dt: float | None = None
    cfl: float | None = None
    stepper: Stepper | None = None
    output: Output | None = None
    dtype: Literal["float32", "float64"] = "float32"
    chunk: int = 32
    name: str = "trajectories"

    def __post_init__(self) -> None:
        self._check_time()
        for name in ("num_steps", "num_trajectories", "chunk"):
            if (getattr(self, name) or 0) < 1 and not (self.is_steady and name == "num_steps"):
                raise ValueError(
                    f"Recipe: `{name}` must be at least 1, got {getattr(self, name)}."
                )
        for name in ("seed", "first", "burn_in"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(
                    f"Recipe: `{name}` must not be negative, got {getattr(self, name)}."
                )
        for name in ("dt", "solver_dt", "cfl"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"Recipe: `{name}` must be positive and finite, got {value}.")
        known = {field.name for field in dataclasses.fields(self.equation)}
        for name in (*self.parameters, *self.coefficients):
            if name not in known:
                raise ValueError(
                    f"Recipe: {type(self.equation).__name__} has no parameter {name!r}; "
                    f"it has {sorted(known)}."
                )
        # These refuse what does not fit.
        _ = self.coarsening, self.fields
        if self.solver is not None or self.boundary is not None:
            self.provider()

    def _check_time(self) -> None:
        """Steady problems have no time, all others need it."""
        given = [
            name
            for name in ("dt", "num_steps", "burn_in", "solver", "solver_dt", "cfl", "stepper")
            if getattr(self, name)
        ]
        if self.is_steady and given:
            raise ValueError(
                f"Recipe: {type(self.equation).__name__} is a steady problem, which "
                f"reference.solve_steady solves; remove {', '.join(given)}."
            )
        missing = [name for name in ("dt", "num_steps") if getattr(self, name) is None]
        if not self.is_steady and missing:
            raise ValueError(f"Recipe: {', '.join(missing)} must be given.")

    @property
    def is_steady(self) -> bool:
        """Whether there is no time in the problem."""
        return isinstance(self.equation, SteadyEquation)

    @property
    def times(self) -> list[float]:
        """Times of the stored frames, from 0."""
        return [n * (self.dt or 0.0) for n in range((self.num_steps or 0) + 1)]

    @property
    def solver_grid(self) -> Grid:
        """The grid the equation is solved on."""
        if self.solver_points is None:
            return self.grid
        if len(self.solver_points) != self.grid.dim:
            raise ValueError(
                f"Recipe: `solver_points` must have one number per axis ({self.grid.dim}), got "
                f"{self.solver_points}."
            )
        return self.grid.resized(self.solver_points)

    @property
    def coarsening(self) -> tuple[int, ...]:
        """Points or cells of the solver's grid per stored one, along each axis."""
        return coarsening_factors(self.solver_grid, self.grid, where="Recipe: `solver_points`")

    @property
    def fields(self) -> FieldSpec:
        """What is stored: the output's fields, then the coefficients."""
        own = self.equation.fields
        if self.output is not None:
            own = self.output.fields(self.equation, self.solver_grid)
        extra = tuple(sorted(self.coefficients))
        return FieldSpec((*own.names, *extra), (*(own.units or ()), *("1",) * len(extra)))

    @property
    def constants(self) -> dict[str, float]:
        """The equation's parameters that are one number for all trajectories."""
        return {
            field.name: float(value)
            for field in dataclasses.fields(self.equation)
            if isinstance(value := getattr(self.equation, field.name), (int, float))
            and not isinstance(value, bool)
            and field.name not in (*self.parameters, *self.coefficients, "dim")
        }

    def drawn_parameters(self, start: int, stop: int) -> dict[str, Tensor]:
        """Values (trajectory,) of the drawn parameters of trajectories start .. stop - 1."""
        values: dict[str, Tensor] = {}
        for position, name in enumerate(sorted(self.parameters)):
            uniform = torch.stack(
                [
                    torch.rand(
                        (),
                        generator=generator(
                            self.seed, self.first + i, _PARAMETER_STREAM, position
                        ),
                        dtype=torch.float64,
                    )
                    for i in range(start, stop)
                ]
            )
            values[name] = self.parameters[name].value(uniform)
        return values

    def drawn_coefficients(self, start: int, stop: int) -> dict[str, Tensor]:
        """Fields (trajectory, 1, *space) of the coefficients, on the solver's grid."""
        values: dict[str, Tensor] = {}
        for position, name in enumerate(sorted(self.coefficients)):
            # Another stream than the initial condition's: both may be the same kind of function.
            seed = generator(self.seed, _COEFFICIENT_STREAM, position).initial_seed()
            values[name] = self._drawn(
                self.coefficients[name], start, stop, num_channels=1, seed=seed, what=name
            )
        return values

    def initial_states(self, start: int, stop: int) -> Tensor:
        """States (trajectory, channel, *space) to start from, on the solver's grid."""
        return self._drawn(
            self.initial_condition,
            start,
            stop,
            num_channels=self.equation.fields.num_channels,
            seed=self.seed,
            what="initial_condition",
        )

    def provider(self) -> Grid | Derivatives:
        """What the equation is solved with."""
        grid, boundary = self.solver_grid, self.boundary
        if self.solver is not None:
            return self.solver(grid, **({} if boundary is None else {"boundary": boundary}))
        if self.is_steady or all(grid.is_periodic):
            if not self.is_steady and not isinstance(boundary, Periodic | None):
                raise ValueError(
                    "Recipe: the grid is periodic along every axis and has no ends at which "
                    f"`boundary` could hold, got {boundary}; remove it, or set `periodic: false` "
                    "in the grid."
                )
            return grid
        if isinstance(self.equation, ConservationLaw) and self.equation.forms_shocks:
            return FiniteVolumes(grid, boundary=boundary)
        return FiniteDifferences(grid, boundary=boundary)

    def _drawn(
        self,
        draw: Callable,
        start: int,
        stop: int,
        *,
        num_channels: int,
        seed: int,
        what: str,
    ) -> Tensor:
        values = draw(
            self.solver_grid,
            stop - start,
            num_channels=num_channels,
            seed=seed,
            first=self.first + start,
        )
        check_state(values, num_channels, self.solver_grid.shape, where=f"generate: {what}")
        return values
