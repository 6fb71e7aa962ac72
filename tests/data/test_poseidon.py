"""Poseidon: every family by its variables, channels and axes, and what the files do not say."""

import h5py
import numpy as np
import pytest
import torch

from pdesurrogates.core import Grid
from pdesurrogates.data import open_trajectories

COUNT, FRAMES, NX, NY = 3, 5, 6, 4
GAS = ("density", "velocity_x", "velocity_y", "pressure")


def coded(*shape, start=0):
    """A different number at every place, exact in float32."""
    return (start + np.arange(np.prod(shape))).reshape(shape).astype("f4")


def save(path, arrays, **storage):
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=values, **storage)


def swirl(nx, ny):
    """Velocity (2, nx, ny) on [0, 1]^2, free of divergence, different along x and y."""
    x, y = np.meshgrid(np.arange(nx) / nx, np.arange(ny) / ny, indexing="ij")
    k, m = 2 * np.pi, 4 * np.pi  # stream function sin(k x) cos(m y)
    return np.stack([-m * np.sin(k * x) * np.sin(m * y), -k * np.cos(k * x) * np.cos(m * y)])


@pytest.mark.parametrize(
    "variable, count, family, names, periodic",
    [
        ("velocity", 2, "NS-*", ("velocity_x", "velocity_y"), True),
        ("velocity", 3, "NS-*", ("velocity_x", "velocity_y", "tracer"), True),
        ("velocity", 4, "NS-*", ("velocity_x", "velocity_y", "tracer", "channel_3"), True),
        ("data", 4, "CE-*", GAS, True),
        ("data", 5, "CE-*", (*GAS, "tracer"), True),
        ("solution", 2, "FNS-KF", ("velocity_x", "velocity_y"), True),
        ("solution", 3, "FNS-KF", ("velocity_x", "velocity_y", "channel_2"), True),
        ("solution", 4, "CE-RM", GAS, False),
        ("solution", 5, "CE-RM", (*GAS, "channel_4"), False),
        ("solution", 6, "GCE-RT", (*GAS, "channel_4", "gravity_potential"), False),
        ("solution", 7, "GCE-RT", (*GAS, "channel_4", "gravity_potential", "channel_6"), False),
        ("solution", 1, "unknown", ("channel_0",), False),
    ],
)
def test_families_with_channels(tmp_path, variable, count, family, names, periodic):
    u = coded(COUNT, FRAMES, count, NX, NY)
    save(tmp_path / "a.nc", {variable: u})
    file = open_trajectories(tmp_path / "a.nc")
    assert file.layout == "Poseidon" and file.fields.names == names
    assert any(f"recognised as Poseidon's {family} " in note for note in file.notes)
    assert file.dtype == torch.float32 and file.num_trajectories == COUNT
    for index in range(COUNT):
        assert np.array_equal(file.read(index), u[index])
    assert np.array_equal(file.read(1, slice(1, 4)), u[1, 1:4])
    assert file.grid == Grid((NX, NY), (1.0,), periodic=periodic, cell_centred=True)


def test_waves_have_a_speed_that_stays(tmp_path):
    u, c = coded(COUNT, FRAMES, NX, NY), coded(COUNT, NX, NY, start=1000)
    save(tmp_path / "a.nc", {"solution": u, "c": c})
    file = open_trajectories(tmp_path / "a.nc")
    assert file.fields.names == ("u", "wave_speed")
    assert np.array_equal(file.read(2)[:, 0], u[2])
    assert np.array_equal(file.read(2)[:, 1], np.tile(c[2], (FRAMES, 1, 1)))


def test_allen_cahn(tmp_path):
    u = coded(COUNT, FRAMES, NX, NY)
    save(tmp_path / "a.nc", {"solution": u})
    file = open_trajectories(tmp_path / "a.nc")
    assert file.fields.names == ("u",) and np.array_equal(file.read(1)[:, 0], u[1])


def test_steady_families_have_one_frame(tmp_path):
    u = coded(COUNT, 2, NX, NY)
    save(tmp_path / "airfoil.nc", {"solution": u})
    file = open_trajectories(tmp_path / "airfoil.nc")
    assert file.fields.names == ("airfoil", "density") and file.times.tolist() == [0.0]
    assert np.array_equal(file.read(2)[0], u[2])
    save(tmp_path / "poisson.nc", {"solution": u[:, 0], "source": u[:, 1]})
    file = open_trajectories(tmp_path / "poisson.nc")
    assert file.fields.names == ("source", "solution") and file.times.tolist() == [0.0]
    assert np.array_equal(file.read(2)[0], u[2, ::-1])
    assert file.problems == ()
    with pytest.raises(ValueError, match="`dt` has no meaning for a steady problem"):
        open_trajectories(tmp_path / "poisson.nc", dt=0.1)


@pytest.mark.parametrize("scalar", [(), (1,)])
def test_helmholtz_samples_are_in_the_order_of_their_numbers(tmp_path, scalar):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for i in range(12):
            file[f"Sample_{i}/a"] = coded(NX, NY, start=100 * i)
            file[f"Sample_{i}/u"] = coded(NX, NY, start=100 * i + 50)
            file[f"Sample_{i}/bc"] = np.full(scalar, i / 8)
    file = open_trajectories(tmp_path / "a.h5")
    assert file.num_trajectories == 12 and file.times.tolist() == [0.0]
    assert file.fields.names == ("coefficient", "boundary_value", "solution")
    for i in (0, 2, 11):
        frame = file.read(i)[0]
        assert np.array_equal(frame[0], coded(NX, NY, start=100 * i))
        assert torch.equal(frame[1], torch.full((NX, NY), i / 8))
        assert np.array_equal(frame[2], coded(NX, NY, start=100 * i + 50))


