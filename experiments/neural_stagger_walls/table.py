"""Tables of a recorded run:  python -m experiments.neural_stagger_walls.table results.json"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from experiments.campaign import seeds_text

__all__ = ["control_table", "table"]

_EXTRA = {
    "steady_profile_error": "steady profile",
    "ghia_velocity_x": "Ghia, velocity_x",
    "ghia_velocity_y": "Ghia, velocity_y",
}


def table(case: dict[str, Any]) -> list[str]:
    """Every arm and classical solver of a case."""
    extras = {k: v for k, v in _EXTRA.items() if k in case["classical"][0]}
    names = [
        "arm",
        "relative L2 to the truth",
        "to the solver on the same grid",
        *extras.values(),
        "checkerboard",
        "s per unit time, one core",
        "critical path",
    ]
    rows = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    keys = (
        "relative_l2",
        "to_same_grid",
        *extras,
        "checkerboard",
        "seconds_per_unit_time",
        "critical_seconds_per_unit_time",
    )
    for arm, own in case["arms"].items():
        rows.append(f"| {arm} | {' | '.join(seeds_text(own[key], 2) for key in keys)} |")
    for own in case["classical"]:
        cells = [f"{own[key]:.2g}" if key in own else "" for key in keys]
        rows.append(f"| {own['solver']} | {' | '.join(cells)} |")
    first = next(iter(case["arms"].values()))
    rows += [
        "",
        f"No change scores {first['no_change'][0]:.2g}. Training: "
        f"{statistics.mean(first['training_seconds']):.0f} CPU seconds each.",
    ]
    return rows


def control_table(case: dict[str, Any]) -> list[str]:
    """What was reached, as it seemed and as it was, and the cost; medians over targets, seeds."""
    rows = [
        "| gradient through | objective it saw | true objective | evaluations | seconds "
        "| training seconds |",
        "|---|---|---|---|---|---|",
    ]
    entries: list[tuple[str, list[dict[str, Any]], float]] = []
    for arm, own in case["arms"].items():
        found = [row for rows_of_seed in own["control"] for row in rows_of_seed]
        entries.append((arm, found, statistics.mean(own["training_seconds"])))
    by_solver: dict[str, list[dict[str, Any]]] = {}
    for row in case["classical_control"]:
        by_solver.setdefault(row["forecast"], []).append(row)
    entries += [(label, found, 0.0) for label, found in by_solver.items()]
    for label, found, seconds in entries:
        cells = [
            f"{statistics.median(row[key] for row in found):.2g}"
            for key in ("minimised", "objective", "evaluations", "seconds")
        ]
        rows.append(f"| {label} | {' | '.join(cells)} | {seconds:.0f} |")
    return rows


def main() -> None:
    """Print all tables."""
    results = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    for name, case in results["cases"].items():
        print(f"\n**{name}**\n")
        print("\n".join(table(case)))
        if name == "control":
            print()
            print("\n".join(control_table(case)))


if __name__ == "__main__":
    main()
