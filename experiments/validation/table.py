"""The tables of README.md from the recorded rows: python experiments/validation/table.py

Tables stand between the lines `<!-- rows of TOPIC -->` and `<!-- end of rows -->`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MARKED = re.compile(r"(<!-- rows of (\w+) -->\n).*?(<!-- end of rows -->)", re.DOTALL)
SLACK = 0.15


def is_reached(row: dict[str, Any]) -> bool | None:
    """Whether the measured order is the expected one or higher; `None` without an expectation."""
    if row["order"] is None or row["expected_order"] is None:
        return None
    return row["order"] > row["expected_order"] - SLACK


def table(topic: dict[str, Any]) -> str:
    """One table per solver, and where the numbers come from."""
    by_solver: dict[str, list[dict[str, Any]]] = {}
    for row in topic["rows"]:
        by_solver.setdefault(row["solver"], []).append(row)
    lines = []
    for solver, rows in by_solver.items():
        lines += [
            f"**{solver}**",
            "",
            "| case | oracle | setting | error | order | expected | s |",
            "|---|---|---|---|---|---|---|",
        ]
        for row in rows:
            order = "" if row["order"] is None else f"{row['order']:.2f}"
            if is_reached(row) is False:
                order = f"**{order}** not reached"
            expected = "" if row["expected_order"] is None else f"{row['expected_order']:.3g}"
            cells = (row["case"], row["oracle"], row["setting"], f"{row['error']:.2g}", order)
            lines.append(f"| {' | '.join(cells)} | {expected} | {row['seconds']:.2g} |")
        lines.append("")
    lines += [source(topic), ""]
    return "\n".join(lines)


def source(topic: dict[str, Any]) -> str:
    """Command, commit, machine and versions in a line."""
    commit = topic["commit"][:7] if topic["commit"] else "unknown"
    changes = " and uncommitted changes" if topic["uncommitted_changes"] else ""
    versions = ", ".join(f"{name} {version}" for name, version in topic["versions"].items())
    return (
        f"`{topic['command']}`, {topic['seconds']:.0f} s on one thread of "
        f"{topic['machine']['processor']}; commit {commit}{changes}; {versions}."
    )


def with_tables(text: str, result: dict[str, Any]) -> str:
    """The text with every marked table replaced by that of the result.

    Raises:
        ValueError: If a topic has rows but no place in the text.
    """
    places = {match[1] for match in MARKED.findall(text)}
    missing = sorted(set(result) - places)
    if missing:
        raise ValueError(
            f"README.md has no tables for {missing}; add a section with the lines "
            f"'<!-- rows of {missing[0]} -->' and '<!-- end of rows -->'."
        )

    def fill(match: re.Match[str]) -> str:
        opening, name, closing = match.groups()
        body = table(result[name]) if name in result else "Not run yet.\n"
        return f"{opening}\n{body}\n{closing}"

    return MARKED.sub(fill, text)


def write_tables(readme: Path, result: dict[str, Any]) -> None:
    """Bring the tables of a README up to date."""
    readme.write_text(with_tables(readme.read_text(encoding="utf-8"), result), encoding="utf-8")


if __name__ == "__main__":
    path = HERE / "results" / "validation.json"
    write_tables(HERE / "README.md", json.loads(path.read_text(encoding="utf-8")))
