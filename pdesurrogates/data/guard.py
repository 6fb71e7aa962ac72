"""Objects of an HDF5 file that nobody here wrote, fetched without trusting the file.

Every reader fetches data sets, groups and attributes here. A file that is damaged, lies about its
size or points outside its own folder ends in one `ValueError` that names the file, the object and
the remedy; nothing is allocated on the word of the file alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import h5py
import numpy as np
from h5py import h5o  # pyright: ignore[reportAttributeAccessIssue]

from pdesurrogates.data.chunks import ChunkMap
from pdesurrogates.data.heaps import text_lengths, watched
from pdesurrogates.data.links import HARD_LINK, check_sources, follow, full_name, kind_of_link

__all__ = [
    "read_attributes",
    "read_small",
    "read_texts",
    "reading",
    "require_dataset",
    "require_group",
]

_MIB = 2**20
_ALWAYS_FINE = 64 * _MIB
_LARGEST_RATIO = 200
_LARGEST_CHUNK = 64 * _MIB
_LARGEST_HEAP = 16 * _MIB
_KIND_NAMES = {"f": "floats", "i": "integers", "u": "unsigned integers", "b": "booleans"}
_AVAILABLE_ELSEWHERE = "install the package hdf5plugin and import it before reading"


@contextmanager
def reading(path: object, key: str) -> Iterator[None]:
    """Turn what h5py raises on damaged content into a `ValueError` naming file and object."""
    try:
        yield
    except (OSError, RuntimeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        text = " ".join(str(error).split())
        if isinstance(error, ValueError) and str(path) in text:
            raise
        raise ValueError(
            f"{path}: {key} cannot be read ({text[:300]}); the file is damaged or incomplete. "
            f"Copy, download or generate it again."
        ) from error
    except MemoryError as error:
        raise ValueError(
            f"{path}: {key} does not fit into memory; the file is damaged, or its chunks are too "
            f"large. Rewrite it with smaller chunks."
        ) from error


def require_group(file: h5py.Group, key: str, *, path: object) -> Any:
    """The group `key`, followed only to places in the file's own folder.

    Raises:
        ValueError: If it is missing, no group, damaged, or linked from outside the folder.
    """
    found, key = _fetch(file, key, path=path), full_name(file, key)
    if not isinstance(found, h5py.Group):
        raise ValueError(
            f"{path}: {key} must be a group, got {_what(found)}; the file does not keep to its "
            f"layout. Use from_arrays with named axes."
        )
    return found


def require_dataset(file: h5py.Group, key: str, *, path: object, kinds: str = "fiub") -> Any:
    """The data set `key`, checked before any value is read.

    Checked are: every link on the way and every source of the values lies in the file's own
    folder; the type is one of `kinds` and stored as NumPy reads it; the declared size is one that
    the stored bytes can hold (contiguous: exactly; chunked: at most 64 MiB or 200 times the
    stored bytes, chunks of at most 64 MiB or 100 times the stored bytes); all filters are
    available.

    Args:
        file: The open file, or a group of it.
        key: Path of the data set below `file`.
        path: The file's path or address, for messages and as the folder it may use.
        kinds: Allowed NumPy type kinds.

    Raises:
        ValueError: Naming file, data set, what was found, and the remedy.
    """
    found, key = _fetch(file, key, path=path), full_name(file, key)
    if not isinstance(found, h5py.Dataset):
        raise ValueError(
            f"{path}: {key} must be a data set, got {_what(found)}; the file does not keep to its "
            f"layout. Use from_arrays with named axes."
        )
    with reading(path, key):
        shape, create = found.shape, found.id.get_create_plist()
        kind, name = _type_of(found)
    if kind not in kinds:
        allowed = " or ".join(_KIND_NAMES.get(letter, letter) for letter in kinds)
        raise ValueError(
            f"{path}: {key} must hold {allowed}, got {name}; convert it to numbers, or use "
            f"from_arrays."
        )
    if shape is None:
        raise ValueError(f"{path}: {key} is empty (it has no shape); generate the file again.")
    _check_filters(create, key, path=path)
    with reading(path, key):
        _check_type(found, name, key, path=path)
        check_sources(found, key, path=path)
        _check_size(found, create, key, path=path)
    return found


def read_small(dataset: Any, *, path: object, limit_bytes: int = 64 * _MIB) -> np.ndarray:
    """All values of a data set that should be small: coordinates, times, scalars.

    Raises:
        ValueError: If it declares more than `limit_bytes`, or cannot be read.
    """
    key = str(dataset.name)
    if dataset.nbytes > limit_bytes:
        raise ValueError(
            f"{path}: {key} should be small (coordinates, times, scalars), got shape "
            f"{dataset.shape} of {dataset.dtype}, {dataset.nbytes / _MIB:.0f} MiB where at most "
            f"{limit_bytes / _MIB:.0f} MiB are read; the file is damaged or of another layout."
        )
    with reading(path, key):
        chunks = ChunkMap.of(dataset, key, path=path)
        if chunks is not None:
            chunks.require(dataset)
        return np.asarray(dataset[()])


def read_attributes(item: Any, *, path: object, limit_bytes: int = _MIB) -> dict[str, object]:
    """Attributes of a file, group or data set as Python numbers, texts and lists.

    Raises:
        ValueError: If one is larger than `limit_bytes`, or cannot be read.
    """
    found: dict[str, object] = {}
    with reading(path, f"attributes of {item.name}"):
        info = h5o.get_info(item.id)
        _check_attributes(info, f"attributes of {item.name}", path=path)
        names = list(item.attrs)
    with ExitStack() as stack:
        source = None
        for name in names:
            where = f"attribute {name!r} of {item.name}"
            with reading(path, where):
                stored = item.attrs.get_id(name)
                _check_attribute(stored, where, limit_bytes, path=path)
                if source is None and _is_in_heap(stored):
                    check = stack.enter_context(text_lengths(item.file))
                    check(info.addr)
                    source = stack.enter_context(watched(item.file))[item.name]
                found[name] = _plain((item if source is None else source).attrs[name])
    return found


def read_texts(
    file: h5py.File, groups: Sequence[str], attribute: str, *, path: object
) -> list[str | None]:
    """One text attribute of many root groups, `None` where it is missing.

    For thousands of groups this is several times faster than `read_attributes`.

    Raises:
        ValueError: If one cannot be read.
    """
    found: list[str | None] = []
    name = attribute.encode()
    with (
        reading(path, "the list of its contents"),
        watched(file) as source,
        text_lengths(file) as check,
    ):
        for group in groups:
            where = f"attribute {attribute!r} of {group}"
            with reading(path, where):
                key = group.encode()
                if kind_of_link(file, group) != HARD_LINK:
                    item = require_group(file, group, path=path)
                    value = read_attributes(item, path=path).get(attribute)
                    found.append(None if value is None else str(value))
                    continue
                info = h5o.get_info(source.id, key)
                _check_attributes(info, f"attributes of {group}", path=path)
                if h5py.h5a.exists(source.id, name, obj_name=key):
                    check(info.addr)
                    stored = h5py.h5a.open(source.id, name, obj_name=key)
                    _check_attribute(stored, where, path=path)
                    values = np.empty(stored.shape, dtype=stored.dtype)
                    stored.read(values)
                    found.append(str(_plain(values)))
                else:
                    found.append(None)
    return found


def _check_attributes(info: Any, where: str, *, path: object) -> None:
    """Refuse attributes that are too large before HDF5 loads them all to list their names."""
    size = info.meta_size.attr.heap_size
    if size > _LARGEST_HEAP:
        raise ValueError(
            f"{path}: {where} take {size} bytes, at most {_LARGEST_HEAP} are read; keep arrays in "
            f"data sets."
        )


def _check_attribute(stored: Any, where: str, limit_bytes: int = _MIB, *, path: object) -> None:
    """Refuse an attribute that is too large to be one."""
    # HDF5 has no storage size for a list without entries.
    size = 0 if 0 in (stored.shape or ()) else stored.get_storage_size()
    if size > limit_bytes:
        raise ValueError(
            f"{path}: {where} declares {size} bytes, at most {limit_bytes} are read; the file is "
            f"damaged. Copy, download or generate it again."
        )


def _is_in_heap(stored: Any) -> bool:
    """Whether the value of an attribute is kept in a heap, as texts of any length are."""
    kind = stored.get_type()
    if isinstance(kind, h5py.h5t.TypeStringID):
        return kind.is_variable_str()
    return not isinstance(kind, h5py.h5t.TypeAtomicID | h5py.h5t.TypeEnumID)


def _fetch(file: h5py.Group, key: str, *, path: object) -> Any:
    with reading(path, full_name(file, key)):
        found = follow(file, key, path=path)
    if found is None:
        with reading(path, key):
            held = sorted(file)
        shown = ", ".join(held[:12]) + (", ..." if len(held) > 12 else "")
        inside = "" if file.name == "/" else f" in group {file.name}"
        raise ValueError(
            f"{path}: `{key}` is missing{inside}; found {shown or 'nothing'}. Copy or generate "
            f"the file again, or use from_arrays with named axes."
        )
    return found


def _type_of(dataset: Any) -> tuple[str, str]:
    """Kind letter and name of the stored type; kind "?" where NumPy knows none."""
    try:
        stored = dataset.dtype
    except (TypeError, ValueError) as error:
        return "?", f"a type that NumPy does not know ({error})"
    return (stored.kind, str(stored)) if stored.subdtype is None else ("V", str(stored))


def _check_type(dataset: Any, name: str, key: str, *, path: object) -> None:
    """Refuse numbers that are not exactly of the type that NumPy reads them as."""
    stored = dataset.id.get_type()
    is_number = isinstance(stored, h5py.h5t.TypeFloatID | h5py.h5t.TypeIntegerID)
    if is_number and not stored.equal(h5py.h5t.py_create(dataset.dtype)):
        raise ValueError(
            f"{path}: {key} holds {name} in an unusual form (its description of sign, exponent or "
            f"padding); the file is damaged. Copy, download or generate it again."
        )


def _what(found: object) -> str:
    if isinstance(found, h5py.Group):
        return "a group"
    return "a data set" if isinstance(found, h5py.Dataset) else "a named type"


def _check_filters(create: Any, key: str, *, path: object) -> None:
    with reading(path, key):
        filters = [create.get_filter(i) for i in range(create.get_nfilters())]
        missing = [entry for entry in filters if not h5py.h5z.filter_avail(entry[0])]
    if missing:
        code, name = missing[0][0], missing[0][3]
        text = name.decode(errors="replace") if isinstance(name, bytes) else str(name)
        raise ValueError(
            f"{path}: {key} is compressed with filter {code} ({text or 'unnamed'}), which is not "
            f"available here; {_AVAILABLE_ELSEWHERE}."
        )


def _check_size(dataset: Any, create: Any, key: str, *, path: object) -> None:
    declared, layout = int(dataset.nbytes), create.get_layout()
    if declared == 0 or layout in (h5py.h5d.VIRTUAL, h5py.h5d.COMPACT):
        return
    stored = int(dataset.id.get_storage_size())
    about = f"{path}: {key} declares shape {dataset.shape} of {dataset.dtype}, {declared} bytes,"
    again = "the file is damaged or unfinished. Copy, download or generate it again."
    if stored == 0:
        raise ValueError(f"{about} but nothing was ever stored in it; {again}")
    if layout == h5py.h5d.CONTIGUOUS:
        if stored != declared:
            raise ValueError(f"{about} but the file holds {stored}; {again}")
        return
    if declared > max(_ALWAYS_FINE, _LARGEST_RATIO * stored):
        raise ValueError(
            f"{about} but only {stored} are stored; the file is damaged or unfinished. Copy, "
            f"download or generate it again; if its numbers are meant to be so much alike, store "
            f"them without compression (h5repack -f NONE)."
        )
    chunk = int(np.prod(dataset.chunks, dtype=object)) * dataset.dtype.itemsize
    if chunk > max(_LARGEST_CHUNK, 100 * stored):
        raise ValueError(
            f"{about} in chunks of {chunk / _MIB:.0f} MiB, which one window would have to "
            f"unpack; rewrite it with smaller chunks."
        )


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        if value.size == 1:
            return _plain(value.reshape(-1)[0])
        return [_plain(entry) for entry in value.ravel()]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, h5py.Empty):
        return ""
    return value.decode(errors="replace") if isinstance(value, bytes) else value
