"""Lightning checkpoints on disk: whole or not at all, and damage that names the file."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

__all__ = ["WholeCheckpoints"]


class WholeCheckpoints(TorchCheckpointIO):
    """Writes each checkpoint beside its place and renames it; for `Trainer(plugins=[...])`.

    Lightning's own way goes through the folder for temporary files. Where that is another file
    system, the last part of the way is a copy, and a kill leaves half a checkpoint.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Save to a local path."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        with partial.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)

    def load_checkpoint(self, path: str | Path, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Load, refusing what is no checkpoint.

        Raises:
            ValueError: If the file is damaged or holds more than tensors and plain values.
        """
        try:
            return super().load_checkpoint(path, *arguments, **options)
        except (RuntimeError, KeyError, EOFError, pickle.UnpicklingError) as error:
            cause = (str(error) or type(error).__name__).splitlines()[0]
            raise ValueError(
                f"{path}: expected a Lightning checkpoint of tensors and plain values, got a file "
                f"that is damaged, foreign or unsafe ({cause}); resume from "
                "another checkpoint, or start again without one."
            ) from error
