"""A run that was killed and resumed equals the run that was not, bit by bit."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from pdesurrogates.training import (
    EMA,
    InputNoise,
    SurrogateModule,
    TrajectoryDataModule,
    Unrolled,
)


class Interrupted(Exception):
    pass


class InterruptedCheckpoint(ModelCheckpoint):
    """Saves every few updates and dies after some."""

    def __init__(self, folder, dies_at, every=7):
        super().__init__(
            folder, every_n_train_steps=every, save_last=True, enable_version_counter=False
        )
        self.dies_at = dies_at

    def on_train_batch_end(self, trainer, *rest):
        super().on_train_batch_end(trainer, *rest)
        if trainer.global_step == self.dies_at:
            raise Interrupted


def vector(module):
    return torch.nn.utils.parameters_to_vector(module.parameters()).detach()


@pytest.fixture
def run(waves, make_derivative, make_trainer):
    """28 updates, three passes of 10 batches, validation after every pass."""

    def run(checkpoint=None, resume=None, num_steps=28, **options):
        data = TrajectoryDataModule(waves, waves, batch_size=8, rollout_steps=2)
        module = SurrogateModule(
            make_derivative(),
            Unrolled(2),
            learning_rate=0.01,
            warmup_steps=3,
            input_noise=InputNoise(0.05),
        )
        ema = EMA(0.9)
        trainer = make_trainer(
            max_steps=num_steps,
            enable_checkpointing=checkpoint is not None,
            callbacks=[ema] if checkpoint is None else [ema, checkpoint],
            **options,
        )
        trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
        return module, ema

    return run


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dies_at, every", [(9, 7), (10, 10), (11, 10), (21, 20), (25, 24)])
def test_resumed_run_is_bit_identical(run, tmp_path, dies_at, every):
    straight, straight_ema = run()
    with pytest.raises(Interrupted):
        run(InterruptedCheckpoint(tmp_path, dies_at, every))
    resumed, resumed_ema = run(resume=tmp_path / "last.ckpt")
    assert torch.equal(vector(resumed), vector(straight))
    # Once training has ended the callback keeps the weights of the optimiser.
    for ours, theirs in zip(resumed_ema._averages, straight_ema._averages, strict=True):
        assert torch.equal(ours, theirs)
    assert resumed_ema.num_updates == 28


@pytest.mark.filterwarnings("ignore")
def test_the_same_run_twice_is_bit_identical_and_another_seed_is_not(run):
    first, second, shorter = run()[0], run()[0], run(num_steps=27)[0]
    assert torch.equal(vector(first), vector(second))
    assert not torch.equal(vector(first), vector(shorter))


@pytest.mark.filterwarnings("ignore")
def test_validation_does_not_touch_training(run):
    assert torch.equal(vector(run()[0]), vector(run(limit_val_batches=0)[0]))


@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_written_after_the_end_holds_the_optimisers_weights(run, tmp_path):
    checkpoint = ModelCheckpoint(tmp_path, every_n_train_steps=1000, save_last=True)
    module, ema = run(checkpoint)
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    names = [name for name, _ in module.named_parameters()]
    for name, weight, average in zip(names, ema._averages, module.parameters(), strict=True):
        assert torch.equal(state["state_dict"][name], weight)
        assert not torch.equal(weight, average)
    assert torch.equal(state["callbacks"]["EMA"]["averages"][0], next(module.parameters()))


@pytest.mark.filterwarnings("ignore")
def test_resuming_with_other_batches_is_refused(waves, make_derivative, make_trainer, tmp_path):
    checkpoint = ModelCheckpoint(tmp_path, every_n_train_steps=3, save_last=True)
    module = SurrogateModule(make_derivative())
    trainer = make_trainer(max_steps=4, enable_checkpointing=True, callbacks=[checkpoint])
    trainer.fit(module, datamodule=TrajectoryDataModule(waves, batch_size=8))
    with pytest.raises(ValueError, match=r"resume with the same data, batch_size and seed"):
        make_trainer(max_steps=8).fit(
            SurrogateModule(make_derivative()),
            datamodule=TrajectoryDataModule(waves, batch_size=16),
            ckpt_path=tmp_path / "last.ckpt",
            weights_only=True,
        )


SCRIPT = """
import pathlib, sys, time
import lightning as L, torch
from lightning.pytorch.callbacks import ModelCheckpoint
from pdesurrogates.backbones import FNO
from pdesurrogates.data import from_arrays
from pdesurrogates.surrogates import ResidualSurrogate
from pdesurrogates.training import EMA, SaveSurrogate, SurrogateModule, TrajectoryDataModule

class Slow(L.Callback):
    def on_train_batch_end(self, *_):
        time.sleep(float(sys.argv[2]))

torch.manual_seed(0)
torch.set_num_threads(1)
folder = pathlib.Path(sys.argv[1])
file = from_arrays(torch.randn(4, 30, 16), axes="trajectory time x", dt=0.1, extent=1.0)
module = SurrogateModule(ResidualSurrogate(FNO(num_modes=(4,), width=6, depth=1), 0.1))
saver = ModelCheckpoint(
    folder, every_n_train_steps=5, save_last=True, enable_version_counter=False
)
trainer = L.Trainer(
    max_steps=60, accelerator="cpu", logger=False, enable_progress_bar=False,
    callbacks=[EMA(), Slow(), saver],
)
last = folder / "last.ckpt"
trainer.fit(
    module, datamodule=TrajectoryDataModule(file, batch_size=8),
    ckpt_path=last if last.exists() else None, weights_only=True,
)
torch.save(module.state_dict(), folder / "weights.pt")
"""


@pytest.mark.slow
def test_a_killed_process_is_resumed_by_another(tmp_path):
    def start(folder, pause):
        folder.mkdir(exist_ok=True)
        return subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder), str(pause)])

    assert start(tmp_path / "straight", 0).wait() == 0
    killed = start(tmp_path / "killed", 0.1)
    deadline = time.monotonic() + 60
    while not (tmp_path / "killed" / "last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "killed" / "weights.pt").exists()
    assert start(tmp_path / "killed", 0).wait() == 0
    straight, resumed = (
        torch.load(tmp_path / name / "weights.pt", weights_only=True)
        for name in ("straight", "killed")
    )
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)
