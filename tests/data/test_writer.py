"""The writer: same bytes whether interrupted or not, and nothing half-written under the name."""

import errno
import hashlib
import json
import multiprocessing
import os
import resource
import signal
import time

import h5py
import numpy as np
import pytest
import torch

from pdesurrogates.core import Dirichlet, FieldSpec, Grid, Neumann, Outflow, Periodic
from pdesurrogates.data import (
    StretchedGrid,
    TrajectoryWriter,
    open_trajectories,
    write_trajectories,
)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def generate(path):
    """Sixty trajectories, each in two pieces: the kind of loop that gets killed."""
    with TrajectoryWriter(
        path, fields=FieldSpec(("u", "v")), grid=Grid((32,), (1.0,)),
        times=[0.1 * n for n in range(50)], num_trajectories=60, parameters={"nu": 0.1},
        attributes={"recipe": "r"}, fingerprint="f",
    ) as writer:  # fmt: skip
        for i in range(60):
            u = torch.randn(1, 50, 2, 32, generator=torch.Generator().manual_seed(i))
            for first in range(writer.frames_done(i), 50, 25):
                writer.write(i, u[:, first : first + 25], first_time=first)
        writer.finish()


def frames_noted(path):
    """Frames that the progress note beside an unfinished file says are done."""
    note = path.with_name(path.name + ".partial.progress")
    if not note.exists():
        return 0
    return sum(count * frames for count, frames in json.loads(note.read_text())["frames_done"])


def test_killed_at_random_moments_gives_the_same_bytes(tmp_path):
    whole, broken = tmp_path / "whole.h5", tmp_path / "broken.h5"
    generate(tmp_path / "warm_up.h5")
    begin = time.perf_counter()  # only to choose moments for the kills
    generate(whole)
    duration = time.perf_counter() - begin
    rng, kills, noted = np.random.default_rng(0), 0, [0]
    while not broken.exists() and kills < 12:
        process = multiprocessing.get_context("fork").Process(target=generate, args=(broken,))
        process.start()
        time.sleep(rng.uniform(0.0, duration / 4))
        process.kill()
        process.join()
        kills += 1
        if process.exitcode == -signal.SIGKILL and not broken.exists():
            noted.append(frames_noted(broken))
    if not broken.exists():
        generate(broken)
    assert kills and noted == sorted(noted), (kills, noted)
    assert sha256(whole) == sha256(broken)
    left = {p.name for p in tmp_path.iterdir()}
    assert left <= {"broken.h5", "whole.h5", "warm_up.h5", "broken.h5.partial.progress"}


def options(**changes):
    return {
        "fields": FieldSpec(("u",)),
        "grid": Grid((8,), (1.0,)),
        "times": [0.0, 0.5, 1.0],
        "num_trajectories": 3,
        "fingerprint": "a",
        **changes,
    }


def test_interrupted_writer_continues(tmp_path):
    u = torch.randn(3, 3, 1, 8)
    path, other = tmp_path / "a.h5", tmp_path / "b.h5"
    with TrajectoryWriter(path, **options()) as writer:
        writer.write(1, u[1:2])
        writer.write(0, u[:1, :2])
        assert writer.completed == {1} and writer.frames_done(0) == 2
    assert not path.exists()
    with TrajectoryWriter(path, **options()) as writer:
        assert writer.completed == {1} and writer.frames_done(0) == 2
        with pytest.raises(
            ValueError, match="2 of 3 trajectories are not complete, the first is 0"
        ):
            writer.finish()
        writer.write(0, u[:1, 2:], first_time=2)
        writer.write(2, u[2:])
        writer.finish()
    with TrajectoryWriter(other, **options()) as writer:
        writer.write(0, u)
        time.sleep(1.1)
        writer.finish()
    assert sha256(path) == sha256(other)
    assert torch.equal(open_trajectories(path).read(0), u[0].float())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.h5", "b.h5"]


