"""Exact solutions of Riemann problems: two constant states that meet, and what comes of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = [
    "DOUBLE_RAREFACTION",
    "LAX",
    "LEBLANC",
    "SOD",
    "STRONG_BLAST",
    "RiemannProblem",
    "dam_break",
    "euler_riemann",
]

_MAX_ITERATIONS = 100


@dataclass(frozen=True)
class RiemannProblem:
    """A gas at rest or in motion on both sides of a diaphragm, in 1D.

    Args:
        left: Density, velocity, pressure on the left.
        right: Density, velocity, pressure on the right.
        gamma: Ratio of specific heats [1].
        time: When results are usually shown.
        extent: Length of the box.
        center: Where the diaphragm is, from the left end of the box.
    """

    left: tuple[float, float, float]
    right: tuple[float, float, float]
    gamma: float = 1.4
    time: float = 0.2
    extent: float = 1.0
    center: float = 0.5

    def solution(self, x: Tensor, t: float) -> Tensor:
        """Density, velocity, pressure (3, *x.shape); x counts from the left end of the box."""
        return euler_riemann(x, t, self.left, self.right, gamma=self.gamma, center=self.center)


SOD = RiemannProblem((1.0, 0.0, 1.0), (0.125, 0.0, 0.1), time=0.2)
"""Sod (1978): rarefaction, contact, shock."""

LAX = RiemannProblem((0.445, 0.698, 3.528), (0.5, 0.0, 0.571), time=0.13)
"""Lax (1954): a strong contact close to a shock."""

DOUBLE_RAREFACTION = RiemannProblem((1.0, -2.0, 0.4), (1.0, 2.0, 0.4), time=0.15)
"""The 123 problem (Einfeldt et al., 1991): almost a vacuum between two rarefactions."""

STRONG_BLAST = RiemannProblem((1.0, 0.0, 1000.0), (1.0, 0.0, 0.01), time=0.012)
"""Left half of Woodward and Colella's blast waves (Toro, 2009, test 3): pressure ratio 1e5."""

LEBLANC = RiemannProblem(
    (1.0, 0.0, 1 / 15), (1e-3, 0.0, 2 / 3 * 1e-10), 5 / 3, time=6.0, extent=9.0, center=3.0
)
"""The LeBlanc shock tube: density ratio 1e3, pressure ratio 1e9."""


def euler_riemann(
    x: Tensor,
    t: float,
    left: tuple[float, float, float],
    right: tuple[float, float, float],
    *,
    gamma: float = 1.4,
    center: float = 0.0,
) -> Tensor:
    """Exact solution of the Euler equations of an ideal gas for two constant states.

    Newton's method finds the pressure p* between the waves, where the velocities reached from
    either side agree; then every x / t is sampled. A vacuum that opens between two rarefactions
    has density and pressure 0.

    Args:
        x: Coordinates, any shape [length].
        t: Time since the states met, positive [time].
        left: Density, velocity, pressure for x < center.
        right: Density, velocity, pressure for x > center.
        gamma: Ratio of specific heats [1].
        center: Where the states met [length].

    Returns:
        Density, velocity, pressure: (3, *x.shape), float64.

    Raises:
        ValueError: If density, pressure or time is not positive.

    Reference:
        Riemann Solvers and Numerical Methods for Fluid Dynamics (Toro, 2009), chapter 4.
    """
    if not t > 0 or min(left[0], left[2], right[0], right[2]) <= 0:
        raise ValueError(
            "euler_riemann: time, densities and pressures must be positive, got "
            f"t = {t}, left = {left}, right = {right}."
        )
    pressure = _star_pressure(left, right, gamma)
    velocity = 0.5 * (left[1] + right[1]) + 0.5 * (
        _wave_curve(pressure, right, gamma)[0] - _wave_curve(pressure, left, gamma)[0]
    )
    speed = (x.double() - center) / t
    from_left = _sample(speed, left, pressure, velocity, gamma)
    mirrored = _sample(-speed, (right[0], -right[1], right[2]), pressure, -velocity, gamma)
    from_right = torch.stack([mirrored[0], -mirrored[1], mirrored[2]])
    return torch.where(speed < velocity, from_left, from_right)


def _star_pressure(left: tuple, right: tuple, gamma: float) -> float:
    """Pressure between the waves by Newton's method, Toro's section 4.3; 0 for a vacuum."""
    jump = right[1] - left[1]
    c_left, c_right = (math.sqrt(gamma * side[2] / side[0]) for side in (left, right))
    if jump >= 2 * (c_left + c_right) / (gamma - 1):
        return 0.0
    # The two-rarefaction pressure, exact for weak waves and never negative.
    power = (gamma - 1) / (2 * gamma)
    top = c_left + c_right - 0.5 * (gamma - 1) * jump
    pressure = (top / (c_left / left[2] ** power + c_right / right[2] ** power)) ** (1 / power)
    for _ in range(_MAX_ITERATIONS):
        f_left, slope_left = _wave_curve(pressure, left, gamma)
        f_right, slope_right = _wave_curve(pressure, right, gamma)
        change = (f_left + f_right + jump) / (slope_left + slope_right)
        # f is concave and increasing: a step below zero is halved instead.
        pressure, before = max(pressure - change, 0.5 * pressure), pressure
        if abs(pressure - before) <= 1e-15 * (pressure + before):
            break
    return pressure


