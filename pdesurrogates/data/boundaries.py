"""Boundary conditions as files state them: in The Well's words, and exactly in our own group."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard, cast, get_args

import h5py
import numpy as np

from pdesurrogates.core import (
    Boundary,
    BoundaryCondition,
    BoundarySides,
    Dirichlet,
    FieldBoundary,
    FieldSpec,
    Grid,
    Outflow,
    Periodic,
    boundary_sides,
    field_boundaries,
)
from pdesurrogates.data.guard import read_attributes, reading, require_dataset, require_group

__all__ = [
    "Conditions",
    "StatedBoundary",
    "Words",
    "boundary_from_text",
    "boundary_to_text",
    "is_words",
    "read_boundary_words",
    "stated_boundary",
    "write_boundary_groups",
]

Words = tuple[tuple[str | None, str | None], ...]
"""The Well's word (wall, open, periodic) for both ends of every axis, `None` where none is."""

Conditions = BoundarySides | Mapping[str, BoundarySides]
"""The conditions at both ends of every axis, for all fields or per channel."""

StatedBoundary = Conditions | Words
"""What a file says about its ends."""

_ALL, _WORDS = "*", "words"
_LARGEST = 256 * 2**20
_CONDITIONS = {condition.__name__: condition for condition in get_args(BoundaryCondition)}


def stated_boundary(
    boundaries: FieldBoundary | Words | None, fields: FieldSpec, grid: Grid, *, where: str
) -> StatedBoundary | None:
    """What a user gave, with both ends of every axis spelt out.

    `None` stays `None` unless every axis is periodic, where nothing is open.

    Args:
        boundaries: One condition (per axis, per end) for all fields, or one per field or vector;
            or the words of a file whose conditions are not known.
        fields: Names of the channels.
        grid: Says which axes are periodic.
        where: Caller, for messages.

    Raises:
        ValueError: If a field is missing or unknown, or the conditions do not fit the grid.
    """
    if boundaries is None:
        return ((Periodic(), Periodic()),) * grid.dim if all(grid.is_periodic) else None
    if is_words(boundaries):
        if len(boundaries) != grid.dim:
            raise ValueError(
                f"{where}: `boundaries` must have a pair of words for each of {grid.dim} axes, "
                f"got {boundaries}."
            )
        return tuple((low, high) for low, high in boundaries)
    if not isinstance(boundaries, Mapping):
        return boundary_sides(cast(Boundary, boundaries), grid, where=where)
    sides = field_boundaries(boundaries, fields, grid, where=where)
    return dict(zip(fields.names, sides, strict=True))


def is_words(boundary: object) -> TypeGuard[Words]:
    """Whether these are words of The Well rather than conditions."""
    return isinstance(boundary, tuple) and all(
        isinstance(pair, tuple) and all(isinstance(end, str | None) for end in pair)
        for pair in boundary
    )


def boundary_to_text(stated: StatedBoundary) -> str:
    """JSON with every number exact.

    Raises:
        ValueError: If a condition holds something else than finite numbers.
    """
    if is_words(stated):
        return json.dumps({_WORDS: stated})
    per_field = _per_field(cast(Conditions, stated))
    described = {
        name: [[_described(condition) for condition in pair] for pair in sides]
        for name, sides in per_field.items()
    }
    try:
        return json.dumps(described, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"boundaries: only conditions with finite numbers can be stored ({error}), got "
            f"{described}; leave out what varies and describe it in `attributes`."
        ) from error


def boundary_from_text(text: str, *, where: str) -> StatedBoundary:
    """The inverse of `boundary_to_text`.

    Raises:
        ValueError: If the text says something else.
    """
    try:
        entries = json.loads(text)
        if set(entries) == {_WORDS}:
            return tuple((low, high) for low, high in entries[_WORDS])
        found: dict[str, BoundarySides] = {
            name: tuple((_condition(low), _condition(high)) for low, high in sides)
            for name, sides in entries.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{where}: the boundary conditions {text[:80]!r} cannot be read "
            f"({type(error).__name__}: {error}); the file is damaged or was written by a newer "
            f"version. Delete the attribute to read the rest."
        ) from error
    return found[_ALL] if set(found) == {_ALL} else found


def write_boundary_groups(
    file: h5py.File,
    grid: Grid,
    dims: Sequence[str],
    names: Sequence[str],
    stated: StatedBoundary | None,
) -> None:
    """The group `boundary_conditions` of The Well: periodic, wall and open ends with their masks.

    An axis with ends of which nothing is stated gets no group. Prescribed values
    (`Dirichlet`) are stored in the order of the mask; what The Well has no word for (a prescribed
    derivative) is stored as a wall.
    """
    parent = file.create_group("boundary_conditions")
    if is_words(stated):
        _write_words(parent, grid, dims, stated)
        return
    for axis, (dim, n) in enumerate(zip(dims, grid.shape, strict=True)):
        if grid.is_periodic[axis]:
            _write(parent, f"{dim}_periodic", "periodic", dim, n, [], {0: None, 1: None})
        elif stated is not None:
            for name, word, fields, ends in _groups(cast(Conditions, stated), axis, dim, names):
                _write(parent, name, word, dim, n, fields, ends)


def _write_words(parent: h5py.Group, grid: Grid, dims: Sequence[str], words: Words) -> None:
    for dim, n, pair in zip(dims, grid.shape, words, strict=True):
        for word in dict.fromkeys(pair):
            ends = {end: None for end, own in enumerate(pair) if own == word}
            if word is not None:
                _write(parent, f"{dim}_{word}", word, dim, n, [], ends)


