"""Recipes: what is stored, what a seed means, and what survives a kill."""

import hashlib
import signal
import subprocess
import sys

import pytest
import torch
import yaml

from pdesurrogates.data import open_trajectories
from pdesurrogates.reference import generate, load_recipe, simulate, solve

RECIPE = {
    "name": "test_burgers",
    "equation": {"class_path": "pdesurrogates.equations.Burgers"},
    "grid": {"num_points": [32], "extent": [1.0]},
    "initial_condition": {
        "class_path": "pdesurrogates.reference.RandomFourierSeries",
        "init_args": {"max_wavenumber": 3},
    },
    "parameters": {"viscosity": {"low": 0.05, "high": 0.2, "logarithmic": True}},
    "dt": 0.05,
    "num_steps": 4,
    "num_trajectories": 6,
    "solver_dt": 0.01,
    "solver_points": [64],
    "chunk": 2,
    "seed": 3,
}


def test_file_holds_what_the_recipe_says(tmp_path):
    generate(RECIPE, tmp_path / "burgers.hdf5")
    with open_trajectories(tmp_path / "burgers.hdf5") as file:
        assert file.num_trajectories == 6 and file.num_times == 5
        assert file.grid.shape == (32,) and file.fields.names == ("u",)
        viscosity = file.parameters["viscosity"]
        assert viscosity.min() >= 0.05 and viscosity.max() <= 0.2
        states = file.read(4)
    recipe = load_recipe(RECIPE)
    truth = simulate(recipe, 4, 6).states[0]
    assert torch.allclose(states.double(), truth, atol=1e-6)
    equation = type(recipe.equation)(viscosity=viscosity[4].item())
    again = solve(equation, recipe.grid, truth[None, 0], recipe.times, dt=0.01)
    assert torch.allclose(again[0], truth, atol=1e-3)


def test_burn_in_is_dropped_and_ranges_are_disjoint(tmp_path):
    recipe = {**RECIPE, "burn_in": 0.1, "num_trajectories": 2, "num_steps": 2}
    burned = simulate(load_recipe(recipe), 0, 2).states
    plain = simulate(load_recipe({**RECIPE, "num_trajectories": 2}), 0, 2).states
    assert torch.allclose(burned[:, 0], plain[:, 2], atol=1e-8)
    later = simulate(load_recipe({**recipe, "first": 1}), 0, 1).states
    assert torch.allclose(later[0], burned[1], atol=1e-8)


@pytest.mark.parametrize(
    "change, text",
    [
        ({"num_stepz": 3}, "num_stepz"),
        ({"equation": {"class_path": "pdesurrogates.equations.Nothing"}}, "Nothing"),
        ({"parameters": {"speed": {"low": 0, "high": 1}}}, "no parameter 'speed'"),
        ({"parameters": {"viscosity": {"low": 2, "high": 1}}}, "low <= high"),
        ({"dt": -0.1}, "`dt` must be positive"),
        ({"num_trajectories": 0}, "at least 1"),
        ({"seed": -1}, "`seed` must not be negative"),
        ({"solver_dt": -0.1}, "`solver_dt` must be positive"),
        ({"solver_points": [48]}, "multiple of the 32 points of the stored grid"),
        ({"solver_points": [64, 64]}, r"one number per axis \(1\)"),
        ({"cfl": 0.0}, "`cfl` must be positive"),
        ({"num_steps": None}, "num_steps must be given"),
        ({"splits": {"train": 3}}, "a data set has splits, shard and sizes as well"),
        ({"solver": {"class_path": "pdesurrogates.operators.FiniteVolume"}}, "FiniteVolume"),
        (
            {
                "solver": {
                    "class_path": "pdesurrogates.operators.FiniteDifferences",
                    "init_args": {"boundary": None},
                }
            },
            "`solver` must not repeat the grid or the boundary",
        ),
        ({"boundary": "Outflow"}, "`boundary` must be a condition"),
        ({"boundary": {"class_path": "pdesurrogates.core.Wall"}}, "no condition '.*Wall'; some"),
        ({"boundary": {"class_path": "pdesurrogates.core.Grid"}}, "no ends at which"),
        (
            {"boundary": {"class_path": "pdesurrogates.core.Dirichlet", "init_args": {"u": 1}}},
            "Dirichlet: .* option 'u'",
        ),
    ],
)
def test_impossible_recipes_are_refused(change, text):
    with pytest.raises(ValueError, match=text):
        load_recipe({**RECIPE, **change})


def test_a_missing_grid_is_not_made_up():
    with pytest.raises(ValueError, match=r"missing keys \['grid'\]; the keys are equation, grid"):
        load_recipe({key: value for key, value in RECIPE.items() if key != "grid"})


def test_files_that_are_no_recipe(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone.yaml: no such file; expected a recipe"):
        load_recipe(tmp_path / "gone.yaml")
    with pytest.raises(FileNotFoundError, match="this folder has no recipe.yaml"):
        load_recipe(tmp_path)
    path = tmp_path / "recipe.yaml"
    for content, text in (
        (b"\x89HDF", "not a text file"),
        (b"", "expected keys and values"),
        (b"dt: [", "not YAML"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=text):
            load_recipe(path)


def test_a_failed_start_is_not_in_the_way_of_the_next_one(tmp_path):
    path = tmp_path / "a.hdf5"
    unstable = {"class_path": "pdesurrogates.steppers.Euler"}
    with pytest.raises(ValueError, match="largest stable step"):
        generate({**RECIPE, "stepper": unstable, "solver_dt": 0.5, "dt": 0.5}, path)
    generate(RECIPE, path)


def test_another_recipe_does_not_continue_the_file(tmp_path):
    path = tmp_path / "a.hdf5"
    generate(RECIPE, path)
    before = _digest(path)
    with pytest.raises(ValueError, match="exists"):
        generate({**RECIPE, "seed": 4}, path)
    generate(RECIPE, path)
    assert _digest(path) == before
    generate({**RECIPE, "seed": 4}, path, overwrite=True)
    assert _digest(path) != before


SCRIPT = """
import sys, time
from pdesurrogates.reference import generate

def stop_at_last(starts):
    for start in starts:
        if start == int(sys.argv[3]):
            print("now", flush=True)
            time.sleep(600)
        yield start

generate(sys.argv[1], sys.argv[2], progress=stop_at_last)
"""


@pytest.mark.parametrize("chunks_before_the_kill", [0, 1, 4])
def test_killed_and_repeated_gives_the_same_bytes(tmp_path, chunks_before_the_kill):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({**RECIPE, "chunk": 1}), encoding="utf-8")
    generate(recipe, tmp_path / "whole.hdf5")

    target = tmp_path / "killed.hdf5"
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(recipe), str(target), str(chunks_before_the_kill)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "now\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not target.exists()
    generate(recipe, target)
    assert _digest(target) == _digest(tmp_path / "whole.hdf5")
    assert sorted(p.name for p in tmp_path.glob("killed*")) == ["killed.hdf5"]


def _digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()
