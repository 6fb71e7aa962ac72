"""The recorded experiments at reduced size: they run, and their first conclusion holds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def reduced(experiment, name, output, *options):
    """The arms of a reduced run."""
    config = EXPERIMENTS / experiment / f"{name}.yaml"
    module = f"experiments.{experiment}.run"
    subprocess.run(
        [sys.executable, "-m", module, config, output, "--quick", *options],
        check=True,
        cwd=EXPERIMENTS.parent,
    )
    return json.loads((output / "results.json").read_text())["arms"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kuramoto_sivashinsky", "burgers"])
def test_derivative_prediction(name, tmp_path):
    arms = reduced("derivative_prediction", name, tmp_path)
    one_step = {k: v["one_step_relative_l2"]["mean"] for k, v in arms.items() if k.endswith(" H")}
    assert one_step["residual map H"] < one_step["state map H"]
    assert one_step["residual as derivative_1 Euler H"] == pytest.approx(
        one_step["residual map H"], rel=1e-3
    )


@pytest.mark.slow
def test_pde_refiner(tmp_path):
    """The refiner's mechanism: less error at high wavenumbers than the same network."""
    options = ("--arms", "residual", "refiner_3")
    arms = reduced("pde_refiner", "kuramoto_sivashinsky", tmp_path, *options)
    high = {k.split(",")[0]: v["high_wavenumbers"]["mean"] for k, v in arms.items()}
    assert high["refiner_3"] < high["residual"] / 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["burgers", "kuramoto_sivashinsky", "kolmogorov"])
def test_backbones(name, tmp_path):
    """Every network beats persistence after a few updates."""
    arms = reduced("backbones", name, tmp_path)
    floors = json.loads((tmp_path / "results.json").read_text())["floors"]
    for arm in arms.values():
        assert (
            arm["relative_l2_first_quarter"]["mean"]
            < floors["persistence"]["relative_l2_first_quarter"]
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
