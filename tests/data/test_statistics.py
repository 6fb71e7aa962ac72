"""Statistics of The Well, and the folder of a data set."""

import sys

import h5py
import numpy as np
import pytest
import torch
import yaml

from pdesurrogates.cli.main import main
from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.data import (
    convert_to_folder,
    from_arrays,
    open_trajectories,
    statistics,
    write_metadata,
    write_statistics,
    write_trajectories,
    write_well_folder,
)
from pdesurrogates.data.well_folder import split_files, split_trajectories

KEYS = ("mean", "std", "rms", "mean_delta", "std_delta", "rms_delta")
NAMES = ("p", "velocity_x", "velocity_y", "s_xx", "s_xy", "s_yx", "s_yy")


def expected_of(arrays):
    """The six numbers per channel straight from all values in float64."""
    values = np.concatenate([np.moveaxis(u, 2, 0).reshape(u.shape[2], -1) for u in arrays], 1)
    steps = [np.diff(u, axis=1) for u in arrays]
    steps = np.concatenate([np.moveaxis(u, 2, 0).reshape(u.shape[2], -1) for u in steps], 1)
    found = {}
    for tail, numbers in (("", values), ("_delta", steps)):
        found[f"mean{tail}"] = numbers.mean(1)
        found[f"std{tail}"] = numbers.std(1)
        found[f"rms{tail}"] = np.sqrt((numbers**2).mean(1))
    return found


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    offset = np.array([1e4, 0.0, -3.0, 1.0, 0.0, 5.0, 1e-3])[:, None, None]
    return [offset + rng.standard_normal((3, n, 7, 4, 5)) for n in (6, 9)]


@pytest.fixture
def files(tmp_path, arrays):
    return [
        write_trajectories(
            tmp_path / f"run_{n}.h5", u, fields=FieldSpec(NAMES), grid=Grid((4, 5), (1.0,)),
            times=range(u.shape[1]), dtype="float64", parameters={"nu": 0.1},
        )
        for n, u in enumerate(arrays)
    ]  # fmt: skip


def flat(statistic):
    return np.concatenate([np.ravel(statistic[name]) for name in ("p", "velocity", "s")])


@pytest.mark.parametrize("block", [1, 3000, 10**9])
def test_numbers_are_those_of_all_values_together(files, arrays, monkeypatch, block):
    monkeypatch.setattr(sys.modules["pdesurrogates.data.statistics"], "_BLOCK_BYTES", block)
    found, expected = statistics(files), expected_of(arrays)
    for key in KEYS:
        own = getattr(found, key)
        assert isinstance(own["p"], float) and np.shape(own["velocity"]) == (2,)
        assert np.shape(own["s"]) == (2, 2)
        scale = np.maximum(np.abs(expected[key]), 1.0)
        assert np.abs((flat(own) - expected[key]) / scale).max() < 1e-12, key


def test_the_order_of_files_does_not_matter(files):
    there, back = statistics(files), statistics(files[::-1])
    for key in KEYS:
        assert np.allclose(flat(getattr(there, key)), flat(getattr(back, key)), rtol=1e-12)


def test_a_large_mean_does_not_spoil_the_spread():
    u = 1e8 + np.random.default_rng(0).standard_normal((50, 200))
    found = statistics(from_arrays(u, axes="time x", dt=0.1, extent=1.0))
    assert found.std["u"] == pytest.approx(u.std(), rel=1e-12)


def test_text_has_five_digits(tmp_path):
    file = from_arrays(torch.full((4, 8), 1 / 3), axes="time x", dt=0.1, extent=1.0)
    text = statistics(file).to_yaml()
    assert text.splitlines()[:4] == ["mean:", "  u: 3.3333E-01", "mean_delta:", "  u: 0.0000E+00"]
    found = yaml.safe_load(text)
    assert set(found) == set(KEYS) and found["rms"] == {"u": 0.33333}


