"""Exact Riemann solutions against printed numbers and the jump conditions they must obey."""

import math

import pytest
import torch

from pdesurrogates.equations.riemann_problems import (
    DOUBLE_RAREFACTION,
    LAX,
    LEBLANC,
    SOD,
    STRONG_BLAST,
    RiemannProblem,
    dam_break,
    euler_riemann,
)

COLLISION = RiemannProblem((5.99924, 19.5975, 460.894), (5.99242, -6.19633, 46.0950), time=0.035)

# Pressure, velocity and both densities between the waves: Toro (2009), table 4.3, tests 1-3 and 5.
PRINTED = [
    (SOD, (0.30313, 0.92745, 0.42632, 0.26557)),
    (DOUBLE_RAREFACTION, (0.00189, 0.0, 0.02185, 0.02185)),
    (STRONG_BLAST, (460.894, 19.5975, 0.57506, 5.99924)),
    (COLLISION, (1691.64, 8.68975, 14.2823, 31.0426)),
]


@pytest.mark.parametrize("problem, printed", PRINTED)
def test_star_states_are_those_in_the_book(problem, printed):
    contact = problem.center + printed[1] * problem.time
    x = torch.tensor([contact - 1e-3, contact + 1e-3])
    (left, right), velocity, pressure = problem.solution(x, problem.time)
    for found, expected in (
        (pressure[0], printed[0]),
        (pressure[1], printed[0]),
        (velocity[0], printed[1]),
        (left, printed[2]),
        (right, printed[3]),
    ):
        assert float(found) == pytest.approx(expected, rel=3e-5, abs=6e-6)


@pytest.mark.parametrize(
    "problem", [SOD, LAX, STRONG_BLAST, LEBLANC, COLLISION, DOUBLE_RAREFACTION]
)
def test_what_is_in_the_box_changes_by_what_flows_in(problem):
    n = 2_000_000
    x = (torch.arange(n) + 0.5) / n * problem.extent
    gamma, t = problem.gamma, problem.time

    def conserved(density, velocity, pressure):
        energy = pressure / (gamma - 1) + density * velocity**2 / 2
        return torch.stack([density, density * velocity, energy])

    def flux(density, velocity, pressure):
        _, momentum, energy = conserved(density, velocity, pressure)
        return torch.stack(
            [momentum, momentum * velocity + pressure, (energy + pressure) * velocity]
        )

    ends = [torch.tensor(side) for side in (problem.left, problem.right)]
    widths = (problem.center, problem.extent - problem.center)
    before = sum(width * conserved(*end) for width, end in zip(widths, ends, strict=True))
    after = conserved(*problem.solution(x, t)).sum(dim=1) / n * problem.extent
    change = t * (flux(*ends[0]) - flux(*ends[1]))
    assert torch.allclose(after - before, change, rtol=1e-5, atol=1e-6 * float(before.abs().max()))


def test_rarefactions_keep_entropy_and_their_riemann_invariant():
    x = torch.linspace(0.2, 0.48, 50)
    density, velocity, pressure = SOD.solution(x, SOD.time)
    assert density[0] == 1 and density[-1] < 0.5
    assert torch.allclose(pressure / density**1.4, torch.ones(50), rtol=1e-12)
    invariant = velocity + 2 / 0.4 * torch.sqrt(1.4 * pressure / density)
    assert torch.allclose(invariant, torch.tensor(5 * math.sqrt(1.4)), rtol=1e-12)


def test_a_vacuum_opens_when_the_gas_parts_fast_enough():
    x = torch.linspace(-3, 3, 61)
    density, velocity, pressure = euler_riemann(x, 0.1, (1.0, -20.0, 0.4), (1.0, 20.0, 0.4))
    edge = 0.1 * (20 - 2 / 0.4 * math.sqrt(1.4 * 0.4))
    is_empty = x.abs() < edge - 1e-9
    assert (density[is_empty] == 0).all() and (pressure[is_empty] == 0).all()
    assert (density[~is_empty] > 0).all()
    assert torch.allclose(density, density.flip(0), atol=1e-14)
    assert torch.isfinite(velocity).all()


def test_equal_states_stay():
    state = (0.7, 0.3, 2.0)
    found = euler_riemann(torch.linspace(-1, 1, 9), 0.3, state, state)
    assert torch.allclose(found, torch.tensor(state)[:, None].expand(3, 9), rtol=1e-12)


def test_dam_break_over_wet_ground():
    left, right, gravity, t = 2.0, 0.5, 9.81, 0.2
    n = 1_000_000
    x = (torch.arange(n) + 0.5) / n * 8 - 4
    height, velocity = dam_break(x, t, left=left, right=right, gravity=gravity)
    assert float(height.mean()) == pytest.approx(1.25, rel=1e-6)
    momentum = float((height * velocity).mean()) * 8
    assert momentum == pytest.approx(gravity / 2 * (left**2 - right**2) * t, rel=1e-5)
    # The bore keeps mass and momentum: s (h - h_r) = h v, s h v = h v^2 + g (h^2 - h_r^2) / 2.
    bore = int((height > right * (1 + 1e-12)).nonzero()[-1])
    h, v, s = float(height[bore]), float(velocity[bore]), float(x[bore]) / t
    assert s * (h - right) == pytest.approx(h * v, rel=1e-4)
    assert s * h * v == pytest.approx(h * v**2 + gravity / 2 * (h**2 - right**2), rel=1e-4)


def test_dam_break_over_dry_ground():
    x = torch.tensor([-2.5, 0.0, 1.0, 3.9, 4.1])
    height, velocity = dam_break(x, 1.0, left=4.0)
    # In the fan h = (2 c - x / t)^2 / (9 g) and v = 2 (c + x / t) / 3 with c = 2.
    assert height.tolist() == pytest.approx([4.0, 16 / 9, 1.0, 0.1**2 / 9, 0.0])
    assert velocity.tolist() == pytest.approx([0.0, 4 / 3, 2.0, 59 / 15, 0.0])


def test_impossible_problems_are_refused():
    x = torch.zeros(1)
    with pytest.raises(ValueError, match="densities and pressures must be positive"):
        euler_riemann(x, 0.1, (1.0, 0.0, -1.0), (1.0, 0.0, 1.0))
    with pytest.raises(ValueError, match=r"needs t > 0 and left > right >= 0"):
        dam_break(x, 0.1, left=1.0, right=2.0)
