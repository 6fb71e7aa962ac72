"""Travelling waves as data, and one small surrogate of every kind."""

import math

import pytest
import torch

from pdesurrogates.backbones import FNO
from pdesurrogates.core import Grid
from pdesurrogates.data import from_arrays
from pdesurrogates.equations import KuramotoSivashinsky
from pdesurrogates.steppers import ETDRK, RK4, AdamsBashforth, Euler
from pdesurrogates.surrogates import (
    DerivativeSurrogate,
    DiffusionSurrogate,
    FlowSurrogate,
    FromState,
    HybridSurrogate,
    PDERefiner,
    ResidualSurrogate,
    StateSurrogate,
)

DT = 0.1
GRID = Grid(num_points=(15,), extent=(2 * math.pi,))


class SmallFNO(FNO):
    """An FNO with few weights."""

    def __init__(self, in_channels: int = 1) -> None:
        super().__init__(in_channels, 1, num_modes=(4,), width=6, depth=2)


def make_state(**options):
    return StateSurrogate(SmallFNO(options.pop("in_channels", 1)), DT, **options)


def make_residual(**options):
    return ResidualSurrogate(SmallFNO(options.pop("in_channels", 1)), DT, **options)


def make_derivative(**options):
    return DerivativeSurrogate(SmallFNO(options.pop("in_channels", 1)), RK4(), DT, **options)


def make_euler(**options):
    return DerivativeSurrogate(SmallFNO(options.pop("in_channels", 1)), Euler(), DT, **options)


def make_history(**options):
    backbone = SmallFNO(options.pop("in_channels", 1))
    return DerivativeSurrogate(backbone, AdamsBashforth(2), DT, **options)


def make_hybrid(**options):
    backbone = SmallFNO(options.pop("in_channels", 1))
    return HybridSurrogate(backbone, KuramotoSivashinsky(), ETDRK(2), DT, **options)


def sees_noised_answer(options):
    """A network with channels for a noised answer and its level, too."""
    return SmallFNO(options.pop("in_channels", 1) + 2)


def make_refiner(**options):
    return PDERefiner(sees_noised_answer(options), DT, num_refinement_steps=2, **options)


def make_diffusion(**options):
    return DiffusionSurrogate(sees_noised_answer(options), DT, num_steps=3, **options)


def make_flow(**options):
    return FlowSurrogate(sees_noised_answer(options), DT, num_steps=2, **options)


def make_interpolant(**options):
    return FlowSurrogate(sees_noised_answer(options), DT, start=FromState(0.5), **options)


GENERATIVE = [make_refiner, make_diffusion, make_flow, make_interpolant]
FAMILY = [
    make_state,
    make_residual,
    make_derivative,
    make_euler,
    make_history,
    make_hybrid,
    *GENERATIVE,
]


@pytest.fixture
def small_fno():
    return SmallFNO()


@pytest.fixture(params=FAMILY, ids=lambda make: make.__name__.removeprefix("make_"))
def make(request):
    return request.param


@pytest.fixture(params=GENERATIVE, ids=lambda make: make.__name__.removeprefix("make_"))
def make_generative(request):
    return request.param


@pytest.fixture
def waves():
    """u = sin(x - c t) with a speed c per trajectory."""
    speeds = torch.tensor([0.5, 1.0, 2.0, 3.0])
    times = DT * torch.arange(12)
    x = GRID.coordinates()[0]
    u = torch.sin(x - speeds[:, None, None] * times[:, None]) + 0.1 * speeds[:, None, None]
    parameters = {"mass": [1.0] * 4, "speed": speeds}
    return from_arrays(u, axes="trajectory time x", dt=DT, grid=GRID, parameters=parameters)
