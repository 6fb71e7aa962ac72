"""The table of README.md from the recorded numbers.

python -m experiments.insr_elastic.table experiments/insr_elastic/results/config.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.campaign import seeds_text

__all__ = ["rows"]


def rows(results: dict[str, Any]) -> list[str]:
    """One row per case and arm; a cell is the mean over seeds (smallest .. largest)."""
    lines = [
        "| case | arm | unknowns | energy at the end | rms difference | max. difference "
        "| smallest det F | iterations | CPU s | steps done |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for case, arms in results.items():
        for arm, solves in arms.items():
            done = [solve for solve in solves if solve["steps_done"]]
            cells = [
                case,
                arm,
                str(solves[0]["unknowns"]),
                _text([solve["elastic_energy"][-1] for solve in done], 5),
                _text([solve["rms_difference"][-1] for solve in done], 2),
                _text([solve["max_difference"] for solve in done], 2),
                _text([solve["min_volume_ratio"] for solve in done], 3),
                _text([float(sum(solve["iterations"])) for solve in done], 3),
                _text([solve["cpu_seconds"] for solve in solves], 3),
                ", ".join(str(solve["steps_done"]) for solve in solves),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def _text(values: Sequence[float], digits: int) -> str:
    return seeds_text(values, digits) if values else "-"


def main() -> None:
    record = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print("\n".join(rows(record["results"])))


if __name__ == "__main__":
    main()
