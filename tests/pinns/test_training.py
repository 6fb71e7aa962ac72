"""Training without data: known minima, restored states, resumed runs, clear words."""

import json
import math

import pytest
import torch
from torch import nn

from pdesurrogates.backbones import MLP
from pdesurrogates.core import Box, generator
from pdesurrogates.operators import JetDerivatives
from pdesurrogates.pinns import (
    AdamPhase,
    DrawnPoints,
    GaussNewtonPhase,
    GivenPoints,
    History,
    LBFGSPhase,
    Problem,
    TrainingError,
    fit,
)
from pdesurrogates.sampling import RAD, Sobol

ROWS = {"many": torch.linspace(-1, 1, 7)[:, None], "few": torch.tensor([[0.5], [2.0]])}
WEIGHTS = {"many": 1.0, "few": 3.0}


class Line(Problem):
    """a + b x against x^2 at many points and against 1 at few: the minimum is known."""

    def __init__(self, weights=WEIGHTS):
        sets = {name: GivenPoints(points) for name, points in ROWS.items()}
        super().__init__(sets, ROWS, weights)
        self.line = nn.Linear(1, 1)

    def residuals_of(self, name, points):
        target = points**2 if name == "many" else torch.ones_like(points)
        return {name: self.line(points) - target}

    def minimum(self):
        """Weighted least squares by the normal equations."""
        matrix, right = torch.zeros(2, 2), torch.zeros(2, 1)
        for name, x in ROWS.items():
            basis = torch.cat((x, torch.ones_like(x)), dim=1)
            target = x**2 if name == "many" else torch.ones_like(x)
            matrix += self.weights[name] * basis.mT @ basis / len(x)
            right += self.weights[name] * basis.mT @ target / len(x)
        return torch.linalg.solve(matrix, right).flatten()


class Bump(Problem):
    """-u'' = pi^2 sin(pi x) with walls by construction, on points that follow the residual."""

    def __init__(self, sampler=None):
        box = Box((-1.0,), (1.0,))
        super().__init__({"inside": DrawnPoints(sampler or Sobol(box), 32)}, ["equation"])
        self.network = MLP(1, 1, width=8, depth=2)

    def field(self, x):
        return (1 - x * x) * self.network(x)

    def residuals_of(self, name, points):
        d = JetDerivatives(points[None])
        source = math.pi**2 * torch.sin(math.pi * d.points)
        return {"equation": d.values(d.dxx(self.field(d.points)) + source)[0]}


class Fragile(Bump):
    """Its network gives NaN from the call `last` on, for one part of the loss."""

    def __init__(self, last):
        super().__init__()
        self.calls, self.last = 0, last

    def residuals_of(self, name, points):
        self.calls += 1
        found = super().residuals_of(name, points)
        return {k: r * math.nan for k, r in found.items()} if self.calls > self.last else found


PHASES = {
    "adam": [AdamPhase(250, learning_rate=0.1)],
    "lbfgs": [LBFGSPhase(40)],
    "gauss_newton": [GaussNewtonPhase(20)],
}


@pytest.mark.parametrize(
    "phases, error", [("adam", 1e-4), ("lbfgs", 1e-8), ("gauss_newton", 1e-8)]
)
def test_the_minimum_is_that_of_weighted_least_squares(phases, error):
    problem = Line()
    fit(problem, PHASES[phases])
    found = torch.cat([problem.line.weight.flatten(), problem.line.bias])
    assert torch.allclose(found, problem.minimum(), atol=error)


def test_history_has_every_part_by_name():
    problem = Line()
    history = fit(problem, [AdamPhase(50), LBFGSPhase(20)])
    assert set(history.losses) == {"many", "few"}
    total = sum(WEIGHTS[name] * torch.tensor(v) for name, v in history.losses.items())
    assert torch.allclose(total, torch.tensor(history.total))
    assert history.steps == sorted(history.steps) and history.steps[-1] == 70
    again = History.from_dict(json.loads(json.dumps(history.as_dict())))
    assert again == history


def test_tolerance_ends_training():
    history = fit(Line(), [AdamPhase(2000, learning_rate=0.1), LBFGSPhase(50)], loss_tolerance=0.5)
    assert history.status == "converged" and len(history.phases) == 1
    assert history.total[-1] <= 0.5 < history.total[-2]


@pytest.mark.parametrize("phases", PHASES)
def test_a_plateau_before_the_tolerance_is_reported(phases):
    steps = [AdamPhase(500, learning_rate=0.1)] if phases == "adam" else PHASES[phases]
    history = fit(Line(), steps, loss_tolerance=1e-6)
    assert history.status == "plateau"
    assert "plateau after" in history.message and history.total[-1] > 1e-2


