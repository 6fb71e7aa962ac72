"""The best density of adversarial sampling, on a grid: what a flow should find."""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse as sparse
import torch
from scipy.sparse.linalg import spsolve
from torch import Tensor

__all__ = ["best_density"]


def best_density(squared_residual: Tensor, beta: float, *, max_iterations: int = 200) -> Tensor:
    """Density that wins the inner game of `AdversarialSampler`, on cells of the unit box.

        max over p of   int rho p dx - beta int |grad p|^2 dx,   p >= 0, int p dx = 1,
        rho = r^2 / mean(r^2)

    Where p > 0 this is the Poisson equation -2 beta lap p = rho - lambda with zero normal
    derivative; where rho is concentrated and beta small p touches zero and it is an obstacle
    problem. Second differences on cell centres; the set where p = 0 is found by the primal-dual
    active-set method, so the answer is exact for the discrete problem.

    Reference:
        The primal-dual active set strategy as a semismooth Newton method (Hintermueller, Ito and
        Kunisch, 2003).

    Args:
        squared_residual: r^2 at cell centres of the unit box (*space), not negative.
        beta: Weight of the penalty, positive.
        max_iterations: Of the active-set method.

    Returns:
        p at the cell centres, same shape, float64; its mean is 1.

    Raises:
        ValueError: If `beta` is not positive or r^2 is negative, not finite or zero everywhere.
        RuntimeError: If the active set does not settle.
    """
    values = squared_residual.detach().double().cpu().numpy()
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() > 0):
        raise ValueError(
            "best_density: `squared_residual` must be finite, not negative and not zero "
            f"everywhere, got values in {values.min()} .. {values.max()}."
        )
    if not 0 < beta < math.inf:
        raise ValueError(f"best_density: `beta` must be positive, got {beta}.")
    rho = (values / values.mean()).ravel()
    stiffness = sparse.csr_array(2 * beta * _negative_laplacian(values.shape))
    active = np.zeros(rho.size, dtype=bool)
    for _ in range(max_iterations):
        p, force = _solve(stiffness, rho, active)
        # p is positive where free; the obstacle pushes up, never pulls down, where p is zero.
        settled = np.where(active, force > 0, p < 0)
        if np.array_equal(settled, active):
            found = torch.from_numpy(np.maximum(p, 0).reshape(values.shape))
            return (found / found.mean()).to(squared_residual.device)
        active = settled
    raise RuntimeError(
        f"best_density: the set of zeros has not settled in {max_iterations} iterations; use a "
        "finer grid or a larger beta."
    )


def _negative_laplacian(shape: tuple[int, ...]) -> sparse.csr_array:
    """Second differences on the unit box, zero normal derivative."""
    total = sparse.csr_array((math.prod(shape), math.prod(shape)))
    for axis, n in enumerate(shape):
        jump = sparse.eye_array(n - 1, n, k=1) - sparse.eye_array(n - 1, n)
        one = n * n * (jump.T @ jump)
        before, after = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
        total = total + sparse.kron(
            sparse.kron(sparse.eye_array(before), one), sparse.eye_array(after)
        )
    return sparse.csr_array(total)


def _solve(
    stiffness: sparse.csr_array, rho: np.ndarray, active: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """p with K p = rho - lambda where free, p = 0 where active, mean(p) = 1; and its defect.

    The defect K p - rho + lambda is where active the force of the obstacle, not negative at the
    solution.
    """
    free = np.flatnonzero(~active)
    ones = np.ones((free.size, 1))
    inner = stiffness[np.ix_(free, free)]
    system = sparse.bmat([[inner, ones], [ones.T / rho.size, None]], format="csc")
    found = np.asarray(spsolve(system, np.append(rho[free], 1.0)))
    p = np.zeros(rho.size)
    p[free] = found[:-1]
    return p, stiffness @ p - rho + found[-1]
