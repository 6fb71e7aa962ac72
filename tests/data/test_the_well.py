"""The Well layout: what is written can be read, and what others write can be read."""

import os

import h5py
import numpy as np
import pytest
import torch

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.data import (
    StretchedGrid,
    TrajectoryWindows,
    open_trajectories,
    write_trajectories,
)


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


def changed(path, change):
    """The foreign file with one thing in it changed."""
    data, _ = foreign_file(path)
    with h5py.File(path, "a") as file:
        change(file)
    return data


def replace(file, key, values, **attributes):
    kept = dict(file[key].attrs)
    del file[key]
    file[key] = values
    file[key].attrs.update({**kept, **attributes})


def test_uneven_axis_keeps_its_coordinates(tmp_path):
    """rayleigh_benard: Chebyshev points along y, while x stays periodic and even."""
    nodes = (1 - np.cos(np.pi * (np.arange(6) + 0.5) / 6)).astype("f4")
    data = changed(tmp_path / "a.h5", lambda file: replace(file, "dimensions/y", nodes))
    with open_trajectories(tmp_path / "a.h5") as file:
        assert isinstance(file.grid, StretchedGrid)
        assert file.grid.shape == (5, 6) and file.grid.is_periodic == (True, False)
        assert file.grid.extent[0] == 1.0
        assert file.grid.axes()[1].tolist() == nodes.astype("f8").tolist()
        assert np.array_equal(file.grid.coordinates()[1, 3], nodes.astype("f8"))
        assert any("axis y is not uniform: y[" in t for t in file.problems)
        assert np.array_equal(file.read(1)[:, 0], data["density"][1])
        assert len(TrajectoryWindows(file)) == 9
        with pytest.raises(ValueError, match="a spacing is needed here, but axis y is not unifor"):
            _ = file.grid.spacing
        with pytest.raises(ValueError, match="cannot be resized to 12"):
            file.grid.resized(12)


def test_an_uneven_axis_cannot_close(tmp_path):
    uneven = np.array([0, 0.1, 0.3, 0.6, 0.9], dtype="f4")
    changed(tmp_path / "a.h5", lambda file: replace(file, "dimensions/x", uneven))
    file = open_trajectories(tmp_path / "a.h5")
    assert file.boundary[0] == ("periodic", "periodic")
    assert file.grid.is_periodic == (False, False)


def test_falling_axis_keeps_its_coordinates(tmp_path):
    """Latitudes from north to south."""
    falling = np.linspace(1.5, -1.5, 6, dtype="f4")
    changed(tmp_path / "a.h5", lambda file: replace(file, "dimensions/y", falling))
    file = open_trajectories(tmp_path / "a.h5")
    assert file.grid.axes()[1].tolist() == falling.astype("f8").tolist()
    assert any("axis y falls from 1.5 to -1.5" in text for text in file.problems)


def test_turning_axis_is_refused(tmp_path):
    turning = np.array([0, 1, 2, 1.5, 3, 4], dtype="f4")
    changed(tmp_path / "a.h5", lambda file: replace(file, "dimensions/y", turning))
    with pytest.raises(ValueError, match="y must increase strictly, got 2 then 1.5 at index 3"):
        open_trajectories(tmp_path / "a.h5")


def test_coordinates_per_sample(tmp_path):
    y = np.tile(np.linspace(-1, 1, 6, dtype="f4"), (3, 1))
    changed(tmp_path / "a.h5", lambda f: replace(f, "dimensions/y", y, sample_varying=True))
    assert open_trajectories(tmp_path / "a.h5").grid.extent == (1.0, 2.0)
    y[2] += 0.5
    changed(tmp_path / "b.h5", lambda f: replace(f, "dimensions/y", y, sample_varying=True))
    with pytest.raises(
        ValueError, match=r"b.h5: dimensions/y differs .*\(0 and 2\).*files of the"
    ):
        open_trajectories(tmp_path / "b.h5")


