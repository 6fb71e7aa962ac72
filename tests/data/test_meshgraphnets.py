"""Meshes: HDF5 conversions of MeshGraphNets in all their spellings, read exactly."""

import json
import pickle

import h5py
import numpy as np
import pytest
import torch

from pdesurrogates.data import (
    MeshTrajectoryFile,
    TrajectoryWindows,
    convert,
    open_trajectories,
)

FRAMES = 5


def rectangle(nx, ny):
    """Points (nx * ny, 2) and triangles of a rectangle."""
    x, y = np.meshgrid(np.arange(nx), np.arange(ny), indexing="ij")
    points = np.stack([x.ravel() / 10, y.ravel() / 20], axis=1).astype("f4")
    corner = (x[:-1, :-1] * ny + y[:-1, :-1]).ravel()
    lower = np.stack([corner, corner + ny, corner + 1], axis=1)
    upper = np.stack([corner + ny, corner + ny + 1, corner + 1], axis=1)
    return points, np.concatenate([lower, upper]).astype("i4")


def trajectory(index, nx, ny):
    """Every value says trajectory, frame, point and component."""
    points, cells = rectangle(nx, ny)
    n = len(points)
    code = np.arange(FRAMES * n * 3, dtype="f4").reshape(FRAMES, n, 3) + 10_000 * index
    return {
        "mesh_pos": points,
        "cells": cells,
        "node_type": (np.arange(n, dtype="i4") % 7)[:, None],
        "velocity": code[..., :2],
        "pressure": code[..., 2:],
    }


def spelt(arrays, spelling):
    """Static arrays tiled over time, with one frame, or bare; `pos` or `mesh_pos`."""
    leading = {"tiled": FRAMES, "one": 1, "bare": None}[spelling]
    out = dict(arrays)
    for name in ("mesh_pos", "cells", "node_type"):
        if leading:
            out[name] = np.broadcast_to(arrays[name], (leading, *arrays[name].shape))
    if spelling == "tiled":
        out["pos"] = out.pop("mesh_pos")
    return out


def write(path, trajectories, spelling="tiled", names=None):
    with h5py.File(path, "w") as file:
        for name, arrays in zip(names or map(str, range(99)), trajectories, strict=False):
            for key, values in spelt(arrays, spelling).items():
                file[f"{name}/{key}"] = values


@pytest.fixture
def pair():
    return [trajectory(0, 3, 4), trajectory(1, 4, 5)]


@pytest.mark.parametrize("spelling", ["tiled", "one", "bare"])
def test_every_spelling_is_read_exactly(tmp_path, pair, spelling):
    write(tmp_path / "train.h5", pair, spelling)
    with open_trajectories(tmp_path / "train.h5", dt=0.01) as file:
        assert isinstance(file, MeshTrajectoryFile) and file.layout == "MeshGraphNets"
        assert (file.num_trajectories, file.num_times, len(file)) == (2, FRAMES, 2)
        assert file.field_names == ("pressure", "velocity_x", "velocity_y")
        assert file.times.tolist() == pytest.approx([0.0, 0.01, 0.02, 0.03, 0.04])
        for index, arrays in enumerate(pair):
            expected = np.concatenate([arrays["pressure"], arrays["velocity"]], axis=-1)
            assert file.read(index).dtype == torch.float32
            assert np.array_equal(file.read(index), expected)
            assert np.array_equal(file.read(index, slice(1, 5, 2)), expected[1:5:2])
            assert np.array_equal(file.points(index), arrays["mesh_pos"])
            assert np.array_equal(file.rest_points(index), arrays["mesh_pos"])
            assert np.array_equal(file.cells(index), arrays["cells"])
            assert file.cells(index).dtype == file.node_type(index).dtype == torch.int64
            assert np.array_equal(file.node_type(index), arrays["node_type"][:, 0])
        assert file.read(-1, slice(5, 9)).shape == (0, 20, 3)
        assert "2 trajectories x 5 times" in repr(file) and "points=12 (first)" in repr(file)


def test_groups_are_in_the_order_of_their_numbers(tmp_path):
    names = ["0", "1", "2", "10", "11"]
    write(tmp_path / "a.h5", [trajectory(int(name), 2, 3) for name in names], names=names)
    file = open_trajectories(tmp_path / "a.h5")
    assert [float(file.read(i)[0, 0, 1]) for i in range(5)] == [0.0, 1e4, 2e4, 1e5, 1.1e5]


