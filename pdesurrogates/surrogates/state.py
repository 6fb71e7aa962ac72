"""The network predicts the next state."""

from __future__ import annotations

from torch import Tensor

from pdesurrogates.surrogates.base import Batch
from pdesurrogates.surrogates.map import MapSurrogate

__all__ = ["StateSurrogate"]


class StateSurrogate(MapSurrogate):
    """One-step map that predicts the next state itself.

        u(t + dt) = mean + std N((u(t) - mean_u) / std_u)

    The baseline of most papers. It must learn the identity first: with small steps u(t + dt) is
    nearly u(t), and the loss is blind to the small change that matters.

    Args:
        backbone, dt, max_dt, fields, grid, parameter_names: See `MapSurrogate`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> surrogate = StateSurrogate(nn.Identity(), dt=0.1)
        >>> surrogate(0.0, torch.ones(1, 1, 8), 0.1).shape
        torch.Size([1, 1, 8])
    """

    def advance(self, u: Tensor, y: Tensor, dt: float | Tensor | None = None) -> Tensor:
        """The prediction is the next state."""
        return y

    def target(self, batch: Batch) -> Tensor:
        """The next frame, float64."""
        return batch["future"][:, 0].double()
