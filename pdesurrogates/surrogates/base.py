"""What every surrogate has: a network, statistics, a trained step, and a way to step."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, cast

import torch
from torch import Tensor, nn

from pdesurrogates.backbones import MeshGraph
from pdesurrogates.core import FieldSpec, Grid, StatefulStep, check_state
from pdesurrogates.data import Normalizer

if TYPE_CHECKING:
    from pdesurrogates.data import TrajectoryFile, TrajectoryWindows

__all__ = ["DT_TOLERANCE", "Batch", "Surrogate", "check_kind", "same_box"]

Batch = dict[str, Any]  # what TrajectoryWindows gives; "input" and "stream" from training

DT_TOLERANCE = 1e-6
_FLOAT32_ROUNDING = 2.0**-23


@dataclass(frozen=True)
class _Carried:
    """What `rollout` carries for a surrogate: the bound step and the state that step keeps."""

    step: StatefulStep
    state: object


@dataclass(frozen=True)
class _CheckedStep:
    """A bound step that refuses wrong states at the start and wrong step sizes on the way."""

    surrogate: Surrogate
    step: StatefulStep

    def initial_state(self, t: float | Tensor, u0: Tensor) -> object:
        self.surrogate.check_input(u0)
        return self.step.initial_state(t, u0)

    def __call__(self, t: float | Tensor, state: object, dt: float | Tensor) -> object:
        self.surrogate.check_dt(dt, t)
        return self.step(t, state, dt)

    def observe(self, state: object) -> Tensor:
        return self.step.observe(state)


def same_box(a: Grid, b: Grid) -> bool:
    """Whether two grids cover boxes of equal size and periodicity, at any resolution.

    Extents from files may carry float32 rounding.
    """
    return a.is_periodic == b.is_periodic and all(
        math.isclose(own, other, rel_tol=1e-5)
        for own, other in zip(a.extent, b.extent, strict=True)
    )


def check_kind(value: object, kind: type, *, where: str, name: str) -> None:
    """Refuse a part of a surrogate that is not an instance of `kind`.

    Raises:
        TypeError: Naming the argument and what came.
    """
    if not isinstance(value, kind):
        came = value.__name__ if isinstance(value, type) else repr(value)
        raise TypeError(
            f"{where}: `{name}` must be an instance of {kind.__name__}, got {came}; build it "
            "first and pass the object, not its name or class."
        )


def _as_it_is(network: nn.Module, *inputs: Tensor) -> Tensor:
    return network(*inputs)


class Surrogate(nn.Module):
    """A network that carries a state over one time step; base of all surrogates.

    A surrogate is a one-step map, `surrogate(t, u, dt) -> u_next`, and can be given to `rollout`
    as it is. The network N sees and predicts standardised quantities,

        z = (u - mean_u) / std_u,    y = mean_y + std_y N(z, c),    c = standardised parameters,

    where y is what the subclass predicts (next state, change, derivative). The statistics come
    from the training split (`fit_normalizers`) and are saved with the weights. A backbone with
    `num_conditions` is told the PDE parameters as `condition`; any other network sees them as
    constant channels after those of the state.

    Args:
        backbone: Maps (batch, channel, *space) to (batch, channel, *space), see above for
            parameters. Any `nn.Module` serves.
        dt: Time step of the training data [time unit of the data].
        fields: Names and units of the channels; training takes them from the data when `None`.
        grid: Grid of the training data; training takes it from the data when `None`. Other
            resolutions of the same box are accepted at inference.
        parameter_names: The PDE parameters that N sees; `bind(parameters=...)` gives their values.

    Shape:
        u: (batch, channel, *space) -> (batch, channel, *space)
    """

    num_evaluations: float = 1
    """Network calls per step."""

    num_frames = 1
    """Frames that one network call predicts."""

    run_network: Callable[..., Tensor] = staticmethod(_as_it_is)
    """How N is run, (network, *inputs) -> output; `accelerate` gives other ways."""

    target_order: int | None = None
    """Order of the finite-difference derivative that the target needs; `None` if it needs none."""

    mesh: MeshGraph | None = None
    """The mesh that the surrogate runs on, see `on`; `None` on grids."""

    def __init__(
        self,
        backbone: nn.Module,
        dt: float,
        *,
        fields: FieldSpec | None = None,
        grid: Grid | None = None,
        parameter_names: Sequence[str] = (),
    ) -> None:
        super().__init__()
        where = type(self).__name__
        check_kind(backbone, nn.Module, where=where, name="backbone")
        if fields is not None:
            check_kind(fields, FieldSpec, where=where, name="fields")
        if grid is not None:
            check_kind(grid, Grid, where=where, name="grid")
        if not (math.isfinite(dt) and dt > 0):
            raise ValueError(f"{where}: `dt` must be positive and finite, got {dt}.")
        self.backbone = backbone
        self.dt = float(dt)
        self.fields = fields
        self.grid = grid
        self.parameter_names = tuple(parameter_names)
        self._check_backbone()
        self.state_normalizer = Normalizer.identity(self.num_channels)
        self.target_normalizer = Normalizer.identity(self.num_frames * self.num_channels)
        self.parameter_normalizer = Normalizer.identity(max(1, len(self.parameter_names)))
        self.trained_dt = (self.dt, self.dt)
        self.is_fitted = False

    @property
    def num_channels(self) -> int:
        """Channels of the state."""
        if self.fields is not None:
            return self.fields.num_channels
        out_channels = int(getattr(self.backbone, "out_channels", self.num_frames))
        return max(1, out_channels // self.num_frames)

    extra_channels = 0
    """Fields that N sees after the state, in units of the state's channels."""

    extra_conditions = 0
    """Numbers per sample that N is told besides the PDE parameters."""

    def _check_backbone(self) -> None:
        conditions = len(self.parameter_names) + self.extra_conditions
        takes_conditions = getattr(self.backbone, "num_conditions", 0) > 0
        channels = self.num_channels * (1 + self.extra_channels)
        expected = {
            "in_channels": channels + (0 if takes_conditions else conditions),
            "out_channels": self.num_frames * self.num_channels,
            "num_conditions": conditions if takes_conditions else 0,
        }
        for name, number in expected.items():
            came = getattr(self.backbone, name, number)
            if came != number:
                raise ValueError(
                    f"{type(self).__name__}: the backbone must have {name}={number} for "
                    f"{channels} channel(s) of fields, {self.num_frames} frame(s) per call and "
                    f"{conditions} number(s) per sample "
                    f"({len(self.parameter_names)} parameter(s) among them), got {name}={came}; "
                    f"build the backbone with {name}={number}."
                )

    # --- meshes -----------------------------------------------------------------------------

    def on(self, place: Any, /) -> Self:
        """The same surrogate (shared weights and statistics) on a mesh, a `MeshGraph`.

        Needs a network of meshes, such as `MessagePassing`. Nodes that the mesh marks as fixed
        keep their value in every step and count nothing in training. Saving stores no mesh.
        """
        if not isinstance(place, MeshGraph) or not hasattr(self.backbone, "on"):
            raise TypeError(
                f"{type(self).__name__}.on: needs a MeshGraph and a network of meshes, got "
                f"{type(place).__name__} and {type(self.backbone).__name__}; on grids another "
                "resolution needs no call, for meshes use a MessagePassing network."
            )
        other = copy.copy(self)
        other._modules = {**self._modules, "backbone": cast(Any, self.backbone).on(place)}
        other.mesh = place
        return other

    def for_batch(self, batch: Batch) -> Self:
        """The surrogate on the mesh of a batch of windows; itself where there is none."""
        return self.on(batch["mesh"]) if "mesh" in batch else self

    def hold(self, new: Tensor, old: Tensor) -> Tensor:
        """`new`, with the values of `old` at the fixed nodes of the mesh."""
        if self.mesh is None or self.mesh.is_fixed is None:
            return new
        return torch.where(self.mesh.is_fixed, old, new)

    # --- stepping ---------------------------------------------------------------------------

    def forward(self, t: float | Tensor, state: Tensor | _Carried, dt: float | Tensor) -> object:
        """One step: u -> u_next, or the state made by `initial_state` -> its successor."""
        if isinstance(state, _Carried):
            return _Carried(state.step, state.step(t, state.state, dt))
        step = self.bind()
        return step.observe(step(t, step.initial_state(t, state), dt))

    def initial_state(self, t: float | Tensor, u0: Tensor) -> _Carried:
        """What `rollout` carries: the step bound without parameters, and its own state."""
        step = self.bind()
        return _Carried(step, step.initial_state(t, u0))

    def observe(self, state: _Carried) -> Tensor:
        """The field in a carried state, (batch, channel, *space)."""
        return state.step.observe(state.state)

    def bind(self, parameters: Tensor | None = None) -> StatefulStep:
        """A step with the PDE parameters fixed, for `rollout`.

        Args:
            parameters: Values of `parameter_names`, (batch, parameter); `None` if there are none.
        """
        return _CheckedStep(self, self._step(self._condition(parameters)))

    def _step(self, conditioning: Tensor | None) -> StatefulStep:
        """The unchecked step; each subclass says how the prediction advances the state."""
        raise NotImplementedError

    def _condition(self, parameters: Tensor | None) -> Tensor | None:
        """Standardised parameters (batch, parameter), or `None` for a surrogate without."""
        names = self.parameter_names
        where = type(self).__name__
        if not names:
            if parameters is not None and parameters.shape[-1] > 0:
                raise ValueError(
                    f"{where}: this surrogate has no parameters, got values of shape "
                    f"{tuple(parameters.shape)}; build it with `parameter_names` and train it."
                )
            return None
        if parameters is None:
            raise ValueError(
                f"{where}: this surrogate needs the parameters {names}, got none; step with "
                "surrogate.bind(parameters=values), values of shape (batch, parameter)."
            )
        if parameters.ndim != 2 or parameters.shape[1] != len(names):
            raise ValueError(
                f"{where}: `parameters` must have shape (batch, {len(names)}) for {names}, got "
                f"{tuple(parameters.shape)}."
            )
        return self.parameter_normalizer.normalize(parameters)

    def predict(self, u: Tensor, conditioning: Tensor | None = None) -> Tensor:
        """The physical prediction mean_y + std_y N((u - mean_u) / std_u, c), dtype of `u`."""
        return self.target_normalizer.denormalize(self._network(u, conditioning).to(u.dtype))

    def _network(self, u: Tensor, conditioning: Tensor | None) -> Tensor:
        """N of a physical state: standardised output, in the dtype of the weights."""
        return self._call_backbone(self.state_normalizer.normalize(u), conditioning)

    def _call_backbone(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """N of standardised fields and of numbers per sample, in the dtype of the weights."""
        z = z.to(self._dtype)
        if condition is None:
            return self.run_network(self.backbone, z)
        condition = condition.to(z).expand(z.shape[0], -1)
        if getattr(self.backbone, "num_conditions", 0):
            return self.run_network(self.backbone, z, condition)
        channels = condition.reshape(*condition.shape, *(1,) * (z.ndim - 2))
        z = torch.cat((z, channels.expand(-1, -1, *z.shape[2:])), dim=1)
        return self.run_network(self.backbone, z)

    @property
    def _dtype(self) -> torch.dtype:
        weight = next((w for w in self.backbone.parameters() if not w.is_complex()), None)
        return torch.get_default_dtype() if weight is None else weight.dtype

    # --- checks -----------------------------------------------------------------------------

    def check_input(self, u: Tensor) -> None:
        """Refuse a state of another rank or channel count; warn of another resolution.

        The warning is for networks whose layers are made for grid points, not for lengths.
        """
        check_state(u, self.num_channels, None, where=type(self).__name__)
        if self.grid is not None and u.ndim != 2 + self.grid.dim:
            raise ValueError(
                f"{type(self).__name__}: `u` must have shape (batch, channel, *space) with "
                f"{self.grid.dim} space axes, got {tuple(u.shape)}; this surrogate was made for "
                f"the grid {self.grid.shape}."
            )
        if (
            self.grid is not None
            and self.mesh is None
            and tuple(u.shape[2:]) != self.grid.shape
            and not self.is_resolution_free
        ):
            warnings.warn(
                f"{type(self).__name__}: the state has {tuple(u.shape[2:])} points, but this "
                f"surrogate is tied to the spacing of the grid {self.grid.shape} it was trained "
                "on; resample the state to that grid (evaluation.resample, rollout "
                "--on-trained-grid), or measure what comes out.",
                stacklevel=2,
            )

    @property
    def is_resolution_free(self) -> bool:
        """Whether the state on another grid of the same box is carried by the same map."""
        return bool(getattr(self.backbone, "is_resolution_free", True))

    def check_dt(self, dt: float | Tensor, t: float | Tensor = 0.0) -> None:
        """Refuse, or warn of, a step size that the network does not know.

        Steps within a relative 1e-6 of the trained ones pass, and so do differences of times
        around t that were stored in float32. Tensors off the CPU pass unread.
        """
        raise NotImplementedError

    def _deviates(self, dt: float | Tensor, t: float | Tensor) -> bool:
        """Whether a step lies outside the trained range."""
        if isinstance(dt, Tensor):
            if dt.device.type != "cpu":
                return False
            low_dt, high_dt = (float(value) for value in dt.aminmax())
        else:
            low_dt = high_dt = dt
        rounding = 0.0 if isinstance(t, Tensor) else _FLOAT32_ROUNDING * abs(t)
        low, high = self.trained_dt
        return (
            low_dt < low * (1 - DT_TOLERANCE) - rounding
            or high_dt > high * (1 + DT_TOLERANCE) + rounding
        )

    # --- what training needs ----------------------------------------------------------------

    def target(self, batch: Batch) -> Tensor:
        """What N is asked for, in physical units and float64: (batch, channel, *space)."""
        raise NotImplementedError

    def standardized_target(self, batch: Batch) -> Tensor:
        """`target` standardised, in the dtype of the weights."""
        return self.target_normalizer.normalize(self.target(batch)).to(self._dtype)

    def standardized_prediction(self, batch: Batch) -> Tensor:
        """N for a batch of windows; `batch["input"]`, where present, replaces the last frame."""
        return self._network(self._present(batch), self._conditions(batch))

    def regression(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What N says for a batch of windows and what it should say, both at scale one.

        Surrogates that draw noise take it from the stream named by `batch["stream"]`, the seed of
        the run and the number of the batch.
        """
        return self.standardized_prediction(batch), self.standardized_target(batch)

    def _present(self, batch: Batch) -> Tensor:
        return batch["input"] if "input" in batch else batch["history"][:, -1]

    def _conditions(self, batch: Batch) -> Tensor | None:
        """Numbers per sample that N is told for a batch of windows."""
        return self._condition(batch["parameters"] if self.parameter_names else None)

    def step_of(self, batch: Batch) -> float | Tensor:
        """The step of a batch of windows: one number if all training data share it."""
        low, high = self.trained_dt
        return self.dt if high <= low * (1 + DT_TOLERANCE) else batch["dt"]

    def fit_normalizers(self, windows: TrajectoryWindows, *, batch_size: int = 256) -> None:
        """Measure mean and deviation of states, targets and parameters, and the range of dt.

        Args:
            windows: Windows of the training split only.
            batch_size: Windows read at a time.

        Raises:
            ValueError: If the data hold NaN or Inf, or other fields or steps than the surrogate.
        """
        self.check_trajectories(windows.file)
        self.fields, self.grid = windows.file.fields, windows.grid
        steps: list[float] = []
        statistics = Normalizer.fit(self._states_and_targets(windows, batch_size, steps))
        n = self.num_channels
        for normalizer, part in (
            (self.state_normalizer, slice(None, n)),
            (self.target_normalizer, slice(n, None)),
        ):
            normalizer.mean.copy_(statistics.mean[part])
            normalizer.std.copy_(statistics.std[part])
        if self.parameter_names:
            values = torch.stack(
                [windows.file.parameters[name] for name in self.parameter_names], dim=1
            )
            statistics = Normalizer.fit([values])
            self.parameter_normalizer.mean.copy_(statistics.mean)
            self.parameter_normalizer.std.copy_(statistics.std)
        self.trained_dt = self._range_of(steps)
        self.is_fitted = True

    def check_trajectories(self, file: TrajectoryFile) -> None:
        """Refuse data with other fields, another box or without the parameters N needs.

        Another resolution of the same box passes.

        Raises:
            ValueError: Naming what differs.
        """
        where = type(self).__name__
        own = None if self.fields is None else self.fields.names
        if (
            own is not None
            and own != file.fields.names
            or (own is None and file.fields.num_channels != self.num_channels)
        ):
            raise ValueError(
                f"{where}: the data must have the fields of the surrogate, "
                f"{own or f'{self.num_channels} channel(s)'}, got {file.fields.names} in "
                f"{file.name}; build the surrogate with `fields` and a backbone that fit the data."
            )
        if self.grid is not None and not same_box(self.grid, file.grid):
            raise ValueError(
                f"{where}: the surrogate was made for {self.grid}, the data in {file.name} are on "
                f"{file.grid}; use data on the same box, or train a surrogate on these."
            )
        missing = [name for name in self.parameter_names if name not in file.parameters]
        if missing:
            raise ValueError(
                f"{where}: the data must hold the parameters {self.parameter_names}, {missing} "
                f"not found in {file.name}, which has {tuple(file.parameters)}."
            )

    def _range_of(self, steps: Sequence[float]) -> tuple[float, float]:
        """Smallest and largest step of the data; `dt` must lie in between."""
        low, high = min(steps), max(steps)
        if not low * (1 - DT_TOLERANCE) <= self.dt <= high * (1 + DT_TOLERANCE):
            raise ValueError(
                f"{type(self).__name__}: the surrogate has dt = {self.dt:g}, but the steps of the "
                f"training data are {low:g} to {high:g}; build it with dt={low:g}, or choose "
                "`stride` so that stride times the file's step is `dt`."
            )
        return low, high

    def _states_and_targets(
        self, windows: TrajectoryWindows, batch_size: int, steps: list[float]
    ) -> Iterator[Tensor]:
        # Windows carry every parameter of the file, the surrogate those it names.
        columns = [list(windows.file.parameters).index(name) for name in self.parameter_names]
        for batch in windows.batches(batch_size):
            batch["parameters"] = batch["parameters"][:, columns]
            target = self.target(batch)
            steps.extend((float(batch["dt"].min()), float(batch["dt"].max())))
            yield torch.cat([batch["history"][:, -1].to(target), target], dim=1)
