"""All scores of a set of rollouts in one labelled table, and what they say on average."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from pdesurrogates.core import FieldSpec, Grid, check_times
from pdesurrogates.evaluation import metrics, spectra

__all__ = ["bootstrap_interval", "evaluate", "summarize"]

Conserved = Callable[[Tensor], dict[str, Tensor]]

_DIMS = {
    "rmse": ("trajectory", "time", "field"),
    "nrmse": ("trajectory", "time", "field"),
    "vrmse": ("trajectory", "time", "field"),
    "correlation": ("trajectory", "time", "field"),
    "relative_l2": ("trajectory", "time"),
    "error": ("trajectory",),
    "correlation_time": ("trajectory", "threshold"),
    "correlation_time_censored": ("trajectory", "threshold"),
    "valid_time": ("trajectory",),
    "divergence_step": ("trajectory",),
    "divergence_time": ("trajectory",),
    "conserved_prediction": ("trajectory", "time", "quantity"),
    "conserved_reference": ("trajectory", "time", "quantity"),
    "conservation_drift": ("trajectory", "time", "quantity"),
    "spectrum_prediction": ("trajectory", "field", "wavenumber"),
    "spectrum_reference": ("trajectory", "field", "wavenumber"),
    "spectral_error": ("trajectory", "time", "band"),
}

FORMULAS = {
    "rmse": "sqrt(mean_x (u - u_ref)^2) [unit of the field]",
    "nrmse": "sqrt(mean_x (u - u_ref)^2) / sqrt(mean_x u_ref^2)",
    "vrmse": "sqrt(mean_x (u - u_ref)^2) / sqrt(mean_x (u_ref - mean_x u_ref)^2)",
    "correlation": "Pearson correlation of u and u_ref over space",
    "relative_l2": "||u - u_ref||_2 / ||u_ref||_2 over all fields and points",
    "error": "mean of nrmse over the scored times and the fields",
    "correlation_time": "first saved time, since the initial state, at which the correlation "
    "averaged over the fields is below the threshold; NaN counts as below; the last time if never",
    "correlation_time_censored": "true where the correlation never fell below the threshold",
    "valid_time": "first saved time, since the initial state, at which nrmse averaged over the "
    "fields exceeds 0.2; the last time if never",
    "divergence_step": "index of the first state that is not finite or whose root mean square, in "
    "some field, exceeds 10 times the largest of the reference trajectory; -1 if none",
    "divergence_time": "time of divergence_step since the initial state; inf if none",
    "conserved_prediction": "conserved quantity of the prediction",
    "conserved_reference": "conserved quantity of the reference",
    "conservation_drift": "|Q(u) - Q(u_ref)|",
    "spectrum_prediction": "mean over the scored times of sum_{|k| in shell} |u_hat_k|^2, "
    "u_hat = FFT(u) / number of points",
    "spectrum_reference": "the same for the reference",
    "spectral_error": "sqrt(sum_{k in band} |u_hat - u_ref_hat|^2 / "
    "sum_{k in band} |u_ref_hat|^2), bands of doubling width, averaged over the fields; "
    "bands with less than 1e-14 of the energy are measured against that level",
}


def evaluate(
    prediction: Tensor,
    reference: Tensor,
    grid: Grid,
    times: Sequence[float] | Tensor,
    *,
    fields: FieldSpec | None = None,
    conserved: Conserved | None = None,
    thresholds: Sequence[float] = (0.8, 0.9, 0.95),
    num_given: int = 1,
) -> xr.Dataset:
    """Score rollouts against the truth, per trajectory and time.

    The first `num_given` states were given to the model. Their entries are kept in the curves,
    marked by the coordinate `is_scored`, and enter no average over time. A trajectory that
    diverged stays in every score as NaN or `inf`.

    Args:
        prediction: Trajectories (trajectory, time, channel, *space), initial state included.
        reference: The truth, same shape.
        grid: Where they live.
        times: Saved times, (time,), or (trajectory, time) where they differ.
        fields: Names and units of the channels.
        conserved: From states (..., channel, *space) to the conserved quantities, each (...);
            e.g. `lambda u: equation.conserved_quantities(u, grid)`.
        thresholds: Correlations for `correlation_time`.
        num_given: Number of leading states that were input.

    Returns:
        A dataset with the dimensions trajectory, time, field, threshold, quantity, and on periodic
        grids wavenumber and band; the formula of each variable is its attribute `formula`.
        `scores.to_netcdf("scores.nc", engine="h5netcdf")` saves it.

    Raises:
        ValueError: If shapes or times do not fit, or the reference holds NaN or Inf.
    """
    prediction, reference = _checked(prediction, reference, grid)
    if not 1 <= num_given < reference.shape[1]:
        raise ValueError(
            f"evaluate: `num_given` must leave at least one of the {reference.shape[1]} saved "
            f"times to score and be at least 1, got {num_given}."
        )
    fields = fields or _default_fields(reference.shape[2])
    if fields.num_channels != reference.shape[2]:
        raise ValueError(
            f"evaluate: `fields` names {fields.num_channels} channels {fields.names}, the states "
            f"have {reference.shape[2]}."
        )
    saved = _checked_times(times, reference)
    _check_reference(reference, saved, fields)
    lead = (saved - saved[..., :1]).expand(reference.shape[:2])
    names: list[str] = []
    blocks = []
    for part in _blocks(reference):
        u, u_ref = prediction[part], reference[part]
        block = _score(u, u_ref, grid, lead[part], thresholds, num_given)
        if conserved is not None:
            block |= _conserved(u, u_ref, conserved)
            names = list(conserved(u_ref[:1, :1].double()))
        blocks.append(block)
    dataset = xr.Dataset(
        {
            name: (
                _DIMS[name],
                torch.cat([block[name] for block in blocks]).cpu().numpy(),
                {"formula": FORMULAS[name]},
            )
            for name in blocks[0]
        },
        attrs={"num_given": num_given, "num_diverged": 0},
    )
    dataset.attrs["num_diverged"] = int((dataset.divergence_step >= 0).sum())
    dataset.rmse.attrs["unit"] = ", ".join(fields.units or ())
    return _with_coordinates(dataset, grid, saved, fields, thresholds, names)


def _checked(prediction: Tensor, reference: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Both without gradient history, or an error that says what does not fit."""
    for name, value in (("prediction", prediction), ("reference", reference)):
        if not isinstance(value, Tensor):
            raise TypeError(
                f"evaluate: `{name}` must be a torch tensor, got {type(value).__name__}; convert "
                f"it with torch.as_tensor({name})."
            )
        if value.ndim != grid.dim + 3 or tuple(value.shape[3:]) != grid.shape:
            raise ValueError(
                f"evaluate: `{name}` must have shape (trajectory, time, channel, *space) with "
                f"*space = {grid.shape}, got {tuple(value.shape)}; add missing axes, e.g. "
                f"{name}[None]."
            )
    if prediction.shape != reference.shape:
        raise ValueError(
            "evaluate: `prediction` and `reference` must have the same shape, got "
            f"{tuple(prediction.shape)} and {tuple(reference.shape)}; compare the same "
            "trajectories, times and fields."
        )
    return prediction.detach(), reference.detach()


