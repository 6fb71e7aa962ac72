"""What runs in a Dask worker: chunks, with the allocator and the signals a solver wants."""

from __future__ import annotations

import ctypes
import functools
import signal
from collections.abc import Mapping
from typing import Any

from pdesurrogates.reference.chunk import ChunkFailure, ChunkResult, solve_chunk
from pdesurrogates.reference.recipe import Recipe

__all__ = ["dask_setup", "solve_on_worker"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_REUSED_BYTES = 2**25
_MOST_KEPT_BYTES = 2**29


def dask_setup(worker: Any) -> None:
    """Called by Dask as a worker of `local_cluster` starts: Ctrl-C is for the client alone.

    A terminal sends it to all processes; the client then stops the workers in order.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def solve_on_worker(
    source: Recipe | str, start: int, stop: int, versions: Mapping[str, str]
) -> ChunkResult | ChunkFailure:
    """`solve_chunk` in a Dask worker."""
    _keep_freed_memory()
    return solve_chunk(source, start, stop, versions)


@functools.cache
def _keep_freed_memory() -> None:
    """Let the allocator reuse the memory of temporaries, as it does outside Dask.

    Dask starts workers with MALLOC_TRIM_THRESHOLD_ set, which returns freed memory to the system
    at once. A solver frees and allocates fields all the time, and getting each from the system
    again makes it several times slower. Without glibc there is nothing to undo.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_REUSED_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _MOST_KEPT_BYTES)
