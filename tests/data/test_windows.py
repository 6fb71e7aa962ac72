"""Finite-difference targets and windows."""

import pickle

import pytest
import torch
from torch.utils.data import DataLoader

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.data import (
    TrajectoryWindows,
    derivative,
    from_arrays,
    open_trajectories,
    time_derivative,
    write_trajectories,
)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_derivative_is_exact_for_polynomials_of_its_order(order):
    t = torch.linspace(0, 1, 9)[:, None, None]
    assert torch.allclose(
        time_derivative(t**order, 0.125, order)[: -1 if order == 1 else None],
        (order * t ** (order - 1))[: -1 if order == 1 else None], atol=1e-12,
    )  # fmt: skip


@pytest.mark.parametrize("order", [1, 2, 4])
def test_derivative_converges_at_its_order_everywhere(order):
    errors = []
    for n in (16, 32, 64, 128):
        t = torch.arange(n + 1) / n
        slope = time_derivative(torch.sin(3 * t)[:, None], 1 / n, order)[:, 0]
        errors.append((slope - 3 * torch.cos(3 * t)).abs().max())
    slopes = torch.tensor(errors).log2().diff().neg()
    assert abs(float(slopes[-1]) - order) < 0.15, slopes


def test_derivative_of_float32_is_computed_in_float64():
    u = torch.randn(6, 1, 4).float()
    slope = time_derivative(u, 0.1, 1)
    assert slope.dtype == torch.float64
    assert torch.equal(slope[0], (u[1].double() - u[0].double()) / 0.1)
    assert torch.equal(slope[-1], slope[-2])


def test_derivative_refusals():
    with pytest.raises(ValueError, match="`order` must be 1, 2 or 4, got 3"):
        time_derivative(torch.zeros(9, 1, 4), 0.1, 3)
    with pytest.raises(ValueError, match="order 4 needs at least 6 frames, got 5"):
        time_derivative(torch.zeros(5, 1, 4), 0.1, 4)


@pytest.fixture
def states():
    return torch.randn(3, 10, 2, 6)


@pytest.fixture(params=["disk", "memory"])
def file(request, states, tmp_path):
    times = torch.stack([0.1 * (k + 1) * torch.arange(10.0) for k in range(3)])
    facts = {"parameters": {"nu": [1.0, 2.0, 3.0], "c": 4.0}, "times": times}
    fields = FieldSpec(("u", "v"))
    if request.param == "memory":
        return from_arrays(
            states, axes="trajectory time channel x", extent=1.0, fields=fields, **facts
        )
    path = write_trajectories(
        tmp_path / "a.h5", states, fields=fields, grid=Grid((6,), (1.0,)), dtype="float64", **facts
    )
    return open_trajectories(path)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("order", [None, 1, 2, 4])
def test_every_window(file, states, stride, order):
    windows = TrajectoryWindows(file, history=2, horizon=3, stride=stride, target_order=order)
    per = 10 - 4 * stride
    assert len(windows) == 3 * per
    batch = windows.__getitems__(range(len(windows)))
    assert ("derivative" in batch) == (order is not None)
    for i in range(len(windows)):
        trajectory, start = divmod(i, per)
        present = start + stride
        one = windows[i]
        assert set(one) == set(batch)
        assert all(torch.equal(batch[name][i], one[name]) for name in one)
        assert (int(one["trajectory"]), int(one["start"])) == (trajectory, start)
        frames = states[trajectory, start::stride]
        assert torch.equal(one["history"], frames[:2]) and torch.equal(one["future"], frames[2:5])
        assert float(one["t"]) == pytest.approx(0.1 * (trajectory + 1) * present, abs=1e-14)
        assert float(one["dt"]) == pytest.approx(0.1 * (trajectory + 1) * stride, rel=1e-14)
        assert one["parameters"].tolist() == [trajectory + 1.0, 4.0]
        if order:
            slope = time_derivative(states[trajectory], file.time_step(trajectory), order)[present]
            assert torch.equal(one["derivative"], slope)


