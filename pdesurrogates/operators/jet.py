"""Taylor arithmetic: tensors that carry their derivatives with respect to the coordinates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Jet"]

Index = tuple[int, ...]
"""A multi-index: how many times to differentiate along each coordinate."""

Part = Tensor | None
"""A Taylor coefficient; `None` is zero."""


class Jet:
    """A function of the coordinates, as its Taylor coefficients at every point.

        u_a = 1/a! d^a u / dx^a,    a a multi-index

    Functions of jets are computed on coefficients: sums and linear layers act on each of them, a
    product is (u v)_a = sum_{b <= a} u_b v_{a - b}, and y = phi(h) with y' = g h' follows from
    lower ones, a_i y_a = sum_{b <= a} b_i h_b g_{a - b}. A coefficient is computed when first
    asked for and kept, so a network costs what the derivatives in use cost, and its value is
    computed once for all of them.

    Torch functions take jets where tensors go: a network is called as it is. Supported are
    `linear`, sums, products, quotients, powers, `cat`, `stack`, slices, `split`, `unbind`, `sum`
    and `mean` over the last axis, `tanh`, `sin`, `cos`, `exp`, `log`, `sigmoid`, `softplus`,
    `silu`, `gelu` (exact), `erf`, `sqrt`, `square`; another one is refused by name.

    Reference:
        Evaluating Derivatives (Griewank and Walther, 2008), Chapter 13.

    Args:
        compute: Gives the coefficient of a multi-index, `None` for zero; the index 0 is a tensor.
        num_axes: Length of the multi-indices.
    """

    def __init__(self, compute: Callable[[Index], Part], num_axes: int) -> None:
        self._compute = compute
        self._parts: dict[Index, Part] = {}
        self.num_axes = num_axes

    def part(self, index: Index) -> Part:
        """The Taylor coefficient of a multi-index, `None` for zero."""
        if index not in self._parts:
            self._parts[index] = self._compute(index)
        return self._parts[index]

    @property
    def values(self) -> Tensor:
        """The function itself."""
        value = self.part((0,) * self.num_axes)
        if value is None:
            raise ValueError("Jet: the value of a jet cannot be left out.")
        return value

    def derivative(self, axis: int, order: int = 1) -> Jet:
        """d^order / dx_axis^order as a jet."""

        def compute(index: Index) -> Part:
            raised = list(index)
            raised[axis] += order
            part = self.part(tuple(raised))
            factor = math.perm(raised[axis], order)
            if part is None:
                return torch.zeros_like(self.values) if not any(index) else None
            # Coefficients of a coordinate are single numbers: values have the full shape.
            part = part if factor == 1 else part * factor
            return part.expand_as(self.values) if not any(index) else part

        return Jet(compute, self.num_axes)

    @property
    def shape(self) -> torch.Size:
        return self.values.shape

    @property
    def ndim(self) -> int:
        return self.values.ndim

    @property
    def dtype(self) -> torch.dtype:
        return self.values.dtype

    @property
    def device(self) -> torch.device:
        return self.values.device

    @classmethod
    def __torch_function__(
        cls,
        function: Callable,
        types: Sequence[type],
        args: tuple = (),
        kwargs: dict | None = None,
    ) -> Any:
        rule = _RULES.get(function)
        if rule is None:
            name = getattr(function, "__name__", str(function))
            raise TypeError(
                f"Jet: no Taylor rule for torch's `{name}`; use one of "
                f"{sorted({f.__name__ for f in _RULES})}, or AutodiffDerivatives, which takes any "
                "differentiable function."
            )
        return rule(*args, **(kwargs or {}))

    def __add__(self, other: Any) -> Jet:
        return _add(self, other)

    def __sub__(self, other: Any) -> Jet:
        return _sub(self, other)

    def __rsub__(self, other: Any) -> Jet:
        return _add(-self, other)

    def __neg__(self) -> Jet:
        return _each(self, torch.neg)

    def __mul__(self, other: Any) -> Jet:
        return _mul(self, other)

    __radd__ = __add__
    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Jet:
        return _div(self, other)

    def __rtruediv__(self, other: Any) -> Jet:
        return _div(other, self)

    def __pow__(self, exponent: float) -> Jet:
        return _pow(self, exponent)

    def __getitem__(self, key: Any) -> Jet:
        full = self.shape
        return _each(self, lambda part: part.expand(full)[key])

    def split(self, size: int, dim: int = -1) -> tuple[Jet, ...]:
        """Pieces of the last axis."""
        if dim not in (-1, self.ndim - 1):
            raise TypeError(f"Jet: only the last axis can be split, got dim={dim}.")
        starts = range(0, self.shape[-1], size)
        return tuple(_each(self, lambda part, s=s: part[..., s : s + size]) for s in starts)

    def unbind(self, dim: int = 0) -> tuple[Jet, ...]:
        """Slices along the last axis."""
        return tuple(piece.squeeze(dim) for piece in self.split(1, dim))

    def squeeze(self, dim: int) -> Jet:
        """Without an axis of length one."""
        full = self.shape
        return _each(self, lambda part: part.expand(full).squeeze(dim))

    def unsqueeze(self, dim: int) -> Jet:
        """With one more axis of length one."""
        full = self.shape
        return _each(self, lambda part: part.expand(full).unsqueeze(dim))

    def reshape(self, *shape: int) -> Jet:
        full = self.shape
        return _each(self, lambda part: part.expand(full).reshape(*shape))

    def sum(self, dim: int, keepdim: bool = False) -> Jet:
        full = self.shape
        return _each(self, lambda part: part.expand(full).sum(dim, keepdim=keepdim))

    def mean(self, dim: int, keepdim: bool = False) -> Jet:
        full = self.shape
        return _each(self, lambda part: part.expand(full).mean(dim, keepdim=keepdim))

    def detach(self) -> Jet:
        return _each(self, torch.Tensor.detach)


class _Composite(Jet):
    """y = phi(h) from h: a_i y_a = sum_{b <= a} b_i h_b g_{a - b} with y' = g h'.

    Value and slope refer to the jet itself, without a reference from outside: no cycle keeps the
    graph alive.
    """

    def __init__(self, inner: Jet) -> None:
        super().__init__(self._no_closure, inner.num_axes)
        self.inner = inner
        self._slopes: dict[Index, Part] = {}

    @staticmethod
    def _no_closure(index: Index) -> Part:
        raise NotImplementedError

    def value(self, h: Tensor) -> Tensor:
        """phi(h)."""
        raise NotImplementedError

    def compute_slope(self, index: Index) -> Part:
        """The coefficient of g = phi'(h)."""
        raise NotImplementedError

    def slope(self, index: Index) -> Part:
        if index not in self._slopes:
            self._slopes[index] = self.compute_slope(index)
        return self._slopes[index]

    def part(self, index: Index) -> Part:
        if index not in self._parts:
            if any(index):
                self._parts[index] = _chain(self.inner, self.slope, index)
            else:
                self._parts[index] = self.value(self.inner.values)
        return self._parts[index]


