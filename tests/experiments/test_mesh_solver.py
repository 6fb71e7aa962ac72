"""The ground truth of the mesh experiment: its order, an exact solution, and its meshes."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from pdesurrogates.backbones import mesh_graph

FOLDER = Path(__file__).parents[2] / "experiments" / "message_passing"


@pytest.fixture(scope="module")
def fem():
    spec = importlib.util.spec_from_file_location("mesh_experiment_fem", FOLDER / "fem.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_second_order_in_space(fem):
    """u = exp(v.x / 2D - (2 pi^2 D + |v|^2 / 4D) t) sin(pi x) sin(pi y), zero on the sides."""
    problem = fem.Problem((0.3, 0.15), 0.1)
    v = np.array(problem.velocity)
    rate = 2 * np.pi**2 * 0.1 + v @ v / 0.4
    mesh, errors = fem.make_mesh([], 0.15, np.random.default_rng(0)), []
    for _ in range(3):
        x, y = mesh.points.T
        u0 = np.exp(mesh.points @ v / 0.2) * np.sin(np.pi * x) * np.sin(np.pi * y)
        u = fem.solve(problem, mesh, u0[:, None], 0.5, 2, substeps=100)[-1, :, 0]
        errors.append(np.sqrt(np.mean((u - u0 * np.exp(-rate * 0.5)) ** 2)))
        mesh = fem.refined(mesh)
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all(np.abs(orders - 2) < 0.2) and errors[-1] < 3e-3, (orders, errors)


def test_linear_functions_along_the_flow_are_kept_exactly(fem):
    """u = 2 x - 4 y + 1 does not change along v = (0.2, 0.1): steady, and P1 holds it."""
    rng = np.random.default_rng(1)
    mesh = fem.make_mesh(fem.make_holes(rng, gap=0.1), 0.06, rng)
    u0 = (mesh.points @ [2.0, -4.0] + 1)[:, None]
    u = fem.solve(fem.Problem((0.2, 0.1), 0.02), mesh, u0, 0.1, 4, substeps=2)
    np.testing.assert_allclose(u, np.broadcast_to(u0, u.shape), atol=1e-12)
    finer = fem.refined(mesh)
    expected = finer.points @ [2.0, -4.0] + 1
    np.testing.assert_allclose(fem.interpolated(mesh, u0, finer.points)[:, 0], expected, atol=1e-8)


@pytest.mark.parametrize("seed", range(4))
def test_triangles_fill_the_square_but_for_the_holes(fem, seed):
    rng = np.random.default_rng(seed)
    holes = fem.make_holes(rng, gap=0.15)
    mesh = fem.make_mesh(holes, 0.04, rng)
    assert 350 < len(mesh.points) < 520
    polygons = sum(_ring_area(mesh, hole) for hole in holes)
    area = np.abs(fem._areas(mesh.points, mesh.cells)).sum()
    assert area == pytest.approx(1 - polygons, abs=1e-12)
    fine = fem.refined(mesh)
    assert len(fine.cells) == 4 * len(mesh.cells)
    assert np.array_equal(fine.points[: len(mesh.points)], mesh.points)
    assert np.abs(fem._areas(fine.points, fine.cells)).sum() == pytest.approx(area)
    assert fine.is_boundary.sum() == 2 * mesh.is_boundary.sum()
    assert mesh_graph(mesh.points, mesh.cells).degree.min() >= 2


def _ring_area(mesh, hole):
    x, y, radius = hole
    on_ring = np.abs(np.hypot(*(mesh.points - (x, y)).T) - radius) < 1e-12
    m = int(on_ring.sum())
    return 0.5 * m * radius**2 * np.sin(2 * np.pi / m)
