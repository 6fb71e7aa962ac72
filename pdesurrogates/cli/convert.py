"""`convert`: any readable file in The Well's layout, as one file or split into a data set."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from pdesurrogates.cli.progress import Bar
from pdesurrogates.data import convert, convert_to_folder

__all__ = ["run"]


def run(arguments: Namespace) -> None:
    """Convert, then print what was decided and changed."""
    extent = arguments.extent
    options: dict[str, Any] = {
        "axes": arguments.axes,
        "variable": arguments.variable,
        "dt": arguments.dt,
        "extent": extent[0] if extent is not None and len(extent) == 1 else extent,
        "fields": arguments.fields,
        "periodic": arguments.periodic,
        "dtype": arguments.dtype,
        "overwrite": arguments.overwrite,
    }
    with Bar("frame") as bar:
        if arguments.splits is None:
            notes = convert(arguments.source, arguments.target, **options, progress=bar)
        else:
            notes = convert_to_folder(
                arguments.source,
                arguments.target,
                splits=arguments.splits,
                **options,
                progress=bar,
            )
    for note in notes:
        print(f"  {note}")
    print(f"wrote {arguments.target}")
