"""rollout: streamed, resumable, with other steppers and steps."""

import pytest
import torch

from pdesurrogates.cli import rollout as verb
from pdesurrogates.cli.main import main
from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.data import open_trajectories, write_trajectories
from pdesurrogates.steppers import RK4, AdamsBashforth, integrate, rollout
from pdesurrogates.surrogates import load_surrogate


def states(path):
    with open_trajectories(path) as file:
        return torch.stack([file.read(i) for i in range(file.num_trajectories)])


def run(*words):
    return main(["rollout", *map(str, words)])


def test_rollout_is_the_rollout_of_the_surrogate(surrogate_folder, data_file, tmp_path):
    output = tmp_path / "out.hdf5"
    assert run(surrogate_folder, data_file, output) == 0
    u = states(data_file)
    with open_trajectories(output) as file:
        times = file.times
        assert file.num_times == 13
    with torch.no_grad():
        expected = rollout(load_surrogate(surrogate_folder).eval(), u[:, 0], times)
    torch.testing.assert_close(states(output), expected, rtol=1e-5, atol=1e-6)


def test_pieces_and_batches_do_not_matter(surrogate_folder, data_file, tmp_path, monkeypatch):
    words = ["--stepper", "AdamsBashforth:3", "--save-every", "2"]
    assert run(surrogate_folder, data_file, tmp_path / "whole.hdf5", *words) == 0
    monkeypatch.setattr(verb, "CHUNK_BYTES", 1)
    assert run(surrogate_folder, data_file, tmp_path / "pieces.hdf5", *words) == 0
    assert states(tmp_path / "pieces.hdf5").equal(states(tmp_path / "whole.hdf5"))


def test_another_stepper_step_and_start(surrogate_folder, data_file, tmp_path):
    output = tmp_path / "out.hdf5"
    words = ["--stepper", "AdamsBashforth:2", "--dt", "0.1", "--num-steps", "5", "--start", "-3"]
    with pytest.warns(UserWarning, match="outside the training data"):
        assert run(surrogate_folder, data_file, output, *words) == 0
    with open_trajectories(data_file) as file:
        origin = float(file.times[-3])
    with open_trajectories(output) as file:
        expected_times = origin + 0.1 * torch.arange(6, dtype=torch.float64)
        torch.testing.assert_close(file.times, expected_times)
        times = file.times
    f = load_surrogate(surrogate_folder).eval().time_derivative()
    with torch.no_grad():
        expected = integrate(f, states(data_file)[:, -3], times, AdamsBashforth(2)).states
    torch.testing.assert_close(states(output), expected, rtol=1e-4, atol=1e-5)


def test_a_killed_rollout_continues_to_the_same_bytes(
    surrogate_folder, data_file, tmp_path, monkeypatch
):
    words = (surrogate_folder, data_file, tmp_path / "killed.hdf5", "--batch-size", "1")
    assert run(*words[:2], tmp_path / "whole.hdf5", *words[3:]) == 0
    stream, calls = verb._stream, []

    def killed(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        stream(*arguments)

    monkeypatch.setattr(verb, "_stream", killed)
    assert run(*words) == 130
    assert not words[2].exists()
    assert run(*words) == 0
    assert len(calls) == 4  # the finished trajectory was not computed again
    assert words[2].read_bytes() == (tmp_path / "whole.hdf5").read_bytes()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--stepper", "Magic"], "expected one of"),
        (["--start", "40"], "must be a frame"),
        (["--start", "12"], "no state to save"),
        (["--stepper", "RK4:2"], "has no order"),
        (["--stepper", "AdamsBashforth:9"], "must be 2, 3 or 4"),
        (["--device", "abacus"], "--device: expected a device"),
    ],
)
def test_mistakes_are_named(words, text, surrogate_folder, data_file, tmp_path, capsys):
    assert run(surrogate_folder, data_file, tmp_path / "out.hdf5", *words) == 2
    assert text in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_steppers_by_name():
    assert verb.parse_stepper("RK4") == RK4()
    assert verb.parse_stepper("AdamsBashforth:3") == AdamsBashforth(3)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"extent": 8.0}, "was made for Grid"),
        ({"fields": FieldSpec(("v",))}, "must have the fields of the surrogate"),
        ({"value": float("nan")}, "trajectory 1: values must be finite, got nan in field 'u'"),
    ],
)
def test_data_that_do_not_fit_are_refused(
    change, text, surrogate_folder, data_file, tmp_path, capsys
):
    u = states(data_file)
    u[1, 0, 0, 5] = change.get("value", 0.0)
    path = write_trajectories(
        tmp_path / "other.hdf5",
        u,
        fields=change.get("fields", FieldSpec(("u",))),
        grid=Grid((32,), (change.get("extent", 16.0),)),
        times=[0.2 * n for n in range(13)],
    )
    assert run(surrogate_folder, path, tmp_path / "out.hdf5") == 2
    assert text in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]
