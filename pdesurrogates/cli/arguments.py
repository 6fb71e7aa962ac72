"""What can be typed after `pdesurrogates`; argparse only, so that `--help` is instant."""

from __future__ import annotations

from argparse import (
    ArgumentParser,
    ArgumentTypeError,
    RawDescriptionHelpFormatter,
)
from pathlib import Path
from typing import TYPE_CHECKING

from pdesurrogates import __version__

if TYPE_CHECKING:
    from argparse import _SubParsersAction

__all__ = ["LIGHTNING_VERBS", "build_parser"]

LIGHTNING_VERBS = {
    "fit": "train a surrogate from a YAML configuration",
    "validate": "score a Lightning checkpoint on the validation split",
    "test": "score a Lightning checkpoint on the test split",
}
RUN_AGAIN = "run the same command again to continue."


def build_parser() -> ArgumentParser:
    """The parser of the whole command line."""
    parser = ArgumentParser(
        prog="pdesurrogates",
        description="Neural surrogates for PDEs, scored beside classical solvers.",
        epilog="`pdesurrogates VERB --help` explains a verb; `pdesurrogates demo` shows them all.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"pdesurrogates {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    _demo(verbs)
    _generate(verbs)
    _inspect(verbs)
    _convert(verbs)
    for verb, summary in LIGHTNING_VERBS.items():
        _lightning(verbs, verb, summary)
    _rollout(verbs)
    _evaluate(verbs)
    return parser


def _verb(
    verbs: _SubParsersAction[ArgumentParser],
    name: str,
    summary: str,
    *,
    epilog: str = "",
    resume_hint: str = RUN_AGAIN,
) -> ArgumentParser:
    parser = verbs.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=epilog,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--traceback", action="store_true", help="after an error, show where in the code it arose"
    )
    parser.set_defaults(resume_hint=resume_hint)
    return parser


def _positive_float(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ArgumentTypeError(f"must be a positive number, got {text}")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ArgumentTypeError(f"must be a share between 0 and 1, got {text}")
    return value


def _positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ArgumentTypeError(f"must be at least 1, got {text}")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ArgumentTypeError(f"must not be negative, got {text}")
    return value


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.replace(",", " ").split())


def _add_overwrite(parser: ArgumentParser) -> None:
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")


def _demo(verbs: _SubParsersAction[ArgumentParser]) -> None:
    parser = _verb(
        verbs,
        "demo",
        "the main job on a small scale: data, three surrogates, rollouts, report",
        epilog="Takes a few minutes on two cores. Finished stages are kept and reused.",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("runs/demo"), help="folder (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the data and the weights")
    parser.add_argument(
        "--quick", action="store_true", help="a toy size that only shows that everything runs"
    )


def _generate(verbs: _SubParsersAction[ArgumentParser]) -> None:
    parser = _verb(
        verbs,
        "generate",
        "solve an equation in float64 and write a file or a data set",
        epilog="examples:\n  pdesurrogates generate recipe.yaml train.hdf5\n"
        "  pdesurrogates generate datasets/burgers data/burgers --size small --workers 2",
    )
    parser.add_argument(
        "recipe", type=Path, help="YAML file, or folder with a recipe.yaml; see docs/cli.md"
    )
    parser.add_argument(
        "output", type=Path, help="HDF5 file to write; folder for the recipe of a data set"
    )
    parser.add_argument(
        "--size", metavar="NAME", help='one of the sizes of the recipe (default: "small")'
    )
    parser.add_argument("--split", metavar="NAME", help="only this split of a data set")
    parser.add_argument(
        "--workers",
        type=_count,
        default=0,
        metavar="N",
        help="solve on N processes of this machine, same bytes (default: in this process)",
    )
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="solve on the workers of a running Dask scheduler, e.g. tcp://10.0.0.1:8786",
    )
    _add_overwrite(parser)


def _inspect(verbs: _SubParsersAction[ArgumentParser]) -> None:
    parser = _verb(
        verbs,
        "inspect",
        "say what is in a file: layout, fields, grid, times, ranges, problems",
        epilog="examples:\n  pdesurrogates inspect run.hdf5 --verify\n"
        "  pdesurrogates inspect run.hdf5 --equation Burgers --equation-args '{viscosity: 0.01}'",
        resume_hint="nothing was changed.",
    )
    parser.add_argument("file", help="file, or an address such as s3://bucket/file.hdf5")
    parser.add_argument(
        "--num-trajectories",
        type=_positive_int,
        metavar="N",
        help="trajectories to scan (default: as many as make 1 GiB)",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="compare all bytes with the checksums in the file; damage ends with exit code 2",
    )
    parser.add_argument(
        "--equation",
        metavar="CLASS",
        help="also check that the states obey this equation: a name in pdesurrogates.equations, "
        'or an import path; "does not obey" ends with exit code 2',
    )
    parser.add_argument(
        "--equation-args",
        metavar="YAML",
        default="{}",
        help="its arguments, e.g. '{viscosity: 0.01, dim: 2}'; for those left out, what the file "
        "states per trajectory is taken, then the defaults of the class",
    )
    parser.add_argument("--json", action="store_true", help="for scripts")


