"""The experiment on adaptive sampling: its parts are right, and a reduced run works."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from experiments.adaptive_sampling.network import PeakNetwork
from experiments.adaptive_sampling.problems import Peaks

ROOT = Path(__file__).parents[2]
PROBLEM = Peaks(((0.5, 0.5, 0.1), (-0.5, -0.5, 0.0)), 3.0, 1.0)


@pytest.mark.parametrize("kind", ["network", "exact"])
def test_derivatives_are_those_of_autograd(kind):
    network = PeakNetwork(3).double()
    x = (2 * torch.rand(7, 3) - 1).requires_grad_()
    u = network.expand(x) if kind == "network" else PROBLEM.exact(x)
    value = network(x) if kind == "network" else PROBLEM.exact(x).value
    (gradient,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    laplacian = sum(
        torch.autograd.grad(gradient[:, i].sum(), x, create_graph=True)[0][:, i] for i in range(3)
    )
    torch.testing.assert_close(u.value, value)
    torch.testing.assert_close(u.gradient[..., 0].T, gradient)
    torch.testing.assert_close(u.laplacian[:, 0], laplacian)


def test_exact_solution_has_no_residual_and_zero_has_error_one():
    points, weights = PROBLEM.test_points(2**14)
    assert PROBLEM.residual(points, PROBLEM.exact(points)).abs().max() == 0
    # Mean of u^2 of one narrow peak: (pi / (2 s))^(d/2) / 2^d.
    peak = Peaks(((0.0, 0.0),), 20.0)
    points, weights = peak.test_points(2**14)
    mean = (weights * peak.exact(points).value[:, 0].square()).sum()
    assert float(mean) == pytest.approx(torch.pi / 40 / 4, rel=0.02)


def test_network_is_zero_on_the_boundary():
    x = torch.tensor([[1.0, 0.2], [-0.3, -1.0]])
    assert PeakNetwork(2).double()(x).abs().max() == 0


@pytest.mark.slow
def test_reduced_run(tmp_path):
    """The flow comes nearer to the best density, and every arm keeps its budget."""
    subprocess.run(
        [
            *(sys.executable, "-m", "experiments.adaptive_sampling.run"),
            *("experiments/adaptive_sampling/config.yaml", tmp_path, "--quick", "--jobs", "1"),
            *("--problems", "one_peak", "--arms", "sobol", "rad_weighted", "aas_weighted"),
        ],
        check=True,
        cwd=ROOT,
    )
    record = json.loads((tmp_path / "results.json").read_text())
    assert record["oracle"][0]["l1"] < record["oracle"][0]["l1_uniform"] / 2
    for arm in record["problems"]["one_peak"].values():
        assert 100_000 <= arm["num_evaluations"][0] < 106_000
        assert arm["failed_updates"] == [0]
    assert (tmp_path / "points" / "run_one_peak_aas_weighted_0.npz").exists()
