"""In-memory arrays with named axes, and xarray both ways."""

import numpy as np
import pytest
import torch
import xarray

from pdesurrogates.core import Grid
from pdesurrogates.data import (
    from_arrays,
    from_xarray,
    open_trajectories,
    write_trajectories,
)


@pytest.mark.parametrize(
    "axes, order",
    [
        ("trajectory time channel x y", (0, 1, 2, 3, 4)),
        ("batch t x y field", (0, 1, 3, 4, 2)),
        ("x, y, component, sample, time", (3, 4, 2, 0, 1)),
    ],
)
def test_axes_are_moved_by_name(axes, order):
    u = torch.randn(2, 3, 4, 5, 6)
    file = from_arrays(u.permute(*order), axes=axes, dt=0.1, extent=(1.0, 2.0))
    assert (file.num_trajectories, file.num_times, file.fields.num_channels) == (2, 3, 4)
    assert file.grid == Grid((5, 6), (1.0, 2.0))
    assert torch.equal(file.read(1), u[1])
    assert torch.equal(file.read_windows([1, 0], [0, 1], 2), torch.stack([u[1, :2], u[0, 1:]]))


def test_missing_axes_have_size_one_and_dtype_is_kept():
    u = np.random.default_rng(0).standard_normal((8, 3)).astype("f4")
    file = from_arrays(u, axes="x time", times=[0, 1, 3], coordinates={"x": np.arange(8) / 8})
    assert file.read(0).shape == (3, 1, 8) and file.read(0).dtype == torch.float32
    assert np.array_equal(file.read(0)[:, 0], u.T)
    assert file.grid == Grid((8,), (1.0,)) and file.times.tolist() == [0.0, 1.0, 3.0]


def test_complex_becomes_two_channels():
    psi = torch.randn(3, 8, dtype=torch.complex128)
    file = from_arrays(psi, axes="time x", dt=1.0, extent=1.0)
    assert file.fields.names == ("real", "imaginary")
    assert torch.equal(file.read(0)[:, 1], psi.imag)
    real = from_arrays(psi.real + 1e-9j * psi.real, axes="time x", dt=1.0, extent=1.0)
    assert real.fields.names == ("u",) and "imaginary part of at most" in real.notes[0]


def repeated(n=17):
    x = np.linspace(0, 1, n)
    t = np.linspace(0, 1, 5)[:, None]
    return np.sin(2 * np.pi * (x - t) + 1) + 0.3 * np.cos(4 * np.pi * x), x


def test_repeated_endpoint_is_reported_and_dropped_on_request():
    u, x = repeated()
    file = from_arrays(u, axes="time x", dt=0.25, coordinates={"x": x})
    assert file.grid.shape == (17,)
    assert "endpoint is repeated (point 16 equals point 0" in file.problems[0]
    dropped = from_arrays(
        u, axes="time x", dt=0.25, coordinates={"x": x}, drop_repeated_endpoint=True
    )
    assert dropped.grid == Grid((16,), (1.0,)) and dropped.problems == ()
    assert dropped.notes == ("dropped the repeated periodic endpoint of x: 17 -> 16 points",)
    by_extent = from_arrays(u, axes="time x", dt=0.25, extent=1.0, drop_repeated_endpoint=True)
    assert by_extent.grid == Grid((16,), (1.0,))
    open_ends = from_arrays(u, axes="time x", dt=0.25, coordinates={"x": x}, periodic=False)
    assert open_ends.problems == () and open_ends.grid.spacing == (1 / 16,)


def test_equal_boundary_values_are_ambiguous():
    x, t = np.linspace(0, 1, 17), np.linspace(0, 1, 5)[:, None]
    u = np.exp(-t) * x * (1 - x) * (1 + x)
    file = from_arrays(
        u, axes="time x", dt=0.25, coordinates={"x": x}, drop_repeated_endpoint=True
    )
    assert file.grid.shape == (17,) and "ambiguous" in file.problems[0]


