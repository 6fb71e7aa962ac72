"""Conserved quantities along a trajectory, and how far they drift."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pdesurrogates.core import Grid, check_state
from pdesurrogates.equations import Equation

__all__ = ["Conserved", "conserved"]


@dataclass(frozen=True)
class Conserved:
    """One quantity Q that the exact solution keeps, along each trajectory.

    Args:
        values: Q(u(t_n)), (batch, time), float64.
        drift: abs(Q(u(t_n)) - Q(u(t_0))) / scale, (batch, time), float64.
        scale: What drifts are relative to, (batch,): Q of the absolute values of the first state,
            or abs(Q) of it where that is larger. So the total of a field of mean zero drifts
            relative to the total of its magnitude, and nothing is divided by zero.
    """

    values: Tensor
    drift: Tensor
    scale: Tensor

    @property
    def max_drift(self) -> float:
        """The largest drift of all trajectories and times."""
        return float(self.drift.max())


def conserved(equation: Equation, grid: Grid, states: Tensor) -> dict[str, Conserved]:
    """Follow what the equation conserves on a periodic domain.

    Args:
        equation: Says what it conserves (`Equation.conserved_quantities`).
        grid: Grid of the states.
        states: Trajectories (batch, time, channel, *space).

    Returns:
        One entry per quantity; empty where the equation conserves nothing.

    Example:
        >>> import torch
        >>> from pdesurrogates.equations import Diffusion
        >>> grid = Grid((8,), (1.0,))
        >>> conserved(Diffusion(), grid, torch.ones(2, 3, 1, 8))["mass"].max_drift
        0.0
    """
    where = f"reference.conserved({type(equation).__name__})"
    if states.ndim != grid.dim + 3:
        raise ValueError(
            f"{where}: `states` must be trajectories (batch, time, channel, *space), got "
            f"{tuple(states.shape)} on a grid with {grid.dim} axes."
        )
    check_state(states[:, 0], equation.fields.num_channels, grid.shape, where=where)
    frames = [equation.conserved_quantities(frame, grid) for frame in states.unbind(1)]
    sizes = equation.conserved_quantities(states[:, 0].abs(), grid)
    result = {}
    for name, size in sizes.items():
        values = torch.stack([frame[name] for frame in frames], dim=1).double()
        result[name] = _drift(values, size.double())
    return result


def _drift(values: Tensor, size: Tensor) -> Conserved:
    scale = torch.maximum(size.abs(), values[:, 0].abs())
    scale = scale.clamp(min=torch.finfo(torch.float64).tiny)
    return Conserved(values, (values - values[:, :1]).abs() / scale[:, None], scale)
