import pytest
import torch

from pdesurrogates.core import Box
from pdesurrogates.neural_fields import ElasticBody, ElasticEnergy, PlaneObstacle
from pdesurrogates.neural_fields.elastic_elements import Elements
from pdesurrogates.neural_fields.elastic_reference import ElementSolver
from pdesurrogates.sampling import SimplexMesh

SQUARE = Box((-1.0, -1.0), (1.0, 1.0))
CUBE = Box((0.0, 0.0, 0.0), (1.0, 1.0, 2.0))
CASES = pytest.mark.parametrize("box, degree", [(b, d) for b in (SQUARE, CUBE) for d in (1, 2)])


def elements_of(box, degree, count=2):
    return Elements(SimplexMesh.of_box(box, (count,) * box.dim), degree)


@CASES
def test_polynomials_of_the_degree_are_exact(box, degree):
    elements = elements_of(box, degree)

    def function(p):
        return (p[:, :1] - 2 * p[:, 1:2] + 1) ** degree

    points = box.from_unit(torch.rand(30, box.dim))
    found = elements.interpolate(function(elements.nodes), points)
    torch.testing.assert_close(found, function(points))
    # Basis functions add up to one, their gradients to zero.
    torch.testing.assert_close(elements.values.sum(-1), torch.ones(box.dim + 1))
    assert float(elements.gradients.sum(dim=-2).abs().max()) < 1e-12
    # Gradients of the same function at the quadrature points, by the chain rule.
    nodes = function(elements.nodes)[elements.cell_nodes][..., 0]
    slopes = torch.einsum("xa,xqad->xqd", nodes, elements.gradients)
    places = elements.values @ elements.nodes[elements.cell_nodes]
    inner = (places[..., 0] - 2 * places[..., 1] + 1) ** (degree - 1) * degree
    torch.testing.assert_close(slopes[..., 0], inner)
    torch.testing.assert_close(slopes[..., 1], -2 * inner)


@CASES
def test_quadrature_is_exact_for_squares(box, degree):
    elements = elements_of(box, degree)
    places = elements.values @ elements.nodes[elements.cell_nodes]
    x, y = places[..., 0], places[..., 1]
    middle = [(a + b) / 2 for a, b in zip(box.lower, box.upper, strict=True)]
    exact = box.volume * middle[0] * middle[1]
    assert float((elements.weights * x * y).sum()) == pytest.approx(exact, abs=1e-12)


@CASES
def test_uniform_stretch_has_the_energy_by_hand(box, degree):
    elements = elements_of(box, degree)
    solver = ElementSolver(ElasticBody(ElasticEnergy(1.0, 0.0)), elements)
    start = elements.nodes * torch.tensor([1.5, 1.0, 1.0][: box.dim])
    assert solver._potential(start, start, 1.0) == pytest.approx(0.25 * box.volume)
    # Nothing is given, so it returns to the energy zero.
    assert solver.relax(start).steps[0].potential < 1e-12


@CASES
def test_free_fall_is_that_of_the_scheme(box, degree):
    elements = elements_of(box, degree)
    down = (0.0,) * (box.dim - 1) + (-12.0,)
    body = ElasticBody(ElasticEnergy(20.0, 100.0), 3.0, down, 0.2)
    trajectory = ElementSolver(body, elements).solve(0.1, 4)
    moved = trajectory.positions - elements.nodes
    fall = torch.tensor([0.0, -0.04, -0.12, -0.2, -0.28])
    torch.testing.assert_close(moved[..., -1], fall[:, None].expand(moved.shape[:2]))
    assert float(moved[..., 0].abs().max()) < 1e-9


def test_contact_of_a_single_point_mass():
    # No elasticity to speak of: every node is a point mass, d = d* / (1 + k dt^2 / density).
    floor = PlaneObstacle((0.0, 1.0), 3.0, 300.0)
    body = ElasticBody(ElasticEnergy(1e-12, 0.0), 2.0, obstacles=(floor,))
    elements = elements_of(SQUARE, 1)
    trajectory = ElementSolver(body, elements).solve(0.1, 1)
    left = (3.0 - elements.nodes[:, 1]) / (1 + 300.0 * 0.01 / 2.0)
    torch.testing.assert_close(3.0 - trajectory.positions[1, :, 1], left)


def test_energy_of_the_minimum_falls_with_the_mesh():
    # Nested spaces: a minimum over more functions is lower.
    energies = []
    for count, degree in ((2, 1), (4, 1), (4, 2)):
        elements = elements_of(SQUARE, degree, count)
        held = (elements.nodes[:, :1].abs() > 1 - 1e-9).expand(-1, 2)
        solver = ElementSolver(ElasticBody(ElasticEnergy(1.0, 10.0)), elements, fixed=held)
        start = elements.nodes * torch.tensor([1.4, 1.0])
        trajectory = solver.relax(start)
        assert trajectory.steps[0].status == "converged"
        torch.testing.assert_close(trajectory.positions[1][held], start[held])
        energies.append(trajectory.steps[0].potential)
    assert energies == sorted(energies, reverse=True)
