"""Your own arrays as trajectories: axes are named once, everything else follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.data.base import TrajectoryFile
from pdesurrogates.data.statement import Statement, from_block
from pdesurrogates.data.storage import MemoryBlock

__all__ = ["channel_names", "from_arrays", "parse_axes"]

_WHERE = "from_arrays"
_SPACE = ("x", "y", "z")
_WORDS = {
    "trajectory": "trajectory",
    "sample": "trajectory",
    "batch": "trajectory",
    "time": "time",
    "t": "time",
    "channel": "channel",
    "field": "channel",
    "component": "channel",
    "x": "x",
    "y": "y",
    "z": "z",
}
_NEGLIGIBLE = 1e-6


def from_arrays(
    states: Tensor | np.ndarray,
    *,
    axes: str | Sequence[str],
    times: Sequence[float] | Tensor | np.ndarray | None = None,
    dt: float | None = None,
    coordinates: Mapping[str, Sequence[float] | Tensor | np.ndarray] | None = None,
    grid: Grid | None = None,
    extent: float | Sequence[float] | None = None,
    fields: FieldSpec | Sequence[str] | str | None = None,
    parameters: Mapping[str, float | Sequence[float] | Tensor] | None = None,
    periodic: bool | Sequence[bool] = True,
    drop_repeated_endpoint: bool = False,
    attributes: Mapping[str, object] | None = None,
) -> TrajectoryFile:
    """Trajectories in memory, from an array whose axes you name.

    Space is given by one of `grid`, `coordinates` or `extent`; time by one of `times` or `dt`.
    A complex array becomes two channels, real and imaginary part; an imaginary part below 1e-6 of
    the real one is rounding and is dropped, with a note.

    Args:
        states: The numbers, in any axis order.
        axes: Names of the axes of `states` in their order, e.g. "time x" or
            "trajectory time x channel". Words: trajectory (sample, batch), time (t), channel
            (field, component), x, y, z. Axes that are not named have size one.
        times: Frame times, (time,) or (trajectory, time).
        dt: Distance between frames; the first is at 0.
        coordinates: Axis name to coordinates, e.g. {"x": x}.
        grid: The grid itself.
        extent: Length per axis; the first point is at 0.
        fields: Names of the channels; by default u, or u0, u1, ...
        parameters: Name to a number, or one per trajectory.
        periodic: Whether axes close on themselves, for all or per axis.
        drop_repeated_endpoint: Where the last point of a periodic axis repeats the first, leave
            it out. Otherwise it is reported in `.problems`.
        attributes: Facts to keep with the data.

    Raises:
        ValueError: If axes, shapes, coordinates or times do not fit.

    Example:
        >>> x = torch.arange(8.0) / 8
        >>> file = from_arrays(torch.zeros(3, 8), axes="time x", dt=0.1, coordinates={"x": x})
        >>> file.grid.extent, file.times.tolist()
        ((1.0,), [0.0, 0.1, 0.2])
    """
    try:
        values = torch.as_tensor(states)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{_WHERE}: `states` must be an array of numbers, got {error}; convert it first."
        ) from error
    words = parse_axes(axes, values.ndim, where=_WHERE)
    space = tuple(word for word in _SPACE if word in words)
    arranged = rearrange(values, _pattern(words, space))
    notes: list[str] = []
    arranged, names = _real_channels(arranged, fields, notes)
    statement = Statement(
        times=times,
        dt=dt,
        coordinates=coordinates,
        grid=grid,
        extent=extent,
        parameters=parameters or {},
        periodic=periodic,
        drop_repeated_endpoint=drop_repeated_endpoint,
        attributes=attributes or {},
    )
    shape = tuple(arranged.shape)
    return from_block(MemoryBlock(arranged), names, space, shape, statement, notes=notes)


def parse_axes(axes: str | Sequence[str], ndim: int, *, where: str) -> tuple[str, ...]:
    """Axis names in our words, checked against the number of axes.

    Raises:
        ValueError: If a word is unknown or repeated, the count differs, or time or space lacks.
    """
    given = axes.replace(",", " ").split() if isinstance(axes, str) else list(axes)
    unknown = [word for word in given if word.lower() not in _WORDS]
    if unknown:
        raise ValueError(
            f"{where}: axis name {unknown[0]!r} is not known; use trajectory, time, channel, "
            f"x, y, z."
        )
    words = tuple(_WORDS[word.lower()] for word in given)
    if len(set(words)) != len(words):
        raise ValueError(f"{where}: every axis may be named once, got {' '.join(given)!r}.")
    if len(words) != ndim:
        raise ValueError(
            f"{where}: `axes` names {len(words)} axes ({' '.join(given)!r}), but the array has "
            f'{ndim}; name each of them, e.g. axes="trajectory time x".'
        )
    expected_space = _SPACE[: sum(word in _SPACE for word in words)]
    if "time" not in words or not expected_space:
        raise ValueError(
            f"{where}: `axes` must contain time and at least x, got {' '.join(given)!r}."
        )
    if not set(expected_space) <= set(words):
        raise ValueError(f"{where}: space axes are x, then y, then z; got {' '.join(given)!r}.")
    return words


def _pattern(words: tuple[str, ...], space: tuple[str, ...]) -> str:
    leading = [word if word in words else "1" for word in ("trajectory", "time", "channel")]
    return f"{' '.join(words)} -> {' '.join((*leading, *space))}"


def _real_channels(
    states: Tensor, fields: FieldSpec | Sequence[str] | str | None, notes: list[str]
) -> tuple[Tensor, FieldSpec]:
    """Floating-point channels and their names."""
    split = False
    if states.is_complex():
        real, imaginary = float(states.real.abs().max()), float(states.imag.abs().max())
        if imaginary <= _NEGLIGIBLE * real:
            notes.append(
                f"complex array with an imaginary part of at most {imaginary:.1e}: real part"
            )
            states = states.real
        else:
            states, split = torch.cat([states.real, states.imag], dim=2), True
    if not states.is_floating_point():
        states = states.to(torch.float64)
    if states.dtype not in (torch.float32, torch.float64):
        states = states.to(torch.float32)
    return states, channel_names(fields, states.shape[2], is_complex=split)


def channel_names(
    fields: FieldSpec | Sequence[str] | str | None, count: int, *, is_complex: bool = False
) -> FieldSpec:
    """The names given, else u, or u0, u1, ..., or real and imaginary parts.

    Raises:
        ValueError: If the names given are not `count`.
    """
    if isinstance(fields, FieldSpec):
        spec = fields
    elif fields is not None:
        spec = FieldSpec((fields,) if isinstance(fields, str) else tuple(fields))
    elif is_complex:
        half = count // 2
        tails = ("",) if half == 1 else tuple(str(i) for i in range(half))
        spec = FieldSpec(tuple(part + tail for part in ("real", "imaginary") for tail in tails))
    else:
        spec = FieldSpec(("u",) if count == 1 else tuple(f"u{i}" for i in range(count)))
    if spec.num_channels != count:
        raise ValueError(
            f"{_WHERE}: `fields` must name {count} channels, got {spec.num_channels}: "
            f"{spec.names}."
        )
    return spec
