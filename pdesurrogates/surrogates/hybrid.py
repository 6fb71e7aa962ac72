"""The known linear part exactly, the network the rest."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.equations import Equation, SpectralEquation
from pdesurrogates.steppers import Stepper
from pdesurrogates.surrogates.base import Batch
from pdesurrogates.surrogates.derivative import DerivativeSurrogate

__all__ = ["HybridSurrogate"]


class HybridSurrogate(DerivativeSurrogate):
    """A learned time derivative whose stiff linear part is known.

        du/dt = L u + R(u),    R(u) = mean_r + std_r N((u - mean_u) / std_u)

    L is the linear part of `equation`, exact in Fourier space; N learns the rest from
    du/dt - L u, computed in float64 from the stored frames. With `ETDRK` the linear part costs
    no stability limit; what N puts into wavenumbers that the dealiasing of the equation cuts is
    cut as well. Other steppers see the sum L u + R(u).

    Warning:
        Finite differences in time are wrong by more the faster a mode decays: with a stiff L the
        target of the damped modes is dominated by their truncation error. Store frames finely
        enough to resolve the modes that matter.

    Args:
        backbone: Maps a state to the unknown part of its time derivative, see `Surrogate`.
        equation: Supplies the linear part; its nonlinear part is not used. Parameters of the
            equation that are named in `parameter_names` take their value per sample.
        stepper: Advances the derivative; `ETDRK` uses the linear part exactly.
        dt: Step of the training data [time unit of the data].
        grid: Periodic grid; training takes it from the data when `None`.
        target_order, fields, parameter_names: See `DerivativeSurrogate`.

    Shape:
        u: (batch, channel, *space) -> (batch, channel, *space), on `grid`; `on(other)` gives the
            same network on another resolution.
    """

    def __init__(
        self,
        backbone: nn.Module,
        equation: Equation,
        stepper: Stepper,
        dt: float,
        *,
        target_order: int | None = None,
        fields: FieldSpec | None = None,
        grid: Grid | None = None,
        parameter_names: Sequence[str] = (),
    ) -> None:
        super().__init__(
            backbone,
            stepper,
            dt,
            target_order=target_order,
            fields=equation.fields if fields is None else fields,
            grid=grid,
            parameter_names=parameter_names,
        )
        if self.num_channels != equation.fields.num_channels:
            raise ValueError(
                f"HybridSurrogate: `fields` must have the {equation.fields.num_channels} "
                f"channel(s) of {type(equation).__name__}, got {self.num_channels}."
            )
        self.equation = equation
        self._known: SpectralEquation | None = None

    @property
    def known(self) -> SpectralEquation:
        """The equation on the surrogate's grid."""
        if self.grid is None:
            raise ValueError(
                "HybridSurrogate: needs a grid for the linear part; give `grid`, or train "
                "first, which takes it from the data."
            )
        if self._known is None or self._known.grid != self.grid:
            self._known = cast(SpectralEquation, self.equation.on(self.grid))
        return self._known

    def on(self, grid: Grid) -> HybridSurrogate:
        """The same network (shared weights) on another resolution of the same box."""
        other = copy.copy(self)
        other.grid = grid
        return other

    def check_input(self, u: Tensor) -> None:
        """Refuse a state of another rank, channel count or grid."""
        super().check_input(u)
        if tuple(u.shape[2:]) != self.known.grid.shape:
            raise ValueError(
                f"HybridSurrogate: `u` must live on the grid {self.known.grid.shape}, got "
                f"{tuple(u.shape[2:])} points; use surrogate.on(grid) for another resolution."
            )

    def known_for(self, parameters: Tensor | None) -> SpectralEquation:
        """The equation with the PDE parameters it shares with `parameter_names` per sample.

        Args:
            parameters: Values of `parameter_names`, (batch, parameter); `None` if there are none.
        """
        own = {field.name for field in dataclasses.fields(self.equation)}
        shared = [(i, name) for i, name in enumerate(self.parameter_names) if name in own]
        if parameters is None or not shared:
            return self.known
        values = {name: parameters[:, i].double() for i, name in shared}
        equation = dataclasses.replace(self.equation, **values)
        return cast(SpectralEquation, equation.on(self.known.provider))

    def _derivative(self, conditioning: Tensor | None) -> _KnownPlusLearned:
        parameters = conditioning
        if conditioning is not None:
            parameters = self.parameter_normalizer.denormalize(conditioning)
        return _KnownPlusLearned(self, self.known_for(parameters), conditioning)

    def target(self, batch: Batch) -> Tensor:
        """du/dt - L u at the last frame, float64."""
        known = self.known_for(batch["parameters"] if self.parameter_names else None)
        hat = known.to_modes(batch["history"][:, -1].double())
        return super().target(batch) - known.from_modes(known.linear_operator.apply(hat))


class _KnownPlusLearned:
    """f(t, u) = L u + R(u), split as ETDRK needs it."""

    def __init__(
        self, surrogate: HybridSurrogate, known: SpectralEquation, conditioning: Tensor | None
    ) -> None:
        self.surrogate = surrogate
        self.conditioning = conditioning
        self.known = known
        self.linear_operator = self.known.linear_operator

    def __call__(self, t: float | Tensor, u: Tensor) -> Tensor:
        hat = self.to_modes(u)
        rest = self.known.provider.dealias(self.to_modes(self._learned(u)))
        return self.from_modes(self.linear_operator.apply(hat) + rest)

    def to_modes(self, u: Tensor) -> Tensor:
        return self.known.to_modes(u)

    def from_modes(self, hat: Tensor) -> Tensor:
        return self.known.from_modes(hat)

    def nonlinear(self, t: float | Tensor, hat: Tensor) -> Tensor:
        learned = self._learned(self.from_modes(hat))
        return self.known.provider.dealias(self.to_modes(learned))

    def _learned(self, u: Tensor) -> Tensor:
        return self.surrogate.predict(u, self.conditioning)