def _checked_times(times: Sequence[float] | Tensor, reference: Tensor) -> Tensor:
    saved = torch.as_tensor(times, dtype=torch.float64)
    if tuple(saved.shape) not in (tuple(reference.shape[:2]), (reference.shape[1],)):
        raise ValueError(
            "evaluate: `times` must have one entry per saved state, "
            f"({reference.shape[1]},) or {tuple(reference.shape[:2])}, got {tuple(saved.shape)}."
        )
    return saved


def _check_reference(reference: Tensor, times: Tensor, fields: FieldSpec) -> None:
    """A prediction may diverge, the truth may not: nothing can be measured against NaN."""
    bad = ~torch.isfinite(reference)
    if bool(bad.any()):
        trajectory, frame, channel = (int(i) for i in bad.nonzero()[0][:3])
        t = float(times[frame] if times.ndim == 1 else times[trajectory, frame])
        raise ValueError(
            f"evaluate: `reference` must be finite, got {int(bad.sum())} NaN or Inf, the first in "
            f"trajectory {trajectory}, field {fields.names[channel]!r} at frame {frame} "
            f"(t = {t:g}); leave this trajectory out or solve it again with a smaller step."
        )


def _default_fields(num_channels: int) -> FieldSpec:
    names = ("u",) if num_channels == 1 else tuple(f"channel_{i}" for i in range(num_channels))
    return FieldSpec(names)


