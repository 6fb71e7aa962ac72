"""Saved and loaded surrogates are equal; everything else is refused with file and cause."""

import os
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import nn

from pdesurrogates.backbones import FNO
from pdesurrogates.data import TrajectoryWindows
from pdesurrogates.steppers import RK4, rollout
from pdesurrogates.surrogates import (
    DerivativeSurrogate,
    StateSurrogate,
    load_surrogate,
    save_surrogate,
)

TIMES = [0.1 * n for n in range(5)]


@pytest.fixture
def saved(waves, small_fno, tmp_path):
    surrogate = DerivativeSurrogate(small_fno, RK4(), 0.1)
    surrogate.fit_normalizers(TrajectoryWindows(waves, target_order=4))
    return save_surrogate(surrogate, tmp_path / "surrogate")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loaded_is_equal_to_saved(make, waves, tmp_path, dtype):
    surrogate = make(in_channels=2, parameter_names=("speed",)).to(dtype)
    surrogate.fit_normalizers(TrajectoryWindows(waves, target_order=surrogate.target_order))
    folder = save_surrogate(surrogate, tmp_path / "a" / "b", training={"seconds": 3.5})
    loaded = load_surrogate(folder)
    assert type(loaded) is type(surrogate) and not loaded.training
    assert (loaded.fields, loaded.grid, loaded.dt) == (waves.fields, waves.grid, 0.1)
    assert loaded.trained_dt == surrogate.trained_dt and loaded.is_fitted
    assert loaded.parameter_names == ("speed",)
    assert {p.dtype for p in loaded.parameters()} == {dtype}
    u0, parameters = waves.read(0)[:2].to(dtype), torch.tensor([[0.5], [1.0]], dtype=dtype)
    expected = rollout(surrogate.bind(parameters), u0, TIMES)
    assert torch.equal(rollout(loaded.bind(parameters), u0, TIMES), expected)


def test_an_fno_can_be_saved(tmp_path):
    surrogate = StateSurrogate(FNO(num_modes=(4,), width=6, depth=1), 0.1)
    u0 = torch.randn(1, 1, 16)
    loaded = load_surrogate(save_surrogate(surrogate, tmp_path / "fno"))
    assert torch.equal(loaded(0.0, u0, 0.1), surrogate(0.0, u0, 0.1))


def test_the_description_is_plain_and_names_public_classes(saved):
    config = yaml.safe_load((saved / "config.yaml").read_text())
    assert config["surrogate"]["class_path"] == "pdesurrogates.surrogates.DerivativeSurrogate"
    arguments = config["surrogate"]["init_args"]
    assert arguments["stepper"]["class_path"] == "pdesurrogates.steppers.RK4"
    assert arguments["dt"] == 0.1 and arguments["target_order"] == 4
    assert arguments["fields"]["init_args"] == {"names": ["u"], "units": ["1"]}
    assert sorted(path.name for path in saved.iterdir()) == ["config.yaml", "weights.safetensors"]


def test_saving_again_replaces_and_leaves_nothing_else(saved):
    surrogate = load_surrogate(saved)
    with torch.no_grad():
        next(surrogate.backbone.parameters()).zero_()
    save_surrogate(surrogate, saved)
    assert not next(load_surrogate(saved).backbone.parameters()).detach().any()
    assert [path.name for path in saved.parent.iterdir()] == ["surrogate"]


def test_a_failure_while_writing_keeps_the_earlier_folder(saved, monkeypatch):
    before = (saved / "weights.safetensors").read_bytes()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_surrogate(load_surrogate(saved), saved)
    assert (saved / "weights.safetensors").read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["surrogate"]


def test_a_folder_with_something_else_is_left_alone(saved, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "diary.txt").write_text("dear diary")
    with pytest.raises(FileExistsError, match="notes exists and is not a saved surrogate"):
        save_surrogate(load_surrogate(saved), tmp_path / "notes")


class Forgetful(nn.Module):
    def __init__(self, width):
        super().__init__()

    def forward(self, u):
        return u


class Scaled(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, u):
        return self.factor * u


def test_unsaveable_arguments_are_named(tmp_path):
    with pytest.raises(TypeError, match=r"Forgetful does not keep .* `width`; write `self.width"):
        save_surrogate(StateSurrogate(Forgetful(3), 0.1), tmp_path / "a")
    with pytest.raises(TypeError, match=r"StateSurrogate.backbone.factor must be plain.*Tensor"):
        save_surrogate(StateSurrogate(Scaled(torch.ones(2)), 0.1), tmp_path / "a")

    class Local(Scaled):
        pass

    with pytest.raises(TypeError, match="cannot be imported again"):
        save_surrogate(StateSurrogate(Local(1.0), 0.1), tmp_path / "a")
    assert not (tmp_path / "a").exists()


class Talkative(Scaled):
    """Puts more than tensors into its state dict, as networks of neuraloperator do."""

    def __init__(self, factor):
        super().__init__(factor)
        self.weight = nn.Parameter(torch.randn(2))

    def state_dict(self, *arguments, prefix="", **options):
        state = super().state_dict(*arguments, prefix=prefix, **options)
        state[f"{prefix}_metadata"] = {"version": "2.0"}
        return state


def test_only_tensors_are_kept(tmp_path):
    surrogate = StateSurrogate(Talkative(2.0), 0.1)
    loaded = load_surrogate(save_surrogate(surrogate, tmp_path / "a"))
    assert torch.equal(loaded.backbone.weight, surrogate.backbone.weight)


class Doubled(nn.Module):
    """Keeps another value than it was given."""

    def __init__(self, width):
        super().__init__()
        self.width = 2 * width
        self.layer = nn.Linear(self.width, 1)

    def forward(self, u):
        return u


