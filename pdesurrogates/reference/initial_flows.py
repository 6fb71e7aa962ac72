"""Random initial states of flows: compressible, shallow water, two-dimensional turbulence."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pdesurrogates.core import Grid, generator
from pdesurrogates.reference.initial_conditions import random_initial_condition

__all__ = [
    "RadialDamBreak",
    "RandomFlow",
    "RandomShockTube",
    "RandomTurbulence",
    "RandomVorticity",
]

_WINDOW_WIDTH = 0.01


def _uniform(draws: torch.Generator, bounds: Sequence[float], size: int = 1) -> Tensor:
    low, high = bounds
    return low + (high - low) * torch.rand(size, generator=draws, dtype=torch.float64)


def _conserved(density: Tensor, velocity: Tensor, pressure: Tensor, gamma: float) -> Tensor:
    """(density, momentum, energy) from primitive fields of an ideal gas, channels first."""
    kinetic = 0.5 * density * velocity.square().sum(dim=0)
    energy = pressure / (gamma - 1) + kinetic
    return torch.cat([density[None], density * velocity, energy[None]])


def _check_channels(name: str, grid: Grid, num_channels: int, expected: int, fields: str) -> None:
    if num_channels != expected:
        raise ValueError(
            f"{name}: gives {fields} on {grid.dim} axes, which are {expected} channels, but the "
            f"equation has {num_channels}."
        )


def _random_waves(grid: Grid, max_wavenumber: int, decay: float, draws: torch.Generator) -> Tensor:
    """sum_m abs(m)^-decay sin(2 pi m . x / L + phase_m) over all abs(m_i) <= max, m != 0."""
    k = 2 * max_wavenumber + 1
    m = torch.arange(-max_wavenumber, max_wavenumber + 1, dtype=torch.float64)
    modes = torch.stack(torch.meshgrid(*(m,) * grid.dim, indexing="ij"))
    size = modes.square().sum(dim=0).sqrt()
    amplitude = torch.where(size > 0, size.clamp(min=1.0) ** -decay, 0.0)
    phases = 2 * math.pi * torch.rand((k,) * grid.dim, generator=draws, dtype=torch.float64)
    coefficients = torch.polar(amplitude, phases)
    for axis, x in enumerate(grid.axes()):
        scaled = 2 * math.pi * (x - grid.origin[axis]) / grid.extent[axis]
        waves = torch.polar(torch.ones(len(x), k, dtype=torch.float64), torch.outer(scaled, m))
        coefficients = torch.einsum("k...,xk->...x", coefficients, waves)
    return coefficients.imag


class RandomFlow:
    """Compressible flow with random smooth density, velocity and pressure on a uniform mean:

        density = d0 (1 + a_d w_d),   velocity = v0 w_v,   pressure = p0 (1 + a_p w_p)

    Each w is a sum of waves with random phases of its own, drawn anew for every sample and
    scaled to max abs(w) = 1, so density and pressure stay positive. (The published 2D generator
    draws one set of phases for all samples of a field: they differ in two numbers only.) The
    speed is v0 = mach sqrt(gamma p0 / d0).

    Args:
        mach: Range of the uniform Mach numbers.
        density: Range of the uniform mean densities.
        pressure: Range of the uniform mean pressures.
        contrast: Range of the uniform relative amplitudes a_d and a_p, below 1.
        max_wavenumber: Largest wavenumber per axis, in waves per box length.
        decay: Exponent of the amplitude spectrum.
        probability_windowed: Probability that all fluctuations are confined to a random middle
            part of the box by a window.
        gamma: Ratio of specific heats, that of the equation.

    Reference:
        PDEBench (Takamoto et al., 2022), appendix D.5.
    """

    def __init__(
        self,
        *,
        mach: Sequence[float] = (0.1, 0.1),
        density: Sequence[float] = (0.1, 10.0),
        pressure: Sequence[float] = (0.1, 10.0),
        contrast: Sequence[float] = (0.01, 0.5),
        max_wavenumber: int = 4,
        decay: float = 0.5,
        probability_windowed: float = 0.5,
        gamma: float = 5 / 3,
    ) -> None:
        self.mach = tuple(mach)
        self.density = tuple(density)
        self.pressure = tuple(pressure)
        self.contrast = tuple(contrast)
        self.max_wavenumber = max_wavenumber
        self.decay = decay
        self.probability_windowed = probability_windowed
        self.gamma = gamma

    def __call__(
        self, grid: Grid, num_samples: int, *, num_channels: int, seed: int, first: int
    ) -> Tensor:
        """(sample, channel, *space) for the samples first .. first + num_samples - 1, float64."""
        fields = "density, momentum and energy"
        _check_channels("RandomFlow", grid, num_channels, grid.dim + 2, fields)
        return torch.stack([self._sample(grid, seed, first + i) for i in range(num_samples)])

    def _sample(self, grid: Grid, seed: int, index: int) -> Tensor:
        draws = generator(seed, index)
        mach = _uniform(draws, self.mach)
        density = _uniform(draws, self.density)
        pressure = _uniform(draws, self.pressure)
        contrast = _uniform(draws, self.contrast, 2)
        waves = []
        for _ in range(grid.dim + 2):
            wave = _random_waves(grid, self.max_wavenumber, self.decay, draws)
            waves.append(wave / wave.abs().max())
        window = self._window(grid, draws)
        velocity = torch.stack(waves[2:]) * mach * (self.gamma * pressure / density).sqrt()
        return _conserved(
            density * (1 + contrast[0] * waves[0] * window),
            velocity * window,
            pressure * (1 + contrast[1] * waves[1] * window),
            self.gamma,
        )

    def _window(self, grid: Grid, draws: torch.Generator) -> Tensor:
        is_used = float(_uniform(draws, (0.0, 1.0))) < self.probability_windowed
        window = torch.ones(grid.shape, dtype=torch.float64)
        for axis, x in enumerate(grid.coordinates()):
            left, right = _uniform(draws, (0.1, 0.45)), _uniform(draws, (0.55, 0.9))
            position = (x - grid.origin[axis]) / grid.extent[axis]
            edges = [torch.tanh((position - edge) / _WINDOW_WIDTH) for edge in (left, right)]
            window = window * 0.5 * (edges[0] - edges[1])
        return window if is_used else torch.ones_like(window)


class RandomShockTube:
    """Two random constant states of a gas side by side along the first axis.

    Args:
        density: Range of the uniform densities.
        velocity: Range of the uniform velocities along the axis.
        pressure: Range of the uniform pressures.
        position: Range of the uniform position of the jump [box lengths].
        gamma: Ratio of specific heats, that of the equation.

    Reference:
        PDEBench (Takamoto et al., 2022), appendix D.5.
    """

    def __init__(
        self,
        *,
        density: Sequence[float] = (0.1, 1.0),
        velocity: Sequence[float] = (-1.0, 1.0),
        pressure: Sequence[float] = (0.1, 1.0),
        position: Sequence[float] = (0.25, 0.75),
        gamma: float = 5 / 3,
    ) -> None:
        self.density = tuple(density)
        self.velocity = tuple(velocity)
        self.pressure = tuple(pressure)
        self.position = tuple(position)
        self.gamma = gamma

    def __call__(
        self, grid: Grid, num_samples: int, *, num_channels: int, seed: int, first: int
    ) -> Tensor:
        """(sample, channel, *space) for the samples first .. first + num_samples - 1, float64."""
        fields = "density, momentum and energy"
        _check_channels("RandomShockTube", grid, num_channels, grid.dim + 2, fields)
        return torch.stack(
            [self._sample(grid, generator(seed, first + i)) for i in range(num_samples)]
        )

    def _sample(self, grid: Grid, draws: torch.Generator) -> Tensor:
        sides = [
            _uniform(draws, bounds, 2) for bounds in (self.density, self.velocity, self.pressure)
        ]
        jump = _uniform(draws, self.position)
        is_left = (grid.coordinates()[0] - grid.origin[0]) / grid.extent[0] < jump
        density, speed, pressure = (torch.where(is_left, side[0], side[1]) for side in sides)
        velocity = torch.zeros(grid.dim, *grid.shape, dtype=torch.float64)
        velocity[0] = speed
        return _conserved(density, velocity, pressure, self.gamma)


class RandomTurbulence:
    """Compressible flow with uniform density and pressure and a random solenoidal velocity.

    The velocity is a sum of waves with amplitude abs(m)^-decay whose part along m is removed, so
    its divergence is zero; its root mean square is mach times the speed of sound. Density 1 and
    speed 1 (root mean square) fix the units, so the pressure is 1 / (gamma mach^2).

    Args:
        mach: Mach number of the root mean square velocity.
        max_wavenumber: Largest wavenumber, in waves per box length.
        decay: Exponent of the amplitude spectrum.
        gamma: Ratio of specific heats, that of the equation.

    Reference:
        PDEBench (Takamoto et al., 2022), appendix D.5.
    """

    def __init__(
        self,
        mach: float = 1.0,
        *,
        max_wavenumber: int = 3,
        decay: float = 1.0,
        gamma: float = 5 / 3,
    ) -> None:
        self.mach = mach
        self.max_wavenumber = max_wavenumber
        self.decay = decay
        self.gamma = gamma

    def __call__(
        self, grid: Grid, num_samples: int, *, num_channels: int, seed: int, first: int
    ) -> Tensor:
        """(sample, channel, *space) for the samples first .. first + num_samples - 1, float64."""
        fields = "density, momentum and energy"
        _check_channels("RandomTurbulence", grid, num_channels, grid.dim + 2, fields)
        if grid.dim == 1 or not all(grid.is_periodic):
            raise ValueError("RandomTurbulence: needs a periodic grid with 2 or 3 axes.")
        return torch.stack([self._sample(grid, seed, first + i) for i in range(num_samples)])

    def _sample(self, grid: Grid, seed: int, index: int) -> Tensor:
        velocity = random_initial_condition(
            grid,
            num_channels=grid.dim,
            max_wavenumber=self.max_wavenumber,
            decay=self.decay,
            seed=seed,
            first=index,
        )[0]
        velocity = _solenoidal(velocity, grid)
        velocity = velocity / velocity.square().sum(dim=0).mean().sqrt()
        density = torch.ones(grid.shape, dtype=torch.float64)
        pressure = density / (self.gamma * self.mach**2)
        return _conserved(density, velocity, pressure, self.gamma)


def _solenoidal(velocity: Tensor, grid: Grid) -> Tensor:
    """The velocity without its gradient part, v - k (k . v) / abs(k)^2 in Fourier space."""
    space = tuple(range(1, grid.dim + 1))
    hat = torch.fft.fftn(velocity, dim=space)
    frequencies = [
        torch.fft.fftfreq(n, length / n, dtype=torch.float64)
        for n, length in zip(grid.num_points, grid.extent, strict=True)
    ]
    k = torch.stack(torch.meshgrid(*frequencies, indexing="ij"))
    squared = k.square().sum(dim=0)
    along = (k * hat).sum(dim=0) / torch.where(squared == 0, 1.0, squared)
    return torch.fft.ifftn(hat - k * along, dim=space).real


class RadialDamBreak:
    """A column of water in the middle that collapses: height `inner` within a random radius.

    Args:
        inner: Height inside [length].
        outer: Height outside [length].
        radius: Range of the uniform radii [length].

    Reference:
        PDEBench (Takamoto et al., 2022), appendix D.4.
    """

    def __init__(
        self, *, inner: float = 2.0, outer: float = 1.0, radius: Sequence[float] = (0.3, 0.7)
    ) -> None:
        self.inner = inner
        self.outer = outer
        self.radius = tuple(radius)

    def __call__(
        self, grid: Grid, num_samples: int, *, num_channels: int, seed: int, first: int
    ) -> Tensor:
        """(sample, channel, *space) for the samples first .. first + num_samples - 1, float64."""
        _check_channels("RadialDamBreak", grid, num_channels, grid.dim + 1, "height and momentum")
        middle = torch.zeros(grid.shape, dtype=torch.float64)
        for x, origin, length in zip(grid.coordinates(), grid.origin, grid.extent, strict=True):
            middle = middle + (x - origin - length / 2).square()
        states = torch.zeros(num_samples, num_channels, *grid.shape, dtype=torch.float64)
        for i in range(num_samples):
            radius = _uniform(generator(seed, first + i), self.radius)
            states[i, 0] = torch.where(middle.sqrt() <= radius, self.inner, self.outer)
        return states


class RandomVorticity:
    """Vorticity of a random 2D flow whose energy has its peak at one wavenumber:

        abs(psi_hat(m))^2 proportional to 1 / (abs(m) (1 + (abs(m) / peak)^4)),
        abs(m) <= max_wavenumber,   rms velocity = speed

    Args:
        peak: Wavenumber of the largest energy, in waves per box length.
        max_wavenumber: Largest wavenumber.
        speed: Root mean square velocity [length/time].

    Reference:
        The emergence of isolated coherent vortices in turbulent flow (McWilliams, 1984), sec. 2.
    """

    def __init__(self, peak: float = 4.0, *, max_wavenumber: int = 16, speed: float = 1.0) -> None:
        self.peak = peak
        self.max_wavenumber = max_wavenumber
        self.speed = speed

    def __call__(
        self, grid: Grid, num_samples: int, *, num_channels: int, seed: int, first: int
    ) -> Tensor:
        """(sample, 1, x, y) for the samples first .. first + num_samples - 1, float64."""
        _check_channels("RandomVorticity", grid, num_channels, 1, "the vorticity")
        noise = random_initial_condition(
            grid, num_samples, max_wavenumber=self.max_wavenumber, seed=seed, first=first
        )
        hat = torch.fft.rfftn(noise, dim=(-2, -1))
        nx, ny = grid.num_points
        m = torch.fft.fftfreq(nx, 1 / nx, dtype=torch.float64)[:, None]
        n = torch.fft.rfftfreq(ny, 1 / ny, dtype=torch.float64)
        size = (m.square() + n.square()).sqrt()
        stream = (1 / (size.clamp(min=1.0) * (1 + (size / self.peak) ** 4))).sqrt()
        hat = hat * torch.where(size == 0, 0.0, stream)
        k = [2 * math.pi / length for length in grid.extent]
        squared = (k[0] * m).square() + (k[1] * n).square()
        vorticity = torch.fft.irfftn(hat * squared, s=grid.num_points, dim=(-2, -1))
        slopes = [
            torch.fft.irfftn(1j * wave * hat, s=grid.num_points, dim=(-2, -1))
            for wave in (k[0] * m, k[1] * n)
        ]
        energy = (slopes[0].square() + slopes[1].square()).mean(dim=(-2, -1), keepdim=True)
        return vorticity * self.speed / energy.sqrt()
