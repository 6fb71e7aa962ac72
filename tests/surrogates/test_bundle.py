"""Bundles: the frames of one call one by one, calls counted, and the residual as one frame."""

import pytest
import torch
from torch import nn

from pdesurrogates.backbones import FNO
from pdesurrogates.core import FieldSpec
from pdesurrogates.data import TrajectoryWindows
from pdesurrogates.steppers import rollout
from pdesurrogates.surrogates import (
    BundleSurrogate,
    ResidualSurrogate,
    load_surrogate,
    save_surrogate,
)

TIMES = [0.1 * n for n in range(8)]


class Counted(nn.Module):
    """N(z) repeats z for every frame, times the number of the frame, and counts its calls."""

    def __init__(self, num_frames):
        super().__init__()
        self.num_frames = num_frames
        self.calls = 0

    def forward(self, z):
        self.calls += 1
        return torch.cat([n * z for n in range(1, self.num_frames + 1)], dim=1)


def make(num_frames=3, channels=1, **options):
    names = options.get("parameter_names", ())
    backbone = FNO(channels + len(names), channels * num_frames, num_modes=(4,), width=6, depth=1)
    return BundleSurrogate(backbone, 0.1, num_frames=num_frames, **options)


def test_a_rollout_is_the_formula_and_calls_the_network_every_third_step():
    network = Counted(3)
    surrogate = BundleSurrogate(network, 0.1, num_frames=3)
    surrogate.target_normalizer.mean.copy_(torch.tensor([0.1, 0.2, 0.3]))
    u0 = torch.randn(2, 1, 8)
    states = rollout(surrogate, u0, TIMES)
    expected, u = [u0], u0
    for _ in range(3):
        expected += [u + n * u + n / 10 for n in (1, 2, 3)]
        u = expected[-1]
    assert torch.allclose(states, torch.stack(expected[:8], dim=1), atol=1e-12)
    assert network.calls == 3
    assert surrogate.num_evaluations == pytest.approx(1 / 3)
    assert torch.equal(surrogate(0.0, u0, 0.1), states[:, 1])


def test_two_channels_are_kept_apart():
    surrogate = BundleSurrogate(Counted(2), 0.1, num_frames=2, fields=FieldSpec(("u", "v")))
    u = torch.randn(3, 2, 8)
    frames = surrogate.predict_frames(u)
    assert torch.equal(frames, torch.stack((2 * u, 3 * u), dim=1))


def test_targets_are_changes_standardised_per_frame(waves):
    surrogate = make()
    windows = TrajectoryWindows(waves, horizon=3)
    surrogate.fit_normalizers(windows)
    batch = windows.__getitems__(list(range(len(windows))))
    target = surrogate.target(batch)
    for k in range(3):
        change = batch["future"][:, k] - batch["history"][:, -1]
        assert torch.allclose(target[:, k : k + 1], change.double())
    y = surrogate.standardized_target(batch)
    assert torch.allclose(y.mean((0, 2)), torch.zeros(3), atol=1e-10)
    assert torch.allclose(y.std((0, 2), correction=0), torch.ones(3))
    with pytest.raises(ValueError, match="at least 3 future frames, got 1"):
        make().fit_normalizers(TrajectoryWindows(waves))


def test_one_frame_is_the_residual_surrogate(waves):
    bundle = make(1)
    residual = ResidualSurrogate(bundle.backbone, 0.1)
    for surrogate in (bundle, residual):
        surrogate.fit_normalizers(TrajectoryWindows(waves))
    u0 = waves.read(0)[:2]
    assert torch.equal(rollout(bundle, u0, TIMES), rollout(residual, u0, TIMES))


def test_parameters_gradients_and_dtype(waves):
    surrogate = make(2, parameter_names=("speed",))
    surrogate.fit_normalizers(TrajectoryWindows(waves, horizon=2))
    u0 = waves.read(0)[:2].double()
    states = rollout(surrogate.bind(parameters=torch.ones(2, 1)), u0, TIMES)
    states.square().sum().backward()
    assert states.dtype == torch.float64
    assert all(weight.grad.abs().sum() > 0 for weight in surrogate.parameters())


def test_it_is_saved_and_loaded(waves, tmp_path):
    surrogate = make()
    surrogate.fit_normalizers(TrajectoryWindows(waves, horizon=3))
    loaded = load_surrogate(save_surrogate(surrogate.eval(), tmp_path / "bundle"))
    u0 = waves.read(0)[:2]
    assert loaded.num_frames == 3
    assert torch.equal(rollout(loaded, u0, TIMES), rollout(surrogate, u0, TIMES))


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="out_channels=4 for .* 4 frame.*out_channels=3"):
        BundleSurrogate(FNO(1, 3, num_modes=(4,)), 0.1, num_frames=4)
    with pytest.raises(ValueError, match="must have in_channels=2 for .*1 parameter"):
        BundleSurrogate(FNO(1, 2, num_modes=(4,)), 0.1, parameter_names=("speed",))
    with pytest.raises(ValueError, match="`num_frames` must be at least 1, got 0"):
        BundleSurrogate(nn.Identity(), 0.1, num_frames=0)
    with pytest.raises(ValueError, match="knows only the step it was trained with, dt = 0.1"):
        make()(0.0, torch.zeros(1, 1, 8), 0.2)
