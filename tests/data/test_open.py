"""Detection by content, PDEBench files, and what is said about files that cannot be read."""

import math

import h5py
import numpy as np
import pytest
import torch

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.data import TrajectoryWriter, open_trajectories


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
    assert file.layout == "PDEBench 1D" and file.num_trajectories == 4
    assert file.grid == Grid((16,), (1.0,), (1 / 32,))
    assert file.times.tolist() == pytest.approx([0.01 * n for n in range(11)], rel=1e-15)
    assert file.time_step(0) == pytest.approx(0.01, rel=1e-15)
    assert file.parameters["Nu"].tolist() == [0.01] * 4
    assert file.parameters["viscosity"][0] == pytest.approx(0.01 / math.pi, rel=1e-15)
    assert "surplus last entry is ignored" in " ".join(file.notes)
    assert np.array_equal(file.read(3)[:, 0], u[3])


def test_pdebench_old_domain_is_a_problem(tmp_path):
    pdebench(tmp_path / "a.h5", offset=-1.0, length=2.0)
    assert "scaling fault" in open_trajectories(tmp_path / "a.h5").problems[0]


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


def test_pdebench_refusals(tmp_path):
    pdebench(tmp_path / "a.h5", extra=2)
    with pytest.raises(ValueError, match="`t-coordinate` must have 11 or 12 entries"):
        open_trajectories(tmp_path / "a.h5")
    pdebench(tmp_path / "b.h5")
    with h5py.File(tmp_path / "b.h5", "a") as file:
        file["x-coordinate"][4] += 0.02
    with pytest.raises(ValueError, match=r"must be uniform, got x-coordinate\[4\]"):
        open_trajectories(tmp_path / "b.h5")
    with h5py.File(tmp_path / "b.h5", "a") as file:
        del file["t-coordinate"]
    with pytest.raises(ValueError, match="needs `t-coordinate`"):
        open_trajectories(tmp_path / "b.h5")


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


@pytest.mark.parametrize(
    "keys, family",
    [
        (["0000/data", "0000/grid/x"], "PDEBench grouped"),
        (["velocity", "particles", "force", "t"], "incompressible"),
        (["density", "pressure", "Vx", "x-coordinate"], "compressible flow"),
        (["tensor", "nu", "x-coordinate"], "Darcy"),
        (["train/u"], "PDEArena"),
        (["0/cells", "0/node_type", "0/mesh_pos"], "MeshGraphNets"),
        (["solution"], "Poseidon"),
        (["Sample_0/a", "Sample_0/u"], "Poseidon Helmholtz"),
        (["dimensions/x", "t0_fields/u"], "without the root attributes"),
        (["something", "other"], "the layout is not known.*Found at the root: other, something"),
    ],
)
def test_unreadable_families_are_named(tmp_path, keys, family):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for key in keys:
            file[key] = np.zeros(3)
    with pytest.raises(ValueError, match=f"{family}.*from_arrays"):
        open_trajectories(tmp_path / "a.h5")


def test_arrays_point_to_convert(tmp_path):
    from scipy.io import netcdf_file, savemat

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


def test_100_gigabytes_open_and_read_one_window(tmp_path):
    """The file is sparse: reading all of it would take minutes and more memory than there is."""
    with TrajectoryWriter(
        tmp_path / "big.h5",
        fields=FieldSpec(),
        grid=Grid((512, 512), (1.0, 1.0)),
        times=range(100),
        num_trajectories=1000,
    ) as writer:
        path = writer.partial
    assert path.stat().st_size > 100e9
    window = open_trajectories(path).read(999, slice(98, 100))
    assert window.shape == (2, 1, 512, 512)
