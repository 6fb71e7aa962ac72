"""How far is a prediction from its target? Mean square, relative, with slopes, per scale."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from pdesurrogates.core import Grid

__all__ = [
    "Distance",
    "MeanSquared",
    "QuadraticDistance",
    "Relative",
    "Sobolev",
    "SpectralDistance",
    "WeightedSum",
]


class Distance(ABC):
    """The size of prediction - target, a scalar with gradient.

    Fields are standardised, so one is the size of a typical deviation. They are compared at least
    in float32, transforms included, also where the network runs at lower precision.

    Shape:
        prediction, target: (batch, channel, *space) -> ()
    """

    def __call__(self, prediction: Tensor, target: Tensor, grid: Grid | None = None) -> Tensor:
        """The distance, mean over the batch.

        Args:
            prediction, target: Fields of equal shape.
            grid: Where the values are; needed by distances that look at slopes or scales. Points
                may differ in number, the box counts.
        """
        dtype = torch.promote_types(prediction.dtype, torch.float32)
        with torch.autocast(prediction.device.type, enabled=False):
            return self.compare(prediction.to(dtype), target.to(dtype), grid)

    @abstractmethod
    def compare(self, prediction: Tensor, target: Tensor, grid: Grid | None) -> Tensor:
        """The distance of two fields in float32 or float64."""

    def _on_grid(self, u: Tensor, grid: Grid | None) -> Grid:
        """The grid of a field, refusing fields without one."""
        where = type(self).__name__
        if grid is None or u.ndim != grid.dim + 2:
            came = "no grid" if grid is None else f"{grid.dim} axes"
            raise ValueError(
                f"{where}: needs fields on a grid, got fields of shape {tuple(u.shape)} and "
                f"{came}; build the surrogate with `grid`, or use MeanSquared on meshes."
            )
        space = tuple(u.shape[2:])
        return grid if grid.shape == space else grid.resized(space)


class QuadraticDistance(Distance):
    """A distance that is the mean over the batch of a quadratic form of the error."""

    @abstractmethod
    def energy(self, e: Tensor, grid: Grid | None) -> Tensor:
        """The quadratic form per sample, (batch,)."""

    def compare(self, prediction: Tensor, target: Tensor, grid: Grid | None) -> Tensor:
        return self.energy(prediction - target, grid).mean()


@dataclass(frozen=True)
class MeanSquared(QuadraticDistance):
    """mean e^2 over batch, channels and points, with e = prediction - target."""

    def energy(self, e: Tensor, grid: Grid | None) -> Tensor:
        return e.square().flatten(1).mean(1)

    def compare(self, prediction: Tensor, target: Tensor, grid: Grid | None) -> Tensor:
        return F.mse_loss(prediction, target)


@dataclass(frozen=True)
class Sobolev(QuadraticDistance):
    """Values and slopes (H1), lengths in units of the box:

        mean e^2 + weight sum_a mean (L_a / 2 pi  de/dx_a)^2

    e is the error, L_a the extent of axis a. Along a periodic axis the slope is spectral: a mode
    of n periods per box counts 1 + weight n^2 times, the highest one included. Along an axis with
    ends it is the difference of neighbours. With weight 1 small scales decide; 1 / n^2 puts the
    balance between values and slopes at the mode n.

    Args:
        weight: Share of the slopes.
    """

    weight: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise ValueError(
                f"Sobolev: `weight` must not be negative and finite, got {self.weight}."
            )

    def energy(self, e: Tensor, grid: Grid | None) -> Tensor:
        grid = self._on_grid(e, grid)
        total = e.square().flatten(1).mean(1)
        if any(grid.is_periodic):
            total = total + self.weight * _spectral_slopes(e, grid)
        for axis, is_periodic in enumerate(grid.is_periodic, start=2):
            if not is_periodic:
                scale = grid.extent[axis - 2] / (2 * math.pi * grid.spacing[axis - 2])
                slopes = (e.diff(dim=axis) * scale).square().flatten(1).mean(1)
                total = total + self.weight * slopes
        return total


def _spectral_slopes(e: Tensor, grid: Grid) -> Tensor:
    """sum over modes k of |k|^2 |e_k|^2 on the periodic axes, mean over the others, (batch,)."""
    axes = [axis for axis, is_periodic in enumerate(grid.is_periodic, start=2) if is_periodic]
    e_hat = torch.fft.rfftn(e, dim=axes, norm="forward")
    counts = _cached_square_modes(grid.shape, grid.is_periodic, e.dtype, e.device)
    energy = torch.view_as_real(e_hat).square().sum(-1) * counts
    others = e[0].numel() // math.prod(e.shape[axis] for axis in axes)
    return energy.flatten(1).sum(1) / others


@lru_cache(maxsize=16)
def _cached_square_modes(
    shape: tuple[int, ...], is_periodic: tuple[bool, ...], dtype: torch.dtype, device: torch.device
) -> Tensor:
    """|k|^2 of every mode of a real transform, twice where it stands for its mirror image too."""
    with torch.inference_mode(False), torch.no_grad():  # usable in training, whoever asks first
        points = [n for n, periodic in zip(shape, is_periodic, strict=True) if periodic]
        square, pairs = _modes(tuple(points), (1.0,) * len(points), device)
        sizes = iter(square.shape)
        broadcast = [next(sizes) if periodic else 1 for periodic in is_periodic]
        return (square * pairs).reshape(broadcast).to(dtype)


def _modes(
    shape: tuple[int, ...], units: tuple[float, ...], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Of a real transform: sum_a (k_a units_a)^2, and 2 where a mode stands for two, else 1."""
    *leading, last = shape
    k = torch.arange(last // 2 + 1, dtype=torch.float64, device=device)
    pairs = 1.0 + ((k > 0) & (2 * k < last)).to(k)
    numbers = [torch.fft.fftfreq(n, d=1 / n, dtype=k.dtype, device=device) for n in leading]
    scaled = [n * unit for n, unit in zip((*numbers, k), units, strict=True)]
    mesh = torch.stack(torch.meshgrid(*scaled, indexing="ij"))
    return mesh.square().sum(0), pairs.expand(mesh.shape[1:])


@dataclass(frozen=True)
class SpectralDistance(Distance):
    """Error energy relative to the target's, every octave of wavenumbers alike.

        1/B sum_b E_b(e) / max( E_b(target), floor E(target) ),    b = 0 | 1 | 2-3 | 4-7 | ...

    E_b is the energy of the wavenumbers in band b, in multiples of 2 pi / (largest extent), mean
    over the batch, per channel; E is their sum, the mean square. 1 is what a prediction of zeros
    scores. Scales that the mean square cannot see count as much as the large ones, down to a
    share `floor` of all energy: what lies below would be noise of stored data. Combine it with
    `MeanSquared` in a `WeightedSum`.

    Needs periodic axes.

    Args:
        floor: Least energy of a band [energy of the target].
    """

    floor: float = 1e-6

    def __post_init__(self) -> None:
        if not 0 < self.floor <= 1:
            raise ValueError(
                f"SpectralDistance: `floor` must be positive and at most 1, got {self.floor}."
            )

    def compare(self, prediction: Tensor, target: Tensor, grid: Grid | None) -> Tensor:
        grid = self._on_grid(target, grid)
        if not all(grid.is_periodic):
            raise ValueError(
                "SpectralDistance: needs periodic axes, got a grid with "
                f"periodic={grid.is_periodic}; use Sobolev, which takes differences there."
            )
        error = band_energy(prediction - target, grid).mean(0)
        energy = band_energy(target, grid).mean(0)
        least = self.floor * energy.sum(-1, keepdim=True)
        tiny = torch.finfo(energy.dtype).tiny
        return (error / energy.maximum(least).clamp(min=tiny)).mean()


def band_energy(u: Tensor, grid: Grid) -> Tensor:
    """Mean square of a periodic field per octave of wavenumbers, (batch, channel, band)."""
    axes = tuple(range(2, u.ndim))
    u_hat = torch.fft.rfftn(u, dim=axes, norm="forward")
    energy = torch.view_as_real(u_hat).square().sum(-1).flatten(2)
    return energy @ _cached_bands(grid.shape, grid.extent, u.dtype, u.device)


@lru_cache(maxsize=16)
def _cached_bands(
    shape: tuple[int, ...], extent: tuple[float, ...], dtype: torch.dtype, device: torch.device
) -> Tensor:
    """(mode, band): how often each mode of a real transform counts in each band."""
    with torch.inference_mode(False), torch.no_grad():  # usable in training, whoever asks first
        return _bands(shape, extent, device).to(dtype)


def _bands(shape: tuple[int, ...], extent: tuple[float, ...], device: torch.device) -> Tensor:
    units = tuple(max(extent) / length for length in extent)
    square, pairs = _modes(shape, units, device)
    shell = square.sqrt().round().flatten()
    band = shell.clamp(min=0.5).log2().floor().long() + 1
    return F.one_hot(band) * pairs.flatten()[:, None]


@dataclass(frozen=True)
class Relative(Distance):
    """Root of the error energy over the target's, sample by sample.

        mean over samples of sqrt( q(e) / max( q(target), floor^2 ) )

    with the quadratic form q of `distance`: relative L2 with `MeanSquared`, relative H1 with
    `Sobolev`. All samples count alike, weak ones too; `floor` keeps those near the mean state
    from deciding.

    Args:
        distance: The energy that is compared.
        floor: Size below which targets count as that large [deviations].
    """

    distance: QuadraticDistance = field(default_factory=MeanSquared)
    floor: float = 1e-3

    def __post_init__(self) -> None:
        if not (math.isfinite(self.floor) and self.floor > 0):
            raise ValueError(f"Relative: `floor` must be positive, got {self.floor}.")

    def compare(self, prediction: Tensor, target: Tensor, grid: Grid | None) -> Tensor:
        error = self.distance.energy(prediction - target, grid)
        energy = self.distance.energy(target, grid).clamp(min=self.floor**2)
        # The slope of a root at zero is infinite: a perfect sample is given slope zero.
        ratio = error / energy
        is_positive = ratio > 0
        return torch.where(is_positive, torch.where(is_positive, ratio, 1.0).sqrt(), 0.0).mean()


@dataclass(frozen=True)
class WeightedSum(Distance):
    """sum_i weights_i distances_i.

    Args:
        distances: The parts.
        weights: One positive number per part; all one when empty.
    """

    distances: Sequence[Distance]
    weights: Sequence[float] = ()

    def __post_init__(self) -> None:
        if not self.distances or (self.weights and len(self.weights) != len(self.distances)):
            raise ValueError(
                "WeightedSum: `distances` must have at least one entry and `weights` as many, got "
                f"{len(self.distances)} and {len(self.weights)}."
            )
        if any(not (math.isfinite(weight) and weight > 0) for weight in self.weights):
            raise ValueError(
                f"WeightedSum: `weights` must be positive and finite, got {self.weights}."
            )
        object.__setattr__(self, "distances", tuple(self.distances))
        object.__setattr__(self, "weights", tuple(self.weights))

    def compare(self, prediction: Tensor, target: Tensor, grid: Grid | None) -> Tensor:
        weights = self.weights or (1.0,) * len(self.distances)
        parts = [
            weight * distance.compare(prediction, target, grid)
            for weight, distance in zip(weights, self.distances, strict=True)
        ]
        return torch.stack(parts).sum()
