"""Files of bare arrays, and conversion to The Well layout."""

import hashlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
import torch
import xarray
from scipy.io import savemat

from pdesurrogates.core import Dirichlet, FieldSpec, Grid, Neumann
from pdesurrogates.data import (
    StretchedGrid,
    TrajectoryWriter,
    convert,
    inspect_file,
    open_trajectories,
    read_arrays,
    write_trajectories,
)


def travelling(n=32, frames=11, *, closed=False):
    x = np.linspace(0, 2 * np.pi, n + closed, endpoint=closed)
    t = np.linspace(0, 1, frames)
    return np.sin(x[:, None] - t) + 0.2 * np.cos(2 * x[:, None]) + 1, x, t


def save(path, kind, u, x, t):
    if kind == "npz":
        np.savez(path, usol=u, x=x, t=t)
    elif kind == "mat":
        savemat(path, {"usol": u, "x": x[None], "tt": t[:, None]})
    elif kind == "mat73":
        with h5py.File(path, "w", userblock_size=512) as file:
            for name, values in (("usol", u), ("x", x[None]), ("t", t[:, None])):
                file[name] = values.T
                file[name].attrs["MATLAB_class"] = np.bytes_("double")
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            file["group/usol"], file["x"], file["t"] = u, x, t
    else:
        dataset = xarray.Dataset({"usol": (("x", "time"), u)}, {"x": x, "time": t})
        dataset.to_netcdf(path, engine="scipy" if kind == "nc3" else "h5netcdf")


@pytest.mark.parametrize("kind", ["npz", "mat", "mat73", "h5", "nc3", "nc4"])
def test_convert_without_options(tmp_path, kind):
    u, x, t = travelling()
    source = tmp_path / f"source.{kind if kind == 'npz' else 'dat'}"
    save(source, kind, u, x, t)
    seen = []
    notes = convert(source, tmp_path / "a.h5", progress=lambda *done: seen.append(done))
    file = open_trajectories(tmp_path / "a.h5")
    assert file.grid.shape == (32,) and file.grid.is_periodic == (True,)
    assert file.grid.extent[0] == pytest.approx(2 * np.pi, rel=1e-12)
    assert file.dtype == torch.float64 and np.array_equal(file.read(0)[:, 0], u.T)
    assert file.attributes["source"] == source.name
    assert any("periodic" in note for note in notes) and seen[-1] == (11, 11)


def test_repeated_endpoint_is_dropped_and_said(tmp_path):
    u, x, t = travelling(closed=True)
    save(tmp_path / "a.npz", "npz", u, x, t)
    text = inspect_file(tmp_path / "a.npz").text()
    assert "PROBLEM" in text and "endpoint is repeated (point 32 equals point 0" in text
    notes = convert(tmp_path / "a.npz", tmp_path / "a.h5")
    assert "dropped the repeated periodic endpoint of x: 33 -> 32 points" in notes
    file = open_trajectories(tmp_path / "a.h5")
    assert file.grid.extent[0] == pytest.approx(2 * np.pi, rel=1e-12)
    assert "dropped" in file.attributes["conversion_notes"]
    assert inspect_file(tmp_path / "a.h5").problems == ()


def test_repeated_endpoint_in_a_file_of_known_layout(tmp_path):
    u, x, t = travelling(closed=True)
    states = torch.from_numpy(np.stack([u.T, 2 * u.T]))[:, :, None]
    grid = Grid((33,), (33 / 32 * 2 * np.pi,))
    write_trajectories(tmp_path / "a.h5", states, fields=FieldSpec(), grid=grid, times=t)
    assert "endpoint is repeated" in inspect_file(tmp_path / "a.h5").text()
    notes = convert(tmp_path / "a.h5", tmp_path / "b.h5", dtype="float64")
    assert notes == ("dropped the repeated periodic endpoint of x: 33 -> 32 points",)
    file = open_trajectories(tmp_path / "b.h5")
    assert file.grid.shape == (32,) and file.dtype == torch.float64
    assert torch.equal(file.read(1), states[1, ..., :-1].float().double())
    with pytest.raises(ValueError, match="same file"):
        convert(tmp_path / "a.h5", tmp_path / "a.h5", overwrite=True)
    with pytest.raises(ValueError, match="states its own axes, fields and times, so 'dt'"):
        convert(tmp_path / "a.h5", tmp_path / "c.h5", dt=0.1)


