"""Writers of files to published layouts, for every test of this folder."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def published():
    """The module `published_layouts.py` beside this file."""
    path = Path(__file__).with_name("published_layouts.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
