"""PDEArena: every family as its generators write it, every axis order, every known trap."""

import h5py
import numpy as np
import pytest
import torch

from pdesurrogates.core import Dirichlet, Grid, Neumann
from pdesurrogates.data import TrajectoryWindows, open_trajectories

COUNT, FRAMES, NX, NY, NZ = 3, 5, 6, 4, 7


def coded(*shape, start=0.0):
    """A different number at every place, so that no two axes can be mistaken."""
    return start + np.arange(np.prod(shape), dtype="f8").reshape(shape)


def smoke(path, *, mode="train", nx=NX, ny=NY, length=32.0, tmin=18.0, step=6.0, **change):
    """As the generator of the smoke sets writes it, faults included."""
    shape = (COUNT, FRAMES, nx, ny)
    arrays = {
        "u": coded(*shape),
        "vx": coded(*shape, start=1e4),
        "vy": coded(*shape, start=2e4),
        "t": np.tile(np.linspace(tmin, tmin + step * FRAMES, FRAMES), (COUNT, 1)),
        "x": np.tile(np.linspace(0, length, nx), (COUNT, 1)),
        "y": np.tile(np.linspace(0, length / 2, ny), (COUNT, 1)),
        "dt": np.full(COUNT, step),
        "dx": np.full(COUNT, length / (nx - 1)),
        "dy": np.full(COUNT, length / 2 / (ny - 1)),
        "buo_y": np.array([0.2, 0.5, 0.4]),
        **change,
    }
    save(path, mode, arrays)
    return arrays


def series(path, *, mode="valid", channels=None, lengths=(64.0, 60.0, 70.0), **change):
    """As the generator of the one-dimensional sets writes it."""
    steps = np.array([0.2, 0.19, 0.22])
    middle = () if channels is None else (channels,)
    arrays = {
        f"pde_{FRAMES}-{NX}": coded(COUNT, FRAMES, *middle, NX),
        "x": np.stack([np.arange(NX) * length / NX for length in lengths]),
        "dx": np.array(lengths) / NX,
        "t": 40 + steps[:, None] * np.arange(FRAMES),
        "dt": steps,
        "v": np.array([0.5, 1.0, 1.5]),
        **change,
    }
    save(path, mode, arrays)
    return arrays


def maxwell(path, mode="test"):
    shape = (COUNT, FRAMES, NX, NY, NZ, 3)
    arrays = {"d_field": coded(*shape), "h_field": coded(*shape, start=1e5)}
    save(path, mode, arrays)
    return arrays


def save(path, mode, arrays):
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            if values is not None:
                file[f"{mode}/{name}"] = values


@pytest.mark.parametrize("mode", ["train", "valid", "val", "test"])
def test_smoke(tmp_path, mode):
    arrays = smoke(tmp_path / "a.h5", mode=mode)
    file = open_trajectories(tmp_path / "a.h5")
    assert file.layout == "PDEArena (smoke)" and file.num_trajectories == COUNT
    assert file.fields.names == ("velocity_x", "velocity_y", "smoke")
    assert file.dtype == torch.float64
    assert file.parameters["buoyancy"].tolist() == [0.2, 0.5, 0.4]
    for index in range(COUNT):
        expected = np.stack([arrays[name][index] for name in ("vx", "vy", "u")], axis=1)
        assert np.array_equal(file.read(index), expected)
    window = TrajectoryWindows(file, history=2)[3 + 2]  # trajectory 1, frames 2, 3, 4
    assert np.array_equal(window["history"][:, 2], arrays["u"][1, 2:4])
    assert window["dt"] == 6.0 and window["parameters"].tolist() == [0.5]


def test_smoke_lies_at_centres_of_cells(tmp_path):
    """`x` includes both ends and `dx` is its spacing, but the solver had cells on [0, 32]."""
    smoke(tmp_path / "a.h5")
    file = open_trajectories(tmp_path / "a.h5")
    assert file.grid == Grid((NX, NY), (32.0, 16.0), periodic=False, cell_centred=True)
    assert file.grid.spacing == (32 / NX, 16 / NY)
    assert "both ends included, and dx = 6.4, but the values lie at" in file.notes[0]
    assert file.boundary["velocity_y"] == ((Dirichlet(0.0),) * 2,) * 2
    assert file.boundary["smoke"] == ((Neumann(0.0),) * 2,) * 2
    assert any("lower faces of the cells" in note for note in file.notes)
    assert any("viscosity is not stored" in note for note in file.notes)
    assert file.problems == ()


