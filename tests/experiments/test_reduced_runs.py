"""The recorded experiments at reduced size: they run, and their first conclusion holds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kuramoto_sivashinsky", "burgers"])
def test_derivative_prediction(name, tmp_path):
    folder = EXPERIMENTS / "derivative_prediction"
    subprocess.run(
        [sys.executable, folder / "run.py", folder / f"{name}.yaml", tmp_path, "--quick"],
        check=True,
    )
    arms = json.loads((tmp_path / "results.json").read_text())["arms"]
    one_step = {k: v["one_step_relative_l2"]["mean"] for k, v in arms.items() if k.endswith(" H")}
    assert one_step["residual map H"] < one_step["state map H"]
    assert one_step["residual as derivative_1 Euler H"] == pytest.approx(
        one_step["residual map H"], rel=1e-3
    )


@pytest.mark.slow
@pytest.mark.reference_data
@pytest.mark.parametrize("script", ["solver", "surrogate"])
def test_real_files(script, tmp_path):
    folder = EXPERIMENTS.parent.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the public reference files are not there")
    options = ["--quick"] if script == "surrogate" else []
    output = tmp_path / "result.json"
    path = EXPERIMENTS / "real_files" / f"{script}.py"
    subprocess.run([sys.executable, path, folder, "--output", output, *options], check=True)
    assert output.exists()