def test_other_arguments_are_refused_by_name(tmp_path):
    path = tmp_path / "a.h5"
    with TrajectoryWriter(path, **options()) as writer:
        writer.write(0, torch.zeros(1, 3, 1, 8))
    with pytest.raises(ValueError, match="fingerprint is 'a' there, 'b' here.*delete .*partial"):
        TrajectoryWriter(path, **options(fingerprint="b"))
    with pytest.raises(ValueError, match="num_trajectories is 3 there, 4 here"):
        TrajectoryWriter(path, **options(num_trajectories=4))
    with TrajectoryWriter(path, **options(fingerprint="b"), overwrite=True) as writer:
        assert writer.completed == set()


def test_a_partial_file_without_states_is_replaced(tmp_path):
    path = tmp_path / "a.h5"
    TrajectoryWriter(path, **options()).close()
    with TrajectoryWriter(path, **options(fingerprint="b")) as writer:
        assert not writer.completed


def test_a_folder_is_refused_before_any_work(tmp_path):
    with pytest.raises(ValueError, match="this is a folder"):
        TrajectoryWriter(tmp_path, **options(), overwrite=True)


def test_one_writer_at_a_time(tmp_path):
    with (
        TrajectoryWriter(tmp_path / "a.h5", **options()),
        pytest.raises(ValueError, match="another process is writing a.h5.partial"),
    ):
        TrajectoryWriter(tmp_path / "a.h5", **options())


def test_existing_file_is_kept(tmp_path):
    path, u = tmp_path / "a.h5", torch.randn(3, 3, 1, 8)
    keep = {k: v for k, v in options().items() if k not in ("num_trajectories", "fingerprint")}
    write_trajectories(path, u, **keep)
    before = sha256(path)
    with pytest.raises(ValueError, match="exists and is not overwritten.*overwrite=True"):
        write_trajectories(path, u + 1, **keep)
    assert sha256(path) == before
    write_trajectories(path, u + 1, **keep, overwrite=True)
    assert torch.equal(open_trajectories(path).read(0), (u[0] + 1).float())


def test_wrong_input_is_refused(tmp_path):
    path = tmp_path / "a.h5"
    with TrajectoryWriter(path, **options()) as writer:
        with pytest.raises(ValueError, match=r"shape \(n, time, channel, \*space\)"):
            writer.write(0, torch.zeros(1, 3, 2, 8))
        with pytest.raises(ValueError, match="do not lie in 3 trajectories of 3 frames"):
            writer.write(2, torch.zeros(2, 3, 1, 8))
        with pytest.raises(ValueError, match="frames must be written in order"):
            writer.write(0, torch.zeros(1, 1, 1, 8), first_time=1)
    with pytest.raises(ValueError, match="must increase strictly"):
        TrajectoryWriter(tmp_path / "b.h5", **options(times=[0.0, 1.0, 1.0]))
    with pytest.raises(ValueError, match="dtype must be"):
        TrajectoryWriter(tmp_path / "b.h5", **options(), dtype="float16")
    with pytest.raises(ValueError, match="attribute 'n_trajectories' is reserved"):
        TrajectoryWriter(tmp_path / "b.h5", **options(), attributes={"n_trajectories": 1})
    with pytest.raises(
        ValueError, match="parameter 'nu' must be one number or one per trajectory"
    ):
        TrajectoryWriter(tmp_path / "b.h5", **options(), parameters={"nu": [1.0, 2.0]})
    with pytest.raises(ValueError, match="does not exist; create it"):
        TrajectoryWriter(tmp_path / "no" / "b.h5", **options())
    with pytest.raises(ValueError, match=r"\(trajectory, time, channel, \*space\)"):
        write_trajectories(
            path, torch.zeros(1, 2, 1, 8), fields=FieldSpec(), grid=Grid((8,), (1.0,)), times=[0.0]
        )


