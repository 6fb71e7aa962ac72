"""What every surrogate must do."""

import pytest
import torch
from torch import nn

from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.data import TrajectoryWindows, from_arrays
from pdesurrogates.steppers import Euler, rollout
from pdesurrogates.surrogates import DerivativeSurrogate, ResidualSurrogate, StateSurrogate

TIMES = [0.0, 0.1, 0.2, 0.30000000000000004, 0.4]


def windows_for(surrogate, file):
    return TrajectoryWindows(file, target_order=surrogate.target_order)


def fitted(make, file, **options):
    surrogate = make(**options)
    surrogate.fit_normalizers(windows_for(surrogate, file))
    return surrogate


def test_rolls_out_as_it_is_and_bound(make, waves):
    surrogate = fitted(make, waves)
    u0 = waves.read(0)[:1]
    direct = rollout(surrogate, u0, TIMES)
    assert direct.shape == (1, 5, 1, 15)
    assert torch.equal(direct[:, 0], u0)
    assert torch.equal(direct, rollout(surrogate.bind(), u0, TIMES))
    assert torch.equal(surrogate(0.0, u0, 0.1), direct[:, 1])


def test_gradient_reaches_every_weight(make, waves):
    surrogate = fitted(make, waves)
    surrogate(0.0, waves.read(0)[:2], 0.1).square().sum().backward()
    for name, weight in surrogate.named_parameters():
        assert weight.grad is not None and weight.grad.abs().sum() > 0, name


def test_training_mode_changes_nothing(make, waves):
    surrogate = fitted(make, waves)
    u0 = waves.read(0)[:2]
    assert torch.equal(surrogate.train()(0.0, u0, 0.1), surrogate.eval()(0.0, u0, 0.1))


def test_a_float32_network_carries_a_float64_state(make, waves):
    surrogate = fitted(make, waves).float()
    u_next = surrogate(0.0, waves.read(0)[:2].double(), 0.1)
    assert u_next.dtype == torch.float64
    assert surrogate(0.0, waves.read(0)[:2].float(), 0.1).dtype == torch.float32


def test_statistics_come_from_the_windows(make, waves):
    surrogate = fitted(make, waves)
    windows = windows_for(surrogate, waves)
    batch = windows.__getitems__(list(range(len(windows))))
    z = surrogate.state_normalizer.normalize(batch["history"][:, -1])
    y = surrogate.standardized_target(batch)
    for values in (z, y):
        assert abs(float(values.mean())) < 1e-10
        assert abs(float(values.std(correction=0)) - 1) < 1e-10
    assert surrogate.is_fitted
    assert surrogate.fields == waves.fields and surrogate.grid == waves.grid


def test_parameters_reach_the_network_standardised(make, waves):
    surrogate = fitted(make, waves, in_channels=2, parameter_names=("speed",))
    seen = []
    surrogate.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    u0 = waves.read(0)[:2]
    rollout(surrogate.bind(parameters=torch.tensor([[0.5], [3.0]])), u0, TIMES[:2])
    speeds = waves.parameters["speed"]
    expected = (torch.tensor([0.5, 3.0]) - speeds.mean()) / speeds.std(correction=0)
    assert torch.allclose(
        seen[0][:, 1 + surrogate.extra_channels], expected[:, None].expand(2, 15)
    )
    with pytest.raises(ValueError, match=r"needs the parameters \('speed',\), got none"):
        surrogate(0.0, u0, 0.1)
    with pytest.raises(ValueError, match=r"must have shape \(batch, 1\)"):
        surrogate.bind(parameters=torch.zeros(2, 2))


def test_unknown_parameters_are_refused(make, waves):
    with pytest.raises(ValueError, match="has no parameters"):
        make().bind(parameters=torch.zeros(2, 1))
    with pytest.raises(ValueError, match=r"\['viscosity'\] not found"):
        fitted(make, waves, in_channels=2, parameter_names=("viscosity",))


@pytest.mark.parametrize("shape", [(1, 15), (2, 3, 15), (2, 1, 15, 15)])
def test_wrong_shapes_are_refused(make, waves, shape):
    surrogate = fitted(make, waves)
    with pytest.raises(ValueError, match=r"`u` must have shape \(batch, channel, \*space\)"):
        surrogate(0.0, torch.zeros(shape), 0.1)


def test_data_with_other_fields_or_box_are_refused(make, waves):
    surrogate = fitted(make, waves)
    states = torch.randn(2, 6, 15)
    named = from_arrays(
        states, axes="trajectory time x", dt=0.1, grid=waves.grid, fields=FieldSpec(("density",))
    )
    with pytest.raises(ValueError, match=r"fields of the surrogate, \('u',\), got \('density',\)"):
        surrogate.check_trajectories(named)
    wider = from_arrays(states, axes="trajectory time x", dt=0.1, extent=9.0)
    with pytest.raises(ValueError, match=r"was made for Grid.*are on Grid"):
        surrogate.check_trajectories(wider)
    finer = from_arrays(
        torch.randn(2, 6, 30), axes="trajectory time x", dt=0.1, grid=waves.grid.resized(30)
    )
    surrogate.check_trajectories(finer)


def test_data_with_another_step_are_refused(make, waves):
    slower = from_arrays(waves.read(0), axes="time channel x", dt=0.3, grid=waves.grid)
    with pytest.raises(ValueError, match=r"has dt = 0.1, but the steps .* are 0.3 to 0.3"):
        fitted(make, slower)


def test_a_backbone_with_wrong_channels_is_refused(make):
    with pytest.raises(
        ValueError, match=r"backbone must have in_channels=(2|4).*got in_channels=(1|3)"
    ):
        make(parameter_names=("speed",))


def test_parts_that_are_no_objects_are_refused():
    network = nn.Identity()
    with pytest.raises(TypeError, match="`stepper` must be an instance of Stepper, got 'RK4'"):
        DerivativeSurrogate(network, "RK4", 0.1)
    with pytest.raises(TypeError, match="`stepper` must be an instance of Stepper, got Euler"):
        DerivativeSurrogate(network, Euler(), 0.1).with_stepper(Euler)
    with pytest.raises(TypeError, match="`backbone` must be an instance of Module, got None"):
        StateSurrogate(None, 0.1)
    with pytest.raises(TypeError, match="`grid` must be an instance of Grid, got \\(8,\\)"):
        StateSurrogate(network, 0.1, grid=(8,))


def test_dt_must_be_positive():
    with pytest.raises(ValueError, match="`dt` must be positive and finite, got 0"):
        StateSurrogate(nn.Identity(), 0)


def test_two_dimensions(waves):
    surrogate = ResidualSurrogate(nn.Identity(), 0.1, grid=Grid((4, 6), (1.0, 2.0)))
    assert surrogate(0.0, torch.ones(3, 1, 4, 6), 0.1).shape == (3, 1, 4, 6)
