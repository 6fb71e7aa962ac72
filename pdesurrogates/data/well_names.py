"""Scalars, vectors and tensors from the names of channels, as The Well groups them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["WellField", "component_names", "well_fields"]


@dataclass(frozen=True)
class WellField:
    """A field of The Well.

    Args:
        name: Its name, without the axes of a component.
        rank: 0 for a scalar, 1 for a vector, 2 for a tensor.
        channels: Its channels.
    """

    name: str
    rank: int
    channels: slice

    @property
    def key(self) -> str:
        """Path of its data set in a file."""
        return f"t{self.rank}_fields/{self.name}"


def component_names(name: str, rank: int, dims: Sequence[str]) -> list[str]:
    """Names of the channels of a field: u; u_x, u_y; u_xx, u_xy, u_yx, u_yy.

    Args:
        name: Name of the field.
        rank: Rank of the field.
        dims: Names of the axes.
    """
    suffixes = ("".join(pair) for pair in itertools.product(dims, repeat=rank))
    return [f"{name}_{suffix}" if rank else name for suffix in suffixes]


def well_fields(names: Sequence[str], dims: Sequence[str]) -> Iterator[WellField]:
    """The fields that the channels `names` make up, in their order.

    Neighbouring channels that carry all the names of a vector's or (beyond one dimension) a
    tensor's components, in axis order, are one field; every other channel is a scalar.

    Args:
        names: Names of the channels.
        dims: Names of the axes.

    Example:
        >>> [field.key for field in well_fields(["p", "u_x", "u_y"], "xy")]
        ['t0_fields/p', 't1_fields/u']
    """
    channel = 0
    while channel < len(names):
        found = WellField(names[channel], 0, slice(channel, channel + 1))
        for rank in (2, 1) if len(dims) > 1 else (1,):
            stem = names[channel].removesuffix("_" + dims[0] * rank)
            wanted = component_names(stem, rank, dims)
            if stem and list(names[channel : channel + len(wanted)]) == wanted:
                found = WellField(stem, rank, slice(channel, channel + len(wanted)))
                break
        yield found
        channel = found.channels.stop
