"""Finding the weights of one step: Gauss-Newton for small networks, Adam for any."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from pdesurrogates.linear import LevenbergMarquardt, ParameterVector, PointwiseResiduals

__all__ = ["Adam", "Draw", "Fit", "GaussNewton", "Optimiser", "Term", "mean_squares"]


@dataclass(frozen=True)
class Term:
    """A part of a loss: weight times the mean over points and components of residual^2.

    Args:
        residual: (field, *data) -> (1, point, component). `field` maps points (1, point, dim),
            tensors or jets, to values; data come as (1, point, ...). The residual at a point
            must depend on the data of that point only, and be made of functions that
            `torch.func` takes.
        data: Tensors (batch, point, ...), the batch being sets of weights; 1 is shared by all.
        weight: A number, or a tensor (batch or 1, 1 or point, component).
    """

    residual: Callable[..., Tensor]
    data: tuple[Tensor, ...]
    weight: float | Tensor = 1.0


Draw = Callable[[int], Mapping[str, Term]]
"""Terms at newly drawn points: a number that names the draw -> terms by name; 0 is the fixed
set that losses are reported for."""


@dataclass(frozen=True)
class Fit:
    """What an optimiser found.

    Args:
        weights: Best weights (batch, unknown).
        loss: Sum of the terms there (batch,).
        status: Per set of weights "converged" (loss below the tolerance), "stalled" (no progress
            any more) or "max_iterations".
        num_iterations: Iterations used.
        damping: Last damping (batch,) of Gauss-Newton, a start for the next step.
        parts: Value of each term (batch,).
    """

    weights: Tensor
    loss: Tensor
    status: tuple[str, ...]
    num_iterations: int
    damping: Tensor | None = None
    parts: dict[str, Tensor] = field(default_factory=dict)


class Optimiser:
    """Minimises the terms of a step over the weights of a module."""

    def for_start(self) -> Optimiser:
        """The same with more iterations, for a fit from random weights."""
        return self

    def fit(
        self,
        module: nn.Module,
        draw: Draw,
        weights: Tensor,
        *,
        tolerance: float,
        damping: Tensor | None = None,
    ) -> Fit:
        """Minimise from `weights`.

        Args:
            module: The formula of the field.
            draw: Terms at newly drawn points.
            weights: Start (batch, unknown), in the order of `ParameterVector`.
            tolerance: A loss that is good enough.
            damping: Start of the damping, for optimisers that have one.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class GaussNewton(Optimiser):
    """Levenberg-Marquardt at the points of one draw; see `linear.LevenbergMarquardt`.

    A Jacobian has a row per residual and a column per weight: for some thousand weights, in
    float64. Every set of weights of a batch is a problem of its own.

    Args:
        max_iterations: Largest number of Jacobians per step.
        initial_iterations: The same for the fit of the initial state, from random weights.
        initial_damping: Damping at its start; small ones get stuck far from the solution.
        step_damping: Damping at the start of every step; by default the last one of the step
            before. That is often so small that the next fit starts with steps too long, and lets
            weights wander that the points do not determine: 1e-4 took a third of the iterations.
        relative_tolerance: See `LevenbergMarquardt`.
        max_damping: See `LevenbergMarquardt`.
        chunk_size: Points per block of the Jacobian, where memory is short.
    """

    max_iterations: int = 20
    initial_iterations: int = 200
    initial_damping: float = 1.0
    step_damping: float | None = None
    relative_tolerance: float = 1e-3
    max_damping: float = 1e8
    chunk_size: int | None = None

    def for_start(self) -> GaussNewton:
        return replace(self, max_iterations=self.initial_iterations, step_damping=None)

    def fit(
        self,
        module: nn.Module,
        draw: Draw,
        weights: Tensor,
        *,
        tolerance: float,
        damping: Tensor | None = None,
    ) -> Fit:
        terms = draw(0)
        if self.step_damping is not None:
            damping = weights.new_full((len(weights),), self.step_damping)
        rows = [_rows(module, term, self.chunk_size) for term in terms.values()]
        solver = LevenbergMarquardt(
            max_iterations=self.max_iterations,
            loss_tolerance=tolerance,
            relative_tolerance=self.relative_tolerance,
            initial_damping=self.initial_damping,
            max_damping=self.max_damping,
        )
        found = solver.minimise(
            lambda x: _stacked([r.residuals(x) for r in rows]),
            lambda x: _stacked([r.jacobian(x) for r in rows]),
            weights,
            damping=damping,
        )
        parts = mean_squares(module, terms, found.x)
        return Fit(found.x, found.loss, found.status, found.num_iterations, found.damping, parts)