class _Tanh(_Composite):
    def value(self, h: Tensor) -> Tensor:
        return h.tanh()

    def compute_slope(self, index: Index) -> Part:
        square = _convolve(self, self, index)
        if any(index):
            return None if square is None else -square
        return 1.0 - _given(square)


class _Sigmoid(_Composite):
    def value(self, h: Tensor) -> Tensor:
        return h.sigmoid()

    def compute_slope(self, index: Index) -> Part:
        return _plus(self.part(index), _convolve(self, self, index), -1.0)


class _Exp(_Composite):
    def value(self, h: Tensor) -> Tensor:
        return h.exp()

    def compute_slope(self, index: Index) -> Part:
        return self.part(index)


class _Sine(_Composite):
    """sin; its slope is the series of cos, computed along with it."""

    def value(self, h: Tensor) -> Tensor:
        return h.sin()

    def compute_slope(self, index: Index) -> Part:
        if not any(index):
            return self.inner.values.cos()
        slope = _chain(self.inner, self.part, index)
        return None if slope is None else -slope


class _FromSlope(_Composite):
    """A function whose slope is known as another jet of the same argument."""

    def __init__(self, inner: Jet, value: Callable[[Tensor], Tensor], slope: Jet) -> None:
        super().__init__(inner)
        self._function = value
        self._slope_jet = slope

    def value(self, h: Tensor) -> Tensor:
        return self._function(h)

    def compute_slope(self, index: Index) -> Part:
        return self._slope_jet.part(index)


