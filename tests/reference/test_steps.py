"""Steps by Courant number: exact landing, independence, gradients, refusals, what a stop keeps."""

import dataclasses
import math
import pickle

import pytest
import torch

from pdesurrogates.core import Grid, Outflow
from pdesurrogates.equations import BoundEquation, Burgers, CompressibleNavierStokes
from pdesurrogates.operators import MUSCL, WENO5, FiniteVolumes
from pdesurrogates.reference import RandomShockTube, SolverError, advance, solve
from pdesurrogates.steppers import RK4, SSPRK3, Euler, integrate

TIMES = [0.0, 0.05, 0.12, 0.2]


class Recorded:
    """An equation whose bound form is kept, to be asked afterwards."""

    def __init__(self, equation):
        self.equation = equation

    def __getattr__(self, name):
        return getattr(self.equation, name)

    def on(self, where):
        self.bound = self.equation.on(where)
        return self.bound


def test_cfl_steps_reach_the_answer_of_small_steps(upwind, cells, humps):
    chosen = solve(upwind, cells, humps, TIMES, cfl=0.25)
    small = solve(upwind, cells, humps, TIMES, dt=2e-4, stepper=RK4())
    assert chosen.dtype == torch.float64 and chosen.shape == (3, 4, 1, 32)
    assert chosen[:, 0].equal(humps)
    assert (chosen - small).abs().max() < 1e-4 * humps.abs().max()
    coarser = solve(upwind, cells, humps, TIMES, cfl=0.5)
    ratio = (coarser - small).abs().max() / (chosen - small).abs().max()
    assert 5 < ratio < 11  # third order


def test_every_sample_takes_its_own_steps_and_lands_exactly(upwind, cells, humps):
    recorded = Recorded(upwind)
    solve(recorded, cells, humps, TIMES, cfl=0.4)
    starts = torch.stack(recorded.bound.starts[1:], dim=1)
    for row, hump in zip(starts, humps, strict=True):
        times = sorted({*row.tolist(), TIMES[-1]})
        assert set(TIMES) <= set(times)
        assert all(t == end or abs(t - end) > 1e-9 for t in times for end in TIMES)
        steps = torch.tensor(times).diff()
        largest = 0.4 / 32 / hump.max()
        # The humps decay, so later steps may be longer.
        assert steps.min() > 0.49 * largest and steps.max() < 1.5 * largest
        assert (steps < 0.99 * largest).sum() <= 2 * 3
    counts = [len(set(row.tolist())) for row in starts]
    assert counts[2] > 3 * counts[1] > 6 * counts[0]


def test_a_sample_does_not_depend_on_its_neighbours(upwind, cells, humps):
    together = solve(upwind, cells, humps, TIMES)
    for n in range(3):
        assert solve(upwind, cells, humps[n : n + 1], TIMES)[0].equal(together[n])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("reconstruction", [MUSCL(), WENO5()], ids=lambda r: type(r).__name__)
def test_shock_tubes_do_not_depend_on_their_neighbours(reconstruction, dtype):
    grid = Grid((50,), (1.0,), periodic=False, cell_centred=True)
    u0 = RandomShockTube(gamma=1.4)(grid, 3, num_channels=3, seed=0, first=0)
    where = FiniteVolumes(grid, reconstruction, boundary=Outflow())

    def run(u0):
        equation = CompressibleNavierStokes(gamma=1.4)
        return solve(equation, where, u0, [0.0, 0.05, 0.1], dtype=dtype)

    together = run(u0)
    for n in range(3):
        assert run(u0[n : n + 1])[0].equal(together[n])


def test_states_at_rest_have_no_largest_step(upwind, cells):
    states = solve(upwind, cells, torch.zeros(2, 1, 32), TIMES)
    assert states.equal(torch.zeros(2, 4, 1, 32))