def test_nan_at_the_start_names_the_part_and_leaves_the_weights():
    problem = Fragile(last=0)
    before = [p.clone() for p in problem.parameters()]
    with pytest.raises(TrainingError, match=r"residual 'equation' is not finite at 32 of 32"):
        fit(problem, [AdamPhase(10)])
    assert all(torch.equal(a, b) for a, b in zip(before, problem.parameters(), strict=True))


@pytest.mark.parametrize("phase", [AdamPhase(100, report_every=5), LBFGSPhase(30, report_every=5)])
def test_nan_later_keeps_the_last_good_state(phase):
    problem = Fragile(last=40)
    with pytest.raises(TrainingError, match="'equation' is not finite") as caught:
        fit(problem, [phase])
    problem.last = math.inf
    points = problem.draw(generator(0, 0, 0))
    history = caught.value.history
    assert len(history.total) >= 2
    assert problem.total(problem.losses(points)).item() == pytest.approx(history.total[-1])


def test_divergence_restores_the_last_good_state_and_goes_on():
    problem = Bump()
    history = fit(problem, [AdamPhase(100, learning_rate=1e6), LBFGSPhase(20)])
    assert [report.status for report in history.phases] == ["diverged", "finished"]
    assert "last good state was restored" in history.phases[0].message
    assert history.total[-1] < history.total[0]


@pytest.mark.parametrize("phases", PHASES)
def test_an_interrupted_training_ends_as_if_it_had_not_been(phases, tmp_path):
    chosen = [AdamPhase(50, resample_every=15, report_every=5), *PHASES[phases]]
    chosen[-1] = type(chosen[-1])(30, report_every=5)

    def interrupt(step, losses):
        del losses
        if step >= 65:
            raise KeyboardInterrupt

    def make():
        torch.manual_seed(3)
        return Bump()

    whole, pieces = make(), make()
    expected = fit(whole, chosen, seed=2)
    path = tmp_path / "state.pt"
    options = {"seed": 2, "checkpoint": path, "checkpoint_seconds": 0.0}
    with pytest.raises(KeyboardInterrupt):
        fit(pieces, chosen, on_report=interrupt, **options)
    resumed = Bump()
    history = fit(resumed, chosen, **options)
    assert history.total == expected.total and history.steps == expected.steps
    assert all(
        torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True)
    )
    assert fit(Bump(), chosen, **options).total == expected.total  # finished: nothing is repeated
    with pytest.raises(ValueError, match="was made with seed 2"):
        fit(Bump(), chosen, **(options | {"seed": 3}))


def test_float32_networks_end_in_float64_where_the_phase_needs_it():
    problem = Bump().float()
    fit(problem, [AdamPhase(5)])
    assert next(problem.parameters()).dtype == torch.float32
    fit(problem, [AdamPhase(5), LBFGSPhase(5)])
    assert next(problem.parameters()).dtype == torch.float64


def test_adaptive_samplers_see_the_residual_between_steps():
    sampler = RAD(Box((-1.0,), (1.0,)), num_candidates=200)
    problem = Bump(sampler)
    history = fit(problem, [AdamPhase(30, resample_every=10), LBFGSPhase(5)])
    assert history.num_evaluations == {"inside": 3 * 200}
    x = torch.linspace(-0.9, 0.9, 5)[:, None]
    residual = problem.residuals_of("inside", x)["equation"][:, 0]
    assert torch.equal(problem._size("inside", x), residual)


def test_gauss_newton_solves_a_small_problem():
    torch.manual_seed(1)
    problem = Bump()
    history = fit(problem, [GaussNewtonPhase(40)])
    x = torch.linspace(-1, 1, 101)[:, None]
    error = (problem.field(x) - torch.sin(math.pi * x)).abs().max()
    assert history.total[-1] < 1e-6 and error < 1e-4


def test_unknown_names_and_impossible_numbers_are_refused():
    with pytest.raises(ValueError, match=r"names \['bogus'\], but the parts of the loss are"):
        Line({"bogus": 1.0})
    with pytest.raises(ValueError, match="weight of 'few' must be finite and not negative"):
        Line({"few": -1.0})
    with pytest.raises(ValueError, match="`num_steps` must be a positive integer"):
        AdamPhase(0)
    with pytest.raises(ValueError, match="`phases` is empty"):
        fit(Line(), [])
    with pytest.raises(ValueError, match="`learning_rate` must be positive"):
        AdamPhase(10, learning_rate=-1.0)
    with pytest.raises(ValueError, match=r"must have shape \(point, dim\)"):
        GivenPoints(torch.zeros(3))
