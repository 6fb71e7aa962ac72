"""The tables of the README from a results file.

python -m experiments.neural_stagger.table RESULTS.json
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.campaign import seeds_text

__all__ = ["case_rows", "targets"]

UNDIVIDED = "(1,1)"


def case_rows(case: dict[str, Any]) -> list[str]:
    """One row per arm and one per classical solver."""
    arms = case["arms"]
    base = arms.get(UNDIVIDED)
    rows = [
        "| arm | error at the end | over (1,1) | updates | parameters | critical path over (1,1) "
        "| all sub-networks, ms | work over (1,1) | checkerboard | split chains (truth) "
        "| tells aliases apart | waves grow |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for label, arm in arms.items():
        tests = arm["tests"]
        cells = [
            label,
            seeds_text(arm["median"]),
            _over(_mean(arm["median"]), base and _mean(base["median"])),
            f"{_mean(arm['updates']):.0f}",
            f"{arm['parameters']}",
            _over(arm["critical_path_seconds"], base and base["critical_path_seconds"]),
            f"{1e3 * arm['all_sub_networks_seconds']:.2g}",
            _over(arm["flops"], base and base["flops"]),
            f"{max(t['checkerboard'] for t in tests):.1e}",
            f"{_mean([t['splitting'] for t in tests]):.2g} "
            f"({_mean([t['splitting_truth'] for t in tests]):.2g})",
            f"{_mean([t['alias_distinction'] for t in tests]):.2g}"
            if "alias_distinction" in tests[0]
            else "-",
            f"{max(t['growth_of_waves'] for t in tests):.3g}",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    rows += ["", "| without a network | error at the end | ms per field |", "|---|---|---|"]
    for name, row in case["classical"].items():
        seconds = row["seconds_per_field"]
        cost = "-" if seconds is None else f"{1e3 * seconds:.2g}"
        rows.append(f"| {name} | {row['median']:.3g} | {cost} |")
    return rows


def targets(case: dict[str, Any]) -> dict[str, float]:
    """What was asked of (2,2) with all sub-grids and shared weights: at most 2, 1/3 and 1e-3."""
    base, own = case["arms"][UNDIVIDED], case["arms"]["(2,2) all, shared"]
    return {
        "error over (1,1)": _mean(own["median"]) / _mean(base["median"]),
        "critical path over (1,1)": own["critical_path_seconds"] / base["critical_path_seconds"],
        "checkerboard": max(test["checkerboard"] for test in own["tests"]),
    }


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values)


def _over(value: float, base: float | None) -> str:
    return f"{value / base:.2g}" if base else "-"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    record = json.loads(parser.parse_args().results.read_text("utf-8"))
    print(f"{record['machine']}, torch {record['torch']}, {record['minutes']:.0f} minutes\n")
    for name, case in record["cases"].items():
        print(f"### {name}\n")
        print("\n".join(case_rows(case)))
        if UNDIVIDED in case["arms"] and "(2,2) all, shared" in case["arms"]:
            print("\n" + ", ".join(f"{k} {v:.2g}" for k, v in targets(case).items()))
        print()


if __name__ == "__main__":
    main()
