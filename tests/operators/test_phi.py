"""Phi functions and operators on modes against high-precision values and matrices."""

import math
from fractions import Fraction

import pytest
import torch

from pdesurrogates.operators import FourierOperator, phi, phi_matrix


def exact_phi(order, z):
    """Taylor series in rational arithmetic, for real z."""
    z, total, term = Fraction(z), Fraction(0), Fraction(1, math.factorial(order))
    for j in range(1, 400):
        total += term
        term *= z / (j + order)
    return float(total)


@pytest.mark.parametrize("order", [0, 1, 2, 3])
@pytest.mark.parametrize("z", [-30.0, -1.5, -1.0, -0.5, -1e-3, 0.0, 1e-8, 0.99, 1.01, 4.0])
def test_phi_to_rounding(order, z):
    value = float(phi(order, torch.tensor(z, dtype=torch.float64)))
    assert value == pytest.approx(exact_phi(order, z), rel=2e-14)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_recurrence_on_the_imaginary_axis(order):
    z = 1j * torch.linspace(-20, 20, 81, dtype=torch.float64)
    left = z * phi(order, z)
    right = phi(order - 1, z) - 1 / math.factorial(order - 1)
    assert torch.allclose(left, right, atol=1e-14)


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_matrices_that_are_diagonal_behave_like_numbers(order):
    z = torch.tensor([-2.0, 0.3j, 0.0], dtype=torch.complex128)
    assert torch.allclose(phi_matrix(order, torch.diag(z)).diagonal(), phi(order, z))


def test_defective_matrix():
    jordan = torch.tensor([[0.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    # phi_1(J) = I + J/2 because J^2 = 0.
    assert torch.allclose(phi_matrix(1, jordan), torch.eye(2, dtype=torch.float64) + jordan / 2)


def test_coupled_operator_acts_as_its_matrix():
    torch.manual_seed(0)
    symbol = torch.randn(1, 2, 2, 5, dtype=torch.complex128)
    operator = FourierOperator(symbol, is_coupled=True, dim=1)
    hat = torch.randn(3, 2, 5, dtype=torch.complex128)
    by_hand = torch.einsum("ijk,bjk->bik", symbol[0], hat)
    assert torch.allclose(operator.apply(hat), by_hand)
    exponential = operator.phi(0, 0.3)
    assert torch.allclose(
        exponential[0, :, :, 2], torch.linalg.matrix_exp(0.3 * symbol[0, :, :, 2])
    )
    assert len(operator.eigenvalues) == 10


def test_one_step_size_per_sample():
    symbol = torch.randn(1, 1, 5, dtype=torch.complex128)
    operator = FourierOperator(symbol, is_coupled=False, dim=1)
    dt = torch.tensor([0.1, 0.2], dtype=torch.float64)
    both = operator.phi(2, dt)
    assert torch.allclose(both[1], operator.phi(2, 0.2)[0])
