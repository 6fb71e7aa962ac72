"""generate, inspect, convert: files in, files out."""

import json

import numpy as np
import pytest
import yaml

from pdesurrogates.cli.main import main
from pdesurrogates.data import open_trajectories


def test_generate_writes_the_recipe_and_is_reproducible(recipe_file, data_file, tmp_path):
    output = tmp_path / "again.hdf5"
    assert main(["generate", str(recipe_file), str(output)]) == 0
    with open_trajectories(output) as file, open_trajectories(data_file) as expected:
        assert file.num_trajectories == 3
        assert file.num_times == 13
        assert file.attributes["recipe"] == recipe_file.read_text()
        assert file.read(2).equal(expected.read(2))


def test_generate_keeps_an_existing_file(small_recipe, data_file, tmp_path, capsys):
    before = data_file.read_bytes()
    recipe = tmp_path / "other.yaml"
    recipe.write_text(yaml.safe_dump(small_recipe | {"seed": 5}))
    assert main(["generate", str(recipe), str(data_file)]) == 2
    assert "exists" in capsys.readouterr().err
    assert data_file.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"num_trajectoris": 3}, "num_trajectoris"),
        ({"equation": {"class_path": "pdesurrogates.equations.Nonsense"}}, "Nonsense"),
        ({"dt": -0.1}, "`dt` must be positive"),
    ],
)
def test_generate_names_what_is_wrong_in_a_recipe(change, text, small_recipe, tmp_path, capsys):
    recipe = tmp_path / "wrong.yaml"
    recipe.write_text(yaml.safe_dump(small_recipe | change))
    assert main(["generate", str(recipe), str(tmp_path / "out.hdf5")]) == 2
    assert text in capsys.readouterr().err
    assert not (tmp_path / "out.hdf5").exists()


def test_inspect_says_what_is_in_a_file(data_file, capsys):
    assert main(["inspect", str(data_file)]) == 0
    text = capsys.readouterr().out
    assert "The Well" in text
    assert "32 points" in text
    assert "dt 0.2" in text


def test_inspect_refuses_what_is_no_data(tmp_path, capsys):
    path = tmp_path / "page.hdf5"
    path.write_text("<html>not found</html>")
    assert main(["inspect", str(path)]) == 2
    assert "not an HDF5 file" in capsys.readouterr().err


@pytest.fixture
def wave_file(tmp_path):
    x, t = np.arange(32) / 32, np.arange(41) / 40
    path = tmp_path / "wave.npz"
    np.savez(path, u=np.sin(2 * np.pi * (x[None] - 0.5 * t[:, None])), x=x, t=t)
    target = tmp_path / "wave.hdf5"
    assert main(["convert", str(path), str(target)]) == 0
    return target


def test_inspect_checks_an_equation(wave_file, capsys):
    words = ["inspect", str(wave_file), "--equation", "Advection", "--equation-args"]
    capsys.readouterr()
    assert main([*words, "{velocity: 0.5}"]) == 0
    assert "this file obeys this equation" in capsys.readouterr().out
    assert main([*words, "{velocity: 1e+0}", "--json"]) == 2
    out, err = capsys.readouterr()
    check = json.loads(out)["equation"]
    assert check["verdict"] == "does not obey"
    assert check["coefficients"]["velocity"]["stated"] == 1.0
    assert abs(check["coefficients"]["velocity"]["fitted"] - 0.5) < 1e-3
    assert check["residual"]["u"] > 0.5
    assert "do not obey Advection" in err


@pytest.mark.parametrize(
    "name, text, said",
    [
        ("Advektion", "{}", "there is no such class"),
        ("pdesurrogates.core.Grid", "{}", "is no equation"),
        ("Equation", "{}", "is no equation"),
        ("Advection", "{speed: 1}", "speed"),
        ("Advection", "{velocity: fast}", "velocity must be a number"),
        ("Advection", "[1]", "names and values"),
        ("Advection", "{", "as YAML"),
    ],
)
def test_inspect_refuses_what_is_no_equation(wave_file, capsys, name, text, said):
    words = ["inspect", str(wave_file), "--equation", name, "--equation-args", text]
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_convert_names_axes_once_and_drops_a_repeated_endpoint(tmp_path, capsys):
    x, t = np.linspace(0, 1, 17), np.linspace(0, 1, 6)
    u = np.sin(2 * np.pi * (x[:, None] - t[None])) + np.cos(4 * np.pi * (x[:, None] + t[None]))
    np.savez(tmp_path / "run.npz", u=u)
    target = tmp_path / "run.hdf5"
    words = ["--variable", "u", "--axes", "x time", "--extent", "1.0", "--dt", "0.2", "--periodic"]
    assert main(["convert", str(tmp_path / "run.npz"), str(target), *words]) == 0
    assert "17 -> 16 points" in capsys.readouterr().out
    with open_trajectories(target) as file:
        assert file.grid.shape == (16,)
        assert file.time_step() == pytest.approx(0.2)
        np.testing.assert_allclose(file.read(0)[:, 0].numpy(), u[:-1].T)
