"""Every solver against answers that are not ours: runs the topics beside this file.

    OMP_NUM_THREADS=1 python experiments/validation/run.py [--quick] [--topics NAME ...]

A topic is a module with `rows(*, quick: bool) -> list[dict]`. Each one replaces its own entry in
results/validation.json, so that topics can be run one at a time, and README.md gets its tables.
A quick run prints its tables, and is kept only where `--output` says.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from table import table, write_tables

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULT = HERE / "results" / "validation.json"
COLUMNS = (
    "solver",
    "case",
    "oracle",
    "setting",
    "error",
    "order",
    "expected_order",
    "seconds",
)

sys.path.append(str(ROOT / "benchmarks"))
from harness import provenance  # noqa: E402 - one way to say where numbers come from


def find_topics() -> list[str]:
    """The modules beside this one that have rows."""
    own = {Path(__file__).stem, "table"}
    return sorted(path.stem for path in HERE.glob("*.py") if path.stem not in own)


def run_topic(name: str, *, quick: bool) -> dict[str, Any]:
    """Rows of one topic, with command, commit, machine and versions."""
    started = time.perf_counter()
    rows = importlib.import_module(name).rows(quick=quick)
    seconds = time.perf_counter() - started
    for row in rows:
        check_row(name, row)
    packages = ("numpy", "scipy", "exponax")
    record = provenance(*(p for p in packages if importlib.util.find_spec(p) is not None))
    record["uncommitted_changes"] = _has_uncommitted_changes()
    return {**record, "threads": 1, "quick": quick, "seconds": seconds, "rows": rows}


def check_row(topic: str, row: dict[str, Any]) -> None:
    """Refuse a row that the tables cannot show, or whose error is no number."""
    if tuple(row) != COLUMNS:
        raise ValueError(
            f"{topic}: a row must have the entries {COLUMNS}, got {tuple(row)}; see README.md."
        )
    if not math.isfinite(row["error"]):
        raise ValueError(
            f"{topic}: the error of {row['case']!r} ({row['setting']}) must be a finite number, "
            f"got {row['error']}; look for a blow-up, or record how far the solver came."
        )


def _has_uncommitted_changes() -> bool | None:
    """Whether the code that ran is not the commit's; `None` where git does not say."""
    folders = ("core", "operators", "equations", "steppers", "reference")
    paths = [*(f"pdesurrogates/{folder}" for folder in folders), "experiments/validation/*.py"]
    found = subprocess.run(
        ["git", "status", "--porcelain", "--", *paths],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return bool(found.stdout.strip()) if found.returncode == 0 else None


def main() -> None:
    """Run the topics, one after the other; keep what is done when one fails."""
    known = find_topics()
    parser = argparse.ArgumentParser(description="Run the validation.")
    parser.add_argument("--quick", action="store_true", help="coarser grids, about a minute")
    parser.add_argument("--topics", nargs="+", choices=known, default=known, metavar="NAME")
    parser.add_argument("--output", type=Path, help="JSON file; default results/validation.json")
    args = parser.parse_args()
    output = args.output or (None if args.quick else RESULT)
    torch.set_num_threads(1)
    result: dict[str, Any] = {}
    if output and output.exists():
        result = json.loads(output.read_text(encoding="utf-8"))
    for name in args.topics:
        result[name] = run_topic(name, quick=args.quick)
        print(f"{name}: {len(result[name]['rows'])} rows, {result[name]['seconds']:.0f} s")
        if output is None:
            print(f"\n{table(result[name])}")
            continue
        output.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(dict(sorted(result.items())), indent=2)
        output.write_text(text + "\n", encoding="utf-8")
    if output == RESULT:
        write_tables(HERE / "README.md", result)


if __name__ == "__main__":
    main()
