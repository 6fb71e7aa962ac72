"""A surrogate as a folder: config.yaml and weights.safetensors, nothing that executes."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import sys
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import cast

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from pdesurrogates.surrogates.base import Surrogate

__all__ = ["check_saveable", "load_surrogate", "save_surrogate"]

CONFIG = "config.yaml"
WEIGHTS = "weights.safetensors"
FORMAT = 1
_WRAP = "build the network inside a module of your own whose arguments are plain and kept"
_KEYS = {"format", "package_version", "surrogate", "trained_dt", "is_fitted", "training"}


def save_surrogate(
    model: Surrogate, folder: str | Path, *, training: Mapping[str, float] | None = None
) -> Path:
    """Save a surrogate as a folder that `load_surrogate` reads without the training code.

        config.yaml           class paths and constructor arguments, nested: dt, fields, grid, ...
        weights.safetensors   network weights and normaliser statistics

    The folder appears whole or not at all: it is written beside its place and renamed. An
    earlier surrogate in its place is replaced, anything else is left alone with an error.

    Args:
        model: The surrogate. Every constructor argument of it and of its parts must be kept as an
            attribute of the same name and be plain (numbers, strings, sequences, dataclasses,
            modules).
        folder: Where to save.
        training: Facts to keep, e.g. {"seconds": 120.0, "updates": 5000}.

    Raises:
        TypeError: If an argument cannot be written.
        FileExistsError: If `folder` holds something else.
    """
    folder = Path(folder)
    check_saveable(model, folder)
    config = {
        "format": FORMAT,
        "package_version": _package_version(),
        "surrogate": _describe(model, type(model).__name__),
        "trained_dt": list(model.trained_dt),
        "is_fitted": model.is_fitted,
        "training": dict(training or {}),
    }
    text = yaml.safe_dump(config, sort_keys=False)
    weights = {name: value.detach().cpu().contiguous() for name, value in _weights(model).items()}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        fresh = Path(temporary) / "new"
        fresh.mkdir()
        (fresh / WEIGHTS).write_bytes(save(weights))
        (fresh / CONFIG).write_text(text)
        if folder.exists():
            folder.replace(Path(temporary) / "old")
        fresh.replace(folder)
    return folder


def check_saveable(model: Surrogate, folder: str | Path) -> None:
    """Refuse now what `save_surrogate` would refuse after a long training.

    Raises:
        TypeError: If a constructor argument cannot be written.
        FileExistsError: If `folder` holds something that is not a saved surrogate.
    """
    folder = Path(folder)
    is_empty = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    if not is_empty and not (folder / CONFIG).is_file():
        raise FileExistsError(
            f"save_surrogate: {folder} exists and is not a saved surrogate (no {CONFIG}); choose "
            "another folder."
        )
    _check_rebuilt(model, _describe(model, type(model).__name__), folder / CONFIG)


def load_surrogate(folder: str | Path) -> Surrogate:
    """Rebuild a surrogate from a folder written by `save_surrogate`.

    Nothing is unpickled. Class paths in the file must lead to surrogates, network modules,
    steppers, equations or plain dataclasses; importing those modules is the only code that runs.
    The surrogate comes back on the CPU in evaluation mode.

    Raises:
        FileNotFoundError: If the folder or one of its files is missing.
        ValueError: If a file is damaged, foreign or does not fit the others; names file and cause.
    """
    folder = Path(folder)
    for path in (folder / CONFIG, folder / WEIGHTS):
        if not path.is_file():
            raise FileNotFoundError(
                f"load_surrogate: {path} is missing; a saved surrogate is a folder with {CONFIG} "
                f"and {WEIGHTS}, written by save_surrogate."
            )
    config = _read_config(folder / CONFIG)
    model = _build(config["surrogate"], "surrogate", folder / CONFIG)
    if not isinstance(model, Surrogate):
        raise _damaged(
            folder / CONFIG, f"`surrogate` must be a Surrogate, got {type(model).__name__}"
        )
    _load_weights(model, folder / WEIGHTS)
    model.trained_dt = config["trained_dt"]
    model.is_fitted = config["is_fitted"]
    return model.eval()


def _weights(model: Surrogate) -> dict[str, Tensor]:
    """Tensors of the state dict; some packages put their version or arguments in it as well."""
    return {name: w for name, w in model.state_dict().items() if isinstance(w, Tensor)}


def _package_version() -> str:
    try:
        return metadata.version("pdesurrogates")
    except metadata.PackageNotFoundError:
        return "unknown"


def _damaged(path: Path, cause: str) -> ValueError:
    return ValueError(f"load_surrogate: {path}: {cause}; save the surrogate again.")


def _check_rebuilt(model: Surrogate, description: object, path: Path) -> None:
    """Refuse a surrogate whose arguments, as kept, build another one."""
    where = f"save_surrogate: {type(model).__name__} of {type(model.backbone).__name__}"
    try:
        with torch.random.fork_rng(devices=[]):  # building draws initial weights
            rebuilt = _build(description, "surrogate", path)
    except ValueError as error:
        raise TypeError(f"{where} cannot be built again: {error}; {_WRAP}.") from error
    own, other = (
        {name: tuple(w.shape) for name, w in _weights(each).items()}
        for each in (model, cast(Surrogate, rebuilt))
    )
    differing = [name for name in {**own, **other} if own.get(name) != other.get(name)]
    if differing:
        name = differing[0]
        raise TypeError(
            f"{where} must have the same weights when built again from the arguments it keeps, "
            f"{len(differing)} differ, the first is {name!r}: {own.get(name)} here, "
            f"{other.get(name)} there; keep every argument as it was given, or {_WRAP}."
        )


# --- objects to plain values ----------------------------------------------------------------


def _describe(value: object, where: str) -> object:
    """A plain value for YAML: numbers, strings and sequences as they are, objects as a class."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_describe(entry, f"{where}[{n}]") for n, entry in enumerate(value)]
    if isinstance(value, Mapping):
        return {str(key): _describe(entry, f"{where}.{key}") for key, entry in value.items()}
    if isinstance(value, Tensor) or inspect.isclass(value) or inspect.isroutine(value):
        raise TypeError(
            f"save_surrogate: {where} must be plain (number, string, sequence, dataclass or "
            f"module), got {type(value).__name__}; give the class plain arguments, or {_WRAP}."
        )
    return _describe_object(value, where)


