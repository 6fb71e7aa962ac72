"""evaluate: scores and a report from rollout files and surrogate folders."""

import pytest
import torch
import xarray as xr

from pdesurrogates.cli.evaluate import equation_of
from pdesurrogates.cli.main import main
from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.data import open_trajectories, write_trajectories
from pdesurrogates.equations import KuramotoSivashinsky


def test_rollouts_and_surrogates_side_by_side(surrogate_folder, data_file, tmp_path):
    rollout = tmp_path / "stored.hdf5"
    assert main(["rollout", str(surrogate_folder), str(data_file), str(rollout)]) == 0
    output = tmp_path / "out"
    words = [str(rollout), str(surrogate_folder), "--reference", str(data_file)]
    assert main(["evaluate", *words, "--output", str(output)]) == 0
    with xr.open_dataset(output / "scores.nc", engine="h5netcdf") as scores:
        assert scores.model.values.tolist() == ["stored", "heun"]
        assert scores.sizes["trajectory"] == 3
        stored, heun = scores.rmse.sel(model="stored"), scores.rmse.sel(model="heun")
        assert float(abs(stored - heun).max()) == 0
        assert float(stored.isel(time=0).max()) == 0
    page = (output / "report.html").read_text()
    for word in ("persistence", "oracle floor", "heun"):
        assert word in page


def test_the_truth_scores_perfectly(data_file, tmp_path):
    words = [str(data_file), "--reference", str(data_file), "--output", str(tmp_path)]
    assert main(["evaluate", *words]) == 0
    with xr.open_dataset(tmp_path / "scores.nc", engine="h5netcdf") as scores:
        assert float(scores.error.max()) == 0
        assert bool(scores.correlation_time_censored.all())


def test_a_generated_file_knows_its_equation(data_file):
    with open_trajectories(data_file) as file:
        assert equation_of(file) == KuramotoSivashinsky()


def test_times_that_the_reference_lacks(surrogate_folder, data_file, tmp_path, capsys):
    rollout = tmp_path / "long.hdf5"
    words = ["--num-steps", "20"]
    assert main(["rollout", str(surrogate_folder), str(data_file), str(rollout), *words]) == 0
    assert main(["evaluate", str(rollout), "--reference", str(data_file)]) == 2
    assert "no frame there" in capsys.readouterr().err


def test_names_must_differ(data_file, tmp_path, capsys):
    words = ["evaluate", str(data_file), str(data_file), "--reference", str(data_file)]
    assert main(words) == 2
    assert "distinct names" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["reference", "prediction"])
def test_missing_files(missing, data_file, tmp_path, capsys):
    gone = str(tmp_path / "gone.hdf5")
    pair = (gone, str(data_file)) if missing == "prediction" else (str(data_file), gone)
    assert main(["evaluate", pair[0], "--reference", pair[1]]) == 2
    assert "gone.hdf5" in capsys.readouterr().err


def other_file(data_file, path, change):
    """The states of a file, changed, in a file of their own."""
    with open_trajectories(data_file) as file:
        u = torch.stack([file.read(i) for i in range(file.num_trajectories)])
    write_trajectories(
        path,
        change(u),
        fields=FieldSpec(("u",)),
        grid=Grid((32,), (16.0,)),
        times=[0.2 * n for n in range(13)],
    )
    return path


def test_a_rollout_is_reused_for_the_same_states_only(surrogate_folder, data_file, tmp_path):
    other = other_file(data_file, tmp_path / "other.hdf5", lambda u: u.flip(3))
    rollout = tmp_path / "out" / "rollouts" / "heun.hdf5"
    words = ["--output", str(tmp_path / "out")]

    def score(reference, *more):
        command = ["evaluate", str(surrogate_folder), "--reference", str(reference), *words, *more]
        assert main(command) == 0
        with open_trajectories(rollout) as file:
            return file.read(0), rollout.stat().st_mtime_ns

    first, made = score(data_file)
    assert score(data_file)[1] == made
    second, _ = score(other)
    assert not second[0].equal(first[0])
    later, _ = score(other, "--start", "3")
    assert len(later) == len(second) - 3


def test_a_reference_that_is_not_finite_is_refused(data_file, tmp_path, capsys):
    def spoil(u):
        u[2, 7, 0, 3] = float("inf")
        return u

    reference = other_file(data_file, tmp_path / "bad.hdf5", spoil)
    words = [str(data_file), "--reference", str(reference), "--output", str(tmp_path / "out")]
    assert main(["evaluate", *words]) == 2
    assert "trajectory 2: values must be finite, got inf in field 'u' at frame 7" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "out").exists()


def test_a_diverged_prediction_is_scored_and_counted(data_file, tmp_path):
    def spoil(u):
        u[1, 4:] = float("nan")
        return u

    prediction = other_file(data_file, tmp_path / "diverged.hdf5", spoil)
    words = [str(prediction), "--reference", str(data_file), "--output", str(tmp_path)]
    assert main(["evaluate", *words]) == 0
    with xr.open_dataset(tmp_path / "scores.nc", engine="h5netcdf") as scores:
        assert scores.divergence_step.values.tolist() == [[-1, 4, -1]]
        assert scores.attrs["num_diverged"] == 1


def test_a_recipe_given_as_an_object_names_no_equation(data_file):
    with open_trajectories(data_file) as file:
        file.attributes["recipe"] = "Recipe(equation=Burgers(viscosity=0.01), dt=0.1)"
        assert equation_of(file) is None
