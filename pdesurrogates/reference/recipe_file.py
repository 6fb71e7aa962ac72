"""Recipes as text: YAML with classes by their import path."""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import jsonargparse
import yaml

from pdesurrogates.core import BoundaryCondition
from pdesurrogates.reference.recipe import Recipe

__all__ = ["RecipeText", "build_recipe", "load_recipe", "read_recipe"]

_CONDITIONS = [condition.__name__ for condition in get_args(BoundaryCondition)]
_FILE = "recipe.yaml"
_DATASET_KEYS = "; a data set has splits, shard and sizes as well, see docs/cli.md"


@dataclasses.dataclass(frozen=True)
class RecipeText:
    """A recipe before its classes are built.

    Args:
        keys: Keys and plain values.
        text: As its author wrote it.
        where: What it came from, for messages.
    """

    keys: dict[str, Any]
    text: str
    where: str


def load_recipe(source: str | Path | Mapping[str, Any]) -> Recipe:
    """A recipe of one file, from YAML or a mapping.

    Classes are given by `class_path` and `init_args`; a folder stands for its `recipe.yaml`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a key or class does not exist or a value does not fit, naming it.
    """
    return build_recipe(read_recipe(source))


def read_recipe(source: str | Path | Mapping[str, Any]) -> RecipeText:
    """The keys of a recipe file, of the `recipe.yaml` in a folder, or of a mapping.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not YAML, or not keys and values.
    """
    if isinstance(source, Mapping):
        keys = json.loads(json.dumps(source))
        text = yaml.safe_dump(keys, sort_keys=True)
        return RecipeText(keys, text, "Recipe from a mapping")
    path = Path(source)
    where = f"Recipe from {path}"
    text = _read(path / _FILE if (path / _FILE).is_file() else path)
    try:
        keys = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{where}: this is not YAML ({error}).") from error
    if not isinstance(keys, dict):
        raise ValueError(f"{where}: expected keys and values, got {type(keys).__name__}.")
    return RecipeText({str(key): value for key, value in keys.items()}, text, where)


def build_recipe(source: RecipeText) -> Recipe:
    """The recipe with its classes built.

    Raises:
        ValueError: If a key or class does not exist or a value does not fit, naming it.
    """
    keys = dict(source.keys)
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Recipe, None, skip={"boundary"})
    try:
        _check_keys(keys)
        boundary = _boundary(keys.pop("boundary", None))
        parsed = parser.parse_object(keys)
        return Recipe(**vars(parser.instantiate(parsed)), boundary=boundary)
    except (jsonargparse.ArgumentError, ValueError) as error:
        raise ValueError(f"{source.where}: {error}") from error


def _read(path: Path) -> str:
    if not path.is_file():
        what = f"this folder has no {_FILE}" if path.is_dir() else "no such file"
        raise FileNotFoundError(f"{path}: {what}; expected a recipe in YAML, see docs/cli.md.")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: this is not a text file ({error}); expected a recipe in YAML, see "
            "docs/cli.md."
        ) from error


def _check_keys(keys: Mapping[str, Any]) -> None:
    """Unknown and missing keys by name; defaults of a group must not stand in for a grid."""
    known = {field.name: field for field in dataclasses.fields(Recipe)}
    required = {
        name
        for name, field in known.items()
        if field.default is field.default_factory is dataclasses.MISSING
    }
    unknown = sorted(key for key in keys if key not in known)
    missing = sorted(required - set(keys))
    if unknown or missing:
        raise ValueError(
            f"unknown keys {unknown}, missing keys {missing}; the keys are {', '.join(known)}"
            f"{_DATASET_KEYS}."
        )
    solver = keys.get("solver")
    if isinstance(solver, Mapping) and {"grid", "boundary"} & set(solver.get("init_args") or ()):
        raise ValueError(
            "`solver` must not repeat the grid or the boundary in its init_args; give them as "
            "`grid` and `boundary` of the recipe."
        )


def _boundary(value: Any) -> Any:
    """Conditions from their class paths: one, a list per axis, pairs, or a mapping by field."""
    if value is None:
        return None
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(_boundary(entry) for entry in value)
    if not isinstance(value, Mapping):
        raise ValueError(
            "`boundary` must be a condition (class_path, init_args), a list of them per axis, or "
            f"a mapping from field names, got {value!r}."
        )
    if "class_path" not in value:
        return {str(name): _boundary(own) for name, own in value.items()}
    unknown = sorted(set(value) - {"class_path", "init_args"})
    if unknown:
        raise ValueError(f"`boundary`: a condition has no keys {unknown}.")
    condition, arguments = _class(value["class_path"]), value.get("init_args") or {}
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(condition, "arguments")
    try:
        return parser.instantiate(parser.parse_object({"arguments": arguments})).arguments
    except (jsonargparse.ArgumentError, TypeError) as error:
        raise ValueError(f"`boundary`: {condition.__name__}: {error}") from error


def _class(path: Any) -> type:
    """The class of a boundary condition by its import path."""
    module, _, name = str(path).rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"`boundary`: there is no condition {path!r}; some are "
            f"{', '.join(f'pdesurrogates.core.{known}' for known in _CONDITIONS)}."
        ) from error
    if not dataclasses.is_dataclass(found) or not isinstance(found, type):
        raise ValueError(f"`boundary`: {path!r} is no boundary condition.")
    return found
