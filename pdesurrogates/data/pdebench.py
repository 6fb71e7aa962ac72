"""PDEBench: all families, in the order in which files are tried."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pdesurrogates.data.base import TrajectoryFile
from pdesurrogates.data.pdebench_compressible import (
    is_pdebench_compressible,
    read_pdebench_compressible,
)
from pdesurrogates.data.pdebench_darcy import is_pdebench_darcy, read_pdebench_darcy
from pdesurrogates.data.pdebench_flat import is_pdebench_flat, read_pdebench_flat
from pdesurrogates.data.pdebench_grouped import is_pdebench_grouped, read_pdebench_grouped
from pdesurrogates.data.pdebench_incompressible import (
    is_pdebench_incompressible,
    read_pdebench_incompressible,
)

__all__ = ["PDEBENCH_READERS"]

PDEBENCH_READERS: tuple[tuple[Callable[[Any], bool], Callable[..., TrajectoryFile]], ...] = (
    (is_pdebench_grouped, read_pdebench_grouped),
    (is_pdebench_incompressible, read_pdebench_incompressible),
    (is_pdebench_compressible, read_pdebench_compressible),
    (is_pdebench_darcy, read_pdebench_darcy),
    (is_pdebench_flat, read_pdebench_flat),
)
"""Pairs of a test on an open file, and the reader of the files that pass it."""
