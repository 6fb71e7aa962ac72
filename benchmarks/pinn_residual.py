"""One residual step of a physics-informed network: Taylor arithmetic against nested reverse mode.

    python benchmarks/pinn_residual.py [--threads 1 2] [--points 1000 10000 50000]

A step is forward pass, residual, mean square and backward pass to the parameters, of a network
with 4 hidden layers of 50 units and tanh; the optimiser is the same for all. Three ways take turns
in one process, with the same weights and points:

    jets        `JetDerivatives`;
    autodiff    `AutodiffDerivatives`, nested reverse mode, which takes any function;
    deepxde     DeepXDE's network, `dde.grad.jacobian` and `dde.grad.hessian`, and its cache of
                gradients cleared in every step as its own training does; left out, and said so,
                where DeepXDE is not installed.

Before anything is timed, residuals and gradients agree. Memory is the peak of what tensors take
during one step.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
from collections.abc import Callable
from typing import Any

import torch
from harness import interleaved_medians, provenance, write_result
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from pdesurrogates.backbones import MLP
from pdesurrogates.equations import Burgers, KuramotoSivashinsky
from pdesurrogates.operators import AutodiffDerivatives, JetDerivatives

VISCOSITY = 0.01
GOAL = 1.5
TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-11}
REPETITIONS = {1_000: 40, 10_000: 20, 50_000: 7}


def flow(u: Any, d: Any) -> Any:
    """Momentum and divergence of a flow (velocity_x, velocity_y, pressure)."""
    *velocity, pressure = d.components(u)
    slopes = d.gradient(pressure)
    momentum = []
    for v, p in zip(velocity, slopes, strict=True):
        v_x, v_y = d.gradient(v)
        advection = velocity[0] * v_x + velocity[1] * v_y
        momentum.append(d.dt(v) + advection + p - VISCOSITY * d.laplacian(v))
    return d.stack(*momentum, d.dx(velocity[0]) + d.dy(velocity[1]))


# Name: space axes, channels, residual.
EQUATIONS: dict[str, tuple[int, int, Callable[[Any, Any], Any]]] = {
    "Burgers 1D": (1, 1, lambda u, d: Burgers(VISCOSITY).residual(u, d)),
    "Navier-Stokes 2D": (2, 3, flow),
    "Kuramoto-Sivashinsky": (1, 1, lambda u, d: KuramotoSivashinsky().residual(u, d)),
}


class DeepXDE:
    """The same equations as one writes them for DeepXDE; time is the last coordinate."""

    def __init__(self, network: MLP, equation: str) -> None:
        os.environ.setdefault("DDE_BACKEND", "pytorch")
        import deepxde

        self.grad = deepxde.grad
        self.clear = deepxde.gradients.clear
        sizes = [network.in_channels, *[network.width] * network.depth, network.out_channels]
        dtype = network.head.weight.dtype
        deepxde.config.set_default_float("float32" if dtype == torch.float32 else "float64")
        self.network = deepxde.nn.FNN(sizes, "tanh", "Glorot normal")
        for linear, ours in zip(self.network.linears, network.layers, strict=True):
            linear.load_state_dict(ours.state_dict())
        self.residual = {
            "Burgers 1D": self.burgers,
            "Navier-Stokes 2D": self.flow,
            "Kuramoto-Sivashinsky": self.kuramoto_sivashinsky,
        }[equation]

    def __call__(self, points: Tensor) -> Tensor:
        x = points.detach().requires_grad_()
        residual = self.residual(x, self.network(x))
        self.clear()
        return residual

    def burgers(self, x: Tensor, y: Tensor) -> Tensor:
        y_x = self.grad.jacobian(y, x, i=0, j=0)
        y_t = self.grad.jacobian(y, x, i=0, j=1)
        return y_t + y * y_x - VISCOSITY * self.grad.hessian(y, x, i=0, j=0)

    def kuramoto_sivashinsky(self, x: Tensor, y: Tensor) -> Tensor:
        y_x = self.grad.jacobian(y, x, i=0, j=0)
        y_t = self.grad.jacobian(y, x, i=0, j=1)
        y_xx = self.grad.hessian(y, x, i=0, j=0)
        return y_t + y * y_x + y_xx + self.grad.hessian(y_xx, x, i=0, j=0)

    def flow(self, x: Tensor, y: Tensor) -> Tensor:
        jacobian, hessian = self.grad.jacobian, self.grad.hessian
        rows = []
        for i in range(2):
            advection = y[:, 0:1] * jacobian(y, x, i=i, j=0) + y[:, 1:2] * jacobian(y, x, i=i, j=1)
            laplacian = hessian(y, x, component=i, i=0, j=0) + hessian(y, x, component=i, i=1, j=1)
            slope = jacobian(y, x, i=2, j=i)
            rows.append(jacobian(y, x, i=i, j=2) + advection + slope - VISCOSITY * laplacian)
        divergence = jacobian(y, x, i=0, j=0) + jacobian(y, x, i=1, j=1)
        return torch.cat((*rows, divergence), dim=1)


def measure(
    name: str, num_points: int, dtype: torch.dtype, threads: int, *, has_peer: bool
) -> dict[str, Any]:
    """Check that all give the same, then time them in turns."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    dim, channels, equation = EQUATIONS[name]
    network = MLP(dim + 1, channels, width=50, depth=4, bias_spread=1.0).to(dtype)
    points = torch.rand(num_points, dim + 1, dtype=dtype)

    def by(provider: type) -> Callable[[], Tensor]:
        def residual() -> Tensor:
            d = provider(points[None, :, :dim].clone(), points[None, :, dim:].clone())
            return d.values(equation(network(d.coordinates()), d))[0]

        return residual

    residuals: dict[str, tuple[nn.Module, Callable[[], Tensor]]] = {
        "jets": (network, by(JetDerivatives)),
        "autodiff": (network, by(AutodiffDerivatives)),
    }
    if has_peer:
        peer = DeepXDE(network, name)
        residuals["deepxde"] = (peer.network, lambda: peer(points))

    def step(key: str) -> Callable[[], Tensor]:
        module, residual = residuals[key]

        def call() -> Tensor:
            module.zero_grad(set_to_none=True)
            values = residual()
            values.square().mean().backward()
            return values.detach()

        return call

    steps = {key: step(key) for key in residuals}
    differences = agreement(residuals, steps)
    if not max(differences.values()) < TOLERANCES[dtype]:
        raise RuntimeError(f"{name}: the residuals or gradients differ, {differences}")
    seconds = interleaved_medians(steps, REPETITIONS.get(num_points, 10), warm_up=2)
    memory = {key: peak_memory(call, residuals[key][0]) for key, call in steps.items()}
    others = [key for key in steps if key != "jets"]
    return {
        "equation": name,
        "points": num_points,
        "dtype": str(dtype).removeprefix("torch."),
        "threads": threads,
        "differences": differences,
        "step_ms": {key: value * 1e3 for key, value in seconds.items()},
        "speedup": {key: seconds[key] / seconds["jets"] for key in others},
        "peak_memory_mib": {key: value / 2**20 for key, value in memory.items()},
        "memory_ratio": {key: memory[key] / memory["jets"] for key in others},
    }