def test_what_the_file_does_not_say_is_said_aloud_and_can_be_given(tmp_path):
    save(tmp_path / "a.nc", {"data": coded(COUNT, FRAMES, 4, NX, NY)})
    file = open_trajectories(tmp_path / "a.nc")
    assert file.times.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert "no times in the file: frame n is at n / 4" in file.problems[0]
    text = " ".join(file.notes)
    assert "centres of cells on [0, 1]^2" in text and "taken as periodic" in text
    assert "axes taken as (x, y)" in text
    file = open_trajectories(tmp_path / "a.nc", dt=0.5, extent=(2.0, 3.0), periodic=False)
    assert file.times.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0] and file.problems == ()
    assert file.grid == Grid((NX, NY), (2.0, 3.0), periodic=False, cell_centred=True)
    with pytest.raises(ValueError, match="`dt` must be positive"):
        open_trajectories(tmp_path / "a.nc", dt=-1.0)


@pytest.mark.parametrize("variable", ["velocity", "solution"])
def test_the_divergence_tells_the_order_of_the_axes(tmp_path, variable):
    """NS-SL is stored (y, x) while its components keep their order."""
    nx, ny = 12, 16
    u = np.broadcast_to(swirl(nx, ny), (COUNT, FRAMES, 2, nx, ny)).astype("f4")
    u = u * np.arange(1, FRAMES + 1, dtype="f4")[:, None, None, None]
    save(tmp_path / "xy.nc", {variable: u})
    save(tmp_path / "yx.nc", {variable: u.swapaxes(-1, -2)})
    for name, order in (("xy", "axes are (x, y)"), ("yx", "axes are (y, x)")):
        file = open_trajectories(tmp_path / f"{name}.nc")
        assert file.grid.shape == (nx, ny) and order in file.notes[0]
        assert np.array_equal(file.read(1), u[1])
    save(tmp_path / "none.nc", {variable: coded(COUNT, FRAMES, 2, NX, NY)})
    assert "not free of divergence in either" in open_trajectories(tmp_path / "none.nc").notes[0]


def test_dimensions_without_values_are_no_variables(tmp_path):
    u = coded(COUNT, FRAMES, 2, NX, NY)
    with h5py.File(tmp_path / "a.nc", "w") as file:
        file.attrs["_NCProperties"] = "version=2,netcdf=4.9.2,hdf5=1.14.2"
        file["velocity"] = u
        for axis, name in enumerate(("member", "time", "channel", "x", "y")):
            file[name] = np.zeros(u.shape[axis], "f4")
            file[name].make_scale(f"This is a netCDF dimension but not a netCDF variable.{axis}")
            file["velocity"].dims[axis].attach_scale(file[name])
    file = open_trajectories(tmp_path / "a.nc")
    assert file.layout == "Poseidon" and np.array_equal(file.read(2), u[2])


def test_assembled_from_chunks_and_not_all_written(tmp_path):
    u = coded(COUNT, FRAMES, 4, NX, NY)
    with h5py.File(tmp_path / "a.nc", "w") as file:
        stored = file.create_dataset("data", u.shape, "f4", chunks=(1, 1, 4, NX, NY), shuffle=True)
        stored[:2] = u[:2]
    file = open_trajectories(tmp_path / "a.nc")
    assert np.array_equal(file.read(1), u[1])
    with pytest.raises(ValueError, match=r"data has no numbers from \(2, 0, 0, 0, 0\) on"):
        file.read(2)


def test_with_coordinates_it_is_an_ordinary_file(tmp_path):
    u = coded(FRAMES, NX)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["solution"], file["x"] = u, np.linspace(0, 1, NX)
        file["t"] = np.linspace(0, 1, FRAMES)
    file = open_trajectories(tmp_path / "a.h5", periodic=False)
    assert file.layout == "arrays (h5)" and np.array_equal(file.read(0)[:, 0], u)


def test_who_names_the_axes_knows_better(tmp_path):
    u = coded(FRAMES, NX, NY, 5)
    save(tmp_path / "a.h5", {"solution": u})
    assert open_trajectories(tmp_path / "a.h5").layout == "Poseidon"
    file = open_trajectories(
        tmp_path / "a.h5", axes="time x y z", dt=0.1, extent=1.0, periodic=True
    )
    assert file.num_trajectories == 1 and np.array_equal(file.read(0)[:, 0], u)


@pytest.mark.parametrize(
    "arrays, text",
    [
        ({"solution": np.zeros((3, 4, 5, 6)), "c": np.zeros((2, 5, 6))}, "one number of traj"),
        ({"solution": np.zeros((3, 5, 6)), "source": np.zeros((3, 5, 7))}, "one grid"),
        ({"data": np.full((1, 1, 4, 2, 2), b"x")}, "data must hold floats"),
        ({"Sample_0/a": np.zeros((4, 5)), "Sample_0/u": np.zeros((4, 5))}, "`Sample_0/bc` is mi"),
        (
            {"Sample_0/a": np.zeros(4), "Sample_0/u": np.zeros((4, 5)), "Sample_0/bc": 1.0},
            "Sample_0 must hold a and u of one shape",
        ),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, arrays, text):
    save(tmp_path / "a.nc", arrays)
    with pytest.raises(ValueError, match=f"a.nc: .*{text}"):
        open_trajectories(tmp_path / "a.nc")


def test_a_sample_that_differs_is_named_when_it_is_read(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for i, n in enumerate((4, 5)):
            file[f"Sample_{i}/a"] = file[f"Sample_{i}/u"] = np.zeros((4, n))
            file[f"Sample_{i}/bc"] = 0.0
    with pytest.raises(ValueError, match="Sample_1/a"):
        open_trajectories(tmp_path / "a.h5").read(1)
