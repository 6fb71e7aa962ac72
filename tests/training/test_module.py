"""The Lightning module: schedule, statistics, scores, and configuration by LightningCLI."""

import math

import pytest
import torch
import yaml
from lightning.pytorch.cli import LightningCLI

from pdesurrogates.data import TrajectoryWindows, write_trajectories
from pdesurrogates.steppers import RK4
from pdesurrogates.surrogates import load_surrogate
from pdesurrogates.training import (
    EMA,
    InputNoise,
    SaveSurrogate,
    SurrogateModule,
    TrajectoryDataModule,
    Unrolled,
)


def test_learning_rate_warms_up_and_falls_to_zero(residual):
    module = SurrogateModule(residual, warmup_steps=4)
    factors = [module.learning_rate_factor(n, 104) for n in range(105)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[54] == pytest.approx(0.5) and factors[104] == pytest.approx(0.0)
    assert factors[29] == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    constant = SurrogateModule(residual, schedule="constant")
    assert constant.learning_rate_factor(99, 100) == 1.0
    with pytest.raises(ValueError, match="`learning_rate` must be positive, got 0"):
        SurrogateModule(residual, learning_rate=0)
    with pytest.raises(ValueError, match="`seed` must not be negative, got -1"):
        SurrogateModule(residual, seed=-1)


def test_a_loaded_surrogate_is_trained_in_training_mode(waves, residual, make_trainer):
    trainer = make_trainer(max_steps=1, num_sanity_val_steps=0)
    trainer.fit(SurrogateModule(residual.eval()), datamodule=TrajectoryDataModule(waves))
    assert residual.training


def test_training_lowers_the_loss_and_logs_scores(waves, residual, make_trainer):
    data = TrajectoryDataModule(waves, waves, waves, batch_size=16, rollout_steps=5)
    module = SurrogateModule(residual, learning_rate=0.01)
    trainer = make_trainer(max_steps=100, num_sanity_val_steps=0)
    before = dict(trainer.validate(module, datamodule=data, verbose=False)[0])
    trainer.fit(module, datamodule=data)
    after = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert set(before) == {"val/one_step_error", "val/rollout_nrmse"}
    assert after["val/one_step_error"] < 0.2 * before["val/one_step_error"]
    assert after["train/loss"] < 0.1
    tested = trainer.test(module, datamodule=data, verbose=False)[0]
    assert tested["test/one_step_error"] == pytest.approx(after["val/one_step_error"], rel=0.2)


def test_the_score_of_persistence_is_known(waves, residual, make_trainer):
    for weight in residual.parameters():
        weight.data.zero_()
    data = TrajectoryDataModule(waves, waves, batch_size=16, rollout_steps=5)
    scores = make_trainer(max_steps=1).validate(
        SurrogateModule(residual), datamodule=data, verbose=False
    )[0]
    speeds = waves.parameters["speed"]
    # |sin(x) - sin(x - a)| / |sin| = 2 sin(a / 2)
    for name, steps in (("val/one_step_error", 1), ("val/rollout_nrmse", 5)):
        expected = float((2 * torch.sin(speeds * 0.1 * steps / 2)).mean())
        assert scores[name] == pytest.approx(expected, rel=1e-5)


def test_statistics_are_measured_once(waves, residual, make_trainer):
    residual.fit_normalizers(TrajectoryWindows(waves))
    residual.state_normalizer.mean.fill_(7.0)
    module = SurrogateModule(residual)
    make_trainer(max_steps=1).fit(module, datamodule=TrajectoryDataModule(waves))
    assert float(residual.state_normalizer.mean) == 7.0


def test_without_statistics_or_data_module_it_says_what_to_do(waves, residual, make_trainer):
    loader = torch.utils.data.DataLoader(TrajectoryWindows(waves))
    with pytest.raises(ValueError, match="call surrogate.fit_normalizers"):
        make_trainer(max_steps=1).fit(SurrogateModule(residual), loader)


def test_a_loss_that_is_not_a_number_stops_training(waves, residual, make_trainer):
    residual.fit_normalizers(TrajectoryWindows(waves))
    next(residual.backbone.parameters()).data.fill_(torch.nan)
    module = SurrogateModule(residual, learning_rate=0.5)
    with pytest.raises(FloatingPointError, match=r"loss is nan at update 0; lower learning_rate"):
        make_trainer(max_steps=3).fit(module, datamodule=TrajectoryDataModule(waves))


def test_the_gradient_norm_is_limited(waves, residual, make_trainer):
    norms = []

    class Record(EMA):
        def on_train_batch_end(self, trainer, pl_module, *rest):
            grads = [p.grad for p in pl_module.parameters()]
            norms.append(float(torch.nn.utils.get_total_norm(grads)))

    module = SurrogateModule(residual, gradient_clip=1e-3)
    make_trainer(max_steps=2, callbacks=[Record()]).fit(
        module, datamodule=TrajectoryDataModule(waves)
    )
    assert norms == pytest.approx([1e-3, 1e-3], rel=1e-3)


def test_ema_is_the_recursion_with_warm_up(waves, residual, make_trainer):
    history = []

    class Record(EMA):
        def on_train_batch_end(self, trainer, pl_module, *rest):
            history.append(torch.nn.utils.parameters_to_vector(pl_module.parameters()).detach())
            super().on_train_batch_end(trainer, pl_module, *rest)

    average = torch.nn.utils.parameters_to_vector(residual.parameters()).detach()
    make_trainer(max_steps=5, callbacks=[Record(decay=0.3)]).fit(
        SurrogateModule(residual), datamodule=TrajectoryDataModule(waves)
    )
    for n, weights in enumerate(history):
        decay = min(0.3, (1 + n) / (10 + n))
        average = decay * average + (1 - decay) * weights
    final = torch.nn.utils.parameters_to_vector(residual.parameters())
    assert torch.allclose(final, average, atol=1e-14)
    assert not torch.allclose(final, history[-1])
    with pytest.raises(ValueError, match="`decay` must be at least 0 and below 1, got 1"):
        EMA(1)


def test_unsaveable_surrogates_are_refused_before_training(
    waves, residual, make_trainer, tmp_path
):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    trainer = make_trainer(max_steps=1, callbacks=[SaveSurrogate(str(tmp_path / "full"))])
    with pytest.raises(FileExistsError, match="full exists and is not a saved surrogate"):
        trainer.fit(SurrogateModule(residual), datamodule=TrajectoryDataModule(waves))
    assert trainer.global_step == 0


def configuration(path, folder):
    return {
        "model": {
            "surrogate": {
                "class_path": "pdesurrogates.surrogates.HybridSurrogate",
                "init_args": {
                    "backbone": {
                        "class_path": "pdesurrogates.backbones.FNO",
                        "init_args": {"in_channels": 2, "num_modes": [4], "width": 6, "depth": 1},
                    },
                    "equation": {
                        "class_path": "pdesurrogates.equations.Diffusion",
                        "init_args": {"diffusivity": 0.1},
                    },
                    "stepper": {"class_path": "pdesurrogates.steppers.RK4"},
                    "dt": 0.1,
                    "grid": {"num_points": [16], "extent": [6.283185307179586]},
                    "parameter_names": ["speed"],
                },
            },
            "loss": {
                "class_path": "pdesurrogates.training.Unrolled",
                "init_args": {"num_steps": 2},
            },
            "input_noise": {"fraction": 0.02},
            "learning_rate": 0.01,
        },
        "data": {"train": str(path), "validation": str(path), "batch_size": 8},
        "trainer": {
            "max_steps": 3,
            "logger": False,
            "accelerator": "cpu",
            "enable_progress_bar": False,
            "enable_checkpointing": False,
            "callbacks": [
                {"class_path": "pdesurrogates.training.EMA", "init_args": {"decay": 0.9}},
                {
                    "class_path": "pdesurrogates.training.SaveSurrogate",
                    "init_args": {"folder": str(folder)},
                },
            ],
        },
    }


def run_cli(configuration, tmp_path):
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(configuration))
    return LightningCLI(
        SurrogateModule,
        TrajectoryDataModule,
        save_config_callback=None,
        args=["fit", "--config", str(tmp_path / "run.yaml")],
    )


