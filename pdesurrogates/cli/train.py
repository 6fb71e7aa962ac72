"""`fit`, `validate`, `test`: hands over to Lightning's own command line."""

from __future__ import annotations

import warnings
from argparse import Namespace

from jsonargparse import ArgumentError
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import LightningCLI

from pdesurrogates.training import SurrogateModule, TrajectoryDataModule

__all__ = ["run"]


class _CommandLine(LightningCLI):
    """Lightning's command line without its search for hyperparameters in checkpoints.

    Ours hold none, and a damaged file should be refused by `WholeCheckpoints`, which names it.
    """

    def _parse_ckpt_path(self) -> None:
        pass


def run(arguments: Namespace) -> None:
    """Run `arguments.verb` with the options in `arguments.rest`.

    Raises:
        ValueError: If an option or a key of the configuration does not exist or does not fit.
        KeyboardInterrupt: After Ctrl-C, once Lightning has shut down.
    """
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    # A checkpoint of a stranger should not run code.
    options = ["--help"] if arguments.full_help else ["--weights_only=true", *arguments.rest]
    try:
        _CommandLine(
            SurrogateModule,
            TrajectoryDataModule,
            args=[arguments.verb, *options],
            parser_kwargs={"prog": "pdesurrogates", "exit_on_error": False},
            save_config_kwargs={"overwrite": True},
            trainer_defaults={
                "plugins": {"class_path": "pdesurrogates.training.WholeCheckpoints"}
            },
            auto_configure_optimizers=False,
        )
    except ArgumentError as error:
        raise ValueError(
            f"{error}\nThe options are listed by `pdesurrogates {arguments.verb} --full-help`."
        ) from error
    except MisconfigurationException as error:
        raise ValueError(str(error)) from error
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from stop
        raise
