"""Is the spread of the refiner's samples the size of its error? From the surrogates of run.py.

    python -m experiments.pde_refiner.calibration CONFIG.yaml OUTPUT

OUTPUT is the folder that run.py filled. Ensembles of the refiner of the first seed (every saved
least noise), and of the residual surrogates of all seeds, one member each, from the same states;
writes calibration.json, spread.png and coverage.png there.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
import xarray as xr
import yaml
from torch import Tensor

from experiments.campaign import provenance, write_record
from pdesurrogates.data import open_trajectories
from pdesurrogates.evaluation import ensemble_plots, evaluate_ensemble, plots
from pdesurrogates.steppers import rollout
from pdesurrogates.surrogates import load_surrogate, rollout_ensemble

NUM_TRAJECTORIES, NUM_STEPS = 32, 60
REPORTED = (1, 5, 10, 20, 40, 60)  # steps


def ensembles(config: dict[str, Any], output: Path, u0: Tensor, times: list[float]) -> dict:
    """Name -> (trajectory, member, time, channel, x)."""
    first = config["seeds"][0]
    found = {}
    for folder in sorted(output.glob(f"final_refiner_*_seed{first}_surrogate")):
        refiner = load_surrogate(folder)
        name = f"refiner K = {refiner.num_refinement_steps}, sigma_min {refiner.sigma_min:g}"
        found[name] = rollout_ensemble(
            refiner, u0, times, num_members=config["num_members"], batch_size=64
        )
    maps = [load_surrogate(f) for f in sorted(output.glob("final_residual_lr*_surrogate"))]
    with torch.inference_mode():
        members = [rollout(surrogate, u0, times) for surrogate in maps]
    if len(members) > 1:
        found[f"{len(members)} residual networks"] = torch.stack(members, dim=1)
    return found


def numbers(scores: xr.Dataset) -> dict[str, Any]:
    """Spread over skill and coverage after some steps, means over trajectories."""
    members = scores.attrs["num_members"]
    factor = ((members + 1) / members) ** 0.5
    ratio = factor * (
        (scores.spread**2).mean("trajectory") ** 0.5
        / (scores.ensemble_rmse**2).mean("trajectory") ** 0.5
    )

    def reported(values: xr.DataArray) -> list:
        return values.isel(field=0, time=list(REPORTED)).values.tolist()

    return {
        "members": members,
        "steps": list(REPORTED),
        "spread_skill_ratio": reported(ratio),
        "ensemble_rmse": reported((scores.ensemble_rmse**2).mean("trajectory") ** 0.5),
        "crps": reported(scores.crps.mean("trajectory")),
        "levels": scores.level.values.tolist(),
        "coverage": reported(scores.coverage.mean("trajectory")),
    }


def main() -> None:
    """Ensembles, scores, figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("output", type=Path)
    args = parser.parse_args()
    config = yaml.safe_load(args.config.read_text(encoding="utf-8"))
    stride = config["stride"]
    with open_trajectories(args.output / "data" / "test.hdf5") as file:
        frames = slice(0, NUM_STEPS * stride + 1, stride)
        number = min(NUM_TRAJECTORIES, file.num_trajectories)
        truth = torch.stack([file.read(i, frames) for i in range(number)])
        times = file.times[frames].tolist()
    scores = {
        name: evaluate_ensemble(members, truth, times)
        for name, members in ensembles(config, args.output, truth[:, 0].float(), times).items()
    }
    write_record(
        args.output / "calibration.json",
        {**provenance(1), "trajectories": number, **{k: numbers(v) for k, v in scores.items()}},
    )
    styles = plots.arm_styles(list(scores))
    for name, figure in (
        ("spread", ensemble_plots.spread_and_error(scores, styles)),
        ("coverage", ensemble_plots.coverage_curves(scores, styles)),
    ):
        (args.output / f"{name}.png").write_bytes(plots.to_png(figure))


if __name__ == "__main__":
    main()
