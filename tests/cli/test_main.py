"""The command line answers at once, and a user's mistake is one clear line."""

import subprocess
import sys

import pytest

from pdesurrogates import __version__
from pdesurrogates.cli.arguments import build_parser
from pdesurrogates.cli.main import RUNNERS, main

VERBS = sorted(RUNNERS)
LIGHT = """
import sys
from pdesurrogates.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    assert not stop.code, stop.code
heavy = {"torch", "numpy", "lightning", "jsonargparse", "xarray", "h5py", "yaml", "tqdm"}
loaded = heavy & set(sys.modules)
assert not loaded, loaded
"""


@pytest.mark.parametrize("words", [["--help"], ["--version"], *([v, "--help"] for v in VERBS)])
def test_help_loads_nothing_heavy(words):
    result = subprocess.run(
        [sys.executable, "-c", LIGHT, *words], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    expected = __version__ if words == ["--version"] else "usage: pdesurrogates"
    assert expected in result.stdout


def test_every_verb_has_a_runner():
    verbs = build_parser()._subparsers._group_actions[0].choices
    assert sorted(verbs) == VERBS


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "required: VERB"),
        (["nonsense"], "invalid choice: 'nonsense'"),
        (["inspect", "a.hdf5", "--colour"], "inspect: unknown arguments: --colour"),
        (["convert", "a", "b", "--dt", "-1"], "must be a positive number"),
        (["rollout", "a", "b", "c", "--num-steps", "0"], "must be at least 1"),
    ],
)
def test_wrong_words_exit_with_2(words, text, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert text in capsys.readouterr().err


def test_a_users_mistake_is_one_line_without_a_traceback(tmp_path, capsys):
    assert main(["inspect", str(tmp_path / "missing.hdf5")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("pdesurrogates inspect: error: ")
    assert "missing.hdf5" in error
    assert "Traceback" not in error


def test_traceback_on_request(tmp_path):
    with pytest.raises(FileNotFoundError):
        main(["inspect", str(tmp_path / "missing.hdf5"), "--traceback"])


def test_ctrl_c_exits_with_130_and_says_how_to_go_on(monkeypatch, capsys):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setitem(RUNNERS, "generate", interrupted)
    assert main(["generate", "recipe.yaml", "out.hdf5"]) == 130
    assert "run the same command again" in capsys.readouterr().err
