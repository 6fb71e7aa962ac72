"""Files of bare arrays: .npz, .npy, MATLAB, netCDF, plain HDF5. Names and sizes tell the axes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from pdesurrogates.core import FieldSpec
from pdesurrogates.data.array_contents import StoredArray, stored_arrays
from pdesurrogates.data.arrays import channel_names, from_arrays, parse_axes
from pdesurrogates.data.base import TrajectoryFile
from pdesurrogates.data.endpoints import detect_periodic, sample_states
from pdesurrogates.data.location import array_format, locate
from pdesurrogates.data.netcdf import is_netcdf4, read_netcdf
from pdesurrogates.data.statement import Statement, from_block

__all__ = ["load_arrays", "read_arrays"]

_SPACE = ("x", "y", "z")
_COORDINATE_NAMES = {
    "time": ("t", "tt", "ts", "time", "times", "tspan", "t-coordinate"),
    "x": ("x", "xx", "xs", "x-coordinate"),
    "y": ("y", "yy", "ys", "y-coordinate"),
    "z": ("z", "zz", "zs", "z-coordinate"),
}


def read_arrays(
    path: str | Path,
    *,
    axes: str | Sequence[str] | None = None,
    variable: str | None = None,
    dt: float | None = None,
    extent: float | Sequence[float] | None = None,
    fields: FieldSpec | Sequence[str] | str | None = None,
    periodic: bool | None = None,
    drop_repeated_endpoint: bool = False,
) -> TrajectoryFile:
    """Read a file of arrays.

    Coordinates are found by name (x, y, z, t, also tt, time, xx, ...), the array of states is the
    one whose axis lengths match them in one way only. What was decided is in `.notes`.

    HDF5, MATLAB v7.3, netCDF and .npy files are read in slices when asked for. Held in memory
    are .npz and MATLAB v5 files, complex arrays, and .npy files at an address.

    Args:
        path: .npz, .npy, .mat (v5 and v7.3), netCDF-3/4 or plain HDF5; a path, or an address for
            fsspec.
        axes: Names of the axes of the states, e.g. "trajectory time x", where sizes do not tell.
        variable: Name of the array of states, where several would fit.
        dt: Distance between frames, where the file has no times.
        extent: Length per axis, where the file has no coordinates.
        fields: Names of the channels.
        periodic: Whether the space axes close on themselves; by default asked of the data.
        drop_repeated_endpoint: As for `from_arrays`.

    Raises:
        ValueError: If it cannot be told which array or which axis is meant; the text says what to
            add.
    """
    path = locate(path)
    found = array_format(path)
    if found == "a NetCDF-3 file" or (found == "HDF5" and is_netcdf4(path)):
        return read_netcdf(
            path,
            axes=axes,
            variable=variable,
            dt=dt,
            extent=extent,
            fields=fields,
            periodic=periodic,
            drop_repeated_endpoint=drop_repeated_endpoint,
        )
    arrays = stored_arrays(path)
    vectors = _coordinates(arrays, exclude=variable)
    variable, words, notes = _states(path, arrays, vectors, variable, axes)
    states = arrays[variable]
    if 0 in states.shape:
        raise ValueError(f"{path}: array {variable!r} is empty, its shape is {states.shape}.")
    lengths = dict(zip(words, states.shape, strict=True))
    vectors = {word: v for word, v in vectors.items() if lengths.get(word) == len(v)}
    space = [word for word in _SPACE if word in words]
    times = vectors.get("time") if dt is None else None
    if times is None and dt is None:
        raise ValueError(
            f"{path}: no times of length {lengths['time']} found beside {variable!r} "
            f"({_listing(arrays)}); give dt (--dt)."
        )
    if extent is None and not all(word in vectors for word in space):
        raise ValueError(
            f"{path}: no coordinates found for all of {' '.join(space)} beside {variable!r} "
            f"({_listing(arrays)}); give extent (--extent)."
        )
    points = {word: vectors[word] if extent is None else None for word in space}
    flags: bool | Sequence[bool] = True if periodic is None else periodic
    if periodic is None:
        flags, decisions = detect_periodic(_real_sample(states, words, lengths), points)
        notes += decisions
    statement = Statement(
        times=times,
        dt=dt,
        coordinates={word: vectors[word] for word in space} if extent is None else None,
        extent=extent,
        periodic=flags,
        drop_repeated_endpoint=drop_repeated_endpoint,
    )
    return _file(path, states, words, fields, statement, notes)


def load_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Every numeric array of a file by name, in memory.

    MATLAB v7.3 arrays come with their axes in MATLAB's order, as v5 arrays do.

    Raises:
        ValueError: If the file is none of the known kinds or holds no array.
    """
    return {name: array.values() for name, array in stored_arrays(locate(path)).items()}


