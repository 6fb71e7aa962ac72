"""The words everybody uses: time derivative, one-step map, and the checks at public boundaries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

__all__ = [
    "OneStepMap",
    "StatefulStep",
    "TimeDerivative",
    "check_finite",
    "check_state",
    "check_times",
    "per_sample",
]


@runtime_checkable
class TimeDerivative(Protocol):
    """f(t, u) -> du/dt; an equation on a grid, a network, or both together."""

    def __call__(self, t: float | Tensor, u: Tensor, /) -> Tensor: ...


@runtime_checkable
class OneStepMap(Protocol):
    """step(t, u, dt) -> u at t + dt."""

    def __call__(self, t: float | Tensor, u: Tensor, dt: float | Tensor, /) -> Tensor: ...


@runtime_checkable
class StatefulStep(Protocol):
    """A one-step map whose state is more than u: a history, Fourier coefficients, a generator.

    `rollout` starts with `initial_state(t, u0)`, carries what `__call__` returns, and shows the
    world `observe(state)` of shape (batch, channel, *space).
    """

    def initial_state(self, t: float | Tensor, u0: Tensor, /) -> Any: ...

    def __call__(self, t: float | Tensor, state: Any, dt: float | Tensor, /) -> Any: ...

    def observe(self, state: Any, /) -> Tensor: ...


def per_sample(value: float | Tensor, u: Tensor) -> float | Tensor:
    """A number as it is; a (batch,) tensor shaped so that it broadcasts against `u`."""
    if not isinstance(value, Tensor) or value.ndim == 0:
        return value
    if value.ndim != 1:
        raise ValueError(
            "A per-sample quantity must be a number or a tensor (batch,), got "
            f"{tuple(value.shape)}."
        )
    return value.to(dtype=u.real.dtype if u.is_complex() else u.dtype, device=u.device).reshape(
        -1, *(1,) * (u.ndim - 1)
    )


def check_state(
    u: Tensor, num_channels: int, spatial_shape: tuple[int, ...] | None, *, where: str
) -> None:
    """Refuse a state that is not (batch, channel, *space).

    Args:
        u: The state.
        num_channels: Channels it must have.
        spatial_shape: Points per axis, or `None` where any resolution will do.
        where: Name of the caller, for the message.

    Raises:
        TypeError: If `u` is not a tensor.
        ValueError: If the shape is another.
    """
    if not isinstance(u, Tensor):
        raise TypeError(
            f"{where}: `u` must be a torch tensor (batch, channel, *space), got "
            f"{type(u).__name__}; convert it with torch.as_tensor(u)."
        )
    space = ("*space",) if spatial_shape is None else spatial_shape
    fits = u.ndim >= 2 and u.shape[1] == num_channels
    if spatial_shape is not None:
        fits = fits and tuple(u.shape[2:]) == spatial_shape
    if not fits:
        expected = (num_channels, *space)
        lacks_batch = spatial_shape is not None and tuple(u.shape) == expected
        lacks_channel = spatial_shape is not None and tuple(u.shape[1:]) == spatial_shape
        hint = (
            "add a batch axis with u[None]"
            if lacks_batch
            else "add a channel axis with u[:, None]"
            if lacks_channel and num_channels == 1
            else "see docs/conventions.md"
        )
        raise ValueError(
            f"{where}: `u` must have shape (batch, channel, *space) = "
            f"(batch, {', '.join(map(str, expected))}), got {tuple(u.shape)}; {hint}."
        )


def check_finite(u: Tensor, *, where: str, what: str = "`u`") -> None:
    """Refuse NaN and Inf, naming the first bad entry."""
    bad = ~torch.isfinite(u)
    if bool(bad.any()):
        first = tuple(int(i) for i in bad.nonzero()[0])
        raise ValueError(
            f"{where}: {what} must be finite, got {int(bad.sum())} NaN or Inf of {u.numel()} "
            f"entries, the first at index {first}; remove or repair these samples."
        )


def check_times(times: Sequence[float] | Tensor, *, where: str, at_least: int = 1) -> list[float]:
    """Strictly increasing finite times as Python floats."""
    if isinstance(times, Tensor) and times.ndim != 1:
        raise ValueError(f"{where}: `times` must be one-dimensional, got {tuple(times.shape)}.")
    values = [float(t) for t in (times.tolist() if isinstance(times, Tensor) else times)]
    if len(values) < at_least:
        raise ValueError(f"{where}: `times` must hold at least {at_least} entries, got {values}.")
    for n, t in enumerate(values):
        if not math.isfinite(t):
            raise ValueError(f"{where}: `times` must be finite, got {t} at index {n}.")
        if n and t <= values[n - 1]:
            raise ValueError(
                f"{where}: `times` must increase strictly, got {values[n - 1]} then {t} at index "
                f"{n}; sort them and drop repeats."
            )
    return values