def test_times_may_differ_between_trajectories(tmp_path):
    times = torch.tensor([[0.0, 0.1, 0.2], [0.0, 0.2, 0.4], [1.0, 1.3, 1.6]], dtype=torch.float64)
    with TrajectoryWriter(tmp_path / "a.h5", **options(times=times)) as writer:
        writer.write(0, torch.randn(3, 3, 1, 8))
        path = writer.finish()
    file = open_trajectories(path)
    assert torch.equal(file.times, times)
    assert file.time_step(1) == pytest.approx(0.2, rel=1e-15)
    assert file.times_of(2).tolist() == [1.0, 1.3, 1.6]


def test_a_finished_file_is_recognised(tmp_path):
    path, u = tmp_path / "a.h5", torch.randn(3, 3, 1, 8)
    with TrajectoryWriter(path, **options()) as writer:
        assert not writer.is_finished
        writer.write(0, u)
        writer.finish()
    # As a kill between the last two steps of finish() leaves it.
    note = tmp_path / "a.h5.partial.progress"
    note.write_text("{}")
    before = sha256(path)
    with TrajectoryWriter(path, **options()) as writer:
        assert writer.is_finished and writer.completed == {0, 1, 2} and writer.frames_done(2) == 3
        assert writer.finish() == path
        with pytest.raises(ValueError, match="the file is finished"):
            writer.write(0, u)
    assert sha256(path) == before and not note.exists()
    for change in ({"fingerprint": "b"}, {"fingerprint": ""}, {"times": [0.0, 0.5, 1.5]}):
        with pytest.raises(ValueError, match="exists and is not overwritten"):
            TrajectoryWriter(path, **options(**change))
    with TrajectoryWriter(path, **options(), overwrite=True) as writer:
        assert writer.completed == set()


def test_a_session_is_not_in_the_file_but_guards_it(tmp_path):
    u = torch.randn(3, 3, 1, 8)
    for name, session in (("a.h5", "monday"), ("b.h5", "tuesday")):
        with TrajectoryWriter(tmp_path / name, **options(), session=session) as writer:
            writer.write(0, u[:1])
        with pytest.raises(ValueError, match=f"session is '{session}' there, 'later' here"):
            TrajectoryWriter(tmp_path / name, **options(), session="later")
        with TrajectoryWriter(tmp_path / name, **options(), session=session) as writer:
            writer.write(0, u)
            writer.finish()
    assert sha256(tmp_path / "a.h5") == sha256(tmp_path / "b.h5")


BOX = Grid((4, 6), (1.0, 2.0), periodic=(True, False))
FLOW = FieldSpec(("p", "u_x", "u_y"))


