"""Networks from elsewhere, unchanged: trained, rolled out, compiled, and saved if they can be."""

import math
import warnings

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from pdesurrogates.backbones import FNO
from pdesurrogates.core import Grid
from pdesurrogates.data import from_arrays
from pdesurrogates.steppers import RK4, rollout
from pdesurrogates.surrogates import (
    DerivativeSurrogate,
    ResidualSurrogate,
    StateSurrogate,
    load_surrogate,
    save_surrogate,
)
from pdesurrogates.training import (
    EMA,
    SurrogateModule,
    TrajectoryDataModule,
    WholeCheckpoints,
    train,
)

DT = 0.1
TIMES = [DT * n for n in range(4)]
SURROGATES = [
    StateSurrogate,
    ResidualSurrogate,
    lambda network, dt, **options: DerivativeSurrogate(network, RK4(), dt, **options),
]


def sequential(channels=1):
    return nn.Sequential(
        nn.Conv1d(channels, 6, 3, padding=1, padding_mode="circular"),
        nn.GELU(),
        nn.Conv1d(6, 1, 3, padding=1, padding_mode="circular"),
    )


class Plain(nn.Module):
    """A network of somebody's own: plain arguments, other names than ours."""

    def __init__(self, chans: int = 1, hidden: int = 6) -> None:
        super().__init__()
        self.chans = chans
        self.hidden = hidden
        self.stem = nn.Conv1d(chans, hidden, 5, padding=2, padding_mode="circular")
        self.norm = nn.GroupNorm(2, hidden)
        self.head = nn.Conv1d(hidden, 1, 1)

    def forward(self, x):
        return self.head(torch.relu(self.norm(self.stem(x))))


def waves():
    """u = sin(x - c t), eight speeds, twelve frames."""
    speeds = torch.linspace(1.0, 2.0, 8)
    grid = Grid(num_points=(16,), extent=(2 * math.pi,))
    u = torch.sin(grid.coordinates()[0] - speeds[:, None, None] * DT * torch.arange(12)[:, None])
    return from_arrays(u, axes="trajectory time x", dt=DT, grid=grid, parameters={"speed": speeds})


def check_life(make_surrogate, make_network, *, dtype=torch.float32):
    """Numbers as constant channels, a few updates, a rollout; gives the trained surrogate."""
    torch.set_default_dtype(torch.float32)
    network = make_network(2)
    if dtype == torch.float64:
        network.double()
    surrogate = make_surrogate(network, DT, parameter_names=("speed",))
    before = [p.detach().clone() for p in network.parameters()]
    train(surrogate, waves(), num_steps=4, batch_size=16, accelerator="cpu")
    assert surrogate.backbone is network
    assert not any(map(torch.equal, before, network.parameters()))
    u0 = waves().read(0)[:1].to(dtype).expand(2, -1, -1)
    step = surrogate.bind(torch.tensor([[1.0], [2.0]]))
    states = rollout(step, u0, TIMES)
    assert states.shape == (2, 4, 1, 16) and states.dtype == dtype
    assert states.isfinite().all() and not torch.equal(states[0], states[1])
    return surrogate


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("make_surrogate", SURROGATES)
@pytest.mark.parametrize("make_network", [sequential, Plain])
def test_any_module_is_a_backbone(make_network, make_surrogate, dtype):
    check_life(make_surrogate, make_network, dtype=dtype)


def test_the_network_sees_numbers_as_constant_channels():
    seen = []

    class Spy(nn.Module):
        def forward(self, z):
            seen.append(z)
            return z[:, :1]

    surrogate = StateSurrogate(Spy(), DT, parameter_names=("a", "b"))
    u, numbers = torch.randn(2, 1, 8), torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    surrogate.bind(numbers)(0.0, u, DT)
    assert torch.equal(seen[0], torch.cat((u, numbers[..., None].expand(-1, -1, 8)), dim=1))


class Spectral(nn.Module):
    """A network whose first weights are complex."""

    def __init__(self, modes: int = 4) -> None:
        super().__init__()
        self.modes = modes
        self.weight = nn.Parameter(torch.ones(modes, dtype=torch.complex64))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, z):
        coefficients = torch.fft.rfft(z.sum(1, keepdim=True))[..., : self.modes] * self.weight
        return torch.fft.irfft(coefficients, n=z.shape[-1]) + self.bias


def test_complex_weights_do_not_decide_the_precision(tmp_path):
    surrogate = check_life(StateSurrogate, lambda channels: Spectral())
    saved_equals_loaded(surrogate, tmp_path / "saved")


