"""Checkpoints: whole or absent, and never able to run code."""

import errno
import os
import pickle

import pytest
import torch

from edgesdk.errors import ConfigError, EdgeError
from edgesdk.train import checkpoint

STATE = {"weights": torch.arange(1000.0), "history": [{"epoch": 0}], "seed": 3}


@pytest.fixture
def saved(tmp_path):
    checkpoint.save(tmp_path, STATE)
    return tmp_path


def refuse(*_arguments):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_is_saved_is_loaded(saved):
    state = checkpoint.load(saved)
    assert torch.equal(state.pop("weights"), STATE["weights"])
    assert state == {"format_version": 1, "history": [{"epoch": 0}], "seed": 3}
    assert os.listdir(saved) == ["checkpoint.pt"]


def test_saving_makes_the_folder_and_replaces_what_is_there(tmp_path):
    checkpoint.save(tmp_path / "a" / "b", {"epoch": 1})
    checkpoint.save(tmp_path / "a" / "b", {"epoch": 2})
    assert checkpoint.load(tmp_path / "a" / "b")["epoch"] == 2


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_keeps_the_old_checkpoint_and_leaves_nothing(saved, monkeypatch, call):
    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(EdgeError, match=r"No space left on device"):
            checkpoint.save(saved, {"seed": 4})
    assert checkpoint.load(saved)["seed"] == 3
    assert os.listdir(saved) == ["checkpoint.pt"]


def test_what_a_killed_writer_left_is_written_over(saved):
    (saved / "checkpoint.pt.tmp").write_bytes(b"half a checkpoint")
    checkpoint.save(saved, {"seed": 5})
    assert os.listdir(saved) == ["checkpoint.pt"]
    assert checkpoint.load(saved)["seed"] == 5


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EdgeError, match="cannot be written"):
        checkpoint.save(tmp_path / "file" / "run", STATE)


def test_a_missing_checkpoint_names_the_command_that_makes_one(tmp_path):
    with pytest.raises(ConfigError, match=r"not found; .*edgesdk.train fit"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("kept_bytes", [0, 1, 100, 3000, -1])
def test_a_truncated_checkpoint_is_refused(saved, kept_bytes):
    path = saved / checkpoint.FILE_NAME
    path.write_bytes(path.read_bytes()[:kept_bytes])
    with pytest.raises(ConfigError, match="damaged"):
        checkpoint.load(saved)


def test_one_flipped_bit_in_a_weight_is_noticed(saved):
    path = saved / checkpoint.FILE_NAME
    content = bytearray(path.read_bytes())
    place = bytes(content).index(STATE["weights"].numpy().tobytes()) + 2000
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="damaged"):
        checkpoint.load(saved)


@pytest.mark.parametrize("content", [b"not a checkpoint", pickle.dumps({"format_version": 1})])
def test_another_kind_of_file_is_refused(tmp_path, content):
    (tmp_path / checkpoint.FILE_NAME).write_bytes(content)
    with pytest.raises(ConfigError, match="damaged"):
        checkpoint.load(tmp_path)


class Trap:
    def __reduce__(self):
        return (os.mkdir, ("sprung",))


def test_a_checkpoint_cannot_run_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"format_version": 1, "trap": Trap()}, checkpoint.FILE_NAME)
    with pytest.raises(ConfigError, match="damaged"):
        checkpoint.load(tmp_path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("state", [{"format_version": 2}, {}, [1]])
def test_another_format_version_is_refused(tmp_path, state):
    torch.save(state, tmp_path / checkpoint.FILE_NAME)
    with pytest.raises(ConfigError, match=r"format_version .*, expected 1"):
        checkpoint.load(tmp_path)
