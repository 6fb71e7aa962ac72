"""Malformed files end in one clear error, soon, in little memory, and are never read wrongly."""

import importlib.util
import random
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.data import (
    TrajectoryWindows,
    convert,
    from_arrays,
    open_trajectories,
    write_trajectories,
)


def _beside(name):
    """A module or package in this folder."""
    path, folder = Path(__file__).with_name(f"{name}.py"), Path(__file__).with_name(name)
    where = [str(folder)] if folder.is_dir() else None
    path = folder / "__init__.py" if where else path
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=where)
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


examination, files = _beside("examination"), _beside("malformed_files")
CASES, SOUND = files.CASES, files.sound.SOUND
# Files whose every byte is under a checksum: what is not refused is right.
SEALED = ("ours", "npz", "npz_compressed", "matlab_compressed")


def job(folder, build, edit=None):
    """Examination of a file that is made in a new folder, and changed."""

    def work():
        folder.mkdir()
        path, options = build(folder)
        if edit is not None:
            path.write_bytes(edit(bytearray(path.read_bytes())))
        return examination.examine(path, options)

    return work


@pytest.fixture(scope="module")
def sound_contents(tmp_path_factory):
    """What is in every sound file."""
    folder = tmp_path_factory.mktemp("sound")
    found = examination.in_child([job(folder / name, build) for name, build in SOUND.items()])
    for name, finding in zip(SOUND, found, strict=True):
        assert not finding.errors and not finding.ended, (name, finding)
    return {name: finding.contents for name, finding in zip(SOUND, found, strict=True)}


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    """Case to finding; all cases of a kind are examined when the first is asked for."""
    known = {}

    def find(case):
        if case.name not in known:
            folder = tmp_path_factory.mktemp(case.kind)
            kind = [other for other in CASES.values() if other.kind == case.kind]
            found = examination.in_child([job(folder / one.name, one.build) for one in kind])
            known.update(zip((one.name for one in kind), found, strict=True))
            for attempt in range(2):  # the machine may have been busy
                slow = [one for one in kind if is_late(known[one.name])]
                jobs = [job(folder / f"{one.name}{attempt}", one.build) for one in slow]
                known.update(
                    zip((one.name for one in slow), examination.in_child(jobs), strict=True)
                )
        return known[case.name]

    return find


LIMIT_SECONDS, LIMIT_BYTES = examination.LIMIT_SECONDS, examination.LIMIT_BYTES


def is_late(found):
    return found.ended == "hang" or found.seconds > LIMIT_SECONDS


def check_end(found):
    """The process survived, in time and memory, and every error says which file."""
    assert not found.ended, found.ended
    assert found.seconds < LIMIT_SECONDS
    assert found.peak_bytes < LIMIT_BYTES
    assert not found.strange
    assert all(found.path in text for text in found.errors.values()), found.errors


def test_there_are_many():
    kinds = Counter(case.kind for case in CASES.values())
    assert set(kinds) == {
        *("cut", "bit", "size", "link", "type", "axis", "mixed", "values", "other")
    }
    assert min(kinds.values()) >= 15 and len(CASES) >= 60


@pytest.mark.parametrize("name", CASES)
def test_malformed(name, findings, sound_contents):
    case = CASES[name]
    found = findings(case)
    check_end(found)
    if found.refusal:
        assert case.kind != "values"
        assert re.search(case.names, found.refusal), found.refusal
    elif case.kind == "values":
        assert "NaN or Inf" in found.inspected
    else:
        assert case.may_be_read and found.contents == sound_contents[case.origin]


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("npz_of_objects", "npy_of_objects"):
        path, options = CASES[name].build(tmp_path)
        with pytest.raises(ValueError, match=re.escape(str(path))):
            open_trajectories(path, **options)
        assert not Path("trapped").exists()
    np.load(path, allow_pickle=True)  # the trap works
    assert Path("trapped").exists()


def flips(name, count, folder):
    """Examinations of a sound file with one flipped bit each, at seeded places."""
    rng = random.Random(name)

    jobs = []
    for number in range(count):
        place, bit = rng.random(), rng.randrange(8)
        jobs.append(
            job(
                folder / f"{name}{number}",
                SOUND[name],
                lambda content, place=place, bit=bit: files.flipped(
                    content, int(place * len(content)), bit
                ),
            )
        )
    return jobs


def check_flips(name, count, folder, whole):
    for found in examination.in_child(flips(name, count, folder)):
        check_end(found)
        if name in SEALED:
            assert found.refusal or found.contents == whole


