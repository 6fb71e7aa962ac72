"""From one output time to the next: steps of given size, chosen by doubling, or by Courant number.

Each class carries what the stepper remembers (`memory`) across one interval at a time, so that a
failure leaves the frames before it intact.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from pdesurrogates.equations import BoundEquation
from pdesurrogates.reference.failure import SolverError, first_trouble
from pdesurrogates.steppers import Stepper, rollout

__all__ = ["Advance", "CourantSteps", "DoubledSteps", "FixedSteps"]

_TOLERANCES = {torch.float64: 1e-8, torch.float32: 1e-5}
_MAX_SUBSTEPS = 2**14
_SHORTEST_STEP = 1e-9


class Advance(ABC):
    """Carries a state from output time to output time.

    Args:
        f: The equation bound to its derivatives.
        stepper: Time-stepper.
        where: Name of the caller, for messages.
    """

    def __init__(self, f: BoundEquation, stepper: Stepper, *, where: str) -> None:
        self.f = f
        self.stepper = stepper
        self.where = where
        self.step = stepper.bind(f)
        self.num_steps = 0

    def start(self, t: float, u0: Tensor) -> Any:
        """The stepper's memory at the initial state (batch, channel, *space)."""
        return self.step.initial_state(t, self.f.encode(u0))

    def state(self, memory: Any) -> Tensor:
        """What the bound equation takes, from the stepper's memory."""
        return self.step.observe(memory)

    @abstractmethod
    def __call__(self, memory: Any, start: float, end: float) -> Any:
        """The memory at `end` from that at `start`."""

    @abstractmethod
    def remedy(self) -> str:
        """What to change when the solution breaks down."""

    def examine(self, before: Any, memory: Any, start: float, end: float) -> None:
        """Stop if the state at `end` cannot be; costs one look at the state per output time."""
        trouble = first_trouble(self.f, self.state(memory))
        if trouble is not None:
            self.stop(trouble, self.num_steps, end)

    def stop(self, trouble: tuple[int, tuple[int, ...], str], step: int, time: float) -> None:
        """Raise, naming everything."""
        sample, cell, what = trouble
        raise SolverError(
            f"{self.where}: step {step} to t = {time:.6g} gave a state that cannot be: {what} in "
            f"sample {sample}, cell {cell}; {self.remedy()}. The frames before are in the "
            "error's `states`.",
            step=step,
            time=time,
            sample=sample,
            cell=cell,
        )


class FixedSteps(Advance):
    """The fewest equal steps of at most `dt` per output interval.

    Args:
        dt: Largest step [time].
        limit: Largest Courant number, checked where the equation knows its wave speeds.
    """

    def __init__(
        self, f: BoundEquation, stepper: Stepper, *, dt: float, limit: float, where: str
    ) -> None:
        super().__init__(f, stepper, where=where)
        self.dt = dt
        self.limit = limit

    def remedy(self) -> str:
        return (
            f"use a smaller `dt` (it was {self.dt:g}) or leave it out to have it chosen, or use a "
            "finer grid"
        )

    def size(self, start: float, end: float) -> tuple[int, float]:
        """Number and size of the steps."""
        count = max(1, math.ceil((end - start) / self.dt * (1 - 1e-9)))
        return count, (end - start) / count

    def __call__(self, memory: Any, start: float, end: float) -> Any:
        count, dt = self.size(start, end)
        self._check_courant(memory, start, dt)
        for n in range(count):
            memory = self.step(start + n * dt, memory, dt)
        self.num_steps += count
        return memory

    def examine(self, before: Any, memory: Any, start: float, end: float) -> None:
        """Look once per output time; only after a failure repeat the interval step by step."""
        trouble = first_trouble(self.f, self.state(memory))
        if trouble is None:
            return
        count, dt = self.size(start, end)
        for n in range(count):
            before = self.step(start + n * dt, before, dt)
            found = first_trouble(self.f, self.state(before))
            if found is not None:
                self.stop(found, self.num_steps - count + n + 1, start + (n + 1) * dt)
        self.stop(trouble, self.num_steps, end)

    def _check_courant(self, memory: Any, start: float, dt: float) -> None:
        unit = self.f.largest_step(start, self.state(memory))
        if unit is None:
            return
        smallest, sample = (float(value) for value in unit.detach().min(dim=0))
        if dt <= smallest * self.limit * (1 + 1e-9) or math.isnan(smallest):
            return
        raise SolverError(
            f"{self.where}: dt = {dt:.4g} is Courant number {dt / smallest:.3g} at t = "
            f"{start:.6g} in sample {int(sample)}, the scheme is stable up to {self.limit:g}: the "
            f"largest allowed dt there is {smallest * self.limit:.4g}. Use it, or give `cfl` "
            "instead and have the step chosen.",
            step=self.num_steps + 1,
            time=start,
            sample=int(sample),
        )


