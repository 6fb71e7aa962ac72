"""The solver: batches, restarts, stops, files, and refusals."""

import math

import pytest
import torch
from torch import nn

from pdesurrogates.backbones import SIREN
from pdesurrogates.core import Box, Dirichlet, Grid, Robin
from pdesurrogates.data import open_trajectories
from pdesurrogates.equations import Advection, AllenCahn, Burgers, Diffusion
from pdesurrogates.neural_fields import (
    Adam,
    GaussNewton,
    ImplicitEuler,
    INSRSolver,
    NeuralField,
    NeuralTrajectory,
    SoftBoundary,
    StepControl,
)
from pdesurrogates.sampling import RAD

GRID = Grid((8,), (2 * math.pi,))
WALLS = Grid((17,), (1.0,), periodic=False)


def waves(grid=GRID):
    """Linear in the weights: quick and exact."""
    torch.manual_seed(0)
    return NeuralField(nn.Linear(4, 1), grid, num_harmonics=2, num_channels=1)


def solver(**options):
    options = {"equation": Advection(0.7), "dt": 0.1, "network": waves(), **options}
    return INSRSolver(options.pop("equation"), GRID, num_points=24, **options)


def two_waves(x):
    return torch.cat((torch.sin(x), torch.cos(2 * x)))


def test_trajectories_of_a_batch_do_not_know_each_other():
    both = solver().solve(two_waves, [0.0, 0.2, 0.5])
    alone = solver().solve(lambda x: torch.cos(2 * x), [0.0, 0.2, 0.5])
    assert both.sample().shape == (2, 3, 1, 8)
    assert torch.allclose(both.sample()[1:], alone.sample(), atol=1e-4)
    assert both.at(torch.rand(1, 5, 1), 1).shape == (2, 5, 1)
    assert [r.time for r in both.reports] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert set(both.reports[0].status) == {"converged"}
    assert both.is_complete


def test_samples_and_functions_are_the_same_initial_state():
    samples = two_waves(GRID.coordinates().reshape(1, -1, 1)).mT
    found = solver().solve(samples, [0.0, 0.1]).sample()
    expected = solver().solve(two_waves, [0.0, 0.1]).sample()
    assert torch.allclose(found, expected, atol=1e-4)
    assert torch.allclose(found[:, 0], samples, atol=1e-4)


