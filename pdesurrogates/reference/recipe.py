"""What determines a data set: the recipe."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import jsonargparse
import torch
import yaml
from torch import Tensor

from pdesurrogates.core import Grid, check_state, generator
from pdesurrogates.equations import Equation
from pdesurrogates.reference.initial_conditions import RandomFourierSeries
from pdesurrogates.reference.spectral import solve
from pdesurrogates.steppers import ETDRK, Stepper

__all__ = ["ParameterRange", "Recipe", "load_recipe", "read_recipe"]

_PARAMETER_STREAM = 1


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
    """Everything that determines a data set.

    Args:
        equation: The PDE with its constant parameters.
        grid: Grid of the stored states.
        dt: Time between stored frames [time].
        num_steps: Stored steps per trajectory; a trajectory has one frame more.
        num_trajectories: Trajectories in the file.
        initial_condition: Called with (grid, number, num_channels=..., seed=..., first=...),
            gives states (number, channel, *space).
        seed: Seed of the data set, not negative.
        first: Index of the first trajectory: files with one seed and disjoint index ranges hold
            different trajectories of one ensemble.
        burn_in: Time that passes before the first stored frame [time].
        parameters: PDE parameters drawn per trajectory, by name.
        solver_points: Points per axis of the solver's grid, a multiple of the stored ones; the
            stored states are every n-th point of it.
        solver_dt: Step of the solver [time]; by default it controls its error to 1e-8.
        stepper: Stepper of the solver, by default ETDRK(4).
        dtype: Stored type.
        chunk: Trajectories solved together; part of the recipe, because the rounding of a batch
            depends on its size.
        name: Name stored in the file.
    """

    equation: Equation
    grid: Grid
    dt: float
    num_steps: int
    num_trajectories: int
    initial_condition: Callable = dataclasses.field(default_factory=RandomFourierSeries)
    seed: int = 0
    first: int = 0
    burn_in: float = 0.0
    parameters: dict[str, ParameterRange] = dataclasses.field(default_factory=dict)
    solver_points: tuple[int, ...] | None = None
    solver_dt: float | None = None
    stepper: Stepper = dataclasses.field(default_factory=ETDRK)
    dtype: Literal["float32", "float64"] = "float32"
    chunk: int = 32
    name: str = "trajectories"

    def __post_init__(self) -> None:
        for name in ("num_steps", "num_trajectories", "chunk"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"Recipe: `{name}` must be at least 1, got {getattr(self, name)}."
                )
        for name in ("seed", "first"):
            if getattr(self, name) < 0:
                raise ValueError(
                    f"Recipe: `{name}` must not be negative, got {getattr(self, name)}."
                )
        for name, value in (("dt", self.dt), ("solver_dt", self.solver_dt)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"Recipe: `{name}` must be positive and finite, got {value}.")
        if not (math.isfinite(self.burn_in) and self.burn_in >= 0):
            raise ValueError(f"Recipe: `burn_in` must not be negative, got {self.burn_in}.")
        known = {field.name for field in dataclasses.fields(self.equation)}
        for name in self.parameters:
            if name not in known:
                raise ValueError(
                    f"Recipe: {type(self.equation).__name__} has no parameter {name!r}; "
                    f"it has {sorted(known)}."
                )
        if self.solver_points is not None and (
            len(self.solver_points) != self.grid.dim
            or any(a % b for a, b in zip(self.solver_points, self.grid.shape, strict=True))
        ):
            raise ValueError(
                "Recipe: `solver_points` must be multiples of the stored grid "
                f"{self.grid.shape}, got {self.solver_points}."
            )

    @property
    def times(self) -> list[float]:
        """Times of the stored frames, from 0."""
        return [n * self.dt for n in range(self.num_steps + 1)]

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

    def solve(self, start: int, stop: int) -> Tensor:
        """Trajectories start .. stop - 1, (trajectory, time, channel, *space), float64."""
        grid = self.grid
        if self.solver_points is not None:
            grid = grid.resized(self.solver_points)
        equation = dataclasses.replace(self.equation, **self.drawn_parameters(start, stop))
        num_channels = equation.fields.num_channels
        u0 = self.initial_condition(
            grid, stop - start, num_channels=num_channels, seed=self.seed, first=self.first + start
        )
        check_state(u0, num_channels, grid.shape, where="generate: initial_condition")
        if self.burn_in:
            before = [0.0, self.burn_in]
            if self.solver_dt is None:
                steps = math.ceil(self.burn_in / self.dt)
                before = [n * self.burn_in / steps for n in range(steps + 1)]
            u0 = self._solve(equation, grid, u0, before)[:, -1]
        states = self._solve(equation, grid, u0, self.times)
        for axis, (fine, stored) in enumerate(zip(grid.shape, self.grid.shape, strict=True)):
            every = torch.arange(0, fine, fine // stored, device=states.device)
            states = states.index_select(axis + 3, every)
        return states

    def _solve(self, equation: Equation, grid: Grid, u0: Tensor, times: list[float]) -> Tensor:
        return solve(equation, grid, u0, times, stepper=self.stepper, dt=self.solver_dt)


def load_recipe(source: str | Path | Mapping[str, Any]) -> Recipe:
    """A recipe from a YAML file or a mapping; classes are given by `class_path` and `init_args`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a key or class does not exist or a value does not fit, naming it.
    """
    text = "" if isinstance(source, Mapping) else read_recipe(Path(source))
    where = "Recipe from a mapping" if isinstance(source, Mapping) else f"Recipe from {source}"
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Recipe, None)
    try:
        _check_keys(source if isinstance(source, Mapping) else yaml.safe_load(text))
        if isinstance(source, Mapping):
            parsed = parser.parse_object(copy.deepcopy(dict(source)))
        else:
            parsed = parser.parse_string(text)
        return Recipe(**vars(parser.instantiate(parsed)))
    except yaml.YAMLError as error:
        raise ValueError(f"{where}: this is not YAML ({error}).") from error
    except (jsonargparse.ArgumentError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from error


def read_recipe(path: Path) -> str:
    """The text of a recipe file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a text file.
    """
    if not path.is_file():
        what = "this is a folder" if path.is_dir() else "no such file"
        raise FileNotFoundError(f"{path}: {what}; expected a recipe in YAML, see docs/cli.md.")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: this is not a text file ({error}); expected a recipe in YAML, see "
            "docs/cli.md."
        ) from error


def _check_keys(keys: object) -> None:
    """Unknown and missing keys by name; defaults of a group must not stand in for a grid."""
    known = {field.name: field for field in dataclasses.fields(Recipe)}
    if not isinstance(keys, Mapping):
        raise ValueError(f"expected keys and values, got {type(keys).__name__}.")
    required = {
        name
        for name, field in known.items()
        if field.default is field.default_factory is dataclasses.MISSING
    }
    unknown = sorted(str(key) for key in keys if key not in known)
    missing = sorted(required - set(keys))
    if unknown or missing:
        raise ValueError(
            f"unknown keys {unknown}, missing keys {missing}; the keys are {', '.join(known)}."
        )