@pytest.mark.parametrize(
    "change, problem",
    [
        ({"dx": np.full(COUNT, 32 / NX)}, None),
        ({"dx": None}, None),
        ({"x": np.tile((np.arange(NX) + 0.5) * 32 / NX, (COUNT, 1))}, None),
        ({"x": None}, None),
        ({"dx": np.full(COUNT, 1.0)}, "dx = 1 fits neither cells"),
    ],
)
def test_other_ways_to_write_the_same_axis(tmp_path, change, problem):
    smoke(tmp_path / "a.h5", **change)
    file = open_trajectories(tmp_path / "a.h5")
    assert file.grid.extent == pytest.approx((32.0, 16.0))
    assert file.grid.origin == pytest.approx((0.0, 0.0))
    assert [text for text in file.problems if problem is None or problem not in text] == []
    assert len(file.problems) == (problem is not None)


def test_frames_are_dt_apart_although_t_says_otherwise(tmp_path):
    arrays = smoke(tmp_path / "a.h5")
    file = open_trajectories(tmp_path / "a.h5")
    assert arrays["t"][0, 1] - arrays["t"][0, 0] == 7.5
    assert file.times.tolist() == [18.0, 24.0, 30.0, 36.0, 42.0]
    assert any("spacing 7.5, but frames are dt = 6 apart" in note for note in file.notes)


@pytest.mark.parametrize(
    "change, times, problem",
    [
        ({"t": None}, [0, 6, 12, 18, 24], None),
        ({"dt": None}, [18, 25.5, 33, 40.5, 48], None),
        ({"dt": None, "t": None}, [0, 1, 2, 3, 4], "no times in the file"),
        ({"dt": np.full(COUNT, 0.5)}, [18, 25.5, 33, 40.5, 48], "dt = 0.5 and the spacing of t"),
        ({"t": np.tile(np.arange(FRAMES) * 6.0, (COUNT, 1))}, [0, 6, 12, 18, 24], None),
    ],
)
def test_times_from_what_there_is(tmp_path, change, times, problem):
    smoke(tmp_path / "a.h5", **change)
    file = open_trajectories(tmp_path / "a.h5")
    assert file.times.tolist() == pytest.approx(times)
    assert any(problem in text for text in file.problems) if problem else file.problems == ()


@pytest.mark.parametrize("channels", [None, 1, 2])
def test_one_dimension(tmp_path, channels):
    arrays = series(tmp_path / "a.h5", channels=channels)
    file = open_trajectories(tmp_path / "a.h5")
    states = arrays[f"pde_{FRAMES}-{NX}"].reshape(COUNT, FRAMES, channels or 1, NX)
    assert file.layout == "PDEArena (1D)"
    assert file.fields.names == (("u0", "u1") if channels == 2 else ("u",))
    assert file.dtype == torch.float64
    for index in range(COUNT):
        assert np.array_equal(file.read(index), states[index])
        assert np.allclose(file.times_of(index), arrays["t"][index], rtol=1e-15)
    assert [file.time_step(i) for i in range(COUNT)] == pytest.approx([0.2, 0.19, 0.22])
    assert file.parameters["viscosity"].tolist() == [0.5, 1.0, 1.5]


def test_domains_of_different_length(tmp_path):
    """One file has one grid: [0, 1) and the length of each trajectory as a parameter."""
    series(tmp_path / "a.h5")
    file = open_trajectories(tmp_path / "a.h5")
    assert file.grid == Grid((NX,), (1.0,))
    assert file.parameters["domain_length"].tolist() == pytest.approx([64.0, 60.0, 70.0])
    assert "differ between trajectories (60 .. 70)" in file.problems[0]
    series(tmp_path / "b.h5", lengths=(64.0,) * 3, v=None)
    file = open_trajectories(tmp_path / "b.h5")
    assert file.grid.extent == pytest.approx((64.0,)) and file.grid.is_periodic == (True,)
    assert file.parameters == {} and file.problems == ()


def test_only_dt_and_dx_as_the_loader_needs(tmp_path):
    series(tmp_path / "a.h5", x=None, t=None, v=None)
    file = open_trajectories(tmp_path / "a.h5")
    assert torch.allclose(file.times[1], 0.19 * torch.arange(FRAMES))
    assert file.parameters["domain_length"].tolist() == pytest.approx([64.0, 60.0, 70.0])


