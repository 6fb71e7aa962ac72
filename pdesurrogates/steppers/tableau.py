"""Explicit Runge-Kutta methods at fixed step, each given by its Butcher tableau."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from pdesurrogates.core import StatefulStep, TimeDerivative, per_sample
from pdesurrogates.steppers.base import Stepper

__all__ = [
    "RK4",
    "SSPRK3",
    "BogackiShampine",
    "Dopri5",
    "Euler",
    "ExplicitRungeKutta",
    "Heun",
    "Midpoint",
    "Tableau",
    "Tsit5",
]


@dataclass(frozen=True)
class Tableau:
    """Butcher tableau of an explicit Runge-Kutta method.

        k_i = f(t + c_i dt, u + dt sum_{j<i} a_ij k_j),   u_next = u + dt sum_i b_i k_i

    Args:
        a: Strictly lower triangular rows, row i has i entries.
        b: Weights of the solution.
        order: Order of the solution.
        b_embedded: Weights of the embedded solution that estimates the error, or `None`.
    """

    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    order: int
    b_embedded: tuple[float, ...] | None = None

    @property
    def c(self) -> tuple[float, ...]:
        """Nodes, c_i = sum_j a_ij."""
        return tuple(sum(row, 0.0) for row in self.a)

    @cached_property
    def stages(self) -> int:
        """Stages a fixed step needs: a last stage that only estimates the error is left out."""
        used = [i for i, weight in enumerate(self.b) if weight != 0]
        return max(used) + 1

    @cached_property
    def stability_polynomial(self) -> Tensor:
        """R(z) = sum_j r_j z^j with u_next = R(lambda dt) u for u' = lambda u; r_0 first."""
        size = self.stages
        a = torch.zeros(size, size, dtype=torch.float64)
        for i, row in enumerate(self.a[:size]):
            a[i, :i] = torch.tensor(row, dtype=torch.float64)
        power = torch.ones(size, dtype=torch.float64)
        b = torch.tensor(self.b[:size], dtype=torch.float64)
        coefficients = [torch.ones((), dtype=torch.float64)]
        for _ in range(size):
            coefficients.append(b @ power)
            power = a @ power
        return torch.stack(coefficients)

    def amplification(self, z: Tensor) -> Tensor:
        """abs(R(z)) for complex z."""
        value = torch.zeros_like(z)
        for coefficient in self.stability_polynomial.flip(0):
            value = value * z + coefficient
        return value.abs()


@dataclass(frozen=True)
class ExplicitRungeKutta(Stepper):
    """An explicit Runge-Kutta method at fixed step; `f` is called once per stage."""

    tableau: ClassVar[Tableau]

    @property
    def order(self) -> int:
        return self.tableau.order

    @property
    def num_evaluations(self) -> int:
        return self.tableau.stages

    def bind(self, f: TimeDerivative) -> StatefulStep:
        return _BoundRungeKutta(self.tableau, f)

    def amplification(self, z: Tensor) -> Tensor:
        return self.tableau.amplification(z)


class _BoundRungeKutta:
    """One-step map of a tableau; the state is u itself."""

    def __init__(self, tableau: Tableau, f: TimeDerivative) -> None:
        size = tableau.stages
        self.f = f
        self.rows = tableau.a[:size]
        self.nodes = tableau.c[:size]
        self.weights = tableau.b[:size]

    def initial_state(self, t: float | Tensor, u0: Tensor) -> Tensor:
        return u0

    def observe(self, u: Tensor) -> Tensor:
        return u

    def __call__(self, t: float | Tensor, u: Tensor, dt: float | Tensor) -> Tensor:
        step = per_sample(dt, u)
        slopes: list[Tensor] = []
        for row, node in zip(self.rows, self.nodes, strict=True):
            slopes.append(self.f(t + node * dt, _advance(u, step, row, slopes)))
        return _advance(u, step, self.weights, slopes)


def _advance(
    u: Tensor, dt: float | Tensor, weights: tuple[float, ...], slopes: list[Tensor]
) -> Tensor:
    """u + dt sum_i weights_i slopes_i."""
    used = [(w, k) for w, k in zip(weights, slopes, strict=True) if w != 0]
    if not used:
        return u
    if not isinstance(dt, Tensor):
        for w, k in used:
            u = torch.add(u, k, alpha=dt * w)
        return u
    total = used[0][0] * used[0][1]
    for w, k in used[1:]:
        total = torch.add(total, k, alpha=w)
    return u + dt * total


