"""The exact Crank-Nicolson solution: what a network with zero residual would give."""

from __future__ import annotations

import torch
from torch import Tensor

from pdesurrogates.equations import SpectralEquation
from pdesurrogates.operators import FourierOperator

__all__ = ["CrankNicolsonSolver"]


class CrankNicolsonSolver:
    """Crank-Nicolson steps of an equation on a periodic grid, solved to a tolerance.

        u_next = u + dt/2 (f(u) + f(u_next))

    Anderson-accelerated fixed-point iteration, the linear part taken implicitly:

        v <- v - (1 - dt/2 L)^(-1) ( v - u - dt/2 (f(u) + f(v)) )

    Args:
        f: The equation on its grid, one channel.
        rtol: Largest residual, relative to the state.
        memory: Iterates that are mixed.
        max_iterations: Limit per step.
    """

    def __init__(
        self,
        f: SpectralEquation,
        *,
        rtol: float = 1e-6,
        memory: int = 12,
        max_iterations: int = 500,
    ) -> None:
        self.f = f
        self.rtol = rtol
        self.memory = memory
        self.max_iterations = max_iterations

    def __call__(self, t: float | Tensor, u: Tensor, dt: float | Tensor, /) -> Tensor:
        known = u + dt / 2 * self.f(t, u)
        limit = self.rtol * u.norm()
        changes: list[Tensor] = []
        states: list[Tensor] = []
        v = u
        for _ in range(self.max_iterations):
            r = known + dt / 2 * self.f(t + dt, v) - v
            if float(r.norm()) < limit:
                return v
            states = [*states, v][-self.memory :]
            changes = [*changes, self._preconditioned(r, dt)][-self.memory :]
            v = _mixed(states, changes)
        raise RuntimeError(
            f"CrankNicolsonSolver: no convergence in {self.max_iterations} iterations with dt = "
            f"{dt}; the residual is {float(r.norm() / u.norm()):.2g}, wanted {self.rtol:.1g}."
        )

    def _preconditioned(self, r: Tensor, dt: float | Tensor) -> Tensor:
        symbol: FourierOperator = self.f.linear_operator
        hat = self.f.to_modes(r)
        return self.f.from_modes(hat / (1 - dt / 2 * symbol.eigenvalues.reshape(hat.shape[1:])))


def _mixed(states: list[Tensor], changes: list[Tensor]) -> Tensor:
    """The combination of iterates with the smallest change, moved by it, per field."""
    steps = torch.stack(changes, dim=1).flatten(2)  # (batch, iterate, value)
    points = torch.stack(states, dim=1).flatten(2)
    if len(changes) == 1:
        return states[0] + changes[0]
    last, differences = steps[:, -1:], steps[:, 1:] - steps[:, :-1]
    weights = torch.linalg.lstsq(differences.mT, last.mT, driver="gelsd").solution.mT
    moved = points[:, -1:] + last - weights @ (points[:, 1:] - points[:, :-1] + differences)
    return moved.reshape(states[0].shape)