def saved_equals_loaded(surrogate, folder):
    loaded = load_surrogate(save_surrogate(surrogate, folder))
    u0, parameters = waves().read(0)[:1].float(), torch.tensor([[1.5]])
    expected = rollout(surrogate.bind(parameters), u0, TIMES)
    assert torch.equal(rollout(loaded.bind(parameters), u0, TIMES), expected)
    return loaded


@pytest.mark.parametrize("make_surrogate", SURROGATES)
def test_a_network_with_plain_arguments_is_saved(make_surrogate, tmp_path):
    surrogate = check_life(make_surrogate, Plain)
    loaded = saved_equals_loaded(surrogate, tmp_path / "saved")
    assert type(loaded.backbone) is Plain and loaded.backbone.chans == 2


def test_a_sequence_of_layers_is_not_and_says_what_to_do(tmp_path):
    with pytest.raises(TypeError, match=r"Sequential takes any number.*module of your own"):
        save_surrogate(StateSurrogate(sequential(), DT), tmp_path / "a")
    with pytest.raises(TypeError, match=r"backbone.* build the network inside a module of your o"):
        save_surrogate(StateSurrogate(nn.Conv1d(1, 1, 1), DT), tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_compiled_in_place_is_saved_and_a_compiled_wrapper_is_refused(tmp_path):
    torch.set_default_dtype(torch.float32)
    torch.compiler.reset()
    network = Plain(2)
    u = torch.randn(3, 1, 16)
    surrogate = StateSurrogate(network, DT, parameter_names=("speed",))
    step = surrogate.bind(torch.ones(3, 1))
    expected = step(0.0, u, DT)
    network.compile(backend="eager", fullgraph=True)
    torch.testing.assert_close(step(0.0, u, DT), expected)
    saved_equals_loaded(surrogate, tmp_path / "saved")

    wrapped = torch.compile(Plain(2), backend="eager")
    surrogate = StateSurrogate(wrapped, DT, parameter_names=("speed",))
    assert surrogate.bind(torch.ones(3, 1))(0.0, u, DT).shape == u.shape
    with pytest.raises(TypeError, match=r"wrapped by torch\.compile.*network\.compile\(\)"):
        save_surrogate(surrogate, tmp_path / "wrapped")
    wrapped = torch.compile(StateSurrogate(Plain(), DT), backend="eager")
    with pytest.raises(TypeError, match=r"wrapped by torch\.compile"):
        save_surrogate(wrapped, tmp_path / "wrapped")


class Replicated(nn.Module):
    """What distributed wrappers look like: the network inside, arguments not kept."""

    def __init__(self, module, device_ids=None, bucket_cap_mb=None):
        super().__init__()
        self.module = module

    def forward(self, *inputs):
        return self.module(*inputs)


def test_a_wrapper_works_and_is_refused_on_saving(tmp_path):
    surrogate = check_life(StateSurrogate, lambda channels: Replicated(Plain(channels)))
    with pytest.raises(TypeError, match="Replicated does not keep its constructor argument"):
        save_surrogate(surrogate, tmp_path / "a")
    unwrapped = StateSurrogate(surrogate.backbone.module, DT, parameter_names=("speed",))
    saved_equals_loaded(unwrapped, tmp_path / "b")


def test_a_lightning_checkpoint_of_another_architecture_is_refused():
    saved = SurrogateModule(StateSurrogate(FNO(num_modes=(4,), width=6, depth=1), DT))
    module = SurrogateModule(StateSurrogate(Plain(), DT))
    with pytest.raises(
        ValueError, match=r"must hold the weights.*'surrogate.backbone.stem.weight'"
    ):
        module.on_load_checkpoint({"state_dict": saved.state_dict()})


class WrappedFNO(nn.Module):
    """neuraloperator's FNO behind plain arguments: the form that can be saved."""

    def __init__(self, in_channels: int = 1, n_modes: tuple[int, ...] = (8,)) -> None:
        super().__init__()
        from neuralop.models import FNO

        self.in_channels = in_channels
        self.n_modes = n_modes
        self.network = FNO(
            n_modes=n_modes, in_channels=in_channels, out_channels=1, hidden_channels=8, n_layers=2
        )

    def forward(self, x):
        return self.network(x)


def neuraloperator_fno(channels=1):
    models = pytest.importorskip("neuralop.models")
    return models.FNO(
        n_modes=(8,), in_channels=channels, out_channels=1, hidden_channels=8, n_layers=2
    )


def neuraloperator_uno(channels=1):
    models = pytest.importorskip("neuralop.models")
    return models.UNO(
        in_channels=channels,
        out_channels=1,
        hidden_channels=8,
        n_layers=3,
        uno_out_channels=[8, 8, 8],
        uno_n_modes=[[4], [4], [4]],
        uno_scalings=[[1.0], [0.5], [2.0]],
        channel_mlp_skip="linear",
    )


@pytest.mark.compare
@pytest.mark.parametrize("make_surrogate", SURROGATES)
@pytest.mark.parametrize("make_network", [neuraloperator_fno, neuraloperator_uno])
def test_neuraloperator_models_are_backbones(make_network, make_surrogate, tmp_path):
    surrogate = check_life(make_surrogate, make_network)
    u0 = waves().read(0)[:1]
    assert u0.dtype == torch.float64  # the state keeps its precision, the network has float32
    states = rollout(surrogate.bind(torch.tensor([[1.0]])), u0, TIMES)
    assert states.dtype == torch.float64 and states.isfinite().all()
    with pytest.raises(TypeError, match="build the network inside a module of your own"):
        save_surrogate(surrogate, tmp_path / "a")


@pytest.mark.compare
def test_a_wrapped_neuraloperator_model_is_saved(tmp_path):
    pytest.importorskip("neuralop.models")
    surrogate = check_life(StateSurrogate, WrappedFNO)
    loaded = saved_equals_loaded(surrogate, tmp_path / "saved")
    assert isinstance(loaded.backbone, WrappedFNO) and loaded.backbone.in_channels == 2


@pytest.mark.compare
def test_training_of_a_neuraloperator_model_resumes(tmp_path):
    torch.set_default_dtype(torch.float32)

    def fit(max_steps, checkpoint=None):
        module = SurrogateModule(StateSurrogate(neuraloperator_fno(), DT))
        trainer = L.Trainer(
            max_steps=max_steps,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            plugins=[WholeCheckpoints()],
            callbacks=[EMA(), ModelCheckpoint(tmp_path, save_last=True, every_n_train_steps=1)],
        )
        data = TrajectoryDataModule(waves(), batch_size=8)
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        return trainer.global_step

    assert fit(2) == 2
    assert fit(4, tmp_path / "last.ckpt") == 4


@pytest.mark.compare
@pytest.mark.slow
def test_a_compiled_neuraloperator_model_is_a_backbone():
    torch.set_default_dtype(torch.float32)
    torch.compiler.reset()
    network = neuraloperator_fno()
    surrogate = StateSurrogate(network, DT)
    u = torch.randn(2, 1, 16)
    expected = surrogate(0.0, u, DT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # complex numbers are not generated by the compiler
        network.compile()
        torch.testing.assert_close(surrogate(0.0, u, DT), expected, rtol=1e-4, atol=1e-5)


class WrappedUNet(nn.Module):
    """A U-Net of diffusers: its step argument and its output record need a few lines."""

    def __init__(self, in_channels: int = 1) -> None:
        super().__init__()
        from diffusers import UNet2DModel

        self.in_channels = in_channels
        self.network = UNet2DModel(
            in_channels=in_channels,
            out_channels=1,
            block_out_channels=(8, 16),
            down_block_types=("DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D"),
            norm_num_groups=4,
        )

    def forward(self, x):
        return self.network(x, 0).sample


@pytest.mark.compare
def test_a_wrapped_diffusers_model_is_a_backbone(tmp_path):
    pytest.importorskip("diffusers")
    torch.set_default_dtype(torch.float32)
    x = torch.arange(16) * (2 * math.pi / 16)
    speeds = torch.linspace(1.0, 2.0, 4)[:, None, None, None]
    u = torch.sin(x[:, None] + x - speeds * DT * torch.arange(6)[:, None, None])
    grid = Grid(num_points=(16, 16), extent=(2 * math.pi,))
    data = from_arrays(u, axes="trajectory time x y", dt=DT, grid=grid)
    surrogate = ResidualSurrogate(WrappedUNet(), DT)
    train(surrogate, data, num_steps=3, batch_size=8, accelerator="cpu")
    u0 = data.read(0)[:1].float()
    loaded = load_surrogate(save_surrogate(surrogate, tmp_path / "saved"))
    assert torch.equal(rollout(loaded, u0, TIMES), rollout(surrogate, u0, TIMES))
