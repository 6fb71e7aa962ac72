"""PDEBench: every family and axis order as published, every known fault of its files."""

import math
import pickle
import resource

import h5py
import numpy as np
import pytest
import torch

from pdesurrogates.core import Dirichlet, Grid, Neumann, Outflow, Periodic, Robin
from pdesurrogates.data import TrajectoryWindows, open_trajectories
from pdesurrogates.data.pdebench_layout import config_entries


def check_states(file, states):
    """The whole file, one trajectory, a stretch of frames, and windows out of order."""
    assert file.num_trajectories == len(states) and file.num_times == states.shape[1]
    assert file.dtype == torch.float32 and file.grid.shape == states.shape[3:]
    for index in range(len(states)):
        assert np.array_equal(file.read(index), states[index])
    frames = states.shape[1]
    assert np.array_equal(file.read(-1, slice(1, frames)), states[-1, 1:])
    rows = list(range(len(states)))[::-1] + [0]
    windows = file.read_windows(rows, [frames - 1] * len(rows), 1)
    assert windows.is_contiguous()
    assert np.array_equal(windows, states[rows, frames - 1 :])


@pytest.mark.parametrize(
    "attributes, words",
    [
        ({"beta": 0.4}, {"velocity": 0.4}),
        ({"Nu": 0.01}, {"viscosity": 0.01 / math.pi}),
        ({"Nu": 0.5, "rho": 10.0}, {"diffusivity": 0.5, "growth": 10.0}),
    ],
)
@pytest.mark.parametrize("devices", [None, 2])
def test_flat(tmp_path, published, attributes, words, devices):
    states = published.flat(tmp_path / "a", attributes, samples=4, devices=devices)
    file = open_trajectories(tmp_path / "a")
    check_states(file, states)
    assert file.grid == Grid((8,), (1.0,), (0.0,), True, cell_centred=True)
    assert file.fields.names == ("u",) and file.problems == ()
    assert file.times.tolist() == pytest.approx([0.01 * n for n in range(5)], rel=1e-15)
    assert file.parameters.keys() == attributes.keys() | words.keys()
    for name, value in (attributes | words).items():
        assert file.parameters[name].tolist() == pytest.approx([value] * 4, rel=1e-15)
    assert ("merged into 4 trajectories" in " ".join(file.notes)) == (devices == 2)
    assert "surplus last entry" in " ".join(file.notes)


def test_reaction_diffusion_test_domain(tmp_path, published):
    published.flat(tmp_path / "a", {"Nu": 10.0, "rho": 1.0}, domain=(0.0, 2 * math.pi), points=64)
    grid = open_trajectories(tmp_path / "a").grid
    assert grid.extent == pytest.approx((2 * math.pi,), rel=2e-7)
    assert grid.origin == (0.0,)


@pytest.mark.parametrize("factor", [1.0, 0.5, 2.0, -1.0])
def test_advection_at_the_wrong_speed_is_a_problem(tmp_path, published, factor):
    """Exact translation at `factor` times the stated velocity."""
    grid, t = published.centres(64, 0, 1), 0.01 * np.arange(41)
    u = np.sin(2 * np.pi * (grid - factor * 0.7 * t[:, None])) + 0.3 * np.cos(
        10 * np.pi * (grid - factor * 0.7 * t[:, None])
    )
    published.flat(tmp_path / "a", {"beta": 0.7}, states=u[None, :, None].astype("f4"))
    problems = open_trajectories(tmp_path / "a").problems
    assert len(problems) == (factor != 1)
    if factor == 0.5:
        assert "by t = 0.4 the first trajectory moved by 0.1406" in problems[0]  # 9 cells of 64
        assert "wrong time scale" in problems[0]


def test_data_that_are_not_carried_along_say_nothing_about_the_speed(tmp_path, published):
    noise = np.random.default_rng(0).standard_normal((1, 5, 1, 64))
    published.flat(tmp_path / "a", {"beta": 0.7}, states=noise)
    assert open_trajectories(tmp_path / "a").problems == ()


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("lead", ["sample", "none", "device"])
@pytest.mark.parametrize("singles", [0, 1])
def test_compressible(tmp_path, published, dims, lead, singles):
    samples = 1 if lead == "none" else 3
    states = published.compressible(
        tmp_path / "a", dims, samples=samples, lead=lead, singles=singles
    )
    file = open_trajectories(tmp_path / "a")
    check_states(file, states)
    velocities = ("velocity_x", "velocity_y", "velocity_z")[:dims]
    assert file.fields.names == ("density", *velocities, "pressure")
    low, length = (-1.0, 2.0) if dims == 1 else (0.0, 1.0)
    space = (6, 5, 4)[:dims]
    assert file.grid == Grid(space, (length,) * dims, (low,) * dims, False, cell_centred=True)
    assert file.time_step(0) == pytest.approx(0.05, rel=1e-15)
    stated = {"shear_viscosity": 0.01, "bulk_viscosity": 0.02, "mach_number": 0.1}
    assert {name: float(v[0]) for name, v in file.parameters.items()} == {
        name: value for name, value in stated.items() if dims > 1 or name != "mach_number"
    }
    notes = " ".join(file.notes)
    assert "gamma is not stored: it is 5/3" in notes and "multiplies them by the density" in notes
    assert ("no sample axis" in notes) == (lead == "none")


