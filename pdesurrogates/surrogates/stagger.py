"""One network call per interleaved sub-grid, k interleaved chains in time."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from pdesurrogates.core import FieldSpec, Grid, OneStepMap, StatefulStep
from pdesurrogates.data import Normalizer
from pdesurrogates.surrogates.base import Batch
from pdesurrogates.surrogates.map import MapSurrogate
from pdesurrogates.surrogates.staggered_decomposition import StaggeredDecomposition
from pdesurrogates.surrogates.staggered_steps import ChainsStep, SubGridStep
from pdesurrogates.surrogates.sub_networks import SubNetworks

__all__ = ["NeuralStagger"]


class NeuralStagger(MapSurrogate):
    """One-step map made of small networks on interleaved sub-grids and interleaved times.

        U_m = sub-grid m of u(t),   V_m = U_m + mean_r + std_r N_m(z_m, c_m)
        u(t + k dt) = the field whose sub-grids are V_m

    z_m holds the standardised values around each point of sub-grid m. With `sees_all` these are
    the points at offsets 0 .. s-1 along every axis, the point itself first: together all
    sub-grids, so nothing is hidden by aliasing. The window wraps around periodic axes and
    repeats the last point at ends. Without, N_m sees U_m alone; content above the Nyquist
    wavenumber of the sub-grid is then ambiguous, but a sub-grid can be forecast without the
    others (`sub_solver`).

    Every plain network is shared by all sub-grids, one call with S times the batch;
    `SubNetworks(network, S)` gives each its own weights. With shared weights and without
    `knows_offset` and constants the map commutes with every shift of a periodic fine grid, so
    sub-grids cannot drift apart.

    In time there are k chains: u(t + k dt) follows from u(t), and k frames are carried. All
    chains are advanced in one call, so a step costs 1/k calls. The first k - 1 steps
    are made by a classical step that `with_start` gives.

    The sequential depth falls by k and the work per sub-network by s^d. The total work falls by
    k only: on one core the sub-grids buy nothing, unless their networks are smaller.

    Reference:
        NeuralStagger: Accelerating Physics-constrained Neural PDE Solver with Spatial-temporal
        Decomposition (Huang et al., 2023). https://arxiv.org/abs/2302.10255. No code was
        published; windows, shared weights and fixed points are ours.

    Args:
        backbone: Maps the channels of z_m (windows of the first channel-block first, then
            constants) to the channels of the state; see `Surrogate` for parameters.
        dt: Fine time step [time unit of the data]; a call of the network spans k dt.
        space: Factor s of the sub-grids, for all axes or per axis.
        time: Number of chains k.
        sees_all: Whether a network sees all sub-grids, or its own alone.
        knows_offset: Whether it is told its offset, 2 i / (s - 1) - 1 per axis, as conditions.
        num_constants: Constant channels besides the state (wall distances, masks); needs `grid`.
            `set_constants` gives their values on the fine grid.
        has_fixed_points: Whether some points keep their value; needs `grid`. `set_fixed_points`
            says which.
        fields, grid, parameter_names: See `Surrogate`.

    Shape:
        u: (batch, channel, *space) -> (batch, channel, *space)

    Example:
        >>> from pdesurrogates.backbones import FNO
        >>> surrogate = NeuralStagger(FNO(4, 1, num_modes=(4, 4)), dt=0.1, space=2)
        >>> surrogate(0.0, torch.zeros(3, 1, 16, 16), 0.1).shape
        torch.Size([3, 1, 16, 16])
    """

    constants: Tensor
    is_fixed: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        dt: float,
        *,
        space: int | Sequence[int] = 2,
        time: int = 1,
        sees_all: bool = True,
        knows_offset: bool = False,
        num_constants: int = 0,
        has_fixed_points: bool = False,
        fields: FieldSpec | None = None,
        grid: Grid | None = None,
        parameter_names: Sequence[str] = (),
    ) -> None:
        self.space = self._factors(space, grid, backbone)
        self.decomposition = StaggeredDecomposition(self.space, time)
        self.time = time
        self.sees_all = sees_all
        self.knows_offset = knows_offset
        self.num_constants = num_constants
        self.has_fixed_points = has_fixed_points
        super().__init__(backbone, dt, fields=fields, grid=grid, parameter_names=parameter_names)
        self.target_normalizer = Normalizer.identity(self.num_channels)
        self.start: OneStepMap | StatefulStep | None = None
        if grid is not None:
            self.decomposition.coarse_shape(grid.shape)
        elif num_constants or has_fixed_points:
            raise ValueError(
                "NeuralStagger: constants and fixed points live on the points of one grid; give "
                "`grid`."
            )
        shape = () if grid is None else grid.shape
        if num_constants:
            self.register_buffer("constants", torch.zeros(num_constants, *shape))
        if has_fixed_points:
            fixed = torch.zeros(self.num_channels, *shape, dtype=torch.bool)
            self.register_buffer("is_fixed", fixed)

    @staticmethod
    def _factors(
        space: int | Sequence[int], grid: Grid | None, backbone: nn.Module
    ) -> tuple[int, ...]:
        if not isinstance(space, int):
            return tuple(space)
        dim = getattr(backbone, "dim", None) if grid is None else grid.dim
        if dim is None:
            raise ValueError(
                "NeuralStagger: the number of space axes is unknown; give `space` as one number "
                f"per axis, e.g. space=({space}, {space}), or give `grid`."
            )
        return (space,) * int(dim)

    @property
    def num_frames(self) -> int:  # type: ignore[override]
        """Frames that one network call predicts, one per chain."""
        return self.time

    @property
    def num_channels(self) -> int:
        """Channels of the state."""
        if self.fields is not None:
            return self.fields.num_channels
        return int(getattr(self.backbone, "out_channels", 1))

    @property
    def num_evaluations(self) -> float:
        """Network calls per step, on average."""
        return 1 / self.time

    @property
    def extra_conditions(self) -> int:
        """One per axis where the network is told its offset."""
        return len(self.space) if self.knows_offset else 0

    def _check_backbone(self) -> None:
        count = self.decomposition.num_sub_grids
        if isinstance(self.backbone, SubNetworks) and self.backbone.number != count:
            raise ValueError(
                f"NeuralStagger: there must be one network per sub-grid, {count} for space="
                f"{self.space}, got {self.backbone.number}; build SubNetworks(network, {count})."
            )
        conditions = len(self.parameter_names) + self.extra_conditions
        takes_conditions = getattr(self.backbone, "num_conditions", 0) > 0
        seen = self.num_channels * (count if self.sees_all else 1)
        expected = {
            "in_channels": seen + self.num_constants + (0 if takes_conditions else conditions),
            "out_channels": self.num_channels,
            "num_conditions": conditions if takes_conditions else 0,
        }
        for name, number in expected.items():
            came = getattr(self.backbone, name, number)
            if came != number:
                raise ValueError(
                    f"NeuralStagger: the backbone must have {name}={number} for {seen} channel(s) "
                    f"of sub-grids, {self.num_constants} constant(s) and {conditions} number(s) "
                    f"per sample, got {name}={came}; build the backbone with {name}={number}."
                )

    # --- what is given once -------------------------------------------------------------------

    def set_constants(self, constants: Tensor) -> None:
        """Values of the constant channels on the fine grid, (num_constants, *space)."""
        _fill(self, "constants", self.num_constants > 0, constants)

    def set_fixed_points(self, is_fixed: Tensor) -> None:
        """Where the state keeps its value, e.g. on Dirichlet walls: (channel or 1, *space), bool.

        The values are those of the initial state; they are put back after re-assembly.
        """
        _fill(self, "is_fixed", self.has_fixed_points, is_fixed)

    def with_start(self, step: OneStepMap | StatefulStep) -> Self:
        """The same surrogate (shared weights) whose first k - 1 steps are made by `step`.

        Args:
            step: A classical one-step map for steps of `dt`, e.g. `ETDRK(4).bind(f)`. It is not
                saved with the surrogate.
        """
        other = copy.copy(self)
        other.__dict__["start"] = step
        return other

    def check_input(self, u: Tensor) -> None:
        """Refuse a state that cannot be divided, or on other points than constants and walls."""
        super().check_input(u)
        space, grid = tuple(u.shape[2:]), self.grid
        self.decomposition.coarse_shape(space)
        needs_grid = self.num_constants > 0 or self.has_fixed_points
        if needs_grid and grid is not None and space != grid.shape:
            raise ValueError(
                f"NeuralStagger: constants and fixed points are on the grid {grid.shape}, got a "
                f"state with {space} points; resample the state, or build the surrogate anew."
            )

    # --- the map ------------------------------------------------------------------------------

    def advance(self, u: Tensor, y: Tensor, dt: float | Tensor | None = None) -> Tensor:
        """u plus the predicted change over k dt."""
        return u + y

    def hold(self, new: Tensor, old: Tensor) -> Tensor:
        """`new`, with the values of `old` at the fixed points."""
        return torch.where(self.is_fixed, old, new) if self.has_fixed_points else new

    def predict_next(
        self, u: Tensor, conditioning: Tensor | None = None, dt: float | Tensor | None = None
    ) -> Tensor:
        """u(t) -> u(t + k dt), unchecked; fixed points keep their value."""
        return self.hold(self.advance(u, self.predict(u, conditioning)), u)

    def predict_frames(self, frames: Tensor, conditioning: Tensor | None = None) -> Tensor:
        """The last k frames -> the next k, one call for all chains.

        Args:
            frames: u(t - (k-1) dt) .. u(t), (batch, k, channel, *space).
            conditioning: Standardised parameters (batch, parameter).
        """
        if frames.ndim != 3 + len(self.space) or frames.shape[1] != self.time:
            raise ValueError(
                f"NeuralStagger.predict_frames: `frames` must have shape (batch, {self.time}, "
                f"channel, *space) with {len(self.space)} axes, got {tuple(frames.shape)}."
            )
        batch = frames.shape[0]
        if conditioning is not None:
            conditioning = conditioning.expand(batch, -1).repeat_interleave(self.time, dim=0)
        following = self.predict_next(frames.flatten(0, 1), conditioning)
        return following.unflatten(0, (batch, self.time))

    def _network(self, u: Tensor, conditioning: Tensor | None) -> Tensor:
        inputs = self.sub_inputs(u)
        count = inputs.shape[1]
        condition = self._sub_conditions(conditioning, inputs)
        # Sub-grids are the slow axis of the folded batch: the n-th part belongs to sub-grid n.
        y = self._call_backbone(inputs.transpose(0, 1).flatten(0, 1), condition)
        return self.decomposition.merge(y.unflatten(0, (count, -1)).transpose(0, 1))

    def sub_inputs(self, u: Tensor) -> Tensor:
        """What the networks see, (batch, sub_grid, input channel, *coarse)."""
        z = self.state_normalizer.normalize(u)
        if self.sees_all:
            z = self._windows(z)
        if self.num_constants:
            constants = self.constants.to(z)[None].expand(z.shape[0], *self.constants.shape)
            z = torch.cat((z, constants), dim=1)
        return self.decomposition.split(z)

    def _windows(self, z: Tensor) -> Tensor:
        """Values at the offsets 0 .. s-1 along every axis: (batch, S channel, *space)."""
        for axis, s in enumerate(self.space):
            if s == 1:
                continue
            is_periodic = self.grid is None or self.grid.is_periodic[axis]
            n, dim = z.shape[2 + axis], 2 + axis
            end = z.narrow(dim, 0, s - 1) if is_periodic else z.narrow(dim, n - 1, 1)
            end = end if is_periodic else end.repeat_interleave(s - 1, dim=dim)
            padded = torch.cat((z, end), dim=dim)
            z = torch.cat([padded.narrow(dim, p, n) for p in range(s)], dim=1)
        return z

    def _sub_conditions(self, conditioning: Tensor | None, inputs: Tensor) -> Tensor | None:
        """Numbers per sample of the folded batch, (sub_grid batch, number)."""
        batch, count = inputs.shape[:2]
        parts = []
        if conditioning is not None:
            own = conditioning.to(inputs).expand(batch, -1)
            parts.append(own.expand(count, *own.shape))
        if self.knows_offset:
            places = self.places().to(inputs)
            parts.append(places[:, None].expand(count, batch, places.shape[1]))
        return torch.cat(parts, dim=-1).flatten(0, 1) if parts else None

    def places(self) -> Tensor:
        """Offsets of the sub-grids in -1 .. 1, (sub_grid, axis)."""
        factors = torch.tensor(self.space)
        return 2 * torch.tensor(self.decomposition.offsets) / (factors - 1).clamp(min=1) - 1

    # --- one sub-grid by itself ---------------------------------------------------------------

    def sub_calls(self, u: Tensor, parameters: Tensor | None = None) -> list[Callable[[], Tensor]]:
        """One call per sub-grid that runs its network alone; the slowest is the critical path.

        Args:
            u: State (batch, channel, *space).
            parameters: Values of `parameter_names`, (batch, parameter).
        """
        inputs = self.sub_inputs(u)
        conditions = self._sub_conditions(self._condition(parameters), inputs)

        def call(index: int) -> Callable[[], Tensor]:
            z, number = inputs[:, index].contiguous(), u.shape[0]
            own = None if conditions is None else conditions[index * number :][:number]
            view = self.of_sub_grid(index)
            return lambda: view._call_backbone(z, own)

        return [call(index) for index in range(inputs.shape[1])]

    def sub_solver(self, index: int, parameters: Tensor | None = None) -> SubGridStep:
        """The forecast of one sub-grid without the others: a one-step map on the coarse field.

        Its step is k dt, and it needs no start. The field is that of sub-grid `index`, on
        `decomposition.sub_grid(grid, index)`.

        Args:
            index: Number of the sub-grid.
            parameters: Values of `parameter_names`, (batch, parameter).

        Raises:
            ValueError: If the networks see all sub-grids.
        """
        if self.sees_all and self.decomposition.num_sub_grids > 1:
            raise ValueError(
                "NeuralStagger.sub_solver: the networks of this surrogate see all sub-grids, so "
                "none can be forecast alone; train one with sees_all=False."
            )
        return SubGridStep(self, index, self._condition(parameters))

    def of_sub_grid(self, index: int) -> Self:
        """A view whose backbone is the network of one sub-grid."""
        if not isinstance(self.backbone, SubNetworks):
            return self
        other = copy.copy(self)
        other._modules = {**self._modules, "backbone": self.backbone.networks[index]}
        return other

    # --- stepping and training ----------------------------------------------------------------

    def _step(self, conditioning: Tensor | None) -> StatefulStep:
        return ChainsStep(self, conditioning, self.start)

    def target(self, batch: Batch) -> Tensor:
        """The difference of the frame k steps ahead and the last frame, float64."""
        future, last = batch["future"], batch["history"][:, -1]
        if future.shape[1] < self.time:
            raise ValueError(
                f"NeuralStagger: windows must have at least {self.time} future frames, got "
                f"{future.shape[1]}; build them with TrajectoryWindows(..., horizon={self.time})."
            )
        return future[:, self.time - 1].double() - last.double()


def _fill(surrogate: NeuralStagger, name: str, exists: bool, values: Tensor) -> None:
    """Copy values into a buffer made by the constructor."""
    argument = {"constants": "num_constants", "is_fixed": "has_fixed_points"}[name]
    if not exists:
        raise ValueError(
            f"NeuralStagger: this surrogate has no `{name}`; build it with `{argument}`."
        )
    buffer = getattr(surrogate, name)
    if values.shape[1:] != buffer.shape[1:] or values.shape[0] not in (1, buffer.shape[0]):
        raise ValueError(
            f"NeuralStagger: `{name}` must have shape {tuple(buffer.shape)}, got "
            f"{tuple(values.shape)}."
        )
    buffer.copy_(values)
