"""`inspect`: what is in a file, and what is wrong with it."""

from __future__ import annotations

from argparse import Namespace

from pdesurrogates.cli.progress import Bar
from pdesurrogates.data import ChecksumError, inspect_file

__all__ = ["run"]


def run(arguments: Namespace) -> None:
    """Scan the file and print what was found.

    Raises:
        ChecksumError: After printing, if bytes are not those that were written.
    """
    with Bar("trajectory") as bar:
        found = inspect_file(
            arguments.file,
            num_trajectories=arguments.num_trajectories,
            verify=arguments.verify,
            progress=bar,
        )
    print(found.to_json() if arguments.json else found.text())
    if found.damaged:
        raise ChecksumError(found.damaged[0])
