"""Next state and residual: the formulas by hand, and the one step they know."""

import pytest
import torch
from torch import nn

from pdesurrogates.steppers import rollout
from pdesurrogates.surrogates import ResidualSurrogate, StateSurrogate


class Cube(nn.Module):
    def forward(self, z):
        return z**3


def with_statistics(surrogate):
    surrogate.state_normalizer.mean.fill_(2.0)
    surrogate.state_normalizer.std.fill_(4.0)
    surrogate.target_normalizer.mean.fill_(-1.0)
    surrogate.target_normalizer.std.fill_(0.5)
    return surrogate


def test_state_formula():
    u = torch.linspace(-3, 3, 16).reshape(2, 1, 8)
    surrogate = with_statistics(StateSurrogate(Cube(), 0.1))
    assert torch.allclose(surrogate(0.0, u, 0.1), -1 + 0.5 * ((u - 2) / 4) ** 3, atol=1e-15)


def test_residual_formula():
    u = torch.linspace(-3, 3, 16).reshape(2, 1, 8)
    surrogate = with_statistics(ResidualSurrogate(Cube(), 0.1))
    assert torch.allclose(surrogate(0.0, u, 0.1), u - 1 + 0.5 * ((u - 2) / 4) ** 3, atol=1e-15)


@pytest.mark.parametrize("kind", [StateSurrogate, ResidualSurrogate])
def test_another_step_is_refused_by_name(kind):
    surrogate, u = kind(nn.Identity(), 0.1), torch.ones(2, 1, 8)
    for dt in (0.2, 0.1 * (1 + 1e-5), torch.tensor([0.1, 0.11])):
        with pytest.raises(ValueError, match=f"{kind.__name__}.*dt = 0.1, got"):
            surrogate(0.0, u, dt)
    surrogate(0.0, u, 0.1 * (1 + 1e-7))
    surrogate(0.0, u, torch.tensor([0.1, 0.1]))


def test_times_stored_in_float32_are_accepted():
    times = (100 + 0.1 * torch.arange(20)).float().double()
    assert float(times.diff().max()) > 0.1 * (1 + 1e-5)
    rollout(StateSurrogate(nn.Identity(), 0.1), torch.ones(1, 1, 8), times)


def test_trajectories_with_different_steps_are_refused(waves):
    from pdesurrogates.data import TrajectoryWindows, from_arrays

    times = torch.stack([0.1 * torch.arange(12), 0.12 * torch.arange(12)])
    states = torch.stack([waves.read(0), waves.read(1)])
    file = from_arrays(states, axes="trajectory time channel x", times=times, grid=waves.grid)
    with pytest.raises(ValueError, match="one step, got steps from 0.1 to 0.12"):
        StateSurrogate(nn.Identity(), 0.1).fit_normalizers(TrajectoryWindows(file))