def test_gradients_through_chosen_steps_match_finite_differences(upwind):
    grid = Grid((6,), (1.0,), cell_centred=True)
    u0 = 1 + 0.3 * torch.sin(6.28 * grid.coordinates()[0] + torch.tensor([[0.0], [1.0]]))
    u0 = u0[:, None].requires_grad_()
    factor = torch.tensor(1.1, requires_grad=True)

    def end(u0, factor):
        equation = dataclasses.replace(upwind, factor=factor)
        return solve(equation, grid, u0, [0.0, 0.1, 0.3], cfl=0.3)[:, -1]

    assert torch.autograd.gradcheck(end, (u0, factor), rtol=1e-5, atol=1e-8)

    def fixed(u0, factor):
        equation = dataclasses.replace(upwind, factor=factor)
        return solve(equation, grid, u0, [0.0, 0.2], dt=0.02)[:, -1]

    assert torch.autograd.gradcheck(fixed, (u0, factor), rtol=1e-5, atol=1e-8)


def test_float32_is_allowed_and_close(upwind, cells, humps, device):
    humps = humps.to(device)
    single = solve(upwind, cells, humps, TIMES, dtype=torch.float32)
    double = solve(upwind, cells, humps, TIMES)
    assert single.dtype == torch.float32 and single.device == humps.device
    assert (single - double).abs().max() < 1e-5 * humps.max()
    grid = Grid((32,), (1.0,))
    u0 = torch.sin(6.283185307179586 * grid.coordinates())[None]
    smooth = solve(Burgers(0.01), grid, u0, [0.0, 0.1], dtype=torch.float32)
    assert smooth.dtype == torch.float32
    assert torch.allclose(smooth.double(), solve(Burgers(0.01), grid, u0, [0.0, 0.1]), atol=1e-5)


class Doubled(BoundEquation):
    """A scheme that carries twice the state."""

    def __init__(self, inner):
        super().__init__(inner.equation, inner.provider)
        self.inner = inner

    def __call__(self, t, state):
        return 2 * self.inner(t, state / 2)

    def encode(self, u):
        return 2 * u

    def decode(self, state):
        return state / 2

    def largest_step(self, t, state):
        return self.inner.largest_step(t, state / 2)


def test_what_the_stepper_carries_is_encoded_and_decoded(upwind, cells, humps):
    class Encoded(type(upwind)):
        def on(self, where):
            return Doubled(super().on(where))

    states = solve(Encoded(), cells, humps, TIMES)
    assert torch.allclose(states, solve(upwind, cells, humps, TIMES), rtol=1e-13)


def test_observe_says_what_is_kept(upwind, cells, humps):
    whole = solve(upwind, cells, humps, TIMES)
    kept = solve(upwind, cells, humps, TIMES, observe=lambda u: u[..., ::4])
    assert kept.equal(whole[..., ::4])


@pytest.mark.parametrize(
    "arguments, text",
    [
        ({"cfl": 1.5}, "cfl = 1.5 is beyond .* the largest allowed value is 1"),
        ({"cfl": 0.5, "dt": 0.1}, "give `dt` or `cfl`, not both"),
        ({"cfl": -1.0}, "`cfl` must be positive"),
        ({"dt": math.nan}, "`dt` must be positive"),
    ],
)
def test_impossible_steps_are_refused(upwind, cells, humps, arguments, text):
    with pytest.raises(ValueError, match=text):
        solve(upwind, cells, humps, TIMES, **arguments)


def test_cfl_needs_wave_speeds():
    grid = Grid((16,), (1.0,))
    with pytest.raises(ValueError, match="states no wave speeds"):
        solve(Burgers(0.1), grid, torch.ones(1, 1, 16), TIMES, cfl=0.5)


def test_dt_beyond_the_courant_limit_names_the_largest_allowed(upwind, cells, humps):
    largest = 1 / 32 / float(humps[2].max())
    allowed = f"largest allowed dt there is {largest:.4g}"
    with pytest.raises(SolverError, match=allowed) as stop:
        solve(upwind, cells, humps, [0.0, 0.05], dt=0.05)
    assert stop.value.sample == 2
    solve(upwind, cells, humps, [0.0, 0.01], dt=largest)


def test_impossible_first_states_are_refused(upwind, cells, humps):
    humps[1, 0, 5] = -1.0
    with pytest.raises(ValueError, match=r"`u0` cannot be: u is -1, below .* sample 1, cell \(5"):
        solve(upwind, cells, humps, TIMES)


