"""Files of bare arrays: .npz, .npy, MATLAB, netCDF, plain HDF5. Names and sizes tell the axes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import torch

from pdesurrogates.core import FieldSpec
from pdesurrogates.data.arrays import from_arrays, parse_axes
from pdesurrogates.data.base import TrajectoryFile
from pdesurrogates.data.endpoints import (
    is_left_closed,
    is_smooth_across_ends,
    repeated_endpoint,
)
from pdesurrogates.data.open import array_format
from pdesurrogates.data.xarray_bridge import is_netcdf4, read_netcdf

__all__ = ["load_arrays", "read_arrays"]

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
    """Read a file of arrays; its numbers are held in memory (.npy: mapped).

    Coordinates are found by name (x, y, z, t, also tt, time, xx, ...), the array of states is the
    one whose axis lengths match them in one way only. What was decided is in `.notes`.

    Args:
        path: .npz, .npy, .mat (v5 and v7.3), netCDF-3/4 or plain HDF5.
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
    path = Path(path)
    found = array_format(path)
    if found == "a NetCDF-3 file" or (found == "HDF5" and is_netcdf4(path)):
        file = read_netcdf(path, periodic=bool(periodic))
        if periodic is None:
            states = file.read(0)
            vectors = {name: v.numpy() for name, v in zip("xyz", file.grid.axes(), strict=False)}
            flags, notes = _detect_periodic(states, vectors)
            file = read_netcdf(path, periodic=flags)
            file.notes = (*file.notes, *notes)
        return file
    arrays = load_arrays(path)
    vectors = _coordinates(arrays, exclude=variable)
    variable, words, notes = _states(path, arrays, vectors, variable, axes)
    values = arrays[variable]
    lengths = dict(zip(words, values.shape, strict=True))
    vectors = {word: v for word, v in vectors.items() if lengths.get(word) == len(v)}
    space = [word for word in ("x", "y", "z") if word in words]
    times = vectors.get("time") if dt is None else None
    if times is None and dt is None:
        raise ValueError(
            f"{path}: no times of length {lengths['time']} found beside {variable!r} "
            f"({_listing(arrays)}); give dt (--dt)."
        )
    has_points = all(word in vectors for word in space)
    if extent is None and not has_points:
        raise ValueError(
            f"{path}: no coordinates found for all of {' '.join(space)} beside {variable!r} "
            f"({_listing(arrays)}); give extent (--extent)."
        )
    coordinates = {word: vectors[word] for word in space} if extent is None else None
    order = [words.index(word) for word in space]
    rest = [i for i in range(values.ndim) if i not in order]
    flags: Sequence[bool] = (periodic,) * len(space) if periodic is not None else ()
    if periodic is None:
        real = torch.from_numpy(
            np.array(np.real(values) if _negligible(values) else np.abs(values))
        )
        flags, decisions = _detect_periodic(
            real.permute(*rest, *order),
            {word: vectors[word] if extent is None else None for word in space},
        )
        notes += decisions
    file = from_arrays(
        np.array(values),
        axes=words,
        times=times,
        dt=dt,
        coordinates=coordinates,
        extent=extent,
        fields=fields,
        periodic=flags,
        drop_repeated_endpoint=drop_repeated_endpoint,
    )
    file.path, file.layout = path, f"arrays ({path.suffix.lstrip('.') or 'file'})"
    file.notes = (*notes, *file.notes)
    return file


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Every numeric array of a file by name.

    MATLAB v7.3 arrays come with their axes in MATLAB's order, as v5 arrays do.

    Raises:
        ValueError: If the file is none of the known kinds or holds no array.
    """
    found = array_format(path)
    try:
        if found == "a zip archive (.npz)":
            with np.load(path, allow_pickle=False) as archive:
                raw = {name: archive[name] for name in archive.files}
        elif found == "a NumPy array (.npy)":
            raw = {"array": np.load(path, mmap_mode="r", allow_pickle=False)}
        elif found == "a MATLAB file":
            from scipy.io import loadmat

            raw = loadmat(path)
        elif found == "HDF5":
            raw = _hdf5_arrays(path)
        else:
            raise ValueError("the first bytes are of no known array format")
    except (OSError, ValueError, NotImplementedError, EOFError) as error:
        raise ValueError(
            f"{path}: cannot be read as arrays ({error}); expected .npz, .npy, .mat, netCDF or "
            f"HDF5. Load it yourself and use pdesurrogates.data.from_arrays."
        ) from error
    arrays = {
        name: value
        for name, value in raw.items()
        if isinstance(value, np.ndarray)
        and value.dtype.kind in "fciu"
        and not name.startswith("__")
    }
    if not arrays:
        raise ValueError(
            f"{path}: holds no numeric array (found {', '.join(sorted(raw)) or 'nothing'}); load "
            f"it yourself and use pdesurrogates.data.from_arrays."
        )
    return arrays


def _hdf5_arrays(path: Path) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}

    def visit(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if not isinstance(item, h5py.Dataset) or name.startswith("#"):
            return
        values = np.asarray(item[()])
        if values.dtype.names == ("real", "imag"):
            values = values["real"] + 1j * values["imag"]
        arrays[name] = values.T if "MATLAB_class" in item.attrs else values

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return arrays


def _coordinates(
    arrays: Mapping[str, np.ndarray], *, exclude: str | None
) -> dict[str, np.ndarray]:
    """Vectors with the name of an axis: axis word to (N,)."""
    vectors: dict[str, np.ndarray] = {}
    for name, values in arrays.items():
        is_vector = values.ndim and values.size == max(values.shape) and values.size > 1
        if name == exclude or not is_vector or values.dtype.kind == "c":
            continue
        for word, spellings in _COORDINATE_NAMES.items():
            if name.lower() in spellings and word not in vectors:
                vectors[word] = values.reshape(-1)
    return vectors


def _states(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    vectors: Mapping[str, np.ndarray],
    variable: str | None,
    axes: str | Sequence[str] | None,
) -> tuple[str, tuple[str, ...], list[str]]:
    """Name and axis words of the array of states, and notes on what was decided."""
    if variable is not None and variable not in arrays:
        raise ValueError(f"{path}: no array {variable!r}; found {_listing(arrays)}.")
    names = (
        [variable] if variable else [name for name, v in arrays.items() if v.squeeze().ndim > 1]
    )
    if axes is not None:
        count = len(axes.replace(",", " ").split()) if isinstance(axes, str) else len(axes)
        fitting = {name: axes for name in names if variable or arrays[name].ndim == count}
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
    parsed = parse_axes(words, arrays[name].ndim, where=str(path))
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


def _detect_periodic(
    states: torch.Tensor, vectors: Mapping[str, np.ndarray | None]
) -> tuple[tuple[bool, ...], list[str]]:
    """Whether each axis closes, and why; `states` ends with the space axes in order."""
    flags, notes = [], []
    for number, (name, points) in enumerate(vectors.items()):
        axis = number - len(vectors)
        answer = repeated_endpoint(states, axis)
        left_closed = points is not None and is_left_closed(points)
        if answer == "yes":
            flag, reason = True, "the last point repeats the first in all frames"
        elif left_closed:
            flag, reason = True, "its points are [-L/2, L/2) with the right end left out"
        elif answer == "ambiguous":
            flag, reason = (
                False,
                (
                    "ambiguous: the first and last point are equal in all frames, as in a "
                    "repeated "
                    "periodic endpoint, but also as in equal boundary values"
                ),
            )
        elif is_smooth_across_ends(states, axis):
            flag, reason = True, "the states are smooth across its ends"
        else:
            flag, reason = False, "the states are not smooth across its ends"
        flags.append(flag)
        notes.append(
            f"axis {name} taken as {'periodic' if flag else 'not periodic'} ({reason}); give "
            f"periodic={not flag} (--{'not-' if flag else ''}periodic) if that is wrong"
        )
    return tuple(flags), notes


def _listing(arrays: Mapping[str, np.ndarray]) -> str:
    return ", ".join(f"{name} {value.shape}" for name, value in arrays.items())
