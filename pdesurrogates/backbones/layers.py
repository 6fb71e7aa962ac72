"""Which parts do networks share? Pointwise channel MLP and spectral convolution, channels last."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ChannelMLP", "FactorisedSpectralConv", "SpectralConv"]


class ChannelMLP(nn.Module):
    """The same two-layer perceptron at every point: W2 gelu(W1 v + b1) + b2.

    Args:
        in_channels: Channels of the input.
        hidden_channels: Channels between the two layers.
        out_channels: Channels of the output.

    Shape:
        v: (*any, in_channels) -> (*any, out_channels)
    """

    def __init__(self, in_channels: int, hidden_channels: int, out_channels: int) -> None:
        super().__init__()
        self.expand = nn.Linear(in_channels, hidden_channels)
        self.contract = nn.Linear(hidden_channels, out_channels)

    def forward(self, v: Tensor) -> Tensor:
        return self.contract(F.gelu(self.expand(v)))


class SpectralConv(nn.Module):
    """Convolution with a learned kernel that has finitely many Fourier coefficients.

    With v_hat the normalised Fourier coefficients of v, and R a complex channel matrix per kept
    wavenumber:

        y = irfft(R v_hat),    v_hat_k = 1/N sum_x v(x) exp(-2 pi i k x / N)

    The kept wavenumbers are -m .. m-1 on every axis but the last and 0 .. m-1 on the last one
    (their conjugates are implied, v being real); as many as the grid carries, if it carries fewer.
    The sine part of wavenumber zero and of the Nyquist wavenumber of the last axis vanishes, as
    in every inverse real transform. Because the coefficients are normalised, one layer gives the
    same function on every grid that resolves its input.

    Few modes of many points are wanted, so the truncated transforms are real matrix products:
    on a CPU this is faster than an FFT that is mostly thrown away, no complex tensor
    appears, and compilers fuse everything around them. Products are taken in float32 for lower
    precisions.

    Initial weights are complex normal with E|R|^2 = 2 / (in_channels + out_channels): a field made
    of kept wavenumbers passes with its variance unchanged, whatever the number of modes.

    Reference:
        Fourier Neural Operator for Parametric Partial Differential Equations (Li et al., 2021),
        Eqs. (4) and (5). https://arxiv.org/abs/2010.08895

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        num_modes: m per axis, one to three axes.

    Shape:
        v: (batch, *space, in_channels) -> (batch, *space, out_channels)
    """

    def __init__(self, in_channels: int, out_channels: int, num_modes: Sequence[int]) -> None:
        super().__init__()
        self.num_modes = tuple(num_modes)
        *leading, last = self.num_modes
        kept = (*(2 * m for m in leading), last)
        std = math.sqrt(1.0 / (in_channels + out_channels))  # of each of the two real parts
        self.weight = nn.Parameter(std * torch.randn(*kept, in_channels, 2, out_channels))

    def forward(self, v: Tensor, residual: Tensor | None = None) -> Tensor:
        """The convolution of v, added to `residual` (batch, *space, out_channels) if given."""
        dtype = torch.promote_types(v.dtype, torch.float32)
        with torch.autocast(v.device.type, enabled=False):
            y = self._convolve(
                v.to(dtype),
                self.weight.to(dtype),
                None if residual is None else residual.to(dtype),
            )
        return y.to(v.dtype)

    def _convolve(self, v: Tensor, weight: Tensor, residual: Tensor | None) -> Tensor:
        batch, *space, _ = v.shape
        transforms = _transforms(tuple(space), self.num_modes, v.dtype, v.device)
        weight = _carried(weight, tuple(space), self.num_modes)
        v_hat = _analyse(v, transforms)  # (batch, 2, mode, in_channels), real part first

        # (mode, batch * 2, in) x (mode, in, 2 * out): both parts of R times both parts of v_hat.
        products = torch.bmm(v_hat.flatten(0, 1).transpose(0, 1), weight.flatten(2))
        parts = products.view(-1, batch, 4, weight.shape[-1]).transpose(0, 1).unbind(2)
        real_real, real_imag, imag_real, imag_imag = parts  # of v_hat, of R
        y_hat = torch.stack((real_real - imag_imag, real_imag + imag_real), dim=1)
        return _synthesise(y_hat, tuple(space), transforms, residual)


class FactorisedSpectralConv(nn.Module):
    """Sum of one-dimensional spectral convolutions, one per axis.

        y = sum_a irfft_a(R_a rfft_a(v)),    R_a one complex channel matrix per kept wavenumber

    An axis keeps wavenumbers 0 .. m-1 as in `SpectralConv`, of which this is the sum over axes.
    It has sum(m) channel matrices where `SpectralConv` has about 2^(dim - 1) prod(m): it sees
    wavenumbers along every axis, but mixes none across axes.

    Initial weights are those of `SpectralConv` over sqrt(dim), so that the sum keeps the variance.

    Reference:
        Factorized Fourier Neural Operators (Tran et al., 2023), Section 3.
        https://arxiv.org/abs/2111.13802

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        num_modes: m per axis, one to three axes.

    Shape:
        v: (batch, *space, in_channels) -> (batch, *space, out_channels)
    """

    def __init__(self, in_channels: int, out_channels: int, num_modes: Sequence[int]) -> None:
        super().__init__()
        self.num_modes = tuple(num_modes)
        std = math.sqrt(1.0 / (in_channels + out_channels) / len(self.num_modes))
        self.weights = nn.ParameterList(
            nn.Parameter(std * torch.randn(m, in_channels, 2, out_channels))
            for m in self.num_modes
        )

    def forward(self, v: Tensor) -> Tensor:
        dtype = torch.promote_types(v.dtype, torch.float32)
        with torch.autocast(v.device.type, enabled=False):
            first, *others = (weight.to(dtype) for weight in self.weights)
            y = _convolve_along(1, v.to(dtype), first, None)
            for axis, weight in enumerate(others, start=2):
                y = _convolve_along(axis, v.to(dtype), weight, y)
        return y.to(v.dtype)


def _convolve_along(axis: int, v: Tensor, weight: Tensor, residual: Tensor | None) -> Tensor:
    """The convolution of v along one axis, added to `residual` if given."""
    shape, n, channels = v.shape, v.shape[axis], weight.shape[-1]
    (forward, inverse), *_ = _transforms((n,), (weight.shape[0],), v.dtype, v.device)
    weight = _carried(weight, (n,), (weight.shape[0],))
    lines, modes = math.prod(shape[:axis]), weight.shape[0]

    h = torch.bmm(forward.expand(lines, -1, -1), v.reshape(lines, n, -1))
    h = h.view(lines, 2, modes, -1, shape[-1]).permute(2, 0, 3, 1, 4)  # real part first
    # (mode, line * 2, in) x (mode, in, 2 * out): both parts of R times both parts of v_hat.
    products = torch.bmm(h.reshape(modes, -1, shape[-1]), weight.flatten(2))
    parts = products.view(modes, lines, -1, 4, channels).transpose(0, 1).unbind(3)
    real_real, real_imag, imag_real, imag_imag = parts  # of v_hat, of R
    y_hat = torch.stack((real_real - imag_imag, real_imag + imag_real), dim=1)
    y_hat = y_hat.view(lines, 2 * modes, -1)

    matrix = inverse.expand(lines, -1, -1)
    if residual is None:
        y = torch.bmm(matrix, y_hat)
    else:
        y = torch.baddbmm(residual.reshape(lines, n, -1), matrix, y_hat)
    return y.view(*shape[:-1], channels)


def _num_kept(n: int, num_modes: int, is_last: bool) -> tuple[int, int]:
    """Kept negative and non-negative wavenumbers on an axis of n points."""
    if is_last:
        return 0, min(num_modes, n // 2 + 1)
    return min(num_modes, n // 2), min(num_modes, (n + 1) // 2)


def _carried(weight: Tensor, space: tuple[int, ...], num_modes: tuple[int, ...]) -> Tensor:
    """The part of the weight a grid carries, (mode, in_channels, 2, out_channels)."""
    dim = len(space)
    for axis, (n, m) in enumerate(zip(space, num_modes, strict=True)):
        negative, positive = _num_kept(n, m, axis == dim - 1)
        start = 0 if axis == dim - 1 else m - negative
        weight = weight.narrow(axis, start, negative + positive)
    return weight.flatten(0, dim - 1)


def _transform(
    n: int, num_modes: int, is_last: bool, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Matrices of the truncated Fourier transform of one axis and of its inverse.

    Rows of the first and columns of the second are (part, wavenumber). On the last axis the
    points are real; on the others they are complex and stored as (point, part).
    """
    negative, positive = _num_kept(n, num_modes, is_last)
    k = torch.arange(-negative, positive, device=device)
    turns = torch.outer(k, torch.arange(n, device=device)).remainder(n).to(torch.float64) / n
    cos, sin = (2 * math.pi * turns).cos(), (2 * math.pi * turns).sin()
    if is_last:
        forward = torch.cat((cos, -sin))
        has_conjugate = (k > 0) & (2 * k < n)
        inverse = forward.mT * (1 + has_conjugate.to(torch.float64)).repeat(2)
    else:
        forward = torch.cat(
            (torch.stack((cos, sin), dim=-1), torch.stack((-sin, cos), dim=-1))
        ).flatten(1)
        inverse = forward.mT
    return (forward / n).to(dtype), inverse.to(dtype).contiguous()


