"""Phi functions of exponential integrators, of numbers and of small matrices."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["phi", "phi_matrix"]

_TAYLOR_RADIUS = 1.0
_TAYLOR_TERMS = 20


def phi(order: int, z: Tensor) -> Tensor:
    """phi_k(z) elementwise, in complex128 or float64.

        phi_0(z) = exp(z),   phi_{k+1}(z) = (phi_k(z) - 1/k!) / z,   phi_k(0) = 1/k!

    The recurrence cancels for small z; there the Taylor series sum_j z^j / (j + k)! is used
    (20 terms for |z| <= 1: truncated below 1e-19).

    Args:
        order: k, at least 0.
        z: Argument, float64 or complex128 (dt times an eigenvalue, dimensionless).

    Reference:
        Exponential time differencing for stiff systems (Cox and Matthews, 2002).
    """
    exact = torch.exp(z)
    if order == 0:
        return exact
    small = z.abs() <= _TAYLOR_RADIUS
    divisor = torch.where(small, torch.ones_like(z), z)
    for k in range(order):
        exact = (exact - 1.0 / math.factorial(k)) / divisor
    z = torch.where(small, z, torch.zeros_like(z))
    series = torch.zeros_like(z)
    for j in reversed(range(_TAYLOR_TERMS)):
        series = series * z + 1.0 / math.factorial(j + order)
    return torch.where(small, series, exact)


def phi_matrix(order: int, z: Tensor) -> Tensor:
    """phi_k of square matrices, (..., C, C), defective ones included.

    The last block of the first row of exp([[z, I, 0], [0, 0, I], [0, 0, 0]]) with k identity
    blocks is phi_k(z).

    Args:
        order: k, at least 0.
        z: Matrices (..., C, C), complex128 or float64.

    Reference:
        Computing the action of the matrix exponential (Al-Mohy and Higham, 2011), Theorem 2.1.
    """
    size = z.shape[-1]
    block = z.new_zeros(*z.shape[:-2], (order + 1) * size, (order + 1) * size)
    block[..., :size, :size] = z
    for k in range(order):
        rows = torch.arange(k * size, (k + 1) * size, device=z.device)
        block[..., rows, rows + size] = 1.0
    return torch.linalg.matrix_exp(block)[..., :size, order * size :]
