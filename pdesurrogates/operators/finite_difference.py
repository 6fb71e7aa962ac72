"""Finite differences of order 2, 4 and 6 on uniform grids, periodic or with walls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from pdesurrogates.core import (
    BoundaryCondition,
    BoundarySides,
    Dirichlet,
    FieldBoundary,
    FieldSpec,
    Grid,
    boundary_sides,
    field_boundaries,
)
from pdesurrogates.operators.base import Coefficient, Derivatives
from pdesurrogates.operators.finite_difference_field import (
    CoefficientValues,
    DifferenceField,
    GridValues,
)
from pdesurrogates.operators.finite_difference_stencil import Slope, Stencil
from pdesurrogates.operators.finite_difference_symbol import DifferenceSymbol
from pdesurrogates.operators.stencils import (
    Closure,
    FlattenedLine,
    central_weights,
    staggered_weights,
)

__all__ = ["FiniteDifferences"]

_DERIVATIVES = (1, 2, 3, 4)
_MAX_DEGREE_ON_WALL_POINTS = 5


class FiniteDifferences(Derivatives):
    """Central differences of order 2, 4 or 6 for derivatives of order 1 to 4.

    Beyond a wall the stencils use ghost points. Their values lie on the polynomial through the
    nearest points that meets the boundary condition: of degree `order` for first and second
    derivatives, one or two more for the third and fourth. At the points next to a wall the first
    derivative is accurate to `order`, the others to order - 1; solutions of diffusion and wave
    equations to `order` everywhere. Exceptions:

    - `Dirichlet` with walls on points: the wall point keeps the given value and has du/dt = 0;
      for order 6 the degree is one less, because 6 gives complex eigenvalues to the second
      derivative and so growth to a wave equation.
    - `Outflow`: the last value is repeated, order 1 at the wall.
    - Coefficients that vary in space have no condition; the degree is order - 1, and for order 2
      the line is flattened where it would change sign. Use order 2 for coefficients that jump.

    d/dx (k du/dx) is differenced in flux form. With order 2, cell-centred points and Neumann(0)
    the sum over all cells is zero to rounding.

    All closures give the second derivative real eigenvalues, none positive, for Dirichlet,
    Neumann, Robin (that takes out) and Outflow in any pairing. Advection without diffusion, from
    an inflow `Dirichlet` to an `Outflow`, is stable for order 2, and for order 4 on cells; for
    order 4 with walls on points it grows by a factor of about 2 per crossing, for order 6 at 0.07
    velocity / spacing: use finite volumes, or keep diffusion in.

    Args:
        grid: Periodic or not, per axis.
        order: 2, 4 or 6.
        boundary: Conditions of the axes with ends: one for all, one per axis, (lower, upper)
            pairs per axis, or a mapping from field name to any of these.

    Raises:
        ValueError: If the order is another, an axis with ends has no condition, or the grid has
            too few points.

    Shape:
        values: (batch, channel, *space)

    Example:
        >>> from pdesurrogates.core import Neumann
        >>> grid = Grid((5,), (1.0,), periodic=False)
        >>> d = FiniteDifferences(grid, boundary=Neumann((0.0, 2.0)))
        >>> u = d.field(grid.coordinates()[None] ** 2)
        >>> d.dxx(u).values.flatten().tolist()
        [2.0, 2.0, 2.0, 2.0, 2.0]
    """

    orders: ClassVar[tuple[int, ...]] = (2, 4, 6)

    def __init__(self, grid: Grid, order: int = 2, boundary: FieldBoundary | None = None) -> None:
        if order not in self.orders:
            raise ValueError(
                f"FiniteDifferences: `order` must be one of {self.orders}, got {order!r}."
            )
        for axis, (n, periodic) in enumerate(zip(grid.num_points, grid.is_periodic, strict=True)):
            least = order + 1 if periodic else order + 2
            if n < least:
                raise ValueError(
                    f"FiniteDifferences: order {order} needs at least {least} points on axis "
                    f"{axis}, got {n}; use a finer grid or a lower order."
                )
        self.grid = grid
        self.dim = grid.dim
        self.order = order
        self.spacing = grid.spacing
        self.boundary = boundary
        self._weights = {
            (axis, m): tuple(w / h**m for w in central_weights(m, order))
            for axis, h in enumerate(grid.spacing)
            for m in _DERIVATIVES
        }
        self.midpoint_weights = staggered_weights(0, order)
        self.midpoint_slopes = tuple(
            tuple(w / h for w in staggered_weights(1, order)) for h in grid.spacing
        )
        self._constants: dict[tuple, Any] = {}
        if not isinstance(boundary, Mapping):
            boundary_sides(boundary, grid, where="FiniteDifferences")

    def sides(self, fields: FieldSpec | None, num_channels: int) -> tuple[BoundarySides, ...]:
        """The conditions of every channel of a state.

        Raises:
            ValueError: If conditions were given by name and `fields` is missing or does not fit.
        """
        where = "FiniteDifferences"
        if isinstance(self.boundary, Mapping) and fields is None:
            raise ValueError(
                f"{where}: conditions were given by field name; say which channels these are: "
                "d.field(values, fields=equation.fields)."
            )
        key = ("sides", fields, num_channels)
        if key not in self._constants:
            names = FieldSpec(tuple(f"channel {c}" for c in range(num_channels)))
            self._constants[key] = field_boundaries(
                self.boundary, names if fields is None else fields, self.grid, where=where
            )
        return self._constants[key]

    def field(self, values: Tensor, fields: FieldSpec | None = None) -> GridValues:
        """A state from its values on the grid; prescribed wall values replace those given.

        Args:
            values: (batch, channel, *space).
            fields: Names of the channels, needed where conditions were given by name.
        """
        if tuple(values.shape[2:]) != self.grid.shape:
            raise ValueError(
                "FiniteDifferences: `values` must have shape (batch, channel, *space) with space "
                f"{self.grid.shape}, got {tuple(values.shape)}; see docs/conventions.md."
            )
        return GridValues(self, values, self.sides(fields, values.shape[1]))

    def derivative(self, u: DifferenceField, axis: int, order: int = 1) -> DifferenceField:
        weights = self.weights(axis, order)
        if order == 1:
            return Slope(u, axis, weights)
        return Stencil(u, ((axis, weights),), extra_degree=order - 2)

    def laplacian(self, u: DifferenceField) -> DifferenceField:
        return Stencil(u, tuple((axis, self.weights(axis, 2)) for axis in range(self.dim)))

    def inverse_laplacian(self, u: DifferenceField) -> DifferenceField:
        """Not offered: finite differences apply the Laplacian, they do not invert it."""
        raise ValueError(
            "FiniteDifferences: inverse_laplacian (a Poisson solve) is not offered; use "
            "SpectralDerivatives on a periodic grid."
        )

    def weights(self, axis: int, derivative: int) -> tuple[float, ...]:
        """The central stencil of a derivative along an axis [1 / length^derivative]."""
        weights = self._weights.get((axis, derivative))
        if weights is None:
            raise ValueError(
                f"FiniteDifferences: derivatives of order 1 to 4 along axis 0 to {self.dim - 1} "
                f"are offered, got order {derivative!r} along axis {axis!r}."
            )
        if len(weights) > self.grid.num_points[axis]:
            raise ValueError(
                f"FiniteDifferences: derivative {derivative} to order {self.order} needs "
                f"{len(weights)} points on axis {axis}, got {self.grid.num_points[axis]}; use a "
                "finer grid or a lower order."
            )
        return weights

    def components(self, u: DifferenceField) -> tuple[DifferenceField, ...]:
        return u.components

    def stack(self, *fields: DifferenceField) -> DifferenceField:
        return fields[0] if len(fields) == 1 else DifferenceField.stack(fields)

    def coefficient(self, value: Coefficient) -> Any:
        if isinstance(value, Tensor):
            if value.ndim == 1:
                return value.reshape(-1, *(1,) * (self.dim + 1))
            return value if value.ndim == 0 else self._varying(self._checked(value).to, value)
        if not callable(value):
            return value

        def evaluate(like: Tensor) -> Tensor:
            coordinates = self._constant(("coordinates",), like, self.grid.coordinates)
            return self._checked(value(*coordinates)[None, None])

        return self._varying(evaluate, torch.zeros((), dtype=torch.float64))

    def _varying(self, build: Callable[[Tensor], Tensor], like: Tensor) -> CoefficientValues:
        return CoefficientValues(self, build, like=like)

    def _checked(self, values: Tensor) -> Tensor:
        """The values of a coefficient, refused if they do not fit the grid."""
        if values.ndim != self.dim + 2 or tuple(values.shape[2:]) != self.grid.shape:
            raise ValueError(
                "FiniteDifferences: a coefficient that varies in space must have shape "
                f"(batch or 1, 1, *space) with space {self.grid.shape}, got "
                f"{tuple(values.shape)}."
            )
        return values

    def pad(
        self,
        values: Tensor,
        axis: int,
        width: int,
        sides: BoundarySides | None,
        *,
        extra_degree: int = 0,
    ) -> Tensor:
        """Values with `width` more points at both ends of an axis.

        Args:
            values: (batch, channel, *space), possibly padded along other axes.
            axis: Which axis.
            width: Ghost points per end; 0 puts prescribed wall values in place only.
            sides: Conditions of all axes; `None` for a coefficient.
            extra_degree: What is added to the degree of the polynomials beyond walls.
        """
        dim = axis - self.dim
        length = values.shape[dim]
        if self.grid.is_periodic[axis]:
            if width > length:
                raise ValueError(
                    f"FiniteDifferences: nested derivatives need {width} points beyond the end "
                    f"of axis {axis}, which has {length}; use a finer grid or a lower order."
                )
            ends = (values.narrow(dim, length - width, width), values.narrow(dim, 0, width))
            return torch.cat([ends[0], values, ends[1]], dim) if width else values
        conditions = (None, None) if sides is None else sides[axis]
        low, high = (
            self._closure(condition, axis, width, values, extra_degree, is_upper=is_upper)
            for condition, is_upper in zip(conditions, (False, True), strict=True)
        )
        first, last = low.skip if low else 0, length - (high.skip if high else 0)
        parts = [values.narrow(dim, first, last - first)]
        if low:
            parts.insert(0, low.ghosts(values, dim))
        if high:
            parts.append(high.ghosts(values, dim))
        return torch.cat(parts, dim) if len(parts) > 1 else values

    def _closure(
        self,
        condition: BoundaryCondition | None,
        axis: int,
        width: int,
        like: Tensor,
        extra_degree: int,
        *,
        is_upper: bool,
    ) -> Closure | FlattenedLine | None:
        """What happens at one end; `None` where nothing does."""
        if width == 0 and not self.is_prescribed(condition):
            return None
        if condition is None and self.order == 2:
            return FlattenedLine(width, is_upper)
        degree = extra_degree + self._degree(condition)
        return self._constant(
            ("closure", condition, axis, width, extra_degree, is_upper),
            like,
            lambda: Closure.at_wall(
                condition,
                width=width,
                degree=degree,
                spacing=self.spacing[axis],
                is_cell_centred=self.grid.cell_centred,
                is_upper=is_upper,
            ),
        )

    def _degree(self, condition: BoundaryCondition | None) -> int:
        """Degree of the polynomial beyond a wall for first and second derivatives."""
        if condition is None:
            return self.order - 1
        if self.is_prescribed(condition):
            return min(self.order, _MAX_DEGREE_ON_WALL_POINTS)
        return self.order

    def is_prescribed(self, condition: BoundaryCondition | None) -> bool:
        """Whether a point lies on a wall with this condition that gives its value."""
        return isinstance(condition, Dirichlet) and not self.grid.cell_centred

    def moving_points(self, fields: FieldSpec, like: Tensor) -> Tensor | None:
        """0 at wall points whose value is given, 1 elsewhere, (1, channel, *space).

        `None` where all points move.
        """

        def build() -> Tensor | None:
            moving = torch.ones(1, fields.num_channels, *self.grid.shape, dtype=torch.float64)
            for channel, sides in enumerate(self.sides(fields, fields.num_channels)):
                for axis, pair in enumerate(sides):
                    for end, condition in zip((0, -1), pair, strict=True):
                        if self.is_prescribed(condition):
                            moving[:, channel].select(axis + 1, end).zero_()
            return moving if bool((moving == 0).any()) else None

        return self._constant(("moving", fields), like, build)

    def _constant(self, name: tuple, like: Tensor, build: Callable[[], Any]) -> Any:
        """A constant built in float64 on the host, kept per dtype and device."""
        key = (*name, like.dtype, like.device)
        if key not in self._constants:
            # A tensor born in inference mode could never be used for training later.
            with torch.inference_mode(False), torch.no_grad():
                built = build()
                self._constants[key] = None if built is None else built.to(like)
        return self._constants[key]

    def line(
        self, axis: int, pair: tuple[BoundaryCondition, BoundaryCondition], num_points: int
    ) -> FiniteDifferences:
        """The same stencils on a short axis of the same spacing with these ends."""
        cells = num_points if self.grid.cell_centred else num_points - 1
        extent = (cells * self.spacing[axis],)
        grid = Grid((num_points,), extent, periodic=False, cell_centred=self.grid.cell_centred)
        return FiniteDifferences(grid, self.order, [pair])

    def symbol(self, fields: FieldSpec | None = None) -> DifferenceSymbol:
        """The provider that gives the rates of `linear` under these stencils.

        Args:
            fields: Names of the channels, needed where conditions were given by name.
        """
        num_channels = 1 if fields is None else fields.num_channels
        return DifferenceSymbol(self, frozenset(self.sides(fields, num_channels)))
