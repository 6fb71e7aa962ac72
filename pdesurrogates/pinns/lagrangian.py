"""Solutions along their characteristics: one network for the motion, one for the state."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pdesurrogates.core import Box, Grid
from pdesurrogates.equations import Equation
from pdesurrogates.operators import (
    AutodiffDerivatives,
    JetDerivatives,
    LagrangianDerivatives,
    PointDerivatives,
)
from pdesurrogates.pinns.characteristics import CharacteristicsCrossed, find_labels
from pdesurrogates.pinns.fields import SpaceTimeField
from pdesurrogates.pinns.label_networks import (
    at_rest,
    check_networks,
    has_taylor_rules,
    label_coordinates,
)
from pdesurrogates.pinns.problem import DrawnPoints, PointSet, Problem
from pdesurrogates.pinns.transforms import space_box
from pdesurrogates.sampling import Sampler, Sobol

__all__ = ["LagrangianPINN", "at_rest"]

_NUM_LABELS = 256
"""Labels of a sorted search at least."""


class LagrangianPINN(Problem, SpaceTimeField):
    """A solution in one dimension as a motion x(X, t) of labels X and a state u(X, t) on them:

        characteristic:  x_t - a(u) = 0,                      x(X, t) = X + V t + displacement
        state:           u_t - (rhs(t, u) + a(u) u_x) = 0     u_t at fixed label

    Two networks without common weights. The equation gives a(u) and rhs, and sees derivatives in
    x, d/dx = (1/F) d/dX with F = dx/dX: diffusion is (1/F) d/dX ((1/F) du/dX).

    With an initial condition u0 it holds exactly by default,

        displacement = t displacement_network,   u = u0(X) + t state_network,

    or, with `hard=False`, x = X and u = u0 at the start are two more parts of the loss.

    Warning:
        Valid until characteristics cross (F = 0), which training checks: at inviscid shocks they
        do, and with small viscosity F gets so small that 1/F^2 makes the state equation stiff. A
        network of x and t in a frame that moves with the mean flow may be the better choice.

    Reference:
        Lagrangian PINNs (Mojgani et al., 2023). https://arxiv.org/abs/2205.02902. Differs from
        the published code: separate networks, a periodic displacement instead of a periodic
        position, diffusion in x instead of X, mean squares instead of norms.

    Args:
        equation: An equation in one dimension with a `characteristic_velocity`.
        displacement: Network (X, t) -> (batch, point, 1); see `at_rest`.
        state: Network (X, t) -> (batch, point, channel).
        domain: Box of the labels, or a grid; a periodic one gives the period. Training and
            evaluation need it, or `period`.
        times: First and last time; training and evaluation need them.
        period: Period L; the networks then take cos(2 pi X/L), sin(2 pi X/L), t in place of X, t,
            so that displacement and state are periodic.
        initial_condition: u0(X), made of torch functions; `None` leaves the networks as they are.
        hard: Whether the initial condition holds by construction.
        frame_velocity: V, a part of the motion that needs no learning [length/time].
        sampler: Where labels and times are drawn; by default Sobol points.
        num_points: Labels and times per draw; a quarter as many at the start if it is soft.
        weights: Factors of "characteristic", "state" and, where the initial condition is soft,
            "initial_position" and "initial_state" in the loss; 1 where nothing is said.
        min_stretch: Training stops where F is not above this; minus infinity never stops.
        derivatives: From the provider at the labels and x(X, t), the one that the equation sees.

    Shape:
        labels, times: (batch, point, 1)

    Example:
        >>> from pdesurrogates.backbones import MLP
        >>> from pdesurrogates.equations import Burgers
        >>> nets = {name: MLP(2, 1, width=8, depth=2) for name in ("displacement", "state")}
        >>> pinn = LagrangianPINN(Burgers(0.1), **nets)
        >>> residuals = pinn.residuals(torch.rand(1, 5, 1), torch.rand(1, 5, 1))
        >>> {name: tuple(r.shape) for name, r in residuals.items()}
        {'characteristic': (1, 5, 1), 'state': (1, 5, 1)}
    """

    def __init__(
        self,
        equation: Equation,
        *,
        displacement: nn.Module,
        state: nn.Module,
        domain: Box | Grid | None = None,
        times: tuple[float, float] | None = None,
        period: float | None = None,
        initial_condition: Callable[[Any], Any] | None = None,
        hard: bool = True,
        frame_velocity: float = 0.0,
        sampler: Sampler | None = None,
        num_points: int = 1024,
        weights: Mapping[str, float] | None = None,
        min_stretch: float = 0.05,
        derivatives: Callable[[PointDerivatives, Any], PointDerivatives] = LagrangianDerivatives,
    ) -> None:
        space, period = _space_and_period(domain, period)
        is_soft = initial_condition is not None and not hard
        names = ["characteristic", "state"]
        names += ["initial_position", "initial_state"] if is_soft else []
        point_sets: dict[str, PointSet] = {}
        if space is not None and times is not None:
            sampler = Sobol(space.with_time(*times)) if sampler is None else sampler
            point_sets["labels"] = DrawnPoints(sampler, num_points)
            if is_soft:
                point_sets["initial"] = DrawnPoints(Sobol(space), max(1, num_points // 4))
        super().__init__(point_sets, names, weights)
        self.equation, self.fields = equation, equation.fields
        self.displacement, self.state = displacement, state
        self._space, self.span, self.period = space, times, period
        self.initial_condition = initial_condition
        self.is_hard = initial_condition is not None and hard
        self.frame_velocity = frame_velocity
        self.min_stretch = min_stretch
        self.derivatives = derivatives
        check_networks(displacement, state, equation.fields.num_channels, period)
        self._has_rules = has_taylor_rules(
            lambda d: (self._motion(d), self._state(d)), self._reference()
        )

    @property
    def space(self) -> Box:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Box of the labels, and of the points at the start."""
        if self._space is None:
            raise ValueError(
                "LagrangianPINN: training and evaluation need the range of the labels; give "
                "`domain` (a Box or a Grid) or `period`."
            )
        return self._space

    @property
    def domain(self) -> Box:
        """Box of labels and times; time is the last axis."""
        if self.span is None:
            raise ValueError(
                "LagrangianPINN: training and evaluation need the first and last time; give "
                "`times=(start, end)`."
            )
        return self.space.with_time(*self.span)

    @property
    def start_time(self) -> float:
        """Time at which x = X."""
        return 0.0 if self.span is None else self.span[0]

    @property
    def is_functional(self) -> bool:
        """Whether residuals can be differentiated by `torch.func`, as second-order steps do."""
        return self._has_rules

    def draw(self, generator: torch.Generator) -> dict[str, Tensor]:
        _ = self.domain  # says what is missing
        return super().draw(generator)

    def residuals(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, labels: Tensor | Mapping[str, Tensor], times: Tensor | None = None
    ) -> dict[str, Tensor]:
        """What is not yet zero of the two equations.

        Args:
            labels: X (batch, point, 1). The points of all sets by name, without `times`, give all
                parts of the loss, as for any `Problem`.
            times: t (batch, point, 1).

        Returns:
            "characteristic", x_t - a(u) [length/time], and "state", what remains of the equation
            along characteristics [field unit/time], both (batch, point, channel).
        """
        if isinstance(labels, Mapping):
            return super().residuals(labels)
        times = _check_points(labels, times, where="LagrangianPINN.residuals")
        with torch.set_grad_enabled(torch.is_grad_enabled() or not self._has_rules):
            d = self._at(labels, times)
            x, u = self._motion(d), self._state(d)
            seen = self.derivatives(d, x)
            a = self.equation.characteristic_velocity(times, u, seen)
            rest = self.equation.rhs(times, u, seen) + a * seen.dx(u)
            return {
                "characteristic": d.values(d.dt(x) - a),
                "state": d.values(d.dt(u) - rest),
            }

    def residuals_of(self, name: str, points: Tensor) -> dict[str, Tensor]:
        if name == "labels":
            found = self.residuals(points[None, :, :1], points[None, :, 1:])
        else:
            labels = points[None, :, :1]
            d = self._at(labels, torch.full_like(labels, self.start_time))
            u0 = self._given_initial(d.points)
            found = {
                "initial_position": d.values(self._motion(d) - d.points),
                "initial_state": d.values(self._state(d) - u0),
            }
        return {key: r[0] for key, r in found.items()}

    def characteristics(self, labels: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """Positions x (batch, point, 1) and states u (batch, point, channel) of labels."""
        times = _check_points(labels, times, where="LagrangianPINN.characteristics")
        d = self._at(labels, times)
        return d.values(self._motion(d)), d.values(self._state(d))

    def positions(self, labels: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """Positions x and stretch F = dx/dX of labels, (batch, point, 1) both.

        Returned without gradients: for the map from x to labels and for monitors.
        """
        times = _check_points(labels, times, where="LagrangianPINN.positions")
        with torch.set_grad_enabled(not self._has_rules):
            d = self._at(labels, times)
            x = self._motion(d)
            return d.values(x).detach(), d.values(d.derivative(x, 0)).detach()

    def smallest_stretch(
        self, *, num_labels: int = 256, num_times: int = 33
    ) -> tuple[float, float, float]:
        """Smallest F on a grid of the domain, with its label and its time."""
        domain = self.domain
        like = self._reference()
        x = torch.linspace(domain.lower[0], domain.upper[0], num_labels).to(like)
        t = torch.linspace(domain.lower[1], domain.upper[1], num_times).to(like)
        times, labels = (grid[..., None] for grid in torch.meshgrid(t, x, indexing="ij"))
        _, stretch = self.positions(labels, times)
        stretch = stretch.nan_to_num(nan=float("-inf"))
        at = int(stretch.argmin())
        smallest, label, time = (float(v.flatten()[at]) for v in (stretch, labels, times))
        return smallest, label, time

    def examine(self, points: Mapping[str, Tensor]) -> None:
        """Stop where characteristics cross, or nearly.

        Raises:
            CharacteristicsCrossed: If F is not above `min_stretch` somewhere, with the place.
        """
        del points
        stretch, label, time = self.smallest_stretch()
        if not stretch > self.min_stretch:
            raise CharacteristicsCrossed(stretch, label, time, self.min_stretch)

    @torch.no_grad()
    def field(self, points: Tensor, times: Tensor) -> Tensor:
        """u at points x (batch, point, 1) and times, through the label that is there.

        Without gradients. Points beyond the first and last label are refused.
        """
        labels = self._labels_at(points.reshape(-1, 1), times.reshape(-1), _NUM_LABELS)
        return self.characteristics(labels.reshape(points.shape), times)[1]

    @torch.no_grad()
    def sample(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        grid: Grid,
        times: Sequence[float] | Tensor = (0.0,),
        *,
        oversampling: int = 4,
        chunk_size: int = 262_144,
    ) -> Tensor:
        """The solution at the points of a grid, (1, time, channel, point).

        x(X, t) is inverted to rounding, so nothing is interpolated.

        Args:
            grid: One-dimensional; its points must lie in the domain.
            times: When.
            oversampling: Labels per grid point in the first, sorted search.
            chunk_size: Labels per call of the network.

        Raises:
            CharacteristicsCrossed: If x(X, t) is not monotone in X.
            ValueError: If a point or time is outside the domain, or no label is at a point.
        """
        if grid.dim != 1:
            raise ValueError(
                "LagrangianPINN.sample: characteristics have one space axis, got a grid with "
                f"{grid.dim}."
            )
        like = self._reference()
        points = grid.coordinates(dtype=like.dtype, device=like.device).flatten(1).mT
        when = torch.as_tensor(times, dtype=torch.float64).to(like).reshape(-1)
        asked = torch.cartesian_prod(points[:, 0], when)
        self.domain.check(asked, where="LagrangianPINN.sample")
        num_labels = max(oversampling * len(points), _NUM_LABELS)
        frames = []
        for piece in when.split(max(1, chunk_size // num_labels)):
            labels = self._labels_at(points[:, 0].expand(len(piece), -1), piece, num_labels)
            u = self.characteristics(labels, piece[:, None, None].expand_as(labels))[1]
            frames.append(u.mT)
        return torch.cat(frames)[None]

    def _labels_at(self, points: Tensor, times: Tensor, num_labels: int) -> Tensor:
        """The labels (time, point, 1) at the points (time, point) at the times (time,)."""
        ends = (self.space.lower[0], self.space.upper[0])
        return find_labels(
            self.positions, points, times, ends=ends, num_labels=num_labels, period=self.period
        )

    def _motion(self, d: PointDerivatives) -> Any:
        """x(X, t)."""
        elapsed = d.times - self.start_time
        displacement = self.displacement(label_coordinates(d, self.period))
        if self.is_hard:
            displacement = elapsed * displacement
        return d.points + elapsed * self.frame_velocity + displacement

    def _state(self, d: PointDerivatives) -> Any:
        """u(X, t)."""
        u = self.state(label_coordinates(d, self.period))
        if not self.is_hard:
            return u
        return self._given_initial(d.points) + (d.times - self.start_time) * u

    def _given_initial(self, labels: Any) -> Any:
        if self.initial_condition is None:
            raise ValueError("LagrangianPINN: there is no `initial_condition`.")
        return self.initial_condition(labels)

    def _at(self, labels: Tensor, times: Tensor) -> PointDerivatives:
        if self._has_rules:
            return JetDerivatives(labels, times)
        # The provider switches gradients on; the caller's tensors stay as they are.
        tensors = (p if p.requires_grad else p.detach() for p in (labels, times))
        return AutodiffDerivatives(*tensors)

    def _reference(self) -> Tensor:
        """A tensor with the dtype and device of the networks."""
        return next((p for p in self.parameters() if p.is_floating_point()), torch.zeros(()))


def _space_and_period(
    domain: Box | Grid | None, period: float | None
) -> tuple[Box | None, float | None]:
    """The labels, and the period that a periodic grid or the caller gives."""
    if period is not None and not period > 0:
        raise ValueError(f"LagrangianPINN: `period` must be positive, got {period}.")
    if domain is None:
        return (None if period is None else Box((0.0,), (period,))), period
    space = space_box(domain)
    if space.dim != 1:
        raise ValueError(
            f"LagrangianPINN: labels have one coordinate, got a `domain` with {space.dim} axes; "
            "the times are given by `times`, and a network of x and t (PINN) takes more axes."
        )
    if isinstance(domain, Grid) and domain.is_periodic[0] and period is None:
        period = space.extent[0]
    if period is not None and not math.isclose(space.extent[0], period, rel_tol=1e-6):
        raise ValueError(
            f"LagrangianPINN: the domain has the length {space.extent[0]}, but `period` is "
            f"{period}; labels must fill one period."
        )
    return space, period


def _check_points(labels: Tensor, times: Tensor | None, *, where: str) -> Tensor:
    if times is None:
        raise ValueError(f"{where}: labels need their `times` (batch, point, 1).")
    for name, tensor in (("labels", labels), ("times", times)):
        if tensor.ndim != 3 or tensor.shape[-1] != 1 or tensor.shape != labels.shape:
            raise ValueError(
                f"{where}: `labels` and `times` must both have shape (batch, point, 1), got "
                f"{name} {tuple(tensor.shape)} with labels {tuple(labels.shape)}."
            )
    return times
