"""The loop over steps: weights of all trajectories from one time to the next."""

from __future__ import annotations

import copy
import math
import time as clock
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pdesurrogates.core import generator
from pdesurrogates.linear import ParameterVector
from pdesurrogates.neural_fields.fitting import Fit, Term, mean_squares
from pdesurrogates.neural_fields.schemes import Known
from pdesurrogates.neural_fields.storage import StepRecord, WeightFolder
from pdesurrogates.neural_fields.trajectory import NeuralTrajectory, StepReport

if TYPE_CHECKING:
    from pdesurrogates.neural_fields.insr import INSRSolver

__all__ = ["Rollout"]


class Rollout:
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
            self.reports.append(StepReport.of(record))
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
        problem = control.problem((*report.loss, *report.between), self.losses)
        if problem:
            self.message = self._stopped(n, latest, problem)
            return None
        self.reports.append(report)
        self.losses.append(max(report.loss))
        self.damping = fit.damping
        self._show_sampler(n, fit, draw)
        self.past.appendleft((t, fit.weights))
        return StepRecord(t, fit.weights, fit.damping, report.facts())

    def _step_terms(self, n: int, dt: float) -> Callable[..., dict[str, Term]]:
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

    def _show_sampler(self, n: int, fit: Fit, draw: Callable[..., Mapping[str, Term]]) -> None:
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
