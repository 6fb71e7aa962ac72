"""Files of bare arrays, conversion to The Well layout, and inspection."""

import sys

import h5py
import numpy as np
import pytest
import torch
import xarray
from scipy.io import savemat

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.data import (
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
    with pytest.raises(ValueError, match="exists and is not overwritten"):
        convert(source, tmp_path / "b.h5")


def test_inspect_counts_and_ranges(tmp_path):
    u = torch.randn(3, 4, 2, 8, dtype=torch.float64)
    u[:, :, 1] = 1000.0 + 1e-3 * u[:, :, 1]
    clean = u.clone()
    u[1, 2, 0, 3], u[2, 0, 0, 1] = torch.nan, torch.inf
    write_trajectories(
        tmp_path / "a.h5", u, fields=FieldSpec(("u", "p"), ("m/s", "Pa")), grid=Grid((8,), (1.0,)),
        times=[0.0, 1.0, 2.0, 4.0], parameters={"nu": [0.1, 0.2, 0.3]}, dtype="float64",
    )  # fmt: skip
    found = inspect_file(tmp_path / "a.h5")
    assert [entry.num_missing for entry in found.ranges] == [2, 0]
    assert found.ranges[1].mean == pytest.approx(float(clean[:, :, 1].mean()), rel=1e-12)
    assert found.ranges[1].std == pytest.approx(float(clean[:, :, 1].std(correction=0)), rel=1e-9)
    text = found.text()
    assert "parameter nu:" in text and "0.1 .. 0.3" in text and "m/s" in text
    assert "has 2 NaN or Inf" in text and "times are not uniform: time[3] - time[2] = 2" in text
    part = inspect_file(tmp_path / "a.h5", num_trajectories=1)
    assert part.facts["scanned"] == "1 of 3 trajectories"


def test_inspect_shows_unknown_files(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["weird/thing"] = np.zeros((2, 3))
    text = inspect_file(tmp_path / "a.h5").text()
    assert "weird/thing (2, 3) float64" in text and "PROBLEM" in text
    (tmp_path / "b.txt").write_text("hello")
    with pytest.raises(ValueError, match="not an HDF5 file"):
        inspect_file(tmp_path / "b.txt")
    with pytest.raises(FileNotFoundError):
        inspect_file(tmp_path / "none")


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
