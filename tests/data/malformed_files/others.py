"""What is no data file at all, or may not be read now."""

import fcntl
import os
import pickle
import socket
import struct
import zlib
from pathlib import Path

import h5py
import numpy as np

from . import sound
from .core import add, malformed
from .sizes import in_the_new_format


def written(name, content, file="a.h5", options=None):
    def build(folder):
        data = content if isinstance(content, bytes) else content.encode()
        (folder / file).write_bytes(data)
        return folder / file, dict(options or {})

    add("other", name, build)


written("error_page", "<!DOCTYPE html><html><body>404 not found</body></html>\n" * 40)
written("json", '{"u": [[1, 2], [3, 4]], "t": [0, 1]}')
written("text", "0.0 1.0 2.0\n" * 1000)
written("noise", np.random.default_rng(0).bytes(5000))
written("zeros", bytes(5000))
written("compressed_page", zlib.compress(b"<html></html>" * 1000))
written("pickle", pickle.dumps({"u": [1.0, 2.0]}), "a.pkl")
written("git_lfs_pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
written("empty_archive", b"PK\x05\x06" + bytes(18), "a.npz")


@malformed("other")
def hdf5_without_contents(folder):
    h5py.File(folder / "a.h5", "w").close()
    return folder / "a.h5", {}


@malformed("other")
def hdf5_with_empty_groups(folder):
    with h5py.File(folder / "a.h5", "w") as file:
        for name in ("0000", "0001"):
            file.create_group(name)
    return folder / "a.h5", {}


@malformed("other")
def a_folder(folder):
    (folder / "a.h5").mkdir()
    return folder / "a.h5", {}


@malformed("other")
def nothing_there(folder):
    return folder / "a.h5", {}


@malformed("other")
def symbolic_link_to_nothing(folder):
    (folder / "a.h5").symlink_to("gone.h5")
    return folder / "a.h5", {}


@malformed("other")
def symbolic_link_to_itself(folder):
    (folder / "a.h5").symlink_to("a.h5")
    return folder / "a.h5", {}


@malformed("other")
def fifo(folder):
    os.mkfifo(folder / "a.h5")
    return folder / "a.h5", {}


@malformed("other")
def socket_file(folder):
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(folder / "a.h5"))
    return folder / "a.h5", {}


@malformed("other")
def endless_device(folder):
    return Path("/dev/zero"), {}


@malformed("other")
def a_name_that_is_too_long(folder):
    return folder / ("a" * 300 + ".h5"), {}


@malformed("other", "being written")
def locked_by_what_writes_it(folder):
    path, options = sound.flat(folder)
    OPEN.append(path.open("rb"))
    fcntl.flock(OPEN[-1], fcntl.LOCK_EX)
    return path, options


OPEN = []


@malformed("other", "being written, or was not closed")
def not_closed_by_what_wrote_it(folder):
    path, options = in_the_new_format(folder, sound.flat)
    content = bytearray(path.read_bytes())
    content[11] |= 1  # the mark of a writer
    head = bytes(content[:44])
    content[44:48] = struct.pack("<I", lookup3(head))
    path.write_bytes(content)
    return path, options


def lookup3(key):
    """The checksum of HDF5's metadata (Bob Jenkins, 2006)."""

    def rot(x, k):
        return (x << k | x >> (32 - k)) & MASK

    a = b = c = (0xDEADBEEF + len(key)) & MASK
    while len(key) > 12:
        i, j, k = struct.unpack("<3I", key[:12])
        a, b, c = (a + i) & MASK, (b + j) & MASK, (c + k) & MASK
        for shift in (4, 6, 8, 16, 19, 4):
            a = (a - c & MASK) ^ rot(c, shift)
            a, b, c = b, (c + b) & MASK, a
        key = key[12:]
    if key:
        i, j, k = struct.unpack("<3I", key.ljust(12, b"\0"))
        a, b, c = (a + i) & MASK, (b + j) & MASK, (c + k) & MASK
        for x, y, shift in (
            (1, 2, 14),
            (2, 0, 11),
            (0, 1, 25),
            (1, 2, 16),
            (2, 0, 4),
            (0, 1, 14),
            (1, 2, 24),
        ):
            parts = [a, b, c]
            parts[y] = ((parts[y] ^ parts[x]) - rot(parts[x], shift)) & MASK
            a, b, c = parts
    return c


MASK = 2**32 - 1
