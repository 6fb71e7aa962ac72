"""Implicit neural spatial representations: the weights of a field, advanced by a classical step."""

from __future__ import annotations

import copy
import math
import time as clock
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pdesurrogates.backbones import SIREN
from pdesurrogates.core import Boundary, Box, FieldSpec, Grid, check_times, generator
from pdesurrogates.equations import Equation
from pdesurrogates.linear import ParameterVector
from pdesurrogates.neural_fields.field import NeuralField
from pdesurrogates.neural_fields.fitting import (
    Adam,
    Draw,
    Fit,
    GaussNewton,
    Optimiser,
    Term,
    mean_squares,
)
from pdesurrogates.neural_fields.interpolation import SampledField
from pdesurrogates.neural_fields.schemes import (
    ImplicitMidpoint,
    Known,
    SemiLagrangian,
    TimeStepScheme,
    scheme_of,
)
from pdesurrogates.neural_fields.soft import SoftBoundary
from pdesurrogates.neural_fields.storage import StepRecord, WeightFolder
from pdesurrogates.neural_fields.trajectory import NeuralTrajectory, StepReport
from pdesurrogates.sampling import Sampler, Stratified, importance
from pdesurrogates.steppers import Stepper

__all__ = ["INSRSolver", "StepControl"]

InitialState = Callable[[Tensor], Tensor] | Tensor


@dataclass(frozen=True)
class StepControl:
    """What counts as good enough, and what as lost. All numbers are relative to the field.

    Args:
        step_tolerance: Error a step may add: the root mean square of the defect over that of u.
        initial_tolerance: Error at which the fit of the initial state may stop.
        max_initial_error: Error of that fit beyond which nothing is solved.
        max_step_error: Error of a step beyond which the solve stops.
        max_jump: Factor on the median loss of the last ten steps beyond which it stops, if the
            error is also above ten tolerances.
    """

    step_tolerance: float = 1e-5
    initial_tolerance: float = 1e-5
    max_initial_error: float = 1e-2
    max_step_error: float = 0.1
    max_jump: float = 1e4

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"StepControl: `{name}` must be positive, got {value}.")


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
        num_points: Points per step; a few hundred are fitted between the points, take a thousand.
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
        >>> solution = solver.solve(lambda x: torch.exp(-10 * (x + 0.2) ** 2) * (1 - x**2), [0, 0.2])
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
        self.num_points = 1000 * grid.dim if num_points is None else num_points
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
        rollout = _Rollout(self, batch)
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
        return GaussNewton()
    if optimizer == "adam":
        return Adam()
    raise ValueError(
        f"INSRSolver: `optimizer` must be 'gauss_newton', 'adam' or an Optimiser, got "
        f"{optimizer!r}."
    )


