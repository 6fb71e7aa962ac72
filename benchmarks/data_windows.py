"""Windows per second and memory of `TrajectoryFile`, beside loops one writes by hand.

Data set: 200 x 101 x 1024 float32, contiguous, page cache warm. Item: 20 consecutive frames;
batch 32; uniformly random. Rates are medians over passes that alternate between the candidates:
a kept h5py handle and a memory map, one slice per window copied into the batch. Data loaders run
with the default number of workers, with none and with two. Memory: resident set while every
window of a file of several gigabytes is read, and while a small network is trained on it.

Run: python benchmarks/data_windows.py [--gigabytes 4]
"""

from __future__ import annotations

import argparse
import inspect
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import torch
from harness import provenance, write_result
from torch.utils.data import DataLoader

from pdesurrogates.backbones import FNO
from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.data import TrajectoryWindows, TrajectoryWriter, open_trajectories
from pdesurrogates.steppers import RK4
from pdesurrogates.surrogates import DerivativeSurrogate
from pdesurrogates.training import TrajectoryDataModule, train

BATCH, FRAMES, NUM_TIMES, NUM_POINTS = 32, 20, 101, 1024
GOAL = 70_000
GOAL_RATIO = 0.9


def write_file(path: Path, num_trajectories: int) -> None:
    rng = np.random.default_rng(0)
    with TrajectoryWriter(
        path,
        fields=FieldSpec(("u",)),
        grid=Grid((NUM_POINTS,), (1.0,)),
        times=[0.01 * n for n in range(NUM_TIMES)],
        num_trajectories=num_trajectories,
    ) as writer:
        for start in range(0, num_trajectories, 100):
            n = min(100, num_trajectories - start)
            u = rng.standard_normal((n, NUM_TIMES, 1, NUM_POINTS), dtype=np.float32)
            writer.write(start, u)
        writer.finish()


class PlainH5py:
    """The loop one writes by hand: one kept handle, one slice per window, stacked."""

    def __init__(self, path: Path) -> None:
        self.dataset = h5py.File(path, "r")["t0_fields/u"]

    def batch(self, trajectories: list[int], starts: list[int]) -> torch.Tensor:
        return torch.from_numpy(
            np.stack(
                [
                    self.dataset[i, s : s + FRAMES]
                    for i, s in zip(trajectories, starts, strict=True)
                ]
            )
        )


class MemoryMap:
    """The fastest loop by hand: the data set mapped, one copy per window into a fresh batch."""

    def __init__(self, path: Path) -> None:
        with h5py.File(path, "r") as file:
            dataset = file["t0_fields/u"]
            offset, shape = dataset.id.get_offset(), dataset.shape
        self.states = np.memmap(path, dtype="<f4", mode="r", offset=offset, shape=shape)

    def batch(self, trajectories: list[int], starts: list[int]) -> torch.Tensor:
        batch = torch.empty((len(starts), FRAMES, 1, NUM_POINTS))
        memory = batch.numpy()
        for row, (i, s) in enumerate(zip(trajectories, starts, strict=True)):
            memory[row, :, 0] = self.states[i, s : s + FRAMES]
        return batch


def rate(batches: list, gather) -> float:
    begin = time.perf_counter()
    for trajectories, starts in batches:
        gather(trajectories, starts)
    return len(batches) * BATCH / (time.perf_counter() - begin)


def loader_rate(windows: TrajectoryWindows, num_batches: int, **workers: int) -> float:
    """Through torch's DataLoader, the start of its workers not counted."""
    order = torch.randperm(len(windows))[: num_batches * BATCH].tolist()
    loader = DataLoader(
        windows, batch_size=BATCH, sampler=order, collate_fn=TrajectoryWindows.collate, **workers
    )
    batches = iter(loader)
    next(batches)
    begin = time.perf_counter()
    count = sum(len(batch["t"]) for batch in batches)
    return count / (time.perf_counter() - begin)


def default_workers() -> int:
    """The number of workers that our own training uses unless told otherwise."""
    return inspect.signature(TrajectoryDataModule).parameters["num_workers"].default


