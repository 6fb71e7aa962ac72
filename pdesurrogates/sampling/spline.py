"""Monotone rational-quadratic splines of the unit interval onto itself."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Spline"]

_SMALLEST_BIN = 1e-3  # share of the interval; keeps neighbouring knots apart
_SMALLEST_SLOPE = 1e-3


class Spline(NamedTuple):
    """Splines y(x) on [0, 1] with y(0) = 0, y(1) = 1 and positive slopes s_k at their knots.

    Between the knots (x_k, y_k) and (x_k+1, y_k+1), with t = (x - x_k) / w, w and h the width and
    height of the bin and m = h / w:

        y = y_k + h (m t^2 + s_k t (1 - t)) / (m + (s_k + s_k+1 - 2 m) t (1 - t))

    The slope is continuous, so a density made of it has a square-integrable gradient.

    Reference:
        Neural spline flows (Durkan, Bekasov, Murray and Papamakarios, 2019), Eqs. (4)-(5) and the
        inverse of section A.1. https://arxiv.org/abs/1906.04032

    Attributes:
        x: Knots (..., num_bins + 1), from 0 to 1.
        y: Values there, same shape.
        slopes: dy/dx there, same shape.
    """

    x: Tensor
    y: Tensor
    slopes: Tensor

    @classmethod
    def of(cls, raw: Tensor) -> Spline:
        """From unconstrained numbers (..., 3 num_bins + 1); zeros are the identity."""
        num_bins = (raw.shape[-1] - 1) // 3
        widths, heights, slopes = raw.split([num_bins, num_bins, num_bins + 1], dim=-1)
        shift = math.log(math.expm1(1 - _SMALLEST_SLOPE))
        return cls(
            _knots(widths),
            _knots(heights),
            _SMALLEST_SLOPE + functional.softplus(slopes + shift),
        )

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """y and log(dy/dx) at x (...), one x per spline."""
        x_k, w, y_k, h, s, s_next = self._bin(self.x, x)
        m = h / w
        t = (x - x_k) / w
        both = t * (1 - t)
        below = m + (s + s_next - 2 * m) * both
        y = y_k + h * (m * t * t + s * both) / below
        return y, self._log_slope(t, m, s, s_next, below)

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """x with y(x) = y, and log(dy/dx) there."""
        x_k, w, y_k, h, s, s_next = self._bin(self.y, y)
        m = h / w
        up = y - y_k
        bend = up * (s + s_next - 2 * m)
        a = h * (m - s) + bend
        b = h * s - bend
        c = -m * up
        root = (b * b - 4 * a * c).clamp(min=0).sqrt()
        t = (-2 * c / (b + root)).clamp(0, 1)  # the form without cancellation
        below = m + (s + s_next - 2 * m) * t * (1 - t)
        return x_k + w * t, self._log_slope(t, m, s, s_next, below)

    @staticmethod
    def _log_slope(t: Tensor, m: Tensor, s: Tensor, s_next: Tensor, below: Tensor) -> Tensor:
        above = s_next * t * t + 2 * m * t * (1 - t) + s * (1 - t) * (1 - t)
        return 2 * m.log() + above.log() - 2 * below.log()

    def _bin(self, knots: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        """Left end, size and slopes of the bin that holds `value`, of both axes."""
        with torch.no_grad():
            left = torch.searchsorted(knots.contiguous(), value[..., None], right=True) - 1
            left = left.clamp(0, knots.shape[-1] - 2)

        def pick(of: Tensor, index: Tensor) -> Tensor:
            return of.gather(-1, index)[..., 0]

        x_k, y_k = pick(self.x, left), pick(self.y, left)
        w, h = pick(self.x, left + 1) - x_k, pick(self.y, left + 1) - y_k
        return x_k, w, y_k, h, pick(self.slopes, left), pick(self.slopes, left + 1)


def _knots(raw: Tensor) -> Tensor:
    """0, ..., 1 with positive gaps (..., num_bins) -> (..., num_bins + 1)."""
    share = 1 - _SMALLEST_BIN * raw.shape[-1]
    gaps = _SMALLEST_BIN + share * raw.softmax(dim=-1)
    inner = gaps.cumsum(dim=-1)[..., :-1]
    return torch.cat((torch.zeros_like(raw[..., :1]), inner, torch.ones_like(raw[..., :1])), -1)
