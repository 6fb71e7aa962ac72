"""Several networks of one kind as one, each for its part of the batch."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.func import functional_call

__all__ = ["SubNetworks"]


class SubNetworks(nn.Module):
    """`number` networks with weights of their own, each for an equal part of the batch.

        y = cat( N_1(u_1), .., N_S(u_S) ),   u = cat(u_1, .., u_S) along the batch

    All begin with the weights of `network`, which is the first of them. Parts have equal size, so
    with `grouped` all networks run in one vectorised call (`torch.func.vmap`), which saves
    kernel launches on accelerators; on a CPU the loop is usually as fast.

    Args:
        network: The first network.
        number: How many there are.
        grouped: Whether they run in one call.

    Shape:
        u: (number batch, in_channels, *space) -> (number batch, out_channels, *space)
        condition: (number batch, num_conditions)

    Raises:
        ValueError: If the batch is not a multiple of `number`.

    Example:
        >>> networks = SubNetworks(nn.Conv1d(1, 1, 1), 4)
        >>> networks(torch.zeros(8, 1, 5)).shape
        torch.Size([8, 1, 5])
        >>> sum(p.numel() for p in networks.parameters())
        8
    """

    def __init__(self, network: nn.Module, number: int, *, grouped: bool = False) -> None:
        super().__init__()
        if number < 1:
            raise ValueError(f"SubNetworks: `number` must be at least 1, got {number}.")
        self.number = number
        self.grouped = grouped
        others = (copy.deepcopy(network) for _ in range(number - 1))
        self.networks = nn.ModuleList([network, *others])
        for name in ("in_channels", "out_channels", "num_conditions", "dim"):
            if hasattr(network, name):
                setattr(self, name, getattr(network, name))
        self.is_resolution_free = bool(getattr(network, "is_resolution_free", True))

    @property
    def network(self) -> nn.Module:
        """The first network."""
        return self.networks[0]

    def forward(self, u: Tensor, *conditions: Tensor) -> Tensor:
        if u.shape[0] % self.number:
            raise ValueError(
                f"SubNetworks: the batch must be a multiple of {self.number} networks, got "
                f"{u.shape[0]}; fold the sub-grids into the batch, sub-grid slowest."
            )
        if self.grouped:
            return self._grouped(u, *conditions)
        parts = zip(*(each.chunk(self.number) for each in (u, *conditions)), strict=True)
        return torch.cat(
            [network(*part) for network, part in zip(self.networks, parts, strict=True)]
        )

    def _grouped(self, *inputs: Tensor) -> Tensor:
        first = dict(self.network.named_parameters()) | dict(self.network.named_buffers())
        states = [{**dict(n.named_parameters()), **dict(n.named_buffers())} for n in self.networks]
        stacked = {name: torch.stack([state[name] for state in states]) for name in first}

        def one(state: dict[str, Tensor], *part: Tensor) -> Tensor:
            return functional_call(self.network, state, part)

        parts = [each.unflatten(0, (self.number, -1)) for each in inputs]
        return torch.func.vmap(one, randomness="different")(stacked, *parts).flatten(0, 1)
