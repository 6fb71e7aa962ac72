"""Inspection: what is in a file, and everything that looks wrong with it."""

import json
import re
import sys

import h5py
import numpy as np
import pytest
import torch

from pdesurrogates.cli.main import main
from pdesurrogates.core import Dirichlet, FieldSpec, Grid, Neumann, Outflow, Periodic
from pdesurrogates.data import (
    inspect_file,
    open_trajectories,
    write_trajectories,
)
from pdesurrogates.data.stored_axes import axis_doubts, time_doubts


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


def write(path, u, **options):
    keep = dict(fields=FieldSpec(("u",)), grid=Grid(u.shape[3:], (1.0,)), times=range(u.shape[1]))
    return write_trajectories(path, u, **{**keep, **options})


def problems(path):
    return " | ".join(inspect_file(path).problems)


def test_facts_of_grid_and_ends(tmp_path):
    u = torch.randn(2, 3, 2, 4, 6)
    ends = {"p": Neumann(), "q": [Periodic(), (Dirichlet(1.0), Outflow())]}
    path = write(
        tmp_path / "a.h5", u, fields=FieldSpec(("p", "q")), boundaries=ends,
        grid=Grid((4, 6), (1.0, 3.0), periodic=(True, False), cell_centred=True),
    )  # fmt: skip
    facts = inspect_file(path).facts
    assert facts["grid"] == "4 x 6 cell centres"
    assert facts["axis y"] == "6 points from 0.25 to 2.75, extent 3, spacing 0.5, not periodic"
    assert facts["ends of x, p"] == "Periodic()"
    assert facts["ends of y, p"] == "Neumann(derivative=0.0)"
    assert facts["ends of y, q"] == "Dirichlet(value=1.0) | Outflow()"
    assert facts["checksums"] == "description agrees; of the numbers not compared (--verify)"
    assert "2 trajectories compared" in inspect_file(path, verify=True).facts["checksums"]
    plain = write(tmp_path / "b.h5", u[:, :, :1], grid=Grid((4, 6), (1.0, 3.0), periodic=False))
    assert inspect_file(plain).facts["boundaries"] == "not stated"
    assert inspect_file(plain).facts["grid"] == "4 x 6 points"


def test_unwritten_constant_and_frozen_frames(tmp_path):
    u = torch.randn(3, 10, 2, 8)
    fields = FieldSpec(("u", "v"))
    assert inspect_file(write(tmp_path / "a.h5", u, fields=fields)).problems == ()
    broken = u.clone()
    broken[1, 7:] = 0.0
    found = problems(write(tmp_path / "b.h5", broken, fields=fields))
    assert "3 of 30 scanned frames are zero in all fields" in found
    assert (
        "the first is frame 7 of trajectory 1" in found and "2 of 30 scanned frames rep" in found
    )
    broken = u.clone()
    broken[2, 4, 0], broken[2, 4, 1] = 3.0, 0.0
    found = problems(write(tmp_path / "c.h5", broken, fields=fields))
    assert "1 of 30 scanned frames are the same number everywhere in each field" in found
    assert "the first is frame 4 of trajectory 2" in found and "repeat" not in found
    broken = u.clone()
    broken[0, 5:8] = broken[0, 4]
    found = problems(write(tmp_path / "d.h5", broken, fields=fields))
    assert "3 of 30 scanned frames repeat the frame before them bit by bit" in found
    assert "the first is frame 5 of trajectory 0" in found
    half = u.clone()
    half[0, 5, 0] = half[0, 4, 0]  # one field of two stands still: no repeat
    half[1, 3, 1] = 2.0  # one field of two is constant
    half[2, 3, 1] = 0.0
    half[1, 6] = half[1, 6].abs()
    half[1, 6, :, 3] = 0.0  # nothing is below zero, but not all is zero
    assert problems(write(tmp_path / "e.h5", half, fields=fields)) == ""


def test_frames_are_compared_across_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["pdesurrogates.data.scan"], "_BLOCK_BYTES", 2 * 8 * 4)
    u = torch.randn(1, 7, 1, 8)
    u[0, 2] = u[0, 1]
    u[0, 6] = u[0, 5]
    assert "2 of 7 scanned frames repeat" in problems(write(tmp_path / "a.h5", u))


AXIS = Grid((32,), (1.0,))


@pytest.mark.parametrize(
    ("points", "grid", "text"),
    [
        (
            np.linspace(0, 1, 32),
            AXIS,
            "as if both ends were stored.* 0.03125 instead of 0.0322581",
        ),
        (np.linspace(0, 2 * np.pi, 32), AXIS, "as if both ends were stored"),
        (np.linspace(-1, 1, 32), AXIS, "as if both ends were stored"),
        (np.linspace(0, 1, 33), AXIS, "stores 33 coordinates for 32 points"),
        (
            (np.arange(32) + 0.5) / 32,
            Grid((32,), (1.0,), periodic=False),
            r"half a cell inside \[0, 1\], as cell centres",
        ),
        (np.round(np.arange(32) / 31, 5), Grid((32,), (1.0,), periodic=False), "off an even spac"),
        (
            (1000 + 0.0137 * np.arange(32)).astype("f4"),
            AXIS,
            r"stored in float32, whose rounding is 8.7e-03 of the spacing",
        ),
    ],
)
def test_doubtful_coordinates(points, grid, text):
    doubts = axis_doubts("x", np.asarray(points), grid, 0)
    assert len(doubts) == 1 and re.search(text, doubts[0]), doubts