@pytest.fixture
def path(waves, tmp_path):
    states = torch.stack([waves.read(n) for n in range(8)])
    return write_trajectories(
        tmp_path / "waves.hdf5",
        states,
        fields=waves.fields,
        grid=waves.grid,
        times=waves.times,
        parameters=waves.parameters,
    )


@pytest.mark.filterwarnings("ignore")
def test_everything_is_configured_from_yaml(path, tmp_path):
    folder = tmp_path / "surrogate"
    cli = run_cli(configuration(path, folder), tmp_path)
    assert cli.model.loss == Unrolled(2) and cli.model.input_noise == InputNoise(0.02)
    assert cli.trainer.global_step == 3
    loaded = load_surrogate(folder)
    assert loaded.stepper == RK4() and loaded.equation.diffusivity == 0.1
    for ours, saved in zip(cli.model.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(ours, saved)
    facts = yaml.safe_load((folder / "config.yaml").read_text())["training"]
    assert facts["updates"] == 3 and facts["seconds"] > 0


def test_an_unknown_key_is_named(path, tmp_path, capsys):
    wrong = configuration(path, tmp_path / "surrogate")
    wrong["model"]["learning_speed"] = 1.0
    with pytest.raises(SystemExit):
        run_cli(wrong, tmp_path)
    assert "learning_speed" in capsys.readouterr().err
