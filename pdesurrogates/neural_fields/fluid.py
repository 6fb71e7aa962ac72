"""Incompressible flow: the fluid is carried, then made free of divergence."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from pdesurrogates.core import FieldSpec, Grid, check_times, generator
from pdesurrogates.equations import Equation, IncompressibleNavierStokes
from pdesurrogates.linear import ParameterVector
from pdesurrogates.neural_fields.field import NeuralField
from pdesurrogates.neural_fields.fitting import Fit, GaussNewton, Optimiser, Term
from pdesurrogates.neural_fields.schemes import FieldFormula, Known, TimeStepScheme
from pdesurrogates.neural_fields.trajectory import NeuralTrajectory, StepReport
from pdesurrogates.operators import JetDerivatives
from pdesurrogates.sampling import GaussLegendre, Sampler, importance

__all__ = ["ProjectedFlow", "SplittingSolver"]


@dataclass(frozen=True)
class ProjectedFlow(TimeStepScheme):
    """A step of incompressible flow for fields without divergence, whatever their weights:

        v = argmin mean_x |v - v_n(x - dt a) - dt viscosity lap v|^2

    Among the fields of a `StreamFunctionField` this minimum is the projection: what is left of
    the defect is the gradient dt grad p, which no such field can take. It does not vanish, so
    the mean must be an integral: use `sampling.GaussLegendre`, whose weights the solver applies,
    and a Gauss-Newton that starts every step with some damping (`GaussNewton(step_damping=)`),
    which keeps weights that the points do not determine where they are.

    Paths are traced back along a = v_n(x), order 1, or along the velocity in the middle of path
    and step, order 2.

    Reference:
        Stable Fluids (Stam, 1999), sections 2.1 and 2.2. Implicit Neural Spatial Representations
        for Time-dependent PDEs (Chen et al., 2023), section 4.2, for three fits per step
        (`SplittingSolver`). https://arxiv.org/abs/2210.00124

    Args:
        trace: Order of the path, 1 or 2.
    """

    num_previous: ClassVar[int] = 2

    trace: Literal[1, 2] = 1

    @property
    def order(self) -> int:
        return 1

    def known(
        self,
        previous: Sequence[FieldFormula],
        times: Sequence[float],
        equation: Equation,
        points: Tensor,
        dt: float,
    ) -> Known:
        check_flow(equation, where="ProjectedFlow")
        if self.trace == 1 or len(previous) < 2:
            velocity = previous[0](points)
        else:
            share = 0.5 * dt / (times[0] - times[1])
            middle = points - 0.5 * dt * previous[0](points)
            velocity = (1 + share) * previous[0](middle) - share * previous[1](middle)
        return {"carried": previous[0](points - dt * velocity)}

    def defect(
        self,
        field: FieldFormula,
        known: Known,
        equation: Equation,
        points: Tensor,
        t: float,
        dt: float,
    ) -> Tensor:
        if _is_inviscid(equation):
            return field(points) - known["carried"]
        d = JetDerivatives(points)
        v = field(d.points)
        return d.values(v) - known["carried"] - dt * d.values(equation.linear(v, d))


class SplittingSolver:
    """Incompressible flow by three fits per step, as published; `ProjectedFlow` needs one.

        1. advection   mean |v* - v_n(x - dt v_n)|^2
        2. pressure    mean (lap q - div v*)^2,   q = dt p
        3. projection  mean |v - (v* - grad q)|^2

    Give the velocity conditions for v . n = 0 and the pressure no slope at walls. Errors of the
    three fits add up: the pressure's gradient and the divergence of v* are derivatives of fits.

    Reference:
        Implicit Neural Spatial Representations for Time-dependent PDEs (Chen et al., 2023),
        section 4.2. https://arxiv.org/abs/2210.00124

    Args:
        velocity: Field with one channel per axis.
        pressure: Field with one channel on the same domain.
        grid: For `sample` and `write`.
        dt: Largest step [time].
        optimiser: Of all fits.
        num_points: Points per fit.
        sampler: Where they are drawn; by default Gauss-Legendre points.
        tolerance: Relative error at which a fit stops.
        max_initial_error: Relative error of the first fit beyond which nothing is solved.
        seed: Seed of the points.
        viscosity: Treated explicitly in the first fit [length^2/time].
    """

    def __init__(
        self,
        velocity: NeuralField,
        pressure: NeuralField,
        grid: Grid,
        *,
        dt: float,
        optimiser: Optimiser = GaussNewton(),  # noqa: B008 - frozen
        num_points: int = 900,
        sampler: Sampler | None = None,
        tolerance: float = 1e-5,
        max_initial_error: float = 1e-2,
        seed: int = 0,
        viscosity: float = 0.0,
    ) -> None:
        if velocity.num_channels != grid.dim or pressure.num_channels != 1:
            raise ValueError(
                f"SplittingSolver: the velocity needs {grid.dim} channels and the pressure 1, "
                f"got {velocity.num_channels} and {pressure.num_channels}."
            )
        if velocity.domain != pressure.domain:
            raise ValueError(
                f"SplittingSolver: velocity and pressure must share their domain, got "
                f"{velocity.domain} and {pressure.domain}."
            )
        if not dt > 0:
            raise ValueError(f"SplittingSolver: `dt` must be positive, got {dt}.")
        self.velocity, self.pressure, self.grid, self.dt = velocity, pressure, grid, dt
        self.optimiser = optimiser
        self.num_points = num_points
        self.sampler = sampler or GaussLegendre(velocity.domain, periodic=velocity.is_periodic)
        self.tolerance, self.max_initial_error = tolerance, max_initial_error
        self.seed, self.viscosity = seed, viscosity

    def solve(
        self, u0: Callable[[Tensor], Tensor], times: Sequence[float] | Tensor
    ) -> NeuralTrajectory:
        """Solve from u0(points (1, point, dim)) -> (1, point, dim); one trajectory.

        A fit that fails ends the solve; everything so far is returned with a message.

        Raises:
            ValueError: If the initial state cannot be fitted.
        """
        values = check_times(times, where="SplittingSolver.solve")
        flow, press = self.velocity.function, self.pressure.function
        v, q = ParameterVector(flow).read()[None], ParameterVector(press).read()[None]

        def initial(points: Tensor) -> Tensor:
            return u0(points)

        fit = self._fit(flow, v, 0, 0, _regression, initial, is_start=True)
        error = float(fit.loss.sqrt())
        if not error <= self.max_initial_error:
            raise ValueError(
                f"SplittingSolver.solve: the network fits the initial state to a relative error "
                f"of {error:.3g} only, {self.max_initial_error:g} is allowed; use a wider "
                "network or more points."
            )
        v, kept, reports, message, t = fit.weights, [fit.weights], [], "", values[0]
        reached, step = [t], 0
        for t_next in values[1:]:
            count = max(1, -int(-(t_next - t) / self.dt * (1 - 1e-9) // 1))
            dt = (t_next - t) / count
            for _ in range(count):
                step += 1
                started = clock.perf_counter()
                try:
                    fit, q = self._step(v, q, step, dt)
                except ValueError as problem:
                    message = f"SplittingSolver: stopped after {step - 1} steps: {problem}"
                    break
                v, t = fit.weights, t + dt
                seconds = clock.perf_counter() - started
                loss = tuple(fit.loss.tolist())
                reports.append(
                    StepReport(t, dt, loss, loss, fit.status, fit.num_iterations, seconds)
                )
            if message:
                break
            t = t_next
            kept.append(v)
            reached.append(t)
        names = tuple(f"velocity_{axis}" for axis in "xyz"[: self.grid.dim])
        fields = FieldSpec(names, ("length/time",) * self.grid.dim)
        return NeuralTrajectory(
            self.velocity,
            tuple(reached),
            torch.stack(kept),
            tuple(reports),
            message,
            fields,
            self.grid,
            (error,),
        )

    def _step(self, v: Tensor, q: Tensor, step: int, dt: float) -> tuple[Fit, Tensor]:
        flow, press = self.velocity.function, self.pressure.function
        past = _formula(flow, v)

        def carried(points: Tensor) -> Tensor:
            a = past(points)
            moved = past(points - dt * a)
            if not self.viscosity:
                return moved
            d = JetDerivatives(points)
            return moved + dt * self.viscosity * d.values(d.laplacian(past(d.points)))

        advected = self._fit(flow, v, step, 0, _regression, carried)
        starred = _formula(flow, advected.weights)

        def divergence(points: Tensor) -> Tensor:
            d = JetDerivatives(points)
            return d.values(d.divergence(*d.components(starred(d.points))))

        pressure = self._fit(press, q, step, 1, _laplacian_minus, divergence)
        potential = _formula(press, pressure.weights)

        def projected(points: Tensor) -> Tensor:
            d = JetDerivatives(points)
            slopes = d.gradient(potential(d.points))
            return starred(points) - torch.cat([d.values(slope) for slope in slopes], dim=-1)

        found = self._fit(flow, advected.weights, step, 2, _regression, projected)
        return found, pressure.weights

    def _fit(
        self,
        module: torch.nn.Module,
        start: Tensor,
        step: int,
        stage: int,
        residual: Callable[..., Tensor],
        target: Callable[[Tensor], Tensor],
        *,
        is_start: bool = False,
    ) -> Fit:
        """Minimise mean |residual(field, x, target(x))|^2 over mean |target|^2."""

        def draw(n: int) -> dict[str, Term]:
            source = generator(self.seed, step, stage, n)
            samples = self.sampler.sample(self.num_points, generator=source, dtype=start.dtype)
            points = samples.points[None].to(start)
            with torch.no_grad():
                wanted = target(points)
            if not bool(torch.isfinite(wanted).all()):
                raise ValueError(f"the target of fit {stage + 1} is not finite.")
            weight = importance(samples, self.sampler.domain).to(start)[None, :, None]
            size = (weight * wanted.square()).mean().clamp(min=torch.finfo(wanted.dtype).tiny)
            return {"fit": Term(residual, (points, wanted), weight / size)}

        optimiser = self.optimiser.for_start() if is_start else self.optimiser
        return optimiser.fit(module, draw, start, tolerance=self.tolerance**2)


def check_flow(equation: Equation, *, where: str) -> None:
    """Refuse what is not incompressible flow, alone and unforced."""
    if not isinstance(equation, IncompressibleNavierStokes):
        raise ValueError(
            f"{where}: serves IncompressibleNavierStokes, got {type(equation).__name__}."
        )
    if equation.has_smoke or equation.forcing is not None:
        raise ValueError(f"{where}: smoke and forcing are not treated; leave them out.")


def _is_inviscid(equation: Any) -> bool:
    return isinstance(equation.viscosity, (int, float)) and equation.viscosity == 0


def _formula(module: torch.nn.Module, weights: Tensor) -> FieldFormula:
    vector = ParameterVector(module)
    return lambda points: vector.call(weights[0], points)


def _regression(field: FieldFormula, points: Tensor, target: Tensor) -> Tensor:
    return field(points) - target


def _laplacian_minus(field: FieldFormula, points: Tensor, target: Tensor) -> Tensor:
    d = JetDerivatives(points)
    return d.values(d.laplacian(field(d.points))) - target
