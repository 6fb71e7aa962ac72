"""Our solver against files that somebody else's solver wrote.

    python experiments/real_files/solver.py FOLDER [--output RESULT.json]

FOLDER holds the public `.mat` files named below. Each is converted, its first frame is handed to
`reference.solve`, and the result is compared with the file frame by frame.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch

from pdesurrogates.data import TrajectoryFile, convert, open_trajectories
from pdesurrogates.equations import (
    AllenCahn,
    BoundEquation,
    Burgers,
    Equation,
    KortewegDeVries,
    KuramotoSivashinsky,
    Schrodinger,
)
from pdesurrogates.evaluation import correlation_time, relative_l2, resample, valid_time
from pdesurrogates.operators import SpectralDerivatives
from pdesurrogates.steppers import ETDRK, integrate

# Equation, largest solver step, and how much finer than the file the solver's grid is.
CASES: dict[str, tuple[Equation, float, int]] = {
    "burgers_gaussian_nu0.1": (Burgers(0.1), 0.005, 1),
    "kdv_sine_L40": (KortewegDeVries(advection=1.0), 0.005, 1),
    "allen_cahn_1e-4": (AllenCahn(1e-4, 5.0), 0.00125, 1),
    "ks_chaotic_L32pi": (KuramotoSivashinsky(), 0.01, 1),
    "nls_2sech": (Schrodinger(), 0.0005, 1),
}


def solved(
    file: TrajectoryFile, equation: Equation, dt: float, refinement: int, dealias: float | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Our trajectory from the file's first frame, and the file's, (1, time, channel, x)."""
    truth = file.read(0).double()[None]
    grid = file.grid.resized([refinement * n for n in file.grid.shape])
    u0 = resample(truth[:, 0], grid.shape) if refinement > 1 else truth[:, 0]
    f: BoundEquation = equation.on(grid)
    if dealias is not None:
        f = equation.on(SpectralDerivatives(grid, dealias=dealias))
    states = integrate(f, u0, file.times, ETDRK(4), dt=dt).states
    return states[..., ::refinement], truth


def compare(name: str, file: TrajectoryFile) -> dict[str, Any]:
    """Errors at the end and on the way, with and without dealiasing, and of half the step."""
    equation, dt, refinement = CASES[name]
    times = file.times.tolist()
    record: dict[str, Any] = {
        "equation": repr(equation),
        "points": file.grid.shape[0] * refinement,
        "dt": dt,
        "end": times[-1],
        "frames": len(times),
    }
    for label, dealias in (("dealiased", None), ("all modes", 1.0)):
        states, truth = solved(file, equation, dt, refinement, dealias)
        error = relative_l2(states, truth)[0]
        halved, _ = solved(file, equation, dt / 2, refinement, dealias)
        record[label] = {
            "relative_l2_end": float(error[-1]),
            "relative_l2_max": float(error.max()),
            "relative_l2_first_tenth": float(error[: len(error) // 10].max()),
            "own_time_error_end": float(relative_l2(states, halved)[0, -1]),
            "time_to_nrmse_0.01": float(valid_time(states, truth, times, threshold=0.01)),
            "correlation_time_0.8": float(correlation_time(states, truth, times)),
        }
    return record


def main() -> None:
    """Convert, solve, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    default = Path(__file__).parent / "results" / "solver.json"
    parser.add_argument("--output", type=Path, default=default)
    arguments = parser.parse_args()
    results: dict[str, Any] = {"command": "python experiments/real_files/solver.py FOLDER"}
    with tempfile.TemporaryDirectory() as folder:
        for name in CASES:
            target = Path(folder) / f"{name}.hdf5"
            notes = convert(arguments.folder / f"{name}.mat", target)
            with open_trajectories(target) as file:
                results[name] = {**compare(name, file), "notes": notes}
            print(name, json.dumps(results[name], indent=1), flush=True)
    arguments.output.parent.mkdir(exist_ok=True)
    arguments.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
