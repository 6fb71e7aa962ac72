"""What every benchmark shares: fair timing in one process, and where the numbers come from."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["interleaved_medians", "provenance", "write_result"]


def interleaved_medians(
    calls: dict[str, Callable[[], object]], repetitions: int, *, warm_up: int = 3
) -> dict[str, float]:
    """Median seconds of each call; all take turns, so a disturbance hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for repetition in range(repetitions + warm_up):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if repetition >= warm_up:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def provenance(*packages: str) -> dict[str, Any]:
    """Command, commit, machine and versions of this run."""
    root = Path(__file__).parent.parent
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False
    )
    script = Path(sys.argv[0]).resolve().relative_to(root).as_posix()
    return {
        "command": " ".join(["python", script, *sys.argv[1:]]),
        "commit": commit.stdout.strip() or None,
        "machine": {"processor": _processor(), "cores": os.cpu_count()},
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("torch", *packages)},
        },
    }


def write_result(name: str, result: dict[str, Any]) -> Path:
    """Write benchmarks/results/<name>.json."""
    path = Path(__file__).parent / "results" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return path


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()
