"""The Well layout: what is written can be read, and what others write can be read."""

import os

import h5py
import numpy as np
import pytest
import torch

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.data import open_trajectories, write_trajectories


def foreign_file(path, *, bc_type="PERIODIC"):
    """A 2D file as other tools write it: every axis absent somewhere, bytes and plain strings."""
    rng = np.random.default_rng(0)
    shape = dict(B=3, T=4, X=5, Y=6)
    data = {
        "density": rng.standard_normal((3, 4, 5, 6)).astype("f4"),
        "mask": rng.standard_normal((5,)).astype("f4"),
        "velocity": rng.standard_normal((3, 4, 5, 6, 2)).astype("f4"),
        "stress": rng.standard_normal((4, 5, 6, 2, 2)).astype("f4"),
    }
    with h5py.File(path, "w") as file:
        file.attrs.update(
            dataset_name=b"foreign",
            grid_type="cartesian",
            n_spatial_dims=2,
            n_trajectories=3,
            simulation_parameters=["Re"],
            Re=100.0,
        )
        dims = file.create_group("dimensions")
        dims.attrs["spatial_dims"] = np.array([b"x", b"y"])
        dims["time"] = np.arange(4, dtype="f4") * np.float32(0.01)
        dims["x"] = np.linspace(0, 1, 5, endpoint=False, dtype="f4")
        dims["y"] = np.linspace(-1, 1, 6, dtype="f4")
        condition = file.create_group("boundary_conditions/x_sides")
        condition.attrs.update(associated_dims="x", associated_fields=[], bc_type=bc_type)
        scalars = file.create_group("scalars")
        scalars.attrs["field_names"] = ["Re", "forcing"]
        for name, value, by_sample, by_time in (
            ("Re", 100.0, False, False),
            ("forcing", np.array([1.0, 2.0, 3.0]), True, False),
        ):
            scalars[name] = value
            scalars[name].attrs.update(sample_varying=by_sample, time_varying=by_time)
        plan = {
            "t0_fields": [("density", True, True, [1, 1]), ("mask", False, False, [1, 0])],
            "t1_fields": [("velocity", True, True, [1, 1])],
            "t2_fields": [("stress", False, True, [1, 1])],
        }
        for group, entries in plan.items():
            file.create_group(group).attrs["field_names"] = [entry[0] for entry in entries]
            for name, by_sample, by_time, varies in entries:
                field = file[group].create_dataset(name, data=data[name])
                field.attrs.update(
                    sample_varying=by_sample,
                    time_varying=by_time,
                    dim_varying=np.array(varies, dtype=bool),
                )
    return data, shape


def test_foreign_file_broadcasts_absent_axes(tmp_path):
    data, _ = foreign_file(tmp_path / "foreign.h5")
    file = open_trajectories(tmp_path / "foreign.h5")
    assert file.layout == "The Well"
    assert file.fields.names == (
        "density", "mask", "velocity_x", "velocity_y",
        "stress_xx", "stress_xy", "stress_yx", "stress_yy",
    )  # fmt: skip
    assert file.grid == Grid((5, 6), (1.0, 2.0), (0.0, -1.0), (True, False))
    assert file.times.tolist() == [0.0, 0.01, 0.02, 0.03]
    assert file.parameters["Re"].tolist() == [100.0] * 3
    assert file.parameters["forcing"].tolist() == [1.0, 2.0, 3.0]
    assert file.attributes["dataset_name"] == "foreign"
    u = file.read(2, slice(1, 3))
    assert u.shape == (2, 8, 5, 6) and u.dtype == torch.float32
    assert np.array_equal(u[:, 0], data["density"][2, 1:3])
    assert np.array_equal(u[1, 1], np.broadcast_to(data["mask"][:, None], (5, 6)))
    assert np.array_equal(u[:, 3], data["velocity"][2, 1:3, ..., 1])
    assert np.array_equal(u[:, 5], data["stress"][1:3, ..., 0, 1])
    windows = file.read_windows([2, 0], [1, 2], 2)
    assert torch.equal(windows[0], u)
    assert torch.equal(windows[1], file.read(0, slice(2, 4)))


def test_boundary_type_is_read_in_any_case(tmp_path):
    foreign_file(tmp_path / "a.h5", bc_type="periodic")
    foreign_file(tmp_path / "b.h5", bc_type="WALL")
    assert open_trajectories(tmp_path / "a.h5").grid.is_periodic == (True, False)
    assert open_trajectories(tmp_path / "b.h5").grid.is_periodic == (False, False)


