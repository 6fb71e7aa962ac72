"""Which axes does a data set of The Well have? Its attributes say so, or its shape does."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from pdesurrogates.data.exact import entries
from pdesurrogates.data.guard import read_attributes

__all__ = ["FieldAxes", "field_axes"]


@dataclass(frozen=True)
class FieldAxes:
    """The axes that a field has: samples, time, each axis of space, and those of components."""

    by_sample: bool
    by_time: bool
    has_axis: tuple[bool, ...]
    num_component_axes: int

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the axes in the order of the file, as `ArrayBlock` takes them."""
        return (
            *(["trajectory"] if self.by_sample else []),
            *(["time"] if self.by_time else []),
            *(dim for dim, has in zip("xyz", self.has_axis, strict=False) if has),
            *["channel"] * self.num_component_axes,
        )

    def shape(
        self, num_trajectories: int, num_times: int, space: tuple[int, ...], rank: int
    ) -> tuple[int, ...]:
        """The shape on disk: component axes D, D, or one of D^2."""
        components = len(space) ** (rank if self.num_component_axes == 1 else 1)
        return (
            *([num_trajectories] if self.by_sample else []),
            *([num_times] if self.by_time else []),
            *(n for n, has in zip(space, self.has_axis, strict=True) if has),
            *[components] * self.num_component_axes,
        )


def field_axes(
    dataset: Any,
    rank: int,
    *,
    num_trajectories: int,
    num_times: int,
    space: tuple[int, ...],
    path: object,
    problems: list[str],
) -> FieldAxes:
    """The axes of a field by its attributes `sample_varying`, `time_varying`, `dim_varying`.

    Attributes that are missing, or that the shape contradicts, are replaced by what the shape
    says, if it says it in one way only; a contradiction is reported.

    Args:
        dataset: The data set.
        rank: Rank of the tensor.
        num_trajectories: Number of trajectories.
        num_times: Number of frames.
        space: Points per axis.
        path: For messages.
        problems: A sentence is added where attributes and shape differ.

    Raises:
        ValueError: If no combination of axes has this shape, or several do.
    """
    facts = read_attributes(dataset, path=path)
    by_sample, by_time = (
        (bool(facts[key]),) if key in facts else (True, False)
        for key in ("sample_varying", "time_varying")
    )
    flags = tuple(bool(flag) for flag in entries(facts.get("dim_varying", [])))
    any_axis = list(itertools.product((True, False), repeat=len(space)))
    has_axis = [flags] if len(flags) == len(space) else any_axis
    tails = (2, 1) if rank == 2 else (rank,)
    wanted = [FieldAxes(*c) for c in itertools.product(by_sample, by_time, has_axis, tails)]
    both = (True, False)
    every = [FieldAxes(*c) for c in itertools.product(both, both, any_axis, tails)]
    sizes = (num_trajectories, num_times, space, rank)
    for candidates in (wanted, every):
        fitting = [axes for axes in candidates if dataset.shape == axes.shape(*sizes)]
        if len(fitting) == 1:
            break
        if len(fitting) > 1:
            raise ValueError(
                f"{path}: {dataset.name} of shape {dataset.shape} fits several axes "
                f"({'; '.join(map(_words, fitting))}); add its attributes sample_varying, "
                f"time_varying and dim_varying."
            )
    else:
        expected = wanted[0].shape(*sizes)
        raise ValueError(
            f"{path}: {dataset.name} must have shape {expected} by its attributes "
            f"({_words(wanted[0])}; {num_trajectories} trajectories, {num_times} times, grid "
            f"{space}), got {dataset.shape}; generate the file again, or use from_arrays with "
            f"named axes."
        )
    if candidates is every:
        problems.append(
            f"{dataset.name}: the attributes say ({_words(wanted[0])}), but the shape "
            f"{dataset.shape} only fits ({_words(fitting[0])}), which was used"
        )
    return fitting[0]


def _words(axes: FieldAxes) -> str:
    return (
        f"sample_varying={axes.by_sample}, time_varying={axes.by_time}, "
        f"dim_varying={list(axes.has_axis)}"
    )
