"""The network predicts the change over one step."""

from __future__ import annotations

from torch import Tensor

from pdesurrogates.surrogates.map import MapSurrogate

__all__ = ["ResidualSurrogate"]


class ResidualSurrogate(MapSurrogate):
    """One-step map that predicts the standardised change over one step.

        u(t + dt) = u(t) + mean_r + std_r N((u(t) - mean_u) / std_u)

    mean_r and std_r are the statistics of u(t + dt) - u(t), so the network works at scale one
    however small the step. This is the honest control for derivative prediction: the forward
    difference with the Euler method is the same map.

    Args:
        backbone, dt, fields, grid, parameter_names: See `Surrogate`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> surrogate = ResidualSurrogate(nn.Identity(), dt=0.1)
        >>> float(surrogate(0.0, torch.ones(1, 1, 8), 0.1).max())
        2.0
    """

    def predict_next(self, u: Tensor, conditioning: Tensor | None = None) -> Tensor:
        """u -> u at t + dt, unchecked."""
        return u + self.predict(u, conditioning)

    def target(self, batch: dict[str, Tensor]) -> Tensor:
        """The difference of the next and the last frame, float64."""
        last, following = batch["history"][:, -1], batch["future"][:, 0]
        return following.double() - last.double()
