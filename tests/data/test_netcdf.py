"""netCDF-3 and netCDF-4: every order of dims, packed values, times, and what is refused."""

import itertools
import pickle

import h5py
import numpy as np
import pytest
import torch
import xarray

from pdesurrogates.core import Grid
from pdesurrogates.data import from_arrays, from_xarray, open_trajectories

KINDS = ["scipy", "h5netcdf"]
SIZES = {"trajectory": 2, "time": 3, "x": 4, "y": 5}


def coded(dims, start=0.0):
    """A different number at every place of (trajectory, time, x, y), stored in another order."""
    u = start + np.arange(120.0).reshape(2, 3, 4, 5)
    array = xarray.DataArray(u, dims=tuple(SIZES))
    return array.transpose(*dims)


def coordinates(**more):
    return {"time": [0.0, 0.5, 1.0], "x": np.arange(4) / 4, "y": np.arange(5) / 5, **more}


@pytest.mark.parametrize("engine", KINDS)
@pytest.mark.parametrize("dims", list(itertools.permutations(SIZES))[::5], ids=" ".join)
def test_dims_in_any_order(tmp_path, engine, dims):
    fields = {"b": coded(dims), "a": coded(dims[::-1], 1000.0)}
    xarray.Dataset(fields, coordinates()).to_netcdf(tmp_path / "a", engine=engine)
    file = open_trajectories(tmp_path / "a", periodic=True)
    assert file.layout == "netCDF" and file.num_trajectories == 2
    assert file.grid == Grid((4, 5), (1.0, 1.0)) and file.times.tolist() == [0.0, 0.5, 1.0]
    assert set(file.fields.names) == {"a", "b"}
    for index in range(2):
        for name, start in (("b", 0.0), ("a", 1000.0)):
            expected = coded(SIZES, start).to_numpy()[index]
            assert np.array_equal(file.read(index)[:, file.fields.names.index(name)], expected)
    again = pickle.loads(pickle.dumps(file))
    assert torch.equal(again.read_windows([1, 0], [1, 0], 2)[0], file.read(1)[1:])


@pytest.mark.parametrize("engine", KINDS)
def test_packed_and_missing_values_are_decoded(tmp_path, engine):
    u = np.array([[0.5, -1.0, 2.0], [1.5, np.nan, 0.0]])
    data = xarray.Dataset({"u": (("time", "x"), u)}, {"time": [0.0, 1.0], "x": [0.0, 1.0, 2.0]})
    packing = {"dtype": "int16", "scale_factor": 0.5, "add_offset": -3.0, "_FillValue": -999}
    for name, encoding in (("packed", packing), ("fill", {"_FillValue": 1e20})):
        data.to_netcdf(tmp_path / name, engine=engine, encoding={"u": encoding})
        file = open_trajectories(tmp_path / name, periodic=False)
        assert np.array_equal(file.read(0)[:, 0], u, equal_nan=True)
        with pytest.raises(ValueError, match="got nan in field 'u' at frame 1"):
            file.check_finite(file.read(0), 0)


@pytest.mark.parametrize("engine", KINDS)
@pytest.mark.parametrize("name", ["scale_factor", "add_offset"])
def test_every_way_to_pack_is_noticed_alone(tmp_path, engine, name):
    u = np.array([[0.5, -1.0, 2.0], [1.5, 3.0, 0.0]])
    data = xarray.Dataset({"u": (("time", "x"), u)}, {"time": [0.0, 1.0], "x": [0.0, 1.0, 2.0]})
    packing = {"dtype": "float64", name: 0.25, "_FillValue": None}
    data.to_netcdf(tmp_path / "a", engine=engine, encoding={"u": packing})
    file = open_trajectories(tmp_path / "a", periodic=False)
    assert np.array_equal(file.read(0)[:, 0], u)