@pytest.mark.parametrize(
    ("given", "returned", "groups"),
    [
        (None, None, {"x_periodic": ("periodic", [], [True, True], None)}),
        (
            Neumann(0.25),
            ((Periodic(), Periodic()), (Neumann(0.25), Neumann(0.25))),
            {"y_wall_neumann": ("wall", [], [True, True], None)},
        ),
        (
            [Periodic(), (Dirichlet(0.5), Outflow())],
            ((Periodic(), Periodic()), (Dirichlet(0.5), Outflow())),
            {
                "y_wall_dirichlet": ("wall", ["p", "u_x", "u_y"], [True, False], [0.5]),
                "y_open_outflow": ("open", [], [False, True], None),
            },
        ),
        (
            {"p": Outflow(), "u": [Periodic(), Dirichlet((1 / 3, 2.0))]},
            {
                "p": ((Periodic(), Periodic()), (Outflow(), Outflow())),
                "u_x": ((Periodic(), Periodic()), (Dirichlet(1 / 3), Dirichlet(2.0))),
                "u_y": ((Periodic(), Periodic()), (Dirichlet(1 / 3), Dirichlet(2.0))),
            },
            {
                "y_open_outflow": ("open", ["p"], [True, True], None),
                "y_wall_dirichlet": ("wall", ["u_x", "u_y"], [True, True], [1 / 3, 2.0]),
            },
        ),
        (
            {"p": Neumann(), "u_x": Dirichlet(0.0), "u_y": Dirichlet(1.0)},
            None,
            {
                "y_wall_neumann": ("wall", ["p"], [True, True], None),
                "y_wall_dirichlet": ("wall", ["u_x"], [True, True], [0.0, 0.0]),
                "y_wall_dirichlet_2": ("wall", ["u_y"], [True, True], [1.0, 1.0]),
            },
        ),
    ],
)
def test_boundaries_are_kept_exactly_and_as_groups(tmp_path, given, returned, groups):
    path = write_trajectories(
        tmp_path / "a.h5", torch.randn(2, 3, 3, 4, 6), fields=FLOW, grid=BOX, times=range(3),
        boundaries=given,
    )  # fmt: skip
    found = open_trajectories(path).boundary
    if returned is not None or given is None:
        assert found == returned
    with h5py.File(path) as file:
        conditions = file["boundary_conditions"]
        expected = {"x_periodic": ("periodic", [], [True, True], None), **groups}
        assert set(conditions) == set(expected)
        for name, (word, fields, at_ends, values) in expected.items():
            group = conditions[name]
            assert group.attrs["bc_type"] == word
            assert list(group.attrs["associated_dims"]) == [name[0]]
            assert list(group.attrs["associated_fields"]) == fields
            assert group["mask"][[0, -1]].tolist() == at_ends and not group["mask"][1:-1].any()
            assert ("values" in group) == (values is not None)
            if values is not None:
                assert group["values"][()].tolist() == np.float32(values).tolist()
    # The conditions that were read can be written again.
    again = write_trajectories(
        tmp_path / "b.h5", torch.randn(2, 3, 3, 4, 6), fields=FLOW, grid=BOX, times=range(3),
        boundaries=found,
    )  # fmt: skip
    assert open_trajectories(again).boundary == found


def test_words_of_other_files_are_kept(tmp_path):
    words = (("periodic", "periodic"), ("wall", None))
    path = write_trajectories(
        tmp_path / "a.h5", torch.randn(2, 3, 3, 4, 6), fields=FLOW, grid=BOX, times=range(3),
        boundaries=words,
    )  # fmt: skip
    assert open_trajectories(path).boundary == words
    with h5py.File(path) as file:
        assert set(file["boundary_conditions"]) == {"x_periodic", "y_wall"}
        assert file["boundary_conditions/y_wall/mask"][()].tolist() == [True] + 5 * [False]


def test_wrong_boundaries_are_refused(tmp_path):
    keep = dict(fields=FLOW, grid=BOX, times=range(3), num_trajectories=2)
    for given, text in (
        ({"p": Outflow()}, r"not for \['u_x', 'u_y'\]"),
        ({"q": Outflow()}, "no field 'q'"),
        (Periodic(), "axis 1 of the grid has ends"),
        ([Outflow()], r"one per axis \(2\), got 1"),
        ((("wall", "wall"),), "a pair of words for each of 2 axes"),
        (Dirichlet(float("nan")), "only conditions with finite numbers can be stored"),
    ):
        with pytest.raises(ValueError, match=text):
            TrajectoryWriter(tmp_path / "a.h5", **keep, boundaries=given)
    assert list(tmp_path.iterdir()) == []


def test_periodic_files_have_periodic_ends(tmp_path):
    path = write_trajectories(
        tmp_path / "a.h5", torch.randn(2, 3, 1, 8), fields=FieldSpec(), grid=Grid((8,), (1.0,)),
        times=range(3),
    )  # fmt: skip
    assert open_trajectories(path).boundary == ((Periodic(), Periodic()),)


