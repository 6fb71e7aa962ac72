"""Nonlinear least squares by damped Gauss-Newton steps, many small problems at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

__all__ = ["LeastSquaresResult", "LevenbergMarquardt"]

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LeastSquaresResult:
    """What a least-squares solve ended with.

    Args:
        x: Best unknowns found (batch, unknown).
        loss: Mean of the squared residuals there (batch,).
        status: Per problem "converged" (loss below the tolerance), "stalled" (no step improves
            the loss noticeably any more) or "max_iterations".
        num_iterations: Jacobians computed.
        history: Loss (batch,) before the first and after every iteration.
        damping: Last damping (batch,), a good start for the next similar problem.
    """

    x: Tensor
    loss: Tensor
    status: tuple[str, ...]
    num_iterations: int
    history: list[Tensor] = field(repr=False)
    damping: Tensor

    @property
    def converged(self) -> bool:
        """Whether every problem reached the tolerance."""
        return all(status == "converged" for status in self.status)


@dataclass(frozen=True)
class LevenbergMarquardt:
    """Minimises the mean square L(x) = 1/M sum_i r_i(x)^2 by damped Gauss-Newton steps:

        (J^T J / M + damping s I) step = -J^T r / M,   s = mean diagonal of J^T J / M

    A step is taken if it lowers the loss. The damping follows the gain ratio, actual over
    predicted decrease: a good step divides it by up to 3, a bad one multiplies it by 2, 4, 8 ...
    With fewer residuals than unknowns the same step comes from the smaller matrix J J^T.

    Use float64: the normal equations square the condition number. Small problems only, the cost
    of an iteration is M unknown^2 + unknown^3 / 3.

    Reference:
        Methods for Non-Linear Least Squares Problems (Madsen, Nielsen and Tingleff, 2004),
        Algorithm 3.16.

    Args:
        max_iterations: Largest number of Jacobians.
        loss_tolerance: A loss that is good enough.
        relative_tolerance: A relative decrease of the loss per accepted step that is not worth
            another; counted as stalled when it happens twice in a row.
        initial_damping: Damping of the first step, in units of the mean diagonal.
        max_damping: A damping beyond which no step can be expected.

    Example:
        >>> x0 = torch.tensor([[3.0]], dtype=torch.float64)
        >>> solver = LevenbergMarquardt(loss_tolerance=1e-24)
        >>> found = solver.minimise(lambda x: x**2 - 4, lambda x: 2 * x[..., None], x0)
        >>> round(float(found.x), 9), found.status
        (2.0, ('converged',))
    """

    max_iterations: int = 20
    loss_tolerance: float = 1e-9
    relative_tolerance: float = 1e-3
    initial_damping: float = 1e-2
    max_damping: float = 1e8

    def __post_init__(self) -> None:
        if self.max_iterations < 1:
            raise ValueError(
                f"LevenbergMarquardt: `max_iterations` must be positive, "
                f"got {self.max_iterations}."
            )
        for name in ("loss_tolerance", "relative_tolerance", "initial_damping", "max_damping"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(
                    f"LevenbergMarquardt: `{name}` must not be negative, got {value}."
                )

    @torch.no_grad()
    def minimise(
        self,
        residuals: Function,
        jacobian: Function,
        x0: Tensor,
        *,
        damping: Tensor | None = None,
    ) -> LeastSquaresResult:
        """Minimise from `x0`; problems of a batch are independent and end one by one.

        Args:
            residuals: x (batch, unknown) -> (batch, residual).
            jacobian: x -> (batch, residual, unknown).
            x0: Start (batch, unknown).
            damping: Start of the damping (batch,), e.g. that of the last similar solve.

        Raises:
            ValueError: If `x0` has no batch axis, or the residuals at `x0` are not finite.
        """
        state = self._start(residuals, x0, damping)
        history = [state.loss]
        iterations = 0
        while iterations < self.max_iterations and bool(state.is_active.any()):
            state = self._iterate(residuals, jacobian, state)
            history.append(state.loss)
            iterations += 1
        return LeastSquaresResult(
            state.x, state.loss, self._status(state), iterations, history, state.damping
        )

    def _start(self, residuals: Function, x0: Tensor, damping: Tensor | None) -> _State:
        if x0.ndim != 2:
            raise ValueError(
                f"LevenbergMarquardt: `x0` must have shape (batch, unknown), got "
                f"{tuple(x0.shape)}; one problem is x0[None]."
            )
        r = residuals(x0)
        if not bool(torch.isfinite(r).all()):
            bad = (~torch.isfinite(r)).sum(dim=-1).nonzero().flatten().tolist()
            raise ValueError(
                "LevenbergMarquardt: the residuals at the start are not finite for problems "
                f"{bad} of the batch; check the initial weights and the data."
            )
        if damping is None:
            damping = x0.new_full((len(x0),), self.initial_damping)
        loss = r.square().mean(dim=-1)
        flat = torch.zeros_like(loss)
        return _State(x0, r, loss, damping, 2 * torch.ones_like(loss), flat, self._goes_on(loss))

    def _goes_on(self, loss: Tensor) -> Tensor:
        return loss > self.loss_tolerance

    def _iterate(self, residuals: Function, jacobian: Function, old: _State) -> _State:
        """One Jacobian, and steps of growing damping until one is accepted or all gave up."""
        slopes = jacobian(old.x)
        system = _System(slopes, old.residuals)
        state, waiting = old, old.is_active
        while bool(waiting.any()):
            step, predicted = system.step(state.damping)
            x = state.x + torch.where(waiting[:, None], step, 0.0)
            r = residuals(x)
            loss = r.square().mean(dim=-1)
            gain = (old.loss - loss) / predicted
            accepted = waiting & (loss < old.loss) & torch.isfinite(gain)
            state = self._updated(state, waiting, accepted, gain, x, r, loss)
            waiting = waiting & ~accepted & (state.damping <= self.max_damping)
        decrease = 1 - state.loss / old.loss
        flat = torch.where(decrease < self.relative_tolerance, state.num_flat + 1, 0.0)
        stuck = (state.damping > self.max_damping) | (flat >= 2)
        going = old.is_active & self._goes_on(state.loss) & ~stuck
        return _State(
            state.x, state.residuals, state.loss, state.damping, state.growth, flat, going
        )

    def _updated(
        self,
        state: _State,
        waiting: Tensor,
        accepted: Tensor,
        gain: Tensor,
        x: Tensor,
        r: Tensor,
        loss: Tensor,
    ) -> _State:
        shrunk = state.damping * (1 - (2 * gain - 1) ** 3).clamp(min=1 / 3)
        rejected = waiting & ~accepted
        damping = torch.where(accepted, shrunk, state.damping)
        damping = torch.where(rejected, state.damping * state.growth, damping)
        growth = torch.where(accepted, 2.0, torch.where(rejected, 2 * state.growth, state.growth))
        return _State(
            torch.where(accepted[:, None], x, state.x),
            torch.where(accepted[:, None], r, state.residuals),
            torch.where(accepted, loss, state.loss),
            damping,
            growth,
            state.num_flat,
            state.is_active,
        )

    def _status(self, state: _State) -> tuple[str, ...]:
        reached = (~self._goes_on(state.loss)).tolist()
        ended = (~state.is_active).tolist()
        return tuple(
            "converged" if good else "stalled" if end else "max_iterations"
            for good, end in zip(reached, ended, strict=True)
        )


@dataclass(frozen=True)
class _State:
    x: Tensor
    residuals: Tensor
    loss: Tensor
    damping: Tensor
    growth: Tensor
    num_flat: Tensor
    is_active: Tensor


class _System:
    """The damped normal equations of one Jacobian, for any damping."""

    def __init__(self, jacobian: Tensor, residuals: Tensor) -> None:
        num_rows, num_unknowns = jacobian.shape[-2:]
        self.jacobian = jacobian
        self.gradient = torch.einsum("bmn,bm->bn", jacobian, residuals) / num_rows
        self.scale = jacobian.square().sum(dim=(-2, -1)) / (num_rows * num_unknowns)
        self.is_wide = num_rows < num_unknowns
        left = jacobian if self.is_wide else jacobian.mT
        self.matrix = left @ left.mT / num_rows
        self.residuals = residuals

    def step(self, damping: Tensor) -> tuple[Tensor, Tensor]:
        """The step and the decrease of the loss that the linear model predicts."""
        shift = (damping * self.scale)[:, None]
        matrix = self.matrix.clone()
        matrix.diagonal(dim1=-2, dim2=-1).add_(shift)
        factor, failed = torch.linalg.cholesky_ex(matrix)
        if self.is_wide:
            scaled = self.residuals[..., None] / self.jacobian.shape[-2]
            inner = torch.cholesky_solve(scaled, factor)
            step = -(self.jacobian.mT @ inner).squeeze(-1)
        else:
            step = -torch.cholesky_solve(self.gradient[..., None], factor).squeeze(-1)
        step = torch.where((failed > 0)[:, None], torch.nan, step)
        # L(x) - L_model(x + step) = step . (damping step - gradient)
        predicted = (step * (shift * step - self.gradient)).sum(dim=-1)
        return step, predicted
