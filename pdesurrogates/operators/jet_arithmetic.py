"""Sums, products, quotients, powers and linear maps of jets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pdesurrogates.operators.jet import (
    RULES,
    Index,
    Jet,
    Mapped,
    Part,
    Sum,
    Terms,
    plus,
    splits,
    times,
)
from pdesurrogates.operators.jet_second_order import transforms_are_active

__all__ = ["Power", "convolve"]


class _Product(Jet):
    """(u v)_a = sum_{b <= a} u_b v_{a - b}; linear in what is highest, u_a v_0 + u_0 v_a."""

    def __init__(self, left: Jet, right: Jet) -> None:
        super().__init__(None, left.num_axes)
        self.left, self.right = left, right

    def _compute(self, index: Index) -> Part:
        return convolve(self.left, self.right, index)

    def _combine(self, terms: Terms) -> Part:
        left, right = self.left, self.right
        total = times(left.combination(terms), right.values)
        if left is right:
            total = plus(None, total, 2.0)
        else:
            total = plus(total, times(left.values, right.combination(terms)))
        for index, weight in terms:
            total = plus(total, convolve(left, right, index, ends=False), weight)
        return total


class _Quotient(Jet):
    """a / b from b y = a: y_a = (a_a - sum_{0 < b <= a} b_b y_{a - b}) / b_0."""

    def __init__(self, above: Jet, below: Jet) -> None:
        super().__init__(None, below.num_axes)
        self.above, self.below = above, below

    def _compute(self, index: Index) -> Part:
        total = self.above.part(index)
        for b, rest in splits(index):
            if any(b):
                total = plus(total, times(self.below.part(b), self.part(rest)), -1.0)
        return None if total is None else total / self.below.values


class Power(Jet):
    """h^p from h y' = p y h': a_i h_0 y_a = sum_{0 < b <= a} (p b_i - a_i + b_i) h_b y_{a - b}."""

    def __init__(self, inner: Jet, exponent: float) -> None:
        super().__init__(None, inner.num_axes)
        self.inner, self.exponent = inner, exponent

    def _compute(self, index: Index) -> Part:
        h0 = self.inner.values
        if not any(index):
            return h0**self.exponent
        axis = next(i for i, count in enumerate(index) if count)
        total: Part = None
        for b, rest in splits(index):
            weight = self.exponent * b[axis] - index[axis] + b[axis]
            if any(b) and weight:
                term = times(self.inner.part(b), self.part(rest))
                total = plus(total, term, weight / index[axis])
        return None if total is None else total / h0


def convolve(left: Jet, right: Jet, index: Index, *, ends: bool = True) -> Part:
    """sum_{b <= a} u_b v_{a - b}, 0 < b < a without `ends`; half of the products for a square."""
    total: Part = None
    for b, rest in splits(index):
        if (left is right and b > rest) or not (ends or (any(b) and any(rest))):
            continue
        u = left.part(b)
        if u is None:
            continue
        weight = 2.0 if left is right and b != rest else 1.0
        total = plus(total, times(u, right.part(rest)), weight)
    return total


def _constant(value: Any, like: Jet) -> Jet:
    """A number or tensor as a jet without derivatives."""
    if isinstance(value, Jet):
        return value
    value = value if isinstance(value, Tensor) else torch.full_like(like.values, value)
    return Jet(lambda index: None if any(index) else value, like.num_axes)


def _add(u: Any, v: Any, *, alpha: float = 1.0) -> Jet:
    if not isinstance(u, Jet):
        return Sum.of(v).scaled(alpha).plus(Sum([], v.num_axes, [(u, 1.0)]))
    other = Sum.of(v) if isinstance(v, Jet) else Sum([], u.num_axes, [(v, 1.0)])
    return Sum.of(u).plus(other if alpha == 1 else other.scaled(alpha))


def _sub(u: Any, v: Any, *, alpha: float = 1.0) -> Jet:
    return _add(u, v, alpha=-alpha)


def _mul(u: Any, v: Any) -> Jet:
    if not isinstance(u, Jet):
        u, v = v, u
    if isinstance(v, Jet):
        return _Product(u, v)
    if isinstance(v, (int, float)) and isinstance(u, Sum) and Sum.of(u) is u:
        return u.scaled(v)
    return Mapped(u, lambda part: part * v)


def _div(u: Any, v: Any) -> Jet:
    if isinstance(v, Jet):
        return _Quotient(_constant(u, v), v)
    return _mul(u, 1 / v) if isinstance(v, (int, float)) else Mapped(u, lambda part: part / v)


def _pow(u: Jet, exponent: Any) -> Jet:
    if isinstance(exponent, int) and 1 <= exponent <= 4:
        return u if exponent == 1 else _mul(_pow(u, exponent // 2), _pow(u, -(-exponent // 2)))
    return Power(u, exponent)


def _linear(x: Jet, weight: Tensor, bias: Tensor | None = None) -> Jet:
    return Mapped(x, lambda part: _affine(part, weight), lambda part: _affine(part, weight, bias))


def _affine(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """W x + b; many points on a CPU as columns: BLAS libraries then waste less on odd widths."""
    num_points = x.shape[:-1].numel()
    if num_points < 256 or x.device.type != "cpu" or transforms_are_active(x):
        return F.linear(x, weight, bias)
    columns = x.flatten(0, -2).mT
    y = weight @ columns if bias is None else torch.addmm(bias[:, None], weight, columns)
    return y.mT.unflatten(0, x.shape[:-1])


def _matmul(x: Jet, matrix: Tensor) -> Jet:
    return Mapped(x, lambda part: part @ matrix)


class _Cat(Jet):
    """Jets side by side."""

    def __init__(self, jets: Sequence[Jet], dim: int) -> None:
        super().__init__(None, jets[0].num_axes)
        self.jets, self.dim = jets, dim

    def _compute(self, index: Index) -> Part:
        return self._joined([jet.part(index) for jet in self.jets])

    def _combine(self, terms: Terms) -> Part:
        return self._joined([jet.combination(terms) for jet in self.jets])

    def _joined(self, parts: list[Part]) -> Part:
        if all(part is None for part in parts):
            return None
        full = [jet.shape for jet in self.jets]
        if self.dim in (-1, len(full[0]) - 1) and all(p is None or p.ndim == 1 for p in parts):
            full = [shape[-1:] for shape in full]  # coordinates: one number for all points
        whole = [
            jet.values.new_zeros(shape) if part is None else part.expand(shape)
            for jet, shape, part in zip(self.jets, full, parts, strict=True)
        ]
        return torch.cat(whole, dim=-1 if len(full[0]) == 1 else self.dim)


def _cat(jets: Sequence[Any], dim: int = -1) -> Jet:
    first = next(jet for jet in jets if isinstance(jet, Jet))
    return _Cat([_constant(jet, first) for jet in jets], dim)


def _stack(jets: Sequence[Any], dim: int = 0) -> Jet:
    return _cat([_constant(jet, jets[0]).unsqueeze(dim) for jet in jets], dim=dim)


RULES |= {
    torch.add: _add,
    torch.Tensor.add: _add,
    torch.Tensor.__add__: _add,
    torch.sub: _sub,
    torch.Tensor.sub: _sub,
    torch.Tensor.__sub__: _sub,
    torch.rsub: lambda u, v: _sub(v, u),
    torch.mul: _mul,
    torch.Tensor.mul: _mul,
    torch.Tensor.__mul__: _mul,
    torch.div: _div,
    torch.Tensor.div: _div,
    torch.Tensor.__truediv__: _div,
    torch.neg: lambda u: _mul(u, -1.0),
    torch.pow: _pow,
    torch.square: lambda u: u * u,
    torch.sqrt: lambda u: Power(u, 0.5),
    torch.reciprocal: lambda u: Power(u, -1.0),
    F.linear: _linear,
    torch.matmul: _matmul,
    torch.cat: _cat,
    torch.concat: _cat,
    torch.stack: _stack,
    torch.sum: lambda u, dim, keepdim=False: u.sum(dim, keepdim),
    torch.mean: lambda u, dim, keepdim=False: u.mean(dim, keepdim),
    torch.split: lambda u, size, dim=0: u.split(size, dim),
    torch.unbind: lambda u, dim=0: u.unbind(dim),
    torch.zeros_like: lambda u, **kwargs: torch.zeros_like(u.values, **kwargs),
    torch.ones_like: lambda u, **kwargs: torch.ones_like(u.values, **kwargs),
}
