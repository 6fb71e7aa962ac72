"""Markdown tables of a result: python -m experiments.pde_refiner.table RESULTS.json"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from experiments.campaign import floor_rows, seeds_text


def seeds(entry: dict[str, Any]) -> str:
    """Mean, smallest and largest seed of a score."""
    return seeds_text(entry["seeds"])


def main() -> None:
    """Print arms and floors."""
    result = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print(
        "| arm | one step | error at k 30-42 | time to corr. 0.8 [95 %] | median (10 %, 90 %) "
        "| diverged | calls / time | s / time |\n|---|---|---|---|---|---|---|---|"
    )
    for name, arm in result["arms"].items():
        time = arm["correlation_time_0.8"]
        low, high = time["interval"]
        print(
            f"| {name} | {seeds(arm['one_step_relative_l2'])} "
            f"| {seeds(arm['high_wavenumbers'])} "
            f"| {seeds(time)} [{low:.3g}, {high:.3g}] "
            f"| {time['median']:.3g} ({time['deciles'][0]:.3g}, {time['deciles'][1]:.3g}) "
            f"| {' '.join(map(str, arm['diverged']))} | {arm['calls_per_unit_time']['mean']:g} "
            f"| {min(arm['seconds_per_unit_time']['seeds']):.2g} |"
        )
    print("\n" + "\n".join(floor_rows(result["floors"])))
    truth = next(iter(result["arms"].values()))["high_wavenumbers_truth"]["mean"]
    print(f"\ntruth at k 30-42: {truth:.3g}; rates: {result['rates']}")
    print({k: [round(s) for s in v["training_seconds"]] for k, v in result["arms"].items()})
    print({v["parameters"] for v in result["arms"].values()})


if __name__ == "__main__":
    main()
