"""How is softmax(q k^T + bias) v formed without keeping all scores? Piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["attend", "largest_divisor"]

PIECE = 2**17  # scores at a time: half a megabyte in float32, which stays in the cache of a core


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """softmax(q k^T + bias) v for many small sets of tokens.

    Fused kernels of CPUs know no gradient of the bias, and the scores of all windows are large.
    So on a CPU they are formed and used piece by piece, and formed again in the backward pass.
    Elsewhere the fused kernel is used.

    Args:
        q: Queries, scaled as wanted.
        k: Keys.
        v: Values.
        bias: Added to the scores; -inf for pairs that must not see each other.

    Shape:
        q, k, v: (batch, window, head, token, channel) -> the same
        bias: (head, token, token), or (window, head, token, token)
    """
    shape = q.shape
    v, bias = v.to(q.dtype), bias.to(q.dtype).flatten(0, -3)
    if q.device.type == "cpu":
        q, k, v = (x.reshape(-1, *shape[-2:]) for x in (q, k, v))
        if torch.compiler.is_compiling():  # it would unroll the pieces
            return _attend_at_once(q, k, v, bias).view(shape)
        return _Piecewise.apply(q, k, v, bias).view(shape)
    q, k, v = (x.reshape(-1, len(bias), *shape[-2:]) for x in (q, k, v))
    bias = bias.expand(len(q), -1, -1, -1)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0).view(shape)


def largest_divisor(number: int, limit: int) -> int:
    """The largest divisor of `number` that is at most `limit`."""
    return max(n for n in range(1, min(number, limit) + 1) if number % n == 0)


def _attend_at_once(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Attention on (set, token, channel), with a bias of fewer sets that repeats."""
    scores = torch.bmm(q, k.mT).view(-1, *bias.shape) + bias
    return torch.bmm(scores.softmax(-1).flatten(0, 1), v)


class _Piecewise(torch.autograd.Function):
    """`_attend_at_once` with few scores at a time and none kept."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(q, k, v, bias)
        y = torch.empty_like(v)
        for piece, part, p in _pieces(q, bias):
            _probabilities(q[piece], k[piece], bias[part], out=p)
            torch.bmm(p, v[piece], out=y[piece])
        return y

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        q, k, v, bias = ctx.saved_tensors
        dy = gradients[0].contiguous()
        if torch.is_grad_enabled():  # the gradient is to be differentiated itself
            y = _attend_at_once(q, k, v, bias)
            return torch.autograd.grad(y, (q, k, v, bias), dy, create_graph=True)
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        dbias, buffer = torch.zeros_like(bias), None
        for piece, part, p in _pieces(q, bias):
            if buffer is None:
                buffer = torch.empty_like(p)
            ds = buffer[: len(p)]
            _probabilities(q[piece], k[piece], bias[part], out=p)
            torch.bmm(p.mT, dy[piece], out=dv[piece])
            torch.bmm(dy[piece], v[piece].mT, out=ds).mul_(p)
            ds.addcmul_(p, ds.sum(-1, keepdim=True), value=-1)
            torch.bmm(ds, k[piece], out=dq[piece])
            torch.bmm(ds.mT, q[piece], out=dk[piece])
            dbias[part] += ds.view(-1, *dbias[part].shape).sum(0)
        return dq, dk, dv, dbias


def _pieces(q: Tensor, bias: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Sets of q and of the bias that belong together, and room for their scores."""
    num_sets, num_tokens, _ = q.shape
    period = len(bias)
    at_a_time = min(max(1, PIECE // num_tokens**2), num_sets)
    if at_a_time >= period:
        at_a_time -= at_a_time % period
    else:
        at_a_time = largest_divisor(period, at_a_time)
    scores = q.new_empty(at_a_time, num_tokens, num_tokens)
    for start in range(0, num_sets, at_a_time):
        end = min(start + at_a_time, num_sets)
        first = start % period
        yield slice(start, end), slice(first, first + at_a_time), scores[: end - start]


def _probabilities(q: Tensor, k: Tensor, bias: Tensor, *, out: Tensor) -> None:
    """softmax(q k^T + bias), with a bias of as many or fewer sets."""
    torch.bmm(q, k.mT, out=out).view(-1, *bias.shape).add_(bias)
    torch.softmax(out, dim=-1, out=out)
