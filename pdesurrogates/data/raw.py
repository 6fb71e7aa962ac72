"""Arrays to and from byte positions of a file, past any file format."""

from __future__ import annotations

import os

import numpy as np

__all__ = ["bytes_of", "read_exactly", "write_exactly"]


def bytes_of(values: np.ndarray) -> memoryview:
    """The memory of a C-contiguous array as bytes, not copied."""
    return memoryview(values.reshape(-1)).cast("B")  # pyright: ignore[reportArgumentType]


def read_exactly(descriptor: int, memory: memoryview, position: int) -> None:
    """Fill `memory` from `position` on.

    Raises:
        EOFError: If the file ends before.
    """
    done = os.preadv(descriptor, (memory,), position)
    while done < len(memory):
        more = os.preadv(descriptor, (memory[done:],), position + done)
        if more == 0:
            raise EOFError(f"the file ends before byte {position + len(memory)}")
        done += more


def write_exactly(descriptor: int, memory: memoryview, position: int) -> None:
    """Put all of `memory` at `position`."""
    done = 0
    while done < len(memory):
        done += os.pwrite(descriptor, memory[done:], position + done)