def measure_rates(path: Path, passes: int = 9, num_batches: int = 125) -> dict[str, float]:
    rng = np.random.default_rng(1)
    file, plain, mapped = open_trajectories(path), PlainH5py(path), MemoryMap(path)
    windows = TrajectoryWindows(file, history=10, horizon=10)
    with_target = TrajectoryWindows(file, history=10, horizon=10, target_order=4)
    windows.check()
    with_target.windows_at(list(range(file.num_trajectories)), [0] * file.num_trajectories)
    rates: dict[str, list[float]] = {}
    for _ in range(passes):
        batches = [
            (
                rng.integers(0, file.num_trajectories, BATCH).tolist(),
                rng.integers(0, NUM_TIMES - FRAMES + 1, BATCH).tolist(),
            )
            for _ in range(num_batches)
        ]
        for name, result in (
            ("h5py_kept_handle", rate(batches, plain.batch)),
            ("memory_map", rate(batches, mapped.batch)),
            ("read_windows", rate(batches, lambda i, s: file.read_windows(i, s, FRAMES))),
            ("trajectory_windows", rate(batches, windows.windows_at)),
            ("trajectory_windows_with_derivative", rate(batches, with_target.windows_at)),
            (
                "data_loader_default",
                loader_rate(windows, num_batches, num_workers=default_workers()),
            ),
            ("data_loader_0_workers", loader_rate(windows, num_batches, num_workers=0)),
            ("data_loader_2_workers", loader_rate(windows, num_batches, num_workers=2)),
        ):
            rates.setdefault(name, []).append(result)
    return {name: statistics.median(values) for name, values in rates.items()}


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure_memory(path: Path) -> dict[str, float]:
    """Every window once in random order, with fourth-order targets."""
    file = open_trajectories(path)
    windows = TrajectoryWindows(file, history=10, horizon=10, target_order=4)
    start = peak = resident_mib()
    order = torch.randperm(len(windows)).tolist()
    begin = time.perf_counter()
    for n, first in enumerate(range(0, len(order), BATCH)):
        windows.__getitems__(order[first : first + BATCH])
        if n % 64 == 0:
            peak = max(peak, resident_mib())
    return {
        "file_gib": path.stat().st_size / 2**30,
        "num_windows": len(windows),
        "seconds": time.perf_counter() - begin,
        "resident_start_mib": start,
        "resident_peak_beyond_start_mib": peak - start,
    }


def measure_training(path: Path, num_steps: int = 100) -> dict[str, float]:
    """Peak resident memory while a small FNO is trained on the file, statistics included."""
    surrogate = DerivativeSurrogate(FNO(num_modes=(16,), width=8, depth=1), RK4(), dt=0.01)
    start = resident_mib()
    seen, stop = [start], threading.Event()

    def watch() -> None:
        while not stop.wait(0.05):
            seen.append(resident_mib())

    watcher = threading.Thread(target=watch)
    watcher.start()
    result = train(surrogate, path, num_steps=num_steps, batch_size=BATCH, accelerator="cpu")
    stop.set()
    watcher.join()
    return {
        "num_steps": num_steps,
        "seconds": result.seconds,
        "resident_peak_beyond_start_mib": max(seen) - start,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=4.0, help="size of the memory test")
    options = parser.parse_args()
    torch.set_num_threads(1)
    load = os.getloadavg()
    print(f"load average {load[0]:.2f}")
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder, "small.h5"), Path(folder, "large.h5")
        write_file(small, 200)
        rates = measure_rates(small)
        write_file(large, max(1, round(options.gigabytes * 1e9 / (NUM_TIMES * NUM_POINTS * 4))))
        memory = measure_memory(large)
        training = measure_training(large)
    h5py_rate, mapped_rate = rates["h5py_kept_handle"], rates["memory_map"]
    for name, value in rates.items():
        print(
            f"{name:36}{value:10.0f} windows/s{value / h5py_rate:8.2f} x h5py"
            f"{value / mapped_rate:8.2f} x memory map"
        )
    reached = rates["read_windows"] >= GOAL or rates["read_windows"] >= GOAL_RATIO * mapped_rate
    print(
        f"goal {GOAL} windows/s or {GOAL_RATIO} of the memory map: "
        f"{'reached' if reached else 'missed'}"
    )
    loaders = {name: value for name, value in rates.items() if name.startswith("data_loader")}
    slowed = rates["data_loader_default"] / max(loaders.values())
    print(f"default of {default_workers()} workers: {slowed:.2f} of the fastest loader")
    for facts in (memory, training):
        print(", ".join(f"{name} {value:.1f}" for name, value in facts.items()))
    result = {
        **provenance("h5py", "numpy"),
        "threads": torch.get_num_threads(),
        "load_average_before": load,
        "windows_per_second": rates,
        "ratio_to_h5py": {name: value / h5py_rate for name, value in rates.items()},
        "ratio_to_memory_map": {name: value / mapped_rate for name, value in rates.items()},
        "default_workers": default_workers(),
        "default_loader_to_fastest_loader": slowed,
        "goal_windows_per_second": GOAL,
        "goal_ratio_to_memory_map": GOAL_RATIO,
        "goal_reached": reached,
        "memory": memory,
        "training": training,
    }
    print(f"written: {write_result('data_windows', result)}")


if __name__ == "__main__":
    main()
