import math
from pathlib import Path

import pytest
import torch
from scipy.io import loadmat

from pdesurrogates.core import Box, generator
from pdesurrogates.sampling import MeshPoints, SimplexMesh

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data"
CUBE = Box((0.0, -1.0, 0.0), (1.0, 1.0, 3.0))


@pytest.mark.parametrize(
    "box, num_cells",
    [(Box((1.0,), (3.0,)), (5,)), (Box((0.0, 0.0), (2.0, 1.0)), (3, 2)), (CUBE, (2, 3, 2))],
)
def test_a_box_is_filled_by_simplices(box, num_cells):
    mesh = SimplexMesh.of_box(box, num_cells)
    assert len(mesh.cells) == math.prod(num_cells) * math.factorial(box.dim)
    assert mesh.volume == pytest.approx(box.volume, rel=1e-12)
    torch.testing.assert_close(mesh.volumes, mesh.volumes.mean().expand(len(mesh.cells)))
    inside = box.from_unit(torch.rand(200, box.dim))
    assert bool((mesh.locate(inside) >= 0).all())
    assert bool((mesh.locate(inside + 4.0) < 0).all())


@pytest.mark.parametrize("box", [Box((0.0, 0.0), (2.0, 1.0)), CUBE])
def test_refined_cells_fill_the_same_body(box):
    mesh = SimplexMesh.of_box(box, (2,) * box.dim)
    finer = mesh.refined()
    assert len(finer.cells) == 2**box.dim * len(mesh.cells)
    torch.testing.assert_close(finer.volumes.max(), finer.volumes.min())
    points = MeshPoints(mesh).sample(500, generator=generator(0)).points
    counts = torch.bincount(finer.locate(points), minlength=len(finer.cells))
    assert finer.volume == pytest.approx(mesh.volume) and int(counts.sum()) == 500
    # Split like a finer box: as many different corners.
    assert len(finer.points) == 5**box.dim


def test_a_linear_function_is_interpolated_exactly():
    mesh = SimplexMesh.of_box(CUBE, (2, 2, 1))
    slope = torch.randn(3, 2)
    points = CUBE.from_unit(torch.rand(50, 3))
    found = mesh.interpolate(mesh.points @ slope + 1, points)
    torch.testing.assert_close(found, points @ slope + 1)
    with pytest.raises(ValueError, match="outside the mesh"):
        mesh.interpolate(mesh.points, points + 5)


def test_cells_are_turned_to_positive_orientation():
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    mesh = SimplexMesh(points, torch.tensor([[0, 2, 1]]))
    assert float(torch.linalg.det(mesh.edges[0])) == 1.0
    assert mesh.volume == 0.5


def l_shape():
    """An L of area 3 with cells of very different size."""
    coarse = SimplexMesh.of_box(Box((0.0, 0.0), (2.0, 1.0)), (2, 1))
    fine = SimplexMesh.of_box(Box((0.0, 1.0), (1.0, 2.0)), (8, 8))
    points = torch.cat((coarse.points, fine.points))
    return SimplexMesh(points, torch.cat((coarse.cells, fine.cells + len(coarse.points))))


def test_points_are_inside_and_uniform():
    mesh = l_shape()
    sampler = MeshPoints(mesh)
    samples = sampler.sample(3000, generator=generator(1))
    assert bool((mesh.locate(samples.points) >= 0).all())
    torch.testing.assert_close(samples.log_density, torch.full((3000,), -math.log(3.0)))
    # Means of polynomials over the L: x, y, x^2, x y by hand.
    x, y = samples.points.unbind(dim=-1)
    for value, mean in ((x, 2.5 / 3), (y, 2.5 / 3), (x**2, 3 / 3), (x * y, (1 + 0.75) / 3)):
        assert float(value.mean()) == pytest.approx(mean, abs=0.02)
    # One point in each part of equal volume: counts of large cells are exact to one point.
    counts = torch.bincount(mesh.locate(samples.points)[mesh.locate(samples.points) < 4])
    assert bool(((counts - 500).abs() <= 1).all())


def test_points_within_a_cell_are_uniform():
    mesh = SimplexMesh(torch.eye(4)[:, 1:], torch.tensor([[0, 1, 2, 3]]))
    points = MeshPoints(mesh).sample(20000, generator=generator(2)).points
    torch.testing.assert_close(points.mean(dim=0), torch.full((3,), 0.25), atol=5e-3, rtol=0)
    # Variance of a barycentric weight of a uniform point is d / ((d + 1)^2 (d + 2)) = 3/80.
    torch.testing.assert_close(points.var(dim=0), torch.full((3,), 3 / 80), atol=1e-3, rtol=0)


def test_a_single_point_is_uniform():
    mesh = l_shape()
    points = [MeshPoints(mesh).sample(2, generator=generator(n)).points[0] for n in range(600)]
    share = float((mesh.locate(torch.stack(points)) < 4).double().mean())
    assert share == pytest.approx(2 / 3, abs=0.06)


def test_density_outside_is_zero():
    found = MeshPoints(l_shape()).log_density(torch.tensor([[0.5, 0.5], [1.5, 1.5]]))
    torch.testing.assert_close(found, torch.tensor([-math.log(3.0), -math.inf]))


def test_the_precision_is_that_asked_for():
    samples = MeshPoints(l_shape()).sample(3, generator=generator(0), dtype=torch.float32)
    assert samples.points.dtype == samples.log_density.dtype == torch.float32


def test_bad_meshes_are_refused():
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [2.0, 0.0]])
    with pytest.raises(ValueError, match="cell 0 has no volume"):
        SimplexMesh(points, torch.tensor([[0, 1, 3], [0, 1, 2]]))
    with pytest.raises(ValueError, match="count from 1"):
        SimplexMesh(points, torch.tensor([[1, 2, 4]]))
    with pytest.raises(ValueError, match="split quadrilaterals"):
        SimplexMesh(points, torch.tensor([[0, 1, 2, 3]]))
    with pytest.raises(ValueError, match="2 positive integers"):
        SimplexMesh.of_box(Box((0.0, 0.0), (1.0, 1.0)), (2,))


@pytest.mark.reference_data
@pytest.mark.skipif(not FOLDER.is_dir(), reason="the folder of reference files is absent")
def test_a_public_tetrahedral_mesh_of_the_cube():
    found = loadmat(FOLDER / "pyamg_unit_cube.mat")
    cells = torch.from_numpy(found["elements"].astype("int64"))
    mesh = SimplexMesh(torch.from_numpy(found["vertices"]), cells - cells.min())
    assert mesh.volume == pytest.approx(1.0, rel=1e-12)
    points = MeshPoints(mesh).sample(2000, generator=generator(3)).points
    torch.testing.assert_close(points.mean(dim=0), torch.full((3,), 0.5), atol=0.02, rtol=0)
