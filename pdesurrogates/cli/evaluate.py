"""`evaluate`: rollouts or surrogates against a reference, to `scores.nc` and `report.html`."""

from __future__ import annotations

import dataclasses
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import xarray as xr
import yaml
from torch import Tensor

from pdesurrogates.cli.rollout import (
    check_device,
    initial_states_fingerprint,
    rollout_file,
    rollout_times,
    weights_fingerprint,
)
from pdesurrogates.data import TrajectoryFile, open_trajectories
from pdesurrogates.equations import Equation
from pdesurrogates.evaluation import Arm, evaluate, measure, report
from pdesurrogates.reference import load_recipe
from pdesurrogates.steppers import rollout
from pdesurrogates.surrogates import Surrogate, load_surrogate
from pdesurrogates.surrogates.checkpoint import CONFIG

__all__ = ["Truth", "equation_of", "rollout_arm", "run", "save_scores"]


_EQUATION_KEYS = ("equation", "parameters", "grid", "dt", "num_steps", "num_trajectories")


@dataclass(frozen=True)
class Truth:
    """A reference file in memory, as far as rollouts reach.

    Args:
        states: (trajectory, time, channel, *space).
        times: Saved times (time,).
        file: Where it came from.
        equation: The equation that made it, if the file says so.
    """

    states: Tensor
    times: Tensor
    file: TrajectoryFile
    equation: Equation | None

    @classmethod
    def read(cls, file: TrajectoryFile, times: Tensor | None = None, *, start: int = 0) -> Truth:
        """All trajectories, at `times` or from frame `start` on."""
        if file.times.ndim != 1:
            raise ValueError(
                f"evaluate: all trajectories of {file.name} must have the same times; split the "
                "file by step size."
            )
        frames = list(range(file.num_times))[start:]
        if times is not None:
            frames = _frames_of(times, file)
        rows = range(file.num_trajectories)
        states = file.read_windows(rows, [frames[0]] * len(rows), frames[-1] - frames[0] + 1)
        for row, trajectory in enumerate(states):
            file.check_finite(trajectory, row, frames[0])
        kept = [frame - frames[0] for frame in frames]
        return cls(states[:, kept], file.times[frames], file, equation_of(file))


def run(arguments: Namespace) -> None:
    """Score every prediction and write the report."""
    check_device(arguments.device)
    names = [path.stem for path in arguments.predictions]
    if len(set(names)) < len(names):
        raise ValueError(f"evaluate: the predictions need distinct names, got {names}.")
    with open_trajectories(arguments.reference) as file:
        arms, truth = {}, None
        for name, path in zip(names, arguments.predictions, strict=True):
            if path.is_dir():
                prediction = arguments.output / "rollouts" / f"{name}.hdf5"
                arm, own = rollout_arm(
                    path,
                    file,
                    prediction,
                    start=arguments.start,
                    batch_size=arguments.batch_size,
                    device=arguments.device,
                )
            else:
                arm, own = _file_arm(path, file)
            if truth is not None and not torch.equal(own.times, truth.times):
                raise ValueError(
                    f"evaluate: all predictions must have the same times, {path} has "
                    f"{_span(own.times)}, {arguments.predictions[0]} {_span(truth.times)}; "
                    "evaluate them one by one."
                )
            arms[name], truth = arm, own
        assert truth is not None
        save_scores(arguments.output / "scores.nc", arms, truth)
        report(
            arguments.output / "report.html",
            title=f"{', '.join(names)} against {arguments.reference.name}",
            arms=arms,
            reference=truth.states,
            grid=file.grid,
            times=truth.times,
            fields=file.fields,
            equation=truth.equation,
            facts={"reference": str(arguments.reference)},
            device=arguments.device,
        )
    print(f"wrote {arguments.output / 'scores.nc'} and {arguments.output / 'report.html'}")


def rollout_arm(
    folder: Path,
    file: TrajectoryFile,
    output: Path,
    *,
    start: int = 0,
    batch_size: int = 64,
    device: str = "cpu",
    num_repeats: int = 3,
) -> tuple[Arm, Truth]:
    """Roll a saved surrogate out to `output` and time it, all trajectories in one batch.

    An output that exists is reused if the same weights made it from the same states.
    """
    surrogate = load_surrogate(folder).to(device).eval()
    source = weights_fingerprint(folder)
    if output.exists():
        first = start % file.num_times
        with open_trajectories(output) as old:
            is_ours = (
                old.attributes.get("weights") == source
                and old.attributes.get("initial_states") == initial_states_fingerprint(file, first)
                and torch.equal(old.times, rollout_times(file, surrogate.dt, start=start))
            )
        if not is_ours:
            output.unlink()
    if not output.exists():
        output.parent.mkdir(parents=True, exist_ok=True)
        rollout_file(
            surrogate,
            file,
            output,
            start=start,
            batch_size=batch_size,
            device=device,
            source=source,
        )
    arm, truth = _file_arm(output, file)
    training = yaml.safe_load((folder / CONFIG).read_text()).get("training", {})
    timed = dataclasses.replace(
        arm,
        seconds=_seconds(surrogate, truth, device, num_repeats),
        training_seconds=training.get("seconds"),
        stepper=getattr(surrogate, "stepper", None),
    )
    return timed, truth


