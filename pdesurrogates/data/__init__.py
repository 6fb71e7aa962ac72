"""How do files become tensors? Readers, one writer, windows, normalisation."""

from pdesurrogates.data.array_files import load_arrays, read_arrays
from pdesurrogates.data.arrays import from_arrays
from pdesurrogates.data.base import TrajectoryFile
from pdesurrogates.data.checksums import ChecksumError
from pdesurrogates.data.convert import convert
from pdesurrogates.data.derivative import time_derivative
from pdesurrogates.data.inspect import FieldRange, Inspection, inspect_file
from pdesurrogates.data.mesh import MeshTrajectoryFile
from pdesurrogates.data.mesh_windows import MeshWindows
from pdesurrogates.data.normalize import Normalizer
from pdesurrogates.data.open import open_trajectories
from pdesurrogates.data.statistics import Statistics, statistics
from pdesurrogates.data.stretched import StretchedGrid
from pdesurrogates.data.well_folder import (
    convert_to_folder,
    split_files,
    write_metadata,
    write_statistics,
    write_well_folder,
)
from pdesurrogates.data.windows import TrajectoryWindows
from pdesurrogates.data.writer import TrajectoryWriter, write_trajectories
from pdesurrogates.data.xarray_bridge import from_xarray, to_xarray

__all__ = [
    "ChecksumError",
    "FieldRange",
    "Inspection",
    "MeshTrajectoryFile",
    "MeshWindows",
    "Normalizer",
    "Statistics",
    "StretchedGrid",
    "TrajectoryFile",
    "TrajectoryWindows",
    "TrajectoryWriter",
    "convert",
    "convert_to_folder",
    "from_arrays",
    "from_xarray",
    "inspect_file",
    "load_arrays",
    "open_trajectories",
    "read_arrays",
    "split_files",
    "statistics",
    "time_derivative",
    "to_xarray",
    "write_metadata",
    "write_statistics",
    "write_trajectories",
    "write_well_folder",
]
