"""Bad initial states, steps beyond the limit, blow-up: where, what to change, what is kept."""

import math
import re

import pytest
import torch

from pdesurrogates.core import Grid, Outflow
from pdesurrogates.equations import (
    Advection,
    Burgers,
    CompressibleNavierStokes,
    Diffusion,
    FisherKPP,
    ShallowWater,
)
from pdesurrogates.operators import Constant, FiniteDifferences, FiniteVolumes, SpectralDerivatives
from pdesurrogates.reference import SolverError, solve
from pdesurrogates.steppers import RK4, Euler

TUBE = Grid((40,), (1.0,), periodic=False, cell_centred=True)
POOL = Grid((12, 10), (1.0, 1.0), cell_centred=True)
LINE = Grid((64,), (2 * math.pi,))
GAS = CompressibleNavierStokes(gamma=1.4)


def gas_at_rest(grid, batch=2):
    primitive = torch.ones(batch, grid.dim + 2, *grid.shape)
    primitive[:, 1:-1] = 0
    return GAS.from_primitive(primitive)


def water_at_rest(batch=2):
    u = torch.ones(batch, 3, *POOL.shape)
    u[:, 1:] = 0
    return u


def wave(amplitude=1.0, batch=1):
    return (amplitude * torch.sin(LINE.coordinates()))[None].repeat(batch, 1, 1)


@pytest.mark.parametrize(
    "channel, value, message",
    [
        (0, -1.0, r"density is -1 in sample 1, cell \(7,\)"),
        (0, 0.0, r"density is 0 in sample 1, cell \(7,\)"),
        (2, -0.5, r"pressure is -0.2 in sample 1, cell \(7,\)"),
        (2, math.nan, r"1 NaN or Inf of 240 entries, the first at index \(1, 2, 7\)"),
        (1, math.inf, r"1 NaN or Inf of 240 entries, the first at index \(1, 1, 7\)"),
    ],
)
def test_gas_that_cannot_be(channel, value, message):
    u0 = gas_at_rest(TUBE)
    u0[1, channel, 7] = value
    with pytest.raises(ValueError, match=message):
        solve(GAS, FiniteVolumes(TUBE, boundary=Outflow()), u0, [0.0, 0.1])


@pytest.mark.parametrize(
    "channel, value, message",
    [
        (0, -0.1, r"height is -0.1 in sample 0, cell \(3, 4\)"),
        (0, math.nan, r"the first at index \(0, 0, 3, 4\)"),
        (2, -math.inf, r"the first at index \(0, 2, 3, 4\)"),
    ],
)
def test_water_that_cannot_be(channel, value, message):
    u0 = water_at_rest()
    u0[0, channel, 3, 4] = value
    with pytest.raises(ValueError, match=message):
        solve(ShallowWater(), FiniteVolumes(POOL), u0, [0.0, 0.1])


@pytest.mark.xfail(reason="only finite volumes look at the signs of density, pressure and height")
@pytest.mark.parametrize("provider", [FiniteDifferences, SpectralDerivatives])
def test_gas_that_cannot_be_on_smooth_providers(provider):
    grid = Grid((32,), (1.0,))
    u0 = gas_at_rest(grid)
    u0[1, 2, 7] = -0.5
    with pytest.raises(ValueError, match=r"pressure is -0.2 in sample 1, cell \(7,\)"):
        solve(GAS, provider(grid), u0, [0.0, 0.001], dt=0.001)


@pytest.mark.parametrize(
    "equation, grid, u0",
    [(GAS, TUBE, gas_at_rest(TUBE)), (ShallowWater(), POOL, water_at_rest())],
    ids=["gas", "water"],
)
def test_courant_numbers_beyond_the_limit(equation, grid, u0):
    where = FiniteVolumes(grid, Constant(), boundary=None if all(grid.is_periodic) else Outflow())
    bound = equation.on(where)
    for cfl in (1.01 * bound.courant_limit, 100.0):
        with pytest.raises(
            ValueError, match=rf"the largest allowed value is {bound.courant_limit:g}"
        ):
            solve(equation, where, u0, [0.0, 0.1], cfl=cfl)
    largest = bound.courant_limit * float(bound.largest_step(0.0, u0).min())
    text = rf"dt = \S+ is Courant number \S+ at t = 0 in sample 0.*dt there is {largest:.4g}"
    with pytest.raises(SolverError, match=text) as caught:
        solve(equation, where, u0, [0.0, 10 * largest], dt=1.1 * largest)
    assert caught.value.step == 1 and caught.value.states.equal(u0[:, None])
    solve(equation, where, u0, [0.0, 2 * largest], dt=0.99 * largest)
    for wrong in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="must be positive and finite"):
            solve(equation, where, u0, [0.0, 0.1], cfl=wrong)


