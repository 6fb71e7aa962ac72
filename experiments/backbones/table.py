"""Markdown tables of a result: python -m experiments.backbones.table RESULTS.json"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from experiments.campaign import seeds_text


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
            f"| {seeds_text(arm['one_step_relative_l2'])} | {seeds_text(arm['relative_l2_mean'])} "
            f"| {seeds_text(time)} [{low:.3g}, {high:.3g}] "
            f"| {' '.join(map(str, arm['diverged']))} |"
        )
    print("\n| floor | mean error | time to corr. 0.8 | s / time |\n|---|---|---|---|")
    for name, floor in result["floors"].items():
        times = floor["correlation_time"]["0.8"]
        print(
            f"| {name} | {floor['relative_l2_mean']:.3g} | {sum(times) / len(times):.3g} "
            f"| {floor.get('seconds_per_unit_time', 0):.2g} |"
        )
    print("\n", round(result["minutes"]), "minutes, commit", result["commit"])


if __name__ == "__main__":
    main()
