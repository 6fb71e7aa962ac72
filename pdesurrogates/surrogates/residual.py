"""The network predicts the change over one step."""

from __future__ import annotations

from torch import Tensor

from pdesurrogates.core import per_sample
from pdesurrogates.surrogates.base import Batch
from pdesurrogates.surrogates.map import MapSurrogate

__all__ = ["ResidualSurrogate"]


class ResidualSurrogate(MapSurrogate):
    """One-step map that predicts the standardised change over one step.

        u(t + dt) = u(t) + mean_r + std_r N((u(t) - mean_u) / std_u)

    mean_r and std_r are the statistics of u(t + dt) - u(t), so the network works at scale one
    however small the step. This is the honest control for derivative prediction: the forward
    difference with the Euler method is the same map. With `max_dt` the predicted change is that
    per smallest step, and is multiplied by the number of smallest steps in dt.

    Args:
        backbone, dt, max_dt, fields, grid, parameter_names: See `MapSurrogate`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> surrogate = ResidualSurrogate(nn.Identity(), dt=0.1)
        >>> float(surrogate(0.0, torch.ones(1, 1, 8), 0.1).max())
        2.0
    """

    def advance(self, u: Tensor, y: Tensor, dt: float | Tensor | None = None) -> Tensor:
        """u plus the predicted change."""
        return u + self._scaled(y, dt)

    def target(self, batch: Batch) -> Tensor:
        """The difference of the next and the last frame, per smallest step, float64."""
        last, following = batch["history"][:, -1], batch["future"][:, 0]
        change = following.double() - last.double()
        if self.max_dt is None:
            return change
        return change / per_sample(batch["dt"].double() / self.dt, change)
