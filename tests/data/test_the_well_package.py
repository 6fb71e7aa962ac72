"""The package `the_well` opens what we write and sees the same numbers; we open what it writes."""

import h5py
import numpy as np
import pytest
import torch
import yaml

from pdesurrogates.core import Dirichlet, FieldSpec, Grid, Neumann, Outflow, Periodic
from pdesurrogates.data import (
    convert_to_folder,
    from_arrays,
    open_trajectories,
    write_trajectories,
    write_well_folder,
)

pytestmark = pytest.mark.compare

CODES = {"Periodic": 2, "Outflow": 1}
NAMES = {
    1: ("density", "velocity_x", "energy"),
    2: (
        "velocity_x",
        "velocity_y",
        "pressure",
        "stress_xx",
        "stress_xy",
        "stress_yx",
        "stress_yy",
    ),
    3: ("tracer", "velocity_x", "velocity_y", "velocity_z"),
}
GRIDS = {
    "periodic": dict(periodic=True),
    "walls": dict(periodic=False, cell_centred=True),
    "mixed": dict(periodic=(True, False, False)),
}
CONDITIONS = {
    "periodic": None,
    "walls": (Dirichlet(0.5), Neumann(0.0), (Dirichlet(1.0), Outflow())),
    "mixed": (Periodic(), (Dirichlet(1.0), Neumann(2.0)), Outflow()),
}


def make_file(path, dim, kind, *, seed, num_times, name="flow"):
    shape, options = (5, 6, 4)[:dim], dict(GRIDS[kind])
    if isinstance(options["periodic"], tuple):
        options["periodic"] = options["periodic"][:dim]
    grid = Grid(shape, (1.0, 2.0, 3.0)[:dim], (0.0, -1.0, 0.5)[:dim], **options)
    conditions = CONDITIONS[kind]
    rng = np.random.default_rng(seed)
    u = 3.0 + 2.0 * rng.standard_normal((3, num_times, len(NAMES[dim]), *shape))
    return write_trajectories(
        path, u, fields=FieldSpec(NAMES[dim]), grid=grid,
        times=0.1 * np.arange(num_times) + seed,
        parameters={"nu": 0.01 * (seed + 1), "c": rng.uniform(size=3)},
        boundaries=None if conditions is None else conditions[:dim], name=name,
    )  # fmt: skip


def channel_order(file, metadata):
    names = [name for rank in range(3) for name in metadata.field_names[rank]]
    assert sorted(names) == sorted(file.fields.names)
    return [file.fields.names.index(name) for name in names]


def check_sample(sample, file, trajectory, start, order):
    states = file.read(trajectory, slice(start, start + 3))[:, order].movedim(1, -1)
    assert torch.equal(sample["input_fields"], states[:2])
    assert torch.equal(sample["output_fields"], states[2:])
    times = file.times_of(trajectory)[start : start + 3].float()
    found = torch.cat([sample["input_time_grid"], sample["output_time_grid"]])
    assert torch.equal(found, times)
    assert torch.equal(sample["space_grid"], file.grid.coordinates().float().movedim(0, -1))
    parameters = [float(row[trajectory]) for row in file.parameters.values()]
    assert torch.equal(sample["constant_scalars"], torch.tensor(parameters).float())
    codes = [[CODES.get(type(end).__name__, 0) for end in pair] for pair in file.boundary]
    assert sample["boundary_conditions"].tolist() == codes


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("kind", list(GRIDS))
def test_its_loader_gives_the_same_numbers(tmp_path, dim, kind):
    well = pytest.importorskip("the_well.data")
    sources = [
        make_file(tmp_path / f"run_{n}.h5", dim, kind, seed=n, num_times=5 + n) for n in range(2)
    ]
    folder = tmp_path / "base" / "flow"
    write_well_folder(folder, {"train": sources, "valid": sources[:1], "test": sources[1:]})
    dataset = well.WellDataset(
        path=str(folder), well_split_name="train", n_steps_input=2, n_steps_output=1,
        normalize_time_grid=False,
    )  # fmt: skip
    assert dataset.metadata.n_trajectories_per_file == [3, 3]
    assert len(dataset) == 3 * 3 + 3 * 4
    files = [open_trajectories(path) for path in sources]
    order = channel_order(files[0], dataset.metadata)
    position = 0
    for file in files:
        for trajectory in range(3):
            for start in range(file.num_times - 2):
                check_sample(dataset[position], file, trajectory, start, order)
                position += 1