class Draining(BoundEquation):
    """du/dt = -1 in one cell of the last sample: below zero after t = u0."""

    courant_limit = 1.0

    def __call__(self, t, u):
        rate = torch.zeros_like(u)
        rate[-1, 0, 7] = -1.0
        return rate

    def largest_step(self, t, state):
        # As with the root of a negative pressure: no speed, no step.
        return 0.1 * state[:, 0].amin(dim=-1).sqrt() / state[:, 0].amin(dim=-1).sqrt()

    def first_unphysical(self, state):
        bad = (state < 0).nonzero()
        if not len(bad):
            return None
        sample, _, cell = bad[0].tolist()
        return sample, (cell,), f"pressure is {float(state[sample, 0, cell]):.3g}"


@pytest.mark.parametrize("steps", [{"cfl": 1.0}, {"dt": 0.1}], ids=str)
def test_a_stop_names_the_step_and_the_cell_and_keeps_the_frames(upwind, cells, steps):
    class Drained(type(upwind)):
        def on(self, where):
            return Draining(self, super().on(where).provider)

    u0 = torch.full((2, 1, 32), 0.55)
    with pytest.raises(SolverError, match=r"pressure is -0.05 in sample 1, cell \(7,\)") as stop:
        solve(Drained(), cells, u0, [0.0, 0.2, 0.4, 0.9], stepper=Euler(), **steps)
    error = stop.value
    assert isinstance(error, FloatingPointError)
    assert (error.step, error.sample, error.cell) == (6, 1, (7,))
    assert error.time == pytest.approx(0.6)
    assert error.times == [0.0, 0.2, 0.4] and error.states.shape == (2, 3, 1, 32)
    assert error.states[1, :, 0, 7].tolist() == pytest.approx([0.55, 0.35, 0.15])
    name = next(iter(steps))
    assert f"smaller `{name}` (it was" in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) and again.cell == (7,) and again.states.equal(error.states)


def test_a_step_that_falls_to_nothing_ends_the_solve(upwind, cells):
    class Stiff(Draining):
        def largest_step(self, t, state):
            shrunk = torch.tensor([0.1, 1e-12])
            return torch.where(torch.as_tensor(t) < 0.35, 0.1, shrunk)

    class Stiffening(type(upwind)):
        def on(self, where):
            return Stiff(self, super().on(where).provider)

    with pytest.raises(SolverError, match=r"sample 1 fell to 1.00e-12 at t = 0.4 ") as stop:
        solve(Stiffening(), cells, torch.full((2, 1, 32), 9.0), [0.0, 0.2, 0.9], cfl=1.0)
    assert stop.value.times == [0.0, 0.2]


def test_a_blow_up_of_a_spectral_solve_names_the_step(cells):
    grid = Grid((64,), (1.0,))
    u0 = torch.stack([torch.zeros(1, 64), 30 * torch.sin(6.28 * grid.coordinates())])
    f = Burgers(1e-3).on(grid)
    u, step = u0, 0
    while bool(torch.isfinite(u).all()):
        u, step = integrate(f, u, [0.0, 0.01], SSPRK3()).states[:, -1], step + 1
    with pytest.raises(SolverError, match=f"step {step} to t = .* sample 1, .*finer grid") as stop:
        solve(Burgers(1e-3), grid, u0, [0.0, 0.02, 1.0, 2.0], stepper=SSPRK3(), dt=0.01)
    assert stop.value.states.shape == (2, 2, 1, 64) and stop.value.step == step
    assert bool(torch.isfinite(stop.value.states).all())


def test_no_number_of_steps_is_enough(monkeypatch):
    monkeypatch.setattr(advance, "_MAX_SUBSTEPS", 64)
    grid = Grid((16,), (1.0,))
    u0 = 1e200 * torch.sin(6.28 * grid.coordinates())[None]
    with pytest.raises(SolverError, match="differ from twice as many .* sample 0"):
        solve(Burgers(1e-3), grid, u0, [0.0, 1.0])
