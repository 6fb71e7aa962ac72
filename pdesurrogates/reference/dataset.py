"""The recipe of a data set: one recipe, several splits, files of a handy size, several sizes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from pdesurrogates.data.well_folder import SPLITS
from pdesurrogates.reference.recipe import Recipe
from pdesurrogates.reference.recipe_file import RecipeText, build_recipe, read_recipe

__all__ = ["DatasetRecipe", "Shard", "choose_size", "load_dataset", "merge"]

SMALL = "small"


@dataclasses.dataclass(frozen=True)
class Shard:
    """One file of a data set.

    Args:
        split: "train", "valid" or "test".
        path: Relative to the folder of the data set.
        recipe: What is in it.
        text: The complete recipe of this file, in YAML.
    """

    split: str
    path: Path
    recipe: Recipe
    text: str


@dataclasses.dataclass(frozen=True)
class DatasetRecipe:
    """Splits that share one recipe and one random ensemble, cut into files.

    The first trajectories of the ensemble are the test split's, the next the validation split's,
    the rest the training split's: none is in two splits, and more training data leaves the others
    as they are.

    Args:
        source: The recipe without the keys below, and where it came from.
        splits: Keys that each split adds to the recipe, `num_trajectories` among them.
        shard: Trajectories per file; by default a split is one file.
        size: Name of the size these keys are of, or `None`.
    """

    source: RecipeText
    splits: dict[str, Mapping[str, Any]]
    shard: int | None = None
    size: str | None = None

    @property
    def name(self) -> str:
        """Name of the data set and of its files."""
        return str(self.source.keys["name"])

    def shards(self, split: str | None = None) -> Iterator[Shard]:
        """The files of one split, or of all.

        Raises:
            ValueError: If there is no such split, or the recipe is wrong.
        """
        if split is not None and split not in self.splits:
            raise ValueError(
                f"{self.source.where}: there is no split {split!r}; the splits are "
                f"{', '.join(self.splits)}."
            )
        first = {}
        start = int(self.source.keys.get("first", 0))
        for name in reversed(self.splits):
            first[name] = start
            start += self.splits[name]["num_trajectories"]
        for name, keys in self.splits.items():
            if split in (None, name):
                yield from self._shards_of(name, keys, first[name])

    def _shards_of(self, split: str, keys: Mapping[str, Any], first: int) -> Iterator[Shard]:
        total = keys["num_trajectories"]
        whole = merge(self.source.keys, keys)
        recipe = build_recipe(dataclasses.replace(self.source, keys=whole))
        shard = self.shard or total
        for number, start in enumerate(range(0, total, shard)):
            part = {"first": first + start, "num_trajectories": min(shard, total - start)}
            yield Shard(
                split,
                Path("data", split, f"{self.name}_{number:04d}.hdf5"),
                dataclasses.replace(recipe, **part),
                yaml.safe_dump(whole | part, sort_keys=True),
            )


def load_dataset(
    source: str | Path | Mapping[str, Any], *, size: str | None = None
) -> DatasetRecipe:
    """The recipe of a data set: the keys of a recipe, and

        splits   trajectories per split: {train: 256, valid: 32, test: 32}; or keys that differ in
                 a split: {test: {num_trajectories: 32, num_steps: 400}}
        shard    trajectories per file
        sizes    keys that differ, by the name of a size: {paper: {}, small: {splits: {...}}}

    Args:
        source: YAML file, folder with a `recipe.yaml`, or mapping.
        size: One of the sizes; by default "small" where there is one.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a key, split or size does not exist or a value does not fit, naming it.
    """
    chosen, size = choose_size(read_recipe(source), size)
    if "splits" not in chosen.keys:
        raise ValueError(
            f"{chosen.where}: this is the recipe of one file; a data set has `splits`, e.g. "
            "splits: {train: 256, valid: 32, test: 32}."
        )
    return dataset_of(chosen, size)


def dataset_of(chosen: RecipeText, size: str | None) -> DatasetRecipe:
    """A data set from keys whose size is chosen."""
    keys, where = dict(chosen.keys), chosen.where
    splits = _splits(keys.pop("splits"), where)
    shard = keys.pop("shard", None)
    if "num_trajectories" in keys:
        raise ValueError(
            f"{where}: a data set takes its numbers of trajectories from `splits`; remove "
            "`num_trajectories`."
        )
    if not re.fullmatch(r"[\w.-]+", str(keys.get("name", ""))):
        raise ValueError(
            f"{where}: a data set needs a `name` of letters, digits, '_', '-' and '.', which is "
            f"also that of its files, got {keys.get('name')!r}."
        )
    if not splits or not set(splits) <= set(SPLITS):
        raise ValueError(
            f"{where}: the splits of The Well's layout are {', '.join(SPLITS)}, got "
            f"{', '.join(splits) or 'none'}."
        )
    for name, own in splits.items():
        number = own.get("num_trajectories") if isinstance(own, Mapping) else own
        if not isinstance(number, int) or number < 1 or "first" in own:
            raise ValueError(
                f"{where}: split {name!r} must be a number of trajectories, or keys with "
                f"`num_trajectories` and without `first`, got {own!r}."
            )
    if shard is not None and (not isinstance(shard, int) or shard < 1):
        raise ValueError(f"{where}: `shard` must be at least 1, got {shard!r}.")
    source = dataclasses.replace(chosen, keys=keys)
    in_order = {name: splits[name] for name in SPLITS if name in splits}
    return DatasetRecipe(source, in_order, shard, size)


def choose_size(source: RecipeText, size: str | None) -> tuple[RecipeText, str | None]:
    """The keys with those of one size merged in, and the name of that size."""
    keys = dict(source.keys)
    sizes = _mapping(keys.pop("sizes", {}), "sizes", source.where)
    if size is None and not sizes:
        return dataclasses.replace(source, keys=keys), None
    size = size or SMALL
    if size not in sizes:
        raise ValueError(
            f"{source.where}: there is no size {size!r}; the sizes are "
            f"{', '.join(sizes) or 'not named in this recipe'}."
        )
    changes = _mapping(sizes[size] or {}, f"sizes: {size}", source.where)
    for part in (keys, changes):
        if "splits" in part:
            part["splits"] = _splits(part["splits"], source.where)
    keys = merge(keys, changes)
    return RecipeText(keys, yaml.safe_dump(keys, sort_keys=False), source.where), size


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` merged in, key by key at every level.

    Where the class changes, its arguments are replaced as a whole.

    Example:
        >>> merge({"grid": {"num_points": [64], "extent": [1.0]}}, {"grid": {"num_points": [8]}})
        {'grid': {'num_points': [8], 'extent': [1.0]}}
    """
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            same = value.get("class_path", old.get("class_path")) == old.get("class_path")
            value = merge(old, value) if same else dict(value)
        merged[key] = value
    return merged


def _splits(value: Any, where: str) -> dict[str, Any]:
    """Splits with a number of trajectories spelt out as keys."""
    return {
        name: {"num_trajectories": own} if isinstance(own, int) else own
        for name, own in _mapping(value, "splits", where).items()
    }


def _mapping(value: Any, name: str, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}: `{name}` must be keys and values, got {value!r}.")
    return {str(key): own for key, own in value.items()}
