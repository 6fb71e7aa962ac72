"""A solved trajectory: the weights of a field at every output time."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as attribute
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.data import write_trajectories
from pdesurrogates.linear import ParameterVector
from pdesurrogates.neural_fields.field import NeuralField, check_points
from pdesurrogates.neural_fields.storage import StepRecord, WeightFolder

__all__ = ["FieldAtTime", "NeuralTrajectory", "StepReport"]


@dataclass(frozen=True)
class StepReport:
    """How one step went.

    Args:
        time: Time at its end.
        dt: Its length.
        loss: Mean square of the defect in units of the field's own size, per trajectory: the
            square of the relative error that the step adds.
        between: The same at points that were not used for the fit.
        status: "converged", "stalled" or "max_iterations", per trajectory.
        num_iterations: Iterations of the optimiser.
        seconds: Wall time.
    """

    time: float
    dt: float
    loss: tuple[float, ...]
    between: tuple[float, ...]
    status: tuple[str, ...]
    num_iterations: int
    seconds: float

    def facts(self) -> dict[str, Any]:
        """All but the time, as plain values."""
        return {name: value for name, value in vars(self).items() if name != "time"}

    @classmethod
    def of(cls, record: StepRecord) -> StepReport:
        """The report that was saved with a step."""
        facts = record.facts
        return cls(
            record.time,
            float(facts["dt"]),
            tuple(facts["loss"]),
            tuple(facts["between"]),
            tuple(facts["status"]),
            int(facts["num_iterations"]),
            float(facts["seconds"]),
        )


@dataclass(frozen=True)
class FieldAtTime:
    """The state at one time, as a function of points.

    Args:
        field: The formula.
        weights: (batch, unknown).
        time: Its time.

    Shape:
        points: (batch or 1, point, dim) -> (batch, point, channel); one trajectory takes points
            of any batch.
    """

    field: NeuralField
    weights: Tensor
    time: float

    def __call__(self, points: Tensor) -> Tensor:
        check_points(points, self.field.domain, where="FieldAtTime")
        count = max(len(self.weights), len(points))
        if any(len(entry) not in (1, count) for entry in (self.weights, points)):
            raise ValueError(
                f"FieldAtTime: points have a batch of {len(points)}, there are "
                f"{len(self.weights)} trajectories; give points (1, point, dim) for all."
            )
        points = points.to(self.weights).expand(count, *points.shape[1:])
        vector = ParameterVector(self.field.function)
        with torch.no_grad():
            return torch.func.vmap(lambda own, p: vector.call(own, p[None])[0])(
                self.weights.expand(count, -1), points
            )

    def as_field(self, trajectory: int = 0) -> NeuralField:
        """One trajectory as a field of its own, which takes jets: for derivatives."""
        field = copy.deepcopy(self.field)
        ParameterVector(field.function).write(self.weights[trajectory])
        return field


@dataclass(frozen=True)
class NeuralTrajectory:
    """What a solver returns: a network per output time and trajectory, and how each step went.

    Args:
        field: The formula that all share.
        times: Output times; fewer than were asked for if the solver had to stop.
        weights: (time, batch, unknown), in the order of `linear.ParameterVector`.
        reports: One per step, of which there may be several per output time.
        message: Why the solver stopped early, empty if it did not.
        fields: Names and units of the channels.
        grid: The grid that the solver was given, for `sample` and `write`.
        initial_error: Relative error of the fit of the initial state, per trajectory.
    """

    field: NeuralField
    times: tuple[float, ...]
    weights: Tensor
    reports: tuple[StepReport, ...] = ()
    message: str = ""
    fields: FieldSpec = attribute(default_factory=FieldSpec)
    grid: Grid | None = None
    initial_error: tuple[float, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether every output time was reached."""
        return not self.message

    @property
    def num_parameters(self) -> int:
        """Numbers that hold one state."""
        return self.weights.shape[-1]

    def __len__(self) -> int:
        return len(self.times)

    def __getitem__(self, n: int) -> FieldAtTime:
        """The state at output time n, a function of points."""
        return FieldAtTime(self.field, self.weights[n], self.times[n])

    def at(self, points: Tensor, n: int = -1) -> Tensor:
        """Values at points (batch or 1, point, dim) -> (batch, point, channel), at time n."""
        return self[n](points)

    def sample(self, grid: Grid | None = None) -> Tensor:
        """Values on a grid (batch, time, channel, *space).

        Args:
            grid: Any grid inside the domain; by default the solver's.
        """
        grid = self._grid(grid, "sample")
        points = grid.coordinates(dtype=self.weights.dtype, device=self.weights.device)
        points = points.flatten(1).T[None]
        states = [self.at(points, n).mT for n in range(len(self))]
        return torch.stack(states, dim=1).unflatten(-1, grid.shape)

    def write(
        self,
        path: str | Path,
        grid: Grid | None = None,
        *,
        parameters: Mapping[str, float] | None = None,
        attributes: Mapping[str, str | int | float | bool] | None = None,
        **options: Any,
    ) -> Path:
        """Write the states on a grid as a trajectory file like all others.

        Args:
            path: Name of the file.
            grid: As for `sample`.
            parameters, attributes, options: As for `data.write_trajectories`.
        """
        grid = self._grid(grid, "write")
        own: dict[str, str | int | float | bool] = {
            "method": "implicit neural representation",
            "network_parameters": self.num_parameters,
            "message": self.message,
        }
        return write_trajectories(
            path,
            self.sample(grid),
            fields=self.fields,
            grid=grid,
            times=self.times,
            parameters=parameters,
            attributes={**own, **(attributes or {})},
            **options,
        )

    def save(self, folder: str | Path) -> Path:
        """Save the weights: a few kilobytes per time and trajectory, see `load`."""
        store = WeightFolder(folder, self.field, fields=self.fields)
        store.start({"kind": "trajectory", "message": self.message}, len(self.weights[0]))
        by_time = {report.time: report for report in self.reports}
        for n, (t, weights) in enumerate(zip(self.times, self.weights, strict=True)):
            facts = by_time[t].facts() if t in by_time else {}
            store.write(n, StepRecord(t, weights, None, facts))
        return store.folder

    @classmethod
    def load(
        cls, folder: str | Path, field: NeuralField, *, grid: Grid | None = None
    ) -> NeuralTrajectory:
        """Read what `save`, or a solver with a `folder`, has written.

        Args:
            folder: Where the weights are.
            field: A field made as it was for the solve; its own weights do not matter.
            grid: For `sample` and `write`.

        Raises:
            ValueError: If the weights are not those of this field, or a file is damaged.
        """
        store = WeightFolder(folder, field)
        config = store.read_config()
        records = store.read_all()
        if not records:
            raise ValueError(f"NeuralTrajectory.load: {store.folder} holds no states.")
        reports = [StepReport.of(record) for record in records if "loss" in record.facts]
        return cls(
            field,
            tuple(record.time for record in records),
            torch.stack([record.weights for record in records]),
            tuple(reports),
            config.get("message", ""),
            store.fields,
            grid,
        )

    def _grid(self, grid: Grid | None, where: str) -> Grid:
        grid = grid or self.grid
        if grid is None:
            raise ValueError(f"NeuralTrajectory.{where}: give a `grid`.")
        if grid.dim != self.field.dim:
            raise ValueError(
                f"NeuralTrajectory.{where}: the field has {self.field.dim} axes, the grid "
                f"{grid.dim}."
            )
        return grid
