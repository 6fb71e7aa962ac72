"""A flipped bit in a file written here is an error that says where, never a wrong read."""

import shutil

import h5py
import numpy as np
import pytest
import torch

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.data import (
    ChecksumError,
    TrajectoryWindows,
    TrajectoryWriter,
    convert,
    inspect_file,
    open_trajectories,
    statistics,
    write_trajectories,
)


@pytest.fixture
def path(tmp_path):
    u = torch.randn(3, 4, 3, 6, 5)
    return write_trajectories(
        tmp_path / "a.h5", u, fields=FieldSpec(("density", "velocity_x", "velocity_y")),
        grid=Grid((6, 5), (1.0, 2.0), periodic=(True, False)), times=[0.0, 0.1, 0.2, 0.3],
        parameters={"nu": [0.1, 0.2, 0.3]},
    )  # fmt: skip


def flip(path, position, bit=0):
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


def place_of(path, key, trajectory, number):
    with h5py.File(path) as file:
        dataset = file[key]
        return dataset.id.get_offset() + 4 * (trajectory * dataset[0].size + number)


@pytest.mark.parametrize(
    ("key", "number"), [("t0_fields/density", 0), ("t1_fields/velocity", 4 * 6 * 5 * 2 - 1)]
)
def test_every_way_of_reading_a_trajectory_notices(path, tmp_path, key, number):
    flip(path, place_of(path, key, 1, number), bit=1)
    text = rf"a.h5, trajectory 1: the bytes of field '{key}' are not those that were written"
    file = open_trajectories(path)
    assert file.has_checksums
    file.read(0)
    with pytest.raises(ChecksumError, match=text):
        file.read(1)
    windows = TrajectoryWindows(open_trajectories(path))
    windows[0]
    with pytest.raises(ChecksumError, match=text):
        windows[3]
    with pytest.raises(ChecksumError, match=text):
        TrajectoryWindows(open_trajectories(path)).check()
    TrajectoryWindows(open_trajectories(path), trajectories=[0, 2]).check()
    with pytest.raises(ChecksumError, match=text):
        convert(path, tmp_path / "b.h5")
    with pytest.raises(ChecksumError, match=text):
        statistics(path)
    found = inspect_file(path, verify=True)
    assert len(found.damaged) == 1 and "trajectory 1" in found.damaged[0]
    assert "DAMAGED" in found.text() and "none found" not in found.text()
    assert inspect_file(path).damaged == ()


def test_no_bit_of_the_file_can_be_flipped_unnoticed(path):
    """Sampled densely over the whole file: opening or verifying fails, and says which file."""
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    whole = [open_trajectories(path).read(i) for i in range(3)]
    noticed = 0
    for position in rng.choice(len(content), size=200, replace=False).tolist():
        path.write_bytes(content)
        flip(path, position, bit=int(rng.integers(8)))
        try:
            with open_trajectories(path) as file:
                states = [file.read(i) for i in range(3)]
        except ValueError as error:
            assert "a.h5" in str(error)
            noticed += 1
        else:
            # What nobody reads cannot be read wrongly.
            assert all(torch.equal(a, b) for a, b in zip(states, whole, strict=True)), position
    assert noticed > 190, noticed


def test_damage_to_the_checksums_themselves_is_damage(path):
    with h5py.File(path) as file:
        place = file["pdesurrogates/checksums/t0_fields/density"].id.get_offset()
    flip(path, place + 4)
    with pytest.raises(ChecksumError, match="the description of the data"):
        open_trajectories(path)


def test_a_meant_change_is_possible(path):
    with h5py.File(path, "a") as file:
        file.attrs["comment"] = "looked at"
    with pytest.raises(ChecksumError, match="delete the group 'pdesurrogates/checksums'"):
        open_trajectories(path)
    with h5py.File(path, "a") as file:
        del file["pdesurrogates/checksums"]
    file = open_trajectories(path)
    assert file.attributes["comment"] == "looked at" and not file.has_checksums
    file.read(1)


def test_a_compressed_copy_is_readable(path, tmp_path):
    whole = open_trajectories(path).read(1)
    copy = tmp_path / "copy.h5"
    with h5py.File(path) as old, h5py.File(copy, "w") as new:
        for name in old:
            old.copy(name, new)
        new.attrs.update(old.attrs)
        values, facts = old["t0_fields/density"][()], dict(old["t0_fields/density"].attrs)
        del new["t0_fields/density"]
        new["t0_fields"].create_dataset("density", data=values, compression="gzip")
        new["t0_fields/density"].attrs.update(facts)
    file = open_trajectories(copy)
    assert torch.equal(file.read(1), whole) and not file.has_checksums
    assert any("rewritten by another tool" in note for note in file.notes)
    convert(copy, tmp_path / "again.h5")
    assert open_trajectories(tmp_path / "again.h5").has_checksums


def test_truncation_is_noticed(path):
    file = open_trajectories(path)
    shutil.copy(path, path.with_name("b.h5"))
    with path.open("r+b") as stream:
        stream.truncate(place_of(path, "t1_fields/velocity", 2, 10))
    with pytest.raises(ChecksumError, match="t1_fields/velocity ends before .* trajectory 2"):
        file.read(2)


def test_unfinished_files_say_so(tmp_path):
    with TrajectoryWriter(
        tmp_path / "b.h5", fields=FieldSpec(), grid=Grid((8,), (1.0,)), times=range(3),
        num_trajectories=2,
    ) as writer:  # fmt: skip
        writer.write(0, torch.ones(1, 3, 1, 8))
    with pytest.raises(ChecksumError, match="b.h5.partial: this file was never finished"):
        open_trajectories(tmp_path / "b.h5.partial")


def test_files_of_others_have_none(path):
    with h5py.File(path, "a") as file:
        del file["pdesurrogates"]
    file = open_trajectories(path)
    assert not file.has_checksums
    file.verify(0)
    assert "none in this file" in inspect_file(path, verify=True).text()