@lru_cache(maxsize=64)
def _cached_transform(
    n: int, num_modes: int, is_last: bool, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False), torch.no_grad():  # usable in training, whoever asks first
        return _transform(n, num_modes, is_last, dtype, device)


def _transforms(
    space: tuple[int, ...], num_modes: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> list[tuple[Tensor, Tensor]]:
    """Forward and inverse matrix per axis; a compiler gets them as part of its graph."""
    make = _transform if torch.compiler.is_compiling() else _cached_transform
    last = len(space) - 1
    return [
        make(n, m, axis == last, dtype, device)
        for axis, (n, m) in enumerate(zip(space, num_modes, strict=True))
    ]


def _analyse(v: Tensor, transforms: list[tuple[Tensor, Tensor]]) -> Tensor:
    """(batch, *space, channel) -> kept coefficients (batch, 2, mode, channel)."""
    batch, *space, channels = v.shape
    h = v
    for axis in range(len(space) - 1, -1, -1):
        forward, _ = transforms[axis]
        lines = batch * math.prod(space[:axis])
        h = h.reshape(lines, forward.shape[1], -1)
        h = torch.bmm(forward.expand(lines, -1, -1), h)
    return h.reshape(batch, 2, -1, channels)


def _synthesise(
    v_hat: Tensor,
    space: tuple[int, ...],
    transforms: list[tuple[Tensor, Tensor]],
    residual: Tensor | None,
) -> Tensor:
    """(batch, 2, mode, channel) -> (batch, *space, channel), added to `residual` if given."""
    batch, channels = v_hat.shape[0], v_hat.shape[-1]
    shape = (batch, *space, channels)
    h = v_hat
    for axis, (_, inverse) in enumerate(transforms):
        lines = batch * math.prod(space[:axis])
        matrix = inverse.expand(lines, -1, -1)
        h = h.reshape(lines, inverse.shape[1], -1)
        if axis == len(space) - 1 and residual is not None:
            return torch.baddbmm(residual.reshape(lines, -1, channels), matrix, h).view(shape)
        h = torch.bmm(matrix, h)
    return h.view(shape)