def read_boundary_words(file: h5py.File, dims: Sequence[str], *, path: object) -> Words | None:
    """What the group `boundary_conditions` says about the ends; `None` if it says nothing.

    As in The Well's own loader, an end is open or periodic if any cell of the mask there is, and
    a wall only if all are; a wall inside the domain says nothing about the ends. Where several
    groups speak, periodic stands before open and open before wall. A periodic axis is periodic at
    both ends, and a mask that is missing covers all ends.
    """
    if "boundary_conditions" not in file:
        return None
    group = require_group(file, "boundary_conditions", path=path)
    found: dict[tuple[int, int], str] = {}
    for name in sorted(group):
        condition = require_group(group, name, path=path)
        facts = read_attributes(condition, path=path)
        word = str(facts.get("bc_type", "")).lower()
        if word not in ("wall", "open", "periodic") or "associated_dims" not in facts:
            raise ValueError(
                f"{path}: boundary_conditions/{name} must state its axes as `associated_dims` and "
                f"wall, open or periodic as `bc_type`, got "
                f"{ {key: facts.get(key) for key in ('associated_dims', 'bc_type')} }; repair the "
                f"attributes, or delete the group."
            )
        stated = _axes(facts["associated_dims"], dims)
        for position, axis in enumerate(stated):
            for end in (0, 1):
                covered = word == "periodic" or _covers(
                    condition, word, position, len(stated), end, path=path
                )
                if covered and _strength(word) > _strength(found.get((axis, end))):
                    found[axis, end] = word
    if not found:
        return None
    return tuple((found.get((axis, 0)), found.get((axis, 1))) for axis in range(len(dims)))


def _strength(word: str | None) -> int:
    return {None: 0, "wall": 1, "periodic": 3}.get(word, 2)


def _axes(stated: object, dims: Sequence[str]) -> list[int]:
    """Axes by name; one plain string is one name."""
    names = [stated] if isinstance(stated, str) else list(stated)  # type: ignore[call-overload]
    return [dims.index(name) for name in names if name in dims]


def _covers(
    condition: h5py.Group, word: str, position: int, num_axes: int, end: int, *, path: object
) -> bool:
    if "mask" not in condition:
        return True
    mask = require_dataset(condition, "mask", path=path)
    if mask.ndim < num_axes or 0 in mask.shape:
        return False
    axis = mask.ndim - num_axes + position
    if mask.nbytes // mask.shape[axis] > _LARGEST:
        raise ValueError(
            f"{path}: {mask.name} of shape {mask.shape} is too large for a mask; the file is "
            f"damaged."
        )
    with reading(path, mask.name):
        at_end = mask[(slice(None),) * axis + (-end % mask.shape[axis],)]
    return bool(np.all(at_end) if word == "wall" else np.any(at_end))


def _groups(
    stated: Conditions,
    axis: int,
    dim: str,
    names: Sequence[str],
) -> Iterator[tuple[str, str, list[str], dict[int, float | None]]]:
    """Name, word, fields, and value (or none) at each end, of the groups of one axis.

    Fields with the same conditions share a group; conditions without a value share it for all
    fields that have them at the same ends.
    """
    found: dict[tuple, list[str]] = {}
    for field, sides in _per_field(stated).items():
        kinds = dict.fromkeys(type(condition) for condition in sides[axis])
        for kind in kinds:
            ends = tuple(
                (end, condition.value if isinstance(condition, Dirichlet) else None)
                for end, condition in enumerate(sides[axis])
                if type(condition) is kind
            )
            found.setdefault((kind, ends), []).append(field)
    taken: dict[str, int] = {}
    for (kind, ends), fields in found.items():
        word = "open" if kind is Outflow else "wall"
        name = f"{dim}_{word}_{kind.__name__.lower()}"
        taken[name] = taken.get(name, 0) + 1
        name = name if taken[name] == 1 else f"{name}_{taken[name]}"
        everywhere = fields == [_ALL]
        has_values = any(value is not None for _, value in ends)
        listed = (list(names) if has_values else []) if everywhere else fields
        yield name, word, listed, dict(ends)


def _write(
    parent: h5py.Group,
    name: str,
    word: str,
    dim: str,
    n: int,
    fields: Sequence[str],
    ends: Mapping[int, float | None],
) -> None:
    group = parent.create_group(name)
    for key, texts in (("associated_dims", [dim]), ("associated_fields", list(fields))):
        group.attrs.create(key, texts, shape=(len(texts),), dtype=h5py.string_dtype())
    group.attrs["bc_type"] = word
    group.attrs["sample_varying"] = False
    group.attrs["time_varying"] = False
    mask = np.zeros(n, dtype=bool)
    mask[[-end for end in ends]] = True
    group.create_dataset("mask", data=mask)
    values = [value for _, value in sorted(ends.items()) if value is not None]
    if values:
        group.create_dataset("values", data=np.array(values, dtype="<f4"))


def _per_field(stated: Conditions) -> Mapping[str, BoundarySides]:
    return stated if isinstance(stated, Mapping) else {_ALL: stated}


def _described(condition: BoundaryCondition) -> dict[str, Any]:
    return {"condition": type(condition).__name__, **dataclasses.asdict(condition)}


def _condition(entry: dict[str, Any]) -> BoundaryCondition:
    options = dict(entry)
    return _CONDITIONS[options.pop("condition")](**options)
