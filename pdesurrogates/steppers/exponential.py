"""Exponential time differencing: the stiff linear part exactly, the rest by Runge-Kutta."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from pdesurrogates.core import StatefulStep
from pdesurrogates.operators import FourierOperator
from pdesurrogates.steppers.base import Stepper

__all__ = ["ETDRK", "SplitDerivative"]

_KEPT_STEP_SIZES = 8


@runtime_checkable
class SplitDerivative(Protocol):
    """A time derivative du/dt = L u + N(t, u) whose linear part is diagonal in modes.

    An equation on a periodic grid is one, and so is an equation's linear part with a network as
    the rest.
    """

    linear_operator: FourierOperator

    def to_modes(self, u: Tensor, /) -> Tensor: ...

    def from_modes(self, hat: Tensor, /) -> Tensor: ...

    def nonlinear(self, t: float | Tensor, hat: Tensor, /) -> Tensor | None: ...


@dataclass(frozen=True)
class ETDRK(Stepper):
    """Exponential time differencing Runge-Kutta of order 1 to 4 for u' = L u + N(t, u).

    With E = exp(dt L), and phi_k of dt L, order 2 is

        a = E u + dt phi_1 N(t, u)
        u_next = a + dt phi_2 (N(t + dt, a) - N(t, u))

    order 3 and 4 are Cox-Matthews (23-25) and (26-29). The state stays in modes from step to
    step. Coefficients are complex wherever L is (odd derivatives): taking their real part would
    lower the order to 1.

    Args:
        order: 1, 2, 3 or 4; also the number of calls of N per step.

    Reference:
        Exponential time differencing for stiff systems (Cox and Matthews, 2002).
    """

    order: int = 4  # pyright: ignore[reportIncompatibleMethodOverride]

    orders: ClassVar[tuple[int, ...]] = (1, 2, 3, 4)

    def __post_init__(self) -> None:
        if self.order not in self.orders:
            raise ValueError(f"ETDRK: `order` must be one of {self.orders}, got {self.order}.")

    @property
    def num_evaluations(self) -> int:
        return self.order

    def bind(self, f: Any) -> StatefulStep:
        if not isinstance(f, SplitDerivative):
            raise TypeError(
                "ETDRK: needs a time derivative with a known linear part (equation.on(grid) on a "
                f"periodic grid, or a HybridSurrogate), got {type(f).__name__}; for others use "
                "RK4()."
            )
        return _BoundETDRK(f, self.order)


class _BoundETDRK:
    """One-step map on modes; the state is the tensor of Fourier coefficients.

    Where L is real its functions act on real and imaginary parts alike, so the arithmetic runs on
    the real view of the coefficients, at half the work.
    """

    def __init__(self, f: SplitDerivative, order: int) -> None:
        self.f = f
        self.operator = f.linear_operator
        self.is_real = self.operator.is_real
        self.advance = (self._first, self._second, self._third, self._fourth)[order - 1]
        self._weights: OrderedDict[tuple, tuple[Tensor, ...]] = OrderedDict()

    def initial_state(self, t: float | Tensor, u0: Tensor) -> Tensor:
        return self.f.to_modes(u0)

    def observe(self, hat: Tensor) -> Tensor:
        return self.f.from_modes(hat)

    def __call__(self, t: float | Tensor, hat: Tensor, dt: float | Tensor) -> Tensor:
        rate = self.f.nonlinear(t, hat)
        v, weights = self._enter(hat), self._coefficients(hat, dt)
        if rate is None:
            return self._leave(self._times(weights[0], v))
        return self._leave(self.advance(t, v, dt, self._enter(rate), weights))

    def _first(
        self, t: Any, v: Tensor, dt: Any, n0: Tensor, weights: tuple[Tensor, ...]
    ) -> Tensor:
        e, p1 = weights
        return self._add(self._times(e, v), p1, n0)

    def _second(
        self, t: Any, v: Tensor, dt: Any, n0: Tensor, weights: tuple[Tensor, ...]
    ) -> Tensor:
        e, p1, p2 = weights
        a = self._add(self._times(e, v), p1, n0)
        return self._sum(a, p2, self._rate(t + dt, a) - n0)

    def _third(
        self, t: Any, v: Tensor, dt: Any, n0: Tensor, weights: tuple[Tensor, ...]
    ) -> Tensor:
        e, half, q, p1, f1, f2, f3 = weights
        a = self._add(self._times(half, v), q, n0)
        na = self._rate(t + dt / 2, a)
        b = self._add(self._times(e, v), p1, torch.sub(na, n0, alpha=0.5), scale=2)
        nb = self._rate(t + dt, b)
        u = self._add(self._times(e, v), f1, n0)
        return self._add(self._add(u, f2, na), f3, nb)

    def _fourth(
        self, t: Any, v: Tensor, dt: Any, n0: Tensor, weights: tuple[Tensor, ...]
    ) -> Tensor:
        e, half, q, f1, f2, f3 = weights
        decayed = self._times(half, v)
        a = self._sum(decayed, q, n0)
        na = self._rate(t + dt / 2, a)
        nb = self._rate(t + dt / 2, self._add(decayed, q, na))
        c = self._add(self._times(half, a), q, torch.sub(nb, n0, alpha=0.5), scale=2)
        nc = self._rate(t + dt, c)
        u = self._add(self._times(e, v), f1, n0)
        return self._add(self._add(u, f2, na + nb), f3, nc)

    def _rate(self, t: float | Tensor, v: Tensor) -> Tensor:
        rate = self.f.nonlinear(t, self._leave(v))
        return v if rate is None else self._enter(rate)

    def _enter(self, hat: Tensor) -> Tensor:
        return torch.view_as_real(hat) if self.is_real else hat

    def _leave(self, v: Tensor) -> Tensor:
        return torch.view_as_complex(v) if self.is_real else v

    def _times(self, weight: Tensor, v: Tensor) -> Tensor:
        if not self.operator.is_coupled:
            return weight * v
        return self._enter(self.operator.multiply(weight, self._leave(v)))

    def _sum(self, base: Tensor, weight: Tensor, v: Tensor) -> Tensor:
        """base + weight v, a fresh tensor."""
        if not self.operator.is_coupled:
            return torch.addcmul(base, weight, v)
        return base + self._times(weight, v)

    def _add(self, total: Tensor, weight: Tensor, v: Tensor, scale: float = 1) -> Tensor:
        """total + scale weight v; `total` is a fresh tensor and is overwritten."""
        if not self.operator.is_coupled:
            return total.addcmul_(weight, v, value=scale)
        return total.add_(self._times(weight, v), alpha=scale)

    def _coefficients(self, hat: Tensor, dt: float | Tensor) -> tuple[Tensor, ...]:
        """Functions of dt L for this step size, kept for the last few sizes."""
        if isinstance(dt, Tensor) and dt.ndim:
            return self._build(hat, dt)
        # Parameters of L that learn get their gradient through the coefficients.
        is_learned = self.operator.symbol.requires_grad and torch.is_grad_enabled()
        # Output times differ in the last bits; one step size must not be computed many times.
        key = (f"{float(dt):.12g}", hat.dtype, hat.device, is_learned)
        if key not in self._weights:
            # A tensor born in inference mode could never be used for training later.
            with torch.inference_mode(False), torch.set_grad_enabled(is_learned):
                self._weights[key] = self._build(hat, float(dt))
            if len(self._weights) > _KEPT_STEP_SIZES:
                self._weights.popitem(last=False)
        return self._weights[key]

    def _build(self, hat: Tensor, dt: float | Tensor) -> tuple[Tensor, ...]:
        scale = dt
        if isinstance(dt, Tensor):
            dt = dt.detach().to("cpu", torch.float64)
            scale = dt.reshape(-1, *(1,) * (self.operator.dim + 1 + self.operator.is_coupled))
        phi = [self.operator.phi(k, dt) for k in range(4)]
        half = [self.operator.phi(k, dt / 2) for k in range(2)]
        f1 = phi[1] - 3 * phi[2] + 4 * phi[3]
        f3 = 4 * phi[3] - phi[2]
        weights = {
            self._first: (phi[0], scale * phi[1]),
            self._second: (phi[0], scale * phi[1], scale * phi[2]),
            self._third: (
                phi[0],
                half[0],
                scale / 2 * half[1],
                scale * phi[1],
                scale * f1,
                scale * (4 * phi[2] - 8 * phi[3]),
                scale * f3,
            ),
            self._fourth: (
                phi[0],
                half[0],
                scale / 2 * half[1],
                scale * f1,
                scale * (2 * phi[2] - 4 * phi[3]),
                scale * f3,
            ),
        }[self.advance]
        return tuple(self._cast(weight, hat) for weight in weights)

    def _cast(self, weight: Tensor, hat: Tensor) -> Tensor:
        weight = self.operator.laid_out(weight, hat)
        if weight.is_complex():
            return weight.to(dtype=hat.dtype, device=hat.device)
        weight = weight.to(dtype=hat.dtype.to_real(), device=hat.device)
        if self.operator.is_coupled:
            return weight
        return torch.view_as_real(torch.complex(weight, weight))
