"""Files that end too early."""

import struct

import h5py

from . import sound
from .core import malformed, rewritten

for origin in (
    "ours",
    "well",
    "netcdf4",
    "netcdf3",
    "npz",
    "npz_compressed",
    "npy",
    "matlab",
    "matlab_compressed",
):
    rewritten("cut", f"{origin}_cut_in_half", origin, lambda content: content[: len(content) // 2])
    if origin not in ("npz", "npz_compressed"):
        rewritten("cut", f"{origin}_without_its_last_byte", origin, lambda content: content[:-1])
rewritten("cut", "nothing_left", "ours", lambda content: b"")
rewritten("cut", "one_byte_left", "ours", lambda content: content[:1])
rewritten("cut", "hdf5_signature_only", "ours", lambda content: content[:8])
rewritten("cut", "hdf5_cut_in_superblock", "ours", lambda content: content[:48])
rewritten("cut", "hdf5_cut_in_first_header", "flat", lambda content: content[:120])
rewritten("cut", "netcdf3_signature_only", "netcdf3", lambda content: content[:4])
rewritten("cut", "netcdf3_cut_in_header", "netcdf3", lambda content: content[:60])
rewritten("cut", "npy_signature_only", "npy", lambda content: content[:6])
rewritten("cut", "npy_cut_in_header", "npy", lambda content: content[:40])
rewritten("cut", "npz_signature_only", "npz", lambda content: content[:4])
rewritten("cut", "npz_without_its_last_byte", "npz", lambda content: content[:-1])
rewritten("cut", "npz_without_its_directory", "npz", lambda c: c[: c.index(b"PK\x01\x02")])
rewritten("cut", "matlab_signature_only", "matlab", lambda content: content[:10])
rewritten("cut", "matlab_header_only", "matlab", lambda content: content[:128])


@malformed("cut", "tensor|coordinate", origin="flat")
def hdf5_cut_in_the_numbers(folder):
    """The end of the file as HDF5 knows it is moved with the cut, so that only the data are."""
    path, options = sound.flat(folder)
    with h5py.File(path) as file:
        end = file["tensor"].id.get_offset() + 40
    content = bytearray(path.read_bytes())[:end]
    content[40:48] = struct.pack("<Q", end)
    path.write_bytes(content)
    return path, options
