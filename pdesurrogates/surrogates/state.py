"""The network predicts the next state."""

from __future__ import annotations

from torch import Tensor

from pdesurrogates.surrogates.map import MapSurrogate

__all__ = ["StateSurrogate"]


class StateSurrogate(MapSurrogate):
    """One-step map that predicts the next state itself.

        u(t + dt) = mean + std N((u(t) - mean_u) / std_u)

    The baseline of most papers. It must learn the identity first: with small steps u(t + dt) is
    nearly u(t), and the loss is blind to the small change that matters.

    Args:
        backbone, dt, fields, grid, parameter_names: See `Surrogate`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> surrogate = StateSurrogate(nn.Identity(), dt=0.1)
        >>> surrogate(0.0, torch.ones(1, 1, 8), 0.1).shape
        torch.Size([1, 1, 8])
    """

    def predict_next(self, u: Tensor, conditioning: Tensor | None = None) -> Tensor:
        """u -> u at t + dt, unchecked."""
        return self.predict(u, conditioning)

    def target(self, batch: dict[str, Tensor]) -> Tensor:
        """The next frame, float64."""
        return batch["future"][:, 0].double()
