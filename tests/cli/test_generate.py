"""`generate` on the command line: one file, a data set, sizes, splits and workers."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
import yaml

from pdesurrogates.cli.main import main
from pdesurrogates.data import open_trajectories


@pytest.fixture
def dataset(small_recipe, tmp_path):
    keys = {key: value for key, value in small_recipe.items() if key != "num_trajectories"}
    keys |= {"splits": {"train": 40, "test": 20}, "chunk": 1}
    keys["sizes"] = {"paper": {}, "small": {"splits": {"train": 2, "test": 1}}}
    folder = tmp_path / "recipes" / "ks"
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(keys))
    return folder


def test_a_folder_with_a_recipe_becomes_a_data_set(dataset, tmp_path, capsys):
    target = tmp_path / "made" / "ks"
    assert main(["generate", str(dataset), str(target)]) == 0
    printed = capsys.readouterr().out
    assert f"wrote {target}: test 1 file, train 1 file, " in printed and " kB, in " in printed
    with open_trajectories(target / "data" / "train" / "kuramoto_sivashinsky_0000.hdf5") as file:
        assert file.num_trajectories == 2
    check = ["sha256sum", "--check", "--quiet", "checksums.sha256"]
    assert subprocess.run(check, cwd=target, check=False).returncode == 0
    assert main(["generate", str(dataset), str(target)]) == 0
    assert f"already there: {target}: " in capsys.readouterr().out


def test_one_split_of_one_size(dataset, tmp_path):
    target = tmp_path / "ks"
    assert main(["generate", str(dataset), str(target), "--split", "test", "--size", "small"]) == 0
    assert [path.name for path in target.glob("data/*")] == ["test"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--size", "huge"], "no size 'huge'; the sizes are paper, small"),
        (["--split", "valid"], "no split 'valid'; the splits are train, test"),
        (["--workers", "1", "--scheduler", "tcp://a:1"], "give `workers` .* or `scheduler`"),
    ],
)
def test_what_is_not_there_is_named(words, text, dataset, tmp_path, capsys):
    assert main(["generate", str(dataset), str(tmp_path / "ks"), *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and re.search(text, error)


def test_negative_workers_are_refused(dataset, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["generate", str(dataset), str(tmp_path / "ks"), "--workers", "-1"])
    assert "must not be negative" in capsys.readouterr().err


def test_dask_is_loaded_only_when_it_is_asked_for(dataset, tmp_path):
    code = (
        "import sys\nfrom pdesurrogates.cli.main import main\n"
        f"assert main(['generate', {str(dataset)!r}, {str(tmp_path / 'ks')!r}]) == 0\n"
        "assert not {'dask', 'distributed'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.DEVNULL)


@pytest.mark.slow
def test_workers_on_the_command_line_write_the_same_bytes(dataset, tmp_path):
    for workers in ("0", "2"):
        words = ["generate", str(dataset), str(tmp_path / workers), "--workers", workers]
        code = "from pdesurrogates.cli.main import main; import sys; sys.exit(main(sys.argv[1:]))"
        subprocess.run([sys.executable, "-c", code, *words], check=True, stderr=subprocess.DEVNULL)
    sums = [(tmp_path / workers / "checksums.sha256").read_text() for workers in ("0", "2")]
    assert sums[0] == sums[1]


@pytest.mark.slow
def test_ctrl_c_stops_the_workers_without_a_word_from_them(small_recipe, tmp_path):
    recipe = small_recipe | {"num_trajectories": 4000, "chunk": 1}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    code = "from pdesurrogates.cli.main import main; import sys; sys.exit(main(sys.argv[1:]))"
    words = ["generate", str(tmp_path / "recipe.yaml"), str(tmp_path / "a.hdf5"), "--workers", "2"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    progress = tmp_path / "a.hdf5.partial.progress"
    while not (progress.exists() and "[1, 13]" in progress.read_text()):
        time.sleep(0.1)
    # A terminal sends it to the whole group.
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in error and "run the same command again to continue" in error
