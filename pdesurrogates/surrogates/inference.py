"""How is the network run at inference? Compiled, as CUDA graphs, in a lower precision."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from pdesurrogates.surrogates.base import Surrogate
from pdesurrogates.surrogates.stochastic import StochasticSurrogate

__all__ = ["accelerate"]

AnySurrogate = TypeVar("AnySurrogate", bound=Surrogate)
_LOW_PRECISIONS = (torch.bfloat16, torch.float16)


def accelerate(
    surrogate: AnySurrogate,
    *,
    compile: bool = False,
    cuda_graphs: bool = False,
    dtype: torch.dtype | None = None,
) -> AnySurrogate:
    """The same surrogate (shared weights) with another way to run its network; for inference.

    Only the network changes. The state, the normalisers, the steppers and the arithmetic of
    samplers stay in the precision of the state and of the weights:

        y = mean_y + std_y float32( N_low( (u - mean_u) / std_u ) )

    The lower precision is that of autocast: linear layers and convolutions compute in `dtype`
    with weights kept in float32; embeddings of conditions, softmax, the sums of norms and the
    spectral layers of this package compute in float32. Every new shape of the input compiles
    again (seconds to a minute), so use few batch sizes and grids.

    The original is left as it was. A view can be accelerated again: the new options replace the
    old ones, none of them gives the plain surrogate. Saving a view saves the surrogate.

    Args:
        surrogate: Any surrogate whose network has float32 weights for a lower `dtype`.
        compile: Compile the network (`torch.compile`).
        cuda_graphs: Compile it and replay its kernels as CUDA graphs, which removes the time to
            launch them; pays for small networks and batches. Needs a CUDA device.
        dtype: `torch.bfloat16` or `torch.float16` for the network; `None` leaves its precision.
            bfloat16 keeps 8 bits, a relative error of 0.4 % per layer; float16 keeps 11 bits and
            overflows at 65504.

    Returns:
        A view of the same class.

    Raises:
        ValueError: If CUDA graphs are asked for on another device, `dtype` is none of the two,
            the weights are in float64, or the precision hides noise that the network must see.

    Example:
        >>> surrogate = Surrogate(nn.Linear(8, 8, dtype=torch.float32), dt=0.1)
        >>> fast = accelerate(surrogate, dtype=torch.bfloat16)
        >>> fast.backbone is surrogate.backbone
        True
    """
    weight = next(surrogate.backbone.parameters(), None)
    device = torch.device("cpu") if weight is None else weight.device
    if cuda_graphs and device.type != "cuda":
        raise ValueError(
            f"accelerate: `cuda_graphs` needs a surrogate on a CUDA device, got one on {device}; "
            "move it first with surrogate.to('cuda'), or use compile=True, which serves every "
            "device."
        )
    if dtype is not None:
        _check_lower(surrogate, dtype, torch.float32 if weight is None else weight.dtype)
    view = copy.copy(surrogate)
    if compile or cuda_graphs or dtype is not None:
        view.run_network = _network_call(dtype, compile or cuda_graphs, cuda_graphs)
    else:
        view.__dict__.pop("run_network", None)
    return view


def _check_lower(surrogate: Surrogate, dtype: torch.dtype, own: torch.dtype) -> None:
    if dtype not in _LOW_PRECISIONS:
        raise ValueError(
            "accelerate: `dtype` must be torch.bfloat16, torch.float16 or None, got "
            f"{dtype}; for float64 convert the surrogate with surrogate.double()."
        )
    if own != torch.float32:
        raise ValueError(
            f"accelerate: `dtype` lowers the precision of a network in float32, got one in {own}; "
            "convert it first with surrogate.float()."
        )
    if isinstance(surrogate, StochasticSurrogate):
        surrogate.check_precision(dtype)


def _network_call(
    dtype: torch.dtype | None, is_compiled: bool, as_cuda_graphs: bool
) -> Callable[..., Tensor]:
    """(network, *inputs) -> output in the precision of the inputs.

    The network is an argument, not kept: a copy of the view runs its own.
    """

    def compute(network: nn.Module, *inputs: Tensor) -> Tensor:
        if dtype is None:
            return network(*inputs)
        # Each weight is used once per call: caching its low-precision copy saves nothing.
        with torch.autocast(inputs[0].device.type, dtype=dtype, cache_enabled=False):
            return network(*inputs).to(inputs[0].dtype)

    if not is_compiled:
        return compute
    mode = "reduce-overhead" if as_cuda_graphs else None
    compiled: Callable[..., Tensor] = torch.compile(compute, dynamic=False, mode=mode)
    if not as_cuda_graphs:
        return compiled

    def replay(network: nn.Module, *inputs: Tensor) -> Tensor:
        # The graph answers in memory of its own, which the next call overwrites.
        torch.compiler.cudagraph_mark_step_begin()
        return compiled(network, *inputs).clone()

    return replay
