"""Chunks on several processes: the same bytes, whoever solves them and whoever dies."""

import hashlib
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch
import yaml

from pdesurrogates.core import Grid
from pdesurrogates.data import TrajectoryWriter
from pdesurrogates.equations import Burgers
from pdesurrogates.reference import GenerationError, RandomFourierSeries, Recipe, generate

RECIPE = {
    "name": "flow",
    "equation": {
        "class_path": "pdesurrogates.equations.KuramotoSivashinsky",
    },
    "grid": {"num_points": [64], "extent": [32.0]},
    "dt": 0.5,
    "num_steps": 20,
    "num_trajectories": 23,
    "parameters": {"fourth_order": {"low": 0.9, "high": 1.1}},
    "burn_in": 20.0,
    "solver_dt": 0.05,
    "chunk": 2,
    "seed": 3,
}
# A chunk takes long enough to be killed in the middle.
LONG = {**RECIPE, "solver_dt": 0.01}
NUM_CHUNKS = 12
DASK = [sys.executable, "-m", "dask"]
SCRIPT = """
import sys, time
from pdesurrogates.reference import generate

def tell(starts):
    for start in starts:
        print(start, flush=True)
        yield start

generate(sys.argv[1], sys.argv[2], workers=2, progress=tell)
"""


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def worker_processes(process):
    return [
        child
        for child in process.children(recursive=True)
        if any("spawn_main" in word for word in child.cmdline())
    ]