def test_fields_without_time_have_no_steps(tmp_path, files):
    with h5py.File(files[0], "a") as file:
        values, facts = file["t0_fields/p"][:, 0], dict(file["t0_fields/p"].attrs)
        del file["t0_fields/p"], file["pdesurrogates"]
        file["t0_fields/p"] = values
        file["t0_fields/p"].attrs.update({**facts, "time_varying": False})
    found = statistics(files[0])
    assert set(found.mean) == {"p", "velocity", "s"}
    assert set(found.mean_delta) == set(found.std_delta) == {"velocity", "s"}
    assert found.mean["p"] == pytest.approx(values.mean(), rel=1e-12)
    assert found.std["p"] == pytest.approx(values.std(), rel=1e-12)


def test_axes_of_other_names_make_vectors_too(files):
    with h5py.File(files[0], "a") as file:
        del file["pdesurrogates"]
        file["dimensions"].attrs["spatial_dims"] = ["r", "theta"]
        file["dimensions"].move("x", "r")
        file["dimensions"].move("y", "theta")
        file["boundary_conditions"].clear()
    assert np.shape(statistics(files[0]).mean["velocity"]) == (2,)


def test_wrong_files_are_refused(files, tmp_path):
    u = torch.zeros(2, 4, 8)
    u[1, 2, 3] = torch.nan
    bad = from_arrays(u, axes="trajectory time x", dt=0.1, extent=1.0)
    with pytest.raises(
        ValueError, match="trajectory 1: values must be finite, got nan .* frame 2"
    ):
        statistics(bad)
    with pytest.raises(ValueError, match=r"all files must have the fields .* got \('u',\)"):
        statistics([files[0], bad])
    with pytest.raises(ValueError, match="at least one file"):
        statistics([])
    with pytest.raises(ValueError, match=r"no files data/train/\*.hdf5"):
        write_statistics(tmp_path)


@pytest.mark.parametrize(
    ("count", "splits", "sizes"),
    [
        (10, (0.8, 0.1, 0.1), (8, 1, 1)),
        (100, (0.7, 0.2, 0.1), (70, 20, 10)),
        (3, (0.8, 0.1, 0.1), (1, 1, 1)),
        (7, (0.9, 0.1, 0.0), (6, 1, 0)),
        (5, (0.0, 0.0, 1.0), (0, 0, 5)),
        (1200, (0.8, 0.1, 0.1), (960, 120, 120)),
    ],
)
def test_splits_are_by_position_and_complete(count, splits, sizes):
    found = split_trajectories(count, splits)
    assert [len(found.get(name, ())) for name in ("train", "valid", "test")] == list(sizes)
    assert [n for rows in found.values() for n in rows] == list(range(count))


def test_wrong_splits_are_refused():
    for splits in ((0.8, 0.1), (0.8, 0.1, 0.2), (1.1, -0.1, 0.0)):
        with pytest.raises(ValueError, match="three shares .* that add up to 1"):
            split_trajectories(10, splits)
    with pytest.raises(ValueError, match="2 trajectories cannot be split"):
        split_trajectories(2, (0.8, 0.1, 0.1))


