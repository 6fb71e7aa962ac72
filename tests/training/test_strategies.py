"""All strategies at once: from the YAML of the guide, resumed bit by bit, accumulated, in bf16."""

import re
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint

from pdesurrogates.backbones import FNO
from pdesurrogates.cli.main import main
from pdesurrogates.data import TrajectoryWindows, from_arrays, write_trajectories
from pdesurrogates.surrogates import (
    BundleSurrogate,
    PDERefiner,
    ResidualSurrogate,
    load_surrogate,
)
from pdesurrogates.training import (
    EMA,
    AllPairs,
    Curriculum,
    InputNoise,
    MeanSquared,
    OneStep,
    Pushforward,
    Sobolev,
    SpectralDistance,
    SurrogateModule,
    TrajectoryDataModule,
    Unrolled,
    WeightedSum,
    train,
)
from tests.surrogates.conftest import FAMILY

GUIDE = Path(__file__).parents[2] / "docs" / "training.md"
MIXED = WeightedSum((MeanSquared(), SpectralDistance()), (1.0, 0.1))


def vector(module):
    return torch.nn.utils.parameters_to_vector(module.parameters()).detach()


def small_fno(in_channels=1, out_channels=1, **options):
    return FNO(in_channels, out_channels, num_modes=(4,), width=6, depth=1, **options)


def make_pairs():
    torch.manual_seed(0)
    return ResidualSurrogate(small_fno(num_conditions=1), 0.1, max_dt=0.2)


def make_refiner():
    torch.manual_seed(0)
    return PDERefiner(small_fno(2, num_conditions=1), 0.1, num_refinement_steps=2)


def make_bundle():
    torch.manual_seed(0)
    return BundleSurrogate(small_fno(out_channels=2), 0.1, num_frames=2)


# --- every surrogate ------------------------------------------------------------------------

LOSSES = [
    OneStep(MIXED),
    Unrolled(2, gradient_steps=1, distance=Sobolev(0.1)),
    Unrolled(2, distance=MIXED),
    Pushforward(2, random_length=True, distance=MIXED),
    Curriculum({0: OneStep(), 3: 2}),
]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize(
    "make", [*FAMILY, make_refiner, make_bundle], ids=lambda make: make.__name__
)
def test_every_surrogate_is_trained_with_every_loss(make, loss, waves):
    module = SurrogateModule(make(), loss)
    surrogate = module.surrogate
    windows = TrajectoryWindows(waves, horizon=module.horizon, target_order=surrogate.target_order)
    surrogate.fit_normalizers(windows)
    batch = {**windows.__getitems__([0, 9, 20]), "stream": (0, 5), "update": 5}
    noisy = InputNoise(0.1)(surrogate, batch, seed=0, step=5)
    value = loss(surrogate, noisy)
    value.backward()
    assert value.isfinite() and value != loss(surrogate, batch)
    assert torch.equal(value, loss(surrogate, noisy))
    for name, weight in surrogate.named_parameters():
        assert weight.grad is not None and weight.grad.abs().sum() > 0, name
    surrogate.float()
    with torch.no_grad():
        value = loss(surrogate, noisy)
        with torch.autocast("cpu", torch.bfloat16):
            rough = loss(surrogate, noisy)
    assert rough.dtype == value.dtype and rough != value
    assert float(rough) == pytest.approx(float(value), rel=0.1)


# --- curriculum -----------------------------------------------------------------------------


def test_a_curriculum_follows_the_updates(waves, make_trainer):
    seen = []

    class Record(OneStep):
        def __call__(self, surrogate, batch):
            seen.append((batch["update"], batch["stream"]))
            return super().__call__(surrogate, batch)

    curriculum = Curriculum({0: Unrolled(1), 3: Record(), 5: 2})
    module = SurrogateModule(make_pairs(), curriculum, transforms=[AllPairs(2)], seed=4)
    assert module.horizon == 4
    trainer = make_trainer(max_steps=7, accumulate_grad_batches=2)
    trainer.fit(module, datamodule=TrajectoryDataModule(waves, batch_size=8))
    assert seen == [(3, (4, 6)), (3, (4, 7)), (4, (4, 8)), (4, (4, 9))]
    assert curriculum.at(5) == Unrolled(2) and curriculum.at(99) == Unrolled(2)


