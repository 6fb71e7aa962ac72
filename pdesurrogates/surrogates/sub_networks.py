"""Several networks of one kind as one: a part of the batch for each, here or over processes."""

from __future__ import annotations

import copy

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.func import functional_call

__all__ = ["SubNetworks", "distribute"]


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


def distribute[Model: nn.Module](
    surrogate: Model, num_sub_grids: int, group: dist.ProcessGroup | None = None
) -> Model:
    """A view of a `NeuralStagger` whose sub-networks are shared out over processes; inference.

    Process r of R computes the sub-grids r S / R .. (r + 1) S / R - 1 and receives the
    others: one `all_gather` of coarse increments per call. Every process holds the same
    field and the same weights, and ends with the same result.

    Args:
        surrogate: The surrogate, the same in every process.
        num_sub_grids: S, `surrogate.decomposition.num_sub_grids`.
        group: Processes of `torch.distributed`; all when `None`.

    Raises:
        RuntimeError: If `torch.distributed` is not initialised.
        ValueError: If S is not a multiple of the number of processes.
    """
    if not (dist.is_available() and dist.is_initialized()):
        raise RuntimeError(
            "distribute: torch.distributed is not initialised; start the processes with torchrun "
            "and call torch.distributed.init_process_group first."
        )
    size, rank = dist.get_world_size(group), dist.get_rank(group)
    if num_sub_grids % size:
        raise ValueError(
            f"distribute: the number of sub-grids must be a multiple of the processes, got "
            f"{num_sub_grids} sub-grids for {size} processes."
        )
    share = num_sub_grids // size

    def run(network: nn.Module, *inputs: Tensor) -> Tensor:
        own = [each.chunk(size)[rank] for each in inputs]
        if isinstance(network, SubNetworks):
            networks = network.networks[rank * share : (rank + 1) * share]
            parts = zip(*(each.chunk(share) for each in own), strict=True)
            y = torch.cat([net(*part) for net, part in zip(networks, parts, strict=True)])
        else:
            y = network(*own)
        gathered = [torch.empty_like(y) for _ in range(size)]
        dist.all_gather(gathered, y.contiguous(), group=group)
        return torch.cat(gathered)

    view = copy.copy(surrogate)
    view.run_network = run
    return view
