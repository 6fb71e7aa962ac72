"""The mesh experiment at reduced size: it runs, and an unseen mesh is served like a seen one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "experiments" / "message_passing"


@pytest.mark.slow
def test_reduced_run(tmp_path):
    subprocess.run(
        [
            sys.executable,
            "-m",
            "experiments.message_passing.run",
            FOLDER / "config.yaml",
            tmp_path,
            "--quick",
        ],
        check=True,
        cwd=FOLDER.parents[1],
    )
    result = json.loads((tmp_path / "results.json").read_text())
    scores = result["arms"]["mp-pde"]
    floors = result["floors"]["unseen"]
    assert scores["unseen"]["nrmse"]["50"]["ratio_to_seen"][0] < 1.5
    assert scores["unseen"]["nrmse"]["1"]["mean"] < floors["persistence"]["nrmse"]["1"]
    assert floors["fem 1"]["nrmse"]["50"] < floors["fem 0.25"]["nrmse"]["50"]
