"""The tables of the README from a results file.

python -m experiments.insr_fluid.table experiments/insr_fluid/results/config.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from experiments.campaign import seeds_text


def case_rows(name: str, result: dict[str, Any]) -> list[str]:
    """Networks and grids of one case: error after each number of steps."""
    outputs = result["config"]["cases"][name]["outputs"]
    rows = [
        f"#### {name}",
        "",
        "| arm | unknowns | " + " | ".join(f"{n} steps" for n in outputs) + " | energy kept "
        "| div v / grad v | CPU s |",
        "|---" * (len(outputs) + 5) + "|",
    ]
    solves: dict[str, list[dict[str, Any]]] = {}
    for record in result["solves"]:
        if record["settings"]["case"] == name:
            solves.setdefault(record["name"].rsplit("_", 1)[0], []).append(record)
    for arm, own in solves.items():
        cells = [
            seeds_text([r["relative_l2"][r["outputs"].index(n)] for r in own])
            if n in own[0]["outputs"]
            else ""
            for n in outputs
        ]
        energy = seeds_text([r["energy_kept"][-1] for r in own])
        worst = max(max(r["divergence"]) for r in own)
        seconds = seeds_text([r["cpu_seconds"] for r in own], 2)
        label = arm.removeprefix(f"{name}_").replace("_", " ")
        rows.append(
            f"| {label}, {len(own)} seeds | {own[0]['parameters']} | {' | '.join(cells)} | "
            f"{energy} | {worst:.1g} | {seconds} |"
        )
    for grid in result["grids"][name]:
        cells = [f"{value:.3g}" for value in grid["relative_l2"]]
        rows.append(
            f"| {grid['grid']} | {grid['unknowns']} | {' | '.join(cells)} | | | "
            f"{grid['seconds']:.2g} |"
        )
    return rows


def main() -> None:
    result = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    for name in result["config"]["cases"]:
        print("\n".join(case_rows(name, result)), end="\n\n")


if __name__ == "__main__":
    main()
