"""How is it run? The `pdesurrogates` command; `--help` loads nothing heavy."""

from pdesurrogates.cli.main import main

__all__ = ["main"]
