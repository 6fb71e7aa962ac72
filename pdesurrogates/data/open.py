"""Which reader? Files are recognised by what is in them, never by their extension."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py

from pdesurrogates.core import FieldSpec
from pdesurrogates.data.array_files import read_arrays
from pdesurrogates.data.base import TrajectoryFile
from pdesurrogates.data.guard import reading
from pdesurrogates.data.handle import FileHandle
from pdesurrogates.data.heaps import watched
from pdesurrogates.data.location import array_format, locate
from pdesurrogates.data.meshgraphnets import is_meshgraphnets, read_meshgraphnets
from pdesurrogates.data.pdearena import is_pdearena, read_pdearena
from pdesurrogates.data.pdebench import PDEBENCH_READERS
from pdesurrogates.data.pdebench_compressible import read_pdebench_compressible
from pdesurrogates.data.places import check_places
from pdesurrogates.data.poseidon import is_poseidon, read_poseidon
from pdesurrogates.data.the_well import is_the_well, read_the_well

__all__ = ["array_format", "find_reader", "open_trajectories"]

Reader = Callable[..., TrajectoryFile]

_READERS: tuple[tuple[Callable[[Any], bool], Reader], ...] = (
    (is_the_well, read_the_well),
    *PDEBENCH_READERS,
    (is_pdearena, read_pdearena),
    (is_meshgraphnets, read_meshgraphnets),
    (is_poseidon, read_poseidon),
)
# What a layout does not state and its reader therefore takes as an argument.
_OPTIONS: dict[Reader, tuple[str, ...]] = {
    read_meshgraphnets: ("dt",),
    read_pdebench_compressible: ("periodic",),
    read_pdearena: ("dt", "extent"),
    read_poseidon: ("dt", "extent", "periodic"),
}
# Layouts told from so little that a caller who names the axes knows better.
_WEAK = (read_poseidon,)


def open_trajectories(
    path: str | Path,
    *,
    axes: str | Sequence[str] | None = None,
    variable: str | None = None,
    dt: float | None = None,
    extent: float | Sequence[float] | None = None,
    fields: FieldSpec | Sequence[str] | str | None = None,
    periodic: bool | None = None,
) -> TrajectoryFile:
    """Open a file of trajectories, whatever its layout.

    Read are The Well layout, all families of PDEBench, PDEArena, Poseidon, HDF5 conversions of
    MeshGraphNets (a `MeshTrajectoryFile`), netCDF, and plain arrays (.npy, .npz, .mat, HDF5) where
    names and sizes tell what is what, or where the options do. Only metadata are read, so a file
    of any size opens in milliseconds; .npz and MATLAB 5 files are held in memory.

    The options are for files that do not state these things themselves: see `read_arrays`. Where
    a file does state its axes, fields and times, they are refused.

    Args:
        path: The file; its extension does not matter. Also an address that fsspec opens:
            "file://...", "memory://...", "s3://...", "simplecache::https://...".
        axes: Names of the axes of the states, e.g. "trajectory time x".
        variable: Name of the array of states.
        dt: Distance between frames.
        extent: Length per axis.
        fields: Names of the channels.
        periodic: Whether the space axes close on themselves.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is truncated or damaged, its layout cannot be read, or an option is
            given that the file states itself.

    Example:
        >>> with open_trajectories("burgers.h5") as file:  # doctest: +SKIP
        ...     u = file.read(0)
    """
    path = locate(path)
    options = {"axes": axes, "variable": variable, "dt": dt, "extent": extent, "fields": fields}
    options = {name: value for name, value in options.items() if value is not None}
    if periodic is not None:
        options["periodic"] = periodic
    found = array_format(path)
    if found is None:
        raise ValueError(
            f"{path}: this is not an HDF5 file (it has no HDF5 signature); expected trajectories "
            f"in a layout of docs/file_formats.md, netCDF or arrays. If it is a download, check "
            f"that it is not an error page and is complete."
        )
    reader = find_reader(path) if found == "HDF5" else None
    names_axes = "axes" in options or "variable" in options
    if reader is None or (reader in _WEAK and names_axes):
        return _arrays(path, found, options)
    refused = [name for name in options if name not in _OPTIONS.get(reader, ())]
    if refused:
        raise ValueError(
            f"{path}: this file states its own axes, fields and times, so {refused[0]!r} cannot "
            f"be given; leave it out, or use read_arrays to read it as bare arrays."
        )
    with reading(path, "the description of its contents"):
        return reader(path, **options)


def find_reader(path: Path | str) -> Reader | None:
    """The reader for an HDF5 file, or `None` where the layout is not known.

    Raises:
        ValueError: If the file is truncated or damaged.
    """
    with (
        FileHandle(path).opened() as file,
        reading(path, "the list of its contents"),
        watched(file) as source,
    ):
        check_places(source, path=path)
        return next((reader for fits, reader in _READERS if fits(source)), None)


def _arrays(path: Path | str, found: str, options: dict[str, Any]) -> TrajectoryFile:
    """The file as arrays, or an error that says what would make it readable."""
    try:
        return read_arrays(path, **options)
    except ValueError as error:
        if found == "HDF5":
            with FileHandle(path).opened() as file, reading(path, "the list of its contents"):
                message = _unreadable(path, file, error)
        else:
            message = (
                f"{path}: this is {found}, which does not say which axis is time, space or "
                f"trajectory ({_reason(path, error)}). Give axes, variable, dt or extent, convert "
                f'it once (pdesurrogates convert {_short(path)} --axes "time x"), or load the '
                f"arrays and use pdesurrogates.data.from_arrays."
            )
        raise ValueError(message) from error


def _unreadable(path: Path | str, file: h5py.File, error: ValueError) -> str:
    keys = sorted(file)
    shown = ", ".join(keys[:12]) + (", ..." if len(keys) > 12 else "")
    marks = {"dimensions", "t0_fields", "t1_fields"} & set(keys)
    what = (
        "this looks like The Well layout without the root attributes n_trajectories, "
        "n_spatial_dims, grid_type, which cannot be read"
        if marks
        else "the layout is not known"
    )
    return (
        f"{path}: {what}. Found at the root: {shown or 'nothing'}; attributes: "
        f"{', '.join(sorted(file.attrs)) or 'none'}. As bare arrays it cannot be read either: "
        f"{_reason(path, error)}. Convert it with named axes (pdesurrogates convert "
        f'{_short(path)} --variable NAME --axes "trajectory time x"), or load the arrays and use '
        f"pdesurrogates.data.from_arrays."
    )


def _reason(path: Path | str, error: ValueError) -> str:
    return str(error).removeprefix(f"{path}: ").rstrip(".")


def _short(path: Path | str) -> str:
    return path.name if isinstance(path, Path) else path
