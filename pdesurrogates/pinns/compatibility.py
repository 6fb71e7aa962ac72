"""Conditions that no continuous function can meet are refused before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pdesurrogates.pinns.conditions import (
    Condition,
    DirichletCondition,
    InitialCondition,
    PeriodicCondition,
    Solution,
    value_at,
)
from pdesurrogates.pinns.transforms import CoordinateMap, HardConditions

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["check_compatible"]

_SLACK = 1e-6


def check_compatible(
    solution: Solution,
    conditions: Mapping[str, Condition],
    coordinates: CoordinateMap,
    hard: HardConditions | None,
    *,
    allow_jumps: bool,
) -> None:
    """Refuse conditions that contradict each other.

    Raises:
        ValueError: If an axis is periodic and has walls, or (unless `allow_jumps`) initial
            values disagree with walls or are not periodic.
    """
    _check_axes(conditions, coordinates, hard)
    initial: Callable[..., Any] | float | None = hard.initial if hard is not None else None
    name = "the hard initial state"
    for key, condition in conditions.items():
        if isinstance(condition, InitialCondition):
            initial, name = condition.value, f"the initial condition {key!r}"
    if initial is None or solution.span is None or allow_jumps:
        return
    for key, condition in conditions.items():
        if isinstance(condition, DirichletCondition):
            for wall in condition.walls(solution, _start_points(solution)):
                gap = value_at(initial, wall[:, :-1]) - value_at(condition.value, wall)
                _refuse(gap, wall, f"{name} and the wall condition {key!r} disagree")
    for axis in _periodic_axes(conditions, coordinates):
        lower, upper = PeriodicCondition(axis).walls(solution, _start_points(solution))
        gap = value_at(initial, lower[:, :-1]) - value_at(initial, upper[:, :-1])
        _refuse(gap, lower, f"{name} is not the same at both ends of the periodic axis {axis}")


def _start_points(solution: Solution) -> Tensor:
    domain = solution.domain
    unit = torch.rand(16, domain.dim, generator=torch.Generator().manual_seed(0)).double()
    unit[:, -1] = 0.0
    return domain.from_unit(unit)


def _refuse(gap: Tensor | float, points: Tensor, what: str) -> None:
    gap = torch.as_tensor(gap, dtype=torch.float64).abs().expand(len(points), -1).amax(dim=-1)
    if bool((gap > _SLACK).any()):
        worst = int(gap.argmax())
        raise ValueError(
            f"PINN: incompatible conditions: {what} by {gap[worst]:.3g} at "
            f"{[round(x, 4) for x in points[worst].tolist()]} (time last). Correct one of them, "
            "or pass allow_jumps=True if the solution jumps there."
        )


def _periodic_axes(
    conditions: Mapping[str, Condition], coordinates: CoordinateMap
) -> tuple[int, ...]:
    soft = {c.axis for c in conditions.values() if isinstance(c, PeriodicCondition)}
    built_in = {axis for axis, flag in enumerate(coordinates.is_periodic) if flag}
    return tuple(sorted(soft | built_in))


def _check_axes(
    conditions: Mapping[str, Condition], coordinates: CoordinateMap, hard: HardConditions | None
) -> None:
    periodic = _periodic_axes(conditions, coordinates)
    walled = {c.axis: k for k, c in conditions.items() if isinstance(c, DirichletCondition)}
    walled |= dict.fromkeys(hard.walls if hard is not None else (), "HardConditions")
    both = [axis for axis in walled if axis in periodic]
    if both:
        raise ValueError(
            f"PINN: incompatible conditions: axis {both[0]} is periodic and {walled[both[0]]!r} "
            "gives it walls; choose one."
        )
