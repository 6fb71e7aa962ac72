"""L-BFGS for the weights of a step, where a Jacobian would not fit into memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pdesurrogates.neural_fields.fitting import Draw, Fit, Optimiser, mean_squares

__all__ = ["LBFGS"]


@dataclass(frozen=True)
class LBFGS(Optimiser):
    """Quasi-Newton descent at the points of one draw, with a strong Wolfe line search.

    For more weights than `GaussNewton` can take. Use float64: it ends where rounding hides the
    decrease. The sets of weights of a batch share one line search; give it one set.

    Args:
        max_iterations: Largest number of directions per step.
        history: Steps and slopes remembered.
        relative_tolerance: Ends when an iteration lowers the loss by less than this, relatively.
    """

    max_iterations: int = 500
    history: int = 50
    relative_tolerance: float = 1e-9

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
        x = weights.clone().requires_grad_()
        best, lowest = weights, weights.new_full((len(weights),), torch.inf)
        optimiser = torch.optim.LBFGS(
            [x],
            max_iter=1,
            max_eval=100,
            history_size=self.history,
            tolerance_grad=0.0,
            tolerance_change=0.0,
            line_search_fn="strong_wolfe",
        )

        def loss() -> Tensor:
            optimiser.zero_grad()
            with torch.enable_grad():
                total = torch.stack(tuple(mean_squares(module, terms, x).values())).sum()
                total.backward()
            return total.detach()

        start = loss()
        if not bool(torch.isfinite(start)):
            raise ValueError("LBFGS: the loss at the start is not finite; check the weights.")
        last, count, status = float(start), 0, "max_iterations"
        while count < self.max_iterations and status == "max_iterations":
            optimiser.step(loss)
            count += 1
            with torch.no_grad():
                parts = mean_squares(module, terms, x.detach())
                now = torch.stack(tuple(parts.values())).sum(dim=0)
            better = now < lowest
            best = torch.where(better[:, None], x.detach(), best)
            lowest = torch.where(better, now, lowest)
            total = float(now.sum())
            if float(now.max()) <= tolerance:
                status = "converged"
            elif not last - total > self.relative_tolerance * last:
                status = "stalled"
            last = total
        parts = mean_squares(module, terms, best)
        return Fit(best, lowest, (status,) * len(best), count, None, parts)
