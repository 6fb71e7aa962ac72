"""Does this file obey that equation? The residual of the stated PDE, and the PDE that fits."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from pdesurrogates.core import Grid
from pdesurrogates.data import TrajectoryFile
from pdesurrogates.equations import Equation
from pdesurrogates.evaluation.tendencies import (
    Sample,
    default_providers,
    low_pass,
    sample_frames,
)
from pdesurrogates.operators import Derivatives

__all__ = ["check_trajectories"]

_LINEAR, _NONLINEAR = "factor of the linear part", "factor of the nonlinear part"
_FORMULA = "rms over space of (du/dt - rhs), over rms over space and frames of du/dt"


def check_trajectories(
    file: TrajectoryFile,
    equation: Equation,
    *,
    num_trajectories: int = 4,
    num_frames: int = 16,
    tolerance: float = 0.05,
    providers: tuple[Callable[[Grid], Derivatives], Callable[[Grid], Derivatives]] | None = None,
    parameters_from_file: bool = True,
) -> xr.Dataset:
    """Measure the residual of a stated equation in a file, and fit the equation that holds.

        residual(frame, field) = rms_x(u_t - rhs(u)) / rms_{x, frames}(u_t)

    u_t comes from the stored frames (central differences of order 4 where there are 9 frames),
    rhs from the equation on the file's grid. Both are compared on waves of at least 4 points per
    wavelength. Then u_t = rhs(u; parameters) is solved for all constant parameters, and for a
    factor of the linear and of the nonlinear part where these are not parameters already, by
    linear least squares per trajectory.

    The verdict is

        "obeys"            residual within `tolerance`, and no parameter clearly another
        "cannot tell"      the residual is no more than 5 times what the distance of the frames
                           and of the points explains
        "does not obey"    otherwise; `explanation` says which coefficients fit, and whether one
                           factor on the times or on the lengths repairs it

    Args:
        file: Trajectories.
        equation: The equation the file claims to hold, with its parameters.
        num_trajectories: Trajectories to look at, evenly spread.
        num_frames: Frames of each, evenly spread.
        tolerance: Residual that counts as zero.
        providers: Two ways from a grid to a derivative provider; the difference between them
            tells the error in space. By default Fourier or finite differences, by the grid.
        parameters_from_file: Whether parameters that the file states per trajectory replace those
            of the equation by name.

    Returns:
        A dataset: `residual` (trajectory, frame, field), `truncation` (the part explained by the
        distance of frames and points, same dims), `time` (trajectory, frame), `stated` and
        `fitted` (trajectory, coefficient) with `uncertainty`, `fitted_residual` (trajectory),
        `conserved` (trajectory, frame, quantity); attributes `verdict` and `explanation`.

    Raises:
        ValueError: If there are fewer than 3 frames, fields are missing, or values not finite.

    Example:
        >>> from pdesurrogates.data import from_arrays
        >>> from pdesurrogates.equations import Advection
        >>> t, x = torch.meshgrid(torch.linspace(0, 1, 41), torch.arange(32) / 32, indexing="ij")
        >>> wave = torch.sin(2 * torch.pi * (x - 0.5 * t))
        >>> file = from_arrays(wave, axes="time x", dt=1 / 40, extent=1.0, periodic=True)
        >>> check_trajectories(file, Advection(0.5)).attrs["verdict"]
        'obeys'
        >>> check_trajectories(file, Advection(1.0)).attrs["verdict"]
        'does not obey'
    """
    fine, rough = default_providers(file, equation) if providers is None else providers
    count = max(1, min(num_trajectories, file.num_trajectories))
    chosen = [n * file.num_trajectories // count for n in range(count)]
    trials = []
    for index in chosen:
        stated = _stated(file, equation, index) if parameters_from_file else equation
        sample = sample_frames(file, stated, index, num_frames)
        trials.append(_Trial(stated, sample, file.grid, fine, rough))
    dataset = _dataset(file, trials, chosen)
    verdict, explanation = _verdict(dataset, trials, tolerance)
    dataset.attrs.update(
        equation=type(equation).__name__,
        file=file.name,
        tolerance=tolerance,
        verdict=verdict,
        explanation=explanation,
    )
    return dataset


def _stated(file: TrajectoryFile, equation: Equation, index: int) -> Equation:
    """The equation with the parameters that the file states for this trajectory."""
    known = {field.name for field in dataclasses.fields(equation)}
    own = {
        name: float(row[index])
        for name, row in file.parameters.items()
        if name in known and isinstance(getattr(equation, name), (int, float))
    }
    return dataclasses.replace(equation, **own) if own else equation


class _Trial:
    """One trajectory against one equation."""

    def __init__(
        self,
        equation: Equation,
        sample: Sample,
        grid: Grid,
        fine: Callable[[Grid], Derivatives],
        rough: Callable[[Grid], Derivatives],
    ) -> None:
        self.equation = equation
        self.sample = sample
        self.grid = grid
        self.fine = fine
        self.rate = low_pass(sample.rate, grid)
        self.rhs = self._rhs(equation, fine(grid))
        in_space = self.rhs - self._rhs(equation, rough(grid))
        in_time = (self.rate - low_pass(sample.rough_rate, grid)) / max(1.0, sample.ratio - 1)
        if not math.isfinite(sample.ratio):
            in_time = self.rate - low_pass(sample.rough_rate, grid)
        space = tuple(range(2, self.rate.ndim))
        # A field that stands still is measured against the sizes of the terms.
        size = self.rate.square().mean(dim=(0, *space)).sqrt()
        terms = self._largest_term(space)
        self.scale = torch.maximum(size, 1e-3 * terms).clamp(min=1e-300)
        self.residual = (self.rate - self.rhs).square().mean(dim=space).sqrt() / self.scale
        explained = in_time.square() + in_space.square()
        self.truncation = explained.mean(dim=space).sqrt() / self.scale
        self.names, columns = self._columns()
        self.weight = self.scale.reshape(1, -1, *(1,) * self.grid.dim)
        self.fitted, self.fitted_residual = self._fit(columns, self.rate)
        shifted, _ = self._fit(columns, self.rate + in_time)
        self.truncation_shift = (shifted - self.fitted).abs()

    def _rhs(self, equation: Equation, provider: Derivatives) -> Tensor:
        times = self.sample.times
        return low_pass(equation.on(provider)(times, self.sample.u), self.grid)

    def _largest_term(self, space: tuple[int, ...]) -> Tensor:
        gone = dataclasses.replace(self.equation, **dict.fromkeys(_parameters(self.equation), 0.0))
        provider = self.fine(self.grid)
        try:
            rest = self._rhs(gone, provider)
        except (ValueError, ZeroDivisionError):
            rest = torch.zeros_like(self.rhs)
        sizes = [part.square().mean(dim=(0, *space)).sqrt() for part in (rest, self.rhs - rest)]
        sizes = [torch.nan_to_num(part) for part in sizes]
        return torch.maximum(*sizes)

    def _columns(self) -> tuple[list[str], list[Tensor]]:
        """Slopes of rhs by its coefficients; those that say nothing new are left out."""
        provider = self.fine(self.grid)
        names: list[str] = []
        columns: list[Tensor] = []
        for name in _parameters(self.equation):
            value = float(getattr(self.equation, name))
            step = 1e-4 * (abs(value) or 1.0)
            sides = [
                self._rhs(
                    dataclasses.replace(self.equation, **{name: value + sign * step}), provider
                )
                for sign in (1, -1)
            ]
            _append(names, columns, name, (sides[0] - sides[1]) / (2 * step))
        without = dataclasses.replace(self.equation)
        bound = without.on(provider)
        linear = low_pass(_linear_part(bound, self.sample.u), self.grid)
        _append(names, columns, _NONLINEAR, self.rhs - linear)
        _append(names, columns, _LINEAR, linear)
        return names, columns

    def _fit(self, columns: list[Tensor], rate: Tensor) -> tuple[Tensor, float]:
        """Coefficients that solve rate = rhs + sum_j c_j column_j, and the residual left."""
        if not columns:
            return torch.zeros(0, dtype=torch.float64), float(self.residual.square().mean().sqrt())
        matrix = torch.stack([(column / self.weight).flatten() for column in columns], dim=1)
        target = ((rate - self.rhs) / self.weight).flatten()
        norms = matrix.norm(dim=0)
        change = torch.linalg.lstsq(matrix / norms, target[:, None]).solution[:, 0] / norms
        left = target - matrix @ change
        return change + self.stated, float(left.square().mean().sqrt())

    @property
    def stated(self) -> Tensor:
        """The stated value of each fitted coefficient; factors are stated as 1."""
        return torch.tensor(
            [float(getattr(self.equation, name, 1.0)) for name in self.names], dtype=torch.float64
        )

    def residual_with(self, *, length: float = 1.0) -> tuple[float, float]:
        """Residual after the best factor on the times, with lengths scaled: (residual, factor)."""
        rhs = self.rhs
        if length != 1.0:
            extent = tuple(length * value for value in self.grid.extent)
            grid = dataclasses.replace(self.grid, extent=extent)
            rhs = self._rhs(self.equation, self.fine(grid))
        a, b = (rhs / self.weight).flatten(), (self.rate / self.weight).flatten()
        factor = 1.0 if length != 1.0 else float(a @ b / (a @ a).clamp(min=1e-300))
        return float((b - factor * a).square().mean().sqrt()), factor


def _parameters(equation: Equation) -> list[str]:
    """Names of the constant real parameters that may be fitted."""
    return [
        field.name
        for field in dataclasses.fields(equation)
        if isinstance(value := getattr(equation, field.name), (int, float))
        and not isinstance(value, bool)
        and (isinstance(value, float) or isinstance(field.default, float))
    ]


def _linear_part(bound: Callable, u: Tensor) -> Tensor:
    """The equation's `linear` on grid values."""
    provider = bound.provider
    result = bound.equation.linear(provider.field(u), provider)
    return result.values if hasattr(result, "values") else result


