"""From the solver's grid to the stored one: every n-th point, or averages over cells."""

from __future__ import annotations

import torch
from torch import Tensor

from pdesurrogates.core import Grid

__all__ = ["coarsen", "coarsening_factors"]


def coarsening_factors(fine: Grid, coarse: Grid, *, where: str) -> tuple[int, ...]:
    """Fine points or cells per coarse one, along each axis.

    Periodic points and cells must be multiples; of points that include both ends, the gaps must
    be: 65 points hold every point of 33.

    Raises:
        ValueError: If the coarse grid is not part of the fine one.
    """
    factors = []
    for axis, (n, m, is_periodic) in enumerate(
        zip(fine.shape, coarse.shape, coarse.is_periodic, strict=True)
    ):
        ends = 0 if is_periodic or coarse.cell_centred else 1
        if n < m or (n - ends) % (m - ends):
            what = "cells" if coarse.cell_centred else "gaps between points" if ends else "points"
            raise ValueError(
                f"{where}: the solver's grid must have a multiple of the {m - ends} {what} of the "
                f"stored grid {coarse.shape} along axis {axis}, got {n - ends}; e.g. "
                f"{2 * (m - ends) + ends} points."
            )
        factors.append((n - ends) // (m - ends))
    return tuple(factors)


def coarsen(u: Tensor, factors: tuple[int, ...], *, average: bool) -> Tensor:
    """Cell averages, which keep every integral, or every n-th point, which keeps every value.

    Args:
        u: (..., *space) on the fine grid.
        factors: From `coarsening_factors`.
        average: Whether the values are averages over cells.
    """
    for axis, factor in enumerate(factors, start=u.ndim - len(factors)):
        if factor > 1 and average:
            u = u.unflatten(axis, (-1, factor)).mean(axis + 1)
        elif factor > 1:
            every = torch.arange(0, u.shape[axis], factor, device=u.device)
            u = u.index_select(axis, every)
    return u