def _convert(verbs: _SubParsersAction[ArgumentParser]) -> None:
    parser = _verb(
        verbs,
        "convert",
        "write any readable file or array as a data set in The Well's layout",
        epilog="examples:\n  pdesurrogates convert run.npz run.hdf5 --variable u "
        '--axes "time x" --extent 6.2832 --dt 0.01\n'
        "  pdesurrogates convert 1D_Burgers.hdf5 data/burgers --splits 0.8 0.1 0.1",
    )
    parser.add_argument("source", help="HDF5, .npz, .npy, .mat or netCDF file, or an address")
    parser.add_argument("target", type=Path, help="HDF5 file to write; a folder with --splits")
    parser.add_argument(
        "--splits",
        type=_share,
        nargs=3,
        metavar=("TRAIN", "VALID", "TEST"),
        help="write a data set folder with these shares of the trajectories, by position: "
        "data/train, data/valid, data/test, stats.yaml",
    )
    parser.add_argument(
        "--dtype", choices=("float32", "float64"), help="stored type (default: as the source)"
    )
    _add_overwrite(parser)
    _add_array_options(parser)


def _add_array_options(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("files of plain arrays (where the file does not say it)")
    group.add_argument("--variable", metavar="NAME", help="name of the array in the file")
    group.add_argument(
        "--axes", metavar='"A B ..."', help='stored order, e.g. "trajectory time x"'
    )
    group.add_argument("--fields", metavar='"A B ..."', type=_names, help="names of the channels")
    group.add_argument(
        "--extent", type=_positive_float, nargs="+", metavar="L", help="box length per axis"
    )
    group.add_argument("--dt", type=_positive_float, help="time between saved states")
    closing = group.add_mutually_exclusive_group()
    closing.add_argument(
        "--periodic", action="store_true", default=None, help="the axes close on themselves"
    )
    closing.add_argument("--not-periodic", dest="periodic", action="store_false", default=None)


def _lightning(verbs: _SubParsersAction[ArgumentParser], verb: str, summary: str) -> None:
    parser = _verb(
        verbs,
        verb,
        summary,
        epilog="\n".join(
            (
                "All other options go to Lightning. The most used:",
                "  --config FILE.yaml     configuration: seed_everything, trainer, model, data",
                "  --print_config         write the complete configuration to the screen",
                "  --ckpt_path PATH       checkpoint to continue from or to score, or `last`",
                "  --model.ARGUMENT, --data.ARGUMENT, --trainer.ARGUMENT   override one value",
                f"`pdesurrogates {verb} --full-help` lists all of them.",
            )
        ),
        resume_hint="continue with `--ckpt_path last` and the same configuration.",
    )
    parser.add_argument("--full-help", action="store_true", help="every option (takes seconds)")


def _rollout(verbs: _SubParsersAction[ArgumentParser]) -> None:
    parser = _verb(verbs, "rollout", "carry states of a file forward with a surrogate, to HDF5")
    parser.add_argument("checkpoint", type=Path, help="folder written by save_surrogate")
    parser.add_argument("file", type=Path, help="file whose states are the start")
    parser.add_argument("output", type=Path, help="HDF5 file to write")
    parser.add_argument(
        "--stepper",
        metavar="NAME",
        help="another stepper, e.g. RK4, AdamsBashforth:2 or ETDRK:4 (derivative surrogates)",
    )
    parser.add_argument(
        "--dt", type=_positive_float, help="time between states (default: trained)"
    )
    parser.add_argument(
        "--num-steps", type=_positive_int, help="steps (default: to the end of the file)"
    )
    parser.add_argument("--start", type=int, default=0, help="frame to start from (default: 0)")
    parser.add_argument(
        "--save-every", type=_positive_int, default=1, help="steps per saved state (default: 1)"
    )
    parser.add_argument("--batch-size", type=_positive_int, default=64)
    parser.add_argument("--device", default="cpu", help="e.g. cuda (default: %(default)s)")
    _add_ensemble_options(parser)
    _add_speed_options(parser)
    _add_overwrite(parser)


def _add_ensemble_options(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("surrogates that draw noise")
    group.add_argument(
        "--members",
        type=_positive_int,
        default=1,
        metavar="M",
        help="draws per trajectory, stored one after the other (default: 1)",
    )
    group.add_argument(
        "--seed", type=_count, default=0, metavar="S", help="names the noise (default: 0)"
    )


def _add_speed_options(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("how the network is run")
    group.add_argument("--compile", action="store_true", help="compile it (takes a minute)")
    group.add_argument(
        "--cuda-graphs", action="store_true", help="compile it and replay its kernels; CUDA only"
    )
    group.add_argument(
        "--precision",
        choices=("float32", "bfloat16", "float16"),
        default="float32",
        help="of the network alone; the state keeps its own (default: %(default)s)",
    )
    group.add_argument(
        "--on-trained-grid",
        action="store_true",
        help="carry a periodic state of another resolution on the trained grid, and back",
    )


def _evaluate(verbs: _SubParsersAction[ArgumentParser]) -> None:
    parser = _verb(
        verbs,
        "evaluate",
        "score rollouts or surrogates against a reference: scores.nc and report.html",
    )
    parser.add_argument(
        "predictions", type=Path, nargs="+", help="rollout files or surrogate folders"
    )
    parser.add_argument("--reference", type=Path, required=True, help="file with the truth")
    parser.add_argument(
        "--output", type=Path, default=Path("evaluation"), help="folder (default: %(default)s)"
    )
    parser.add_argument("--start", type=int, default=0, help="frame surrogates start from")
    parser.add_argument("--batch-size", type=_positive_int, default=64)
    parser.add_argument("--device", default="cpu", help="e.g. cuda (default: %(default)s)")
