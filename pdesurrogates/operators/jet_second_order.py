"""Derivatives up to second order of a function of a jet: one operation with its own gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd import forward_ad

__all__ = ["Curve", "OfCircle", "OfSigmoid", "OfTanh", "second_order", "transforms_are_active"]

Pairs = tuple[tuple[tuple[int, int], float], ...]
"""A quadratic form q = sum w_ij a_i a_j as ((i, j), w_ij)."""


class Curve(Protocol):
    """phi', phi'' and phi''' of a function phi, from tensors that are at hand anyway."""

    def slopes(self, *kept: Tensor) -> tuple[Tensor, Tensor]:
        """phi' and phi''."""
        ...

    def third(self, slope: Tensor, second: Tensor) -> Tensor:
        """phi''' from phi' and phi''."""
        ...


class OfTanh:
    """tanh, from y and phi' = 1 - y^2: phi'' = -2 y phi', phi''' = (4 - 6 phi') phi'."""

    def slopes(self, *kept: Tensor) -> tuple[Tensor, Tensor]:
        y, slope = kept
        return slope, (y * slope).mul_(-2.0)

    def third(self, slope: Tensor, second: Tensor) -> Tensor:
        return (slope * -6.0).add_(4.0).mul_(slope)


class OfCircle:
    """Sine or cosine, from y and phi': phi'' = -y, phi''' = -phi'."""

    def slopes(self, *kept: Tensor) -> tuple[Tensor, Tensor]:
        y, slope = kept
        return slope, -y

    def third(self, slope: Tensor, second: Tensor) -> Tensor:
        return -slope


@dataclass(frozen=True)
class OfSigmoid:
    """Softplus, from s = phi' = sigmoid(b h): phi'' = b s (1 - s), phi''' = b phi'' (1 - 2 s)."""

    beta: float

    def slopes(self, *kept: Tensor) -> tuple[Tensor, Tensor]:
        (slope,) = kept
        return slope, torch.addcmul(slope, slope, slope, value=-1.0).mul_(self.beta)

    def third(self, slope: Tensor, second: Tensor) -> Tensor:
        return torch.addcmul(second, second, slope, value=-2.0).mul_(self.beta)


@dataclass(frozen=True)
class _Plan:
    curve: Curve
    num_kept: int
    scale: float
    pairs: Pairs
    wanted: tuple[int, ...]


def second_order(
    curve: Curve,
    kept: tuple[Tensor, ...],
    pairs: Pairs,
    h: Tensor,
    h_lines: Sequence[Tensor],
    h_top: Tensor | None,
    wanted: tuple[int, ...],
) -> tuple[Tensor, ...]:
    """First derivatives y_i and one combination y_D of derivatives of y = phi(h):

        y_i = phi' h_i,    y_D = phi' h_D + phi'' q,    q = sum w_ij h_i h_j

    Args:
        curve: Gives phi', phi'', phi'''.
        kept: What `curve` needs, functions of h; no gradient is sent through them.
        pairs: w_ij, which D determines.
        h: Receives the gradient of phi' and phi''; its values are not used.
        h_lines: h_i.
        h_top: h_D, `None` for zero.
        wanted: Those i of which y_i is returned.

    Returns:
        y_D and the wanted y_i.
    """
    scale = pairs[0][1] if pairs else 1.0
    pairs = tuple((axes, weight / scale) for axes, weight in pairs)
    plan = _Plan(curve, len(kept), scale, pairs, wanted)
    return _SecondOrder.apply(plan, h, h_top, *kept, *h_lines)  # pyright: ignore[reportReturnType]


def transforms_are_active(tensor: Tensor) -> bool:
    """Whether `torch.func` or forward-mode differentiation is at work, which need plain rules."""
    # The test that torch.autograd.Function.apply makes; there is no public one.
    if torch._C._are_functorch_transforms_active():  # pyright: ignore[reportAttributeAccessIssue]
        return True
    return forward_ad.unpack_dual(tensor).tangent is not None


class _SecondOrder(torch.autograd.Function):
    """phi'' is computed again for the gradient, which can itself be differentiated."""

    @staticmethod
    def forward(plan: _Plan, h: Tensor, top: Tensor | None, *tensors: Tensor) -> tuple:
        lines = tensors[plan.num_kept :]
        slope, second = plan.curve.slopes(*tensors[: plan.num_kept])
        y_top = None if top is None else slope * top
        if plan.pairs:
            y_top = _plus_product(y_top, second, _form(plan.pairs, lines), plan.scale)
        return y_top, *(slope * lines[i] for i in plan.wanted)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Any) -> None:
        ctx.plan = inputs[0]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs[2:])

    @staticmethod
    def backward(ctx: Any, grad_top: Tensor | None, *grads: Tensor | None) -> tuple:
        plan: _Plan = ctx.plan
        top, *tensors = ctx.saved_tensors
        kept, lines = tensors[: plan.num_kept], tensors[plan.num_kept :]
        slope, second = plan.curve.slopes(*kept)
        to_lines: list[Tensor | None] = [None] * len(lines)
        to_slope = to_h = to_top = None
        if grad_top is not None and top is not None:
            to_top = (grad_top * slope).sum_to_size(top.shape)
            to_slope = grad_top * top
        for i, grad in zip(plan.wanted, grads, strict=True):
            if grad is not None:
                to_lines[i] = grad * slope
                to_slope = _plus_product(to_slope, grad, lines[i])
        if to_slope is not None:
            to_h = to_slope * second
        if grad_top is not None and plan.pairs:
            form = _form(plan.pairs, lines) * grad_top
            to_h = _plus_product(to_h, form, plan.curve.third(slope, second), plan.scale)
            bend = second * grad_top
            for (i, j), weight in plan.pairs:
                for own, other in {(i, j), (j, i)}:
                    factor = plan.scale * (2.0 * weight if i == j else weight)
                    to_lines[own] = _plus_product(to_lines[own], bend, lines[other], factor)
        summed = (
            None if grad is None else grad.sum_to_size(line.shape)
            for grad, line in zip(to_lines, lines, strict=True)
        )
        return None, to_h, to_top, *(None for _ in kept), *summed


def _form(pairs: Pairs, a: Sequence[Tensor]) -> Tensor:
    ((i, j), _), *others = pairs  # the first weight is 1
    total = a[i] * a[j]
    for (i, j), weight in others:
        total = torch.addcmul(total, a[i], a[j], value=weight)
    return total


def _plus_product(total: Tensor | None, u: Tensor, v: Tensor, weight: float = 1.0) -> Tensor:
    """total + weight u v, in `total`, which has the full shape."""
    if total is None:
        return u * v if weight == 1 else (u * v).mul_(weight)
    return total.addcmul_(u, v, value=weight)