def test_one_flow_of_length_one(tmp_path, published):
    states = published.compressible(tmp_path / "a", 2, samples=1, surplus=0)
    check_states(open_trajectories(tmp_path / "a"), states)


def test_compressible_ends(tmp_path, published):
    """Periodic in x, open in y: a sheet of shear as PDEBench's KHI boundary makes it."""
    x, y = published.centres(32, 0, 1)[:, None], published.centres(24, 0, 1)
    density = 2 + np.sin(2 * np.pi * x) + np.tanh(8 * (y - 0.5))
    states = np.broadcast_to(density, (2, 3, 4, 32, 24))
    published.compressible(tmp_path / "a", 2, states=states)
    file = open_trajectories(tmp_path / "a")
    assert file.grid.is_periodic == (True, False)
    assert file.boundary == ((Periodic(), Periodic()), (Outflow(), Outflow()))
    assert "axis y taken as open" in " ".join(file.notes)
    file = open_trajectories(tmp_path / "a", periodic=True)
    assert file.grid.is_periodic == (True, True)
    assert "taken as" not in " ".join(file.notes)


def test_compressible_with_a_velocity_along_no_axis(tmp_path, published):
    states = published.compressible(tmp_path / "a", 2)
    with h5py.File(tmp_path / "a", "a") as file:
        file["Vz"], file["z-coordinate"] = file["Vx"][()], np.array([0.5], "f4")
    file = open_trajectories(tmp_path / "a")
    check_states(file, states)
    assert "Vz left out" in " ".join(file.notes)


def test_darcy(tmp_path, published):
    states = published.darcy(tmp_path / "a", beta=10.0)
    file = open_trajectories(tmp_path / "a")
    check_states(file, states)
    assert file.fields.names == ("coefficient", "u") and file.times.tolist() == [0.0]
    assert file.grid == Grid((6, 5), (1.0, 1.0), (0.0, 0.0), False, cell_centred=True)
    assert file.parameters["forcing"].tolist() == [10.0] * 3
    assert file.boundary["u"] == ((Dirichlet(0.0), Dirichlet(0.0)),) * 2
    assert "steady" in " ".join(file.notes)


