"""How far is a prediction from the truth? One number per trajectory and time, in float64.

All metrics take `(prediction, reference)` of equal shape and agree on four rules.

**Axes.** Three axes are a state in 1D, (batch, channel, x). Four, five or six axes are a
trajectory in 1D, 2D or 3D, (batch, time, channel, *space). A state in 2D or 3D has as many axes as
a trajectory with one space axis less, so it needs `space_dims=2` or `3`; `space_dims` is never
guessed from sizes. The result has shape (batch, time), or (batch,) for a state. Keep the channels
with `per_channel=True`; average over axes with `reduce="time"`, `"batch"` or `("batch", "time")`.

**Channels.** Each channel is scored by itself and the scores are averaged, so a field of small
numbers counts as much as one of large numbers. Only `relative_l2` takes all channels together.

**Statistics.** Everything runs in float64 and divides by the number of points n, never n - 1.

**Edges.** A ratio whose denominator is zero is `inf`, and 0 where prediction and reference are
exactly equal. NaN and Inf pass through: a trajectory that diverged stays NaN or `inf` in its
error, it is never dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from pdesurrogates.core import check_times

__all__ = [
    "conservation_drift",
    "correlation",
    "correlation_time",
    "divergence_step",
    "divergence_time",
    "first_crossing",
    "nrmse",
    "relative_l2",
    "rmse",
    "valid_time",
    "vrmse",
]

Axes = Literal["batch", "time"] | Sequence[Literal["batch", "time"]]


def infer_space_dims(u: Tensor, space_dims: int | None, *, where: str) -> int:
    """Number of space axes by the rule of this module."""
    if space_dims is None:
        if not 3 <= u.ndim <= 6:
            raise ValueError(
                f"{where}: expected (batch, time, channel, *space) or (batch, channel, x), got "
                f"shape {tuple(u.shape)}; add the missing axes, e.g. u[None, :, None]."
            )
        return max(u.ndim - 3, 1)
    if space_dims not in (1, 2, 3) or u.ndim not in (space_dims + 2, space_dims + 3):
        raise ValueError(
            f"{where}: with space_dims={space_dims} expected (batch, time, channel, *space) or "
            f"(batch, channel, *space) with that many space axes, got shape {tuple(u.shape)}."
        )
    return space_dims


def _prepare(
    prediction: Tensor, reference: Tensor, space_dims: int | None, where: str
) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """Both in float64 on one device, and the space axes as negative numbers."""
    for name, value in (("prediction", prediction), ("reference", reference)):
        if not isinstance(value, Tensor):
            raise TypeError(
                f"{where}: `{name}` must be a torch tensor, got {type(value).__name__}; convert "
                f"it with torch.as_tensor({name})."
            )
        if value.is_complex():
            raise TypeError(
                f"{where}: `{name}` must be real, got {value.dtype}; store real and imaginary "
                f"part as two channels."
            )
    if prediction.shape != reference.shape:
        raise ValueError(
            f"{where}: `prediction` and `reference` must have the same shape, got "
            f"{tuple(prediction.shape)} and {tuple(reference.shape)}; compare the same "
            f"trajectories at the same times and points."
        )
    dims = infer_space_dims(prediction, space_dims, where=where)
    space = tuple(range(-dims, 0))
    return prediction.double(), reference.to(prediction.device, torch.float64), space


def _reduce(
    scores: Tensor, space: tuple[int, ...], rank: int, per_channel: bool, reduce: Axes, where: str
) -> Tensor:
    """Average the channel axis (last of `scores`) away unless kept, then the named axes."""
    has_time = rank == len(space) + 3
    position = {"batch": 0, "time": 1} if has_time else {"batch": 0}
    names = (reduce,) if isinstance(reduce, str) else tuple(reduce)
    unknown = [name for name in names if name not in position]
    if unknown:
        raise ValueError(
            f"{where}: `reduce` names the axes {tuple(position)} of this input, got {names}."
        )
    if not per_channel:
        scores = scores.mean(-1)
    return scores.mean(tuple(position[name] for name in names)) if names else scores


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """numerator / denominator with 0 / 0 = 0 and x / 0 = inf; NaN stays NaN."""
    return torch.where(numerator == 0, numerator.new_zeros(()), numerator / denominator)


def _root_mean_square(u: Tensor, axes: tuple[int, ...]) -> Tensor:
    return u.square().mean(axes).sqrt()


def _anomaly(u: Tensor, space: tuple[int, ...]) -> Tensor:
    """u minus its mean over space; exactly 0 for a constant field, whatever the rounding."""
    constant = u.amax(space, keepdim=True) == u.amin(space, keepdim=True)
    return torch.where(constant, u.new_zeros(()), u - u.mean(space, keepdim=True))


def rmse(
    prediction: Tensor,
    reference: Tensor,
    *,
    space_dims: int | None = None,
    per_channel: bool = False,
    reduce: Axes = (),
) -> Tensor:
    """Root mean square error over space, in the unit of the field.

        rmse = sqrt( mean_x (u - u_ref)^2 )

    Args:
        prediction: Trajectory or state.
        reference: The truth, same shape.
        space_dims: Number of space axes where the rank leaves a choice (see the module).
        per_channel: Keep the channel axis, last in the result.
        reduce: Axes to average over, "batch", "time" or both.

    Returns:
        (batch, time) or (batch,), float64; with `per_channel` a channel axis after these.

    Example:
        >>> rmse(torch.ones(2, 5, 1, 8), torch.zeros(2, 5, 1, 8)).shape
        torch.Size([2, 5])
    """
    u, u_ref, space = _prepare(prediction, reference, space_dims, "rmse")
    return _reduce(_root_mean_square(u - u_ref, space), space, u.ndim, per_channel, reduce, "rmse")


def nrmse(
    prediction: Tensor,
    reference: Tensor,
    *,
    space_dims: int | None = None,
    per_channel: bool = False,
    reduce: Axes = (),
) -> Tensor:
    """Root mean square error over the root mean square of the reference.

        nrmse = sqrt( mean_x (u - u_ref)^2 ) / sqrt( mean_x u_ref^2 )

    Zero reference: `inf`, or 0 where the prediction is zero too. Near-zero references make it
    large; read `rmse` beside it. Arguments and result as for `rmse`, without unit.
    """
    u, u_ref, space = _prepare(prediction, reference, space_dims, "nrmse")
    scores = ratio(_root_mean_square(u - u_ref, space), _root_mean_square(u_ref, space))
    return _reduce(scores, space, u.ndim, per_channel, reduce, "nrmse")


def vrmse(
    prediction: Tensor,
    reference: Tensor,
    *,
    space_dims: int | None = None,
    per_channel: bool = False,
    reduce: Axes = (),
) -> Tensor:
    """Root mean square error over the standard deviation of the reference in space.

        vrmse = sqrt( mean_x (u - u_ref)^2 ) / sqrt( mean_x (u_ref - mean_x u_ref)^2 )

    A prediction of the mean scores 1, whatever the offset of the field. Constant reference:
    `inf`, or 0 where the prediction equals it. No small number is added to the denominator.
    Arguments and result as for `rmse`, without unit.
    """
    u, u_ref, space = _prepare(prediction, reference, space_dims, "vrmse")
    spread = _root_mean_square(_anomaly(u_ref, space), space)
    scores = ratio(_root_mean_square(u - u_ref, space), spread)
    return _reduce(scores, space, u.ndim, per_channel, reduce, "vrmse")


def relative_l2(
    prediction: Tensor,
    reference: Tensor,
    *,
    space_dims: int | None = None,
    reduce: Axes = (),
) -> Tensor:
    """Norm of the error over the norm of the reference, all channels together.

        relative_l2 = || u - u_ref ||_2 / || u_ref ||_2     over channels and space

    Equals `nrmse` for one channel. Zero reference: `inf`, or 0 where the prediction is zero too.
    Arguments and result as for `rmse`, without unit.
    """
    u, u_ref, space = _prepare(prediction, reference, space_dims, "relative_l2")
    axes = (min(space) - 1, *space)
    scores = ratio(_root_mean_square(u - u_ref, axes), _root_mean_square(u_ref, axes))
    return _reduce(scores[..., None], space, u.ndim, False, reduce, "relative_l2")


def correlation(
    prediction: Tensor,
    reference: Tensor,
    *,
    space_dims: int | None = None,
    per_channel: bool = False,
    reduce: Axes = (),
) -> Tensor:
    """Pearson correlation over space.

        correlation = mean_x(a b) / sqrt( mean_x(a^2) mean_x(b^2) ),
        a = u - mean_x u,   b = u_ref - mean_x u_ref

    Equal fields give exactly 1, constant ones included. Otherwise a constant field correlates
    with nothing: 0. NaN or Inf in the prediction: NaN. Arguments and result as for `rmse`.
    """
    u, u_ref, space = _prepare(prediction, reference, space_dims, "correlation")
    a, b = _anomaly(u, space), _anomaly(u_ref, space)
    a, b = (ratio(v, v.abs().amax(space, keepdim=True)) for v in (a, b))
    covariance = (a * b).mean(space)
    scale = (a.square().mean(space) * b.square().mean(space)).sqrt()
    scores = ratio(covariance, scale).clamp(-1, 1)
    equal = (u == u_ref).flatten(min(space)).all(-1)
    scores = torch.where(equal, scores.new_ones(()), scores)
    scores = torch.where(
        torch.isfinite(u).flatten(min(space)).all(-1), scores, scores.new_full((), torch.nan)
    )
    return _reduce(scores, space, u.ndim, per_channel, reduce, "correlation")


def first_crossing(is_past: Tensor, times: Sequence[float] | Tensor) -> tuple[Tensor, Tensor]:
    """First saved time at which a condition holds, per trajectory.

    Args:
        is_past: Whether the limit is passed, (batch, time), bool.
        times: Time of each entry, (time,) or (batch, time) [time unit of the data].

    Returns:
        The times (batch,) float64, the last saved time where the condition never holds; and
        whether that is so ("censored": the true crossing lies beyond the horizon), (batch,) bool.
    """
    table = _time_table(times, is_past, "first_crossing")
    crossed = is_past.any(1)
    last = is_past.shape[1] - 1
    index = torch.where(
        crossed, is_past.long().argmax(1), torch.full_like(crossed, last, dtype=torch.long)
    )
    return table.gather(1, index[:, None])[:, 0], ~crossed


def _time_table(times: Sequence[float] | Tensor, curve: Tensor, where: str) -> Tensor:
    """Times as (batch, time) beside a (batch, time) curve."""
    if curve.ndim != 2:
        raise ValueError(
            f"{where}: needs trajectories (batch, time, channel, *space), got a state without a "
            f"time axis; give `space_dims` if the space has 2 or 3 axes."
        )
    values = torch.as_tensor(times, dtype=torch.float64, device=curve.device)
    for row in values if values.ndim == 2 else values[None]:
        check_times(row, where=where)
    if values.shape not in (curve.shape, curve.shape[1:]):
        raise ValueError(
            f"{where}: `times` must have one entry per saved state, {tuple(curve.shape[1:])} or "
            f"{tuple(curve.shape)}, got {tuple(values.shape)}."
        )
    return values.expand(curve.shape)


def correlation_time(
    prediction: Tensor,
    reference: Tensor,
    times: Sequence[float] | Tensor,
    *,
    threshold: float = 0.8,
    space_dims: int | None = None,
) -> Tensor:
    """First saved time at which the correlation falls below a threshold, per trajectory.

        correlation_time = min { t_n : correlation(u(t_n), u_ref(t_n)) < threshold }

    NaN counts as below. A trajectory that never falls below gets the last saved time: a lower
    bound. `first_crossing(correlation(u, u_ref) < threshold, times)` tells which these are.

    Args:
        prediction: Trajectories (batch, time, channel, *space).
        reference: The truth, same shape.
        times: Time since the initial state of each saved state, (time,) or (batch, time).
        threshold: Correlation below which the prediction counts as lost.
        space_dims: Number of space axes where the rank leaves a choice.

    Returns:
        (batch,) float64 [time unit of `times`].
    """
    curve = correlation(prediction, reference, space_dims=space_dims)
    return first_crossing(~(curve >= threshold), times)[0]


def valid_time(
    prediction: Tensor,
    reference: Tensor,
    times: Sequence[float] | Tensor,
    *,
    threshold: float = 0.2,
    space_dims: int | None = None,
) -> Tensor:
    """First saved time at which the nrmse exceeds a threshold, per trajectory.

        valid_time = min { t_n : nrmse(u(t_n), u_ref(t_n)) > threshold }

    NaN counts as above; the last saved time where it never happens. Arguments and result as for
    `correlation_time`.
    """
    curve = nrmse(prediction, reference, space_dims=space_dims)
    return first_crossing(~(curve <= threshold), times)[0]


def conservation_drift(
    prediction: Tensor,
    reference: Tensor,
    quantity: Callable[[Tensor], Tensor] | None = None,
    *,
    space_dims: int | None = None,
    per_channel: bool = False,
    reduce: Axes = (),
) -> Tensor:
    """How far a quantity that should be kept has moved away from the reference.

        drift = | Q(u) - Q(u_ref) |,     default Q(u) = mean_x u  ("mass" per volume)

    The unit is that of Q: many conserved quantities are zero, so nothing is divided by them.

    Args:
        prediction: Trajectory or state.
        reference: The truth, same shape.
        quantity: Q, from (..., channel, *space) to (...); the mean of each channel if `None`.
        space_dims: Number of space axes where the rank leaves a choice.
        per_channel: Keep the channel axis of the default quantity.
        reduce: Axes to average over.

    Returns:
        (batch, time) or (batch,), float64.
    """
    u, u_ref, space = _prepare(prediction, reference, space_dims, "conservation_drift")
    if quantity is None:
        drift = (u.mean(space) - u_ref.mean(space)).abs()
        return _reduce(drift, space, u.ndim, per_channel, reduce, "conservation_drift")
    drift = (quantity(u) - quantity(u_ref)).abs()
    return _reduce(drift[..., None], space, u.ndim, False, reduce, "conservation_drift")


def divergence_step(
    prediction: Tensor, reference: Tensor, *, factor: float = 10.0, space_dims: int | None = None
) -> Tensor:
    """Index of the first state that has blown up, per trajectory; -1 where none has.

    A state has blown up when an entry is not finite or when, in some channel,

        sqrt( mean_x u^2 )  >  factor * max_t sqrt( mean_x u_ref^2 )

    The largest reference over the trajectory is taken so that a decaying truth does not turn a
    small error into a blow-up. A channel whose reference is zero throughout is judged by
    finiteness alone.

    Args:
        prediction: Trajectories (batch, time, channel, *space).
        reference: The truth, same shape.
        factor: How many times the reference counts as a blow-up.
        space_dims: Number of space axes where the rank leaves a choice.

    Returns:
        (batch,) int64.
    """
    u, u_ref, space = _prepare(prediction, reference, space_dims, "divergence_step")
    if u.ndim != len(space) + 3:
        raise ValueError(
            "divergence_step: needs trajectories (batch, time, channel, *space), got shape "
            f"{tuple(u.shape)}; add a time axis with u[:, None]."
        )
    limit = factor * _root_mean_square(u_ref, space).amax(1, keepdim=True)
    too_large = (_root_mean_square(u, space) > limit) & (limit > 0)
    finite = torch.isfinite(u).flatten(min(space)).all(-1)
    bad = (too_large | ~finite).any(-1)
    return torch.where(bad.any(1), bad.long().argmax(1), -1)


def divergence_time(
    prediction: Tensor,
    reference: Tensor,
    times: Sequence[float] | Tensor,
    *,
    factor: float = 10.0,
    space_dims: int | None = None,
) -> Tensor:
    """Time of the state found by `divergence_step`, `inf` where none has blown up; (batch,)."""
    step = divergence_step(prediction, reference, factor=factor, space_dims=space_dims)
    table = _time_table(times, prediction[..., 0].flatten(2)[..., 0], "divergence_time")
    at = table.gather(1, step.clamp(min=0)[:, None])[:, 0]
    return torch.where(step >= 0, at, torch.inf)
