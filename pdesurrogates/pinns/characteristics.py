"""Characteristics as a map from labels to positions: when it fails, and its inverse."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["CharacteristicsCrossed", "find_labels"]


class CharacteristicsCrossed(RuntimeError):
    """Two labels are at one place, or nearly.

    Attributes:
        stretch: F = dx/dX there.
        label: Label X.
        time: Time t.
    """

    def __init__(self, stretch: float, label: float, time: float, smallest: float = 0.0) -> None:
        what = "cross" if not stretch > 0 else "are about to cross"
        super().__init__(
            f"LagrangianPINN: characteristics {what} at label {label:.6g} and time {time:.6g}: "
            f"F = dx/dX = {stretch:.3g} must be above {smallest:.3g}. End the time interval "
            "before, raise the viscosity, or use a network of x and t (PINN), best in a moving "
            "frame. At the start of training: build the displacement with at_rest(network)."
        )
        self.stretch, self.label, self.time = stretch, label, time


def find_labels(
    positions: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    points: Tensor,
    times: Tensor,
    *,
    ends: tuple[float, float],
    num_labels: int,
    period: float | None = None,
    max_iterations: int = 60,
) -> Tensor:
    """The labels X with x(X, t) = points: a sorted search, then Newton's method within brackets.

    Args:
        positions: (X, t) -> (x, dx/dX), all (time, label, 1).
        points: x (time, point).
        times: t (time,).
        ends: Smallest and largest label.
        num_labels: Labels of the search, which also shows whether x is monotone.
        period: Length after which x - X repeats; points are brought to the period of the labels.
        max_iterations: Bisections at most; Newton's steps need far fewer.

    Returns:
        X (time, point, 1).

    Raises:
        CharacteristicsCrossed: If x(X, t) does not grow with X.
        ValueError: If a point lies beyond the positions of the first and last label, or if one of
            the positions is not finite.
    """
    num_times = len(times)
    nodes = torch.linspace(*ends, max(num_labels, 2) + 1, dtype=points.dtype, device=points.device)
    nodes = nodes.expand(num_times, -1)
    when = times[:, None, None]
    x = positions(nodes[..., None], when.expand(-1, nodes.shape[1], 1))[0][..., 0]
    _check_monotone(x, nodes, times)
    target = _within(points, x, times, period)
    upper = torch.searchsorted(x.contiguous(), target.contiguous(), right=True)
    upper = upper.clamp(1, nodes.shape[1] - 1)
    low, high = nodes.gather(1, upper - 1), nodes.gather(1, upper)
    x_low, x_high = x.gather(1, upper - 1), x.gather(1, upper)
    label = low + (high - low) * ((target - x_low) / (x_high - x_low)).clamp(0, 1)
    when = when.expand(-1, target.shape[1], 1)
    smallest = 8 * torch.finfo(points.dtype).eps * max(map(abs, (*ends, ends[1] - ends[0])))
    for _ in range(max_iterations):
        here, stretch = (part[..., 0] for part in positions(label[..., None], when))
        error = here - target
        low, high = torch.where(error <= 0, label, low), torch.where(error >= 0, label, high)
        newton = label - error / stretch
        is_safe = (newton >= low) & (newton <= high)
        new = torch.where(is_safe, newton, (low + high) / 2)
        step, label = (new - label).abs(), new
        if bool((step <= smallest).all()):
            break
    return label[..., None]


def _check_monotone(x: Tensor, nodes: Tensor, times: Tensor) -> None:
    if not bool(x.isfinite().all()):
        n = int((~x.isfinite()).any(dim=1).nonzero()[0])
        raise ValueError(
            f"LagrangianPINN: positions at time {float(times[n]):.6g} are not finite; the "
            "displacement network gives NaN."
        )
    stretch = x.diff(dim=1) / nodes.diff(dim=1)
    if bool((stretch <= 0).any()):
        n, i = divmod(int(stretch.argmin()), stretch.shape[1])
        raise CharacteristicsCrossed(float(stretch[n, i]), float(nodes[n, i]), float(times[n]))


def _within(points: Tensor, x: Tensor, times: Tensor, period: float | None) -> Tensor:
    """Points in the range of the positions, by whole periods or because they are there."""
    first, last = x[:, :1], x[:, -1:]
    if period is not None:
        return first + torch.remainder(points - first, period)
    slack = 1e-6 * (last - first)
    outside = (points < first - slack) | (points > last + slack)
    if bool(outside.any()):
        n, i = divmod(int(outside.flatten().to(torch.uint8).argmax()), points.shape[1])
        raise ValueError(
            f"LagrangianPINN: {int(outside.sum())} of {outside.numel()} points are reached by no "
            f"label, the first is x = {float(points[n, i]):.6g} at time {float(times[n]):.6g}, "
            f"when labels fill [{float(first[n]):.6g}, {float(last[n]):.6g}]; ask for points in "
            "there, or widen the domain of the labels."
        )
    return points.clamp(first, last)
