"""Walls and projections around interleaved sub-networks: nothing leaks, nothing is forgotten."""

import pytest
import torch
from torch import nn

from pdesurrogates.backbones import FNO
from pdesurrogates.core import Dirichlet, FieldSpec, Grid
from pdesurrogates.equations import IncompressibleNavierStokes
from pdesurrogates.operators import StaggeredGrid
from pdesurrogates.steppers import RK4, rollout
from pdesurrogates.surrogates import (
    NeuralStagger,
    ProjectedStagger,
    load_surrogate,
    save_surrogate,
    wall_channels,
)
from pdesurrogates.training import PhysicsLoss, fit_to_equation

LID = {"velocity_x": (Dirichlet(0.0), Dirichlet((0.0, 1.0))), "velocity_y": Dirichlet(0.0)}


def cavity(n=8):
    grid = Grid((n, n), (1.0,), periodic=False, cell_centred=True)
    d = StaggeredGrid(grid, LID)
    f = IncompressibleNavierStokes(0.01).on(d)
    return grid, d, f, lambda u: torch.cat(d.project(*u.split(1, dim=1)), dim=1)


def projected(grid, project, *, time=1):
    constants = wall_channels(grid)
    torch.manual_seed(0)
    surrogate = ProjectedStagger(
        FNO(4 * 2 + len(constants), 2, num_modes=(2, 2), width=8, depth=2).double(),
        dt=0.1,
        space=2,
        time=time,
        num_constants=len(constants),
        fields=FieldSpec(("velocity_x", "velocity_y")),
        grid=grid,
    )
    surrogate.set_constants(constants)
    return surrogate if project is None else surrogate.with_projection(project)


def test_wall_channels_by_hand():
    grid = Grid((3, 4), (2.0, 4.0), (1.0, 0.0), periodic=(False, True))
    position, layer = wall_channels(grid)
    assert torch.equal(position[:, 0], torch.tensor([-1.0, 0.0, 1.0]))
    decay = torch.exp(torch.tensor(-0.5))
    assert torch.allclose(layer[:, 2], torch.stack((torch.ones(()), decay, torch.ones(()))))
    assert wall_channels(Grid((4, 4), (1.0,))).shape == (0, 4, 4)
    box = Grid((4,), (1.0,), periodic=False, cell_centred=True)
    assert torch.allclose(wall_channels(box)[0], torch.tensor([-0.75, -0.25, 0.25, 0.75]))


def test_the_reassembled_flow_has_no_divergence_and_no_flow_through_walls():
    grid, d, f, project = cavity()
    surrogate = projected(grid, project)
    u = f.encode(torch.randn(3, 2, 8, 8))
    fit_to_equation(surrogate, f, u)
    with torch.no_grad():
        u_next = surrogate(0.0, u, 0.1)
    assert float((u_next - u).abs().max()) > 1e-4  # it moves
    assert float(d.divergence(*u_next.split(1, dim=1)).abs().max()) < 1e-12
    assert float(u_next[:, 0, -1].abs().max()) == 0 == float(u_next[:, 1, :, -1].abs().max())


def test_gradients_pass_the_projection_to_every_weight():
    grid, _, f, project = cavity()
    surrogate = projected(grid, project, time=2).with_start(RK4().bind(f))
    frames = torch.stack([f.encode(torch.randn(2, 2, 8, 8)) for _ in range(2)], dim=1)
    fit_to_equation(surrogate, f, frames[:, 0])
    loss, _ = PhysicsLoss(f).of_frames(surrogate, frames)
    loss.backward()
    slopes = [w.grad for w in surrogate.parameters() if w.grad is not None]
    assert len(slopes) == len(list(surrogate.parameters()))
    assert all(bool(slope.isfinite().all()) for slope in slopes)
    assert all(float(slope.abs().max()) > 0 for slope in slopes if slope.ndim > 1)


def test_a_projection_that_was_not_given_is_asked_for(tmp_path):
    grid, _, f, project = cavity()
    surrogate = projected(grid, project)
    surrogate.is_fitted = True
    u = f.encode(torch.randn(1, 2, 8, 8))
    save_surrogate(surrogate, tmp_path / "saved")
    loaded = load_surrogate(tmp_path / "saved")
    with pytest.raises(ValueError, match=r"not saved with the weights.*with_projection"):
        loaded(0.0, u, 0.1)
    assert isinstance(loaded, ProjectedStagger)
    again = loaded.with_projection(project)(0.0, u, 0.1)
    assert torch.allclose(again, surrogate(0.0, u, 0.1), atol=1e-12)


class _Kick(nn.Module):
    """Changes every value, the walls' too."""

    in_channels, out_channels, num_conditions, dim = 2, 1, 0, 1

    def forward(self, z):
        return z[:, :1] + 1.0


def test_wall_values_are_put_back_after_reassembly():
    grid = Grid((8,), (1.0,), periodic=False)
    surrogate = NeuralStagger(_Kick(), 0.1, space=2, has_fixed_points=True, grid=grid)
    is_fixed = torch.zeros(1, 8, dtype=torch.bool)
    is_fixed[:, [0, -1]] = True
    surrogate.set_fixed_points(is_fixed)
    u0 = torch.rand(2, 1, 8)
    u = rollout(surrogate, u0, [0.0, 0.1, 0.2])
    assert torch.equal(u[:, :, 0, [0, -1]], u0[:, None, 0, [0, -1]].expand(2, 3, 2))
    assert bool((u[:, 1, 0, 1:-1] != u0[:, 0, 1:-1]).all())
