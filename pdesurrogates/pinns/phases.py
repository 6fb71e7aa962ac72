"""How a loss is made small: Adam, L-BFGS, Gauss-Newton, one after the other."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pdesurrogates.linear import LevenbergMarquardt, ParameterVector, PointwiseResiduals
from pdesurrogates.pinns.problem import Problem

__all__ = ["AdamPhase", "GaussNewtonPhase", "LBFGSPhase", "Optimiser", "Phase"]

Points = Mapping[str, Tensor]


class Optimiser(ABC):
    """Steps of one phase."""

    is_stuck: bool = False
    """Whether the optimiser has found no better step."""

    @abstractmethod
    def advance(self, points: Points, step: int, count: int) -> None:
        """Take `count` steps at fixed points, the first is the step number `step`."""

    def restart(self) -> None:  # noqa: B027
        """Forget what belongs to the old points."""

    def state_dict(self) -> dict[str, Any]:
        """What is needed to go on."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        del state


@dataclass(frozen=True)
class Phase(ABC):
    """A stretch of training with one optimiser.

    Args:
        num_steps: Steps of the optimiser.
        resample_every: Steps between new points (and updates of the samplers); `None` keeps the
            points of the first step.
        report_every: Steps between entries of the history, and looks at whether all is well.
        precision: The problem is brought to this precision; `None` leaves it as it is.
    """

    num_steps: int
    resample_every: int | None = None
    report_every: int = 20
    precision: Literal["float32", "float64"] | None = None

    def __post_init__(self) -> None:
        for name in ("num_steps", "resample_every", "report_every"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ValueError(
                    f"{type(self).__name__}: `{name}` must be a positive integer, got {value!r}."
                )

    @abstractmethod
    def optimiser(self, problem: Problem) -> Optimiser:
        """The optimiser of the problem's trainable parameters."""


@dataclass(frozen=True)
class AdamPhase(Phase):
    """Adam with a learning rate that falls along half a cosine, or stays.

    Args:
        learning_rate: First learning rate.
        final_rate: Last learning rate, as a share of the first.
        schedule: "cosine" or "constant".
    """

    resample_every: int | None = 100
    learning_rate: float = 1e-3
    final_rate: float = 0.0
    schedule: Literal["cosine", "constant"] = "cosine"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(
                f"AdamPhase: `learning_rate` must be positive, got {self.learning_rate}."
            )
        if self.schedule not in ("cosine", "constant"):
            raise ValueError(
                f"AdamPhase: `schedule` must be 'cosine' or 'constant', got {self.schedule!r}."
            )

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        if self.schedule == "constant":
            return self.learning_rate
        fall = 0.5 * (1 + math.cos(math.pi * step / self.num_steps))
        return self.learning_rate * (self.final_rate + (1 - self.final_rate) * fall)

    def optimiser(self, problem: Problem) -> Optimiser:
        return _Adam(problem, self.rate)


@dataclass(frozen=True)
class LBFGSPhase(Phase):
    """L-BFGS with a strong Wolfe line search, in float64.

    In float32 the line search soon finds no decrease; curvature belongs to one set of points, so
    new points start a new history.

    Args:
        history: Pairs of steps and gradient changes that are kept.
    """

    precision: Literal["float32", "float64"] | None = "float64"
    history: int = 50

    def optimiser(self, problem: Problem) -> Optimiser:
        return _LBFGS(problem, self)


@dataclass(frozen=True)
class GaussNewtonPhase(Phase):
    """Damped Gauss-Newton (Levenberg-Marquardt) steps on all residuals together, in float64:

        (J^T J / M + damping s I) step = -J^T r / M

    J^T J is the Gram matrix of the residuals' parameter gradients, so for a linear equation this
    is the energy natural gradient of the residual norm. A step costs a Jacobian of M residuals
    and a matrix of size min(M, parameters): for networks and point sets of up to a few thousand.

    Reference:
        Achieving High Accuracy with PINNs via Energy Natural Gradient Descent (Müller and
        Zeinhofer, 2023). https://arxiv.org/abs/2302.13163

    Args:
        initial_damping: Damping of the first step, in units of the mean diagonal of J^T J / M.
        relative_tolerance: A decrease per step that counts as none; two in a row end the phase.
        chunk_size: Points per block of the Jacobian, where memory is short.
    """

    report_every: int = 5
    precision: Literal["float32", "float64"] | None = "float64"
    initial_damping: float = 1e-2
    relative_tolerance: float = 1e-6
    chunk_size: int | None = None

    def optimiser(self, problem: Problem) -> Optimiser:
        if not problem.is_functional:
            raise ValueError(
                "GaussNewtonPhase: this problem differentiates backwards through its network, "
                "which torch.func cannot repeat per residual; use derivatives=JetDerivatives, or "
                "LBFGSPhase."
            )
        return _GaussNewton(problem, self)


def _trainable(problem: Problem) -> list[nn.Parameter]:
    return [p for p in problem.parameters() if p.requires_grad]


class _Adam(Optimiser):
    def __init__(self, problem: Problem, rate: Callable[[int], float]) -> None:
        self.problem, self.rate = problem, rate
        self.adam = torch.optim.Adam(_trainable(problem), lr=rate(0))

    def advance(self, points: Points, step: int, count: int) -> None:
        for n in range(step, step + count):
            for group in self.adam.param_groups:
                group["lr"] = self.rate(n)
            self.adam.zero_grad(set_to_none=True)
            self.problem.total(self.problem.losses(points)).backward()
            self.adam.step()

    def state_dict(self) -> dict[str, Any]:
        return self.adam.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.adam.load_state_dict(state)


class _LBFGS(Optimiser):
    def __init__(self, problem: Problem, phase: LBFGSPhase) -> None:
        self.problem, self.phase = problem, phase
        self.restart()

    def restart(self) -> None:
        self.lbfgs = torch.optim.LBFGS(
            _trainable(self.problem),
            lr=1.0,
            history_size=self.phase.history,
            tolerance_grad=0.0,
            tolerance_change=0.0,
            line_search_fn="strong_wolfe",
        )
        self.is_stuck = False

    def advance(self, points: Points, step: int, count: int) -> None:
        def closure() -> Tensor:
            self.lbfgs.zero_grad(set_to_none=True)
            total = self.problem.total(self.problem.losses(points))
            total.backward()
            return total

        group = self.lbfgs.param_groups[0]
        group["max_iter"], group["max_eval"] = count, 5 * count
        before = [p.detach().clone() for p in _trainable(self.problem)]
        self.lbfgs.step(closure)  # pyright: ignore[reportArgumentType]
        now = _trainable(self.problem)
        self.is_stuck = all(torch.equal(a, b) for a, b in zip(before, now, strict=True))

    def state_dict(self) -> dict[str, Any]:
        return self.lbfgs.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.lbfgs.load_state_dict(state)


class _Rows(nn.Module):
    """The residuals of one point as one row of numbers."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem = problem

    def forward(self, name: str, point: Tensor) -> Tensor:
        found = self.problem.residuals_of(name, point[None])
        return torch.cat([r[0] for r in found.values()])


class _GaussNewton(Optimiser):
    def __init__(self, problem: Problem, phase: GaussNewtonPhase) -> None:
        self.problem, self.phase = problem, phase
        self.rows = _Rows(problem)
        self.vector = ParameterVector(self.rows)
        self.damping: Tensor | None = None

    def restart(self) -> None:
        self.is_stuck = False

    def advance(self, points: Points, step: int, count: int) -> None:
        systems = self._systems(points)
        solver = LevenbergMarquardt(
            max_iterations=count,
            loss_tolerance=0.0,
            relative_tolerance=self.phase.relative_tolerance,
            initial_damping=self.phase.initial_damping,
        )
        found = solver.minimise(
            lambda x: torch.cat([own.residuals(x) for own in systems], dim=1),
            lambda x: torch.cat([own.jacobian(x) for own in systems], dim=1),
            self.vector.read()[None],
            damping=self.damping,
        )
        self.vector.write(found.x[0])
        self.damping = found.damping.clamp(max=1e3)
        self.is_stuck = found.status[0] == "stalled"

    def _systems(self, points: Points) -> list[PointwiseResiduals]:
        """Rows of every point set, scaled so that their mean square is the loss."""
        with torch.no_grad():
            residuals = self.problem.residuals(points)
            rows = self.problem.row_weights(points, residuals)
        total = sum(r.numel() for r in residuals.values())
        systems = []
        for name, own in points.items():
            with torch.no_grad():
                found = self.problem.residuals_of(name, own[:1])
            factors = [
                (self.problem.weights[key] * total / residuals[key].numel())
                * rows.get(key, torch.ones_like(own[:, :1])).expand(-1, residuals[key].shape[-1])
                for key in found
            ]
            systems.append(
                PointwiseResiduals(
                    self.rows,
                    lambda field, point, n=name: field(n, point),
                    own[None],
                    weights=torch.cat(factors, dim=-1)[None],
                    chunk_size=self.phase.chunk_size,
                )
            )
        return systems

    def state_dict(self) -> dict[str, Any]:
        return {} if self.damping is None else {"damping": self.damping}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.damping = state.get("damping")
