"""Does this file obey that equation? The residual of the stated PDE, and the PDE that fits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from pdesurrogates.core import Grid
from pdesurrogates.data import TrajectoryFile
from pdesurrogates.equations import ConservationLaw, Equation, SteadyEquation
from pdesurrogates.evaluation.tendencies import (
    default_providers,
    read_frames,
)
from pdesurrogates.evaluation.trial import Trial
from pdesurrogates.operators import Derivatives

__all__ = ["check_trajectories"]

_FORMULA = "rms over space of (du/dt - rhs), over rms over space and frames of du/dt"


def check_trajectories(
    file: TrajectoryFile,
    equation: Equation,
    *,
    num_trajectories: int = 4,
    num_frames: int = 16,
    tolerance: float = 0.05,
    providers: tuple[Callable[[Grid], Derivatives], Callable[[Grid], Derivatives]] | None = None,
    parameters_from_file: bool | Collection[str] = True,
) -> xr.Dataset:
    """Measure the residual of a stated equation in a file, and fit the equation that holds.

        residual(frame, field) = rms_x(u_t - rhs(u)) / rms_{x, frames}(u_t)

    u_t comes from the stored frames (central differences of order 4 where there are 9 frames),
    rhs from the equation on the file's grid. Both are compared on waves of at least 4 points per
    wavelength. Then u_t = rhs(u; parameters) is solved for all constant parameters, and for a
    factor of the linear and of the nonlinear part where these are not parameters already, by
    linear least squares per trajectory. Files that hold the primitive variables of a conservation
    law are compared in its conserved ones; as these depend on parameters too, the fit is repeated.
    Conditions at the ends of axes are those of the file.

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
            of the equation by name; or the names of those that may.

    Returns:
        A dataset: `residual` (trajectory, frame, field), `truncation` (the part explained by the
        distance of frames and points, same dims), `time` (trajectory, frame), `stated` and
        `fitted` (trajectory, coefficient) with `uncertainty`, `fitted_residual` (trajectory),
        `conserved` (trajectory, frame, quantity); attributes `verdict` and `explanation`.

    Raises:
        ValueError: If the equation is steady, there are fewer than 3 frames, fields are missing,
            or values not finite.

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
    if isinstance(equation, SteadyEquation):
        raise ValueError(
            f"check_trajectories: {type(equation).__name__} is a steady equation, so there is no "
            f"time derivative to compare; solve it with the coefficient of {file.name} "
            f"(reference.solve_steady) and compare the solutions."
        )
    fine, rough = default_providers(file, equation) if providers is None else providers
    count = max(1, min(num_trajectories, file.num_trajectories))
    chosen = [n * file.num_trajectories // count for n in range(count)]
    trials = []
    for index in chosen:
        stated = _stated(file, equation, index, parameters_from_file)
        frames = read_frames(file, index, num_frames)
        trials.append(Trial(stated, frames, file.grid, fine, rough))
        if isinstance(equation, ConservationLaw):
            trials[-1].refine()
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


def _stated(
    file: TrajectoryFile, equation: Equation, index: int, wanted: bool | Collection[str]
) -> Equation:
    """The equation with the parameters that the file states for this trajectory."""
    known = {field.name for field in dataclasses.fields(equation)}
    known &= (known if wanted else set()) if isinstance(wanted, bool) else set(wanted)
    own = {
        name: float(row[index])
        for name, row in file.parameters.items()
        if name in known and isinstance(getattr(equation, name), (int, float))
    }
    return dataclasses.replace(equation, **own) if own else equation


def _dataset(file: TrajectoryFile, trials: Sequence[Trial], chosen: list[int]) -> xr.Dataset:
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


def _verdict(dataset: xr.Dataset, trials: Sequence[Trial], tolerance: float) -> tuple[str, str]:
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
    if left < min(0.5 * residual, 3 * tolerance) and others:
        text += f"It obeys it to {left:.2g} with {', '.join(others)}. "
        text += _scaling(trials, residual, left, tolerance)
    else:
        text += f"No coefficients repair it: the best fit leaves {left:.2g}."
    return "does not obey", text.strip()


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


def _scaling(trials: Sequence[Trial], residual: float, left: float, tolerance: float) -> str:
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