class _Quotient(Jet):
    """a / b from b y = a: y_a = (a_a - sum_{0 < b <= a} b_b y_{a - b}) / b_0."""

    def __init__(self, above: Jet, below: Jet) -> None:
        super().__init__(_Composite._no_closure, below.num_axes)
        self.above, self.below = above, below

    def part(self, index: Index) -> Part:
        if index not in self._parts:
            total = self.above.part(index)
            for b, rest in _pairs(index):
                if any(b):
                    total = _plus(total, _times(self.below.part(b), self.part(rest)), -1.0)
            self._parts[index] = None if total is None else total / self.below.values
        return self._parts[index]


class _Power(Jet):
    """h^p from h y' = p y h': a_i h_0 y_a = sum_{0 < b <= a} (p b_i - a_i + b_i) h_b y_{a - b}."""

    def __init__(self, inner: Jet, exponent: float) -> None:
        super().__init__(_Composite._no_closure, inner.num_axes)
        self.inner, self.exponent = inner, exponent

    def part(self, index: Index) -> Part:
        if index not in self._parts:
            self._parts[index] = self._from_lower(index)
        return self._parts[index]

    def _from_lower(self, index: Index) -> Part:
        h0 = self.inner.values
        if not any(index):
            return h0**self.exponent
        axis = next(i for i, count in enumerate(index) if count)
        total: Part = None
        for b, rest in _pairs(index):
            weight = self.exponent * b[axis] - index[axis] + b[axis]
            if any(b) and weight:
                term = _times(self.inner.part(b), self.part(rest))
                total = _plus(total, term, weight / index[axis])
        return None if total is None else total / h0


@lru_cache(maxsize=4096)
def _pairs(index: Index) -> tuple[tuple[Index, Index], ...]:
    """All (b, a - b) with b <= a."""
    below = product(*(range(count + 1) for count in index))
    return tuple((b, tuple(x - y for x, y in zip(index, b, strict=True))) for b in below)


def _chain(inner: Jet, slope: Callable[[Index], Part], index: Index) -> Part:
    """1/a_i sum_{b <= a, b_i > 0} b_i h_b g_{a - b}, i the first axis with a_i > 0."""
    axis = next(i for i, count in enumerate(index) if count)
    total: Part = None
    for b, rest in _pairs(index):
        if b[axis]:
            h = inner.part(b)
            if h is not None:
                total = _plus(total, _times(h, slope(rest)), b[axis] / index[axis])
    return total


def _convolve(left: Jet, right: Jet, index: Index) -> Part:
    """sum_{b <= a} u_b v_{a - b}; half of the products for a square."""
    total: Part = None
    for b, rest in _pairs(index):
        if left is right and b > rest:
            continue
        u = left.part(b)
        if u is None:
            continue
        weight = 2.0 if left is right and b != rest else 1.0
        total = _plus(total, _times(u, right.part(rest)), weight)
    return total


def _times(u: Part, v: Part) -> Part:
    return None if u is None or v is None else u * v


def _plus(total: Part, term: Part, weight: float = 1.0) -> Part:
    if term is None:
        return total
    if total is None:
        return term if weight == 1 else term * weight
    return torch.add(total, term, alpha=weight)


def _given(part: Part) -> Tensor:
    if part is None:
        raise ValueError("Jet: the value of a jet cannot be left out.")
    return part


def _each(jet: Jet, function: Callable[[Tensor], Tensor]) -> Jet:
    """A linear map of every coefficient."""

    def compute(index: Index) -> Part:
        part = jet.part(index)
        return None if part is None else function(part)

    return Jet(compute, jet.num_axes)


def _constant(value: Any, like: Jet) -> Jet:
    """A number or tensor as a jet without derivatives."""
    if isinstance(value, Jet):
        return value
    value = value if isinstance(value, Tensor) else torch.full_like(like.values, value)
    return Jet(lambda index: None if any(index) else value, like.num_axes)


def _add(u: Any, v: Any, *, alpha: float = 1.0) -> Jet:
    if not isinstance(u, Jet) and alpha == 1:
        u, v = v, u
    u = _constant(u, v)
    if isinstance(v, Jet):
        return Jet(lambda index: _plus(u.part(index), v.part(index), alpha), u.num_axes)
    return Jet(lambda index: u.part(index) if any(index) else u.values + alpha * v, u.num_axes)