@pytest.mark.parametrize("engine", KINDS)
@pytest.mark.parametrize("stored", ["f4", "f8", "i2", "i4"])
def test_types_are_kept_or_widened(tmp_path, engine, stored):
    u = np.arange(6).reshape(2, 3).astype(stored)
    data = xarray.Dataset({"u": (("time", "x"), u)}, {"time": [0.0, 1.0], "x": [0.0, 1.0, 2.0]})
    data.to_netcdf(tmp_path / "a", engine=engine)
    file = open_trajectories(tmp_path / "a", periodic=False)
    assert file.dtype == (torch.float32 if stored in ("f4", "i2") else torch.float64)
    assert np.array_equal(file.read(0)[:, 0], u)


@pytest.mark.parametrize("engine", KINDS)
def test_frames_along_an_unlimited_dim(tmp_path, engine):
    """In netCDF-3 the records of all variables alternate in the file."""
    fields = {
        name: coded(("time", "x", "y", "trajectory"), 7.0 * i) for i, name in enumerate("ab")
    }
    data = xarray.Dataset(fields, coordinates())
    data.to_netcdf(tmp_path / "a", engine=engine, unlimited_dims=["time"])
    file = open_trajectories(tmp_path / "a", periodic=True)
    assert np.array_equal(file.read(1)[:, 1], coded(SIZES, 7.0).to_numpy()[1])


@pytest.mark.parametrize(
    "units, note", [("seconds since 2000-01-01", False), ("days since 2000-01-01", True)]
)
def test_times_are_the_numbers_of_the_file(tmp_path, units, note):
    data = xarray.Dataset({"u": (("time", "x"), np.zeros((3, 4)))}, {"x": np.arange(4.0)})
    data = data.assign_coords(time=("time", [10.0, 20.0, 30.0], {"units": units}))
    data.to_netcdf(tmp_path / "a", engine="scipy")
    file = open_trajectories(tmp_path / "a", periodic=True)
    assert file.times.tolist() == [10.0, 20.0, 30.0]
    assert f"times are in {units}, as stored" in file.notes[0]
    assert ("need times in days converted" in file.notes[0]) == note
    with xarray.open_dataset(tmp_path / "a") as decoded:  # dates
        seconds = [0.0, 10.0, 20.0] if not note else [0.0, 864000.0, 1728000.0]
        assert from_xarray(decoded.load()).times.tolist() == seconds


@pytest.mark.parametrize("engine", KINDS)
def test_what_to_xarray_wrote_is_read_back_exactly(tmp_path, engine):
    grid = Grid((4, 5), (np.pi, 1.0), (-1.0, 0.5), (False, True), cell_centred=True)
    u = torch.randn(2, 3, 2, 4, 5)
    file = from_arrays(
        u, axes="trajectory time channel x y", dt=0.1, grid=grid, fields=("p", "q"),
        parameters={"nu": [1, 2]}, periodic=(False, True),
    )  # fmt: skip
    for again in (from_xarray(file.to_xarray()),):
        assert again.grid == grid
    file.to_xarray().to_netcdf(tmp_path / "a", engine=engine)
    again = open_trajectories(tmp_path / "a")
    assert again.grid == grid and again.fields == file.fields
    assert torch.equal(again.times, file.times) and torch.equal(again.read(1), u[1])
    assert again.parameters["nu"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("engine", KINDS)
def test_dims_with_other_names_are_named_by_axes(tmp_path, engine):
    u = coded(("time", "y", "x", "trajectory")).rename(x="lon", y="lat", trajectory="member")
    data = xarray.Dataset({"u": u, "mask": (("lat", "lon"), np.ones((5, 4)))})
    data.to_netcdf(tmp_path / "a", engine=engine)
    with pytest.raises(ValueError, match="dims must contain time and x.*lat.*rename.*give axes"):
        open_trajectories(tmp_path / "a")
    axes = "time y x trajectory"
    with pytest.raises(ValueError, match="axis 'time' has no coordinate.*give dt"):
        open_trajectories(tmp_path / "a", axes=axes, extent=1.0)
    with pytest.raises(ValueError, match="axis 'lon' has no coordinate.*give extent"):
        open_trajectories(tmp_path / "a", axes=axes, dt=0.5)
    file = open_trajectories(tmp_path / "a", axes=axes, dt=0.5, extent=(1.0, 2.0), periodic=True)
    assert file.grid == Grid((4, 5), (1.0, 2.0)) and file.times.tolist() == [0.0, 0.5, 1.0]
    assert np.array_equal(file.read(1)[:, 0], coded(SIZES).to_numpy()[1])


@pytest.mark.parametrize("engine", KINDS)
def test_channels_within_one_variable(tmp_path, engine):
    u = np.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)  # y, channel, time, x
    data = xarray.Dataset({"u": (("lat", "part", "time", "lon"), u)}, {"time": np.arange(4.0)})
    data.to_netcdf(tmp_path / "a", engine=engine)
    file = open_trajectories(
        tmp_path / "a", axes="y channel time x", extent=(1.0, 2.0), periodic=False
    )
    assert file.fields.names == ("u_0", "u_1", "u_2") and file.grid.shape == (5, 2)
    assert np.array_equal(file.read(0), u.transpose(2, 1, 3, 0))


