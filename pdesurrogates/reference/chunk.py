"""One chunk of a data set: the piece of work that runs anywhere and gives the same bytes."""

from __future__ import annotations

import functools
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata

import numpy as np
import torch
import yaml

from pdesurrogates.reference.recipe import Recipe
from pdesurrogates.reference.recipe_file import RecipeText, build_recipe
from pdesurrogates.reference.simulate import simulate

__all__ = ["ChunkFailure", "ChunkResult", "package_versions", "solve_chunk"]

_alone = threading.Lock()


@dataclass(frozen=True)
class ChunkResult:
    """Trajectories as they are stored.

    Args:
        states: (trajectory, time, channel, *space) in the stored precision.
        drift: Largest relative drift of each conserved quantity.
        seconds: Time it took [s].
    """

    states: np.ndarray
    drift: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class ChunkFailure:
    """Why there are none.

    Args:
        message: What went wrong.
        is_local: Whether other trajectories may do better: the solution broke down, and nothing
            is wrong with the recipe.
        trace: Where in the code it arose.
    """

    message: str
    is_local: bool
    trace: str = ""


def solve_chunk(
    source: Recipe | str, start: int, stop: int, versions: Mapping[str, str]
) -> ChunkResult | ChunkFailure:
    """Solve for trajectories start .. stop - 1, on one thread.

    One thread, because sums over several threads add up in another order, so a chunk would depend
    on the machine's number of cores; and because chunks side by side use the cores better than
    threads within one. For the same reason chunks within one process take turns.

    Args:
        source: A recipe, or its YAML text.
        start: First trajectory.
        stop: Last trajectory and one.
        versions: What `package_versions()` gave where the file is written.
    """
    try:
        here = package_versions()
        if here != versions:
            raise ValueError(
                f"this worker has {here}, but the file is written with {dict(versions)}, which "
                "may round differently; install the same versions on every machine."
            )
        begin = time.perf_counter()
        with _alone, _reproducible():
            recipe = source if isinstance(source, Recipe) else _recipe(source)
            simulated = simulate(recipe, start, stop)
            states = simulated.states.to(getattr(torch, recipe.dtype)).numpy()
        return ChunkResult(states, simulated.drift, time.perf_counter() - begin)
    except Exception as error:
        # The reason travels as text: not every exception survives the way between processes.
        message = str(error) or type(error).__name__
        is_local = isinstance(error, ArithmeticError)
        return ChunkFailure(message, is_local, traceback.format_exc())


def package_versions() -> dict[str, str]:
    """What the bits of a solution depend on."""
    return {name: metadata.version(name) for name in ("pdesurrogates", "torch", "numpy")}


@functools.lru_cache(maxsize=8)
def _recipe(text: str) -> Recipe:
    return build_recipe(RecipeText(yaml.safe_load(text), text, "Recipe"))


@contextmanager
def _reproducible() -> Iterator[None]:
    """One thread, and a default precision that does not depend on the caller."""
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
