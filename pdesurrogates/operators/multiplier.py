"""Factors per Fourier mode: products and casts are made once, not in every step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Multiplier", "in_memory_order"]

_KEPT_TENSORS = 32


def in_memory_order(constant: Tensor, like: Tensor, *, num_axes: int) -> Tensor:
    """A copy of `constant` whose last `num_axes` axes lie in memory as those of `like` do.

    A Fourier transform leaves the transformed axis innermost, whichever it is; a constant in
    another order would make every product with it several times slower.
    """
    strides = like.stride()[like.ndim - num_axes :]
    first = constant.ndim - num_axes
    inner = sorted(range(num_axes), key=lambda axis: -strides[axis])
    order = [*range(first), *(first + axis for axis in inner)]
    back = sorted(range(constant.ndim), key=order.__getitem__)
    return constant.permute(order).contiguous().permute(back)


class Multiplier:
    """A factor per mode, f(k), that acts on coefficients as u_hat(k) -> f(k) u_hat(k).

    It is built in double precision and cast once per precision, device and memory order. Where f
    is real it acts on real and imaginary parts alike, at half the work of a complex product.

    Args:
        build: Gives f on all modes, float64 or complex128.
        restrict: Takes an array on all modes to the modes that dealiasing keeps.
        num_axes: Number of mode axes.
    """

    def __init__(
        self,
        build: Callable[[], Tensor],
        restrict: Callable[[Tensor], Tensor],
        num_axes: int,
    ) -> None:
        self._build = build
        self._restrict = restrict
        self._num_axes = num_axes
        self._products: dict[Multiplier, Multiplier] = {}
        self._tensors: dict[tuple, Tensor] = {}

    def times(self, other: Multiplier) -> Multiplier:
        """The product of both, the same object every time."""
        product = self._products.get(other)
        if product is None:
            product = self._products[other] = Multiplier(
                lambda: self._build() * other._build(), self._restrict, self._num_axes
            )
        return product

    def tensor(self, like: Tensor, *, is_restricted: bool = False, scale: float = 1.0) -> Tensor:
        """scale f in the precision, device and memory order of the coefficients `like`.

        Returns:
            (*modes) complex, or (*modes, 2) real with every entry twice; restricted to the modes
            that dealiasing keeps where `is_restricted`.
        """
        key = (like.dtype, like.device, like.stride(-1), is_restricted, scale)
        known = self._tensors.get(key)
        if known is None:
            if len(self._tensors) >= _KEPT_TENSORS:
                self._tensors.clear()
            # A tensor born in inference mode could never be used for training later.
            with torch.inference_mode(False), torch.no_grad():
                if scale == 1:
                    known = self._cast(like, is_restricted)
                else:
                    known = scale * self.tensor(like, is_restricted=is_restricted)
            self._tensors[key] = known
        return known

    def _cast(self, like: Tensor, is_restricted: bool) -> Tensor:
        constant = self._build()
        if constant.is_complex() and not bool(constant.imag.any()):
            constant = constant.real
        constant = self._restrict(constant) if is_restricted else constant
        constant = in_memory_order(constant, like, num_axes=self._num_axes)
        if constant.is_complex():
            return constant.to(device=like.device, dtype=like.dtype)
        constant = constant.to(device=like.device, dtype=like.dtype.to_real())
        return torch.view_as_real(torch.complex(constant, constant))

    def applied(
        self,
        hat: Tensor,
        total: Tensor | None = None,
        *,
        is_restricted: bool = False,
        scale: float = 1.0,
    ) -> Tensor:
        """total + scale f hat, without `total` scale f hat."""
        if total is None:
            constant = self.tensor(hat, is_restricted=is_restricted, scale=scale)
            if constant.is_complex():
                return constant * hat
            return torch.view_as_complex(constant * torch.view_as_real(hat))
        constant = self.tensor(hat, is_restricted=is_restricted)
        if constant.is_complex():
            return torch.addcmul(total, constant, hat, value=scale)
        return torch.view_as_complex(
            torch.addcmul(
                torch.view_as_real(total), constant, torch.view_as_real(hat), value=scale
            )
        )
