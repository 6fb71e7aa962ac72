"""Files that no reader may believe: each made from a sound one, by a name that says what is wrong.

`CASES` holds them all. A case writes to an empty folder and returns the file and the options that
would open the sound one. `names` is what the error must name beside the file: the data set, group
or attribute to blame, as a regular expression.
"""

import fcntl
import importlib.util
import io
import os
import pickle
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import scipy.io
import torch

__all__ = ["CASES", "Malformed", "flipped", "sound"]

TERA = 10**12


def _beside(name):
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


sound = _beside("sound_files")


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


# Truncations.

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


# Flipped bits. Sound numbers are right as well, where what was flipped says nothing.


def flip_at(name, origin, find, bit=0, names="", **more):
    """A flipped bit at the byte that `find(content, file)` gives; `file` is open for h5py."""

    def build(folder):
        path, options = sound.SOUND[origin](folder)
        content = bytearray(path.read_bytes())
        with h5py.File(path) as file:
            position = find(content, file)
        path.write_bytes(flipped(content, position, bit))
        return path, options

    add("bit", name, build, names, origin=origin, **more)


def signature(text, offset):
    return lambda content, file: content.index(text) + offset


def number(key, place):
    return lambda content, file: file[key].id.get_offset() + place


def chunk(key, index, place):
    return lambda content, file: file[key].id.get_chunk_info(index).byte_offset + place


def entry(index, place):
    """A byte of an entry of the index of chunks of `u`: size, filters, place, address."""

    def find(content, file):
        first = file["u"].id.get_chunk_info(0)
        head = struct.pack("<II4Q", first.size, first.filter_mask, 0, 0, 0, 0)
        start = content.index(head + struct.pack("<Q", first.byte_offset))
        return start + 48 * index + place

    return find


flip_at("superblock_version", "flat", lambda content, file: 8, 1)
flip_at("superblock_size_of_addresses", "flat", lambda content, file: 13, 0)
flip_at("superblock_end_of_file", "flat", lambda content, file: 44, 3)
flip_at("superblock_root_address", "flat", lambda content, file: 64, 4)
flip_at("root_header_number_of_messages", "flat", lambda content, file: 98, 5, may_be_read=True)
flip_at("tree_signature", "flat", signature(b"TREE", 1), 0)
flip_at("tree_level", "flat", signature(b"TREE", 5), 0)
flip_at("heap_signature", "flat", signature(b"HEAP", 2), 2)
flip_at("heap_of_names_size", "flat", signature(b"HEAP", 9), 7)
flip_at("symbol_table_count", "flat", signature(b"SNOD", 6), 6)
flip_at("heap_of_texts_endless", "well", signature(b"PERIODIC", -8), 1, "attribute")
flip_at("heap_of_texts_signature", "well", signature(b"GCOL", 0), 0, "attribute")
flip_at("attribute_type", "flat", signature(b"beta\0\0\0\0", 8), 1, "attribute")
SPACE = struct.pack("<3Q", sound.COUNT, sound.FRAMES, sound.NX)
FLOAT32 = bytes.fromhex("1120 1f00 04000000 0000 2000 1708 0017 7f000000")
flip_at("number_of_trajectories_in_the_header", "flat", signature(SPACE, 0), 1, "tensor")
flip_at("number_of_frames_in_the_header", "flat", signature(SPACE, 8), 4, "tensor")
flip_at("number_of_points_in_the_header", "flat", signature(SPACE, 22), 0, "tensor")
flip_at("bytes_per_number", "flat", signature(FLOAT32, 4), 1, "tensor|coordinate")
flip_at("exponent_of_the_numbers", "flat", signature(FLOAT32, 16), 3, "tensor|coordinate")
flip_at("kind_of_the_numbers", "flat", signature(FLOAT32, 0), 1, "tensor|coordinate")


def extent(key, place):
    """A byte of the address and size of a data set without chunks."""

    def find(content, file):
        dataset = file[key]
        size = dataset.size * dataset.dtype.itemsize
        return content.index(struct.pack("<2Q", dataset.id.get_offset(), size)) + place

    return find


flip_at("address_of_the_numbers", "flat", extent("tensor", 5), 0, "tensor")
flip_at("size_of_the_numbers", "flat", extent("tensor", 9), 2, "tensor")
flip_at("class_of_the_layout", "flat", extent("tensor", -1), 1, "tensor")
flip_at("chunk_index_signature", "gzip", signature(b"TREE\x01", 3), 1, "u ")
flip_at("chunk_index_size", "gzip", entry(2, 0), 2, "u ")
flip_at("chunk_index_filters", "gzip", entry(2, 4), 1, "u ")
flip_at("chunk_index_frame", "gzip", entry(2, 16), 1, "u ")
flip_at("chunk_index_place_off_the_lattice", "gzip", entry(2, 16), 0, "u ")
flip_at("chunk_index_place_beyond_the_end", "gzip", entry(2, 13), 0, "u ")
flip_at("chunk_index_address", "gzip", entry(2, 40), 1, "u ")
flip_at("chunk_index_address_beyond_the_end", "gzip", entry(2, 45), 1, "u ")
flip_at("chunk_index_of_uncompressed_numbers", "lzf", entry(5, 8), 1, "u ")
flip_at("compressed_chunk", "gzip", chunk("u", 2, 20), 4, "u ")
flip_at("compressed_chunk_head", "gzip", chunk("u", 2, 0), 1, "u ")
flip_at("compressed_chunk_of_the_well", "well", chunk("t0_fields/height", 5, 20), 4, "height")
flip_at("chunk_with_a_checksum", "fletcher32", chunk("u", 2, 20), 0, "u ")
flip_at("checksum_of_a_chunk", "fletcher32", chunk("u", 2, 2 * 16 * 4), 0, "u ")
flip_at("header_with_a_checksum", "latest", signature(b"OHDR", 12), 0)
flip_at("chunk_index_with_a_checksum", "latest", signature(b"FADB", 14), 0, "u ")

