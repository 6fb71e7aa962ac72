"""Zero mean and unit variance per channel, with statistics from the training split."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

__all__ = ["Normalizer"]


class Normalizer(nn.Module):
    """Affine map per channel: normalize(u) = (u - mean) / std, and back.

    Args:
        mean: Mean per channel [unit of the field].
        std: Standard deviation per channel, positive [unit of the field].

    Shape:
        u: (batch, channel, *space) -> (batch, channel, *space)

    Example:
        >>> normalizer = Normalizer.fit([torch.randn(64, 2, 32)])
        >>> u = torch.randn(4, 2, 32)
        >>> bool(torch.allclose(normalizer.denormalize(normalizer.normalize(u)), u, atol=1e-5))
        True
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float] | Tensor, std: Sequence[float] | Tensor) -> None:
        super().__init__()
        dtype = torch.get_default_dtype()
        center, scale = torch.as_tensor(mean, dtype=dtype), torch.as_tensor(std, dtype=dtype)
        if center.ndim != 1 or center.shape != scale.shape:
            raise ValueError(
                f"Normalizer: `mean` and `std` must both have shape (channel,), got "
                f"{tuple(center.shape)} and {tuple(scale.shape)}."
            )
        if not bool(torch.isfinite(center).all() and (scale > 0).all() and scale.isfinite().all()):
            raise ValueError(
                f"Normalizer: `mean` must be finite and `std` positive and finite, got "
                f"{center.tolist()} and {scale.tolist()}."
            )
        self.register_buffer("mean", center.clone())
        self.register_buffer("std", scale.clone())

    @classmethod
    def identity(cls, num_channels: int) -> Normalizer:
        """Changes nothing: mean 0, standard deviation 1."""
        return cls(torch.zeros(num_channels), torch.ones(num_channels))

    @classmethod
    def fit(cls, batches: Iterable[Tensor]) -> Normalizer:
        """Mean and population standard deviation over all samples and points, in one pass.

        Sums are kept in float64 and merged pairwise, so nothing but one batch is in memory and a
        large mean does not spoil the variance. A channel that never varies gets standard
        deviation 1 and a warning.

        Args:
            batches: States (batch, channel, *space) of the training split only.

        Raises:
            ValueError: If there is no batch, channels differ, or values are not finite.
        """
        count, mean, spread = 0, torch.zeros(0), torch.zeros(0)
        for batch in batches:
            if batch.ndim < 2:
                raise ValueError(
                    f"Normalizer.fit: batches must have shape (batch, channel, *space), got "
                    f"{tuple(batch.shape)}."
                )
            u = batch.detach().to(torch.float64).transpose(0, 1).flatten(1)
            if u.shape[1] == 0:
                continue
            own_mean = u.mean(1)
            own_spread = (u - own_mean[:, None]).square().sum(1)
            if count and own_mean.shape != mean.shape:
                raise ValueError(
                    f"Normalizer.fit: all batches must have {len(mean)} channels, got "
                    f"{len(own_mean)}."
                )
            if not bool(torch.isfinite(own_spread).all()):
                raise ValueError(
                    "Normalizer.fit: states must be finite, got NaN or Inf; find them with "
                    "TrajectoryWindows.check() or `pdesurrogates inspect`."
                )
            if count == 0:
                count, mean, spread = u.shape[1], own_mean, own_spread
                continue
            total = count + u.shape[1]
            shift = own_mean - mean
            spread = spread + own_spread + shift.square() * (count * u.shape[1] / total)
            mean = mean + shift * (u.shape[1] / total)
            count = total
        if count == 0:
            raise ValueError("Normalizer.fit: needs at least one batch of states, got none.")
        std = (spread / count).sqrt()
        still = std <= 1e-12 * mean.abs().clamp(min=torch.finfo(torch.float64).tiny)
        if bool(still.any()):
            warnings.warn(
                f"Normalizer.fit: channels {still.nonzero()[:, 0].tolist()} never vary in these "
                f"{count} values; their standard deviation is set to 1.",
                stacklevel=2,
            )
        return cls(mean, torch.where(still, 1.0, std))

    def normalize(self, u: Tensor) -> Tensor:
        """(u - mean) / std."""
        mean, std = self._like(u)
        return (u - mean) / std

    def denormalize(self, u: Tensor) -> Tensor:
        """mean + std u, the inverse of `normalize`."""
        mean, std = self._like(u)
        return mean + std * u

    def forward(self, u: Tensor) -> Tensor:
        """Same as `normalize`."""
        return self.normalize(u)

    def extra_repr(self) -> str:
        return f"num_channels={len(self.mean)}"

    def _like(self, u: Tensor) -> tuple[Tensor, Tensor]:
        if u.ndim < 2 or u.shape[1] != len(self.mean):
            raise ValueError(
                f"Normalizer: `u` must have shape (batch, {len(self.mean)}, *space), got "
                f"{tuple(u.shape)}; see docs/conventions.md."
            )
        shape = (-1, *(1,) * (u.ndim - 2))
        return self.mean.to(u).reshape(shape), self.std.to(u).reshape(shape)
