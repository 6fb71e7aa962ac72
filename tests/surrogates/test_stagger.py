"""Interleaved sub-grids and chains: exact reshapes, who sees what, rollouts, files, processes."""

import math
import multiprocessing
import socket

import pytest
import torch
from torch import nn

from pdesurrogates.backbones import FNO
from pdesurrogates.core import Grid
from pdesurrogates.data import TrajectoryWindows, from_arrays
from pdesurrogates.steppers import rollout
from pdesurrogates.surrogates import (
    NeuralStagger,
    ResidualSurrogate,
    StaggeredDecomposition,
    SubNetworks,
    distribute,
    load_surrogate,
    save_surrogate,
)

TIMES = [0.0, 0.1, 0.2, 0.30000000000000004, 0.4, 0.5]


# --- the decomposition ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("space", "points"),
    [((3,), (12,)), ((2, 4), (6, 8)), ((1, 2), (5, 4)), ((2, 1, 3), (4, 5, 6))],
)
def test_merge_inverts_split(space, points):
    decomposition = StaggeredDecomposition(space, 1)
    u = torch.randn(3, 2, *points)
    parts = decomposition.split(u)
    coarse = tuple(n // s for n, s in zip(points, space, strict=True))
    assert parts.shape == (3, math.prod(space), 2, *coarse)
    assert torch.equal(decomposition.merge(parts), u)
    for part, offset in zip(parts.unbind(1), decomposition.offsets, strict=True):
        index = tuple(slice(i, None, s) for i, s in zip(offset, space, strict=True))
        assert torch.equal(part, u[(..., *index)])


def test_merge_time_inverts_split_time():
    decomposition = StaggeredDecomposition((2,), 3)
    u = torch.randn(2, 12, 1, 4)
    chains = decomposition.split_time(u)
    assert torch.equal(chains[:, 1], u[:, 1::3])
    assert torch.equal(decomposition.merge_time(chains), u)
    with pytest.raises(ValueError, match=r"multiple of time=3, got 11; keep 9"):
        decomposition.split_time(u[:, :11])


@pytest.mark.parametrize(
    "grid",
    [
        Grid((8, 12), (2.0, 3.0), (0.5, -1.0)),
        Grid((8, 12), (2.0, 3.0), periodic=(True, False)),
        Grid((8, 12), (2.0, 3.0), (0.5, 0.0), periodic=False, cell_centred=True),
    ],
)
def test_sub_grids_hold_the_points_of_the_fine_grid(grid):
    decomposition = StaggeredDecomposition((2, 3))
    points = decomposition.split(grid.coordinates()[None])[0]
    for index, own in enumerate(points):
        sub_grid = decomposition.sub_grid(grid, index)
        assert torch.allclose(sub_grid.coordinates(), own, atol=1e-14)


def test_sizes_that_cannot_be_divided_are_refused():
    decomposition = StaggeredDecomposition((2, 4))
    with pytest.raises(
        ValueError,
        match=r"axis 1 must be a multiple of its factor 4, got 10; use "
        r"a grid with 8 or 12 points",
    ):
        decomposition.split(torch.zeros(1, 1, 8, 10))
    with pytest.raises(ValueError, match=r"2 space axes .* got 1"):
        decomposition.split(torch.zeros(1, 1, 8))
    with pytest.raises(ValueError, match="one positive integer per axis"):
        StaggeredDecomposition((2, 0))
    with pytest.raises(ValueError, match=r"multiple of its factor 2, got 15; .* 14 or 16"):
        NeuralStagger(nn.Identity(), 0.1, space=2, sees_all=False, grid=Grid((15,), (1.0,)))


# --- the map ----------------------------------------------------------------------------------


class Reads(nn.Module):
    """Weighted sum of the input channels; keeps what it saw."""

    def __init__(self, weights, num_conditions=0):
        super().__init__()
        self.factors = nn.Parameter(torch.tensor(weights))
        self.in_channels, self.out_channels = len(weights), 1
        self.num_conditions = num_conditions
        self.seen, self.conditions = None, None

    def forward(self, u, condition=None):
        self.seen, self.conditions = u.detach(), condition
        return torch.einsum("bc...,c->b...", u, self.factors)[:, None]


def stagger(dim=1, *, space=2, time=1, number=1, **options):
    count = space**dim if options.get("sees_all", True) else 1
    network = FNO(count, 1, num_modes=(3,) * dim, width=4, depth=2)
    backbone = SubNetworks(network, number) if number > 1 else network
    if number > 1:
        for weight in backbone.parameters():
            weight.data += 0.05 * torch.randn(weight.shape)
    return NeuralStagger(backbone, 0.1, space=space, time=time, **options)


def test_one_sub_grid_and_one_chain_are_the_plain_residual_surrogate():
    network = FNO(1, 1, num_modes=(4, 4), width=4, depth=2)
    u0 = torch.randn(2, 1, 8, 8)
    plain = rollout(ResidualSurrogate(network, 0.1), u0, TIMES)
    assert torch.equal(rollout(NeuralStagger(network, 0.1, space=1), u0, TIMES), plain)


def test_a_network_that_sees_its_own_sub_grid_sees_no_other():
    surrogate = stagger(2, sees_all=False, number=4)
    u = torch.randn(1, 1, 8, 8, requires_grad=True)
    change = surrogate.decomposition.split(surrogate.predict_next(u))[0, 2].sum()
    (gradient,) = torch.autograd.grad(change, u)
    seen = surrogate.decomposition.split(gradient)[0].abs().sum((1, 2, 3)) > 0
    assert seen.tolist() == [False, False, True, False]


def test_a_window_is_the_point_and_its_neighbours():
    """f = 1 u(x) + 10 u(x + h) on a periodic axis, the last point repeated at an end."""
    u = torch.arange(6.0).reshape(1, 1, 6)
    periodic = NeuralStagger(Reads([1.0, 10.0]), 0.1, space=(2,))
    neighbour = torch.tensor([1.0, 2, 3, 4, 5, 0])
    assert torch.equal(periodic.predict(u)[0, 0], u[0, 0] + 10 * neighbour)
    grid = Grid((6,), (1.0,), periodic=False)
    walls = NeuralStagger(Reads([1.0, 10.0]), 0.1, grid=grid)
    neighbour[-1] = 5
    assert torch.equal(walls.predict(u)[0, 0], u[0, 0] + 10 * neighbour)


def test_shared_weights_commute_with_every_shift_of_the_fine_grid():
    surrogate = stagger(2, space=2)
    u = torch.randn(1, 1, 8, 8)
    shifted = surrogate.predict_next(u.roll((1, 3), (2, 3)))
    assert torch.allclose(shifted, surrogate.predict_next(u).roll((1, 3), (2, 3)), atol=1e-12)


def test_gradient_reaches_every_weight_of_every_sub_network():
    surrogate = stagger(2, number=4, time=2)
    surrogate.predict_frames(torch.randn(2, 2, 1, 8, 8)).square().sum().backward()
    for name, weight in surrogate.named_parameters():
        assert weight.grad is not None and weight.grad.abs().sum() > 0, name


def test_grouped_networks_give_what_the_loop_gives():
    networks = SubNetworks(FNO(4, 1, num_modes=(3, 3), width=4, num_conditions=1), 4)
    for weight in networks.parameters():
        weight.data += 0.1 * torch.randn(weight.shape)
    grouped = SubNetworks(networks.network, 4, grouped=True)
    grouped.load_state_dict(networks.state_dict())
    u, condition = torch.randn(8, 4, 6, 6), torch.randn(8, 1)
    expected = networks(u, condition)
    assert torch.allclose(grouped(u, condition), expected, atol=1e-12)
    own = torch.cat(
        [
            net(u[2 * n : 2 * n + 2], condition[2 * n : 2 * n + 2])
            for n, net in enumerate(networks.networks)
        ]
    )
    assert torch.equal(own, expected)
    with pytest.raises(ValueError, match="must be a multiple of 4 networks, got 6"):
        networks(u[:6], condition[:6])


def test_offsets_parameters_and_constants_reach_their_sub_grid():
    grid = Grid((4, 4), (1.0, 1.0))
    network = Reads([1.0] * 2, num_conditions=3)
    surrogate = NeuralStagger(
        network,
        0.1,
        grid=grid,
        sees_all=False,
        knows_offset=True,
        num_constants=1,
        parameter_names=("speed",),
    )
    places = torch.arange(16.0).reshape(1, 4, 4)
    surrogate.set_constants(places)
    step = surrogate.bind(torch.tensor([[5.0], [6.0]]))
    step(0.0, step.initial_state(0.0, torch.zeros(2, 1, 4, 4)), 0.1)
    conditions = network.conditions.reshape(4, 2, 3)
    assert conditions[:, :, 0].tolist() == [[5.0, 6.0]] * 4
    assert conditions[:, 0, 1:].tolist() == [[-1, -1], [-1, 1], [1, -1], [1, 1]]
    seen = network.seen.reshape(4, 2, 2, 2, 2)[:, 0, 1]
    assert torch.equal(seen, surrogate.decomposition.split(places[None])[0, :, 0])


def test_fixed_points_keep_their_value():
    grid = Grid((6,), (1.0,), periodic=False)
    surrogate = NeuralStagger(Reads([1.0, 1.0]), 0.1, grid=grid, has_fixed_points=True)
    surrogate.backbone.is_resolution_free = True  # no warning before the refusal
    surrogate.set_fixed_points(torch.tensor([[True, False, False, False, False, True]]))
    u0 = torch.randn(2, 1, 6) + 3
    u = rollout(surrogate, u0, TIMES)
    assert torch.equal(u[..., [0, -1]], u0[:, None, :, [0, -1]].expand(-1, 6, -1, -1))
    assert bool((u[:, -1, :, 1:-1] != u0[..., 1:-1]).all())
    with pytest.raises(ValueError, match=r"has no `constants`; build it with `num_constants`"):
        surrogate.set_constants(torch.zeros(1, 6))
    with pytest.raises(ValueError, match=r"on the grid \(6,\), got a state with \(8,\) points"):
        surrogate.bind().initial_state(0.0, torch.zeros(1, 1, 8))
    with pytest.raises(ValueError, match="give `grid`"):
        NeuralStagger(Reads([1.0, 1.0]), 0.1, space=(2,), has_fixed_points=True)


# --- chains in time ---------------------------------------------------------------------------


def doubling(t, u, dt):
    return 2 * u


def test_chains_interleave():
    """G(u) = u + u; the start doubles as well: u_(n+3) = 2 u_n after u, 2 u, 4 u."""
    surrogate = NeuralStagger(Reads([1.0]), 0.1, space=(1,), time=3).with_start(doubling)
    u = rollout(surrogate, torch.ones(2, 1, 4), [0.1 * n for n in range(8)])
    assert u[0, :, 0, 0].tolist() == [1, 2, 4, 2, 4, 8, 4, 8]
    assert surrogate.num_evaluations == pytest.approx(1 / 3)


def test_frames_of_chains_are_those_of_single_steps():
    surrogate = stagger(2, time=2, number=4)
    frames = torch.randn(3, 2, 1, 8, 8)
    following = surrogate.predict_frames(frames)
    for n in range(2):
        assert torch.allclose(following[:, n], surrogate.predict_next(frames[:, n]), atol=1e-12)
    with pytest.raises(ValueError, match=r"must have shape \(batch, 2,"):
        surrogate.predict_frames(frames[:, :1])


def test_chains_without_a_start_are_refused():
    surrogate = stagger(time=2)
    with pytest.raises(ValueError, match=r"2 chains need as many first frames.*with_start"):
        surrogate(0.0, torch.zeros(1, 1, 8), 0.1)


def test_a_surrogate_can_make_the_start():
    first = ResidualSurrogate(Reads([1.0]), 0.1)
    surrogate = NeuralStagger(Reads([1.0]), 0.1, space=(1,), time=2).with_start(first)
    assert rollout(surrogate, torch.ones(1, 1, 4), TIMES)[0, :, 0, 0].tolist() == [
        1,
        2,
        2,
        4,
        4,
        8,
    ]
    assert len(list(surrogate.parameters())) == 1  # the start is not part of the model


# --- without re-assembly ----------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"knows_offset": True, "num_constants": 1}])
def test_a_sub_grid_alone_is_the_restriction_of_the_whole(options):
    grid = Grid((8, 8), (1.0, 1.0))
    channels = 1 + (3 if options else 0)
    network = SubNetworks(FNO(channels, 1, num_modes=(3, 3), width=4), 4)
    for weight in network.parameters():
        weight.data += 0.05 * torch.randn(weight.shape)
    surrogate = NeuralStagger(network, 0.1, sees_all=False, grid=grid, **options)
    if options:
        surrogate.set_constants(grid.coordinates()[:1])
    u0 = torch.randn(2, 1, 8, 8)
    whole = rollout(surrogate, u0, TIMES)
    for index in range(4):
        start = surrogate.decomposition.split(u0)[:, index]
        alone = rollout(surrogate.sub_solver(index), start, TIMES)
        expected = surrogate.decomposition.split(whole[:, -1])[:, index]
        assert torch.allclose(alone[:, -1], expected, atol=1e-12)
    with pytest.raises(ValueError, match="see all sub-grids, so none can be forecast alone"):
        stagger(2).sub_solver(0)


@pytest.mark.parametrize("number", [1, 4])
def test_calls_of_sub_networks_are_the_parts_of_one_call(number):
    surrogate = stagger(2, number=number)
    u = torch.randn(2, 1, 8, 8)
    parts = torch.stack([call() for call in surrogate.sub_calls(u)], dim=1)
    assert torch.allclose(surrogate.decomposition.merge(parts), surrogate.predict(u), atol=1e-12)


# --- training data, files, processes ----------------------------------------------------------


def test_labels_are_the_changes_over_k_steps():
    t = torch.arange(6.0)[:, None, None]
    file = from_arrays((t**2).expand(6, 1, 8), axes="time channel x", dt=0.1, extent=1.0)
    surrogate = NeuralStagger(Reads([1.0, 1.0]), 0.1, space=(2,), time=2)
    windows = TrajectoryWindows(file, horizon=2)
    surrogate.fit_normalizers(windows)
    changes = torch.tensor([4.0, 8, 12, 16])
    assert surrogate.target_normalizer.std.tolist() == pytest.approx(
        [float(changes.std(correction=0))]
    )
    prediction, target = surrogate.regression(windows.__getitems__([0, 1]))
    assert prediction.shape == target.shape == (2, 1, 8)
    with pytest.raises(ValueError, match=r"TrajectoryWindows\(\.\.\., horizon=2\)"):
        surrogate.target(TrajectoryWindows(file).__getitems__([0]))


@pytest.mark.parametrize("number", [1, 4])
def test_saved_and_loaded(tmp_path, number):
    grid = Grid((8, 8), (1.0, 1.0), periodic=False)
    network = FNO(5, 1, num_modes=(3, 3), width=4)
    backbone = SubNetworks(network, number) if number > 1 else network
    surrogate = NeuralStagger(
        backbone, 0.1, time=2, grid=grid, num_constants=1, has_fixed_points=True
    )
    surrogate.set_constants(grid.coordinates()[1:])
    surrogate.set_fixed_points(torch.rand(1, 8, 8) < 0.3)
    surrogate.with_start(doubling)
    loaded = load_surrogate(save_surrogate(surrogate, tmp_path / "model"))
    u0 = torch.randn(2, 1, 8, 8)
    both = [rollout(s.with_start(doubling), u0, TIMES) for s in (surrogate, loaded)]
    assert torch.equal(*both)


def test_a_backbone_that_does_not_fit_is_refused():
    with pytest.raises(
        ValueError, match=r"must have in_channels=4 for 4 channel\(s\) of sub-grids"
    ):
        NeuralStagger(FNO(1, 1, num_modes=(3, 3)), 0.1)
    with pytest.raises(ValueError, match=r"one network per sub-grid, 4 .* got 2"):
        NeuralStagger(SubNetworks(FNO(4, 1, num_modes=(3, 3)), 2), 0.1)
    with pytest.raises(ValueError, match="number of space axes is unknown"):
        NeuralStagger(nn.Identity(), 0.1)


def _worker(rank, address, number, results):
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    surrogate = stagger(2, number=number)
    u0 = torch.randn(2, 1, 8, 8)
    with torch.inference_mode():
        error = rollout(distribute(surrogate), u0, TIMES) - rollout(surrogate, u0, TIMES)
    results.put(float(error.abs().max()))
    dist.destroy_process_group()


@pytest.mark.parametrize("number", [1, 4])
def test_two_processes_give_what_one_gives(number):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    workers = [
        context.Process(target=_worker, args=(rank, address, number, results)) for rank in range(2)
    ]
    for worker in workers:
        worker.start()
    errors = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert max(errors) < 1e-13


def test_processes_must_be_started_first():
    with pytest.raises(RuntimeError, match="not initialised; start the processes with torchrun"):
        distribute(stagger(2))
