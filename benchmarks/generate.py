"""Data generation on one and on two worker processes, beside the same work in this process.

Kuramoto-Sivashinsky with 256 points (otherwise the recipe of the demo) and two-dimensional
Gray-Scott on 64 x 64 points, pseudo-spectral, written to HDF5 as by `generate`. Workers are
started and warm before the clock runs; what starting them costs is reported by itself. The three
take turns, medians are reported, and the files must be equal to the last byte. A turn waits until
the machine is idle, and is taken again if other processes used more than a twentieth of it in the
meantime, as long as patience lasts; what they used is reported.

Goals: 2 workers at least 1.8 times as fast as 1 on two cores; 1 worker at most 1.1 times as slow
as this process.

Run: python benchmarks/generate.py
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import psutil
from harness import provenance, write_result

from pdesurrogates.core import Grid
from pdesurrogates.equations import GrayScott, KuramotoSivashinsky
from pdesurrogates.reference import RandomFourierSeries, Recipe
from pdesurrogates.reference.cluster import Chunk, here, local_cluster, on_cluster
from pdesurrogates.reference.writing import Planned, write_planned
from pdesurrogates.steppers import ETDRK

GOAL_SCALING, GOAL_OVERHEAD = 1.8, 1.1
OTHERS = 0.05
CASES = {
    "kuramoto_sivashinsky_256": Recipe(
        KuramotoSivashinsky(),
        Grid((256,), (64.0,)),
        dt=0.2,
        num_steps=200,
        num_trajectories=256,
        initial_condition=RandomFourierSeries(8),
        burn_in=50.0,
        solver_dt=0.05,
        stepper=ETDRK(4),
        chunk=32,
    ),
    "gray_scott_64x64": Recipe(
        GrayScott(),
        Grid((64, 64), (2.5, 2.5)),
        dt=20.0,
        num_steps=20,
        num_trajectories=32,
        initial_condition=RandomFourierSeries(4, rms=0.05, mean=0.5),
        solver_dt=1.0,
        stepper=ETDRK(4),
        chunk=4,
    ),
}


class Machine:
    """Processor seconds of the whole machine and of this process with its workers."""

    def __init__(self) -> None:
        self.start = self.now()

    @staticmethod
    def now() -> tuple[float, float, float]:
        """Wall, busy and own seconds."""
        times = psutil.cpu_times()
        busy = sum(times) - times.idle - times.iowait - times.guest - times.guest_nice
        me = psutil.Process()
        own = [process.cpu_times() for process in (me, *me.children(recursive=True))]
        return time.perf_counter(), busy, sum(used.user + used.system for used in own)

    def used_by_others(self) -> float:
        """Share of all cores that other processes have used since the start."""
        wall, busy, own = (b - a for a, b in zip(self.start, self.now(), strict=True))
        return (busy - own) / (wall * (os.cpu_count() or 1))


def made(recipe: Recipe, solve: Callable, path: Path) -> float:
    """Seconds to make a file."""
    path.unlink(missing_ok=True)
    begin = time.perf_counter()
    for _ in write_planned([Planned(path, recipe, repr(recipe), recipe)], solve):
        pass
    return time.perf_counter() - begin


def measure(
    recipe: Recipe, solvers: dict[str, Callable], repetitions: int, patience: float
) -> dict[str, object]:
    """Median seconds of all, the ratios, and whether the bytes agree."""
    turns: dict[str, list[tuple[float, float]]] = {name: [] for name in solvers}
    digests = set()
    give_up = time.perf_counter() + patience

    def is_enough(name: str) -> bool:
        calm = [share for share, _ in turns[name] if share <= OTHERS]
        found = turns[name] if time.perf_counter() > give_up else calm
        return len(found) >= repetitions

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made.hdf5"
        while not all(map(is_enough, solvers)):
            for name, solve in solvers.items():
                if is_enough(name):
                    continue
                while time.perf_counter() < give_up and psutil.cpu_percent(3.0) > 100 * OTHERS:
                    pass
                machine = Machine()
                seconds = made(recipe, solve, path)
                turns[name].append((machine.used_by_others(), seconds))
                digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
        megabytes = path.stat().st_size / 1e6
    calmest = {name: sorted(found)[:repetitions] for name, found in turns.items()}
    median = {
        name: statistics.median(seconds for _, seconds in found) for name, found in calmest.items()
    }
    return {
        "seconds": median,
        "megabytes": megabytes,
        "scaling_1_to_2": median["1 worker"] / median["2 workers"],
        "overhead_of_1_worker": median["1 worker"] / median["this process"],
        "same_bytes": len(digests) == 1,
        "turns": {name: len(found) for name, found in turns.items()},
        "used_by_others": max(share for found in calmest.values() for share, _ in found),
    }


def warm(solve: Callable[[Iterable[Chunk]], Iterable]) -> None:
    """Every worker has imported what it needs."""
    recipe = next(iter(CASES.values()))
    for _ in solve([Chunk(None, recipe, n, n + 1) for n in range(8)]):
        pass


def main() -> None:
    """Measure, print, write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--patience", type=float, default=120.0, help="seconds per case")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        solvers: dict[str, Callable] = {"this process": here}
        start_up = {}
        for count in (1, 2):
            begin = time.perf_counter()
            solve = partial(on_cluster, stack.enter_context(local_cluster(count)))
            warm(solve)
            start_up[f"{count} worker{'s' * (count > 1)}"] = time.perf_counter() - begin
            solvers[f"{count} worker{'s' * (count > 1)}"] = solve
        rows = {
            name: measure(recipe, solvers, arguments.repetitions, arguments.patience)
            for name, recipe in CASES.items()
        }
    for name, row in rows.items():
        print(name, row)
    result = {
        **provenance("dask", "distributed"),
        "goals": {"scaling_1_to_2": GOAL_SCALING, "overhead_of_1_worker": GOAL_OVERHEAD},
        "start_up_seconds": start_up,
        "rows": rows,
    }
    print("written to", write_result("generate", result))


if __name__ == "__main__":
    main()
