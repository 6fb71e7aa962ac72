"""Elastodynamics with a network for the displacement: every step minimises a potential."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pdesurrogates.core import FieldSpec, generator
from pdesurrogates.linear import ParameterVector
from pdesurrogates.neural_fields.elastic_body import ElasticBody, ElasticStep, measure
from pdesurrogates.neural_fields.field import NeuralField
from pdesurrogates.neural_fields.fitting import Fit, GaussNewton, Optimiser, Term
from pdesurrogates.neural_fields.trajectory import NeuralTrajectory
from pdesurrogates.operators import JetDerivatives
from pdesurrogates.sampling import Sampler

__all__ = ["ElasticSolver", "ElasticTrajectory", "start_at_rest"]


def start_at_rest(network: nn.Module) -> None:
    """Set the last linear layer to zero: the displacement is that of the boundary conditions.

    Raises:
        ValueError: If the network has no linear layer.
    """
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise ValueError("start_at_rest: the network has no linear layer to set to zero.")
    last = getattr(network, "head", layers[-1])
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)


@dataclass(frozen=True)
class ElasticTrajectory(NeuralTrajectory):
    """Displacement fields u = q - X at times: a trajectory like all others, with its energies.

    `message` says why a run stopped early; the states that are given are good.

    Args:
        steps: One report per step.
    """

    steps: tuple[ElasticStep, ...] = ()

    def positions(self, points: Tensor) -> Tensor:
        """q = X + u at points (point, dim) of the body at rest -> (time, point, dim)."""
        found = [self.at(points[None], n)[0] for n in range(len(self))]
        return points + torch.stack(found)


class ElasticSolver:
    """Minimises the incremental potential of a body over the weights of a displacement field.

        q(X) = X + u(X; weights),     weights_{n+1} = argmin P(weights; weights_n, weights_{n-1})

    Positions and velocities of the last state come from frozen copies of the field. The
    potential of `ElasticBody` is a sum of squares at points drawn anew for every step, so
    Gauss-Newton applies; sides that are fixed or moved hold by construction, by the boundary
    conditions of the field. Each step is checked at other points: a state that is not finite or
    turned inside out is dropped, and the run ends with the good ones and the reason.

    Args:
        body: Material, forces, obstacles.
        field: Displacement on the body at rest, with dim channels; its weights are the start
            (`start_at_rest` sets the network to zero).
        sampler: Points in the body; uniform.
        volume: Volume of the body; default: that of the sampler's mesh or box.
        num_points: Points of a step; the residuals should outnumber the weights.
        num_check_points: Points at which a step is checked and measured.
        optimiser: `GaussNewton` for some thousand weights in float64, `LBFGS` or `Adam` for more.
        tolerance: A potential that is good enough, in units of energy.
        seed: Seed of the points.

    Raises:
        ValueError: If the field does not have one channel per axis, with 2 or 3 of them.
    """

    def __init__(
        self,
        body: ElasticBody,
        field: NeuralField,
        sampler: Sampler,
        *,
        volume: float | None = None,
        num_points: int = 1000,
        num_check_points: int = 4000,
        optimiser: Optimiser | None = None,
        tolerance: float = 1e-12,
        seed: int = 0,
    ) -> None:
        if field.num_channels != field.dim or field.dim not in (2, 3):
            raise ValueError(
                "ElasticSolver: a displacement has one channel per axis, in 2D or 3D; got "
                f"{field.num_channels} channels on {field.dim} axes."
            )
        if body.force and len(body.force) != field.dim:
            raise ValueError(
                f"ElasticSolver: the force must have {field.dim} components, got {body.force}."
            )
        self.body = body
        self.field = field
        self.sampler = sampler
        self.volume = getattr(sampler, "mesh", sampler.domain).volume if volume is None else volume
        self.num_points = num_points
        self.num_check_points = num_check_points
        self.optimiser = optimiser or GaussNewton(
            max_iterations=50, initial_damping=1e-2, relative_tolerance=1e-4
        )
        self.tolerance = tolerance
        self.seed = seed
        self.vector = ParameterVector(field.function)

    def relax(self) -> ElasticTrajectory:
        """The body at rest between its given sides: start and minimum.

        Raises:
            ValueError: If the body has inertia.
        """
        if not self.body.is_static:
            raise ValueError(
                "ElasticSolver.relax: the body has inertia; use solve, or give it no density."
            )
        return self._run([0.0, 1.0], None, None)

    def solve(
        self,
        dt: float,
        num_steps: int,
        *,
        velocity: Sequence[float] = (),
        on_step: Callable[[ElasticStep], None] | None = None,
    ) -> ElasticTrajectory:
        """Advance by implicit Euler.

        Args:
            dt: Step [time].
            num_steps: How many.
            velocity: Velocity of the whole body at the start; default none.
            on_step: Called with the report of every accepted step.

        Raises:
            ValueError: If the body has no inertia, or the step is not positive.
        """
        if self.body.is_static:
            raise ValueError("ElasticSolver.solve: a body without density has no motion; relax.")
        if not dt > 0 or num_steps < 1:
            raise ValueError(
                f"ElasticSolver.solve: `dt` and `num_steps` must be positive, got {dt} and "
                f"{num_steps}."
            )
        times = [n * dt for n in range(num_steps + 1)]
        return self._run(times, tuple(velocity) or (0.0,) * self.field.dim, on_step)

    def _run(
        self,
        times: list[float],
        velocity: tuple[float, ...] | None,
        on_step: Callable[[ElasticStep], None] | None,
    ) -> ElasticTrajectory:
        states, steps, message = [self.vector.read()], [], ""
        damping = None
        for n, (t, t_next) in enumerate(zip(times, times[1:], strict=False)):
            started = time.perf_counter()
            dt = t_next - t

            def motion(points: Tensor, n: int = n, dt: float = dt) -> tuple[Tensor, Tensor]:
                return self._motion(states[max(0, n - 1) : n + 1], points, dt, velocity)

            try:
                fit = self._fit(states[-1], motion, n, t, dt, damping)
            except ValueError as error:
                message = f"ElasticSolver, step {n + 1} to t = {t_next:.6g}: {error}"
                break
            # A fit that got stuck ends with a damping from which the next could not start.
            damping = None if fit.damping is None else fit.damping.clamp(max=1.0)
            step = self._check(fit, motion, t_next, dt, time.perf_counter() - started)
            if step.problem is not None:
                message = f"ElasticSolver, step {n + 1} to t = {t_next:.6g}: {step.problem}."
                break
            states.append(fit.weights[0])
            steps.append(step)
            if on_step is not None:
                on_step(step)
        self.vector.write(states[-1])
        reached = tuple(times[: len(states)])
        names = tuple(f"displacement_{axis}" for axis in "xyz"[: self.field.dim])
        return ElasticTrajectory(
            self.field,
            reached,
            torch.stack(states)[:, None],
            message=message,
            fields=FieldSpec(names),
            steps=tuple(steps),
        )

    def _motion(
        self,
        states: list[Tensor],
        points: Tensor,
        dt: float,
        velocity: tuple[float, ...] | None,
    ) -> tuple[Tensor, Tensor]:
        """Positions and velocities (1, point, dim) of the latest state."""
        with torch.no_grad():
            u = self.vector.call(states[-1], points)
            if len(states) > 1:
                return points + u, (u - self.vector.call(states[0], points)) / dt
        return points + u, points.new_tensor(velocity or (0.0,) * self.field.dim).expand_as(points)

    def _fit(
        self,
        start: Tensor,
        motion: Callable[[Tensor], tuple[Tensor, Tensor]],
        n: int,
        t: float,
        dt: float,
        damping: Tensor | None,
    ) -> Fit:
        body, dim = self.body, self.field.dim
        weight = self.volume * body.num_rows(dim)  # a mean over rows becomes a sum

        def residual(call: Callable[[Any], Any], points: Tensor, free: Tensor) -> Tensor:
            q, gradient = deformation(call, points)
            return body.rows(q, gradient, free, dt)

        def draw(number: int) -> dict[str, Term]:
            points = self._points(self.num_points, 0, n, number)
            free = points if body.is_static else body.free_positions(*motion(points), t, dt)
            return {"potential": Term(residual, (points, free), weight)}

        return self.optimiser.fit(
            self.field.function, draw, start[None], tolerance=self.tolerance, damping=damping
        )

    def _check(
        self,
        fit: Fit,
        motion: Callable[[Tensor], tuple[Tensor, Tensor]],
        t: float,
        dt: float,
        seconds: float,
    ) -> ElasticStep:
        points = self._points(self.num_check_points, 1)
        with torch.no_grad():
            q, gradient = deformation(lambda p: self.vector.call(fit.weights[0], p), points)
            start, _ = motion(points)
            share = q.new_full(q.shape[1:2], self.volume / q.shape[1])
            velocity = (q - start)[0] / dt
            numbers = measure(self.body, q[0], gradient[0], velocity, share)
        return ElasticStep(
            t=t,
            potential=float(fit.loss[0]),
            status=fit.status[0],
            num_iterations=fit.num_iterations,
            seconds=seconds,
            **numbers,
        )

    def _points(self, count: int, *keys: int) -> Tensor:
        like = next(self.field.function.parameters())
        samples = self.sampler.sample(
            count,
            generator=generator(self.seed, *keys),
            dtype=like.dtype,
            device=like.device,
        )
        return samples.points[None]


def deformation(call: Callable[[Any], Any], points: Tensor) -> tuple[Tensor, Tensor]:
    """q = X + u and dq/dX at points (1, point, dim) -> (1, point, dim), (1, point, dim, dim)."""
    d = JetDerivatives(points)
    u = call(d.points)
    slopes = [d.values(d.derivative(u, axis)) for axis in range(d.dim)]
    gradient = torch.stack(slopes, dim=-1) + torch.eye(d.dim).to(points)
    return points + d.values(u), gradient