@pytest.mark.parametrize("method", ["ZScoreNormalization", "RMSNormalization"])
def test_its_normalisation_uses_our_statistics(tmp_path, method):
    well = pytest.importorskip("the_well.data")
    normalization = pytest.importorskip("the_well.data.normalization")
    source = make_file(tmp_path / "run.h5", 2, "mixed", seed=1, num_times=6)
    folder = tmp_path / "flow"
    convert_to_folder(source, folder, splits=(1 / 3, 1 / 3, 1 / 3))
    dataset = well.WellDataset(
        path=str(folder), well_split_name="train", n_steps_input=5, n_steps_output=1,
        use_normalization=True, normalization_type=getattr(normalization, method),
    )  # fmt: skip
    with open_trajectories(source) as file:
        order = channel_order(file, dataset.metadata)
        u = file.read(0).double()[:, order]
    sample = dataset[0]
    found = torch.cat([sample["input_fields"], sample["output_fields"]]).movedim(-1, 1)
    axes = (0, 2, 3)
    mean, std = u.mean(axes, keepdim=True), u.std(axes, correction=0, keepdim=True)
    rms = u.square().mean(axes, keepdim=True).sqrt()
    expected = (u - mean) / std if method.startswith("Z") else u / rms
    # stats.yaml holds 5 significant digits.
    assert torch.allclose(found.double(), expected, atol=3e-4)
    deltas = well.DeltaWellDataset(
        path=str(folder), well_split_name="train", n_steps_input=5, n_steps_output=1,
        use_normalization=True, normalization_type=getattr(normalization, method),
    )  # fmt: skip
    change = u.diff(dim=0)
    spread = change.std(axes, correction=0, keepdim=True)
    centred = (change - change.mean(axes, keepdim=True)) / spread
    scaled = change / change.square().mean(axes, keepdim=True).sqrt()
    expected = centred if method.startswith("Z") else scaled
    found = deltas[0]["output_fields"].movedim(-1, 1).double()
    assert torch.allclose(found[0], expected[-1], atol=3e-4)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_our_description_is_the_one_it_builds(tmp_path, dim):
    well = pytest.importorskip("the_well.data")
    sources = [
        make_file(tmp_path / f"run_{n}.h5", dim, "mixed", seed=n, num_times=5) for n in range(3)
    ]
    folder = tmp_path / "flow"
    write_well_folder(folder, {"train": sources[:2], "valid": sources[1:]})
    expected = vars(well.WellDataset(path=str(folder), well_split_name="valid").metadata)
    found = yaml.safe_load((folder / "flow.yaml").read_text())
    assert list(found) == [
        "dataset_name", "n_spatial_dims", "spatial_resolution", "scalar_names",
        "constant_scalar_names", "field_names", "constant_field_names",
        "boundary_condition_types", "n_files", "n_trajectories_per_file",
        "n_steps_per_trajectory", "grid_type",
    ]  # fmt: skip
    for key, value in found.items():
        other = expected[key]
        if key == "boundary_condition_types":
            other = sorted(word.upper() for word in other)
        assert value == (list(other) if isinstance(other, tuple) else other), key


