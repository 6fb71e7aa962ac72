"""Advection of vorticity by its own flow in two dimensions, in Fourier space."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pdesurrogates.operators.multiplier import Multiplier
from pdesurrogates.operators.spectral import SpectralDerivatives
from pdesurrogates.operators.spectral_field import SpectralField

__all__ = ["vorticity_transport"]


def vorticity_transport(w: SpectralField, d: SpectralDerivatives) -> SpectralField:
    """-(u . grad) w for the flow (u, v) of the vorticity w, with one complex transform each way.

        u . grad w = d_xy (v^2 - u^2) + (d_xx - d_yy)(u v)
        u = psi_y,   v = -psi_x,   lap psi = -w

    Both products are parts of one square, z = u + i v: v^2 - u^2 = -Re z^2 and u v = Im z^2 / 2.
    A complex transform is faster than two real ones, in particular on several threads. Modes of w
    that dealiasing cuts take no part.

    Args:
        w: Vorticity, one channel; its mean does not matter.
        d: Who differentiates, on a grid with two axes.

    Reference:
        Technical improvements for direct numerical simulation of homogeneous three-dimensional
        turbulence (Basdevant, 1983), for the form of the advection.
    """
    hat = d.narrowed(w.raw_hat[0])
    n, width = d.grid.num_points[-1], hat.size(-1)
    to_flow, to_mirrored, from_square, from_mirrored = _factors(d)
    # z_hat(-k) is the conjugate of the coefficient of u - i v at k.
    upper = torch.fft.ifft(to_flow.applied(hat, is_restricted=True), dim=-2, norm="forward")
    lower = torch.fft.ifft(to_mirrored.applied(hat, is_restricted=True), dim=-2, norm="forward")
    lower = lower[..., 1 : n + 1 - width].flip(-1).conj_physical_()
    between = upper.new_zeros(()).expand(*upper.shape[:-1], n - width - lower.size(-1))
    z = torch.fft.ifft(torch.cat([upper, between, lower], dim=-1), norm="forward")
    square = torch.fft.fft(z * z)
    upper = torch.fft.fft(square[..., :width], dim=-2)
    lower = torch.cat([square[..., :1], square[..., n + 1 - width :].flip(-1)], dim=-1)
    lower = torch.fft.fft(lower.conj_physical_(), dim=-2)
    rate = from_square.applied(upper, is_restricted=True)
    return SpectralField(d, hat=from_mirrored.applied(lower, rate, is_restricted=True))


def _factors(d: SpectralDerivatives) -> tuple[Multiplier, Multiplier, Multiplier, Multiplier]:
    """w to u + i v and u - i v; z^2 and its mirrored conjugate to the rate."""

    def velocity(sign: int) -> Tensor:
        # The inverse transforms are not scaled, so that this costs no pass.
        minus_psi = d.inverse_laplacian_factor() / math.prod(d.grid.num_points)
        u, v = -d.derivative_factor(1) * minus_psi, d.derivative_factor(0) * minus_psi
        return u + sign * 1j * v

    def rate(sign: int) -> Tensor:
        mixed = d.derivative_factor(0) * d.derivative_factor(1)
        difference = d.derivative_factor(0, 2) - d.derivative_factor(1, 2)
        return mixed / 2 + sign * 0.25j * difference

    return (
        d.factor(("to flow",), lambda: velocity(1)),
        d.factor(("to mirrored flow",), lambda: velocity(-1)),
        d.factor(("from square",), lambda: rate(1)),
        d.factor(("from mirrored square",), lambda: rate(-1)),
    )
