"""Incompressible flow whose velocity is a network, against grids and the floor of the scheme.

    python -m experiments.insr_fluid.run CONFIG.yaml OUTPUT [--jobs 2] [--quick]

Run from the root of the repository. Every solve is one JSON file in OUTPUT; those that exist are
not repeated. The last act computes floors and grid baselines, and gathers everything in
OUTPUT/results.json.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from scipy.ndimage import map_coordinates
from torch import Tensor

from experiments.campaign import provenance, read_records, run_all, write_record
from experiments.insr_fluid.classical import (
    advance_on_grid,
    cell_centres,
    mirrored,
    relative_error,
    spectral_flow,
)
from pdesurrogates.backbones import SIREN
from pdesurrogates.core import Box, Dirichlet, Grid, Neumann
from pdesurrogates.equations import IncompressibleNavierStokes
from pdesurrogates.linear import ParameterVector
from pdesurrogates.neural_fields import (
    GaussNewton,
    INSRSolver,
    NeuralField,
    NeuralTrajectory,
    ProjectedFlow,
    SplittingSolver,
    StepControl,
    StreamFunctionField,
)
from pdesurrogates.operators import JetDerivatives
from pdesurrogates.sampling import GaussLegendre, Stratified

BOX = Box((-1.0, -1.0), (1.0, 1.0))


# --- cases ----------------------------------------------------------------------------------


def taylor_green(points: Tensor, settings: dict[str, Any]) -> Tensor:
    """u = sin X cos Y / pi, v = -cos X sin Y / pi, X = pi (x + 1): steady for Euler."""
    x, y = (math.pi * (points + 1)).unbind(-1)
    return torch.stack((x.sin() * y.cos(), -x.cos() * y.sin()), dim=-1) / math.pi


def two_scale(points: Tensor, settings: dict[str, Any]) -> Tensor:
    """One cell of Taylor-Green in the lower left quarter, a smaller one in the upper right
    corner; the stream function is blended to zero towards their inner edges."""
    with torch.enable_grad():
        x = points.detach().clone().requires_grad_()
        small, blend = 1 / settings["scale"], settings["blend"]
        psi = _cell(1 + x, 1.0, blend) + _cell((1 - x) / small, small, blend)
        (slope,) = torch.autograd.grad(psi.sum(), x)
    return torch.stack((slope[..., 1], -slope[..., 0]), dim=-1)


def _cell(s: Tensor, size: float, blend: float) -> Tensor:
    """Stream function of one vortex; s is the distance from the corner over the side."""
    inside = (s < 1).all(dim=-1)
    edge = ((1 - s) * size / blend).clamp(0.0, 1.0)
    fade = (edge**3 * (10 - 15 * edge + 6 * edge**2)).prod(dim=-1)
    psi = size * torch.sin(math.pi * s).prod(dim=-1) / math.pi**2
    return torch.where(inside, psi * fade, 0.0)


CASES = {"taylor_green": taylor_green, "two_scale": two_scale}


# --- solves ---------------------------------------------------------------------------------


def solve_stream(job: dict[str, Any], grid: Grid, times: list[float]) -> NeuralTrajectory:
    """One fit per step, without divergence by construction."""
    torch.manual_seed(job["seed"])
    sampler = Stratified(BOX) if job.get("random_points") else GaussLegendre(BOX)
    solver = INSRSolver(
        IncompressibleNavierStokes(viscosity=0.0),
        grid,
        stepper=ProjectedFlow(trace=job.get("trace", 1)),
        dt=job["dt"],
        network=StreamFunctionField(SIREN(2, 1, **job["network"]).double(), BOX),
        optimizer=GaussNewton(
            max_iterations=10,
            initial_iterations=job.get("initial_iterations", 200),
            initial_damping=1e-2,
            step_damping=job["damping"],
        ),
        num_points=job["points"],
        sampler=sampler,
        control=StepControl(initial_tolerance=job["initial_tolerance"], max_initial_error=0.1),
        seed=job["seed"],
    )
    case = CASES[job["case"]]
    return solver.solve(lambda points: case(points, job), times)


def solve_splitting(job: dict[str, Any], grid: Grid, times: list[float]) -> NeuralTrajectory:
    """Three fits per step, as published; walls by construction."""
    torch.manual_seed(job["seed"])
    slip = {0: [Dirichlet(0.0), None], 1: [None, Dirichlet(0.0)]}
    solver = SplittingSolver(
        NeuralField(SIREN(2, 2, **job["network"]).double(), BOX, boundary=slip),
        NeuralField(SIREN(2, 1, **job["network"]).double(), BOX, boundary=Neumann(0.0)),
        grid,
        dt=job["dt"],
        optimiser=GaussNewton(
            max_iterations=job["iterations"], initial_iterations=100, initial_damping=1e-3
        ),
        num_points=job["points"],
        seed=job["seed"],
    )
    case = CASES[job["case"]]
    return solver.solve(lambda points: case(points, job), times)


FORMS = {"stream": solve_stream, "splitting": solve_splitting}


def run_job(job: dict[str, Any]) -> str:
    """Solve, score, write the JSON file."""
    torch.set_num_threads(1)
    target = Path(job["output"]) / f"{job['name']}.json"
    if target.exists():
        return job["name"]
    times = [job["dt"] * n for n in (0, *job["outputs"])]
    count = job["score_cells"]
    grid = Grid((count, count), BOX.extent, BOX.lower, periodic=False, cell_centred=True)
    cpu, wall = time.process_time(), time.perf_counter()
    solution = FORMS[job["form"]](job, grid, times)
    seconds = time.process_time() - cpu
    steps = [report.seconds for report in solution.reports]
    truth = reference_of(job)
    states = solution.sample()[0].numpy()
    energy = [float((state**2).sum()) for state in states]
    record = {
        "name": job["name"],
        "settings": {k: v for k, v in job.items() if k != "output"},
        "parameters": solution.num_parameters,
        "cpu_seconds": seconds,
        "wall_seconds": time.perf_counter() - wall,
        "wall_seconds_per_step_median": float(np.median(steps)),
        "initial_error": relative_error(states[0], truth[0]),
        "outputs": job["outputs"][: len(states) - 1],
        "relative_l2": [relative_error(a, b) for a, b in zip(states[1:], truth[1:], strict=False)],
        "energy_kept": [value / energy[0] for value in energy[1:]],
        "divergence": [divergence(solution, n) for n in range(len(states))],
        "message": solution.message,
        "iterations": [report.num_iterations for report in solution.reports],
    }
    write_record(target, record)
    return job["name"]


def divergence(solution: NeuralTrajectory, n: int) -> float:
    """Rms of div v over that of grad v at 500 points."""
    generator = torch.Generator().manual_seed(0)
    unit = torch.rand(1, 500, 2, generator=generator, dtype=torch.float64)
    d = JetDerivatives(BOX.from_unit(unit))
    weights = solution.weights[n, 0]
    v = ParameterVector(solution.field.function).call(weights, d.points)
    parts = d.components(v)
    slopes = [d.values(s) for part in parts for s in d.gradient(part)]
    size = torch.stack(slopes).square().sum(dim=0).mean().sqrt()
    return float(d.values(d.divergence(*parts)).square().mean().sqrt() / size)


# --- references and baselines ---------------------------------------------------------------


def reference_of(job: dict[str, Any]) -> np.ndarray:
    """Velocity (output, 2, n, n) at the start and at the outputs."""
    count = job["score_cells"]
    if job["case"] == "taylor_green":
        exact = taylor_green(cell_centres(count), job).permute(2, 0, 1).numpy()
        return np.stack([exact] * (1 + len(job["outputs"])))
    fine, steps = job["reference_cells"], job["reference_steps"]
    times = [job["dt"] * n for n in (0, *job["outputs"])]
    states, _ = spectral_flow(lambda x: two_scale(x, job), fine, times, job["dt"] / steps)
    return coarse_cells(states, count)


def coarse_cells(states: np.ndarray, count: int) -> np.ndarray:
    """Values (output, 2, n, n) at the centres of other cells, by quintic splines."""
    factor = states.shape[-1] / count
    index = (np.arange(count) + 0.5) * factor - 0.5
    where = np.stack(np.meshgrid(index, index, indexing="ij"))
    return np.stack(
        [
            [map_coordinates(v, where, order=5, mode="grid-wrap") for v in mirrored(state)]
            for state in states
        ]
    )


def grid_rows(case: dict[str, Any], quick: bool) -> list[dict[str, Any]]:
    """Floors and baselines of one case on grids."""
    settings = {**case, "outputs": case["outputs"][:2] if quick else case["outputs"]}
    truth = reference_of(settings)
    velocity = lambda x: CASES[case["case"]](x, case)  # noqa: E731
    rows = []
    for cells, order in case["grids"]:
        states = advance_on_grid(velocity, cells, case["dt"], settings["outputs"], order=order)
        scored = [coarse_cells(states[n][None], case["score_cells"])[0]
                  for n in settings["outputs"]]  # fmt: skip
        rows.append({
            "grid": f"{cells}^2, splines of order {order}",
            "unknowns": 2 * cells**2,
            "seconds": states["seconds"],
            "outputs": settings["outputs"],
            "relative_l2": [relative_error(a, b) for a, b in zip(scored, truth[1:], strict=True)],
        })  # fmt: skip
    return rows


# --- the campaign ---------------------------------------------------------------------------


def all_jobs(config: dict[str, Any], output: Path, quick: bool) -> list[dict[str, Any]]:
    """One job per arm and seed."""
    jobs = []
    for name, arm in config["arms"].items():
        case = config["cases"][arm["case"]]
        for seed in arm["seeds"][:1] if quick else arm["seeds"]:
            job = {**case, **arm, "seed": seed, "output": str(output), "name": f"{name}_{seed}"}
            if quick:
                job["outputs"] = job["outputs"][:2]
            jobs.append(job)
    return jobs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    config = yaml.safe_load(arguments.config.read_text(encoding="utf-8"))
    arguments.output.mkdir(parents=True, exist_ok=True)
    jobs = all_jobs(config, arguments.output, arguments.quick)
    run_all(run_job, jobs, arguments.jobs)
    torch.set_num_threads(1)
    grids = {name: grid_rows(case, arguments.quick) for name, case in config["cases"].items()}
    records = [r for r in read_records(arguments.output, "*_[0-9]*.json") if "settings" in r]
    result = {**provenance(arguments.jobs), "config": config, "solves": records, "grids": grids}
    write_record(arguments.output / "results.json", result)


if __name__ == "__main__":
    main()