FAMILIES = {
    "sorption": ("PDEBench diffusion-sorption", ("u",), 0.0, 1.0),
    "reaction": ("PDEBench diffusion-reaction 2D", ("u", "v"), -1.0, 2.0),
    "water": ("PDEBench shallow water", ("height",), -2.5, 5.0),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("with_config", [True, False])
@pytest.mark.parametrize("surplus", [0, 1])
def test_grouped(tmp_path, published, family, with_config, surplus):
    layout, fields, low, length = FAMILIES[family]
    states = published.grouped(
        tmp_path / "a", family, with_config=with_config, surplus=surplus, seeds=(0, 1, 2)
    )
    file = open_trajectories(tmp_path / "a")
    check_states(file, states)
    dims = states.ndim - 3
    assert file.layout == layout and file.fields.names == fields
    assert file.grid == Grid((6, 5)[:dims], length, low, False, cell_centred=True)
    assert len(file.parameters) == (0 if not with_config else 6 if family == "sorption" else 3)


def test_grouped_conditions_and_parameters(tmp_path, published):
    published.grouped(tmp_path / "s", "sorption", D=lambda seed: 7e-4)
    published.grouped(tmp_path / "r", "reaction")
    published.grouped(tmp_path / "w", "water", dam_radius=lambda seed: 0.3 + seed / 10)
    sorption, reaction, water = (open_trajectories(tmp_path / name) for name in "srw")
    assert sorption.boundary == ((Dirichlet(1.0), Robin(1.0, 7e-4)),)
    assert reaction.boundary == ((Neumann(0.0), Neumann(0.0)),) * 2
    assert water.boundary == ((Outflow(), Outflow()),) * 2
    assert {name: float(v[0]) for name, v in sorption.parameters.items()} == {
        "diffusivity": 7e-4,
        "porosity": 0.29,
        "bulk_density": 2880.0,
        "freundlich_k": 3.5e-4,
        "freundlich_exponent": 0.874,
        "solubility": 1.0,
    }
    assert reaction.parameters["offset"].tolist() == [5e-3] * 3
    assert water.parameters["dam_radius"].tolist() == [0.3, 0.4, 0.5]
    assert sorption.attributes["config"].startswith("work_dir")
    assert "tdim = 501, the file has 5 frames" in " ".join(sorption.notes)
    assert "n_time_steps = 4, the file has 5 frames" in " ".join(water.notes)


@pytest.mark.parametrize("family, order", [("reaction", "y, x"), ("water", "x, y")])
def test_square_grids_are_read_in_the_order_of_their_generator(tmp_path, published, family, order):
    states = published.grouped(tmp_path / "a", family, space=(5, 5), with_config=False)
    file = open_trajectories(tmp_path / "a")
    check_states(file, states)
    assert f"`data` is (time, {order}, channel), as its generator writes it" in file.notes


@pytest.mark.parametrize("family, other", [("reaction", "water"), ("water", "reaction")])
def test_lengths_overrule_the_generator(tmp_path, published, family, other):
    """A file in the order of the other family: only the lengths of the coordinates tell."""
    states = published.grouped(tmp_path / "a", family, with_config=False)
    with h5py.File(tmp_path / "a", "a") as file:
        for group in list(file):
            values = file[group]["data"][()].swapaxes(1, 2)
            del file[group]["data"]
            file[group]["data"] = values
    file = open_trajectories(tmp_path / "a")
    check_states(file, states)
    assert "by the lengths of its coordinates" in " ".join(file.notes)


def test_groups_are_sorted_by_number_and_may_be_missing(tmp_path, published):
    seeds = (3, 20, 9999, 10000)
    states = published.grouped(tmp_path / "a", "water", seeds=seeds, dam_radius=lambda s: s)
    file = open_trajectories(tmp_path / "a")
    check_states(file, states)
    assert file.parameters["dam_radius"].tolist() == list(seeds)
    assert "seeds 3 .. 10000 are there in part (4 groups)" in " ".join(file.notes)


def test_some_groups_without_configuration(tmp_path, published):
    published.grouped(tmp_path / "a", "water")
    with h5py.File(tmp_path / "a", "a") as file:
        del file["0001"].attrs["config"]
    file = open_trajectories(tmp_path / "a")
    assert file.parameters == {}
    assert "1 of 3 groups state no configuration" in " ".join(file.notes)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"data": np.zeros((5, 7, 5, 1), "f4")}, "0001/data with axes .* 6 entries along x"),
        ({"data": np.zeros((5, 6, 5, 2), "f4")}, "0001/data has shape .*must agree"),
        ({"data": np.zeros((5, 6, 5, 1), "f8")}, "0001/data has shape .* of float64"),
        ({"data": None}, "`0001/data` is missing"),
        ({"grid/x": np.linspace(0, 1, 6)}, "0001/grid/x differs from 0000/grid/x"),
        ({"grid/t": np.linspace(0, 2, 5)}, "0001/grid/t differs"),
        ({"grid/y": None}, "`y` is missing in group /0001/grid"),
    ],
)  # fmt: skip
def test_a_group_unlike_the_first_is_refused_when_read(tmp_path, published, change, message):
    states = published.grouped(tmp_path / "a", "water")
    with h5py.File(tmp_path / "a", "a") as file:
        for key, value in change.items():
            del file["0001"][key]
            if value is not None:
                file["0001"][key] = value
    file = open_trajectories(tmp_path / "a")
    assert np.array_equal(file.read(0), states[0])
    with pytest.raises(ValueError, match=message):
        file.read(1)
    assert np.array_equal(file.read(2), states[2])


def test_grouped_of_no_known_family(tmp_path, published):
    published.grouped(tmp_path / "a", "water")
    with h5py.File(tmp_path / "a", "a") as file:
        for group in list(file):
            del file[group]["data"]
            file[group]["data"] = np.zeros((5, 6, 5, 3), "f4")
    with pytest.raises(ValueError, match="whose configuration is of PDEBench shallow water"):
        open_trajectories(tmp_path / "a")
    published.grouped(tmp_path / "b", "water")
    with h5py.File(tmp_path / "b", "a") as file:
        file["0000"].attrs["config"] = published.config_text("reaction", 0)
    with pytest.raises(ValueError, match="whose configuration is of PDEBench diffusion-reaction"):
        open_trajectories(tmp_path / "b")


