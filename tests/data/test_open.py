"""Detection by content, arrays through the same door, and what is said about other files."""

import math
import os
import pickle

import h5py
import numpy as np
import pytest
import torch
import xarray
from scipy.io import savemat

from pdesurrogates.core import Grid
from pdesurrogates.data import open_trajectories, read_arrays

FRAMES, NX = 11, 16


def pdebench(path, *, lead=(4,), extra=1, offset=0.0, length=1.0, dtype="f4", **storage):
    u = np.random.default_rng(0).standard_normal((*lead, 11, 16)).astype(dtype)
    with h5py.File(path, "w") as file:
        file.create_dataset("tensor", data=u, **storage)
        file["x-coordinate"] = (offset + (np.arange(16) + 0.5) * length / 16).astype("f4")
        file["t-coordinate"] = (np.arange(11 + extra) * 0.01).astype("f4")
        file.attrs["Nu"] = 0.01
    return u.reshape(-1, 11, 16)


def test_pdebench_burgers(tmp_path):
    u = pdebench(tmp_path / "burgers.dat")
    file = open_trajectories(tmp_path / "burgers.dat")
    assert file.layout.startswith("PDEBench") and file.num_trajectories == 4
    assert file.grid == Grid((16,), (1.0,), cell_centred=True)
    assert file.times.tolist() == pytest.approx([0.01 * n for n in range(11)], rel=1e-15)
    assert file.time_step(0) == pytest.approx(0.01, rel=1e-15)
    assert file.parameters["Nu"].tolist() == [0.01] * 4
    assert file.parameters["viscosity"][0] == pytest.approx(0.01 / math.pi, rel=1e-15)
    assert "surplus last entry is ignored" in " ".join(file.notes)
    assert np.array_equal(file.read(3)[:, 0], u[3])


@pytest.mark.parametrize(
    "storage",
    [
        {},
        {"lead": (2, 2)},
        {"dtype": ">f4"},
        {"dtype": "f8"},
        {"dtype": ">f8"},
        {"chunks": (1, 4, 16)},
        {"compression": "gzip", "shuffle": True, "lead": (2, 2)},
    ],
)
def test_every_storage_gives_the_same_windows(tmp_path, storage):
    u = pdebench(tmp_path / "a.h5", extra=0, **storage)
    file = open_trajectories(tmp_path / "a.h5")
    windows = file.read_windows([3, 0, 2], [0, 5, 7], 4)
    expected = np.stack([u[3, 0:4], u[0, 5:9], u[2, 7:11]])[:, :, None]
    assert windows.dtype == (torch.float64 if u.dtype.itemsize == 8 else torch.float32)
    assert np.array_equal(windows, expected.astype(expected.dtype.newbyteorder("=")))


def test_user_block_is_respected(tmp_path):
    u = np.random.default_rng(0).standard_normal((2, 3, 8)).astype("f4")
    with h5py.File(tmp_path / "a.h5", "w", userblock_size=1024) as file:
        file["tensor"] = u
        file["x-coordinate"] = np.arange(8.0)
        file["t-coordinate"] = np.arange(3.0)
    assert np.array_equal(open_trajectories(tmp_path / "a.h5").read(1)[:, 0], u[1])


LAYOUTS = {
    "PDEArena": {f"train/{name}": np.zeros((2, 3, 4, 5)) for name in ("u", "vx", "vy")},
    "MeshGraphNets": {
        "0/pos": np.zeros((4, 2)),
        "0/cells": np.zeros((2, 3), "i4"),
        "0/velocity": np.zeros((3, 4, 2)),
    },
    "Poseidon": {"data": np.zeros((2, 3, 4, 5, 6), "f4")},
    "PDEBench": {
        **{name: np.zeros((2, 3, 4), "f4") for name in ("density", "pressure", "Vx")},
        "x-coordinate": np.arange(4.0),
        "t-coordinate": np.arange(4.0),
    },
    "arrays": {"usol": np.zeros((3, 4)), "x": np.arange(4.0), "t": np.arange(3.0)},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["a.h5", "a.nc", "a.mat", "a", "1D_Burgers_Nu0.1.hdf5", "a.npy"])
def test_the_name_of_the_file_does_not_matter(tmp_path, layout, name):
    with h5py.File(tmp_path / name, "w") as file:
        for key, values in LAYOUTS[layout].items():
            file[key] = values
    assert open_trajectories(tmp_path / name).layout.startswith(layout)


