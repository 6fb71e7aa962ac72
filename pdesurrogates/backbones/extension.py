"""How does a field go on beyond its grid, by any number of points?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pdesurrogates.backbones.convolution import PaddingKind

__all__ = ["extend"]


def extend(
    v: Tensor,
    before: int | Sequence[int],
    after: int | Sequence[int],
    kinds: Sequence[PaddingKind],
    *,
    first_axis: int = 2,
) -> Tensor:
    """v with points added to both ends of each axis, as many as wanted.

    Unlike `convolution.pad`, the two ends may differ, and more points than the grid has may be
    asked for: a periodic field goes round as often as needed, a reflected one back and forth.

    Args:
        v: Field, (batch, channel, *space), or (batch, *space, channel) with `first_axis` 1.
        before: Points in front, per axis or for all.
        after: Points behind, per axis or for all.
        kinds: What is beyond the edge, per axis.
        first_axis: The first space axis.
    """
    dim = len(kinds)
    before = (before,) * dim if isinstance(before, int) else before
    after = (after,) * dim if isinstance(after, int) else after
    parts = zip(before, after, kinds, strict=True)
    for axis, (left, right, kind) in enumerate(parts, start=first_axis):
        if not (left or right):
            continue
        if kind == "zeros":
            v = F.pad(v, (0, 0) * (v.ndim - 1 - axis) + (left, right))
            continue
        n = v.shape[axis]
        points = torch.arange(-left, n + right, device=v.device)
        if kind == "periodic":
            points = points.remainder(n)
        elif kind == "replicate":
            points = points.clamp(0, n - 1)
        else:
            period = max(2 * (n - 1), 1)
            points = points.remainder(period)
            points = torch.minimum(points, period - points).clamp(max=n - 1)
        v = v.index_select(axis, points)
    return v