@pytest.mark.parametrize("word", ["spherical", "equiangular"])
def test_other_grids_are_read_and_reported(tmp_path, word):
    data = changed(tmp_path / "a.h5", lambda file: file.attrs.modify("grid_type", word))
    with open_trajectories(tmp_path / "a.h5") as file:
        assert any(f"grid_type is '{word}'" in text for text in file.problems)
        assert np.array_equal(file.read(0)[:, 0], data["density"][0])


def test_axes_keep_the_names_of_the_file(tmp_path):
    def rename(file):
        file["dimensions"].attrs["spatial_dims"] = ["log_r", "theta"]
        file["dimensions"].move("x", "log_r")
        file["dimensions"].move("y", "theta")
        file["boundary_conditions/x_sides"].attrs["associated_dims"] = ["log_r"]

    changed(tmp_path / "a.h5", rename)
    file = open_trajectories(tmp_path / "a.h5")
    assert file.axis_names == ("log_r", "theta")
    assert file.fields.names[2:5] == ("velocity_log_r", "velocity_theta", "stress_log_rlog_r")
    assert file.grid.is_periodic == (True, False)


@pytest.mark.parametrize("missing", ["sample_varying", "time_varying", "dim_varying"])
def test_missing_attributes_are_told_by_the_shape(tmp_path, missing):
    def change(file):
        for key in ("t0_fields/density", "t0_fields/mask", "t1_fields/velocity"):
            del file[key].attrs[missing]

    data = changed(tmp_path / "a.h5", change)
    with open_trajectories(tmp_path / "a.h5") as file:
        u = file.read(2)
        assert file.is_time_varying == (True, False, *[True] * 6)
        assert np.array_equal(u[:, 0], data["density"][2])
        assert np.array_equal(u[1, 1], np.broadcast_to(data["mask"][:, None], (5, 6)))
        assert np.array_equal(u[:, 3], data["velocity"][2, ..., 1])


def test_attributes_that_contradict_the_shape_are_reported(tmp_path):
    """The example of the specification says time_varying=False of a field with a time axis."""
    data = changed(
        tmp_path / "a.h5",
        lambda file: file["t0_fields/density"].attrs.modify("time_varying", False),
    )
    with open_trajectories(tmp_path / "a.h5") as file:
        assert np.array_equal(file.read(1)[:, 0], data["density"][1])
        assert any("time_varying=False" in text and "density" in text for text in file.problems)


def test_shapes_that_fit_nothing_or_everything_are_refused(tmp_path):
    changed(
        tmp_path / "a.h5",
        lambda file: replace(file, "t0_fields/density", np.zeros((3, 4, 6, 5), "f4")),
    )
    with pytest.raises(ValueError, match=r"t0_fields/density must have shape \(3, 4, 5, 6\)"):
        open_trajectories(tmp_path / "a.h5")

    def square(file):
        for key in ("density", "mask"):
            del file[f"t0_fields/{key}"]
        del file["t1_fields/velocity"], file["t2_fields/stress"]
        file["t0_fields"].attrs["field_names"] = ["v"]
        for group in ("t1_fields", "t2_fields"):
            file[group].attrs["field_names"] = []
        file["t0_fields/v"] = np.zeros((3, 5, 6), "f4")
        replace(file, "dimensions/time", np.arange(3, dtype="f4"))

    changed(tmp_path / "b.h5", square)
    with pytest.raises(ValueError, match=r"t0_fields/v of shape \(3, 5, 6\) fits several axes"):
        open_trajectories(tmp_path / "b.h5")


def test_missing_objects_are_named(tmp_path):
    changed(tmp_path / "a.h5", lambda file: file.__delitem__("dimensions/time"))
    with pytest.raises(ValueError, match="`dimensions/time` is missing"):
        open_trajectories(tmp_path / "a.h5")
    changed(tmp_path / "b.h5", lambda file: file.__delitem__("t0_fields/mask"))
    with pytest.raises(ValueError, match="t0_fields/mask` is missing"):
        open_trajectories(tmp_path / "b.h5")


