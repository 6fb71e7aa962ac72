"""Which reader? Files are recognised by what is in them, never by their extension."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import h5py

from pdesurrogates.data.base import TrajectoryFile
from pdesurrogates.data.pdebench import is_pdebench_flat, read_pdebench_flat
from pdesurrogates.data.the_well import is_the_well, read_the_well

__all__ = ["array_format", "find_reader", "open_trajectories"]

_SIGNATURES = {
    b"CDF\x01": "a NetCDF-3 file",
    b"CDF\x02": "a NetCDF-3 file",
    b"CDF\x05": "a NetCDF-3 file",
    b"PK\x03\x04": "a zip archive (.npz)",
    b"\x93NUMPY": "a NumPy array (.npy)",
    b"MATLAB 5.0": "a MATLAB file",
}
_READERS = ((is_the_well, read_the_well), (is_pdebench_flat, read_pdebench_flat))


def open_trajectories(path: str | Path) -> TrajectoryFile:
    """Open a file of trajectories: The Well layout, or a flat 1D file of PDEBench.

    Only metadata are read, so a file of any size opens in milliseconds.

    Args:
        path: The file; its extension does not matter.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not HDF5, truncated, or of a layout that cannot be read.

    Example:
        >>> with open_trajectories("burgers.h5") as file:  # doctest: +SKIP
        ...     u = file.read(0)
    """
    path = Path(path)
    found = array_format(path)
    if found is not None and found != "HDF5":
        raise ValueError(
            f"{path}: this is {found}, which does not say which axis is time, space or "
            f'trajectory. Convert it once (pdesurrogates convert {path.name} --axes "time x"), or '
            f"load the arrays and use pdesurrogates.data.from_arrays."
        )
    if found is None:
        raise ValueError(
            f"{path}: this is not an HDF5 file (it has no HDF5 signature); expected trajectories "
            f"in The Well or PDEBench layout. If it is a download, check that it is not an error "
            f"page and is complete."
        )
    reader = find_reader(path)
    if reader is None:
        with h5py.File(path, "r") as file:
            raise ValueError(_unreadable(path, file))
    return reader(path)


def find_reader(path: Path) -> Callable[[Path], TrajectoryFile] | None:
    """The reader for an HDF5 file, or `None` where the layout is not known.

    Raises:
        ValueError: If the file is truncated or damaged.
    """
    try:
        with h5py.File(path, "r") as file:
            return next((reader for fits, reader in _READERS if fits(file)), None)
    except OSError as error:
        raise ValueError(_damaged(path, error)) from error


def array_format(path: Path) -> str | None:
    """What the first bytes say: "HDF5", the name of another known format, or `None`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is a folder, or empty.
    """
    if path.is_dir():
        raise ValueError(f"{path}: this is a folder; name one file in it.")
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such file (working folder {Path.cwd()}); check the name."
        )
    with path.open("rb") as stream:
        head = stream.read(16)
    if not head:
        raise ValueError(f"{path}: the file is empty; copy, download or generate it again.")
    for signature, name in _SIGNATURES.items():
        if head.startswith(signature):
            return name
    return "HDF5" if h5py.is_hdf5(path) else None


def _damaged(path: Path, error: OSError) -> str:
    sizes = re.search(r"eof = (\d+).*stored_eof = (\d+)", str(error))
    if sizes:
        return (
            f"{path}: the HDF5 file is truncated: it has {int(sizes[1])} bytes and should have "
            f"{int(sizes[2])}; copy or download it again."
        )
    return (
        f"{path}: the HDF5 file cannot be opened ({error}); it is damaged or still being written."
    )


def _unreadable(path: Path, file: h5py.File) -> str:
    family = _family(file)
    keys = sorted(file)
    shown = ", ".join(keys[:12]) + (", ..." if len(keys) > 12 else "")
    what = (
        f"this looks like {family}, which cannot be read yet"
        if family
        else "the layout is not known"
    )
    return (
        f"{path}: {what}; readable are The Well layout and PDEBench flat 1D files. Found at the "
        f"root: {shown or 'nothing'}; attributes: {', '.join(sorted(file.attrs)) or 'none'}. "
        f"Convert it with named axes (pdesurrogates convert {path.name} --variable NAME --axes "
        f'"trajectory time x"), or load the arrays and use pdesurrogates.data.from_arrays.'
    )


def _family(file: h5py.File) -> str | None:
    """Name of a known family that has no reader here, from its root objects."""
    keys = set(file)
    first = file[min(keys)] if keys else None
    inside = set(first) if isinstance(first, h5py.Group) else set()
    if all(re.fullmatch(r"\d{4}", key) for key in keys) and {"data", "grid"} <= inside:
        return "a PDEBench grouped file (diffusion-sorption, 2D diffusion-reaction, shallow water)"
    if {"velocity", "particles", "force", "t"} <= keys:
        return "PDEBench incompressible Navier-Stokes"
    if {"density", "pressure", "Vx"} <= keys:
        return "PDEBench compressible flow"
    if {"tensor", "nu"} <= keys:
        return "PDEBench Darcy flow"
    if len(keys) == 1 and keys <= {"train", "valid", "test"}:
        return "a PDEArena file"
    if {"cells", "node_type"} <= inside:
        return "a MeshGraphNets conversion"
    if all(key.startswith("Sample_") for key in keys) and {"a", "u"} <= inside:
        return "a Poseidon Helmholtz file"
    if keys & {"solution", "velocity", "data", "source"} and not inside:
        return "a Poseidon file"
    if "dimensions" in keys or {"t0_fields", "t1_fields"} & keys:
        return (
            "The Well layout without the root attributes n_trajectories, n_spatial_dims, grid_type"
        )
    return None
