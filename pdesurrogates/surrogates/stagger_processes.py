"""The sub-networks of a staggered surrogate over several processes."""

from __future__ import annotations

import copy

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pdesurrogates.surrogates.stagger import NeuralStagger
from pdesurrogates.surrogates.sub_networks import SubNetworks

__all__ = ["distribute"]


def distribute(surrogate: NeuralStagger, group: dist.ProcessGroup | None = None) -> NeuralStagger:
    """A view of the surrogate whose sub-networks are shared out over processes; for inference.

    Process r of R computes the sub-grids r S / R .. (r + 1) S / R - 1 and receives the
    others: one `all_gather` of coarse increments per call. Every process holds the same
    field and the same weights, and ends with the same result.

    Args:
        surrogate: The surrogate, the same in every process.
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
    num_sub_grids = surrogate.decomposition.num_sub_grids
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
