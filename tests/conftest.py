"""Seed, precision and device of every test; a test asks for `device` and `dtype` as fixtures."""

import pytest
import torch


def pytest_addoption(parser):
    parser.addoption("--device", default="cpu", help="device of the tests that ask for one")
    parser.addoption(
        "--dtype", default="float64", choices=("float32", "float64"), help="default precision"
    )


@pytest.fixture
def device(request):
    return torch.device(request.config.getoption("--device"))


@pytest.fixture
def dtype(request):
    return getattr(torch, request.config.getoption("--dtype"))


@pytest.fixture(autouse=True)
def _reproducible(dtype):
    before = torch.get_default_dtype()
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    yield
    torch.set_default_dtype(before)
