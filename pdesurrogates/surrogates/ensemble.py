"""Many members from many initial states: rolled out in micro-batches, named by their seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from pdesurrogates.core import StatefulStep
from pdesurrogates.steppers import rollout
from pdesurrogates.surrogates.base import Surrogate
from pdesurrogates.surrogates.stochastic import StochasticSurrogate

__all__ = ["bind_members", "member_seed", "rollout_ensemble", "stream_ensemble"]


def member_seed(seed: int, trajectory: int, member: int) -> int:
    """The seed of one member of one trajectory, a function of these three numbers only.

    Different names give independent streams (NumPy `SeedSequence`).

    Example:
        >>> member_seed(0, 3, 1) == member_seed(0, 3, 1) != member_seed(0, 1, 3)
        True
    """
    if min(seed, trajectory, member) < 0:
        raise ValueError(
            "member_seed: `seed`, `trajectory` and `member` must not be negative, got "
            f"{(seed, trajectory, member)}."
        )
    low, high = np.random.SeedSequence([seed, trajectory, member]).generate_state(2, np.uint32)
    return (int(high) << 31) ^ int(low)


def bind_members(
    surrogate: Surrogate,
    rows: Sequence[tuple[int, int]],
    *,
    seed: int = 0,
    parameters: Tensor | None = None,
) -> StatefulStep:
    """A step for a batch whose rows are members of trajectories, for `rollout`.

    Args:
        surrogate: Any surrogate; one that draws no noise has member 0 only.
        rows: (trajectory, member) of every row; a row is the same in every batch.
        seed: Seed of the ensemble.
        parameters: Values of `parameter_names` per row, (batch, parameter).

    Raises:
        ValueError: If a surrogate without noise is asked for another member than 0.
    """
    if isinstance(surrogate, StochasticSurrogate):
        return surrogate.bind(parameters, seeds=[member_seed(seed, *row) for row in rows])
    check_members(surrogate, 1 + max(member for _, member in rows))
    return surrogate.bind(parameters)


def check_members(surrogate: Surrogate, num_members: int) -> None:
    """Refuse an ensemble of copies.

    Raises:
        ValueError: If there is no member, or more than one of a surrogate without noise.
    """
    if num_members < 1:
        raise ValueError(f"ensemble: `num_members` must be at least 1, got {num_members}.")
    if num_members > 1 and not isinstance(surrogate, StochasticSurrogate):
        raise ValueError(
            f"ensemble: {type(surrogate).__name__} draws no noise, so its {num_members} members "
            "would be equal; use num_members=1 or a surrogate that draws, such as PDERefiner."
        )


@torch.no_grad()
def stream_ensemble(
    surrogate: Surrogate,
    u0: Tensor,
    times: Sequence[float] | Tensor,
    *,
    num_members: int = 1,
    seed: int = 0,
    parameters: Tensor | None = None,
    batch_size: int | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """`rollout_ensemble` piece by piece, for ensembles that do not fit into memory.

    Row r of the ensemble is member r % num_members of trajectory r // num_members.

    Args:
        surrogate, u0, times, num_members, seed, parameters, batch_size: See `rollout_ensemble`.

    Yields:
        The first row of the piece, and its states (row, time, channel, *space) on the device of
        `u0`; `TrajectoryWriter.write` takes both as they are.
    """
    check_members(surrogate, num_members)
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"ensemble: `batch_size` must be at least 1, got {batch_size}.")
    num_rows = len(u0) * num_members
    for first in range(0, num_rows, batch_size or max(1, num_rows)):
        last = min(first + batch_size, num_rows) if batch_size else num_rows
        rows = [divmod(row, num_members) for row in range(first, last)]
        chosen = torch.tensor([trajectory for trajectory, _ in rows], device=u0.device)
        own = None if parameters is None else parameters[chosen]
        step = bind_members(surrogate, rows, seed=seed, parameters=own)
        own_times = times
        if isinstance(times, Tensor) and times.ndim == 2:
            own_times = times[chosen.to(times.device)]
        yield first, rollout(step, u0[chosen], own_times)


def rollout_ensemble(
    surrogate: Surrogate,
    u0: Tensor,
    times: Sequence[float] | Tensor,
    *,
    num_members: int = 1,
    seed: int = 0,
    parameters: Tensor | None = None,
    batch_size: int | None = None,
    output: Tensor | None = None,
) -> Tensor:
    """Several draws of the trajectory of every initial state, without gradients.

    Member m of trajectory n draws its noise from `member_seed(seed, n, m)`, so neither
    `batch_size` nor the number of members or of trajectories changes what it draws. Matrix
    products may round differently in batches of different size: rows agree bit by bit up to that,
    and a chaotic equation amplifies it like any other rounding.

    Args:
        surrogate: Any surrogate; one that draws no noise has one member.
        u0: Initial states (batch, channel, *space).
        times: Increasing times (time,), or (batch, time).
        num_members: Draws per initial state.
        seed: Seed of the ensemble.
        parameters: Values of `parameter_names`, (batch, parameter).
        batch_size: Rows, members times initial states, at a time; all at once when `None`.
        output: Where to write, e.g. on the CPU or memory-mapped; made like `u0` when `None`.

    Returns:
        (batch, member, time, channel, *space), first time the initial state.

    Raises:
        ValueError: If members would be equal, or `output` has another shape.

    Example:
        >>> from torch import nn
        >>> from pdesurrogates.surrogates import ResidualSurrogate
        >>> surrogate = ResidualSurrogate(nn.Identity(), dt=1.0)
        >>> rollout_ensemble(surrogate, torch.ones(3, 1, 8), [0.0, 1.0], batch_size=2).shape
        torch.Size([3, 1, 2, 1, 8])
    """
    num_times = times.shape[-1] if isinstance(times, Tensor) else len(times)
    shape = (len(u0), num_members, num_times, *u0.shape[1:])
    if output is None:
        check_members(surrogate, num_members)
        output = u0.new_empty(shape)
    elif tuple(output.shape) != shape or not output.is_contiguous():
        raise ValueError(
            "rollout_ensemble: `output` must be contiguous of shape (batch, member, time, "
            f"channel, *space) = {shape}, got {tuple(output.shape)}; make it with "
            f"torch.empty({shape})."
        )
    flat = output.flatten(0, 1)
    for first, states in stream_ensemble(
        surrogate,
        u0,
        times,
        num_members=num_members,
        seed=seed,
        parameters=parameters,
        batch_size=batch_size,
    ):
        flat[first : first + len(states)].copy_(states)
    return output