def coded(*shape):
    return np.arange(np.prod(shape), dtype="f8").reshape(shape)


def save(path, kind, u, x, t):
    """Arrays `usol` (x, time), `x` and `t` in one of the kinds of files."""
    if kind == "npz":
        with path.open("wb") as stream:
            np.savez(stream, usol=u, x=x, t=t)
    elif kind == "mat":
        savemat(path, {"usol": u, "x": x[None], "tt": t[:, None]}, appendmat=False)
    elif kind == "mat73":
        with h5py.File(path, "w", userblock_size=512) as file:
            for name, values in (("usol", u), ("x", x[None]), ("t", t[:, None])):
                file[name] = values.T
                file[name].attrs["MATLAB_class"] = np.bytes_("double")
            file["text"] = np.frombuffer(b"hello", "u1").astype("u2")[None]
            file["text"].attrs["MATLAB_class"] = np.bytes_("char")
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            file["group/usol"], file["x"], file["t"] = u, x, t
    else:
        dataset = xarray.Dataset({"usol": (("x", "time"), u)}, {"x": x, "time": t})
        dataset.to_netcdf(path, engine="scipy" if kind == "nc3" else "h5netcdf")


@pytest.mark.parametrize("kind", ["npz", "mat", "mat73", "h5", "nc3", "nc4"])
def test_arrays_that_say_what_they_are_need_no_options(tmp_path, kind):
    u, x, t = coded(NX, FRAMES), np.arange(NX) / NX, np.linspace(0, 1, FRAMES)
    save(tmp_path / "a", kind, u, x, t)
    file = open_trajectories(tmp_path / "a")
    assert file.layout == ("netCDF" if kind[:2] == "nc" else "arrays (file)")
    assert np.array_equal(file.read(0)[:, 0], u.T) and file.dtype == torch.float64
    assert np.array_equal(file.read_windows([0, 0], [2, 5], 3)[1, :, 0], u.T[5:8])
    assert np.allclose(file.times, t) and file.grid.spacing == pytest.approx((1 / NX,))
    again = pickle.loads(pickle.dumps(file))
    assert np.array_equal(again.read(0, slice(3, 4))[0, 0], u[:, 3])


@pytest.mark.parametrize("kind", ["mat73", "h5", "nc3", "nc4", "npy"])
def test_states_are_read_in_slices(tmp_path, kind):
    """Changing the file after it was opened changes what is read: nothing is held in memory."""
    u, x, t = coded(NX, FRAMES), np.arange(NX) / NX, np.linspace(0, 1, FRAMES)
    options = {"dt": 0.1, "extent": 1.0, "axes": "x time"} if kind == "npy" else {}
    if kind == "npy":
        np.save(tmp_path / "a.npy", u)
        (tmp_path / "a.npy").rename(tmp_path / "a")
    else:
        save(tmp_path / "a", kind, u, x, t)
    file = open_trajectories(tmp_path / "a", **options)
    file.read(0)
    file.close()
    content = (tmp_path / "a").read_bytes()
    stored = np.array(29.0, ">f8" if kind == "nc3" else "<f8").tobytes()
    assert content.count(stored) == 1
    (tmp_path / "a").write_bytes(content.replace(stored, np.array(-7.0, "f8").tobytes()[:: -1
                                 if kind == "nc3" else 1]))  # fmt: skip
    place = np.argwhere(u == 29.0)[0]
    assert file.read(0)[place[1], 0, place[0]] == -7.0