def _blocks(reference: Tensor, num_elements: int = 2**24) -> Iterator[slice]:
    """Slices of trajectories small enough to be scored in float64 at once."""
    size = max(1, num_elements // max(1, reference[0].numel()))
    for start in range(0, reference.shape[0], size):
        yield slice(start, start + size)


def _score(
    u: Tensor,
    u_ref: Tensor,
    grid: Grid,
    lead: Tensor,
    thresholds: Sequence[float],
    num_given: int,
) -> dict[str, Tensor]:
    """Scores of one block of trajectories."""
    dims = grid.dim
    curves = {
        name: metric(u, u_ref, space_dims=dims, per_channel=True)
        for name, metric in (
            ("rmse", metrics.rmse),
            ("nrmse", metrics.nrmse),
            ("vrmse", metrics.vrmse),
            ("correlation", metrics.correlation),
        )
    }
    lead = lead.to(u.device)
    correlation, error = curves["correlation"].mean(-1), curves["nrmse"].mean(-1)
    crossings = [
        metrics.first_crossing(~(correlation >= threshold), lead) for threshold in thresholds
    ]
    step = metrics.divergence_step(u, u_ref, space_dims=dims)
    at = lead.gather(1, step.clamp(min=0)[:, None])[:, 0]
    scores = curves | {
        "relative_l2": metrics.relative_l2(u, u_ref, space_dims=dims),
        "error": error[:, num_given:].mean(1),
        "correlation_time": torch.stack([time for time, _ in crossings], dim=1),
        "correlation_time_censored": torch.stack([flag for _, flag in crossings], dim=1),
        "valid_time": metrics.first_crossing(~(error <= 0.2), lead)[0],
        "divergence_step": step,
        "divergence_time": torch.where(step >= 0, at, torch.inf),
    }
    if all(grid.is_periodic):
        for name, states in (("spectrum_prediction", u), ("spectrum_reference", u_ref)):
            scores[name] = spectra.energy_spectrum(states[:, num_given:], grid=grid).mean(1)
        scores["spectral_error"] = spectra.spectral_error(u, u_ref, grid=grid)
    return scores


def _conserved(u: Tensor, u_ref: Tensor, conserved: Conserved) -> dict[str, Tensor]:
    ours, theirs = (
        torch.stack(list(conserved(states.double()).values()), dim=-1) for states in (u, u_ref)
    )
    return {
        "conserved_prediction": ours,
        "conserved_reference": theirs,
        "conservation_drift": (ours - theirs).abs(),
    }


def _with_coordinates(
    dataset: xr.Dataset,
    grid: Grid,
    times: Tensor,
    fields: FieldSpec,
    thresholds: Sequence[float],
    quantities: list[str],
) -> xr.Dataset:
    num_times = dataset.sizes["time"]
    coordinates: dict = {
        "trajectory": np.arange(dataset.sizes["trajectory"]),
        "field": list(fields.names),
        "threshold": list(thresholds),
        "is_scored": ("time", np.arange(num_times) >= dataset.attrs["num_given"]),
    }
    if times.ndim == 1:
        coordinates["time"] = check_times(times, where="evaluate")
    else:
        coordinates["trajectory_time"] = (("trajectory", "time"), times.numpy())
    if quantities:
        coordinates["quantity"] = quantities
    if "band" in dataset.dims:
        k = spectra.shell_wavenumbers(grid).numpy()
        coordinates["wavenumber"] = k
        coordinates["band"] = [f"{k[i]:.3g} - {k[j]:.3g}" for i, j in spectra.octave_bands(len(k))]
    return dataset.assign_coords(coordinates)


def bootstrap_interval(
    values: Sequence[float] | np.ndarray,
    *,
    level: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Mean over trajectories and a percentile bootstrap interval for it.

    Trajectories are drawn with replacement `num_resamples` times; the interval holds the central
    `level` of the resampled means. One trajectory gives no interval (NaN). A value that is not
    finite makes the mean not finite: a diverged trajectory is not averaged away.

    Args:
        values: One value per trajectory.
        level: Content of the interval.
        num_resamples: Number of resamples.
        seed: Seed of the draws: the same values give the same interval.

    Returns:
        mean, lower end, upper end.

    Example:
        >>> bootstrap_interval([1.0, 1.0, 1.0])
        (1.0, 1.0, 1.0)
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or sample.size == 0 or not 0 < level < 1:
        raise ValueError(
            "bootstrap_interval: needs one value per trajectory and 0 < level < 1, got shape "
            f"{sample.shape} and level {level}."
        )
    mean = float(sample.mean())
    if sample.size == 1 or not np.isfinite(mean):
        return mean, float("nan"), float("nan")
    draws = np.random.default_rng(seed).integers(0, sample.size, (num_resamples, sample.size))
    low, high = np.quantile(sample[draws].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return mean, float(low), float(high)


def summarize(
    scores: xr.Dataset, *, level: float = 0.95, num_resamples: int = 2000, seed: int = 0
) -> xr.Dataset:
    """What the scores of `evaluate` say over all trajectories.

    Args:
        scores: The result of `evaluate`, or several joined along a dimension `seed` (one per
            training run); seeds are averaged per trajectory before trajectories are resampled.
        level: Content of the bootstrap interval of the mean.
        num_resamples: Number of resamples.
        seed: Seed of the resampling.

    Returns:
        `error`, `valid_time` (statistic) and `correlation_time` (statistic, threshold) with the
        statistics mean, low, high (interval of the mean), median, q10, q90 (over trajectories and
        seeds), and the counts `num_diverged` and `num_trajectories`. NaN errors rank as `inf`.
    """

    def statistics(variable: xr.DataArray) -> list[float]:
        values = variable.fillna(np.inf) if variable.name == "error" else variable
        per_trajectory = values.mean("seed") if "seed" in values.dims else values
        interval = bootstrap_interval(
            per_trajectory.values, level=level, num_resamples=num_resamples, seed=seed
        )
        ordered = np.quantile(values.values, [0.5, 0.1, 0.9], method="nearest")
        return [*interval, *ordered.tolist()]

    times = [statistics(scores.correlation_time.sel(threshold=t)) for t in scores.threshold]
    diverged = scores.divergence_step >= 0
    return xr.Dataset(
        {
            "error": ("statistic", statistics(scores.error)),
            "valid_time": ("statistic", statistics(scores.valid_time)),
            "correlation_time": (("threshold", "statistic"), times),
            "num_diverged": int(diverged.sum()),
            "num_trajectories": int(diverged.size),
        },
        coords={
            "statistic": ["mean", "low", "high", "median", "q10", "q90"],
            "threshold": scores.threshold.values,
        },
        attrs={"level": level, "num_resamples": num_resamples, "seed": seed},
    )
