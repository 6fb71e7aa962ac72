"""Implicit neural spatial representations: a field whose weights take classical steps."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pdesurrogates.backbones import SIREN
from pdesurrogates.core import Boundary, Grid, check_times, generator
from pdesurrogates.equations import Equation
from pdesurrogates.neural_fields.control import StepControl
from pdesurrogates.neural_fields.field import NeuralField
from pdesurrogates.neural_fields.fitting import (
    Adam,
    GaussNewton,
    Optimiser,
)
from pdesurrogates.neural_fields.interpolation import SampledField
from pdesurrogates.neural_fields.marching import Rollout
from pdesurrogates.neural_fields.schemes import (
    ImplicitMidpoint,
    SemiLagrangian,
    TimeStepScheme,
    scheme_of,
)
from pdesurrogates.neural_fields.soft import SoftBoundary
from pdesurrogates.neural_fields.storage import StepRecord, WeightFolder
from pdesurrogates.neural_fields.trajectory import NeuralTrajectory
from pdesurrogates.sampling import Sampler, Stratified, importance
from pdesurrogates.steppers import Stepper

__all__ = ["INSRSolver"]

InitialState = Callable[[Tensor], Tensor] | Tensor


class INSRSolver:
    """Solves a PDE without data and without a mesh: the solution is a network of the points, and
    every time step is an optimisation of its weights, started at those of the last step.

        theta_{n+1} = argmin_theta  mean_x |defect(x; theta, theta_n, ...)|^2 / rms(u_n)^2

    The defect is that of a classical time step (`schemes`). Points are drawn anew every step.

    Warning:
        The error of the time scheme stays, whatever the network: compare with a propagation that
        is exact in space. Grids of equal memory with a second-order scheme are as accurate on
        smooth problems, and thousands of times faster.

    Reference:
        Implicit Neural Spatial Representations for Time-dependent PDEs (Chen et al., 2023),
        section 3. https://arxiv.org/abs/2210.00124. Gauss-Newton instead of Adam and conditions
        by construction are ours.

    Args:
        equation: The PDE; one set of parameters for all trajectories.
        grid: Domain of the points; its points matter for `sample` and `write` only.
        stepper: A `TimeStepScheme`, or `steppers.Euler()`, `steppers.Midpoint()`.
        dt: Largest step; output intervals are split evenly [time].
        network: Features -> channels, or a `NeuralField` with its own conditions; by default a
            SIREN of 3 x 20 in 1D, 4 x 32 beyond.
        optimizer: "gauss_newton" (small networks, float64), "adam", or an `Optimiser`.
        boundary: Conditions by construction, see `NeuralField`.
        soft_boundary: Conditions by penalty.
        num_points: Points per step, by default 700 per axis; fewer residuals than weights are
            cheaper (`LevenbergMarquardt`), two or three hundred are fitted between the points.
        sampler: Where they are drawn; by default `sampling.Stratified`. An adaptive one is shown
            the defect of every finished step.
        control: Tolerances.
        seed: Seed of the points, and of the default network.
        dtype: Precision of the weights.
        device: Where to compute.

    Example:
        >>> from pdesurrogates.equations import Advection
        >>> from pdesurrogates.core import Dirichlet
        >>> grid = Grid((65,), (2.0,), (-1.0,), periodic=False)
        >>> solver = INSRSolver(
        ...     Advection(0.5), grid, dt=0.1, boundary=Dirichlet(0.0), num_points=200,
        ...     network=SIREN(1, 1, width=8, depth=2, omega0=5.0),
        ... )
        >>> u0 = lambda x: torch.exp(-10 * (x + 0.2) ** 2) * (1 - x**2)
        >>> solution = solver.solve(u0, [0.0, 0.2])
        >>> solution.sample().shape, solution.at(torch.zeros(1, 3, 1)).shape
        (torch.Size([1, 2, 1, 65]), torch.Size([1, 3, 1]))
    """

    def __init__(
        self,
        equation: Equation,
        grid: Grid,
        *,
        stepper: TimeStepScheme | Stepper = ImplicitMidpoint(),  # noqa: B008 - frozen
        dt: float,
        network: nn.Module | None = None,
        optimizer: Literal["gauss_newton", "adam"] | Optimiser = "gauss_newton",
        boundary: Boundary | None | Mapping[int, Any] | Sequence[Any] = None,
        soft_boundary: SoftBoundary | None = None,
        num_points: int | None = None,
        sampler: Sampler | None = None,
        control: StepControl = StepControl(),  # noqa: B008 - frozen
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> None:
        if not (math.isfinite(dt) and dt > 0):
            raise ValueError(f"INSRSolver: `dt` must be positive and finite, got {dt}.")
        self.equation = equation
        self.grid = grid
        self.dt = dt
        self.optimiser = _optimiser_of(optimizer)
        self.soft_boundary = soft_boundary
        self.num_points = 700 * grid.dim if num_points is None else num_points
        self.control = control
        self.seed = seed
        self.dtype = dtype
        self.device = torch.device(device or "cpu")
        self.field = self._make_field(network, boundary).to(self.device, dtype)
        self.sampler = sampler or Stratified(self.field.domain)
        self.scheme = self._make_scheme(stepper)
        self._check_equation()

    def solve(
        self,
        u0: InitialState,
        times: Sequence[float] | Tensor,
        *,
        folder: str | Path | None = None,
    ) -> NeuralTrajectory:
        """Solve from `u0` and keep the field at every output time.

        A step that fails (NaN, or an error beyond what `control` allows) ends the solve with a
        warning; everything up to the last good state is returned.

        Args:
            u0: Function of points (1, point, dim) -> (batch, point, channel), or samples (batch,
                channel, *space) on the solver's grid, which are interpolated.
            times: Increasing output times, the first is that of `u0`.
            folder: Weights are saved there after every step; a solve that was killed continues.

        Raises:
            ValueError: If the initial state cannot be fitted, or shapes do not match.
        """
        values = check_times(times, where="INSRSolver.solve")
        initial = SampledField(u0, self.grid) if isinstance(u0, Tensor) else u0
        batch = self._check_initial(initial)
        rollout = Rollout(self, batch)
        store, records = self._open(folder, batch)
        rollout.run(initial, values, store, records)
        return rollout.result(values)

    def _make_field(self, network: nn.Module | None, boundary: Any) -> NeuralField:
        if isinstance(network, NeuralField):
            if boundary is not None:
                raise ValueError(
                    "INSRSolver: the given NeuralField has its own conditions; give `boundary` "
                    "to it, not to the solver."
                )
            return copy.deepcopy(network)
        if network is None:
            channels, is_1d = self.equation.fields.num_channels, self.grid.dim == 1
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed)
                network = SIREN(
                    NeuralField.num_features(self.grid),
                    channels,
                    width=20 if is_1d else 32,
                    depth=3 if is_1d else 4,
                    omega0=10.0,
                )
        return NeuralField(copy.deepcopy(network), self.grid, boundary=boundary)

    def _make_scheme(self, stepper: TimeStepScheme | Stepper) -> TimeStepScheme:
        scheme = scheme_of(stepper)
        if isinstance(scheme, SemiLagrangian) and scheme.domain is None:
            return SemiLagrangian(scheme.velocity, self.field.domain, self.field.is_periodic)
        return scheme

    def _check_equation(self) -> None:
        wanted = self.equation.fields.num_channels
        if self.field.num_channels != wanted:
            raise ValueError(
                f"INSRSolver: {type(self.equation).__name__} has {wanted} channels "
                f"{self.equation.fields.names}, the network has {self.field.num_channels}."
            )
        if self.field.dim != self.grid.dim:
            raise ValueError(
                f"INSRSolver: the field has {self.field.dim} axes, the grid {self.grid.dim}."
            )
        if self.sampler.domain != self.field.domain:
            raise ValueError(
                f"INSRSolver: the sampler draws from {self.sampler.domain}, the field lives on "
                f"{self.field.domain}."
            )
        if self.num_points < 1:
            raise ValueError(f"INSRSolver: `num_points` must be positive, got {self.num_points}.")
        batched = [k for k, v in vars(self.equation).items() if getattr(v, "ndim", 0) == 1]
        if batched:
            raise ValueError(
                f"INSRSolver: parameters {batched} differ between trajectories; solve for one set "
                "of parameters at a time."
            )

    def _check_initial(self, initial: Callable[[Tensor], Tensor]) -> int:
        points, _ = self.draw_points(0, 0)
        found = initial(points)
        channels = self.field.num_channels
        if found.ndim != 3 or tuple(found.shape[1:]) != (points.shape[1], channels):
            raise ValueError(
                "INSRSolver.solve: `u0` must map points (1, point, dim) to (batch, point, channel)"
                f" = (batch, {points.shape[1]}, {channels}), got {tuple(found.shape)}."
            )
        if not bool(torch.isfinite(found).all()):
            raise ValueError("INSRSolver.solve: `u0` is not finite at some points of the domain.")
        return len(found)

    def _open(
        self, folder: str | Path | None, batch: int
    ) -> tuple[WeightFolder | None, list[StepRecord]]:
        if folder is None:
            return None, []
        store = WeightFolder(folder, self.field, fields=self.equation.fields)
        config = {
            "kind": "solve",
            "equation": repr(self.equation),
            "stepper": repr(self.scheme),
            "optimizer": repr(self.optimiser),
            "dt": self.dt,
            "num_points": self.num_points,
            "seed": self.seed,
        }
        return store, store.start(config, batch)

    def draw_points(self, step: int, draw: int) -> tuple[Tensor, Tensor]:
        """Points (1, point, dim) of a step, named by step and draw, and the weights (1, 1 or
        point, 1) of their squared defects."""
        source = generator(self.seed, step, draw)
        samples = self.sampler.sample(
            self.num_points, generator=source, dtype=self.dtype, device=self.device
        )
        points = samples.points[None]
        if not self.sampler.is_quadrature:
            return points, points.new_ones(1, 1, 1)
        return points, importance(samples, self.sampler.domain).to(points)[None, :, None]


def _optimiser_of(optimizer: str | Optimiser) -> Optimiser:
    if isinstance(optimizer, Optimiser):
        return optimizer
    if optimizer == "gauss_newton":
        return GaussNewton(step_damping=1e-4)
    if optimizer == "adam":
        return Adam()
    raise ValueError(
        f"INSRSolver: `optimizer` must be 'gauss_newton', 'adam' or an Optimiser, got "
        f"{optimizer!r}."
    )