def test_blocked_derivative_equals_the_whole(file, states, monkeypatch):
    monkeypatch.setattr(derivative, "_BLOCK_BYTES", 1)
    monkeypatch.setattr(derivative, "_HALO", 2)
    store = derivative.DerivativeStore(file, 4)
    slope = time_derivative(states[1], file.time_step(1), 4)
    assert torch.equal(store.read([1] * 10, list(range(10))), slope)


def test_first_order_target_is_the_residual(file, states):
    windows = TrajectoryWindows(file, target_order=1)
    batch = windows.__getitems__([0, 8, 9, 26])
    step = batch["dt"][:, None, None] * batch["derivative"]
    assert torch.allclose(batch["history"][:, 0] + step, batch["future"][:, 0], atol=1e-14)


def test_chosen_trajectories_only(file):
    windows = TrajectoryWindows(file, trajectories=[2, 0])
    assert len(windows) == 18
    assert set(windows.__getitems__(range(18))["trajectory"].tolist()) == {0, 2}
    with pytest.raises(ValueError, match=r"some of 0 .. 2 .* got 3"):
        TrajectoryWindows(file, trajectories=[3])


@pytest.mark.parametrize("workers", [0, 2])
def test_data_loader(file, states, workers):
    windows = TrajectoryWindows(file, target_order=2)
    windows[0]
    loader = DataLoader(
        windows, batch_size=4, num_workers=workers, collate_fn=windows.collate,
        multiprocessing_context="fork" if workers else None,
    )  # fmt: skip
    batches = list(loader)
    assert sum(len(batch["t"]) for batch in batches) == 27
    assert torch.equal(batches[0]["history"], states[0, :4, None])
    copied = pickle.loads(pickle.dumps(windows))
    assert torch.equal(copied[5]["derivative"], windows[5]["derivative"])
    single = windows.collate([windows[0], windows[1]])
    assert torch.equal(single["history"], batches[0]["history"][:2])


def test_too_short_or_uneven(file):
    with pytest.raises(ValueError, match="has 10 frames per trajectory, but history 4 .* need 19"):
        TrajectoryWindows(file, history=4, horizon=3, stride=3)
    with pytest.raises(ValueError, match="`horizon` must be at least 1, got 0"):
        TrajectoryWindows(file, horizon=0)
    short = from_arrays(torch.zeros(3, 8), axes="time x", dt=0.1, extent=1.0)
    with pytest.raises(ValueError, match="targets of order 4 need 6; choose a lower"):
        TrajectoryWindows(short, target_order=4)
    with pytest.raises(ValueError, match="`order` must be 1, 2 or 4, got 3"):
        TrajectoryWindows(short, target_order=3)
    uneven = from_arrays(torch.zeros(3, 8), axes="time x", times=[0, 1, 3], extent=1.0)
    with pytest.raises(ValueError, match="times must be uniform here"):
        TrajectoryWindows(uneven)
    with pytest.raises(IndexError, match="there are 2 windows, got 2"):
        TrajectoryWindows(short)[2]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("order", [None, 2])
def test_bad_values_are_located(tmp_path, states, value, order):
    states[1, 7, 1, 4] = value
    path = write_trajectories(
        tmp_path / "bad.h5", states, fields=FieldSpec(("u", "v")), grid=Grid((6,), (1.0,)),
        times=0.5 * torch.arange(10.0),
    )  # fmt: skip
    windows = TrajectoryWindows(open_trajectories(path), target_order=order)
    text = (
        r"bad.h5, trajectory 1: .* got (nan|inf) in field 'v' at frame 7 \(t = 3.5\), point \(4,\)"
    )
    windows[0]
    with pytest.raises(ValueError, match=text):
        windows[9]
    with pytest.raises(ValueError, match=text):
        windows.check()
    TrajectoryWindows(open_trajectories(path), trajectories=[0, 2]).check()
