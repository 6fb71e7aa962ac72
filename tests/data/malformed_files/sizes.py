"""Files that declare more than memory holds."""

import io
import struct
import zipfile
import zlib

import h5py
import numpy as np

from . import sound
from .core import add, change, changed, malformed, replace, rewritten

TERA = 10**12

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
arrays("size", "bomb_in_a_small_file", bomb((1, 5, 2**22), (1, 5, 2**22)), "u declares")
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