def test_periodicity_is_never_silent(tmp_path):
    x, t = np.linspace(0, 1, 33), np.linspace(0, 1, 5)
    fixed = np.exp(-t) * (x * (1 - x) * (1 + x))[:, None]
    save(tmp_path / "fixed.npz", "npz", fixed, x, t)
    file = read_arrays(tmp_path / "fixed.npz")
    assert file.grid.is_periodic == (False,)
    assert "ambiguous" in file.notes[1] and "--periodic" in file.notes[1]
    assert read_arrays(tmp_path / "fixed.npz", periodic=True).grid.is_periodic == (True,)
    save(tmp_path / "ramp.npz", "npz", x[:, None] * (1 + t), x, t)
    file = read_arrays(tmp_path / "ramp.npz")
    assert file.grid.is_periodic == (False,) and "not smooth across its ends" in file.notes[1]


def test_options_where_names_do_not_tell(tmp_path):
    u = np.random.default_rng(0).standard_normal((3, 5, 8))
    np.savez(tmp_path / "a.npz", first=u, second=u)
    with pytest.raises(ValueError, match=r"name them with axes .*--axes.*Found first \(3, 5, 8\)"):
        read_arrays(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="arrays first, second all fit; name one with variable"):
        read_arrays(tmp_path / "a.npz", axes="trajectory time x")
    with pytest.raises(ValueError, match="no array 'third'; found first"):
        read_arrays(tmp_path / "a.npz", variable="third")
    with pytest.raises(ValueError, match=r"no times of length 5 found .* give dt \(--dt\)"):
        read_arrays(tmp_path / "a.npz", variable="first", axes="trajectory time x")
    with pytest.raises(ValueError, match=r"no coordinates found .* give extent \(--extent\)"):
        read_arrays(tmp_path / "a.npz", variable="first", axes="trajectory time x", dt=0.1)
    options = {"axes": "trajectory time x", "dt": 0.1, "extent": 2.0, "periodic": True}
    file = read_arrays(tmp_path / "a.npz", variable="second", **options)
    assert file.grid == Grid((8,), (2.0,)) and np.array_equal(file.read(2)[:, 0], u[2])
    np.save(tmp_path / "a.npy", u)
    assert np.array_equal(read_arrays(tmp_path / "a.npy", **options).read(1)[:, 0], u[1])


def test_leading_axis_beside_known_lengths_is_trajectories(tmp_path):
    u, x, t = travelling()
    np.savez(tmp_path / "a.npz", u=np.stack([u.T, u.T + 1]), x=x, t=t)
    file = read_arrays(tmp_path / "a.npz")
    assert file.num_trajectories == 2 and "axes trajectory time x" in file.notes[0]


def test_square_arrays_are_not_guessed(tmp_path):
    x = np.arange(6) / 6
    np.savez(tmp_path / "a.npz", u=np.zeros((6, 6)), x=x, t=x)
    with pytest.raises(ValueError, match="the axes cannot be told"):
        read_arrays(tmp_path / "a.npz")


def test_interrupted_conversion_continues(tmp_path):
    u = torch.randn(4, 3, 1, 8)
    source = write_trajectories(
        tmp_path / "a.h5", u, fields=FieldSpec(), grid=Grid((8,), (1.0,)), times=range(3)
    )

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(source, tmp_path / "b.h5", progress=stop)
    assert not (tmp_path / "b.h5").exists()
    convert(source, tmp_path / "b.h5")
    assert torch.equal(open_trajectories(tmp_path / "b.h5").read(3), u[3].float())


def test_long_trajectories_are_converted_in_stretches(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["pdesurrogates.data.convert"], "_BLOCK_BYTES", 3 * 8 * 4)
    u = torch.randn(2, 10, 1, 8)
    source = write_trajectories(
        tmp_path / "a.h5", u, fields=FieldSpec(), grid=Grid((8,), (1.0,)), times=range(10)
    )

    def stop_at_twelve(done, total):
        if done >= 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(source, tmp_path / "b.h5", progress=stop_at_twelve)
    seen = []
    convert(source, tmp_path / "b.h5", progress=lambda done, total: seen.append(done))
    assert seen == [16, 19, 20]
    file = open_trajectories(tmp_path / "b.h5")
    assert torch.equal(torch.stack([file.read(0), file.read(1)]), u.float())


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def source(tmp_path):
    return write_trajectories(
        tmp_path / "a.h5", torch.randn(60, 40, 2, 64), fields=FieldSpec(("u", "v"), ("m", "s")),
        grid=Grid((64,), (1.0,), periodic=False), times=range(40),
        parameters={"nu": np.arange(60) / 7}, boundaries=[(Dirichlet(1 / 3), Neumann(0.0))],
    )  # fmt: skip


