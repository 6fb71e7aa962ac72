"""Taylor rules of the smooth functions that networks are made of."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from pdesurrogates.operators.jet import RULES, Index, Jet, Part, Terms, given, plus, splits, times
from pdesurrogates.operators.jet_arithmetic import Power, convolve
from pdesurrogates.operators.jet_second_order import (
    Curve,
    OfCircle,
    OfSigmoid,
    OfTanh,
    second_order,
    transforms_are_active,
)

__all__ = ["Composite"]


class Composite(Jet):
    """y = phi(h) from h: a_i y_a = sum_{b <= a} b_i h_b g_{a - b} with y' = g h'.

    That holds for any order. Up to the second, where phi has a `curve`, the coefficients come
    from one operation (`second_order`) instead. Value and slope refer to the jet itself, without
    a reference from outside: no cycle keeps the graph alive.
    """

    curve: Curve | None = None

    def __init__(self, inner: Jet) -> None:
        super().__init__(None, inner.num_axes)
        self.inner = inner
        self._slopes: dict[Index, Part] = {}

    def value(self, h: Tensor) -> Tensor:
        """phi(h)."""
        raise NotImplementedError

    def kept(self) -> tuple[Tensor, ...]:
        """What the curve needs."""
        return self.values, given(self.slope((0,) * self.num_axes))

    def compute_slope(self, index: Index) -> Part:
        """The coefficient of g = phi'(h)."""
        raise NotImplementedError

    def slope(self, index: Index) -> Part:
        if index not in self._slopes:
            self._slopes[index] = self.compute_slope(index)
        return self._slopes[index]

    def _compute(self, index: Index) -> Part:
        return self._combine(((index, 1.0),)) if any(index) else self.value(self.inner.values)

    def _combine(self, terms: Terms) -> Part:
        if (
            self.curve is None
            or any(sum(index) > 2 for index, _ in terms)
            or transforms_are_active(self.inner.values)
        ):
            return self._by_recursion(terms)
        return self._up_to_second_order(self.curve, terms)

    def _by_recursion(self, terms: Terms) -> Part:
        zero = (0,) * self.num_axes
        h = self.inner.combination(terms)
        total = None if h is None else times(h, self.slope(zero))
        for index, weight in terms:
            total = plus(total, chain(self.inner, self.slope, index, highest=False), weight)
        return total

    def _up_to_second_order(self, curve: Curve, terms: Terms) -> Part:
        """The coefficients asked for, and the first ones on the way to them."""
        h_top = self.inner.combination(terms)
        lines: dict[int, Part] = {}
        pairs: list[tuple[tuple[int, int], float]] = []
        for index, weight in terms:
            if sum(index) == 2 and weight:
                i, j = (axis for axis, count in enumerate(index) for _ in range(count))
                lines |= {axis: self.inner.part(self._unit(axis)) for axis in (i, j)}
                if lines[i] is not None and lines[j] is not None:
                    pairs.append(((i, j), weight / 2 if i == j else weight))
        if h_top is None and not pairs:
            return None
        axes = [axis for axis, h in lines.items() if h is not None]
        wanted = [axis for axis in axes if self._unit(axis) not in self._parts]
        y_top, *y_lines = second_order(
            curve,
            self.kept(),
            tuple(((axes.index(i), axes.index(j)), weight) for (i, j), weight in pairs),
            self.inner.values,
            [given(lines[axis]) for axis in axes],
            h_top,
            tuple(axes.index(axis) for axis in wanted),
        )
        self._parts.update(zip(map(self._unit, wanted), y_lines, strict=True))
        return y_top

    def _unit(self, axis: int) -> Index:
        return tuple(int(i == axis) for i in range(self.num_axes))


class _Tanh(Composite):
    curve = OfTanh()

    def value(self, h: Tensor) -> Tensor:
        return h.tanh()

    def compute_slope(self, index: Index) -> Part:
        square = convolve(self, self, index)
        if any(index):
            return None if square is None else -square
        return 1.0 - given(square)


class _Sigmoid(Composite):
    def value(self, h: Tensor) -> Tensor:
        return h.sigmoid()

    def compute_slope(self, index: Index) -> Part:
        return plus(self.part(index), convolve(self, self, index), -1.0)


class _Exp(Composite):
    def value(self, h: Tensor) -> Tensor:
        return h.exp()

    def compute_slope(self, index: Index) -> Part:
        return self.part(index)


class _Sine(Composite):
    """sin; its slope is the series of cos, computed along with it."""

    curve = OfCircle()

    def value(self, h: Tensor) -> Tensor:
        return h.sin()

    def value_of_slope(self, h: Tensor) -> Tensor:
        return h.cos()

    def compute_slope(self, index: Index) -> Part:
        if not any(index):
            return self.value_of_slope(self.inner.values)
        slope = chain(self.inner, self.part, index)
        return None if slope is None else -slope


class _Cosine(_Sine):
    def value(self, h: Tensor) -> Tensor:
        return h.cos()

    def value_of_slope(self, h: Tensor) -> Tensor:
        return -h.sin()


class _FromSlope(Composite):
    """A function whose slope is known as another jet of the same argument."""

    def __init__(self, inner: Jet, value: Callable[[Tensor], Tensor], slope: Jet) -> None:
        super().__init__(inner)
        self._value = value
        self._slope_jet = slope

    def value(self, h: Tensor) -> Tensor:
        return self._value(h)

    def compute_slope(self, index: Index) -> Part:
        return self._slope_jet.part(index)


class _Softplus(_FromSlope):
    def __init__(self, inner: Jet, beta: float = 1.0, threshold: float = 20.0) -> None:
        slope = _Sigmoid(inner * beta)
        super().__init__(inner, lambda h: F.softplus(h, beta, threshold), slope)
        self.curve = OfSigmoid(beta)

    def kept(self) -> tuple[Tensor, ...]:
        return (self._slope_jet.values,)


def chain(
    inner: Jet, slope: Callable[[Index], Part], index: Index, *, highest: bool = True
) -> Part:
    """1/a_i sum_{b <= a, b_i > 0} b_i h_b g_{a - b}, i the first axis with a_i > 0.

    Without `highest`, the term of h_a is left out.
    """
    axis = next(i for i, count in enumerate(index) if count)
    total: Part = None
    for b, rest in splits(index):
        if b[axis] and (highest or any(rest)):
            h = inner.part(b)
            if h is not None:
                total = plus(total, times(h, slope(rest)), b[axis] / index[axis])
    return total


def _erf(h: Jet) -> Jet:
    return _FromSlope(h, torch.erf, _Exp(-(h * h)) * (2 / math.sqrt(math.pi)))


def _gelu(h: Jet, approximate: str = "none") -> Jet:
    if approximate != "none":
        inner = (h + 0.044715 * h**3) * math.sqrt(2 / math.pi)
        return h * (_Tanh(inner) + 1.0) * 0.5
    return h * (_erf(h * math.sqrt(0.5)) + 1.0) * 0.5


def _silu(h: Jet, inplace: bool = False) -> Jet:
    return h * _Sigmoid(h)


def _log(h: Jet) -> Jet:
    return _FromSlope(h, torch.log, Power(h, -1.0))


RULES |= {
    torch.tanh: _Tanh,
    torch.sin: _Sine,
    torch.cos: _Cosine,
    torch.exp: _Exp,
    torch.log: _log,
    torch.sigmoid: _Sigmoid,
    torch.erf: _erf,
    F.softplus: _Softplus,
    F.silu: _silu,
    F.gelu: _gelu,
}