@pytest.mark.parametrize(
    "axes, order",
    [
        ("trajectory time channel x y", (0, 1, 2, 3, 4)),
        ("trajectory time y x channel", (0, 1, 4, 3, 2)),
        ("channel y trajectory x time", (2, 4, 0, 3, 1)),
        ("x y channel time trajectory", (3, 4, 2, 1, 0)),
    ],
)
@pytest.mark.parametrize("kind", ["npy", "npz", "h5", "mat73"])
def test_named_axes_in_any_order(tmp_path, kind, axes, order):
    u = coded(2, 3, 4, 5, 6)
    values = np.ascontiguousarray(u.transpose(order))
    path = tmp_path / "a"
    if kind == "npy":
        with path.open("wb") as stream:
            np.save(stream, values)
    elif kind == "npz":
        with path.open("wb") as stream:
            np.savez(stream, values=values)
    else:
        with h5py.File(path, "w") as file:
            file["values"] = values.T if kind == "mat73" else values
            if kind == "mat73":
                file["values"].attrs["MATLAB_class"] = np.bytes_("double")
    file = open_trajectories(path, axes=axes, dt=0.5, extent=(1.0, 2.0), periodic=True)
    assert file.fields.names == ("u0", "u1", "u2", "u3") and file.num_trajectories == 2
    assert file.grid == Grid((5, 6), (1.0, 2.0))
    for index in range(2):
        assert np.array_equal(file.read(index), u[index])
    assert np.array_equal(file.read_windows([1], [1], 2)[0], u[1, 1:])


@pytest.mark.parametrize("kind", ["npy", "npz", "mat", "mat73", "h5"])
def test_complex_arrays_become_two_channels(tmp_path, kind):
    psi = coded(NX, FRAMES) + 1j * coded(NX, FRAMES)[::-1]
    x, t = np.arange(NX) / NX, np.linspace(0, 1, FRAMES)
    options = {}
    if kind == "npy":
        with (tmp_path / "a").open("wb") as stream:
            np.save(stream, psi)
        options = {"axes": "x time", "dt": 0.1, "extent": 1.0}
    elif kind == "mat73":
        stored = np.empty((FRAMES, NX), [("real", "f8"), ("imag", "f8")])
        stored["real"], stored["imag"] = psi.real.T, psi.imag.T
        save(tmp_path / "a", kind, stored.T, x, t)
    else:
        save(tmp_path / "a", kind, psi, x, t)
    file = open_trajectories(tmp_path / "a", **options)
    assert file.fields.names == ("real", "imaginary")
    assert np.array_equal(file.read(0)[:, 0], psi.real.T)
    assert np.array_equal(file.read(0)[:, 1], psi.imag.T)


def test_options_pass_through_and_are_refused_where_the_file_speaks_for_itself(tmp_path):
    np.save(tmp_path / "a.npy", coded(3, 8))
    file = open_trajectories(
        tmp_path / "a.npy", axes="time x", dt=0.1, extent=2.0, fields="height", periodic=False
    )
    assert file.fields.names == ("height",) and file.grid.is_periodic == (False,)
    pdebench(tmp_path / "b.h5")
    for option in ({"axes": "time x"}, {"variable": "tensor"}, {"dt": 1.0}, {"fields": "u"}):
        with pytest.raises(ValueError, match=f"states its own .*{next(iter(option))!r} cannot be"):
            open_trajectories(tmp_path / "b.h5", **option)


def test_missing_folder_garbage(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        open_trajectories(tmp_path / "none.h5")
    with pytest.raises(ValueError, match="this is a folder"):
        open_trajectories(tmp_path)
    (tmp_path / "page.h5").write_text("<html>404</html>")
    with pytest.raises(ValueError, match="page.h5: this is not an HDF5 file.*error page"):
        open_trajectories(tmp_path / "page.h5")
    (tmp_path / "empty.h5").touch()
    with pytest.raises(ValueError, match="empty.h5: the file is empty"):
        open_trajectories(tmp_path / "empty.h5")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe: this is a pipe or a device"):
        open_trajectories(tmp_path / "pipe")


def test_truncated(tmp_path):
    pdebench(tmp_path / "a.h5")
    content = (tmp_path / "a.h5").read_bytes()
    (tmp_path / "b.h5").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=rf"b.h5: the HDF5 file is truncated: it has \d+ "
                                         rf"bytes and "
                       rf"should have {len(content)}"):  # fmt: skip
        open_trajectories(tmp_path / "b.h5")
    (tmp_path / "c.h5").write_bytes(content[:20])
    with pytest.raises(ValueError, match="c.h5: the HDF5 file"):
        open_trajectories(tmp_path / "c.h5")


