"""rollout: streamed, resumable, with other steppers and steps."""

import pytest
import torch

from pdesurrogates.backbones import FNO
from pdesurrogates.cli import rollout as verb
from pdesurrogates.cli.main import main
from pdesurrogates.core import FieldSpec, Grid
from pdesurrogates.data import TrajectoryWindows, open_trajectories, write_trajectories
from pdesurrogates.equations import KuramotoSivashinsky
from pdesurrogates.evaluation import resample
from pdesurrogates.steppers import ETDRK, RK4, AdamsBashforth, integrate, rollout
from pdesurrogates.surrogates import (
    HybridSurrogate,
    PDERefiner,
    load_surrogate,
    rollout_ensemble,
    save_surrogate,
)


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


# --- ensembles, other grids, other ways to run the network ----------------------------------


@pytest.fixture(scope="module")
def refiner_folder(data_file, tmp_path_factory):
    torch.manual_seed(0)
    network = FNO(2, num_modes=(6,), width=8, depth=1, num_conditions=1).float()
    surrogate = PDERefiner(network, 0.2, num_refinement_steps=1, sigma_min=0.1)
    with open_trajectories(data_file) as file:
        surrogate.fit_normalizers(TrajectoryWindows(file))
    return save_surrogate(surrogate.float(), tmp_path_factory.mktemp("model") / "refiner")


def test_members_are_consecutive_trajectories(refiner_folder, data_file, tmp_path):
    output = tmp_path / "members.hdf5"
    words = ["--members", "4", "--seed", "3", "--num-steps", "5", "--batch-size", "5"]
    assert run(refiner_folder, data_file, output, *words) == 0
    u0 = states(data_file)[:, 0]
    with open_trajectories(output) as file:
        times = file.times
        assert file.parameters["trajectory"].tolist() == [0.0] * 4 + [1.0] * 4 + [2.0] * 4
        assert file.parameters["member"].tolist() == [0.0, 1.0, 2.0, 3.0] * 3
        assert file.attributes["num_members"] == 4
    surrogate = load_surrogate(refiner_folder)
    expected = rollout_ensemble(surrogate, u0, times, num_members=4, seed=3)
    found = states(output).unflatten(0, (3, 4))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert float((found[:, 0] - found[:, 1])[:, 1:].abs().max()) > 1e-3


def test_members_of_one_seed_are_those_of_every_call(refiner_folder, data_file, tmp_path):
    few, many = tmp_path / "few.hdf5", tmp_path / "many.hdf5"
    words = ["--num-steps", "3", "--batch-size", "1"]
    assert run(refiner_folder, data_file, few, *words) == 0
    assert run(refiner_folder, data_file, many, *words, "--members", "2") == 0
    assert states(few).equal(states(many)[::2])


def test_an_ensemble_is_evaluated_like_seeds(refiner_folder, data_file, tmp_path):
    output = tmp_path / "members.hdf5"
    assert run(refiner_folder, data_file, output, "--members", "2", "--num-steps", "6") == 0
    words = [str(output), "--reference", str(data_file), "--output", str(tmp_path / "scores")]
    assert main(["evaluate", *words]) == 0
    assert "2 draws per trajectory" in (tmp_path / "scores" / "report.html").read_text()


def test_low_precision_from_the_command_line(surrogate_folder, data_file, tmp_path):
    exact, low = tmp_path / "exact.hdf5", tmp_path / "low.hdf5"
    assert run(surrogate_folder, data_file, exact, "--num-steps", "1") == 0
    words = ["--num-steps", "1", "--precision", "bfloat16"]
    assert run(surrogate_folder, data_file, low, *words) == 0
    change = (states(low) - states(exact))[:, 1].norm()
    change = change / (states(exact)[:, 1] - states(exact)[:, 0]).norm()
    assert 1e-5 < float(change) < 0.02
    with open_trajectories(low) as file:
        assert file.attributes["precision"] == "bfloat16"


@pytest.fixture
def finer_file(data_file, tmp_path):
    with open_trajectories(data_file) as file:
        grid, times, fields = file.grid, file.times, file.fields
    fine = resample(states(data_file), (48,))
    return write_trajectories(
        tmp_path / "finer.hdf5", fine, fields=fields, grid=grid.resized(48), times=times
    )


def test_another_resolution(surrogate_folder, data_file, finer_file, tmp_path):
    coarse, fine = tmp_path / "coarse_out.hdf5", tmp_path / "fine_out.hdf5"
    assert run(surrogate_folder, data_file, coarse, "--num-steps", "3") == 0
    assert run(surrogate_folder, finer_file, fine, "--num-steps", "3") == 0
    found = resample(states(fine), (32,))
    torch.testing.assert_close(found, states(coarse), rtol=1e-2, atol=1e-2)


def test_on_the_trained_grid(surrogate_folder, data_file, finer_file, tmp_path):
    coarse, fine = tmp_path / "coarse_out.hdf5", tmp_path / "fine_out.hdf5"
    assert run(surrogate_folder, data_file, coarse, "--num-steps", "3") == 0
    words = ["--num-steps", "3", "--on-trained-grid"]
    assert run(surrogate_folder, finer_file, fine, *words) == 0
    torch.testing.assert_close(states(fine), resample(states(coarse), (48,)), rtol=1e-4, atol=1e-5)


def test_a_hybrid_is_moved_to_the_grid_of_the_file(data_file, finer_file, tmp_path):
    network = FNO(num_modes=(6,), width=8, depth=1).float()
    hybrid = HybridSurrogate(network, KuramotoSivashinsky(), ETDRK(2), 0.2)
    with open_trajectories(data_file) as file:
        hybrid.fit_normalizers(TrajectoryWindows(file, target_order=hybrid.target_order))
    folder = save_surrogate(hybrid, tmp_path / "hybrid")
    output = tmp_path / "out.hdf5"
    assert run(folder, finer_file, output, "--num-steps", "2") == 0
    assert states(output).shape == (3, 3, 1, 48)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--members", "3"], "draws no noise, so its 3 members would be equal"),
        (["--cuda-graphs"], "needs a surrogate on a CUDA device"),
        (["--members", "0"], "--members"),
    ],
)
def test_what_makes_no_sense_is_refused(
    words, text, surrogate_folder, data_file, tmp_path, capsys
):
    try:
        code = run(surrogate_folder, data_file, tmp_path / "out.hdf5", *words)
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert text in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