def test_parameters_keep_their_random_numbers_to_themselves():
    before = torch.get_rng_state()
    first, second = (INSRSolver(Advection(), GRID, dt=0.1, seed=3) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    for a, b in zip(first.field.parameters(), second.field.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_killed_solve_continues_to_the_same_weights(tmp_path):
    whole = solver().solve(two_waves, [0.0, 0.2, 0.4])
    solver().solve(two_waves, [0.0, 0.2], folder=tmp_path / "run")
    resumed = solver().solve(two_waves, [0.0, 0.2, 0.4], folder=tmp_path / "run")
    assert torch.equal(resumed.weights, whole.weights)
    assert len(resumed.reports) == 4
    loaded = NeuralTrajectory.load(tmp_path / "run", waves().double(), grid=GRID)
    assert len(loaded) == 5
    assert torch.equal(loaded.sample()[:, -1], whole.sample()[:, -1])


def test_a_folder_of_another_solve_is_refused(tmp_path):
    solver().solve(two_waves, [0.0, 0.1], folder=tmp_path)
    with pytest.raises(ValueError, match=r"'dt' is 0\.1 there and 0\.05 here"):
        solver(dt=0.05).solve(two_waves, [0.0, 0.1], folder=tmp_path)
    with pytest.raises(ValueError, match="make the field as it was"):
        NeuralTrajectory.load(tmp_path, NeuralField(nn.Linear(2, 1), GRID, num_channels=1))
    (tmp_path / "step_000001.safetensors").write_bytes(b"broken")
    with pytest.raises(ValueError, match="step_000001.safetensors is damaged"):
        NeuralTrajectory.load(tmp_path, waves())


def test_saved_weights_and_files_read_back(tmp_path):
    solution = solver().solve(two_waves, [0.0, 0.2, 0.4])
    folder = solution.save(tmp_path / "weights")
    loaded = NeuralTrajectory.load(folder, waves(), grid=GRID)
    assert torch.equal(loaded.weights, solution.weights)
    assert loaded.times == solution.times
    fine = Grid((13,), (2 * math.pi,))
    path = solution.write(tmp_path / "waves.h5", fine, dtype="float64")
    with open_trajectories(path) as file:
        assert file.grid == fine
        assert torch.allclose(torch.as_tensor(file.times), torch.tensor(solution.times))
        states = torch.as_tensor(file.read(1))
    assert torch.equal(states.double(), solution.sample(fine)[1])


def test_a_stop_keeps_everything_up_to_the_last_good_state(tmp_path):
    """Allen-Cahn without the cubic's help: u' = -2 (u - u^3) blows up from u > 1."""
    blow_up = solver(equation=AllenCahn(0.01, -2.0), dt=0.05)
    with pytest.warns(RuntimeWarning, match=r"stopped after \d+ steps at t = .*smaller dt"):
        solution = blow_up.solve(lambda x: 1.2 + 0 * x, [0.0, 0.05, 1.0], folder=tmp_path)
    assert not solution.is_complete
    assert solution.message.startswith("INSRSolver: stopped")
    assert 0.05 <= solution.times[-1] < 1.0
    assert torch.isfinite(solution.weights).all()
    assert len(NeuralTrajectory.load(tmp_path, waves())) == len(solution.reports) + 1


def test_an_initial_state_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"fits the initial state to a relative error of 0\.9"):
        solver().solve(lambda x: torch.sin(3 * x), [0.0, 0.1])


def test_adam_goes_the_same_way():
    control = StepControl(step_tolerance=1e-3, initial_tolerance=1e-3)
    found = solver(optimizer=Adam(num_iterations=400, learning_rate=0.03), control=control).solve(
        two_waves, [0.0, 0.2]
    )
    expected = solver().solve(two_waves, [0.0, 0.2])
    assert torch.allclose(found.sample(), expected.sample(), atol=0.02)
    assert INSRSolver(Advection(), GRID, dt=0.1, optimizer="adam").optimiser == Adam()


def test_a_plateau_is_reported_and_the_best_state_kept():
    control = StepControl(step_tolerance=1e-12)
    found = solver(equation=Burgers(0.5), control=control).solve(
        lambda x: torch.sin(x), [0.0, 0.1]
    )
    assert found.reports[0].status in {("stalled",), ("max_iterations",)}
    assert found.reports[0].loss[0] < 1e-4
    assert found.is_complete


def test_soft_and_hard_conditions_agree():
    """Heat between walls, implicit Euler, sin pi x: factor 1 / (1 + pi^2 nu dt)."""

    def u0(x):
        return torch.sin(math.pi * x)

    for boundary in (
        {"boundary": Dirichlet(0.0)},
        {"soft_boundary": SoftBoundary(Dirichlet(0.0))},
    ):
        found = INSRSolver(
            Diffusion(0.1),
            WALLS,
            stepper=ImplicitEuler(),
            dt=0.1,
            network=SIREN(1, 1, width=8, depth=2, omega0=4.0),
            num_points=60,
            **boundary,
        ).solve(u0, [0.0, 0.1])
        expected = u0(WALLS.coordinates()) / (1 + 0.01 * math.pi**2)
        assert torch.allclose(found.sample()[0, -1], expected, atol=1e-3)


def test_soft_conditions_are_what_they_say():
    u = lambda x: 3 * x + 1  # noqa: E731
    source = torch.Generator().manual_seed(0)
    soft = SoftBoundary([(Robin(2.0, 1.0, total=4.0), Dirichlet((0.0, 5.0)))], num_points=2)
    terms = soft.terms(Box((0.0,), (1.0,)), generator=source)
    lower, upper = (term.residual(u, *term.data) for term in terms.values())
    assert torch.allclose(lower, torch.tensor(2.0 * 1 + 3 - 4))
    assert torch.allclose(upper, torch.tensor(4.0 - 5))
    assert list(terms) == ["boundary, axis 0, lower end", "boundary, axis 0, upper end"]


def test_an_adaptive_sampler_is_shown_every_step():
    sampler = RAD(Box.of(GRID), num_candidates=50)
    solver(sampler=sampler).solve(two_waves, [0.0, 0.2])
    assert sampler.num_residual_evaluations == 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dt": 0.0}, "`dt` must be positive"),
        ({"optimizer": "sgd"}, "'gauss_newton', 'adam' or an Optimiser, got 'sgd'"),
        ({"boundary": Dirichlet(0.0)}, "has its own conditions"),
        ({"equation": Burgers(0.1, dim=2)}, r"has 2 channels \('u', 'v'\), the network has 1"),
        ({"equation": Advection(torch.ones(2))}, "differ between trajectories"),
        ({"sampler": RAD(Box((0.0,), (1.0,)))}, "the sampler draws from"),
    ],
)
def test_bad_input_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        solver(**options)


def test_bad_states_and_points_are_refused():
    own = solver()
    with pytest.raises(ValueError, match=r"\(batch, point, channel\)"):
        own.solve(lambda x: x[0], [0.0, 0.1])
    with pytest.raises(ValueError, match="not finite at some points"):
        own.solve(lambda x: x / 0, [0.0, 0.1])
    with pytest.raises(ValueError, match="increase strictly"):
        own.solve(two_waves, [0.1, 0.0])
    solution = own.solve(two_waves, [0.0, 0.1])
    with pytest.raises(ValueError, match="lie outside the domain"):
        solution.at(torch.full((1, 1, 1), 7.0))
    with pytest.raises(ValueError, match="batch of 3, there are 2"):
        solution.at(torch.zeros(3, 1, 1))
    with pytest.raises(ValueError, match="the field has 1 axes"):
        solution.sample(Grid((4, 4), (1.0, 1.0)))


def test_step_control_refuses_what_is_not_positive():
    with pytest.raises(ValueError, match="`max_jump` must be positive"):
        StepControl(max_jump=0.0)
    assert GaussNewton().for_start().max_iterations == 200