def test_groups_may_have_names(tmp_path, pair):
    write(tmp_path / "a.h5", pair, names=["case_10", "case_9"])
    assert float(open_trajectories(tmp_path / "a.h5").read(0)[0, 0, 1]) == 1e4


@pytest.mark.parametrize("corners, dim", [(3, 2), (4, 2), (4, 3)])
def test_edges_are_those_of_the_cells(tmp_path, corners, dim):
    """By brute force: all pairs of corners that are an edge of the cell, both ways."""
    rng = np.random.default_rng(0)
    cells = np.stack([rng.permutation(9)[:corners] for _ in range(8)]).astype("i8")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["0/pos"], file["0/cells"] = rng.random((9, dim)), cells
        file["0/velocity"] = rng.random((2, 9, dim))
    opposite = {(0, 2), (2, 0), (1, 3), (3, 1)} if (corners, dim) == (4, 2) else set()
    expected = sorted(
        {
            (int(cell[i]), int(cell[j]))
            for cell in cells
            for i in range(corners)
            for j in range(corners)
            if i != j and (i, j) not in opposite
        }
    )
    edges = open_trajectories(tmp_path / "a.h5").edges(0)
    assert edges.dtype == torch.int64 and edges.T.tolist() == [list(pair) for pair in expected]


def test_points_that_move(tmp_path, pair):
    flag = {**pair[0], "world_pos": np.random.default_rng(0).random((FRAMES, 12, 3)).astype("f4")}
    del flag["velocity"]
    write(tmp_path / "flag.h5", [flag])
    file = open_trajectories(tmp_path / "flag.h5")
    assert np.array_equal(file.points(0), flag["world_pos"])
    assert np.array_equal(file.rest_points(0), flag["mesh_pos"])
    assert file.field_names == ("pressure", "world_pos_x", "world_pos_y", "world_pos_z")
    moved = pair[0]["mesh_pos"] + np.arange(FRAMES, dtype="f4")[:, None, None]
    write(tmp_path / "pos.h5", [{**pair[0], "mesh_pos": moved}], "bare")
    file = open_trajectories(tmp_path / "pos.h5")
    assert np.array_equal(file.points(0), moved)
    assert np.array_equal(file.rest_points(0), moved[0])


def test_static_and_scalar_fields(tmp_path, pair):
    n = 12
    arrays = {**pair[0], "density": np.arange(n, dtype="f8"), "sizing": np.ones((1, n, 4), "f4")}
    arrays["pressure"] = arrays["pressure"][..., 0]
    arrays["name"], arrays["drag"] = "cylinder", np.zeros(FRAMES)
    write(tmp_path / "a.h5", [arrays], "bare")
    file = open_trajectories(tmp_path / "a.h5")
    names = ("density", "pressure", "sizing_0", "sizing_1", "sizing_2", "sizing_3")
    assert file.field_names == (*names, "velocity_x", "velocity_y")
    assert file.dtype == torch.float64
    u = file.read(0, slice(2, 4))
    assert np.array_equal(u[:, :, 0], np.tile(np.arange(n), (2, 1)))
    assert np.array_equal(u[:, :, 1], arrays["pressure"][2:4])
    assert torch.equal(u[..., 2:6], torch.ones(2, n, 4))
    assert "left out, not one value per point: name, drag" in file.notes


def test_where_the_time_step_is_from(tmp_path, pair):
    path = tmp_path / "train.h5"
    write(path, pair)
    file = open_trajectories(path)
    assert file.times.tolist() == [0, 1, 2, 3, 4] and "give dt" in file.problems[0]
    (tmp_path / "meta.json").write_text("{broken")
    assert "meta.json beside it cannot be read" in open_trajectories(path).problems[0]
    (tmp_path / "meta.json").write_text(json.dumps({"dt": -1}))
    assert "states no positive dt" in open_trajectories(path).problems[0]
    (tmp_path / "meta.json").write_text(json.dumps({"dt": 0.01, "trajectory_length": 600}))
    file = open_trajectories(path)
    assert file.time_step() == pytest.approx(0.01) and file.problems == ()
    assert "meta.json" in file.notes[0]
    with h5py.File(path, "a") as stored:
        stored.attrs["dt"] = 0.25
    assert open_trajectories(path).time_step() == 0.25
    assert open_trajectories(path, dt=0.5).time_step() == 0.5
    with h5py.File(path, "a") as stored:
        stored["0/time"] = 3 + 2 * np.arange(FRAMES)
    assert open_trajectories(path).times.tolist() == [3, 5, 7, 9, 11]
    with pytest.raises(ValueError, match="states its times .0/time., so dt cannot be given"):
        open_trajectories(path, dt=0.5)
    with pytest.raises(ValueError, match="states its own axes.*'axes' cannot be given"):
        open_trajectories(path, axes="time x")


