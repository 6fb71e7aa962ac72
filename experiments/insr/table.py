"""The tables of the README from a results file.

python -m experiments.insr.table experiments/insr/results/insr.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from experiments.campaign import seeds_text

__all__ = ["rows"]


def rows(results: dict[str, Any]) -> list[str]:
    """Per case: networks, floors, grids."""
    lines: list[str] = []
    for case, baseline in results["baselines"].items():
        times = baseline["times"]
        heads = " | ".join(f"error at t = {t:g}" for t in times)
        lines += [
            f"{case}:",
            "",
            f"| arm | numbers | {heads} | slope error at the end | iterations | CPU s / step |",
            "|---" * (len(times) + 5) + "|",
        ]
        found: dict[str, list[dict[str, Any]]] = {}
        for run in results["runs"]:
            if run["case_name"] == case:
                found.setdefault(run["arm_name"], []).append(run)
        lines += [_network(arm, runs, len(times)) for arm, runs in found.items()]
        for name, errors in baseline["floor"].items():
            lines.append(f"| floor: {name}, exact in space | | {_numbers(errors)} | | | |")
        for name, grid in baseline["grids"].items():
            seconds = f"{grid['seconds']:.2g} s in all"
            lines.append(
                f"| {name} | {grid['points']} | {_numbers(grid['errors'])} | | | {seconds} |"
            )
        lines.append("")
    return lines


def _network(arm: str, runs: list[dict[str, Any]], num_times: int) -> str:
    errors = []
    for n in range(num_times):
        seeds = [run["errors"][n] for run in runs if len(run["errors"]) > n]
        errors.append(seeds_text(seeds) if seeds else "")
    slopes = seeds_text([run["slope_errors"][-1] for run in runs])
    iterations = [sum(run["iterations"]) / max(1, run["num_steps"]) for run in runs]
    seconds = seeds_text([run["cpu_seconds_per_step"] for run in runs])
    stopped = sum(bool(run["message"]) for run in runs)
    note = f", {stopped} stopped" if stopped else ""
    return (
        f"| {arm}, {len(runs)} seed(s){note} | {runs[0]['parameters']} | {' | '.join(errors)} "
        f"| {slopes} | {seeds_text(iterations)} | {seconds} |"
    )


def _numbers(values: list[float]) -> str:
    return " | ".join(f"{value:.3g}" for value in values)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    args = parser.parse_args()
    print("\n".join(rows(json.loads(args.results.read_text(encoding="utf-8")))))


if __name__ == "__main__":
    main()
