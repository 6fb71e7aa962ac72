"""Surrogates on meshes: windows, fixed nodes, training on several meshes, saving."""

import h5py
import numpy as np
import pytest
import torch

from pdesurrogates.backbones import FNO, DifferenceMessagePassing, MessagePassing
from pdesurrogates.core import Grid
from pdesurrogates.data import MeshWindows, TrajectoryWindows, open_trajectories, time_derivative
from pdesurrogates.steppers import RK4, AdamsBashforth, Euler, rollout
from pdesurrogates.surrogates import (
    DerivativeSurrogate,
    PDERefiner,
    ResidualSurrogate,
    StateSurrogate,
    load_surrogate,
    mesh_graphs,
    save_surrogate,
)
from pdesurrogates.training import (
    InputNoise,
    MeshBatchStream,
    MeshDataModule,
    OneStep,
    SurrogateModule,
    TrajectoryDataModule,
    Unrolled,
    train,
)
from tests.backbones.meshes import delaunay, random_mesh

DT, FRAMES = 0.1, 8
SIZES = (14, 14, 19)


@pytest.fixture
def path(tmp_path):
    """Two trajectories on one mesh, one on another; values fade, those of walls stay."""
    target = tmp_path / "train.h5"
    with h5py.File(target, "w") as file:
        file.attrs["dt"] = DT
        for n, size in enumerate(SIZES):
            points, cells = delaunay(size, seed=size)
            kinds = torch.where(torch.arange(size) < 4, 6, 0)
            u0 = np.random.default_rng(n).normal(size=size)
            fade = np.exp(-DT * np.arange(FRAMES))[:, None]
            file[f"{n}/u"] = np.where(kinds.numpy() == 6, u0, fade * u0)[..., None]
            file[f"{n}/mesh_pos"], file[f"{n}/cells"] = points.numpy(), cells.numpy()
            file[f"{n}/node_type"] = kinds.numpy()[:, None].astype("i4")
    return target


@pytest.fixture
def file(path):
    with open_trajectories(path) as opened:
        yield opened


def network(in_channels=1, kind=MessagePassing, **options):
    return kind(in_channels, 1, width=8, depth=2, num_node_types=7, **options)


FAMILY = {
    "state": lambda: StateSurrogate(network(), DT),
    "residual": lambda: ResidualSurrogate(network(kind=DifferenceMessagePassing), DT),
    "euler": lambda: DerivativeSurrogate(network(), Euler(), DT),
    "rk4": lambda: DerivativeSurrogate(network(), RK4(), DT),
    "adams": lambda: DerivativeSurrogate(network(), AdamsBashforth(2), DT),
    "refiner": lambda: PDERefiner(network(2, num_conditions=1), DT),
}


@pytest.fixture(params=FAMILY)
def surrogate(request):
    return FAMILY[request.param]()


def windows_for(surrogate, file, **options):
    order = surrogate.target_order
    return MeshWindows(file, mesh_graphs(file), target_order=order, **options)


def test_meshes_of_a_file_are_built_once_each(file):
    meshes = mesh_graphs(file)
    assert meshes[0] is meshes[1] and meshes[2] is not meshes[0]
    for index, mesh in enumerate(meshes):
        assert torch.equal(mesh.edge_index.flip(0), file.edges(index))
        assert mesh.is_fixed.tolist() == [True] * 4 + [False] * (SIZES[index] - 4)
    assert mesh_graphs(file, free_types=(0, 6))[0].is_fixed is None