def _file(
    path: Path | str,
    states: StoredArray,
    words: tuple[str, ...],
    fields: FieldSpec | Sequence[str] | str | None,
    statement: Statement,
    notes: list[str],
) -> TrajectoryFile:
    suffix = Path(path).suffix.lstrip(".")
    layout = f"arrays ({suffix or 'file'})"
    space = tuple(word for word in _SPACE if word in words)
    if states.can_be_sliced:
        sizes = dict(zip(words, states.shape, strict=True))
        block = states.block(words, tuple(sizes[word] for word in space), sizes["time"])
        shape = (sizes.get("trajectory", 1), sizes["time"], block.num_channels)
        return from_block(
            block,
            channel_names(fields, block.num_channels),
            space,
            (*shape, *block.space),
            statement,
            path=path,
            layout=layout,
            notes=notes,
        )
    file = from_arrays(
        np.array(states.values()),
        axes=words,
        times=statement.times,
        dt=statement.dt,
        coordinates=statement.coordinates,
        extent=statement.extent,
        fields=fields,
        periodic=statement.periodic,
        drop_repeated_endpoint=statement.drop_repeated_endpoint,
    )
    file.path, file.layout = path, layout  # pyright: ignore[reportAttributeAccessIssue]
    file.notes = (*notes, *file.notes)
    return file


def _real_sample(
    states: StoredArray, words: tuple[str, ...], lengths: Mapping[str, int]
) -> torch.Tensor:
    """Some or all states with the space axes last, real or absolute values."""
    space = tuple(word for word in _SPACE if word in words)
    if states.can_be_sliced:
        block = states.block(words, tuple(lengths[word] for word in space), lengths["time"])
        return sample_states(block, lengths.get("trajectory", 1), lengths["time"])
    values = states.values()
    real = torch.from_numpy(np.array(np.real(values) if _negligible(values) else np.abs(values)))
    order = [words.index(word) for word in space]
    return real.permute(*(i for i in range(values.ndim) if i not in order), *order)


def _coordinates(
    arrays: Mapping[str, StoredArray], *, exclude: str | None
) -> dict[str, np.ndarray]:
    """Vectors with the name of an axis: axis word to (N,)."""
    vectors: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        is_vector = bool(array.shape) and array.size == max(array.shape) and array.size > 1
        if name == exclude or not is_vector or array.dtype.kind == "c":
            continue
        for word, spellings in _COORDINATE_NAMES.items():
            if name.lower() in spellings and word not in vectors:
                vectors[word] = array.values().reshape(-1)
    return vectors


def _states(
    path: Path | str,
    arrays: Mapping[str, StoredArray],
    vectors: Mapping[str, np.ndarray],
    variable: str | None,
    axes: str | Sequence[str] | None,
) -> tuple[str, tuple[str, ...], list[str]]:
    """Name and axis words of the array of states, and notes on what was decided."""
    if variable is not None and variable not in arrays:
        raise ValueError(f"{path}: no array {variable!r}; found {_listing(arrays)}.")
    names = (
        [variable]
        if variable
        else [name for name, v in arrays.items() if sum(n != 1 for n in v.shape) > 1]
    )
    if axes is not None:
        count = len(axes.replace(",", " ").split()) if isinstance(axes, str) else len(axes)
        fitting = {name: axes for name in names if variable or len(arrays[name].shape) == count}
    else:
        named = {name: _named_axes(arrays[name].shape, vectors) for name in names}
        fitting = {name: words for name, words in named.items() if words is not None}
    if len(fitting) != 1:
        which = (
            f"arrays {', '.join(fitting)} all fit; name one with variable (--variable)"
            if fitting
            else "the axes cannot be told from names and sizes; name them with axes (--axes "
            '"time x")'
            f"{'' if variable else ' and the array with variable (--variable)'}"
        )
        raise ValueError(f"{path}: {which}. Found {_listing(arrays)}.")
    name, words = next(iter(fitting.items()))
    parsed = parse_axes(words, len(arrays[name].shape), where=str(path))
    notes = [] if axes is not None else [f"states are {name!r} with axes {' '.join(parsed)}"]
    return name, parsed, notes


def _named_axes(
    shape: tuple[int, ...], vectors: Mapping[str, np.ndarray]
) -> tuple[str, ...] | None:
    """The one way in which axis lengths match the coordinates; a leading rest is trajectories."""
    words = tuple(vectors)
    if "time" not in words or "x" not in words:
        return None
    labels = words if len(shape) == len(words) else ("trajectory", *words)
    if len(shape) != len(labels):
        return None
    ways = [
        way
        for way in itertools.permutations(labels)
        if ("trajectory" not in way or way[0] == "trajectory")
        and all(
            word == "trajectory" or len(vectors[word]) == n
            for word, n in zip(way, shape, strict=True)
        )
    ]
    return ways[0] if len(ways) == 1 else None


def _negligible(values: np.ndarray) -> bool:
    return values.dtype.kind != "c" or bool(
        np.abs(np.imag(values)).max() <= 1e-6 * np.abs(np.real(values)).max()
    )


def _listing(arrays: Mapping[str, StoredArray]) -> str:
    shown = [f"{name} {array.shape}" for name, array in itertools.islice(arrays.items(), 20)]
    return ", ".join(shown) + (", ..." if len(arrays) > 20 else "")
