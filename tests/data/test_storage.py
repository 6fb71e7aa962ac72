"""Blocks with named axes: every order, every storage, every process; and what they refuse."""

import itertools
import multiprocessing
import pickle

import h5py
import numpy as np
import pytest
import torch

from pdesurrogates.data.handle import FileHandle
from pdesurrogates.data.storage import ArrayBlock

SIZES = {"trajectory": 3, "time": 5, "x": 4, "y": 6, "channel": 2, "single": 1}
ROWS, STARTS, LENGTH = [2, 0, 2], [1, 2, 0], 3


def numbered(axes, dtype="f4"):
    """Values that tell where they are: digits (trajectory, time, channel, x, y)."""
    weights = {"trajectory": 10000, "time": 1000, "channel": 100, "x": 10, "y": 1, "single": 0}
    index = np.indices([SIZES[axis] for axis in axes])
    return sum(weights[axis] * i for axis, i in zip(axes, index, strict=True)).astype(dtype)


def expected(axes, channels=2):
    """The windows by the same digits, absent axes counting as 0."""
    has = {axis: int(axis in axes) for axis in SIZES}
    out = np.empty((len(ROWS), LENGTH, channels if has["channel"] else 1, 4, 6))
    for b, i, c, x, y in np.ndindex(*out.shape):
        out[b, i, c, x, y] = (
            10000 * ROWS[b] * has["trajectory"]
            + 1000 * (STARTS[b] + i) * has["time"]
            + 100 * c
            + 10 * x * has["x"]
            + y * has["y"]
        )
    return out


def block(path, axes, *, key="u", **options):
    options = {"space": (4, 6), "num_times": 5, **options}
    return ArrayBlock(FileHandle(path), key, axes, **options)


@pytest.mark.parametrize("stored", ["f4", ">f8"])
def test_every_order_of_the_axes(tmp_path, stored):
    """One word per axis, all 120 orders, in one file; '>f8' goes through h5py."""
    names = ("trajectory", "time", "channel", "x", "y")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for number, axes in enumerate(itertools.permutations(names)):
            file[str(number)] = numbered(axes, stored)
    handle = FileHandle(tmp_path / "a.h5")
    for number, axes in enumerate(itertools.permutations(names)):
        found = ArrayBlock(handle, str(number), axes, space=(4, 6), num_times=5)
        windows = found.gather(ROWS, STARTS, LENGTH)
        assert windows.is_contiguous() and found.num_trajectories == 3
        assert windows.dtype == (torch.float32 if stored == "f4" else torch.float64)
        assert np.array_equal(windows, expected(axes)), axes


@pytest.mark.parametrize(
    "axes",
    [
        axes
        for n in range(5)
        for axes in itertools.combinations(("trajectory", "time", "x", "y", "channel"), n)
        if axes
    ]
    + [("single", "trajectory", "time", "single", "x", "y", "single")],
    ids=" ".join,
)
@pytest.mark.parametrize("storage", [{}, {"chunks": True, "compression": "gzip"}], ids=str)
def test_absent_axes_are_broadcast(tmp_path, axes, storage):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("u", data=numbered(axes), **storage)
    windows = block(tmp_path / "a.h5", axes).gather(ROWS, STARTS, LENGTH)
    assert np.array_equal(windows, expected(axes))


