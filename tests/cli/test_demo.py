"""demo: everything from an equation to a report, at toy size."""

import pytest

from pdesurrogates.cli.main import main

STAGES = ("1/4", "2/4", "3/4", "4/4")


@pytest.mark.slow
def test_demo_runs_and_reuses_what_is_finished(tmp_path, capsys):
    words = ["demo", "--quick", "--output", str(tmp_path / "demo")]
    assert main(words) == 0
    first = capsys.readouterr()
    assert all(stage in first.err for stage in STAGES)
    lines = first.out.splitlines()
    assert lines[0].startswith("Time to correlation 0.8")
    assert lines[-1] == f"Report: {tmp_path / 'demo' / 'report.html'}"
    page = (tmp_path / "demo" / "report.html").read_text()
    for word in ("state", "residual", "derivative", "persistence", "oracle floor", "ETDRK4"):
        assert word in page
    assert main(words) == 0
    again = capsys.readouterr()
    assert again.out == first.out
    assert not any(stage in again.err for stage in STAGES)


@pytest.mark.slow
def test_demo_refuses_a_folder_with_other_settings(tmp_path, capsys):
    (tmp_path / "demo.json").write_text('{"seed": 7}\n')
    assert main(["demo", "--quick", "--output", str(tmp_path)]) == 2
    assert "choose another folder" in capsys.readouterr().err
