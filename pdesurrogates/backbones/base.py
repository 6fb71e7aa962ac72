"""What every backbone is: channels and conditions in, channels out, one precision inside."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn

__all__ = ["Backbone"]


class Backbone(nn.Module, ABC):
    """A network from fields to fields, told numbers about the sample if it asks for them.

    Subclasses write `compute`; `forward` checks the input, computes in the precision of the
    parameters and answers in the precision of the input. Constructor arguments are plain and kept
    under their own names, so that a surrogate with this network can be saved.

    `condition` holds numbers of order one per sample: standardised PDE parameters, the step in
    units of the trained one, the logarithm of a noise level.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        dim: Number of space axes.
        num_conditions: Numbers per sample in `condition`, 0 for a network that takes none.

    Shape:
        u: (batch, in_channels, *space) -> (batch, out_channels, *space)
        condition: (batch, num_conditions), or `None` if there are none

    Raises:
        ValueError: If `u` or `condition` has another rank or number of channels, or the grid is
            too small for the network.
        TypeError: If `u` is not real floating point.
    """

    is_resolution_free: bool = False
    """Whether the layers are made for lengths, not for points: another grid is the same map."""

    def __init__(
        self, in_channels: int, out_channels: int, *, dim: int, num_conditions: int = 0
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.dim = dim
        self.num_conditions = num_conditions
        self.check_counts({"in_channels": in_channels, "out_channels": out_channels})
        self.check_counts({"num_conditions": num_conditions}, at_least=0)
        if dim not in (1, 2, 3):
            raise ValueError(f"{type(self).__name__}: `dim` must be 1, 2 or 3, got {dim}.")

    @abstractmethod
    def compute(self, u: Tensor, condition: Tensor | None) -> Tensor:
        """The output for a checked input in the precision of the parameters."""

    def forward(self, u: Tensor, condition: Tensor | None = None) -> Tensor:
        self.check_input(u)
        self.check_condition(u, condition)
        dtype = next(self.parameters()).dtype
        if condition is not None:
            condition = condition.to(dtype)
        return self.compute(u.to(dtype), condition).to(u.dtype).contiguous()

    def check_grid(self, space: tuple[int, ...]) -> None:
        """Refuse a grid that is too small for the network, naming the smallest."""

    def check_counts(self, counts: Mapping[str, int], *, at_least: int = 1) -> None:
        """Refuse arguments that are not integers of at least `at_least`."""
        for name, count in counts.items():
            if isinstance(count, bool) or int(count) != count or count < at_least:
                raise ValueError(
                    f"{type(self).__name__}: `{name}` must be an integer of at least {at_least}, "
                    f"got {count}."
                )

    def check_input(self, u: Tensor) -> None:
        """Refuse an input of another kind, rank or channel count, or on too small a grid."""
        where = type(self).__name__
        if not u.is_floating_point():
            raise TypeError(
                f"{where}: `u` must be real floating point, got {u.dtype}; give a complex field "
                "as two channels, integers as u.float()."
            )
        if u.ndim == self.dim + 2 and u.shape[1] == self.in_channels:
            self.check_grid(tuple(u.shape[2:]))
            return
        axes = ", ".join("xyz"[: self.dim])
        hint = (
            f"this network has {self.dim} space axes; add missing batch or channel axes with "
            "u[None] or u[:, None]"
            if u.ndim != self.dim + 2
            else "move the channel axis with u.movedim(-1, 1)"
            if u.shape[-1] == self.in_channels
            else f"build the network with in_channels={u.shape[1]}"
        )
        raise ValueError(
            f"{where}: `u` must have shape (batch, channel, {axes}) with {self.in_channels} "
            f"channel(s), got {tuple(u.shape)}; {hint}."
        )

    def check_condition(self, u: Tensor, condition: Tensor | None) -> None:
        """Refuse a condition that is missing, unexpected or of another shape."""
        where, number = type(self).__name__, self.num_conditions
        if condition is None:
            if number:
                raise ValueError(
                    f"{where}: this network needs `condition` of shape (batch, {number}), got "
                    "none; call network(u, condition)."
                )
            return
        if not number:
            raise ValueError(
                f"{where}: this network takes no `condition`, got one of shape "
                f"{tuple(condition.shape)}; build it with num_conditions={condition.shape[-1]}."
            )
        if tuple(condition.shape) != (u.shape[0], number):
            raise ValueError(
                f"{where}: `condition` must have shape (batch, {number}) with the batch of `u`, "
                f"{u.shape[0]}, got {tuple(condition.shape)}."
            )
