"""Ground truth of the mesh experiment: advection-diffusion by linear finite elements.

    u_t + v . grad u = diffusivity lap u,    u given on the boundary, constant in time

on the unit square with round holes; triangles of random points; implicit midpoint in time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu
from scipy.spatial import Delaunay, KDTree

__all__ = ["Mesh", "Problem", "interpolated", "make_holes", "make_mesh", "refined", "solve"]

Hole = tuple[float, float, float]  # x, y, radius


@dataclass(frozen=True)
class Problem:
    """Velocity [length / time] and diffusivity [length^2 / time]."""

    velocity: tuple[float, float]
    diffusivity: float


@dataclass(frozen=True)
class Mesh:
    """Points (node, 2), triangles (cell, 3) and which nodes are on the boundary (node,)."""

    points: np.ndarray
    cells: np.ndarray
    is_boundary: np.ndarray


def make_holes(rng: np.random.Generator, *, gap: float) -> list[Hole]:
    """One to three round holes, at least `gap` from the sides and from each other."""
    holes: list[Hole] = []
    number = int(rng.integers(1, 4))
    while len(holes) < number:
        radius = rng.uniform(0.06, 0.12)
        x, y = rng.uniform(radius + gap, 1 - radius - gap, size=2)
        if all(np.hypot(x - a, y - b) > radius + r + gap for a, b, r in holes):
            holes.append((float(x), float(y), float(radius)))
    return holes


def make_mesh(holes: Sequence[Hole], spacing: float, rng: np.random.Generator) -> Mesh:
    """Delaunay triangles of random points at least `spacing` apart; boundaries 1.25 times that."""
    n = round(1 / (1.25 * spacing))
    s = np.arange(n) / n
    zero, one = np.zeros(n), np.ones(n)
    sides = [np.stack(side, axis=1) for side in ((s, zero), (one, s), (1 - s, one), (zero, 1 - s))]
    rings = []
    for x, y, radius in holes:
        m = max(8, round(2 * np.pi * radius / (1.25 * spacing)))
        angle = 2 * np.pi * (np.arange(m) + rng.random()) / m
        rings.append(np.stack((x + radius * np.cos(angle), y + radius * np.sin(angle)), axis=1))
    boundary = np.concatenate([*sides, *rings])
    inner = np.empty((0, 2))
    for _ in range(40):  # batches of darts
        darts = rng.random((200, 2))
        away = KDTree(boundary).query(darts)[0] > spacing
        away &= ((darts > 0.7 * spacing) & (darts < 1 - 0.7 * spacing)).all(axis=1)
        for x, y, radius in holes:
            away &= np.hypot(*(darts - (x, y)).T) > radius + 0.7 * spacing
        for dart in darts[away]:
            if not len(inner) or np.hypot(*(inner - dart).T).min() > spacing:
                inner = np.concatenate((inner, dart[None]))
    points = np.concatenate((boundary, inner))
    cells = Delaunay(points).simplices
    first = 4 * n
    for ring in rings:  # triangles with all corners on one ring fill the hole
        is_inside = ((cells >= first) & (cells < first + len(ring))).all(axis=1)
        cells, first = cells[~is_inside], first + len(ring)
    cells = cells[np.abs(_areas(points, cells)) > 1e-6 * spacing**2]
    return Mesh(points, cells, np.arange(len(points)) < len(boundary))


def refined(mesh: Mesh) -> Mesh:
    """Every triangle as four; the old nodes come first."""
    sides = np.sort(np.concatenate([mesh.cells[:, pair] for pair in ([0, 1], [1, 2], [2, 0])]))
    unique, where, count = np.unique(sides, axis=0, return_inverse=True, return_counts=True)
    where = where.reshape(3, -1) + len(mesh.points)
    points = np.concatenate((mesh.points, mesh.points[unique].mean(axis=1)))
    (a, b, c), (ab, bc, ca) = mesh.cells.T, where
    cells = np.concatenate(
        [np.stack(t, axis=1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))]
    )
    return Mesh(points, cells, np.concatenate((mesh.is_boundary, count == 1)))


def solve(
    problem: Problem, mesh: Mesh, u0: np.ndarray, dt: float, num_frames: int, *, substeps: int
) -> np.ndarray:
    """Frames (num_frames, node, sample) of initial states (node, sample), dt apart.

    P1 elements: M u' = -(diffusivity K + C) u on inner nodes; implicit midpoint with step
    dt / substeps, one sparse factorisation.
    """
    step = step_function(problem, mesh, dt / substeps)
    frames = np.empty((num_frames, *u0.shape))
    frames[0] = u = u0
    for n in range(1, num_frames):
        for _ in range(substeps):
            u = step(u)
        frames[n] = u
    return frames


def step_function(problem: Problem, mesh: Mesh, dt: float):
    """u (node, sample) -> u one implicit midpoint step later; factorised once."""
    mass, stiffness, transport = _matrices(problem, mesh)
    free = np.flatnonzero(~mesh.is_boundary)
    operator = (problem.diffusivity * stiffness + transport).tocsr()
    left = (mass + dt / 2 * operator).tocsr()[free][:, free]
    solver, rows = splu(left.tocsc()), operator[free]

    def step(u: np.ndarray) -> np.ndarray:
        u_next = u.copy()
        u_next[free] -= dt * solver.solve(rows @ u)
        return u_next

    return step


def interpolated(mesh: Mesh, u: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Linear interpolation of node values (node, sample) to points of the same domain."""
    triangles = Delaunay(mesh.points)
    inside = 0.5 + (points - 0.5) * (1 - 1e-9)
    cell = triangles.find_simplex(inside)
    transform = triangles.transform[cell]
    weights = np.einsum("nij,nj->ni", transform[:, :2], inside - transform[:, 2])
    weights = np.concatenate((weights, 1 - weights.sum(axis=1, keepdims=True)), axis=1)
    return np.einsum("ni,nis->ns", weights, u[triangles.simplices[cell]])


def _areas(points: np.ndarray, cells: np.ndarray) -> np.ndarray:
    a, b, c = (points[cells[:, n]] for n in range(3))
    return 0.5 * ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0])


def _matrices(problem: Problem, mesh: Mesh) -> list[sparse.coo_matrix]:
    """Mass, stiffness and transport matrix of P1 elements."""
    corners = mesh.points[mesh.cells]  # (cell, 3, 2)
    area = _areas(mesh.points, mesh.cells)
    opposite = np.roll(corners, -1, axis=1) - np.roll(corners, -2, axis=1)
    gradients = (
        np.stack((opposite[..., 1], -opposite[..., 0]), axis=-1) / (2 * area)[:, None, None]
    )
    area = np.abs(area)
    mass = area[:, None, None] * (np.ones((3, 3)) + np.eye(3)) / 12
    stiffness = area[:, None, None] * np.einsum("cid,cjd->cij", gradients, gradients)
    slope = gradients @ np.asarray(problem.velocity)
    transport = np.repeat((area / 3)[:, None, None] * slope[:, None, :], 3, axis=1)
    rows, columns = np.repeat(mesh.cells, 3, axis=1).ravel(), np.tile(mesh.cells, 3).ravel()
    size = (len(mesh.points),) * 2
    return [
        sparse.coo_matrix((entries.ravel(), (rows, columns)), shape=size)
        for entries in (mass, stiffness, transport)
    ]
