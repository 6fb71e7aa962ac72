"""Addresses for fsspec, and one open file per data-loader worker: the same numbers as without."""

import multiprocessing
import pickle
import sys

import fsspec
import h5py
import numpy as np
import pytest
import torch
import xarray
from scipy.io import savemat
from torch.utils.data import DataLoader

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.data import (
    MeshTrajectoryFile,
    TrajectoryWindows,
    convert,
    inspect_file,
    open_trajectories,
    write_trajectories,
)

FORK = pytest.param(
    "fork", marks=pytest.mark.skipif(sys.platform == "win32", reason="there is no fork here")
)


@pytest.fixture
def memory():
    """Puts a file at memory://<name> and clears the memory file system afterwards."""

    def put(path, name):
        with fsspec.open(f"memory://{name}", "wb") as stream:
            stream.write(path.read_bytes())
        return f"memory://{name}"

    yield put
    fsspec.filesystem("memory").store.clear()


def the_well(path):
    u = torch.randn(3, 8, 2, 4, 5)
    fields = FieldSpec(("velocity_x", "velocity_y"))
    write_trajectories(path, u, fields=fields, grid=Grid((4, 5), (1.0, 1.0)), times=range(8))


def hdf5(**arrays):
    def write(path):
        with h5py.File(path, "w") as file:
            for name, values in arrays.items():
                file[name.replace("__", "/")] = values

    return write


def coded(*shape):
    return np.arange(np.prod(shape), dtype="f4").reshape(shape)


def netcdf(engine):
    def write(path):
        axes = {"time": np.arange(3.0), "x": np.arange(8.0)}
        data = xarray.Dataset({"u": (("x", "time"), coded(8, 3))}, axes)
        data.to_netcdf(path, engine=engine)

    return write


def with_user_block(path):
    with h5py.File(path, "w", userblock_size=2048) as file:
        file["u"], file["x"], file["t"] = coded(3, 8), X, T


X, T = np.arange(8.0) / 8, np.arange(3.0)
WRITERS = {
    "The Well": the_well,
    "PDEBench": hdf5(
        tensor=coded(2, 3, 8), **{"x-coordinate": X.astype("f4"), "t-coordinate": T.astype("f4")}
    ),
    "PDEArena": hdf5(
        train__d_field=coded(2, 3, 4, 5, 6, 3), train__h_field=coded(2, 3, 4, 5, 6, 3)
    ),
    "Poseidon": hdf5(data=coded(2, 3, 4, 5, 6)),
    "MeshGraphNets": hdf5(
        **{"0__pos": coded(4, 2), "0__cells": np.array([[0, 1, 2]]), "0__velocity": coded(3, 4, 2)}
    ),
    "netCDF-3": netcdf("scipy"),
    "netCDF-4": netcdf("h5netcdf"),
    "HDF5": hdf5(u=coded(3, 8), x=X, t=T),
    "user block": with_user_block,
    "npz": lambda path: np.savez(path.open("wb"), u=coded(3, 8), x=X, t=T),
    "mat": lambda path: savemat(path, {"u": coded(3, 8), "x": X, "t": T}, appendmat=False),
}


@pytest.mark.parametrize("layout", WRITERS)
def test_every_layout_at_an_address(tmp_path, memory, layout):
    WRITERS[layout](tmp_path / "a.h5")
    here = open_trajectories(tmp_path / "a.h5")
    there = open_trajectories(memory(tmp_path / "a.h5", "folder/a.h5"))
    for file in (there, pickle.loads(pickle.dumps(there))):
        assert file.name == "memory://folder/a.h5" and repr(file).count("memory://folder/a.h5")
        assert file.layout == here.layout and file.fields == here.fields
        assert torch.equal(file.times, here.times)
        assert torch.equal(file.read(0, slice(1, 3)), here.read(0, slice(1, 3)))
        if not isinstance(file, MeshTrajectoryFile):
            assert file.grid == here.grid
    there.close()
    assert torch.equal(there.read(0), here.read(0))


def test_npy_at_an_address(tmp_path, memory):
    np.save(tmp_path / "a.npy", coded(3, 8))
    options = {"axes": "time x", "dt": 0.1, "extent": 1.0}
    file = open_trajectories(memory(tmp_path / "a.npy", "a.npy"), **options)
    assert np.array_equal(file.read(0)[:, 0], coded(3, 8))


@pytest.mark.parametrize("layout", ["The Well", "HDF5", "netCDF-4", "npz"])
def test_inspect_and_convert_at_an_address(tmp_path, memory, layout):
    WRITERS[layout](tmp_path / "a.h5")
    address = memory(tmp_path / "a.h5", "a.h5")
    here, there = inspect_file(tmp_path / "a.h5"), inspect_file(address)
    assert {**there.facts, "checksums": ""} == {**here.facts, "checksums": ""}
    assert there.ranges == here.ranges and there.layout == here.layout
    assert address in there.text()
    convert(address, tmp_path / "b.h5")
    expected = open_trajectories(tmp_path / "a.h5")
    assert torch.equal(open_trajectories(tmp_path / "b.h5").read(0), expected.read(0))


