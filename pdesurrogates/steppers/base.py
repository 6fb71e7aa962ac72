"""What a stepper is: it binds a time derivative and gives a one-step map."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pdesurrogates.core import StatefulStep, TimeDerivative

__all__ = ["Stepper"]

_ALLOWED_GROWTH = 1e-6


@dataclass(frozen=True)
class Stepper(ABC):
    """Advances du/dt = f(t, u) by one step.

    `bind(f)` gives the one-step map that `rollout` and `integrate` use; what a method remembers
    (slopes of earlier steps, Fourier coefficients) travels in the state that goes in and comes
    out. `step` is the memoryless form for a single step.
    """

    @property
    @abstractmethod
    def order(self) -> int:
        """Order of accuracy: the error of a solve falls as dt^order."""

    @property
    @abstractmethod
    def num_evaluations(self) -> int:
        """Calls of f per step, once started."""

    @abstractmethod
    def bind(self, f: TimeDerivative) -> StatefulStep:
        """The one-step map of this method for the time derivative `f`."""

    def step(self, f: TimeDerivative, t: float | Tensor, u: Tensor, dt: float | Tensor) -> Tensor:
        """u(t + dt) from u(t), without memory: a multistep method takes its starting step.

        Args:
            f: Time derivative f(t, u).
            t: Time, a number or (batch,).
            u: State (batch, channel, *space).
            dt: Step, a number or (batch,) [time].
        """
        bound = self.bind(f)
        return bound.observe(bound(t, bound.initial_state(t, u), dt))

    def amplification(self, z: Tensor) -> Tensor | None:
        """Growth per step abs(u_next / u) for u' = lambda u at z = lambda dt, complex.

        `None` where the linear part of an equation never limits the step.
        """
        return None

    def check_stable(self, f: Any, dt: float) -> None:
        """Refuse a step beyond the stability limit of the known linear part of `f`, if any.

        Growing modes are physics; only decaying and neutral ones must not be amplified. A drift
        below 1e-6 per step passes: several methods touch the imaginary axis only at zero.

        Raises:
            ValueError: Naming the rate that breaks the limit and the largest allowed step.
        """
        operator = getattr(f, "linear_operator", None)
        if operator is None:
            return
        rates = operator.eigenvalues
        rates = rates[rates.real <= 0]

        def growth(step: float) -> Tensor:
            found = self.amplification(rates * step)
            return torch.zeros(1) if found is None or not len(rates) else found

        worst = growth(dt)
        if float(worst.max()) <= 1 + _ALLOWED_GROWTH:
            return
        stable, unstable = 0.0, dt
        for _ in range(60):
            middle = (stable + unstable) / 2
            is_stable = float(growth(middle).max()) <= 1 + _ALLOWED_GROWTH
            stable, unstable = (middle, unstable) if is_stable else (stable, middle)
        raise ValueError(
            f"{type(self).__name__}: dt = {dt:g} is unstable for the linear part, whose mode "
            f"with rate {complex(rates[worst.argmax()]):.4g} per unit time grows by a factor "
            f"{float(worst.max()):.3g} per step; the largest stable step is {stable:.4g}. Use it, "
            "a coarser grid, or a stepper that treats the linear part exactly, such as ETDRK(4)."
        )