class _Rollout:
    """The state of one solve."""

    def __init__(self, solver: INSRSolver, batch: int) -> None:
        self.solver = solver
        self.module = solver.field.function
        self.vector = ParameterVector(self.module)
        self.batch = batch
        self.past: deque[tuple[float, Tensor]] = deque(maxlen=solver.scheme.num_previous)
        self.kept: list[tuple[float, Tensor]] = []
        self.reports: list[StepReport] = []
        self.losses: deque[float] = deque(maxlen=10)
        self.damping: Tensor | None = None
        self.message = ""
        self.initial_error: tuple[float, ...] = ()

    def run(
        self,
        initial: Callable[[Tensor], Tensor],
        times: list[float],
        store: WeightFolder | None,
        records: list[StepRecord],
    ) -> None:
        plan = _plan(times, self.solver.dt)
        for n, (t, is_output) in enumerate(plan):
            if n < len(records) and records[n].time == t:
                self._replay(records[n], is_output)
                continue
            if n == 0:
                record = self._fit_initial(initial, t)
            else:
                found = self._step(n, t)
                if found is None:
                    break
                record = found
            if store is not None:
                store.write(n, record)
            if is_output:
                self.kept.append((t, record.weights))
        if self.message:
            if self.past[0][0] != self.kept[-1][0]:
                self.kept.append(self.past[0])
            warnings.warn(self.message, RuntimeWarning, stacklevel=3)

    def result(self, times: list[float]) -> NeuralTrajectory:
        solver = self.solver
        field = copy.deepcopy(solver.field)
        for parameter in field.parameters():
            parameter.requires_grad_(True)
        return NeuralTrajectory(
            field,
            tuple(t for t, _ in self.kept),
            torch.stack([weights for _, weights in self.kept]),
            tuple(self.reports),
            self.message,
            solver.equation.fields,
            solver.grid,
            self.initial_error,
        )

    def _replay(self, record: StepRecord, is_output: bool) -> None:
        self.past.appendleft((record.time, record.weights))
        self.damping = record.damping
        if "initial_error" in record.facts:
            self.initial_error = tuple(record.facts["initial_error"])
        else:
            facts = {k: tuple(v) if isinstance(v, list) else v for k, v in record.facts.items()}
            self.reports.append(StepReport(record.time, **facts))
            self.losses.append(max(self.reports[-1].loss))
        if is_output:
            self.kept.append((record.time, record.weights))

    def _fit_initial(self, initial: Callable[[Tensor], Tensor], t: float) -> StepRecord:
        solver = self.solver
        start = self.vector.read().expand(self.batch, -1)

        def draw(n: int) -> dict[str, Term]:
            points, share = solver.draw_points(0, n)
            target = initial(points)
            scale = _scale(target)
            term = Term(_regression, (points, target), share * scale**-2)
            return {"initial": term, **self._soft_terms(0, n, scale)}

        fit = solver.optimiser.for_start().fit(
            self.module, draw, start, tolerance=solver.control.initial_tolerance**2
        )
        between = mean_squares(self.module, {"initial": draw(10**6)["initial"]}, fit.weights)
        error = tuple(between["initial"].sqrt().tolist())
        if not max(error) <= solver.control.max_initial_error:
            raise ValueError(
                f"INSRSolver.solve: the network fits the initial state to a relative error of "
                f"{max(error):.3g} only, {solver.control.max_initial_error:g} is allowed "
                f"({fit.status[0]} after {fit.num_iterations} iterations). Use a wider network, "
                "more points, a larger omega0 for finer structures, or an initial state that "
                "agrees with the boundary conditions."
            )
        self.initial_error = error
        self.past.appendleft((t, fit.weights))
        return StepRecord(t, fit.weights, None, {"initial_error": list(error)})

    def _step(self, n: int, t: float) -> StepRecord | None:
        """One step to time t; `None`, with a message, if it failed."""
        started = clock.perf_counter()
        latest, weights = self.past[0]
        draw = self._step_terms(n, t - latest)
        control = self.solver.control
        try:
            fit = self.solver.optimiser.fit(
                self.module,
                draw,
                weights,
                tolerance=control.step_tolerance**2,
                damping=self.damping,
            )
        except ValueError as error:
            self.message = self._stopped(n, latest, str(error))
            return None
        parts = mean_squares(self.module, {"step": draw(10**6)["step"]}, fit.weights)
        report = StepReport(
            t,
            t - latest,
            tuple(fit.loss.tolist()),
            tuple(parts["step"].tolist()),
            fit.status,
            fit.num_iterations,
            clock.perf_counter() - started,
        )
        problem = self._problem(report)
        if problem:
            self.message = self._stopped(n, latest, problem)
            return None
        self.reports.append(report)
        self.losses.append(max(report.loss))
        self.damping = fit.damping
        self._show_sampler(n, fit, draw)
        self.past.appendleft((t, fit.weights))
        facts = {k: v for k, v in vars(report).items() if k != "time"}
        return StepRecord(t, fit.weights, fit.damping, facts)

    def _step_terms(self, n: int, dt: float) -> Draw:
        solver, scheme = self.solver, self.solver.scheme
        times = [t for t, _ in self.past]

        def draw(k: int, points: Tensor | None = None) -> dict[str, Term]:
            share = torch.ones((), dtype=solver.dtype, device=solver.device)
            if points is None:
                points, share = solver.draw_points(n, k)

            def known(*vectors: Tensor) -> Known:
                fields = [lambda p, v=v: self.vector.call(v, p) for v in vectors]
                found = scheme.known(fields, times, solver.equation, points, dt)
                # Without its batch axis, which vmap adds.
                return {name: value[0] for name, value in found.items()}

            with torch.no_grad():
                values = torch.func.vmap(known)(*(w for _, w in self.past))
                scale = _scale(self._values(points))
            names = list(values)

            def residual(field: Any, p: Tensor, *data: Tensor) -> Tensor:
                own = dict(zip(names, data, strict=True))
                return scheme.defect(field, own, solver.equation, p, times[0], dt)

            term = Term(residual, (points, *values.values()), share * scale**-2)
            return {"step": term, **self._soft_terms(n, k, scale)}

        return draw

    def _values(self, points: Tensor) -> Tensor:
        call = torch.func.vmap(lambda own: self.vector.call(own, points)[0])
        return call(self.past[0][1])

    def _soft_terms(self, n: int, k: int, scale: Tensor) -> dict[str, Term]:
        solver = self.solver
        if solver.soft_boundary is None:
            return {}
        return solver.soft_boundary.terms(
            solver.field.domain,
            generator=generator(solver.seed, n, k, 1),
            weight=scale**-2,
            dtype=solver.dtype,
            device=solver.device,
        )

    def _show_sampler(self, n: int, fit: Fit, draw: Callable[..., dict[str, Term]]) -> None:
        """An adaptive sampler sees the defect of the finished step, the worst trajectory's."""

        def defect(points: Tensor) -> Tensor:
            term = draw(0, points[None])["step"]
            data = tuple(d.expand(self.batch, *d.shape[1:]) for d in term.data)

            def one(own: Tensor, rows: tuple[Tensor, ...]) -> Tensor:
                call = lambda p: self.vector.call(own, p)  # noqa: E731
                return term.residual(call, *(row[None] for row in rows))[0]

            r = torch.func.vmap(one)(fit.weights, data)
            return (torch.as_tensor(term.weight) * r.square()).mean(-1).amax(0).sqrt()

        self.solver.sampler.update(
            defect,
            generator=generator(self.solver.seed, n, 2),
            dtype=self.solver.dtype,
            device=self.solver.device,
        )

    def _problem(self, report: StepReport) -> str:
        """What is wrong with a step, empty if nothing."""
        control, loss = self.solver.control, max(report.loss)
        if not all(map(math.isfinite, (*report.loss, *report.between))):
            return "the loss is not finite"
        if loss > control.max_step_error**2:
            return (
                f"its relative error {math.sqrt(loss):.3g} is beyond the {control.max_step_error:g}"
                " that is allowed (StepControl.max_step_error)"
            )
        usual = median(self.losses) if self.losses else math.inf
        is_jump = loss > control.max_jump * usual and loss > (10 * control.step_tolerance) ** 2
        if is_jump:
            return f"the loss jumped from {usual:.3g} to {loss:.3g}"
        return ""

    def _stopped(self, n: int, t: float, problem: str) -> str:
        return (
            f"INSRSolver: stopped after {n - 1} steps at t = {t:.6g}: in the next step {problem}. "
            "What was solved so far is returned. Use a smaller dt, more points or iterations, a "
            "wider network, or more viscosity if a shock has formed."
        )


def _plan(times: list[float], dt: float) -> list[tuple[float, bool]]:
    """Every time at which there is a state, and whether it is an output: equal steps between."""
    plan = [(times[0], True)]
    for a, b in zip(times, times[1:], strict=False):
        count = max(1, math.ceil((b - a) / dt * (1 - 1e-9)))
        plan += [(a + (b - a) * n / count, False) for n in range(1, count)]
        plan.append((b, True))
    return plan


def _scale(values: Tensor) -> Tensor:
    """Size of each channel (batch, 1, channel): its rms, at least 1 % of the largest channel's."""
    rms = values.square().mean(dim=1, keepdim=True).sqrt()
    rms = torch.maximum(rms, 0.01 * rms.amax(dim=-1, keepdim=True))
    return torch.where(rms > 0, rms, torch.ones_like(rms))


def _regression(field: Callable[[Any], Any], points: Tensor, target: Tensor) -> Tensor:
    return field(points) - target
