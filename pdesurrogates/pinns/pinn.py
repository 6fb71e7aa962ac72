"""A network whose loss is the PDE."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pdesurrogates.core import Box, Grid
from pdesurrogates.equations import Equation
from pdesurrogates.operators import AutodiffDerivatives, JetDerivatives, PointDerivatives
from pdesurrogates.pinns.causal import CausalWeights
from pdesurrogates.pinns.compatibility import check_compatible
from pdesurrogates.pinns.conditions import Condition
from pdesurrogates.pinns.fields import SpaceTimeField
from pdesurrogates.pinns.problem import DrawnPoints, GivenPoints, PointSet, Problem
from pdesurrogates.pinns.transforms import CoordinateMap, HardConditions, space_box
from pdesurrogates.sampling import Sampler, Sobol

__all__ = ["PINN"]

PointResidual = Callable[[Any, PointDerivatives], Any]
"""Field and derivative provider to a field that shall vanish."""


class PINN(Problem, SpaceTimeField):
    """Physics-informed network: u(x, t) = transform(x, t, N(coordinates(x, t))).

        loss = sum_name weight_name mean |residual_name|^2

    Its parts have names: "equation" is u_t - rhs(u), by Taylor arithmetic through the network;
    every condition is one more. What can hold by construction should: periodicity by
    `CoordinateMap`, initial and wall values by `HardConditions`.

    Warning:
        Where the solution is carried far (convection with velocity times time beyond a few
        lengths of its structure) training fails in fixed coordinates and ends at a small loss
        with a wrong solution. Use a moving frame, causal weights, or small windows in time.

    Reference:
        Physics-informed neural networks (Raissi, Perdikaris and Karniadakis, 2019).

    Args:
        equation: What shall hold inside.
        domain: Box of the points, or a grid: its periodic axes are periodic by construction.
        times: First and last time, `None` for an equation without time.
        network: From features (..., coordinates.num_features) to channels (..., channel).
        conditions: By name.
        residuals: Further residuals in the interior by name, each (u, d) -> field, or another
            one for "equation".
        samplers: Where a part is asked for, by name: on the space-time box for residuals, on the
            free axes for conditions. One for every part that is drawn, or none: then Sobol points.
        num_points: Points per part, one number or by name.
        weights: Factors of the mean squares by name; 1 where nothing is said.
        coordinates: What the network sees; default `CoordinateMap(domain, times)`.
        transform: (points, times, output) -> field, such as `HardConditions`; default none.
        causal: Weights that let early times be learnt first.
        derivatives: `JetDerivatives`, or `AutodiffDerivatives` for networks made of functions
            without Taylor rules.
        allow_jumps: Whether initial and wall values may disagree where they meet.

    Shape:
        points: (batch, point, dim), times: (batch, point, 1) -> (batch, point, channel)

    Raises:
        ValueError: If names, samplers, shapes or conditions do not fit together.

    Example:
        >>> from pdesurrogates.backbones import MLP
        >>> from pdesurrogates.equations import Advection
        >>> grid = Grid((64,), (2.0,))
        >>> u0 = HardConditions(grid, (0.0, 1.0), initial=lambda x: torch.sin(torch.pi * x))
        >>> pinn = PINN(Advection(1.0), grid, (0.0, 1.0), MLP(3, 1, width=8, depth=2),
        ...     transform=u0)
        >>> pinn.sample(grid, [0.0, 0.5]).shape, pinn.residual_names
        (torch.Size([1, 2, 1, 64]), ('equation',))
    """

    def __init__(
        self,
        equation: Equation,
        domain: Box | Grid,
        times: tuple[float, float] | None,
        network: nn.Module,
        *,
        conditions: Mapping[str, Condition] | None = None,
        residuals: Mapping[str, PointResidual] | None = None,
        samplers: Mapping[str, Sampler] | None = None,
        num_points: int | Mapping[str, int] = 1024,
        weights: Mapping[str, float] | None = None,
        coordinates: CoordinateMap | None = None,
        transform: nn.Module | None = None,
        causal: CausalWeights | None = None,
        derivatives: type[PointDerivatives] = JetDerivatives,
        allow_jumps: bool = False,
    ) -> None:
        self.space, self.span = space_box(domain), times
        self.equation, self.fields = equation, equation.fields
        self.conditions = dict(conditions or {})
        self.interior: dict[str, PointResidual] = {"equation": self._equation} | dict(
            residuals or {}
        )
        self.causal, self.derivatives = causal, derivatives
        names = [*self.conditions, *self.interior, "interior"]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"PINN: {twice} are taken: every part needs a name of its own, and 'interior' is "
                "the name of the points that residuals share."
            )
        sets = self._point_sets(samplers, num_points)
        super().__init__(sets, (*self.interior, *self.conditions), weights)
        self.network = network
        self.coordinates = coordinates or CoordinateMap(domain, times)
        self.transform = transform
        self._check(allow_jumps)

    @property
    def is_functional(self) -> bool:
        """Whether residuals can be differentiated by `torch.func`, as second-order steps do."""
        return not issubclass(self.derivatives, AutodiffDerivatives)

    def _equation(self, u: Any, d: PointDerivatives) -> Any:
        return self.equation.residual(u, d, t=0.0 if d.times is None else d.times)

    def field(self, points: Any, times: Any) -> Any:
        """u at points and times, tensors or jets, inside or outside the domain."""
        points = self.coordinates.moved(points, times)
        value = self.network(self.coordinates(points, times))
        return value if self.transform is None else self.transform(points, times, value)

    def at(self, points: Tensor) -> tuple[Any, PointDerivatives]:
        """Field and derivatives at space-time points (point, dim)."""
        space, times = points[None, :, : self.space.dim], None
        if self.span is not None:
            times = points[None, :, self.space.dim :]
        d = self.derivatives(space, times)  # pyright: ignore[reportCallIssue]
        return self.field(d.points, d.times), d

    def residuals_of(self, name: str, points: Tensor) -> dict[str, Tensor]:
        with torch.enable_grad() if not self.is_functional else _as_it_is():
            if name in self.conditions:
                return {name: self.conditions[name].residual(self, points)}
            u, d = self.at(points)
            names = self.interior if name == "interior" else (name,)
            return {key: d.values(self.interior[key](u, d))[0] for key in names}

    def row_weights(
        self, points: Mapping[str, Tensor], residuals: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        if self.causal is None or self.span is None:
            return {}
        found = {}
        for name in self.interior:
            own = points["interior" if "interior" in points else name]
            unit = (own[:, -1:] - self.span[0]) / (self.span[1] - self.span[0])
            found[name] = self.causal(unit, residuals[name])
        return found

    def _point_sets(
        self, samplers: Mapping[str, Sampler] | None, num_points: int | Mapping[str, int]
    ) -> dict[str, PointSet]:
        """One set per part; all residuals share one where samplers and counts allow it."""
        names = (*self.interior, *self.conditions)
        by_name = {"samplers": samplers, "num_points": num_points}
        for label, given in by_name.items():
            unknown = [n for n in given if n not in names] if isinstance(given, Mapping) else []
            if unknown:
                raise ValueError(
                    f"PINN: `{label}` has the names {unknown}, but the parts are {list(names)}."
                )
        sets: dict[str, PointSet] = {}
        is_shared = samplers is None and isinstance(num_points, int)
        for name in ("interior",) if is_shared else tuple(self.interior):
            sets[name] = self._drawn(name, self.domain, samplers, num_points)
        for name, condition in self.conditions.items():
            condition.check(self)
            given = condition.given_points()
            face = _face(self.domain, condition.fixed_axes(self))
            if given is not None:
                sets[name] = GivenPoints(given)
            elif face is None:
                sets[name] = GivenPoints(torch.tensor([self.domain.lower], dtype=torch.float64))
            else:
                fixed = condition.fixed_axes(self)
                drawn = self._drawn(name, face, samplers, num_points)
                sets[name] = _FacePoints(drawn, self.domain, fixed)
        return sets

    def _drawn(
        self,
        name: str,
        box: Box,
        samplers: Mapping[str, Sampler] | None,
        num_points: int | Mapping[str, int],
    ) -> DrawnPoints:
        if samplers is None:
            sampler: Sampler = Sobol(box)
        elif name not in samplers:
            raise ValueError(
                f"PINN: `samplers` has none for {name!r}; add one on {box}, or leave `samplers` "
                "out to draw Sobol points everywhere."
            )
        else:
            sampler = samplers[name]
        if sampler.domain.dim != box.dim or not _same(sampler.domain, box):
            raise ValueError(
                f"PINN: the sampler of {name!r} draws on {sampler.domain}, its part lives on "
                f"{box}."
            )
        if not isinstance(num_points, int) and name not in num_points:
            raise ValueError(f"PINN: `num_points` has no number for {name!r}.")
        count = num_points if isinstance(num_points, int) else num_points[name]
        return DrawnPoints(sampler, count)

    def _check(self, allow_jumps: bool) -> None:
        """Refuse networks of another size, and conditions that no function can meet."""
        expected = getattr(self.network, "in_channels", self.coordinates.num_features)
        if expected != self.coordinates.num_features:
            raise ValueError(
                f"PINN: the network takes {expected} coordinates, but sees "
                f"{self.coordinates.num_features}: axes periodic {self.coordinates.is_periodic} "
                f"with {self.coordinates.num_harmonics} harmonics, time "
                f"{'included' if self.span else 'absent'}."
            )
        like = self._like
        with torch.no_grad():
            unit = torch.full((2, self.domain.dim), 0.37).to(like)
            points = self.domain.from_unit(unit)[None]
            times = None if self.span is None else points[..., -1:]
            shape = tuple(self.field(points[..., : self.space.dim], times).shape)
        if shape != (1, 2, self.fields.num_channels):
            raise ValueError(
                f"PINN: network and transform must give (batch, point, channel) = (1, 2, "
                f"{self.fields.num_channels}) for {self.fields.names}, got {shape}."
            )
        hard = self.transform if isinstance(self.transform, HardConditions) else None
        check_compatible(self, self.conditions, self.coordinates, hard, allow_jumps=allow_jumps)


class _FacePoints(DrawnPoints):
    """Points drawn on the free axes; fixed axes hold their lower end."""

    def __init__(self, drawn: DrawnPoints, domain: Box, fixed: tuple[int, ...]) -> None:
        super().__init__(drawn.sampler, drawn.num_points)
        self.lower, self.fixed = domain.lower, fixed

    def draw(self, generator: torch.Generator, like: Tensor) -> Tensor:
        return self._placed(super().draw(generator, like))

    def update(self, residual: Any, generator: torch.Generator, like: Tensor) -> None:
        super().update(lambda points: residual(self._placed(points)), generator, like)

    def _placed(self, points: Tensor) -> Tensor:
        columns = iter(points.split(1, dim=-1))
        return torch.cat(
            [
                torch.full_like(points[:, :1], end) if axis in self.fixed else next(columns)
                for axis, end in enumerate(self.lower)
            ],
            dim=-1,
        )


def _face(domain: Box, fixed: tuple[int, ...]) -> Box | None:
    free = [axis for axis in range(domain.dim) if axis not in fixed]
    if not free:
        return None
    return Box(tuple(domain.lower[a] for a in free), tuple(domain.upper[a] for a in free))


def _same(a: Box, b: Box) -> bool:
    pairs = zip((*a.lower, *a.upper), (*b.lower, *b.upper), (*b.extent, *b.extent), strict=True)
    return all(abs(x - y) <= 1e-6 * length for x, y, length in pairs)


def _as_it_is() -> Any:
    return torch.set_grad_enabled(torch.is_grad_enabled())
