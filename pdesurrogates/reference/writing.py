"""Chunks into files as they come, in any order, files side by side."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from pdesurrogates.core import BoundaryCondition, Dirichlet, FieldBoundary, FieldSpec
from pdesurrogates.data import TrajectoryWriter, open_trajectories
from pdesurrogates.reference.chunk import ChunkFailure, ChunkResult, package_versions
from pdesurrogates.reference.cluster import Chunk, Outcome
from pdesurrogates.reference.recipe import Recipe

__all__ = ["GenerationError", "Planned", "write_planned"]

_NAMED_FAILURES = 5


class GenerationError(ValueError):
    """Some trajectories could not be solved; the others are kept."""


@dataclass(frozen=True)
class Planned:
    """A file to be written.

    Args:
        path: Its final name.
        recipe: What is in it.
        text: The recipe as it is stored in the file, and as workers can read it.
        source: What workers build the recipe from.
    """

    path: Path
    recipe: Recipe
    text: str
    source: Recipe | str

    @property
    def chunks(self) -> list[tuple[int, int]]:
        """(first trajectory, last and one) of each chunk."""
        total, size = self.recipe.num_trajectories, self.recipe.chunk
        return [(start, min(start + size, total)) for start in range(0, total, size)]

    @property
    def attributes(self) -> dict[str, str]:
        """What the file says about its origin."""
        return {
            "recipe": self.text,
            "versions": json.dumps(package_versions()),
            "equation": type(self.recipe.equation).__name__,
        }

    def is_finished(self) -> bool:
        """Whether the file is there, made by this recipe with these versions."""
        if not self.path.is_file():
            return False
        try:
            with open_trajectories(self.path) as file:
                return self.attributes.items() <= file.attributes.items()
        except (ValueError, OSError):
            return False

    def writer(self, *, overwrite: bool) -> TrajectoryWriter:
        """The file, begun or continued."""
        recipe, attributes = self.recipe, self.attributes
        return TrajectoryWriter(
            self.path,
            fields=recipe.fields,
            grid=recipe.grid,
            times=recipe.times,
            num_trajectories=recipe.num_trajectories,
            parameters={
                **recipe.constants,
                **recipe.drawn_parameters(0, recipe.num_trajectories),
            },
            attributes=attributes,
            name=recipe.name,
            dtype=recipe.dtype,
            boundaries=_stated_boundary(recipe),
            fingerprint=hashlib.sha256(json.dumps(attributes).encode()).hexdigest(),
            overwrite=overwrite,
        )


@dataclass
class _Open:
    """A file being written, and the first trajectories of the chunks it waits for."""

    planned: Planned
    writer: TrajectoryWriter
    missing: set[int] = field(default_factory=set)


def write_planned(
    files: Iterable[Planned],
    solve: Callable[[Iterable[Chunk]], Iterator[Outcome]],
    *,
    overwrite: bool = False,
    log: Callable[[Planned, int, ChunkResult], None] | None = None,
) -> Iterator[int]:
    """Write files chunk by chunk; yields the first trajectory of each chunk that is on disk.

    Where a solution breaks down the other chunks go on; anything else that goes wrong would go
    wrong for all of them, and stops the rest.

    Args:
        files: What to write, in order.
        solve: Turns chunks into outcomes, in any order, asking for a bounded number ahead.
        overwrite: Replace existing files.
        log: Called with file, first trajectory and result of every chunk.

    Raises:
        GenerationError: At the end, naming the trajectories that could not be solved.
    """
    open_files: dict[Path, _Open] = {}
    present: deque[int] = deque()
    failures: list[tuple[Chunk, ChunkFailure]] = []

    def chunks() -> Iterator[Chunk]:
        for planned in files:
            entry = _Open(planned, planned.writer(overwrite=overwrite))
            open_files[planned.path] = entry
            done = entry.writer.completed
            missing = [pair for pair in planned.chunks if not done.issuperset(range(*pair))]
            entry.missing = {start for start, _ in missing}
            present.extend(start for start, _ in planned.chunks if start not in entry.missing)
            _close_if_complete(entry, open_files)
            for start, stop in missing:
                if failures and not failures[-1][1].is_local:
                    return
                yield Chunk(entry, planned.source, start, stop)

    try:
        for chunk, outcome in solve(chunks()):
            while present:
                yield present.popleft()
            entry: _Open = chunk.owner
            if isinstance(outcome, ChunkFailure):
                failures.append((chunk, outcome))
                continue
            entry.writer.write(chunk.start, outcome.states)
            entry.missing.discard(chunk.start)
            if log is not None:
                log(entry.planned, chunk.start, outcome)
            _close_if_complete(entry, open_files)
            yield chunk.start
        while present:
            yield present.popleft()
    finally:
        for entry in open_files.values():
            entry.writer.close()
    if failures:
        raise _error(failures)


def _stated_boundary(recipe: Recipe) -> FieldBoundary | None:
    """The boundary conditions as far as a file can state them; all of them are in the recipe."""
    boundary = recipe.boundary
    if boundary is None and recipe.is_steady:
        boundary = Dirichlet(0.0)
    if recipe.coefficients or not all(map(_is_stateable, _conditions(boundary))):
        return None
    if isinstance(boundary, Mapping):
        stored = recipe.fields
        own = {name: value for name, value in boundary.items() if _has(stored, name)}
        covered = {i for name in own for i in range(stored.num_channels)[stored.channels(name)]}
        return own if len(covered) == stored.num_channels else None
    return boundary


def _conditions(boundary: Any) -> Iterator[Any]:
    if isinstance(boundary, Mapping):
        boundary = tuple(boundary.values())
    if isinstance(boundary, Sequence):
        for entry in boundary:
            yield from _conditions(entry)
    elif boundary is not None:
        yield boundary


def _is_stateable(condition: Any) -> bool:
    return isinstance(condition, get_args(BoundaryCondition))


def _has(fields: FieldSpec, name: str) -> bool:
    return any(own == name or own.startswith(f"{name}_") for own in fields.names)


def _close_if_complete(entry: _Open, open_files: dict[Path, _Open]) -> None:
    if not entry.missing:
        entry.writer.finish()
        del open_files[entry.planned.path]


def _error(failures: list[tuple[Chunk, ChunkFailure]]) -> GenerationError:
    lines = [
        f"{chunk.owner.planned.path.name}, trajectories {chunk.start} .. {chunk.stop - 1}: "
        f"{failure.message}"
        for chunk, failure in failures[:_NAMED_FAILURES]
    ]
    if len(failures) > _NAMED_FAILURES:
        lines.append(f"and {len(failures) - _NAMED_FAILURES} chunks more.")
    error = GenerationError(
        f"generate: {len(failures)} chunk{'s' * (len(failures) > 1)} could not be solved. "
        + " | ".join(lines)
        + " Every other chunk that was solved is kept in the .partial file; the same call solves "
        "only what is missing, another recipe starts over."
    )
    error.add_note(failures[0][1].trace)
    return error
