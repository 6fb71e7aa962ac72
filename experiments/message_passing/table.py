"""Markdown tables of a result: python -m experiments.message_passing.table RESULTS.json"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from experiments.campaign import seeds_text

STEPS = ("1", "10", "50")
SPLITS = ("seen", "unseen", "coarser", "finer")


def main() -> None:
    """Print networks and baselines."""
    result = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print("| network | meshes | 1 step | 10 steps | 50 steps | 50 steps over seen | diverged |")
    print("|---|---|---|---|---|---|---|")
    for name, arm in result["arms"].items():
        for split in SPLITS:
            scores = arm[split]
            cells = [seeds_text(scores["nrmse"][n]["seeds"]) for n in STEPS]
            ratio = seeds_text(scores["nrmse"]["50"]["ratio_to_seen"])
            diverged = " ".join(map(str, scores["diverged"]))
            print(f"| {name} | {split} | {' | '.join(cells)} | {ratio} | {diverged} |")
    print("\n| baseline | meshes | nodes solved | 1 step | 10 steps | 50 steps | ms per step |")
    print("|---|---|---|---|---|---|---|")
    for split in SPLITS:
        for name, entry in result["floors"][split].items():
            if name == "nodes":
                continue
            cells = " | ".join(f"{entry['nrmse'][n]:.3g}" for n in STEPS)
            nodes = f"{entry['nodes']:.0f}" if "nodes" in entry else ""
            cost = f"{entry['ms_per_step']:.3f}" if "ms_per_step" in entry else ""
            print(f"| {name} | {split} | {nodes} | {cells} | {cost} |")
    print("\n| network | parameters | training seconds | ms per step, seen |")
    print("|---|---|---|---|")
    for name, arm in result["arms"].items():
        seconds, cost = seeds_text(arm["training_seconds"]), seeds_text(arm["seen"]["ms_per_step"])
        print(f"| {name} | {arm['parameters']} | {seconds} | {cost} |")


if __name__ == "__main__":
    main()