@pytest.mark.parametrize(
    ("points", "grid"),
    [
        (np.arange(32) / 32, AXIS),
        ((np.arange(32) / 32).astype("f4"), AXIS),
        ((1000 + np.arange(32) / 32).astype("f4"), AXIS),  # exact in float32
        ((np.arange(32) + 0.5) / 32, AXIS),
        (np.arange(50) / 50, Grid((50,), (1.0,))),
        (np.linspace(-1, 1, 32), Grid((32,), (2.0,), periodic=False)),
        (np.linspace(-1, 1, 32, dtype="f4"), Grid((32,), (2.0,), periodic=False)),
        ((np.arange(32) + 0.5) / 32, Grid((32,), (1.0,), periodic=False, cell_centred=True)),
        (np.linspace(0, 2 * np.pi, 32, endpoint=False), AXIS),
        (32 * np.pi * np.arange(32) / 32 - 16 * np.pi, AXIS),
    ],
)
def test_coordinates_without_doubt(points, grid):
    assert axis_doubts("x", np.asarray(points), grid, 0) == []


def test_doubtful_times():
    assert time_doubts(np.arange(11) * 0.1, 11) == []
    assert "stores 12 times for 11 frames (one too long)" in time_doubts(np.arange(12.0), 11)[0]
    late = (1e5 + 0.01 * np.arange(11)).astype("f4")
    assert "rounding" in time_doubts(late, 11)[0]


def foreign(path, u, **coordinates):
    """A file of The Well without our group, with these coordinates."""
    path = write(path, u)
    with h5py.File(path, "a") as file:
        del file["pdesurrogates"]
        for name, values in coordinates.items():
            facts = dict(file[f"dimensions/{name}"].attrs)
            del file[f"dimensions/{name}"]
            file[f"dimensions/{name}"] = values
            file[f"dimensions/{name}"].attrs.update(facts)
    return path


def test_doubts_reach_the_report(tmp_path):
    u = torch.randn(2, 9, 1, 32)
    path = foreign(tmp_path / "a.h5", u, x=np.linspace(0, 1, 32, dtype="f4"))
    found = problems(path)
    assert "axis x: periodic, but its points run from 0 to 1 as if both ends were stored" in found
    path = foreign(tmp_path / "b.h5", u, time=(1e3 + 0.0137 * np.arange(9)).astype("f4"))
    assert "times: stored in float32, whose rounding is" in problems(path)
    assert problems(foreign(tmp_path / "c.h5", u)) == ""
    assert "none in this file" in inspect_file(path).facts["checksums"]
    path = foreign(tmp_path / "d.h5", u[..., :8], x=np.array([0, 1, 2, 4, 8, 16, 32, 64], "f4"))
    found = inspect_file(path)
    assert "axis x is not uniform" in found.problems[0] and "see problems" in found.facts["axis x"]
    assert found.facts["ends of x"] == "periodic"


def test_surplus_time_of_pdebench(tmp_path, published):
    published.flat(tmp_path / "a.h5", {"beta": 0.4})
    assert "stores 6 times for 5 frames (one too long)" in problems(tmp_path / "a.h5")


@pytest.mark.parametrize("family", ["flat", "compressible", "darcy", "grouped", "incompressible"])
def test_published_layouts(tmp_path, published, family):
    arguments = {"flat": ({"beta": 0.4},), "compressible": (2,), "grouped": ("water",)}
    getattr(published, family)(tmp_path / "a.h5", *arguments.get(family, ()))
    found = inspect_file(tmp_path / "a.h5")
    with open_trajectories(tmp_path / "a.h5") as file:
        assert [entry.name for entry in found.ranges] == list(file.fields.names)
        low = min(float(file.read(i)[:, 0].min()) for i in range(file.num_trajectories))
        assert found.ranges[0].minimum == low
    assert json.loads(found.to_json())["layout"] == found.layout


def test_meshes(tmp_path):
    points = np.random.default_rng(0).uniform(size=(6, 2)).astype("f4")
    pressure = np.arange(5 * 6, dtype="f4").reshape(5, 6, 1)
    pressure[2, 3] = np.nan
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for number in range(2):
            group = file.create_group(str(number))
            group["mesh_pos"], group["pressure"] = points, pressure
            group["cells"] = np.array([[0, 1, 2], [2, 3, 4], [3, 4, 5]], "i4")
            group["node_type"] = np.zeros((6, 1), "i4")
    found = inspect_file(tmp_path / "a.h5")
    assert found.layout == "MeshGraphNets"
    assert found.facts["mesh"].startswith("6 points in 2D, 3 cells of 3 corners")
    assert found.ranges[0].num_missing == 2 and found.ranges[0].maximum == 29.0
    assert any("has 2 NaN or Inf" in text for text in found.problems)


def test_json_for_scripts(tmp_path, capsys):
    u = torch.randn(2, 3, 1, 8)
    u[:] = torch.nan
    path = write(tmp_path / "a.h5", u)
    assert main(["inspect", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {
        "path", "layout", "facts", "ranges", "problems", "notes", "contents", "damaged",
    }  # fmt: skip
    assert found["ranges"][0]["mean"] is None and found["ranges"][0]["num_missing"] == 48


def test_damage_ends_with_an_error(tmp_path, capsys):
    path = write(tmp_path / "a.h5", torch.randn(3, 3, 1, 8))
    with h5py.File(path) as file:
        place = file["t0_fields/u"].id.get_offset() + 2 * 3 * 8 * 4
    with path.open("r+b") as stream:
        stream.seek(place)
        byte = stream.read(1)[0]
        stream.seek(place)
        stream.write(bytes([byte ^ 1]))
    assert main(["inspect", str(path)]) == 0
    assert main(["inspect", str(path), "--verify"]) == 2
    out, err = capsys.readouterr()
    assert "DAMAGED" in out and "trajectory 2" in err and "t0_fields/u" in err