class Euler(ExplicitRungeKutta):
    """Forward Euler, order 1: u + dt f(t, u)."""

    tableau = Tableau(a=((),), b=(1.0,), order=1)


class Midpoint(ExplicitRungeKutta):
    """Explicit midpoint rule, order 2: u + dt f(t + dt/2, u + dt/2 f(t, u))."""

    tableau = Tableau(a=((), (1 / 2,)), b=(0.0, 1.0), order=2)


class Heun(ExplicitRungeKutta):
    """Heun's method (explicit trapezoid, SSPRK2), order 2: the mean of both ends' slopes."""

    tableau = Tableau(a=((), (1.0,)), b=(1 / 2, 1 / 2), order=2, b_embedded=(1.0, 0.0))


class SSPRK3(ExplicitRungeKutta):
    """Strong-stability-preserving Runge-Kutta, order 3, SSP coefficient 1.

    Reference:
        Efficient implementation of essentially non-oscillatory shock-capturing schemes
        (Shu and Osher, 1988).
    """

    tableau = Tableau(a=((), (1.0,), (1 / 4, 1 / 4)), b=(1 / 6, 1 / 6, 2 / 3), order=3)


class RK4(ExplicitRungeKutta):
    """The classical Runge-Kutta method, order 4."""

    tableau = Tableau(
        a=((), (1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)),
        b=(1 / 6, 1 / 3, 1 / 3, 1 / 6),
        order=4,
    )


class BogackiShampine(ExplicitRungeKutta):
    """Bogacki-Shampine 3(2) at fixed step, order 3.

    Reference:
        A 3(2) pair of Runge-Kutta formulas (Bogacki and Shampine, 1989).
    """

    tableau = Tableau(
        a=((), (1 / 2,), (0.0, 3 / 4), (2 / 9, 1 / 3, 4 / 9)),
        b=(2 / 9, 1 / 3, 4 / 9, 0.0),
        order=3,
        b_embedded=(7 / 24, 1 / 4, 1 / 3, 1 / 8),
    )


class Dopri5(ExplicitRungeKutta):
    """Dormand-Prince 5(4) at fixed step, order 5; stable on the imaginary axis to 0.997 only.

    Reference:
        A family of embedded Runge-Kutta formulae (Dormand and Prince, 1980).
    """

    tableau = Tableau(
        a=(
            (),
            (1 / 5,),
            (3 / 40, 9 / 40),
            (44 / 45, -56 / 15, 32 / 9),
            (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
            (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
            (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
        ),
        b=(35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84, 0.0),
        order=5,
        b_embedded=(
            5179 / 57600,
            0.0,
            7571 / 16695,
            393 / 640,
            -92097 / 339200,
            187 / 2100,
            1 / 40,
        ),
    )


class Tsit5(ExplicitRungeKutta):
    """Tsitouras 5(4) at fixed step, order 5; stable on the imaginary axis to 0.478 only.

    Reference:
        Runge-Kutta pairs of order 5(4) satisfying only the first column simplifying assumption
        (Tsitouras, 2011), Table 1.
    """

    tableau = Tableau(
        a=(
            (),
            (0.161,),
            (-0.008480655492356989, 0.335480655492357),
            (2.8971530571054935, -6.359448489975075, 4.3622954328695815),
            (5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525),
            (
                5.86145544294642,
                -12.92096931784711,
                8.159367898576159,
                -0.071584973281401,
                -0.028269050394068383,
            ),
            (
                0.09646076681806523,
                0.01,
                0.4798896504144996,
                1.379008574103742,
                -3.290069515436081,
                2.324710524099774,
            ),
        ),
        b=(
            0.09646076681806523,
            0.01,
            0.4798896504144996,
            1.379008574103742,
            -3.290069515436081,
            2.324710524099774,
            0.0,
        ),
        order=5,
        b_embedded=(
            0.09468075576583945,
            0.009183565540343254,
            0.4877705284247616,
            1.234297566930479,
            -2.7077123499835256,
            1.866628418170587,
            1 / 66,
        ),
    )
