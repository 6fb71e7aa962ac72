"""Elastic bodies as neural displacement fields against finite elements of the same energy.

    python -m experiments.insr_elastic.run CONFIG.yaml OUTPUT [--jobs 2] [--quick]

Run from the root of the repository. Every solve is one JSON file in OUTPUT; those that exist are
not repeated, so a killed run continues. The last act gathers them in OUTPUT/results.json.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from experiments.campaign import provenance, read_records, run_all, write_record
from experiments.insr_elastic.cases import (
    element_solver,
    mesh_of,
    neural_solver,
    start_positions,
)
from pdesurrogates.core import Grid, generator
from pdesurrogates.neural_fields import ElasticStep
from pdesurrogates.sampling import MeshPoints


def run_solve(job: dict[str, Any]) -> str:
    """Solve one case in one way, write its JSON file and the positions of the probe points."""
    torch.set_num_threads(1)
    output, case = Path(job["output"]), job["case"]
    target = output / f"{job['name']}.json"
    if target.exists():
        return job["name"]
    points = _probe_points(case)
    wall, cpu = time.perf_counter(), time.process_time()
    if "seed" in job:
        found, steps, unknowns, message = _neural(job, points)
    else:
        found, steps, unknowns, message = _elements(job, points)
    record = {
        "case": job["case_name"],
        "arm": job["arm_name"],
        "seed": job.get("seed"),
        "unknowns": unknowns,
        "message": message,
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
        "seconds_per_step": sum(step.seconds for step in steps) / max(1, len(steps)),
        "steps": [vars(step) for step in steps],
    }
    torch.save(found, output / f"{job['name']}.pt")
    write_record(target, record)
    return job["name"]


Found = tuple[Tensor, tuple[ElasticStep, ...], int, str]


def _neural(job: dict[str, Any], points: Tensor) -> Found:
    case = job["case"]
    solver = neural_solver(case, case["neural"][job["arm_name"]], job["seed"])
    if solver.body.is_static:
        trajectory = solver.relax()
    else:
        trajectory = solver.solve(case["dt"], case["num_steps"])
    if case["shape"] == "square":
        grid = Grid((32, 32), (2.0, 2.0), (-1.0, -1.0), False)
        path = Path(job["output"]) / f"{job['name']}.hdf5"
        trajectory.write(path, grid, overwrite=True)
    unknowns = trajectory.num_parameters
    return trajectory.positions(points), trajectory.steps, unknowns, trajectory.message


def _elements(job: dict[str, Any], points: Tensor) -> Found:
    case = job["case"]
    solver = element_solver(case, case["elements"][job["arm_name"]])
    if solver.body.is_static:
        trajectory = solver.relax(start_positions(case, solver.elements.nodes))
    else:
        trajectory = solver.solve(case["dt"], case["num_steps"])
    positions = torch.stack([trajectory.at(points, n) for n in range(len(trajectory.times))])
    return positions, trajectory.steps, solver.num_unknowns, trajectory.message


def _probe_points(case: dict[str, Any]) -> Tensor:
    """The same points of the body at rest for all solves."""
    mesh = mesh_of(case, 4 if case["shape"] == "square" else 0)
    return MeshPoints(mesh).sample(500, generator=generator(99)).points


def gather(output: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Errors against the finest elements, per case and arm."""
    result: dict[str, Any] = {}
    for record in read_records(output, "*_*.json"):
        name = f"{record['case']}_{record['arm']}"
        name += "" if record["seed"] is None else f"_{record['seed']}"
        truth_name = f"{record['case']}_{config['cases'][record['case']]['truth']}"
        truth = torch.load(output / f"{truth_name}.pt")
        found = torch.load(output / f"{name}.pt")
        gap = (found - truth[: len(found)]).square().sum(dim=-1)
        last = record["steps"][-1] if record["steps"] else {}
        arm = result.setdefault(record["case"], {}).setdefault(record["arm"], [])
        arm.append(
            {
                "seed": record["seed"],
                "unknowns": record["unknowns"],
                "steps_done": len(record["steps"]),
                "rms_difference": gap.mean(dim=-1).sqrt().tolist(),
                "max_difference": float(gap.max().sqrt()),
                "potential": last.get("potential"),
                "elastic_energy": [step["elastic_energy"] for step in record["steps"]],
                "kinetic_energy": [step["kinetic_energy"] for step in record["steps"]],
                "depth": [step["depth"] for step in record["steps"]],
                "min_volume_ratio": min(s["min_volume_ratio"] for s in record["steps"])
                if record["steps"]
                else None,
                "iterations": [step["num_iterations"] for step in record["steps"]],
                "seconds": record["seconds"],
                "cpu_seconds": record["cpu_seconds"],
                "message": record["message"],
            }
        )
    return result


def jobs_of(config: dict[str, Any], output: Path, *, quick: bool) -> list[dict[str, Any]]:
    """All solves, finite elements first, then seed by seed."""
    jobs = []
    for case_name, case in config["cases"].items():
        if quick and "num_steps" in case:
            case["num_steps"] = 1
        base = {"output": str(output), "case_name": case_name, "case": case}
        for arm in case["elements"]:
            jobs.append({**base, "arm_name": arm, "name": f"{case_name}_{arm}"})
        for arm, options in case["neural"].items():
            if quick:
                options |= {"num_points": 128, "max_iterations": 3, "num_check_points": 256}
            for seed in config["seeds"][: 1 if quick else None]:
                name = f"{case_name}_{arm}_{seed}"
                jobs.append({**base, "arm_name": arm, "seed": seed, "name": name})
    return sorted(jobs, key=lambda job: job.get("seed", -1))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a step each, to see that it works")
    arguments = parser.parse_args()
    config = yaml.safe_load(arguments.config.read_text(encoding="utf-8"))
    arguments.output.mkdir(parents=True, exist_ok=True)
    run_all(run_solve, jobs_of(config, arguments.output, quick=arguments.quick), arguments.jobs)
    record = {"provenance": provenance(arguments.jobs), "config": config}
    record["results"] = gather(arguments.output, config)
    write_record(arguments.output / "results.json", record)


if __name__ == "__main__":
    main()