@pytest.mark.parametrize(
    "change, text",
    [
        ({"cells": np.zeros((FRAMES, 2, 5), "i4")}, r"cells must have shape \(cell, 3 or 4\)"),
        ({"mesh_pos": np.zeros((12, 7))}, r"mesh_pos must have shape \(point, 1 to 3\)"),
        ({"velocity": np.zeros((FRAMES, 11, 2))}, r"one value per point \(12\), got shape"),
        ({"velocity": np.zeros((FRAMES + 1, 12, 2))}, "same number of frames .*velocity 6"),
        ({"velocity": np.zeros((12, 12))}, "cannot be told whether the 12 rows are points"),
        ({"velocity": np.zeros(3), "pressure": np.zeros(3)}, "no field with values at its 12"),
    ],
)
def test_groups_that_do_not_fit_are_refused(tmp_path, pair, change, text):
    write(tmp_path / "a.h5", [{**pair[0], **change}], "bare")
    with pytest.raises(ValueError, match=rf"a.h5: 0.*{text}"):
        open_trajectories(tmp_path / "a.h5")


def test_cells_that_lie_are_refused(tmp_path, pair):
    wrong = {**pair[0], "cells": pair[0]["cells"] + 1}
    changing = {**pair[0], "cells": np.stack([pair[0]["cells"]] * FRAMES)}
    changing["cells"][3, 2] = changing["cells"][3, 2, ::-1]
    write(tmp_path / "a.h5", [wrong, changing], "bare")
    file = open_trajectories(tmp_path / "a.h5")
    with pytest.raises(ValueError, match=r"0/cells must name points 0 .. 11, got 1 .. 12.*from 1"):
        file.cells(0)
    with pytest.raises(ValueError, match="1/cells changes in time"):
        file.edges(1)


def test_trajectories_that_differ_are_refused_by_name(tmp_path, pair):
    del pair[1]["pressure"]
    write(tmp_path / "a.h5", pair)
    file = open_trajectories(tmp_path / "a.h5")
    assert file.read(0).shape == (FRAMES, 12, 3)
    with pytest.raises(ValueError, match="trajectory 1 must hold what trajectory 0 holds"):
        file.read(1)


def test_external_links_are_refused(tmp_path, pair):
    write(tmp_path / "a.h5", pair)
    (tmp_path / "inside").mkdir()
    with h5py.File(tmp_path / "inside" / "b.h5", "w") as file:
        for name in ("cells", "pos", "node_type"):
            file[f"0/{name}"] = np.zeros((4, 3), "i4")
        file["0/velocity"] = h5py.ExternalLink("../a.h5", "0/velocity")
    with pytest.raises(ValueError, match="outside the folder"):
        open_trajectories(tmp_path / "inside" / "b.h5")


def test_what_needs_a_grid_says_so(tmp_path, pair):
    write(tmp_path / "a.h5", pair)
    file = open_trajectories(tmp_path / "a.h5")
    for action in (lambda: file.grid, file.to_xarray, lambda: file.read_windows([0], [0], 2)):
        with pytest.raises(ValueError, match="meshes"):
            action()
    with pytest.raises(ValueError, match="mesh"):
        _ = TrajectoryWindows(file)[0]
    with pytest.raises(ValueError, match="convert: .* holds values on meshes"):
        convert(tmp_path / "a.h5", tmp_path / "b.h5")
    with pytest.raises(IndexError, match="there are 2 trajectories"):
        file.points(2)
    states = file.read(0)
    states[3, 5, 1] = torch.nan
    with pytest.raises(ValueError, match="field 'velocity_x' at frame 3, point 5"):
        file.check_finite(states, 0)


def test_it_may_cross_to_another_process(tmp_path, pair):
    write(tmp_path / "a.h5", pair)
    file = open_trajectories(tmp_path / "a.h5")
    file.read(0)
    again = pickle.loads(pickle.dumps(file))
    assert torch.equal(again.read(1), file.read(1)) and repr(again) == repr(file)
