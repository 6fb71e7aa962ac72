"""The one call for scripts equals the long way, and stays silent."""

import pytest
import torch

from pdesurrogates.steppers import Euler, rollout
from pdesurrogates.surrogates import ResidualSurrogate
from pdesurrogates.training import EMA, SurrogateModule, TrajectoryDataModule, train


def vector(module):
    return torch.nn.utils.parameters_to_vector(module.parameters()).detach()


@pytest.mark.filterwarnings("ignore")
def test_it_equals_a_lightning_trainer(waves, make_derivative, make_trainer):
    result = train(
        make_derivative(), waves, num_steps=20, learning_rate=0.01, batch_size=16, ema_decay=0.9
    )
    module = SurrogateModule(make_derivative(), learning_rate=0.01)
    make_trainer(max_steps=20, callbacks=[EMA(0.9)]).fit(
        module, datamodule=TrajectoryDataModule(waves, batch_size=16)
    )
    assert torch.equal(vector(result.surrogate), vector(module.surrogate))
    assert result.num_steps == 20 and result.seconds > 0
    assert not result.surrogate.training


def test_it_writes_and_says_nothing(waves, residual, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    train(residual, waves, num_steps=3)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_losses_are_recorded_and_fall(waves, residual):
    result = train(residual, waves, num_steps=100, learning_rate=0.01, log_every=20)
    steps, losses = zip(*result.losses, strict=True)
    assert steps == (20, 40, 60, 80, 100)
    assert losses[-1] < 0.3 * losses[0]


def test_training_again_continues_from_the_weights(waves, residual):
    train(residual, waves, num_steps=50, learning_rate=0.01)
    first = train(residual, waves, num_steps=50, learning_rate=0.003, log_every=50).losses[-1]
    assert first[1] < 0.1


def test_first_order_derivative_and_residual_train_to_the_same_map(waves, residual):
    from pdesurrogates.surrogates import DerivativeSurrogate

    torch.manual_seed(0)
    other = ResidualSurrogate(type(residual.backbone)(), 0.1)
    other.load_state_dict(residual.state_dict())
    derivative = DerivativeSurrogate(other.backbone, Euler(), 0.1)
    train(residual, waves, num_steps=30)
    train(derivative, waves, num_steps=30)
    u0, times = waves.read(3)[:1], [0.1 * n for n in range(6)]
    with torch.no_grad():
        a, b = rollout(residual, u0, times), rollout(derivative, u0, times)
    assert torch.allclose(a, b, atol=1e-9)