def test_a_step_that_becomes_too_long_on_the_way():
    """A jump in velocity makes waves that the first step knows nothing of."""
    u0 = GAS.from_primitive(
        torch.stack(
            [torch.ones(40), torch.where(TUBE.coordinates()[0] < 0.5, 30.0, -30.0), torch.ones(40)]
        )[None]
    )
    where = FiniteVolumes(TUBE, Constant(), boundary=Outflow())
    bound = GAS.on(where)
    dt = bound.courant_limit * float(bound.largest_step(0.0, u0))
    times = [n * dt for n in range(40)]
    with pytest.raises(SolverError, match="the largest allowed dt there is") as caught:
        solve(GAS, where, u0, times, dt=dt)
    kept = len(caught.value.times)
    assert 1 < kept < 40 and caught.value.step == kept
    again = solve(GAS, where, u0, times[:kept], dt=dt)
    assert caught.value.states.equal(again) and bool(torch.isfinite(again).all())


@pytest.mark.parametrize("stepper, limit", [(RK4(), 2.785), (Euler(), 2.0)])
def test_finite_differences_beyond_the_stability_limit(stepper, limit):
    """The fastest mode of second differences decays at 4 / spacing^2."""
    largest = limit / (4 / LINE.spacing[0] ** 2)
    where = FiniteDifferences(LINE)
    too_long = [0.0, 1.02 * largest]
    with pytest.raises(ValueError, match="is unstable for the linear part") as caught:
        solve(Diffusion(1.0), where, wave(), too_long, dt=1.0, stepper=stepper)
    stated = float(re.search(r"the largest stable step is (\S+?)\. ", str(caught.value))[1])
    assert stated == pytest.approx(largest, rel=2e-3)
    states = solve(Diffusion(1.0), where, wave(), [0.0, 100 * stated], dt=stated, stepper=stepper)
    assert float(states[:, -1].abs().max()) < 1
    with pytest.raises(ValueError, match="is unstable for the linear part"):
        solve(Advection(1.0), where, wave(), [0.0, 3.0], dt=0.5, stepper=stepper)


@pytest.mark.parametrize("where", [LINE, FiniteDifferences(LINE)], ids=["spectral", "differences"])
def test_blow_up_keeps_what_was_computed(where):
    """A step too long for the nonlinear part, in one sample of two."""
    u0 = wave(batch=2) * torch.tensor([0.1, 30.0])[:, None, None]
    times, stepper = [0.0, 0.05, 0.1, 0.2, 0.5, 3.0], RK4()
    with pytest.raises(SolverError, match="use a smaller `dt`") as caught:
        solve(Burgers(1e-3), where, u0, times, dt=0.05, stepper=stepper)
    error = caught.value
    assert error.sample == 1 and len(error.cell) == 1
    assert f"step {error.step} to t = " in str(error) and f"cell {error.cell}" in str(error)
    assert error.times == times[: len(error.times)] and error.states.shape[1] == len(error.times)
    assert bool(torch.isfinite(error.states).all())
    assert error.times[-1] < 0.05 * error.step <= times[len(error.times)] + 1e-9
    alone = solve(Burgers(1e-3), where, u0[:1], times, dt=0.05, stepper=stepper)
    assert torch.allclose(error.states[0], alone[0, : len(error.times)], rtol=0, atol=1e-15)


@pytest.mark.slow
def test_a_solution_that_ends_is_told_from_a_step_too_long():
    """u_t = 10 u (1 - u) from -1/2 is infinite at t = ln(3) / 10."""
    u0, times = torch.full((1, 1, 64), -0.5), [0.0, 0.05, 0.1, 0.2]
    with pytest.raises(SolverError, match="may blow up or be under-resolved") as caught:
        solve(FisherKPP(0.1, 10.0), LINE, u0, times)
    assert caught.value.times == times[:3]
    exact = [1 / (1 - 3 * math.exp(-10 * t)) for t in times[:3]]
    assert caught.value.states[0, :, 0, 0].tolist() == pytest.approx(exact, rel=1e-6)
