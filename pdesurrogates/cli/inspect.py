"""`inspect`: what is in a file, what is wrong with it, and whether it obeys an equation."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import math
from argparse import Namespace
from typing import TYPE_CHECKING, Any

import jsonargparse
import yaml

from pdesurrogates.cli.progress import Bar
from pdesurrogates.data import ChecksumError, inspect_file, open_trajectories
from pdesurrogates.equations import Equation
from pdesurrogates.evaluation import check_trajectories

if TYPE_CHECKING:
    from xarray import Dataset

__all__ = ["run"]

_MODULE = "pdesurrogates.equations"


def run(arguments: Namespace) -> None:
    """Scan the file and print what was found.

    Raises:
        ChecksumError: After printing, if bytes are not those that were written.
        ValueError: After printing, if the states do not obey the equation; before, if there is no
            such equation or it cannot be checked.
    """
    equation, open_to_file = None, set()
    if arguments.equation is not None:
        equation, open_to_file = _equation(arguments.equation, arguments.equation_args)
    with Bar("trajectory") as bar:
        found = inspect_file(
            arguments.file,
            num_trajectories=arguments.num_trajectories,
            verify=arguments.verify,
            progress=bar,
        )
    check = None
    if equation is not None and not found.damaged:
        with open_trajectories(arguments.file) as file:
            check = check_trajectories(file, equation, parameters_from_file=open_to_file)
    if arguments.json:
        print(_json(found.to_json(), check))
    else:
        print("\n".join([found.text(), *_lines(check)]))
    if found.damaged:
        raise ChecksumError(found.damaged[0])
    if check is not None and check.attrs["verdict"] == "does not obey":
        name = check.attrs["equation"]
        raise ValueError(f"{arguments.file}: the states do not obey {name}; see above.")


def _equation(name: str, text: str) -> tuple[Equation, set[str]]:
    """The equation of that name or import path, and the parameters that were not given."""
    where = f"--equation {name} --equation-args {text!r}"
    remedy = f"expected a class of {_MODULE}, e.g. Burgers, and its arguments as YAML, e.g. "
    remedy += "'{viscosity: 0.01}'"
    module, _, own = (name if "." in name else f"{_MODULE}.{name}").rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), own)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{where}: there is no such class ({error}); {remedy}.") from error
    if not (isinstance(kind, type) and issubclass(kind, Equation)) or inspect.isabstract(kind):
        raise ValueError(f"{where}: {name} is no equation; {remedy}.")
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, "arguments")
    try:
        given = yaml.safe_load(text) or {}
        if not isinstance(given, dict):
            raise ValueError(f"got {type(given).__name__} instead of names and values")
        equation = parser.instantiate(parser.parse_object({"arguments": given})).arguments
        words = [key for key in given if isinstance(getattr(equation, key), str)]
        if words:
            raise ValueError(f"{words[0]} must be a number, got {given[words[0]]!r}")
    except (jsonargparse.ArgumentError, TypeError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{where}: {error}; {remedy}.") from error
    return equation, {field.name for field in dataclasses.fields(equation)} - set(given)


def _rows(check: Dataset) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Residual per field, and per coefficient what is stated, fitted and uncertain."""
    squares = (check.residual**2).mean(["trajectory", "frame"])
    residual = {
        str(name): math.sqrt(float(squares.sel(field=name))) for name in check.field.values
    }
    coefficients = {
        str(name): {
            "stated": float(check.stated.sel(coefficient=name).mean()),
            "fitted": float(check.fitted.sel(coefficient=name).mean()),
            "uncertainty": float(check.uncertainty.sel(coefficient=name).max()),
        }
        for name in check.coefficient.values
    }
    return residual, coefficients


def _lines(check: Dataset | None) -> list[str]:
    if check is None:
        return []
    residual, coefficients = _rows(check)
    width = max(map(len, ["residual of", *residual, *coefficients]))
    lines = [
        f"  equation:     {check.attrs['equation']}, {check.sizes['trajectory']} trajectories",
        f"  verdict:      {check.attrs['explanation']}",
        f"  {'residual of':<{width}}  {'share of du/dt':>14}",
        *(f"  {name:<{width}}  {value:>14.3g}" for name, value in residual.items()),
    ]
    if coefficients:
        lines.append(f"  {'coefficient':<{width}}{'stated':>16}{'fitted':>14}{'+-':>10}")
    for name, row in coefficients.items():
        lines.append(
            f"  {name:<{width}}{row['stated']:>16.6g}{row['fitted']:>14.6g}"
            f"{row['uncertainty']:>10.1g}"
        )
    return lines


def _json(text: str, check: Dataset | None) -> str:
    """The text of an inspection with the check under `equation`; not finite numbers are null."""
    entries: dict[str, Any] = json.loads(text)
    if check is None:
        return text
    residual, coefficients = _rows(check)
    entries["equation"] = {
        **{name: check.attrs[name] for name in ("equation", "verdict", "explanation")},
        "residual": {name: _finite(value) for name, value in residual.items()},
        "coefficients": {
            name: {key: _finite(value) for key, value in row.items()}
            for name, row in coefficients.items()
        },
    }
    return json.dumps(entries, indent=2, allow_nan=False)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
