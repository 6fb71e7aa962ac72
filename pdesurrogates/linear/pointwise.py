"""Residuals that a network leaves at points, with their Jacobian for its weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["ParameterVector", "PointwiseResiduals"]


class ParameterVector:
    """The trainable parameters of a module as one vector.

    Args:
        module: Its parameters that want gradients are the entries, in the order of
            `named_parameters`.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        named = {n: p for n, p in module.named_parameters() if p.requires_grad}
        self.shapes = {name: parameter.shape for name, parameter in named.items()}
        self.sizes = [parameter.numel() for parameter in named.values()]

    def __len__(self) -> int:
        return sum(self.sizes)

    def read(self) -> Tensor:
        """The parameters now (unknown,)."""
        named = dict(self.module.named_parameters())
        return torch.cat([named[name].detach().flatten() for name in self.shapes])

    def write(self, vector: Tensor) -> None:
        """Give the module the parameters of a vector (unknown,)."""
        named = dict(self.module.named_parameters())
        with torch.no_grad():
            for name, value in self.split(vector).items():
                named[name].copy_(value)

    def split(self, vector: Tensor) -> dict[str, Tensor]:
        """The vector as named parameters."""
        pieces = vector.split(self.sizes)
        return {
            name: piece.reshape(shape)
            for (name, shape), piece in zip(self.shapes.items(), pieces, strict=True)
        }

    def call(self, vector: Tensor, *args: Any) -> Any:
        """The module called with the parameters of a vector."""
        return torch.func.functional_call(self.module, self.split(vector), args)


class PointwiseResiduals:
    """Residuals r_i = function(network, data_i) and their Jacobian for the network's weights.

    Every residual depends on the weights and on the data of its own point, so a row of the
    Jacobian is one backward pass through one point, and all points run together.

    Args:
        module: The network. Several sets of weights are evaluated at once.
        function: Residuals of one point: (field, *data_of_the_point) -> (component,), where
            `field` calls the module with the weights on trial. It must be made of functions
            that `torch.func.vmap` takes; derivatives by `JetDerivatives` are.
        data: Tensors (batch, point, ...), the batch being sets of weights; 1 is shared by all.
        weights: Factor of every squared residual, (component,) or (batch, point, component).
        chunk_size: Points per Jacobian block, where memory is short.

    Example:
        >>> network = nn.Linear(1, 1, dtype=torch.float64)
        >>> x = torch.linspace(0, 1, 5, dtype=torch.float64).reshape(1, 5, 1)
        >>> fit = PointwiseResiduals(network, lambda field, x, y: field(x) - y, x, x**2)
        >>> fit.jacobian(fit.vector.read()[None]).shape
        torch.Size([1, 5, 2])
    """

    def __init__(
        self,
        module: nn.Module,
        function: Callable[..., Tensor],
        *data: Tensor,
        weights: Tensor | None = None,
        chunk_size: int | None = None,
    ) -> None:
        counts = {tensor.shape[1] for tensor in data}
        if len(counts) != 1:
            raise ValueError(
                "PointwiseResiduals: all data must have the same number of points (batch, point, "
                f"...), got {[tuple(tensor.shape) for tensor in data]}."
            )
        self.vector = ParameterVector(module)
        self.function = function
        self.data = data
        self.factor = None if weights is None else weights.sqrt()
        self.chunk_size = chunk_size

    def residuals(self, x: Tensor) -> Tensor:
        """Weights (batch, unknown) -> residuals (batch, point * component)."""
        return self._scaled(self._over_points(self._residual)(x, *self._batched(x))).flatten(1)

    def jacobian(self, x: Tensor) -> Tensor:
        """Weights (batch, unknown) -> derivatives (batch, point * component, unknown)."""
        rows = self._over_points(torch.func.jacrev(self._residual))(x, *self._batched(x))
        if self.factor is not None:
            rows = rows * self.factor[..., None]
        return rows.flatten(1, 2)

    def _residual(self, vector: Tensor, *data: Tensor) -> Tensor:
        return self.function(lambda *args: self.vector.call(vector, *args), *data)

    def _over_points(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        in_points = (None, *(0 for _ in self.data))
        over_points = torch.func.vmap(function, in_dims=in_points, chunk_size=self.chunk_size)
        return torch.func.vmap(over_points, in_dims=0)

    def _batched(self, x: Tensor) -> list[Tensor]:
        return [tensor.expand(len(x), *tensor.shape[1:]) for tensor in self.data]

    def _scaled(self, residuals: Tensor) -> Tensor:
        return residuals if self.factor is None else residuals * self.factor
