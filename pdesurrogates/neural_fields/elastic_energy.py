"""The energy of a deformation: no rotation costs anything, stretch and change of volume do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["ElasticEnergy", "closest_rotation"]


@dataclass(frozen=True)
class ElasticEnergy:
    """As-rigid-as-possible energy and change of volume, per unit volume at rest:

        W(F) = shape_stiffness |F - R(F)|^2 + volume_stiffness (det F - 1)^2

    with F = dq/dX and R(F) the rotation closest to it. The first term is sum_i (s_i - 1)^2 over
    the singular values s_i, the smallest one with the sign of det F: so an inverted piece costs
    energy and is pushed back, where singular values alone do not see it.

    W is a sum of squares; `rows` are its roots.

    Reference:
        Implicit Neural Spatial Representations for Time-dependent PDEs (Chen et al., 2023), the
        elastodynamic examples. https://arxiv.org/abs/2210.00124

    Args:
        shape_stiffness: Weight of stretch [energy / volume].
        volume_stiffness: Weight of the change of volume [energy / volume].

    Raises:
        ValueError: If a stiffness is negative, or both are zero.

    Example:
        >>> turned = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
        >>> ElasticEnergy(1.0, 1000.0)(turned).item()
        0.0
    """

    shape_stiffness: float = 1.0
    volume_stiffness: float = 1.0

    def __post_init__(self) -> None:
        values = (self.shape_stiffness, self.volume_stiffness)
        if not all(math.isfinite(v) and v >= 0 for v in values) or not any(values):
            raise ValueError(
                "ElasticEnergy: stiffnesses must not be negative, and one must be positive, got "
                f"{values}."
            )

    def rows(self, gradient: Tensor) -> Tensor:
        """Roots of W (..., dim^2 + 1) of F (..., dim, dim): their squares add up to W."""
        stretch = math.sqrt(self.shape_stiffness) * (gradient - closest_rotation(gradient))
        volume = math.sqrt(self.volume_stiffness) * (determinant(gradient) - 1)
        return torch.cat((stretch.flatten(-2), volume[..., None]), dim=-1)

    def __call__(self, gradient: Tensor) -> Tensor:
        """W (...) of F (..., dim, dim)."""
        return self.rows(gradient).square().sum(dim=-1)


def determinant(matrix: Tensor) -> Tensor:
    """det (...) of matrices (..., 2, 2) or (..., 3, 3), as a polynomial."""
    if matrix.shape[-1] == 2:
        return matrix[..., 0, 0] * matrix[..., 1, 1] - matrix[..., 0, 1] * matrix[..., 1, 0]
    return (matrix[..., 0] * torch.linalg.cross(matrix[..., 1], matrix[..., 2])).sum(dim=-1)


def closest_rotation(matrix: Tensor) -> Tensor:
    """The rotation R with the smallest |F - R|, det R = 1, of matrices F (..., dim, dim).

    2D: R = [[a, -b], [b, a]] / sqrt(a^2 + b^2) with a = F_11 + F_22, b = F_21 - F_12. 3D: F =
    U S V^T with det U V^T = 1 and the sign in the last singular value, R = U V^T. Derivatives
    divide by s_i + s_j, never by s_i - s_j: equal singular values, as at rest, do no harm. R is
    not unique only where s_i + s_j = 0, a reflection or worse.

    Raises:
        ValueError: If the matrices are neither 2 x 2 nor 3 x 3.
    """
    if matrix.shape[-2:] == (2, 2):
        a = matrix[..., 0, 0] + matrix[..., 1, 1]
        b = matrix[..., 1, 0] - matrix[..., 0, 1]
        square = a.square() + b.square()
        is_unique = square > torch.finfo(matrix.dtype).tiny
        length = torch.where(is_unique, square, 1.0).sqrt()
        cosine, sine = torch.where(is_unique, a / length, 1.0), b / length
        rows = torch.stack((cosine, -sine, sine, cosine), dim=-1)
        return rows.unflatten(-1, (2, 2))
    if matrix.shape[-2:] == (3, 3):
        return _Rotation.apply(matrix)[0]  # pyright: ignore[reportOptionalSubscript]
    raise ValueError(
        f"closest_rotation: matrices must be (..., 2, 2) or (..., 3, 3), got "
        f"{tuple(matrix.shape)}."
    )


class _Rotation(torch.autograd.Function):
    """U V^T with dR = U [(M - M^T)_ij / (s_i + s_j)] V^T, M = U^T dF V."""

    generate_vmap_rule = True

    @staticmethod
    def forward(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        left, values, right = torch.linalg.svd(matrix)
        sign = torch.linalg.det(left @ right).sign()[..., None]
        left = torch.cat((left[..., :-1], left[..., -1:] * sign[..., None]), dim=-1)
        values = torch.cat((values[..., :-1], values[..., -1:] * sign), dim=-1)
        return left @ right, left, values, right

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, ...]) -> None:
        _, left, values, right = output
        ctx.mark_non_differentiable(left, values, right)
        ctx.save_for_backward(left, values, right)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        left, values, right = ctx.saved_tensors
        gap = values[..., :, None] + values[..., None, :]
        # Where R is not unique it is held; on the diagonal M - M^T is zero anyway.
        is_unique = gap.abs() > torch.finfo(gap.dtype).eps ** 0.5
        share = torch.where(is_unique, 1 / torch.where(is_unique, gap, 1.0), 0.0)
        inner = left.mT @ gradients[0] @ right.mT
        return left @ ((inner - inner.mT) * share) @ right