def test_repeated_axes_are_merged(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["u"] = np.arange(2 * 3 * 5 * 4 * 2 * 3.0).reshape(2, 3, 5, 4, 2, 3)
        values = file["u"][()].reshape(6, 5, 4, 6)
    axes = ("trajectory", "trajectory", "time", "x", "channel", "channel")
    found = block(tmp_path / "a.h5", axes, space=(4,))
    assert found.num_channels == 6 and found.num_trajectories == 6
    assert np.array_equal(found.gather([4], [1], 4)[0], values[4, 1:].transpose(0, 2, 1))


@pytest.mark.parametrize(
    "axes", [("trajectory", "time", "channel", "x", "y"), ("channel", "y", "time", "x")]
)
@pytest.mark.parametrize("channels", [[1], [2, 0], slice(1, 3), slice(0, 3, 2), [0, 1, 2]])
def test_some_channels(tmp_path, monkeypatch, axes, channels):
    monkeypatch.setitem(SIZES, "channel", 3)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["u"] = numbered(axes)
    found = block(tmp_path / "a.h5", axes, channels=channels)
    picked = list(range(3))[channels] if isinstance(channels, slice) else channels
    assert found.num_channels == len(picked)
    assert np.array_equal(found.gather(ROWS, STARTS, LENGTH), expected(axes, 3)[:, :, picked])


@pytest.mark.parametrize("axes", [("time", "x", "y"), ("y", "time", "x")])
@pytest.mark.parametrize("chunks", [None, True])
def test_later_frames_and_one_data_set_per_trajectory(tmp_path, axes, chunks):
    """Frames before the offset and after the last are not read; groups may differ in length."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for i in range(3):
            values = numbered(axes) + 10000 * i
            more = np.full([1 if axis == "time" else SIZES[axis] for axis in axes], -1.0)
            stored = np.concatenate([more, values] + [more] * i, axes.index("time"))
            file.create_dataset(f"{i}/u", data=stored.astype("f4"), chunks=chunks)
    keys = [f"{i}/u" for i in range(3)]
    found = block(tmp_path / "a.h5", axes, key=keys, time_offset=1)
    assert found.num_trajectories == 3
    windows = found.gather(ROWS, STARTS, LENGTH)
    assert np.array_equal(windows, expected(("trajectory", *axes)))


def test_types(tmp_path):
    """What fits float32 exactly is float32, all else float64."""
    kinds = {"f2": 4, "f4": 4, "f8": 8, "bool": 4, "i1": 4, "u2": 4, "i4": 8, "u8": 8}
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for kind in kinds:
            file[kind] = numbered(("time", "x")).clip(0, 1).astype(kind)
    for kind, size in kinds.items():
        found = block(tmp_path / "a.h5", ("time", "x"), key=kind, space=(4,))
        assert found.dtype.itemsize == size
        assert found.gather([0], [0], 1)[0, 0, 0].tolist() == [0, 1, 1, 1]


def read_in_child(found, queue):
    queue.put(found.gather(ROWS, STARTS, LENGTH).numpy().tobytes())


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("chunks", [None, True])
def test_processes(tmp_path, method, chunks):
    """The block has been read here; a child opens the file again, however it was started."""
    axes = ("trajectory", "time", "channel", "x", "y")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("u", data=numbered(axes), chunks=chunks)
    found = block(tmp_path / "a.h5", axes)
    here = found.gather(ROWS, STARTS, LENGTH)
    context = multiprocessing.get_context(method)
    queue = context.SimpleQueue()
    child = context.Process(target=read_in_child, args=(found, queue))
    child.start()
    assert queue.get() == here.numpy().tobytes()
    child.join()
    assert child.exitcode == 0
    assert torch.equal(found.gather(ROWS, STARTS, LENGTH), here)
    assert torch.equal(pickle.loads(pickle.dumps(found)).gather(ROWS, STARTS, LENGTH), here)


def is_opened_anew(handle, before, queue):
    queue.put(handle.file() is not before)


def test_a_forked_process_opens_the_file_anew(tmp_path):
    """HDF5's own state must not be shared with the parent, even where that seems to work."""
    h5py.File(tmp_path / "a.h5", "w").close()
    handle = FileHandle(tmp_path / "a.h5")
    before = handle.file()
    assert handle.file() is before
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=is_opened_anew, args=(handle, before, queue))
    child.start()
    assert queue.get()
    child.join()


def test_an_address(tmp_path):
    """fsspec opens it; the same values as from a path."""
    fsspec = pytest.importorskip("fsspec")
    axes = ("trajectory", "time", "channel", "x", "y")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["u"] = numbered(axes)
    with fsspec.open("memory://folder/a.h5", "wb") as target:
        target.write((tmp_path / "a.h5").read_bytes())
    found = block("memory://folder/a.h5", axes)
    assert np.array_equal(found.gather(ROWS, STARTS, LENGTH), expected(axes))
    found = pickle.loads(pickle.dumps(found))
    assert np.array_equal(found.gather(ROWS, STARTS, LENGTH), expected(axes))


@pytest.mark.parametrize(
    "axes, options, message",
    [
        (
            ("trajectory", "time", "y", "x"),
            {},
            r"a.h5: u with axes .* must have 6 entries along y",
        ),
        (("trajectory", "time", "x"), {}, r"must have axes \(trajectory, time, x\), got shape"),
        (("trajectory", "time", "x", "y"), {"num_times": 6}, "6 entries along time or more"),
        (("trajectory", "time", "x", "y"), {"time_offset": 1}, "6 entries along time or more"),
        (("trajectory", "single", "x", "y"), {}, "1 entries along single"),
        (("trajectory", "time", "x", "z"), {}, "must name each axis"),
        (("trajectory", "time", "x", "x"), {}, "must name each axis"),
        (("trajectory", "time", "x", "y"), {"channels": [0]}, "needs one channel axis"),
        (("channel", "time", "x", "y"), {"channels": [3]}, "has 3 channels, got"),
    ],
)
def test_wrong_axes(tmp_path, axes, options, message):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["u"] = numbered(("trajectory", "time", "x", "y"))
    with pytest.raises(ValueError, match=message):
        block(tmp_path / "a.h5", axes, **options)


def test_trajectories_must_agree(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["0"], file["1"] = np.zeros((5, 4), "f4"), np.zeros((5, 3), "f4")
        file["2"], file["3"] = np.zeros((5, 4), "f8"), np.zeros((4, 4), "f4")
    keys = ["0", "1", "2", "3"]
    found = block(tmp_path / "a.h5", ("time", "x"), key=keys, space=(4,))
    for i, message in (
        (1, "1 with axes.*4 entries along x"),
        (2, "2 has shape"),
        (3, "5 entries"),
    ):
        with pytest.raises(ValueError, match=message):
            found.gather([i], [0], 1)
