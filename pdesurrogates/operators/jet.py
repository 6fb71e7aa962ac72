"""Taylor arithmetic: tensors that carry their derivatives with respect to the coordinates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import product
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "RULES",
    "Index",
    "Jet",
    "Mapped",
    "Part",
    "Sum",
    "Terms",
    "given",
    "splits",
    "plus",
    "times",
]

Index = tuple[int, ...]
"""A multi-index: how many times to differentiate along each coordinate."""

Part = Tensor | None
"""A Taylor coefficient; `None` is zero."""

Terms = tuple[tuple[Index, float], ...]
"""A weighted sum of coefficients, ((a, c_a), ...), sorted."""

RULES: dict[Callable, Callable] = {}
"""What torch functions do to jets."""


class Jet:
    """A function of the coordinates, as its Taylor coefficients at every point.

        u_a = 1/a! d^a u / dx^a,    a a multi-index

    Functions of jets are computed on coefficients: sums and linear layers act on each of them, a
    product is (u v)_a = sum_{b <= a} u_b v_{a - b}, and y = phi(h) with y' = g h' follows from
    lower ones, a_i y_a = sum_{b <= a} b_i h_b g_{a - b}. A coefficient is computed when first
    asked for and kept, so a network costs what the derivatives in use cost, and its value is
    computed once for all of them.

    Derivatives of one jet that are added with constant factors are propagated together: in
    u_t - nu u_xx + u u_x the coefficients of u are u, u_x and (u_t - nu u_xx), three and not
    four, because c = sum c_a u_a follows the same rules as a single coefficient.

    Torch functions take jets where tensors go: a network is called as it is. Supported are
    `linear`, sums, products, quotients, powers, `cat`, `stack`, slices, `split`, `unbind`, `sum`
    and `mean` over the last axis, `tanh`, `sin`, `cos`, `exp`, `log`, `sigmoid`, `softplus`,
    `silu`, `gelu` (exact), `erf`, `sqrt`, `square`; another one is refused by name.

    Reference:
        Evaluating Derivatives (Griewank and Walther, 2008), Chapter 13; sums of derivatives:
        Collapsing Taylor Mode Automatic Differentiation (Dangel et al., 2025).
        https://arxiv.org/abs/2505.13644

    Args:
        compute: Gives the coefficient of a multi-index, `None` for zero; the index 0 is a tensor.
        num_axes: Length of the multi-indices.
    """

    def __init__(self, compute: Callable[[Index], Part] | None, num_axes: int) -> None:
        self._function = compute
        self._parts: dict[Index, Part] = {}
        self._sums: dict[Terms, Part] = {}
        self.num_axes = num_axes

    def _compute(self, index: Index) -> Part:
        if self._function is None:
            raise NotImplementedError
        return self._function(index)

    def _combine(self, terms: Terms) -> Part:
        total: Part = None
        for index, weight in terms:
            total = plus(total, self.part(index), weight)
        return total

    def part(self, index: Index) -> Part:
        """The Taylor coefficient of a multi-index, `None` for zero."""
        if index not in self._parts:
            self._parts[index] = self._compute(index)
        return self._parts[index]

    def combination(self, terms: Terms) -> Part:
        """sum c_a u_a, at the cost of one coefficient where the rules are linear in the highest.

        Args:
            terms: ((a, c_a), ...), sorted.
        """
        if len(terms) == 1:
            ((index, weight),) = terms
            return plus(None, self.part(index), weight)
        if terms not in self._sums:
            self._sums[terms] = self._combine(terms)
        return self._sums[terms]

    @property
    def values(self) -> Tensor:
        """The function itself."""
        value = self.part((0,) * self.num_axes)
        if value is None:
            raise ValueError("Jet: the value of a jet cannot be left out.")
        return value

    def derivative(self, axis: int, order: int = 1) -> Jet:
        """d^order / dx_axis^order as a jet."""
        index = tuple(order if i == axis else 0 for i in range(self.num_axes))
        return Sum([(self, ((index, 1.0),))], self.num_axes)

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
        rule = RULES.get(function)
        if rule is None:
            name = getattr(function, "__name__", str(function))
            raise TypeError(
                f"Jet: no Taylor rule for torch's `{name}`; use one of "
                f"{sorted({f.__name__ for f in RULES})}, or AutodiffDerivatives, which takes any "
                "differentiable function."
            )
        return rule(*args, **(kwargs or {}))

    def __add__(self, other: Any) -> Jet:
        return RULES[torch.add](self, other)

    def __sub__(self, other: Any) -> Jet:
        return RULES[torch.sub](self, other)

    def __rsub__(self, other: Any) -> Jet:
        return RULES[torch.rsub](self, other)

    def __neg__(self) -> Jet:
        return RULES[torch.neg](self)

    def __mul__(self, other: Any) -> Jet:
        return RULES[torch.mul](self, other)

    __radd__ = __add__
    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Jet:
        return RULES[torch.div](self, other)

    def __rtruediv__(self, other: Any) -> Jet:
        return RULES[torch.div](other, self)

    def __pow__(self, exponent: float) -> Jet:
        return RULES[torch.pow](self, exponent)

    def __getitem__(self, key: Any) -> Jet:
        full = self.shape
        return Mapped(self, lambda part: part.expand(full)[key])

    def split(self, size: int, dim: int = -1) -> tuple[Jet, ...]:
        """Pieces of the last axis."""
        if dim not in (-1, self.ndim - 1):
            raise TypeError(f"Jet: only the last axis can be split, got dim={dim}.")
        starts = range(0, self.shape[-1], size)
        return tuple(Mapped(self, lambda part, s=s: part[..., s : s + size]) for s in starts)

    def unbind(self, dim: int = 0) -> tuple[Jet, ...]:
        """Slices along the last axis."""
        return tuple(piece.squeeze(dim) for piece in self.split(1, dim))

    def squeeze(self, dim: int) -> Jet:
        """Without an axis of length one."""
        full = self.shape
        return Mapped(self, lambda part: part.expand(full).squeeze(dim))

    def unsqueeze(self, dim: int) -> Jet:
        """With one more axis of length one."""
        full = self.shape
        return Mapped(self, lambda part: part.expand(full).unsqueeze(dim))

    def reshape(self, *shape: int) -> Jet:
        full = self.shape
        return Mapped(self, lambda part: part.expand(full).reshape(*shape))

    def sum(self, dim: int, keepdim: bool = False) -> Jet:
        full = self.shape
        return Mapped(self, lambda part: part.expand(full).sum(dim, keepdim=keepdim))

    def mean(self, dim: int, keepdim: bool = False) -> Jet:
        full = self.shape
        return Mapped(self, lambda part: part.expand(full).mean(dim, keepdim=keepdim))

    def detach(self) -> Jet:
        return Mapped(self, torch.Tensor.detach)


class Mapped(Jet):
    """A linear map of every coefficient; the value may get something added."""

    def __init__(
        self,
        inner: Jet,
        function: Callable[[Tensor], Tensor],
        value: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(None, inner.num_axes)
        self.inner, self.map, self.map_value = inner, function, value or function

    def _compute(self, index: Index) -> Part:
        part = self.inner.part(index)
        if part is None:
            return None
        return self.map(part) if any(index) else self.map_value(part)

    def _combine(self, terms: Terms) -> Part:
        part = self.inner.combination(terms)
        return None if part is None else self.map(part)


class Sum(Jet):
    """sum_j c_j d^a_j u_j + constants; derivatives of the same jet are asked for together.

    Args:
        derivatives: Jets with the derivatives (not Taylor coefficients) they enter with; the
            index 0 stands for the jet itself.
        num_axes: Length of the multi-indices.
        constants: Tensors or numbers that are added, with their weights.
    """

    def __init__(
        self,
        derivatives: Sequence[tuple[Jet, Terms]],
        num_axes: int,
        constants: Sequence[tuple[Any, float]] = (),
    ) -> None:
        super().__init__(None, num_axes)
        self.derivatives, self.constants = derivatives, constants

    @classmethod
    def of(cls, jet: Jet) -> Sum:
        """A jet as a sum; sums without derivatives stay whole, so that they are added once."""
        if isinstance(jet, Sum) and any(any(terms[0][0]) for _, terms in jet.derivatives):
            return jet
        return cls([(jet, (((0,) * jet.num_axes, 1.0),))], jet.num_axes)

    def scaled(self, factor: float) -> Sum:
        derivatives = [
            (jet, tuple((index, weight * factor) for index, weight in terms))
            for jet, terms in self.derivatives
        ]
        constants = [(value, weight * factor) for value, weight in self.constants]
        return Sum(derivatives, self.num_axes, constants)

    def plus(self, other: Sum) -> Sum:
        gathered: dict[tuple[int, bool], tuple[Jet, dict[Index, float]]] = {}
        for jet, terms in (*self.derivatives, *other.derivatives):
            # Values stay apart: they have no chain rule.
            key = (id(jet), any(terms[0][0]))
            weights = gathered.setdefault(key, (jet, {}))[1]
            for index, weight in terms:
                weights[index] = weights.get(index, 0.0) + weight
        derivatives = [(jet, tuple(sorted(w.items()))) for jet, w in gathered.values()]
        # Derivatives first: what they need on the way serves the values and single derivatives.
        derivatives.sort(key=lambda item: -max(sum(index) for index, _ in item[1]))
        return Sum(derivatives, self.num_axes, (*self.constants, *other.constants))

    @property
    def shape(self) -> torch.Size:
        shapes = [jet.shape for jet, _ in self.derivatives]
        constants = [torch.as_tensor(value).shape for value, _ in self.constants]
        return torch.broadcast_shapes(*shapes, *constants)

    def derivative(self, axis: int, order: int = 1) -> Jet:
        if len(self.derivatives) > 1 or self.constants:
            return super().derivative(axis, order)
        ((jet, terms),) = self.derivatives
        raised = tuple((_raised(index, axis, order), weight) for index, weight in terms)
        return Sum([(jet, raised)], self.num_axes)

    def _compute(self, index: Index) -> Part:
        if any(index):
            return self._combine(((index, 1.0),))
        total: Part = None
        for jet, terms in self.derivatives:
            part = jet.combination(_shifted(terms, ((index, 1.0),)))
            # Coefficients of a coordinate are single numbers: values have the full shape.
            part = torch.zeros_like(jet.values) if part is None else part.expand(jet.shape)
            total = plus(total, part)
        for value, weight in self.constants:
            total = given(total) + (value if weight == 1 else weight * value)
        return total

    def _combine(self, terms: Terms) -> Part:
        total: Part = None
        for jet, own in self.derivatives:
            total = plus(total, jet.combination(_shifted(own, terms)))
        return total


def _raised(index: Index, axis: int, order: int) -> Index:
    return tuple(count + order * (i == axis) for i, count in enumerate(index))


@lru_cache(maxsize=4096)
def _shifted(derivatives: Terms, terms: Terms) -> Terms:
    """Coefficients sum c_a v_a of v = sum w_b d^b u, as coefficients of u."""
    weights: dict[Index, float] = {}
    for b, w in derivatives:
        for a, c in terms:
            index = tuple(x + y for x, y in zip(a, b, strict=True))
            factor = math.prod(math.perm(x, y) for x, y in zip(index, b, strict=True))
            weights[index] = weights.get(index, 0.0) + c * w * factor
    return tuple(sorted(weights.items()))


@lru_cache(maxsize=4096)
def splits(index: Index) -> tuple[tuple[Index, Index], ...]:
    """All (b, a - b) with b <= a."""
    below = product(*(range(count + 1) for count in index))
    return tuple((b, tuple(x - y for x, y in zip(index, b, strict=True))) for b in below)


def times(u: Part, v: Part) -> Part:
    return None if u is None or v is None else u * v


def plus(total: Part, term: Part, weight: float = 1.0) -> Part:
    if term is None:
        return total
    if total is None:
        return term if weight == 1 else term * weight
    return torch.add(total, term, alpha=weight)


def given(part: Part) -> Tensor:
    if part is None:
        raise ValueError("Jet: the value of a jet cannot be left out.")
    return part
