"""Does an ensemble know how wrong it is? CRPS, spread against error, coverage and ranks, float64.

All take `prediction` (batch, member, time, channel, *space) and `reference` (batch, time,
channel, *space). Every channel is scored by itself; scores are averaged over space, and over the
channels unless `per_channel=True`. Members are taken as exchangeable draws. In an ensemble that
is calibrated, the truth is one more draw: then `spread_skill_ratio` is 1, `coverage` equals the
level, and all ranks are equally frequent, whatever the number of members. The converse does not
hold: an ensemble that draws the climate, knowing nothing of the state, is calibrated as well, so
read these numbers beside `crps`, which rewards both.

A member that is not finite makes the scores of its trajectory and time NaN; none is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import xarray as xr
from torch import Tensor

from pdesurrogates.core import FieldSpec
from pdesurrogates.evaluation.metrics import Axes, _reduce, ratio
from pdesurrogates.evaluation.scores import (
    _blocks,
    _check_reference,
    _checked_times,
    _default_fields,
)

__all__ = [
    "central_levels",
    "coverage",
    "crps",
    "ensemble_rmse",
    "evaluate_ensemble",
    "rank_histogram",
    "spread",
    "spread_skill_ratio",
]


def _prepare(
    prediction: Tensor, reference: Tensor, where: str, *, at_least: int = 1
) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """Both in float64 on one device, and the space axes as negative numbers."""
    for name, value in (("prediction", prediction), ("reference", reference)):
        if not isinstance(value, Tensor) or value.is_complex():
            came = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"{where}: `{name}` must be a real torch tensor, got {came}.")
    without_members = (*prediction.shape[:1], *prediction.shape[2:])
    if prediction.ndim not in (5, 6, 7) or tuple(reference.shape) != without_members:
        raise ValueError(
            f"{where}: `prediction` must have shape (batch, member, time, channel, *space) and "
            "`reference` the same without the member axis, got "
            f"{tuple(prediction.shape)} and {tuple(reference.shape)}; add missing axes, e.g. "
            "prediction[:, None] for one member."
        )
    num_members = prediction.shape[1]
    if num_members < at_least:
        raise ValueError(
            f"{where}: needs at least {at_least} members, got {num_members}; roll out more with "
            "rollout_ensemble(..., num_members=8)."
        )
    space = tuple(range(4 - prediction.ndim, 0))
    return prediction.double(), reference.to(prediction.device, torch.float64), space


def crps(
    prediction: Tensor,
    reference: Tensor,
    *,
    fair: bool = True,
    per_channel: bool = False,
    reduce: Axes = (),
) -> Tensor:
    """Continuous ranked probability score: error of a distribution, in the unit of the field.

        crps = mean_x [ 1/M sum_m |u_m - u_ref| - 1/(2 M D) sum_mn |u_m - u_n| ],
        D = M - 1 (fair) or M

    It is smallest on average for the true distribution and equals the absolute error for one
    member with D = M. With D = M the score of a finite ensemble depends on its size; the fair
    one estimates, without bias, the score of infinitely many members, and so compares ensembles
    of different size.

    Reference:
        Strictly Proper Scoring Rules, Prediction, and Estimation (Gneiting and Raftery, 2007),
        Eq. (21). Fair scores for ensemble forecasts (Ferro, 2014).

    Args:
        prediction: (batch, member, time, channel, *space).
        reference: The truth (batch, time, channel, *space).
        fair: Divide by M - 1; needs two members.
        per_channel: Keep the channel axis, last in the result.
        reduce: Axes to average over, "batch", "time" or both.

    Returns:
        (batch, time), float64; with `per_channel` a channel axis after these.

    Example:
        >>> crps(torch.zeros(2, 8, 5, 1, 16), torch.ones(2, 5, 1, 16), reduce=("batch", "time"))
        tensor(1., dtype=torch.float64)
    """
    u, u_ref, space = _prepare(prediction, reference, "crps", at_least=2 if fair else 1)
    num_members = u.shape[1]
    error = (u - u_ref[:, None]).abs().mean(1)
    # sum_mn |u_m - u_n| of sorted members is 2 sum_i (2 i - M - 1) u_(i).
    places = torch.arange(1, num_members + 1, dtype=u.dtype, device=u.device)
    weights = (2 * places - num_members - 1) / (num_members * (num_members - fair))
    distance = torch.einsum("bm...,m->b...", u.sort(dim=1).values, weights)
    scores = (error - distance).mean(space)
    return _reduce(scores, space, u_ref.ndim, per_channel, reduce, "crps")


def spread(
    prediction: Tensor,
    *,
    per_channel: bool = False,
    reduce: Axes = (),
) -> Tensor:
    """Standard deviation of the members, root mean square over space, in the unit of the field.

        spread = sqrt( mean_x 1/(M - 1) sum_m (u_m - mean_m u_m)^2 )

    Arguments and result as for `crps`.
    """
    u, u_ref, space = _prepare(prediction, prediction[:, 0], "spread", at_least=2)
    scores = u.var(dim=1).mean(space).sqrt()
    return _reduce(scores, space, u_ref.ndim, per_channel, reduce, "spread")


def ensemble_rmse(
    prediction: Tensor,
    reference: Tensor,
    *,
    per_channel: bool = False,
    reduce: Axes = (),
) -> Tensor:
    """Root mean square error of the ensemble mean, in the unit of the field.

        ensemble_rmse = sqrt( mean_x (mean_m u_m - u_ref)^2 )

    A mean over members is smoother than any member: compare it with the mean of another ensemble,
    never with one deterministic rollout. Arguments and result as for `crps`.
    """
    u, u_ref, space = _prepare(prediction, reference, "ensemble_rmse")
    scores = (u.mean(1) - u_ref).square().mean(space).sqrt()
    return _reduce(scores, space, u_ref.ndim, per_channel, reduce, "ensemble_rmse")


def spread_skill_ratio(
    prediction: Tensor, reference: Tensor, *, per_channel: bool = False
) -> Tensor:
    """Spread over error of the mean at each time, 1 for a calibrated ensemble of any size.

        ratio = sqrt( (M + 1) / M ) sqrt( mean spread^2 / mean ensemble_rmse^2 )

    The means are over the trajectories: squares are averaged before the root. Below 1 the
    ensemble is too sure of itself. No error gives `inf`, no error and no spread 0.

    Reference:
        Why Should Ensemble Spread Match the RMSE of the Ensemble Mean? (Fortin et al., 2014).

    Args:
        prediction: (batch, member, time, channel, *space).
        reference: The truth (batch, time, channel, *space).
        per_channel: Keep the channel axis; averaged otherwise.

    Returns:
        (time,), float64; with `per_channel` (time, channel).
    """
    error = ensemble_rmse(prediction, reference, per_channel=True)
    own = spread(prediction, per_channel=True)
    num_members = prediction.shape[1]
    squares = ratio((1 + 1 / num_members) * own.square().mean(0), error.square().mean(0))
    return squares.sqrt() if per_channel else squares.sqrt().mean(-1)


def central_levels(num_members: int) -> tuple[float, ...]:
    """Levels of the central intervals between members of rank i and M + 1 - i, increasing.

        level_i = (M + 1 - 2 i) / (M + 1),    i = M // 2, ..., 1

    One more draw of the same distribution falls into them with exactly these probabilities.

    Example:
        >>> central_levels(4)
        (0.2, 0.6)
    """
    M = num_members
    return tuple((M + 1 - 2 * i) / (M + 1) for i in range(M // 2, 0, -1))


def coverage(
    prediction: Tensor,
    reference: Tensor,
    *,
    levels: Sequence[float] | None = None,
    per_channel: bool = False,
    reduce: Axes = (),
) -> Tensor:
    """How often the truth lies in the central interval of each level.

    The ends of the interval of level p are the quantiles (1 - p) / 2 and (1 + p) / 2, where the
    i-th of M ordered members is the quantile i / (M + 1), with straight lines in between. For
    `central_levels` the expected coverage of a calibrated ensemble equals the level exactly; for
    others nearly so. The ends belong to the interval.

    Reference:
        Sample Quantiles in Statistical Packages (Hyndman and Fan, 1996), definition 6.

    Args:
        prediction: (batch, member, time, channel, *space).
        reference: The truth (batch, time, channel, *space).
        levels: Nominal levels; `central_levels` of the ensemble when `None`.
        per_channel: Keep the channel axis, before the levels.
        reduce: Axes to average over, "batch", "time" or both.

    Returns:
        Shares of the points, (batch, time, level), float64.

    Raises:
        ValueError: If a level is not positive, or larger than M members can tell.
    """
    u, u_ref, space = _prepare(prediction, reference, "coverage", at_least=2)
    num_members = u.shape[1]
    levels = central_levels(num_members) if levels is None else tuple(levels)
    largest = (num_members - 1) / (num_members + 1)
    if not all(0 < level <= largest + 1e-12 for level in levels):
        raise ValueError(
            f"coverage: {num_members} members tell levels up to {largest:.3g}, got {levels}; "
            "leave higher ones out or roll out more members."
        )
    ordered = u.sort(dim=1).values
    shares = []
    for level in levels:
        low, high = (
            _order_statistic(ordered, (1 + sign * level) / 2 * (num_members + 1))
            for sign in (-1, 1)
        )
        inside = (low <= u_ref) & (u_ref <= high)
        shares.append(inside.double().mean(space))
    scores = _nan_where_lost(torch.stack(shares), u, space)
    kept = [_reduce(score, space, u_ref.ndim, per_channel, reduce, "coverage") for score in scores]
    return torch.stack(kept, dim=-1)


def _order_statistic(ordered: Tensor, place: float) -> Tensor:
    """The member at a place 1 .. M of the ordered ones, straight lines in between."""
    below = min(max(int(place + 1e-9), 1), ordered.shape[1])
    share = max(0.0, place - below)
    if share < 1e-9:
        return ordered[:, below - 1]
    return torch.lerp(ordered[:, below - 1], ordered[:, below], share)


def _nan_where_lost(scores: Tensor, u: Tensor, space: tuple[int, ...]) -> Tensor:
    """Scores (..., batch, time, channel) with NaN where a member is not finite."""
    is_sound = torch.isfinite(u).all(1).flatten(min(space)).all(-1)
    return torch.where(is_sound, scores, scores.new_full((), torch.nan))


def rank_histogram(
    prediction: Tensor,
    reference: Tensor,
    *,
    per_channel: bool = False,
    reduce: Axes = (),
) -> Tensor:
    """Share of the points at which r of the M members are less than the truth, r = 0 .. M.

    Flat, 1 / (M + 1), for a calibrated ensemble. High at both ends: too little spread. High in
    the middle: too much. A slope: bias. A truth that ties with members counts for the tied ranks
    in equal parts, so where all members are the truth, the histogram is flat.

    Reference:
        Interpretation of Rank Histograms for Verifying Ensemble Forecasts (Hamill, 2001).

    Args:
        prediction, reference, per_channel, reduce: As for `coverage`.

    Returns:
        (batch, time, rank), float64, sum 1 over the ranks.
    """
    u, u_ref, space = _prepare(prediction, reference, "rank_histogram")
    truth = u_ref[:, None]
    low, ties = (u < truth).sum(1), (u == truth).sum(1)
    shares = [
        ((low <= rank) & (rank <= low + ties)).double().div(1 + ties).mean(space)
        for rank in range(u.shape[1] + 1)
    ]
    scores = _nan_where_lost(torch.stack(shares), u, space)
    kept = [
        _reduce(score, space, u_ref.ndim, per_channel, reduce, "rank_histogram")
        for score in scores
    ]
    return torch.stack(kept, dim=-1)


_FORMULAS = {
    "crps": "fair continuous ranked probability score [unit of the field]",
    "spread": "sqrt(mean_x var_m u_m), variance with M - 1 [unit of the field]",
    "ensemble_rmse": "sqrt(mean_x (mean_m u_m - u_ref)^2) [unit of the field]",
    "coverage": "share of the points with the truth in the central interval of the level",
    "rank_histogram": "share of the points at which so many members are less than the truth",
}


def evaluate_ensemble(
    prediction: Tensor,
    reference: Tensor,
    times: Sequence[float] | Tensor,
    *,
    levels: Sequence[float] | None = None,
    fields: FieldSpec | None = None,
    num_given: int = 1,
) -> xr.Dataset:
    """Score ensembles against the truth, per trajectory and time.

    Args:
        prediction: (trajectory, member, time, channel, *space), initial state included.
        reference: The truth (trajectory, time, channel, *space).
        times: Saved times, (time,), or (trajectory, time) where they differ.
        levels: Nominal levels of `coverage`.
        fields: Names and units of the channels.
        num_given: Number of leading states that were input: kept, marked by `is_scored`, and left
            out by the figures.

    Returns:
        A dataset with the dimensions trajectory, time, field, level, rank; the formula of each
        variable is its attribute `formula`, the number of members an attribute.
    """
    _, u_ref, _ = _prepare(prediction, reference, "evaluate_ensemble", at_least=2)
    fields = fields or _default_fields(u_ref.shape[2])
    saved = _checked_times(times, u_ref)
    _check_reference(u_ref, saved, fields)
    num_members = prediction.shape[1]
    levels = central_levels(num_members) if levels is None else tuple(levels)
    parts = [_score(prediction[part], reference[part], levels) for part in _blocks(prediction)]
    dims = ("trajectory", "time", "field")
    extra = {"coverage": ("level",), "rank_histogram": ("rank",)}
    has_own_times = saved.ndim == 2
    return xr.Dataset(
        {
            name: (
                (*dims, *extra.get(name, ())),
                torch.cat([part[name] for part in parts]).cpu().numpy(),
                {"formula": formula},
            )
            for name, formula in _FORMULAS.items()
        },
        coords={
            "trajectory": range(len(u_ref)),
            "field": list(fields.names),
            "level": list(levels),
            "rank": range(num_members + 1),
            "is_scored": ("time", [n >= num_given for n in range(u_ref.shape[1])]),
            "trajectory_time" if has_own_times else "time": (
                ("trajectory", "time") if has_own_times else "time",
                saved.numpy(),
            ),
        },
        attrs={"num_members": num_members, "num_given": num_given},
    )


def _score(prediction: Tensor, reference: Tensor, levels: Sequence[float]) -> dict[str, Tensor]:
    return {
        "crps": crps(prediction, reference, per_channel=True),
        "spread": spread(prediction, per_channel=True),
        "ensemble_rmse": ensemble_rmse(prediction, reference, per_channel=True),
        "coverage": coverage(prediction, reference, levels=levels, per_channel=True),
        "rank_histogram": rank_histogram(prediction, reference, per_channel=True),
    }