def test_incompressible(tmp_path, published):
    states = published.incompressible(tmp_path / "a")
    file = open_trajectories(tmp_path / "a")
    check_states(file, states)
    names = ("velocity_x", "velocity_y", "particles", "force_x", "force_y")
    assert file.fields.names == names
    assert file.grid == Grid((6, 5), (1.0, 1.0), (0.0, 0.0), False, cell_centred=True)
    assert file.times.shape == (2, 4)
    assert file.time_step(0) == pytest.approx(0.005, rel=1e-6)
    assert file.time_step(1) == pytest.approx(0.01, rel=1e-6)
    assert file.parameters["viscosity"].tolist() == [0.01, 0.01]
    assert file.boundary["velocity_y"] == ((Dirichlet(0.0), Dirichlet(0.0)),) * 2
    assert file.boundary["particles"] == ((Outflow(), Outflow()),) * 2
    assert "no coordinates" in file.problems[0]


def test_incompressible_unwritten_frames_are_cut(tmp_path, published):
    states = published.incompressible(tmp_path / "a", written=3)
    file = open_trajectories(tmp_path / "a")
    check_states(file, states)
    assert "the 1 frames after it were never written" in " ".join(file.notes)
    windows = TrajectoryWindows(file, history=1, horizon=1)
    assert len(windows) == 4 and windows[3]["dt"] == pytest.approx(0.01, rel=1e-6)
    file.close()
    with h5py.File(tmp_path / "a", "a") as opened:
        opened.attrs["latestIndex"] = -1
    with pytest.raises(ValueError, match="no frame was ever written"):
        open_trajectories(tmp_path / "a")
    with h5py.File(tmp_path / "a", "a") as opened:
        opened.attrs["latestIndex"] = 4
    with pytest.raises(ValueError, match="at least latestIndex"):
        open_trajectories(tmp_path / "a")


def test_incompressible_configuration(tmp_path, published):
    config = "domain_size: [2, 1.5]\nvelocity_extrapolation: PERIODIC\n"
    published.incompressible(tmp_path / "a", config=config, same_times=True)
    file = open_trajectories(tmp_path / "a")
    assert file.grid == Grid((6, 5), (2.0, 1.5), (0.0, 0.0), True, cell_centred=True)
    assert file.times.shape == (4,) and file.parameters == {}
    published.incompressible(tmp_path / "b", config="force_extrapolation: ODD")
    file = open_trajectories(tmp_path / "b")
    assert file.boundary is None and "'ODD'] of the configuration" in " ".join(file.notes)


def damaged(path, change):
    with h5py.File(path, "a") as file:
        for key, value in change.items():
            del file[key]
            if value is not None:
                file[key] = value


