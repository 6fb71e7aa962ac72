"""Time-step schemes: what a field must satisfy to be the next state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from pdesurrogates.core import Box
from pdesurrogates.equations import Advection, Equation
from pdesurrogates.operators import Jet, JetDerivatives
from pdesurrogates.steppers import Euler, ExplicitRungeKutta, Midpoint, Stepper

__all__ = [
    "BDF2",
    "ExplicitEuler",
    "ExplicitStep",
    "ImplicitEuler",
    "ImplicitMidpoint",
    "Known",
    "SemiLagrangian",
    "TimeStepScheme",
    "scheme_of",
]

FieldFormula = Callable[[Any], Any]
"""Points (batch, point, dim), tensors or jets -> values (batch, point, channel)."""

Known = dict[Any, Tensor]
"""What a step needs of the states before it, at the points: named tensors (batch, point, ...)."""


@dataclass(frozen=True)
class TimeStepScheme(ABC):
    """A classical time step as a defect that the next field must not have.

    With the states before it known, the next field u solves `defect(u) = 0` at all points. The
    defect has the unit of u: it is the error that this step commits, to first order. It mirrors
    a stepper of `pdesurrogates.steppers`, but the unknown is a function, so that implicit
    schemes cost as much as explicit ones and no step is unstable for want of a solver.
    """

    num_previous: ClassVar[int] = 1

    @property
    @abstractmethod
    def order(self) -> int:
        """Order of accuracy: the error of a solve falls as dt^order."""

    @abstractmethod
    def known(
        self,
        previous: Sequence[FieldFormula],
        times: Sequence[float],
        equation: Equation,
        points: Tensor,
        dt: float,
    ) -> Known:
        """What the defect needs of the states before, computed once per set of points.

        Args:
            previous: Earlier fields, the latest first.
            times: Their times.
            equation: The PDE.
            points: (batch, point, dim).
            dt: Step from the latest one [time].
        """

    @abstractmethod
    def defect(
        self,
        field: FieldFormula,
        known: Known,
        equation: Equation,
        points: Tensor,
        t: float,
        dt: float,
    ) -> Tensor:
        """Defect of a trial field (batch, point, channel) [unit of u]; zero for the next state.

        Args:
            field: The trial.
            known: What `known` gave at these points.
            equation: The PDE.
            points: (batch, point, dim).
            t: Time of the latest state.
            dt: Step.
        """


@dataclass(frozen=True)
class ExplicitStep(TimeStepScheme):
    """The step of an explicit Runge-Kutta method, as a regression:

        u - step(f, t, u_n, dt) = 0

    The right-hand side of all stages comes from one jet of the frozen field, so that k stages of
    an equation of order p take its derivatives to order k p.

    Args:
        stepper: The method.
    """

    stepper: ExplicitRungeKutta

    @property
    def order(self) -> int:
        return self.stepper.order

    def known(
        self,
        previous: Sequence[FieldFormula],
        times: Sequence[float],
        equation: Equation,
        points: Tensor,
        dt: float,
    ) -> Known:
        d = JetDerivatives(points)
        u = previous[0](d.points)
        target: Any = self.stepper.step(lambda t, v: equation.rhs(t, v, d), times[0], u, dt)
        return {"target": d.values(target)}

    def defect(
        self,
        field: FieldFormula,
        known: Known,
        equation: Equation,
        points: Tensor,
        t: float,
        dt: float,
    ) -> Tensor:
        return field(points) - known["target"]


@dataclass(frozen=True)
class ExplicitEuler(ExplicitStep):
    """u - u_n - dt f(t_n, u_n) = 0, order 1: a regression."""

    stepper: ExplicitRungeKutta = Euler()  # noqa: RUF009 - frozen, without state


@dataclass(frozen=True)
class ImplicitEuler(TimeStepScheme):
    """u - u_n - dt f(t_{n+1}, u) = 0, order 1; damps, strongly where dt is not small."""

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
        return {"start": previous[0](points)}

    def defect(
        self,
        field: FieldFormula,
        known: Known,
        equation: Equation,
        points: Tensor,
        t: float,
        dt: float,
    ) -> Tensor:
        d = JetDerivatives(points)
        u = field(d.points)
        return d.values(u) - known["start"] - dt * d.values(equation.rhs(t + dt, u, d))


@dataclass(frozen=True)
class ImplicitMidpoint(TimeStepScheme):
    """u - u_n - dt f(t_n + dt/2, (u_n + u) / 2) = 0, order 2.

    Keeps quadratic invariants; for linear equations the same as Crank-Nicolson.
    """

    @property
    def order(self) -> int:
        return 2

    def known(
        self,
        previous: Sequence[FieldFormula],
        times: Sequence[float],
        equation: Equation,
        points: Tensor,
        dt: float,
    ) -> Known:
        d = JetDerivatives(points)
        start = previous[0](d.points)
        parts: Known = {}
        recorded = _recorded(start, parts)
        d.values(equation.rhs(times[0], recorded, d))
        recorded.part((0,) * d.num_axes)
        return parts

    def defect(
        self,
        field: FieldFormula,
        known: Known,
        equation: Equation,
        points: Tensor,
        t: float,
        dt: float,
    ) -> Tensor:
        d = JetDerivatives(points)
        start = Jet(known.get, d.num_axes)
        u = field(d.points)
        middle = 0.5 * (u + start)
        rate = d.values(equation.rhs(t + dt / 2, middle, d))
        return d.values(u) - start.values - dt * rate


@dataclass(frozen=True)
class BDF2(TimeStepScheme):
    """Backward differentiation, order 2, with w = dt / (t_n - t_{n-1}):

        u - (1 + w)^2 / (1 + 2 w) u_n + w^2 / (1 + 2 w) u_{n-1}
            - (1 + w) / (1 + 2 w) dt f(t_{n+1}, u) = 0

    For equal steps u - 4/3 u_n + 1/3 u_{n-1} - 2/3 dt f. The first step is one of the implicit
    midpoint rule. Damps stiff parts.
    """

    num_previous: ClassVar[int] = 2

    @property
    def order(self) -> int:
        return 2

    def known(
        self,
        previous: Sequence[FieldFormula],
        times: Sequence[float],
        equation: Equation,
        points: Tensor,
        dt: float,
    ) -> Known:
        if len(previous) < 2:
            return ImplicitMidpoint().known(previous, times, equation, points, dt)
        w = dt / (times[0] - times[1])
        latest, earlier = (1 + w) ** 2 / (1 + 2 * w), w**2 / (1 + 2 * w)
        start = latest * previous[0](points) - earlier * previous[1](points)
        factor = start.new_full((*points.shape[:-1], 1), (1 + w) / (1 + 2 * w))
        return {"start": start, "factor": factor}

    def defect(
        self,
        field: FieldFormula,
        known: Known,
        equation: Equation,
        points: Tensor,
        t: float,
        dt: float,
    ) -> Tensor:
        if "factor" not in known:
            return ImplicitMidpoint().defect(field, known, equation, points, t, dt)
        d = JetDerivatives(points)
        u = field(d.points)
        rate = known["factor"] * dt * d.values(equation.rhs(t + dt, u, d))
        return d.values(u) - known["start"] - rate


@dataclass(frozen=True)
class SemiLagrangian(TimeStepScheme):
    """Values carried along the flow; what else the equation does, implicitly. Order 1:

        u - u_n(x - dt a) - dt (f(t_{n+1}, u) + a . grad u) = 0,    a = a(u_n(x))

    For pure advection the last term is zero. Feet outside the domain are put on its boundary;
    periodic axes need no such rule.

    Args:
        velocity: a(points (batch, point, dim), t) -> (batch, point, dim) [length/time]; by
            default that of the equation: Advection, or the characteristic velocity in 1D.
        domain: Box that feet must not leave; the solver gives its own.
    """

    velocity: Callable[[Tensor, float], Tensor] | None = None
    domain: Box | None = None
    is_periodic: tuple[bool, ...] = ()

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
        velocity = self._velocity(previous[0], times[0], equation, points)
        return {"start": previous[0](self._inside(points - dt * velocity)), "velocity": velocity}

    def defect(
        self,
        field: FieldFormula,
        known: Known,
        equation: Equation,
        points: Tensor,
        t: float,
        dt: float,
    ) -> Tensor:
        if isinstance(equation, Advection) and self.velocity is None:
            return field(points) - known["start"]
        d = JetDerivatives(points)
        u = field(d.points)
        rate = d.values(equation.rhs(t + dt, u, d))
        for axis, speed in enumerate(known["velocity"].split(1, dim=-1)):
            rate = rate + speed * d.values(d.derivative(u, axis))
        return d.values(u) - known["start"] - dt * rate

    def _velocity(
        self, field: FieldFormula, t: float, equation: Equation, points: Tensor
    ) -> Tensor:
        if self.velocity is not None:
            return self.velocity(points, t).expand_as(points)
        if isinstance(equation, Advection):
            return torch.as_tensor(equation.velocity).to(points).expand_as(points)
        d = JetDerivatives(points)
        speed = equation.characteristic_velocity(t, field(d.points), d)
        speed = d.values(speed)
        return (speed if isinstance(speed, Tensor) else points.new_tensor(speed)).expand_as(points)

    def _inside(self, points: Tensor) -> Tensor:
        if self.domain is None:
            return points
        flags = self.is_periodic or (False,) * self.domain.dim
        free = torch.tensor(flags, device=points.device)
        low, high = points.new_tensor(self.domain.lower), points.new_tensor(self.domain.upper)
        return torch.where(free, points, points.clamp(low, high))


def scheme_of(stepper: TimeStepScheme | Stepper) -> TimeStepScheme:
    """The scheme of a step; some classical steppers name theirs.

    `Euler()` is explicit Euler. `Midpoint()` is the implicit midpoint rule: a step is solved for
    anyway, so the explicit rule, with twice the error and growing waves, would save nothing.
    `ExplicitStep(stepper)` gives any explicit method as it is.

    Raises:
        ValueError: If the stepper has no counterpart.
    """
    if isinstance(stepper, TimeStepScheme):
        return stepper
    if isinstance(stepper, Euler):
        return ExplicitEuler()
    if isinstance(stepper, Midpoint):
        return ImplicitMidpoint()
    raise ValueError(
        f"INSRSolver: {type(stepper).__name__} has no counterpart among the time-step schemes; "
        "use ExplicitEuler(), ImplicitEuler(), ImplicitMidpoint(), BDF2(), SemiLagrangian(), "
        "ExplicitStep(stepper) for an explicit Runge-Kutta method, or Euler() or Midpoint()."
    )


def _recorded(jet: Jet, parts: Known) -> Jet:
    """The same jet, which notes the coefficients that are asked for."""
    shape = jet.shape

    def compute(index: tuple[int, ...]) -> Tensor | None:
        part = jet.part(index)
        if part is not None:
            parts[index] = part.expand(shape)
        return part

    return Jet(compute, jet.num_axes)
