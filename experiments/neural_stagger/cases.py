"""What is solved and by what: the problem of a case, and the network of an arm."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pdesurrogates.core import Grid
from pdesurrogates.equations import SpectralEquation
from pdesurrogates.evaluation import resample
from pdesurrogates.reference import random_initial_condition
from pdesurrogates.steppers import ETDRK, rollout
from pdesurrogates.surrogates import NeuralStagger, SubNetworks

__all__ = ["Problem", "build_arm", "make"]

TRUTH_SUBSTEPS = 4
TEST_SEED = 10_000


def make(spec: dict[str, Any], **arguments: Any) -> Any:
    """The object that a class_path and init_args name."""
    module, _, name = spec["class_path"].rpartition(".")
    return getattr(importlib.import_module(module), name)(**spec.get("init_args", {}), **arguments)


@dataclass(frozen=True)
class Problem:
    """An equation with random initial fields, on its grid or a coarser one.

    Args:
        case: One case of the configuration.
        coarse: Factor by which the grid is coarser.
        step: Factor by which the step is longer.
    """

    case: dict[str, Any]
    coarse: int = 1
    step: int = 1

    @property
    def fine_grid(self) -> Grid:
        """The grid of the case, on which everything is scored."""
        grid = self.case["grid"]
        return Grid(tuple(grid["num_points"]), tuple(grid["extent"]))

    @property
    def grid(self) -> Grid:
        """The grid of the network."""
        return self.fine_grid.resized([n // self.coarse for n in self.fine_grid.num_points])

    @property
    def dt(self) -> float:
        """Step of the network's trajectory [time]."""
        return self.case["dt"] * self.step

    @property
    def times(self) -> list[float]:
        """Times of the trajectory up to the horizon of the case."""
        return [n * self.dt for n in range(self.case["num_steps"] // self.step + 1)]

    def bound(self) -> SpectralEquation:
        """The equation on the grid of the network."""
        return make(self.case["equation"]).on(self.grid)

    def initial(self, number: int, *, seed: int, first: int = 0) -> Tensor:
        """Random initial fields, float64; those of a fine grid, restricted to its modes."""
        u = random_initial_condition(
            self.fine_grid, number, seed=seed, first=first, **self.case["fields"]
        )
        return resample(u, self.grid.num_points)

    def fresh(self, time: int, *, seed: int, device: str) -> Any:
        """Initial frames for a pool: the field and time - 1 classical steps."""
        start = ETDRK(4).bind(self.bound())

        def frames(first: int, number: int) -> Tensor:
            u = self.initial(number, seed=seed, first=first)
            u = rollout(start, u, [n * self.dt for n in range(time)]) if time > 1 else u[:, None]
            return u.float().to(device)

        return frames

    def truth(self, u0: Tensor) -> Tensor:
        """ETDRK4 with four steps per step of the case, at its times, float64."""
        n = TRUTH_SUBSTEPS
        times = [i * self.dt / n for i in range((len(self.times) - 1) * n + 1)]
        with torch.no_grad():
            return rollout(ETDRK(4).bind(self.bound()), u0, times)[:, ::n]


def build_arm(case: dict[str, Any], arm: dict[str, Any], seed: int) -> NeuralStagger:
    """An untrained network of an arm; space and time 1 is the undecomposed one."""
    problem = Problem(case, arm.get("coarse", 1), arm.get("step", 1))
    space, time, dim = arm.get("space", 1), arm.get("time", 1), problem.grid.dim
    sees_all = arm.get("sees_all", True)
    torch.manual_seed(seed)
    network: nn.Module = make(
        case["backbone"],
        in_channels=space**dim if sees_all else 1,
        out_channels=1,
        num_conditions=dim if arm.get("knows_offset") else 0,
    )
    if arm.get("independent"):
        network = SubNetworks(network, space**dim)
    return NeuralStagger(
        network,
        problem.dt,
        space=space,
        time=time,
        sees_all=sees_all,
        knows_offset=bool(arm.get("knows_offset")),
        grid=problem.grid,
    ).float()
