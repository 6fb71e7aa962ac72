"""How many rollouts, in which precision, on which grid? Options of `rollout` and what they do."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pdesurrogates.core import Grid, StatefulStep
from pdesurrogates.data import TrajectoryFile
from pdesurrogates.evaluation import resample
from pdesurrogates.surrogates import HybridSurrogate, Surrogate

__all__ = ["OnGrid", "RolloutOptions", "placed", "with_members"]


@dataclass(frozen=True)
class RolloutOptions:
    """What changes the states of a rollout beside the surrogate and the times.

    Args:
        num_members: Draws per trajectory, of a surrogate that draws noise.
        seed: Seed of the noise; see `member_seed`.
        precision: What the network was accelerated to, for the record.
        on_trained_grid: Resample states of another resolution to the trained grid, and back.
    """

    num_members: int = 1
    seed: int = 0
    precision: str = "float32"
    on_trained_grid: bool = False


def placed(
    surrogate: Surrogate, file: TrajectoryFile, on_trained_grid: bool
) -> tuple[Surrogate, Grid | None]:
    """The surrogate for the grid of a file, and the grid to resample to, if asked for."""
    trained = surrogate.grid
    if trained is None or trained.shape == file.grid.shape or trained.dim != file.grid.dim:
        return surrogate, None
    if on_trained_grid:
        if not all(file.grid.is_periodic):
            raise ValueError(
                f"--on-trained-grid: resampling needs periodic axes, got {file.grid} in "
                f"{file.name}; write the states on the trained grid {trained.shape} instead."
            )
        return surrogate, trained
    if isinstance(surrogate, HybridSurrogate):
        surrogate.check_trajectories(file)
        return surrogate.on(file.grid), None
    return surrogate, None


@dataclass(frozen=True)
class OnGrid:
    """A step taken on another grid; waves that this grid cannot hold are dropped."""

    step: StatefulStep
    grid: Grid

    def initial_state(self, t: float | Tensor, u0: Tensor) -> tuple[object, tuple[int, ...]]:
        return self.step.initial_state(t, resample(u0, self.grid.shape)), tuple(u0.shape[2:])

    def __call__(
        self, t: float | Tensor, state: tuple[object, tuple[int, ...]], dt: float | Tensor
    ) -> tuple[object, tuple[int, ...]]:
        return self.step(t, state[0], dt), state[1]

    def observe(self, state: tuple[object, tuple[int, ...]]) -> Tensor:
        return resample(self.step.observe(state[0]), state[1])


def with_members(file: TrajectoryFile, num_members: int) -> dict[str, Tensor]:
    """The PDE parameters of every row; with several members, which row is which."""
    if num_members == 1:
        return file.parameters
    rows = torch.arange(file.num_trajectories * num_members)
    repeated = {
        name: values.repeat_interleave(num_members, dim=0)
        for name, values in file.parameters.items()
    }
    numbers = {"trajectory": rows // num_members, "member": rows % num_members}
    clash = sorted(set(repeated) & set(numbers))
    if clash:
        raise ValueError(
            f"rollout: {file.name} has PDE parameters named {clash}, which name the rows of an "
            "ensemble; rename them, or roll out one member."
        )
    return repeated | {name: values.double() for name, values in numbers.items()}
