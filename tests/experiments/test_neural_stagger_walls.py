"""NeuralStagger with walls, in 3D and for control: the cases are right, and a short run works."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from experiments.neural_stagger_walls import cases, classical, control
from pdesurrogates.training import step_residual

ROOT = Path(__file__).parents[2]


def test_channel_truth_solves_the_discrete_problem_to_second_order():
    errors = []
    for n in (17, 33):
        case = cases.Channel(n, 0.05, 0.5)
        u0 = case.tested(n, 1, 2)  # random profiles; the start from rest has no smooth truth
        u = case.level(n).step(0.0, u0, 0.5)
        errors.append(float((u - case.truth(1, 2, [0.5])[:, 0]).abs().max()))
    assert 3.0 < errors[0] / errors[1] < 5.0
    assert errors[1] < 5e-3


def test_channel_starts_from_rest_where_it_says_so():
    case = cases.Channel(33, 0.05, 0.5)
    assert float(case.initial(33, 0, 1).abs().max()) < 2e-2  # the series is cut at 12 waves


def test_cavity_restriction_keeps_the_flow_free_of_divergence():
    case = cases.Cavity(8, 0.1, 0.2)
    for n in (8, 4):
        u = case.tested(n, 0, 2)
        divergence = case.level(n).f.provider.divergence(*u.split(1, dim=1))
        assert u.shape == (2, 2, n, n)
        assert float(divergence.abs().max()) < 1e-10


def test_cavity_upsampling_is_exact_for_a_linear_shear():
    case = cases.Cavity(8, 0.1, 0.2)
    x, y = case.level(4).grid.coordinates()
    u = torch.stack((y, torch.zeros_like(y)))[None]
    decoded = case.fields(u, 4)
    fine_y = case.level(8).grid.coordinates()[1]
    # Faces to centres halves the flow beside the low and high wall of x; elsewhere y stays y.
    assert torch.allclose(decoded[0, 0, 3:5], fine_y[3:5], atol=1e-12)


def test_crank_nicolson_solves_its_own_residual():
    case = cases.Channel(17, 0.05, 0.5)
    f, u = case.level(17).f, case.initial(17, 1, 1)
    u_next = classical.crank_nicolson(f, u, 0.05)
    assert float(step_residual(f, u, u_next, dt=0.05).abs().max()) < 1e-3


def test_control_through_the_solver_finds_the_initial_state():
    case = cases.BurgersLine(32, 0.05, 0.1)
    settings = {
        "num_targets": 1,
        "num_waves": 4,
        "iterations": 40,
        "classical": [{"num_points": 32, "dt": 0.01}],
    }
    (row,) = control.control_rows(case, None, settings, 5)
    assert row["objective"] < 1e-5


@pytest.mark.slow
def test_reduced_run(tmp_path):
    """Short trainings beat no change, keep sub-grids together, and Poiseuille's profile is met."""
    config = ROOT / "experiments" / "neural_stagger_walls" / "config.yaml"
    subprocess.run(
        [
            *(sys.executable, "-m", "experiments.neural_stagger_walls.run", config, tmp_path),
            *("--quick", "--jobs", "1"),
        ],
        check=True,
        cwd=ROOT,
    )
    found = json.loads((tmp_path / "results.json").read_text())["cases"]
    assert set(found) == {"channel", "cavity", "box", "control"}
    for case in found.values():
        for arm in case["arms"].values():
            assert arm["relative_l2"][0] < 0.8 * arm["no_change"][0]
            assert arm["checkerboard"][0] < 0.03
    assert found["channel"]["arms"]["(1,1)"]["steady_profile_error"][0] < 0.05
    assert found["cavity"]["arms"]["(1,1)"]["ghia_velocity_x"][0] < 0.1
    for row in found["control"]["classical_control"]:
        assert math.isfinite(row["objective"])
