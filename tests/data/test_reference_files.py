"""Files that nobody here wrote convert without options."""

import math
from pathlib import Path

import pytest

from pdesurrogates.data import convert, inspect_file, open_trajectories

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data"
pytestmark = [
    pytest.mark.reference_data,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="the folder of reference files is absent"),
]


@pytest.mark.parametrize(
    "name, num_points, origin, extent, num_times, end, periodic, fields",
    [
        ("burgers_gaussian_nu0.1", 256, -8.0, 16.0, 101, 10.0, True, ("u",)),
        ("burgers_shock_nu0.01overpi", 256, -1.0, 2.0, 100, 0.99, False, ("u",)),
        ("allen_cahn_1e-4", 512, -1.0, 2.0, 201, 1.0, True, ("u",)),
        ("kdv_sine_L40", 512, -20.0, 40.0, 201, 40.0, True, ("u",)),
        ("ks_chaotic_L32pi", 511, 0.0, 32 * math.pi, 251, 100.0, True, ("u",)),
        ("nls_2sech", 512, -5.0, 10.0, 501, math.pi / 2, True, ("real", "imaginary")),
    ],
)
def test_convert(tmp_path, name, num_points, origin, extent, num_times, end, periodic, fields):
    notes = convert(FOLDER / f"{name}.mat", tmp_path / "a.h5")
    file = open_trajectories(tmp_path / "a.h5")
    assert file.grid.shape == (num_points,) and file.grid.is_periodic == (periodic,)
    assert file.grid.origin == pytest.approx((origin,), abs=1e-12)
    assert file.grid.extent == pytest.approx((extent,), rel=1e-12)
    assert file.num_times == num_times and float(file.times[-1]) == pytest.approx(end, rel=1e-12)
    assert file.fields.names == fields
    assert file.time_step(0) == pytest.approx(end / (num_times - 1), rel=1e-9)
    text = " ".join(notes)
    assert ("512 -> 511 points" in text) == name.startswith("ks")
    assert ("ambiguous" in text) == name.startswith("burgers_shock")
    assert ("imaginary part of at most" in text) == name.startswith("burgers_gauss")
    assert inspect_file(tmp_path / "a.h5").problems == ()


def test_inspect_reports_the_repeated_endpoint():
    problems = inspect_file(FOLDER / "ks_chaotic_L32pi.mat").problems
    assert "point 511 equals point 0 in all frames" in problems[0]


def test_files_that_hold_no_trajectory_are_refused(tmp_path):
    with pytest.raises(ValueError, match="axes cannot be told.*Found WW"):
        convert(FOLDER / "cylinder_vorticity_frame.mat", tmp_path / "a.h5")
    with pytest.raises(ValueError, match="from_arrays"):
        convert(FOLDER / "neuralop_burgers_train_16.pt", tmp_path / "a.h5")
    assert list(tmp_path.iterdir()) == []
