"""evaluate: scores and a report from rollout files and surrogate folders."""

import pytest
import xarray as xr

from pdesurrogates.cli.evaluate import equation_of
from pdesurrogates.cli.main import main
from pdesurrogates.data import open_trajectories
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
