"""The house as a test: imports point down, heavy libraries stay in their place."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import pdesurrogates

PACKAGE = Path(pdesurrogates.__file__).parent
ROWS = {
    "core": 0,
    "operators": 1,
    "linear": 1,
    "backbones": 1,
    "data": 1,
    "sampling": 1,
    "equations": 2,
    "steppers": 2,
    "reference": 3,
    "surrogates": 3,
    "neural_fields": 3,
    "pinns": 3,
    "constraints": 3,
    "evaluation": 3,
    "training": 4,
    "cli": 5,
}
# Heavy library -> the only folders or files that may import it.
PLACES = {
    "lightning": ("training/", "cli/"),
    "torch_geometric": ("backbones/graph.py",),
    "h5py": ("data/",),
    "xarray": ("data/", "evaluation/", "cli/"),
    "matplotlib": ("evaluation/plots.py", "evaluation/ensemble_plots.py"),
}
MODULES = sorted(PACKAGE.rglob("*.py"))
FOLDERS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def relative(path):
    return path.relative_to(PACKAGE).as_posix()


def imported_names(path):
    """Every absolute module name that the file imports, at the top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise AssertionError(f"{relative(path)}:{node.lineno}: imports are absolute here")
            if node.module == "pdesurrogates":
                yield from (f"pdesurrogates.{alias.name}" for alias in node.names)
            else:
                yield node.module


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_imports_point_down(path):
    folder = relative(path).split("/")[0]
    if folder not in ROWS:
        assert path == PACKAGE / "__init__.py", f"{relative(path)}: its folder has no row"
        folder = None
    for name in imported_names(path):
        parts = name.split(".")
        if parts[0] != "pdesurrogates" or len(parts) == 1 or parts[1] not in ROWS:
            continue
        assert folder == parts[1] or (folder and ROWS[parts[1]] < ROWS[folder]), (
            f"{relative(path)} imports {name}, which is not below it"
        )


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_heavy_libraries_stay_in_their_place(path):
    for name in imported_names(path):
        places = PLACES.get(name.split(".")[0])
        if places:
            assert relative(path).startswith(places), f"{relative(path)} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_every_module_says_what_it_is(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), f"{relative(path)} has no docstring"
    targets = [
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]
    assert "__all__" in targets, f"{relative(path)} has no __all__"


@pytest.mark.parametrize(
    "path", [path for path in MODULES if path.parent.name != "cli"], ids=relative
)
def test_only_the_command_line_prints(path):
    prints = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert not prints, f"{relative(path)} prints in lines {prints}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_public_names_exist(folder):
    module = importlib.import_module(f"pdesurrogates.{folder}")
    missing = [name for name in module.__all__ if not hasattr(module, name)]
    assert not missing
    assert sorted(set(module.__all__)) == sorted(module.__all__)


def test_the_package_lists_its_folders():
    assert set(pdesurrogates.__all__) == set(FOLDERS) - {"cli"}


def test_import_is_light():
    heavy = (*PLACES, "torch", "numpy", "scipy", "jsonargparse", "pdesurrogates.core")
    code = f"import sys, pdesurrogates; print([n for n in {heavy!r} if n in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = pdesurrogates.nonsense