def test_trajectories_that_the_solver_gave_up_are_named(tmp_path):
    arrays = series(tmp_path / "a.h5")
    for name in ("x", "dx", "t", "dt"):
        arrays[name][1] = 0
    arrays[f"pde_{FRAMES}-{NX}"][1] = 0
    save(tmp_path / "a.h5", "train", arrays)
    file = open_trajectories(tmp_path / "a.h5")
    assert "1 trajectories were never written (dx = 0), the first is 1" in file.problems[0]
    assert torch.allclose(file.times[2], torch.as_tensor(arrays["t"][2]))
    assert TrajectoryWindows(file, trajectories=[0, 2])[0]["dt"] == pytest.approx(0.2)


def test_maxwell(tmp_path):
    arrays = maxwell(tmp_path / "a.h5")
    file = open_trajectories(tmp_path / "a.h5")
    names = [f"{name}_{i}" for name in ("electric_displacement", "magnetic_field") for i in "xyz"]
    assert file.fields.names == tuple(names) and file.layout == "PDEArena (Maxwell)"
    expected = np.concatenate([arrays["d_field"][2], arrays["h_field"][2]], axis=-1)
    assert np.array_equal(file.read(2), np.moveaxis(expected, -1, 1))
    assert file.grid == Grid((NX, NY, NZ), (1.0,), periodic=False, cell_centred=True)
    assert "give extent" in file.problems[0] and "give dt" in file.problems[1]
    file = open_trajectories(tmp_path / "a.h5", dt=1e-14, extent=(3e-6, 2e-6, 3.5e-6))
    assert file.grid.spacing == pytest.approx((5e-7,) * 3) and file.problems == ()
    assert file.time_step() == pytest.approx(1e-14)


@pytest.mark.parametrize(
    "arrays, text",
    [
        ({"train/u": np.zeros(3)}, "must hold u, vx, vy, or d_field.*found u.*from_arrays"),
        ({"train/other": np.zeros(3)}, "found other"),
        ({"train/u": np.zeros(3), "test/u": np.zeros(3)}, "holds one split.*test, train"),
        ({f"train/{n}": np.zeros((3, 4, 5)) for n in ("u", "vx", "vy")}, "must all have one"),
        ({"train/pde_5-6": np.zeros((3, 5))}, r"one shape \(trajectory, time, x\)"),
        ({f"train/{n}": np.zeros((1, 1, 2, 2, 2, 2)) for n in ("d_field", "h_field")}, "3 comp"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, arrays, text):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, values in arrays.items():
            file[name] = values
    with pytest.raises(ValueError, match=f"a.h5: .*{text}"):
        open_trajectories(tmp_path / "a.h5")


@pytest.mark.parametrize(
    "change, text",
    [
        ({"vy": coded(COUNT, FRAMES, NX, NY + 1)}, "vx, vy, u must all have one shape"),
        ({"x": np.zeros((COUNT, NX + 1))}, r"train/x must have shape \(3, 6\), got \(3, 7\)"),
        ({"x": np.zeros((COUNT, NX))}, "train/x must increase in equal steps"),
        ({"x": np.outer(np.arange(1, 4), np.arange(NX))}, "train/x differs between trajectories"),
        ({"dt": np.zeros(COUNT)}, "train/dt must be positive"),
        ({"buo_y": np.zeros(7)}, r"train/buo_y must have shape \(3,\), got \(7,\)"),
        ({"u": np.full((COUNT, FRAMES, NX, NY), b"text")}, "train/u must hold floats"),
    ],
)
def test_damaged_smoke_is_refused(tmp_path, change, text):
    smoke(tmp_path / "a.h5", **change)
    with pytest.raises(ValueError, match=f"a.h5: .*{text}"):
        open_trajectories(tmp_path / "a.h5")


def test_what_the_file_states_is_not_taken_as_an_argument(tmp_path):
    smoke(tmp_path / "a.h5")
    with pytest.raises(ValueError, match="states train/dt, so 'dt' cannot be given"):
        open_trajectories(tmp_path / "a.h5", dt=0.1)
    with pytest.raises(ValueError, match="states train/x, so 'extent' cannot be given"):
        open_trajectories(tmp_path / "a.h5", extent=1.0)
    with pytest.raises(ValueError, match="states its own axes, fields and times, so 'axes'"):
        open_trajectories(tmp_path / "a.h5", axes="time x")
