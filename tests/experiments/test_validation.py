"""The validation at reduced size reaches its orders, and its README shows the recorded numbers."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "experiments" / "validation"
TOPICS = sorted({path.stem for path in FOLDER.glob("*.py")} - {"run", "table"})
# Coarse grids are further from their limit than the recorded ones.
SLACK = 0.35


def load(name):
    spec = importlib.util.spec_from_file_location(f"validation_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("topic", TOPICS)
def test_reduced_run(topic, tmp_path):
    output = tmp_path / "validation.json"
    command = [sys.executable, FOLDER / "run.py", "--quick", "--topics", topic]
    subprocess.run([*command, "--output", output], check=True)
    record = json.loads(output.read_text())[topic]
    assert record["quick"] and record["rows"]
    for row in record["rows"]:
        if row["order"] is not None and row["expected_order"] is not None:
            assert row["order"] > row["expected_order"] - SLACK, row


def test_readme_shows_what_is_recorded():
    result = json.loads((FOLDER / "results" / "validation.json").read_text(encoding="utf-8"))
    assert set(result) == set(TOPICS)
    assert not any(record["quick"] for record in result.values())
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert load("table").with_tables(text, result) == text


def test_a_topic_without_a_place_is_named():
    table = load("table")
    text = "<!-- rows of heat -->\nold\n<!-- end of rows -->\n"
    with pytest.raises(ValueError, match=r"no tables for \['waves'\]"):
        table.with_tables(text, {"waves": {}})
    assert "Not run yet" in table.with_tables(text, {})


def test_orders_that_fall_short_are_marked():
    row = {
        "solver": "a scheme",
        "case": "heat",
        "oracle": "series",
        "setting": "8 points",
        "error": 0.125,
        "order": 1.5,
        "expected_order": 2,
        "seconds": 0.5,
    }
    record = {
        "command": "python run.py",
        "commit": None,
        "uncommitted_changes": True,
        "seconds": 1.0,
        "machine": {"processor": "a processor"},
        "versions": {"torch": "2"},
    }
    table = load("table")
    line = "| heat | series | 8 points | 0.12 | **1.50** not reached | 2 | 0.5 |"
    assert line in table.table({**record, "rows": [row]})
    reached = {**row, "order": 1.9}
    assert "not reached" not in table.table({**record, "rows": [reached]})
    exact = {**row, "order": None, "expected_order": None}
    assert "| 0.12 |  |  | 0.5 |" in table.table({**record, "rows": [exact]})
