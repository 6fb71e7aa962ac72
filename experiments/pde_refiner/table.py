"""Markdown tables of a result: python -m experiments.pde_refiner.table RESULTS.json"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from experiments.campaign import seeds_text


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
            f"| {name} | {seeds_text(arm['one_step_relative_l2'])} "
            f"| {seeds_text(arm['high_wavenumbers'])} "
            f"| {seeds_text(time)} [{low:.3g}, {high:.3g}] "
            f"| {time['median']:.3g} ({time['deciles'][0]:.3g}, {time['deciles'][1]:.3g}) "
            f"| {' '.join(map(str, arm['diverged']))} | {arm['calls_per_unit_time']['mean']:g} "
            f"| {min(arm['seconds_per_unit_time']['seeds']):.2g} |"
        )
    print("\n| floor | mean error | time to corr. 0.8 | s / time |\n|---|---|---|---|")
    for name, floor in result["floors"].items():
        times = floor["correlation_time"]["0.8"]
        print(
            f"| {name} | {floor['relative_l2_mean']:.3g} | {sum(times) / len(times):.3g} "
            f"| {floor.get('seconds_per_unit_time', 0):.2g} |"
        )
    truth = next(iter(result["arms"].values()))["high_wavenumbers_truth"]["mean"]
    print(f"\ntruth at k 30-42: {truth:.3g}; rates: {result['rates']}")
    print({k: [round(s) for s in v["training_seconds"]] for k, v in result["arms"].items()})
    print({v["parameters"] for v in result["arms"].values()}, round(result["minutes"]), "minutes")


if __name__ == "__main__":
    main()