def test_stages_of_a_curriculum_are_checked():
    loss = Pushforward(distance=Sobolev())
    assert Curriculum({0: 1, 9: 4, 4: 2}, loss).at(4) == Pushforward(2, distance=Sobolev())
    with pytest.raises(ValueError, match=r"`stages` must begin with update 0.*got \[5\]"):
        Curriculum({5: 1})
    with pytest.raises(ValueError, match="steps of `loss`, got OneStep, which has no `num_steps`"):
        Curriculum({0: 1}, OneStep())
    with pytest.raises(ValueError, match="`num_steps` must be at least 1, got 0"):
        Curriculum({0: 1, 3: 0})


# --- the whole in YAML ----------------------------------------------------------------------


@pytest.fixture
def configuration(waves, tmp_path, monkeypatch):
    """The file of the guide, made small."""
    states = torch.stack([waves.read(n) for n in range(8)]).float()
    for name in ("train.hdf5", "valid.hdf5"):
        write_trajectories(
            tmp_path / name, states, fields=waves.fields, grid=waves.grid, times=waves.times
        )
    monkeypatch.chdir(tmp_path)
    torch.set_default_dtype(torch.float32)
    blocks = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL)
    (block,) = [block for block in blocks if "Curriculum" in block]
    config = yaml.safe_load(block.replace("2000:", "2:").replace("4000:", "4:"))
    config["model"]["surrogate"]["init_args"] |= {"dt": 0.1, "max_dt": 0.3}
    backbone = config["model"]["surrogate"]["init_args"]["backbone"]["init_args"]
    backbone |= {"num_modes": [4], "width": 8}
    config["model"]["loss"]["init_args"]["stages"] = {
        0: {"class_path": "pdesurrogates.training.OneStep"},
        2: 2,
        4: 3,
    }
    config["data"]["batch_size"] = 4
    checkpoint = {
        "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
        "init_args": {"dirpath": "checkpoints", "every_n_train_steps": 3, "save_top_k": -1},
    }
    config["trainer"]["callbacks"].append(checkpoint)
    config["trainer"] |= {
        "max_steps": 6,
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "num_sanity_val_steps": 0,
    }
    config["seed_everything"] = 0
    return config


@pytest.mark.filterwarnings("ignore")
def test_the_file_of_the_guide_runs_and_resumes_bit_by_bit(configuration):
    Path("run.yaml").write_text(yaml.safe_dump(configuration))
    command = ["fit", "--config", "run.yaml", "--model.input_noise.fraction=0.02"]
    assert main(command) == 0
    straight = load_surrogate("surrogate")
    (checkpoint,) = Path("checkpoints").glob("*step=3.ckpt")
    folder = "--trainer.callbacks.init_args.dirpath=again"
    assert main([*command, f"--ckpt_path={checkpoint}", folder]) == 0
    assert torch.equal(vector(load_surrogate("surrogate")), vector(straight))
    stored = yaml.safe_load(Path("config.yaml").read_text())["model"]
    assert stored["input_noise"]["init_args"]["fraction"] == 0.02
    assert stored["transforms"][0]["init_args"]["max_steps"] == 3


# --- resume ---------------------------------------------------------------------------------


class Interrupted(Exception):
    pass


class Dies(ModelCheckpoint):
    """Saves after a number of batches, within an update or not, and dies."""

    def __init__(self, folder, after):
        super().__init__(folder, every_n_train_steps=10**6)
        self.after = after

    def on_train_batch_end(self, trainer, *rest):
        if trainer.fit_loop.epoch_loop.batch_progress.total.processed == self.after:
            trainer.save_checkpoint(Path(self.dirpath) / "here.ckpt")
            raise Interrupted