@pytest.mark.parametrize("kind", ["npz", "mat", "nc3", "npy"])
@pytest.mark.parametrize("keep", [0.1, 0.6])
def test_truncated_arrays(tmp_path, kind, keep):
    u, x, t = coded(NX, FRAMES), np.arange(NX) / NX, np.linspace(0, 1, FRAMES)
    if kind == "npy":
        np.save(tmp_path / "a.npy", u)
    else:
        save(tmp_path / f"a.{kind}", kind, u, x, t)
    content = (tmp_path / f"a.{kind}").read_bytes()
    (tmp_path / f"b.{kind}").write_bytes(content[: int(keep * len(content))])
    with pytest.raises(ValueError, match=rf"b.{kind}: this is .*from_arrays"):
        open_trajectories(tmp_path / f"b.{kind}").read(0)


def test_archives_that_would_fill_the_memory_are_refused(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", u=np.zeros((9, 2**20)))
    with pytest.raises(ValueError, match=r"a.npz: .*declares 7549\d+ bytes of arrays in"):
        open_trajectories(tmp_path / "a.npz")
    savemat(tmp_path / "a.mat", {"u": np.zeros((9, 2**20))}, do_compression=True)
    with pytest.raises(ValueError, match=r"a.mat: .*declares 7549\d+ bytes of arrays in"):
        open_trajectories(tmp_path / "a.mat")


@pytest.mark.parametrize(
    "keys, text",
    [
        (["dimensions/x", "t0_fields/u"], "without the root attributes"),
        (["solution"], "the layout is not known"),
        (
            ["something", "other"],
            "the layout is not known.*Found at the root: other, something.*cannot be told from "
            'names and sizes.*convert a.h5 --variable NAME --axes "trajectory time x"',
        ),
    ],
)
def test_unknown_layouts_are_described(tmp_path, keys, text):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for key in keys:
            file[key] = np.zeros(3)
    with pytest.raises(ValueError, match=f"{text}.*from_arrays"):
        open_trajectories(tmp_path / "a.h5")


def test_arrays_point_to_convert(tmp_path):
    from scipy.io import netcdf_file

    np.savez(tmp_path / "a.h5", u=np.zeros(3))
    (tmp_path / "a.h5.npz").rename(tmp_path / "a.h5")
    savemat(tmp_path / "b.h5", {"u": np.zeros(3)}, appendmat=False)
    with netcdf_file(tmp_path / "c.h5", "w") as file:
        file.createDimension("x", 3)
    np.save(tmp_path / "d.npy", np.zeros(3))
    kinds = {"a.h5": "zip", "b.h5": "MATLAB", "c.h5": "NetCDF-3", "d.npy": "NumPy"}
    for name, kind in kinds.items():
        with pytest.raises(ValueError, match=f"{kind}.*pdesurrogates convert {name} --axes"):
            open_trajectories(tmp_path / name)


def test_large_arrays_are_judged_by_a_sample(tmp_path, monkeypatch):
    """Endpoints are looked at in a few trajectories and frames; a repeat that fails is refused."""
    import pdesurrogates.data.endpoints as endpoints

    monkeypatch.setattr(endpoints, "_SAMPLE_BYTES", 16 * 33 * 8 * 2)
    x, t = np.linspace(0, 2 * np.pi, 33), np.linspace(0, 1, 40)
    u = np.sin(x - t[:, None] + np.arange(20)[:, None, None]) + 0.3 * np.cos(2 * x)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["u"], file["x"], file["t"] = u, x, t
    file = read_arrays(tmp_path / "a.h5", drop_repeated_endpoint=True)
    assert file.grid.shape == (32,) and file.grid.is_periodic == (True,)
    assert np.array_equal(file.read(13)[:, 0], u[13, :, :-1])
    with h5py.File(tmp_path / "a.h5", "a") as stored:
        stored["u"][13, 7, -1] = 5.0
    with pytest.raises(ValueError, match=r"not in trajectories \[13\]"):
        file.read(13)


def test_100_gigabytes_open_and_read_one_window(tmp_path):
    """The file is sparse: reading all of it would take minutes and more memory than there is."""
    with h5py.File(tmp_path / "big.h5", "w") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(h5py.h5d.CONTIGUOUS)
        plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        space = h5py.h5s.create_simple((1000, 100, 4, 256, 256))
        h5py.h5d.create(file.id, b"data", h5py.h5t.IEEE_F32LE, space, dcpl=plist)
    assert (tmp_path / "big.h5").stat().st_size > 100e9
    window = open_trajectories(tmp_path / "big.h5").read(999, slice(98, 100))
    assert window.shape == (2, 4, 256, 256)