def _seconds(surrogate: Surrogate, truth: Truth, device: str, num_repeats: int) -> float:
    """Median wall time of the rollout, without reading and writing."""
    names = surrogate.parameter_names
    values = [truth.file.parameters[name] for name in names]
    step = surrogate.bind(torch.stack(values, dim=1).to(device) if names else None)
    u0 = truth.states[:, 0].to(device)

    @torch.no_grad()
    def call() -> None:
        rollout(step, u0, truth.times)

    return measure(call, device=device, num_repeats=num_repeats, num_warmup=0).seconds


def _file_arm(path: Path, file: TrajectoryFile) -> tuple[Arm, Truth]:
    """A rollout file as a row of the report, and the truth at its times."""
    with open_trajectories(path) as predicted:
        num_members = int(_stated(predicted, "num_members") or 1)
        if (
            predicted.num_trajectories != file.num_trajectories * num_members
            or predicted.grid != file.grid
            or predicted.fields.names != file.fields.names
        ):
            raise ValueError(
                f"evaluate: {path} must hold the trajectories, grid and fields of {file.name}, "
                f"{file!r}, got {predicted!r}."
            )
        truth = Truth.read(file, predicted.times)
        rows = range(predicted.num_trajectories)
        states = predicted.read_windows(rows, [0] * len(rows), predicted.num_times)
        calls = _stated(predicted, "calls_per_time")
        parameters = _stated(predicted, "num_parameters")
    members = states.unflatten(0, (-1, num_members)).unbind(1)
    arm = Arm(
        members if num_members > 1 else states,
        note=f"{num_members} draws per trajectory" if num_members > 1 else "",
        calls_per_time=calls,
        num_parameters=None if parameters is None else int(parameters),
    )
    return arm, truth


def _stated(file: TrajectoryFile, name: str) -> float | None:
    """A number that `rollout` wrote into its output."""
    value = file.attributes.get(name)
    return float(value) if isinstance(value, int | float) else None


def _frames_of(times: Tensor, file: TrajectoryFile) -> list[int]:
    """Frames of the reference at the times of a prediction."""
    if times.ndim != 1:
        raise ValueError("evaluate: all trajectories of a prediction must have the same times.")
    gap = (file.times[:, None] - times[None]).abs()
    nearest = gap.argmin(dim=0)
    tolerance = 1e-6 * float(file.times.diff().min())
    missing = (gap.amin(dim=0) > tolerance).nonzero()
    if len(missing):
        raise ValueError(
            f"evaluate: the prediction has t = {float(times[missing[0]]):g}, but {file.name} has "
            f"no frame there ({_span(file.times)}); roll out with a step that meets its frames, "
            "no longer than it lasts."
        )
    return nearest.tolist()


def _span(times: Tensor) -> str:
    return f"{len(times)} times from {float(times[0]):g} to {float(times[-1]):g}"


def equation_of(file: TrajectoryFile) -> Equation | None:
    """The equation in the recipe that a generated file carries; `None` without a recipe."""
    text = file.attributes.get("recipe")
    if not isinstance(text, str):
        return None
    try:
        keys = yaml.safe_load(text)
    except yaml.YAMLError:
        return None
    if not isinstance(keys, dict):
        return None
    # Only what the equation needs: the rest may name code that is not at hand here.
    recipe = load_recipe({key: keys[key] for key in _EQUATION_KEYS if key in keys})
    drawn = {name: file.parameters[name] for name in recipe.parameters}
    return dataclasses.replace(recipe.equation, **drawn)


def save_scores(
    path: Path,
    arms: Mapping[str, Arm],
    truth: Truth,
) -> xr.Dataset:
    """The scores of all arms along a dimension `model`, as netCDF and returned."""
    equation, grid = truth.equation, truth.file.grid

    def invariants(u: Tensor) -> dict[str, Tensor]:
        return {} if equation is None else equation.conserved_quantities(u, grid)

    conserved = invariants if invariants(truth.states[:1, :1]) else None
    scores = xr.concat(
        [
            evaluate(
                arm.predictions[0],
                truth.states,
                grid,
                truth.times,
                fields=truth.file.fields,
                conserved=conserved,
            )
            for arm in arms.values()
        ],
        dim=xr.DataArray(list(arms), dims="model", name="model"),
        combine_attrs="drop_conflicts",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    scores.to_netcdf(partial, engine="h5netcdf")
    partial.replace(path)
    return scores