CASES = {
    "pairs": (make_pairs, Curriculum({0: OneStep(MIXED), 5: 2}), [AllPairs(2)]),
    "refiner": (make_refiner, Curriculum({0: OneStep(MIXED), 6: Unrolled(1)}), []),
    "bundle": (make_bundle, Pushforward(2, random_length=True, distance=Sobolev(0.1)), []),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", list(CASES))
@pytest.mark.parametrize("after", [9, 16])
def test_a_resumed_run_is_bit_identical_with_everything_on(
    case, after, waves, make_trainer, tmp_path
):
    make, loss, transforms = CASES[case]

    def run(resume=None, **options):
        module = SurrogateModule(
            make(), loss, learning_rate=0.01, input_noise=InputNoise(0.05), transforms=transforms
        )
        callbacks = [EMA(0.9), *options.pop("callbacks", ())]
        trainer = make_trainer(
            max_steps=10,
            accumulate_grad_batches=3,
            callbacks=callbacks,
            **options,
        )
        data = TrajectoryDataModule(waves, waves, batch_size=5, rollout_steps=2)
        trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
        return vector(module)

    straight = run()
    with pytest.raises(Interrupted):
        run(callbacks=[Dies(tmp_path, after)], enable_checkpointing=True)
    assert torch.equal(run(tmp_path / "here.ckpt"), straight)


# --- accumulation and precision -------------------------------------------------------------


def test_four_small_batches_make_the_update_of_a_large_one(waves):
    def weights(**options):
        torch.manual_seed(0)
        surrogate = ResidualSurrogate(small_fno(), 0.1)
        options = {"num_steps": 5, "learning_rate": 0.01, "log_every": 1, **options}
        result = train(surrogate, waves, **options)
        return vector(surrogate), [loss for _, loss in result.losses]

    large, losses = weights(batch_size=16)
    small, parts = weights(batch_size=4, accumulate_grad_batches=4)
    assert torch.allclose(small, large, atol=1e-10)
    assert parts == pytest.approx(losses, rel=1e-8)
    assert not torch.allclose(weights(batch_size=4)[0], large, atol=1e-4)


def test_every_update_has_all_its_batches_at_the_end_of_a_pass_too(waves, make_trainer):
    """Nine batches per pass, four per update: an update takes from two passes."""
    counts, numbers = [], []

    class Count(EMA):
        def on_train_batch_end(self, trainer, *rest):
            counts.append(trainer.global_step)

    class Record(OneStep):
        def __call__(self, surrogate, batch):
            numbers.append(batch["stream"][1])
            return super().__call__(surrogate, batch)

    trainer = make_trainer(max_steps=12, accumulate_grad_batches=4, callbacks=[Count()])
    module = SurrogateModule(ResidualSurrogate(small_fno(), 0.1), Record())
    trainer.fit(module, datamodule=TrajectoryDataModule(waves, batch_size=9))
    assert counts == [(n + 1) // 4 for n in range(48)]
    assert numbers == list(range(48))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [make_pairs, make_refiner, make_bundle])
def test_bf16_learns_and_keeps_weights_states_and_losses_in_float32(make, waves, make_trainer):
    torch.set_default_dtype(torch.float32)
    surrogate, seen = make(), []

    class Record(OneStep):
        def __call__(self, model, batch):
            prediction, _ = model.regression(batch)
            loss = super().__call__(model, batch)
            seen.append((prediction.dtype, loss.dtype))
            return loss

    states = torch.stack([waves.read(n) for n in range(8)]).float()
    file = from_arrays(states, axes="trajectory time channel x", dt=0.1, grid=waves.grid)
    loss = Record(distance=MIXED)
    transforms = [AllPairs(2)] if make is make_pairs else []
    result = train(
        surrogate,
        file,
        num_steps=60,
        batch_size=16,
        learning_rate=0.01,
        loss=loss,
        log_every=10,
        precision="bf16-mixed",
        transforms=transforms,
    )
    losses = [loss for _, loss in result.losses]
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])
    assert {dtype for _, dtype in seen} == {torch.float32}
    assert all(weight.dtype == torch.float32 for weight in surrogate.parameters())
    u0 = states[:2, 0]
    with torch.autocast("cpu", torch.bfloat16):
        u_next = surrogate(0.0, u0, 0.1)
    assert u_next.dtype == torch.float32
    assert not torch.equal(u_next, surrogate(0.0, u0, 0.1))  # it did run at low precision