def slowly(source, target):
    sys.modules["pdesurrogates.data.convert"]._BLOCK_BYTES = 30_000
    convert(source, target, progress=lambda *_: time.sleep(0.002))


def test_killed_conversions_continue_to_the_same_bytes(tmp_path, source):
    whole, broken = tmp_path / "whole.h5", tmp_path / "broken.h5"
    convert(source, whole)
    rng, frames, kills = np.random.default_rng(0), [0], 0
    while not broken.exists() and kills < 6:
        process = multiprocessing.get_context("fork").Process(target=slowly, args=(source, broken))
        process.start()
        time.sleep(rng.uniform(0.05, 0.2))
        process.kill()
        process.join()
        kills += 1
        note = tmp_path / "broken.h5.partial.progress"
        if note.exists():
            runs = json.loads(note.read_text())["frames_done"]
            frames.append(sum(count * done for count, done in runs))
    convert(source, broken)
    assert frames == sorted(frames) and frames[-1] > 0, frames
    assert sha256(broken) == sha256(whole)


def test_a_finished_conversion_is_recognised(tmp_path, source):
    """Also after a kill between the last rename and the end of the process."""
    notes = convert(source, tmp_path / "b.h5")
    before = sha256(tmp_path / "b.h5")
    (tmp_path / "b.h5.partial.progress").write_text("left over")
    assert convert(source, tmp_path / "b.h5") == (*notes, "b.h5 was complete already")
    assert sha256(tmp_path / "b.h5") == before
    assert not (tmp_path / "b.h5.partial.progress").exists()
    with pytest.raises(ValueError, match="exists and is not overwritten"):
        convert(source, tmp_path / "b.h5", dtype="float64")
    with h5py.File(source, "a") as file:
        file["t0_fields/u"][59] = 0.0
        del file["pdesurrogates/checksums"]
    with pytest.raises(ValueError, match="exists and is not overwritten"):
        convert(source, tmp_path / "b.h5")


def test_other_content_of_the_same_size_is_not_taken_for_the_same(tmp_path):
    options = {"axes": "trajectory time x", "dt": 0.1, "extent": 1.0, "periodic": True}
    u = np.random.default_rng(0).standard_normal((4, 5, 8))
    np.save(tmp_path / "a.npy", u)
    convert(tmp_path / "a.npy", tmp_path / "b.h5", **options)
    u[3, 2, 1] += 1.0
    np.save(tmp_path / "a.npy", u)
    with pytest.raises(ValueError, match="exists and is not overwritten"):
        convert(tmp_path / "a.npy", tmp_path / "b.h5", **options)


def test_the_same_content_gives_the_same_bytes(tmp_path, source):
    (tmp_path / "other").mkdir()
    copy = shutil.copy(source, tmp_path / "other" / "a.h5")
    os.utime(copy, (1, 1))
    convert(source, tmp_path / "b.h5")
    convert(copy, tmp_path / "c.h5")
    assert sha256(tmp_path / "b.h5") == sha256(tmp_path / "c.h5")


def test_a_changed_source_is_not_continued(tmp_path, source):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(source, tmp_path / "b.h5", progress=stop)
    os.utime(source, (1, 1))
    with pytest.raises(ValueError, match="session is 'source changed at"):
        convert(source, tmp_path / "b.h5")


def test_what_the_source_states_goes_along(tmp_path, source):
    convert(source, tmp_path / "b.h5")
    file = open_trajectories(tmp_path / "b.h5")
    assert file.boundary == ((Dirichlet(1 / 3), Neumann(0.0)),)
    assert file.fields == FieldSpec(("u", "v"), ("m", "s"))
    assert file.parameters["nu"].tolist() == (np.arange(60) / 7).tolist()
    assert file.grid == Grid((64,), (1.0,), periodic=False) and file.has_checksums


