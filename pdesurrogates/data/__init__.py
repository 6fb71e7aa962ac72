"""How do files become tensors? Readers, one writer, windows, normalisation."""

from pdesurrogates.data.array_files import load_arrays, read_arrays
from pdesurrogates.data.arrays import from_arrays
from pdesurrogates.data.base import TrajectoryFile
from pdesurrogates.data.convert import convert
from pdesurrogates.data.derivative import time_derivative
from pdesurrogates.data.inspect import FieldRange, Inspection, inspect_file
from pdesurrogates.data.normalize import Normalizer
from pdesurrogates.data.open import open_trajectories
from pdesurrogates.data.windows import TrajectoryWindows
from pdesurrogates.data.writer import TrajectoryWriter, write_trajectories
from pdesurrogates.data.xarray_bridge import from_xarray, to_xarray

__all__ = [
    "FieldRange",
    "Inspection",
    "Normalizer",
    "TrajectoryFile",
    "TrajectoryWindows",
    "TrajectoryWriter",
    "convert",
    "from_arrays",
    "from_xarray",
    "inspect_file",
    "load_arrays",
    "open_trajectories",
    "read_arrays",
    "time_derivative",
    "to_xarray",
    "write_trajectories",
]
