"""Tables of the README from a recorded results.json.

python -m experiments.adaptive_sampling.table experiments/adaptive_sampling/results/results.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def _seeds(values: list[float], digits: int = 3) -> str:
    """Median and all seeds."""
    ordered = sorted(values)
    middle = ordered[len(ordered) // 2]
    return f"{middle:.{digits}g} ({' / '.join(f'{v:.2g}' for v in values)})"


def oracle_rows(records: list[dict[str, Any]]) -> list[str]:
    """Distance of the flow from the best density."""
    rows = [
        "| beta | seed | L1 flow | L1 uniform | share where p = 0 | integral | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in sorted(records, key=lambda r: -r["beta"]):
        rows.append(
            f"| {r['beta']} | {r['seed']} | {r['l1']:.3g} | {r['l1_uniform']:.3g} "
            f"| {r['zero_share']:.2f} | {r['integral']:.4f} | {r['seconds']:.0f} |"
        )
    return rows


def problem_rows(arms: dict[str, dict[str, Any]]) -> list[str]:
    """One problem: every arm."""
    rows = [
        "| sampler | relative L2 | lowest peak | residual rms | stalled | evaluations | seconds "
        "(sampler) |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, arm in arms.items():
        peaks = [min(seed) for seed in arm["peaks"]]
        rows.append(
            f"| {name.replace('_', ' ')} | {_seeds(arm['relative_l2'])} | {_seeds(peaks)} "
            f"| {arm['residual_rms_median']:.2g} | {arm['stalled']} of {len(peaks)} "
            f"| {arm['num_evaluations'][0]:.3g} | {arm['seconds_median']:.0f} "
            f"({arm['sampler_seconds_median']:.0f}) |"
        )
    return rows


def main() -> None:
    """Print all tables."""
    record = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print("\n".join(oracle_rows(record["oracle"])))
    for problem, arms in record["problems"].items():
        print(f"\n**{problem.replace('_', ' ')}**\n")
        print("\n".join(problem_rows(arms)))


if __name__ == "__main__":
    main()
