"""What a malformed file is, and how it is made from a sound one."""

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py

from . import sound

__all__ = ["CASES", "Malformed", "add", "change", "changed", "flipped", "malformed", "replace",
           "rewritten"]  # fmt: skip


@dataclass(frozen=True)
class Malformed:
    """One case.

    Args:
        name: What is wrong.
        kind: The group it belongs to.
        build: Folder to file and options.
        names: What the error must name beside the file.
        may_be_read: Whether numbers and all else as in the sound file are right as well.
        origin: Name of the sound file it was made from.
    """

    name: str
    kind: str
    build: Callable[[Path], tuple[Path, dict]]
    names: str = ""
    may_be_read: bool = False
    origin: str = ""


CASES: dict[str, Malformed] = {}


def add(kind, name, build, names="", **more):
    assert name not in CASES, name
    CASES[name] = Malformed(name, kind, build, names, **more)


def malformed(kind, names="", **more):
    """Adds the function as a case under its own name."""

    def register(build):
        add(kind, build.__name__, build, names, **more)
        return build

    return register


@contextmanager
def changed(folder, origin):
    """The open HDF5 file of a sound file, to be changed; what is left afterwards is the case."""
    path, options = sound.SOUND[origin](folder)
    with h5py.File(path, "r+") as file:
        yield file, path, options


def change(kind, name, origin, edit, names="", **more):
    """A case made by `edit(file)` from a sound HDF5 file."""

    def build(folder):
        with changed(folder, origin) as (file, path, options):
            edit(file)
        return path, options

    add(kind, name, build, names, origin=origin, **more)


def replace(file, key, value, **storage):
    """Another data set in place of `key`, with its attributes."""
    facts = dict(file[key].attrs) if key in file else {}
    if key in file:
        del file[key]
    made = file.create_dataset(key, data=value, **storage)
    made.attrs.update(facts)
    return made


def rewritten(kind, name, origin, edit, names="", **more):
    """A case made by `edit(bytes) -> bytes` from any sound file."""

    def build(folder):
        path, options = sound.SOUND[origin](folder)
        path.write_bytes(edit(bytearray(path.read_bytes())))
        return path, options

    add(kind, name, build, names, origin=origin, **more)


def flipped(content, position, bit=0):
    content[position] ^= 1 << bit
    return content
