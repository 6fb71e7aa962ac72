"""Small files and a small saved surrogate for the verbs."""

from importlib import resources

import pytest
import torch
import yaml

from pdesurrogates.backbones import FNO
from pdesurrogates.data import TrajectoryWindows, open_trajectories
from pdesurrogates.reference import generate
from pdesurrogates.steppers import Heun
from pdesurrogates.surrogates import DerivativeSurrogate, save_surrogate

CONFIGS = resources.files("pdesurrogates.cli") / "configs"


@pytest.fixture(scope="session")
def small_recipe():
    """The shipped recipe, made small."""
    recipe = yaml.safe_load((CONFIGS / "kuramoto_sivashinsky.yaml").read_text())
    return recipe | {
        "grid": {"num_points": [32], "extent": [16.0]},
        "num_steps": 12,
        "num_trajectories": 3,
        "burn_in": 0.0,
        "chunk": 2,
    }


@pytest.fixture(scope="session")
def recipe_file(small_recipe, tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    path.write_text(yaml.safe_dump(small_recipe))
    return path


@pytest.fixture(scope="session")
def data_file(small_recipe, tmp_path_factory):
    return generate(small_recipe, tmp_path_factory.mktemp("data") / "small.hdf5")


@pytest.fixture(scope="session")
def surrogate_folder(data_file, tmp_path_factory):
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    surrogate = DerivativeSurrogate(FNO(num_modes=(6,), width=8, depth=1), Heun(), 0.2)
    torch.set_default_dtype(before)
    with open_trajectories(data_file) as file:
        windows = TrajectoryWindows(file, target_order=surrogate.target_order)
        surrogate.fit_normalizers(windows)
    return save_surrogate(surrogate, tmp_path_factory.mktemp("model") / "heun")
