"""Data sets from a recipe: seeded, chunked, resumable."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from pdesurrogates.data import TrajectoryWriter, open_trajectories
from pdesurrogates.reference.recipe import Recipe, load_recipe, read_recipe

__all__ = ["generate"]


def generate(
    recipe: Recipe | str | Path | Mapping[str, Any],
    path: str | Path,
    *,
    progress: Callable[[Iterable[int]], Iterable[int]] | None = None,
    overwrite: bool = False,
) -> Path:
    """Solve a recipe in float64 and write the trajectories to HDF5 in The Well layout.

    Chunks are written as they are made. After a kill at any moment the same call continues, and
    the finished file is the same to the last bit; a finished file of the same recipe is left
    alone. The recipe and the versions of this package and of torch are stored in the file.

    Args:
        recipe: A recipe, or a YAML file or mapping for `load_recipe`.
        path: File to write; until it is complete it is called `<path>.partial`.
        progress: Wraps the iterable of first trajectory indices, e.g. a progress bar.
        overwrite: Replace an existing file.

    Returns:
        The path.
    """
    text = _recipe_text(recipe)
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    text = text or repr(recipe)
    versions = {name: metadata.version(name) for name in ("pdesurrogates", "torch", "numpy")}
    attributes = {
        "recipe": text,
        "versions": json.dumps(versions),
        "equation": type(recipe.equation).__name__,
    }
    if not overwrite and _holds(Path(path), attributes):
        return Path(path)
    fixed = {
        field.name: float(value)
        for field in dataclasses.fields(recipe.equation)
        if isinstance(value := getattr(recipe.equation, field.name), (int, float))
        and field.name not in (*recipe.parameters, "dim")
    }
    writer = TrajectoryWriter(
        path,
        fields=recipe.equation.fields,
        grid=recipe.grid,
        times=recipe.times,
        num_trajectories=recipe.num_trajectories,
        parameters={**fixed, **recipe.drawn_parameters(0, recipe.num_trajectories)},
        attributes=attributes,
        name=recipe.name,
        dtype=recipe.dtype,
        fingerprint=hashlib.sha256(json.dumps(attributes).encode()).hexdigest(),
        overwrite=overwrite,
    )
    with writer:
        starts = range(0, recipe.num_trajectories, recipe.chunk)
        for start in starts if progress is None else progress(starts):
            stop = min(start + recipe.chunk, recipe.num_trajectories)
            if not writer.completed.issuperset(range(start, stop)):
                writer.write(start, recipe.solve(start, stop))
        writer.finish()
    return Path(path)


def _holds(path: Path, attributes: dict[str, str]) -> bool:
    """Whether a finished file was made by this recipe with these versions."""
    if not path.is_file():
        return False
    try:
        with open_trajectories(path) as file:
            return attributes.items() <= file.attributes.items()
    except (ValueError, OSError):
        return False


def _recipe_text(recipe: Recipe | str | Path | Mapping[str, Any]) -> str:
    """The recipe as its author wrote it, where there is such a text."""
    if isinstance(recipe, Recipe):
        return ""
    if isinstance(recipe, Mapping):
        return json.dumps(recipe, sort_keys=True)
    return read_recipe(Path(recipe))