@pytest.mark.parametrize("family", ["flat", "compressible", "darcy", "incompressible"])
def test_published_layouts(tmp_path, published, family):
    arguments = {"flat": ({"beta": 0.4},), "compressible": (2,)}.get(family, ())
    states = getattr(published, family)(tmp_path / "a.h5", *arguments)
    with open_trajectories(tmp_path / "a.h5") as old:
        convert(tmp_path / "a.h5", tmp_path / "b.h5")
        with open_trajectories(tmp_path / "b.h5") as new:
            assert new.layout == "The Well" and new.num_trajectories == len(states)
            assert new.fields == old.fields and new.grid == old.grid
            assert new.boundary == old.boundary and torch.equal(new.times, old.times)
            assert set(new.parameters) == set(old.parameters)
            for index in range(len(states)):
                assert np.array_equal(new.read(index), states[index])


def test_words_and_uneven_axes_go_along(tmp_path):
    nodes = (1 - np.cos(np.pi * (np.arange(6) + 0.5) / 6)).astype("f4")
    u = torch.randn(2, 3, 1, 4, 6)
    write_trajectories(
        tmp_path / "a.h5", u, fields=FieldSpec(), times=range(3), boundaries=Dirichlet(),
        grid=Grid((4, 6), (1.0,), periodic=(True, False)),
    )  # fmt: skip
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["pdesurrogates"]
        file["dimensions/y"][...] = nodes
    notes = convert(tmp_path / "a.h5", tmp_path / "b.h5")
    assert any("axis y is not uniform" in note for note in notes)
    file = open_trajectories(tmp_path / "b.h5")
    assert isinstance(file.grid, StretchedGrid)
    assert file.grid.axes()[1].tolist() == nodes.astype("f8").tolist()
    assert file.boundary == (("periodic", "periodic"), ("wall", "wall"))
    assert torch.equal(file.read(1), u[1].float())


def test_cell_centres_go_along(tmp_path):
    grid = Grid((4,), (1.0,), (2.0,), periodic=False, cell_centred=True)
    write_trajectories(
        tmp_path / "a.h5", torch.zeros(1, 2, 1, 4), fields=FieldSpec(), grid=grid, times=range(2)
    )
    convert(tmp_path / "a.h5", tmp_path / "b.h5")
    assert open_trajectories(tmp_path / "b.h5").grid == grid
    assert open_trajectories(tmp_path / "b.h5").boundary is None


def test_the_old_target_stays_until_the_new_one_is_complete(tmp_path, source):
    target = write_trajectories(
        tmp_path / "b.h5", torch.zeros(1, 2, 1, 4), fields=FieldSpec(), grid=Grid((4,), (1.0,)),
        times=range(2),
    )  # fmt: skip
    before, original = sha256(target), sha256(source)

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(source, target, overwrite=True, progress=stop)
    assert sha256(target) == before and sha256(source) == original
    convert(source, target, overwrite=True)
    assert torch.equal(open_trajectories(target).read(7), open_trajectories(source).read(7))


def test_no_target_folder_is_an_error_that_leaves_nothing(tmp_path, source):
    with pytest.raises(ValueError, match="does not exist; create it first"):
        convert(source, tmp_path / "none" / "b.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


@pytest.mark.slow
def test_memory_stays_bounded(tmp_path):
    """A sparse source of 4 GB: what is resident grows by far less than that."""
    source, n = tmp_path / "a.h5", 2**16
    with TrajectoryWriter(
        source, fields=FieldSpec(), grid=Grid((n,), (1.0,)), times=range(160), num_trajectories=100
    ) as writer:
        writer.write(0, torch.ones(1, 160, 1, n))
        partial = source.with_name("a.h5.partial")
    partial.rename(source)
    with h5py.File(source, "a") as file:
        del file["pdesurrogates/checksums"]
    script = (
        "import sys, resource\n"
        "from pdesurrogates.data import convert\n"
        "start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "convert(sys.argv[1], sys.argv[2])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, source, tmp_path / "b.h5"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert source.stat().st_size > 4e9 and int(done.stdout) / 1024 < 300


@pytest.mark.slow
def test_memory_stays_bounded_for_a_mapped_array(tmp_path):
    """A sparse .npy of 1 GB: what was mapped for a slice does not stay resident."""
    shape = (64, 64, 256, 256)
    np.lib.format.open_memmap(tmp_path / "a.npy", mode="w+", dtype="f4", shape=shape)
    script = (
        "import sys, resource\n"
        "from pdesurrogates.data import read_arrays\n"
        "file = read_arrays(sys.argv[1], axes='trajectory time x y', dt=0.1, extent=1.0)\n"
        "start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for n in range(64): file.read(n)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "a.npy"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(done.stdout) / 1024 < 200
