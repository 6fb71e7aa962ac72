"""Which network mixes all points through few Fourier coefficients? The FNO."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pdesurrogates.backbones.base import Backbone
from pdesurrogates.backbones.embeddings import ConditionEmbedding, Modulation
from pdesurrogates.backbones.layers import ChannelMLP, FactorisedSpectralConv, SpectralConv

__all__ = ["FNO", "FactorisedFNO"]


class FNO(Backbone):
    """Fourier neural operator in one, two or three dimensions.

    A channel MLP lifts the state to `width` channels, `depth` blocks follow, a channel MLP
    projects to the output. One block, with gelu everywhere but in the last block:

        w      = gelu(spectral(v) + W v + b),    spectral(v) = irfft(R rfft(v)) on few wavenumbers
        v_next = gelu(mlp(w) + g v)              g one number per channel, mlp of mlp_ratio width

    The layer is the one of the neuraloperator library (2.0), its `FNO` with defaults. Wavenumbers
    -m .. m-1 are kept on every axis but the last, 0 .. m-1 on the last; m is `num_modes`.
    neuraloperator counts both signs, and its last axis as if it were two-sided:

        n_modes = (a,)        <->  num_modes = (a // 2 + 1,)
        n_modes = (a, b)      <->  num_modes = (a / 2, b // 2 + 1)
        n_modes = (a, b, c)   <->  num_modes = (a / 2, b / 2, c // 2 + 1),   a, b even

    so (24, 24) there is (12, 13) here. The original code counts as we do.

    The same weights serve every resolution, odd sizes included. A grid on which some of the kept
    wavenumbers lie above Nyquist, (m - 1) > N / 2, is refused: their weights would be left out,
    which is another network. `allow_truncation` accepts it and uses the wavenumbers it carries,
    as neuraloperator does. Without `grid_coordinates` the network commutes with shifts of a
    periodic grid.

    Transforms are taken at least in float32. With `num_conditions`, every block scales and
    shifts the channels of spectral(v) + W v + b by an embedding of `condition`.

    Warning:
        Pointwise gelu creates wavenumbers the grid may not carry: the output at another
        resolution is close, not equal, unless both grids resolve every layer.

    Reference:
        Fourier Neural Operator for Parametric Partial Differential Equations (Li et al., 2021),
        Eqs. (2) to (5). https://arxiv.org/abs/2010.08895

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        num_modes: Kept non-negative wavenumbers m per axis, zero included; its length is the
            number of space axes.
        width: Channels inside.
        depth: Number of blocks.
        lifting_ratio: Hidden channels of lift and projection, in units of `width`.
        mlp_ratio: Hidden channels of the MLP of a block, in units of `width`.
        grid_coordinates: Append the coordinates i / N of every axis to the input; needed where
            the answer depends on the place, and the end of shift equivariance.
        allow_truncation: Leave out wavenumbers above Nyquist on grids that do not carry them.
        num_conditions: Numbers per sample in `condition`, see `Backbone`.

    Shape:
        u: (batch, in_channels, *space) -> (batch, out_channels, *space)
        condition: (batch, num_conditions), or `None` if there are none

    Raises:
        ValueError: If an argument is out of range, `u` has another rank or channel count, or the
            grid does not carry all modes.
        TypeError: If `u` is not real floating point.

    Example:
        >>> model = FNO(num_modes=(8, 8), width=16, depth=2)
        >>> model(torch.zeros(3, 1, 32, 27)).shape
        torch.Size([3, 1, 32, 27])
    """

    is_resolution_free = True

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        *,
        num_modes: Sequence[int] = (16,),
        width: int = 32,
        depth: int = 4,
        lifting_ratio: float = 2.0,
        mlp_ratio: float = 0.5,
        grid_coordinates: bool = False,
        allow_truncation: bool = False,
        num_conditions: int = 0,
    ) -> None:
        num_modes = _modes_per_axis(num_modes, where="FNO")
        dim = len(num_modes)
        super().__init__(in_channels, out_channels, dim=dim, num_conditions=num_conditions)
        self.num_modes = num_modes
        self.width = width
        self.depth = depth
        self.lifting_ratio = lifting_ratio
        self.mlp_ratio = mlp_ratio
        self.grid_coordinates = grid_coordinates
        self.allow_truncation = allow_truncation
        self.check_counts({"width": width, "depth": depth})
        self.check_counts({f"num_modes[{axis}]": m for axis, m in enumerate(num_modes)})
        _check_positive({"lifting_ratio": lifting_ratio, "mlp_ratio": mlp_ratio}, where="FNO")

        hidden = max(1, round(lifting_ratio * width))
        self.lift = ChannelMLP(in_channels + dim * grid_coordinates, hidden, width)
        self.embedding = ConditionEmbedding(num_conditions, width) if num_conditions else None
        self.blocks = nn.ModuleList(
            _Block(
                width,
                num_modes,
                mlp_ratio,
                is_last=n == depth - 1,
                is_conditioned=num_conditions > 0,
            )
            for n in range(depth)
        )
        self.project = ChannelMLP(width, hidden, out_channels)

    def compute(self, u: Tensor, condition: Tensor | None) -> Tensor:
        v = u.movedim(1, -1)
        if self.grid_coordinates:
            v = torch.cat((v, _coordinates(v)), dim=-1)
        v = self.lift(v)
        embedding = None if self.embedding is None else self.embedding(condition)
        for block in self.blocks:
            v = block(v, embedding)
        return self.project(v).movedim(-1, 1)

    def check_grid(self, space: tuple[int, ...]) -> None:
        if not self.allow_truncation:
            _check_nyquist(space, self.num_modes, where="FNO")

    def extra_repr(self) -> str:
        return f"num_modes={self.num_modes}, grid_coordinates={self.grid_coordinates}"


class FactorisedFNO(Backbone):
    """Factorised Fourier neural operator: deep, and light in two and three dimensions.

    A linear layer lifts the state to `width` channels, `depth` blocks follow, a channel MLP
    projects to the output. One block, with a sum over the space axes a:

        v_next = v + W2 gelu(W1 K(v) + b1) + b2,    K(v) = sum_a irfft_a(R_a rfft_a(v))

    R_a acts on wavenumbers 0 .. m_a - 1 of axis a, so a block has sum(m) complex channel matrices
    where one of `FNO` has 2^(dim - 1) prod(m). The skip goes around the whole block, which keeps
    deep networks trainable (the paper goes to 24 blocks). The paper has another activation after
    W2; like its code we have none, have gelu for relu, no weight norm and no shared weights.

    With `num_conditions`, every block scales and shifts the channels of K(v) by an embedding of
    `condition`. Resolutions, precision and grids that do not carry all modes are as in `FNO`.

    Reference:
        Factorized Fourier Neural Operators (Tran et al., 2023), Section 3.
        https://arxiv.org/abs/2111.13802

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        num_modes: Kept wavenumbers m per axis, zero included; its length is the number of space
            axes.
        width: Channels inside.
        depth: Number of blocks.
        mlp_ratio: Hidden channels of the MLP of a block and of the projection, in units of
            `width`.
        grid_coordinates: Append the coordinates i / N of every axis to the input.
        allow_truncation: Leave out wavenumbers above Nyquist on grids that do not carry them.
        num_conditions: Numbers per sample in `condition`, see `Backbone`.

    Shape:
        u: (batch, in_channels, *space) -> (batch, out_channels, *space)
        condition: (batch, num_conditions), or `None` if there are none

    Raises:
        ValueError: If an argument is out of range, `u` has another rank or channel count, or the
            grid does not carry all modes.
        TypeError: If `u` is not real floating point.

    Example:
        >>> model = FactorisedFNO(num_modes=(8, 8), width=16, depth=2)
        >>> model(torch.zeros(3, 1, 32, 27)).shape
        torch.Size([3, 1, 32, 27])
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        *,
        num_modes: Sequence[int] = (16,),
        width: int = 32,
        depth: int = 4,
        mlp_ratio: float = 2.0,
        grid_coordinates: bool = False,
        allow_truncation: bool = False,
        num_conditions: int = 0,
    ) -> None:
        num_modes = _modes_per_axis(num_modes, where="FactorisedFNO")
        dim = len(num_modes)
        super().__init__(in_channels, out_channels, dim=dim, num_conditions=num_conditions)
        self.num_modes = num_modes
        self.width = width
        self.depth = depth
        self.mlp_ratio = mlp_ratio
        self.grid_coordinates = grid_coordinates
        self.allow_truncation = allow_truncation
        self.check_counts({"width": width, "depth": depth})
        self.check_counts({f"num_modes[{axis}]": m for axis, m in enumerate(num_modes)})
        _check_positive({"mlp_ratio": mlp_ratio}, where="FactorisedFNO")

        hidden = max(1, round(mlp_ratio * width))
        self.lift = nn.Linear(in_channels + dim * grid_coordinates, width)
        self.embedding = ConditionEmbedding(num_conditions, width) if num_conditions else None
        self.blocks = nn.ModuleList(
            _FactorisedBlock(width, num_modes, hidden, is_conditioned=num_conditions > 0)
            for _ in range(depth)
        )
        self.project = ChannelMLP(width, hidden, out_channels)

    def compute(self, u: Tensor, condition: Tensor | None) -> Tensor:
        v = u.movedim(1, -1)
        if self.grid_coordinates:
            v = torch.cat((v, _coordinates(v)), dim=-1)
        v = self.lift(v)
        embedding = None if self.embedding is None else self.embedding(condition)
        for block in self.blocks:
            v = block(v, embedding)
        return self.project(v).movedim(-1, 1)

    def check_grid(self, space: tuple[int, ...]) -> None:
        if not self.allow_truncation:
            _check_nyquist(space, self.num_modes, where="FactorisedFNO")

    def extra_repr(self) -> str:
        return f"num_modes={self.num_modes}, grid_coordinates={self.grid_coordinates}"


class _FactorisedBlock(nn.Module):
    """One Fourier layer per axis, their sum, a channel MLP and a skip, see `FactorisedFNO`."""

    def __init__(
        self, width: int, num_modes: tuple[int, ...], hidden: int, *, is_conditioned: bool
    ) -> None:
        super().__init__()
        self.spectral = FactorisedSpectralConv(width, width, num_modes)
        self.mlp = ChannelMLP(width, hidden, width)
        self.modulation = Modulation(width, width, channel_axis=-1) if is_conditioned else None

    def forward(self, v: Tensor, embedding: Tensor | None) -> Tensor:
        w = self.spectral(v)
        if self.modulation is not None:
            w = self.modulation(w, embedding)
        return v + self.mlp(w)


class _Block(nn.Module):
    """One Fourier layer and its channel MLP, see `FNO`."""

    def __init__(
        self,
        width: int,
        num_modes: tuple[int, ...],
        mlp_ratio: float,
        *,
        is_last: bool,
        is_conditioned: bool,
    ) -> None:
        super().__init__()
        self.is_last = is_last
        self.spectral = SpectralConv(width, width, num_modes)
        self.skip = nn.Linear(width, width)
        self.mlp = ChannelMLP(width, max(1, round(mlp_ratio * width)), width)
        self.gate = nn.Parameter(torch.ones(width))
        self.modulation = Modulation(width, width, channel_axis=-1) if is_conditioned else None

    def forward(self, v: Tensor, embedding: Tensor | None) -> Tensor:
        w = self.spectral(v, residual=self.skip(v))
        if self.modulation is not None:
            w = self.modulation(w, embedding)
        if not self.is_last:
            w = F.gelu(w)
        v = torch.addcmul(self.mlp(w), v, self.gate)
        return v if self.is_last else F.gelu(v)


def _coordinates(v: Tensor) -> Tensor:
    """Coordinates i / N of every point, (batch, *space, dim), for v (batch, *space, channel)."""
    axes = [torch.arange(n, dtype=v.dtype, device=v.device) / n for n in v.shape[1:-1]]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    return points.expand(v.shape[0], *points.shape)


def _modes_per_axis(num_modes: Sequence[int] | int, *, where: str) -> tuple[int, ...]:
    num_modes = (num_modes,) if isinstance(num_modes, int) else tuple(num_modes)
    if not 1 <= len(num_modes) <= 3:
        raise ValueError(
            f"{where}: `num_modes` must have one entry per space axis, 1 to 3 of them, got "
            f"{num_modes}; e.g. num_modes=(12, 12) in 2D."
        )
    return num_modes


def _check_positive(ratios: Mapping[str, float], *, where: str) -> None:
    for name, ratio in ratios.items():
        if not ratio > 0:
            raise ValueError(f"{where}: `{name}` must be positive, got {ratio}.")


def _check_nyquist(space: tuple[int, ...], num_modes: tuple[int, ...], *, where: str) -> None:
    smallest = tuple(max(1, 2 * (m - 1)) for m in num_modes)
    if any(n < least for n, least in zip(space, smallest, strict=True)):
        raise ValueError(
            f"{where}: modes above Nyquist: the smallest grid for num_modes={num_modes} has "
            f"{smallest} points, got {space}; use a finer grid, build the network with num_modes="
            f"{tuple(min(m, n // 2 + 1) for m, n in zip(num_modes, space, strict=True))} or set "
            "network.allow_truncation = True to leave out the modes that the grid does not carry."
        )