def _append(names: list[str], columns: list[Tensor], name: str, column: Tensor) -> None:
    """Keep a column that is not a combination of those before it."""
    norm = column.norm()
    if not bool(torch.isfinite(norm)) or float(norm) == 0:
        return
    unit = (column / norm).flatten()
    if columns:
        basis = torch.stack([c.flatten() / c.norm() for c in columns], dim=1)
        left = unit - basis @ torch.linalg.lstsq(basis, unit[:, None]).solution[:, 0]
        if float(left.norm()) < 1e-6:
            return
    names.append(name)
    columns.append(column)


def _dataset(file: TrajectoryFile, trials: Sequence[_Trial], chosen: list[int]) -> xr.Dataset:
    names = trials[0].names
    spread = torch.stack([trial.fitted for trial in trials])
    error = torch.stack([trial.truncation_shift for trial in trials])
    if len(trials) > 1:
        offset = spread - torch.stack([trial.stated for trial in trials])
        error = (error.square() + offset.var(dim=0) / len(trials)).sqrt()
    dims = ("trajectory", "frame", "field")
    variables = {
        "residual": (dims, _stack(trial.residual for trial in trials), {"formula": _FORMULA}),
        "truncation": (dims, _stack(trial.truncation for trial in trials)),
        "time": (dims[:2], _stack(trial.sample.times for trial in trials)),
        "stated": (("trajectory", "coefficient"), _stack(trial.stated for trial in trials)),
        "fitted": (("trajectory", "coefficient"), spread.numpy()),
        "uncertainty": (("trajectory", "coefficient"), error.numpy()),
        "fitted_residual": (("trajectory",), np.array([t.fitted_residual for t in trials])),
    }
    fields = trials[0].equation.fields.names
    coordinates = {"trajectory": chosen, "field": list(fields), "coefficient": names}
    conserved = [t.equation.conserved_quantities(t.sample.u, t.grid) for t in trials]
    if conserved[0]:
        quantities = list(conserved[0])
        values = [torch.stack([row[name] for name in quantities], dim=-1) for row in conserved]
        variables["conserved"] = (("trajectory", "frame", "quantity"), _stack(values))
        coordinates["quantity"] = quantities
    return xr.Dataset(variables, coords=coordinates)


