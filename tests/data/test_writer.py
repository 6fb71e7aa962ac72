"""The writer: same bytes whether interrupted or not, and nothing half-written under the name."""

import hashlib
import json
import multiprocessing
import signal
import time

import numpy as np
import pytest
import torch

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.data import TrajectoryWriter, open_trajectories, write_trajectories


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