FIELD = "t1_fields/velocity"
flip_at("ours_number", "ours", number(FIELD, 40), 0, f"trajectory 0.*{FIELD}")
flip_at(
    "ours_last_number",
    "ours",
    number("t0_fields/density", -1 + 3 * 5 * 16 * 12 * 4),
    6,
    "trajectory 2.*t0_fields/density",
)
flip_at("ours_time", "ours", number("pdesurrogates/time", 15), 0, "description")
flip_at("ours_single_precision_time", "ours", number("dimensions/time", 4), 0, "description")
flip_at("ours_coordinate", "ours", number("dimensions/x", 4), 0, "description")
flip_at(
    "ours_parameter", "ours", number("pdesurrogates/parameters/viscosity", 7), 0, "description"
)
flip_at(
    "ours_checksum",
    "ours",
    number("pdesurrogates/checksums/t0_fields/density", 0),
    0,
    "description",
)
flip_at("ours_checksum_of_the_rest", "ours", number("pdesurrogates/checksums/header", 1), 0)
flip_at("ours_mask_of_an_end", "ours", number("boundary_conditions/x_periodic/mask", 0), 0)
flip_at("ours_field_name", "ours", signature(b"density", 0), 0)
flip_at("ours_attribute", "ours", signature(b"recipe\0", 0), 0)
flip_at("ours_name_of_our_group", "ours", signature(b"pdesurrogates\0", 0), 0)
flip_at("ours_name_of_the_checksums", "ours", signature(b"checksums\0", 0), 0)
flip_at("ours_number_of_frames", "ours", signature(struct.pack("<4Q", 3, 5, 16, 12), 8), 0)
flip_at("ours_free_space", "ours", signature(b"HEAP", 4 + 4 + 8 + 8 + 8), 0, may_be_read=True)
flip_at("ours_address_of_the_numbers", "ours", extent(FIELD, 0), 3)


def flip_bytes(name, origin, find, bit=0, names="", **more):
    rewritten(
        "bit", name, origin, lambda content: flipped(content, find(content), bit), names, **more
    )


flip_bytes("npz_numbers", "npz", lambda c: c.index(b"NUMPY") + 300)
flip_bytes("npz_compressed_numbers", "npz_compressed", lambda c: 120, 2)
flip_bytes("npz_directory", "npz", lambda c: c.index(b"PK\x01\x02") + 42, 3)
flip_bytes("npz_directory_size", "npz", lambda c: c.index(b"PK\x01\x02") + 20, 3, may_be_read=True)
flip_bytes("npz_member_name", "npz", lambda c: c.index(b"u.npy"), 0)
flip_bytes("npz_member_header", "npz", lambda c: c.index(b"descr"), 0)
flip_bytes("npy_shape", "npy", lambda c: c.index(b"(3, 5, 16)") + 1, 2)
flip_bytes("npy_version", "npy", lambda c: 6, 3)
flip_bytes("npy_type", "npy", lambda c: c.index(b"'<f4'") + 1, 2)
flip_bytes("npy_length_of_header", "npy", lambda c: 9, 7)
flip_bytes("matlab_type", "matlab", lambda c: 128, 4)
flip_bytes("matlab_size", "matlab", lambda c: 134, 2)
flip_bytes("matlab_dimension", "matlab", lambda c: 128 + 8 + 16 + 8, 4)
flip_bytes("matlab_byte_order", "matlab", lambda c: 126, 0)
flip_bytes("matlab_compressed_numbers", "matlab_compressed", lambda c: 400, 0)
flip_bytes("netcdf3_version", "netcdf3", lambda c: 3, 3)
flip_bytes("netcdf3_number_of_dimensions", "netcdf3", lambda c: 14, 6)
flip_bytes("netcdf3_size_of_a_dimension", "netcdf3", lambda c: c.index(b"time") + 7, 4)
flip_bytes("netcdf3_type", "netcdf3", lambda c: c.rindex(struct.pack(">I", 5)) + 3, 3)


# Sizes that would exhaust memory.


NAMED = {"axes": "trajectory time x", "variable": "u", "dt": 0.1, "extent": 1.0}


def bare(folder, fill, name="a.h5"):
    """A new HDF5 file with times and points; `fill(file)` adds the states."""
    with h5py.File(folder / name, "w") as file:
        file["t"], file["x"] = sound.axis(sound.FRAMES), sound.axis(sound.NX)
        fill(file)
    return folder / name, NAMED