def _describe_object(value: object, where: str) -> dict[str, object]:
    cls = type(value)
    if "<locals>" in cls.__qualname__ or cls.__module__ == "__main__":
        raise TypeError(
            f"save_surrogate: {where} is of class {cls.__qualname__} in {cls.__module__}, which "
            "cannot be imported again; define the class in a module of its own."
        )
    if "_orig_mod" in getattr(value, "_modules", {}):
        raise TypeError(
            f"save_surrogate: {where} is wrapped by torch.compile; give the network itself and "
            "compile it in place, `network.compile()`, or compile after loading."
        )
    arguments = {}
    for name, parameter in inspect.signature(cls).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            if cls is nn.Identity:  # ignores its arguments
                continue
            raise TypeError(
                f"save_surrogate: {where}: {cls.__name__} takes any number of arguments, "
                f"`{parameter}`, which cannot be read back; {_WRAP}."
            )
        if not hasattr(value, name):
            raise TypeError(
                f"save_surrogate: {where}: {cls.__name__} does not keep its constructor argument "
                f"`{name}`; write `self.{name} = {name}` in its __init__, or {_WRAP}."
            )
        arguments[name] = _describe(getattr(value, name), f"{where}.{name}")
    return {"class_path": _public_path(cls), "init_args": arguments}


def _public_path(cls: type) -> str:
    """The shortest package path under which the class is found: files may move, names stay."""
    parts = cls.__module__.split(".")
    for length in range(1, len(parts)):
        package = ".".join(parts[:length])
        if vars(sys.modules.get(package, object)).get(cls.__qualname__) is cls:
            return f"{package}.{cls.__qualname__}"
    return f"{cls.__module__}.{cls.__qualname__}"


