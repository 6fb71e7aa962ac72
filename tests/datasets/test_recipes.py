"""Every shipped data set: both sizes are sound, the card is complete, a first step can be made."""

import dataclasses
import re
from pathlib import Path

import pytest
import torch

from pdesurrogates.equations import SteadyEquation
from pdesurrogates.reference import generate, load_dataset
from pdesurrogates.reference.simulate import simulate

FOLDER = Path(__file__).resolve().parents[2] / "datasets"
NAMES = sorted(path.parent.name for path in FOLDER.glob("*/recipe.yaml"))
HEADINGS = ("## Sizes", "## Expected statistics", "## Checksums")


def test_all_benchmarks_are_there():
    stems = {name.rsplit("_", 1)[0] for name in NAMES} | set(NAMES)
    for family in ("pdebench", "pdearena", "pde_refiner", "apebench"):
        assert any(stem.startswith(family) for stem in stems)
    assert len(NAMES) >= 25


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", ["paper", "small"])
def test_recipe_is_sound(name, size):
    dataset = load_dataset(FOLDER / name, size=size)
    assert dataset.name == name
    shards = list(dataset.shards())
    assert {shard.split for shard in shards} >= {"train", "test"}
    ranges = sorted((s.recipe.first, s.recipe.num_trajectories) for s in shards)
    for (first, count), (following, _) in zip(ranges, ranges[1:], strict=False):
        assert first + count == following, "splits must share no trajectory"
    if size == "small":
        recipe = shards[0].recipe
        frame = recipe.fields.num_channels * torch.Size(recipe.grid.shape).numel() * 4
        total = sum(s.recipe.num_trajectories * len(s.recipe.times) for s in shards)
        assert frame * total < 100e6, "a small size is below 100 MB"


@pytest.mark.parametrize("name", NAMES)
def test_the_first_step_of_the_small_size(name):
    recipe = next(load_dataset(FOLDER / name, size="small").shards()).recipe
    short = dataclasses.replace(recipe, burn_in=0.0)
    if not isinstance(recipe.equation, SteadyEquation):
        short = dataclasses.replace(short, num_steps=1, dt=recipe.dt / 10)
    states = simulate(short, 0, 1).states
    assert torch.isfinite(states).all()
    assert states.shape[2:] == (recipe.fields.num_channels, *recipe.grid.shape)


@pytest.mark.parametrize("name", NAMES)
def test_the_card_says_what_was_measured(name):
    text = (FOLDER / name / "README.md").read_text(encoding="utf-8")
    for heading in HEADINGS:
        assert heading in text, f"run python datasets/cards.py {name}"
    assert re.search(r"^[0-9a-f]{64}  data/train/", text, flags=re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pdebench_advection", "apebench_kuramoto_sivashinsky"])
def test_the_small_size_has_the_statistics_of_its_card(name, tmp_path):
    generate(FOLDER / name, tmp_path / name, size="small")
    card = (FOLDER / name / "README.md").read_text(encoding="utf-8")
    row = re.search(r"^\| u \| ([^|]+) \| ([^|]+) \|", card, flags=re.MULTILINE)
    statistics = (tmp_path / name / "stats.yaml").read_text(encoding="utf-8")
    std = float(re.search(r"^std:\n\s+u: (\S+)", statistics, flags=re.MULTILINE)[1])
    assert std == pytest.approx(float(row[2]), rel=1e-3)
