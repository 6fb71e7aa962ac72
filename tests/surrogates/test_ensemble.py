"""rollout_ensemble: members are named by seeds, micro-batches change nothing."""

import pytest
import torch
from torch import nn

from pdesurrogates.backbones import FNO
from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.data import TrajectoryWriter, open_trajectories
from pdesurrogates.steppers import rollout
from pdesurrogates.surrogates import (
    PDERefiner,
    ResidualSurrogate,
    member_seed,
    rollout_ensemble,
    stream_ensemble,
)

TIMES = [0.0, 0.1, 0.2]


class Pointwise(nn.Module):
    """A network whose rows cannot feel each other, whatever kernel computes them."""

    in_channels, out_channels, num_conditions = 2, 1, 0

    def forward(self, z):
        return z[:, :1] - 0.5 * z[:, 1:2]


class PointwiseWithLevel(Pointwise):
    in_channels = 3


def refiner(**options):
    network = PointwiseWithLevel()
    network.in_channels += len(options.get("parameter_names", ()))
    return PDERefiner(network, 0.1, num_refinement_steps=2, sigma_min=0.1, **options)


def states(batch=3):
    return torch.randn(batch, 1, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("batch_size", [1, 2, 5, 6, 100])
def test_micro_batches_change_no_bit(batch_size):
    whole = rollout_ensemble(refiner(), states(), TIMES, num_members=2, seed=4)
    pieces = rollout_ensemble(
        refiner(), states(), TIMES, num_members=2, seed=4, batch_size=batch_size
    )
    assert whole.shape == (3, 2, 3, 1, 8)
    assert torch.equal(pieces, whole)


def test_members_and_trajectories_can_be_added_later():
    few = rollout_ensemble(refiner(), states()[:2], TIMES, num_members=2)
    many = rollout_ensemble(refiner(), states(), TIMES, num_members=5)
    assert torch.equal(many[:2, :2], few)


def test_a_member_is_the_rollout_with_its_seed():
    ensemble = rollout_ensemble(refiner(), states(), TIMES, num_members=3, seed=7)
    step = refiner().bind(seeds=[member_seed(7, 2, 1)])
    assert torch.equal(ensemble[2, 1], rollout(step, states()[2:], TIMES)[0])
    # All members differ, and so do the same members of equal initial states.
    equal = rollout_ensemble(refiner(), states()[:1].expand(2, -1, -1), TIMES, num_members=2)
    drawn = equal[:, :, 1].flatten(0, 1)
    assert len(torch.unique(drawn[:, 0, 0])) == 4
    assert torch.equal(equal[:, :, 0], equal[:1, :1, 0].expand(2, 2, -1, -1))


def test_a_network_agrees_up_to_the_rounding_of_its_kernels():
    torch.manual_seed(0)
    network = FNO(2, num_modes=(4,), width=8, depth=1, num_conditions=1)
    surrogate = PDERefiner(network, 0.1, num_refinement_steps=1)
    whole = rollout_ensemble(surrogate, states(), TIMES, num_members=3)
    pieces = rollout_ensemble(surrogate, states(), TIMES, num_members=3, batch_size=2)
    torch.testing.assert_close(pieces, whole, rtol=1e-12, atol=1e-12)


def test_parameters_and_times_follow_their_trajectory():
    surrogate = refiner(parameter_names=("viscosity",))
    seen = []
    surrogate.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    parameters = torch.tensor([[1.0], [2.0], [3.0]])
    times = torch.tensor([[0.0, 0.1], [5.0, 5.1], [7.0, 7.1]])
    rollout_ensemble(
        surrogate, states(), times, num_members=2, parameters=parameters, batch_size=4
    )
    told = [int(row[2, 0]) for z in seen[::3] for row in z]
    assert told == [1, 1, 2, 2, 3, 3]


def test_one_member_without_noise():
    surrogate = ResidualSurrogate(nn.Tanh(), 0.1)
    ensemble = rollout_ensemble(surrogate, states(), TIMES, batch_size=2)
    assert torch.equal(ensemble[:, 0], rollout(surrogate, states(), TIMES))
    with pytest.raises(ValueError, match="ResidualSurrogate draws no noise, so its 4 members"):
        rollout_ensemble(surrogate, states(), TIMES, num_members=4)


def test_output_is_written_in_place_without_gradients():
    output = torch.full((3, 2, 3, 1, 8), float("nan"), dtype=torch.float32)
    result = rollout_ensemble(refiner(), states(), TIMES, num_members=2, output=output)
    assert result is output and not output.isnan().any() and not output.requires_grad
    with pytest.raises(ValueError, match=r"= \(3, 4, 3, 1, 8\), got \(3, 2, 3, 1, 8\)"):
        rollout_ensemble(refiner(), states(), TIMES, num_members=4, output=output)


def test_streamed_rows_fit_the_writer(tmp_path):
    whole = rollout_ensemble(refiner(), states(), TIMES, num_members=2)
    with TrajectoryWriter(
        tmp_path / "members.hdf5",
        fields=FieldSpec(("u",)),
        grid=Grid((8,), (1.0,)),
        times=TIMES,
        num_trajectories=6,
        dtype="float64",
    ) as writer:
        for first, rows in stream_ensemble(
            refiner(), states(), TIMES, num_members=2, batch_size=4
        ):
            writer.write(first, rows)
        writer.finish()
    with open_trajectories(tmp_path / "members.hdf5") as file:
        assert torch.equal(file.read(3), whole[1, 1])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"num_members": 0}, "`num_members` must be at least 1"),
        ({"batch_size": 0}, "`batch_size` must be at least 1"),
        ({"seed": -1}, "must not be negative"),
    ],
)
def test_mistakes_are_named(options, text):
    with pytest.raises(ValueError, match=text):
        rollout_ensemble(refiner(), states(), TIMES, **options)
