"""The tables of the README and of docs/pinns.md from results.json.

python -m experiments.pinn.table experiments/pinn/results/results.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from experiments.campaign import seeds_text


def rows(results: dict[str, Any]) -> list[str]:
    """One line per case and arm; the classical solver at equal error beside it."""
    lines = [
        "| case | arm | relative L2 | at the end | loss | CPU s | classical, at most this error |",
        "|---|---|---|---|---|---|---|",
    ]
    for case, arms in results["cases"].items():
        for arm, found in sorted(arms.items(), key=lambda item: _mean(item[1])):
            if not found["relative_l2"]:
                lines.append(f"| {case} | {arm} | failed: {found['failed'][0][:60]} | | | | |")
                continue
            solver = found["classical_at_equal_error"]
            beside = (
                "none of those tried"
                if solver is None
                else f"{solver['relative_l2']:.1g} in {1e3 * solver['seconds']:.3g} ms "
                f"({solver['points']} points, {solver['steps']} steps)"
            )
            failed = f", {len(found['failed'])} failed" if found["failed"] else ""
            lines.append(
                f"| {case} | {arm} | {seeds_text(found['relative_l2'], 2)}{failed} "
                f"| {seeds_text(found['relative_l2_end'], 2)} | {max(found['loss']):.1g} "
                f"| {seeds_text(found['cpu_seconds'], 2)} | {beside} |"
            )
    return lines


def _mean(found: dict[str, Any]) -> float:
    values = found["relative_l2"]
    return sum(values) / len(values) if values else float("inf")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    args = parser.parse_args()
    print("\n".join(rows(json.loads(args.results.read_text(encoding="utf-8")))))


if __name__ == "__main__":
    main()
