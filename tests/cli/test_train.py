"""fit, validate, test: the shipped configuration builds and runs, mistakes are named."""

import shutil
from importlib import resources

import pytest
import yaml

from pdesurrogates.cli.main import main
from pdesurrogates.surrogates import DerivativeSurrogate, load_surrogate

CONFIG = resources.files("pdesurrogates.cli") / "configs" / "fit.yaml"
OVERRIDES = [
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.val_check_interval=2",
    "--model.surrogate.backbone.width=8",
    "--model.surrogate.backbone.depth=1",
    "--model.surrogate.backbone.num_modes=[6]",
    "--data.batch_size=4",
]


@pytest.fixture
def workplace(tmp_path, monkeypatch, data_file):
    """A folder with the files that the shipped configuration names."""
    for name in ("train.hdf5", "validation.hdf5"):
        shutil.copy(data_file, tmp_path / name)
    (tmp_path / "fit.yaml").write_text(CONFIG.read_text())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fit(*words, config="fit.yaml"):
    return main(["fit", "--config", config, *OVERRIDES, *words])


def test_the_shipped_configuration_runs_two_batches(workplace):
    checkpointing = ["--trainer.callbacks.init_args.every_n_train_steps=2"]
    assert fit("--trainer.max_steps=2", *checkpointing) == 0
    surrogate = load_surrogate(workplace / "runs/fit/surrogate")
    assert isinstance(surrogate, DerivativeSurrogate)
    assert surrogate.target_order == 4
    stored = yaml.safe_load((workplace / "runs/fit/config.yaml").read_text())
    assert stored["seed_everything"] == 0


def test_fit_continues_and_the_checkpoint_can_be_scored(workplace, capsys):
    checkpointing = ["--trainer.callbacks.init_args.every_n_train_steps=2"]
    assert fit("--trainer.max_steps=2", *checkpointing) == 0
    assert fit("--trainer.max_steps=4", "--ckpt_path=last", *checkpointing) == 0
    assert (workplace / "runs/fit/checkpoints/epoch=0-step=4.ckpt").exists()
    last = "--ckpt_path=runs/fit/checkpoints/last.ckpt"
    assert main(["validate", "--config", "fit.yaml", *OVERRIDES, last]) == 0
    assert "val/rollout_nrmse" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("learning_rate", "learning_rat", "learning_rat"),
        ("steppers.RK4", "steppers.RK5", "RK5"),
        ("dt: 0.2", "dt: fast", "fast"),
    ],
)
def test_a_wrong_configuration_is_named(old, new, text, workplace, capsys):
    wrong = (workplace / "fit.yaml").read_text().replace(old, new)
    (workplace / "wrong.yaml").write_text(wrong)
    assert fit(config="wrong.yaml") == 2
    error = capsys.readouterr().err
    assert error.startswith("pdesurrogates fit: error: ")
    assert text in error


def test_a_checkpoint_that_does_not_fit_is_named(workplace, capsys):
    checkpointing = ["--trainer.callbacks.init_args.every_n_train_steps=2"]
    assert fit("--trainer.max_steps=2", *checkpointing) == 0
    last = workplace / "runs/fit/checkpoints/last.ckpt"
    words = [f"--ckpt_path={last}", "--trainer.max_steps=4", *checkpointing]
    assert fit(*words, "--model.surrogate.backbone.width=4") == 2
    assert "checkpoint must hold the weights of this surrogate" in capsys.readouterr().err
    for content in (last.read_bytes()[:3000], b"hi", b""):
        last.write_bytes(content)
        assert fit(*words) == 2
        assert f"{last}: expected a Lightning checkpoint" in capsys.readouterr().err


def test_a_setting_that_lightning_refuses_is_one_line(workplace, capsys):
    assert fit("--trainer.max_steps=-5") == 2
    assert "pdesurrogates fit: error: `max_steps` must be" in capsys.readouterr().err


def test_full_help_lists_lightnings_options(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--full-help"])
    assert not stop.value.code
    assert "--trainer.max_steps" in capsys.readouterr().out