def agreement(
    residuals: dict[str, tuple[nn.Module, Callable[[], Tensor]]],
    steps: dict[str, Callable[[], Tensor]],
) -> dict[str, float]:
    """Relative differences of residuals and of gradients from those by jets."""
    found = {}
    for key, call in steps.items():
        values = call()
        # The bias of the last layer has no gradient where u itself does not enter.
        slopes = [p.grad for p in residuals[key][0].parameters() if p.grad is not None]
        found[key] = values, torch.cat([slope.flatten() for slope in slopes])
    result = {}
    for key in [key for key in steps if key != "jets"]:
        for what, ours, theirs in zip(
            ("residual", "gradient"), found["jets"], found[key], strict=True
        ):
            result[f"{key} {what}"] = float((ours - theirs).norm() / theirs.norm())
    return result


def peak_memory(step: Callable[[], Any], network: nn.Module) -> int:
    """Largest number of bytes that tensors of one step hold at a time."""
    network.zero_grad(set_to_none=True)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step()
    events = recorded.profiler.kineto_results.events()
    changes = [(e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"]
    held, peak = 0, 0
    for _, change in sorted(changes, key=lambda entry: entry[0]):
        held += change
        peak = max(peak, held)
    return peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--points", type=int, nargs="+", default=list(REPETITIONS))
    parser.add_argument("--dtypes", nargs="+", default=["float32", "float64"])
    parser.add_argument("--equations", nargs="+", choices=EQUATIONS, default=list(EQUATIONS))
    arguments = parser.parse_args()
    has_peer = importlib.util.find_spec("deepxde") is not None
    if not has_peer:
        print("DeepXDE is not installed: no peer (pip install 'pdesurrogates[compare]')")
    keys = ["jets", "autodiff", *(["deepxde"] if has_peer else [])]
    print(
        f"{'':21}{'points':>7} {'dtype':8}{'threads':>7}",
        *(f"{key + ' ms':>12}{'x':>6}{'MiB':>7}" for key in keys),
    )
    rows = []
    for threads in arguments.threads:
        for name in arguments.equations:
            for num_points in arguments.points:
                for dtype in (getattr(torch, dtype) for dtype in arguments.dtypes):
                    row = measure(name, num_points, dtype, threads, has_peer=has_peer)
                    rows.append(row)
                    print(
                        f"{name:21}{num_points:7} {row['dtype']:8}{threads:7}",
                        *(
                            f"{row['step_ms'][key]:12.1f}{row['speedup'].get(key, 1.0):6.2f}"
                            f"{row['peak_memory_mib'][key]:7.0f}"
                            for key in keys
                        ),
                        flush=True,
                    )
    packages = ["deepxde"] if has_peer else []
    result = provenance(*packages) | {"goal": {"speedup over deepxde": GOAL}, "rows": rows}
    print("written to", write_result("pinn_residual", result))


if __name__ == "__main__":
    main()