# --- plain values to objects ----------------------------------------------------------------


def _read_config(path: Path) -> dict:
    try:
        config = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _damaged(path, f"not readable as YAML ({error})") from error
    if not isinstance(config, dict) or "surrogate" not in config:
        raise _damaged(path, "not the description of a surrogate (no key `surrogate`)")
    if config.get("format") != FORMAT:
        raise _damaged(path, f"`format` must be {FORMAT}, got {config.get('format')}")
    unknown, missing = sorted(set(config) - _KEYS), sorted(_KEYS - set(config))
    if unknown or missing:
        raise _damaged(path, f"unknown keys {unknown}, missing keys {missing}")
    try:
        low, high = config["trained_dt"]
        config["trained_dt"] = (float(low), float(high))
    except (TypeError, ValueError) as error:
        raise _damaged(
            path, f"`trained_dt` must be two numbers, got {config['trained_dt']}"
        ) from error
    config["is_fitted"] = bool(config["is_fitted"])
    return config


def _build(spec: object, where: str, path: Path) -> object:
    """The object described by `spec`, the inverse of `_describe`."""
    if isinstance(spec, list):
        return tuple(_build(entry, f"{where}[{n}]", path) for n, entry in enumerate(spec))
    if not isinstance(spec, dict):
        return spec
    if set(spec) != {"class_path", "init_args"} or not isinstance(spec["init_args"], dict):
        if "class_path" in spec or "init_args" in spec:
            raise _damaged(
                path, f"{where} must have the keys class_path and init_args, got {sorted(spec)}"
            )
        return {key: _build(entry, f"{where}.{key}", path) for key, entry in spec.items()}
    cls = _import_class(spec["class_path"], where, path)
    known = inspect.signature(cls).parameters
    unknown = sorted(set(spec["init_args"]) - set(known))
    if unknown:
        raise _damaged(
            path, f"{where}: {cls.__name__} has no argument {unknown}, only {list(known)}"
        )
    arguments = {
        name: _build(entry, f"{where}.{name}", path) for name, entry in spec["init_args"].items()
    }
    try:
        return cls(**arguments)
    except (TypeError, ValueError) as error:
        raise _damaged(path, f"{where}: {cls.__name__} cannot be built ({error})") from error


def _import_class(class_path: object, where: str, path: Path) -> type:
    module_name, _, name = str(class_path).rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise _damaged(
            path, f"{where}: class {class_path!r} not found ({error}); is its package installed?"
        ) from error
    # Only kinds of objects a surrogate is made of: a file must not name arbitrary callables.
    if not inspect.isclass(found) or not (
        issubclass(found, nn.Module) or dataclasses.is_dataclass(found)
    ):
        raise _damaged(
            path, f"{where}: {class_path!r} is neither a network module nor a dataclass"
        )
    return found


def _load_weights(model: Surrogate, path: Path) -> None:
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise _damaged(path, f"not readable as safetensors ({error})") from error
    expected = _weights(model)
    missing, unknown = sorted(set(expected) - set(weights)), sorted(set(weights) - set(expected))
    network = f"{type(model).__name__} of {type(model.backbone).__name__}"
    if missing or unknown:
        raise _damaged(
            path,
            f"weights do not fit {CONFIG}, a {network}: {len(missing)} missing, {missing[:3]}, "
            f"{len(unknown)} unknown, {unknown[:3]}",
        )
    for name, value in expected.items():
        if weights[name].shape != value.shape:
            raise _damaged(
                path,
                f"`{name}` must have shape {tuple(value.shape)} as {CONFIG} says, "
                f"a {network}, got {tuple(weights[name].shape)}",
            )
    # Assigned, so that a surrogate saved in float64 comes back in float64; cloned, because the
    # file's memory is not aligned and other kernels would round differently.
    model.load_state_dict({name: w.clone() for name, w in weights.items()}, assign=True)
