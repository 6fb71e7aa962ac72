"""A PINN for one peak problem with one sampler, at a fixed number of residual evaluations."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from experiments.adaptive_sampling.network import PeakNetwork
from experiments.adaptive_sampling.problems import Peaks
from pdesurrogates.core import Box, generator
from pdesurrogates.sampling import (
    RAD,
    RAR,
    AdversarialSampler,
    DensityFlowSampler,
    Sampler,
    Sobol,
    SplineFlow,
    Uniform,
)

__all__ = ["ARMS", "build_sampler", "solve"]

# Arm -> sampler, whether the loss is weighted by 1 / density, factor on the evaluations.
ARMS: dict[str, tuple[str, bool, str]] = {
    "uniform": ("uniform", False, "budget"),
    "sobol": ("sobol", False, "budget"),
    "sobol_longer": ("sobol", False, "longer_budget"),
    "rar": ("rar", False, "budget"),
    "rad": ("rad", False, "budget"),
    "rad_weighted": ("rad", True, "budget"),
    "das": ("das", False, "budget"),
    "das_weighted": ("das", True, "budget"),
    "aas": ("aas", False, "budget"),
    "aas_weighted": ("aas", True, "budget"),
}


def build_sampler(name: str, domain: Box, options: dict[str, Any], seed: int) -> Sampler:
    """A sampler of the configuration."""
    if name in ("uniform", "sobol"):
        return Uniform(domain) if name == "uniform" else Sobol(domain)
    options = {key: value for key, value in options[name].items() if key != "every"}
    if name == "rar":
        return RAR(domain, **options)
    if name == "rad":
        return RAD(domain, **options)
    flow = SplineFlow(domain, seed=seed, **options.pop("flow"))
    if name == "das":
        return DensityFlowSampler(domain, flow=flow, **options)
    return AdversarialSampler(domain, flow=flow, **options)


@dataclass
class _Draws:
    """Batches of points, a few drawn at a time."""

    sampler: Sampler
    batch_size: int
    generator: torch.Generator
    num_batches: int = 10
    used: int = 0

    def next(self) -> tuple[Tensor, Tensor]:
        """Points and 1 / (density volume) of one batch."""
        n = self.used % self.num_batches
        if n == 0:
            total = self.batch_size * self.num_batches
            samples = self.sampler.sample(total, generator=self.generator, dtype=torch.float32)
            volume = self.sampler.domain.volume
            self.points = samples.points
            self.weights = torch.exp(-samples.log_density - math.log(volume))
            # Every batch holds all parts of a mixture.
            mixed = torch.randperm(total, generator=self.generator)
            self.order = torch.arange(total) if isinstance(self.sampler, Sobol) else mixed
        self.used += 1
        chosen = self.order[n * self.batch_size : (n + 1) * self.batch_size]
        return self.points[chosen], self.weights[chosen]


def solve(problem: Peaks, arm: str, seed: int, config: dict[str, Any]) -> dict[str, Any]:
    """Train until the residual was evaluated as often as the configuration allows.

    Points of the training steps and points at which the sampler looks count alike. Seconds are
    those of the processor in this process.
    """
    name, weighted, budget_name = ARMS[arm]
    budget, batch_size = config[budget_name], config["batch_size"]
    network = PeakNetwork(problem.dim, seed=seed, **config["network"])
    sampler = build_sampler(name, problem.domain, config["samplers"], seed)
    every = config["samplers"].get(name, {}).get("every", 0)
    stream = generator(seed, 1)
    draws = _Draws(sampler, batch_size, stream)
    optimizer = torch.optim.Adam(network.parameters(), lr=config["learning_rate"])
    started, sampler_seconds = time.process_time(), 0.0
    step, evaluations, failures = 0, 0, 0

    def residual(x: Tensor) -> Tensor:
        return problem.residual(x, network.expand(x))

    while evaluations < budget:
        asked = time.process_time()
        if every and step and step % every == 0:
            try:
                sampler.update(residual, generator=stream, dtype=torch.float32)
            except RuntimeError:
                failures += 1
        x, weights = draws.next()
        sampler_seconds += time.process_time() - asked
        squared = residual(x).square()
        loss = (squared * weights).mean() if weighted else squared.mean()
        optimizer.zero_grad()
        loss.backward()
        for group in optimizer.param_groups:
            cosine = 0.5 * (1 + math.cos(math.pi * evaluations / budget))
            group["lr"] = config["learning_rate"] * cosine
        optimizer.step()
        step += 1
        evaluations = step * batch_size + sampler.num_residual_evaluations
    seconds = time.process_time() - started
    cloud = sampler.sample(2000, generator=generator(seed, 2), dtype=torch.float32)
    return {
        **scores(problem, network, config["num_test_points"]),
        "seconds": seconds,
        "sampler_seconds": sampler_seconds,
        "num_steps": step,
        "num_evaluations": evaluations,
        "failed_updates": failures,
        "parameters": sum(p.numel() for p in network.parameters()),
        "cloud": cloud,
    }


def scores(problem: Peaks, network: PeakNetwork, num_points: int) -> dict[str, Any]:
    """Relative L2 error (zero function: 1), uniform residual, values at the peaks (exact: 1)."""
    points, weights = problem.test_points(num_points)
    x = points.float()
    with torch.no_grad():
        u, exact = network.expand(x), problem.exact(points)
        error = (u.value.double() - exact.value)[:, 0]
        norm = (weights * exact.value[:, 0].square()).sum().sqrt()
        residual = problem.residual(x, u).double()
        relative = float((weights * error.square()).sum().sqrt() / norm)
        return {
            "relative_l2": relative,
            "stalled": not relative < 0.9,
            "residual_rms": float((weights * residual.square()).sum().sqrt()),
            "peaks": network(torch.tensor(problem.centers))[:, 0].tolist(),
            "largest_error": float(error.abs().max()),
        }
