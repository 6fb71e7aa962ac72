"""What refiner, diffusion and flows share: noise by name, calls, tasks for training."""

import pytest
import torch

from pdesurrogates.cli.rollout import _Continued
from pdesurrogates.data import TrajectoryWindows
from pdesurrogates.steppers import rollout
from pdesurrogates.surrogates import load_surrogate, save_surrogate
from pdesurrogates.surrogates.generative import spread

TIMES = [0.0, 0.1, 0.2, 0.30000000000000004, 0.4]


@pytest.fixture
def surrogate(make_generative, waves):
    surrogate = make_generative()
    surrogate.fit_normalizers(TrajectoryWindows(waves))
    return surrogate


@pytest.fixture
def u0(waves):
    return torch.cat([waves.read(n)[:1] for n in range(3)])


@pytest.fixture
def batch(waves):
    return TrajectoryWindows(waves).__getitems__([0, 3, 5, 8])


def test_the_same_seeds_give_the_same_rollout(surrogate, u0):
    first = rollout(surrogate.bind(seeds=4), u0, TIMES)
    assert torch.equal(first, rollout(surrogate.bind(seeds=4), u0, TIMES))
    assert not torch.allclose(first, rollout(surrogate.bind(seeds=5), u0, TIMES))
    assert torch.equal(rollout(surrogate, u0, TIMES), rollout(surrogate.bind(seeds=0), u0, TIMES))


def test_a_seed_per_sample_does_not_depend_on_the_batch(surrogate, u0):
    many = rollout(surrogate.bind(seeds=(7, 8, 9)), u0, TIMES)
    one = rollout(surrogate.bind(seeds=[8]), u0[1:2], TIMES)
    assert torch.allclose(many[1:2], one, rtol=1e-10, atol=1e-12)
    with pytest.raises(ValueError, match="one seed per sample, 3, got 2"):
        rollout(surrogate.bind(seeds=(1, 2)), u0, TIMES)


def test_every_step_has_noise_of_its_own(surrogate, u0):
    step = surrogate.bind()
    state = step.initial_state(0.0, u0)
    first = step(0.0, state, 0.1)
    again = step(0.0, type(first)(u0, 1), 0.1)
    assert not torch.allclose(first.u, again.u)


def test_pieces_make_the_whole(surrogate, u0):
    step = surrogate.bind(seeds=(7, 8, 9))
    whole = rollout(step, u0, TIMES)
    continued = _Continued(step)
    first = rollout(continued, u0, TIMES[:3])
    rest = rollout(continued, first[:, -1], TIMES[2:])
    assert torch.equal(torch.cat((first, rest[:, 1:]), dim=1), whole)


def test_calls_per_step(surrogate, u0):
    calls = []
    surrogate.backbone.register_forward_pre_hook(lambda *_: calls.append(1))
    rollout(surrogate, u0, TIMES[:3])
    assert len(calls) == 2 * surrogate.num_evaluations


def test_saved_and_loaded_it_draws_the_same(surrogate, u0, tmp_path):
    loaded = load_surrogate(save_surrogate(surrogate, tmp_path / "surrogate"))
    assert type(loaded) is type(surrogate)
    assert loaded.num_evaluations == surrogate.num_evaluations
    times = TIMES[:3]
    assert torch.equal(rollout(loaded, u0, times), rollout(surrogate, u0, times))


def test_tasks_depend_on_the_name_of_the_batch(surrogate, batch):
    def regression(*stream):
        return surrogate.regression({**batch, "stream": stream})

    (prediction, target), again = regression(1, 2), regression(1, 2)
    assert prediction.shape == target.shape == batch["future"][:, 0].shape
    assert torch.equal(prediction, again[0]) and torch.equal(target, again[1])
    assert not torch.allclose(target, regression(1, 3)[1])
    assert not torch.allclose(target, regression(2, 2)[1])
    loss = (prediction - target).square().mean()
    loss.backward()
    for name, weight in surrogate.named_parameters():
        assert weight.grad is not None and weight.grad.abs().sum() > 0, name


def test_noise_on_the_input_reaches_the_state_alone(surrogate, batch):
    seen = []
    surrogate.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    surrogate.regression(batch)
    surrogate.regression({**batch, "input": batch["history"][:, -1] + 1.0})
    assert torch.allclose(seen[1][:, 0], seen[0][:, 0] + 1 / surrogate.state_normalizer.std)
    assert torch.equal(seen[1][:, 1:], seen[0][:, 1:])


def test_the_step_may_vary(make_generative, waves, u0):
    surrogate = make_generative(in_channels=2, max_dt=0.4)
    surrogate.fit_normalizers(TrajectoryWindows(waves))
    seen = []
    surrogate.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    surrogate(0.0, u0, 0.2)
    assert torch.allclose(seen[0][:, 2], torch.tensor(0.5))
    with pytest.raises(ValueError, match=r"dt = 0.1 to 0.4, got 0.8"):
        surrogate(0.0, u0, 0.8)


def test_spread_numbers_are_uniform_each_and_even_together():
    found = torch.stack(
        [spread(torch.zeros(5), torch.Generator().manual_seed(n)) for n in range(2000)]
    )
    assert found.min() >= 0 and found.max() < 1
    for column in found.T:
        assert abs(float(column.mean()) - 0.5) < 0.03
        assert abs(float(column.std()) - 1 / 12**0.5) < 0.01
    assert torch.allclose(found.sort(dim=1).values.diff(dim=1), torch.tensor(0.2))
