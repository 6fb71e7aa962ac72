"""A file that is being written: its note of what is done, its lock, and its final name."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

__all__ = ["PartialFile"]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class PartialFile:
    """`<path>.partial` and, beside it, `<path>.partial.progress`.

    The note (JSON) is replaced atomically, after the data are on disk, so it never says more
    than is true. Killed at any moment, the same arguments continue.

    Args:
        path: Final name.
        description: Arguments that an unfinished file must have been begun with.
        num_trajectories: Number of trajectories.
        num_bytes: Size of the finished file, about.
        build: Creates the file with room for the states at a path.
        overwrite: Start over where an unfinished file has another description.

    Attributes:
        frames_done: Leading frames on disk, (trajectory,).
        partial: Path of the unfinished file.

    Raises:
        ValueError: If an unfinished file was begun with other arguments or is being written.
        OSError: If the folder cannot be written to, or has too little room.
    """

    def __init__(
        self,
        path: Path,
        description: Mapping[str, object],
        num_trajectories: int,
        num_bytes: int,
        build: Callable[[Path], None],
        *,
        overwrite: bool,
    ) -> None:
        self.path = path
        self.partial = path.with_name(path.name + ".partial")
        self.progress = path.with_name(path.name + ".partial.progress")
        self.frames_done = np.zeros(num_trajectories, dtype=np.int64)
        self._description = dict(description)
        self._num_bytes = num_bytes
        self._descriptor: int | None = None
        try:
            self._open(build, overwrite)
        except BaseException:
            self.close()
            raise

    @property
    def descriptor(self) -> int:
        """The open file.

        Raises:
            ValueError: If it was closed.
        """
        if self._descriptor is None:
            raise ValueError(
                f"TrajectoryWriter {self.path}: the writer is closed; make a new one with the "
                f"same arguments to continue."
            )
        return self._descriptor

    def commit(self) -> None:
        """Data to disk first, then the note that they are there."""
        with self.full_disk_told():
            os.fdatasync(self.descriptor)
            note = {"description": self._description, "frames_done": _runs(self.frames_done)}
            fresh = self.progress.with_name(self.progress.name + ".new")
            with fresh.open("w") as file:
                file.write(json.dumps(note))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.progress)

    def promote(self) -> None:
        """Give the finished file its name."""
        with self.full_disk_told():
            os.fsync(self.descriptor)
        self.partial.replace(self.path)
        self.progress.unlink(missing_ok=True)
        _sync_folder(self.path.parent)
        self.close()

    def close(self) -> None:
        """Stop writing; the unfinished file stays."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @contextmanager
    def full_disk_told(self) -> Iterator[None]:
        """Turn the error of a full disk into one that says what was kept and what to do."""
        try:
            yield
        except OSError as error:
            if error.errno not in _FULL:
                raise
            whole = int((self.frames_done == self.frames_done.max(initial=1)).sum())
            raise OSError(
                f"TrajectoryWriter {self.path}: the disk is full ({error.strerror}); "
                f"{whole} of {len(self.frames_done)} trajectories are kept in "
                f"{self.partial.name}. Make room in {self.path.parent} for the file of "
                f"{_size(self._num_bytes)} and run the same again to continue, or delete "
                f"{self.partial.name}."
            ) from error

    def _open(self, build: Callable[[Path], None], overwrite: bool) -> None:
        if self.partial.exists():
            self._lock()
        recorded = self._recorded()
        if recorded is not None:
            differing = _difference(recorded["description"], self._description)
            has_states = any(frames for _, frames in recorded["frames_done"])
            if differing and has_states and not overwrite:
                raise ValueError(
                    f"TrajectoryWriter {self.path}: {self.partial.name} was begun with other "
                    f"arguments: {differing}. To continue it, use the same arguments; to start "
                    f"over, delete {self.partial} or pass overwrite=True (--overwrite)."
                )
            if differing:
                recorded = None
        if recorded is not None:
            counts, frames = np.array(recorded["frames_done"]).T
            self.frames_done[:] = np.repeat(frames, counts)
        self._check_room()
        if recorded is None:
            self._begin(build)
            self.commit()

    def _begin(self, build: Callable[[Path], None]) -> None:
        building = self.partial.with_name(self.partial.name + ".building")
        try:
            self.progress.unlink(missing_ok=True)
            build(building)
            building.replace(self.partial)
        except OSError as error:
            raise OSError(
                f"TrajectoryWriter {self.path}: {building.name} cannot be created in "
                f"{self.path.parent} ({error}); choose a folder that exists, that you may write "
                f"to and that has room."
            ) from error
        self.close()
        self._lock()

    def _lock(self) -> None:
        """Open the partial file for this process alone; a killed process releases it."""
        self._descriptor = os.open(self.partial, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise ValueError(
                f"TrajectoryWriter {self.path}: another process is writing {self.partial.name}; "
                f"wait for it or stop it."
            ) from None

    def _recorded(self) -> dict | None:
        if not (self.partial.exists() and self.progress.exists()):
            return None
        try:
            return json.loads(self.progress.read_text())
        except ValueError as error:
            raise ValueError(
                f"TrajectoryWriter {self.path}: {self.progress} is not readable ({error}); delete "
                f"it and {self.partial} to start over."
            ) from error

    def _check_room(self) -> None:
        """Better now than after hours."""
        room = os.statvfs(self.path.parent)
        free = room.f_bavail * room.f_frsize
        held = self.partial.stat().st_blocks * 512 if self.partial.exists() else 0
        if self._num_bytes - held > free:
            raise OSError(
                f"TrajectoryWriter {self.path}: the file needs {_size(self._num_bytes)}, but the "
                f"disk of {self.path.parent} has {_size(free)} free"
                f"{f' and {_size(held)} are written' if held else ''}; free some, or choose "
                f"another folder."
            )


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.1f} GiB" if num_bytes > 2**30 else f"{num_bytes / 2**20:.1f} MiB"


def _runs(frames_done: np.ndarray) -> list[list[int]]:
    """[[number of neighbouring trajectories, their frames], ...]."""
    starts = np.flatnonzero(np.diff(frames_done, prepend=-1))
    counts = np.diff(starts, append=len(frames_done))
    return [
        [count, frames]
        for count, frames in zip(counts.tolist(), frames_done[starts].tolist(), strict=True)
    ]


def _difference(recorded: Mapping[str, object], asked: Mapping[str, object]) -> str:
    return "; ".join(
        f"{key} is {recorded.get(key)!r} there, {asked[key]!r} here"
        for key in asked
        if recorded.get(key) != asked[key]
    )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
