"""What is beyond the edge? Convolutions that know: periodic, zeros, reflected or replicated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["PaddedConv", "PaddingKind", "TransposedConv", "pad", "padding_kinds", "resize"]

PaddingKind = Literal["periodic", "zeros", "reflect", "replicate"]

_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate"}
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def padding_kinds(
    padding: str | Sequence[str], dim: int, *, where: str
) -> tuple[PaddingKind, ...]:
    """One padding kind per space axis.

    Args:
        padding: One kind for all axes, or one per axis.
        dim: Number of space axes.
        where: Name of the caller for the error.

    Raises:
        ValueError: If a kind is unknown or their number is not `dim`.
    """
    kinds = (padding,) * dim if isinstance(padding, str) else tuple(padding)
    known = get_args(PaddingKind)
    if len(kinds) != dim or not all(kind in known for kind in kinds):
        raise ValueError(
            f"{where}: `padding` must be one of {', '.join(known)}, or a sequence of {dim} of "
            f"them, one per space axis, got {padding!r}."
        )
    return cast(tuple[PaddingKind, ...], kinds)


def pad(v: Tensor, amounts: Sequence[int], kinds: Sequence[PaddingKind]) -> Tensor:
    """v continued by `amounts[i]` points on both sides of space axis i.

    Args:
        v: Field, (batch, channel, *space).
        amounts: Points per axis; on a periodic axis at most its points, on a reflected axis fewer.
        kinds: Kind per axis, see `padding_kinds`.
    """
    dim = len(amounts)
    for kind in dict.fromkeys(kinds):
        widths = [n if k == kind else 0 for n, k in zip(amounts, kinds, strict=True)]
        if not any(widths):
            continue
        both = [widths[axis] for axis in reversed(range(dim)) for _ in range(2)]
        if kind != "periodic":
            v = F.pad(v, both, mode=_MODES[kind])
        elif torch.compiler.is_compiling():
            v = F.pad(v, both, mode="circular")  # compilers fuse it
        else:
            v = cast(Tensor, _Wrap.apply(v, tuple(widths)))
    return v


class _Wrap(torch.autograd.Function):
    """Periodic continuation as one buffer; its transpose is `_Fold`.

    The circular `F.pad` clones the gradient once per edge: it takes six times as long.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(v: Tensor, widths: tuple[int, ...]) -> Tensor:
        shape = [n + 2 * width for n, width in zip(v.shape[2:], widths, strict=True)]
        batch, channels = v.shape[:2]
        if v.stride(1) == 1 and channels > 1:  # channels last in memory stay so
            padded = v.new_empty(batch, *shape, channels).movedim(-1, 1)
        else:
            padded = v.new_empty(batch, channels, *shape)
        inner = [padded]  # without the edges of the first 0, 1, ... axes
        for axis, width in enumerate(widths, start=2):
            inner.append(inner[-1].narrow(axis, width, v.shape[axis]))
        inner[-1].copy_(v)
        for axis in range(len(widths) + 1, 1, -1):
            lines, n, width = inner[axis - 2], v.shape[axis], widths[axis - 2]
            if width:
                lines.narrow(axis, 0, width).copy_(lines.narrow(axis, n, width))
                lines.narrow(axis, n + width, width).copy_(lines.narrow(axis, width, width))
        return padded

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, tuple[int, ...]], output: Tensor) -> None:
        ctx.widths = inputs[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return cast(Tensor, _Fold.apply(gradient, ctx.widths)), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        return cast(Tensor, _Wrap.apply(tangent, ctx.widths))


class _Fold(torch.autograd.Function):
    """What lies beyond a periodic edge is added where it belongs: the transpose of `_Wrap`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(padded: Tensor, widths: tuple[int, ...]) -> Tensor:
        folded = padded.clone()
        for axis, width in enumerate(widths, start=2):
            lines, n = folded, folded.shape[axis] - 2 * width
            folded = lines.narrow(axis, width, n)
            if width:
                folded.narrow(axis, 0, width).add_(lines.narrow(axis, n + width, width))
                folded.narrow(axis, n - width, width).add_(lines.narrow(axis, 0, width))
        return folded

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, tuple[int, ...]], output: Tensor) -> None:
        ctx.widths = inputs[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return cast(Tensor, _Wrap.apply(gradient, ctx.widths)), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        return cast(Tensor, _Fold.apply(tangent, ctx.widths))


class PaddedConv(nn.Module):
    """Convolution over one to three axes, each continued in its own way.

    With stride s, an axis of n points becomes one of ceil(n / s); point i of the output lies on
    point s i of the input. On a periodic axis it commutes with shifts (by multiples of s).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Points of the kernel per axis, odd.
        dim: Number of space axes.
        stride: Distance between points of the output.
        dilation: Distance between points of the kernel.
        padding: How a field goes on beyond the edge: "periodic", "zeros", "reflect" (mirrored at
            the first and last point) or "replicate"; one for all axes or one per axis.

    Shape:
        v: (batch, in_channels, *space) -> (batch, out_channels, *space')

    Raises:
        ValueError: If the kernel is even or a padding kind unknown.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        dim: int,
        stride: int = 1,
        dilation: int = 1,
        padding: str | Sequence[str] = "periodic",
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(
                f"PaddedConv: `kernel_size` must be odd, got {kernel_size}; an even kernel shifts "
                "the field by half a cell."
            )
        self.kinds = padding_kinds(padding, dim, where="PaddedConv")
        reach = dilation * (kernel_size // 2)
        own = _all_zeros(self.kinds)  # the convolution's own padding copies nothing
        self.amounts = (0 if own else reach,) * dim
        self.conv = _CONVOLUTIONS[dim - 1](
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            dilation=dilation,
            padding=reach if own else 0,
        )

    def forward(self, v: Tensor) -> Tensor:
        return self.conv(pad(v, self.amounts, self.kinds))


class TransposedConv(nn.Module):
    """Convolution to a grid of twice the points: the transpose of one with kernel 4 and stride 2.

    Point 2i and 2i + 1 of the output see points i - 1, i and i, i + 1 of the input, which is
    continued beyond the edge like in `PaddedConv`.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        dim: Number of space axes.
        padding: How a field goes on beyond the edge, see `PaddedConv`.

    Shape:
        v: (batch, in_channels, *space) -> (batch, out_channels, *(2 n for n in space))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        dim: int,
        padding: str | Sequence[str] = "periodic",
    ) -> None:
        super().__init__()
        self.kinds = padding_kinds(padding, dim, where="TransposedConv")
        own = _all_zeros(self.kinds)
        self.amounts = (0 if own else 1,) * dim
        # An extra point of the input adds two of the output, cut off beside the usual one.
        self.conv = _TRANSPOSED[dim - 1](
            in_channels, out_channels, 4, stride=2, padding=1 if own else 3
        )

    def forward(self, v: Tensor) -> Tensor:
        return self.conv(pad(v, self.amounts, self.kinds))


def _all_zeros(kinds: Sequence[PaddingKind]) -> bool:
    return all(kind == "zeros" for kind in kinds)


def resize(v: Tensor, space: Sequence[int], kinds: Sequence[PaddingKind]) -> Tensor:
    """v on a grid of other numbers of points.

    On a periodic axis the trigonometric interpolant of v is evaluated at the new points, which
    cover the same period. Any other axis keeps its points; it is continued beyond its end in
    its own way, or cut off there.

    Args:
        v: Field, (batch, channel, *space).
        space: Points per axis of the result; at most twice those of v (less one if reflected)
            on an axis that is not periodic.
        kinds: Kind per axis, see `padding_kinds`.
    """
    dim = len(kinds)
    for axis, (n_new, kind) in enumerate(zip(space, kinds, strict=True), start=2):
        n = v.shape[axis]
        if n_new == n:
            continue
        if kind == "periodic":
            v = (v.movedim(axis, -1) @ _interpolation(n, n_new, v)).movedim(-1, axis)
        elif n_new < n:
            v = v.narrow(axis, 0, n_new)
        else:
            widths = [0] * (2 * dim)
            widths[2 * (dim + 1 - axis) + 1] = n_new - n
            v = F.pad(v, widths, mode=_MODES[kind])
    return v


def _interpolation(n: int, n_new: int, like: Tensor) -> Tensor:
    """Matrix from values at n points of a period to those of the interpolant at n_new points."""
    make = _dirichlet if torch.compiler.is_compiling() else _cached_dirichlet
    return make(n, n_new, like.dtype, like.device)


def _dirichlet(n: int, n_new: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(n, n_new): sin(pi n t) / (n tan(pi t)) for even n, sin in place of tan for odd n.

    t is the distance of a new point from an old one in periods, j / n_new - i / n.
    """
    old = torch.arange(n, device=device)[:, None]
    steps = torch.arange(n_new, device=device) * n - old * n_new  # t in units of 1 / (n n_new)
    angle = (math.pi / (n * n_new)) * steps.to(torch.float64)
    wave = ((math.pi / n_new) * steps.remainder(2 * n_new).to(torch.float64)).sin()
    below = n * (angle.tan() if n % 2 == 0 else angle.sin())
    meets = steps == 0  # |t| < 1, so points meet nowhere else
    return torch.where(meets, 1.0, wave / torch.where(meets, 1.0, below)).to(dtype)


@lru_cache(maxsize=64)
def _cached_dirichlet(n: int, n_new: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False), torch.no_grad():  # usable in training, whoever asks first
        return _dirichlet(n, n_new, dtype, device)