def test_groups_without_content_may_be_missing(tmp_path):
    def strip(file):
        for key in ("boundary_conditions", "scalars", "t2_fields"):
            del file[key]

    changed(tmp_path / "a.h5", strip)
    file = open_trajectories(tmp_path / "a.h5")
    assert file.fields.num_channels == 4 and file.boundary is None
    assert file.parameters["Re"].tolist() == [100.0] * 3  # still an attribute of the root


def test_fields_that_are_not_listed_are_reported(tmp_path):
    changed(
        tmp_path / "a.h5",
        lambda file: file["t0_fields"].attrs.create("field_names", ["density"]),
    )
    file = open_trajectories(tmp_path / "a.h5")
    assert "mask" not in file.fields.names
    assert any(
        "t0_fields holds mask, which `field_names` does not list" in t for t in file.problems
    )


def test_flat_tensor_components(tmp_path):
    """The text of the specification has D^2 flat components, its loader D, D."""
    data = changed(
        tmp_path / "a.h5",
        lambda file: replace(
            file, "t2_fields/stress", file["t2_fields/stress"][()].reshape(4, 5, 6, 4)
        ),
    )
    with open_trajectories(tmp_path / "a.h5") as file:
        assert np.array_equal(file.read(2)[:, 5], data["stress"][..., 0, 1])
        assert np.array_equal(file.read(0)[:, 6], data["stress"][..., 1, 0])


def test_scalars_that_are_no_parameters(tmp_path):
    def add(file):
        file["scalars"].attrs["field_names"] = ["Re", "forcing", "pulse", "drift"]
        file["scalars/pulse"] = np.arange(4.0)  # no attributes: four numbers, three trajectories
        file["scalars/drift"] = np.zeros((3, 4))
        file["scalars/drift"].attrs.update(sample_varying=True, time_varying=True)

    changed(tmp_path / "a.h5", add)
    file = open_trajectories(tmp_path / "a.h5")
    assert list(file.parameters) == ["Re", "forcing"]
    assert sum("varies in time and is not a parameter" in note for note in file.notes) == 2


def side(file, name, word, dims, mask):
    group = file.create_group(f"boundary_conditions/{name}")
    group.attrs.update(associated_dims=dims, associated_fields=[], bc_type=word)
    if mask is not None:
        group["mask"] = np.asarray(mask)


def ends(n, low, high):
    mask = np.zeros(n, dtype=bool)
    mask[0], mask[-1] = low, high
    return mask


@pytest.mark.parametrize(
    ("sides", "expected"),
    [
        ([("y", "WALL", ["y"], ends(6, True, True))], ("wall", "wall")),
        ([("y", "open", "y", ends(6, True, False))], ("open", None)),
        ([("y", "wall", ["y"], None)], ("wall", "wall")),
        (
            [
                ("a", "open", ["y"], ends(6, False, True)),
                ("b", "wall", ["y"], ends(6, True, True)),
            ],
            ("wall", "open"),
        ),
        # A wall inside the domain, and one that covers the whole lower end.
        ([("y", "wall", ["x", "y"], np.eye(5, 6, dtype=bool))], (None, None)),
        ([("y", "wall", ["x", "y"], np.arange(6)[None] * np.ones((5, 1)) == 0)], ("wall", None)),
        ([("y", "open", ["x", "y"], np.eye(5, 6, dtype=bool))], ("open", None)),
    ],
)
def test_words_at_the_ends(tmp_path, sides, expected):
    changed(tmp_path / "a.h5", lambda file: [side(file, *entry) for entry in sides])
    file = open_trajectories(tmp_path / "a.h5")
    assert file.boundary == (("periodic", "periodic"), expected)


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
    with pytest.raises(ValueError, match="delete the group 'pdesurrogates/checksums'"):
        open_trajectories(path)
    with h5py.File(path, "a") as file:
        del file["pdesurrogates/checksums"]
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
