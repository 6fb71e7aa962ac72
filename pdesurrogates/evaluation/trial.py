"""One trajectory against one equation: the residual, and the coefficients that fit."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor

from pdesurrogates.core import Grid
from pdesurrogates.equations import Equation
from pdesurrogates.evaluation.tendencies import Frames, Sample, low_pass
from pdesurrogates.operators import Derivatives

__all__ = ["Trial"]

_LINEAR, _NONLINEAR = "factor of the linear part", "factor of the nonlinear part"
_NEWTON_STEPS = 3


class Trial:
    """One trajectory against one equation."""

    def __init__(
        self,
        equation: Equation,
        frames: Frames,
        grid: Grid,
        fine: Callable[[Grid], Derivatives],
        rough: Callable[[Grid], Derivatives],
    ) -> None:
        self.equation = equation
        self.frames = frames
        self.sample = sample = frames.sample(equation)
        self.grid = grid
        self.fine = fine
        self.rough = rough
        self.rate = low_pass(sample.rate, grid)
        self.rhs = self._rhs(equation, sample, fine(grid))
        in_space = self.rhs - self._rhs(equation, sample, rough(grid))
        in_time = (self.rate - low_pass(sample.rough_rate, grid)) / max(1.0, sample.ratio - 1)
        if not math.isfinite(sample.ratio):
            in_time = self.rate - low_pass(sample.rough_rate, grid)
        space = tuple(range(2, self.rate.ndim))
        # A field that stands still is measured against the sizes of the terms.
        size = self.rate.square().mean(dim=(0, *space)).sqrt()
        terms = self._largest_term(space)
        self.scale = torch.maximum(size, 1e-3 * terms).clamp(min=1e-300)
        self.residual = (self.rate - self.rhs).square().mean(dim=space).sqrt() / self.scale
        explained = in_time.square() + in_space.square()
        self.truncation = explained.mean(dim=space).sqrt() / self.scale
        self.names, columns = self._columns()
        self.weight = self.scale.reshape(1, -1, *(1,) * self.grid.dim)
        self.fitted, self.fitted_residual = self._fit(columns, self.rate)
        shifted, _ = self._fit(columns, self.rate + in_time)
        self.truncation_shift = (shifted - self.fitted).abs()

    def refine(self) -> None:
        """Newton steps, where the variables themselves depend on the parameters."""
        for _ in range(_NEWTON_STEPS):
            own = dict(zip(self.names, self.fitted.tolist(), strict=True))
            known = {name: own[name] for name in _parameters(self.equation) if name in own}
            equation = dataclasses.replace(self.equation, **known)
            with suppress(ValueError):
                next_trial = Trial(equation, self.frames, self.grid, self.fine, self.rough)
                if next_trial.names != self.names or not next_trial.fitted.isfinite().all():
                    return
                self.fitted = next_trial.fitted
                self.fitted_residual = next_trial.fitted_residual
                self.truncation_shift = next_trial.truncation_shift

    def _rhs(self, equation: Equation, sample: Sample, provider: Derivatives) -> Tensor:
        return low_pass(equation.on(provider)(sample.times, sample.u), self.grid)

    def _misfit(self, provider: Derivatives, **parameters: float) -> Tensor:
        """rhs - u_t with other parameters, on which the variables may depend, too."""
        equation = dataclasses.replace(self.equation, **parameters)
        sample = self.frames.sample(equation)
        return self._rhs(equation, sample, provider) - low_pass(sample.rate, self.grid)

    def _largest_term(self, space: tuple[int, ...]) -> Tensor:
        gone = dataclasses.replace(self.equation, **dict.fromkeys(_parameters(self.equation), 0.0))
        provider = self.fine(self.grid)
        try:
            rest = self._rhs(gone, self.sample, provider)
        except (ValueError, ZeroDivisionError):
            rest = torch.zeros_like(self.rhs)
        sizes = [part.square().mean(dim=(0, *space)).sqrt() for part in (rest, self.rhs - rest)]
        sizes = [torch.nan_to_num(part) for part in sizes]
        return torch.maximum(*sizes)

    def _columns(self) -> tuple[list[str], list[Tensor]]:
        """Slopes of rhs by its coefficients; those that say nothing new are left out."""
        provider = self.fine(self.grid)
        names: list[str] = []
        columns: list[Tensor] = []
        for name in _parameters(self.equation):
            value = float(getattr(self.equation, name))
            step = 1e-4 * (abs(value) or 1.0)
            sides = [self._misfit(provider, **{name: value + s * step}) for s in (1, -1)]
            _append(names, columns, name, (sides[0] - sides[1]) / (2 * step))
        linear = low_pass(_linear_part(self.equation.on(provider), self.sample.u), self.grid)
        _append(names, columns, _NONLINEAR, self.rhs - linear)
        _append(names, columns, _LINEAR, linear)
        return names, columns

    def _fit(self, columns: list[Tensor], rate: Tensor) -> tuple[Tensor, float]:
        """Coefficients that solve rate = rhs + sum_j c_j column_j, and the residual left."""
        if not columns:
            return torch.zeros(0, dtype=torch.float64), float(self.residual.square().mean().sqrt())
        matrix = torch.stack([(column / self.weight).flatten() for column in columns], dim=1)
        target = ((rate - self.rhs) / self.weight).flatten()
        norms = matrix.norm(dim=0)
        change = torch.linalg.lstsq(matrix / norms, target[:, None]).solution[:, 0] / norms
        left = target - matrix @ change
        return change + self.stated, float(left.square().mean().sqrt())

    @property
    def stated(self) -> Tensor:
        """The stated value of each fitted coefficient; factors are stated as 1."""
        return torch.tensor(
            [float(getattr(self.equation, name, 1.0)) for name in self.names], dtype=torch.float64
        )

    def residual_with(self, *, length: float = 1.0) -> tuple[float, float]:
        """Residual after the best factor on the times, with lengths scaled: (residual, factor)."""
        rhs = self.rhs
        if length != 1.0:
            extent = tuple(length * value for value in self.grid.extent)
            grid = dataclasses.replace(self.grid, extent=extent)
            rhs = self._rhs(self.equation, self.sample, self.fine(grid))
        a, b = (rhs / self.weight).flatten(), (self.rate / self.weight).flatten()
        factor = 1.0 if length != 1.0 else float(a @ b / (a @ a).clamp(min=1e-300))
        return float((b - factor * a).square().mean().sqrt()), factor


def _parameters(equation: Equation) -> list[str]:
    """Names of the constant real parameters that may be fitted."""
    return [
        field.name
        for field in dataclasses.fields(equation)
        if isinstance(value := getattr(equation, field.name), (int, float))
        and not isinstance(value, bool)
        and (isinstance(value, float) or isinstance(field.default, float))
    ]


def _linear_part(bound: Callable, u: Tensor) -> Tensor:
    """The equation's `linear` on grid values."""
    provider = bound.provider
    result = bound.equation.linear(provider.field(u), provider)
    return result.values if hasattr(result, "values") else result


def _append(names: list[str], columns: list[Tensor], name: str, column: Tensor) -> None:
    """Keep a column that is not a combination of those before it."""
    norm = column.norm()
    if not bool(torch.isfinite(norm)) or float(norm) == 0:
        return
    unit = (column / norm).flatten()
    if columns:
        basis = torch.stack([c.flatten() / c.norm() for c in columns], dim=1)
        left = unit - basis @ torch.linalg.lstsq(basis, unit[:, None]).solution[:, 0]
        if float(left.norm()) < 1e-6:
            return
    names.append(name)
    columns.append(column)
