"""What networks of labels and times must be: inputs, outputs, a start at rest."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pdesurrogates.operators import JetDerivatives, PointDerivatives

__all__ = ["at_rest", "check_networks", "has_taylor_rules", "label_coordinates"]

Network = TypeVar("Network", bound=nn.Module)


def at_rest(network: Network) -> Network:
    """Set the last linear layer of a network to zero, in place: it begins with the output 0.

    A displacement should: with F = 1 + d(displacement)/dX a random one may begin with crossing
    characteristics, from which training does not recover.

    Returns:
        The same network.

    Raises:
        ValueError: If there is no linear layer.
    """
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise ValueError(f"at_rest: {type(network).__name__} has no linear layer to set to zero.")
    nn.init.zeros_(layers[-1].weight)
    if layers[-1].bias is not None:
        nn.init.zeros_(layers[-1].bias)
    return network


def label_coordinates(d: PointDerivatives, period: float | None) -> Any:
    """What the networks take: (X, t), or (cos 2 pi X/L, sin 2 pi X/L, t) with a period L."""
    if period is None:
        return d.coordinates()
    phase = d.points * (2 * math.pi / period)
    return torch.cat((torch.cos(phase), torch.sin(phase), d.times), dim=-1)


def check_networks(
    displacement: nn.Module, state: nn.Module, num_channels: int, period: float | None
) -> None:
    """Refuse networks that share weights, or that take or give other numbers of channels."""
    taken = 2 if period is None else 3
    inputs = "(X, t)" if period is None else "(cos 2 pi X/L, sin 2 pi X/L, t) of a periodic domain"
    expected = (("displacement", displacement, 1), ("state", state, num_channels))
    for name, network, given in expected:
        if not isinstance(network, nn.Module):
            raise TypeError(
                f"LagrangianPINN: `{name}` must be a torch.nn.Module, got "
                f"{type(network).__name__}."
            )
        found = _num_inputs(network)
        if found is not None and found != taken:
            raise ValueError(
                f"LagrangianPINN: `{name}` must take {taken} channels, {inputs}, but takes "
                f"{found}; build it with in_channels={taken}"
                + (", or give `period`." if period is None and found == 3 else ".")
            )
        out = getattr(network, "out_channels", given)
        if out != given:
            raise ValueError(
                f"LagrangianPINN: `{name}` must give {given} channel(s), but gives {out}."
            )
    own = {id(parameter) for parameter in displacement.parameters()}
    if any(id(parameter) in own for parameter in state.parameters()):
        raise ValueError(
            "LagrangianPINN: `displacement` and `state` share weights; build two networks."
        )


def has_taylor_rules(function: Callable[[PointDerivatives], Any], like: Tensor) -> bool:
    """Whether a function of a provider's points can be computed in Taylor arithmetic.

    Derivatives are the same with or without; automatic differentiation takes more functions and
    more time.
    """
    point = torch.full((1, 1, 1), 0.5, dtype=like.dtype, device=like.device)
    try:
        with torch.no_grad():
            function(JetDerivatives(point, point.clone()))
    except (AttributeError, TypeError):
        return False
    return True


def _num_inputs(network: nn.Module) -> int | None:
    """Input channels, where the network says it or begins with a linear layer."""
    if isinstance(network, nn.Sequential) and len(network):
        return _num_inputs(network[0])
    if isinstance(network, nn.Linear):
        return network.in_features
    found = getattr(network, "in_channels", None)
    return found if isinstance(found, int) else None