def test_non_uniform_grid_names_the_gap(tmp_path):
    foreign_file(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["dimensions/y"][3] = 0.3
    with pytest.raises(
        ValueError,
        match=r"a.h5: coordinate 'y' must be uniform, got y\[3\] - "
        r"y\[2\]",
    ):
        open_trajectories(tmp_path / "a.h5")


def test_wrong_shape_names_the_field(tmp_path):
    foreign_file(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["t0_fields/density"].attrs["time_varying"] = False
    with pytest.raises(ValueError, match=r"/t0_fields/density must have shape \(3, 5, 6\)"):
        open_trajectories(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["dimensions/time"]
    with pytest.raises(ValueError, match="needs `dimensions/time`, which is missing"):
        open_trajectories(tmp_path / "a.h5")


@pytest.mark.parametrize("stored", ["float32", "float64"])
@pytest.mark.parametrize("space", [(7,), (4, 6), (2, 3, 5)])
def test_round_trip_is_exact(tmp_path, stored, space):
    dims = "xyz"[: len(space)]
    names = ("pressure", *(f"velocity_{d}" for d in dims), "tracer_x1")
    fields = FieldSpec(names, ("Pa", *["m/s"] * len(space), "1"))
    grid = Grid(space, tuple(2.0 * np.pi / (k + 1) for k in range(len(space))), periodic=True)
    u = torch.randn(3, 4, len(names), *space).to(getattr(torch, stored))
    times = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    path = write_trajectories(
        tmp_path / "a.h5", u, fields=fields, grid=grid, times=times, dtype=stored,
        parameters={"viscosity": 0.1, "amplitude": [1 / 3, 2 / 3, 1.0]},
        attributes={"recipe": "a: 1\n"}, name="flow",
    )  # fmt: skip
    with open_trajectories(path) as file:
        assert file.fields == fields
        assert file.grid == grid
        assert torch.equal(file.times, times)
        assert file.parameters["amplitude"].tolist() == [1 / 3, 2 / 3, 1.0]
        assert file.parameters["viscosity"].tolist() == [0.1] * 3
        assert file.attributes["recipe"] == "a: 1\n"
        assert file.attributes["dataset_name"] == "flow"
        assert file.dtype is getattr(torch, stored)
        for i in range(3):
            assert torch.equal(file.read(i), u[i])
        assert torch.equal(file.read(-1, slice(3, 0, 1)), u[-1, 3:0])
        assert torch.equal(file.read(1, slice(0, None, 2)), u[1, ::2])


def test_exact_times_are_checked(tmp_path):
    path = write_trajectories(
        tmp_path / "a.h5",
        torch.zeros(1, 4, 1, 8),
        fields=FieldSpec(("u",)),
        grid=Grid((8,), (1.0,)),
        times=[0.0, 1.0, 2.0, 3.0],
    )
    with h5py.File(path, "a") as file:
        file["pdesurrogates/time"][2] = 0.5
    with pytest.raises(ValueError, match="pdesurrogates/time: time must increase strictly"):
        open_trajectories(path)


def test_written_file_follows_the_layout(tmp_path):
    grid = Grid((4, 6), (1.0, 1.0), periodic=(True, False))
    u = torch.randn(2, 3, 3, 4, 6)
    fields = FieldSpec(("density", "velocity_x", "velocity_y"))
    path = write_trajectories(
        tmp_path / "a.h5", u, fields=fields, grid=grid, times=[0.0, 1.0, 2.0],
        parameters={"nu": 0.5},
    )  # fmt: skip
    with h5py.File(path) as file:
        assert set(file) == {
            "boundary_conditions", "dimensions", "pdesurrogates", "scalars",
            "t0_fields", "t1_fields", "t2_fields",
        }  # fmt: skip
        assert file.attrs["n_trajectories"] == 2 and file.attrs["n_spatial_dims"] == 2
        assert list(file.attrs["simulation_parameters"]) == ["nu"] and file.attrs["nu"] == 0.5
        assert list(file["dimensions"].attrs["spatial_dims"]) == ["x", "y"]
        assert file["dimensions/time"].dtype == np.float32
        assert list(file["t1_fields"].attrs["field_names"]) == ["velocity"]
        assert file["t1_fields/velocity"].shape == (2, 3, 4, 6, 2)
        assert np.array_equal(file["t1_fields/velocity"][..., 1], u[:, :, 2].float())
        assert list(file["boundary_conditions"]) == ["x_periodic"]
        assert file["boundary_conditions/x_periodic"].attrs["bc_type"] == "periodic"
        assert file["t0_fields/density"].chunks is None


def test_reading_survives_fork_and_pickle(tmp_path):
    import pickle

    u = torch.randn(2, 5, 1, 8)
    path = write_trajectories(
        tmp_path / "a.h5", u, fields=FieldSpec(), grid=Grid((8,), (1.0,)), times=range(5)
    )
    file = open_trajectories(path)
    file.read(0)
    assert torch.equal(pickle.loads(pickle.dumps(file)).read(1), u[1].float())
    child = os.fork()
    if child == 0:
        os._exit(0 if torch.equal(file.read(1), u[1].float()) else 1)
    assert os.waitpid(child, 0)[1] == 0
    file.close()
    assert torch.equal(file.read(0), u[0].float())


def test_truncation_after_opening_is_noticed(tmp_path):
    u = torch.randn(2, 5, 1, 8)
    path = write_trajectories(
        tmp_path / "a.h5", u, fields=FieldSpec(), grid=Grid((8,), (1.0,)), times=range(5)
    )
    file = open_trajectories(path)
    os.truncate(path, 100)
    with pytest.raises(ValueError, match="the file was truncated"):
        file.read(1)


def test_bad_reads_say_what_is_there(tmp_path):
    u = torch.randn(2, 5, 1, 8)
    path = write_trajectories(
        tmp_path / "a.h5", u, fields=FieldSpec(), grid=Grid((8,), (1.0,)), times=[0, 1, 2, 4, 5]
    )
    file = open_trajectories(path)
    with pytest.raises(IndexError, match="there are 2 trajectories .* got index 2"):
        file.read(2)
    with pytest.raises(IndexError, match=r"windows of 4 frames must start in 0 .. 1, got 2 .. 2"):
        file.read_windows([0], [2], 4)
    with pytest.raises(IndexError, match=r"trajectories must lie in 0 .. 1"):
        file.read_windows([5], [0], 1)
    with pytest.raises(TypeError, match="slice"):
        file.read(0, 3)
    with pytest.raises(
        ValueError,
        match=r"times must be uniform here, got time\[3\] - "
        r"time\[2\] = 2",
    ):
        file.time_step(0)
