"""Markdown tables of a result: python -m experiments.derivative_prediction.table RESULTS.json"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from experiments.campaign import seeds_text


def seeds(entry: dict[str, Any]) -> str:
    """Mean, smallest and largest seed of a score."""
    return seeds_text(entry["seeds"])


def rows(arms: dict[str, Any]) -> list[str]:
    """One line per network, stepper and step."""
    lines = [
        "| network, stepper, step | one step | mean error | error at end "
        "| time to corr. 0.8 [95 %] | diverged | calls / time |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, arm in arms.items():
        one = seeds(arm["one_step_relative_l2"]) if "one_step_relative_l2" in arm else ""
        time = arm["correlation_time_0.8"]
        low, high = time["interval"]
        lines.append(
            f"| {name} | {one} | {seeds(arm['relative_l2_mean'])} "
            f"| {seeds(arm['relative_l2_end'])} | {seeds(time)} [{low:.3g}, {high:.3g}] "
            f"| {' '.join(map(str, arm['diverged']))} | {arm['calls_per_unit_time']['mean']:g} |"
        )
    return lines


def main() -> None:
    """Print arms, floors and the learning-rate sweep."""
    result = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print("\n".join(rows(result["arms"])), "\n")
    print("| floor | mean error | error at end | time to corr. 0.8 | diverged |")
    print("|---|---|---|---|---|")
    for name, floor in result["floors"].items():
        times = floor["correlation_time"]["0.8"]
        print(
            f"| {name} | {floor['relative_l2_mean']:.3g} | {floor['relative_l2_end']:.3g} "
            f"| {sum(times) / len(times):.3g} | {floor['diverged']} of {floor['trajectories']} |"
        )
    print("\n| network, learning rate | validation error |\n|---|---|")
    for name, error in result["sweep"].items():
        print(f"| {name} | {error:.3g} |")
    seconds = {k: v["training_seconds"] for k, v in result["arms"].items()}
    print("\ntraining seconds:", {k: [round(s) for s in v] for k, v in seconds.items()})
    print("minutes:", round(result["minutes"], 1), "commit:", result["commit"])


if __name__ == "__main__":
    main()