@pytest.mark.parametrize(
    "grid",
    [
        Grid((4, 6), (1.0, 2.0), (0.5, 0.0), (True, False), cell_centred=True),
        StretchedGrid(
            (4, 6), (1.0, 2.0), (0.0, 0.0), (True, False),
            vectors=((0.0, 0.25, 0.5, 0.75), (0.0, 0.1, 0.3, 0.7, 1.3, 2.0)),
        ),
    ],
)  # fmt: skip
def test_other_grids_survive(tmp_path, grid):
    u = torch.randn(2, 3, 3, 4, 6)
    path = write_trajectories(tmp_path / "a.h5", u, fields=FLOW, grid=grid, times=range(3))
    file = open_trajectories(path)
    assert file.grid == grid and file.grid.is_periodic == (True, False)
    for found, expected in zip(file.grid.axes(), grid.axes(), strict=True):
        assert torch.equal(found, expected)
    with h5py.File(path) as stored:
        y = stored["dimensions/y"][()]
    assert y.tolist() == grid.axes()[1].float().tolist()


@pytest.mark.parametrize("dim", [2, 3])
def test_tensor_fields(tmp_path, dim):
    axes = "xyz"[:dim]
    names = ("p", *(f"stress_{a}{b}" for a in axes for b in axes), "q_xx")
    u = torch.randn(2, 3, len(names), *(4, 5, 6)[:dim])
    path = write_trajectories(
        tmp_path / "a.h5", u, fields=FieldSpec(names), grid=Grid((4, 5, 6)[:dim], (1.0,)),
        times=range(3),
    )  # fmt: skip
    file = open_trajectories(path)
    assert file.fields.names == names and torch.equal(file.read(1), u[1].float())
    with h5py.File(path) as stored:
        assert stored["t2_fields/stress"].shape[-2:] == (dim, dim)
        assert stored["t2_fields/stress"].attrs["symmetric"] == False  # noqa: E712
        assert np.array_equal(stored["t2_fields/stress"][..., 1, 0], u[:, :, 1 + dim].float())
        assert list(stored["t0_fields"].attrs["field_names"]) == ["p", "q_xx"]


def limited(path, queue):
    """Write more than the process may; RLIMIT_FSIZE acts as a disk that is full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    u = torch.ones(1, 3, 1, 5000)
    try:
        with TrajectoryWriter(
            path, **options(grid=Grid((5000,), (1.0,)), num_trajectories=10)
        ) as writer:
            for i in range(10):
                writer.write(i, u)
    except OSError as error:
        queue.put(str(error))


def test_full_disk_keeps_what_is_there(tmp_path, monkeypatch):
    path, u = tmp_path / "a.h5", torch.randn(3, 3, 1, 8)
    with TrajectoryWriter(path, **options()) as writer:
        writer.write(0, u[:1])

        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="disk is full .*; 1 of 3 trajectories are kept in a.h5"):
            writer.write(1, u[1:])
        monkeypatch.undo()
    with TrajectoryWriter(path, **options()) as writer:
        assert writer.completed == {0}
        writer.write(0, u)
        writer.finish()
    assert torch.equal(open_trajectories(path).read(2), u[2].float())


def test_full_disk_in_earnest(tmp_path):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=limited, args=(tmp_path / "a.h5", queue))
    process.start()
    process.join()
    assert not (tmp_path / "a.h5").exists()
    assert "a.h5" in queue.get(timeout=5)


def test_too_little_room_is_said_before_any_work(tmp_path, monkeypatch):
    old = write_trajectories(
        tmp_path / "a.h5", torch.zeros(1, 2, 1, 8), fields=FieldSpec(), grid=Grid((8,), (1.0,)),
        times=range(2),
    )  # fmt: skip
    before = sha256(old)
    huge = options(num_trajectories=10**6, grid=Grid((2**24,), (1.0,)))
    with pytest.raises(OSError, match=r"needs .* GiB, but the disk of .* GiB free; free some"):
        TrajectoryWriter(old, **huge, overwrite=True)
    assert sha256(old) == before and list(tmp_path.iterdir()) == [old]


def test_unwritable_folder_is_named(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(h5py, "File", refused)
    with pytest.raises(OSError, match="cannot be created in .*Permission denied.* choose a folde"):
        TrajectoryWriter(tmp_path / "a.h5", **options())
