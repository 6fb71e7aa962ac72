"""Markdown tables of a result: python -m experiments.backbones.table RESULTS.json"""

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
    """Print networks and floors."""
    result = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print(
        "| network | parameters | updates | processor s | one step | mean rollout error "
        "| time to corr. 0.8 [95 %] | diverged |\n|---|---|---|---|---|---|---|---|"
    )
    for name, arm in result["arms"].items():
        time = arm["correlation_time_0.8"]
        low, high = time["interval"]
        updates = sorted(arm["num_steps"])
        count = str(updates[0]) if updates[0] == updates[-1] else f"{updates[0]} .. {updates[-1]}"
        seconds = sum(arm["processor_seconds"]) / len(arm["processor_seconds"])
        print(
            f"| {name} | {arm['parameters']} | {count} | {seconds:.0f} "
            f"| {seeds(arm['one_step_relative_l2'])} | {seeds(arm['relative_l2_mean'])} "
            f"| {seeds(time)} [{low:.3g}, {high:.3g}] "
            f"| {' '.join(map(str, arm['diverged']))} |"
        )
    print("\n" + "\n".join(floor_rows(result["floors"])))
    print("\n", round(result["minutes"]), "minutes, commit", result["commit"])


if __name__ == "__main__":
    main()