@pytest.mark.parametrize("stride", [1, 2])
def test_windows_are_the_frames(file, stride):
    meshes = mesh_graphs(file)
    windows = MeshWindows(file, meshes, history=2, horizon=1, stride=stride, target_order=2)
    starts = FRAMES - 2 * stride
    assert len(windows) == 3 * starts and windows.grid is None
    assert windows.groups == [list(range(2 * starts)), list(range(2 * starts, 3 * starts))]
    for index in (0, starts + 1, 2 * starts + 2):
        window = windows[index]
        trajectory, start = divmod(index, starts)
        frames = file.read(trajectory).transpose(1, 2)
        expected = frames[start : start + 2 * stride + 1 : stride]
        assert torch.equal(torch.cat((window["history"], window["future"])), expected)
        slope = time_derivative(frames, DT, 2)[start + stride]
        torch.testing.assert_close(window["derivative"].double(), slope)
        assert window["mesh"] is meshes[trajectory]
        assert float(window["t"]) == pytest.approx((start + stride) * DT)
        assert float(window["dt"]) == pytest.approx(stride * DT)
    batch = MeshWindows.collate([windows[0], windows[starts]])
    assert torch.equal(batch["history"], windows.__getitems__([0, starts])["history"])
    seen = [int(t) for batch in windows.batches(5) for t in batch["trajectory"]]
    assert sorted(seen) == sorted(list(range(3)) * starts)


def test_fixed_nodes_keep_their_value_and_count_nothing(surrogate, file):
    surrogate.fit_normalizers(windows_for(surrogate, file))
    mesh, u0 = mesh_graphs(file)[2], file.read(2)[:1].transpose(1, 2)
    states = rollout(surrogate.on(mesh), u0, [0.0, DT, 2 * DT, 3 * DT])
    assert states.shape == (1, 4, 1, 19) and states.isfinite().all()
    assert torch.equal(states[..., :4], u0[:, None, :, :4].expand(-1, 4, -1, -1))
    assert (states[:, 1:, :, 4:] != u0[:, None, :, 4:]).all()

    batch = windows_for(surrogate, file).__getitems__([0, 1])
    bound = surrogate.for_batch(batch)
    assert bound.mesh is batch["mesh"]
    loss = OneStep()(bound, batch)
    for name in () if isinstance(surrogate, PDERefiner) else ("future", "derivative"):
        if name in batch:
            batch[name] = batch[name].clone()
            batch[name][..., :4] += 100.0
    torch.testing.assert_close(OneStep()(bound, batch), loss)
    noisy = InputNoise(0.5)(bound, batch, seed=0, step=0)["input"]
    assert torch.equal(noisy[..., :4], batch["history"][:, -1, :, :4])


def test_statistics_are_those_of_all_meshes(file):
    surrogate = FAMILY["residual"]()
    surrogate.fit_normalizers(windows_for(surrogate, file))
    states = torch.cat([file.read(n)[:-1].flatten() for n in range(3)])
    changes = torch.cat([file.read(n).diff(dim=0).flatten() for n in range(3)])
    for normalizer, values in (
        (surrogate.state_normalizer, states),
        (surrogate.target_normalizer, changes),
    ):
        torch.testing.assert_close(normalizer.mean[0], values.mean())
        torch.testing.assert_close(normalizer.std[0], values.std(correction=0))
    assert surrogate.is_fitted and surrogate.grid is None and surrogate.fields == file.fields


def test_saving_keeps_the_network_and_not_the_mesh(surrogate, file, tmp_path):
    surrogate.fit_normalizers(windows_for(surrogate, file))
    mesh, u0 = mesh_graphs(file)[0], file.read(0)[:1].transpose(1, 2)
    expected = surrogate.on(mesh)(0.0, u0, DT)
    folder = save_surrogate(surrogate.on(mesh), tmp_path / "saved")
    loaded = load_surrogate(folder)
    assert loaded.mesh is None and loaded.backbone.mesh is None
    assert torch.equal(loaded.on(mesh)(0.0, u0, DT), expected)
    assert "edge_index" not in (folder / "config.yaml").read_text()