def _wave_curve(pressure: float, side: tuple, gamma: float) -> tuple[float, float]:
    """Velocity change across a wave and its slope in p, Toro's Eq. (4.6-4.7) and (4.37)."""
    density, _, own = side
    if pressure > own:
        a, b = 2 / ((gamma + 1) * density), (gamma - 1) / (gamma + 1) * own
        root = math.sqrt(a / (pressure + b))
        return (pressure - own) * root, root * (1 - 0.5 * (pressure - own) / (pressure + b))
    c = math.sqrt(gamma * own / density)
    ratio = pressure / own
    value = 2 * c / (gamma - 1) * (ratio ** ((gamma - 1) / (2 * gamma)) - 1)
    slope = ratio ** (-(gamma + 1) / (2 * gamma)) / (density * c) if pressure > 0 else math.inf
    return value, slope


def _sample(speed: Tensor, side: tuple, pressure: float, velocity: float, gamma: float) -> Tensor:
    """The solution left of the contact at x / t, (3, *), Toro's section 4.5."""
    density, own_velocity, own = side
    c = math.sqrt(gamma * own / density)
    ratio = pressure / own
    if pressure > own:
        k = (gamma - 1) / (gamma + 1)
        star_density = density * (ratio + k) / (k * ratio + 1)
        shock = own_velocity - c * math.sqrt(
            (gamma + 1) / (2 * gamma) * ratio + (gamma - 1) / (2 * gamma)
        )
        head = tail = shock
    else:
        star_density = density * ratio ** (1 / gamma)
        head = own_velocity - c
        tail = velocity - c * ratio ** ((gamma - 1) / (2 * gamma))
    # Inside the fan the sound speed falls linearly in x / t.
    c_fan = (2 * c + (gamma - 1) * (own_velocity - speed)) / (gamma + 1)
    depth = (c_fan / c).clamp(min=0) ** (2 / (gamma - 1))
    fan = torch.stack([density * depth, speed + c_fan, own * depth**gamma])
    before = torch.tensor(side, dtype=speed.dtype, device=speed.device)
    star = torch.tensor([star_density, velocity, pressure], dtype=speed.dtype, device=speed.device)
    shape = (3,) + (1,) * speed.ndim
    result = torch.where(speed < tail, fan, star.reshape(shape))
    return torch.where(speed < head, before.reshape(shape), result)


def dam_break(
    x: Tensor,
    t: float,
    *,
    left: float,
    right: float = 0.0,
    gravity: float = 1.0,
    center: float = 0.0,
) -> Tensor:
    """Exact solution of the shallow-water equations after a dam breaks, water at rest before.

    Over wet ground (Stoker, 1957) a rarefaction runs back and a bore forward, between them water
    of height h* and velocity 2 (c_left - c*); over dry ground (Ritter, 1892) the rarefaction ends
    in a front that moves at 2 c_left.

    Args:
        x: Coordinates, any shape [length].
        t: Time since the dam broke, positive [time].
        left: Height of the water for x < center, above `right` [length].
        right: Height for x > center, 0 for dry ground [length].
        gravity: Gravity [length/time^2].
        center: Where the dam was [length].

    Returns:
        Height and velocity: (2, *x.shape), float64.

    Raises:
        ValueError: Unless t > 0 and left > right >= 0.

    Reference:
        SWASHES: a compilation of shallow water analytic solutions (Delestre et al., 2013),
        section 4.1.
    """
    if not (t > 0 and left > right >= 0):
        raise ValueError(
            f"dam_break: needs t > 0 and left > right >= 0, got t = {t}, left = {left}, "
            f"right = {right}; mirror x for water on the right."
        )
    speed = (x.double() - center) / t
    c_left = math.sqrt(gravity * left)
    fan_velocity = 2 / 3 * (c_left + speed)
    fan_height = ((2 * c_left - speed).clamp(min=0) / 3) ** 2 / gravity
    height = torch.where(speed < -c_left, torch.full_like(speed, left), fan_height)
    velocity = torch.where(speed < -c_left, torch.zeros_like(speed), fan_velocity)
    if right == 0:
        is_dry = speed > 2 * c_left
        return torch.stack([height.masked_fill(is_dry, 0), velocity.masked_fill(is_dry, 0)])
    c_star = _bore_celerity(left, right, gravity)
    star_height, star_velocity = c_star**2 / gravity, 2 * (c_left - c_star)
    bore = star_height * star_velocity / (star_height - right)
    for start, new_height, new_velocity in (
        (star_velocity - c_star, star_height, star_velocity),
        (bore, right, 0.0),
    ):
        height = height.masked_fill(speed >= start, new_height)
        velocity = velocity.masked_fill(speed >= start, new_velocity)
    return torch.stack([height, velocity])


def _bore_celerity(left: float, right: float, gravity: float) -> float:
    """c* = sqrt(g h*): where the rarefaction's and the bore's velocity agree, by bisection.

    2 (c_left - c) = (h - h_right) sqrt(g (h + h_right) / (2 h h_right)),   h = c^2 / g
    """
    low, high = math.sqrt(gravity * right), math.sqrt(gravity * left)
    top = high
    for _ in range(200):
        c = 0.5 * (low + high)
        h = c * c / gravity
        bore = (h - right) * math.sqrt(gravity * (h + right) / (2 * h * right))
        low, high = (c, high) if 2 * (top - c) > bore else (low, c)
    return 0.5 * (low + high)
