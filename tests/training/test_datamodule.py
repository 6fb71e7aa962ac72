"""The order of batches, and files that do not fit."""

import pytest
import torch

from pdesurrogates.core import FieldSpec
from pdesurrogates.data import from_arrays, open_trajectories, write_trajectories
from pdesurrogates.training import BatchStream, SurrogateModule, TrajectoryDataModule, Unrolled


def take(stream, number):
    return [batch for batch, _ in zip(stream, range(number), strict=False)]


def test_a_pass_sees_every_window_once():
    stream = BatchStream(20, 5, 3, lambda: 0)
    assert len(stream) == 4
    first, second = take(stream, 8)[:4], take(stream, 8)[4:]
    assert sorted(sum(first, [])) == list(range(20)) == sorted(sum(second, []))
    assert first != second


def test_the_last_short_batch_is_left_out_and_small_data_give_one_batch():
    assert len(BatchStream(23, 5, 0, lambda: 0)) == 4
    assert [len(batch) for batch in take(BatchStream(3, 64, 0, lambda: 0), 2)] == [3, 3]


@pytest.mark.parametrize("position", [0, 1, 3, 4, 9])
def test_the_stream_continues_anywhere(position):
    full = take(BatchStream(20, 5, 3, lambda: 0), 12)
    assert take(BatchStream(20, 5, 3, lambda: position), 12 - position) == full[position:]
    assert take(BatchStream(20, 5, 4, lambda: 0), 12) != full


def fit(trainer, data, surrogate, loss=None):
    module = SurrogateModule(surrogate, loss)
    trainer.fit(module, datamodule=data)
    return module


def test_windows_are_what_loss_and_surrogate_need(waves, make_derivative, make_trainer):
    data = TrajectoryDataModule(waves, batch_size=4)
    fit(make_trainer(max_steps=1), data, make_derivative(), Unrolled(3))
    batch = data.train_windows.__getitems__([0])
    assert batch["future"].shape[1] == 3 and "derivative" in batch
    assert data.train_windows.target_order == 4


def test_only_the_surrogates_parameters_are_handed_over(waves, make_derivative, make_trainer):
    data = TrajectoryDataModule(waves, batch_size=4)
    fit(make_trainer(max_steps=1), data, make_derivative(parameter_names=("speed",)))
    collated = data._collate(data.train_windows)(data.train_windows.__getitems__([0, 80]))
    speeds = waves.parameters["speed"]
    assert torch.equal(collated["parameters"], torch.stack([speeds[0], speeds[7]])[:, None])


@pytest.mark.filterwarnings("ignore")
def test_reading_ahead_in_workers_changes_nothing(waves, make_derivative, make_trainer, tmp_path):
    states = torch.stack([waves.read(n) for n in range(8)])
    path = write_trajectories(
        tmp_path / "a.hdf5", states, fields=waves.fields, grid=waves.grid, times=waves.times
    )
    weights = []
    for num_workers in (0, 2):
        data = TrajectoryDataModule(str(path), batch_size=16, num_workers=num_workers)
        module = fit(make_trainer(max_steps=7), data, make_derivative())
        weights.append(torch.nn.utils.parameters_to_vector(module.parameters()))
    assert torch.equal(*weights)


def test_splits_must_agree(waves, residual, make_trainer):
    other = from_arrays(
        torch.randn(2, 6, 16),
        axes="trajectory time x",
        dt=0.1,
        grid=waves.grid,
        fields=FieldSpec(("density",)),
    )
    with pytest.raises(ValueError, match=r"`validation` must have the fields.*\('density',\)"):
        fit(make_trainer(max_steps=1), TrajectoryDataModule(waves, other), residual)


def test_bad_numbers_are_found_before_training(waves, residual, make_trainer):
    states = torch.stack([waves.read(n) for n in range(3)])
    states[1, 4, 0, 5] = torch.nan
    file = from_arrays(states, axes="trajectory time channel x", dt=0.1, grid=waves.grid)
    with pytest.raises(ValueError, match="trajectory 1.*must be finite.*frame 4"):
        fit(make_trainer(max_steps=1), TrajectoryDataModule(file), residual)


def test_too_few_frames(waves, residual, make_derivative, make_trainer):
    file = from_arrays(waves.read(0)[:4], axes="time channel x", dt=0.1, grid=waves.grid)
    with pytest.raises(ValueError, match="4 frames per trajectory.*horizon 5"):
        fit(make_trainer(max_steps=1), TrajectoryDataModule(file), residual, Unrolled(5))
    with pytest.raises(ValueError, match="order 4 need 6"):
        fit(make_trainer(max_steps=1), TrajectoryDataModule(file), make_derivative())


@pytest.mark.parametrize("name", ["batch_size", "stride", "rollout_steps", "max_evaluated"])
def test_numbers_must_be_positive(waves, name):
    with pytest.raises(ValueError, match=f"`{name}` must be at least 1, got 0"):
        TrajectoryDataModule(waves, **{name: 0})


def test_a_missing_file_is_named(residual, make_trainer, tmp_path):
    path = tmp_path / "missing.hdf5"
    with pytest.raises(OSError, match="missing.hdf5"):
        open_trajectories(path)
    with pytest.raises(OSError, match="missing.hdf5"):
        fit(make_trainer(max_steps=1), TrajectoryDataModule(str(path)), residual)