def test_folder_from_one_file(tmp_path, capsys):
    u = torch.randn(10, 5, 3, 8)
    source = write_trajectories(
        tmp_path / "run.h5", u, fields=FieldSpec(("u", "v", "w"), ("m", "s", "1")),
        grid=Grid((8,), (1.0,)), times=range(5), parameters={"nu": np.arange(10.0), "c": 2.0},
    )  # fmt: skip
    folder = tmp_path / "sets" / "waves"
    words = ["convert", str(source), str(folder), "--splits", "0.8", "0.1", "0.1"]
    assert main(words) == 0
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()) == [
        "data/test/run.hdf5", "data/train/run.hdf5", "data/valid/run.hdf5", "stats.yaml",
        "waves.yaml",
    ]  # fmt: skip
    for split, rows in (("train", range(8)), ("valid", [8]), ("test", [9])):
        with open_trajectories(*split_files(folder, split)) as file:
            assert file.attributes["dataset_name"] == "waves"
            assert file.fields == FieldSpec(("u", "v", "w"), ("m", "s", "1"))
            assert file.parameters["nu"].tolist() == [float(row) for row in rows]
            for index, row in enumerate(rows):
                assert torch.equal(file.read(index), u[row].float())
    stats = yaml.safe_load((folder / "stats.yaml").read_text())
    train = u[:8].float().double()
    assert stats["mean"]["v"] == pytest.approx(float(train[:, :, 1].mean()), rel=1e-4)
    assert stats["rms_delta"]["w"] == pytest.approx(
        float(train.diff(dim=1)[:, :, 2].square().mean().sqrt()), rel=1e-4
    )
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert main(words) == 0 and "was complete already" in capsys.readouterr().out
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before


def test_folder_from_files_of_the_same_name(tmp_path):
    for name, value in (("a", 1.0), ("b", 2.0)):
        (tmp_path / name).mkdir()
        write_trajectories(
            tmp_path / name / "run.h5", torch.full((2, 3, 1, 8), value), fields=FieldSpec(),
            grid=Grid((8,), (1.0,)), times=range(3),
        )  # fmt: skip
    folder = tmp_path / "both"
    sources = [tmp_path / "a" / "run.h5", tmp_path / "b" / "run.h5"]
    notes = write_well_folder(folder, {"train": sources, "test": sources[:1]})
    assert [path.name for path in split_files(folder, "train")] == ["run.hdf5", "run_2.hdf5"]
    assert "train: 2 trajectories in run_2.hdf5" in notes
    found = yaml.safe_load((folder / "both.yaml").read_text())
    assert found["n_trajectories_per_file"] == [2, 2] and found["n_steps_per_trajectory"] == [3, 3]
    assert yaml.safe_load((folder / "stats.yaml").read_text())["mean"]["u"] == 1.5
    (folder / "data" / "train" / "left_over.hdf5").write_bytes(b"")
    with pytest.raises(ValueError, match="data/train holds left_over.hdf5, which is not part"):
        write_well_folder(folder, {"train": sources})
    with pytest.raises(ValueError, match="splits are train, valid and test, got 'dev'"):
        write_well_folder(tmp_path / "c", {"dev": sources})
    with pytest.raises(ValueError, match="needs at least one file"):
        write_well_folder(tmp_path / "c", {"train": []})


def test_description_refuses_a_mixed_folder(tmp_path, files):
    place = tmp_path / "mixed" / "data" / "train"
    place.mkdir(parents=True)
    files[0].rename(place / "a.h5")
    write_trajectories(
        place / "b.h5", torch.zeros(1, 2, 1, 8), fields=FieldSpec(), grid=Grid((8,), (1.0,)),
        times=range(2),
    )  # fmt: skip
    with pytest.raises(ValueError, match="b.h5: n_spatial_dims must be 2 as in a.h5, got 1"):
        write_metadata(tmp_path / "mixed")


def test_killed_layouts_continue(tmp_path, files):
    class Stop(Exception):
        pass

    def stop(done, total):
        if done >= 12:
            raise Stop

    with pytest.raises(Stop):
        convert_to_folder(files[0], tmp_path / "a", splits=(0.34, 0.33, 0.33), progress=stop)
    convert_to_folder(files[0], tmp_path / "a", splits=(0.34, 0.33, 0.33))
    convert_to_folder(files[0], tmp_path / "b" / "a", splits=(0.34, 0.33, 0.33))
    for path in (tmp_path / "a").rglob("*.*"):
        other = tmp_path / "b" / path.relative_to(tmp_path)
        assert path.is_dir() or path.read_bytes() == other.read_bytes()