def _stack(rows: Sequence[Tensor] | object) -> np.ndarray:
    return torch.stack(list(rows)).cpu().numpy()  # type: ignore[call-overload]


def _verdict(dataset: xr.Dataset, trials: Sequence[_Trial], tolerance: float) -> tuple[str, str]:
    residual = float(np.sqrt((dataset.residual**2).mean(["trajectory", "frame"])).max())
    explained = float(np.sqrt((dataset.truncation**2).mean(["trajectory", "frame"])).max())
    others = _other_coefficients(dataset, tolerance)
    is_better = residual > 3 * float(dataset.fitted_residual.mean())
    if residual <= tolerance and not (others and is_better):
        return "obeys", (
            f"this file obeys this equation: the residual is {residual:.2g} of du/dt "
            f"({explained:.1g} is explained by the distance of the frames and points)."
        )
    if residual <= 5 * explained:
        return "cannot tell", (
            f"this file cannot be checked: the residual is {residual:.2g} of du/dt, and "
            f"{explained:.2g} is explained by frames that are too far apart in time, or points in "
            "space; use files with closer frames."
        )
    text = f"this file does not obey this equation: the residual is {residual:.2g} of du/dt. "
    left = float(np.sqrt((dataset.fitted_residual**2).mean()))
    if left < 0.5 * residual and others:
        text += f"It obeys it to {left:.2g} with {', '.join(others)}. "
    else:
        text += f"No coefficients repair it: the best fit leaves {left:.2g}. "
    return "does not obey", (text + _scaling(trials, residual, left, tolerance)).strip()


