"""Damped Gauss-Newton: known minima, batches, statuses, and the Jacobian of networks."""

import pytest
import torch
from torch import nn

from pdesurrogates.linear import LevenbergMarquardt, ParameterVector, PointwiseResiduals


def rosenbrock(x):
    return torch.stack((10 * (x[:, 1] - x[:, 0] ** 2), 1 - x[:, 0]), dim=-1)


def jacobian_of(function):
    return torch.func.vmap(torch.func.jacrev(lambda x: function(x[None])[0]))


def test_rosenbrock_from_several_starts_at_once():
    starts = torch.tensor([[-1.2, 1.0], [3.0, -2.0], [1.0, 1.0]])
    solver = LevenbergMarquardt(max_iterations=200, loss_tolerance=1e-24, relative_tolerance=0.0)
    found = solver.minimise(rosenbrock, jacobian_of(rosenbrock), starts)
    assert found.status == ("converged",) * 3
    assert found.converged
    assert torch.allclose(found.x, torch.ones(3, 2), atol=1e-9)
    assert all(
        bool((b <= a).all()) for a, b in zip(found.history, found.history[1:], strict=False)
    )


def test_a_batch_is_its_problems_one_by_one():
    starts = torch.tensor([[-1.2, 1.0], [0.3, 0.2]])
    solver = LevenbergMarquardt(max_iterations=7, loss_tolerance=0.0)
    both = solver.minimise(rosenbrock, jacobian_of(rosenbrock), starts)
    for i in range(2):
        one = solver.minimise(rosenbrock, jacobian_of(rosenbrock), starts[i : i + 1])
        assert torch.allclose(one.x[0], both.x[i], rtol=1e-12)
        assert torch.allclose(one.damping[0], both.damping[i])


@pytest.mark.parametrize(("rows", "columns"), [(12, 5), (5, 12)])
def test_linear_problems_end_at_the_least_squares_solution(rows, columns):
    matrix, right = torch.randn(rows, columns), torch.randn(rows)
    solver = LevenbergMarquardt(
        max_iterations=60, loss_tolerance=1e-28, relative_tolerance=1e-14, initial_damping=1e-6
    )
    found = solver.minimise(
        lambda x: x @ matrix.T - right,
        lambda x: matrix.expand(len(x), -1, -1),
        torch.zeros(1, columns),
    )
    # The minimum-norm solution: from zero, steps stay in the row space.
    expected = torch.linalg.lstsq(matrix, right[:, None], driver="gelsd").solution.squeeze()
    assert torch.allclose(found.x[0], expected, atol=1e-7)
    assert found.status == (("stalled",) if rows > columns else ("converged",))


def test_statuses():
    away = LevenbergMarquardt(max_iterations=2, loss_tolerance=0.0)
    start = torch.tensor([[-1.2, 1.0]])
    assert away.minimise(rosenbrock, jacobian_of(rosenbrock), start).status == ("max_iterations",)
    done = away.minimise(lambda x: x * 0.0, lambda x: x[..., None], torch.ones(1, 1))
    assert (done.status, done.num_iterations) == (("converged",), 0)


def test_steps_into_not_a_number_are_refused():
    solver = LevenbergMarquardt(initial_damping=1e-9, loss_tolerance=1e-20, max_iterations=50)

    def residuals(x):
        return x.sqrt() - 0.1  # a full step from 4 leaves the domain

    found = solver.minimise(
        residuals, lambda x: 0.5 * x[..., None] ** -0.5, torch.full((1, 1), 4.0)
    )
    assert abs(float(found.x) - 0.01) < 1e-9


def test_pointwise_jacobian_is_that_of_autodiff():
    network = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 2))
    x, y = torch.rand(2, 5, 1), torch.rand(1, 5, 2)
    weights = torch.tensor([4.0, 1.0])
    fit = PointwiseResiduals(network, lambda field, x, y: field(x) - y, x, y, weights=weights)
    theta = torch.stack((fit.vector.read(), fit.vector.read() + 0.1))

    def residuals(theta):
        trials = [fit.vector.call(t, x[i]) - y[0] for i, t in enumerate(theta)]
        return (torch.stack(trials) * weights.sqrt()).flatten(1)

    assert torch.allclose(fit.residuals(theta), residuals(theta))
    whole = torch.func.jacrev(residuals)(theta)
    for i in range(2):
        assert torch.allclose(fit.jacobian(theta)[i], whole[i, :, i], atol=1e-12)


def test_a_network_is_fitted_and_written_back():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(1, 12), nn.Tanh(), nn.Linear(12, 1))
    x = torch.linspace(-1, 1, 40).reshape(1, -1, 1)
    fit = PointwiseResiduals(network, lambda field, x, y: field(x) - y, x, torch.sin(3 * x))
    solver = LevenbergMarquardt(max_iterations=100, loss_tolerance=1e-8)
    found = solver.minimise(fit.residuals, fit.jacobian, fit.vector.read()[None])
    assert found.converged
    fit.vector.write(found.x[0])
    with torch.no_grad():
        assert float((network(x) - torch.sin(3 * x)).square().mean()) <= 1e-8


def test_only_trainable_parameters_are_entries():
    network = nn.Sequential(nn.Linear(1, 3), nn.Linear(3, 1))
    for parameter in network[0].parameters():
        parameter.requires_grad_(False)
    assert len(ParameterVector(network)) == 4
    assert list(ParameterVector(network).shapes) == ["1.weight", "1.bias"]


def test_bad_input_is_refused():
    solver = LevenbergMarquardt()
    with pytest.raises(ValueError, match=r"`x0` must have shape \(batch, unknown\)"):
        solver.minimise(lambda x: x, lambda x: x, torch.zeros(3))
    with pytest.raises(ValueError, match=r"not finite for problems \[1\]"):
        solver.minimise(lambda x: x.log(), lambda x: x, torch.tensor([[1.0], [-1.0]]))
    with pytest.raises(ValueError, match="`max_iterations` must be positive"):
        LevenbergMarquardt(max_iterations=0)
    with pytest.raises(ValueError, match="same number of points"):
        PointwiseResiduals(
            nn.Linear(1, 1), lambda f, x, y: f(x), torch.zeros(1, 3, 1), torch.zeros(1, 4, 1)
        )
