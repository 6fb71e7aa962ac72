"""Where a file is, on this machine or at an address, and what its first bytes say it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py

from pdesurrogates.data.handle import is_address

__all__ = ["array_format", "locate"]

_SIGNATURES = {
    b"CDF\x01": "a NetCDF-3 file",
    b"CDF\x02": "a NetCDF-3 file",
    b"CDF\x05": "a NetCDF-3 file",
    b"PK\x03\x04": "a zip archive (.npz)",
    b"\x93NUMPY": "a NumPy array (.npy)",
    b"MATLAB 5.0": "a MATLAB file",
}
_HDF5 = b"\x89HDF\r\n\x1a\n"
_LOCAL = ("file://", "local://")


def locate(path: str | Path) -> Path | str:
    """A path on this machine as `Path`, anything else as the address it is.

    Args:
        path: A path, "file://..." (which is a path), or an address that fsspec opens, such as
            "s3://bucket/file.h5" or "simplecache::https://host/file.h5".

    Raises:
        ValueError: If nothing installed can open addresses of this kind.

    Example:
        >>> locate("file:///data/burgers.h5")
        PosixPath('/data/burgers.h5')
    """
    if not is_address(path):
        return Path(path)
    address = str(path)
    for prefix in _LOCAL:
        if address.startswith(prefix):
            return Path(address.removeprefix(prefix))
    import fsspec

    for part in address.split("::"):
        protocol = part.split("://", 1)[0]
        try:
            fsspec.get_filesystem_class(protocol)
        except ImportError as error:
            raise ValueError(
                f"{address}: opening {protocol}:// needs a package that is not installed "
                f"({error}); install it with pip, or copy the file to this machine."
            ) from error
        except ValueError as error:
            raise ValueError(
                f"{address}: fsspec knows no protocol {protocol!r}; expected a path, or an "
                f"address such as s3://, gs://, https://, file:// or memory://."
            ) from error
    return address


def array_format(path: Path | str) -> str | None:
    """What the first bytes say: "HDF5", the name of another known format, or `None`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is a folder, empty, no ordinary file, or an address that does not answer.
    """
    if isinstance(path, str):
        path = locate(path)
    head, is_hdf5 = _local(path) if isinstance(path, Path) else _distant(path)
    if not head:
        raise ValueError(f"{path}: the file is empty; copy, download or generate it again.")
    for signature, name in _SIGNATURES.items():
        if head.startswith(signature):
            return name
    return "HDF5" if is_hdf5 else None


def _local(path: Path) -> tuple[bytes, bool]:
    """The first bytes, and whether there is an HDF5 signature at one of its places."""
    if path.is_dir():
        raise ValueError(
            f"{path}: this is a folder; name one file in it. The files of a data set are "
            f"data.split_files(folder, 'train')."
        )
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such file (working folder {Path.cwd()}); check the name."
        )
    if not path.is_file():
        raise ValueError(f"{path}: this is a pipe or a device; name an ordinary file.")
    with path.open("rb") as stream:
        head = stream.read(16)
    return head, bool(head) and h5py.is_hdf5(path)


def _distant(address: str) -> tuple[bytes, bool]:
    import fsspec

    try:
        with fsspec.open(address, "rb") as stream:
            return stream.read(16), _has_signature(stream)  # type: ignore[union-attr]
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{address}: no such file, or nobody answers there ({error}); check the address."
        ) from error
    except Exception as error:  # every protocol has errors of its own
        raise ValueError(
            f"{address}: cannot be opened ({type(error).__name__}: {error}); check the address, "
            f"the network and your credentials."
        ) from error


def _has_signature(stream: Any) -> bool:
    """HDF5 files begin at byte 0, 512, 1024, 2048, ...; what is before is the user's."""
    size, place = stream.seek(0, os.SEEK_END), 0
    while place < size:
        stream.seek(place)
        if stream.read(len(_HDF5)) == _HDF5:
            return True
        place = max(512, 2 * place)
    return False
