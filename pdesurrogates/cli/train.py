"""`fit`, `validate`, `test`: hands over to Lightning's own command line."""

from __future__ import annotations

import warnings
from argparse import Namespace

from jsonargparse import ArgumentError
from lightning.pytorch.cli import LightningCLI

from pdesurrogates.training import SurrogateModule, TrajectoryDataModule

__all__ = ["run"]


def run(arguments: Namespace) -> None:
    """Run `arguments.verb` with the options in `arguments.rest`.

    Raises:
        ValueError: If an option or a key of the configuration does not exist or does not fit.
        KeyboardInterrupt: After Ctrl-C, once Lightning has shut down.
    """
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
    # A checkpoint of a stranger should not run code.
    options = ["--help"] if arguments.full_help else ["--weights_only=true", *arguments.rest]
    try:
        LightningCLI(
            SurrogateModule,
            TrajectoryDataModule,
            args=[arguments.verb, *options],
            parser_kwargs={"prog": "pdesurrogates", "exit_on_error": False},
            save_config_kwargs={"overwrite": True},
            auto_configure_optimizers=False,
        )
    except ArgumentError as error:
        raise ValueError(
            f"{error}\nThe options are listed by `pdesurrogates {arguments.verb} --full-help`."
        ) from error
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from stop
        raise
