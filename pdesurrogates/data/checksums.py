"""Is every byte still the one that was written? Checksums in our own files, made and checked."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pdesurrogates.data.raw import bytes_of, read_exactly, write_exactly

__all__ = ["Checksums", "ChecksumError", "Sealed", "check_header", "seal"]

_PIECE_BYTES = 8 * 2**20


class ChecksumError(ValueError):
    """The bytes of a file are not those that were written."""


@dataclass(frozen=True)
class Sealed:
    """A data set whose trajectories have one CRC-32 each, and where both lie in the file.

    Args:
        key: Path of the data set in the file.
        offset: Byte at which its numbers start.
        trajectory_bytes: Bytes of one trajectory.
        num_trajectories: Number of trajectories.
        sums_offset: Byte at which its checksums start, uint32, little-endian.
    """

    key: str
    offset: int
    trajectory_bytes: int
    num_trajectories: int
    sums_offset: int


@dataclass(frozen=True)
class Checksums:
    """The recorded checksums of one file.

    Args:
        path: The file.
        datasets: Its sealed data sets.
    """

    path: Path
    datasets: tuple[Sealed, ...]

    def verify(self, index: int) -> None:
        """Read all bytes of one trajectory and compare.

        Args:
            index: Trajectory, not negative.

        Raises:
            ChecksumError: Naming file, trajectory and data set of the first difference.
        """
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            for dataset in self.datasets:
                recorded = np.zeros(1, dtype="<u4")
                start = dataset.offset + index * dataset.trajectory_bytes
                try:
                    read_exactly(descriptor, bytes_of(recorded), dataset.sums_offset + 4 * index)
                    found = _crc(descriptor, [(start, start + dataset.trajectory_bytes)])
                except EOFError as error:
                    raise ChecksumError(
                        f"{self.path}: {dataset.key} ends before the end of trajectory {index}; "
                        f"the file was truncated. Copy or generate it again."
                    ) from error
                if found != int(recorded[0]):
                    raise ChecksumError(
                        f"{self.path}, trajectory {index}: the bytes of field {dataset.key!r} are "
                        f"not those that were written (CRC-32 {found:08x}, recorded "
                        f"{int(recorded[0]):08x}); the file was damaged or changed by hand. Copy "
                        f"or generate it again; if the change was meant, convert the file."
                    )
        finally:
            os.close(descriptor)


def seal(descriptor: int, datasets: Sequence[Sealed], header_offset: int) -> None:
    """Compute all checksums from what is on disk and write them to their places.

    Args:
        descriptor: The file, open for reading and writing.
        datasets: Where the numbers and their checksums are.
        header_offset: Byte of the checksum of everything that is in no sealed data set.
    """
    for dataset in datasets:
        sums = np.zeros(dataset.num_trajectories, dtype="<u4")
        for index in range(dataset.num_trajectories):
            start = dataset.offset + index * dataset.trajectory_bytes
            sums[index] = _crc(descriptor, [(start, start + dataset.trajectory_bytes)])
        write_exactly(descriptor, bytes_of(sums), dataset.sums_offset)
    header = np.array(
        [_crc(descriptor, _header(descriptor, datasets, header_offset))], dtype="<u4"
    )
    write_exactly(descriptor, bytes_of(header), header_offset)


def check_header(path: Path, datasets: Sequence[Sealed], header_offset: int) -> None:
    """Compare all bytes that are in no sealed data set: names, times, grid, parameters.

    Raises:
        ChecksumError: If they are not those that were written.
    """
    recorded = np.zeros(1, dtype="<u4")
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        read_exactly(descriptor, bytes_of(recorded), header_offset)
        found = _crc(descriptor, _header(descriptor, datasets, header_offset))
    except EOFError as error:
        raise ChecksumError(f"{path}: the file was truncated; copy it again.") from error
    finally:
        os.close(descriptor)
    if int(recorded[0]) == 0:
        raise ChecksumError(
            f"{path}: this file was never finished (it has no checksums yet); run what writes it "
            f"again to continue."
        )
    if found != int(recorded[0]):
        raise ChecksumError(
            f"{path}: the description of the data (names, times, grid, parameters) is not the one "
            f"that was written (CRC-32 {found:08x}, recorded {int(recorded[0]):08x}); the file "
            f"was damaged or changed by hand. Copy or generate it again; if the change was meant, "
            f"delete the group 'pdesurrogates/checksums' from it."
        )


def _header(
    descriptor: int, datasets: Iterable[Sealed], header_offset: int
) -> Iterator[tuple[int, int]]:
    """The stretches of the file that are neither sealed numbers nor the header's checksum."""
    skipped = sorted(
        [
            *((d.offset, d.offset + d.num_trajectories * d.trajectory_bytes) for d in datasets),
            (header_offset, header_offset + 4),
        ]
    )
    at = 0
    for start, stop in skipped:
        yield at, start
        at = stop
    yield at, os.fstat(descriptor).st_size


def _crc(descriptor: int, stretches: Iterable[tuple[int, int]]) -> int:
    """CRC-32 of some stretches of a file, read in pieces."""
    memory, total = bytearray(_PIECE_BYTES), 0
    for start, stop in stretches:
        for at in range(start, stop, _PIECE_BYTES):
            piece = memoryview(memory)[: min(_PIECE_BYTES, stop - at)]
            read_exactly(descriptor, piece, at)
            total = zlib.crc32(piece, total)
    return total
