"""`inspect`: what is in a file, and what is wrong with it."""

from __future__ import annotations

from argparse import Namespace

from pdesurrogates.cli.progress import Bar
from pdesurrogates.data import inspect_file

__all__ = ["run"]


def run(arguments: Namespace) -> None:
    """Scan the file and print what was found."""
    with Bar("trajectory") as bar:
        found = inspect_file(
            arguments.file, num_trajectories=arguments.num_trajectories, progress=bar
        )
    print(found.text())
