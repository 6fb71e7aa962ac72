"""What a file makes of its reader, found out in a process of its own that may crash or hang."""

import hashlib
import json
import os
import resource
import select
import signal
import struct
import time
import traceback
from dataclasses import dataclass, field

import torch

from pdesurrogates.data import inspect_file, open_trajectories

__all__ = ["LIMIT_BYTES", "LIMIT_SECONDS", "Finding", "examine", "in_child"]

LIMIT_SECONDS = 2.0
LIMIT_BYTES = 500 * 2**20
_PATIENCE = 10.0


@dataclass
class Finding:
    """What happened.

    Args:
        seconds: How long it took.
        peak_bytes: Growth of the memory in use, at its peak.
        ended: "" if it ended by itself, else how it was ended: "hang" or "signal 11".
        path: The file.
        errors: Step ("open", "read", "inspect") to the text of its error.
        strange: Errors that are neither ValueError nor OSError, or come from lack of memory.
        contents: Everything that was read, if it could be opened and read.
        inspected: The text of the inspection.
    """

    seconds: float = 0.0
    peak_bytes: int = 0
    ended: str = ""
    path: str = ""
    errors: dict[str, str] = field(default_factory=dict)
    strange: list[str] = field(default_factory=list)
    contents: dict[str, str] = field(default_factory=dict)
    inspected: str = ""

    @property
    def refusal(self):
        """The error of opening or reading, or ""."""
        return self.errors.get("open") or self.errors.get("read") or ""


def examine(path, options):
    """Open a file, read all its trajectories, and inspect it."""
    found = Finding(path=str(path))
    start = time.perf_counter()
    file = _tried(found, "open", lambda: open_trajectories(path, **options))
    if file is not None:
        with file:
            found.contents = _tried(found, "read", lambda: _contents(file)) or {}
    inspection = _tried(found, "inspect", lambda: inspect_file(path))
    found.inspected = "" if inspection is None else inspection.text()
    found.seconds = time.perf_counter() - start
    return found


def in_child(jobs):
    """The findings of some jobs, functions that return one, in processes that may die.

    One process does as many of them as it survives. What it leaves behind is gone with it.
    """
    findings = []
    while len(findings) < len(jobs):
        findings += _until_death(jobs[len(findings) :])
    return findings


def _until_death(jobs):
    """Findings of the first jobs, up to and including the first that kills its process."""
    receive, send = os.pipe()
    process = os.fork()
    if process == 0:
        _work(jobs, send)
    os.close(send)
    findings = []
    with os.fdopen(receive, "rb") as stream:
        for _ in jobs:
            ready, _, _ = select.select([stream], [], [], _PATIENCE)
            if not ready:
                os.kill(process, signal.SIGKILL)
                break
            head = stream.read(8)
            if len(head) < 8:
                break
            findings.append(Finding(**json.loads(stream.read(struct.unpack("<Q", head)[0]))))
    status = os.waitpid(process, 0)[1]
    if len(findings) < len(jobs):
        hung = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        findings.append(Finding(ended="hang" if hung else f"status {status}"))
    return findings


def _work(jobs, send):
    """In the child: every finding as soon as it is there."""
    try:
        torch.set_num_threads(1)
        with open("/proc/self/statm") as file:  # noqa: PTH123
            now = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + 8 * LIMIT_BYTES,) * 2)
        before = _peak()
        with os.fdopen(send, "wb") as stream:
            for job in jobs:
                found = job()
                found.peak_bytes = _peak() - before
                content = json.dumps(vars(found)).encode()
                stream.write(struct.pack("<Q", len(content)) + content)
                stream.flush()
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(0)


def _peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _tried(found, step, action):
    try:
        return action()
    except Exception as error:
        found.errors[step] = str(error)
        if not isinstance(error, ValueError | OSError):
            found.strange.append(f"{step}: {type(error).__name__}: {error}")
        cause = error
        while cause is not None:
            if isinstance(cause, MemoryError):
                found.strange.append(f"{step}: out of memory: {error}")
            cause = cause.__cause__ or cause.__context__
        return None


def _contents(file):
    """All that a file holds, in words that can be compared."""
    found = {
        "layout": file.layout,
        "fields": repr(file.fields),
        "times": repr(file.times.tolist()),
        "parameters": repr({name: row.tolist() for name, row in file.parameters.items()}),
        "boundary": repr(file.boundary),
        "attributes": repr(file.attributes),
        "dtype": repr(file.dtype),
    }
    is_mesh = hasattr(file, "points")
    if not is_mesh:
        found["grid"] = repr(file.grid)
    for index in range(file.num_trajectories):
        found[f"states {index}"] = _digest(file.read(index))
        if is_mesh:
            for name in ("points", "cells", "node_type", "edges"):
                found[f"{name} {index}"] = _digest(getattr(file, name)(index))
    return found


def _digest(values):
    return f"{tuple(values.shape)} {hashlib.sha256(values.numpy().tobytes()).hexdigest()}"
