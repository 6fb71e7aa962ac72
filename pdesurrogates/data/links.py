"""Links and outside storage of an HDF5 file: followed only within the file's own folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py

__all__ = ["HARD_LINK", "check_sources", "follow", "full_name", "kind_of_link"]

HARD_LINK: int = h5py.h5l.TYPE_HARD  # pyright: ignore[reportAttributeAccessIssue]

_MAX_LINKS = 16
_MAX_LEVELS = 4
_REMEDY = (
    "Files from elsewhere may not reach out of their folder; copy the values into the file "
    "(h5repack, or open and write them again)."
)


class _Links:
    """Counts the links on the way to one object."""

    def __init__(self) -> None:
        self.num_followed = 0

    def follow(self, group: h5py.Group, key: str, *, path: object) -> Any:
        here: Any = group.file["/"] if key.startswith("/") else group
        for name in key.split("/"):
            if name in ("", "."):
                continue
            kind = kind_of_link(here, name)
            if kind is None:
                return None
            if kind == HARD_LINK:
                here = here[name]
                continue
            link = here.get(name, getlink=True)
            self.num_followed += 1
            if self.num_followed > _MAX_LINKS:
                raise ValueError(
                    f"{path}: {full_name(group, key)} leads over more than {_MAX_LINKS} links, or "
                    f"in circles; store the object itself."
                )
            if isinstance(link, h5py.SoftLink):
                here = self.follow(here, link.path, path=path)
            elif isinstance(link, h5py.ExternalLink):
                what = f"{full_name(group, key)} is a link to"
                target = _inside_folder(link.filename, what, path=path)
                with h5py.File(target, "r") as other:
                    found = self.follow(other, link.path, path=target)
                here = None if found is None else here[name]
            else:
                raise ValueError(
                    f"{path}: {full_name(group, key)} is a link of an unknown kind. {_REMEDY}"
                )
        return here


def full_name(group: h5py.Group, key: str) -> str:
    """The path of `key` in the file, for messages."""
    inside = str(group.name or "").strip("/")
    return f"{inside}/{key}" if inside and not key.startswith("/") else key


def kind_of_link(here: Any, name: str) -> int | None:
    """What kind of link `name` is in a group; several times faster than asking for the link."""
    if not isinstance(here, h5py.Group):
        return None
    links, key = here.id.links, name.encode()
    return links.get_info(key).type if links.exists(key) else None


def follow(group: h5py.Group, key: str, *, path: object) -> Any:
    """The object at `key` below `group`, or `None` if there is none.

    Every link on the way is looked at before it is followed: soft links stay in the file,
    external links may name files in the folder of `path` only.

    Raises:
        ValueError: If a link leaves the folder, or links run in circles.
    """
    return _Links().follow(group, key, path=path)


def check_sources(dataset: Any, key: str, *, path: object) -> None:
    """Refuse values that are stored in files without HDF5, outside the folder, or nowhere.

    External storage is refused altogether: HDF5 looks for it in the working folder. Virtual data
    sets may take values from files in the folder of `path`, and must cover all values.

    Args:
        dataset: The data set: virtual, with external storage, or neither.
        key: Its name in messages.
        path: The file it was found in.

    Raises:
        ValueError: Naming file, data set and source.
    """
    _check(dataset, key, path, 0, set())


def _check(dataset: Any, key: str, path: object, level: int, seen: set[tuple]) -> None:
    create = dataset.id.get_create_plist()
    if create.get_external_count():
        name = create.get_external(0)[0]
        text = name.decode(errors="replace") if isinstance(name, bytes) else str(name)
        raise ValueError(f"{path}: {key} keeps its values in another file, {text!r}. {_REMEDY}")
    if not dataset.is_virtual or (str(path), key, level) in seen:
        return
    seen.add((str(path), key, level))
    if level >= _MAX_LEVELS:
        raise ValueError(
            f"{path}: virtual data set {key} leads over more than {_MAX_LEVELS} others, or in "
            f"circles; store the values."
        )
    sources = dataset.virtual_sources()
    mapped = sum(source.src_space.get_select_npoints() for source in sources)
    if mapped < dataset.size:
        raise ValueError(
            f"{path}: virtual data set {key} declares {dataset.size} values and maps {mapped}; "
            f"the rest would read as zeros. Store the values in one data set."
        )
    for file_name, name in {(source.file_name, source.dset_name) for source in sources}:
        if file_name == ".":
            _check_source(dataset.file, name, key, path, level, seen)
            continue
        target = _inside_folder(file_name, f"virtual data set {key} takes values from", path=path)
        with h5py.File(target, "r") as other:
            _check_source(other, name, key, target, level, seen)


def _check_source(
    file: h5py.File, name: str, key: str, path: object, level: int, seen: set[tuple]
) -> None:
    found = follow(file, name, path=path)
    if not isinstance(found, h5py.Dataset):
        raise ValueError(
            f"{path}: virtual data set {key} takes values from {name}, which is no data set here; "
            f"its values would read as zeros. Restore it, or store the values in one data set."
        )
    _check(found, name, path, level + 1, seen)


def _inside_folder(name: str, what: str, *, path: object) -> Path:
    """The file `name` beside `path`.

    Raises:
        ValueError: If it lies elsewhere, is missing, or `path` is an address and has no folder.
    """
    if not isinstance(path, Path):
        raise ValueError(f"{path}: {what} another file, {name!r}. {_REMEDY}")
    folder = path.resolve().parent
    target = (folder / name).resolve()
    if not target.is_relative_to(folder) or "%" in name:
        raise ValueError(f"{path}: {what} {name!r}, outside the folder of this file. {_REMEDY}")
    if not target.is_file():
        raise ValueError(
            f"{path}: {what} {name!r}, which is not in the folder of this file; copy it there."
        )
    return target
