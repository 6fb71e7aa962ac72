"""Weights per step as files: nothing that executes, nothing lost in a kill."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pdesurrogates.core import FieldSpec
from pdesurrogates.linear import ParameterVector
from pdesurrogates.neural_fields.field import NeuralField

__all__ = ["StepRecord", "WeightFolder"]

CONFIG = "config.yaml"


@dataclass(frozen=True)
class StepRecord:
    """One state: its time, weights (batch, unknown), damping (batch,) and plain facts."""

    time: float
    weights: Tensor
    damping: Tensor | None = None
    facts: dict[str, Any] = field(default_factory=dict)


class WeightFolder:
    """A folder with the weights of a field at every step.

        config.yaml               what was solved, names and shapes of the weights
        step_000012.safetensors   weights (batch, unknown), time and report of one step

    A file appears whole or not at all.

    Args:
        folder: Where.
        field: The field whose weights these are.
        fields: Names and units of its channels.
    """

    def __init__(
        self, folder: str | Path, field: NeuralField, *, fields: FieldSpec | None = None
    ) -> None:
        self.folder = Path(folder)
        self.shapes = {
            name: list(shape) for name, shape in ParameterVector(field.function).shapes.items()
        }
        self.fields = fields or FieldSpec()
        self.device = next(field.parameters()).device

    def start(self, config: Mapping[str, Any], batch: int) -> list[StepRecord]:
        """Begin, or continue what was begun with the same configuration.

        Args:
            config: Plain values that name what is solved.
            batch: Number of trajectories.

        Returns:
            The steps that are there.

        Raises:
            ValueError: If the folder holds something else.
        """
        wanted = {
            **config,
            "batch": batch,
            "fields": list(self.fields.names),
            "units": list(self.fields.units or ()),
            "weights": self.shapes,
        }
        if (self.folder / CONFIG).exists():
            given = self._config()
            differing = [k for k in {**wanted, **given} if wanted.get(k) != given.get(k)]
            if differing:
                key = differing[0]
                raise ValueError(
                    f"WeightFolder {self.folder}: it holds another solve, {key!r} is "
                    f"{given.get(key)!r} there and {wanted.get(key)!r} here; choose another "
                    "folder."
                )
            return self.read_all()
        if self.folder.exists() and any(self.folder.iterdir()):
            raise ValueError(
                f"WeightFolder {self.folder}: the folder is not empty and has no {CONFIG}; choose "
                "another folder."
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        self._put(CONFIG, yaml.safe_dump(wanted, sort_keys=False).encode())
        return []

    def write(self, n: int, record: StepRecord) -> None:
        """Save step n."""
        tensors = {"weights": record.weights.detach().cpu().contiguous()}
        if record.damping is not None:
            tensors["damping"] = record.damping.detach().cpu().contiguous()
        metadata = {"time": repr(record.time), "facts": json.dumps(record.facts)}
        self._put(f"step_{n:06d}.safetensors", save(tensors, metadata))

    def read_config(self) -> dict[str, Any]:
        """What was solved, after a check that the weights are those of this field.

        Raises:
            FileNotFoundError: If there is no configuration.
            ValueError: If it is damaged, or of another field.
        """
        config = self._config()
        if config.get("weights") != self.shapes:
            raise ValueError(
                f"WeightFolder {self.folder}: the weights there are {config.get('weights')}, this "
                f"field has {self.shapes}; make the field as it was for the solve."
            )
        names, units = config.get("fields", ["u"]), config.get("units")
        self.fields = FieldSpec(tuple(names), tuple(units) if units else None)
        return config

    def read_all(self) -> list[StepRecord]:
        """The steps from 0 on, up to the first that is missing."""
        found = []
        while (path := self.folder / f"step_{len(found):06d}.safetensors").exists():
            found.append(self._read(path))
        return found

    def _read(self, path: Path) -> StepRecord:
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata()
                weights = file.get_tensor("weights").to(self.device)
                damping = file.get_tensor("damping") if "damping" in file.keys() else None  # noqa: SIM118
            facts = json.loads(metadata["facts"])
            time = float(metadata["time"])
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"WeightFolder: {path} is damaged ({error}); delete it and what follows it, and "
                "continue the solve."
            ) from error
        return StepRecord(time, weights, None if damping is None else damping.to(weights), facts)

    def _config(self) -> dict[str, Any]:
        path = self.folder / CONFIG
        if not path.is_file():
            raise FileNotFoundError(f"WeightFolder: {path} is missing; is this the folder?")
        try:
            config = yaml.safe_load(path.read_text())
        except yaml.YAMLError as error:
            raise ValueError(f"WeightFolder: {path} is damaged ({error}).") from error
        if not isinstance(config, dict):
            raise ValueError(f"WeightFolder: {path} is damaged: it must hold names and values.")
        return config

    def _put(self, name: str, content: bytes) -> None:
        temporary = self.folder / f"{name}.partial"
        temporary.write_bytes(content)
        temporary.replace(self.folder / name)