@pytest.mark.parametrize(
    "change, text",
    [
        ({"axes": "time space"}, "axis name 'space' is not known; use trajectory, time"),
        ({"axes": "x x"}, "every axis may be named once"),
        ({"axes": "trajectory time x"}, "names 3 axes .* but the array has 2"),
        ({"axes": "trajectory x"}, "must contain time and at least x"),
        ({"axes": "time y"}, "space axes are x, then y, then z"),
        ({"extent": None}, "exactly one of `grid`, `coordinates` and `extent`.*got none"),
        ({"dt": None}, "give either `times` or `dt`"),
        ({"dt": -1.0}, "`dt` must be positive"),
        ({"dt": None, "times": [0, 1, 1]}, "time must increase strictly, got 1 then 1 at index 2"),
        ({"dt": None, "times": [0, np.nan, 1]}, "time must be finite, got nan at index 1"),
        ({"dt": None, "times": [0, 1]}, r"`times` must have shape \(3,\)"),
        ({"fields": ("a", "b")}, "`fields` must name 1 channels, got 2"),
        ({"parameters": {"nu": [1, 2]}}, "'nu' must be one number or one per trajectory"),
        ({"extent": None, "coordinates": {"y": [1]}}, "lacks axis 'x'"),
        ({"extent": None, "coordinates": {"x": range(7)}}, "has 7 points, the array has 8"),
        ({"extent": None, "grid": Grid((4,), (1.0,))}, "`grid` has"),
        (
            {"extent": None, "coordinates": {"x": [0, 1, 2, 3.5, 4, 5, 6, 7]}},
            r"'x' must be uniform, got x\[3\] - x\[2\] = 1.5 where the typical gap is 1",
        ),
        ({"extent": None, "coordinates": {"x": range(8, 0, -1)}}, "x must increase strictly"),
        ({"periodic": (True, False)}, "one entry per axis"),
    ],
)
def test_refusals(change, text):
    given = {"axes": "time x", "dt": 0.1, "extent": 1.0, **change}
    with pytest.raises(ValueError, match=text):
        from_arrays(torch.zeros(3, 8), **given)


@pytest.mark.parametrize("differ", [False, True])
def test_xarray_round_trip(tmp_path, differ):
    times = torch.tensor([[0.0, 0.1, 0.2], [0.0, 0.2, 0.4]] if differ else [0.0, 0.1, 0.2])
    file = from_arrays(
        torch.randn(2, 3, 2, 4, 5), axes="trajectory time channel x y", times=times,
        extent=(np.pi, 1.0), fields=("a", "b"), periodic=(True, False), parameters={"nu": [1, 2]},
    )  # fmt: skip
    dataset = file.to_xarray()
    assert dataset["a"].dims == ("trajectory", "time", "x", "y")
    assert dataset["a"].attrs["units"] == "1"
    dataset.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    for source in (dataset, xarray.load_dataset(tmp_path / "a.nc", engine="h5netcdf")):
        again = from_xarray(source)
        assert again.grid == file.grid and again.fields == file.fields
        assert torch.equal(again.times, file.times)
        assert torch.equal(again.read(1), file.read(1))
        assert again.parameters["nu"].tolist() == [1.0, 2.0]
    one = file.to_xarray(1)
    assert one["b"].dims == ("time", "x", "y")
    assert np.array_equal(one["b"], file.read(1)[:, 1])
    assert torch.equal(from_xarray(one).read(0), file.read(1))


def test_from_xarray_refusals():
    u = xarray.DataArray(np.zeros((3, 4)), dims=("time", "lon"))
    with pytest.raises(ValueError, match="dims must contain time and x.*rename"):
        from_xarray(xarray.Dataset({"u": u}))
    with pytest.raises(ValueError, match="axis 'x' has no coordinate"):
        from_xarray(xarray.Dataset({"u": u.rename(lon="x")}))


def test_in_memory_file_can_be_written(tmp_path):
    file = from_arrays(torch.randn(2, 3, 8), axes="trajectory time x", dt=0.1, extent=1.0)
    states = torch.stack([file.read(i) for i in range(2)])
    write_trajectories(
        tmp_path / "a.h5", states, fields=file.fields, grid=file.grid, times=file.times
    )
    assert torch.allclose(open_trajectories(tmp_path / "a.h5").read(1).float(), states[1].float())