def test_fields_per_condition_keep_its_loader_working(tmp_path):
    well = pytest.importorskip("the_well.data")
    grid = Grid((5, 6), (1.0, 1.0), periodic=False)
    u = torch.randn(2, 4, 3, 5, 6)
    moving = ((Dirichlet(0.0), Dirichlet(0.0)), (Dirichlet(0.0), Dirichlet(1.0)))
    write_trajectories(
        tmp_path / "data.h5", u, fields=FieldSpec(("velocity_x", "velocity_y", "pressure")),
        grid=grid, times=range(4),
        boundaries={"velocity_x": moving, "velocity_y": Dirichlet(), "pressure": Neumann()},
    )  # fmt: skip
    sample = well.WellDataset(path=str(tmp_path))[0]
    assert sample["boundary_conditions"].tolist() == [[0, 0], [0, 0]]


def test_times_may_differ_between_trajectories(tmp_path):
    well = pytest.importorskip("the_well.data")
    times = torch.tensor([[0.0, 0.1, 0.2, 0.3], [0.0, 0.2, 0.4, 0.6]])
    write_trajectories(
        tmp_path / "data.h5", torch.randn(2, 4, 1, 8), fields=FieldSpec(("u",)),
        grid=Grid((8,), (1.0,)), times=times,
    )  # fmt: skip
    dataset = well.WellDataset(path=str(tmp_path), n_steps_input=3, normalize_time_grid=False)
    assert dataset[1]["input_time_grid"].tolist() == times[1, :3].float().tolist()


def test_xarray_export_of_a_file_we_wrote(tmp_path):
    export = pytest.importorskip("the_well.utils.export")
    path = make_file(tmp_path / "run.h5", 2, "mixed", seed=0, num_times=5)
    with h5py.File(path) as stored, open_trajectories(path) as file:
        dataset = export.hdf5_to_xarray(stored)
        assert dataset["velocity"].dims == ("sample", "time", "x", "y", "i")
        assert np.array_equal(dataset["pressure"].to_numpy()[1], file.read(1)[:, 2].numpy())
        assert np.array_equal(dataset["stress"].to_numpy()[2, ..., 0, 1], file.read(2)[:, 4])


def test_we_read_the_file_it_writes_for_its_own_tests(tmp_path):
    dummy = pytest.importorskip("the_well.utils.dummy_data")
    well = pytest.importorskip("the_well.data")
    dummy.write_dummy_data(str(tmp_path / "dummy.hdf5"))
    dataset = well.WellDataset(path=str(tmp_path), n_steps_input=9, normalize_time_grid=False)
    with open_trajectories(tmp_path / "dummy.hdf5") as file:
        assert file.fields.names == ("constant_field", "field_x", "field_y")
        assert file.is_time_varying == (False, True, True)
        assert file.grid.is_periodic == (True, True)
        assert file.boundary == (("periodic", "periodic"),) * 2
        assert {name: row.tolist() for name, row in file.parameters.items()} == {
            "a": [0.25, 0.25], "b": [0.75, 0.75],
        }  # fmt: skip
        assert any("time_varying_scalar" in note for note in file.notes)
        for trajectory in range(2):
            sample, u = dataset[trajectory], file.read(trajectory).movedim(1, -1)
            assert torch.equal(sample["input_fields"], u[:9, ..., 1:])
            assert torch.equal(sample["output_fields"], u[9:, ..., 1:])
            assert torch.equal(sample["constant_fields"], u[4, ..., :1])
            assert torch.allclose(sample["input_time_grid"].double(), file.times[:9], atol=1e-7)


def test_arrays_in_memory_become_a_data_set(tmp_path):
    well = pytest.importorskip("the_well.data")
    u = torch.randn(10, 4, 6, 6)
    file = from_arrays(u, axes="trajectory time x y", dt=0.5, extent=(1.0, 2.0))
    write_well_folder(tmp_path / "mine", {"train": [file]})
    dataset = well.WellDataset(path=str(tmp_path / "mine"), well_split_name="train")
    assert dataset.dataset_name == "mine" and len(dataset) == 30
    assert torch.equal(dataset[4]["input_fields"][0, ..., 0], u[1, 1])