@pytest.mark.parametrize(
    "family, change, message",
    [
        ("flat", {"t-coordinate": None}, "flat layout needs `t-coordinate`, found tensor"),
        ("flat", {"t-coordinate": np.arange(3.0)}, "must have 5 or 6 entries for 5 frames, got 3"),
        ("flat", {"x-coordinate": np.arange(7.0)}, r"\(sample, time, x\) with 7 points along x"),
        ("flat", {"x-coordinate": np.zeros((2, 4))}, "`x-coordinate` must be one vector"),
        ("flat", {"x-coordinate": np.arange(8.0) ** 2}, r"must be uniform, got x-coordinate\[1\]"),
        ("flat", {"tensor": np.zeros((5, 8), "c8")}, "tensor must hold floats or integers"),
        ("compressible", {"Vy": None}, "`Vy` is missing"),
        ("compressible", {"Vy": np.zeros((3, 4, 5, 6), "f4")}, "must have the shape of `density`"),
        ("compressible", {"y-coordinate": None}, r"with 6 points along x, got \(3, 4, 6, 5\)"),
        ("darcy", {"nu": np.zeros((2, 6, 5))}, "as many samples, got 2 and 3"),
        ("darcy", {"tensor": np.zeros((3, 2, 6, 5))}, "one steady solution per sample"),
        ("incompressible", {"force": np.zeros((2, 6, 5, 1))}, "force must have 2 samples and 2"),
        ("incompressible", {"velocity": np.zeros((2, 4, 6, 5, 3))}, r"\(sample, time, x, y, 2\)"),
        ("incompressible", {"t": np.zeros((3, 4))}, "`t` must have shape"),
        ("incompressible", {"t": np.zeros((2, 4))}, "t: time must increase strictly"),
        ("sorption", {"0000/grid/x": None}, "needs `0000/grid/x`"),
        ("sorption", {"0000/grid/t": np.arange(8.0)}, "must have 5 or 6 entries"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(tmp_path, published, family, change, message):
    writers = {
        "flat": lambda path: published.flat(path, {"Nu": 0.1}),
        "compressible": lambda path: published.compressible(path, 2),
        "darcy": published.darcy,
        "incompressible": published.incompressible,
        "sorption": lambda path: published.grouped(path, "sorption"),
    }
    writers[family](tmp_path / "a")
    damaged(tmp_path / "a", change)
    with pytest.raises(ValueError, match=message) as caught:
        open_trajectories(tmp_path / "a")
    assert str(tmp_path / "a") in str(caught.value)


def test_config_entries():
    text = "a: 1E-3\nb: word\nc: [1, 2.5]\nd:\n- 1\n- x\nsim:\n  a: 7\n  e: '???'\nf: 2\n"
    assert config_entries(text, "sim") == {"a": 7.0, "e": "???"}
    entries = config_entries(text)
    assert entries["a"] == 1e-3 and entries["c"] == [1.0, 2.5] and entries["d"] == [1.0, "x"]
    assert config_entries("", "sim") == {} and config_entries("sim:\n", "sim") == {}


@pytest.mark.parametrize("family", ["flat", "compressible", "darcy", "incompressible", *FAMILIES])
def test_an_address_and_a_copy_by_pickle(tmp_path, published, family):
    """Every reader reads through fsspec, and survives being sent to another process."""
    fsspec = pytest.importorskip("fsspec")
    path = tmp_path / "a"
    states = {
        "flat": lambda: published.flat(path, {"Nu": 0.1}),
        "compressible": lambda: published.compressible(path, 2),
        "darcy": lambda: published.darcy(path),
        "incompressible": lambda: published.incompressible(path),
    }.get(family, lambda: published.grouped(path, family))()
    with fsspec.open(f"memory://{family}.h5", "wb") as target:
        target.write(path.read_bytes())
    file = open_trajectories(f"memory://{family}.h5")
    check_states(file, states)
    check_states(pickle.loads(pickle.dumps(file)), states)


def sparse(file, key, shape):
    """A contiguous data set that is allocated and never written: a hole in the file."""
    create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    create.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    create.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    space = h5py.h5s.create_simple(shape)
    h5py.h5d.create(file.id, key.encode(), h5py.h5t.IEEE_F32LE, space, create)


def test_one_frame_of_a_file_larger_than_memory(tmp_path, published):
    """200 GB of declared flow; a frame is 4 MiB, and about as much may be touched."""
    with h5py.File(tmp_path / "a", "w") as file:
        for key in ("density", "Vx", "Vy", "pressure"):
            sparse(file, key, (500, 101, 512, 512))
        file["x-coordinate"] = file["y-coordinate"] = published.centres(512, 0, 1)
        file["t-coordinate"] = published.times(102, 0.05)
        file["density"][499, 100] = 1.0
    assert (tmp_path / "a").stat().st_size > 200e9
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    file = open_trajectories(tmp_path / "a")
    frame = file.read(-1, slice(100, 101))
    assert frame.shape == (1, 4, 512, 512) and bool((frame[0, 0] == 1).all())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB


def test_one_frame_of_a_long_compressed_file(tmp_path):
    """Chunks of one frame: a window unpacks its own chunks and no others."""
    shape, rng = (4, 400, 64, 48, 2), np.random.default_rng(0)
    with h5py.File(tmp_path / "a", "w") as file:
        for key, components in (("velocity", 2), ("particles", 1)):
            own = (*shape[:-1], components)
            options = {"chunks": (1, 1, *own[2:]), "compression": "lzf", "shuffle": True}
            made = file.create_dataset(key, own, "f4", **options)
            made[2, 17] = rng.standard_normal((64, 48, components))
        file["force"] = np.zeros((4, 64, 48, 2), "f4")
        file["t"] = np.arange(400.0)
        chunk = file["velocity"].id.get_chunk_info(0)
    with (tmp_path / "a").open("r+b") as stream:
        stream.seek(chunk.byte_offset)
        stream.write(b"\xff" * 64)
    file = open_trajectories(tmp_path / "a")
    with pytest.raises(ValueError, match=r"velocity has no numbers from \(2, 16, 0, 0, 0\) on"):
        file.read(2, slice(16, 17))
    with pytest.raises(ValueError, match="velocity cannot be read"):
        file.read(2, slice(17, 18))
