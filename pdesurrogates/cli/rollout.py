"""`rollout`: carries the states of a file forward with a surrogate, streamed to HDF5."""

from __future__ import annotations

import hashlib
import math
from argparse import Namespace
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from pdesurrogates import steppers
from pdesurrogates.cli.rollout_options import OnGrid, RolloutOptions, placed, with_members
from pdesurrogates.core import StatefulStep
from pdesurrogates.data import TrajectoryFile, TrajectoryWriter, open_trajectories
from pdesurrogates.steppers import Stepper, rollout
from pdesurrogates.surrogates import (
    DerivativeSurrogate,
    Surrogate,
    accelerate,
    bind_members,
    load_surrogate,
)
from pdesurrogates.surrogates.ensemble import check_members

__all__ = [
    "check_device",
    "initial_states_fingerprint",
    "parse_stepper",
    "rollout_file",
    "rollout_times",
    "run",
    "weights_fingerprint",
]

CHUNK_BYTES = 2**26
_PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


def run(arguments: Namespace) -> None:
    """Load the surrogate, roll out every trajectory of the file, write the result."""
    check_device(arguments.device)
    surrogate = load_surrogate(arguments.checkpoint)
    if arguments.stepper is not None:
        if not isinstance(surrogate, DerivativeSurrogate):
            raise ValueError(
                f"--stepper: {arguments.checkpoint} is a {type(surrogate).__name__}, which has no "
                "stepper; only derivative surrogates can change it."
            )
        surrogate = surrogate.with_stepper(parse_stepper(arguments.stepper))
    surrogate = accelerate(
        surrogate.to(arguments.device).eval(),
        compile=arguments.compile,
        cuda_graphs=arguments.cuda_graphs,
        dtype=_PRECISIONS[arguments.precision],
    )
    with open_trajectories(arguments.file) as file:
        rollout_file(
            surrogate,
            file,
            arguments.output,
            dt=arguments.dt,
            num_steps=arguments.num_steps,
            start=arguments.start,
            save_every=arguments.save_every,
            batch_size=arguments.batch_size,
            device=arguments.device,
            source=weights_fingerprint(arguments.checkpoint),
            overwrite=arguments.overwrite,
            options=RolloutOptions(
                num_members=arguments.members,
                seed=arguments.seed,
                precision=arguments.precision,
                on_trained_grid=arguments.on_trained_grid,
            ),
        )
    print(f"wrote {arguments.output}")


def parse_stepper(text: str) -> Stepper:
    """`RK4` or, with an order, `AdamsBashforth:2`: a class of `pdesurrogates.steppers`."""
    name, _, order = text.partition(":")
    known = [
        known
        for known in steppers.__all__
        if isinstance(getattr(steppers, known), type)
        and issubclass(getattr(steppers, known), Stepper)
        and known not in ("Stepper", "ExplicitRungeKutta")
    ]
    if name not in known or (order and not order.isdigit()):
        raise ValueError(
            f"--stepper: expected one of {', '.join(known)}, with an order as in "
            f"AdamsBashforth:2 where there is one, got {text!r}."
        )
    try:
        return getattr(steppers, name)(*([int(order)] if order else []))
    except TypeError as error:
        raise ValueError(
            f"--stepper: {name} {'has no order' if order else 'needs an order'}, got {text!r}; "
            f"write {name if order else f'{name}:2'}."
        ) from error


def check_device(name: str) -> None:
    """Refuse a device that torch does not know or cannot use here."""
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"--device: expected a device that torch can use here, such as cpu, got {name!r} "
            f"({str(error).splitlines()[0]})."
        ) from error


