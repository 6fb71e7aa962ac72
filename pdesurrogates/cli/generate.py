"""`generate`: a recipe becomes a data set."""

from __future__ import annotations

from argparse import Namespace

from tqdm import tqdm

from pdesurrogates.reference import generate

__all__ = ["run"]


def run(arguments: Namespace) -> None:
    """Solve the recipe and write the file, with a bar over chunks of trajectories."""
    path = generate(
        arguments.recipe,
        arguments.output,
        progress=lambda starts: tqdm(starts, desc=arguments.output.name, unit="chunk"),
        overwrite=arguments.overwrite,
    )
    print(f"wrote {path}")
