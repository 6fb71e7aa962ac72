"""Exact solutions, to test solvers against answers nobody computed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = [
    "allen_cahn_front",
    "burgers_cole_hopf",
    "kdv_soliton",
    "kdv_two_solitons",
    "schrodinger_soliton",
]


def kdv_soliton(x: Tensor, t: float, *, speed: float = 1.0, center: float = 0.0) -> Tensor:
    """One soliton of u_t + 6 u u_x + u_xxx = 0 on the line:

    u = speed/2 sech^2(sqrt(speed)/2 (x - speed t - center))
    """
    return speed / 2 / torch.cosh(math.sqrt(speed) / 2 * (x - speed * t - center)) ** 2


def kdv_two_solitons(x: Tensor, t: float, *, speeds: tuple[float, float] = (4.0, 1.0)) -> Tensor:
    """Two solitons of u_t + 6 u u_x + u_xxx = 0 that meet near x = 0 at t = 0.

        u = 2 d2/dx2 log F,   F = 1 + E1 + E2 + a E1 E2,   E_i = exp(k_i x - k_i^3 t),
        k_i = sqrt(speed_i),   a = ((k1 - k2) / (k1 + k2))^2

    Reference:
        Exact solution of the Korteweg-de Vries equation for multiple collisions of solitons
        (Hirota, 1971).
    """
    k1, k2 = (math.sqrt(speed) for speed in speeds)
    a = ((k1 - k2) / (k1 + k2)) ** 2
    # Scaled by the largest exponent, so that nothing overflows far from the solitons.
    exponents = [torch.zeros_like(x), k1 * x - k1**3 * t, k2 * x - k2**3 * t]
    exponents.append(exponents[1] + exponents[2] + math.log(a))
    rates = [0.0, k1, k2, k1 + k2]
    top = torch.stack(exponents).amax(dim=0)
    weights = [torch.exp(e - top) for e in exponents]
    total = torch.stack(weights).sum(dim=0)
    first = sum(k * w for k, w in zip(rates, weights, strict=True)) / total
    second = sum(k * k * w for k, w in zip(rates, weights, strict=True)) / total
    return 2 * (second - first**2)


def burgers_cole_hopf(
    x: Tensor, t: float, *, viscosity: float, amplitude: float = 1.0, num_nodes: int = 1001
) -> Tensor:
    """Burgers from u(x, 0) = amplitude sin x, the mean of (x - y) / t under a density of feet y:

        u = <(x - y) / t>,   density exp(-G / (2 nu)),   G = -amplitude cos y + (x - y)^2 / (2 t)

    by the trapezoidal rule, exact to rounding for this smooth density while the nodes resolve its
    width sqrt(2 nu t). Its largest value is taken out, so that nothing underflows.

    Reference:
        The partial differential equation u_t + u u_x = mu u_xx (Hopf, 1950).

    Args:
        x: Coordinates.
        t: Time.
        viscosity: Viscosity nu.
        amplitude: Amplitude of the initial sine.
        num_nodes: Quadrature nodes.
    """
    x = x.double()
    if t <= 0:
        return amplitude * torch.sin(x)
    reach = abs(amplitude) * t + 12 * math.sqrt(2 * viscosity * t)
    y = x[..., None] + torch.linspace(-reach, reach, num_nodes, dtype=x.dtype, device=x.device)
    gap = x[..., None] - y
    density = ((amplitude * torch.cos(y) - gap**2 / (2 * t)) / (2 * viscosity)).softmax(dim=-1)
    return (density * gap).sum(dim=-1) / t


def allen_cahn_front(
    x: Tensor, *, diffusivity: float, reaction: float, center: float = 0.0
) -> Tensor:
    """Resting front of u_t = diffusivity u_xx + reaction (u - u^3) on the line:

    u = tanh((x - center) sqrt(reaction / (2 diffusivity)))
    """
    return torch.tanh((x - center) * math.sqrt(reaction / (2 * diffusivity)))


def schrodinger_soliton(
    x: Tensor, t: float, *, amplitude: float = 1.0, velocity: float = 0.0
) -> Tensor:
    """Bright soliton of i psi_t = -1/2 psi_xx - abs(psi)^2 psi on the line, (2, *x.shape):

    psi = A sech(A (x - v t)) exp(i (v x + (A^2 - v^2) t / 2))
    """
    envelope = amplitude / torch.cosh(amplitude * (x - velocity * t))
    phase = velocity * x + (amplitude**2 - velocity**2) / 2 * t
    return torch.stack([envelope * torch.cos(phase), envelope * torch.sin(phase)])
