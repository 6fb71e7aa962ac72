"""Data sets: disjoint splits, sizes, shards, the folder, and what a repeat leaves alone."""

import hashlib
import json

import pytest
import torch
import yaml

from pdesurrogates.data import open_trajectories
from pdesurrogates.reference import generate, load_dataset, load_recipe
from pdesurrogates.reference.dataset import merge

DATASET = {
    "name": "waves",
    "equation": {
        "class_path": "pdesurrogates.equations.Advection",
        "init_args": {"velocity": 1.0},
    },
    "grid": {"num_points": [64], "extent": [1.0]},
    "initial_condition": {
        "class_path": "pdesurrogates.reference.RandomFourierSeries",
        "init_args": {"max_wavenumber": 3},
    },
    "dt": 0.1,
    "num_steps": 5,
    "solver_dt": 0.1,
    "chunk": 2,
    "seed": 7,
    "splits": {"train": 40, "valid": 20, "test": {"num_trajectories": 20, "num_steps": 9}},
    "shard": 10,
    "sizes": {
        "paper": None,
        "small": {"grid": {"num_points": [16]}, "splits": {"train": 7, "valid": 2, "test": 3}},
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    recipe = {**DATASET, "shard": 4}
    place = tmp_path_factory.mktemp("recipes")
    (place / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return generate(place, tmp_path_factory.mktemp("made") / "waves")


def read(path):
    with open_trajectories(path) as file:
        return torch.stack([file.read(i) for i in range(file.num_trajectories)])


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_folder_is_laid_out_as_the_well(folder):
    assert list(digests(folder)) == [
        "checksums.sha256",
        "data/test/waves_0000.hdf5",
        "data/train/waves_0000.hdf5",
        "data/train/waves_0001.hdf5",
        "data/valid/waves_0000.hdf5",
        "generation.jsonl",
        "stats.yaml",
        "waves.yaml",
    ]
    counts = [len(read(path)) for path in sorted(folder.glob("data/*/*.hdf5"))]
    assert counts == [3, 4, 3, 2]
    stats = yaml.safe_load((folder / "stats.yaml").read_text())
    train = torch.cat([read(path) for path in sorted(folder.glob("data/train/*.hdf5"))])
    assert stats["std"]["u"] == pytest.approx(float(train.double().std(correction=0)), rel=1e-3)


def test_splits_are_one_ensemble_without_common_members(folder):
    ensemble = load_recipe(
        {key: DATASET[key] for key in ("equation", "initial_condition", "dt", "solver_dt", "seed")}
        | {"grid": {"num_points": [16], "extent": [1.0]}, "num_steps": 1, "num_trajectories": 12}
    ).initial_states(0, 12)
    order = ["test/waves_0000", "valid/waves_0000", "train/waves_0000", "train/waves_0001"]
    stored = torch.cat([read(folder / "data" / f"{name}.hdf5")[:, 0] for name in order])
    assert torch.allclose(stored.double(), ensemble, atol=1e-6)


def test_a_split_may_have_keys_of_its_own_and_files_say_what_they_are(folder):
    test = folder / "data" / "test" / "waves_0000.hdf5"
    assert read(test).shape[1] == 10 and read(folder / "data/valid/waves_0000.hdf5").shape[1] == 6
    with open_trajectories(test) as file:
        recipe = load_recipe(yaml.safe_load(file.attributes["recipe"]))
    assert (recipe.first, recipe.num_trajectories, recipe.num_steps) == (0, 3, 9)
    assert recipe.grid.shape == (16,)


def test_checksums_are_right_and_the_log_has_every_chunk(folder):
    known = digests(folder)
    lines = (folder / "checksums.sha256").read_text().splitlines()
    listed = dict(reversed(line.split("  ")) for line in lines)
    assert listed == {
        name: digest
        for name, digest in known.items()
        if name not in ("checksums.sha256", "generation.jsonl")
    }
    log = [json.loads(line) for line in (folder / "generation.jsonl").read_text().splitlines()]
    assert len(log) == 2 + 2 + 1 + 2
    assert all(line["drift"]["mass"] < 1e-12 and line["seconds"] > 0 for line in log)


def test_a_repeat_leaves_what_is_finished_and_makes_what_is_missing(folder):
    before = digests(folder)
    lost = folder / "data" / "train" / "waves_0001.hdf5"
    kept = folder / "data" / "train" / "waves_0000.hdf5"
    times = kept.stat().st_mtime_ns, (folder / "stats.yaml").stat().st_mtime_ns
    generate({**DATASET, "shard": 4}, folder)
    assert (kept.stat().st_mtime_ns, (folder / "stats.yaml").stat().st_mtime_ns) == times
    lost.unlink()
    generate({**DATASET, "shard": 4}, folder)
    assert kept.stat().st_mtime_ns == times[0]
    after = digests(folder)
    assert len((folder / "generation.jsonl").read_text().splitlines()) == 7 + 2
    assert all(after[name] == before[name] for name in before if name != "generation.jsonl")
    with pytest.raises(
        ValueError, match="waves_0000.hdf5 exists and was made from another recipe"
    ):
        generate({**DATASET, "shard": 4, "seed": 8}, folder)


def test_one_split_alone(tmp_path):
    generate(DATASET, tmp_path / "a", split="valid")
    assert sorted(path.name for path in (tmp_path / "a").glob("data/*")) == ["valid"]
    assert (tmp_path / "a" / "checksums.sha256").is_file()
    generate(DATASET, tmp_path / "a")
    assert (tmp_path / "a" / "checksums.sha256").read_text().count(".hdf5") == 3
    with pytest.raises(ValueError, match="no split 'held_out'; the splits are train, valid, test"):
        generate(DATASET, tmp_path / "a", split="held_out")


def test_sizes_change_what_they_name_and_nothing_else():
    paper, small = (load_dataset(DATASET, size=size) for size in ("paper", "small"))
    assert load_dataset(DATASET).size == "small"
    assert [len(list(each.shards("train"))) for each in (paper, small)] == [4, 1]
    large, little = (next(each.shards("test")).recipe for each in (paper, small))
    assert (large.grid.shape, little.grid.shape) == ((64,), (16,))
    assert (large.num_steps, little.num_steps) == (9, 9)
    assert little.grid.extent == (1.0,)


def test_more_training_data_leaves_the_other_splits_as_they_are():
    more = {**DATASET, "splits": {**DATASET["splits"], "train": 400}}
    for data in (DATASET, more):
        dataset = load_dataset(data, size="paper")
        first = {split: next(dataset.shards(split)).recipe.first for split in dataset.splits}
        assert first == {"test": 0, "valid": 20, "train": 40}


def test_a_recipe_of_one_file_may_have_sizes(tmp_path):
    recipe = {key: value for key, value in DATASET.items() if key not in ("splits", "shard")}
    recipe |= {"num_trajectories": 50, "sizes": {"small": {"num_trajectories": 2}}}
    generate(recipe, tmp_path / "a.hdf5")
    assert len(read(tmp_path / "a.hdf5")) == 2
    with pytest.raises(ValueError, match="has neither splits nor sizes|no splits"):
        generate(recipe, tmp_path / "b.hdf5", split="train")


def test_merge_replaces_the_arguments_of_another_class():
    base = {"equation": {"class_path": "A", "init_args": {"a": 1, "b": 2}}, "dt": 1}
    assert merge(base, {"equation": {"init_args": {"b": 3}}}) == {
        "equation": {"class_path": "A", "init_args": {"a": 1, "b": 3}},
        "dt": 1,
    }
    other = {"equation": {"class_path": "B", "init_args": {"c": 3}}}
    assert merge(base, other) == {**other, "dt": 1}
    assert base["equation"]["init_args"] == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    "change, text",
    [
        ({"splits": {"training": 3}}, "splits of The Well's layout are train, valid, test, got"),
        ({"splits": {"train": 0}}, "split 'train' must be a number of trajectories"),
        ({"splits": {"train": {"num_steps": 3}}}, "with `num_trajectories`"),
        ({"splits": {}}, "got none"),
        ({"splits": 3}, "`splits` must be keys and values"),
        ({"shard": 0}, "`shard` must be at least 1"),
        ({"num_trajectories": 3}, "takes its numbers of trajectories from `splits`"),
        ({"name": "a/b"}, "needs a `name` of letters"),
        ({"sizes": {"large": {}}}, "no size 'small'; the sizes are large"),
        ({"sizes": {"small": {"num_stepz": 3}}}, "num_stepz"),
        ({"sizes": ["small"]}, "`sizes` must be keys and values"),
    ],
)
def test_impossible_data_sets_are_refused(change, text, tmp_path):
    whole = {**DATASET, "sizes": {"small": {}}, **change}
    with pytest.raises(ValueError, match=text):
        generate(whole, tmp_path / "a")
    assert not list(tmp_path.rglob("*.hdf5*"))


def test_a_file_is_no_folder_and_a_folder_no_file(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(ValueError, match="is a file; a data set needs a folder"):
        generate(DATASET, tmp_path / "a")
    single = {key: value for key, value in DATASET.items() if key not in ("splits", "shard")}
    with pytest.raises(ValueError, match="is a folder; name a file in it"):
        generate({**single, "sizes": {"small": {"num_trajectories": 1}}}, tmp_path)
    with pytest.raises(ValueError, match="this is the recipe of one file"):
        load_dataset({**single, "sizes": {"small": {}}})