def test_a_network_that_would_come_back_otherwise_is_refused(tmp_path):
    with pytest.raises(
        TypeError, match=r"Doubled must .*'backbone.layer.weight': \(1, 6\) here, \(1, 12"
    ):
        save_surrogate(StateSurrogate(Doubled(3), 0.1), tmp_path / "a")
    changed = FNO(num_modes=(4,), width=6, depth=1)
    changed.project = nn.Linear(6, 1)
    state = torch.get_rng_state()
    with pytest.raises(TypeError, match=r"FNO must have the same weights .* keep every argument"):
        save_surrogate(StateSurrogate(changed, 0.1), tmp_path / "a")
    assert torch.equal(torch.get_rng_state(), state)
    assert not (tmp_path / "a").exists()


def test_arguments_that_cannot_be_read_back_are_refused(tmp_path):
    layers = nn.Sequential(Scaled(1.0), Scaled(2.0))
    with pytest.raises(
        TypeError, match=r"Sequential takes any number of arguments, .* of your own"
    ):
        save_surrogate(StateSurrogate(layers, 0.1), tmp_path / "a")
    compiled = torch.compile(Scaled(1.0), backend="eager")
    with pytest.raises(TypeError, match=r"wrapped by torch.compile; give the network itself"):
        save_surrogate(StateSurrogate(compiled, 0.1), tmp_path / "a")
    assert not (tmp_path / "a").exists()
    assert isinstance(
        load_surrogate(
            save_surrogate(StateSurrogate(nn.Identity(), 0.1), tmp_path / "b")
        ).backbone,
        nn.Identity,
    )


@pytest.mark.parametrize("name", ["config.yaml", "weights.safetensors"])
def test_missing_files(saved, name):
    (saved / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is missing; a saved surrogate is"):
        load_surrogate(saved)
    shutil.rmtree(saved)
    with pytest.raises(FileNotFoundError, match="config.yaml is missing"):
        load_surrogate(saved)


def edit(folder, change):
    path = folder / "config.yaml"
    config = yaml.safe_load(path.read_text())
    change(config)
    path.write_text(yaml.safe_dump(config))


@pytest.mark.parametrize("size", [0, 4, 100, -1])
def test_truncated_weights(saved, size):
    path = saved / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"weights.safetensors: not readable as safetensors"):
        load_surrogate(saved)


@pytest.mark.parametrize(
    "text, cause",
    [
        ("a: [1", "not readable as YAML"),
        ("just words", "not the description of a surrogate"),
        ("!!python/object/apply:os.getcwd []", "not readable as YAML"),
        ("surrogate: {}\nformat: 99", "`format` must be 1, got 99"),
    ],
)
def test_foreign_descriptions(saved, text, cause):
    (saved / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=f"config.yaml: {cause}"):
        load_surrogate(saved)


def set_path(path):
    return lambda config: config["surrogate"]["init_args"]["backbone"].update(class_path=path)


@pytest.mark.parametrize(
    "change, cause",
    [
        (set_path("no_such_package.Net"), "surrogate.backbone: class 'no_such_package.Net' not"),
        (set_path("pdesurrogates.backbones.Missing"), "class 'pdesurrogates.backbones.Missing'"),
        (set_path("os.system"), "'os.system' is neither a network module nor a dataclass"),
        (set_path("subprocess.Popen"), "'subprocess.Popen' is neither a network module nor"),
        (set_path(""), "class '' not found"),
        (lambda c: c.update(colour="red"), r"unknown keys \['colour'\]"),
        (lambda c: c.update(trained_dt=[1]), r"`trained_dt` must be two numbers, got \[1\]"),
        (lambda c: c.pop("trained_dt"), r"missing keys \['trained_dt'\]"),
        (
            lambda c: c["surrogate"]["init_args"].update(speed=1),
            r"surrogate: DerivativeSurrogate has no argument \['speed'\]",
        ),
        (lambda c: c["surrogate"]["init_args"].update(dt=-1.0), "cannot be built .*must be posit"),
        (lambda c: c["surrogate"]["init_args"].update(stepper=None), "`stepper` must be an inst"),
        (
            lambda c: c.update(
                surrogate={"class_path": "pdesurrogates.steppers.RK4", "init_args": {}}
            ),
            "`surrogate` must be a Surrogate, got RK4",
        ),
        (lambda c: c["surrogate"].pop("init_args"), "must have the keys class_path and init_args"),
    ],
)
def test_damaged_descriptions(saved, change, cause):
    edit(saved, change)
    with pytest.raises(ValueError, match=cause) as error:
        load_surrogate(saved)
    assert str(saved / "config.yaml") in str(error.value)


def test_weights_of_another_network(saved):
    path = saved / "weights.safetensors"
    weights = load_file(path)
    name = next(name for name in weights if name.startswith("backbone"))
    save_file({**weights, name: torch.zeros(1, 2)}, path)
    with pytest.raises(ValueError, match=rf"`{name}` must have shape .* got \(1, 2\)"):
        load_surrogate(saved)
    save_file({key: value for key, value in weights.items() if key != name}, path)
    with pytest.raises(ValueError, match=rf"weights do not fit .* 1 missing, \['{name}'"):
        load_surrogate(saved)


def test_weights_of_another_architecture_name_both(saved, tmp_path):
    class_path = "pdesurrogates.backbones.DeepONet"
    edit(
        saved,
        lambda c: c["surrogate"]["init_args"].update(
            backbone={"class_path": class_path, "init_args": {"num_points": [15]}}
        ),
    )
    with pytest.raises(
        ValueError, match=r"a DerivativeSurrogate of DeepONet: \d+ missing, .*branch"
    ) as error:
        load_surrogate(saved)
    assert "unknown, ['backbone.blocks" in str(error.value)
