"""How much energy sits at which scale? Shell spectra, errors per band, band-limited resampling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pdesurrogates.core import Grid
from pdesurrogates.evaluation.metrics import infer_space_dims, ratio

__all__ = ["energy_spectrum", "octave_bands", "resample", "shell_wavenumbers", "spectral_error"]


_ROUNDING = 1e-14  # square of the float32 epsilon


class _Shells(NamedTuple):
    index: Tensor  # shell of each real-FFT coefficient, (*half_space)
    weight: Tensor  # 2 where a coefficient stands for itself and its mirror image, else 1
    count: int
    spacing: float  # distance between shells [1/length]


def _check_periodic(grid: Grid | None, shape: tuple[int, ...], where: str) -> None:
    if grid is None:
        return
    if grid.shape != shape:
        raise ValueError(
            f"{where}: `grid` must have the points of the fields, {shape}, got {grid.shape}."
        )
    if not all(grid.is_periodic):
        raise ValueError(
            f"{where}: Fourier spectra need periodic axes, got periodic={grid.is_periodic}; "
            f"use pointwise metrics on this grid."
        )


def _shells(shape: tuple[int, ...], grid: Grid | None, device: torch.device) -> _Shells:
    extent = grid.extent if grid is not None else (2 * math.pi,) * len(shape)
    spacing = 2 * math.pi / max(extent)
    last = len(shape) - 1
    modes = [
        (torch.fft.rfftfreq if axis == last else torch.fft.fftfreq)(
            n, d=length / (2 * math.pi * n), dtype=torch.float64, device=device
        )
        for axis, (n, length) in enumerate(zip(shape, extent, strict=True))
    ]
    square = sum(k.square() for k in torch.meshgrid(*modes, indexing="ij"))
    index = torch.as_tensor(square).sqrt().div(spacing).round().long()
    n, half = shape[-1], shape[-1] // 2 + 1
    weight = torch.full((half,), 2.0, dtype=torch.float64, device=device)
    weight[0] = 1.0
    if n % 2 == 0:
        weight[-1] = 1.0
    return _Shells(index, weight.expand(index.shape), int(index.max()) + 1, spacing)


def shell_wavenumbers(grid: Grid) -> Tensor:
    """Wavenumber at the middle of each shell of `energy_spectrum`, (shell,) [1/length].

    k_s = s 2 pi / L with the largest extent L; s = 0 is the mean.
    """
    shells = _shells(grid.shape, grid, torch.device("cpu"))
    return torch.arange(shells.count, dtype=torch.float64) * shells.spacing


def energy_spectrum(
    u: Tensor, *, grid: Grid | None = None, space_dims: int | None = None
) -> Tensor:
    """Mean square of a field, split over shells of equal wavenumber.

        E_s = sum over modes k with round(|k| L / 2 pi) = s of |u_hat_k|^2,
        u_hat = FFT(u) / number of points

    All modes are counted, the corners of the Fourier box too, so that (Parseval)

        sum_s E_s = mean_x u^2.

    Args:
        u: Trajectory or state on periodic axes.
        grid: Gives the extents; equal extents are assumed without it.
        space_dims: Number of space axes where the rank leaves a choice.

    Returns:
        (..., channel, shell) with the leading axes of `u`, float64 [unit of u, squared].
    """
    dims = infer_space_dims(u, space_dims or (grid.dim if grid else None), where="energy_spectrum")
    shape = tuple(u.shape[-dims:])
    _check_periodic(grid, shape, "energy_spectrum")
    shells = _shells(shape, grid, u.device)
    u_hat = torch.fft.rfftn(u.double(), dim=tuple(range(-dims, 0)), norm="forward")
    energy = (u_hat.abs().square() * shells.weight).flatten(-dims)
    spectrum = energy.new_zeros(*energy.shape[:-1], shells.count)
    return spectrum.index_add_(-1, shells.index.flatten(), energy)


def octave_bands(num_shells: int) -> list[tuple[int, int]]:
    """Shells first..last of bands that double in width: 0 | 1 | 2-3 | 4-7 | ... | rest."""
    bands, start = [(0, 0)], 1
    while start < num_shells:
        bands.append((start, min(2 * start, num_shells) - 1))
        start *= 2
    return bands


def spectral_error(
    prediction: Tensor,
    reference: Tensor,
    *,
    grid: Grid | None = None,
    space_dims: int | None = None,
    per_channel: bool = False,
) -> Tensor:
    """Relative error in each octave of wavenumbers.

        error_b = sqrt( E_b(u - u_ref) / max( E_b(u_ref), 1e-14 E(u_ref) ) ),
        E_b = sum_{s in b} E_s

    with the shells of `energy_spectrum` and the bands 0, 1, 2-3, 4-7, ... of `octave_bands`
    (in multiples of 2 pi / L). 0 is perfect, 1 is what a prediction without that scale scores, and
    sqrt(2) what an unrelated field of the right energy scores. 1e-14 of the total energy E is the
    rounding of a float32 file: below it a band counts as empty and only errors above that level
    show. A reference that is zero gives `inf`, or 0 where the prediction is zero too.

    Args:
        prediction: Trajectory or state on periodic axes.
        reference: The truth, same shape.
        grid: Gives the extents; equal extents are assumed without it.
        space_dims: Number of space axes where the rank leaves a choice.
        per_channel: Keep the channel axis; averaged otherwise.

    Returns:
        (batch, time, band) or (batch, band); with `per_channel` a channel axis before the band.
    """
    if prediction.shape != reference.shape:
        raise ValueError(
            "spectral_error: `prediction` and `reference` must have the same shape, got "
            f"{tuple(prediction.shape)} and {tuple(reference.shape)}."
        )
    u, u_ref = prediction.double(), reference.to(prediction.device, torch.float64)
    error = energy_spectrum(u - u_ref, grid=grid, space_dims=space_dims)
    energy = energy_spectrum(u_ref, grid=grid, space_dims=space_dims)
    bands = octave_bands(energy.shape[-1])
    floor = _ROUNDING * energy.sum(-1)
    parts = [
        ratio(error[..., i : j + 1].sum(-1), energy[..., i : j + 1].sum(-1).maximum(floor)).sqrt()
        for i, j in bands
    ]
    scores = torch.stack(parts, dim=-1)
    return scores if per_channel else scores.mean(-2)


def resample(u: Tensor, num_points: Sequence[int]) -> Tensor:
    """The trigonometric interpolant of a periodic field on another number of points.

    Finer: Fourier coefficients are padded with zeros. Coarser: the modes that do not fit are
    dropped. Exact both ways for a field whose modes fit on both grids.

    Args:
        u: (..., *space) on periodic axes.
        num_points: New number of points of the last `len(num_points)` axes.

    Returns:
        (..., *num_points), same dtype.
    """
    dims = len(num_points)
    for axis, target in zip(range(-dims, 0), num_points, strict=True):
        if u.shape[axis] != target:
            u = _resample_axis(u, axis, target)
    return u


def _resample_axis(u: Tensor, axis: int, target: int) -> Tensor:
    source = u.shape[axis]
    kept = min(source, target)
    u_hat = torch.fft.rfft(u, dim=axis, norm="forward").narrow(axis, 0, kept // 2 + 1)
    if kept % 2 == 0:
        # The mode at the coarser Nyquist frequency is stored once there, as a pair on the finer.
        last = torch.ones(kept // 2 + 1, dtype=u.dtype, device=u.device)
        last[-1] = 0.5 if target > source else 2.0
        u_hat = u_hat * last.reshape(-1, *(1,) * (-axis - 1))
    return torch.fft.irfft(u_hat, n=target, dim=axis, norm="forward")
