"""`convert`: any readable file in The Well's layout."""

from __future__ import annotations

from argparse import Namespace

from pdesurrogates.cli.progress import Bar
from pdesurrogates.data import convert

__all__ = ["run"]


def run(arguments: Namespace) -> None:
    """Convert, then print what was decided and changed."""
    extent = arguments.extent
    with Bar("frame") as bar:
        notes = convert(
            arguments.source,
            arguments.target,
            axes=arguments.axes,
            variable=arguments.variable,
            dt=arguments.dt,
            extent=extent[0] if extent is not None and len(extent) == 1 else extent,
            fields=arguments.fields,
            periodic=arguments.periodic,
            overwrite=arguments.overwrite,
            progress=bar,
        )
    for note in notes:
        print(f"  {note}")
    print(f"wrote {arguments.target}")
