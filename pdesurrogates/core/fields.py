"""What the channels mean: names and units of the fields of a state."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FieldSpec"]


@dataclass(frozen=True)
class FieldSpec:
    """Names and units of the channels of a state, in channel order.

    Components of a vector are neighbouring channels in axis order and share a prefix
    (`velocity_x`, `velocity_y`), so `channels("velocity")` finds them.

    Args:
        names: One name per channel.
        units: One unit per channel; `None` means dimensionless throughout.

    Example:
        >>> fields = FieldSpec(("density", "velocity_x", "velocity_y"))
        >>> fields.channels("velocity")
        slice(1, 3, None)
    """

    names: tuple[str, ...] = ("u",)
    units: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        names = (self.names,) if isinstance(self.names, str) else tuple(self.names)
        if not names or len(set(names)) != len(names):
            raise ValueError(f"FieldSpec: `names` must be distinct and not empty, got {names}.")
        units = ("1",) * len(names) if self.units is None else tuple(self.units)
        if len(units) != len(names):
            raise ValueError(
                f"FieldSpec: `units` must have one entry per name ({len(names)}), got {units}."
            )
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "units", units)

    @property
    def num_channels(self) -> int:
        """Number of channels of a state."""
        return len(self.names)

    def channels(self, name: str) -> slice:
        """Channels of the field `name`, or of the vector whose components start with `name_`."""
        found = [
            i for i, own in enumerate(self.names) if own == name or own.startswith(f"{name}_")
        ]
        if not found:
            raise ValueError(f"FieldSpec: no field {name!r}; the fields are {self.names}.")
        return slice(found[0], found[-1] + 1)