def arrays(kind, name, fill, names="u", **more):
    add(kind, name, lambda folder: bare(folder, fill), names, **more)


SHAPE = (sound.COUNT, sound.FRAMES, sound.NX)
arrays(
    "size", "terabytes_never_written", lambda f: f.create_dataset("u", (TERA, *SHAPE[1:]), "f4")
)
arrays(
    "size",
    "terabytes_in_chunks_never_written",
    lambda f: f.create_dataset("u", (TERA, *SHAPE[1:]), "f4", chunks=(1, *SHAPE[1:])),
)


@malformed("size", "u declares")
def terabytes_with_one_chunk_written(folder):
    def fill(file):
        file.create_dataset("u", (TERA, *SHAPE[1:]), "f4", chunks=(1, *SHAPE[1:]))[0] = 1

    return bare(folder, fill)


def bomb(shape, chunks, key="u"):
    """Zeros that were compressed."""

    def fill(file):
        packed = zlib.compress(bytes(4 * int(np.prod(chunks))), 9)
        made = file.create_dataset(key, shape, "f4", chunks=chunks, compression="gzip")
        for start in np.ndindex(*(n // size for n, size in zip(shape, chunks, strict=True))):
            place = tuple(i * size for i, size in zip(start, chunks, strict=True))
            made.id.write_direct_chunk(place, packed)

    return fill


arrays("size", "bomb_in_one_chunk", bomb((3, 5, 2**22), (3, 5, 2**22)), "u declares")
arrays("size", "bomb_in_a_small_file", bomb((1, 5, 2**22), (1, 5, 2**22)), "chunks of 80 MiB")
arrays("size", "bomb_in_many_chunks", bomb((64, 5, 2**20), (1, 5, 2**20)), "u declares")


@malformed("size", "u declares")
def bomb_within_a_bomb(folder):
    """Compressed twice, which reaches a million to one."""

    def fill(file):
        create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        create.set_chunk((5, 2**24))
        create.set_deflate(9)
        create.set_deflate(9)
        space = h5py.h5s.create_simple((5, 2**24))
        made = h5py.h5d.create(file.id, b"u", h5py.h5t.IEEE_F32LE, space, create)  # (time, x)
        inner = zlib.compressobj(9)
        packed = b"".join(inner.compress(bytes(2**24)) for _ in range(20)) + inner.flush()
        made.write_direct_chunk((0, 0), zlib.compress(packed, 9))

    return bare(folder, fill)[0], {**NAMED, "axes": "time x"}


change(
    "size",
    "well_with_2_to_the_40_trajectories",
    "well",
    lambda f: f.attrs.__setitem__("n_trajectories", 2**40),
    "height|velocity",
)
for label, value in (
    ("a_negative", -3),
    ("no", 0),
    ("half_a", 0.5),
    ("nan", np.nan),
    ("inf", np.inf),
    ("a_word_for_its", "three"),
    ("two_numbers_of", [3, 4]),
):
    change(
        "size",
        f"well_with_{label}_trajectories",
        "well",
        lambda f, value=value: f.attrs.__setitem__("n_trajectories", value),
        "n_trajectories",
    )
change(
    "size",
    "well_with_7_dimensions",
    "well",
    lambda f: f.attrs.__setitem__("n_spatial_dims", 7),
    "spatial_dims",
)


@malformed("size", "n_trajectories")
def well_with_a_shared_field_and_2_to_the_40_trajectories(folder):
    with changed(folder, "well") as (file, path, options):
        for key in ("t0_fields/height", "t1_fields/velocity"):
            replace(file, key, file[key][0]).attrs["sample_varying"] = False
        file.attrs["n_trajectories"] = 2**40
    return path, options


@malformed("size", "dimensions/time")
def well_with_terabytes_of_times(folder):
    with changed(folder, "well") as (file, path, options):
        del file["dimensions/time"]
        file["dimensions"].create_dataset("time", (TERA,), "f4", chunks=(1000,))[:1000] = 1
    return path, options


@malformed("size", "dimensions/x")
def well_with_gigabytes_of_coordinates(folder):
    with changed(folder, "well") as (file, path, options):
        del file["dimensions/x"]
        bomb((2**28,), (2**22,), "dimensions/x")(file)
    return path, options


def in_the_new_format(folder, build):
    """The same file as HDF5 writes it today, which allows attributes of any size."""
    path, options = build(folder)
    with h5py.File(path) as old, h5py.File(folder / "new.h5", "w", libver="latest") as new:
        new.attrs.update(old.attrs)
        for name in old:
            old.copy(name, new)
    return folder / "new.h5", options


@malformed("size", "attributes of /")
def attribute_of_many_megabytes(folder):
    path, options = in_the_new_format(folder, sound.flat)
    with h5py.File(path, "r+", libver="latest") as file:
        space = h5py.h5s.create_simple((2**22,))
        h5py.h5a.create(file.id, b"notes", h5py.h5t.IEEE_F64LE, space)
    return path, options


@malformed("size", "attributes of 0003")
def text_of_many_megabytes(folder):
    path, options = in_the_new_format(folder, sound.sorption)
    with h5py.File(path, "r+", libver="latest") as file:
        group = file.create_group("0003")
        kind = h5py.h5t.C_S1.copy()
        kind.set_size(2**20)
        h5py.h5a.create(group.id, b"config", kind, h5py.h5s.create_simple((24,)))
    return path, options


def terabytes_of(origin, key):
    def edit(file):
        del file[key]
        file.create_dataset(key, (TERA,), "f8", chunks=(2**16,))[0] = 1

    return edit


for origin, key in (
    ("flat", "x-coordinate"),
    ("flat", "t-coordinate"),
    ("incompressible", "t"),
    ("smoke", "train/t"),
    ("smoke", "train/x"),
    ("sorption", "0000/grid/x"),
    ("mesh", "0/cells"),
    ("mesh", "0/mesh_pos"),
    ("poseidon", "velocity"),
    ("darcy", "nu"),
    ("compressible", "Vx"),
):
    name = f"{origin}_with_terabytes_of_{key.split('/')[-1].replace('-', '_')}"
    change("size", name, origin, terabytes_of(origin, key), key)


@malformed("size", "x declares")
def netcdf4_with_terabytes_of_coordinates(folder):
    path, options = sound.netcdf4(folder)
    with h5py.File(path, "r+") as file:
        del file["x"]
        made = file.create_dataset("x", (TERA,), "f8", chunks=(2**16,))
        made.make_scale("x")
        made[0] = 1
    return path, options


def packed_ints(*numbers):
    return struct.pack(f">{len(numbers)}I", *numbers)


rewritten(
    "size",
    "netcdf3_with_billions_of_points",
    "netcdf3",
    lambda c: c.replace(
        b"x\0\0\0" + packed_ints(sound.NX), b"x\0\0\0" + packed_ints(2**31 - 4), 1
    ),
)
rewritten(
    "size",
    "netcdf3_with_billions_of_records",
    "netcdf3",
    lambda c: c[:4] + packed_ints(2**31 - 1) + c[8:],
    may_be_read=True,
)
rewritten(
    "size",
    "netcdf3_with_billions_of_variables",
    "netcdf3",
    lambda c: c.replace(packed_ints(11, 3), packed_ints(11, 2**31 - 1)),
)
rewritten(
    "size",
    "netcdf3_with_a_name_of_gigabytes",
    "netcdf3",
    lambda c: c.replace(packed_ints(4) + b"time", packed_ints(2**31 - 4) + b"time", 1),
)


def npy_header(shape, kind="<f4"):
    head = str({"descr": kind, "fortran_order": False, "shape": shape}).ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head


@malformed("size")
def npy_of_terabytes(folder):
    (folder / "a.npy").write_bytes(npy_header((TERA, *SHAPE[1:])) + bytes(1000))
    return folder / "a.npy", {"axes": "trajectory time x", "dt": 0.1, "extent": 1.0}


@malformed("size")
def npy_whose_size_overflows(folder):
    (folder / "a.npy").write_bytes(npy_header((2**32, 2**31, 2**3)) + bytes(1000))
    return folder / "a.npy", {"axes": "trajectory time x", "dt": 0.1, "extent": 1.0}


@malformed("size")
def npy_with_a_negative_size(folder):
    (folder / "a.npy").write_bytes(npy_header((-3, 5, 16)) + bytes(1000))
    return folder / "a.npy", {"axes": "trajectory time x", "dt": 0.1, "extent": 1.0}


def zipped(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            with archive.open(name, "w") as stream:
                for part in [content] if isinstance(content, bytes) else content:
                    stream.write(part)
    return path, {"periodic": True}


def saved(values, **more):
    stream = io.BytesIO()
    np.save(stream, values, **more)
    return stream.getvalue()


AXES = {"t.npy": saved(sound.axis(sound.FRAMES)), "x.npy": saved(sound.axis(sound.NX))}


@malformed("size")
def npz_member_of_terabytes(folder):
    states = npy_header((TERA, *SHAPE[1:])) + bytes(1000)
    return zipped(folder / "a.npz", {"u.npy": states, **AXES})


@malformed("size")
def npz_bomb(folder):
    parts = [npy_header((2**12, *SHAPE[1:])), *[bytes(2**24)] * 10]
    return zipped(folder / "a.npz", {"u.npy": parts, **AXES})


def matlab_array(name, shape, content):
    """One array of doubles as an element of a MATLAB 5 file."""
    label = name.encode()
    parts = struct.pack("<4I", 6, 8, 6, 0) + struct.pack("<2I", 5, 4 * len(shape))
    parts += struct.pack(f"<{len(shape)}i", *shape) + bytes(-4 * len(shape) % 8)
    parts += struct.pack("<HH", 1, len(label)) + label.ljust(4, b"\0")
    return parts + struct.pack("<2I", 9, 8 * int(np.prod(shape)) % 2**32) + content


def matlab_file(path, *elements):
    path.write_bytes(b"MATLAB 5.0".ljust(124) + b"\0\1IM" + b"".join(elements))
    return path, {"periodic": True}


@malformed("size", "u")
def matlab_array_of_terabytes(folder):
    body = matlab_array("u", (2**30, 2**10, 2**10), bytes(800))
    return matlab_file(folder / "a.mat", struct.pack("<2I", 14, len(body)) + body)


@malformed("size")
def matlab_bomb(folder):
    stream = zlib.compressobj(9)
    packed = stream.compress(struct.pack("<2I", 14, 2**28))
    packed += b"".join(stream.compress(bytes(2**24)) for _ in range(16)) + stream.flush()
    return matlab_file(folder / "a.mat", struct.pack("<2I", 15, len(packed)) + packed)


# Links, and values that are kept elsewhere.


def linked(name, link, names="u", *, beside=None):
    """The states of a file of arrays are a link; `beside(folder)` makes what it leads to."""

    def build(folder):
        inside = folder / "inside"
        inside.mkdir()
        if beside is not None:
            beside(folder)
        return bare(inside, lambda file: file.__setitem__("u", link))

    add("link", name, build, names)


def store(path, values=None):
    with h5py.File(path, "w") as file:
        file["u"] = sound.waves(*SHAPE) if values is None else values


linked(
    "link_out_of_the_folder",
    h5py.ExternalLink("../secret.h5", "u"),
    beside=lambda folder: store(folder / "secret.h5"),
)
linked("link_to_the_machine", h5py.ExternalLink("/etc/hostname", "u"))
linked("link_to_a_file_that_is_gone", h5py.ExternalLink("gone.h5", "u"))
linked(
    "link_to_no_hdf5_file",
    h5py.ExternalLink("text.h5", "u"),
    beside=lambda folder: (folder / "inside/text.h5").write_text("u"),
)
linked(
    "link_by_way_of_a_symbolic_link",
    h5py.ExternalLink("alias.h5", "u"),
    beside=lambda folder: (
        store(folder / "secret.h5"),
        (folder / "inside/alias.h5").symlink_to("../secret.h5"),
    ),
)
linked("link_to_itself", h5py.SoftLink("/u"))
linked("link_to_nothing", h5py.SoftLink("/gone"))
linked(
    "link_in_circles_over_two_files",
    h5py.ExternalLink("other.h5", "u"),
    beside=lambda folder: store(folder / "inside/other.h5", h5py.ExternalLink("a.h5", "u")),
)


@malformed("link", "u")
def link_to_a_fifo(folder):
    os.mkfifo(folder / "fifo.h5")
    return bare(folder, lambda file: file.__setitem__("u", h5py.ExternalLink("fifo.h5", "u")))


@malformed("link", "u|group")
def group_that_contains_itself(folder):
    def fill(file):
        file["group/u"] = sound.waves(*SHAPE[:2])
        file["group/group"] = file["group"]

    return bare(folder, fill)


def virtual(name, source, names="u", *, rows=sound.COUNT):
    def build(folder):
        inside = folder / "inside"
        inside.mkdir()
        store(folder / "secret.h5")
        layout = h5py.VirtualLayout(SHAPE, "f4")
        for row in range(rows):
            layout[row] = h5py.VirtualSource(source, "u", SHAPE)[row]
        return bare(inside, lambda file: file.create_virtual_dataset("u", layout))

    add("link", name, build, names)


virtual("virtual_values_out_of_the_folder", "../secret.h5")
virtual("virtual_values_that_are_gone", "gone.h5")
virtual("virtual_values_of_itself", ".")
virtual("virtual_values_not_all_there", ".", rows=2)


@malformed("link", "u keeps its values")
def values_in_a_file_without_hdf5(folder):
    sound.waves(*SHAPE).tofile(folder / "u.bin")
    place = [(str(folder / "u.bin"), 0, 4 * int(np.prod(SHAPE)))]
    return bare(folder, lambda file: file.create_dataset("u", SHAPE, "f4", external=place))


change(
    "link",
    "the_well_field_out_of_the_folder",
    "well",
    lambda f: (
        f.__delitem__("t0_fields/height"),
        f.__setitem__("t0_fields/height", h5py.ExternalLink("/etc/hostname", "u")),
    ),
    "t0_fields/height",
)
change(
    "link",
    "grouped_data_out_of_the_folder",
    "sorption",
    lambda f: (
        f.__delitem__("0001"),
        f.__setitem__("0001", h5py.ExternalLink("/etc/hostname", "0001")),
    ),
    "0001",
)
change(
    "link",
    "mesh_cells_out_of_the_folder",
    "mesh",
    lambda f: (
        f.__delitem__("1/cells"),
        f.__setitem__("1/cells", h5py.ExternalLink("/etc/hostname", "cells")),
    ),
    "1/cells",
)
change(
    "link",
    "netcdf4_variable_out_of_the_folder",
    "netcdf4",
    lambda f: (f.__delitem__("u"), f.__setitem__("u", h5py.ExternalLink("/etc/hostname", "u"))),
    "u",
)


# Wrong types.

for label, value in (
    ("texts", np.full(SHAPE, b"a")),
    ("texts_of_any_length", np.full(SHAPE, "a", dtype=h5py.string_dtype())),
    ("records", np.zeros(SHAPE, [("a", "f4"), ("b", "i4")])),
    ("vectors_of_any_length", None),
    ("references", None),
    ("opaque_bytes", np.zeros(SHAPE, "V8")),
    ("dates", np.zeros(SHAPE, "M8[s]").astype(h5py.opaque_dtype("M8[s]"))),
    ("nothing", h5py.Empty("f4")),
):

    def fill(file, label=label, value=value):
        if label == "references":
            value = np.full(SHAPE, file["x"].ref, dtype=h5py.ref_dtype)
        if label == "vectors_of_any_length":
            file.create_dataset("u", SHAPE, h5py.vlen_dtype("f4"))[0, 0, 0] = [1, 2]
        else:
            file["u"] = value

    arrays("type", f"states_are_{label}", fill)
    if label not in ("references", "vectors_of_any_length"):
        change(
            "type",
            f"the_well_states_are_{label}",
            "well",
            lambda f, value=value: replace(f, "t0_fields/height", value),
            "height",
        )

for origin, key in (
    ("flat", "tensor"),
    ("compressible", "pressure"),
    ("darcy", "nu"),
    ("sorption", "0001/data"),
    ("incompressible", "velocity"),
    ("smoke", "train/vx"),
    ("well", "dimensions/x"),
    ("mesh", "1/velocity"),
):
    label = key.split("/")[-1]
    change(
        "type",
        f"{origin}_{label}_are_texts",
        origin,
        lambda f, key=key: replace(f, key, np.full(f[key].shape, b"1.5")),
        f"{key}|{label}",
    )
    change(
        "type",
        f"{origin}_{label}_are_complex",
        origin,
        lambda f, key=key: replace(f, key, f[key][()].astype("c8")),
        f"{key}|{label}",
    )
    change(
        "type",
        f"{origin}_{label}_is_a_group",
        origin,
        lambda f, key=key: (f.__delitem__(key), f.create_group(key)),
        f"{key}|{label}",
    )

change(
    "type",
    "the_well_dimensions_is_a_data_set",
    "well",
    lambda f: (f.__delitem__("dimensions"), f.__setitem__("dimensions", 1.0)),
    "dimensions",
)
change(
    "type",
    "the_well_t0_fields_is_a_data_set",
    "well",
    lambda f: (f.__delitem__("t0_fields"), f.__setitem__("t0_fields", 1.0)),
    "t0_fields",
)
change(
    "type",
    "the_well_spatial_dims_are_numbers",
    "well",
    lambda f: f["dimensions"].attrs.__setitem__("spatial_dims", [1, 2]),
    "dimensions",
)
change(
    "type",
    "the_well_field_names_are_numbers",
    "well",
    lambda f: f["t0_fields"].attrs.__setitem__("field_names", [7.0]),
    "t0_fields",
)
change(
    "type",
    "the_well_scalar_is_a_text",
    "well",
    lambda f: replace(f, "scalars/viscosity", "thick"),
    "viscosity",
)
change(
    "type",
    "grouped_group_is_a_data_set",
    "sorption",
    lambda f: (f.__delitem__("0001"), f.__setitem__("0001", 1.0)),
    "0001",
)
change(
    "type",
    "grouped_grid_is_a_data_set",
    "sorption",
    lambda f: (f.__delitem__("0000/grid"), f.__setitem__("0000/grid", 1.0)),
    "0000/grid",
)
change(
    "type",
    "times_are_texts",
    "flat",
    lambda f: replace(f, "t-coordinate", np.full(6, b"1")),
    "t-coordinate",
)
change(
    "type",
    "cells_are_not_whole_numbers",
    "mesh",
    lambda f: replace(f, "1/cells", f["1/cells"][()] + 0.5),
    "1/cells",
)
arrays("type", "a_filter_that_is_not_here", lambda f: unknown_filter(f), "filter 32999")


def unknown_filter(file):
    create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    create.set_chunk(SHAPE)
    create.set_filter(32999, h5py.h5z.FLAG_OPTIONAL, ())
    space = h5py.h5s.create_simple(SHAPE)
    made = h5py.h5d.create(file.id, b"u", h5py.h5t.IEEE_F32LE, space, create)
    made.write(h5py.h5s.ALL, h5py.h5s.ALL, sound.waves(*SHAPE))


class Trap:
    """Leaves a trace where it is unpickled."""

    def __reduce__(self):
        return (os.mkdir, ("trapped",))


OBJECTS = np.array([Trap()] * 4, dtype=object)
NPY = {"axes": "trajectory time x", "dt": 0.1, "extent": 1.0}


@malformed("type")
def npy_of_objects(folder):
    (folder / "a.npy").write_bytes(saved(OBJECTS, allow_pickle=True))
    return folder / "a.npy", NPY


@malformed("type", "u")
def npz_of_objects(folder):
    members = {"u.npy": saved(OBJECTS, allow_pickle=True), **AXES}
    return zipped(folder / "a.npz", members)


@malformed("type")
def npz_of_no_arrays(folder):
    return zipped(folder / "a.npz", {"u.txt": b"1 2 3", "t.txt": b"1"})


@malformed("type")
def npy_of_texts(folder):
    np.save(folder / "a.npy", np.full(SHAPE, "a"))
    return folder / "a.npy", NPY


@malformed("type")
def torch_file(folder):
    torch.save({"u": torch.zeros(*SHAPE)}, folder / "a.pt")
    return folder / "a.pt", {"periodic": True}


@malformed("type")
def matlab_of_texts_and_cells(folder):
    cells = np.array([1, "a"], dtype=object)
    scipy.io.savemat(folder / "a.mat", {"u": "states", "x": cells, "t": {"a": 1}})
    return folder / "a.mat", {"periodic": True}


# Coordinates and times.


def without(origin, key, names=None):
    label = key.split("/")[-1].replace("-", "_")
    change(
        "axis",
        f"{origin}_without_{label}",
        origin,
        lambda f: f.__delitem__(key),
        f"{key}|tensor|000./data|1 must hold" if names is None else names,
    )


for origin, key in (
    ("flat", "x-coordinate"),
    ("flat", "t-coordinate"),
    ("compressible", "t-coordinate"),
    ("compressible", "x-coordinate"),
    ("darcy", "y-coordinate"),
    ("sorption", "0000/grid"),
    ("incompressible", "t"),
    ("well", "dimensions/time"),
    ("well", "dimensions/x"),
    ("mesh", "1/mesh_pos"),
    ("mesh", "1/cells"),
    ("hdf5", "t"),
    ("hdf5", "x"),
):
    without(origin, key)
without("sorption", "0000/grid/t", "t")
without("sorption", "0002/grid/x", "0002/grid")
without("sorption", "0001/data", "0001/data")


def spoilt(label, spoil):
    """Times and coordinates of every family, made wrong by `spoil(values) -> values`."""
    for origin, key in (
        ("flat", "x-coordinate"),
        ("flat", "t-coordinate"),
        ("compressible", "y-coordinate"),
        ("sorption", "0000/grid/x"),
        ("sorption", "0000/grid/t"),
        ("reaction", "0001/grid/y"),
        ("incompressible", "t"),
        ("smoke", "train/x"),
        ("smoke", "train/t"),
        ("well", "dimensions/time"),
        ("well", "dimensions/y"),
        ("hdf5", "x"),
        ("hdf5", "t"),
        ("netcdf4", "x"),
    ):
        name = f"{origin}_{key.replace('-', '_').replace('/', '_')}_{label}"

        def edit(file, key=key):
            values = spoil(file[key][()].astype("f8"))
            if values.shape == file[key].shape:
                file[key][...] = values
            else:
                replace(file, key, values)

        change("axis", name, origin, edit, key.split("/")[-1].split("-")[0])


def at(index, value):
    def spoil(values):
        values[..., index] = value(values) if callable(value) else value
        return values

    return spoil


spoilt("has_a_nan", at(2, np.nan))
spoilt("has_an_inf", at(3, np.inf))
spoilt("repeats_itself", at(2, lambda v: v[..., 1]))
spoilt("turns_around", at(3, lambda v: v[..., 0] - 1))
spoilt("is_too_short", lambda values: values[..., :-2])
spoilt("is_too_long", lambda values: np.concatenate([values, values[..., :3] + 1e3], axis=-1))
spoilt("has_no_entries", lambda values: values[..., :0])


@malformed("axis", "x|time")
def arrays_of_nothing(folder):
    np.savez(folder / "a.npz", u=np.zeros((0, 5, 16)), x=sound.axis(16), t=sound.axis(5))
    return folder / "a.npz", {"periodic": True}


@malformed("axis", "empty|no values")
def netcdf4_of_nothing(folder):
    sound.dataset().isel(time=slice(0)).to_netcdf(folder / "a.nc", engine="h5netcdf")
    return folder / "a.nc", {"periodic": True}


@malformed("axis", "x")
def npz_points_that_are_nan(folder):
    np.savez(folder / "a.npz", **{**sound.arrays(), "x": np.full(sound.NX, np.nan)})
    return folder / "a.npz", {"periodic": True}


@malformed("axis", "time")
def matlab_times_that_fall(folder):
    scipy.io.savemat(folder / "a.mat", {**sound.arrays(), "t": sound.axis(sound.FRAMES)[::-1]})
    return folder / "a.mat", {"periodic": True}


@malformed("axis", "time")
def netcdf3_times_that_are_nan(folder):
    data = sound.dataset().assign_coords(time=np.full(sound.FRAMES, np.nan))
    data.to_netcdf(folder / "a.nc", engine="scipy")
    return folder / "a.nc", {"periodic": True}


# Trajectories that do not fit together.


def states_of(origin, key, edit):
    return lambda file: replace(file, key, edit(file[key][()]))


for label, edit in (
    ("with_fewer_frames", lambda u: u[:-1]),
    ("with_fewer_points", lambda u: u[:, :-1]),
    ("with_more_points", lambda u: np.concatenate([u, u], axis=1)),
    ("with_more_channels", lambda u: np.concatenate([u, u], axis=-1)),
    ("with_fewer_axes", lambda u: u[0]),
    ("in_double_precision", lambda u: u.astype("f8")),
    ("with_nothing_in_it", lambda u: u[:0]),
    ("of_text", lambda u: np.full(u.shape, b"1")),
):
    change(
        "mixed",
        f"sorption_trajectory_{label}",
        "sorption",
        states_of("sorption", "0001/data", edit),
        "0001/data",
    )
    if label != "in_double_precision":  # which holds all others exactly
        change(
            "mixed",
            f"first_sorption_trajectory_{label}",
            "sorption",
            states_of("sorption", "0000/data", edit),
            "0000|data",
        )
    change(
        "mixed",
        f"reaction_trajectory_{label}",
        "reaction",
        states_of("reaction", "0002/data", edit),
        "0002/data",
    )
change(
    "mixed",
    "sorption_trajectory_on_another_grid",
    "sorption",
    states_of("sorption", "0001/grid/x", lambda x: 2 * x),
    "0001/grid/x",
)
change(
    "mixed",
    "sorption_trajectory_at_other_times",
    "sorption",
    states_of("sorption", "0001/grid/t", lambda t: 2 * t),
    "0001/grid/t",
)
change(
    "mixed",
    "grouped_trajectory_of_another_family",
    "sorption",
    lambda f: (f.__delitem__("0001/data"), f.__setitem__("0001/data", sound.waves(5, 16, 12, 2))),
    "0001/data",
)

for origin, key, edit in (
    ("compressible", "Vx", lambda u: u[..., :-1]),
    ("compressible", "pressure", lambda u: u[:2]),
    ("compressible", "density", lambda u: u[:, :3]),
    ("darcy", "nu", lambda u: u[:2]),
    ("darcy", "tensor", lambda u: u[..., :-1]),
    ("incompressible", "particles", lambda u: u[:1]),
    ("incompressible", "force", lambda u: u[..., :1]),
    ("incompressible", "velocity", lambda u: u[:, :, :-1]),
    ("smoke", "train/vx", lambda u: u[:, :-1]),
    ("smoke", "train/u", lambda u: u[:2]),
    ("smoke", "train/dt", lambda u: u[:2]),
    ("smoke", "train/x", lambda u: np.stack([u[0], 2 * u[1], u[2]])),
    ("flat", "tensor", lambda u: u[:, :3]),
    ("flat", "tensor", lambda u: u[..., :-1]),
    ("well", "t0_fields/height", lambda u: u[:2]),
    ("well", "t0_fields/height", lambda u: u[:, :-1]),
    ("well", "t1_fields/velocity", lambda u: u[..., :1]),
    ("well", "scalars/viscosity", lambda u: np.ones(2, "f4")),
    ("mesh", "1/cells", lambda c: c + 100),
    ("mesh", "1/cells", lambda c: c - 5),
    ("mesh", "0/cells", lambda c: c[:, :2]),
    ("mesh", "1/velocity", lambda u: u[:-1]),
    ("mesh", "1/velocity", lambda u: u[:, :-1]),
    ("mesh", "1/velocity", lambda u: u[..., :1]),
    ("mesh", "1/mesh_pos", lambda p: p[:, :1]),
    ("mesh", "1/mesh_pos", lambda p: p[:-1]),
    ("mesh", "1/node_type", lambda n: n[:-1]),
    ("hdf5", "u", lambda u: u[:, :-1]),
):
    number_of = sum(name.startswith(f"{origin}_{key.split('/')[-1]}_misfit") for name in CASES)
    change(
        "mixed",
        f"{origin}_{key.split('/')[-1]}_misfit_{number_of}",
        origin,
        states_of(origin, key, edit),
        key.split("/")[-1] + "|coordinate|particles|1 must hold|1/",
    )


@malformed("mixed", "Sample_1")
def poseidon_samples_that_differ(folder):
    with h5py.File(folder / "a.nc", "w") as file:
        for index, n in enumerate((16, 12, 16)):
            group = file.create_group(f"Sample_{index}")
            group["a"], group["u"], group["bc"] = np.ones((n, n)), np.ones((n, n)), 1.0
    return folder / "a.nc", {}


@malformed("mixed", "c")
def poseidon_speeds_of_another_grid(folder):
    with h5py.File(folder / "a.nc", "w") as file:
        file["solution"], file["c"] = sound.waves(3, 5, 16, 12), sound.waves(3, 16, 11)
    return folder / "a.nc", {}


@malformed("mixed", "train")
def smoke_of_two_splits(folder):
    with changed(folder, "smoke") as (file, path, options):
        file.copy("train", "test")
    return path, options


@malformed("mixed", "coordinate|trajectories")
def the_well_on_moving_grids(folder):
    with changed(folder, "well") as (file, path, options):
        x = file["dimensions/x"][()]
        replace(file, "dimensions/x", np.stack([x, 2 * x, x])).attrs["sample_varying"] = True
    return path, options


# Numbers that are none: they can be read, but nothing may be trained on them.

for origin, key in (
    ("well", "t0_fields/height"),
    ("well", "t1_fields/velocity"),
    ("flat", "tensor"),
    ("compressible", "pressure"),
    ("sorption", "0001/data"),
    ("incompressible", "velocity"),
    ("smoke", "train/u"),
    ("poseidon", "velocity"),
    ("netcdf4", "u"),
    ("gzip", "u"),
):
    for label, value in (("nan", np.nan), ("inf", np.inf)):

        def block(file, key=key, value=value):
            states = file[key]
            at = (slice(2, 4), slice(1, 3)) if key == "0001/data" else (1, slice(2, 4), 0)
            states[at] = value

        change("values", f"{origin}_{label}_block_in_{key.split('/')[-1]}", origin, block)


# Not a data file at all.


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
