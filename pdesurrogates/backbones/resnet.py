"""Which network sees far without leaving the grid? Convolutions with growing holes."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from pdesurrogates.backbones.base import Backbone
from pdesurrogates.backbones.convolution import PaddedConv, padding_kinds
from pdesurrogates.backbones.embeddings import ConditionEmbedding, Modulation

__all__ = ["DilatedResNet"]


class DilatedResNet(Backbone):
    """Dilated residual network: seven convolutions with holes 1, 2, 4, 8, 4, 2, 1, four times.

    Two pointwise layers lift the state to `width` channels, `depth` blocks follow, two pointwise
    layers project to the output, all with gelu in between. One block with dilations d_1 .. d_n:

        w_0 = (1 + s) v + b,    w_j = gelu(conv_{d_j}(w_{j-1})),    v_next = v + w_n

    s and b come from an embedding of `condition` and are absent without `num_conditions`. No
    down-sampling, so every wavenumber of the grid passes; one block sees
    sum(dilations) (kernel_size // 2) = 22 points to either side by default.

    There is no normalisation, as in the paper: a norm would divide by the amplitude of the field,
    which the dynamics depend on. The skips and the small initial weights of the convolutions (the
    default ones of PyTorch) make every block start close to the identity.

    The same weights serve every resolution, odd sizes included, though the network sees a fixed
    number of points, not a fixed distance. On periodic axes it commutes with shifts.

    Reference:
        Learned Coarse Models for Efficient Turbulence Simulation (Stachenfeld et al., 2022).
        https://arxiv.org/abs/2112.15275. Lifting and projection with two layers and gelu as in
        PDEArena (Gupta and Brandstetter, 2022), https://arxiv.org/abs/2209.15616; width 128 and
        depth 4 in 2D are its "DilResNet128" of 4.2 M parameters.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        dim: Number of space axes.
        width: Channels inside.
        depth: Number of blocks.
        dilations: Distance between the points of the kernel, per convolution of a block.
        kernel_size: Points of a kernel per axis, odd.
        padding: How a field goes on beyond the edge: "periodic", "zeros", "reflect" or
            "replicate"; one for all axes or one per axis.
        num_conditions: Numbers per sample in `condition`, see `Backbone`.

    Shape:
        u: (batch, in_channels, *space) -> (batch, out_channels, *space)
        condition: (batch, num_conditions), or `None` if there are none

    Raises:
        ValueError: If an argument is out of range, `u` has another rank or channel count, or the
            widest kernel goes around a periodic axis (beyond the image of a reflected one).
        TypeError: If `u` is not real floating point.

    Example:
        >>> import torch
        >>> model = DilatedResNet(dim=2, width=16, depth=2, padding=("periodic", "zeros"))
        >>> model(torch.zeros(3, 1, 32, 27)).shape
        torch.Size([3, 1, 32, 27])
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        *,
        dim: int = 1,
        width: int = 32,
        depth: int = 4,
        dilations: Sequence[int] = (1, 2, 4, 8, 4, 2, 1),
        kernel_size: int = 3,
        padding: str | Sequence[str] = "periodic",
        num_conditions: int = 0,
    ) -> None:
        super().__init__(in_channels, out_channels, dim=dim, num_conditions=num_conditions)
        self.width = width
        self.depth = depth
        self.dilations = tuple(dilations)
        self.kernel_size = kernel_size
        self.padding = padding if isinstance(padding, str) else tuple(padding)
        self.kinds = padding_kinds(padding, dim, where="DilatedResNet")
        self.check_counts({"width": width, "depth": depth, "kernel_size": kernel_size})
        self.check_counts({f"dilations[{n}]": d for n, d in enumerate(self.dilations)})
        if not self.dilations:
            raise ValueError("DilatedResNet: `dilations` must name at least one, got none.")

        def pointwise(channels: int, channels_next: int) -> PaddedConv:
            return PaddedConv(channels, channels_next, 1, dim=dim, padding=padding)

        self.lift = nn.Sequential(
            pointwise(in_channels, width), nn.GELU(), pointwise(width, width), nn.GELU()
        )
        self.embedding = ConditionEmbedding(num_conditions, width) if num_conditions else None
        self.blocks = nn.ModuleList(
            _Block(
                [
                    PaddedConv(
                        width, width, kernel_size, dim=dim, dilation=dilation, padding=padding
                    )
                    for dilation in self.dilations
                ],
                Modulation(width, width) if num_conditions else None,
            )
            for _ in range(depth)
        )
        self.project = nn.Sequential(
            pointwise(width, width), nn.GELU(), pointwise(width, out_channels)
        )

    def compute(self, u: Tensor, condition: Tensor | None) -> Tensor:
        embedding = None if self.embedding is None else self.embedding(condition)
        v = self.lift(u)
        for block in self.blocks:
            v = block(v, embedding)
        return self.project(v)

    def check_grid(self, space: tuple[int, ...]) -> None:
        reach = max(self.dilations) * (self.kernel_size // 2)
        own = {"periodic": max(reach, 1), "reflect": reach + 1}
        smallest = tuple(own.get(kind, 1) for kind in self.kinds)
        if any(n < least for n, least in zip(space, smallest, strict=True)):
            raise ValueError(
                f"DilatedResNet: the smallest grid for kernels that reach {reach} points and "
                f"padding {', '.join(self.kinds)} has {smallest} points, got {space}; choose "
                "smaller `dilations` or a finer grid."
            )

    def extra_repr(self) -> str:
        return f"dilations={self.dilations}, padding={self.kinds}"


class _Block(nn.Module):
    """Convolutions one after the other, and a skip around them, see `DilatedResNet`."""

    def __init__(self, convolutions: Sequence[PaddedConv], modulation: Modulation | None) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(convolutions)
        self.modulation = modulation

    def forward(self, v: Tensor, embedding: Tensor | None) -> Tensor:
        w = v if self.modulation is None else self.modulation(v, embedding)
        for convolution in self.convolutions:
            w = F.gelu(convolution(w))
        return v + w