def test_one_variable_of_several(tmp_path):
    fields = {"a": coded(SIZES), "b": coded(SIZES, 500.0), "c": coded(SIZES).isel(trajectory=0)}
    xarray.Dataset(fields, coordinates()).to_netcdf(tmp_path / "a", engine="h5netcdf")
    assert open_trajectories(tmp_path / "a", periodic=True).fields.names == ("a", "b")
    file = open_trajectories(tmp_path / "a", variable="b", fields="pressure", periodic=True)
    assert file.fields.names == ("pressure",) and float(file.read(0)[0, 0, 0, 0]) == 500.0
    with pytest.raises(ValueError, match="no variable 'd'; found"):
        open_trajectories(tmp_path / "a", variable="d")


def test_periodicity_is_asked_of_the_data(tmp_path):
    x, t = np.linspace(0, 2 * np.pi, 33), np.linspace(0, 1, 5)
    u = np.sin(x - t[:, None]) + 0.2 * np.cos(2 * x)
    data = xarray.Dataset({"u": (("time", "x"), u)}, {"time": t, "x": x})
    data.to_netcdf(tmp_path / "a", engine="h5netcdf")
    file = open_trajectories(tmp_path / "a")
    assert file.grid.is_periodic == (True,) and "endpoint is repeated" in file.problems[0]
    assert open_trajectories(tmp_path / "a", periodic=False).grid.extent[0] == 2 * np.pi


@pytest.mark.parametrize("target", ["/u", "/x"])
def test_links_out_of_the_folder_are_refused(tmp_path, target):
    """Also where they would only be looked at, not read."""
    data = xarray.Dataset({"u": coded(SIZES)}, coordinates())
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "a.nc").write_bytes((tmp_path / "a.nc").read_bytes())
    with h5py.File(tmp_path / "inside" / "a.nc", "a") as file:
        file["v"] = h5py.ExternalLink("../a.nc", target)
    with pytest.raises(ValueError, match="outside the folder"):
        open_trajectories(tmp_path / "inside" / "a.nc")


@pytest.mark.parametrize("engine", KINDS)
@pytest.mark.parametrize("place", [40, 200])
def test_damaged_headers_are_refused(tmp_path, engine, place):
    data = xarray.Dataset({"u": coded(SIZES)}, coordinates())
    data.to_netcdf(tmp_path / "a.nc", engine=engine)
    content = bytearray((tmp_path / "a.nc").read_bytes())
    content[place : place + 64] = b"\xff" * 64
    (tmp_path / "a.nc").write_bytes(content)
    with pytest.raises(ValueError, match="a.nc: "):
        open_trajectories(tmp_path / "a.nc").read(0)
