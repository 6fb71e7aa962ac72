"""Travelling waves as training data, and a small surrogate."""

import math

import lightning as L
import pytest
import torch

from pdesurrogates.backbones import FNO
from pdesurrogates.core import Grid
from pdesurrogates.data import from_arrays
from pdesurrogates.steppers import RK4
from pdesurrogates.surrogates import DerivativeSurrogate, ResidualSurrogate


class SmallFNO(FNO):
    """An FNO with few weights."""

    def __init__(self, in_channels: int = 1) -> None:
        super().__init__(in_channels, 1, num_modes=(4,), width=6, depth=1)


@pytest.fixture
def waves():
    """u = sin(x - c t), eight speeds, twelve frames."""
    speeds = torch.linspace(1.0, 1.1, 8)
    grid = Grid(num_points=(16,), extent=(2 * math.pi,))
    u = torch.sin(grid.coordinates()[0] - speeds[:, None, None] * 0.1 * torch.arange(12)[:, None])
    parameters = {"mass": [1.0] * 8, "speed": speeds}
    return from_arrays(u, axes="trajectory time x", dt=0.1, grid=grid, parameters=parameters)


@pytest.fixture
def residual():
    torch.manual_seed(0)
    return ResidualSurrogate(SmallFNO(), 0.1)


@pytest.fixture
def make_derivative():
    def make(**options):
        torch.manual_seed(0)
        in_channels = 1 + len(options.get("parameter_names", ()))
        return DerivativeSurrogate(SmallFNO(in_channels), RK4(), 0.1, **options)

    return make


@pytest.fixture
def make_trainer(tmp_path):
    def make(**options):
        defaults = {
            "accelerator": "cpu",
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "max_epochs": -1,
            "default_root_dir": tmp_path,
            "log_every_n_steps": 1,
        }
        return L.Trainer(**{**defaults, **options})

    return make
