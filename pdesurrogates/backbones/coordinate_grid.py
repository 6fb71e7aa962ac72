"""A network of coordinates with memory in space: features on grids of several widths."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from pdesurrogates.backbones.coordinate import MLP, Activation

__all__ = ["MultiresolutionGrid"]


class MultiresolutionGrid(nn.Module):
    """Features stored on grids of several widths, and a small network that combines them:

        v(x) = (sum_j B(n_l s - j) F_l[j])_l,   u = MLP(v),   s = (x + 1) / 2 in [0, 1]

    B is the cubic B-spline per axis (tensor product), so that u has continuous second
    derivatives. Features far from a point do not matter there: a change stays local, unlike in a
    sine network, and the number of parameters grows with the volume.

    Third derivatives jump at cell edges and the fourth are zero within: not for equations of
    higher order.

    Reference:
        Instant Neural Graphics Primitives (Mueller et al., 2022), section 3, for the levels;
        https://arxiv.org/abs/2201.05989. Dense grids and splines instead of hashed corners.

    Args:
        in_channels: Coordinates of a point.
        out_channels: Channels of the field.
        num_cells: Cells per axis of every level, the coarsest first.
        num_features: Features per grid point.
        width: Units per hidden layer of the MLP.
        depth: Hidden layers of the MLP; 0 is one linear layer, and u a spline.
        activation: See `MLP`.

    Shape:
        x: (*any, in_channels) in [-1, 1], a tensor or a jet -> (*any, out_channels)

    Example:
        >>> MultiresolutionGrid(2, 1, num_cells=(4, 8))(torch.zeros(5, 2)).shape
        torch.Size([5, 1])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        num_cells: Sequence[int] = (8, 16, 32),
        num_features: int = 2,
        width: int = 16,
        depth: int = 1,
        activation: Activation = "tanh",
    ) -> None:
        super().__init__()
        counts = {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "num_features": num_features,
            **{f"num_cells[{n}]": count for n, count in enumerate(num_cells)},
        }
        for name, count in counts.items():
            if not isinstance(count, int) or isinstance(count, bool) or count < 1:
                raise ValueError(
                    f"MultiresolutionGrid: `{name}` must be a positive integer, got {count!r}."
                )
        if not num_cells:
            raise ValueError("MultiresolutionGrid: `num_cells` must name at least one level.")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.num_cells = tuple(num_cells)
        self.num_features = num_features
        self.width = width
        self.depth = depth
        self.activation: Activation = activation
        # Three more splines than cells reach into the domain.
        self.tables = nn.ParameterList(
            nn.Parameter(0.1 * torch.randn((n + 3) ** in_channels, num_features))
            for n in self.num_cells
        )
        size = num_features * len(self.num_cells)
        self.head = (
            MLP(size, out_channels, width=width, depth=depth, activation=activation)
            if depth
            else nn.Linear(size, out_channels)
        )

    def forward(self, x: Any) -> Any:
        if x.shape[-1] != self.in_channels:
            raise ValueError(
                f"MultiresolutionGrid: expected points with {self.in_channels} coordinates "
                f"(..., {self.in_channels}), got {tuple(x.shape)}."
            )
        features = [
            self._level(x, n, table) for n, table in zip(self.num_cells, self.tables, strict=True)
        ]
        v = features[0] if len(features) == 1 else torch.cat(features, dim=-1)
        return self.head(v)

    def _level(self, x: Any, n: int, table: Tensor) -> Any:
        """Interpolated features of one grid (*any, num_features)."""
        position = (x + 1.0) * (0.5 * n)
        # Which cell is a fact, not a function: derivatives see the place inside it only.
        values = position if isinstance(position, Tensor) else position.values
        cell = values.detach().floor().clamp(0, n - 1)
        splines = [
            _cubic_splines(position[..., a : a + 1] - cell[..., a : a + 1])
            for a in range(self.in_channels)
        ]
        index = cell.long()
        total: Any = None
        for corner in product(range(4), repeat=self.in_channels):
            address = torch.zeros_like(index[..., 0])
            weight: Any = None
            for axis, j in enumerate(corner):
                address = address * (n + 3) + index[..., axis] + j
                own = splines[axis][j]
                weight = own if weight is None else weight * own
            term = weight * table[address]
            total = term if total is None else total + term
        return total


def _cubic_splines(s: Any) -> tuple[Any, Any, Any, Any]:
    """The four cubic B-splines that reach a place s in [0, 1] of a cell (*any, 1)."""
    rest = 1.0 - s
    square, cube = s * s, s * s * s
    return (
        rest * rest * rest * (1 / 6),
        (3.0 * cube - 6.0 * square + 4.0) * (1 / 6),
        (3.0 * (square - cube) + 3.0 * s + 1.0) * (1 / 6),
        cube * (1 / 6),
    )
