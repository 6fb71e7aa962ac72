"""The inner game on a grid: against formulas, and against every other density."""

import math

import pytest
import torch

from pdesurrogates.core import generator
from pdesurrogates.sampling import best_density


def objective(p, rho, beta):
    """int rho p - beta int |grad p|^2 with differences between cells of the unit box."""
    n = p.shape[0]
    steps = [(p.diff(dim=axis) * n).square().sum() / p.numel() for axis in range(p.ndim)]
    return (rho * p).mean() - beta * sum(steps)


def cells(n):
    axis = (torch.arange(n) + 0.5) / n
    return torch.stack(torch.meshgrid(axis, axis, indexing="ij"))


def test_weak_contrast_is_the_poisson_equation():
    """rho = 1 + a cos(pi x): p = 1 + a cos(pi x) / (2 beta k^2), k^2 the discrete pi^2."""
    n, beta, a = 50, 0.1, 0.5
    x = (torch.arange(n) + 0.5) / n
    eigenvalue = (2 - 2 * math.cos(math.pi / n)) * n * n
    expected = 1 + a * torch.cos(math.pi * x) / (2 * beta * eigenvalue)
    torch.testing.assert_close(best_density(1 + a * torch.cos(math.pi * x), beta), expected)


def test_scale_of_the_residual_does_not_matter():
    r2 = torch.rand(12, 9, generator=generator(0))
    torch.testing.assert_close(best_density(r2, 0.05), best_density(1e-8 * r2, 0.05))


def test_point_gives_a_ball_of_the_stated_radius():
    """2 sqrt(beta (dim + 2)) in two dimensions."""
    n, beta = 129, 0.004
    r2 = torch.zeros(n, n)
    r2[n // 2, n // 2] = 1.0
    p = best_density(r2, beta)
    area = float((p > 0).double().mean())
    assert abs(math.sqrt(area / math.pi) / (4 * math.sqrt(beta)) - 1) < 0.02
    assert abs(float(p.mean()) - 1) < 1e-12


@pytest.mark.parametrize("beta", [0.15, 0.04, 0.004])
def test_no_other_density_is_better(beta):
    n = 24
    x, y = cells(n)
    r2 = torch.exp(-((x - 0.7) ** 2 + (y - 0.6) ** 2) / 0.02)
    rho, best = r2 / r2.mean(), best_density(r2, beta)
    assert best.min() >= 0 and abs(float(best.mean()) - 1) < 1e-12
    highest, stream = objective(best, rho, beta), generator(1)
    assert highest > objective(torch.ones(n, n), rho, beta)
    for size in (1e-4, 1e-2, 1.0):
        for _ in range(10):
            other = (best + size * torch.randn(n, n, generator=stream)).clamp(min=0)
            assert objective(other / other.mean(), rho, beta) < highest


@pytest.mark.parametrize("beta", [0.0, -1.0, math.inf, math.nan])
def test_refuses_a_penalty_that_is_not_positive(beta):
    with pytest.raises(ValueError, match="`beta` must be positive"):
        best_density(torch.ones(4), beta)


@pytest.mark.parametrize("values", [[0.0, 0.0], [1.0, -1.0], [1.0, math.nan]])
def test_refuses_what_is_no_square(values):
    with pytest.raises(ValueError, match="finite, not negative and not zero everywhere"):
        best_density(torch.tensor(values), 0.1)