def weights_fingerprint(folder: Path) -> str:
    """What identifies a saved surrogate: a hash of all its files."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.is_file():
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def initial_states_fingerprint(file: TrajectoryFile, frame: int, batch_size: int = 64) -> str:
    """A hash of one frame of every trajectory, and of the PDE parameters.

    Raises:
        ValueError: If a state holds NaN or Inf, naming trajectory, time and field.
    """
    digest = hashlib.sha256()
    for low in range(0, file.num_trajectories, batch_size):
        rows = range(low, min(low + batch_size, file.num_trajectories))
        states = file.read_windows(rows, [frame] * len(rows), 1)
        for row, state in zip(rows, states, strict=True):
            file.check_finite(state, row, frame)
        digest.update(states.numpy().tobytes())
    for name, values in file.parameters.items():
        digest.update(name.encode() + values.numpy().tobytes())
    return digest.hexdigest()


def rollout_times(
    file: TrajectoryFile, dt: float, *, start: int = 0, num_steps: int | None = None
) -> Tensor:
    """Times of a rollout from frame `start`: (time,), or (trajectory, time) where they differ.

    Without `num_steps` they reach to the end of the file.
    """
    if not -file.num_times <= start < file.num_times:
        raise ValueError(
            f"rollout: `start` must be a frame of {file.name}, which has {file.num_times}, got "
            f"{start}."
        )
    first = start % file.num_times
    origin = file.times[..., first : first + 1].double()
    if num_steps is None:
        num_steps = math.floor(float((file.times[..., -1:] - origin).min()) / dt + 1e-6)
    return origin + dt * torch.arange(num_steps + 1).double()


def rollout_file(
    surrogate: Surrogate,
    file: TrajectoryFile,
    output: Path,
    *,
    dt: float | None = None,
    num_steps: int | None = None,
    start: int = 0,
    save_every: int = 1,
    batch_size: int = 64,
    device: str = "cpu",
    source: str = "",
    overwrite: bool = False,
    options: RolloutOptions = RolloutOptions(),  # noqa: B008 - frozen
) -> None:
    """Roll out from frame `start` of every trajectory and stream the states to `output`.

    After a kill the same call continues with the first batch that is not complete. With several
    members the output holds `num_members` trajectories for each one of the file, one after the
    other, told apart by the parameters `trajectory` and `member`.

    Args:
        surrogate: The surrogate, on `device`.
        file: Where the initial states are.
        output: File in The Well's layout.
        dt: Step [time]; the trained one when `None`.
        num_steps: Steps; to the end of the file when `None`.
        start: Frame to start from, negative counts from the end.
        save_every: Steps per saved state.
        batch_size: Trajectories at a time, members counted.
        device: Where the surrogate is.
        source: Identity of the weights; a partial output of others is refused.
        overwrite: Replace an existing output.
        options: Members, precision and grid.
    """
    num_members = options.num_members
    check_members(surrogate, num_members)
    surrogate, grid = placed(surrogate, file, options.on_trained_grid)
    dt = surrogate.dt if dt is None else dt
    times = rollout_times(file, dt, start=start, num_steps=num_steps)
    first, num_steps = start % file.num_times, times.shape[-1] - 1
    if num_steps < save_every:
        raise ValueError(
            f"rollout: no state to save after frame {first} of {file.name} with dt = {dt:g}, "
            f"{num_steps} steps and one state per {save_every}; give `--num-steps` to go beyond "
            "the end of the file."
        )
    times = times[..., : num_steps // save_every * save_every + 1]
    surrogate.check_trajectories(file)
    names = surrogate.parameter_names
    with TrajectoryWriter(
        output,
        fields=file.fields,
        grid=file.grid,
        times=times[..., ::save_every],
        num_trajectories=file.num_trajectories * num_members,
        parameters=with_members(file, num_members),
        attributes={
            "source": file.name,
            "surrogate": type(surrogate).__name__,
            "weights": source,
            "initial_states": initial_states_fingerprint(file, first, batch_size),
            "calls_per_time": surrogate.num_evaluations / dt,
            "num_parameters": count_parameters(surrogate),
            "num_members": num_members,
            "seed": options.seed,
            "precision": options.precision,
        },
        dtype=str(file.dtype).removeprefix("torch."),
        fingerprint=f"{getattr(surrogate, 'stepper', '')} {dt} {save_every} {batch_size} {grid}",
        overwrite=overwrite,
    ) as writer:
        num_rows = file.num_trajectories * num_members
        batches = range(0, num_rows, batch_size)
        steps = times.shape[-1] - 1
        with tqdm(total=len(batches) * steps, unit="step", desc=output.stem) as bar:
            for low in batches:
                rows = range(low, min(low + batch_size, num_rows))
                if writer.completed.issuperset(rows):
                    bar.update(steps)
                    continue
                named = [divmod(row, num_members) for row in rows]
                which = [trajectory for trajectory, _ in named]
                u0 = file.read_windows(which, [first] * len(which), 1)[:, 0].to(device)
                values = [file.parameters[name][which] for name in names]
                parameters = torch.stack(values, dim=1).to(device) if names else None
                step = bind_members(surrogate, named, seed=options.seed, parameters=parameters)
                if grid is not None:
                    step = OnGrid(step, grid)
                row_times = times if times.ndim == 1 else times[which]
                _stream(_Continued(step), u0, row_times, writer, low, save_every, bar)
        writer.finish()


def count_parameters(surrogate: Surrogate) -> int:
    """Trainable numbers, a complex one counted as two."""
    return sum(
        weight.numel() * (2 if weight.is_complex() else 1) for weight in surrogate.parameters()
    )


class _Continued:
    """A step whose carried state survives from one `rollout` to the next."""

    def __init__(self, step: StatefulStep) -> None:
        self.step = step
        self.state: object = None

    def initial_state(self, t: float | Tensor, u0: Tensor) -> object:
        if self.state is None:
            self.state = self.step.initial_state(t, u0)
        return self.state

    def __call__(self, t: float | Tensor, state: object, dt: float | Tensor) -> object:
        self.state = self.step(t, state, dt)
        return self.state

    def observe(self, state: object) -> Tensor:
        return self.step.observe(state)


@torch.no_grad()
def _stream(
    step: _Continued,
    u: Tensor,
    times: Tensor,
    writer: TrajectoryWriter,
    row: int,
    save_every: int,
    bar: tqdm,
) -> None:
    """Roll out one batch in stretches that fit into memory, each written when it is done."""
    writer.write(row, u[:, None], first_time=0)
    last = times.shape[-1] - 1
    frames = max(1, CHUNK_BYTES // (u.numel() * u.element_size()))
    stretch = max(save_every, frames // save_every * save_every)
    for begin in range(0, last, stretch):
        end = min(begin + stretch, last)
        states = rollout(step, u, times[..., begin : end + 1])
        u = states[:, -1]
        writer.write(row, states[:, save_every::save_every], first_time=begin // save_every + 1)
        bar.update(end - begin)
