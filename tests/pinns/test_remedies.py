"""Remedies: causal weights by hand, warm starts, windows that touch."""

import math

import pytest
import torch

from pdesurrogates.backbones import MLP
from pdesurrogates.core import Grid, generator
from pdesurrogates.equations import Advection, Burgers, exact
from pdesurrogates.pinns import (
    PINN,
    AdamPhase,
    CausalWeights,
    CoordinateMap,
    GaussNewtonPhase,
    HardConditions,
    LBFGSPhase,
    TimeWindows,
    fit,
    fit_curriculum,
    fit_windows,
)

RING = Grid((64,), (2 * math.pi,))
SPAN = (0.0, 1.0)


def convection(velocity, times=SPAN, initial=torch.sin, width=12, **arguments):
    return PINN(
        Advection(velocity),
        RING,
        times,
        MLP(3, 1, width=width, depth=2),
        transform=HardConditions(RING, times, initial=initial),
        num_points=128,
        **arguments,
    )


def error(solution, velocity, times=(0.0, 0.5, 1.0)):
    x = RING.axes()[0]
    exact = torch.stack([torch.sin(x - velocity * t) for t in times])
    return float((solution.sample(RING, times)[0, :, 0] - exact).norm() / exact.norm())


def test_causal_weights_follow_the_formula():
    weights = CausalWeights(2.0, num_slices=3)
    times = torch.tensor([[0.1], [0.2], [0.5], [0.9], [1.0]])
    residual = torch.tensor([[1.0], [2.0], [0.5], [3.0], [0.0]])
    first, second = (1 + 4) / 2, 0.25
    expected = [1.0, 1.0, math.exp(-2 * first), *[math.exp(-2 * (first + second))] * 2]
    assert torch.allclose(weights(times, residual)[:, 0], torch.tensor(expected))
    assert float(weights.smallest) == pytest.approx(expected[-1])
    with pytest.raises(ValueError, match="`epsilon` must not be negative"):
        CausalWeights(-1.0)


@pytest.mark.parametrize("phase", [AdamPhase(3), LBFGSPhase(3), GaussNewtonPhase(2)])
def test_causal_weights_enter_every_optimiser(phase):
    pinn = convection(2.0, causal=CausalWeights(1.0, 8))
    points = pinn.draw(generator(0))
    residual = pinn.residuals(points)["equation"]
    rows = pinn.causal(points["interior"][:, 1:], residual)
    loss = pinn.losses(points)["equation"]
    assert torch.allclose(loss, (rows * residual.square()).mean())
    assert loss < residual.square().mean()
    history = fit(pinn, [phase])
    assert history.total[-1] < history.total[0]


def test_curriculum_starts_from_the_last_parameter():
    seen = []

    def problem_of(velocity):
        torch.manual_seed(len(seen))
        seen.append(convection(velocity))
        return seen[-1]

    problem, histories = fit_curriculum(
        problem_of, [1.0, 1.5, 2.0], [GaussNewtonPhase(15)], first_phases=[GaussNewtonPhase(10)]
    )
    assert problem is seen[-1] and len(histories) == 3
    # At the end of the first stage the first network is good, so the second starts low.
    assert histories[1].total[0] < 0.5 * histories[0].total[0]
    assert histories[0].phases[0].num_steps <= 10 < histories[2].phases[0].num_steps
    assert error(problem, 2.0) < 0.01
    with pytest.raises(ValueError, match="`values` is empty"):
        fit_curriculum(problem_of, [], [AdamPhase(1)])


def test_windows_touch_and_solve(tmp_path):
    def pinn_of(span, initial):
        torch.manual_seed(0)
        return convection(4.0, span, initial or torch.sin)

    edges = [0.0, 0.5, 1.0]
    options = {"checkpoint": tmp_path / "windows.pt"}
    solution, histories = fit_windows(pinn_of, edges, [GaussNewtonPhase(25)], **options)
    assert isinstance(solution, TimeWindows) and len(histories) == 2
    assert error(solution, 4.0) < 0.01
    # Continuous where they touch, by construction.
    first, second = solution.windows
    x = RING.axes()[0].reshape(1, -1, 1)
    assert torch.allclose(first(x, 0.5), second(x, 0.5), atol=1e-12)
    assert torch.allclose(solution(x, 0.75), second(x, 0.75))
    assert torch.allclose(solution(x, 0.25), first(x, 0.25))
    # Finished windows are not trained again.
    again, _ = fit_windows(pinn_of, edges, [GaussNewtonPhase(25)], **options)
    assert torch.equal(again.sample(RING, edges), solution.sample(RING, edges))


def test_windows_must_touch():
    with pytest.raises(ValueError, match="increasing times"):
        fit_windows(lambda span, initial: convection(1.0, span), [0.0], [AdamPhase(1)])
    with pytest.raises(ValueError, match="a window ends at 0.4, the next begins at 0.5"):
        TimeWindows([convection(1.0, (0.0, 0.4)), convection(1.0, (0.5, 1.0))])


@pytest.mark.slow
def test_convection_fails_in_fixed_coordinates_and_not_in_moving_ones():
    torch.manual_seed(0)
    fixed = convection(50.0, width=20)
    history = fit(fixed, [AdamPhase(300), LBFGSPhase(150)])
    assert error(fixed, 50.0) > 0.5
    assert history.total[-1] < 0.1 * history.total[0]
    moving = PINN(
        Advection(50.0),
        RING,
        SPAN,
        MLP(3, 1, width=20, depth=2),
        coordinates=CoordinateMap(RING, SPAN, velocity=50.0),
        transform=HardConditions(RING, SPAN, initial=torch.sin),
    )
    fit(moving, [AdamPhase(100), LBFGSPhase(50)])
    assert error(moving, 50.0) < 1e-3


@pytest.mark.slow
def test_a_moving_shock_in_its_own_frame_by_second_order_steps():
    torch.manual_seed(0)
    pinn = PINN(
        Burgers(0.05),
        RING,
        SPAN,
        MLP(3, 1, width=20, depth=3),
        coordinates=CoordinateMap(RING, SPAN, velocity=10.0),
        transform=HardConditions(RING, SPAN, initial=lambda x: torch.sin(x) + 10),
    )
    fit(pinn, [AdamPhase(100), GaussNewtonPhase(30)])
    x, times = RING.axes()[0], [0.0, 0.5, 1.0]
    truth = torch.stack([exact.burgers_cole_hopf(x - 10 * t, t, viscosity=0.05) for t in times])
    gap = pinn.sample(RING, times)[0, :, 0] - 10 - truth
    assert gap.norm() / truth.norm() < 1e-3