def _sub(u: Any, v: Any, *, alpha: float = 1.0) -> Jet:
    return _add(u, v, alpha=-alpha)


def _mul(u: Any, v: Any) -> Jet:
    if not isinstance(u, Jet):
        u, v = v, u
    if isinstance(v, Jet):
        return Jet(lambda index: _convolve(u, v, index), u.num_axes)
    return _each(u, lambda part: part * v)


def _div(u: Any, v: Any) -> Jet:
    if isinstance(v, Jet):
        return _Quotient(_constant(u, v), v)
    return _each(u, lambda part: part / v)


def _pow(u: Jet, exponent: Any) -> Jet:
    if isinstance(exponent, int) and 1 <= exponent <= 4:
        return u if exponent == 1 else _mul(_pow(u, exponent // 2), _pow(u, -(-exponent // 2)))
    return _Power(u, exponent)


def _linear(x: Jet, weight: Tensor, bias: Tensor | None = None) -> Jet:
    def compute(index: Index) -> Part:
        part = x.part(index)
        return None if part is None else F.linear(part, weight, None if any(index) else bias)

    return Jet(compute, x.num_axes)


def _matmul(x: Jet, matrix: Tensor) -> Jet:
    return _each(x, lambda part: part @ matrix)


def _cat(jets: Sequence[Any], dim: int = -1) -> Jet:
    first = next(jet for jet in jets if isinstance(jet, Jet))
    own = [_constant(jet, first) for jet in jets]

    def compute(index: Index) -> Part:
        parts = [jet.part(index) for jet in own]
        if all(part is None for part in parts):
            return None
        whole = [
            torch.zeros_like(jet.values) if part is None else part.expand_as(jet.values)
            for jet, part in zip(own, parts, strict=True)
        ]
        return torch.cat(whole, dim=dim)

    return Jet(compute, first.num_axes)


def _stack(jets: Sequence[Any], dim: int = 0) -> Jet:
    return _cat([_constant(jet, jets[0]).unsqueeze(dim) for jet in jets], dim=dim)


def _cos(h: Jet) -> Jet:
    return Jet(_Sine(h).slope, h.num_axes)


def _erf(h: Jet) -> Jet:
    return _FromSlope(h, torch.erf, _Exp(-(h * h)) * (2 / math.sqrt(math.pi)))


def _gelu(h: Jet, approximate: str = "none") -> Jet:
    if approximate != "none":
        inner = (h + 0.044715 * h**3) * math.sqrt(2 / math.pi)
        return h * (_Tanh(inner) + 1.0) * 0.5
    return h * (_erf(h * math.sqrt(0.5)) + 1.0) * 0.5


def _softplus(h: Jet, beta: float = 1.0, threshold: float = 20.0) -> Jet:
    return _FromSlope(h, lambda x: F.softplus(x, beta, threshold), _Sigmoid(h * beta))


def _silu(h: Jet, inplace: bool = False) -> Jet:
    return h * _Sigmoid(h)


def _log(h: Jet) -> Jet:
    return _FromSlope(h, torch.log, _Power(h, -1.0))


_RULES: dict[Callable, Callable] = {
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
    torch.neg: lambda u: -u,
    torch.pow: _pow,
    torch.square: lambda u: u * u,
    torch.sqrt: lambda u: _Power(u, 0.5),
    torch.reciprocal: lambda u: _Power(u, -1.0),
    F.linear: _linear,
    torch.matmul: _matmul,
    torch.cat: _cat,
    torch.concat: _cat,
    torch.stack: _stack,
    torch.tanh: _Tanh,
    torch.sin: _Sine,
    torch.cos: _cos,
    torch.exp: _Exp,
    torch.log: _log,
    torch.sigmoid: _Sigmoid,
    torch.erf: _erf,
    F.softplus: _softplus,
    F.silu: _silu,
    F.gelu: _gelu,
    torch.sum: lambda u, dim, keepdim=False: u.sum(dim, keepdim),
    torch.mean: lambda u, dim, keepdim=False: u.mean(dim, keepdim),
    torch.split: lambda u, size, dim=0: u.split(size, dim),
    torch.unbind: lambda u, dim=0: u.unbind(dim),
    torch.zeros_like: lambda u, **kwargs: torch.zeros_like(u.values, **kwargs),
    torch.ones_like: lambda u, **kwargs: torch.ones_like(u.values, **kwargs),
}