def test_a_file_address_is_a_path(tmp_path):
    the_well(tmp_path / "a b%20c.h5")
    file = open_trajectories(f"file://{tmp_path}/a b%20c.h5")
    assert file.path == tmp_path / "a b%20c.h5"
    assert inspect_file(f"file://{tmp_path}/a b%20c.h5").layout == "The Well"


def test_what_cannot_be_opened_is_said(tmp_path, memory):
    with pytest.raises(ValueError, match="s3://bucket/a.h5: opening s3:// needs a package.*s3fs"):
        open_trajectories("s3://bucket/a.h5")
    with pytest.raises(ValueError, match="opening s3:// needs a package"):
        open_trajectories("simplecache::s3://bucket/a.h5")
    with pytest.raises(ValueError, match="fsspec knows no protocol 'smoke'"):
        inspect_file("smoke://bucket/a.h5")
    with pytest.raises(FileNotFoundError, match="memory://none.h5: no such file"):
        open_trajectories("memory://none.h5")
    (tmp_path / "page.h5").write_text("<html>404</html>")
    with pytest.raises(ValueError, match="memory://page.h5: this is not an HDF5 file"):
        open_trajectories(memory(tmp_path / "page.h5", "page.h5"))
    (tmp_path / "empty.h5").touch()
    with pytest.raises(ValueError, match="memory://empty.h5: the file is empty"):
        open_trajectories(memory(tmp_path / "empty.h5", "empty.h5"))
    the_well(tmp_path / "a.h5")
    (tmp_path / "b.h5").write_bytes((tmp_path / "a.h5").read_bytes()[:9000])
    with pytest.raises(ValueError, match="memory://b.h5: "):
        open_trajectories(memory(tmp_path / "b.h5", "b.h5"))


class Meshes:
    """Trajectories of a file on meshes."""

    def __init__(self, file):
        self.file = file

    def __len__(self):
        return len(self.file)

    def __getitem__(self, index):
        return {"u": self.file.read(index), "edges": self.file.edges(index)}


def samples(file):
    is_mesh = isinstance(file, MeshTrajectoryFile)
    return Meshes(file) if is_mesh else TrajectoryWindows(file, history=2)


class Several(torch.utils.data.Dataset):
    """Windows of many files, one after the other: workers that start slowly start once."""

    def __init__(self, files):
        self.windows = [samples(file) for file in files]
        self.places = [(i, n) for i, own in enumerate(self.windows) for n in range(len(own))]

    def __len__(self):
        return len(self.places)

    def __getitem__(self, index):
        number, window = self.places[index]
        return self.windows[number][window]


def items(dataset, **workers):
    return [item[0] for item in DataLoader(dataset, collate_fn=list, **workers)]


def same(got, expected):
    return len(got) == len(expected) and all(
        torch.equal(a[name], b[name]) for a, b in zip(got, expected, strict=True) for name in b
    )


@pytest.mark.parametrize("method", [FORK, "spawn"])
def test_workers_read_the_same_from_paths_and_addresses(tmp_path, method):
    """All files are open in this process when the workers start, and are read again after."""
    layouts = list(WRITERS)
    for layout in layouts:
        WRITERS[layout](tmp_path / layout)
    expected = items(Several([open_trajectories(tmp_path / layout) for layout in layouts]))
    places = [f"{kind}{tmp_path}/" for kind in ("", "file://", "simplecache::file://")]
    everywhere = Several([open_trajectories(at + layout) for at in places for layout in layouts])
    assert same(items(everywhere), 3 * expected)
    count = 2 if method == "fork" else 1
    workers = {"num_workers": count, "multiprocessing_context": method}
    assert same(items(everywhere, **workers), 3 * expected)
    assert same(items(everywhere), 3 * expected)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
def test_memory_crosses_a_fork(tmp_path, memory):
    WRITERS["HDF5"](tmp_path / "a.h5")
    dataset = Several([open_trajectories(memory(tmp_path / "a.h5", "a.h5"))])
    expected = items(dataset)
    assert same(items(dataset, num_workers=2, multiprocessing_context="fork"), expected)


@pytest.mark.slow
def test_memory_does_not_cross_a_spawn(tmp_path, memory):
    """A process that was spawned has a memory of its own, and says which file is not there."""
    WRITERS["HDF5"](tmp_path / "a.h5")
    dataset = Several([open_trajectories(memory(tmp_path / "a.h5", "a.h5"))])
    with pytest.raises(FileNotFoundError, match="a.h5"):
        items(dataset, num_workers=1, multiprocessing_context="spawn")
