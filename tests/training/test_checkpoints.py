"""Checkpoints: a failure while writing keeps the earlier one, and damage is named."""

import pytest
import torch

from pdesurrogates.training import WholeCheckpoints


def test_saved_is_loaded(tmp_path):
    files, path = WholeCheckpoints(), tmp_path / "new" / "a.ckpt"
    files.save_checkpoint({"weights": torch.ones(3), "step": 2}, path)
    loaded = files.load_checkpoint(path, weights_only=True)
    assert loaded["weights"].equal(torch.ones(3)) and loaded["step"] == 2
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_while_writing_keeps_the_earlier_checkpoint(tmp_path, monkeypatch):
    files, path = WholeCheckpoints(), tmp_path / "a.ckpt"
    files.save_checkpoint({"step": 1}, path)

    def fails(checkpoint, file):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", fails)
    with pytest.raises(KeyboardInterrupt):
        files.save_checkpoint({"step": 2}, path)
    assert files.load_checkpoint(path)["step"] == 1


class Touch:
    """What a stranger could put into a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return type(self.path).touch, (self.path,)


def test_what_is_no_checkpoint_is_refused(tmp_path):
    files, path, touched = WholeCheckpoints(), tmp_path / "a.ckpt", tmp_path / "touched"
    torch.save({"state_dict": Touch(touched)}, path)
    unsafe = path.read_bytes()
    for content in (b"", b"hi", unsafe[: len(unsafe) // 2], unsafe):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="a.ckpt: expected a Lightning checkpoint of tensors"):
            files.load_checkpoint(path, weights_only=True)
    assert not touched.exists()
