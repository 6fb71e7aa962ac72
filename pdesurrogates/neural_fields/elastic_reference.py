"""The same elastic bodies by finite elements: truth on a fine mesh, rival on a coarse one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import splu
from torch import Tensor

from pdesurrogates.neural_fields.elastic_body import ElasticBody, ElasticStep, measure
from pdesurrogates.neural_fields.elastic_elements import Elements

__all__ = ["ElementSolver", "ElementTrajectory"]


@dataclass(frozen=True)
class ElementTrajectory:
    """Positions of the nodes of finite elements at times.

    Args:
        elements: Mesh and basis of the body at rest.
        times: One per state; the first is the start.
        positions: (time, node, dim).
        steps: One report per step.
        message: Why the run stopped early, empty if it did not.
    """

    elements: Elements
    times: tuple[float, ...]
    positions: Tensor
    steps: tuple[ElasticStep, ...]
    message: str = ""

    def at(self, points: Tensor, n: int = -1) -> Tensor:
        """Positions of points (point, dim) of the body at rest, at time n -> (point, dim)."""
        return self.elements.interpolate(self.positions[n], points)


class ElementSolver:
    """Implicit Euler for an `ElasticBody` on triangles or tetrahedra.

    Minimises the same incremental potential as `ElasticSolver`, all of it at the quadrature
    points of the elements. Damped Gauss-Newton with a sparse factorisation per step, on the CPU
    in float64.

    Args:
        body: Material, forces, obstacles.
        elements: Mesh and basis.
        fixed: Which coordinates of the nodes are given (node, dim); default none.
        max_iterations: Factorisations per step, at most.
        relative_tolerance: A relative decrease of the potential that is not worth another step.
    """

    def __init__(
        self,
        body: ElasticBody,
        elements: Elements,
        *,
        fixed: Tensor | None = None,
        max_iterations: int = 200,
        relative_tolerance: float = 1e-9,
    ) -> None:
        self.body = body
        self.elements = elements
        self.max_iterations = max_iterations
        self.relative_tolerance = relative_tolerance
        nodes = elements.nodes
        given = torch.zeros_like(nodes, dtype=torch.bool) if fixed is None else fixed
        self.free_unknowns = (~given.flatten()).nonzero().squeeze(-1).numpy()
        unknowns = elements.cell_nodes[..., None] * nodes.shape[1] + torch.arange(nodes.shape[1])
        self._unknowns = unknowns.flatten(1)
        count = self._unknowns.shape[1]
        self._rows = self._unknowns[:, :, None].expand(-1, -1, count).flatten().numpy()
        self._columns = self._unknowns[:, None, :].expand(-1, count, -1).flatten().numpy()

    @property
    def num_unknowns(self) -> int:
        """Coordinates of nodes that are not given."""
        return len(self.free_unknowns)

    def relax(self, start: Tensor) -> ElementTrajectory:
        """The body at rest; given coordinates stay as they are in `start` (node, dim)."""
        return self._run([0.0, 1.0], start, torch.zeros_like(start))

    def solve(
        self,
        dt: float,
        num_steps: int,
        *,
        velocity: Sequence[float] = (),
        on_step: Callable[[ElasticStep], None] | None = None,
    ) -> ElementTrajectory:
        """Advance by implicit Euler from rest positions; see `ElasticSolver.solve`."""
        nodes = self.elements.nodes
        speed = nodes.new_tensor(tuple(velocity) or (0.0,) * nodes.shape[1]).expand_as(nodes)
        times = [n * dt for n in range(num_steps + 1)]
        return self._run(times, nodes, speed, on_step)

    def _run(
        self,
        times: list[float],
        q: Tensor,
        velocity: Tensor,
        on_step: Callable[[ElasticStep], None] | None = None,
    ) -> ElementTrajectory:
        states, steps, message = [q], [], ""
        for n, (t, t_next) in enumerate(zip(times, times[1:], strict=False)):
            started, dt = time.perf_counter(), t_next - t
            free = q if self.body.is_static else self.body.free_positions(q, velocity, t, dt)
            q_next, potential, count, status = self._minimise(q, free, dt)
            q_here, gradient = self._deformation(q_next)
            velocity = (q_next - q) / dt
            numbers = measure(
                self.body,
                q_here.flatten(0, 1),
                gradient.flatten(0, 1),
                self._at_quadrature(velocity).flatten(0, 1),
                self.elements.weights.flatten(),
            )
            seconds = time.perf_counter() - started
            step = ElasticStep(
                t=t_next,
                potential=potential,
                status=status,
                num_iterations=count,
                seconds=seconds,
                **numbers,
            )
            if step.problem is not None:
                message = f"ElementSolver, step {n + 1} to t = {t_next:.6g}: {step.problem}."
                break
            q = q_next
            states.append(q)
            steps.append(step)
            if on_step is not None:
                on_step(step)
        reached = tuple(times[: len(states)])
        return ElementTrajectory(
            self.elements, reached, torch.stack(states), tuple(steps), message
        )

    def _minimise(self, q: Tensor, free: Tensor, dt: float) -> tuple[Tensor, float, int, str]:
        potential, damping, growth, num_flat = self._potential(q, free, dt), 1e-6, 4.0, 0
        for count in range(1, self.max_iterations + 1):
            matrix, slope = self._system(q, free, dt)
            scale = float(matrix.diagonal().mean())
            while damping < 1e8:
                shifted = matrix + damping * scale * sparse.identity(self.num_unknowns)
                factor = splu(
                    shifted.tocsc(),
                    permc_spec="MMD_AT_PLUS_A",
                    diag_pivot_thresh=0.0,
                    options={"SymmetricMode": True},
                )
                step = -factor.solve(slope)
                trial = q.flatten().clone()
                trial[self.free_unknowns] += torch.from_numpy(step)
                trial = trial.reshape(q.shape)
                found = self._potential(trial, free, dt)
                predicted = -float(slope @ step) / 2
                if found < potential or predicted < self.relative_tolerance * potential:
                    break
                damping, growth = damping * growth, 2 * growth
            else:
                return q, potential, count, "stalled"
            decrease = potential - found
            if decrease <= 0:
                return q, potential, count, "converged"
            damping = max(damping / (10 if decrease > 0.5 * predicted else 2), 1e-12)
            num_flat = num_flat + 1 if decrease < self.relative_tolerance * potential else 0
            q, potential, growth = trial, found, 4.0
            if num_flat >= 2 or potential < 1e-24:
                return q, potential, count, "converged"
        return q, potential, self.max_iterations, "max_iterations"

    def _at_quadrature(self, node_values: Tensor) -> Tensor:
        """Values at the quadrature points (cell, quadrature, dim) of values at nodes."""
        return self.elements.values @ node_values[self.elements.cell_nodes]

    def _deformation(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """q and dq/dX at the quadrature points."""
        corners = q[self.elements.cell_nodes][:, None]
        return self._at_quadrature(q), corners.mT @ self.elements.gradients

    def _potential(self, q: Tensor, free: Tensor, dt: float) -> float:
        q_here, gradient = self._deformation(q)
        rows = self.body.rows(q_here, gradient, self._at_quadrature(free), dt)
        return float((self.elements.weights * rows.square().sum(dim=-1)).sum())

    def _system(self, q: Tensor, free: Tensor, dt: float) -> tuple[sparse.csr_matrix, np.ndarray]:
        """Half the Gauss-Newton matrix and half the gradient, in the free unknowns."""
        e = self.elements

        def cell_rows(x: Tensor, slopes: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
            rows = self.body.rows(e.values @ x, x.mT @ slopes, target, dt)
            return rows, rows

        by_cell = torch.func.vmap(torch.func.jacrev(cell_rows, has_aux=True))
        root = e.weights.sqrt()[..., None]
        slopes, rows = by_cell(q[e.cell_nodes], e.gradients, self._at_quadrature(free))
        slopes = (slopes.flatten(3) * root[..., None]).flatten(1, 2)
        rows = (rows * root).flatten(1)
        slope = torch.zeros(q.numel(), dtype=torch.float64)
        slope.index_add_(0, self._unknowns.flatten(), (slopes.mT @ rows[..., None]).flatten())
        values = (slopes.mT @ slopes).flatten().numpy()
        shape = (q.numel(), q.numel())
        matrix = sparse.coo_matrix((values, (self._rows, self._columns)), shape=shape).tocsr()
        own = self.free_unknowns
        return matrix[own][:, own], slope.numpy()[own]