def listening(process):
    """Addresses on which a process and its children accept connections."""
    return {
        connection.laddr.ip
        for each in (process, *process.children(recursive=True))
        for connection in each.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return digest(generate(RECIPE, tmp_path_factory.mktemp("here") / "flow.hdf5"))


@pytest.fixture(scope="module")
def expected_long(tmp_path_factory):
    return digest(generate(LONG, tmp_path_factory.mktemp("here") / "flow.hdf5"))


def test_bytes_do_not_depend_on_threads_or_default_precision(expected, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    torch.set_default_dtype(torch.float32)
    assert digest(generate(RECIPE, tmp_path / "a.hdf5")) == expected
    assert torch.get_num_threads() == 3 and torch.get_default_dtype() == torch.float32
    torch.set_num_threads(threads)


def test_two_workers_write_the_same_bytes(expected, tmp_path):
    seen, heard = [], set()

    def watch(starts):
        assert len(starts) == NUM_CHUNKS
        for start in starts:
            seen.append(start)
            heard.update(listening(psutil.Process()))
            yield start

    path = generate(RECIPE, tmp_path / "a.hdf5", workers=2, progress=watch)
    assert digest(path) == expected
    assert sorted(seen) == list(range(0, 23, 2))
    assert heard == {"127.0.0.1"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.hdf5"]


@pytest.mark.slow
def test_one_worker_writes_the_same_bytes(expected, tmp_path):
    assert digest(generate(RECIPE, tmp_path / "a.hdf5", workers=1)) == expected


@pytest.mark.slow
def test_a_killed_worker_only_repeats_its_chunk(expected_long, tmp_path, monkeypatch):
    written = []
    write = TrajectoryWriter.write

    def recorded(self, start, states, **options):
        written.append(start)
        write(self, start, states, **options)

    monkeypatch.setattr(TrajectoryWriter, "write", recorded)
    killed = []

    def kill_one(starts):
        for n, start in enumerate(starts):
            if n in (0, 4):
                victim = worker_processes(psutil.Process())[0]
                victim.send_signal(signal.SIGKILL)
                killed.append(victim.pid)
            yield start

    path = generate(LONG, tmp_path / "a.hdf5", workers=2, progress=kill_one)
    assert len(set(killed)) == 2
    assert digest(path) == expected_long
    assert sorted(written) == list(range(0, 23, 2))


@pytest.mark.slow
def test_a_killed_client_leaves_no_processes_and_is_continued(expected_long, tmp_path):
    recipe, path = tmp_path / "recipe.yaml", tmp_path / "a.hdf5"
    recipe.write_text(yaml.safe_dump(LONG, sort_keys=True), encoding="utf-8")
    client = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(recipe), str(path)], stdout=subprocess.PIPE, text=True
    )
    for _ in range(3):
        assert client.stdout.readline().strip().isdigit()
    workers = worker_processes(psutil.Process(client.pid))
    assert len(workers) == 2
    client.send_signal(signal.SIGKILL)
    client.wait()
    assert not path.exists() and path.with_name("a.hdf5.partial").exists()
    solved = []

    def watch(starts):
        for start in starts:
            solved.append(time.monotonic())
            yield start

    generate(recipe, path, workers=0, progress=watch)
    assert len(solved) == NUM_CHUNKS
    assert digest(path) == expected_long
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert not alive


@pytest.fixture
def cluster(tmp_path):
    """A scheduler of its own: its address, a list of processes, and how to add a worker."""
    where = tmp_path / "scheduler.json"
    words = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    scheduler = subprocess.Popen(
        [*DASK, *words, "--scheduler-file", str(where)], stderr=subprocess.DEVNULL
    )
    processes = [scheduler]

    def add_worker():
        words = ["worker", "--scheduler-file", str(where), "--nthreads", "1", "--no-nanny"]
        processes.append(
            subprocess.Popen(
                [*DASK, *words, "--no-dashboard", "--local-directory", str(tmp_path)],
                stderr=subprocess.DEVNULL,
                env={**os.environ, "OMP_NUM_THREADS": "2"},
            )
        )

    try:
        while not where.exists():
            time.sleep(0.1)
        add_worker()
        yield yaml.safe_load(where.read_text())["address"], processes, add_worker
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_an_existing_scheduler_whose_workers_come_and_go(expected_long, cluster, tmp_path):
    address, processes, add_worker = cluster

    def come_and_go(starts):
        for n, start in enumerate(starts):
            if n == 1:
                add_worker()
                processes[1].kill()
            yield start

    path = generate(LONG, tmp_path / "a.hdf5", scheduler=address, progress=come_and_go)
    assert digest(path) == expected_long


@pytest.mark.slow
def test_a_scheduler_that_dies_is_named_and_another_continues(expected_long, cluster, tmp_path):
    address, processes, _ = cluster
    path = tmp_path / "a.hdf5"

    def kill_scheduler(starts):
        for n, start in enumerate(starts):
            if n == 2:
                processes[0].kill()
            yield start

    with pytest.raises(ConnectionError, match="the connection to the Dask scheduler is lost"):
        generate(LONG, path, scheduler=address, progress=kill_scheduler)
    assert not path.exists()
    assert digest(generate(LONG, path)) == expected_long


def failing(broken, value):
    """Sine waves, and something else for some trajectories."""

    def draw(grid, number, *, num_channels, seed, first):
        states = RandomFourierSeries()(grid, number, num_channels=1, seed=seed, first=first)
        for index in range(number):
            if first + index in broken:
                states[index] *= value
        return states

    return Recipe(
        Burgers(0.05),
        Grid((32,), (1.0,)),
        dt=0.1,
        num_steps=3,
        num_trajectories=10,
        initial_condition=draw,
        solver_dt=0.02,
        chunk=2,
    )


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_blow_up_names_its_trajectories_and_keeps_the_rest(tmp_path, workers):
    path = tmp_path / "a.hdf5"
    recipe = failing({3, 8}, 1e8)
    text = (
        r"2 chunks .* a.hdf5, trajectories 2 .. 3: .* sample 1, .*trajectories 8 .. 9: .*sample 0"
    )
    with pytest.raises(GenerationError, match=text) as stop:
        generate(recipe, path, workers=workers)
    assert "solve(Burgers)" in str(stop.value) and "Traceback" in stop.value.__notes__[0]
    assert not path.exists()
    progress = yaml.safe_load(path.with_name("a.hdf5.partial.progress").read_text())
    done = [frames for count, frames in progress["frames_done"] for _ in range(count)]
    assert done == [4, 4, 0, 0, 4, 4, 4, 4, 0, 0]


def test_what_would_go_wrong_for_all_stops_at_once(tmp_path):
    count = []

    def draw(grid, number, *, num_channels, seed, first):
        count.append(first)
        return torch.full((number, 1, 32), float("nan"))

    recipe = failing(set(), 1.0)
    object.__setattr__(recipe, "initial_condition", draw)
    with pytest.raises(GenerationError, match=r"1 chunk could .* 0 .. 1: .*must be finite"):
        generate(recipe, tmp_path / "a.hdf5")
    assert count == [0]


def test_a_chunk_has_one_thread_and_its_own_default_precision(tmp_path):
    found = set()

    def draw(grid, number, *, num_channels, seed, first):
        found.add((torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()))
        return RandomFourierSeries()(grid, number, num_channels=1, seed=seed, first=first)

    recipe = failing(set(), 1.0)
    object.__setattr__(recipe, "initial_condition", draw)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.set_default_dtype(torch.float32)
    generate(recipe, tmp_path / "a.hdf5")
    assert found == {(1, torch.float64, False)}
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)


def test_wrong_workers_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`workers` must not be negative"):
        generate(RECIPE, tmp_path / "a.hdf5", workers=-1)
    with pytest.raises(ValueError, match="give `workers` .* or `scheduler`"):
        generate(RECIPE, tmp_path / "a.hdf5", workers=1, scheduler="tcp://127.0.0.1:1")


@pytest.mark.slow
def test_a_scheduler_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="no Dask scheduler answers at tcp://127.0.0.1:1"):
        generate(RECIPE, tmp_path / "a.hdf5", scheduler="tcp://127.0.0.1:1")
