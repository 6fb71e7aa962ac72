"""The network predicts several frames in one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from pdesurrogates.core import FieldSpec, Grid, StatefulStep
from pdesurrogates.surrogates.base import Batch
from pdesurrogates.surrogates.map import MapSurrogate

__all__ = ["BundleSurrogate"]


class BundleSurrogate(MapSurrogate):
    """One-step map whose network predicts the changes to the next K frames in one call.

        u(t + k dt) = u(t) + mean_k + std_k N_k((u(t) - mean_u) / std_u),    k = 1 .. K

    mean_k and std_k are the statistics of u(t + k dt) - u(t), so the network works at scale one
    for near and far frames alike. A rollout calls the network every K steps and hands out one
    frame per step; rounding and errors are fed back K times less often. The frames within a
    bundle do not see each other, and the far ones are harder to predict than one step.

    With K = 1 this is `ResidualSurrogate`. `OneStep` trains on all K frames; `Unrolled(n)` and
    `Pushforward(n)` count bundles. Called on a state by itself, it gives the first frame.

    Reference:
        Message Passing Neural PDE Solvers (Brandstetter et al., 2022), section 3.1, there from
        the last K frames. https://arxiv.org/abs/2202.03376

    Args:
        backbone: Maps (batch, channel, *space) to (batch, K channel, *space), all channels of
            the first frame first.
        dt, fields, grid, parameter_names: See `Surrogate`.
        num_frames: Frames K per call.

    Shape:
        u: (batch, channel, *space) -> (batch, channel, *space)

    Example:
        >>> import torch
        >>> from pdesurrogates.backbones import FNO
        >>> surrogate = BundleSurrogate(FNO(1, 4, num_modes=(4,)), dt=0.1, num_frames=4)
        >>> surrogate.predict_frames(torch.zeros(3, 1, 16)).shape
        torch.Size([3, 4, 1, 16])
        >>> surrogate.num_evaluations
        0.25
    """

    def __init__(
        self,
        backbone: nn.Module,
        dt: float,
        *,
        num_frames: int = 2,
        fields: FieldSpec | None = None,
        grid: Grid | None = None,
        parameter_names: Sequence[str] = (),
    ) -> None:
        if num_frames < 1:
            raise ValueError(
                f"BundleSurrogate: `num_frames` must be at least 1, got {num_frames}."
            )
        self.num_frames = num_frames
        super().__init__(backbone, dt, fields=fields, grid=grid, parameter_names=parameter_names)

    @property
    def num_evaluations(self) -> float:
        """Network calls per step, on average."""
        return 1 / self.num_frames

    def predict_frames(self, u: Tensor, conditioning: Tensor | None = None) -> Tensor:
        """u -> u at t + dt .. t + K dt, unchecked, (batch, K, channel, *space).

        Args:
            u: State (batch, channel, *space).
            conditioning: Standardised parameters (batch, parameter).
        """
        changes = self.predict(u, conditioning)
        changes = changes.reshape(u.shape[0], self.num_frames, *u.shape[1:])
        return self.hold(u[:, None] + changes, u[:, None])

    def advance(self, u: Tensor, y: Tensor, dt: float | Tensor | None = None) -> Tensor:
        """u plus the change to the first frame of the bundle y."""
        return u + y[:, : u.shape[1]]

    def target(self, batch: Batch) -> Tensor:
        """Differences of the next K frames and the last one, (batch, K channel, *space), float64.

        Raises:
            ValueError: If windows have fewer future frames.
        """
        future, last = batch["future"][:, : self.num_frames], batch["history"][:, -1:]
        if future.shape[1] < self.num_frames:
            raise ValueError(
                f"BundleSurrogate: windows must have at least {self.num_frames} future frames, "
                f"got {future.shape[1]}; build them with "
                f"TrajectoryWindows(..., horizon={self.num_frames})."
            )
        return (future.double() - last.double()).flatten(1, 2)

    def _step(self, conditioning: Tensor | None) -> StatefulStep:
        return _BundleStep(self, conditioning)


@dataclass(frozen=True)
class _Bundle:
    """Frames predicted in one call, and how many of them are used up."""

    frames: Tensor  # (batch, K, channel, *space)
    num_used: int


@dataclass(frozen=True)
class _BundleStep:
    """A bundle as a `StatefulStep` that hands out one frame per step."""

    surrogate: BundleSurrogate
    conditioning: Tensor | None

    def initial_state(self, t: float | Tensor, u0: Tensor) -> _Bundle:
        return _Bundle(u0[:, None], 1)

    def __call__(self, t: float | Tensor, state: _Bundle, dt: float | Tensor) -> _Bundle:
        if state.num_used < state.frames.shape[1]:
            return _Bundle(state.frames, state.num_used + 1)
        frames = self.surrogate.predict_frames(self.observe(state), self.conditioning)
        return _Bundle(frames, 1)

    def observe(self, state: _Bundle) -> Tensor:
        return state.frames[:, state.num_used - 1]