class DoubledSteps(Advance):
    """n and 2 n steps per output interval, n doubling until both agree; the finer is kept."""

    def __init__(self, f: BoundEquation, stepper: Stepper, *, where: str) -> None:
        super().__init__(f, stepper, where=where)
        self.count = 1

    def start(self, t: float, u0: Tensor) -> Tensor:
        """The state itself: every interval starts anew, with no memory of steps before."""
        return self.f.encode(u0)

    def state(self, memory: Tensor) -> Tensor:
        return memory

    def remedy(self) -> str:
        return "use a finer grid, closer output times, or give `dt`"

    @torch.no_grad()
    def __call__(self, memory: Tensor, start: float, end: float) -> Tensor:
        tolerance = _TOLERANCES.get(memory.dtype, _TOLERANCES[torch.float32])
        coarse = self._split(memory, start, end, self.count)
        while True:
            fine = self._split(memory, start, end, 2 * self.count)
            error, sample = _relative_difference(coarse, fine)
            if error <= tolerance or self.count >= _MAX_SUBSTEPS:
                break
            coarse, self.count = fine, 2 * self.count
        if not error <= tolerance:
            raise SolverError(
                f"{self.where}: {_MAX_SUBSTEPS} steps between t = {start:g} and {end:g} still "
                f"differ from twice as many by {error:.1e} in sample {sample}; the solution may "
                f"blow up or be under-resolved; {self.remedy()}. The frames before are in the "
                "error's `states`.",
                step=self.num_steps + 1,
                time=start,
                sample=sample,
            )
        self.num_steps += 2 * self.count
        if error < tolerance / 2 ** (self.stepper.order + 3) and self.count > 1:
            self.count //= 2
        return fine

    def _split(self, state: Tensor, start: float, end: float, count: int) -> Tensor:
        inner = [start + (end - start) * n / count for n in range(count)] + [end]
        return rollout(self.stepper.bind(self.f), state, inner)[:, -1]


class CourantSteps(Advance):
    """Per sample `cfl` times the largest step of its state, and exactly onto every output time.

    Where fewer than two steps are left the rest is split evenly, so no step is much shorter than
    its neighbours. A sample that has arrived waits with steps of length zero; what one sample does
    never depends on the others. The host waits for the device once per step, to learn whether all
    have arrived and whether a step is impossible.

    Args:
        cfl: Courant number.
    """

    def __init__(self, f: BoundEquation, stepper: Stepper, *, cfl: float, where: str) -> None:
        super().__init__(f, stepper, where=where)
        self.cfl = cfl

    def remedy(self) -> str:
        return (
            f"use a smaller `cfl` (it was {self.cfl:g}), a finer grid, or a more diffusive scheme "
            "(Rusanov fluxes, a reconstruction of lower order)"
        )

    def __call__(self, memory: Any, start: float, end: float) -> Any:
        t: Tensor | None = None
        while True:
            state = self.state(memory)
            if t is None:
                t = torch.full((state.shape[0],), start, dtype=torch.float64, device=state.device)
            size = self.cfl * self._unit(t, state)
            left = end - t
            is_last = left <= size
            dt = torch.where(is_last, left, torch.where(left < 2 * size, left / 2, size))
            # False for NaN, too.
            is_possible = size > _SHORTEST_STEP * (end - start)
            all_last, all_possible = torch.stack([is_last.all(), is_possible.all()]).tolist()
            if not all_possible:
                self._impossible(state, t, size, is_possible)
            memory = self.step(t, memory, dt)
            self.num_steps += 1
            t = torch.where(is_last, end, t + dt)
            if all_last:
                return memory

    def _unit(self, t: Tensor, state: Tensor) -> Tensor:
        unit = self.f.largest_step(t, state)
        if unit is None:
            raise TypeError(f"{self.where}: the scheme states its wave speeds at some times only.")
        return unit.double()

    def _impossible(self, state: Tensor, t: Tensor, size: Tensor, is_possible: Tensor) -> None:
        trouble = first_trouble(self.f, state)
        sample = int((~is_possible).nonzero()[0]) if trouble is None else trouble[0]
        time = float(t[sample])
        if trouble is not None:
            self.stop(trouble, self.num_steps, time)
        raise SolverError(
            f"{self.where}: the stable step of sample {sample} fell to {float(size[sample]):.2e} "
            f"at t = {time:.6g} after {self.num_steps} steps; {self.remedy()}. The frames before "
            "are in the error's `states`.",
            step=self.num_steps + 1,
            time=time,
            sample=sample,
        )


def _relative_difference(coarse: Tensor, fine: Tensor) -> tuple[float, int]:
    """The largest over all samples, relative to each sample's largest value; and which sample."""
    space = tuple(range(1, fine.ndim))
    scale = fine.abs().amax(dim=space).clamp(min=torch.finfo(fine.dtype).tiny)
    difference = (coarse - fine).abs().amax(dim=space) / scale
    value, sample = difference.nan_to_num(nan=float("inf")).max(dim=0)
    return float(value), int(sample)