def _other_coefficients(dataset: xr.Dataset, tolerance: float) -> list[str]:
    """Coefficients that are clearly not the stated ones, in words."""
    found = []
    for name in dataset.coefficient.values:
        row = dataset.sel(coefficient=name)
        distance = float((row.fitted - row.stated).mean())
        error = float(row.uncertainty.max())
        stated = float(row.stated.mean())
        if abs(distance) > max(5 * error, tolerance * abs(stated)):
            found.append(
                f"{name} = {float(row.fitted.mean()):.4g} +- {error:.1g} (stated {stated:.4g})"
            )
    return found


def _scaling(trials: Sequence[_Trial], residual: float, left: float, tolerance: float) -> str:
    """Whether one factor on all times, or on all lengths, explains the misfit."""
    good = max(2 * left, tolerance)
    times = [trial.residual_with() for trial in trials]
    worst = max(value for value, _ in times)
    if worst <= good and worst < 0.5 * residual:
        factor = sum(f for _, f in times) / len(times)
        return (
            f"One factor on the times does it too: multiply the times of the file by {factor:.4g}."
        )

    def by_length(exponent: float) -> float:
        return max(trial.residual_with(length=2.0**exponent)[0] for trial in trials)

    coarse = [n / 4 for n in range(-16, 17)]
    values = [by_length(exponent) for exponent in coarse]
    best = coarse[int(np.nanargmin(values))]
    low, high = best - 0.25, best + 0.25
    for _ in range(24):
        a, b = low + 0.382 * (high - low), low + 0.618 * (high - low)
        low, high = (low, b) if by_length(a) < by_length(b) else (a, high)
    length = 2.0 ** ((low + high) / 2)
    found = by_length((low + high) / 2)
    if found <= good and found < 0.5 * residual:
        return f"One factor on the lengths does it too: multiply the coordinates by {length:.4g}."
    return ""
