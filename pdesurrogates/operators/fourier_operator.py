"""A linear operator that acts on each Fourier mode by itself: what ETD and IMEX steppers need."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pdesurrogates.operators.multiplier import in_memory_order
from pdesurrogates.operators.phi import phi, phi_matrix

__all__ = ["FourierOperator"]


class FourierOperator:
    """L with (L u)_hat(k) = symbol(k) u_hat(k), a number per channel or a matrix across channels.

    Functions of L are computed once in complex128 and cast; they stay complex wherever the symbol
    is (odd derivatives), and become real where it is real.

    Args:
        symbol: (channel, *modes), or (batch, channel, *modes) for one operator per sample; with
            coupled channels (channel, channel, *modes) or (batch, channel, channel, *modes).
        is_coupled: Whether the symbol is a matrix across channels.
        dim: Number of mode axes.
    """

    def __init__(self, symbol: Tensor, *, is_coupled: bool, dim: int) -> None:
        self.symbol = symbol.to(torch.complex128)
        self.is_coupled = is_coupled
        self.is_real = not bool((self.symbol.imag != 0).any())
        self.dim = dim

    @classmethod
    def from_columns(cls, columns: list[Tensor], *, dim: int) -> FourierOperator:
        """From L applied to each unit channel: columns[j] is (batch, channel, *modes)."""
        size = len(columns)
        matrix = torch.stack(torch.broadcast_tensors(*columns), dim=2)
        off_diagonal = ~torch.eye(size, dtype=torch.bool).reshape(1, size, size, *(1,) * dim)
        is_coupled = bool((matrix * off_diagonal).any())
        if not is_coupled:
            matrix = torch.stack([matrix[:, c, c] for c in range(size)], dim=1)
        return cls(matrix, is_coupled=is_coupled, dim=dim)

    @property
    def eigenvalues(self) -> Tensor:
        """Eigenvalues of L, flattened [1/time]."""
        if not self.is_coupled:
            return self.symbol.flatten()
        return torch.linalg.eigvals(self._matrices_last()).flatten()

    def _matrices_last(self) -> Tensor:
        first = self.symbol.ndim - self.dim - 2
        return self.symbol.movedim((first, first + 1), (-2, -1))

    def function(
        self, scalar: Callable[[Tensor], Tensor], matrix: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """f(L) as a symbol, by `scalar` per mode or by `matrix` on (..., C, C) where coupled."""
        if not self.is_coupled:
            result = scalar(self.symbol)
        else:
            first = self.symbol.ndim - self.dim - 2
            result = matrix(self._matrices_last()).movedim((-2, -1), (first, first + 1))
        return result.real.contiguous() if self.is_real else result.contiguous()

    def phi(self, order: int, dt: float | Tensor) -> Tensor:
        """phi_k(dt L) as a symbol; `dt` a number or one per sample (batch,) [time]."""
        if isinstance(dt, Tensor) and dt.ndim:
            scaled = FourierOperator(
                self.symbol
                * dt.to(self.symbol.device, torch.float64).reshape(
                    -1, *(1,) * (self.dim + 1 + self.is_coupled)
                ),
                is_coupled=self.is_coupled,
                dim=self.dim,
            )
            return scaled.phi(order, 1.0)
        return self.function(lambda z: phi(order, dt * z), lambda z: phi_matrix(order, dt * z))

    def multiply(self, coefficients: Tensor, hat: Tensor) -> Tensor:
        """A function of L times the coefficients (batch, channel, *modes)."""
        if not self.is_coupled:
            return coefficients * hat
        return (coefficients * hat.unsqueeze(-self.dim - 2)).sum(dim=-self.dim - 1)

    def laid_out(self, coefficients: Tensor, like: Tensor) -> Tensor:
        """A function of L whose mode axes lie in memory as those of the state `like` do."""
        return in_memory_order(coefficients, like, num_axes=self.dim)

    def apply(self, hat: Tensor) -> Tensor:
        """L u in modes."""
        return self.multiply(self.symbol.to(dtype=hat.dtype, device=hat.device), hat)