@dataclass(frozen=True)
class Adam(Optimiser):
    """Adam with a cosine from `learning_rate` to zero, on points drawn anew.

    Whether it is good enough is judged on a fixed set, the first draw, every `check_every`
    iterations; the best weights there are kept. Every set of weights of a batch runs on its own.

    Args:
        num_iterations: Iterations per step, if the tolerance is not reached.
        learning_rate: Its start.
        initial_factor: The initial fit, from random weights, gets so many times the iterations.
        redraw_every: Iterations per draw of points.
        check_every: Iterations between looks at the fixed set.
    """

    num_iterations: int = 500
    learning_rate: float = 1e-3
    initial_factor: int = 10
    redraw_every: int = 10
    check_every: int = 50

    def for_start(self) -> Adam:
        return replace(self, num_iterations=self.initial_factor * self.num_iterations)

    def fit(
        self,
        module: nn.Module,
        draw: Draw,
        weights: Tensor,
        *,
        tolerance: float,
        damping: Tensor | None = None,
    ) -> Fit:
        fixed = draw(0)
        best, loss = weights, _total(module, fixed, weights)
        if not bool(torch.isfinite(loss).all()):
            raise ValueError("Adam: the loss at the start is not finite; check the weights.")
        x = weights.clone().requires_grad_()
        optimiser = torch.optim.Adam([x], lr=self.learning_rate)
        n, terms = 0, fixed
        while n < self.num_iterations and bool((loss > tolerance).any()):
            for group in optimiser.param_groups:
                group["lr"] = self.learning_rate * _cosine(n / self.num_iterations)
            if n % self.redraw_every == 0:
                terms = draw(1 + n // self.redraw_every)
            optimiser.zero_grad()
            with torch.enable_grad():
                sum(
                    mean_squares(module, terms, x).values(), start=x.new_zeros(())
                ).sum().backward()
            optimiser.step()
            n += 1
            if n % self.check_every == 0 or n == self.num_iterations:
                now = _total(module, fixed, x.detach())
                better = now < loss
                best = torch.where(better[:, None], x.detach(), best)
                loss = torch.where(better, now, loss)
                if not bool(torch.isfinite(now).all()):
                    break
        status = tuple(
            "converged" if value <= tolerance else "max_iterations" for value in loss.tolist()
        )
        return Fit(best, loss, status, n, None, mean_squares(module, fixed, best))


def mean_squares(module: nn.Module, terms: Mapping[str, Term], x: Tensor) -> dict[str, Tensor]:
    """Every term of a loss at some weights (batch, unknown) -> (batch,), differentiable."""
    vector = ParameterVector(module)

    def one(own: Tensor, data: tuple[Tensor, ...], weight: Tensor, term: Term) -> Tensor:
        r = term.residual(lambda p: vector.call(own, p), *(entry[None] for entry in data))
        return (weight * r[0].square()).mean()

    result = {}
    for name, term in terms.items():
        data = tuple(entry.expand(len(x), *entry.shape[1:]) for entry in term.data)
        weight = torch.as_tensor(term.weight, dtype=x.dtype, device=x.device)
        weight = weight.expand(len(x), *(weight.shape[1:] or (1, 1)))
        result[name] = torch.func.vmap(lambda o, d, w, term=term: one(o, d, w, term))(
            x, data, weight
        )
    return result


def _total(module: nn.Module, terms: Mapping[str, Term], x: Tensor) -> Tensor:
    with torch.no_grad():
        parts = mean_squares(module, terms, x).values()
        return torch.stack(tuple(parts)).sum(dim=0)


def _rows(module: nn.Module, term: Term, chunk_size: int | None) -> PointwiseResiduals:
    def function(call: Callable, *data: Tensor) -> Tensor:
        return term.residual(call, *(entry[None, None] for entry in data))[0, 0]

    weight = torch.as_tensor(term.weight, dtype=term.data[0].dtype, device=term.data[0].device)
    weights = weight.expand(*(weight.shape or (1, 1, 1)))
    return PointwiseResiduals(module, function, *term.data, weights=weights, chunk_size=chunk_size)


def _stacked(rows: list[Tensor]) -> Tensor:
    """Rows of all terms, scaled so that their mean square is the sum of the terms' means."""
    if len(rows) == 1:
        return rows[0]
    total = sum(r.shape[1] for r in rows)
    return torch.cat([r * math.sqrt(total / r.shape[1]) for r in rows], dim=1)


def _cosine(share: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * share))
