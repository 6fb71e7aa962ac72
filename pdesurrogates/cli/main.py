"""The entry point: picks the verb, and turns what a user did wrong into one clear line."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence

from pdesurrogates.cli.arguments import LIGHTNING_VERBS, build_parser

__all__ = ["main"]

USER_ERROR = 2
INTERRUPTED = 130


def _demo(arguments: Namespace) -> None:
    from pdesurrogates.cli.demo import run

    run(arguments)


def _generate(arguments: Namespace) -> None:
    from pdesurrogates.cli.generate import run

    run(arguments)


def _inspect(arguments: Namespace) -> None:
    from pdesurrogates.cli.inspect import run

    run(arguments)


def _convert(arguments: Namespace) -> None:
    from pdesurrogates.cli.convert import run

    run(arguments)


def _train(arguments: Namespace) -> None:
    from pdesurrogates.cli.train import run

    run(arguments)


def _rollout(arguments: Namespace) -> None:
    from pdesurrogates.cli.rollout import run

    run(arguments)


def _evaluate(arguments: Namespace) -> None:
    from pdesurrogates.cli.evaluate import run

    run(arguments)


RUNNERS: dict[str, Callable[[Namespace], None]] = {
    "demo": _demo,
    "generate": _generate,
    "inspect": _inspect,
    "convert": _convert,
    **dict.fromkeys(LIGHTNING_VERBS, _train),
    "rollout": _rollout,
    "evaluate": _evaluate,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        argv: The words after `pdesurrogates`; those of the process when `None`.

    Returns:
        The exit code: 0, 2 after a mistake of the user, 130 after Ctrl-C.
    """
    parser = build_parser()
    arguments, rest = parser.parse_known_args(argv)
    if arguments.verb in LIGHTNING_VERBS:
        arguments.rest = rest
    elif rest:
        parser.error(f"{arguments.verb}: unknown arguments: {' '.join(rest)}")
    try:
        RUNNERS[arguments.verb](arguments)
    except KeyboardInterrupt:
        print(
            f"\npdesurrogates {arguments.verb}: interrupted; {arguments.resume_hint}",
            file=sys.stderr,
        )
        return INTERRUPTED
    except (ValueError, TypeError, OSError, FloatingPointError) as error:
        if arguments.traceback:
            raise
        print(f"pdesurrogates {arguments.verb}: error: {error}", file=sys.stderr)
        return USER_ERROR
    return 0
