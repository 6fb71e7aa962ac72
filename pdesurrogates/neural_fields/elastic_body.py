"""An elastic body: what it is made of, what acts on it, and the potential of its next state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pdesurrogates.neural_fields.elastic_contact import Obstacle
from pdesurrogates.neural_fields.elastic_energy import ElasticEnergy

__all__ = ["ElasticBody", "ElasticStep"]


@dataclass(frozen=True)
class ElasticBody:
    """Energy, inertia, forces and obstacles, per unit volume at rest.

    The next positions q of implicit Euler minimise the incremental potential, the mean over the
    body, times its volume, of

        W(dq/dX) + density / (2 dt^2) |q - q_free|^2 + sum over obstacles stiffness/2 depth(q)^2
        q_free = q_n + dt q'_n + dt^2 force / density,      q' = (q - q_n) / dt

    which is the published sum over samples r_arap (..) + r_vol (..) + r_kin |q' - q'_n|^2 - dt
    q' . force up to a constant, with density = 2 r_kin: the force is in the square. As a mean
    times the volume its weights do not depend on the number of samples. Without inertia
    (density 0) what is left is the energy of a body at rest between given ends.

    Differs from the published code where that looks like a slip: contact grows with the depth
    inside the obstacle, not with the distance to its centre, and inversion costs energy.

    Reference:
        Implicit Neural Spatial Representations for Time-dependent PDEs (Chen et al., 2023), the
        elastodynamic examples. https://arxiv.org/abs/2210.00124

    Args:
        energy: W.
        density: Mass per volume; 0 for a body at rest.
        force: Force per volume, one number per axis; empty for none.
        force_end: The force acts in steps that start before this time.
        obstacles: What the body cannot enter.

    Raises:
        ValueError: If the density is negative, or there is a force without inertia.
    """

    energy: ElasticEnergy
    density: float = 0.0
    force: Sequence[float] = ()
    force_end: float = math.inf
    obstacles: tuple[Obstacle, ...] = ()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.density) and self.density >= 0):
            raise ValueError(f"ElasticBody: `density` must not be negative, got {self.density}.")
        object.__setattr__(self, "force", tuple(float(value) for value in self.force))
        if self.is_static and any(self.force):
            raise ValueError(
                "ElasticBody: a force needs inertia to be a sum of squares, got density 0 and "
                f"force {self.force}; give a density and take large steps, which approach rest."
            )

    @property
    def is_static(self) -> bool:
        """Whether there is no inertia."""
        return self.density == 0

    def num_rows(self, dim: int) -> int:
        """Length of `rows`."""
        return dim * dim + 1 + (0 if self.is_static else dim) + len(self.obstacles)

    def free_positions(self, q: Tensor, velocity: Tensor, t: float, dt: float) -> Tensor:
        """Where points would be after a step without neighbours and obstacles (..., dim)."""
        free = q + dt * velocity
        if self.force and t < self.force_end * (1 - 1e-12):
            free = free + dt**2 / self.density * q.new_tensor(self.force)
        return free

    def rows(self, q: Tensor, gradient: Tensor, free: Tensor, dt: float) -> Tensor:
        """Roots of the potential per volume (..., num_rows): their squares add up to it.

        Args:
            q: Positions (..., dim).
            gradient: dq/dX (..., dim, dim).
            free: See `free_positions`; anything where there is no inertia.
            dt: Step.
        """
        return torch.cat((self.energy.rows(gradient), self.point_rows(q, free, dt)), dim=-1)

    def point_rows(self, q: Tensor, free: Tensor, dt: float) -> Tensor:
        """The rows that do not need the gradient: inertia and obstacles."""
        parts = [] if self.is_static else [math.sqrt(self.density / 2) / dt * (q - free)]
        parts += [obstacle.rows(q) for obstacle in self.obstacles]
        return torch.cat(parts, dim=-1) if parts else q[..., :0]


@dataclass(frozen=True)
class ElasticStep:
    """What a step ended with.

    Args:
        t: Time of the new state.
        potential: The minimised incremental potential, at the points of the fit.
        elastic_energy: Volume times the mean of W, at the points of the check.
        kinetic_energy: Volume times the mean of density/2 |q'|^2 there.
        contact_energy: Volume times the mean of the penalties there.
        depth: Largest depth in an obstacle there [length].
        min_volume_ratio: Smallest det F there; below zero the body is turned inside out.
        inverted_share: Share of the points of the check with det F < 0.
        status: "converged", "stalled" or "max_iterations" of the minimiser.
        num_iterations: Its iterations.
        seconds: Time of the step.
    """

    t: float
    potential: float
    elastic_energy: float
    kinetic_energy: float
    contact_energy: float
    depth: float
    min_volume_ratio: float
    inverted_share: float
    status: str
    num_iterations: int
    seconds: float

    @property
    def problem(self) -> str | None:
        """Why the state is unusable, in words, or `None`."""
        numbers = (self.potential, self.elastic_energy, self.kinetic_energy, self.contact_energy)
        if not all(map(math.isfinite, numbers)):
            return "the energy is not finite; lower the step or the stiffness"
        if self.inverted_share > 0:
            return (
                f"the body is turned inside out at {self.inverted_share:.2%} of the points "
                f"(smallest det F {self.min_volume_ratio:.3g}); take smaller steps, more points, "
                "a larger volume stiffness or a softer obstacle"
            )
        return None


def measure(
    body: ElasticBody,
    q: Tensor,
    gradient: Tensor,
    velocity: Tensor,
    weights: Tensor,
) -> dict[str, float]:
    """Energies, depth and inversion of a state, by quadrature.

    Args:
        body: The body.
        q: Positions (point, dim).
        gradient: dq/dX (point, dim, dim).
        velocity: (point, dim).
        weights: Volume that each point stands for (point,).
    """
    volume_ratio = torch.linalg.det(gradient)
    contact = [obstacle.rows(q).square().sum(dim=-1) for obstacle in body.obstacles]
    depths = [obstacle.depth(q).amax() for obstacle in body.obstacles]
    return {
        "elastic_energy": float(weights @ body.energy(gradient)),
        "kinetic_energy": float(weights @ velocity.square().sum(-1)) * body.density / 2,
        "contact_energy": float(sum(weights @ entry for entry in contact)),
        "depth": float(max(depths)) if depths else 0.0,
        "min_volume_ratio": float(volume_ratio.min()),
        "inverted_share": float((~(volume_ratio > 0)).double().mean()),
    }
