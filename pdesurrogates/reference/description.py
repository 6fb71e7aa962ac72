"""What describes the files of a data set: statistics, metadata, checksums."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from pdesurrogates.data import write_metadata, write_statistics

__all__ = ["CHECKSUMS", "describe"]

CHECKSUMS = "checksums.sha256"
_BLOCK_BYTES = 2**22


def describe(folder: Path) -> None:
    """Write stats.yaml (where there is a training split), <name>.yaml and checksums.sha256.

    The checksums come last: where they are, the data set is complete.

    Args:
        folder: Folder of the data set, with files under data/.
    """
    described = [write_metadata(folder)]
    if any((folder / "data" / "train").glob("*.hdf5")):
        described.append(write_statistics(folder))
    files = sorted([*folder.glob("data/*/*.hdf5"), *described])
    lines = [f"{_digest(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    partial = folder / f".{CHECKSUMS}.partial"
    with partial.open("w", encoding="utf-8") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / CHECKSUMS)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
