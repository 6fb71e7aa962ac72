"""The three elastic cases: body, domain, given sides, and the meshes that fill them."""

from __future__ import annotations

import math
from typing import Any

import torch
from scipy.spatial import Delaunay
from torch import Tensor

from pdesurrogates.backbones import SIREN
from pdesurrogates.core import Box, Dirichlet
from pdesurrogates.neural_fields import (
    LBFGS,
    BallObstacle,
    ElasticBody,
    ElasticEnergy,
    ElasticSolver,
    Elements,
    ElementSolver,
    GaussNewton,
    NeuralField,
    PlaneObstacle,
    start_at_rest,
)
from pdesurrogates.sampling import MeshPoints, SimplexMesh, Sobol

__all__ = ["body_of", "element_solver", "mesh_of", "neural_solver", "start_positions"]

SQUARE = Box((-1.0, -1.0), (1.0, 1.0))


def body_of(case: dict[str, Any]) -> ElasticBody:
    """Material, force and obstacle of a case."""
    obstacles = []
    if "ball" in case:
        obstacles.append(BallObstacle(**case["ball"]))
    if "plane" in case:
        obstacles.append(PlaneObstacle(**case["plane"]))
    return ElasticBody(
        ElasticEnergy(case["shape_stiffness"], case["volume_stiffness"]),
        density=case.get("density", 0.0),
        force=case.get("force", ()),
        force_end=case.get("force_end", math.inf),
        obstacles=tuple(obstacles),
    )


def mesh_of(case: dict[str, Any], cells: int) -> SimplexMesh:
    """A square of cells^2 bricks, or a ball of that many shells, split if asked."""
    if case["shape"] == "square":
        return SimplexMesh.of_box(SQUARE, (cells, cells))
    mesh = ball_mesh(case["shells"])
    for _ in range(cells):
        mesh = mesh.refined()
    return mesh


def ball_mesh(num_shells: int) -> SimplexMesh:
    """Tetrahedra between points on shells of the unit ball (Delaunay)."""
    shells = [torch.zeros(1, 3, dtype=torch.float64)]
    for shell in range(1, num_shells + 1):
        count = round(12 * shell**2)
        n = torch.arange(count, dtype=torch.float64) + 0.5
        # Golden-angle points, turned from shell to shell.
        height, angle = 1 - 2 * n / count, math.pi * (1 + math.sqrt(5)) * n + shell
        radius = (1 - height.square()).sqrt()
        around = torch.stack((radius * angle.cos(), radius * angle.sin(), height), dim=-1)
        shells.append(shell / num_shells * around)
    points = torch.cat(shells)
    cells = torch.from_numpy(Delaunay(points.numpy()).simplices).long()
    corners = points[cells]
    volumes = torch.linalg.det(corners[:, 1:] - corners[:, :1]).abs()
    return SimplexMesh(points, cells[volumes > 0.05 * volumes.median()])


def neural_solver(case: dict[str, Any], config: dict[str, Any], seed: int) -> ElasticSolver:
    """A network for the displacement, at rest."""
    sampler = Sobol(SQUARE) if case["shape"] == "square" else MeshPoints(mesh_of(case, 0))
    dim = sampler.domain.dim
    torch.manual_seed(seed)
    network = SIREN(
        dim, dim, width=config["width"], depth=config["depth"], omega0=config["omega0"]
    ).double()
    start_at_rest(network)
    boundary = None
    if "pull" in case:
        ends = [(Dirichlet(0.0), Dirichlet(case["pull"])), None]
        boundary = {0: ends, 1: [(Dirichlet(0.0), Dirichlet(0.0)), None]}
    found = {"gauss_newton": GaussNewton, "lbfgs": LBFGS}[config["optimiser"]]
    optimiser = found(
        max_iterations=config["max_iterations"], relative_tolerance=config["relative_tolerance"]
    )
    return ElasticSolver(
        body_of(case),
        NeuralField(network, sampler.domain, boundary=boundary),
        sampler,
        num_points=config["num_points"],
        num_check_points=config["num_check_points"],
        optimiser=optimiser,
        seed=seed,
    )


def element_solver(case: dict[str, Any], arm: dict[str, Any]) -> ElementSolver:
    """Finite elements for the same body."""
    elements = Elements(mesh_of(case, arm["cells"]), arm["degree"])
    held = elements.nodes[:, :1].abs() > 1 - 1e-9 if "pull" in case else None
    return ElementSolver(
        body_of(case),
        elements,
        fixed=None if held is None else held.expand_as(elements.nodes),
        relative_tolerance=arm.get("relative_tolerance", 1e-9),
    )


def start_positions(case: dict[str, Any], nodes: Tensor) -> Tensor:
    """Uniform stretch between the given sides."""
    start = nodes.clone()
    start[:, 0] += case["pull"] * (nodes[:, 0] + 1) / 2
    return start