@pytest.mark.parametrize("loss", [OneStep(), Unrolled(2)])
def test_training_on_several_meshes(path, loss):
    """Values that fade alike everywhere are learned on both meshes, and serve a third."""
    torch.manual_seed(0)
    surrogate = ResidualSurrogate(network(), DT)
    data = MeshDataModule(path, batch_size=4)
    before = [p.clone() for p in surrogate.parameters()]
    result = train(
        surrogate, data, num_steps=150, loss=loss, learning_rate=3e-3, ema_decay=None,
        accelerator="cpu", input_noise=InputNoise(0.01), log_every=10,
    )  # fmt: skip
    assert result.losses[-1][1] < 0.2 * result.losses[0][1]
    assert all((a != b).any() for a, b in zip(before, surrogate.parameters(), strict=True))
    assert surrogate.mesh is None and surrogate.backbone.mesh is None
    mesh = random_mesh(23, seed=5)
    u = torch.randn(1, 1, 23)
    error = (surrogate.on(mesh)(0.0, u, DT) - np.exp(-DT) * u).norm() / u.norm()
    assert float(error.detach()) < 0.5 * (1 - np.exp(-DT))


def test_validation_takes_batches_of_one_mesh(path):
    import lightning as L

    surrogate = FAMILY["residual"]()
    data = MeshDataModule(path, path, batch_size=4, rollout_steps=3, max_evaluated=7)
    options = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    trainer = L.Trainer(**options, enable_progress_bar=False, enable_model_summary=False)
    (scores,) = trainer.validate(SurrogateModule(surrogate), datamodule=data, verbose=False)
    batches = data.val_dataloader()
    errors, counts = [], []
    for batch in batches:
        bound = surrogate.on(batch["mesh"])
        last = batch["history"][:, -1]
        states = rollout(bound, last, [0.0, DT, 2 * DT, 3 * DT])[:, -1].flatten(1)
        reference = batch["future"][:, -1].flatten(1)
        errors += ((states - reference).norm(dim=1) / reference.norm(dim=1)).tolist()
        counts.append(len(last))
    assert sum(counts) == 7 and scores["val/rollout_nrmse"] == pytest.approx(
        np.mean(errors), rel=1e-5
    )


def test_batches_are_of_one_group_and_named_by_seed_and_number():
    groups = [list(range(10)), [10, 11], list(range(12, 21))]
    stream = MeshBatchStream(groups, 3, seed=1, position=lambda: 0)
    assert len(stream) == 3 + 1 + 3
    batches = [batch for batch, _ in zip(stream, range(14), strict=False)]
    for first in (0, 7):
        flat = [index for batch in batches[first : first + 7] for index in batch]
        assert len(flat) == len(set(flat)) == 9 + 2 + 9
    assert all(sum(set(batch) <= set(group) for group in groups) == 1 for batch in batches)
    assert batches[:7] != batches[7:]
    resumed = MeshBatchStream(groups, 3, seed=1, position=lambda: 5)
    assert [batch for batch, _ in zip(resumed, range(9), strict=False)] == batches[5:]


def test_bad_input_is_refused(file, path):
    surrogate, mesh = FAMILY["state"](), random_mesh(9)
    with pytest.raises(ValueError, match=r"not told which; .*surrogate\.on\(mesh\)"):
        surrogate(0.0, torch.zeros(1, 1, 9), DT)
    with pytest.raises(TypeError, match="StateSurrogate.on: needs a MeshGraph"):
        surrogate.on(Grid())
    with pytest.raises(TypeError, match="network of meshes, got MeshGraph and FNO"):
        StateSurrogate(FNO(num_modes=(3,)), DT).on(mesh)
    windows = MeshWindows(file, mesh_graphs(file))
    with pytest.raises(ValueError, match="must be on one mesh, got 2 meshes; take batches"):
        windows.__getitems__([0, len(windows) - 1])
    with pytest.raises(ValueError, match="one mesh per trajectory, 3 in .*, got 1"):
        MeshWindows(file, [mesh])
    with pytest.raises(ValueError, match="use MeshWindows"):
        _ = TrajectoryWindows(file)[0]
    with pytest.raises(ValueError, match="MeshDataModule to train"):
        train(surrogate, TrajectoryDataModule(path), num_steps=1)