@pytest.mark.parametrize("name", SOUND)
def test_flipped_bits(name, tmp_path, sound_contents):
    check_flips(name, 20 if name == "ours" else 4, tmp_path, sound_contents[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", SOUND)
def test_many_flipped_bits(name, tmp_path, sound_contents):
    check_flips(name, 200 if name == "ours" else 40, tmp_path, sound_contents[name])


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.kind == "values"])
def test_nothing_is_trained_on_numbers_that_are_none(name, tmp_path):
    path, options = CASES[name].build(tmp_path)
    file = open_trajectories(path, **options)
    text = rf"{path.name}, trajectory 1: values must be finite, got (nan|inf) in field '\w+' at "
    with pytest.raises(ValueError, match=text + "frame 2"):
        TrajectoryWindows(file).check()
    with pytest.raises(ValueError, match=text + "frame 2"):
        TrajectoryWindows(file)[file.num_times - 1]
    TrajectoryWindows(file, trajectories=[0]).check()


LATE = (
    "ours_number",
    "compressed_chunk_of_the_well",
    "reaction_trajectory_of_text",
    "sorption_trajectory_at_other_times",
    "sorption_trajectory_with_fewer_points",
)


@pytest.mark.parametrize("name", LATE)
def test_converting_leaves_what_was_there(name, tmp_path, findings):
    """Damage that shows late: nothing gets the final name, and what has it stays."""
    assert "open" not in findings(CASES[name]).errors
    path, options = CASES[name].build(tmp_path)
    fresh, earlier = tmp_path / "fresh.h5", tmp_path / "earlier.h5"
    write_trajectories(
        earlier,
        torch.ones(1, 2, 1, 8),
        fields=FieldSpec(),
        grid=Grid((8,), (1.0,)),
        times=[0.0, 1.0],
    )
    before = earlier.read_bytes()
    for target, overwrite in ((fresh, False), (earlier, True)):
        with pytest.raises(ValueError, match=re.escape(str(path))):
            convert(path, target, overwrite=overwrite, **options)
    assert not fresh.exists() and earlier.read_bytes() == before


@pytest.mark.parametrize(
    "change, message",
    [
        ({"times": [0.0, np.nan, 0.2]}, "time must be finite"),
        ({"times": [0.0, 0.2, 0.1]}, "time must increase"),
        ({"times": [0.0, 0.1]}, "`times` must have shape"),
        ({"dt": -0.1, "times": None}, "`dt` must be positive"),
        ({"dt": np.nan, "times": None}, "`dt` must be positive"),
        ({"coordinates": {"x": np.full(8, np.nan)}}, "x must be finite"),
        ({"coordinates": {"x": np.zeros(8)}}, "x must increase"),
        ({"coordinates": {"x": np.arange(7.0)}}, "7 points"),
        ({"coordinates": {"y": np.arange(8.0)}}, "lacks axis 'x'"),
        ({"extent": -1.0, "coordinates": None}, "extent"),
        ({"extent": np.nan, "coordinates": None}, "extent"),
        ({"states": np.zeros((0, 3, 8))}, "must hold numbers"),
        ({"states": np.zeros((2, 3, 8), "S1")}, "states"),
        ({"states": np.full((2, 3, 8), None)}, "states"),
        ({"axes": "trajectory time"}, "axes"),
        ({"parameters": {"nu": [1.0, 2.0, 3.0]}}, "one per trajectory"),
        ({"parameters": {"nu": "thick"}}, "nu"),
        ({"fields": ["u", "v"]}, "1 channels"),
    ],
)
def test_arrays_that_are_refused(change, message):
    given = {
        "axes": "trajectory time x",
        "times": [0.0, 0.1, 0.2],
        "coordinates": {"x": np.arange(8.0)},
        "states": np.zeros((2, 3, 8)),
    } | change
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        from_arrays(given.pop("states"), **given)
    assert "from_arrays" in str(caught.value) or "Grid" in str(caught.value)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"states": torch.zeros(2, 3, 1, 7)}, "states"),
        ({"states": torch.zeros(0, 3, 1, 8)}, "num_trajectories"),
        ({"states": torch.zeros(2, 3, 1, 8, dtype=torch.complex64)}, "real"),
        ({"times": [0.0, np.nan, 0.2]}, "time must be finite"),
        ({"times": [0.0, 0.1]}, "states"),
        ({"parameters": {"nu": [1.0, 2.0, 3.0]}}, "nu"),
        ({"dtype": "float16"}, "dtype"),
        ({"attributes": {"grid_type": "round"}}, "reserved"),
        ({"boundaries": "wall"}, "bound"),
    ],
)
def test_writing_what_is_refused_leaves_what_was_there(change, message, tmp_path):
    given = {
        "states": torch.ones(2, 3, 1, 8),
        "fields": FieldSpec(),
        "times": [0.0, 0.1, 0.2],
        "grid": Grid((8,), (1.0,), periodic=False),
    }
    path = write_trajectories(tmp_path / "a.h5", **given)
    before = path.read_bytes()
    for target in (path, tmp_path / "b.h5"):
        with pytest.raises((ValueError, TypeError), match=message) as caught:
            write_trajectories(target, **(given | change), overwrite=True)
        assert str(target) in str(caught.value) or "TrajectoryWriter" in str(caught.value)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["a.h5"]
